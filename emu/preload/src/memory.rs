//! Whose memory is this?
//!
//! A vfork child runs in its parent's memory with descriptors of its own: what it learns about a descriptor must not be written
//! down, or the parent loses its own knowledge.

use core::sync::atomic::{AtomicI32, AtomicPtr, Ordering};

use crate::{raw, slot};

/// The pid of the owner, in a page that fork wipes; null before the constructor and where the kernel cannot wipe (before 4.14).
static WIPED: AtomicPtr<AtomicI32> = AtomicPtr::new(core::ptr::null_mut());

/// The pid at the constructor, for kernels that cannot wipe: there a forked child only forgoes what owners may do.
static FIRST: AtomicI32 = AtomicI32::new(0);

/// To be called once, by the constructor.
pub fn initialise() {
    let pid = raw::getpid();
    FIRST.store(pid, Ordering::Relaxed);
    if let Ok(page) = raw::map_wiped_on_fork() {
        let word = page.cast::<AtomicI32>();
        // SAFETY: the page was mapped just now, is aligned, zeroed and never unmapped.
        unsafe { &*word }.store(pid, Ordering::Relaxed);
        WIPED.store(word, Ordering::Release);
    }
}

/// The pid of this process if the memory is its own; `None` in a vfork child.
pub fn owner() -> Option<i32> {
    let pid = raw::getpid();
    let word = WIPED.load(Ordering::Acquire);
    if word.is_null() {
        return (FIRST.load(Ordering::Relaxed) == pid).then_some(pid);
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
