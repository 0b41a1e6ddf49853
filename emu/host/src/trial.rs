//! What this machine's kernel gives each source, by trying it.

use std::os::fd::BorrowedFd;

use nix::errno::Errno;
use uinotify_core::{FsEvent, Mask};
use uinotify_source::{fanotify, inotify};

/// Whether the kernel's inotify watches an object, an `O_PATH` descriptor.
///
/// # Errors
///
/// What the kernel answers: EMFILE without an instance to be had, ENOSPC without a watch, EACCES without read permission, ENOSYS.
pub fn inotify(object: BorrowedFd<'_>) -> Result<(), Errno> {
    inotify::Instance::new()?.watch(object, libc::IN_CREATE).map(drop)
}

/// Whether fanotify watches an object.
///
/// # Errors
///
/// What the kernel answers: EINVAL before Linux 5.9, EPERM for an ordinary user before 5.13, EOPNOTSUPP, EXDEV or ENODEV on a file system that
/// it cannot mark, ENOSYS.
pub fn fanotify(object: BorrowedFd<'_>) -> Result<(), Errno> {
    let mut source = fanotify::Source::new(fanotify::Options::default())?;
    source.watch(object, Mask::IN_CREATE, &mut |_: FsEvent<'_>| {}).map(drop)
}
