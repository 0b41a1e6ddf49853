//! `poll` and its kin.
//!
//! A wait needs nothing: the socket wakes it. An answer that calls one of our descriptors not ready is settled first.

use crate::bitmap::{EPOLLS, INSTANCES};
use crate::caller_memory::is_array_readable;
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
/// `entries` must be an array of `count` elements, or a bad address.
#[inline]
pub unsafe fn concerns_us(entries: *const PollFd, count: usize) -> bool {
    // What cannot be read the kernel refuses.
    if !INSTANCES.was_used() || !is_array_readable(entries, count) {
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
        hides_writable |= entry.events & WRITABLE != 0 && INSTANCES.contains(entry.fd);
        if is_immediate {
            settle_entry(entry);
        }
    }
    if !hides_writable {
        let ready = wait();
        return if is_immediate || ready < 0 { ready } else { look_again(entries, ready) };
    }
    // The kernel must not see what would make it answer at once.
    let mut saved = Saved::new();
    for entry in &mut *entries {
        if entry.events & WRITABLE != 0 && identity::hinted(entry.fd).is_some() {
            saved.push(entry);
        }
    }
    let ready = wait();
    saved.restore(entries);
    if is_immediate || ready < 0 { ready } else { look_again(entries, ready) }
}

/// What was taken out of `events` while the kernel looked: the place of an entry, and its bits.
struct Saved {
    entries: [(*const PollFd, i16); 64],
    count: usize,
}

impl Saved {
    fn new() -> Self {
        Self { entries: [(core::ptr::null(), 0); 64], count: 0 }
    }

    /// Takes the bits out, if there is room to remember them.
    fn push(&mut self, entry: &mut PollFd) {
        if let Some(to) = self.entries.get_mut(self.count) {
            *to = (&raw const *entry, entry.events);
            entry.events &= !WRITABLE;
            self.count += 1;
        }
    }

    fn restore(&self, entries: &mut [PollFd]) {
        let mut saved = self.entries.iter().take(self.count).peekable();
        for entry in entries {
            if let Some((place, events)) = saved.peek()
                && core::ptr::eq(*place, entry)
            {
                entry.events = *events;
                saved.next();
            }
        }
    }
}

fn settle_entry(entry: &PollFd) {
    if entry.events & READABLE == 0 {
        return;
    }
    if let Some(instance) = identity::hinted(entry.fd) {
        settle::settle(&instance);
    } else if EPOLLS.contains(entry.fd) {
        settle::settle_all();
    }
}

/// After a wait: settles what was found not ready, and looks at it once more.
fn look_again(entries: &mut [PollFd], mut ready: i32) -> i32 {
    for entry in entries {
        let is_ours = INSTANCES.contains(entry.fd) || EPOLLS.contains(entry.fd);
        if !is_ours || entry.revents != 0 || entry.events & READABLE == 0 {
            continue;
        }
        settle_entry(entry);
        entry.revents = raw::poll_one(entry.fd, entry.events & !WRITABLE, false);
        ready += i32::from(entry.revents != 0);
    }
    ready
}
