//! A test bed for programs that watch files: an emulator of the test's own, in which things happen when the test says so.
//!
//! ```no_run
//! use std::path::Path;
//! use uinotify::testbed::{Injected, TestBed};
//!
//! let folder = Path::new("/tmp/watched");
//! let bed = TestBed::builder().limit_queue(16).next_wd(i32::MAX - 1).build()?;
//! let mut watcher = bed.command("my-watcher").arg(folder).spawn()?;
//! bed.wait_for_watch(folder)?;
//! bed.inject(folder.join("new"), Injected::Create)?;
//! bed.overflow()?;
//! bed.wait_until_read()?;
//! bed.expect_calls("add_watch", 1)?;
//! # watcher.kill()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Programs are put under it by their environment ([`TestBed::command`], [`TestBed::environment`]). A test whose watcher is in its own
//! process, as that of a library is, runs itself once more under it: [`this_test`]. The emulator is a thread of this process, and ends
//! with the value; what happens to a path on the file system is seen as ever, unless [`Builder::source`] is [`Sources::Script`].
//!
//! docs/testbed.md says what each fault stands for.

mod builder;
mod error;
mod rerun;

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command as Program;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv};
use serde_json::Value;
use uinotify_host::EmulatorAddress;
use uinotify_host::control::{Command, Control};
use uinotify_images::text::ByteString;

use crate::checkpoint::{self, Checkpoint, Restored};
use crate::environment;
use crate::fdinfo::{Address, address};
use crate::inject::{self, Event};
use crate::reach;

pub use builder::Builder;
pub use error::TestBedError;
pub use rerun::this_test;
pub use uinotify_host::control::{Injected, Report};
pub use uinotify_host::trace::{Counts, Outcome, Record, What};
pub use uinotify_host::{LimitOverrides, Mask, Profile, SetNextWd, Sources};

type Result<T> = std::result::Result<T, TestBedError>;

/// How long a test waits for something that should be there at once.
const PATIENCE: Duration = Duration::from_secs(10);

/// How many calls and events tell how it came to a failure.
const STORY: usize = 20;

/// An emulator of a test's own, or the one that the program of a test runs under.
#[derive(Debug)]
pub struct TestBed {
    address: Address,
    shim: Option<PathBuf>,
    control: Mutex<Control>,
    patience: Duration,
    /// Of one that ends with this value.
    _running: Option<Running>,
}

/// The emulator's thread.
#[derive(Debug)]
struct Running {
    /// It ends when this is closed.
    lifeline: Option<OwnedFd>,
    thread: Option<JoinHandle<io::Result<()>>>,
    /// Unlinked at the end.
    _socket: crate::socket::Socket,
}

/// A watch that somebody has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watch {
    /// Number of the instance.
    pub instance: u64,
    /// Its number in that.
    pub wd: i32,
    /// What it asks for.
    pub mask: u32,
    /// The process that has opened the instance.
    pub pid: i32,
}

impl TestBed {
    /// What the bed is to be like.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// The emulator that this process runs under, if it runs under one.
    ///
    /// # Errors
    ///
    /// It does not answer.
    pub fn current() -> Result<Option<Self>> {
        let Some(value) = std::env::var_os(environment::SOCKET).filter(|value| !value.is_empty()) else {
            return Ok(None);
        };
        let address = address(value.as_bytes());
        let control = open(&address)?;
        Ok(Some(Self { address, shim: None, control: Mutex::new(control), patience: PATIENCE, _running: None }))
    }

    /// A program that runs under the emulator. Its environment is this process's, as far as that does not name another emulator.
    #[must_use]
    pub fn command(&self, program: impl AsRef<OsStr>) -> Program {
        let mut command = Program::new(program);
        command.envs(self.environment());
        command
    }

    /// What puts a program under the emulator: `LD_PRELOAD` and `UINOTIFY_SOCKET`. Nothing for one that this process runs under already.
    #[must_use]
    pub fn environment(&self) -> Vec<(OsString, OsString)> {
        let Some(shim) = &self.shim else { return Vec::new() };
        let token = self.address.token.first_chunk().copied().unwrap_or_default();
        let before = std::env::var_os(environment::PRELOAD);
        vec![
            (environment::PRELOAD.into(), environment::preload(shim, before.as_deref())),
            (environment::SOCKET.into(), environment::address(&self.address.socket, token)),
        ]
    }

