//! A kernel instance.

use std::ffi::{CStr, CString};
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::path::Path;
use std::sync::OnceLock;

use nix::errno::Errno;
use nix::sys::inotify::InitFlags;

use super::information::Information;

/// The kernel's wd of an object. Never reused while the instance lives, short of 2^31 watches later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KernelWd(pub i32);

/// A kernel instance, non-blocking and close-on-exec.
#[derive(Debug)]
pub struct Instance {
    fd: OwnedFd,
    is_shared: bool,
}

impl Instance {
    /// A new instance.
    ///
    /// # Errors
    ///
    /// EMFILE, ENFILE, ENOMEM as `inotify_init1(2)`: the kernel's own limit holds too.
    pub fn new() -> Result<Self, Errno> {
        // SAFETY: takes flags only.
        let fd = unsafe { libc::inotify_init1((InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC).bits()) };
        Errno::result(fd)?;
        // SAFETY: the call has just returned this descriptor, which nobody else has.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Self { fd, is_shared: false })
    }

    /// The same instance once more, for another thread: whoever ends it takes its watches off, as that thread may keep it.
    ///
    /// # Errors
    ///
    /// EMFILE without a descriptor left.
    pub fn duplicate(&mut self) -> io::Result<Self> {
        let fd = self.fd.try_clone()?;
        self.is_shared = true;
        Ok(Self { fd, is_shared: true })
    }

    /// A program is going to hold this descriptor too.
    pub fn set_shared(&mut self) {
        self.is_shared = true;
    }

    /// Watches the object behind `object`, an `O_PATH` descriptor, or updates its watch. `mask` holds the bits that
    /// `inotify_add_watch(2)` takes; those that steer path resolution have done their work.
    ///
    /// # Errors
    ///
    /// ENOSPC at the kernel's own watch limit, EEXIST for IN_MASK_CREATE, EACCES without read permission.
    pub fn watch(&self, object: BorrowedFd<'_>, mask: u32) -> Result<KernelWd, Errno> {
        let path = CString::new(format!("{}{}", descriptors(), object.as_raw_fd())).map_err(|_| Errno::EINVAL)?;
        self.watch_path(&path, mask)
    }

    /// [`watch`](Self::watch) for a directory by which this process may stand for a moment: that is some times faster than a link of
    /// procfs. `None` if it may not, as one may watch a directory that one may not search.
    pub fn watch_folder(&self, folder: BorrowedFd<'_>, mask: u32) -> Option<Result<KernelWd, Errno>> {
        nix::unistd::fchdir(folder).ok()?;
        let result = self.watch_path(c".", mask);
        // Nothing is kept from being unmounted. The root is always there.
        let _ = nix::unistd::chdir(c"/");
        Some(result)
    }

    fn watch_path(&self, path: &CStr, mask: u32) -> Result<KernelWd, Errno> {
        const STEERING: u32 = libc::IN_ONLYDIR | libc::IN_DONT_FOLLOW;
        // IN_ISDIR is stored as nothing: with it the kernel accepts a mask that asks for no event.
        let mask = if mask & !STEERING == 0 { libc::IN_ISDIR } else { mask & !STEERING };
        // SAFETY: `path` is a string that lives through the call.
        let wd = unsafe { libc::inotify_add_watch(self.fd.as_raw_fd(), path.as_ptr(), mask) };
        Errno::result(wd).map(KernelWd)
    }

    /// Ends a watch; the kernel queues an IN_IGNORED.
    ///
    /// # Errors
    ///
    /// EINVAL if the watch has ended by itself.
    pub fn unwatch(&self, wd: KernelWd) -> Result<(), Errno> {
        // SAFETY: takes numbers only.
        let result = unsafe { libc::inotify_rm_watch(self.fd.as_raw_fd(), wd.0) };
        Errno::result(result).map(drop)
    }

    /// The number of bytes that are queued.
    #[must_use]
    pub fn queued_bytes(&self) -> usize {
        let mut bytes: libc::c_int = 0;
        // SAFETY: FIONREAD writes one int, which lives through the call.
        let result = unsafe { libc::ioctl(self.fd.as_raw_fd(), libc::FIONREAD, &raw mut bytes) };
        if result == 0 { usize::try_from(bytes).unwrap_or(0) } else { 0 }
    }

    /// Takes as many records as fit into `buffer`, which must have room for the largest; 0 if there are none.
    ///
    /// # Errors
    ///
    /// As `read(2)`.
    pub fn read(&self, buffer: &mut [u8]) -> Result<usize, Errno> {
        loop {
            match nix::unistd::read(&self.fd, buffer) {
                Err(Errno::EAGAIN) => return Ok(0),
                Err(Errno::EINTR) => {}
                result => return result,
            }
        }
    }

    /// What the kernel tells of the instance: also, after an overflow, which watches are alive, as an IN_IGNORED may be missing.
    ///
    /// # Errors
    ///
    /// If procfs cannot be read.
    pub fn information(&self) -> io::Result<Information> {
        Information::read(fs::File::open(format!("/proc/self/fdinfo/{}", self.fd.as_raw_fd()))?)
    }

    /// The end: watches are taken off a kernel instance that a program may keep alive, so that they do not count any longer.
    pub fn retire(&self, watched: impl IntoIterator<Item = KernelWd>) {
        if self.is_shared {
            for wd in watched {
                // One that has ended by itself is no error.
                let _ = self.unwatch(wd);
            }
        }
    }
}

impl AsFd for Instance {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Where procfs shows this process's descriptors. The name `self` is a link, which would be followed for every watch.
fn descriptors() -> &'static str {
    static FOLDER: OnceLock<String> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let process = fs::read_link("/proc/self").ok();
        let process = process.as_deref().and_then(Path::to_str).unwrap_or("self");
        format!("/proc/{process}/fd/")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inotify::Records;
    use std::collections::BTreeSet;

    #[test]
    fn a_watch_sees_events_and_ends() {
        let folder = std::env::temp_dir().join(format!("uinotify-source-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        let object = fs::File::open(&folder).expect("the folder");
        let instance = Instance::new().expect("an instance");
        let wd = instance.watch(object.as_fd(), libc::IN_CREATE).expect("a watch");
        assert_eq!(instance.information().expect("fdinfo").living(), BTreeSet::from([wd]));
        fs::write(folder.join("new"), b"").expect("a file");
        assert_eq!(instance.queued_bytes(), 32);
        let mut buffer = [0; 4096];
        let length = instance.read(&mut buffer).expect("events");
        let records: Vec<_> =
            Records::new(&buffer[..length]).map(|record| (record.wd, record.mask, record.name)).collect();
        assert_eq!(records, [(wd.0, libc::IN_CREATE, &b"new"[..])]);
        instance.unwatch(wd).expect("the watch ends");
        assert_eq!(instance.unwatch(wd), Err(Errno::EINVAL));
        assert!(instance.information().expect("fdinfo").living().is_empty());
        fs::remove_dir_all(&folder).expect("the folder goes");
    }

    #[test]
    fn a_mask_that_asks_for_nothing_is_accepted() {
        let object = fs::File::open("/").expect("the root");
        let instance = Instance::new().expect("an instance");
        for mask in [libc::IN_ONLYDIR, libc::IN_DONT_FOLLOW, libc::IN_ISDIR] {
            assert!(instance.watch(object.as_fd(), mask).is_ok(), "{mask:#x}");
        }
    }
}
