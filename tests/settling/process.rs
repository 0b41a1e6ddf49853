//! Child processes of a program under test.

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork};

/// A child that is a copy of this process. It ends with this process at the latest.
///
/// # Panics
///
/// If there is no process to be had.
pub(crate) fn start(work: impl FnOnce()) -> Pid {
    // SAFETY: the programs that call this have one thread, or do nothing in the child that another thread may hold a lock of.
    match unsafe { fork() }.expect("a process") {
        ForkResult::Child => {
            // SAFETY: takes numbers only.
            unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
            // SAFETY: ends this process, without the parent's handlers at exit.
            unsafe { libc::_exit(i32::from(result.is_err())) }
        }
        ForkResult::Parent { child } => child,
    }
}

/// Waits for a child that must end well.
///
/// # Panics
///
/// If it has failed.
pub(crate) fn finish(child: Pid) {
    loop {
        match waitpid(child, None) {
            Err(Errno::EINTR) => {}
            status => {
                assert_eq!(status, Ok(WaitStatus::Exited(child, 0)), "the child has failed");
                return;
            }
        }
    }
}

/// A child and its end.
pub(crate) fn run(work: impl FnOnce()) {
    finish(start(work));
}

/// Ends a child that serves for ever.
pub(crate) fn end(child: Pid) {
    // It is ours and has not been waited for.
    let _ = kill(child, Signal::SIGKILL);
    let _ = waitpid(child, None);
}
