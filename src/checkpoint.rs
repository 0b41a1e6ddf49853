//! Checkpoints of emulated instances: taken while their programs run, and rebuilt in an emulator.
//!
//! [`dump()`] asks an emulator for all that there is of an instance and adds what only the machine knows: the descriptors that stand for
//! it, how they are open, and where the watched objects are now. [`restore()`] makes the same instance anew, by the calls that a
//! program makes, and lastly gives it what no call can: its queue.

mod dump;
mod handle;
mod holders;
mod object;
mod restore;

pub use dump::{Selection, dump};
pub use holders::descendants_of;
pub(crate) use holders::duplicate;
pub use object::{Finding, Missing, Whereabouts};
pub use restore::{Options, Progress, RestoreError, Restored, Via, fill, restore};
pub use uinotify_host::EmulatorAddress;
pub use uinotify_images::checkpoint::{Checkpoint, Instance, SignalOwner};
pub use uinotify_images::difference::{Difference, differences};

/// Takes an emulator's address apart, as `UINOTIFY_SOCKET` has it: the path of its socket, and its token.
#[must_use]
pub fn address(value: &std::ffi::OsStr) -> (std::path::PathBuf, Vec<u8>) {
    let address = crate::fdinfo::address(std::os::unix::ffi::OsStrExt::as_bytes(value));
    (address.socket, address.token)
}
