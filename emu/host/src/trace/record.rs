//! One line of a trace.

use std::fmt;

use anstyle::{AnsiColor, Style};
use nix::errno::Errno;
use serde::{Deserialize, Serialize};
use uinotify_core::Pushed;
use uinotify_images::text::{ByteString, show_mask};

/// The first line of a trace in JSON has this as `format`.
pub const TRACE_FORMAT: &str = "uinotify-trace";

/// Version of the records.
pub const TRACE_VERSION: u32 = 1;

/// One thing that has happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// When, in microseconds since the emulator began.
    pub time_us: u64,
    /// The instance, as `uinotify ps` numbers it; 0 for one that was refused.
    pub instance: u64,
    /// What it was.
    #[serde(flatten)]
    pub what: What,
}

/// What has happened. Of calls those that reach the emulator: not those that fail for a descriptor or a mask alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum What {
    /// `inotify_init1`.
    Init {
        /// Who called.
        pid: i32,
        /// IN_NONBLOCK and IN_CLOEXEC.
        flags: i32,
        /// How many events the queue of the new instance takes; 0 for none.
        #[serde(default, skip_serializing_if = "is_zero")]
        queue_events_max: u32,
        /// The name of the errno, if it failed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        errno: Option<String>,
    },
    /// `inotify_add_watch`.
    AddWatch {
        /// Who called.
        pid: i32,
        /// As the program wrote it.
        path: ByteString,
        /// As it was given.
        #[serde(with = "uinotify_images::text::mask")]
        mask: u32,
        /// The watch, if it succeeded.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        wd: Option<i32>,
        /// The name of the errno, if it failed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        errno: Option<String>,
    },
    /// `inotify_rm_watch`.
    RemoveWatch {
        /// Who called.
        pid: i32,
        /// As it was given.
        wd: i32,
        /// The name of the errno, if it failed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        errno: Option<String>,
    },
    /// `ioctl(INOTIFY_IOC_SETNEXTWD)`.
    SetNextWd {
        /// Who called.
        pid: i32,
        /// As it was given: all of the unsigned long.
        argument: u64,
        /// The name of the errno, if it failed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        errno: Option<String>,
    },
    /// `ioctl(UINOTIFY_IOC_GETNEXTWD)`.
    GetNextWd {
        /// Who called.
        pid: i32,
        /// The cursor.
        next_wd: i32,
    },
    /// `ioctl(FIONREAD)`, where the program could not tell by itself.
    Count {
        /// Who called.
        pid: i32,
        /// Of all queued events.
        bytes: i32,
    },
    /// An event, when it was queued, merged or lost.
    Event {
        /// Of the watch; -1 for IN_Q_OVERFLOW.
        wd: i32,
        /// Where the watched object was when it was added; nothing for IN_Q_OVERFLOW, and for watches that came with a checkpoint.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        path: Option<ByteString>,
        /// As readers see it.
        #[serde(with = "uinotify_images::text::mask")]
        mask: u32,
        /// Joins the halves of a rename; else 0.
        cookie: u32,
        /// In the watched directory; empty if it is about the watched object itself.
        name: ByteString,
        /// What became of it.
        outcome: Outcome,
        /// Events that wait now, IN_Q_OVERFLOW included.
        queue_events: usize,
    },
    /// A program has read. Told when the emulator learns of it, which may be later.
    Read {
        /// How many events.
        events: usize,
        /// Events that wait now.
        queue_events: usize,
    },
    /// A read that a fault has made fail.
    FailedRead {
        /// Who called.
        pid: i32,
        /// The name of the errno.
        errno: Option<String>,
    },
    /// The last descriptor of the instance was closed.
    Close {},
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// What became of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// A reader will get it.
    Queued,
    /// The last queued event was the same, and stands for it.
    Merged,
    /// It is lost, and IN_Q_OVERFLOW stands for it.
    Overflowed,
    /// It is lost.
    Dropped,
    /// A delay of a test holds it back. It is told once more when it comes.
    Held,
}

impl Outcome {
    /// As it stands in a line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Merged => "merged",
            Self::Overflowed => "overflowed",
            Self::Dropped => "dropped",
            Self::Held => "held",
        }
    }
}

impl From<Pushed> for Outcome {
    fn from(pushed: Pushed) -> Self {
        match pushed {
            Pushed::Queued => Self::Queued,
            Pushed::Merged => Self::Merged,
            Pushed::Overflowed => Self::Overflowed,
            Pushed::Dropped => Self::Dropped,
            Pushed::Held { .. } => Self::Held,
        }
    }
}

/// In quotes, with what would break the line escaped as in Rust.
pub(crate) struct Quoted<'a>(pub(crate) &'a ByteString);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "\"{}\"", self.0.0.escape_ascii())
    }
}

/// As strace shows what a call returned.
struct Returned<'a, T>(T, &'a Option<String>);

