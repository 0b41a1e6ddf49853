//! Running a program of this test under `uinotify run`.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use libtest_mimic::Failed;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// The first argument of this test when it is such a program.
pub(crate) const ARGUMENT: &str = "--program";

/// A program to run.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    name: &'static str,
    arguments: Vec<String>,
    options: Vec<&'static str>,
    environment: Vec<(&'static str, String)>,
    unheard: Option<Unheard>,
    other: Option<PathBuf>,
    is_in_tree: bool,
}

/// What becomes of what is said on standard error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unheard {
    /// The reader of the pipe has gone.
    Gone,
    /// The reader of the pipe does not read.
    Silent,
}

impl Program {
    pub(crate) fn new(name: &'static str) -> Self {
        Self {
            name,
            arguments: Vec::new(),
            options: Vec::new(),
            environment: Vec::new(),
            unheard: None,
            other: None,
            is_in_tree: false,
        }
    }

    /// Another program than this test.
    pub(crate) fn other(name: &'static str, file: PathBuf) -> Self {
        Self { other: Some(file), ..Self::new(name) }
    }

    pub(crate) fn argument(mut self, argument: impl Into<u64>) -> Self {
        self.arguments.push(argument.into().to_string());
        self
    }

    /// Of `uinotify run`.
    pub(crate) fn options(mut self, options: &[&'static str]) -> Self {
        self.options.extend(options);
        self
    }

    /// Its folder is shown through the emulator's file system, from which alone its events come.
    pub(crate) fn in_tree(mut self) -> Self {
        self.is_in_tree = true;
        self
    }

    /// `UINOTIFY_SETTLE=request`: no descriptor and no memory of the shim's own.
    pub(crate) fn by_request(self) -> Self {
        self.set("UINOTIFY_SETTLE", "request")
    }

    pub(crate) fn set(mut self, name: &'static str, value: &str) -> Self {
        self.environment.push((name, value.into()));
        self
    }

    /// Standard error is a pipe from which nobody reads.
    pub(crate) fn unheard(mut self, unheard: Unheard) -> Self {
        self.unheard = Some(unheard);
        self
    }

    /// Runs it to its end, and gives what it has said. A program that hangs ends itself by SIGALRM.
    pub(crate) fn run(self) -> Result<String, Failed> {
        let room = tempfile::tempdir()?;
        let folder = room.path().join("folder");
        fs::create_dir(&folder)?;
        let output = room.path().join("output");
        // Files, not pipes: who reads a pipe to its end waits for an emulator that was left stopped.
        let file = File::create(&output)?;
        let mut command = Command::new(env!("CARGO_BIN_EXE_uinotify"));
        // Calls by number are the other side of a comparison, and the kernel's.
        command.args(["run", "--interpose", "preload"]).args(&self.options);
        if self.is_in_tree {
            command.args(["--source", "fuse", "--tree"]).arg(&folder);
        }
        command.arg("--");
        match &self.other {
            Some(file) => command.arg(file),
            None => command.arg(std::env::current_exe()?).arg(ARGUMENT).arg(self.name).arg(&folder),
        };
        command.args(&self.arguments);
        for name in ["LD_PRELOAD", "UINOTIFY_SOCKET", "UINOTIFY_DISABLE", "UINOTIFY_LOG", "UINOTIFY_SETTLE"] {
            command.env_remove(name);
        }
        command.env("XDG_RUNTIME_DIR", room.path()).env("UINOTIFY_LOG", room.path().join("log"));
        command
            .env("RUST_LIB_BACKTRACE", "0")
            .envs(self.environment)
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file);
        let (reader, writer) = std::io::pipe()?;
        let _silent = (self.unheard != Some(Unheard::Gone)).then_some(reader);
        if self.unheard.is_some() {
            command.stderr(writer);
        }
        let status = command.status()?;
        let said = fs::read_to_string(&output)?;
        if status.success() {
            return Ok(said);
        }
        let emulator = said.lines().find_map(|line| line.strip_prefix("emulator ")?.parse().ok());
        if let Some(emulator) = emulator {
            // It ends with its program, unless it was left stopped; if it has ended there is nobody to tell.
            let _ = kill(Pid::from_raw(emulator), Signal::SIGCONT);
        }
        let log = fs::read_to_string(room.path().join("log")).unwrap_or_default();
        Err(format!("{} ended with {status}\n{said}{log}", self.name).into())
    }
}
