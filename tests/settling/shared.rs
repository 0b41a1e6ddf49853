//! Memory that two processes share, and waiting in it.

use std::ops::Deref;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

/// A value in memory that fork does not copy.
#[derive(Debug)]
pub(crate) struct Shared<T>(NonNull<T>);

/// What may lie in shared memory: atomics, of which all zeroes is a value.
///
/// # Safety
///
/// All zeroes must be a value, and every change must be one that a shared reference allows.
pub(crate) unsafe trait Shareable {}

impl<T: Shareable> Shared<T> {
    pub(crate) fn new() -> Self {
        // SAFETY: a new mapping where the kernel chooses overlaps nothing.
        let address = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                size_of::<T>(),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        assert_ne!(address, libc::MAP_FAILED, "mmap");
        Self(NonNull::new(address.cast()).expect("the kernel maps nothing at 0"))
    }
}

impl<T> Deref for Shared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: the mapping is zeroed, which is a value, aligned to a page, and never unmapped.
        unsafe { self.0.as_ref() }
    }
}

/// Sleeps until `word` is no longer `old`. Other wake-ups are none.
pub(crate) fn wait_while(word: &AtomicU32, old: u32) {
    while word.load(Ordering::Acquire) == old {
        let (operation, no_timeout) = (libc::FUTEX_WAIT, std::ptr::null::<libc::timespec>());
        // SAFETY: the word lives through the call.
        unsafe { uinotify_harness::raw_syscall!(libc::SYS_futex, word.as_ptr(), operation, old, no_timeout) };
    }
}

/// Sets the word and wakes who waits for it.
pub(crate) fn set_and_wake(word: &AtomicU32, value: u32) {
    word.store(value, Ordering::Release);
    // SAFETY: the word lives through the call.
    unsafe { uinotify_harness::raw_syscall!(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, 1) };
}

/// Lets others run until `holds`, but not for ever. False if it does not come to hold.
pub(crate) fn yield_until(times: u32, mut holds: impl FnMut() -> bool) -> bool {
    for _ in 0..times {
        if holds() {
            return true;
        }
        // SAFETY: takes nothing.
        unsafe { libc::sched_yield() };
    }
    holds()
}

/// Yields until it holds, for as long as a busy machine may take for what is a moment's work.
pub(crate) fn yield_patiently(mut holds: impl FnMut() -> bool) -> bool {
    const PATIENCE: std::time::Duration = std::time::Duration::from_secs(20);
    let start = std::time::Instant::now();
    while start.elapsed() < PATIENCE {
        if yield_until(100, &mut holds) {
            return true;
        }
    }
    holds()
}

/// Burns time: a pause of up to `microseconds` without giving the processor away.
pub(crate) fn spin(microseconds: u32) {
    let start = std::time::Instant::now();
    let pause = std::time::Duration::from_micros(microseconds.into());
    while start.elapsed() < pause {
        std::hint::spin_loop();
    }
}
