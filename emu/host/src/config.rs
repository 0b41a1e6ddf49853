//! What an emulator is told at its start.

use std::time::Duration;

use uinotify_core::Profile;
use uinotify_source::fuse::Mode;
use uinotify_wire::TOKEN_BYTES;

use crate::fault::FaultPlan;
use crate::replay::Recording;
use crate::trace::TraceFile;

/// An emulator's settings.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// The cursor of every new instance, 1 to 2^31 - 1; `None` as Linux starts, at 1.
    pub next_wd: Option<i32>,
    /// Limits in place of the machine's.
    pub limits: LimitOverrides,
    /// What `INOTIFY_IOC_SETNEXTWD` does.
    pub setnextwd: SetNextWd,
    /// Which Linux is shown, where kernels differ.
    pub profile: Profile,
    /// Where events may come from.
    pub sources: Sources,
    /// From the beginning of one look at what is polled to that of the next; `None` for a second.
    pub poll_interval: Option<Duration>,
    /// How hard it is tried to keep the order of what fanotify tells.
    pub order: Order,
    /// Calls that fail, and events that are lost or late.
    pub faults: FaultPlan,
    /// What programs are shown again: for source `script`, as nothing else is to happen then.
    pub replay: Option<Recording>,
    /// Other threads of this process are not the emulator's, but a test's.
    pub shares_process: bool,
    /// Keep the last calls and events, and count them all.
    pub log: bool,
    /// How much of what is done to trees that are shown is seen.
    pub mode: Mode,
    /// Who may open instances.
    pub admission: Admission,
    /// When the emulator ends.
    pub lifetime: Lifetime,
    /// Where what goes on is written.
    pub traces: Vec<TraceFile>,
    /// Messages about what goes on, on stderr.
    pub verbose: bool,
    /// The command that runs under this emulator, for `ps`.
    pub command: Vec<String>,
}

/// Where events may come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sources {
    /// For each watched object the most faithful source that there is for it: what is in a tree that is shown through a file system of
    /// ours has its events from that, what is on a file system that notifies nobody from polling, all else from kernel inotify.
    #[default]
    Auto,
    /// Kernel inotify alone.
    Inotify,
    /// File systems of ours alone. Nothing else can be watched: ENOSPC.
    Fuse,
    /// fanotify, and file systems of ours. No kernel inotify and none of its limits; the order of events is best effort.
    Fanotify,
    /// Nothing happens but what is injected, and everything can be watched: for tests of a watcher without a file system. What is in a
    /// tree that is shown has its events from there all the same.
    Script,
    /// Looking again and again, and file systems of ours. Works everywhere, tells nothing of opening, reading and closing, and not all
    /// of the rest.
    Poll,
}

/// How hard it is tried to keep the order of what fanotify tells: the kernel merges what waits to be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// It is read as soon as can be.
    #[default]
    Eager,
    /// Whoever opens or reads what is watched waits until it was read. Takes CAP_SYS_ADMIN.
    Strict,
}

/// Who may open instances.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Admission {
    /// Whoever knows this secret, whatever user that is.
    Token([u8; TOKEN_BYTES]),
    /// Programs of the emulator's own user.
    #[default]
    OwnUser,
    /// Every program. For an emulator of root's: it must be able to look at a file with the rights of the one who asks.
    AllUsers,
}

/// When an emulator ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Lifetime {
    /// With its lifeline, whoever still has an instance.
    #[default]
    Lifeline,
    /// When its lifeline is cut, and a moment has gone by without an instance.
    Instances,
    /// When the trees that it shows are unmounted, and no instance is left.
    Trees,
    /// As `Instances`, and no program is left that was started with the token in its environment.
    Programs,
}

/// Limits that are not the machine's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LimitOverrides {
    /// Watches of a user.
    pub watches_max: Option<u32>,
    /// Instances of a user.
    pub instances_max: Option<u32>,
    /// Queued events of an instance.
    pub queue_events_max: Option<u32>,
}

/// How `INOTIFY_IOC_SETNEXTWD` answers, so that both ways of a checkpointer can be run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SetNextWd {
    /// As Linux with CONFIG_CHECKPOINT_RESTORE.
    #[default]
    Ok,
    /// As a kernel that lacks it (before 4.16).
    NotTty,
    /// As if no number were valid.
    Inval,
}
