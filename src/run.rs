//! `uinotify run`: a program, and beside it the emulator behind its inotify instances.
//!
//! Three processes: this one, which starts the others, forwards signals and passes the program's exit status on; the
//! program; and the emulator, in a session of its own. The emulator lives as long as this process or any inotify instance
//! that the program or its children hold, so that neither a daemon that is left behind nor the death of this process
//! takes an instance away.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::os::fd::{OwnedFd, RawFd};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use nix::errno::Errno;
use nix::unistd::Pid;
use uinotify_host::{Admission, Config, EmulatorAddress, Lifetime};

use crate::inherited::Inherited;
use crate::interpose::{Interpose, Way};
use crate::notice::notice;
use crate::program::{self, Unreachable};
use crate::settings::Settings;
use crate::shim_file::{self, SHIM};
use crate::socket::{self, NoFolder, Socket};
use crate::tree::{Tree, TreeError};
use crate::{environment, nested, process};

mod emulator;
mod guard;
mod lookout;
mod sandbox;
mod signals;
mod spawn;

use emulator::EmulatorProcess;
use guard::{Guard, Guarded};
use sandbox::Sandbox;
use signals::{Signals, is_for_program};
use spawn::Surroundings;
pub(crate) use spawn::put_in_place;

/// Exit status of `run` when uinotify itself failed.
pub const EXIT_OWN_ERROR: u8 = 125;
/// Exit status of `run` when the program is there and cannot be executed.
pub const EXIT_CANNOT_EXECUTE: u8 = 126;
/// Exit status of `run` when the program is not there.
pub const EXIT_NOT_FOUND: u8 = 127;

/// What `uinotify run` is told.
#[derive(Debug)]
pub struct Options {
    /// The emulator's settings.
    pub settings: Settings,
    /// A program that cannot be reached is an error, not only worth a message.
    pub strict: bool,
    /// How the program's calls come to the emulator.
    pub interpose: Interpose,
    /// What the program sees through a file system of ours.
    pub trees: Vec<Tree>,
    /// The program and its arguments.
    pub command: Vec<OsString>,
}

/// Why a program was not run.
#[derive(Debug)]
pub enum RunError {
    /// No folder takes the socket.
    NoSocket(NoFolder),
    /// No folder takes the shim.
    NoShim(shim_file::NoPlace),
    /// The program is out of reach, and `--strict` was given.
    Unreachable(Unreachable),
    /// The emulator ended before it was ready; it has said why.
    Emulator,
    /// A tree cannot be shown.
    Tree(TreeError),
    /// A tree could not be shown; the process that was to become the program has said why.
    Sandbox,
    /// What the program was to be handed was not made.
    Prepare(anyhow::Error),
    /// The program could not be executed.
    Program {
        /// Its name as given.
        name: OsString,
        /// Whether a file of that name exists.
        exists: bool,
        /// What `execve` answered.
        errno: Errno,
    },
    /// A system call failed that fails on a broken or exhausted system only.
    System {
        /// What it was for, as the end of "cannot ...".
        purpose: &'static str,
        /// Its answer.
        error: io::Error,
    },
}

impl RunError {
    fn system(purpose: &'static str) -> impl FnOnce(Errno) -> Self {
        move |errno| Self::System { purpose, error: errno.into() }
    }

    /// The exit status that shells and env(1) use for this.
    #[must_use]
    pub fn exit_status(&self) -> u8 {
        match self {
            Self::Program { errno: Errno::ENOENT, .. } => EXIT_NOT_FOUND,
            Self::Program { .. } => EXIT_CANNOT_EXECUTE,
            _ => EXIT_OWN_ERROR,
        }
    }
}

impl fmt::Display for RunError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSocket(no_folder) => no_folder.fmt(formatter),
            Self::NoShim(no_place) => no_place.fmt(formatter),
            Self::Unreachable(program) => write!(formatter, "{program}; not run, because of --strict"),
            Self::Tree(error) => error.fmt(formatter),
            Self::Prepare(error) => write!(formatter, "{error:#}"),
            Self::Sandbox => formatter.write_str("the program was not run"),
            Self::Emulator => formatter.write_str("the emulator did not start; the program was not run"),
            Self::Program { name, exists: true, errno: Errno::ENOENT } => {
                write!(
                    formatter,
                    "cannot run {}: the interpreter or dynamic linker that it names is missing",
                    name.display()
                )
            }
            Self::Program { name, errno, .. } => {
                write!(formatter, "cannot run {}: {}", name.display(), errno.desc())
            }
            Self::System { purpose, error } => write!(formatter, "cannot {purpose}: {error}"),
        }
    }
}