    /// Path of the emulator's socket, for `uinotify inject --socket` and the like.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.address.socket
    }

    /// How long the waiting functions wait: ten seconds unless said otherwise.
    pub fn set_patience(&mut self, patience: Duration) {
        self.patience = patience;
    }

    /// Returns when somebody watches this path, for whatever. The call that makes the watch ends the wait.
    ///
    /// # Errors
    ///
    /// Nobody does in time: with what was done instead.
    pub fn wait_for_watch(&self, path: impl AsRef<Path>) -> Result<Watch> {
        self.wait_for_watch_of(path, Mask::empty())
    }

    /// As [`wait_for_watch`](Self::wait_for_watch), for a watch that asks for all of `mask`.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn wait_for_watch_of(&self, path: impl AsRef<Path>, mask: Mask) -> Result<Watch> {
        let path = path.as_ref();
        let found = reach::look(path, true)?;
        let command = Command::WaitForWatch { path: found.path, object: found.object, mask: mask.bits() };
        let mut control = self.control();
        let answer = control
            .begin(&command)
            .and_then(|id| control.set_patience(Some(self.patience)).and_then(|()| control.finish(id)));
        let reset = control.set_patience(None);
        drop(control);
        reset?;
        let answer = answer.map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => {
                self.failure(format!("nobody has watched {} within {:?}", path.display(), self.patience))
            }
            _ => self.failed(error),
        })?;
        let number = |name: &str| answer[name].as_i64().unwrap_or_default();
        Ok(Watch {
            instance: answer["instance"].as_u64().unwrap_or_default(),
            wd: number("wd") as i32,
            mask: number("mask") as u32,
            pid: number("pid") as i32,
        })
    }

    /// Has something happen to a path, as far as watchers are told. [`Injected::Move`] is [`inject_move`](Self::inject_move).
    ///
    /// # Errors
    ///
    /// Nobody watches the path or the folder that it is in.
    pub fn inject(&self, path: impl AsRef<Path>, event: Injected) -> Result<()> {
        self.inject_event(path.as_ref(), event, None, false)
    }

    /// As [`inject`](Self::inject), to a directory that need not be there.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn inject_directory(&self, path: impl AsRef<Path>, event: Injected) -> Result<()> {
        self.inject_event(path.as_ref(), event, None, true)
    }

    /// Has a path be renamed, as far as watchers are told.
    ///
    /// # Errors
    ///
    /// As for [`inject`](Self::inject).
    pub fn inject_move(&self, from: impl AsRef<Path>, to: impl AsRef<Path>) -> Result<()> {
        self.inject_event(from.as_ref(), Injected::Move, Some(to.as_ref().to_owned()), false)
    }

    fn inject_event(&self, path: &Path, what: Injected, to: Option<PathBuf>, is_directory: bool) -> Result<()> {
        let injection = inject::injection(path, &Event { what, to, is_directory }, false)?;
        self.ask(&Command::Inject(injection)).map(drop)
    }

    /// Has the queues of all instances overflow.
    ///
    /// # Errors
    ///
    /// There is no instance.
    pub fn overflow(&self) -> Result<()> {
        self.ask(&Command::Overflow { instance: None, socket: None }).map(drop)
    }

    /// Queues an event as it is, whatever is watched, in the only instance that there is.
    ///
    /// # Errors
    ///
    /// There is none, or there are several.
    pub fn queue(&self, wd: i32, mask: Mask, cookie: u32, name: impl AsRef<OsStr>) -> Result<()> {
        let name = ByteString::from(name.as_ref().as_bytes());
        self.ask(&Command::Queue { instance: None, socket: None, wd, mask: mask.bits(), cookie, name }).map(drop)
    }

    /// Returns when everything that had happened before the call is in the queues, also what a delay holds back.
    ///
    /// # Errors
    ///
    /// The emulator does not answer.
    pub fn barrier(&self) -> Result<()> {
        self.ask(&Command::Barrier {}).map(drop)
    }

    /// Returns when programs have read everything that was in the queues.
    ///
    /// # Errors
    ///
    /// They have not in time: with what was done instead.
    pub fn wait_until_read(&self) -> Result<()> {
        self.barrier()?;
        self.wait_until("all events to be read", |status| status.groups.iter().all(|group| group.queue_events == 0))
    }

    /// Returns when no program has an instance any more.
    ///
    /// # Errors
    ///
    /// Some have after that time: with what was done instead.
    pub fn wait_until_closed(&self) -> Result<()> {
        self.wait_until("all instances to be closed", |status| status.groups.is_empty())
    }

    /// Of what a program does by itself nobody tells: it is looked for, until it is so or the time is over.
    fn wait_until(&self, what: &str, is_so: impl Fn(&uinotify_host::status::EmulatorStatus) -> bool) -> Result<()> {
        const STEP: Duration = Duration::from_millis(1);
        let end = Instant::now() + self.patience;
        while !is_so(&uinotify_host::query_status(&self.address.socket)?) {
            if Instant::now() > end {
                return Err(self.failure(format!("waited {:?} for {what}", self.patience)));
            }
            thread::sleep(STEP);
        }
        Ok(())
    }

    /// Has calls fail or events be lost from now on: `add_watch:ENOSPC:when=3`, as on the command line.
    ///
    /// # Errors
    ///
    /// It is no fault.
    pub fn fault(&self, rule: &str) -> Result<()> {
        self.ask(&Command::Fault { rule: rule.to_owned() }).map(drop)
    }

    /// Holds events back from now on: `events=3`, `time=50ms` or `barrier`, as on the command line.
    ///
    /// # Errors
    ///
    /// It is no delay.
    pub fn delay(&self, delay: &str) -> Result<()> {
        self.ask(&Command::Delay { delay: delay.to_owned() }).map(drop)
    }

    /// No fault and no delay from now on.
    ///
    /// # Errors
    ///
    /// The emulator does not answer.
    pub fn clear_faults(&self) -> Result<()> {
        self.ask(&Command::ClearFaults {}).map(drop)
    }

    /// The number from which the next watch descriptor of the only instance is sought.
    ///
    /// # Errors
    ///
    /// There is none, or there are several.
    pub fn next_wd(&self) -> Result<i32> {
        let answer = self.ask(&Command::GetNextWd { instance: None, socket: None })?;
        Ok(answer["next_wd"].as_i64().unwrap_or_default() as i32)
    }

    /// Sets it.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn set_next_wd(&self, wd: i32) -> Result<()> {
        let wd = u64::try_from(wd).unwrap_or(0);
        self.ask(&Command::SetNextWd { instance: None, socket: None, wd }).map(drop)
    }

    /// How many calls were made and what has become of events, so far.
    ///
    /// # Errors
    ///
    /// The emulator does not answer.
    pub fn calls(&self) -> Result<Counts> {
        Ok(self.log(0)?.counts)
    }

    /// The same, with up to so many of the last calls and events.
    ///
    /// # Errors
    ///
    /// The emulator does not answer.
    pub fn log(&self, last: usize) -> Result<Report> {
        let answered = self.control().log(last);
        answered.map_err(|error| self.failed(error))
    }

    /// Expects that so many calls of a kind were made: `init`, `add_watch`, `remove_watch` and so on.
    ///
    /// # Errors
    ///
    /// There were more or less: what was expected, what came, and the last calls and events.
    pub fn expect_calls(&self, kind: &str, count: u64) -> Result<()> {
        let came = self.calls()?.calls.get(kind).copied().unwrap_or(0);
        if came == count {
            Ok(())
        } else {
            Err(self.failure(format!("expected {count} calls of {kind}, and {came} came")))
        }
    }

    /// Expects that so many events have met this end.
    ///
    /// # Errors
    ///
    /// As for [`expect_calls`](Self::expect_calls).
    pub fn expect_events(&self, outcome: Outcome, count: u64) -> Result<()> {
        let name = outcome.name();
        let came = self.calls()?.events.get(name).copied().unwrap_or(0);
        if came == count {
            Ok(())
        } else {
            Err(self.failure(format!("expected {count} events {name}, and {came} came")))
        }
    }

    /// All that there is of the instances, as `uinotify dump` writes it. Programs go on.
    ///
    /// # Errors
    ///
    /// The emulator does not answer.
    pub fn snapshot(&self) -> Result<Checkpoint> {
        Ok(uinotify_host::query_checkpoint(&self.borrowed(), 0)?)
    }

    /// Rebuilds the instances of a checkpoint in this bed. Their descriptors are the caller's, who hands them to a program
    /// ([`read_events`] reads from one).
    ///
    /// # Errors
    ///
    /// One cannot be rebuilt; those before it are gone again.
    pub fn restore(&self, checkpoint: &Checkpoint) -> Result<Vec<Restored>> {
        let mut restored = Vec::new();
        for instance in &checkpoint.instances {
            let options = checkpoint::Options::default();
            let one = checkpoint::restore(&self.borrowed(), checkpoint, instance, options, &mut |_| {});
            restored.push(one.map_err(|error| TestBedError::new(format!("instance {}: {error}", instance.id)))?);
        }
        Ok(restored)
    }

    fn borrowed(&self) -> EmulatorAddress<'_> {
        self.address.borrowed()
    }

    fn control(&self) -> MutexGuard<'_, Control> {
        self.control.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ask(&self, command: &Command) -> Result<Value> {
        let answer = self.control().ask(command);
        answer.map_err(|error| self.failed(error))
    }

    /// What was refused, with how it came to that.
    fn failed(&self, error: io::Error) -> TestBedError {
        if reach::is_gone(&error) { error.into() } else { self.failure(error.to_string()) }
    }

    fn failure(&self, what: String) -> TestBedError {
        let report = self.control().log(STORY).ok();
        TestBedError::with_story(what, report)
    }
}

fn open(address: &Address) -> Result<Control> {
    Control::open(&address.borrowed())
        .map_err(|error| TestBedError::new(format!("no emulator answers at {}: {error}", address.socket.display())))
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.lifeline.take());
        if let Some(thread) = self.thread.take() {
            // What it could not do is of no use to anybody any more.
            let _ = thread.join();
        }
    }
}

/// Reads all events that wait in an instance which this process has got from [`TestBed::restore`], as records of inotify(7).
///
/// # Errors
///
/// The emulator has ended.
pub fn read_events(instance: impl AsFd) -> io::Result<Vec<u8>> {
    use std::os::fd::AsRawFd;
    let mut events = Vec::new();
    let mut packet = [0; 4096];
    loop {
        match recv(instance.as_fd().as_raw_fd(), &mut packet, MsgFlags::MSG_DONTWAIT) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(length) => events.extend_from_slice(&packet[..length]),
            Err(Errno::EAGAIN) => return Ok(events),
            Err(errno) => return Err(errno.into()),
        }
    }
}
