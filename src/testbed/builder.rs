//! Building a test bed.

use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError, mpsc};
use std::thread;

use nix::fcntl::OFlag;
use nix::unistd::pipe2;
use uinotify_host::fault::{FaultPlan, parse_delay};
use uinotify_host::trace::{TraceFile, TraceForm};
use uinotify_host::{Admission, Config, Emulator, Lifetime, LimitOverrides, Profile, SetNextWd, Sources};

use super::{PATIENCE, Result, Running, TestBed, TestBedError, open};
use crate::fdinfo::Address;
use crate::socket::{self, Socket};
use crate::{nested, shim_file};

/// What a test bed is to be like.
#[derive(Clone, Debug, Default)]
pub struct Builder {
    config: Config,
    faults: FaultPlan,
    problem: Option<String>,
}

impl Builder {
    /// Where events come from, beside what is injected: [`Sources::Auto`] unless said otherwise. With [`Sources::Script`] nothing else
    /// happens, and every object can be watched. What this process itself does [`Sources::Fanotify`] tells to root's test beds only.
    #[must_use]
    pub fn source(mut self, sources: Sources) -> Self {
        self.config.sources = sources;
        self
    }

    /// Shorthand for [`Sources::Script`].
    #[must_use]
    pub fn scripted(self) -> Self {
        self.source(Sources::Script)
    }

    /// `max_user_watches`: ENOSPC beyond it.
    #[must_use]
    pub fn limit_watches(mut self, watches_max: u32) -> Self {
        self.config.limits.watches_max = Some(watches_max);
        self
    }

    /// `max_user_instances`: EMFILE beyond it.
    #[must_use]
    pub fn limit_instances(mut self, instances_max: u32) -> Self {
        self.config.limits.instances_max = Some(instances_max);
        self
    }

    /// `max_queued_events`: IN_Q_OVERFLOW beyond it.
    #[must_use]
    pub fn limit_queue(mut self, events_max: u32) -> Self {
        self.config.limits.queue_events_max = Some(events_max);
        self
    }

    /// All three.
    #[must_use]
    pub fn limits(mut self, limits: LimitOverrides) -> Self {
        self.config.limits = limits;
        self
    }

    /// Number of the first watch descriptor of each instance, 1 to 2147483647. Behind the last one it goes on with 1.
    #[must_use]
    pub fn next_wd(mut self, wd: i32) -> Self {
        if wd < 1 {
            self.problem = Some(format!("{wd} is no watch descriptor: they are 1 to {}", i32::MAX));
        }
        self.config.next_wd = Some(wd);
        self
    }

    /// What `ioctl(INOTIFY_IOC_SETNEXTWD)` does.
    #[must_use]
    pub fn setnextwd(mut self, answer: SetNextWd) -> Self {
        self.config.setnextwd = answer;
        self
    }

    /// Which Linux programs are shown.
    #[must_use]
    pub fn profile(mut self, profile: Profile) -> Self {
        self.config.profile = profile;
        self
    }

    /// Has calls fail or events be lost: `add_watch:ENOSPC:when=3`, as on the command line.
    #[must_use]
    pub fn fault(mut self, rule: &str) -> Self {
        match rule.parse() {
            Ok(rule) => self.faults.rules.push(rule),
            Err(problem) => self.problem = Some(format!("{problem}")),
        }
        self
    }

    /// Holds events back: `events=3`, `time=50ms` or `barrier`, as on the command line.
    #[must_use]
    pub fn delay(mut self, delay: &str) -> Self {
        match parse_delay(delay) {
            Ok(delay) => self.faults.delay = delay,
            Err(problem) => self.problem = Some(problem.to_string()),
        }
        self
    }

    /// Of everything that is left to chance.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.faults.seed = seed;
        self
    }

    /// Events that are dropped are lost without an overflow, as no kernel does.
    #[must_use]
    pub fn lie(mut self) -> Self {
        self.faults.may_lie = true;
        self
    }

    /// Writes each call and each event as a line to this file.
    #[must_use]
    pub fn trace(mut self, path: impl Into<PathBuf>) -> Self {
        self.config.traces.push(TraceFile { path: path.into(), form: TraceForm::Text });
        self
    }

    /// Starts it.
    ///
    /// # Errors
    ///
    /// Something of the above was wrong; there is no room for the socket or the shim; this process itself runs under an emulator, see
    /// [`TestBed::current`].
    pub fn build(self) -> Result<TestBed> {
        let Self { mut config, faults, problem } = self;
        if let Some(problem) = problem {
            return Err(TestBedError::new(problem));
        }
        // A shim is mapped while it is looked at, and this process is taken then for one that runs under it.
        static BUILDING: Mutex<()> = Mutex::new(());
        let building = BUILDING.lock().unwrap_or_else(PoisonError::into_inner);
        if nested::is_emulated() {
            let message = "this process runs under an emulator itself: TestBed::current() is that";
            return Err(TestBedError::new(message));
        }
        let mut socket = Socket::bind().map_err(|error| TestBedError::new(error.to_string()))?;
        let shim = shim_file::install(socket.folder()).map_err(|error| TestBedError::new(error.to_string()))?;
        drop(building);
        let token = socket::random()?;
        config.faults = faults;
        config.log = true;
        config.shares_process = true;
        config.admission = Admission::Token(token);
        config.lifetime = Lifetime::Lifeline;
        config.command = std::env::args_os().map(|part| part.to_string_lossy().into_owned()).collect();
        let address = Address { socket: socket.path().to_owned(), token: token.to_vec() };
        let listeners = socket.take_listeners();
        let (reader, lifeline) = pipe2(OFlag::O_CLOEXEC).map_err(std::io::Error::from)?;
        let (begun, has_begun) = mpsc::channel();
        let serve = move || {
            // What an emulator acts with is its thread's.
            let emulator = match Emulator::new(config) {
                Ok(emulator) => emulator,
                Err(error) => {
                    let _ = begun.send(Some(error));
                    return Ok(());
                }
            };
            let _ = begun.send(None);
            emulator.serve(&listeners, reader.as_fd())
        };
        let thread = thread::Builder::new().name("uinotify".to_owned()).spawn(serve)?;
        let running = Running { lifeline: Some(lifeline), thread: Some(thread), _socket: socket };
        match has_begun.recv() {
            Ok(None) => {}
            Ok(Some(error)) => return Err(error.into()),
            Err(_) => return Err(TestBedError::new("the emulator did not start")),
        }
        let control = Mutex::new(open(&address)?);
        Ok(TestBed { address, shim: Some(shim), control, patience: PATIENCE, _running: Some(running) })
    }
}
