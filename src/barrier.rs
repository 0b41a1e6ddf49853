//! `uinotify barrier`: waits until all that has happened is in the queues.

use std::io;
use std::path::Path;

use anyhow::{Context, bail};
use uinotify_host::control::Control;

use crate::fdinfo::Address;
use crate::reach;

/// Returns when everything that had happened before the call is in the queues of the emulator at `socket`; without one in those of
/// the emulator of `UINOTIFY_SOCKET`, or of all emulators of this user where that is not set.
///
/// # Errors
/// There is no emulator, or one does not answer; the others are done first.
pub fn barrier(socket: Option<&Path>) -> anyhow::Result<()> {
    if let Some(named) = reach::named(socket) {
        return pass(&named).with_context(|| format!("the emulator at {} did not answer", named.socket.display()));
    }
    let (mut passed, mut failed) = (0, Vec::new());
    for address in reach::addresses(None) {
        match pass(&address) {
            Ok(()) => passed += 1,
            // Nobody listens any more: there is nothing that could be in a queue.
            Err(error) if reach::is_gone(&error) => {}
            Err(error) => failed.push(format!("{}: {error}", address.socket.display())),
        }
    }
    if !failed.is_empty() {
        bail!("not all emulators have answered\n{}", failed.join("\n"));
    }
    if passed == 0 {
        bail!("no emulator of this user is running; name the server's socket with --socket");
    }
    Ok(())
}

fn pass(address: &Address) -> io::Result<()> {
    Control::open(&address.borrowed())?.barrier()
}
