//! Mounts that only the process of one list sees.

use super::call::{Argument, returned};
use crate::trace::Outcome;

/// Leaves the mount name space of the executor.
pub(super) fn private() -> Outcome {
    // SAFETY: takes no pointer.
    let left = unsafe { libc::unshare(libc::CLONE_NEWNS) };
    if left != 0 {
        return returned(left);
    }
    let null = std::ptr::null();
    let flags = libc::MS_REC | libc::MS_PRIVATE;
    // SAFETY: the target is NUL-terminated; a change of propagation reads no other pointer.
    returned(unsafe { libc::mount(null, c"/".as_ptr(), null, flags, null.cast()) })
}

/// An empty tmpfs.
pub(super) fn mount(path: &Argument) -> Outcome {
    let kind = c"tmpfs".as_ptr();
    // SAFETY: all strings are NUL-terminated and outlive the call, and there are no options.
    returned(unsafe { libc::mount(kind, path.pointer(), kind, 0, std::ptr::null()) })
}

/// `umount2`.
pub(super) fn unmount(path: &Argument, flags: i32) -> Outcome {
    // SAFETY: the pointer is a NUL-terminated path that the argument keeps.
    returned(unsafe { libc::umount2(path.pointer(), flags) })
}
