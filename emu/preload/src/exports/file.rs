//! Calls about the file behind a descriptor. Of an instance they are made with the descriptor that stands in for it.

use core::ffi::{c_int, c_long, c_uint, c_void};

use super::fallback;
use crate::bitmap::INSTANCES;
use crate::caller_memory::is_array_readable;
use crate::errno::report;
use crate::identity::Instance;
use crate::next::{NEXT, address};
use crate::raw::{Errno, F_DUPFD, F_DUPFD_CLOEXEC, F_GETFL, MAP_ANONYMOUS, number};
use crate::{identity, raw, stand_in};

/// Makes the call with the instance's stand-in; `refuse` gives what it returns where there is none.
pub(super) fn with_stand_in<T>(
    instance: &Instance,
    call: impl FnOnce(c_int) -> T,
    refuse: impl FnOnce(isize) -> T,
) -> T {
    // Linux needs no descriptor for this.
    stand_in::with(instance, call).unwrap_or_else(|| refuse(report(Err(Errno::NOMEM))))
}

/// Makes the call with the instance's stand-in, or with what the program gave where that is no instance.
pub(super) fn with_file<T>(fd: c_int, call: impl FnOnce(c_int) -> T, refuse: impl FnOnce(isize) -> T) -> T {
    match identity::hinted(fd) {
        Some(instance) => with_stand_in(&instance, call, refuse),
        None => call(fd),
    }
}

/// Makes the system call about the file of its first argument with what stands in for that; `None` if it is no instance. Not by libc's
/// own function, which may be a point of cancellation: a descriptor of the moment would be left behind.
///
/// # Safety
///
/// The arguments must be those of the system call.
#[inline]
pub(super) unsafe fn asked_of_stand_in(number: usize, arguments: &[usize]) -> Option<isize> {
    let (fd, rest) = arguments.split_first()?;
    let instance = identity::hinted(*fd as c_int)?;
    let call = |fd: c_int| {
        let mut given = [fd as usize, 0, 0, 0, 0, 0];
        for (to, from) in given.iter_mut().skip(1).zip(rest) {
            *to = *from;
        }
        // SAFETY: by this function's contract.
        report(unsafe { raw::syscall(number, given) })
    };
    Some(with_stand_in(&instance, call, |refusal| refusal))
}

/// Functions about the file of descriptor `fd`.
macro_rules! about_the_file {
    ($($name:ident([$fd:ident] $(, $argument:ident: $type:ty)*) -> $result:ty, $number:ident, [$($raw:expr),*];)*) => {
        $(
            #[unsafe(no_mangle)]
            pub(super) unsafe extern "C" fn $name($fd: c_int $(, $argument: $type)*) -> $result {
                // SAFETY: the arguments are the caller's.
                if let Some(result) = unsafe { asked_of_stand_in(number::$number, &[$($raw as usize),*]) } {
                    return result as $result;
                }
                super::next!($name: fn($fd: c_int $(, $argument: $type)*) -> $result,
                    else number::$number, [$($raw),*])
            }
        )*
    };
}

