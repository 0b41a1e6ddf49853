//! What else a program does with an instance's descriptor: `ioctl`, `fcntl`, `dup`.

use uinotify_wire::{FIONREAD, IOC_GETNEXTWD, IOC_SETNEXTWD};

use crate::bitmap::{EPOLLS, INSTANCES};
use crate::identity::Instance;
use crate::raw::{self, Errno, Outcome, POLLHUP};
use crate::{instance, log, settle};

const FIONBIO: u32 = 0x5421;
const FIOASYNC: u32 = 0x5452;
const FIOCLEX: u32 = 0x5451;
const FIONCLEX: u32 = 0x5450;

/// `ioctl(2)` of an instance, for the requests that are about the queue, the cursor or the descriptor; `None` for those that are
/// about the file, or unknown. Only the low 32 bits of the request count.
///
/// # Safety
///
/// What the request does through `argument` must be valid, or a bad address, which gives EFAULT.
pub unsafe fn ioctl(instance: &Instance, request: u32, argument: usize) -> Option<Outcome> {
    Some(match request {
        // SAFETY: by this function's contract.
        FIONREAD => unsafe { count(instance, argument) },
        IOC_SETNEXTWD => instance::set_cursor(instance, argument),
        IOC_GETNEXTWD => instance::get_cursor(instance, argument),
        // SAFETY: by this function's contract.
        FIONBIO | FIOASYNC | FIOCLEX | FIONCLEX => unsafe { raw::ioctl(instance.fd, request, argument) },
        _ => return None,
    })
}

/// `FIONREAD`.
///
/// # Safety
///
/// `argument` must be the address of an `int`, or a bad one, which gives EFAULT.
unsafe fn count(instance: &Instance, argument: usize) -> Outcome {
    if !settle::quiet(instance).is_settled() {
        match instance::count(instance, argument) {
            // The emulator has died: what is in the socket can still be read, and counts.
            Err(Errno::IO) => {}
            counted => return counted,
        }
    }
    // SAFETY: by this function's contract.
    unsafe { raw::ioctl_judged(instance.fd, FIONREAD, argument) }?;
    // SAFETY: the kernel has just written this word.
    let bytes = unsafe { (argument as *const i32).read_unaligned() };
    // A dead emulator's empty socket is no empty queue.
    if bytes == 0 && raw::poll_one(instance.fd, 0, false) & POLLHUP != 0 {
        log::death();
        return Err(Errno::IO);
    }
    Ok(0)
}

/// The flags as Linux shows them: inotify descriptors are `O_RDONLY`, sockets `O_RDWR`.
pub fn shown_flags(flags: usize) -> usize {
    const O_ACCMODE: usize = 3;
    flags & !O_ACCMODE
}

/// A new descriptor for the file behind `old`: what is known of one holds for the other.
#[inline]
pub fn duplicated(old: i32, new: i32) {
    if INSTANCES.contains(old) {
        INSTANCES.set(new);
    }
    if EPOLLS.contains(old) {
        EPOLLS.set(new);
    }
}
