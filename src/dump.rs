//! `uinotify dump`: a checkpoint of instances whose programs go on.

use std::path::PathBuf;

use clap::Args;

use crate::checkpoint::{Selection, dump};
use crate::images::write_text;
use crate::inherited::Inherited;
use crate::nested;

/// `uinotify dump`.
#[derive(Args)]
pub struct Arguments {
    /// The instances that this process has open; may be given several times
    #[arg(long, value_name = "P", required_unless_present = "group")]
    pid: Vec<u32>,

    /// The instance with this number, as `uinotify ps` shows it
    #[arg(long, value_name = "ID", conflicts_with = "pid")]
    group: Option<u64>,

    /// Ask only the emulator at this path
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,

    /// Where the checkpoint goes, - for standard output
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    output: PathBuf,
}

/// Writes the checkpoint.
///
/// # Errors
/// There is no such instance, or this user may not know of it; it cannot be written.
pub fn run(arguments: Arguments) -> anyhow::Result<()> {
    if nested::is_emulated() {
        // The library would show sockets as what they stand for.
        return Err(nested::execute_again(&Inherited::take()?).into());
    }
    let Arguments { pid, group, socket, output } = arguments;
    let selection = group.map_or(Selection::Processes(pid), Selection::Group);
    let checkpoint = dump(&selection, socket.as_deref())?;
    write_text(&output, &checkpoint.to_json())
}
