//! `epoll_ctl` and `epoll_wait`.

use crate::bitmap::{EPOLLS, INSTANCES};
use crate::caller_memory::is_array_readable;
use crate::descriptor_path::DescriptorPath;
use crate::errno::ErrnoKept;
use crate::raw;
use crate::{identity, settle, slot};

/// `struct epoll_event`, which is packed on x86-64.
#[derive(Clone, Copy)]
#[cfg_attr(target_arch = "x86_64", repr(C, packed))]
#[cfg_attr(not(target_arch = "x86_64"), repr(C))]
pub struct Event {
    /// `EPOLLIN` and the like.
    pub events: u32,
    /// The program's own.
    pub data: u64,
}

const EPOLL_CTL_ADD: i32 = 1;
const EPOLL_CTL_DEL: i32 = 2;
/// `EPOLLOUT | EPOLLWRNORM | EPOLLWRBAND`.
const WRITABLE: u32 = 0x304;

/// `epoll_ctl(2)` by `control`, libc's own. An instance is never registered for writing.
///
/// # Safety
///
/// `event` must be readable, or a bad address.
pub unsafe fn control(
    epoll: i32,
    operation: i32,
    fd: i32,
    event: *mut Event,
    control: impl FnOnce(*mut Event) -> i32,
) -> i32 {
    let holds_ours = identity::hinted(fd).is_some();
    let result = if holds_ours && operation != EPOLL_CTL_DEL && is_array_readable(event, 1) {
        // SAFETY: by this function's contract.
        let mut shown = unsafe { event.read() };
        shown.events &= !WRITABLE;
        control(&raw mut shown)
    } else {
        control(event)
    };
    if result == 0 && operation == EPOLL_CTL_ADD && (holds_ours || EPOLLS.contains(fd)) {
        EPOLLS.set(epoll);
    }
    result
}

/// `epoll_wait(2)` of a descriptor that may hold one of ours. `wait` is libc's own call; its second argument asks for an answer at
/// once, in place of the program's timeout and signal mask.
///
/// # Safety
///
/// `events` must be an array of `events_max` elements that the kernel may write.
pub unsafe fn wait(
    events: *mut Event,
    events_max: i32,
    is_immediate: bool,
    mut wait: impl FnMut(*mut Event, i32, bool) -> i32,
) -> i32 {
    if is_immediate {
        settle::settle_all();
        return wait(events, events_max, false);
    }
    let before = slot::deliveries();
    let first = wait(events, events_max, false);
    if first < 0 || first >= events_max {
        return first;
    }
    // Something of ours may be missing from the answer.
    let changed = settle::settle_all();
    if !changed && slot::deliveries() == before {
        return first;
    }
    let errno = ErrnoKept::now();
    let mut total = first;
    // Level-triggered descriptors of the first answer come once more, and may stand before ours: the kernel goes round, so that
    // after so many looks every one has been seen.
    let looks_max = first / (events_max - first) + 2;
    for _ in 0..looks_max {
        let room = events_max - total;
        if room == 0 {
            break;
        }
        let rest = events.wrapping_add(total as usize);
        let found = wait(rest, room, true);
        for index in 0..found.max(0) {
            // SAFETY: the kernel has just filled this element, and joining only writes to elements before it or to itself.
            let event = unsafe { rest.wrapping_add(index as usize).read() };
            // SAFETY: the elements below `total` are filled, and `total` is at most the index of this one.
            total += unsafe { join(events, total, event) };
        }
        if found < room {
            break;
        }
    }
    errno.restore();
    total
}

/// Joins an event with the one of the same data among the first `total`, or puts it behind them. How many more there are then.
///
/// # Safety
///
/// `events` must have room for `total` elements, which are filled, and for one more.
unsafe fn join(events: *mut Event, total: i32, event: Event) -> i32 {
    // SAFETY: by this function's contract.
    let data = |index: i32| unsafe { events.wrapping_add(index as usize).read() }.data;
    let known = (0..total).find(|&index| data(index) == event.data);
    // SAFETY: by this function's contract.
    let to = unsafe { &mut *events.wrapping_add(known.unwrap_or(total) as usize) };
    let bits = if known.is_some() { to.events | event.events } else { event.events };
    *to = Event { events: bits, data: event.data };
    i32::from(known.is_none())
}

/// After exec: an epoll descriptor that was inherited may hold an instance that was inherited.
pub fn mark_if_epoll(fd: i32) {
    const EPOLL: &[u8] = b"anon_inode:[eventpoll]";
    let mut target = [0; 64];
    if !INSTANCES.contains(fd)
        && raw::read_link(DescriptorPath::new(fd).as_c_str(), &mut target).is_ok_and(|target| target == EPOLL)
    {
        EPOLLS.set(fd);
    }
}
