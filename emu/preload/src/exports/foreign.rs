//! Calls that are not meant for an inotify descriptor: a socket would take them, inotify refuses.

use core::ffi::{c_char, c_int, c_void};

use super::fallback;
use super::path::no_stream;
use crate::bitmap::INSTANCES;
use crate::caller_path::{Bytes, Look};
use crate::errno::report;
use crate::identity;
use crate::next::{NEXT, address};
use crate::raw::{Errno, Outcome, number};

/// Functions whose first argument is the descriptor: an errno for ours, else the next one's.
macro_rules! refused {
    ($($name:ident($fd:ident: c_int $(, $argument:ident: $type:ty)*) -> $result:ty, $errno:ident, $number:ident;)*) => {
        $(
            #[unsafe(no_mangle)]
            unsafe extern "C" fn $name($fd: c_int $(, $argument: $type)*) -> $result {
                if identity::hinted($fd).is_some() {
                    return report(Err(Errno::$errno)) as $result;
                }
                super::next!($name: fn($fd: c_int $(, $argument: $type)*) -> $result, else number::$number, [$fd $(, $argument)*])
            }
        )*
    };
}

refused! {
    writev(fd: c_int, pieces: *const c_void, count: c_int) -> isize, BADF, WRITEV;
}

/// What is written at the current position: inotify is open for reading only.
macro_rules! write_pieces {
    ($($name:ident)*) => {
        $(
            #[unsafe(no_mangle)]
            unsafe extern "C" fn $name(fd: c_int, pieces: *const c_void, count: c_int, offset: i64, flags: c_int) -> isize {
                if offset == -1 && identity::hinted(fd).is_some() {
                    return report(Err(Errno::BADF));
                }
                super::next!($name: fn(fd: c_int, pieces: *const c_void, count: c_int, offset: i64, flags: c_int) -> isize,
                    else number::PWRITEV2, [fd, pieces, count, offset, 0, flags])
            }
        )*
    };
}

write_pieces! { pwritev2 pwritev64v2 }

/// The kernel knows five ways to seek, all of which leave an inotify descriptor where it is.
pub(super) fn seek_nowhere(whence: c_int) -> Outcome {
    const WHENCE_MAX: c_int = 4;
    if (0..=WHENCE_MAX).contains(&whence) { Ok(0) } else { Err(Errno::INVAL) }
}

#[unsafe(no_mangle)]
extern "C" fn lseek(fd: c_int, offset: i64, whence: c_int) -> i64 {
    if identity::hinted(fd).is_some() {
        return report(seek_nowhere(whence)) as i64;
    }
    super::next!(lseek: fn(fd: c_int, offset: i64, whence: c_int) -> i64, else number::LSEEK, [fd, offset, whence])
}

#[unsafe(no_mangle)]
extern "C" fn llseek(fd: c_int, offset: i64, whence: c_int) -> i64 {
    lseek(fd, offset, whence)
}

#[unsafe(no_mangle)]
extern "C" fn __lseek(fd: c_int, offset: i64, whence: c_int) -> i64 {
    lseek(fd, offset, whence)
}

#[unsafe(no_mangle)]
extern "C" fn lseek64(fd: c_int, offset: i64, whence: c_int) -> i64 {
    if identity::hinted(fd).is_some() {
        return report(seek_nowhere(whence)) as i64;
    }
    super::next!(lseek64: fn(fd: c_int, offset: i64, whence: c_int) -> i64, else number::LSEEK, [fd, offset, whence])
}

/// `eventfd_read` and `eventfd_write` are a read and a write of eight bytes.
#[unsafe(no_mangle)]
unsafe extern "C" fn eventfd_read(fd: c_int, value: *mut u64) -> c_int {
    if INSTANCES.contains(fd) {
        // SAFETY: the value is the caller's.
        return unsafe { super::read(fd, value.cast(), size_of::<u64>()) } as c_int;
    }
    // SAFETY: the value is the caller's.
    let fallback = || if unsafe { super::read(fd, value.cast(), size_of::<u64>()) } == 8 { 0 } else { -1 };
    super::next_or!(fallback(), eventfd_read(fd => c_int, value => *mut u64) -> c_int)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn eventfd_write(fd: c_int, value: u64) -> c_int {
    if identity::hinted(fd).is_some() {
        return report(Err(Errno::BADF)) as c_int;
    }
    // SAFETY: the value lives through the call.
    let fallback =
        || if unsafe { super::write(fd, (&raw const value).cast(), size_of::<u64>()) } == 8 { 0 } else { -1 };
    super::next_or!(fallback(), eventfd_write(fd => c_int, value => u64) -> c_int)
}

/// A stream for reading only can be made of an instance.
#[unsafe(no_mangle)]
unsafe extern "C" fn fdopen(fd: c_int, mode: *const c_char) -> *mut c_void {
    if identity::hinted(fd).is_some() {
        // SAFETY: any address will do.
        let mut mode = unsafe { Bytes::new(Look::Before, mode.cast()) };
        let reads = mode.next() == Some(b'r');
        // libc takes what stands behind a comma for the name of a character set.
        if !reads || mode.take_while(|byte| *byte != b',').any(|byte| byte == b'+') {
            report(Err(Errno::INVAL));
            return core::ptr::null_mut();
        }
    }
    super::next_or!(no_stream(Errno::NOSYS), fdopen(fd => c_int, mode => *const c_char) -> *mut c_void)
}