about_the_file! {
    fstat([fd], status: *mut c_void) -> c_int, FSTAT, [fd, status];
    fstat64([fd], status: *mut c_void) -> c_int, FSTAT, [fd, status];
    fstatfs([fd], status: *mut c_void) -> c_int, FSTATFS, [fd, status];
    fstatfs64([fd], status: *mut c_void) -> c_int, FSTATFS, [fd, status];
    fchmod([fd], mode: c_uint) -> c_int, FCHMOD, [fd, mode];
    fchown([fd], owner: c_uint, group: c_uint) -> c_int, FCHOWN, [fd, owner, group];
    futimens([fd], times: *const c_void) -> c_int, UTIMENSAT, [fd, 0, times, 0];
    fgetxattr([fd], name: *const c_void, value: *mut c_void, size: usize) -> isize, FGETXATTR, [fd, name, value, size];
    fsetxattr([fd], name: *const c_void, value: *const c_void, size: usize, flags: c_int) -> c_int, FSETXATTR, [fd, name, value, size, flags];
    flistxattr([fd], list: *mut c_void, size: usize) -> isize, FLISTXATTR, [fd, list, size];
    fremovexattr([fd], name: *const c_void) -> c_int, FREMOVEXATTR, [fd, name];
    fsync([fd]) -> c_int, FSYNC, [fd];
    fdatasync([fd]) -> c_int, FDATASYNC, [fd];
    syncfs([fd]) -> c_int, SYNCFS, [fd];
    sync_file_range([fd], offset: i64, length: i64, flags: c_uint) -> c_int, SYNC_FILE_RANGE, [fd, offset, length, flags];
    readahead([fd], offset: i64, count: usize) -> isize, READAHEAD, [fd, offset, count];
    ftruncate([fd], length: i64) -> c_int, FTRUNCATE, [fd, length];
    ftruncate64([fd], length: i64) -> c_int, FTRUNCATE, [fd, length];
    fallocate([fd], mode: c_int, offset: i64, length: i64) -> c_int, FALLOCATE, [fd, mode, offset, length];
    fallocate64([fd], mode: c_int, offset: i64, length: i64) -> c_int, FALLOCATE, [fd, mode, offset, length];
    name_to_handle_at([fd], path: *const c_void, handle: *mut c_void, mount: *mut c_int, flags: c_int) -> c_int, NAME_TO_HANDLE_AT, [fd, path, handle, mount, flags];
    // Only a socket takes these.
    connect([fd], address: *const c_void, length: u32) -> c_int, CONNECT, [fd, address, length];
    bind([fd], address: *const c_void, length: u32) -> c_int, BIND, [fd, address, length];
    listen([fd], backlog: c_int) -> c_int, LISTEN, [fd, backlog];
    accept([fd], address: *mut c_void, size: *mut u32) -> c_int, ACCEPT, [fd, address, size];
    accept4([fd], address: *mut c_void, size: *mut u32, flags: c_int) -> c_int, ACCEPT4, [fd, address, size, flags];
    shutdown([fd], how: c_int) -> c_int, SHUTDOWN, [fd, how];
    getsockname([fd], address: *mut c_void, size: *mut u32) -> c_int, GETSOCKNAME, [fd, address, size];
    getpeername([fd], address: *mut c_void, size: *mut u32) -> c_int, GETPEERNAME, [fd, address, size];
    getsockopt([fd], level: c_int, name: c_int, value: *mut c_void, size: *mut u32) -> c_int, GETSOCKOPT, [fd, level, name, value, size];
    setsockopt([fd], level: c_int, name: c_int, value: *const c_void, size: u32) -> c_int, SETSOCKOPT, [fd, level, name, value, size];
    send([fd], buffer: *const c_void, length: usize, flags: c_int) -> isize, SENDTO, [fd, buffer, length, flags, 0, 0];
    sendto([fd], buffer: *const c_void, length: usize, flags: c_int, address: *const c_void, size: u32) -> isize, SENDTO, [fd, buffer, length, flags, address, size];
    sendmsg([fd], header: *const c_void, flags: c_int) -> isize, SENDMSG, [fd, header, flags];
    sendmmsg([fd], messages: *mut c_void, count: c_uint, flags: c_int) -> c_int, SENDMMSG, [fd, messages, count, flags];
    recv([fd], buffer: *mut c_void, length: usize, flags: c_int) -> isize, RECVFROM, [fd, buffer, length, flags, 0, 0];
    recvfrom([fd], buffer: *mut c_void, length: usize, flags: c_int, address: *mut c_void, size: *mut u32) -> isize, RECVFROM, [fd, buffer, length, flags, address, size];
}

/// Until glibc 2.33 programs called these, with the version of the structure, which libc checks.
macro_rules! versioned {
    ($($name:ident)*) => {
        $(
            #[unsafe(no_mangle)]
            unsafe extern "C" fn $name(version: c_int, fd: c_int, status: *mut c_void) -> c_int {
                let call = |fd: c_int| super::next!($name: fn(version: c_int, fd: c_int, status: *mut c_void) -> c_int,
                    else number::FSTAT, [fd, status]);
                with_file(fd, call, |refusal| refusal as c_int)
            }
        )*
    };
}

versioned! { __fxstat __fxstat64 }

/// As [`about_the_file`], where libc does more than a system call.
macro_rules! about_the_file_by_libc {
    ($($name:ident([$fd:ident] $(, $argument:ident: $type:ty)*) -> $result:ty, |$refusal:ident| $refused:expr;)*) => {
        $(
            #[unsafe(no_mangle)]
            unsafe extern "C" fn $name($fd: c_int $(, $argument: $type)*) -> $result {
                let refuse = |$refusal: isize| -> $result { $refused };
                with_file(
                    $fd,
                    |$fd| match address(&NEXT.$name) {
                        Some(function) => {
                            // SAFETY: the address is that of the C function of this name, whose type this is.
                            let function: unsafe extern "C" fn(c_int $(, $type)*) -> $result = unsafe { core::mem::transmute(function) };
                            // SAFETY: the arguments are the caller's own, handed on as they came.
                            unsafe { function($fd $(, $argument)*) }
                        }
                        None => refuse(report(Err(Errno::NOSYS))),
                    },
                    refuse,
                )
            }
        )*
    };
}