impl<T: fmt::Display> fmt::Display for Returned<'_, T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.1 {
            None => write!(formatter, " = {}", self.0),
            Some(name) => {
                write!(formatter, " = -1 {name}")?;
                match errno_of(name) {
                    Some(errno) => write!(formatter, " ({})", errno.desc()),
                    None => Ok(()),
                }
            }
        }
    }
}

/// The errno of a name such as `ENOENT`.
pub(crate) fn errno_of(name: &str) -> Option<Errno> {
    const LAST: i32 = 133;
    (1..=LAST).map(Errno::from_raw).find(|errno| format!("{errno:?}") == name)
}

/// Flags of `inotify_init1` by name.
pub(crate) fn show_flags(flags: i32) -> String {
    let names = [(libc::IN_NONBLOCK, "IN_NONBLOCK"), (libc::IN_CLOEXEC, "IN_CLOEXEC")];
    let mut shown: Vec<String> =
        names.iter().filter(|(bit, _)| flags & bit != 0).map(|(_, name)| (*name).to_owned()).collect();
    let rest = names.iter().fold(flags, |rest, (bit, _)| rest & !bit);
    if rest != 0 || shown.is_empty() {
        shown.push(if rest == 0 { "0".to_owned() } else { format!("{rest:#x}") });
    }
    shown.join("|")
}

impl What {
    /// How it looks on a terminal: what went wrong in red, what reaches a reader in green, what asks for no attention dim.
    pub(crate) fn style(&self) -> Style {
        let failed = match self {
            Self::Init { errno, .. }
            | Self::AddWatch { errno, .. }
            | Self::RemoveWatch { errno, .. }
            | Self::SetNextWd { errno, .. } => errno.is_some(),
            _ => false,
        };
        match self {
            _ if failed => AnsiColor::Red.on_default(),
            Self::Event { outcome: Outcome::Queued, .. } => AnsiColor::Green.on_default(),
            Self::Event { outcome: Outcome::Overflowed | Outcome::Dropped, .. } => AnsiColor::Red.on_default().bold(),
            Self::Event { outcome: Outcome::Merged, .. } | Self::Read { .. } | Self::Close {} => Style::new().dimmed(),
            _ => Style::new(),
        }
    }
}

