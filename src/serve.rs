//! `uinotify serve`: an emulator for many programs, in the foreground.

use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::thread;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::signal::{SigHandler, SigSet, Signal};
use nix::unistd::{chdir, geteuid, pipe2};
use uinotify_host::{Admission, Emulator, Lifetime};

use crate::inherited::{Inherited, disposition};
use crate::notice::notice;
use crate::settings::Settings;
use crate::socket::{NoSocket, Socket};
use crate::{nested, process};

/// What `uinotify serve` is told.
#[derive(Debug)]
pub struct Options {
    /// The emulator's settings.
    pub settings: Settings,
    /// Where programs find it.
    pub socket: PathBuf,
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
    let path = std::path::absolute(&options.socket)
        .map_err(|error| ServeError(format!("cannot serve at {}: {error}", options.socket.display())))?;
    let (admission, mode) = if options.all_users { (Admission::AllUsers, 0o666) } else { (Admission::OwnUser, 0o600) };
    let mut socket = Socket::bind_at(path.clone(), mode)
        .map_err(|error: NoSocket| ServeError(format!("cannot serve at {}: {error}", path.display())))?;
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
