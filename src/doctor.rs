//! `uinotify doctor`: what works on this machine, what does not, and why. Everything is tried, nothing concluded from a version.

use std::fmt::Write as _;
use std::io::Write as _;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use anyhow::Context;
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use serde_json::{Value, json};
use uinotify_host::{LimitOverrides, MachineLimits, Sources, trial};
use uinotify_intercept::is_possible_unprivileged;

use crate::inherited::Inherited;
use crate::nested;

mod criu;
mod machine;
pub mod observe;
mod path;
mod run;
mod usage;

use criu::Criu;
use machine::Machine;
use path::Choice;
use run::Trials;
use usage::Usage;

/// All that was found.
struct Findings {
    machine: Machine,
    trials: Trials,
    inotify: Result<(), String>,
    next_wd: Result<(), Errno>,
    fanotify: Result<(), String>,
    criu: Criu,
    usage: Usage,
    choice: Choice,
}

/// Tries everything, for programs that watch `path`, and prints what comes of it, as text or as JSON; whether `uinotify run` works as it comes.
///
/// # Errors
/// There is no folder for trials, or standard output cannot be written.
pub fn doctor(path: Option<&Path>, json: bool) -> anyhow::Result<bool> {
    if nested::is_emulated() {
        return Err(nested::execute_again(&Inherited::take()?).into());
    }
    let path = match path {
        Some(path) => std::path::absolute(path).with_context(|| format!("cannot use {}", path.display()))?,
        None => std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/")),
    };
    let findings = Findings::find(&path)?;
    let works = findings.failure().is_none();
    let text = if json {
        serde_json::to_string_pretty(&findings.json()).context("cannot write JSON")? + "\n"
    } else {
        findings.text()
    };
    std::io::stdout().write_all(text.as_bytes()).context("cannot write to standard output")?;
    Ok(works)
}

impl Findings {
    fn find(path: &Path) -> anyhow::Result<Self> {
        let trials = Trials::make()?;
        let inotify = with_root(trial::inotify);
        Ok(Self {
            machine: Machine::find(trials.loaded.as_deref().ok()),
            next_wd: observe::kernel_next_wd(),
            fanotify: with_root(trial::fanotify),
            criu: Criu::find(),
            usage: Usage::count(),
            choice: Choice::of(path),
            trials,
            inotify,
        })
    }

    /// Why `uinotify run` does not work as it comes.
    fn failure(&self) -> Option<String> {
        if let Err(why) = &self.trials.loaded {
            return Some(why.clone());
        }
        if let Err(why) = &self.choice.source {
            return Some(why.clone());
        }
        self.trials.emulated.as_ref().err().cloned()
    }

    fn text(&self) -> String {
        let mut text = String::new();
        let mut line = |name: &str, what: &str| {
            // Writing to a string does not fail.
            let _ = writeln!(text, "{name:<10}{what}");
        };
        line("kernel", &self.machine.kernel);
        line("system", &format!("{}, {}", self.machine.system, self.machine.libc));
        line("uinotify", &self.machine.command);
        let loads = |program: &str| format!("loads into {program}");
        line("library", &self.trials.loaded.as_ref().map_or_else(Clone::clone, |found| loads(&found.program)));
        line("program", &worked(&self.trials.emulated, "has its events, and the number of a watch that it asked for"));
        let unasked = is_possible_unprivileged();
        let filter = if unasked {
            "is reached too"
        } else {
            "is reached by --interpose seccomp, and gains no rights (no_new_privs)"
        };
        line("no libc", &worked(&self.trials.filtered, &format!("a program that calls none {filter}")));
        line("inotify", &worked(&self.inotify, "the kernel has it"));
        line("next wd", &self.next_wd_text());
        line("fuse", &worked(&self.trials.fuse, "a tree is shown, without the kernel's inotify"));
        line("fanotify", &worked(&self.fanotify, "watches, without the kernel's inotify"));
        line("criu", &self.criu.text());
        for (index, used) in self.usage.lines(&self.limits()).iter().enumerate() {
            line(if index == 0 { "in use" } else { "" }, used);
        }
        let path = self.choice.path.display();
        match &self.choice.source {
            Ok(source) => line("auto", &format!("{path}: {source}")),
            Err(why) => line("auto", &format!("{path}: nothing works: {why}")),
        }
        if let Some(remark) = self.choice.remark {
            line("", remark);
        }
        match self.failure() {
            None => line("default", "works: uinotify run -- PROGRAM"),
            Some(why) => line("default", &format!("does not work: {why}")),
        }
        text
    }

