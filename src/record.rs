//! `uinotify record`: a program, and what it asks of inotify and is told, in a file that can be replayed.

use std::path::PathBuf;

use uinotify_host::EmulatorAddress;
use uinotify_host::control::Control;
use uinotify_host::trace::{TraceFile, TraceForm};

use crate::inherited::Inherited;
use crate::notice::notice;
use crate::{nested, run};

/// Runs the program, and writes the file; its exit status.
///
/// # Errors
/// The path of the file cannot be made absolute.
pub fn run(mut options: run::Options, file: PathBuf) -> anyhow::Result<u8> {
    if nested::is_emulated() {
        return Err(nested::execute_again(&Inherited::take()?).into());
    }
    options.settings.traces.push(TraceFile { path: std::path::absolute(file)?, form: TraceForm::Json });
    // What has happened is written when the emulator has nothing else to do: this is something to do.
    let mut finish = |address: &EmulatorAddress<'_>| {
        let _ = Control::open(address).and_then(|mut control| control.barrier());
    };
    Ok(run::run_prepared(&options, None, Some(&mut finish)).unwrap_or_else(|error| {
        notice(&error);
        error.exit_status()
    }))
}
