//! In what two states of an instance differ, for people.

use std::collections::BTreeMap;
use std::fmt;

use crate::checkpoint::{Event, Instance, Limits, Watch};
use crate::loss::sought_from;
use crate::text::show_mask;

/// One thing that is not the same.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Difference {
    /// The next wd is sought from another number.
    Cursor {
        /// From here before.
        before: i32,
        /// From here now.
        after: i32,
    },
    /// A watch is not there.
    Missing(i32),
    /// A watch was not there.
    Added(i32),
    /// A watch has another mask.
    Mask {
        /// The watch.
        wd: i32,
        /// What was stored.
        before: u32,
        /// What is stored now.
        after: u32,
    },
    /// A watch is on another object.
    Object {
        /// The watch.
        wd: i32,
        /// The inode that it watched.
        before: u64,
        /// The inode that it watches.
        after: u64,
    },
    /// The watches were made in another order, which fdinfo shows.
    Order,
    /// Status flags.
    Flags {
        /// Before.
        before: u32,
        /// Now.
        after: u32,
    },
    /// Limits.
    Limits {
        /// Before.
        before: Limits,
        /// Now.
        after: Limits,
    },
    /// The queues are not of one length.
    QueueLength {
        /// Events before.
        before: usize,
        /// Events now.
        after: usize,
    },
    /// The first unread event that differs.
    Event {
        /// Its place from the oldest, which is 0.
        place: usize,
        /// What it was.
        before: Box<Event>,
        /// What it is.
        after: Box<Event>,
    },
    /// An event that comes now would be merged with the newest one, or not, otherwise than before (MERGE-8).
    Tail,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cursor { before, after } => write!(f, "cursor: {after:#x} instead of {before:#x}"),
            Self::Missing(wd) => write!(f, "wd {wd:#x}: is not there"),
            Self::Added(wd) => write!(f, "wd {wd:#x}: was not there"),
            Self::Mask { wd, before, after } => {
                write!(f, "wd {wd:#x}: mask {} instead of {}", show_mask(*after), show_mask(*before))
            }
            Self::Object { wd, before, after } => {
                write!(f, "wd {wd:#x}: watches inode {after:#x} instead of {before:#x}")
            }
            Self::Order => f.write_str("order: the watches were made in another order, which fdinfo shows"),
            Self::Flags { before, after } => write!(f, "flags: 0{after:o} instead of 0{before:o}"),
            Self::Limits { before, after } => {
                let show = |limits: &Limits| {
                    let Limits { watches_max, instances_max, queue_events_max } = limits;
                    format!("watches={watches_max},instances={instances_max},queue={queue_events_max}")
                };
                write!(f, "limits: {} instead of {}", show(after), show(before))
            }
            Self::QueueLength { before, after } => write!(f, "queue: {after} events instead of {before}"),
            Self::Event { place, before, after } => {
                write!(f, "queue: event {place} is {} instead of {}", show(after), show(before))
            }
            Self::Tail => f.write_str("queue: whether the next event is compared with the newest one"),
        }
    }
}

fn show(event: &Event) -> String {
    let Event { wd, mask, cookie, name, hidden } = event;
    format!("wd {wd:#x} {} cookie {cookie:#x} {name:?} hidden {hidden:#x}", show_mask(*mask))
}

