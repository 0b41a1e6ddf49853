//! What a packet weighs.
//!
//! `SIOCOUTQ` on the emulator's end gives the memory that unread packets take, which depends on the kernel: it is measured, not
//! assumed.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, send, socketpair};
use uinotify_wire::{EVENT_BYTES_MAX, EVENT_HEADER_BYTES};

/// Names are padded to multiples of this.
const NAME_STEP_BYTES: usize = 16;
const SIZES: usize = (EVENT_BYTES_MAX - EVENT_HEADER_BYTES) / NAME_STEP_BYTES + 1;

/// The kernel holds a reference of a byte or a few while it runs the callbacks of a read; weights are multiples of this.
const ROUNDING_BYTES: u32 = 64;

/// The weight of an event by its size.
#[derive(Clone, Debug)]
pub(crate) struct Weights([u32; SIZES]);

impl Weights {
    /// Measures on a socketpair of its own.
    pub(crate) fn measure() -> io::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let mut weights = [0; SIZES];
        for (index, weight) in weights.iter_mut().enumerate() {
            let (ours, _theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)?;
            let packet = [0; EVENT_BYTES_MAX];
            let length = EVENT_HEADER_BYTES + index * NAME_STEP_BYTES;
            send(ours.as_raw_fd(), &packet[..length], MsgFlags::MSG_NOSIGNAL)?;
            *weight = unread_weight(std::os::fd::AsFd::as_fd(&ours))?;
            if *weight == 0 {
                return Err(io::Error::other("this kernel does not tell what of a socket is unread (SIOCOUTQ is 0)"));
            }
        }
        Ok(Self(weights))
    }

    /// The weight of an event of `size` bytes.
    pub(crate) fn of(&self, size: usize) -> u32 {
        let index = size.saturating_sub(EVENT_HEADER_BYTES).div_ceil(NAME_STEP_BYTES);
        self.0[index.min(SIZES - 1)]
    }
}

/// What the packets weigh that were sent and not read.
pub(crate) fn unread_weight(end: BorrowedFd<'_>) -> io::Result<u32> {
    let mut weight: libc::c_int = 0;
    // SAFETY: SIOCOUTQ writes one int, which lives through the call.
    let result = unsafe { libc::ioctl(end.as_raw_fd(), libc::TIOCOUTQ, &raw mut weight) };
    nix::errno::Errno::result(result)?;
    Ok(u32::try_from(weight).unwrap_or(0) / ROUNDING_BYTES * ROUNDING_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn larger_events_do_not_weigh_less() {
        let weights = Weights::measure().expect("weights");
        assert!(weights.0.is_sorted(), "{weights:?}");
        assert!(weights.0.iter().all(|weight| weight % ROUNDING_BYTES == 0), "{weights:?}");
        assert_eq!(weights.of(16), weights.0[0]);
        assert_eq!(weights.of(272), weights.0[SIZES - 1]);
    }
}
