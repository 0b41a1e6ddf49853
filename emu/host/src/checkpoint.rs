//! Asking an emulator for all that there is of its instances.

use std::io;
use std::os::fd::AsFd;

use uinotify_images::Checkpoint;
use uinotify_wire::{Request, RequestKind};

use crate::fdinfo::EmulatorAddress;
use crate::status::receive_description;

/// The instance with this number in the emulator at an address, or all for 0, as they are at one moment. Programs go on
/// meanwhile. Which descriptors stand for them, and how those are open, the emulator does not know; where a watched object is now
/// neither: the paths are those with which it was added.
///
/// # Errors
///
/// ECONNREFUSED if nobody listens there any more; ENOENT for a number that no instance has; EPERM from an emulator that does not tell
/// this user, EAGAIN from one that is telling too many others; `InvalidData` for an answer that is none.
pub fn query_checkpoint(emulator: &EmulatorAddress<'_>, id: u64) -> io::Result<Checkpoint> {
    let connection = emulator.connect()?;
    let text = receive_description(connection.as_fd(), &Request::new(RequestKind::Checkpoint, id, 0))?;
    Checkpoint::from_json(&text).map_err(|error| {
        let problem = format!("the emulator at {} gave no checkpoint: {error}", emulator.socket.display());
        io::Error::new(io::ErrorKind::InvalidData, problem)
    })
}
