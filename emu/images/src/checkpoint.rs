//! Our own format: all that there is of some instances, as JSON.
//!
//! The types are what stands in the file, and are apart from the live ones: a published version is never changed, a new one is new
//! types. `docs/checkpoint-schema.json` describes them to other programs.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::text::{self, ByteString, Device};

/// Tells a checkpoint from any other JSON.
pub const FORMAT: &str = "uinotify-checkpoint";
/// The version that is written, and the only one so far.
pub const VERSION: u32 = 1;

/// Instances, as they were at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Checkpoint {
    /// [`FORMAT`].
    pub format: String,
    /// [`VERSION`].
    pub version: u32,
    /// The program that wrote it, with its version. For people.
    pub written_by: String,
    /// Which kernel's behaviour the instances have.
    pub profile: Profile,
    /// The cookie of a rename that was given out last (COOKIE-2).
    pub cookie: u32,
    /// In the order in which they were made.
    pub instances: Vec<Instance>,
}

/// Which kernel's behaviour is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// That of the machine.
    #[default]
    Native,
    /// That of RHEL 7's Linux 3.10.
    El7,
}

impl From<uinotify_core::Profile> for Profile {
    fn from(profile: uinotify_core::Profile) -> Self {
        match profile {
            uinotify_core::Profile::Native => Self::Native,
            uinotify_core::Profile::El7 => Self::El7,
        }
    }
}

impl From<Profile> for uinotify_core::Profile {
    fn from(profile: Profile) -> Self {
        match profile {
            Profile::Native => Self::Native,
            Profile::El7 => Self::El7,
        }
    }
}

/// One inotify instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Instance {
    /// Its number: of the group in its emulator, or of the file in CRIU's images.
    pub id: u64,
    /// The user whose limits it counts against (LIMIT-6). Unknown in CRIU's images: that of the process then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<u32>,
    /// The inode of the socket that the program's descriptors are, where the instance is emulated: how CRIU's images call it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub socket_inode: Option<u64>,
    /// The descriptors that stand for it, where they are known.
    pub descriptors: Vec<Descriptor>,
    /// The status flags of the open file, octal as fdinfo shows them: 04000 is O_NONBLOCK. Without O_CLOEXEC, which is the
    /// descriptor's.
    #[serde(with = "text::octal")]
    pub flags: u32,
    /// Who gets its signals: F_SETOWN, F_SETSIG.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal_owner: Option<SignalOwner>,
    /// The raw cursor, 0 to 2147483648: 0 in a new instance, 2147483648 after wd 2147483647 was given. The next wd is sought from
    /// here (WD-2); from 1 for 0 and 2147483648.
    pub cursor: u32,
    /// The limits that it was made with. Unknown in CRIU's images: a restored instance has those of its moment then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
    /// Oldest first (WATCH-6): fdinfo shows them from the other end.
    pub watches: Vec<Watch>,
    /// What nobody has read yet.
    pub queue: Queue,
}

/// One descriptor of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Descriptor {
    /// The process.
    pub pid: u32,
    /// The descriptor's number.
    pub fd: u32,
    /// FD_CLOEXEC.
    pub close_on_exec: bool,
}

/// What F_SETOWN_EX and F_SETSIG have set, and who set it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignalOwner {
    /// Process, thread or process group.
    pub pid: u32,
    /// Which of them: F_OWNER_TID is 0, F_OWNER_PID 1, F_OWNER_PGRP 2.
    pub pid_type: u32,
    /// The real user of the one who set it.
    pub uid: u32,
    /// The effective one.
    pub euid: u32,
    /// 0 is SIGIO without details.
    pub signal: u32,
}

/// Limits of an instance: those of /proc/sys/fs/inotify when it was made (LIMIT-7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Instances of the owner.
    pub instances_max: u32,
    /// Watches of the owner, in all instances.
    pub watches_max: u32,
    /// Events in the queue, the overflow event apart.
    pub queue_events_max: u32,
}

