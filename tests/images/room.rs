//! Where a test runs commands.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use libtest_mimic::Failed;
use tempfile::TempDir;

pub(super) type Outcome = Result<(), Failed>;

const PATIENCE: Duration = Duration::from_secs(20);

/// A folder of a test's own, for its files and as its runtime folder.
pub(super) struct Room {
    folder: TempDir,
}

/// What a command that has ended left.
pub(super) struct Ended {
    pub(super) status: Option<i32>,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

impl Room {
    pub(super) fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a temporary folder") }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A copy of one of the dumps that a real CRIU has written.
    pub(super) fn dump(&self, name: &str) -> PathBuf {
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("emu/images/tests/dumps").join(name);
        let to = self.path(name);
        fs::create_dir(&to).expect("a folder of our own");
        for file in fs::read_dir(from).expect("the dumps are committed") {
            let path = file.expect("a readable folder").path();
            fs::copy(&path, to.join(path.file_name().expect("a name"))).expect("a file");
        }
        to
    }

    pub(super) fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command.env("XDG_RUNTIME_DIR", self.folder.path()).stdin(Stdio::null());
        for name in ["LD_PRELOAD", "UINOTIFY_SOCKET", "UINOTIFY_DISABLE", "UINOTIFY_LOG", "UINOTIFY_SETTLE"] {
            command.env_remove(name);
        }
        command
    }

    /// `uinotify images ARGUMENTS`, to its end.
    pub(super) fn images(&self, arguments: &[&dyn AsRef<std::ffi::OsStr>]) -> Ended {
        let mut command = self.command(env!("CARGO_BIN_EXE_uinotify"));
        command.arg("images").args(arguments.iter().map(|argument| argument.as_ref()));
        end(&mut command)
    }
}

pub(super) fn end(command: &mut Command) -> Ended {
    let output = command.output().expect("the command starts");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ended { status: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// Waits until something holds.
pub(super) fn eventually(what: &str, mut holds: impl FnMut() -> bool) -> Outcome {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        if Instant::now() > end {
            return Err(format!("not within {PATIENCE:?}: {what}").into());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}
