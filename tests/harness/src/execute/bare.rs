//! The calls about inotify: by libc's functions, or by number, as programs make them that do not call libc.
//!
//! Past the shim a read takes one event, of which it cuts what does not fit, and is not settled (DIFF-7). A reader who knows that can have
//! all the same what Linux gives: FIONREAD first, which settles, then the size of each event before it is read. Reads by number are made so.

use std::ffi::c_void;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::errno::Errno;

use crate::raw::system_call;
use crate::{arguments, raw_syscall};

/// The argument that has the executor make calls by number.
pub(crate) const BY_NUMBER: &str = "--by-number";

static IS_BARE: AtomicBool = AtomicBool::new(false);

/// From now on calls are made by number.
pub(super) fn call_by_number() {
    IS_BARE.store(true, Ordering::Relaxed);
}

fn is_bare() -> bool {
    IS_BARE.load(Ordering::Relaxed)
}

/// `inotify_init1`.
pub(super) fn init(flags: i32) -> i32 {
    if is_bare() {
        // SAFETY: takes flags only.
        return unsafe { raw_syscall!(libc::SYS_inotify_init1, flags) as i32 };
    }
    // SAFETY: takes no pointer.
    unsafe { libc::inotify_init1(flags) }
}

/// `inotify_add_watch`.
///
/// # Safety
///
/// `path` must be a string, or a bad address, which gives EFAULT.
pub(super) unsafe fn add(number: RawFd, path: *const libc::c_char, mask: u32) -> i32 {
    if is_bare() {
        // SAFETY: by this function's contract.
        return unsafe { raw_syscall!(libc::SYS_inotify_add_watch, number, path, mask) as i32 };
    }
    // SAFETY: by this function's contract.
    unsafe { libc::inotify_add_watch(number, path, mask) }
}

/// `inotify_rm_watch`.
pub(super) fn remove(number: RawFd, wd: i32) -> i32 {
    if is_bare() {
        // SAFETY: takes numbers.
        return unsafe { raw_syscall!(libc::SYS_inotify_rm_watch, number, wd) as i32 };
    }
    // SAFETY: takes no pointer.
    unsafe { libc::inotify_rm_watch(number, wd) }
}

/// `ioctl`.
///
/// # Safety
///
/// What the command does through `argument` must be valid, or a bad address, which gives EFAULT.
pub(super) unsafe fn control(number: RawFd, command: u64, argument: usize) -> i32 {
    if is_bare() {
        // SAFETY: by this function's contract.
        return unsafe { raw_syscall!(libc::SYS_ioctl, number, command, argument) as i32 };
    }
    // SAFETY: by this function's contract.
    unsafe { libc::ioctl(number, command as libc::Ioctl, argument) }
}

/// `read`.
///
/// # Safety
///
/// `size` writable bytes must lie at `buffer`, or nothing, which gives EFAULT.
pub(super) unsafe fn read(number: RawFd, buffer: *mut c_void, size: usize, is_group: bool) -> isize {
    if is_bare() && is_group {
        // SAFETY: by this function's contract.
        return unsafe { read_events(number, buffer, size) };
    }
    // SAFETY: by this function's contract.
    unsafe { libc::read(number, buffer, size) }
}

/// # Safety
///
/// As for [`read`].
unsafe fn read_events(number: RawFd, buffer: *mut c_void, size: usize) -> isize {
    let (mut waiting, mut taken): (libc::c_int, usize) = (0, 0);
    // SAFETY: FIONREAD writes one int, which lives through the call.
    let settled = unsafe { system_call(libc::SYS_ioctl, arguments![number, libc::FIONREAD, &raw mut waiting]) };
    if settled.is_ok() && waiting > 0 {
        loop {
            match next_bytes(number) {
                // A long queue is not in the socket all at once.
                None if taken < waiting.unsigned_abs() as usize => {
                    settle(number);
                    if next_bytes(number).is_none() {
                        break;
                    }
                    continue;
                }
                None => break,
                Some(next) if next > size - taken && taken == 0 => {
                    Errno::EINVAL.set();
                    return -1;
                }
                Some(next) if next > size - taken => break,
                Some(_) => {}
            }
            let at = buffer.wrapping_byte_add(taken);
            // SAFETY: by this function's contract, for what is left of the room.
            match unsafe { system_call(libc::SYS_read, arguments![number, at, size - taken]) } {
                Ok(length @ 1..) => taken += length,
                Err(errno) if taken == 0 => {
                    errno.set();
                    return -1;
                }
                _ => break,
            }
        }
    }
    if taken > 0 {
        return taken.cast_signed();
    }
    // SAFETY: by this function's contract.
    unsafe { raw_syscall!(libc::SYS_read, number, buffer, size) as isize }
}

/// Has everything that has happened come into the queue, and from there into the socket.
pub(super) fn settle(number: RawFd) {
    if is_bare() {
        let mut waiting: libc::c_int = 0;
        // SAFETY: FIONREAD writes one int, which lives through the call. What it says is not asked for.
        let _ = unsafe { system_call(libc::SYS_ioctl, arguments![number, libc::FIONREAD, &raw mut waiting]) };
    }
}

/// The size of the event that is read next.
fn next_bytes(number: RawFd) -> Option<usize> {
    let flags = libc::MSG_PEEK | libc::MSG_TRUNC | libc::MSG_DONTWAIT;
    let nothing = std::ptr::null_mut::<c_void>();
    // SAFETY: nothing is written where there is no room.
    unsafe { system_call(libc::SYS_recvfrom, arguments![number, nothing, 0, flags]) }.ok()
}