impl std::error::Error for RunError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::NoShim(error) => Some(error),
            Self::Program { errno, .. } => Some(errno),
            Self::System { error, .. } => Some(error),
            Self::NoSocket(error) => Some(error),
            Self::Tree(error) => Some(error),
            Self::Unreachable(_) | Self::Emulator | Self::Sandbox | Self::Prepare(_) => None,
        }
    }
}

/// A descriptor that the program finds open under a number of its own.
#[derive(Debug)]
pub struct Handed {
    /// The descriptor.
    pub descriptor: OwnedFd,
    /// Its number in the program.
    pub number: RawFd,
    /// Whether the program gets its signals, and how.
    pub signals: Option<Signalled>,
}

/// What F_SETOWN_EX and F_SETSIG set, with the program as the one that gets the signals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signalled {
    /// F_OWNER_TID, F_OWNER_PID or F_OWNER_PGRP; `None` for nobody.
    pub kind: Option<i32>,
    /// 0 for SIGIO without details.
    pub signal: i32,
}

/// Makes instances in the emulator at an address, which the program is handed.
pub type Prepare<'a> = &'a mut dyn FnMut(&EmulatorAddress<'_>) -> anyhow::Result<Vec<Handed>>;

/// Runs the program with its inotify instances emulated, and returns its exit status: 128+N if it died of signal N.
///
/// It forks and changes the signal mask and the descriptors of this process: it is made for a process with one thread that
/// ends when it returns.
///
/// # Errors
/// [`RunError`]: the program was not started.
pub fn run(options: &Options) -> Result<u8, RunError> {
    run_prepared(options, None, None)
}

/// Has its turn when the program has ended, and the emulator at the address is still there.
pub type Finish<'a> = &'a mut dyn FnMut(&EmulatorAddress<'_>);

/// As [`run`], for a program that is handed what `prepare` makes. Without a program the emulator ends when that is made.
///
/// # Errors
/// [`RunError`]: the program was not started.
pub fn run_prepared(
    options: &Options,
    prepare: Option<Prepare<'_>>,
    finish: Option<Finish<'_>>,
) -> Result<u8, RunError> {
    let inherited = Inherited::take().map_err(RunError::system("read the signal mask"))?;
    if nested::is_emulated() {
        return Err(RunError::system("execute /proc/self/exe again")(nested::execute_again(&inherited)));
    }
    let sandbox = Sandbox::prepare(&options.trees, options.settings.mode).map_err(RunError::Tree)?;
    // Who may mount in a user name space of its own may have a filter there.
    let has_filter = guard::is_wanted(options.interpose);
    let (found, unreached) = match options.command.first() {
        Some(name) => check_program(name, options, has_filter)?,
        None => (false, None),
    };

    let socket = Socket::bind().map_err(RunError::NoSocket)?;
    let shim = shim_file::install(socket.folder()).map_err(RunError::NoShim)?;
    let token = socket::random().map_err(|error| RunError::System { purpose: "read /dev/urandom", error })?;
    let socket_path = socket.path().to_owned();
    if options.settings.verbose {
        notice(format_args!("socket {}", socket_path.display()));
        notice(format_args!("shim {}", shim.display()));
        options.settings.describe();
    }

    // From here on no signal that is to be forwarded is lost: it waits until the program is there.
    let signals = Signals::block().map_err(RunError::system("wait for signals"))?;
    let (guard, for_emulator) = match has_filter && !options.command.is_empty() {
        true => Guard::prepare(options.interpose)
            .map(|(guard, end)| (Some(guard), Some(end)))
            .map_err(|error| RunError::System { purpose: "have a socket for the emulator", error })?,
        false => (None, None),
    };
    let (emulator, sandbox) = EmulatorProcess::start(config(options, token), socket, sandbox, for_emulator)?;
    if options.settings.verbose {
        notice(format_args!("emulator {}", emulator.pid()));
    }
    let mut handed = Vec::new();
    if let Some(prepare) = prepare {
        let address = EmulatorAddress { socket: &socket_path, token: &token };
        // Which may take its time, and nothing is lost by an end.
        let prepared = signals.unblocked(|| prepare(&address)).map_err(RunError::system("wait for signals"))?;
        handed = prepared.map_err(RunError::Prepare)?;
    }
    let Some(name) = options.command.first() else { return Ok(0) };
    let preloaded = options.interpose.preloads().then_some(shim.as_path());
    let environment = environment::to_strings(environment::for_program(preloaded, &socket_path, token));
    let guard = guard.map(|guard| guard.with_reader(emulator.pid()));
    let surroundings = Surroundings { sandbox: sandbox.as_ref(), guard: guard.as_ref(), handed: &handed };
    let (program, guarded) = spawn::spawn(&options.command, &environment, &inherited, &surroundings)
        .map_err(|error| error.into_run_error(name.clone(), found))?;
    if guard.is_some() {
        tell(guarded, options.settings.verbose);
    }
    if options.interpose.way == Way::Auto && guarded == Guarded::No {
        let address = environment::address(&socket_path, token);
        lookout::start(address.into_vec(), emulator.pid(), unreached);
    }
    drop((sandbox, guard, handed));
    process::let_go_of_descriptors(&[signals.descriptor(), emulator.lifeline()]);
    let mut emulator = Some(emulator);
    let status = supervise(program, &mut emulator, &signals)?;
    if let (Some(finish), Some(_)) = (finish, &emulator) {
        finish(&EmulatorAddress { socket: &socket_path, token: &token });
    }
    Ok(status)
}

/// Says when nothing reaches the program. Tells whether there is a program at all, and which one was named.
fn check_program(name: &OsStr, options: &Options, has_filter: bool) -> Result<(bool, Option<PathBuf>), RunError> {
    let Some(file) = program::find(name, std::env::var_os("PATH").as_deref()) else {
        return Ok((false, None));
    };
    let Some(unreachable) = program::obstacle(&file, SHIM).filter(|_| !has_filter) else {
        return Ok((true, None));
    };
    if options.strict {
        return Err(RunError::Unreachable(unreachable));
    }
    if options.interpose.way == Way::Auto {
        notice(format_args!(
            "{unreachable}; --interpose seccomp reaches it, if it is to gain no rights (no_new_privs)"
        ));
    } else {
        notice(&unreachable);
    }
    let named = unreachable.interpreter.unwrap_or(unreachable.program);
    Ok((true, Some(named.canonicalize().unwrap_or(named))))
}

/// Says what the filter has changed, and what it has not reached.
fn tell(guarded: Guarded, verbose: bool) {
    match guarded {
        Guarded::GivingUpRights => {
            notice("no_new_privs is set, for a filter of system calls: setuid programs and others gain no rights");
        }
        Guarded::Supervised => notice(
            "another supervisor listens to the system calls of this process, and Linux has room for one (EBUSY): \
             programs without libc get the kernel's inotify",
        ),
        Guarded::Yes if verbose => notice("filter of system calls, for programs that the shim does not reach"),
        Guarded::ByOuter if verbose => notice("system calls come by way of the uinotify around this one"),
        _ => {}
    }
}

fn config(options: &Options, token: [u8; 16]) -> Config {
    let command = options.command.iter().map(|part| part.to_string_lossy().into_owned()).collect();
    options.settings.config(Admission::Token(token), Lifetime::Programs, command)
}

/// Forwards signals until the program ends.
fn supervise(program: Pid, emulator: &mut Option<EmulatorProcess>, signals: &Signals) -> Result<u8, RunError> {
    loop {
        let signal = signals.next().map_err(RunError::system("wait for signals"))?;
        if signal.ssi_signo != libc::SIGCHLD as u32 {
            if is_for_program(&signal, program) {
                signals::send(program, &signal);
            }
            continue;
        }
        // One SIGCHLD may stand for several children.
        match process::exit_status_now(program) {
            Ok(Some(status)) => {
                // One that was killed has left its socket.
                let _ = emulator.take_if(|emulator| emulator.has_ended());
                return Ok(status);
            }
            Ok(None) => {}
            Err(errno) => return Err(RunError::system("wait for the program")(errno)),
        }
        if let Some(gone) = emulator.take_if(|emulator| emulator.has_ended()) {
            notice(format_args!(
                "the emulator (process {}) ended before the program: its inotify calls fail from now on",
                gone.pid(),
            ));
        }
    }
}
