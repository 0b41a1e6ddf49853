//! Transfers between descriptors, of which an instance takes part in none: what the kernel says is what it says of its stand-in.

use core::ffi::{c_int, c_uint};

use super::fallback;
use crate::bitmap::INSTANCES;
use crate::errno::report;
use crate::next::{NEXT, address};
use crate::raw::{Errno, number};
use crate::{identity, raw, stand_in};

/// Makes the call `transfer(from, to)`, with stand-ins for instances.
///
/// Before Linux 5.10 every file that can be read could be spliced from: what stands in for the source holds nothing to be read.
pub(super) fn between(from: c_int, to: c_int, transfer: impl FnOnce(c_int, c_int) -> isize) -> isize {
    if !INSTANCES.contains(from) && !INSTANCES.contains(to) {
        return transfer(from, to);
    }
    let empty = identity::hinted(from).map(|_| raw::event_descriptor());
    let result = match (&empty, identity::hinted(to)) {
        (Some(Err(_)), _) => report(Err(Errno::NOMEM)),
        (Some(Ok(empty)), None) => transfer(*empty, to),
        (Some(Ok(empty)), Some(instance)) => {
            stand_in::with(&instance, |to| transfer(*empty, to)).unwrap_or_else(|| report(Err(Errno::NOMEM)))
        }
        (None, Some(instance)) => {
            stand_in::with(&instance, |to| transfer(from, to)).unwrap_or_else(|| report(Err(Errno::NOMEM)))
        }
        (None, None) => transfer(from, to),
    };
    if let Some(Ok(empty)) = empty {
        let _ = raw::close(empty);
    }
    result
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
    between(from, to, |from, to| {
        super::next!(splice: fn(from: c_int, from_offset: *mut i64, to: c_int, to_offset: *mut i64, length: usize, flags: c_uint) -> isize,
            else number::SPLICE, [from, from_offset, to, to_offset, length, flags])
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn tee(from: c_int, to: c_int, length: usize, flags: c_uint) -> isize {
    between(from, to, |from, to| {
        super::next!(tee: fn(from: c_int, to: c_int, length: usize, flags: c_uint) -> isize,
            else number::TEE, [from, to, length, flags])
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn copy_file_range(
    from: c_int,
    from_offset: *mut i64,
    to: c_int,
    to_offset: *mut i64,
    length: usize,
    flags: c_uint,
) -> isize {
    between(from, to, |from, to| {
        super::next!(copy_file_range: fn(from: c_int, from_offset: *mut i64, to: c_int, to_offset: *mut i64, length: usize, flags: c_uint) -> isize,
            else number::COPY_FILE_RANGE, [from, from_offset, to, to_offset, length, flags])
    })
}

/// Both names of `sendfile`, which on 64-bit machines are one function.
macro_rules! send_file {
    ($($name:ident)*) => {
        $(
            #[unsafe(no_mangle)]
            unsafe extern "C" fn $name(to: c_int, from: c_int, offset: *mut i64, count: usize) -> isize {
                between(from, to, |from, to| {
                    super::next!(sendfile: fn(to: c_int, from: c_int, offset: *mut i64, count: usize) -> isize,
                        else number::SENDFILE, [to, from, offset, count])
                })
            }
        )*
    };
}

send_file! { sendfile sendfile64 }
