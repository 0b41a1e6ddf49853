//! Where programs run, natively and emulated.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use libtest_mimic::Failed;
use nix::unistd::geteuid;
use tempfile::TempDir;

pub(super) type Outcome = Result<(), Failed>;

pub(super) const UINOTIFY: &str = env!("CARGO_BIN_EXE_uinotify");

const PATIENCE: Duration = Duration::from_secs(30);

/// Folders of a trial's own, which every user may enter.
pub(super) struct Room(TempDir);

/// What a program left.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Ended {
    pub(super) status: Option<i32>,
    pub(super) stdout: String,
}

impl Room {
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o711)).expect("its owner sets its mode");
        Self(folder)
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A new folder that all may write to.
    pub(super) fn folder(&self, name: &str) -> String {
        let path = self.path(name);
        fs::create_dir(&path).expect("a folder");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).expect("its owner sets its mode");
        path.to_str().expect("UTF-8").to_owned()
    }

    /// A command in this room; its standard error goes to a file, which no process can hold open against a reader.
    pub(super) fn command(&self, program: impl AsRef<std::ffi::OsStr>, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(arguments).env("XDG_RUNTIME_DIR", self.0.path()).stdin(Stdio::null());
        for name in ["LD_PRELOAD", "UINOTIFY_SOCKET", "UINOTIFY_DISABLE", "UINOTIFY_LOG", "UINOTIFY_SETTLE"] {
            command.env_remove(name);
        }
        command.stderr(File::create(self.path("stderr")).expect("a file in a folder of our own"));
        command
    }

    /// `uinotify run OPTIONS -- COMMAND`.
    pub(super) fn run(&self, options: &[&str], command: &[&str]) -> Command {
        self.command(UINOTIFY, &[&["run"], options, &["--"], command].concat())
    }

    pub(super) fn stderr(&self) -> String {
        fs::read_to_string(self.path("stderr")).expect("the file is made with each command")
    }
}

pub(super) fn end(command: &mut Command) -> Ended {
    let output = command.stdout(Stdio::piped()).output().expect("the command starts");
    Ended { status: output.status.code(), stdout: String::from_utf8_lossy(&output.stdout).into_owned() }
}

/// Runs a program natively and emulated, each on a folder of its own as its last argument, and compares what it says.
pub(super) fn compare(command: &[&str], ways: &[&[&str]]) -> Outcome {
    let room = Room::new();
    let native = room.folder("native");
    let native = end(&mut room.command(command[0], &[&command[1..], &[&native]].concat()));
    let stderr = room.stderr();
    if native.status != Some(0) {
        return Err(format!("natively: {native:?}\n{stderr}").into());
    }
    for (index, options) in ways.iter().enumerate() {
        let folder = room.folder(&format!("emulated{index}"));
        let emulated = end(&mut room.run(options, &[command, &[&folder]].concat()));
        if emulated != native {
            let stderr = room.stderr();
            return Err(format!(
                "--- native\n{}--- {options:?}, {:?}\n{}\n{stderr}",
                native.stdout, emulated.status, emulated.stdout
            )
            .into());
        }
        // Nothing is to be said of a program that is reached.
        assert_eq!(room.stderr(), "");
    }
    Ok(())
}

/// Waits, with an end, for what no descriptor tells.
pub(super) fn eventually(what: &str, mut holds: impl FnMut() -> bool) -> Outcome {
    let start = Instant::now();
    while !holds() {
        if start.elapsed() > PATIENCE {
            return Err(format!("the time is over before: {what}").into());
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

/// What keeps trials from what only root may do.
pub(super) fn not_root() -> Option<String> {
    (!geteuid().is_root()).then(|| "not root".to_owned())
}

/// Why programs here have no filter.
pub(super) fn no_filter() -> Option<String> {
    (!uinotify_intercept::is_possible_unprivileged()).then(|| "needs root, or Linux 5.9".to_owned())
}

/// Has the command run as an ordinary user, without a group.
pub(super) fn as_nobody(command: &mut Command) -> &mut Command {
    use std::os::unix::process::CommandExt;
    command.uid(65534).gid(65534)
}

/// Lets every user execute a file.
pub(super) fn for_all(path: &Path) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("its owner sets its mode");
}