about_the_file_by_libc! {
    fstatvfs([fd], status: *mut c_void) -> c_int, |refusal| refusal as c_int;
    fstatvfs64([fd], status: *mut c_void) -> c_int, |refusal| refusal as c_int;
    fpathconf([fd], name: c_int) -> c_long, |refusal| refusal as c_long;
    futimes([fd], times: *const c_void) -> c_int, |refusal| refusal as c_int;
    lockf([fd], command: c_int, length: i64) -> c_int, |refusal| refusal as c_int;
    lockf64([fd], command: c_int, length: i64) -> c_int, |refusal| refusal as c_int;
    bindresvport([fd], address: *mut c_void) -> c_int, |refusal| refusal as c_int;
    isfdtype([fd], kind: c_int) -> c_int, |refusal| refusal as c_int;
    sockatmark([fd]) -> c_int, |refusal| refusal as c_int;
    getsourcefilter([fd], interface: u32, group: *const c_void, length: u32, mode: *mut u32, count: *mut u32, sources: *mut c_void) -> c_int, |refusal| refusal as c_int;
    setsourcefilter([fd], interface: u32, group: *const c_void, length: u32, mode: u32, count: u32, sources: *const c_void) -> c_int, |refusal| refusal as c_int;
    getipv4sourcefilter([fd], interface: u32, group: u32, mode: *mut u32, count: *mut u32, sources: *mut c_void) -> c_int, |refusal| refusal as c_int;
    setipv4sourcefilter([fd], interface: u32, group: u32, mode: u32, count: u32, sources: *const c_void) -> c_int, |refusal| refusal as c_int;
    // These end the program when the length is over the room.
    __recv_chk([fd], buffer: *mut c_void, length: usize, room: usize, flags: c_int) -> isize, |refusal| refusal;
    __recvfrom_chk([fd], buffer: *mut c_void, length: usize, room: usize, flags: c_int, sender: *mut c_void, size: *mut u32) -> isize, |refusal| refusal;
    // These return their errno.
    posix_fadvise([fd], offset: i64, length: i64, advice: c_int) -> c_int, |_refusal| Errno::NOMEM.0;
    posix_fadvise64([fd], offset: i64, length: i64, advice: c_int) -> c_int, |_refusal| Errno::NOMEM.0;
    posix_fallocate([fd], offset: i64, length: i64) -> c_int, |_refusal| Errno::NOMEM.0;
    posix_fallocate64([fd], offset: i64, length: i64) -> c_int, |_refusal| Errno::NOMEM.0;
}

/// Both names of `mmap`.
macro_rules! map {
    ($($name:ident)*) => {
        $(
            #[unsafe(no_mangle)]
            pub(super) unsafe extern "C" fn $name(start: *mut c_void, length: usize, protection: c_int, flags: c_int, fd: c_int, offset: i64) -> *mut c_void {
                let map = |fd: c_int| super::next!($name: fn(start: *mut c_void, length: usize, protection: c_int, flags: c_int, fd: c_int, offset: i64) -> *mut c_void,
                    else number::MMAP, [start, length, protection, flags, fd, offset]);
                if flags & MAP_ANONYMOUS != 0 || !INSTANCES.contains(fd) {
                    return map(fd);
                }
                with_file(fd, map, |refusal| refusal as *mut c_void)
            }
        )*
    };
}

map! { mmap mmap64 }

/// Flags that `F_SETFL` refuses for the file's sake: what the kernel says of them is asked of another anonymous file.
pub(super) fn may_set_flags(fd: c_int, command: c_int, flags: usize) -> Result<(), Errno> {
    const F_SETFL: c_int = 4;
    const O_NOATIME: usize = 0o1_000_000;
    if command != F_SETFL || flags & O_NOATIME == 0 || identity::hinted(fd).is_none() {
        return Ok(());
    }
    // Without a number for it the kernel is left to say.
    let Ok(other) = raw::event_descriptor() else { return Ok(()) };
    let result = raw::fcntl(other, F_SETFL, flags);
    let _ = raw::close(other);
    result.map(drop)
}

/// Does this command of `fcntl` ask about the file, and not about the descriptor, how it is open, or a lock that can be had?
pub(super) fn is_asked_by_fcntl(command: c_int, argument: usize) -> bool {
    const F_GETFD: c_int = 1;
    const F_SETFD: c_int = 2;
    const F_SETFL: c_int = 4;
    const F_GETLK: c_int = 5;
    const F_SETLK: c_int = 6;
    const F_SETLKW: c_int = 7;
    const F_SETOWN: c_int = 8;
    const F_GETSIG: c_int = 11;
    const F_SETOWN_EX: c_int = 15;
    const F_GETOWNER_UIDS: c_int = 17;
    const F_OFD_GETLK: c_int = 36;
    const F_OFD_SETLK: c_int = 37;
    const F_OFD_SETLKW: c_int = 38;
    const F_DUPFD_QUERY: c_int = 1027;
    match command {
        F_DUPFD
        | F_DUPFD_CLOEXEC
        | F_GETFD
        | F_SETFD
        | F_GETFL
        | F_SETFL
        | F_GETLK
        | F_OFD_GETLK
        | F_SETOWN..=F_GETSIG
        | F_SETOWN_EX..=F_GETOWNER_UIDS
        | F_DUPFD_QUERY => false,
        // A lock that is granted is one of the socket's: on the source the emulator would hold it as well.
        F_SETLK | F_SETLKW | F_OFD_SETLK | F_OFD_SETLKW => {
            const F_WRLCK: i16 = 1;
            let kind = argument as *const i16;
            // SAFETY: the structure begins with its kind, and can be read, as was asked.
            is_array_readable(kind, 1) && unsafe { kind.read_unaligned() } == F_WRLCK
        }
        _ => true,
    }
}
