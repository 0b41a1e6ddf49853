//! The commands of the control protocol, as they stand in its lines.

use std::fmt;

use serde::{Deserialize, Serialize};
use uinotify_images::text::ByteString;

use crate::place::Inode;
use crate::trace::{Counts, Record};

/// What an emulator is told to do.
///
/// Paths are absolute, and the client's: it says by an [`Inode`] what it has found there, where it has looked. An instance is named by its
/// number (as `ps` shows it) or the inode of a program's socket; without either the only one is meant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
pub enum Command {
    /// Bring everything that has happened so far into the queues, also what is held back. Answered when it is there.
    Barrier {},
    /// Let something happen.
    Inject(Injection),
    /// Have the queues of all instances overflow, or of one.
    Overflow {
        /// Number of the instance.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        instance: Option<u64>,
        /// Inode of its program's socket.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        socket: Option<u64>,
    },
    /// Queue an event as it is, whatever is watched.
    Queue {
        /// Number of the instance.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        instance: Option<u64>,
        /// Inode of its program's socket.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        socket: Option<u64>,
        /// The watch, whether there is one or not.
        wd: i32,
        /// What a reader sees as the mask.
        mask: u32,
        /// What a reader sees as the cookie.
        #[serde(default)]
        cookie: u32,
        /// The name, at most 255 bytes.
        #[serde(default)]
        name: ByteString,
    },
    /// Wait until somebody watches an object. Answered when that is so.
    WaitForWatch {
        /// By which path.
        path: ByteString,
        /// What is there.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        object: Option<Inode>,
        /// Only a watch that asks for all of these bits.
        #[serde(default)]
        mask: u32,
    },
    /// Set the number from which the next wd is sought.
    SetNextWd {
        /// Number of the instance.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        instance: Option<u64>,
        /// Inode of its program's socket.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        socket: Option<u64>,
        /// 1 to 2147483647.
        wd: u64,
    },
    /// Tell it.
    GetNextWd {
        /// Number of the instance.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        instance: Option<u64>,
        /// Inode of its program's socket.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        socket: Option<u64>,
    },
    /// Have calls fail, or events be lost, from now on.
    Fault {
        /// As on the command line.
        rule: String,
    },
    /// Hold events back from now on.
    Delay {
        /// As on the command line.
        delay: String,
    },
    /// No fault and no delay from now on.
    ClearFaults {},
    /// Tell which calls were made, what became of events, and the last of both.
    Log {
        /// How many of the last, at most.
        #[serde(default = "log_entries")]
        last: usize,
    },
    /// End a replay, and tell how often the program has departed from the recording.
    EndReplay {},
}

/// The answer to [`Command::Log`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Of all calls and events since the log began.
    #[serde(flatten)]
    pub counts: Counts,
    /// The last of them, oldest first.
    pub last: Vec<Record>,
    /// What is watched now, in words.
    pub watches: String,
}

impl fmt::Display for Report {
    /// The story of a failure: what is watched, and how it came to that.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.watches)?;
        if self.last.is_empty() {
            return formatter.write_str("\nno call has been made, and no event has come");
        }
        write!(formatter, "\nthe last calls and events:")?;
        self.last.iter().try_for_each(|record| write!(formatter, "\n  {record}"))
    }
}

/// How many calls and events tell how it came to something.
pub(crate) const fn log_entries() -> usize {
    20
}

impl Command {
    /// The words that `do` may be.
    pub(crate) const NAMES: [&str; 12] = [
        "barrier",
        "inject",
        "overflow",
        "queue",
        "wait_for_watch",
        "set_next_wd",
        "get_next_wd",
        "fault",
        "delay",
        "clear_faults",
        "log",
        "end_replay",
    ];
}

/// Something that happens to an object, by its path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Injection {
    /// What happens.
    pub event: Injected,
    /// To what: of a `move` the old path.
    pub path: ByteString,
    /// The new path of a `move`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<ByteString>,
    /// It is a directory.
    #[serde(default)]
    pub is_directory: bool,
    /// What is at `path`, if it is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<Inode>,
    /// The directory above `path`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<Inode>,
    /// The directory above `to`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_directory: Option<Inode>,
    /// What was at `to`, and is replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaced: Option<Inode>,
    /// Nobody need watch it.
    #[serde(default)]
    pub may_be_unwatched: bool,
}

/// What can be injected: the hooks of Linux, by the names of what they are seen as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Injected {
    /// Read from.
    Access,
    /// Written to.
    Modify,
    /// Its mode or owner is changed.
    Attrib,
    /// Closed, after it was open for writing.
    CloseWrite,
    /// Closed, after it was not.
    CloseNowrite,
    /// Opened.
    Open,
    /// Made.
    Create,
    /// Removed, its last link: it is gone, unless it is a directory's name that is all.
    Delete,
    /// Renamed.
    Move,
    /// Gone, without anything said to the directory: IN_DELETE_SELF, and the end of its watches.
    DeleteSelf,
    /// Its file system is unmounted: IN_UNMOUNT, and the end of its watches.
    Unmount,
    /// Nothing but the end of its watches, which Linux never shows by itself but for `inotify_rm_watch`.
    Ignored,
}

impl Injected {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Access,
        Self::Modify,
        Self::Attrib,
        Self::CloseWrite,
        Self::CloseNowrite,
        Self::Open,
        Self::Create,
        Self::Delete,
        Self::Move,
        Self::DeleteSelf,
        Self::Unmount,
        Self::Ignored,
    ];

    /// As it stands in a line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Access => "access",
            Self::Modify => "modify",
            Self::Attrib => "attrib",
            Self::CloseWrite => "close_write",
            Self::CloseNowrite => "close_nowrite",
            Self::Open => "open",
            Self::Create => "create",
            Self::Delete => "delete",
            Self::Move => "move",
            Self::DeleteSelf => "delete_self",
            Self::Unmount => "unmount",
            Self::Ignored => "ignored",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_lines() {
        for injected in Injected::ALL {
            assert_eq!(serde_json::to_value(injected).expect("a string"), injected.name());
        }
    }
}
