//! `poll` and its kin.
//!
//! A wait needs nothing: the socket wakes it. An answer that calls one of our descriptors not ready is settled first.

use crate::bitmap::{EPOLLS, INSTANCES};
use crate::identity;
use crate::raw::{self, POLLIN, PollFd};
use crate::settle;

const READABLE: i16 = POLLIN | 0x40;
/// `POLLOUT | POLLWRNORM | POLLWRBAND`: a socket has them always, inotify never.
pub const WRITABLE: i16 = 0x304;

/// Is any of these descriptors ours, or an epoll that holds one of ours?
///
/// # Safety
///
/// `entries` must be an array of `count` elements.
#[inline]
pub unsafe fn concerns_us(entries: *const PollFd, count: usize) -> bool {
    if !INSTANCES.was_used() || entries.is_null() {
        return false;
    }
    (0..count).any(|index| {
        // SAFETY: by this function's contract.
        let fd = unsafe { (*entries.wrapping_add(index)).fd };
        INSTANCES.contains(fd) || EPOLLS.contains(fd)
    })
}

/// Runs `wait`, libc's own call, over the entries.
///
/// # Safety
///
/// `entries` must be an array of `count` elements that the kernel may write.
pub unsafe fn poll(entries: *mut PollFd, count: usize, is_immediate: bool, wait: impl FnOnce() -> i32) -> i32 {
    // SAFETY: by this function's contract; the program has handed the array over for the length of the call.
    let entries = unsafe { core::slice::from_raw_parts_mut(entries, count) };
    let mut hides_writable = false;
    for entry in &mut *entries {
        if identity::hinted(entry.fd).is_some() {
            hides_writable |= entry.events & WRITABLE != 0;
            if is_immediate {
                settle_entry(entry);
            }
        } else if is_immediate && EPOLLS.contains(entry.fd) {
            settle::settle_all();
        }
    }
    if !hides_writable {
        let ready = wait();
        return if is_immediate || ready < 0 { ready } else { look_again(entries, ready) };
    }
    // The kernel must not see what would make it answer at once.
    let mut saved = Saved::new();
    for entry in &mut *entries {
        if INSTANCES.contains(entry.fd) && identity::instance(entry.fd).is_some() {
            saved.push(entry.events);
            entry.events &= !WRITABLE;
        }
    }
    let ready = wait();
    let mut index = 0;
    for entry in &mut *entries {
        if INSTANCES.contains(entry.fd) && identity::instance(entry.fd).is_some() {
            entry.events = saved.get(index, entry.events);
            index += 1;
        }
    }
    if is_immediate || ready < 0 { ready } else { look_again(entries, ready) }
}

/// The `events` of our entries while the kernel sees others; what does not fit is restored without the hidden bits.
struct Saved {
    events: [i16; 256],
    count: usize,
}

impl Saved {
    fn new() -> Self {
        Self { events: [0; 256], count: 0 }
    }

    fn push(&mut self, events: i16) {
        if let Some(to) = self.events.get_mut(self.count) {
            *to = events;
        }
        self.count += 1;
    }

    fn get(&self, index: usize, otherwise: i16) -> i16 {
        self.events.get(index).copied().unwrap_or(otherwise)
    }
}

fn settle_entry(entry: &PollFd) {
    if entry.events & READABLE != 0
        && let Some(instance) = identity::hinted(entry.fd)
    {
        settle::settle(&instance);
    }
}

/// After a wait: settles what was found not ready, and looks at it once more.
fn look_again(entries: &mut [PollFd], mut ready: i32) -> i32 {
    for entry in entries {
        if entry.revents != 0 || entry.events & READABLE == 0 {
            continue;
        }
        if let Some(instance) = identity::hinted(entry.fd) {
            settle::settle(&instance);
        } else if EPOLLS.contains(entry.fd) {
            settle::settle_all();
        } else {
            continue;
        }
        entry.revents = raw::poll_one(entry.fd, entry.events & !WRITABLE, false);
        ready += i32::from(entry.revents != 0);
    }
    ready
}
