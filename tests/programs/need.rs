//! What a trial needs of the machine.

use std::collections::HashMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{LazyLock, Mutex};

/// A program that not every machine has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Need {
    /// Rights to mount and to enter mount name spaces, and /dev/fuse.
    Tree,
    /// fanotify with records of renames (5.17).
    Marks,
    /// Of inotify-tools.
    Inotifywait,
    /// Of GNU coreutils: others poll.
    Tail,
    Entr,
    Fswatch,
    /// Of GLib.
    Gio,
    Emacs,
    Node,
    /// A package of Node.js; `NODE_PATH` can say where.
    Chokidar,
    /// An interpreter of Python that has a module.
    Python {
        module: &'static str,
        package: &'static str,
    },
    /// A module of Perl.
    LinuxInotify2,
    /// A gem of Ruby.
    RbInotify,
    /// With its compiler, so that it runs a program from the source.
    Java,
    /// A C compiler for the machine's own libc.
    Cc,
    /// A C compiler for musl.
    MuslGcc,
    /// What a C program with systemd's event loop is compiled with.
    Libsystemd,
    /// systemd's own test of its event loop, and time for it.
    SystemdTest,
}

/// The interpreters of Python that are tried: the first in PATH is not always the one with the system's packages.
const INTERPRETERS: [&str; 2] = ["python3", "/usr/bin/python3"];

/// Where Debian puts the packages of Node.js, for a Node.js that is not Debian's.
const NODE_PACKAGES: &str = "/usr/share/nodejs";

/// It is no command, and stands in one place.
pub(super) const SYSTEMD_TEST: &str = "/usr/lib/systemd/tests/test-event";

impl Need {
    /// Tries it, once.
    pub(super) fn probe(self) -> Result<(), String> {
        static PROBED: LazyLock<Mutex<HashMap<Need, Result<(), String>>>> = LazyLock::new(Mutex::default);
        let mut probed = PROBED.lock().expect("no probe panics");
        probed.entry(self).or_insert_with(|| self.attempt()).clone()
    }

    fn attempt(self) -> Result<(), String> {
        match self {
            Self::Tree if !nix::unistd::geteuid().is_root() => Err("not root".to_owned()),
            Self::Tree => uinotify_harness::needs::Need::Fuse.probe().map_err(|error| format!("{error:#}")),
            Self::Marks => uinotify_harness::needs::Need::Fanotify.probe().map_err(|error| format!("{error:#}")),
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
            Self::Gio => ends_well("gio", &["help", "monitor"], "libglib2.0-bin"),
            Self::Emacs => {
                ends_well("emacs", &["-Q", "--batch", "--eval", "(inotify-valid-p nil)"], "emacs-nox, with inotify")
            }
            Self::Node => starts("node", "nodejs"),
            Self::Chokidar => ends_well("node", &["-e", "require('chokidar')"], "node-chokidar"),
            Self::Python { .. } => python(self).map(|_| ()),
            Self::LinuxInotify2 => ends_well("perl", &["-MLinux::Inotify2", "-e", "1"], "liblinux-inotify2-perl"),
            Self::RbInotify => ends_well("ruby", &["-e", "require 'rb-inotify'"], "ruby-rb-inotify"),
            Self::Java => match output("java", &["--list-modules"]) {
                Some(modules) if modules.contains("jdk.compiler") => Ok(()),
                _ => Err("needs default-jdk-headless".to_owned()),
            },
            Self::Cc => starts("cc", "a C compiler"),
            Self::MuslGcc => starts("musl-gcc", "musl-tools"),
            Self::Libsystemd => ends_well(
                "cc",
                &["-x", "c", "-include", "systemd/sd-event.h", "-fsyntax-only", "/dev/null"],
                "libsystemd-dev",
            ),
            Self::SystemdTest if std::env::var_os("UINOTIFY_LONG").is_none() => {
                Err("takes ten seconds each way: set UINOTIFY_LONG".to_owned())
            }
            // It takes no `--help`.
            Self::SystemdTest => {
                Path::new(SYSTEMD_TEST).exists().then_some(()).ok_or_else(|| "needs systemd-tests".to_owned())
            }
        }
    }
}

/// The interpreter of Python that has the module.
pub(super) fn python(needed: Need) -> Result<&'static str, String> {
    let Need::Python { module, package } = needed else { return Err(format!("{needed:?} is no module of Python")) };
    let has_module = |interpreter: &&str| output(interpreter, &["-c", &format!("import {module}")]).is_some();
    INTERPRETERS.into_iter().find(has_module).ok_or_else(|| format!("needs {package}"))
}

/// Lets a Node.js find the packages of the system, behind those that it is told of.
pub(super) fn with_node_packages(command: &mut Command) -> &mut Command {
    let mut path = std::env::var("NODE_PATH").unwrap_or_default();
    if !path.is_empty() {
        path.push(':');
    }
    command.env("NODE_PATH", path + NODE_PACKAGES)
}

fn starts(program: &str, package: &str) -> Result<(), String> {
    let started = Command::new(program).arg("--help").stdin(Stdio::null()).output();
    started.map(|_| ()).map_err(|error| format!("needs {package}: {program}: {error}"))
}

fn ends_well(program: &str, arguments: &[&str], package: &str) -> Result<(), String> {
    output(program, arguments).map(|_| ()).ok_or_else(|| format!("needs {package}"))
}

/// What `program` says, if it ends well.
fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null());
    let output = with_node_packages(&mut command).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}
