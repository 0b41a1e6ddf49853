//! The calls that take a path.

use core::ffi::{c_char, c_int, c_long, c_uint, c_void};

use super::raw_call;
use crate::caller_path::Look;
use crate::exports::path::{self, Named};
use crate::place;
use crate::raw::number;

/// The numbers that [`call`] knows.
pub(super) const NUMBERS: &[usize] = &[
    number::OPENAT,
    number::OPENAT2,
    number::READLINKAT,
    number::FACCESSAT,
    number::FACCESSAT2,
    number::FCHMODAT,
    number::UTIMENSAT,
    number::NEWFSTATAT,
    number::STATX,
    #[cfg(target_arch = "x86_64")]
    number::OPEN,
    #[cfg(target_arch = "x86_64")]
    number::STAT,
    #[cfg(target_arch = "x86_64")]
    number::LSTAT,
    #[cfg(target_arch = "x86_64")]
    number::READLINK,
    #[cfg(target_arch = "x86_64")]
    number::ACCESS,
    #[cfg(target_arch = "x86_64")]
    number::CHMOD,
    #[cfg(target_arch = "x86_64")]
    number::CHOWN,
];

/// Makes the call, if any path can lead to something of ours.
///
/// # Safety
///
/// The arguments must be those of the system call.
pub(super) unsafe fn call(number: usize, arguments: [usize; 6]) -> Option<c_long> {
    if !place::is_concerned() {
        return None;
    }
    let [a, b, c, d, e, _] = arguments;
    let directory = a as c_int;
    let below = b as *const c_char;
    #[cfg(target_arch = "x86_64")]
    let path = a as *const c_char;
    // SAFETY: by this function's contract.
    let made = || unsafe { raw_call(number, arguments) };
    Some(match number {
        number::OPENAT | number::OPENAT2 => {
            // SAFETY: the call was made with this path.
            unsafe { path::after_opening(made() as c_int, directory, below) }.into()
        }
        number::READLINKAT => {
            // SAFETY: the call was made with these arguments.
            unsafe { path::after_reading_link(made() as isize, directory, below, c as *mut c_char, d) as c_long }
        }
        number::NEWFSTATAT => {
            // SAFETY: the arguments are the caller's.
            unsafe { path::fstatat(directory, below, c as *mut c_void, d as c_int) }.into()
        }
        number::STATX => {
            // SAFETY: the arguments are the caller's.
            unsafe { path::statx(directory, below, c as c_int, d as c_uint, e as *mut c_void) }.into()
        }
        #[cfg(target_arch = "x86_64")]
        number::OPEN => {
            // SAFETY: the call was made with this path.
            unsafe { path::after_opening(made() as c_int, place::WORKING_DIRECTORY, path) }.into()
        }
        #[cfg(target_arch = "x86_64")]
        number::READLINK => {
            // SAFETY: the call was made with these arguments.
            unsafe {
                path::after_reading_link(made() as isize, place::WORKING_DIRECTORY, path, b as *mut c_char, c) as c_long
            }
        }
        #[cfg(target_arch = "x86_64")]
        number::STAT => {
            // SAFETY: the arguments are the caller's.
            unsafe { path::fstatat(place::WORKING_DIRECTORY, path, b as *mut c_void, 0) }.into()
        }
        #[cfg(target_arch = "x86_64")]
        number::LSTAT => {
            // SAFETY: the arguments are the caller's.
            unsafe { path::fstatat(place::WORKING_DIRECTORY, path, b as *mut c_void, path::SYMLINK_NOFOLLOW) }.into()
        }
        number::FACCESSAT | number::FACCESSAT2 | number::FCHMODAT | number::UTIMENSAT => {
            let look = if matches!(number, number::FCHMODAT | number::UTIMENSAT) { Look::Before } else { Look::After };
            let flags = if matches!(number, number::FACCESSAT2 | number::UTIMENSAT) { d as c_int } else { 0 };
            // SAFETY: by this function's contract.
            let call =
                |directory, path| unsafe { raw_call(number, [directory as usize, path as usize, c, d, e, 0]) as isize };
            // SAFETY: the path is the caller's.
            unsafe { Named { look, directory, path: below, flags }.call(call) as c_long }
        }
        #[cfg(target_arch = "x86_64")]
        number::ACCESS | number::CHMOD | number::CHOWN => {
            let look = if number == number::ACCESS { Look::After } else { Look::Before };
            // SAFETY: by this function's contract.
            let call = |_, path| unsafe { raw_call(number, [path as usize, b, c, 0, 0, 0]) as isize };
            // SAFETY: the path is the caller's.
            unsafe { Named::by_path(look, path).call(call) as c_long }
        }
        _ => return None,
    })
}
