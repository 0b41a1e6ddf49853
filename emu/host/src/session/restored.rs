//! A session becomes the one that a checkpoint tells of.
//!
//! Its watches were made as a program makes them. What no call can give is put in here: the queue, the limits, the order in which
//! the watches were made, the cursor behind them.

use std::collections::BTreeMap;
use std::fmt;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{MsgFlags, recv};
use uinotify_core::snapshot::{EventV1, LimitsV1, SnapshotV1, WatchV1};
use uinotify_core::{Mask, ObjectId, OwnerId, RestoreError, Snapshot};
use uinotify_images::Instance;
use uinotify_wire::EVENT_BYTES_MAX;

use super::{Session, Tools};

/// Why a session stays as it is.
#[derive(Debug)]
pub(crate) enum NotRestored {
    /// The core has no such group.
    Gone,
    /// A watch that the checkpoint does not have.
    Unknown(i32),
    /// The core refuses the state.
    Refused(RestoreError),
}

impl fmt::Display for NotRestored {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gone => formatter.write_str("it has ended"),
            Self::Unknown(wd) => write!(formatter, "the checkpoint has no watch {wd:#x}"),
            Self::Refused(error) => error.fmt(formatter),
        }
    }
}

impl Session {
    /// Has the kernel something for it?
    pub(crate) fn holds_events(&self) -> bool {
        self.kernel.as_ref().is_some_and(|kernel| kernel.queued_bytes() > 0)
    }

    /// The path of an object as it was noted.
    pub(crate) fn noted_path(&self, object: ObjectId) -> &[u8] {
        self.paths.get(object)
    }

    /// Takes on queue, cursor, limits and order of an instance whose watches this session has. A watch that has ended since it was
    /// made here stays ended. What has happened to the others since stands behind the queue of the checkpoint; if the program's end is
    /// at hand also what is in the window.
    pub(crate) fn become_restored(
        &mut self,
        tools: &mut Tools,
        wanted: &Instance,
        cookie: u32,
        theirs: Option<&OwnedFd>,
    ) -> Result<(), NotRestored> {
        self.begin_cycle();
        self.drain(tools);
        self.acknowledge(&mut tools.engine);
        if let Some(theirs) = theirs {
            self.empty_window(tools, theirs);
        }
        let result = self.replace_group(tools, wanted, cookie);
        self.is_pulled = false;
        self.fill_window(tools);
        self.end_cycle();
        result
    }

    /// The core has the events of the window still.
    fn empty_window(&mut self, tools: &mut Tools, theirs: &OwnedFd) {
        let mut packet = [0; EVENT_BYTES_MAX];
        let sent = self.window.len();
        let left = (0..sent).take_while(|_| {
            recv(theirs.as_raw_fd(), &mut packet, MsgFlags::MSG_DONTWAIT).is_ok_and(|length| length > 0)
        });
        // Others may have read some meanwhile.
        let read = sent - left.count();
        tools.engine.acknowledge(self.group, read);
        self.window.read_since(0);
    }

    fn replace_group(&mut self, tools: &mut Tools, wanted: &Instance, cookie: u32) -> Result<(), NotRestored> {
        let engine = &mut tools.engine;
        let Ok(Snapshot::V1(now)) = engine.snapshot(self.group) else { return Err(NotRestored::Gone) };
        let restored = joined(&now, self.window.len(), wanted, cookie)?;
        let owner = OwnerId(self.creator.uid);
        engine.close_group(self.group);
        let (group, result) = match engine.restore(owner, Snapshot::V1(restored)) {
            Ok(group) => (Ok(group), Ok(())),
            // As it was: what the core has had it takes again.
            Err(refusal) => (engine.restore(owner, Snapshot::V1(now)), Err(NotRestored::Refused(refusal))),
        };
        match group {
            Ok(group) => self.group = group,
            Err(_) => self.is_cut_off = true,
        }
        // Nothing but that there is something to read.
        while engine.poll_output().is_some() {}
        result
    }
}

