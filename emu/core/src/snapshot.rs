//! A group as data: what a dump writes and a restore reads.
//!
//! These structures are apart from the live ones, so that those can change while old dumps stay readable. A new
//! version is a new variant of [`Snapshot`]; a published one is never changed.

use std::fmt;

use crate::allocator::{self, Wd};
use crate::engine::ObjectId;
use crate::errno::Errno;
use crate::event::Event;
use crate::queue;

/// A group, with all that a program could notice if it were lost (SNAPSHOT-2).
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum Snapshot {
    /// The first version.
    V1(SnapshotV1),
}

/// [`Snapshot::V1`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct SnapshotV1 {
    /// The raw cursor, 0 to 2147483648: see [`WdAllocator::cursor_raw`](crate::WdAllocator::cursor_raw).
    pub cursor: u32,
    /// The limits that the group was made with.
    pub limits: LimitsV1,
    /// The watches, oldest first.
    pub watches: Vec<WatchV1>,
    /// The queued events, oldest first. The overflow event among them is the overflow state.
    pub events: Vec<EventV1>,
    /// Whether the event that came last is the newest queued one, or was merged into it (MERGE-8).
    pub tail_is_latest: bool,
    /// The cookie given out last, by the whole engine.
    pub cookie: u32,
}

/// [`Limits`](crate::Limits).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct LimitsV1 {
    /// Groups of the owner.
    pub instances_max: u32,
    /// Watches of the owner, in all its groups.
    pub watches_max: u32,
    /// Events in the queue of the group.
    pub queue_events_max: u32,
}

/// One watch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct WatchV1 {
    /// 1 to 2147483647.
    pub wd: i32,
    /// The caller's number of the object. Whoever restores may put the object's new number here.
    pub object: u64,
    /// The stored mask: twelve events, IN_EXCL_UNLINK and IN_ONESHOT (MASK-4).
    pub mask: u32,
}

/// One queued event: [`Event`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct EventV1 {
    /// Of the watch, which may have ended, or -1.
    pub wd: i32,
    /// The bits that a reader sees.
    pub mask: u32,
    /// As a reader sees it.
    pub cookie: u32,
    /// Without padding.
    pub name: Vec<u8>,
    /// The bits that no reader sees (MERGE-4).
    pub hidden: u32,
}

impl From<&Event> for EventV1 {
    fn from(event: &Event) -> Self {
        Self { wd: event.wd.0, mask: event.mask, cookie: event.cookie, name: event.name.to_vec(), hidden: event.hidden }
    }
}

impl From<EventV1> for Event {
    fn from(event: EventV1) -> Self {
        Self { wd: Wd(event.wd), mask: event.mask, cookie: event.cookie, name: event.name.into(), hidden: event.hidden }
    }
}

/// Why a snapshot was not restored (SNAPSHOT-3, SNAPSHOT-4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RestoreError {
    /// The cursor or a wd is out of range, or a wd is given twice.
    Wds(allocator::PartsError),
    /// An object has a second watch, with this wd.
    ObjectTwice(ObjectId, Wd),
    /// The mask of this watch has bits that no watch stores.
    Mask(Wd, u32),
    /// There are more watches than the limit in the snapshot allows.
    TooManyWatches {
        /// How many there are.
        watches: usize,
        /// How many there may be.
        watches_max: u32,
    },
    /// The queue is not one that can come to be.
    Queue(queue::PartsError),
    /// The owner cannot have another group: [`Errno::MFile`].
    Refused(Errno),
}

impl fmt::Display for RestoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("snapshot not restored: ")?;
        match self {
            Self::Wds(error) => error.fmt(f),
            Self::ObjectTwice(object, wd) => write!(f, "watch {wd} is the second one on object {}", object.0),
            Self::Mask(wd, mask) => write!(f, "watch {wd} has mask {mask:#x}, which no watch stores"),
            Self::TooManyWatches { watches, watches_max } => write!(f, "{watches} watches, the limit is {watches_max}"),
            Self::Queue(error) => error.fmt(f),
            Self::Refused(errno) => errno.fmt(f),
        }
    }
}

impl std::error::Error for RestoreError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Wds(error) => Some(error),
            Self::Queue(error) => Some(error),
            Self::Refused(errno) => Some(errno),
            _ => None,
        }
    }
}
