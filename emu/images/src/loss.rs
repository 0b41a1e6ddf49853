//! What a dump and a restore by CRIU would lose of an instance.
//!
//! CRIU keeps what fdinfo shows; its restore makes a new instance and adds the watches in ascending order of wd, with
//! no more than the twelve events of their masks.

use std::fmt;

use uinotify_core::Mask;

use crate::checkpoint::{Instance, Watch};

/// O_NONBLOCK, the same on x86-64 and aarch64: the only flag that inotify_init1 takes of those that fdinfo shows.
pub(crate) const O_NONBLOCK: u32 = 0o4000;

/// One thing that is not as before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Loss {
    /// IN_ONESHOT: the watch outlives its first event.
    OneShot(i32),
    /// IN_EXCL_UNLINK: events of unlinked children come.
    ExcludeUnlink(i32),
    /// The mask of this watch has no event, which `inotify_add_watch` refuses (MASK-2): the restore fails.
    NoEvent(i32),
    /// The next wd is sought from another number.
    Cursor {
        /// From here before.
        before: i32,
        /// From here then.
        after: i32,
    },
    /// The order in which fdinfo shows the watches.
    Order,
    /// Unread events.
    Queue {
        /// How many, the overflow event included.
        events: usize,
        /// The overflow event is among them: the reader never learns that events were lost.
        overflow: bool,
    },
    /// Status flags that `inotify_init1` does not take: the restore fails.
    Flags(u32),
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OneShot(wd) => write!(f, "wd {wd:#x}: IN_ONESHOT is lost: the watch goes on after its first event"),
            Self::ExcludeUnlink(wd) => {
                write!(f, "wd {wd:#x}: IN_EXCL_UNLINK is lost: events of unlinked children will come")
            }
            Self::NoEvent(wd) => {
                write!(f, "wd {wd:#x}: its mask has no event, which inotify_add_watch refuses: the restore fails")
            }
            Self::Cursor { before, after } => {
                write!(f, "cursor: the next watch descriptor is sought from {after:#x} instead of {before:#x}")
            }
            Self::Order => {
                f.write_str("order: fdinfo shows the watches by descending wd, and no longer as they were made")
            }
            Self::Queue { events: 1, overflow: true } => {
                f.write_str("queue: the unread IN_Q_OVERFLOW is lost: the program never learns that events were")
            }
            Self::Queue { events, overflow } => {
                let overflow = if *overflow { ", with the IN_Q_OVERFLOW" } else { "" };
                let (plural, verb) = if *events == 1 { ("", "is") } else { ("s", "are") };
                write!(f, "queue: {events} unread event{plural} {verb} lost{overflow}")
            }
            Self::Flags(flags) => {
                write!(f, "flags: inotify_init1 does not take 0{flags:o}: the restore fails, or they are lost")
            }
        }
    }
}

/// What is lost of this instance: nothing, if the list is empty.
#[must_use]
pub fn losses(instance: &Instance) -> Vec<Loss> {
    let mut losses = Vec::new();
    for Watch { wd, mask, .. } in &instance.watches {
        let mask = Mask::from_bits_retain(*mask);
        if mask.contains(Mask::IN_ONESHOT) {
            losses.push(Loss::OneShot(*wd));
        }
        if mask.contains(Mask::IN_EXCL_UNLINK) {
            losses.push(Loss::ExcludeUnlink(*wd));
        }
        if !mask.intersects(Mask::IN_ALL_EVENTS) {
            losses.push(Loss::NoEvent(*wd));
        }
    }
    let (before, after) = (sought_from(instance.cursor), sought_from(cursor_of_restored(&instance.watches)));
    if before != after {
        losses.push(Loss::Cursor { before, after });
    }
    if !instance.watches.is_sorted_by_key(|watch| watch.wd) {
        losses.push(Loss::Order);
    }
    let events = &instance.queue.events;
    if !events.is_empty() {
        let overflow = events.iter().any(|event| Mask::from_bits_retain(event.mask).contains(Mask::IN_Q_OVERFLOW));
        losses.push(Loss::Queue { events: events.len(), overflow });
    }
    if instance.flags & !O_NONBLOCK != 0 {
        losses.push(Loss::Flags(instance.flags & !O_NONBLOCK));
    }
    losses
}

/// The raw cursor of an instance to which these watches were added in ascending order.
pub(crate) fn cursor_of_restored(watches: &[Watch]) -> u32 {
    watches.iter().map(|watch| watch.wd.unsigned_abs() + 1).max().unwrap_or(0)
}

/// From which number a raw cursor seeks (WD-2, WD-5).
pub(crate) fn sought_from(cursor: u32) -> i32 {
    i32::try_from(cursor).map_or(1, |cursor| cursor.max(1))
}
