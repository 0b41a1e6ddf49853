//! The calls that wait for descriptors.

use core::ffi::{c_int, c_long};

use super::raw_call;
use crate::bitmap::EPOLLS;
use crate::epoll::{self, Event};
use crate::exports::is_zero;
use crate::poll;
use crate::raw::{PollFd, TimeSpec, number};
use crate::select::Sets;

/// Waits for descriptors among which are some of ours.
///
/// # Safety
///
/// The arguments must be those of the system call.
pub(super) unsafe fn wait(number: usize, arguments: [usize; 6]) -> Option<c_long> {
    let [a, b, c, d, e, f] = arguments;
    // SAFETY: by this function's contract.
    let once = || unsafe { raw_call(number, arguments) } as c_int;
    // SAFETY: the timeout is the caller's.
    let is_zero = |timeout: usize| unsafe { is_zero::<i64>(timeout as *const [i64; 2]) };
    let waited = match Wait::of(number)? {
        kind @ (Wait::Poll | Wait::TimedPoll) => {
            let entries = a as *mut PollFd;
            // SAFETY: the array is the caller's.
            if !unsafe { poll::concerns_us(entries, b) } {
                return None;
            }
            let is_immediate = if kind == Wait::Poll { c as c_int == 0 } else { is_zero(c) };
            // SAFETY: the array is the caller's.
            unsafe { poll::poll(entries, b, is_immediate, once) }
        }
        Wait::Select => {
            let [readable, writable, exceptional] = [b, c, d].map(|set| set as *mut u64);
            let sets = Sets { count: a as c_int, readable, writable, exceptional };
            // SAFETY: the sets are the caller's.
            if !unsafe { sets.concern_us() } {
                return None;
            }
            // SAFETY: the sets are the caller's.
            unsafe { sets.select(is_zero(e), once) }
        }
        kind @ (Wait::Epoll | Wait::TimedEpoll) => {
            if !EPOLLS.contains(a as c_int) || b == 0 {
                return None;
            }
            let now = TimeSpec { seconds: 0, nanoseconds: 0 };
            let again = |events: *mut Event, events_max: c_int, at_once: bool| {
                let timeout = match kind {
                    _ if !at_once => d,
                    Wait::Epoll => 0,
                    _ => &raw const now as usize,
                };
                // A second look lets no signal in.
                let signals = if at_once { 0 } else { e };
                // SAFETY: by this function's contract.
                unsafe { raw_call(number, [a, events as usize, events_max as usize, timeout, signals, f]) as c_int }
            };
            let is_immediate = if kind == Wait::Epoll { d as c_int == 0 } else { is_zero(d) };
            // SAFETY: the array is the caller's.
            unsafe { epoll::wait(b as *mut Event, c as c_int, is_immediate, again) }
        }
    };
    Some(waited.into())
}

/// The calls that wait, by their arguments.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wait {
    /// `poll`: milliseconds.
    Poll,
    /// `ppoll`: a `timespec`.
    TimedPoll,
    /// `select` and `pselect6`, whose timeouts are zero alike.
    Select,
    /// `epoll_wait` and `epoll_pwait`: milliseconds.
    Epoll,
    /// `epoll_pwait2`: a `timespec`.
    TimedEpoll,
}

impl Wait {
    fn of(number: usize) -> Option<Self> {
        Some(match number {
            #[cfg(target_arch = "x86_64")]
            number::POLL => Self::Poll,
            #[cfg(target_arch = "x86_64")]
            number::SELECT => Self::Select,
            #[cfg(target_arch = "x86_64")]
            number::EPOLL_WAIT => Self::Epoll,
            number::PPOLL => Self::TimedPoll,
            number::PSELECT6 => Self::Select,
            number::EPOLL_PWAIT => Self::Epoll,
            number::EPOLL_PWAIT2 => Self::TimedEpoll,
            _ => return None,
        })
    }
}
