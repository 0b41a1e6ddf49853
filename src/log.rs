//! `uinotify log`: what has gone on in an emulator.

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::Context;
use clap::Args;

use crate::reach;

/// What `uinotify log` is told.
#[derive(Args, Debug)]
pub struct Arguments {
    /// At most so many of the last calls and events
    #[arg(long, value_name = "N", default_value_t = 20)]
    last: usize,

    /// Print JSON, a line for each emulator
    #[arg(long)]
    json: bool,

    /// Ask only the emulator at this path
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
}

/// Prints it. An emulator without `--log` has begun with the first command that was given to it.
///
/// # Errors
/// There is no emulator, one does not answer, or standard output cannot be written.
pub fn log(arguments: &Arguments) -> anyhow::Result<()> {
    let mut text = String::new();
    let is_named = reach::named(arguments.socket.as_deref()).is_some();
    for mut emulator in reach::emulators(arguments.socket.as_deref())? {
        let report = match emulator.control().log(arguments.last) {
            Err(error) if !is_named && reach::is_too_old(&error) => continue,
            report => report?,
        };
        if arguments.json {
            text.push_str(&serde_json::to_string(&report)?);
        } else {
            for (name, count) in &report.counts.calls {
                let failed =
                    report.counts.failed.get(name).map_or(String::new(), |failed| format!(", {failed} failed"));
                text.push_str(&format!("{name}: {count}{failed}\n"));
            }
            for (name, count) in &report.counts.events {
                text.push_str(&format!("events {name}: {count}\n"));
            }
            text.push_str(&format!("events read: {}\n{report}", report.counts.read));
        }
        text.push('\n');
    }
    match std::io::stdout().write_all(text.as_bytes()) {
        // The reader, such as `head`, has seen enough.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => written.context("cannot write to standard output"),
    }
}
