//! The two subjects: processes that do lists, one on the kernel's inotify, one on the emulator's.

use std::collections::HashMap;
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::execute::{ARGUMENT, BY_NUMBER, STEP_MAX};
use crate::old_kernel::OldKernel;
use crate::operation::{Limits, List};
use crate::trace::{End, Trace};

/// Longest time for one list; the executor gives up on a single operation earlier.
const LIST_MAX: Duration = Duration::from_secs(30);
/// Longest time for the end of a subject whose input has ended.
const END_MAX: Duration = Duration::from_secs(2);

/// How to start a subject.
#[derive(Debug, Clone)]
pub struct Kind {
    executor: PathBuf,
    step_max: Duration,
    emulator: Option<Emulator>,
    /// Where lists make their directories, if not in that for temporary files.
    folder: Option<PathBuf>,
    /// The calls about inotify are made by number.
    by_number: bool,
}

#[derive(Debug, Clone)]
struct Emulator {
    command: PathBuf,
    arguments: Vec<OsString>,
}

impl Kind {
    /// The kernel of this machine. Limits are those of a user namespace of the list's own.
    /// `executor` is a program that calls [`execute`](crate::execute::execute) when its first argument is [`ARGUMENT`].
    pub fn native(executor: PathBuf) -> Self {
        Self { executor, step_max: STEP_MAX, emulator: None, folder: None, by_number: false }
    }

    /// The same executor under the `uinotify` command, whose `run` gets further `arguments`, such as a
    /// source. Limits are those of its command line.
    pub fn emulated(executor: PathBuf, command: PathBuf, arguments: Vec<OsString>) -> Self {
        Self { emulator: Some(Emulator { command, arguments }), ..Self::native(executor) }
    }

    /// With lists that make their directories in `folder`.
    #[must_use]
    pub fn folder(mut self, folder: PathBuf) -> Self {
        self.folder = Some(folder);
        self
    }

    /// With calls by number, past whatever stands in front of libc's.
    #[must_use]
    pub fn by_number(mut self) -> Self {
        self.by_number = true;
        self
    }

    /// With another longest time from one outcome to the next than [`STEP_MAX`].
    #[must_use]
    pub fn step_max(mut self, step_max: Duration) -> Self {
        self.step_max = step_max;
        self
    }

    fn command(&self, limits: Option<Limits>) -> Command {
        let mut command = match &self.emulator {
            None => {
                let mut command = Command::new(&self.executor);
                command.env("UINOTIFY_DISABLE", "1").env_remove("LD_PRELOAD");
                command
            }
            Some(Emulator { command, arguments }) => {
                let mut command = Command::new(command);
                command.arg("run").args(arguments);
                if let Some(Limits { watches_max, instances_max }) = limits {
                    command.arg("--limit");
                    command.arg(format!("watches={watches_max},instances={instances_max}"));
                }
                command.arg("--").arg(&self.executor);
                command.env_remove("UINOTIFY_DISABLE");
                OldKernel::confine_if_asked(&mut command);
                command
            }
        };
        command.arg(ARGUMENT).arg(self.step_max.as_millis().to_string());
        if self.by_number {
            command.arg(BY_NUMBER);
        }
        command.env_remove("UINOTIFY_SOCKET");
        if let Some(folder) = &self.folder {
            command.env("TMPDIR", folder);
        }
        command
    }

    /// As the executor is to see the list.
    fn list(&self, list: &List) -> List {
        let mut list = list.clone();
        if self.emulator.is_some() {
            list.limits = None;
        }
        list
    }
}

/// A running subject. It ends when this is dropped.
pub struct Subject {
    kind: Kind,
    process: Child,
    input: Option<ChildStdin>,
    lines: mpsc::Receiver<std::io::Result<String>>,
}

impl Subject {
    /// Starts one.
    ///
    /// # Errors
    ///
    /// If the program cannot be run.
    pub fn start(kind: &Kind, limits: Option<Limits>) -> Result<Self> {
        let mut process = kind
            .command(limits)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // Its own group: all of it can be ended by one signal.
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {kind:?}"))?;
        let input = process.stdin.take();
        let output = process.stdout.take().context("no output")?;
        let (send, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines() {
                if send.send(line).is_err() {
                    break;
                }
            }
        });
        Ok(Self { kind: kind.clone(), process, input, lines })
    }

    /// Does one list. After an error the subject is of no further use.
    fn attempt(&mut self, list: &List) -> Result<Trace> {
        let mut line = serde_json::to_vec(&self.kind.list(list))?;
        line.push(b'\n');
        let input = self.input.as_mut().context("no input")?;
        input.write_all(&line)?;
        input.flush()?;
        let answer = self.lines.recv_timeout(LIST_MAX).context("no answer")??;
        Ok(serde_json::from_str::<Trace>(&answer)?.canonical())
    }
}

impl Drop for Subject {
    fn drop(&mut self) {
        // The end of its input ends the executor, and that the emulator, which may have to tidy up.
        self.input = None;
        let asked = Instant::now();
        while asked.elapsed() < END_MAX {
            if !matches!(self.process.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        // SAFETY: takes no pointer; the group was made for this child, which has not been waited for.
        unsafe { libc::kill(-(self.process.id() as libc::pid_t), libc::SIGKILL) };
        // There is nobody to tell that a process that was ended cannot be waited for.
        let _ = self.process.wait();
    }
}

/// Subjects that wait for lists, so that each is started once for each set of limits and thread.
pub struct Pool {
    kind: Kind,
    idle: Mutex<HashMap<Option<Limits>, Vec<Subject>>>,
}

impl Pool {
    /// An empty one.
    pub fn new(kind: Kind) -> Self {
        Self { kind, idle: Mutex::default() }
    }

    /// Does one list on an idle subject, or on a new one. A subject that fails is not used again, and its
    /// failure is the trace's end.
    pub fn run(&self, list: &List) -> Trace {
        // The native subject limits each list by itself.
        let limits = list.limits.filter(|_| self.kind.emulator.is_some());
        match self.try_run(list, limits) {
            Ok(trace) => trace,
            Err(error) => Trace { outcomes: Vec::new(), end: End::Broken(format!("{error:#}")) },
        }
    }

    fn try_run(&self, list: &List, limits: Option<Limits>) -> Result<Trace> {
        let idle = self.with_idle(|idle| idle.entry(limits).or_default().pop());
        let mut subject = match idle {
            Some(subject) => subject,
            None => Subject::start(&self.kind, limits)?,
        };
        let trace = subject.attempt(list)?;
        // What hung may have left something behind.
        if trace.end == End::Finished {
            self.with_idle(|idle| idle.entry(limits).or_default().push(subject));
        }
        Ok(trace)
    }

    fn with_idle<R>(&self, act: impl FnOnce(&mut HashMap<Option<Limits>, Vec<Subject>>) -> R) -> R {
        act(&mut self.idle.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