impl fmt::Display for Record {
    /// The line for people, without a newline.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { time_us, instance, what } = self;
        write!(formatter, "{}.{:06} ", time_us / 1_000_000, time_us % 1_000_000)?;
        match what {
            What::Init { pid, flags, errno, .. } => {
                let made = format!("instance {instance}");
                write!(formatter, "[{pid}] inotify_init1({}){}", show_flags(*flags), Returned(made, errno))
            }
            What::AddWatch { pid, path, mask, wd, errno } => write!(
                formatter,
                "[{pid}] inotify_add_watch(instance {instance}, {}, {}){}",
                Quoted(path),
                show_mask(*mask),
                Returned(wd.unwrap_or(-1), errno)
            ),
            What::RemoveWatch { pid, wd, errno } => {
                write!(formatter, "[{pid}] inotify_rm_watch(instance {instance}, {wd}){}", Returned(0, errno))
            }
            What::SetNextWd { pid, argument, errno } => write!(
                formatter,
                "[{pid}] ioctl(instance {instance}, INOTIFY_IOC_SETNEXTWD, {argument}){}",
                Returned(0, errno)
            ),
            What::GetNextWd { pid, next_wd } => {
                write!(formatter, "[{pid}] ioctl(instance {instance}, UINOTIFY_IOC_GETNEXTWD, [{next_wd}]) = 0")
            }
            What::Count { pid, bytes } => {
                write!(formatter, "[{pid}] ioctl(instance {instance}, FIONREAD, [{bytes}]) = 0")
            }
            What::Event { wd, path, mask, cookie, name, outcome, queue_events } => {
                write!(formatter, "instance {instance} wd {wd}")?;
                if let Some(path) = path {
                    write!(formatter, " {}", Quoted(path))?;
                }
                write!(formatter, ": {}", show_mask(*mask))?;
                if *cookie != 0 {
                    write!(formatter, " cookie {cookie}")?;
                }
                if !name.0.is_empty() {
                    write!(formatter, " {}", Quoted(name))?;
                }
                match outcome {
                    Outcome::Queued => write!(formatter, ", {queue_events} queued"),
                    Outcome::Merged => formatter.write_str(", merged"),
                    Outcome::Overflowed => write!(formatter, ", lost: the queue overflows, {queue_events} queued"),
                    Outcome::Dropped => formatter.write_str(", lost"),
                    Outcome::Held => formatter.write_str(", held back"),
                }
            }
            What::Read { events, queue_events } => {
                write!(formatter, "instance {instance} read: {events} events, {queue_events} left")
            }
            What::FailedRead { pid, errno } => {
                write!(formatter, "[{pid}] read(instance {instance}){}", Returned(-1, errno))
            }
            What::Close {} => write!(formatter, "instance {instance} closed"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records() -> Vec<(Record, &'static str, &'static str)> {
        let record = |what| Record { time_us: 1_002_003, instance: 1, what };
        let path = || ByteString::from(&b"/tmp/a \xff"[..]);
        vec![
            (
                record(What::Init { pid: 7, flags: libc::IN_NONBLOCK, queue_events_max: 5, errno: None }),
                "1.002003 [7] inotify_init1(IN_NONBLOCK) = instance 1",
                r#"{"time_us":1002003,"instance":1,"what":"init","pid":7,"flags":2048,"queue_events_max":5}"#,
            ),
            (
                record(What::Init { pid: 7, flags: 0, queue_events_max: 0, errno: Some("EMFILE".to_owned()) }),
                "1.002003 [7] inotify_init1(0) = -1 EMFILE (Too many open files)",
                r#"{"time_us":1002003,"instance":1,"what":"init","pid":7,"flags":0,"errno":"EMFILE"}"#,
            ),
            (
                record(What::AddWatch { pid: 7, path: path(), mask: 0x300, wd: Some(5), errno: None }),
                "1.002003 [7] inotify_add_watch(instance 1, \"/tmp/a \\xff\", IN_CREATE|IN_DELETE) = 5",
                r#"{"time_us":1002003,"instance":1,"what":"add_watch","pid":7,"path":"/tmp/a %FF","mask":"IN_CREATE|IN_DELETE","wd":5}"#,
            ),
            (
                record(What::RemoveWatch { pid: 7, wd: 5, errno: Some("EINVAL".to_owned()) }),
                "1.002003 [7] inotify_rm_watch(instance 1, 5) = -1 EINVAL (Invalid argument)",
                r#"{"time_us":1002003,"instance":1,"what":"remove_watch","pid":7,"wd":5,"errno":"EINVAL"}"#,
            ),
            (
                record(What::SetNextWd { pid: 7, argument: 1 << 40, errno: None }),
                "1.002003 [7] ioctl(instance 1, INOTIFY_IOC_SETNEXTWD, 1099511627776) = 0",
                r#"{"time_us":1002003,"instance":1,"what":"set_next_wd","pid":7,"argument":1099511627776}"#,
            ),
            (
                record(What::Event {
                    wd: 5,
                    path: Some(path()),
                    mask: 0x40,
                    cookie: 3,
                    name: ByteString::from(&b"n"[..]),
                    outcome: Outcome::Queued,
                    queue_events: 2,
                }),
                "1.002003 instance 1 wd 5 \"/tmp/a \\xff\": IN_MOVED_FROM cookie 3 \"n\", 2 queued",
                r#"{"time_us":1002003,"instance":1,"what":"event","wd":5,"path":"/tmp/a %FF","mask":"IN_MOVED_FROM","cookie":3,"name":"n","outcome":"queued","queue_events":2}"#,
            ),
            (
                record(What::Read { events: 2, queue_events: 0 }),
                "1.002003 instance 1 read: 2 events, 0 left",
                r#"{"time_us":1002003,"instance":1,"what":"read","events":2,"queue_events":0}"#,
            ),
            (
                record(What::FailedRead { pid: 7, errno: Some("EINTR".to_owned()) }),
                "1.002003 [7] read(instance 1) = -1 EINTR (Interrupted system call)",
                r#"{"time_us":1002003,"instance":1,"what":"failed_read","pid":7,"errno":"EINTR"}"#,
            ),
            (
                record(What::Close {}),
                "1.002003 instance 1 closed",
                r#"{"time_us":1002003,"instance":1,"what":"close"}"#,
            ),
        ]
    }

    #[test]
    fn a_record_is_a_line_for_people_and_one_for_programs() {
        for (record, text, json) in records() {
            assert_eq!(record.to_string(), text);
            assert_eq!(serde_json::to_string(&record).unwrap(), json);
            assert_eq!(serde_json::from_str::<Record>(json).unwrap(), record);
        }
    }

    #[test]
    fn what_becomes_of_an_event_is_told() {
        let line = |outcome| {
            let name = ByteString::default();
            let what = What::Event { wd: -1, path: None, mask: 0x4000, cookie: 0, name, outcome, queue_events: 3 };
            Record { time_us: 0, instance: 1, what }.to_string()
        };
        let overflow = "0.000000 instance 1 wd -1: IN_Q_OVERFLOW";
        assert_eq!(line(Outcome::Overflowed), format!("{overflow}, lost: the queue overflows, 3 queued"));
        assert_eq!(line(Outcome::Merged), format!("{overflow}, merged"));
        assert_eq!(line(Outcome::Dropped), format!("{overflow}, lost"));
    }
}
