//! The two sides: the kernel's inotify, and the emulator's.

use std::ffi::CStr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;

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
        let fd = unsafe { system_call(libc::SYS_inotify_init1, [flags as usize, 0, 0]) }?;
        // SAFETY: the call has just returned this descriptor, which nobody else has.
        Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
    }

    fn add(fd: RawFd, path: &CStr, mask: u32) -> Result<i32, Errno> {
        let arguments = [fd as usize, path.as_ptr() as usize, mask as usize];
        // SAFETY: `path` is a string that lives through the call.
        unsafe { system_call(libc::SYS_inotify_add_watch, arguments) }.map(|wd| wd as i32)
    }

    fn remove(fd: RawFd, wd: i32) -> Result<(), Errno> {
        // SAFETY: takes numbers only.
        unsafe { system_call(libc::SYS_inotify_rm_watch, [fd as usize, wd as usize, 0]) }.map(drop)
    }

    fn set_next_wd(fd: RawFd, wd: i32) -> Result<(), Errno> {
        // SAFETY: takes numbers only.
        unsafe { system_call(libc::SYS_ioctl, [fd as usize, SETNEXTWD as usize, wd as usize]) }.map(drop)
    }

    fn read(fd: RawFd, buffer: &mut [u8]) -> Result<usize, Errno> {
        let arguments = [fd as usize, buffer.as_mut_ptr() as usize, buffer.len()];
        // SAFETY: the buffer is borrowed for the length of the call, and its length goes with it.
        unsafe { system_call(libc::SYS_read, arguments) }
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
}

/// The rest of what a program does with an instance, which is the same for both sides.
pub(crate) fn must<T>(what: &str, result: Result<T, Errno>) -> T {
    result.unwrap_or_else(|errno| panic!("{what}: {errno}"))
}

/// Is this descriptor an instance of the kernel's own? The worker proves with it that each side is what it says.
pub(crate) fn is_kernels(fd: &OwnedFd) -> bool {
    std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd()))
        .is_ok_and(|target| target.as_os_str() == "anon_inode:inotify")
}

/// Of the arguments that the callers below hand over no more than three are used.
#[cfg(target_arch = "x86_64")]
#[inline]
unsafe fn system_call(number: libc::c_long, arguments: [usize; 3]) -> Result<usize, Errno> {
    let result: isize;
    // SAFETY: by this function's contract; the kernel keeps every register but the result, rcx and r11.
    unsafe {
        core::arch::asm!(
            "syscall",
            inlateout("rax") number as isize => result,
            in("rdi") arguments[0],
            in("rsi") arguments[1],
            in("rdx") arguments[2],
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    outcome(result)
}

#[cfg(target_arch = "aarch64")]
#[inline]
unsafe fn system_call(number: libc::c_long, arguments: [usize; 3]) -> Result<usize, Errno> {
    let result: isize;
    // SAFETY: by this function's contract; the kernel keeps every register but the result.
    unsafe {
        core::arch::asm!(
            "svc 0",
            in("x8") number,
            inlateout("x0") arguments[0] => result,
            in("x1") arguments[1],
            in("x2") arguments[2],
            options(nostack),
        );
    }
    outcome(result)
}

fn outcome(result: isize) -> Result<usize, Errno> {
    if result < 0 { Err(Errno::from_raw(-result as i32)) } else { Ok(result as usize) }
}
