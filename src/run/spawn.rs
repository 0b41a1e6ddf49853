//! Starting the program.
//!
//! Not by std's `Command`, which gives the child an empty signal mask and SIGPIPE's default.

use std::ffi::{CString, OsString};
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::unistd::{ForkResult, Pid, execvpe, fork, pipe2};

use super::{EXIT_CANNOT_EXECUTE, RunError};
use crate::inherited::Inherited;
use crate::process;

/// Why there is no program.
pub(super) enum SpawnError {
    /// It could not be executed.
    Execute(Errno),
    /// There was no process to execute it.
    Fork(Errno),
}

impl SpawnError {
    pub(super) fn into_run_error(self, name: OsString, exists: bool) -> RunError {
        match self {
            Self::Execute(errno) => RunError::Program { name, exists, errno },
            Self::Fork(errno) => RunError::system("start a process")(errno),
        }
    }
}

/// Starts `command`, sought in `PATH` as a shell does, with `environment` and all else as this process had it at its
/// start.
pub(super) fn spawn(command: &[OsString], environment: &[CString], inherited: &Inherited) -> Result<Pid, SpawnError> {
    // The kernel ends each argument of this process with NUL, so none can contain one.
    let arguments: Vec<_> = command.iter().filter_map(|part| CString::new(part.as_bytes()).ok()).collect();
    // Closed by a successful exec; otherwise it brings the errno.
    let (failure_reader, failure_writer) = pipe2(OFlag::O_CLOEXEC).map_err(SpawnError::Fork)?;

    // SAFETY: this process has one thread, so no lock can be held by a thread that the child lacks.
    match unsafe { fork() }.map_err(SpawnError::Fork)? {
        ForkResult::Child => {
            let errno = match inherited.restore() {
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
            let mut errno = [0; 4];
            match File::from(failure_reader).read_exact(&mut errno) {
                Err(_) => Ok(child),
                Ok(()) => {
                    let _ = process::exit_status(child);
                    Err(SpawnError::Execute(Errno::from_raw(i32::from_ne_bytes(errno))))
                }
            }
        }
    }
}
