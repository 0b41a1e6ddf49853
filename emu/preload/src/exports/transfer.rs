//! Transfers between descriptors, of which an instance takes part in none: what the kernel says is what it says of its stand-in.

use core::ffi::{c_int, c_uint};

use super::fallback;
use crate::bitmap::INSTANCES;
use crate::errno::report;
use crate::next::{NEXT, address};
use crate::raw::{Errno, Outcome, number, syscall};
use crate::{identity, raw, stand_in};

/// Makes the system call with stand-ins for instances; `None` if it is not about any.
///
/// Before Linux 5.10 every file that can be read could be spliced from: what stands in for the source holds nothing to be read.
///
/// # Safety
///
/// The arguments must be those of the system call, one of the four.
pub(super) unsafe fn between(number: usize, arguments: [usize; 6]) -> Option<isize> {
    let (at_from, at_to) = match number {
        number::SPLICE | number::COPY_FILE_RANGE => (0, 2),
        number::TEE => (0, 1),
        _ => (1, 0),
    };
    let descriptor = |at: usize| arguments.get(at).map_or(-1, |fd| *fd as c_int);
    let (from, to) = (descriptor(at_from), descriptor(at_to));
    if !INSTANCES.contains(from) && !INSTANCES.contains(to) {
        return None;
    }
    let transfer = |from: c_int, to: c_int| -> Outcome {
        let mut given = arguments;
        for (at, fd) in [(at_from, from), (at_to, to)] {
            if let Some(given) = given.get_mut(at) {
                *given = fd as usize;
            }
        }
        // SAFETY: by this function's contract.
        unsafe { syscall(number, given) }
    };
    let transfer_from = |from: c_int| match identity::hinted(to) {
        Some(instance) => stand_in::with(&instance, |to| transfer(from, to)).unwrap_or(Err(Errno::NOMEM)),
        None => transfer(from, to),
    };
    let outcome = match identity::hinted(from).map(|_| raw::event_descriptor()) {
        Some(Ok(empty)) => {
            let outcome = transfer_from(empty);
            let _ = raw::close(empty);
            outcome
        }
        Some(Err(_)) => Err(Errno::NOMEM),
        None => transfer_from(from),
    };
    Some(report(outcome))
}

/// Functions that are system calls of these names.
macro_rules! transfers {
    ($($name:ident($($argument:ident: $type:ty),*), $next:ident, $number:ident;)*) => {
        $(
            #[unsafe(no_mangle)]
            unsafe extern "C" fn $name($($argument: $type),*) -> isize {
                let mut arguments = [0; 6];
                for (to, from) in arguments.iter_mut().zip([$($argument as usize),*]) {
                    *to = from;
                }
                // SAFETY: the arguments are the caller's.
                if let Some(result) = unsafe { between(number::$number, arguments) } {
                    return result;
                }
                super::next!($next: fn($($argument: $type),*) -> isize, else number::$number, [$($argument),*])
            }
        )*
    };
}

// On 64-bit machines both names of sendfile are one function.
transfers! {
    splice(from: c_int, from_offset: *mut i64, to: c_int, to_offset: *mut i64, length: usize, flags: c_uint), splice, SPLICE;
    tee(from: c_int, to: c_int, length: usize, flags: c_uint), tee, TEE;
    copy_file_range(from: c_int, from_offset: *mut i64, to: c_int, to_offset: *mut i64, length: usize, flags: c_uint), copy_file_range, COPY_FILE_RANGE;
    sendfile(to: c_int, from: c_int, offset: *mut i64, count: usize), sendfile, SENDFILE;
    sendfile64(to: c_int, from: c_int, offset: *mut i64, count: usize), sendfile, SENDFILE;
}
