//! `epoll_ctl` and `epoll_wait`.

use crate::bitmap::{EPOLLS, INSTANCES};
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
/// `event` must be null or readable.
pub unsafe fn control(
    epoll: i32,
    operation: i32,
    fd: i32,
    event: *mut Event,
    control: impl FnOnce(*mut Event) -> i32,
) -> i32 {
    let holds_ours = identity::hinted(fd).is_some();
    let result = if holds_ours && operation != EPOLL_CTL_DEL && !event.is_null() {
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
    let rest = events.wrapping_add(first as usize);
    let second = wait(rest, events_max - first, true);
    errno.restore();
    let mut total = first;
    for index in 0..second.max(0) {
        // SAFETY: the kernel has just filled this element.
        let found = unsafe { rest.wrapping_add(index as usize).read() };
        // A level-triggered descriptor of the first answer is reported once more.
        // SAFETY: the elements below `total` are filled.
        let known = (0..total).find(|&known| unsafe { events.wrapping_add(known as usize).read() }.data == found.data);
        // SAFETY: the index is below `events_max`: as many elements were filled.
        let to = unsafe { &mut *events.wrapping_add(known.unwrap_or(total) as usize) };
        let bits = if known.is_some() { to.events | found.events } else { found.events };
        *to = Event { events: bits, data: found.data };
        total += i32::from(known.is_none());
    }
    total
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
