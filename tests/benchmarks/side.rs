//! The two sides: the kernel's inotify, and the emulator's.

use std::ffi::{CStr, CString};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use uinotify_harness::arguments;
use uinotify_harness::raw::system_call;

/// `INOTIFY_IOC_SETNEXTWD`.
const SETNEXTWD: libc::c_ulong = 0x4004_4900;

/// What is measured. Each method is one call, with nothing around it.
pub(crate) trait Side {
    /// Its folder, and its name.
    const NAME: &'static str;

    /// `inotify_init1`.
    fn init(flags: i32) -> Result<OwnedFd, Errno>;
    /// `inotify_add_watch`.
    fn add(fd: RawFd, path: &CStr, mask: u32) -> Result<i32, Errno>;
    /// `inotify_rm_watch`.
    fn remove(fd: RawFd, wd: i32) -> Result<(), Errno>;
    /// `ioctl` with `INOTIFY_IOC_SETNEXTWD`.
    fn set_next_wd(fd: RawFd, wd: i32) -> Result<(), Errno>;
    /// `read`.
    fn read(fd: RawFd, buffer: &mut [u8]) -> Result<usize, Errno>;
    /// `ioctl` with `FIONREAD`.
    fn queued_bytes(fd: RawFd) -> Result<usize, Errno>;
    /// `openat` with O_PATH.
    fn open_path(path: &CStr) -> Result<RawFd, Errno>;
    /// `close`.
    fn close(fd: RawFd) -> Result<(), Errno>;
}

/// The kernel's inotify, by bare system calls: no shim stands in their way, nor libc's wrapper, which would favour ours.
#[derive(Debug)]
pub(crate) enum Native {}

/// The emulator's inotify, by the C functions that the shim has put itself before.
#[derive(Debug)]
pub(crate) enum Ours {}

impl Side for Native {
    const NAME: &'static str = "native";

    fn init(flags: i32) -> Result<OwnedFd, Errno> {
        // SAFETY: takes flags only.
        let fd = unsafe { system_call(libc::SYS_inotify_init1, arguments![flags]) }?;
        // SAFETY: the call has just returned this descriptor, which nobody else has.
        Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
    }

    fn add(fd: RawFd, path: &CStr, mask: u32) -> Result<i32, Errno> {
        let arguments = arguments![fd, path.as_ptr(), mask];
        // SAFETY: `path` is a string that lives through the call.
        unsafe { system_call(libc::SYS_inotify_add_watch, arguments) }.map(|wd| wd as i32)
    }

    fn remove(fd: RawFd, wd: i32) -> Result<(), Errno> {
        // SAFETY: takes numbers only.
        unsafe { system_call(libc::SYS_inotify_rm_watch, arguments![fd, wd]) }.map(drop)
    }

    fn set_next_wd(fd: RawFd, wd: i32) -> Result<(), Errno> {
        // SAFETY: takes numbers only.
        unsafe { system_call(libc::SYS_ioctl, arguments![fd, SETNEXTWD, wd]) }.map(drop)
    }

    fn read(fd: RawFd, buffer: &mut [u8]) -> Result<usize, Errno> {
        let arguments = arguments![fd, buffer.as_mut_ptr(), buffer.len()];
        // SAFETY: the buffer is borrowed for the length of the call, and its length goes with it.
        unsafe { system_call(libc::SYS_read, arguments) }
    }

    fn queued_bytes(fd: RawFd) -> Result<usize, Errno> {
        let mut bytes: libc::c_int = 0;
        let arguments = arguments![fd, libc::FIONREAD, &raw mut bytes];
        // SAFETY: FIONREAD writes one int, which lives through the call.
        unsafe { system_call(libc::SYS_ioctl, arguments) }.map(|_| bytes as usize)
    }

    fn open_path(path: &CStr) -> Result<RawFd, Errno> {
        let arguments = arguments![libc::AT_FDCWD, path.as_ptr(), libc::O_PATH | libc::O_CLOEXEC, 0];
        // SAFETY: `path` is a string that lives through the call.
        unsafe { system_call(libc::SYS_openat, arguments) }.map(|fd| fd as RawFd)
    }

    fn close(fd: RawFd) -> Result<(), Errno> {
        // SAFETY: takes a number only; it is the caller's own descriptor.
        unsafe { system_call(libc::SYS_close, arguments![fd]) }.map(drop)
    }
}

impl Side for Ours {
    const NAME: &'static str = "ours";

    fn init(flags: i32) -> Result<OwnedFd, Errno> {
        // SAFETY: takes flags only.
        let fd = unsafe { libc::inotify_init1(flags) };
        Errno::result(fd)?;
        // SAFETY: the call has just returned this descriptor, which nobody else has.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    }

    fn add(fd: RawFd, path: &CStr, mask: u32) -> Result<i32, Errno> {
        // SAFETY: `path` is a string that lives through the call.
        Errno::result(unsafe { libc::inotify_add_watch(fd, path.as_ptr(), mask) })
    }

    fn remove(fd: RawFd, wd: i32) -> Result<(), Errno> {
        // SAFETY: takes numbers only.
        Errno::result(unsafe { libc::inotify_rm_watch(fd, wd) }).map(drop)
    }

    fn set_next_wd(fd: RawFd, wd: i32) -> Result<(), Errno> {
        // SAFETY: this request takes a number, not a pointer.
        Errno::result(unsafe { libc::ioctl(fd, SETNEXTWD as _, libc::c_ulong::from(wd.unsigned_abs())) }).map(drop)
    }

    fn read(fd: RawFd, buffer: &mut [u8]) -> Result<usize, Errno> {
        // SAFETY: the buffer is borrowed for the length of the call, and its length goes with it.
        let length = unsafe { libc::read(fd, buffer.as_mut_ptr().cast(), buffer.len()) };
        Errno::result(length).map(|length| length as usize)
    }

    fn queued_bytes(fd: RawFd) -> Result<usize, Errno> {
        let mut bytes: libc::c_int = 0;
        // SAFETY: FIONREAD writes one int, which lives through the call.
        Errno::result(unsafe { libc::ioctl(fd, libc::FIONREAD, &raw mut bytes) }).map(|_| bytes as usize)
    }

    fn open_path(path: &CStr) -> Result<RawFd, Errno> {
        // SAFETY: `path` is a string that lives through the call.
        Errno::result(unsafe { libc::openat(libc::AT_FDCWD, path.as_ptr(), libc::O_PATH | libc::O_CLOEXEC) })
    }

    fn close(fd: RawFd) -> Result<(), Errno> {
        // SAFETY: takes a number only; it is the caller's own descriptor.
        Errno::result(unsafe { libc::close(fd) }).map(drop)
    }
}

/// The rest of what a program does with an instance, which is the same for both sides.
pub(crate) fn must<T>(what: &str, result: Result<T, Errno>) -> T {
    result.unwrap_or_else(|errno| panic!("{what}: {errno}"))
}

/// Is this descriptor an instance of the kernel's own? The worker proves with it that each side is what it says.
pub(crate) fn is_kernels(fd: &OwnedFd) -> bool {
    let path = CString::new(format!("/proc/self/fd/{}", fd.as_raw_fd())).expect("a path without a zero byte");
    let mut target = [0_u8; 64];
    let arguments = arguments![libc::AT_FDCWD, path.as_ptr(), target.as_mut_ptr(), target.len()];
    // SAFETY: the path is a string and the target is ours to be written; both live through the call.
    let length = unsafe { system_call(libc::SYS_readlinkat, arguments) };
    length.is_ok_and(|length| target[..length] == *b"anon_inode:inotify")
}
