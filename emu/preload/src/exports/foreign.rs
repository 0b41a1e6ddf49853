//! Calls that are not meant for an inotify descriptor: a socket would take them, inotify refuses.

use core::ffi::{c_int, c_uint, c_void};

use super::fallback;
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
    recvfrom(fd: c_int, buffer: *mut c_void, length: usize, flags: c_int, address: *mut c_void, size: *mut u32) -> isize, NOTSOCK, RECVFROM;
    getsockopt(fd: c_int, level: c_int, name: c_int, value: *mut c_void, size: *mut u32) -> c_int, NOTSOCK, GETSOCKOPT;
    setsockopt(fd: c_int, level: c_int, name: c_int, value: *const c_void, size: u32) -> c_int, NOTSOCK, SETSOCKOPT;
    shutdown(fd: c_int, how: c_int) -> c_int, NOTSOCK, SHUTDOWN;
    sendto(fd: c_int, buffer: *const c_void, length: usize, flags: c_int, address: *const c_void, size: u32) -> isize, NOTSOCK, SENDTO;
    sendmsg(fd: c_int, header: *const c_void, flags: c_int) -> isize, NOTSOCK, SENDMSG;
    getsockname(fd: c_int, address: *mut c_void, size: *mut u32) -> c_int, NOTSOCK, GETSOCKNAME;
    getpeername(fd: c_int, address: *mut c_void, size: *mut u32) -> c_int, NOTSOCK, GETPEERNAME;
    writev(fd: c_int, pieces: *const c_void, count: c_int) -> isize, BADF, WRITEV;
    sendmmsg(fd: c_int, messages: *mut c_void, count: c_uint, flags: c_int) -> c_int, NOTSOCK, SENDMMSG;
    listen(fd: c_int, backlog: c_int) -> c_int, NOTSOCK, LISTEN;
    bind(fd: c_int, address: *const c_void, size: u32) -> c_int, NOTSOCK, BIND;
    accept(fd: c_int, address: *mut c_void, size: *mut u32) -> c_int, NOTSOCK, ACCEPT;
    accept4(fd: c_int, address: *mut c_void, size: *mut u32, flags: c_int) -> c_int, NOTSOCK, ACCEPT4;
}

#[unsafe(no_mangle)]
unsafe extern "C" fn recv(fd: c_int, buffer: *mut c_void, length: usize, flags: c_int) -> isize {
    if identity::hinted(fd).is_some() {
        return report(Err(Errno::NOTSOCK));
    }
    super::next!(recv: fn(fd: c_int, buffer: *mut c_void, length: usize, flags: c_int) -> isize,
        else number::RECVFROM, [fd, buffer, length, flags, 0, 0])
}

#[unsafe(no_mangle)]
unsafe extern "C" fn send(fd: c_int, buffer: *const c_void, length: usize, flags: c_int) -> isize {
    if identity::hinted(fd).is_some() {
        return report(Err(Errno::NOTSOCK));
    }
    super::next!(send: fn(fd: c_int, buffer: *const c_void, length: usize, flags: c_int) -> isize,
        else number::SENDTO, [fd, buffer, length, flags, 0, 0])
}

#[unsafe(no_mangle)]
unsafe extern "C" fn __recv_chk(fd: c_int, buffer: *mut c_void, length: usize, room: usize, flags: c_int) -> isize {
    if length > room {
        super::overflow(address(&NEXT.__chk_fail));
    }
    // SAFETY: the arguments are the caller's.
    unsafe { recv(fd, buffer, length, flags) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn __recvfrom_chk(
    fd: c_int,
    buffer: *mut c_void,
    length: usize,
    room: usize,
    flags: c_int,
    address_of_sender: *mut c_void,
    size: *mut u32,
) -> isize {
    if length > room {
        super::overflow(address(&NEXT.__chk_fail));
    }
    // SAFETY: the arguments are the caller's.
    unsafe { recvfrom(fd, buffer, length, flags, address_of_sender, size) }
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

#[unsafe(no_mangle)]
unsafe extern "C" fn splice(
    from: c_int,
    from_offset: *mut i64,
    to: c_int,
    to_offset: *mut i64,
    length: usize,
    flags: c_uint,
) -> isize {
    if identity::hinted(from).is_some() {
        return report(Err(Errno::INVAL));
    }
    if identity::hinted(to).is_some() {
        return report(Err(Errno::BADF));
    }
    super::next!(splice: fn(from: c_int, from_offset: *mut i64, to: c_int, to_offset: *mut i64, length: usize, flags: c_uint) -> isize,
        else number::SPLICE, [from, from_offset, to, to_offset, length, flags])
}

#[unsafe(no_mangle)]
unsafe extern "C" fn sendfile(to: c_int, from: c_int, offset: *mut i64, count: usize) -> isize {
    if identity::hinted(to).is_some() {
        return report(Err(Errno::BADF));
    }
    if identity::hinted(from).is_some() {
        return report(Err(Errno::INVAL));
    }
    super::next!(sendfile: fn(to: c_int, from: c_int, offset: *mut i64, count: usize) -> isize,
        else number::SENDFILE, [to, from, offset, count])
}

#[unsafe(no_mangle)]
unsafe extern "C" fn sendfile64(to: c_int, from: c_int, offset: *mut i64, count: usize) -> isize {
    // SAFETY: on 64-bit machines the two are one function.
    unsafe { sendfile(to, from, offset, count) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn tee(from: c_int, to: c_int, length: usize, flags: c_uint) -> isize {
    if identity::hinted(to).is_some() {
        return report(Err(Errno::BADF));
    }
    super::next!(tee: fn(from: c_int, to: c_int, length: usize, flags: c_uint) -> isize,
        else number::TEE, [from, to, length, flags])
}
