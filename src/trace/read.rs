//! A trace in JSON lines, read back.

use std::fmt;
use std::io::{self, BufRead};

use serde::Deserialize;
use uinotify_host::trace::{Record, TRACE_FORMAT, TRACE_VERSION};

/// A trace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recorded {
    /// What was run.
    pub command: Vec<String>,
    /// What has happened, in order, each with the number of its line.
    pub records: Vec<Record>,
    /// The line of each record, counted from 1.
    pub lines: Vec<usize>,
}

/// Why a file is no trace.
#[derive(Debug)]
#[non_exhaustive]
pub enum ReadError {
    /// It cannot be read.
    Io(io::Error),
    /// It does not begin as a trace does.
    Head,
    /// Of another version.
    Version(u64),
    /// A line is no record: which, and why.
    Line(usize, serde_json::Error),
}

impl fmt::Display for ReadError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => error.fmt(formatter),
            Self::Head => write!(formatter, "no trace: its first line has no \"format\": \"{TRACE_FORMAT}\""),
            Self::Version(version) => {
                write!(formatter, "a trace of version {version}, and this uinotify reads version {TRACE_VERSION}")
            }
            Self::Line(line, error) => write!(formatter, "line {line} is no record: {error}"),
        }
    }
}

impl std::error::Error for ReadError {}

#[derive(Deserialize)]
struct Head {
    format: Option<String>,
    version: Option<u64>,
    #[serde(default)]
    command: Vec<String>,
}

/// Reads a trace. Empty lines, and those that begin with `#`, are for people.
///
/// # Errors
///
/// [`ReadError`], with the line that is at fault.
pub fn read(text: impl BufRead) -> Result<Recorded, ReadError> {
    let mut lines = text.lines().zip(1..).filter(|(line, _)| {
        line.as_ref().map_or(true, |line| !line.trim_start().is_empty() && !line.trim_start().starts_with('#'))
    });
    let (head, _) = lines.next().ok_or(ReadError::Head)?;
    let head: Head = serde_json::from_str(&head.map_err(ReadError::Io)?).map_err(|_| ReadError::Head)?;
    if head.format.as_deref() != Some(TRACE_FORMAT) {
        return Err(ReadError::Head);
    }
    if head.version != Some(TRACE_VERSION.into()) {
        return Err(ReadError::Version(head.version.unwrap_or(0)));
    }
    let mut recorded = Recorded { command: head.command, ..Recorded::default() };
    for (line, number) in lines {
        let line = line.map_err(ReadError::Io)?;
        recorded.records.push(serde_json::from_str(&line).map_err(|error| ReadError::Line(number, error))?);
        recorded.lines.push(number);
    }
    Ok(recorded)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = r#"{"format":"uinotify-trace","version":1,"written_by":"x","command":["sh"]}"#;
    const CLOSE: &str = r#"{"time_us":5,"instance":1,"what":"close"}"#;

    #[test]
    fn comments_are_for_people() {
        let text = format!("# from a bug report\n\n{HEAD}\n{CLOSE}\n  # here it hangs\n{CLOSE}\n");
        let recorded = read(text.as_bytes()).unwrap();
        assert_eq!((recorded.command, recorded.lines), (vec!["sh".to_owned()], vec![4, 6]));
        assert_eq!(recorded.records.len(), 2);
    }

    #[test]
    fn what_is_no_trace_is_told_with_its_line() {
        let refused = |text: &str| read(text.as_bytes()).unwrap_err().to_string();
        assert!(refused("").starts_with("no trace: "));
        assert!(refused("{}").starts_with("no trace: "));
        assert!(refused("junk").starts_with("no trace: "));
        let other = HEAD.replace("\"version\":1", "\"version\":9");
        assert_eq!(refused(&other), "a trace of version 9, and this uinotify reads version 1");
        assert!(refused(&format!("{HEAD}\n{CLOSE}\n{{\"what\":\"close\"}}")).starts_with("line 3 is no record: "));
    }
}
