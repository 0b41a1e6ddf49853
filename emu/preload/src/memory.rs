//! Whose memory is this?
//!
//! A vfork child runs in its parent's memory with descriptors of its own: what it learns about a descriptor must not be written
//! down, or the parent loses its own knowledge.

use core::sync::atomic::{AtomicI32, AtomicPtr, Ordering};

use crate::raw::OnFork;
use crate::{raw, slot};

/// The pid of the owner, in a page that fork wipes; null before the constructor and where the kernel cannot wipe (before 4.14).
static WIPED: AtomicPtr<AtomicI32> = AtomicPtr::new(core::ptr::null_mut());

/// The pid of the owner, for kernels that cannot wipe.
static OWNER: AtomicI32 = AtomicI32::new(0);

/// There: a page that a forked child does not have, and a vfork child, which is in its parent's memory, does. Where it was the child may have
/// mapped another one by the time that it is asked for: such a child only forgoes what owners may do.
static NOT_INHERITED: AtomicPtr<u8> = AtomicPtr::new(core::ptr::null_mut());

/// To be called once, by the constructor.
pub fn initialise() {
    let pid = raw::getpid();
    OWNER.store(pid, Ordering::Relaxed);
    if let Ok(page) = raw::map_own_page(OnFork::Wiped) {
        let word = page.cast::<AtomicI32>();
        // SAFETY: the page was mapped just now, is aligned, zeroed and never unmapped.
        unsafe { &*word }.store(pid, Ordering::Relaxed);
        WIPED.store(word, Ordering::Release);
    } else if let Ok(page) = raw::map_own_page(OnFork::Missing) {
        NOT_INHERITED.store(page, Ordering::Release);
    }
}

/// [`owner`] where the kernel cannot wipe.
fn owner_by_page(pid: i32) -> Option<i32> {
    let known = OWNER.load(Ordering::Acquire);
    if known == pid {
        return Some(pid);
    }
    let page = NOT_INHERITED.load(Ordering::Acquire);
    if page.is_null() || raw::is_mapped(page) {
        return None;
    }
    let page = raw::map_own_page(OnFork::Missing).ok()?;
    // One thread came out of the fork; a handler of a signal may have been faster.
    if OWNER.compare_exchange(known, pid, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
        NOT_INHERITED.store(page, Ordering::Release);
        slot::forget_business_of_parent();
    }
    Some(pid)
}

/// The pid of this process if the memory is its own; `None` in a vfork child.
pub fn owner() -> Option<i32> {
    let pid = raw::getpid();
    let word = WIPED.load(Ordering::Acquire);
    if word.is_null() {
        return owner_by_page(pid);
    }
    // SAFETY: set once by `initialise` to a page that is never unmapped.
    let word = unsafe { &*word };
    match word.compare_exchange(0, pid, Ordering::Relaxed, Ordering::Relaxed) {
        Ok(_) => {
            slot::forget_business_of_parent();
            Some(pid)
        }
        Err(owner) => (owner == pid).then_some(pid),
    }
}

/// The pid of the process whose memory this is, also in a vfork child, and mostly without a system call.
pub fn tenant() -> Option<i32> {
    let word = WIPED.load(Ordering::Acquire);
    if word.is_null() {
        return owner();
    }
    // SAFETY: set once by `initialise` to a page that is never unmapped.
    match unsafe { &*word }.load(Ordering::Relaxed) {
        0 => owner(),
        pid => Some(pid),
    }
}