/// The checkpoint's state with the objects that are watched now, and behind its queue what has come since. The first `sent` events
/// stay in front: they are on their way.
fn joined(now: &SnapshotV1, sent: usize, wanted: &Instance, cookie: u32) -> Result<SnapshotV1, NotRestored> {
    let there: BTreeMap<i32, &WatchV1> = now.watches.iter().map(|watch| (watch.wd, watch)).collect();
    let watches: Vec<WatchV1> =
        wanted.watches.iter().filter_map(|watch| there.get(&watch.wd).map(|there| **there)).collect();
    if watches.len() != there.len() {
        let unknown = there.keys().find(|wd| watches.iter().all(|watch| watch.wd != **wd));
        return Err(NotRestored::Unknown(unknown.copied().unwrap_or(0)));
    }
    let snapshot = wanted.to_snapshot(cookie, now.limits, |_| 0);
    let (on_their_way, since) = now.events.split_at(sent.min(now.events.len()));
    let tail_is_latest =
        if since.is_empty() && !snapshot.events.is_empty() { snapshot.tail_is_latest } else { now.tail_is_latest };
    let events: Vec<EventV1> = [on_their_way, &snapshot.events, since].concat();
    let events = fitting(events, &snapshot.limits);
    Ok(SnapshotV1 { watches, events, tail_is_latest, ..snapshot })
}

/// As a queue of this length has taken them.
fn fitting(events: Vec<EventV1>, limits: &LimitsV1) -> Vec<EventV1> {
    let overflow = Mask::IN_Q_OVERFLOW.bits();
    let events_max = limits.queue_events_max as usize;
    let mut fitting = Vec::with_capacity(events.len());
    let mut has_overflowed = false;
    for event in events {
        if event.mask & overflow != 0 {
            if !std::mem::replace(&mut has_overflowed, true) {
                fitting.push(event);
            }
        } else if fitting.len() < events_max {
            fitting.push(event);
        } else if !std::mem::replace(&mut has_overflowed, true) {
            fitting.push(EventV1::from(&uinotify_core::Event::overflow()));
        }
    }
    fitting
}

#[cfg(test)]
mod tests {
    use uinotify_images::checkpoint::Watch;

    use super::*;

    fn event(wd: i32) -> EventV1 {
        EventV1 { wd, mask: 0x100, cookie: 0, name: b"n".to_vec(), hidden: 0 }
    }

    /// SNAPSHOT-6
    #[test]
    fn what_was_since_stands_behind_the_queue() {
        let limits = LimitsV1 { instances_max: 1, watches_max: 9, queue_events_max: 9 };
        let watch = |wd| WatchV1 { wd, object: u64::from(wd.unsigned_abs()), mask: 0xfff };
        let now = |wds: &[i32], events: &[i32]| SnapshotV1 {
            cursor: 8,
            limits,
            watches: wds.iter().map(|wd| watch(*wd)).collect(),
            events: events.iter().map(|wd| event(*wd)).collect(),
            tail_is_latest: false,
            cookie: 0,
        };
        let wanted = {
            // Made in this order, with the last one ended since.
            let snapshot = SnapshotV1 { cursor: 5, ..now(&[3, 1, 2], &[1]) };
            let device = uinotify_images::text::Device { major: 0, minor: 0 };
            Instance::from_snapshot(
                uinotify_images::Surroundings::default(),
                &snapshot,
                |&WatchV1 { wd, mask, .. }| Watch {
                    wd,
                    mask,
                    path: None,
                    device,
                    inode: 0,
                    generation: None,
                    handle: None,
                    mount_id: None,
                },
            )
        };
        let wds = |events: &[EventV1]| events.iter().map(|event| event.wd).collect::<Vec<_>>();
        let order = |snapshot: &SnapshotV1| snapshot.watches.iter().map(|watch| watch.wd).collect::<Vec<_>>();
        let restored = joined(&now(&[1, 3], &[3, 2]), 1, &wanted, 0).unwrap();
        assert_eq!((order(&restored), restored.cursor), (vec![3, 1], 5));
        assert_eq!(wds(&restored.events), [3, 1, 2], "on its way, from the checkpoint, since");
        let refused = joined(&now(&[1, 4], &[]), 0, &wanted, 0);
        assert!(matches!(refused, Err(NotRestored::Unknown(4))));
    }

    /// SNAPSHOT-6
    #[test]
    fn what_does_not_fit_is_one_overflow() {
        let limits = LimitsV1 { instances_max: 1, watches_max: 1, queue_events_max: 2 };
        let wds = |events: &[EventV1]| events.iter().map(|event| event.wd).collect::<Vec<_>>();
        assert_eq!(wds(&fitting(vec![event(1), event(2)], &limits)), [1, 2]);
        assert_eq!(wds(&fitting(vec![event(1), event(2), event(3), event(4)], &limits)), [1, 2, -1]);
        let overflow = EventV1::from(&uinotify_core::Event::overflow());
        let twice = vec![event(1), overflow.clone(), event(2), overflow, event(3)];
        assert_eq!(wds(&fitting(twice, &limits)), [1, -1], "the overflow takes a place");
    }
}
