//! `uinotify trace`: a program, and what it asks of inotify, as it happens; a summary behind it, and a picture of all of it.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use uinotify_host::control::Control;
use uinotify_host::trace::{TraceFile, TraceForm};

use crate::inherited::Inherited;
use crate::notice::notice;
use crate::{nested, run, socket};

mod read;
mod report;
mod summary;

pub use read::{ReadError, Recorded, read};
pub use summary::Summary;

/// What `uinotify trace` is told.
#[derive(Debug)]
pub struct Options {
    /// How the program is run.
    pub run: run::Options,
    /// Where the lines go, if not to standard error.
    pub output: Option<PathBuf>,
    /// As JSON.
    pub json: bool,
    /// Where the picture goes.
    pub report: Option<PathBuf>,
}

/// Where the emulator writes what the summary is made of.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> anyhow::Result<Self> {
        let number = u64::from_ne_bytes(socket::random()?);
        let path = std::env::temp_dir().join(format!("uinotify-trace-{number:016x}"));
        let named = || format!("cannot write {}", path.display());
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).with_context(named)?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Runs the program; its exit status.
///
/// # Errors
/// A trace or the report cannot be written.
pub fn run(options: Options) -> anyhow::Result<u8> {
    if nested::is_emulated() {
        return Err(nested::execute_again(&Inherited::take()?).into());
    }
    let Options { mut run, output, json, report } = options;
    let scratch = Scratch::new()?;
    let form = match (json, &output) {
        (true, _) => TraceForm::Json,
        (false, None) if io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none() => TraceForm::Colours,
        _ => TraceForm::Text,
    };
    let path = output.map_or_else(|| Ok("-".into()), std::path::absolute)?;
    run.settings.traces.push(TraceFile { path, form });
    run.settings.traces.push(TraceFile { path: scratch.0.clone(), form: TraceForm::Json });
    // What has happened is written when the emulator has nothing else to do: this is something to do.
    let mut finish = |address: &uinotify_host::EmulatorAddress<'_>| {
        let _ = Control::open(address).and_then(|mut control| control.barrier());
    };
    let status = match run::run_prepared(&run, None, Some(&mut finish)) {
        Ok(status) => status,
        Err(error) => {
            notice(&error);
            return Ok(error.exit_status());
        }
    };
    let recorded = read(BufReader::new(File::open(&scratch.0)?)).context("the trace cannot be read again")?;
    let summary = Summary::of(&recorded.records);
    // Standard error may be closed: it is the program's.
    let _ = write!(io::stderr(), "{summary}");
    if let Some(report) = report {
        write_report(&report, &recorded, &summary)?;
    }
    Ok(status)
}

fn write_report(path: &Path, recorded: &Recorded, summary: &Summary) -> anyhow::Result<()> {
    let page = report::page(recorded, summary);
    fs::write(path, page).with_context(|| format!("cannot write {}", path.display()))
}

/// The options of a run, with those of a trace: for the command line.
impl Options {
    /// A program that is traced to standard error.
    #[must_use]
    pub fn new(run: run::Options) -> Self {
        Self { run, output: None, json: false, report: None }
    }
}

/// A command for people.
pub(crate) fn show_command(command: &[String]) -> String {
    let is_plain = |word: &str| {
        !word.is_empty()
            && word.chars().all(|character| character.is_alphanumeric() || "-_=./,:@%+".contains(character))
    };
    let quoted = |word: &String| match is_plain(word) {
        true => word.clone(),
        false => crate::env::quoted(OsStr::new(word)).to_string_lossy().into_owned(),
    };
    command.iter().map(quoted).collect::<Vec<_>>().join(" ")
}
