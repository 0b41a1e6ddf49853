//! Threads, as the kernel sees them.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::shared::yield_until;

/// This thread's number.
pub(crate) fn thread_id() -> i32 {
    // SAFETY: takes nothing.
    unsafe { libc::gettid() }
}

/// Waits, with an end, until that thread of this process sleeps in a call.
pub(crate) fn is_asleep(thread: i32) -> bool {
    let path = format!("/proc/self/task/{thread}/stat");
    let mut seen = 0;
    yield_until(100_000, || {
        let stat = fs::read_to_string(&path).unwrap_or_default();
        // The name, in parentheses, may hold spaces.
        let sleeps = stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('S'));
        // It may be on its way there through a short wait.
        seen = if sleeps { seen + 1 } else { 0 };
        seen >= 20
    })
}

/// Waits, with an end, until that thread of this process has come to wait for the events of `fd`: by `read(2)`, or by the `recv(2)`
/// that stands for it. A signal that comes earlier interrupts no read.
pub(crate) fn waits_for(thread: i32, fd: i32) -> bool {
    let path = format!("/proc/self/task/{thread}/syscall");
    yield_until(1_000_000, || {
        let call = fs::read_to_string(&path).unwrap_or_default();
        let mut words = call.split(' ');
        let number = words.next().and_then(|number| number.parse().ok());
        let is_read = [libc::SYS_read, libc::SYS_recvfrom, libc::SYS_recvmsg].map(Some).contains(&number);
        is_read && words.next() == Some(&format!("{fd:#x}"))
    })
}

/// Sets the word at the end of the scope, however that comes: a thread that goes on until then is not waited for in vain.
pub(crate) struct SetAtEnd<'a>(pub(crate) &'a AtomicBool);

impl Drop for SetAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
