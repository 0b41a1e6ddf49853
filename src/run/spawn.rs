//! Starting the program.
//!
//! Not by std's `Command`, which gives the child an empty signal mask and SIGPIPE's default.

use std::ffi::{CString, OsString};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::unistd::{ForkResult, Pid, execvpe, fork, getpgrp, getpid, pipe2};

use super::guard::{Guard, Guarded};
use super::sandbox::Sandbox;
use super::{EXIT_CANNOT_EXECUTE, Handed, RunError, Signalled};
use crate::inherited::Inherited;
use crate::notice::notice;
use crate::process;
use crate::signal_owner::{F_OWNER_PGRP, F_SETOWN_EX, F_SETSIG, Owner};

/// In the place of the errno of a program that could not be executed.
const SANDBOX_FAILED: i32 = -1;
/// This and below, in front of such an errno: what has become of the filter.
const GUARDED: i32 = -16;

/// What the program finds around it.
pub(super) struct Surroundings<'a> {
    pub(super) sandbox: Option<&'a Sandbox>,
    pub(super) guard: Option<&'a Guard>,
    pub(super) handed: &'a [Handed],
}

impl Surroundings<'_> {
    /// In the process that is about to execute the program.
    fn enter(&self) -> Result<Guarded, String> {
        if let Some(sandbox) = self.sandbox {
            sandbox.enter().map_err(|error| error.to_string())?;
        }
        self.guard.map_or(Ok(Guarded::No), Guard::enter)
    }
}

/// Why there is no program.
pub(super) enum SpawnError {
    /// It could not be executed.
    Execute(Errno),
    /// It could not be shown a tree, or have the filter that it has to have, and the reason was said.
    Sandbox,
    /// There was no process to execute it.
    Fork(Errno),
}

impl SpawnError {
    pub(super) fn into_run_error(self, name: OsString, exists: bool) -> RunError {
        match self {
            Self::Execute(errno) => RunError::Program { name, exists, errno },
            Self::Sandbox => RunError::Sandbox,
            Self::Fork(errno) => RunError::system("start a process")(errno),
        }
    }
}

/// Starts `command`, sought in `PATH` as a shell does, with `environment` and all else as this process had it at its
/// start, in its surroundings. Also tells what has become of the filter.
pub(super) fn spawn(
    command: &[OsString],
    environment: &[CString],
    inherited: &Inherited,
    surroundings: &Surroundings<'_>,
) -> Result<(Pid, Guarded), SpawnError> {
    // The kernel ends each argument of this process with NUL, so none can contain one.
    let arguments: Vec<_> = command.iter().filter_map(|part| CString::new(part.as_bytes()).ok()).collect();
    // Closed by a successful exec; otherwise it brings the errno.
    let (failure_reader, failure_writer) = pipe2(OFlag::O_CLOEXEC).map_err(SpawnError::Fork)?;

    // SAFETY: this process has one thread, so no lock can be held by a thread that the child lacks.
    match unsafe { fork() }.map_err(SpawnError::Fork)? {
        ForkResult::Child => {
            let mut writer = File::from(failure_writer);
            match surroundings.enter() {
                // Whoever does not read it any more has ended.
                Ok(guarded) => _ = writer.write_all(&(GUARDED - i32::from(guarded as u8)).to_ne_bytes()),
                Err(problem) => {
                    notice(problem);
                    let _ = writer.write_all(&SANDBOX_FAILED.to_ne_bytes());
                    // SAFETY: as below.
                    unsafe { libc::_exit(EXIT_CANNOT_EXECUTE.into()) }
                }
            }
            let mut failure_writer = OwnedFd::from(writer);
            let handed = surroundings.handed;
            let errno = match inherited.restore().and_then(|()| put_in_place(handed, &mut failure_writer)) {
                Ok(()) => match execvpe(&arguments[0], &arguments, environment) {
                    Ok(never) => match never {},
                    Err(errno) => errno,
                },
                Err(errno) => errno,
            };
            let _ = File::from(failure_writer).write_all(&(errno as i32).to_ne_bytes());
            // SAFETY: it takes no pointer; unlike `exit` it leaves the buffers that the parent owns too alone.
            unsafe { libc::_exit(EXIT_CANNOT_EXECUTE.into()) }
        }
        ForkResult::Parent { child } => {
            drop(failure_writer);
            let mut reader = File::from(failure_reader);
            let (mut word, mut guarded) = ([0; 4], Guarded::No);
            while reader.read_exact(&mut word).is_ok() {
                let error = match i32::from_ne_bytes(word) {
                    state @ ..=GUARDED => {
                        guarded = Guarded::of(GUARDED - state);
                        continue;
                    }
                    SANDBOX_FAILED => SpawnError::Sandbox,
                    errno => SpawnError::Execute(Errno::from_raw(errno)),
                };
                let _ = process::exit_status(child);
                return Err(error);
            }
            Ok((child, guarded))
        }
    }
}

/// Has this process, or its group, get the signals of a descriptor.
fn signal_own(number: RawFd, Signalled { kind, signal }: Signalled) -> nix::Result<()> {
    if let Some(kind) = kind {
        let pid = if kind == F_OWNER_PGRP { getpgrp() } else { getpid() };
        let owner = Owner { kind, pid: pid.as_raw() };
        // SAFETY: F_SETOWN_EX reads one such structure, which lives through the call.
        Errno::result(unsafe { libc::fcntl(number, F_SETOWN_EX, &raw const owner) })?;
    }
    // SAFETY: takes numbers only.
    Errno::result(unsafe { libc::fcntl(number, F_SETSIG, signal) })?;
    // A signal tells the descriptor with which O_ASYNC was set.
    // SAFETY: as above.
    let flags = Errno::result(unsafe { libc::fcntl(number, libc::F_GETFL) })?;
    for flags in [flags & !libc::O_ASYNC, flags] {
        // SAFETY: as above.
        Errno::result(unsafe { libc::fcntl(number, libc::F_SETFL, flags) })?;
    }
    Ok(())
}

/// Gives the program its descriptors, and makes way for them. It makes system calls only.
pub(crate) fn put_in_place(handed: &[Handed], kept: &mut OwnedFd) -> nix::Result<()> {
    let Some(highest) = handed.iter().map(|handed| handed.number).max() else { return Ok(()) };
    let above = |descriptor: BorrowedFd<'_>| {
        let number = fcntl(descriptor, FcntlArg::F_DUPFD_CLOEXEC(highest + 1))?;
        // SAFETY: the call has just returned this descriptor, which nobody else has.
        Ok(unsafe { OwnedFd::from_raw_fd(number) })
    };
    // What stands at its old number goes with the execution of the program.
    std::mem::forget(std::mem::replace(kept, above(kept.as_fd())?));
    let moved = handed.iter().map(|handed| above(handed.descriptor.as_fd())).collect::<nix::Result<Vec<OwnedFd>>>()?;
    for (descriptor, Handed { number, signals, .. }) in moved.iter().zip(handed) {
        // SAFETY: takes numbers only. What stood at this one was moved, or is the program's to be replaced.
        Errno::result(unsafe { libc::dup2(descriptor.as_raw_fd(), *number) })?;
        if let Some(signals) = signals {
            signal_own(*number, *signals)?;
        }
    }
    // They close themselves.
    moved.into_iter().for_each(std::mem::forget);
    Ok(())
}
