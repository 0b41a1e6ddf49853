//! `uinotify serve`: an emulator for many programs, in the foreground.

use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::thread;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::signal::{SigHandler, SigSet, Signal};
use nix::unistd::{chdir, geteuid, pipe2};
use uinotify_host::{Admission, Emulator, Lifetime};

use crate::inherited::{Inherited, disposition};
use crate::notice::notice;
use crate::settings::Settings;
use crate::socket::Socket;
use crate::{activation, nested, process};

/// What `uinotify serve` is told.
#[derive(Debug)]
pub struct Options {
    /// The emulator's settings.
    pub settings: Settings,
    /// Where programs find it, unless a service manager has handed its socket over.
    pub socket: Option<PathBuf>,
    /// Serve every user, and not the own one only.
    pub all_users: bool,
    /// Takes a newline once programs can connect, and is closed then.
    pub ready: Option<OwnedFd>,
}

/// Why there is no server, or no longer.
#[derive(Debug)]
pub struct ServeError(String);

impl fmt::Display for ServeError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for ServeError {}

fn cannot<E: fmt::Display>(purpose: &str) -> impl FnOnce(E) -> ServeError {
    move |error| ServeError(format!("cannot {purpose}: {error}"))
}

/// Serves until SIGTERM, SIGINT or SIGHUP; the instances end with the server.
///
/// It changes the signal mask and the working folder of this process: it is made for a process with one thread that ends when it
/// returns.
///
/// # Errors
/// [`ServeError`]: the socket cannot be there, or the system is broken or exhausted.
pub fn serve(options: Options) -> Result<(), ServeError> {
    if nested::is_emulated() {
        let inherited = Inherited::take().map_err(cannot("read the signal mask"))?;
        return Err(cannot("execute /proc/self/exe again")(nested::execute_again(&inherited)));
    }
    if options.all_users && !geteuid().is_root() {
        return Err(ServeError(
            "--all-users is for root, who may read what each of them may read; without it the server is for your own programs"
                .to_owned(),
        ));
    }
    // Before there is a thread, so that every thread has it.
    let ending = Ending::block().map_err(cannot("wait for signals"))?;
    let (admission, mode) = if options.all_users { (Admission::AllUsers, 0o666) } else { (Admission::OwnUser, 0o600) };
    let mut socket = place(options.socket.as_deref(), mode)?;
    let path = socket.path().to_owned();
    // A folder that is in use cannot be unmounted.
    chdir("/").map_err(cannot("go to the root folder"))?;
    process::raise_descriptor_limit();

    let command = std::env::args_os().map(|part| part.to_string_lossy().into_owned()).collect();
    let config = options.settings.config(admission, Lifetime::Lifeline, command);
    let emulator = Emulator::new(config).map_err(cannot("start the emulator"))?;
    let listeners = socket.take_listeners();
    let lifeline = ending.lifeline().map_err(cannot("start a thread"))?;
    if options.settings.verbose {
        options.settings.describe();
    }
    notice(format_args!("serving at {}", path.display()));
    if let Some(ready) = options.ready {
        // Whoever does not read it does not want to know.
        let _ = File::from(ready).write_all(b"\n");
    }
    emulator.serve(&listeners, lifeline.as_fd()).map_err(cannot("go on serving"))
}

/// The socket at which programs find the server.
fn place(path: Option<&Path>, mode: u32) -> Result<Socket, ServeError> {
    match (activation::take().map_err(ServeError)?, path) {
        (Some(listener), None) => {
            Socket::handed_over(listener).map_err(|error| ServeError(format!("cannot serve: {error}")))
        }
        (Some(_), Some(_)) => {
            Err(ServeError("a socket was handed over: leave --socket out, or start the server without one".to_owned()))
        }
        (None, None) => Err(ServeError("no path was given, and no socket handed over".to_owned())),
        (None, Some(path)) => {
            let cannot = |error: &dyn fmt::Display| ServeError(format!("cannot serve at {}: {error}", path.display()));
            let path = std::path::absolute(path).map_err(|error| cannot(&error))?;
            Socket::bind_at(path, mode).map_err(|error| cannot(&error))
        }
    }
}

/// The signals that end the server, blocked.
struct Ending(SigSet);

impl Ending {
    fn block() -> Result<Self, Errno> {
        let mut signals: SigSet = [Signal::SIGTERM, Signal::SIGINT].into_iter().collect();
        // `nohup` above wants it to be ignored.
        if !matches!(disposition(Signal::SIGHUP, SigHandler::SigDfl)?.handler(), SigHandler::SigIgn) {
            signals.add(Signal::SIGHUP);
        } else {
            disposition(Signal::SIGHUP, SigHandler::SigIgn)?;
        }
        signals.thread_block()?;
        Ok(Self(signals))
    }

    /// A descriptor that reads end of file when one of the signals has come.
    fn lifeline(self) -> io::Result<OwnedFd> {
        let (reader, writer) = pipe2(OFlag::O_CLOEXEC)?;
        let wait = move || {
            while self.0.wait() == Err(Errno::EINTR) {}
            drop(writer);
        };
        thread::Builder::new().name("signals".to_owned()).spawn(wait)?;
        Ok(reader)
    }
}
