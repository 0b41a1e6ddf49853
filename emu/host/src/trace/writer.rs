//! Traces in files.

use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::Observer;
use super::record::{Record, TRACE_FORMAT, TRACE_VERSION};
use crate::emulator::say;

/// How a trace is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TraceForm {
    /// Lines for people.
    Text,
    /// The same in colours, for a terminal.
    Colours,
    /// JSON lines: the first says format and version, each other one is a [`Record`].
    Json,
}

/// A trace that is to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceFile {
    /// Where, absolute; `-` for standard error.
    pub path: PathBuf,
    /// How.
    pub form: TraceForm,
}

impl TraceFile {
    /// The file, if it is one that can be watched.
    pub(crate) fn watchable(&self) -> Option<PathBuf> {
        if self.path == Path::new("-") { None } else { self.path.canonicalize().ok() }
    }
}

/// The first line of a trace in JSON.
#[derive(Serialize)]
struct Head<'a> {
    format: &'a str,
    version: u32,
    written_by: &'a str,
    command: &'a [String],
}

enum Target {
    File(File),
    StandardError,
}

/// Writes one trace.
pub(crate) struct Writer {
    target: Option<Target>,
    path: PathBuf,
    form: TraceForm,
    lines: Vec<u8>,
}

/// More is not kept back.
const LINES_BYTES_MAX: usize = 64 * 1024;

impl fmt::Debug for Writer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Writer").field("path", &self.path).field("form", &self.form).finish_non_exhaustive()
    }
}

impl Writer {
    /// Makes the file, or empties it.
    ///
    /// # Errors
    ///
    /// It cannot be written, with its name.
    pub(crate) fn create(file: &TraceFile, command: &[String]) -> io::Result<Self> {
        let TraceFile { path, form } = file;
        let target = if path == Path::new("-") {
            Target::StandardError
        } else {
            let named =
                |error: io::Error| io::Error::new(error.kind(), format!("cannot write {}: {error}", path.display()));
            Target::File(File::create(path).map_err(named)?)
        };
        let mut writer = Self { target: Some(target), path: path.clone(), form: *form, lines: Vec::new() };
        if *form == TraceForm::Json {
            let written_by = concat!("uinotify ", env!("CARGO_PKG_VERSION"));
            let head = Head { format: TRACE_FORMAT, version: TRACE_VERSION, written_by, command };
            writer.json(&head);
        }
        writer.pause();
        Ok(writer)
    }

    fn json(&mut self, line: &impl Serialize) {
        // Strings and numbers alone: it does not fail.
        let _ = serde_json::to_writer(&mut self.lines, line);
        self.lines.push(b'\n');
    }
}

impl Observer for Writer {
    fn observe(&mut self, record: &Record) {
        match self.form {
            // Writing to a vector does not fail.
            TraceForm::Text => _ = writeln!(self.lines, "{record}"),
            TraceForm::Colours => {
                let style = record.what.style();
                _ = writeln!(self.lines, "{style}{record}{style:#}");
            }
            TraceForm::Json => self.json(record),
        }
        if self.lines.len() > LINES_BYTES_MAX {
            self.pause();
        }
    }

    fn pause(&mut self) {
        if self.lines.is_empty() {
            return;
        }
        let written = match &mut self.target {
            Some(Target::File(file)) => file.write_all(&self.lines),
            Some(Target::StandardError) => io::stderr().write_all(&self.lines),
            None => Ok(()),
        };
        self.lines.clear();
        if let Err(error) = written {
            say(&format!("the trace {} ends here: {error}", self.path.display()));
            self.target = None;
        }
    }
}
