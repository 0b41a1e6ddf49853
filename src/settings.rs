//! What an emulator is told on the command line.

use uinotify_host::{Admission, Config, Lifetime, LimitOverrides, Mode, SetNextWd, Sources};

use crate::notice::notice;
use crate::number::show_watch_descriptor;

/// The settings that `run` and `serve` have in common.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Where events may come from.
    pub sources: Sources,
    /// How much of what is done to trees that are shown is seen.
    pub mode: Mode,
    /// The cursor of each new group, 1 to 0x7fffffff; 1 if not given.
    pub next_wd: Option<i32>,
    /// Limits in place of the kernel's.
    pub limits: LimitOverrides,
    /// How `INOTIFY_IOC_SETNEXTWD` is answered.
    pub setnextwd: SetNextWd,
    /// Say on standard error what is set up.
    pub verbose: bool,
}

impl Settings {
    pub(crate) fn config(&self, admission: Admission, lifetime: Lifetime, command: Vec<String>) -> Config {
        Config {
            next_wd: self.next_wd,
            limits: self.limits,
            setnextwd: self.setnextwd,
            sources: self.sources,
            mode: self.mode,
            admission,
            lifetime,
            verbose: self.verbose,
            command,
        }
    }

    pub(crate) fn describe(&self) {
        let limit = |value: Option<u32>| value.map_or_else(|| "kernel's".to_owned(), |value| value.to_string());
        notice(match self.sources {
            Sources::Auto => "source auto",
            Sources::Inotify => "source inotify",
            Sources::Fuse => "source fuse",
            Sources::Fanotify => "source fanotify",
            Sources::Script => "source script",
        });
        notice(format_args!(
            "limits watches={} instances={} queue={}",
            limit(self.limits.watches_max),
            limit(self.limits.instances_max),
            limit(self.limits.queue_events_max),
        ));
        if let Some(wd) = self.next_wd {
            notice(format_args!("next wd {}", show_watch_descriptor(wd)));
        }
    }
}
