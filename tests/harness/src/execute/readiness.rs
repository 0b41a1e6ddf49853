//! Asking whether a descriptor is ready.

use crate::operation::Asking;
use crate::trace::{Outcome, Return};

use super::call::{ended, returned};

/// Asks once. `select` cannot be asked of a number outside `fd_set`: EBADF without a call.
pub(super) fn ask(asking: Asking, number: i32, events: i16, timeout_ms: i32) -> Outcome {
    match asking {
        Asking::Poll => {
            let mut entry = entry(number, events);
            // SAFETY: one pollfd lies at the pointer for the length of the call.
            let count = unsafe { libc::poll(&raw mut entry, 1, timeout_ms) };
            ready(ended(count), entry.revents as u16 as u32)
        }
        Asking::Ppoll => {
            let mut entry = entry(number, events);
            let limit = timespec(timeout_ms);
            let limit = limit.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
            // SAFETY: one pollfd and, unless null, one timespec lie at the pointers for the length of
            // the call; a null signal mask leaves the mask.
            let count = unsafe { libc::ppoll(&raw mut entry, 1, limit, std::ptr::null()) };
            ready(ended(count), entry.revents as u16 as u32)
        }
        Asking::Select | Asking::Pselect => select(asking, number, events, timeout_ms),
        Asking::Epoll => epoll_once(number, events, timeout_ms),
    }
}

/// `epoll_wait` for one event.
pub(super) fn epoll_wait(epoll: i32, timeout_ms: i32) -> Outcome {
    let mut event = libc::epoll_event { events: 0, u64: 0 };
    // SAFETY: room for one event lies at the pointer for the length of the call.
    let count = unsafe { libc::epoll_wait(epoll, &raw mut event, 1, timeout_ms) };
    ready(ended(count), event.events)
}

/// `epoll_ctl`.
pub(super) fn epoll_control(epoll: i32, operation: i32, number: i32, events: u32) -> Outcome {
    let mut event = libc::epoll_event { events, u64: 0 };
    // SAFETY: one event lies at the pointer for the length of the call.
    returned(unsafe { libc::epoll_ctl(epoll, operation, number, &raw mut event) })
}

fn ready(returned: Return, events: u32) -> Outcome {
    Outcome::Ready { returned, events }
}

fn entry(number: i32, events: i16) -> libc::pollfd {
    libc::pollfd { fd: number, events, revents: 0 }
}

fn timespec(timeout_ms: i32) -> Option<libc::timespec> {
    (timeout_ms >= 0).then(|| libc::timespec {
        tv_sec: i64::from(timeout_ms / 1000),
        tv_nsec: i64::from(timeout_ms % 1000) * 1_000_000,
    })
}

fn epoll_once(number: i32, events: i16, timeout_ms: i32) -> Outcome {
    // SAFETY: takes no pointer.
    let epoll = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
    let added = epoll_control(epoll, libc::EPOLL_CTL_ADD, number, u32::from(events as u16));
    let outcome = if added == Outcome::Returned(Return::Value(0)) { epoll_wait(epoll, timeout_ms) } else { added };
    // SAFETY: the number was opened above and is nobody else's.
    unsafe { libc::close(epoll) };
    outcome
}

fn select(asking: Asking, number: i32, events: i16, timeout_ms: i32) -> Outcome {
    if !(0..libc::FD_SETSIZE as i32).contains(&number) {
        return ready(Return::Error(libc::EBADF), 0);
    }
    let kinds = [libc::POLLIN, libc::POLLOUT, libc::POLLPRI];
    // SAFETY: an fd_set is an array of integers, for which all zeros is the empty set.
    let mut sets: [libc::fd_set; 3] = unsafe { std::mem::zeroed() };
    for (set, kind) in sets.iter_mut().zip(kinds) {
        if events & kind != 0 {
            // SAFETY: the number is inside the set, as checked above.
            unsafe { libc::FD_SET(number, set) };
        }
    }
    let [readable, writable, exceptional] = &mut sets;
    let count = if asking == Asking::Select {
        let mut limit =
            libc::timeval { tv_sec: i64::from(timeout_ms / 1000), tv_usec: i64::from(timeout_ms % 1000) * 1000 };
        let limit = if timeout_ms >= 0 { &raw mut limit } else { std::ptr::null_mut() };
        // SAFETY: three sets and, unless null, one timeval lie at the pointers for the length of the call.
        unsafe { libc::select(number + 1, readable, writable, exceptional, limit) }
    } else {
        let limit = timespec(timeout_ms);
        let limit = limit.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
        let mask = std::ptr::null();
        // SAFETY: three sets and, unless null, one timespec lie at the pointers for the length of the
        // call; a null signal mask leaves the mask.
        unsafe { libc::pselect(number + 1, readable, writable, exceptional, limit, mask) }
    };
    let returned = ended(count);
    let mut bits = 0;
    for (set, kind) in sets.iter().zip(kinds) {
        // SAFETY: the number is inside the set, as checked above.
        if unsafe { libc::FD_ISSET(number, set) } {
            bits |= kind as u16 as u32;
        }
    }
    ready(returned, bits)
}
