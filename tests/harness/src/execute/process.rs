//! Forked processes inside a list.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use anyhow::{Context, Result, ensure};

use super::call::{Argument, returned};
use super::machine::Machine;
use crate::operation::{Operation, Path};
use crate::trace::{Outcome, Return};

/// The executor's own descriptors are moved up to here or further, so that those of a list get the
/// lowest numbers, the same on both subjects.
const OWN_FIRST: RawFd = 200;

/// A pipe, read end first, at numbers that no list meets. Both ends are close-on-exec.
pub(super) fn high_pipe() -> Result<(File, File)> {
    let mut low = [-1; 2];
    // SAFETY: room for two numbers lies at the pointer.
    let made = unsafe { libc::pipe2(low.as_mut_ptr(), libc::O_CLOEXEC) };
    ensure!(made == 0, "no pipe");
    let mut high = Vec::new();
    for number in low {
        // SAFETY: takes no pointer.
        let moved = unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, OWN_FIRST) };
        // SAFETY: the number was opened by pipe2 above and nothing else owns it.
        unsafe { libc::close(number) };
        ensure!(moved >= 0, "no high descriptor");
        // SAFETY: the number was opened just above and nothing else owns it.
        high.push(File::from(unsafe { OwnedFd::from_raw_fd(moved) }));
    }
    let write = high.pop().context("two ends")?;
    let read = high.pop().context("two ends")?;
    Ok((read, write))
}

/// Forks. The caller must have no other thread.
pub(super) fn fork() -> Result<libc::pid_t> {
    // SAFETY: this process has one thread, so the child's memory is consistent.
    let pid = unsafe { libc::fork() };
    ensure!(pid >= 0, "no fork");
    Ok(pid)
}

/// Ends a forked child without running what the parent registered for its own end.
pub(super) fn leave(status: i32) -> ! {
    // SAFETY: takes no pointer and does not return.
    unsafe { libc::_exit(status) }
}

/// Waits for a child and gives its wait status.
pub(super) fn reap(pid: libc::pid_t) -> i32 {
    let mut status = 0;
    loop {
        // SAFETY: room for the status lies at the pointer.
        let reaped = unsafe { libc::waitpid(pid, &raw mut status, 0) };
        if reaped != -1 || nix::errno::Errno::last() != nix::errno::Errno::EINTR {
            return status;
        }
    }
}

impl Machine {
    /// Does the operations in a forked child, and dies as the child died.
    pub(super) fn child(&mut self, operations: &[Operation]) -> Result<Outcome> {
        let (mut reading, mut writing) = high_pipe()?;
        let pid = fork()?;
        if pid == 0 {
            drop(reading);
            let outcomes = operations.iter().map(|operation| self.perform(operation)).collect::<Result<Vec<_>>>();
            let reported = outcomes
                .and_then(|outcomes| Ok(serde_json::to_vec(&outcomes)?))
                .and_then(|line| Ok(writing.write_all(&line)?));
            leave(i32::from(reported.is_err()));
        }
        drop(writing);
        let mut line = Vec::new();
        let read = reading.read_to_end(&mut line);
        let status = reap(pid);
        read?;
        if libc::WIFSIGNALED(status) {
            // Not the handler of Rust's runtime, which expects that the fault comes again.
            // SAFETY: takes no pointer to anything but the default action.
            unsafe { libc::signal(libc::WTERMSIG(status), libc::SIG_DFL) };
            // SAFETY: takes no pointer; the child's end becomes this process's own.
            unsafe { libc::raise(libc::WTERMSIG(status)) };
        }
        let outcomes = serde_json::from_slice(&line).context("a child reported nothing")?;
        Ok(Outcome::Several(outcomes))
    }

    /// Runs a program that takes no arguments.
    pub(super) fn execute(&mut self, path: &Path) -> Result<Outcome> {
        let path = self.argument(path);
        let arguments = [path.pointer(), std::ptr::null()];
        let environment = [std::ptr::null()];
        let pid = fork()?;
        if pid == 0 {
            if let Argument::Text(path) = &path {
                // SAFETY: the path is NUL-terminated, both arrays end with null, and all outlive the call.
                unsafe {
                    libc::execve(path.as_ptr(), arguments.as_ptr(), environment.as_ptr());
                }
            }
            leave(127);
        }
        let status = reap(pid);
        Ok(Outcome::Returned(if libc::WIFEXITED(status) {
            Return::Value(i64::from(libc::WEXITSTATUS(status)))
        } else {
            Return::Value(-i64::from(libc::WTERMSIG(status)))
        }))
    }

    /// Becomes another user for good.
    pub(super) fn become_user(user: u32) -> Outcome {
        // SAFETY: no group is read from the null pointer.
        let dropped = unsafe { libc::setgroups(0, std::ptr::null()) };
        if dropped != 0 {
            return returned(dropped);
        }
        // SAFETY: takes no pointer.
        let group = unsafe { libc::setresgid(user, user, user) };
        if group != 0 {
            return returned(group);
        }
        // SAFETY: takes no pointer.
        returned(unsafe { libc::setresuid(user, user, user) })
    }
}

/// Sets the soft limit of descriptor numbers.
pub(super) fn descriptors_max(max: u64) -> Outcome {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: room for a limit lies at the pointer.
    let got = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
    if got != 0 {
        return returned(got);
    }
    limit.rlim_cur = max;
    // SAFETY: a limit lies at the pointer for the length of the call.
    returned(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) })
}
