//! The emulator's process.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::path::PathBuf;
use std::thread;

use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::{ForkResult, Pid, dup2_stderr, fork, pipe2};
use uinotify_host::{Config, Emulator};

use super::RunError;
use super::sandbox::Sandbox;
use crate::notice::notice;
use crate::process;
use crate::socket::Socket;

/// The emulator, as the process that started it sees it.
pub(super) struct EmulatorProcess {
    pid: Pid,
    /// Held and never written: the emulator sees its end when this process is gone, however it went.
    lifeline: OwnedFd,
    socket_path: PathBuf,
}

impl EmulatorProcess {
    /// Forks the emulator and waits until it is ready. Programs can connect from then on.
    /// The program's process gets the sandbox back.
    pub(super) fn start(
        config: Config,
        socket: Socket,
        sandbox: Option<Sandbox>,
        filters: Option<OwnedFd>,
    ) -> Result<(Self, Option<Sandbox>), RunError> {
        let purpose = "start the emulator";
        let pipe = || pipe2(OFlag::O_CLOEXEC).map_err(RunError::system(purpose));
        let (lifeline_reader, lifeline) = pipe()?;
        let (ready_reader, ready) = pipe()?;

        // SAFETY: this process has one thread, so no lock can be held by a thread that the child lacks.
        match unsafe { fork() }.map_err(RunError::system(purpose))? {
            ForkResult::Child => {
                drop((lifeline, ready_reader));
                let status = match serve(config, socket, sandbox, filters, &lifeline_reader, ready) {
                    Ok(()) => 0,
                    Err(error) => {
                        notice(format_args!("emulator {}: {error}", std::process::id()));
                        1
                    }
                };
                std::process::exit(status);
            }
            ForkResult::Parent { child } => {
                let socket_path = socket.leave_path();
                drop((lifeline_reader, ready, filters));
                if File::from(ready_reader).read_exact(&mut [0]).is_err() {
                    let _ = process::exit_status(child);
                    let _ = fs::remove_file(&socket_path);
                    return Err(RunError::Emulator);
                }
                Ok((Self { pid: child, lifeline, socket_path }, sandbox))
            }
        }
    }

    pub(super) fn pid(&self) -> Pid {
        self.pid
    }

    pub(super) fn lifeline(&self) -> RawFd {
        self.lifeline.as_raw_fd()
    }

    /// Whether the process has ended; it is reaped then, and what it may have left is cleared away.
    pub(super) fn has_ended(&self) -> bool {
        let ended = !matches!(process::exit_status_now(self.pid), Ok(None));
        if ended {
            let _ = fs::remove_file(&self.socket_path);
        }
        ended
    }
}

/// What the emulator's process does. The socket's path is unlinked when this returns.
fn serve(
    config: Config,
    mut socket: Socket,
    sandbox: Option<Sandbox>,
    filters: Option<OwnedFd>,
    lifeline: &OwnedFd,
    ready: OwnedFd,
) -> io::Result<()> {
    let listeners = socket.take_listeners();
    let mut kept: Vec<RawFd> = listeners.iter().map(AsRawFd::as_raw_fd).collect();
    kept.extend([lifeline.as_raw_fd(), ready.as_raw_fd()]);
    kept.extend(sandbox.iter().flat_map(Sandbox::descriptors_of_emulator));
    kept.extend(filters.iter().map(AsRawFd::as_raw_fd));
    process::let_go_of_descriptors(&kept);
    process::stand_alone()?;

    let mut emulator = Emulator::new(config)?;
    if let Some(sandbox) = sandbox {
        sandbox.give_to(&mut emulator)?;
    }
    if let Some(filters) = filters {
        emulator.await_filter(filters)?;
    }
    give_standard_error_back_with(lifeline.try_clone()?)?;
    File::from(ready).write_all(&[0])?;
    emulator.serve(&listeners, lifeline.as_fd())
}

/// Standard error is for messages while the command runs. After that it is let go of: whoever reads the other end of it
/// must see the end of the file although a daemon's inotify instance keeps the emulator alive.
fn give_standard_error_back_with(lifeline: OwnedFd) -> io::Result<()> {
    let wait = move || {
        let mut descriptors = [PollFd::new(lifeline.as_fd(), PollFlags::empty())];
        // POLLHUP needs no asking; another answer means that waiting is over as well.
        while poll(&mut descriptors, PollTimeout::NONE) == Err(nix::errno::Errno::EINTR) {}
        if let Ok(null) = OpenOptions::new().write(true).open("/dev/null") {
            let _ = dup2_stderr(&null);
        }
    };
    thread::Builder::new().name("stderr".to_owned()).spawn(wait)?;
    Ok(())
}
