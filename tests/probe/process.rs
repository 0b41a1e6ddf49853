//! Processes of a program under test.

use std::io::{Read, Write};

use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, fork};

/// A call that takes longer hangs, and is ended.
const HANG_SECONDS: u32 = 20;

/// What calls may send ends no program; and no terminal of the tester's is theirs.
pub(crate) fn ignore_signals() {
    for signal in [libc::SIGIO, libc::SIGUSR1, libc::SIGPIPE, libc::SIGTTOU, libc::SIGURG, libc::SIGRTMAX()] {
        // SAFETY: no handler is installed.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
    // SAFETY: takes nothing.
    unsafe { libc::setsid() };
}

/// What the work gives, done in a process of its own; or how that has ended.
pub(crate) fn in_child(work: impl FnOnce() -> String) -> Result<String, String> {
    let (mut output, mut input) = std::io::pipe().expect("a pipe");
    // SAFETY: this process has one thread.
    match unsafe { fork() }.expect("a process") {
        ForkResult::Child => {
            // SAFETY: takes numbers only; SIGALRM ends a process that does not handle it.
            unsafe { libc::alarm(HANG_SECONDS) };
            let written = input.write_all(work().as_bytes());
            // SAFETY: ends this process, without the parent's handlers at exit.
            unsafe { libc::_exit(i32::from(written.is_err())) }
        }
        ForkResult::Parent { child } => {
            drop(input);
            let mut said = String::new();
            let read = output.read_to_string(&mut said);
            match waitpid(child, None) {
                Ok(WaitStatus::Exited(_, 0)) if read.is_ok() => Ok(said),
                Ok(WaitStatus::Signaled(_, signal, _)) => Err(format!("ended by {signal}")),
                status => Err(format!("ended with {status:?}: {read:?}")),
            }
        }
    }
}
