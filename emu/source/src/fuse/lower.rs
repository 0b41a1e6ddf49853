//! The tree that is shown, as the emulator reaches it.
//!
//! It is held by a descriptor from before the mount and never come to by a path, so that no request can lead back to this very mount.
//! Of each name that the kernel sends one component is resolved at a time, in a directory that is held, and never a symbolic link:
//! nothing leads out, and no rename elsewhere changes what a descriptor stands for.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat};
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::stat::Mode;
use nix::sys::statfs::{FsType, OVERLAYFS_SUPER_MAGIC, fstatfs};

use super::descriptors::Descriptors;
use super::file_handle::FileHandle;

/// The lower tree.
#[derive(Debug)]
pub(super) struct Lower {
    pub(super) root: Arc<OwnedFd>,
    /// A descriptor that is no `O_PATH` one, as open_by_handle_at(2) wants.
    mount: OwnedFd,
    /// The mount's number, if objects can be found again by file handles.
    mount_id: Option<i32>,
    /// Our own /proc/self/fd: what an `O_PATH` descriptor stands for is opened by its number there.
    links: OwnedFd,
    pub(super) descriptors: Descriptors,
}

/// File systems whose close can fail: what was written goes over a network, or to a server, then.
const REPORTS_ON_CLOSE: [FsType; 6] = [
    FsType(0x6969),
    FsType(0xff53_4d42),
    FsType(0xfe53_4d42),
    FsType(0x0102_1997),
    FsType(0x6573_5546),
    FsType(0x00c3_6400),
];

impl Lower {
    /// # Errors
    ///
    /// If the directory cannot be opened again, or there is no procfs.
    pub(super) fn new(root: OwnedFd) -> Result<Self, Errno> {
        let links = open(c"/proc/self/fd", OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?;
        let directory = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let mount = openat(&root, c".", directory, Mode::empty())?;
        let mount_id = FileHandle::of(&mount).ok().and_then(|(handle, id)| handle.open(&mount).ok().map(|_| id));
        let (open_max, _) = getrlimit(Resource::RLIMIT_NOFILE)?;
        // The rest is for files that programs open.
        let descriptors = Descriptors::new(usize::try_from(open_max / 4).unwrap_or(usize::MAX).clamp(16, 16384));
        Ok(Self { root: Arc::new(root), mount, mount_id, links, descriptors })
    }

    /// Whether this is an overlay, whose inodes have another time of birth once they are written, and devices of their own.
    pub(super) fn is_overlay(&self) -> bool {
        fstatfs(&self.mount).map_or(true, |status| status.filesystem_type() == OVERLAYFS_SUPER_MAGIC)
    }

    /// Whether a close can fail.
    pub(super) fn reports_on_close(&self) -> bool {
        fstatfs(&self.mount).map_or(true, |status| REPORTS_ON_CLOSE.contains(&status.filesystem_type()))
    }

    /// The handle of an object that can be found again by it.
    pub(super) fn handle_of(&self, object: impl AsFd) -> Option<FileHandle> {
        let own = self.mount_id?;
        FileHandle::of(object).ok().filter(|(_, mount)| *mount == own).map(|(handle, _)| handle)
    }

    pub(super) fn open_handle(&self, handle: &FileHandle) -> Result<OwnedFd, Errno> {
        handle.open(&self.mount)
    }

    /// Opens for I/O what an `O_PATH` descriptor stands for, whatever its name is by now; the right to do so is asked of the object alone.
    pub(super) fn reopen(&self, object: impl AsFd, flags: OFlag) -> Result<File, Errno> {
        let number = Number::of(object);
        openat(&self.links, number.text(), flags | OFlag::O_CLOEXEC, Mode::empty()).map(File::from)
    }
}

/// An `O_PATH` descriptor of what stands under a name, a symbolic link itself.
pub(super) fn open_object(directory: impl AsFd, name: &CStr) -> Result<OwnedFd, Errno> {
    openat(directory, name, OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::empty())
}

/// A path that leads to what a descriptor stands for, a symbolic link itself.
pub(super) fn path_of(object: impl AsFd) -> Result<CString, Errno> {
    CString::new(format!("/proc/self/fd/{}", object.as_fd().as_raw_fd())).map_err(|_| Errno::EINVAL)
}

/// The digits of a descriptor's number, NUL-terminated.
struct Number {
    digits: [u8; 16],
}

impl Number {
    fn of(object: impl AsFd) -> Self {
        let mut digits = [0; 16];
        // Eleven characters at most.
        let _ = write!(&mut digits[..], "{}", object.as_fd().as_raw_fd());
        Self { digits }
    }

    fn text(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.digits).unwrap_or(c"")
    }
}