/// One watch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Watch {
    /// 1 to 2147483647.
    pub wd: i32,
    /// The stored mask (MASK-4): events, IN_EXCL_UNLINK and IN_ONESHOT.
    #[serde(with = "text::mask")]
    pub mask: u32,
    /// Where the object was; absolute. Nothing if it has no name any more, or the name is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<ByteString>,
    /// The file system that it is on.
    pub device: Device,
    /// Its number there.
    pub inode: u64,
    /// Tells it from another one that had the number before, where the file system says (FS_IOC_GETVERSION).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<u32>,
    /// As name_to_handle_at(2) gives it, where the file system has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handle: Option<FileHandle>,
    /// The mount in CRIU's images through which the path goes, where a process has a mount name space of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mount_id: Option<u32>,
}

/// A file handle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileHandle {
    /// `handle_type`, as fdinfo's fhandle-type.
    #[serde(rename = "type")]
    pub kind: u32,
    /// `f_handle`, at most 128 bytes; in hexadecimal as fdinfo shows it.
    #[serde(with = "text::hexadecimal")]
    pub bytes: Vec<u8>,
}

/// Unread events.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Queue {
    /// Oldest first. An IN_Q_OVERFLOW with wd -1 among them is the overflow state: no second one is queued (OVERFLOW-4).
    pub events: Vec<Event>,
    /// Whether the event that came last is the newest of these, or was merged into it (MERGE-8).
    pub tail_is_latest: bool,
}

/// One unread event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Event {
    /// Of a watch, which may have ended; -1 for the overflow event.
    pub wd: i32,
    /// As a reader sees it.
    #[serde(with = "text::mask")]
    pub mask: u32,
    /// Joins the halves of a rename; else 0.
    pub cookie: u32,
    /// In the watched directory; empty if it is about the watched object itself.
    pub name: ByteString,
    /// Bits that no reader sees and merging compares: 0x1000 on the open of an exec (MERGE-4).
    #[serde(default, skip_serializing_if = "is_zero", with = "text::mask")]
    pub hidden: u32,
}

fn is_zero(bits: &u32) -> bool {
    *bits == 0
}

/// Why a file is no checkpoint that can be used.
#[derive(Debug)]
#[non_exhaustive]
pub enum CheckpointError {
    /// It is not JSON, or not of the schema.
    Json(serde_json::Error),
    /// It is JSON, but does not say that it is a checkpoint.
    Format,
    /// Of another version.
    Version(u64),
}

impl fmt::Display for CheckpointError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Json(error) => write!(f, "no checkpoint: {error}"),
            Self::Format => write!(f, "no checkpoint: it has no \"format\": \"{FORMAT}\""),
            Self::Version(version) => {
                write!(f, "a checkpoint of version {version}, and this uinotify reads version {VERSION}")
            }
        }
    }
}

// What is inside is in the message.
impl std::error::Error for CheckpointError {}

/// What stands in every version.
#[derive(Deserialize)]
struct Head {
    format: Option<serde_json::Value>,
    version: Option<u64>,
}

impl Checkpoint {
    /// A checkpoint of these instances, written by this program.
    #[must_use]
    pub fn new(profile: Profile, cookie: u32, instances: Vec<Instance>) -> Self {
        Self {
            format: FORMAT.to_owned(),
            version: VERSION,
            written_by: concat!("uinotify ", env!("CARGO_PKG_VERSION")).to_owned(),
            profile,
            cookie,
            instances,
        }
    }

    /// Reads a checkpoint. Whether an instance can be in such a state is asked of the engine that it is restored into.
    ///
    /// # Errors
    ///
    /// [`CheckpointError`], with line and column where the text is at fault.
    pub fn from_json(text: &[u8]) -> Result<Self, CheckpointError> {
        let head: Head = serde_json::from_slice(text).map_err(CheckpointError::Json)?;
        if head.format.as_ref().and_then(|format| format.as_str()) != Some(FORMAT) {
            return Err(CheckpointError::Format);
        }
        match head.version {
            Some(version) if version != u64::from(VERSION) => Err(CheckpointError::Version(version)),
            _ => serde_json::from_slice(text).map_err(CheckpointError::Json),
        }
    }

    /// The text of a checkpoint, with a line break at its end.
    #[must_use]
    pub fn to_json(&self) -> String {
        // Nothing in these types can fail to be written: no map, no number that JSON lacks.
        serde_json::to_string_pretty(self).map_or_else(|_| String::new(), |text| text + "\n")
    }
}
