//! The device of an object's file system, on kernels that tell it in no other way without asking that file system (before 4.11).

use std::os::fd::BorrowedFd;
use std::sync::{Mutex, PoisonError};

use nix::errno::Errno;

use super::Instance;

/// The device of the object behind `object`, an `O_PATH` descriptor: its file system is asked nothing, not even a server of FUSE.
///
/// A watch of a moment finds it, as fdinfo tells where the object of a watch is, in whatever mount name space that was come to.
///
/// # Errors
///
/// As [`Instance::new`] and [`Instance::watch`]; ENOSYS where procfs does not tell it.
pub fn device_of(object: BorrowedFd<'_>) -> Result<u64, Errno> {
    // Kept, as the end of an instance may take its kernel many milliseconds.
    static INSTANCE: Mutex<Option<Instance>> = Mutex::new(None);
    let mut kept = INSTANCE.lock().unwrap_or_else(PoisonError::into_inner);
    let instance = match &mut *kept {
        Some(instance) => instance,
        none => none.insert(Instance::new()?),
    };
    let wd = instance.watch(object, libc::IN_DELETE_SELF)?;
    let information = instance.information();
    // It is gone if the object is.
    let _ = instance.unwatch(wd);
    while instance.read(&mut [0; 4096])? > 0 {}
    information.ok().and_then(|information| information.device(wd)).ok_or(Errno::ENOSYS)
}