    fn next_wd_text(&self) -> String {
        match self.next_wd {
            Ok(()) => "the kernel has INOTIFY_IOC_SETNEXTWD as well".to_owned(),
            Err(Errno::ENOTTY) => {
                "the kernel has no INOTIFY_IOC_SETNEXTWD (ENOTTY); instances of uinotify have it".to_owned()
            }
            Err(errno) => format!("whether the kernel has INOTIFY_IOC_SETNEXTWD is not to be seen: {}", meaning(errno)),
        }
    }

    fn limits(&self) -> uinotify_host::Limits {
        MachineLimits::open().with(LimitOverrides::default(), Sources::Inotify)
    }

    fn json(&self) -> Value {
        let limits = self.limits();
        json!({
            "schema": 1,
            "kernel": self.machine.kernel,
            "system": self.machine.system,
            "libc": self.machine.libc,
            "uinotify": self.machine.command,
            "library": match &self.trials.loaded {
                Ok(found) => json!({ "works": true, "program": found.program }),
                Err(why) => json!({ "works": false, "why": why }),
            },
            "program": outcome(&self.trials.emulated),
            "no_libc": outcome(&self.trials.filtered),
            "sources": {
                "inotify": outcome(&self.inotify),
                "fuse": outcome(&self.trials.fuse),
                "fanotify": outcome(&self.fanotify),
            },
            "kernel_setnextwd": outcome(&self.next_wd.map_err(|errno| format!("{errno:?}"))),
            "criu": self.criu.json(),
            "limits": { "instances": limits.instances_max, "watches": limits.watches_max, "queue": limits.queue_events_max },
            "in_use": self.usage.json(),
            "auto": {
                "path": self.choice.path.to_string_lossy(),
                "source": self.choice.source.as_ref().ok(),
                "why": self.choice.source.as_ref().err(),
                "remark": self.choice.remark,
            },
            "default": outcome(&self.failure().map_or(Ok(()), Err)),
        })
    }
}

fn worked(result: &Result<(), String>, what: &str) -> String {
    match result {
        Ok(()) => what.to_owned(),
        Err(why) => format!("does not work: {why}"),
    }
}

fn outcome(result: &Result<(), String>) -> Value {
    match result {
        Ok(()) => json!({ "works": true }),
        Err(why) => json!({ "works": false, "why": why }),
    }
}

/// Tries a source of the kernel's on the root folder, which everybody may read.
fn with_root(watch: fn(std::os::fd::BorrowedFd<'_>) -> Result<(), Errno>) -> Result<(), String> {
    let root = open(c"/", OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()).map_err(|errno| errno.desc().to_owned())?;
    watch(root.as_fd()).map_err(meaning)
}

/// What an errno of the kernel's inotify or fanotify says.
fn meaning(errno: Errno) -> String {
    match errno {
        Errno::EMFILE => {
            "this user has all the instances that the kernel gives one (fs.inotify.max_user_instances)".into()
        }
        Errno::ENOSPC => "this user has all the watches that the kernel gives one (fs.inotify.max_user_watches)".into(),
        Errno::ENOSYS => "the kernel was built without it".into(),
        Errno::EINVAL => "the kernel tells no names by it (that came with Linux 5.9)".into(),
        Errno::EPERM => "it is for root here".into(),
        errno => errno.desc().into(),
    }
}
