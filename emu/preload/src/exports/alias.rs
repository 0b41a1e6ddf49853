//! Second names that glibc exports for some of the functions.

use core::ffi::{c_int, c_ulong, c_void};

use super::file::{connect, send};
use super::{close, dup2, fcntl, poll, read, select, write};

use crate::raw::PollFd;

/// Functions that are another one under this name.
macro_rules! aliases {
    ($($name:ident = $function:ident($($argument:ident: $type:ty),*) -> $result:ty;)*) => {
        $(
            #[unsafe(no_mangle)]
            unsafe extern "C" fn $name($($argument: $type),*) -> $result {
                // SAFETY: the arguments are the caller's own, handed on as they came.
                #[allow(unused_unsafe, reason = "some of the functions are safe")]
                unsafe { $function($($argument),*) }
            }
        )*
    };
}

aliases! {
    __read = read(fd: c_int, buffer: *mut c_void, count: usize) -> isize;
    __write = write(fd: c_int, buffer: *const c_void, count: usize) -> isize;
    __send = send(fd: c_int, buffer: *const c_void, length: usize, flags: c_int) -> isize;
    __connect = connect(fd: c_int, address: *const c_void, length: u32) -> c_int;
    __close = close(fd: c_int) -> c_int;
    __dup2 = dup2(old: c_int, new: c_int) -> c_int;
    __fcntl = fcntl(fd: c_int, command: c_int, argument: usize) -> c_int;
    __poll = poll(entries: *mut PollFd, count: c_ulong, timeout: c_int) -> c_int;
    __select = select(count: c_int, readable: *mut u64, writable: *mut u64, exceptional: *mut u64, timeout: *mut [i64; 2]) -> c_int;
}
