//! libc's `errno`.

use crate::raw::{Errno, Outcome};

unsafe extern "C" {
    fn __errno_location() -> *mut i32;
}

/// The address of a function that only libc has.
pub fn location() -> usize {
    __errno_location as unsafe extern "C" fn() -> *mut i32 as usize
}

/// The value of `errno` before a call of libc's.
pub struct ErrnoKept(i32);

impl ErrnoKept {
    /// Keeps it.
    pub fn now() -> Self {
        Self(get())
    }

    /// Puts it back; returns what it had become.
    pub fn restore(self) -> Errno {
        let errno = Errno(get());
        set(Errno(self.0));
        errno
    }
}

/// Its value.
pub fn current() -> Errno {
    Errno(get())
}

fn get() -> i32 {
    // SAFETY: libc gives the address of this thread's errno.
    let location = unsafe { __errno_location() };
    // SAFETY: that address is valid as long as the thread.
    unsafe { location.read() }
}

fn set(errno: Errno) {
    // SAFETY: libc gives the address of this thread's errno.
    let location = unsafe { __errno_location() };
    // SAFETY: that address is valid as long as the thread.
    unsafe { location.write(errno.0) };
}

/// A result as libc's functions give it: -1 and errno for an error. On success errno is left alone.
#[inline]
pub fn report(outcome: Outcome) -> isize {
    match outcome {
        Ok(value) => value as isize,
        Err(errno) => {
            set(errno);
            -1
        }
    }
}
