//! Checkpoints at any moment: SNAPSHOT-1, with all that stands between the core and a program.

use std::mem::MaybeUninit;
use std::os::fd::{OwnedFd, RawFd};

use anyhow::{Context, Result, bail};
use proptest::strategy::Strategy;
use uinotify::checkpoint::{self, EmulatorAddress, Options, RestoreError, Selection};
use uinotify_harness::generate;
use uinotify_harness::operation::{Descriptor, List, Operation};

/// Dumps the instance behind a descriptor of this process, and rebuilds it beside it.
pub(crate) fn rebuild(number: RawFd) -> Result<Option<OwnedFd>> {
    let Some(address) = std::env::var_os("UINOTIFY_SOCKET") else { return Ok(None) };
    let (socket, token) = checkpoint::address(&address);
    let inode = inode(number)?;
    let mut dumped = checkpoint::dump(&Selection::Sockets(vec![inode]), Some(&socket))?;
    let [instance] = &mut dumped.instances[..] else { bail!("no instance is dumped for socket {inode}") };
    // SAFETY: takes numbers only.
    instance.flags = unsafe { libc::fcntl(number, libc::F_GETFL) }.cast_unsigned();
    let instance = instance.clone();
    let address = EmulatorAddress { socket: &socket, token: &token };
    match checkpoint::restore(&address, &dumped, &instance, Options::default(), &mut |_| {}) {
        Ok(restored) => {
            let differences = restored.differences(&address, &instance)?;
            // An event may come in late, of what an unlinked file has seen.
            let lasting: Vec<_> = differences.iter().map(ToString::to_string).collect();
            if !lasting.is_empty() {
                bail!("the rebuilt instance differs: {}", lasting.join("; "));
            }
            Ok(Some(restored.descriptor))
        }
        // What has no name cannot be watched anew.
        Err(RestoreError::Missing(_)) => Ok(None),
        Err(error) => Err(error).context("the instance cannot be rebuilt"),
    }
}

/// The inode of the socket that stands for the instance, past the library.
fn inode(number: RawFd) -> Result<u64> {
    let mut status = MaybeUninit::<libc::stat>::zeroed();
    let arguments = [number as usize, status.as_mut_ptr() as usize, 0, 0, 0, 0];
    // SAFETY: the kernel writes one structure, which lives through the call.
    unsafe { uinotify_harness::raw::system_call(libc::SYS_fstat, arguments) }?;
    // SAFETY: all zeroes was a value, and the kernel has filled it.
    Ok(unsafe { status.assume_init() }.st_ino)
}

/// Random lists with a checkpoint of each group at some places.
pub(crate) fn lists() -> impl Strategy<Value = List> {
    let places = proptest::collection::vec((proptest::prelude::any::<proptest::sample::Index>(), 0..2_u8), 1..4);
    (generate::lists(), places).prop_map(|(mut list, places)| {
        for (place, slot) in places {
            // Behind the first two operations, which make the groups.
            let place = 2 + place.index(list.operations.len() - 1);
            list.operations.insert(place, Operation::Checkpoint(Descriptor::Slot(slot)));
        }
        list
    })
}
