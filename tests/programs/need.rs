//! What a trial needs of the machine.

use std::collections::HashMap;
use std::process::{Command, Stdio};
use std::sync::{LazyLock, Mutex};

/// A program that not every machine has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Need {
    /// Of inotify-tools.
    Inotifywait,
    /// Of GNU coreutils: others poll.
    Tail,
    Entr,
    Fswatch,
    Node,
    /// An interpreter of Python with the package watchdog.
    Watchdog,
    /// A C compiler for the machine's own libc.
    Cc,
    /// A C compiler for musl.
    MuslGcc,
}

/// The interpreters of Python that are tried: the first in PATH is not always the one with the system's packages.
const INTERPRETERS: [&str; 2] = ["python3", "/usr/bin/python3"];

impl Need {
    /// Tries it, once.
    pub(super) fn probe(self) -> Result<(), String> {
        static PROBED: LazyLock<Mutex<HashMap<Need, Result<(), String>>>> = LazyLock::new(Mutex::default);
        let mut probed = PROBED.lock().expect("no probe panics");
        probed.entry(self).or_insert_with(|| self.attempt()).clone()
    }

    fn attempt(self) -> Result<(), String> {
        match self {
            // Its exit status after `--help` is not the same in all versions.
            Self::Inotifywait => starts("inotifywait", "inotify-tools"),
            Self::Tail => match output("tail", &["--version"]) {
                Some(version) if version.contains("GNU coreutils") => Ok(()),
                _ => Err("needs tail of GNU coreutils".to_owned()),
            },
            Self::Entr => starts("entr", "entr"),
            Self::Fswatch => match output("fswatch", &["--list-monitors"]) {
                Some(monitors) if monitors.contains("inotify_monitor") => Ok(()),
                _ => Err("needs fswatch with its inotify_monitor".to_owned()),
            },
            Self::Node => starts("node", "nodejs"),
            Self::Watchdog => interpreter().map(|_| ()),
            Self::Cc => starts("cc", "a C compiler"),
            Self::MuslGcc => starts("musl-gcc", "musl-tools"),
        }
    }
}

/// An interpreter of Python that has the package watchdog.
pub(super) fn interpreter() -> Result<&'static str, String> {
    let has_watchdog = |interpreter: &&str| output(interpreter, &["-c", "import watchdog.observers.inotify"]).is_some();
    INTERPRETERS.into_iter().find(has_watchdog).ok_or_else(|| "needs python3-watchdog".to_owned())
}

fn starts(program: &str, package: &str) -> Result<(), String> {
    let started = Command::new(program).arg("--help").stdin(Stdio::null()).output();
    started.map(|_| ()).map_err(|error| format!("needs {package}: {program}: {error}"))
}

/// What `program` says, if it ends well.
fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}
