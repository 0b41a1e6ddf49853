//! Where a test runs commands, and how it waits for them.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use libtest_mimic::Failed;
use nix::sys::signal::{SigHandler, Signal, signal};
use nix::unistd::Pid;
use tempfile::TempDir;

pub(super) type Outcome = Result<(), Failed>;

const PATIENCE: Duration = Duration::from_secs(20);

/// A program that holds a watch with wd 0x34d71d6 on a folder, and the number of its process.
pub(super) fn holder(room: &Room, watched: &Path) -> Result<(Running, String), libtest_mimic::Failed> {
    let hold = helper_command(&["hold", watched.to_str().ok_or("a UTF-8 path")?]).join(" ");
    // The process says its number, and becomes the program.
    let script = format!("echo $$; exec {hold}");
    let mut command = room.uinotify(&["run", "--next-wd", "0x34d71d6", "--", "sh", "-c", &script]);
    let mut running = Running::start(command.stdin(Stdio::piped()));
    let pid = running.line();
    assert_eq!(running.line(), "ready");
    Ok((running, pid))
}

/// A runtime folder of a test's own.
pub(super) struct Room {
    pub(super) folder: TempDir,
}

/// What a command that has ended left.
pub(super) struct Ended {
    pub(super) status: Option<i32>,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

impl Room {
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o711)).expect("its owner sets its mode");
        Self { folder }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A command in this room; its standard error goes to a file, which no process can hold open against a reader.
    pub(super) fn command(&self, program: impl AsRef<std::ffi::OsStr>, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(arguments).env("XDG_RUNTIME_DIR", self.folder.path()).stdin(Stdio::null());
        for name in [
            "LD_PRELOAD",
            "UINOTIFY_SOCKET",
            "UINOTIFY_DISABLE",
            "UINOTIFY_LOG",
            "UINOTIFY_SETTLE",
            "UINOTIFY_EMULATOR",
        ] {
            command.env_remove(name);
        }
        command.stderr(File::create(self.path("stderr")).expect("a file in a folder of our own"));
        command
    }

    pub(super) fn uinotify(&self, arguments: &[&str]) -> Command {
        self.command(env!("CARGO_BIN_EXE_uinotify"), arguments)
    }

    /// `uinotify run OPTIONS -- COMMAND` to its end.
    pub(super) fn run(&self, options: &[&str], command: &[&str]) -> Ended {
        self.end(&mut self.uinotify(&[&["run"], options, &["--"], command].concat()))
    }

    pub(super) fn end(&self, command: &mut Command) -> Ended {
        let output = command.stdout(Stdio::piped()).output().expect("the command starts");
        let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
        Ended { status: output.status.code(), stdout, stderr: self.stderr() }
    }

    pub(super) fn stderr(&self) -> String {
        fs::read_to_string(self.path("stderr")).expect("the file is made with each command")
    }

    pub(super) fn sockets(&self) -> Vec<PathBuf> {
        let Ok(entries) = fs::read_dir(self.path("uinotify")) else {
            return Vec::new();
        };
        let paths = entries.map(|entry| entry.expect("a readable folder").path());
        paths.filter(|path| path.extension().is_some_and(|extension| extension == "sock")).collect()
    }

    /// The emulator's process, which `-v` has named.
    pub(super) fn emulator(&self) -> i32 {
        let stderr = self.stderr();
        let number = stderr.lines().find_map(|line| line.strip_prefix("uinotify: emulator ")?.parse().ok());
        number.unwrap_or_else(|| panic!("-v names the emulator: {stderr}"))
    }
}

/// A program that is running under `uinotify run -v`, with pipes to its standard input and output.
pub(super) struct Running {
    pub(super) child: Child,
    pub(super) output: BufReader<ChildStdout>,
}

impl Running {
    pub(super) fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().expect("the command starts");
        let output = BufReader::new(child.stdout.take().expect("it is piped"));
        Self { child, output }
    }

    pub(super) fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }

    pub(super) fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("a pipe can be read");
        line.trim_end().to_owned()
    }

    pub(super) fn tell(&mut self, line: &str) {
        let input = self.child.stdin.as_mut().expect("it is piped");
        writeln!(input, "{line}").expect("the program reads its input");
    }
}

/// Has the child do `action` before it executes the program: system calls that are async-signal-safe, nothing else.
pub(super) fn before_exec(command: &mut Command, action: impl FnMut() -> io::Result<()> + Send + Sync + 'static) {
    // SAFETY: the callers keep to what the comment above asks for.
    unsafe { command.pre_exec(action) };
}

/// Ignores `ignored` in this process: for [`before_exec`].
pub(super) fn ignore(ignored: Signal) -> io::Result<()> {
    // SAFETY: no function becomes a handler.
    unsafe { signal(ignored, SigHandler::SigIgn) }?;
    Ok(())
}

/// The command line of a program of [`crate::helper`].
pub(super) fn helper_command<'a>(arguments: &[&'a str]) -> Vec<&'a str> {
    [&[this_binary(), "--helper"], arguments].concat()
}

fn this_binary() -> &'static str {
    static PATH: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    PATH.get_or_init(|| {
        let path = std::env::current_exe().expect("/proc is mounted");
        path.into_os_string().into_string().expect("cargo's own path is UTF-8")
    })
}

/// Waits, with an end, for what no descriptor tells.
pub(super) fn eventually(what: &str, mut holds: impl FnMut() -> bool) -> Outcome {
    let start = Instant::now();
    while !holds() {
        if start.elapsed() > PATIENCE {
            return Err(format!("not after {PATIENCE:?}: {what}").into());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// Whether a process runs. One that has ended stays a zombie where nobody reaps orphans, as in some containers, and one
/// of which the first thread alone has ended looks like one too.
pub(super) fn is_running(pid: i32) -> bool {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count);
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else {
        return false;
    };
    let is_zombie = stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with(['Z', 'X']));
    threads > 1 || !is_zombie
}

/// Copies a program by another process: while this one had the copy open for writing, a child of another test could inherit that, and
/// executing the copy be ETXTBSY.
pub(super) fn copy_program(from: &Path, to: &Path) -> Outcome {
    let status = Command::new("cp").arg("--").args([from, to]).status()?;
    if status.success() { Ok(()) } else { Err(format!("cp: {status}").into()) }
}