/// What is not in `after` as it is in `before`: nothing, if the list is empty. Paths are not compared, as one object may have
/// several, nor numbers of instances, descriptors and sockets. Events in `after` behind those of `before` are differences.
#[must_use]
pub fn differences(before: &Instance, after: &Instance) -> Vec<Difference> {
    let mut found = Vec::new();
    let cursors = (sought_from(before.cursor), sought_from(after.cursor));
    if cursors.0 != cursors.1 {
        found.push(Difference::Cursor { before: cursors.0, after: cursors.1 });
    }
    if before.flags != after.flags {
        found.push(Difference::Flags { before: before.flags, after: after.flags });
    }
    if let (Some(before), Some(after)) = (before.limits, after.limits)
        && before != after
    {
        found.push(Difference::Limits { before, after });
    }
    let there: BTreeMap<i32, &Watch> = after.watches.iter().map(|watch| (watch.wd, watch)).collect();
    let known: BTreeMap<i32, &Watch> = before.watches.iter().map(|watch| (watch.wd, watch)).collect();
    for watch in &before.watches {
        let Watch { wd, mask, inode, .. } = *watch;
        let Some(now) = there.get(&wd) else {
            found.push(Difference::Missing(wd));
            continue;
        };
        if now.mask != mask {
            found.push(Difference::Mask { wd, before: mask, after: now.mask });
        }
        if !watch.is_on_object_of(now) {
            found.push(Difference::Object { wd, before: inode, after: now.inode });
        }
    }
    found.extend(
        after.watches.iter().filter(|watch| !known.contains_key(&watch.wd)).map(|watch| Difference::Added(watch.wd)),
    );
    let order = |watches: &[Watch], other: &BTreeMap<i32, &Watch>| {
        watches.iter().map(|watch| watch.wd).filter(|wd| other.contains_key(wd)).collect::<Vec<_>>()
    };
    if order(&before.watches, &there) != order(&after.watches, &known) {
        found.push(Difference::Order);
    }
    let (events, now) = (&before.queue.events, &after.queue.events);
    let pairs = events.iter().zip(now).enumerate();
    let differing = pairs.filter(|(_, (before, after))| before != after).map(|(place, (before, after))| {
        Difference::Event { place, before: Box::new(before.clone()), after: Box::new(after.clone()) }
    });
    found.extend(differing.take(1));
    if events.len() != now.len() {
        found.push(Difference::QueueLength { before: events.len(), after: now.len() });
    } else if !events.is_empty() && before.queue.tail_is_latest != after.queue.tail_is_latest {
        found.push(Difference::Tail);
    }
    found
}

/// A handle of FUSE is the number of a node, which lasts as long as the mount.
pub(crate) const HANDLE_OF_FUSE: u32 = 0x81;

impl Watch {
    /// Whether both are on the same object: of the same file handle, which has the generation of the inode in it; where there is none,
    /// or it is FUSE's, of the same inode.
    #[must_use]
    pub fn is_on_object_of(&self, other: &Self) -> bool {
        match (&self.handle, &other.handle) {
            (Some(one), Some(another)) if one.kind != HANDLE_OF_FUSE && another.kind != HANDLE_OF_FUSE => {
                one == another
            }
            _ => self.inode == other.inode,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::Queue;
    use crate::text::{ByteString, Device};

    fn instance() -> Instance {
        let watch = |wd, inode| Watch {
            wd,
            mask: 0x100,
            path: None,
            device: Device { major: 8, minor: 1 },
            inode,
            generation: None,
            handle: None,
            mount_id: None,
        };
        let event = |wd| Event { wd, mask: 0x100, cookie: 0, name: ByteString::from(&b"n"[..]), hidden: 0 };
        Instance {
            id: 1,
            owner: Some(0),
            socket_inode: None,
            descriptors: Vec::new(),
            flags: 0,
            signal_owner: None,
            cursor: 9,
            limits: Some(Limits { instances_max: 1, watches_max: 2, queue_events_max: 3 }),
            watches: vec![watch(7, 70), watch(3, 30)],
            queue: Queue { events: vec![event(7), event(3)], tail_is_latest: true },
        }
    }

    #[test]
    fn an_instance_equals_itself() {
        assert_eq!(differences(&instance(), &Instance { id: 9, owner: None, ..instance() }), []);
    }

    #[test]
    fn each_difference_is_told() {
        let told = |change: &dyn Fn(&mut Instance)| {
            let mut changed = instance();
            change(&mut changed);
            let texts: Vec<_> = differences(&instance(), &changed).iter().map(ToString::to_string).collect();
            texts.join("; ")
        };
        assert_eq!(told(&|it| it.cursor = 0x8000_0000), "cursor: 0x1 instead of 0x9");
        assert_eq!(told(&|it| it.flags = 0o4000), "flags: 04000 instead of 00");
        assert_eq!(told(&|it| it.watches.truncate(1)), "wd 0x3: is not there");
        assert_eq!(told(&|it| it.watches[0].wd = 8), "wd 0x7: is not there; wd 0x8: was not there");
        assert_eq!(told(&|it| it.watches[0].mask = 0x200), "wd 0x7: mask IN_DELETE instead of IN_CREATE");
        assert_eq!(told(&|it| it.watches[0].inode = 71), "wd 0x7: watches inode 0x47 instead of 0x46");
        assert!(told(&|it| it.watches.reverse()).starts_with("order: "));
        assert_eq!(told(&|it| it.queue.events.truncate(1)), "queue: 1 events instead of 2");
        assert!(told(&|it| it.queue.events[1].hidden = 0x1000).starts_with("queue: event 1 is wd 0x3 IN_CREATE"));
        assert!(told(&|it| it.queue.tail_is_latest = false).starts_with("queue: whether"));
        assert!(told(&|it| it.limits = None).is_empty(), "unknown limits");
    }
}
