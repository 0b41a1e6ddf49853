//! What an emulator is told on the command line.

use std::time::Duration;

use uinotify_host::fault::FaultPlan;
use uinotify_host::{Admission, Config, Lifetime, LimitOverrides, Mode, Order, Profile, Recording, SetNextWd, Sources};

use uinotify_host::trace::TraceFile;

use crate::notice::notice;
use crate::number::show_watch_descriptor;

/// The settings that `run` and `serve` have in common.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Where events may come from.
    pub sources: Sources,
    /// How often to look at what is polled; every second if not given.
    pub poll_interval: Option<Duration>,
    /// How hard it is tried to keep the order of what fanotify tells.
    pub order: Order,
    /// How much of what is done to trees that are shown is seen.
    pub mode: Mode,
    /// The cursor of each new group, 1 to 0x7fffffff; 1 if not given.
    pub next_wd: Option<i32>,
    /// Limits in place of the kernel's.
    pub limits: LimitOverrides,
    /// Calls that fail, and events that are lost or late.
    pub faults: FaultPlan,
    /// What programs are shown again.
    pub replay: Option<Recording>,
    /// Keep a log of calls and events, as it is kept where events are injected or faults are asked for.
    pub log: bool,
    /// How `INOTIFY_IOC_SETNEXTWD` is answered; as the profile has it if not given.
    pub setnextwd: Option<SetNextWd>,
    /// Which Linux is shown; the one of today if not given.
    pub profile: Option<Profile>,
    /// Where what goes on is written.
    pub traces: Vec<TraceFile>,
    /// Say on standard error what is set up.
    pub verbose: bool,
}

impl Settings {
    pub(crate) fn config(&self, admission: Admission, lifetime: Lifetime, command: Vec<String>) -> Config {
        let profile = self.profile.unwrap_or_default();
        Config {
            next_wd: self.next_wd,
            limits: self.limits,
            faults: self.faults.clone(),
            replay: self.replay.clone(),
            shares_process: false,
            log: self.log || self.sources == Sources::Script || self.faults != FaultPlan::default(),
            setnextwd: self.setnextwd.unwrap_or(match profile {
                Profile::Native => SetNextWd::Ok,
                Profile::El7 => SetNextWd::NotTty,
            }),
            profile,
            traces: self.traces.clone(),
            sources: self.sources,
            poll_interval: self.poll_interval,
            order: self.order,
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
            Sources::Poll => "source poll",
            Sources::Script => "source script",
        });
        if self.profile == Some(Profile::El7) {
            notice("profile el7");
        }
        if self.order == Order::Strict {
            notice("order strict");
        }
        notice(format_args!(
            "limits watches={} instances={} queue={}",
            limit(self.limits.watches_max),
            limit(self.limits.instances_max),
            limit(self.limits.queue_events_max),
        ));
        for rule in &self.faults.rules {
            notice(format_args!("fault {rule}"));
        }
        if let Some(wd) = self.next_wd {
            notice(format_args!("next wd {}", show_watch_descriptor(wd)));
        }
    }
}
