//! `uinotify replay`: a program that is told what it, or another, was told when it was recorded.

use std::ffi::OsString;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use uinotify_host::control::{Command, Control};
use uinotify_host::trace::{Record, What};
use uinotify_host::{EmulatorAddress, Recording, Sources};

use crate::inherited::Inherited;
use crate::notice::notice;
use crate::{nested, run, trace};

/// Exit status of a replay in which the program has departed from the recording.
pub const EXIT_DEPARTED: u8 = 3;

/// The longest name.
const NAME_BYTES_MAX: usize = 255;

/// A path of the recording, and where that is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moved {
    old: Vec<u8>,
    new: Vec<u8>,
}

impl Moved {
    /// Reads `OLD=NEW`; an equals sign in OLD is none that separates if a backslash stands before it.
    ///
    /// # Errors
    /// A sentence for the command line.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut at = text.match_indices('=').map(|(at, _)| at).filter(|at| !text[..*at].ends_with('\\'));
        let (old, new) = at
            .next()
            .map(|at| (text[..at].replace("\\=", "="), &text[at + 1..]))
            .filter(|(old, new)| !old.is_empty() && !new.is_empty())
            .ok_or("a moved path is OLD=NEW")?;
        // Of the root folder nothing is left.
        let whole = |path: &str| path.trim_end_matches('/').as_bytes().to_vec();
        Ok(Self { old: whole(&old), new: whole(new) })
    }

    /// Where a path is now, if it is meant.
    fn apply(&self, path: &[u8]) -> Option<Vec<u8>> {
        let rest = path.strip_prefix(&self.old[..])?;
        let is_meant = rest.is_empty() || rest.starts_with(b"/");
        let now = [&self.new[..], rest].concat();
        is_meant.then(|| if now.is_empty() { b"/".to_vec() } else { now })
    }
}

/// What `uinotify replay` is told.
#[derive(Debug)]
pub struct Options {
    /// How the program is run.
    pub run: run::Options,
    /// The recording.
    pub file: PathBuf,
    /// What is elsewhere now. The first that is meant counts.
    pub moved: Vec<Moved>,
    /// Events take the time that they took.
    pub is_in_real_time: bool,
}

/// Reads a recording.
fn read(file: &Path, moved: &[Moved]) -> anyhow::Result<Vec<(usize, Record)>> {
    let named = || file.display().to_string();
    let recorded = trace::read(BufReader::new(File::open(file).with_context(named)?)).with_context(named)?;
    let mut records: Vec<_> = recorded.lines.into_iter().zip(recorded.records).collect();
    for (line, record) in &mut records {
        if let What::Event { name, .. } = &record.what
            && (name.0.len() > NAME_BYTES_MAX || name.0.iter().any(|byte| [b'/', 0].contains(byte)))
        {
            bail!("{}: line {line} has a name of more than {NAME_BYTES_MAX} bytes, or with a slash", file.display());
        }
        if let What::AddWatch { path, .. } = &mut record.what
            && let Some(now) = moved.iter().find_map(|moved| moved.apply(&path.0))
        {
            path.0 = now;
        }
    }
    Ok(records)
}

/// Runs the program; its exit status, or [`EXIT_DEPARTED`].
///
/// # Errors
/// The recording cannot be read, or the program has another source of events.
pub fn run(options: Options) -> anyhow::Result<u8> {
    if nested::is_emulated() {
        return Err(nested::execute_again(&Inherited::take()?).into());
    }
    let Options { mut run, file, moved, is_in_real_time } = options;
    if !matches!(run.settings.sources, Sources::Auto | Sources::Script) || !run.trees.is_empty() {
        bail!("in a replay all events come from the recording: --source and --tree have no place there");
    }
    let records = read(&file, &moved)?;
    run.settings.sources = Sources::Script;
    run.settings.replay = Some(Recording { records, is_in_real_time });
    let mut departures = None;
    let mut finish = |address: &EmulatorAddress<'_>| {
        let ended = Control::open(address).and_then(|mut control| control.ask(&Command::EndReplay {}));
        departures = ended.ok().and_then(|answer| answer["departures"].as_u64());
    };
    let status = match run::run_prepared(&run, None, Some(&mut finish)) {
        Ok(status) => status,
        Err(error) => {
            notice(&error);
            return Ok(error.exit_status());
        }
    };
    match departures {
        None => bail!("the emulator has ended before the program: what that did was not compared to its end"),
        Some(0) => Ok(status),
        Some(count) => {
            let times = if count == 1 { "once".to_owned() } else { format!("{count} times") };
            let name = run.command.first().map_or_else(OsString::new, Clone::clone);
            notice(format_args!("{} has departed {times} from {}", name.display(), file.display()));
            Ok(EXIT_DEPARTED)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_names_are_moved() {
        let moved = |map: &str, path: &str| {
            let now = Moved::parse(map).expect(map).apply(path.as_bytes());
            now.map(|now| String::from_utf8(now).expect("UTF-8"))
        };
        assert_eq!(moved("/a/b=/c", "/a/b").as_deref(), Some("/c"));
        assert_eq!(moved("/a/b/=/c/", "/a/b/d/").as_deref(), Some("/c/d/"));
        assert_eq!(moved("/a/b=/c", "/a/bb"), None);
        assert_eq!(moved("/=/old", "/a").as_deref(), Some("/old/a"));
        assert_eq!(moved("/old=/", "/old/a").as_deref(), Some("/a"));
        assert_eq!(moved("/old=/", "/old").as_deref(), Some("/"));
        assert_eq!(moved(r"a\=b=c", "a=b/x").as_deref(), Some("c/x"));
        for refused in ["", "a", "a=", "=b"] {
            assert!(Moved::parse(refused).is_err(), "{refused}");
        }
    }
}
