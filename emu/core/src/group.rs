//! One inotify instance.

use std::collections::BTreeSet;

use crate::allocator::{Wd, WdAllocator};
use crate::engine::{Limits, ObjectId, OwnerId};
use crate::event::Event;
use crate::index::Place;
use crate::mask::STORED_BITS;
use crate::queue::{EventQueue, Pushed};
use crate::snapshot::{EventV1, LimitsV1, RestoreError, SnapshotV1, WatchV1};
use crate::watches::{Watch, WatchTable};

/// Until the engine has taken the group in.
const UNPLACED: Place = Place(u32::MAX);

#[derive(Debug, Clone)]
pub(crate) struct Group {
    /// In the index of objects.
    pub(crate) place: Place,
    pub(crate) owner: OwnerId,
    pub(crate) limits: Limits,
    pub(crate) wds: WdAllocator,
    pub(crate) watches: WatchTable,
    pub(crate) queue: EventQueue,
    /// An `Output::Readable` waits to be polled.
    pub(crate) readable_pending: bool,
    pub(crate) totals: Totals,
}

/// What has become of all events of a group since it was made, or restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Queued, IN_Q_OVERFLOW included.
    pub queued: u64,
    /// Merged with the last queued one.
    pub merged: u64,
    /// Lost in a full queue.
    pub lost: u64,
}

impl Totals {
    fn count(&mut self, pushed: Pushed) {
        match pushed {
            Pushed::Queued => self.queued += 1,
            Pushed::Merged => self.merged += 1,
            Pushed::Overflowed => {
                self.queued += 1;
                self.lost += 1;
            }
            Pushed::Dropped => self.lost += 1,
            // It is counted when it comes.
            Pushed::Held { .. } => {}
        }
    }
}

impl Group {
    pub(crate) fn new(owner: OwnerId, limits: Limits) -> Self {
        Self {
            place: UNPLACED,
            owner,
            limits,
            wds: WdAllocator::new(),
            watches: WatchTable::default(),
            queue: EventQueue::new(limits.queue_events_max),
            readable_pending: false,
            totals: Totals::default(),
        }
    }

    /// What has become of events that were held back, each with how many waited then.
    pub(crate) fn take_admitted(&mut self) -> Vec<(Event, Pushed, usize)> {
        let admitted = self.queue.take_admitted();
        admitted.iter().for_each(|(_, pushed, _)| self.totals.count(*pushed));
        admitted
    }

    /// What became of an event.
    pub(crate) fn count(&mut self, pushed: Pushed) {
        self.totals.count(pushed);
    }

    /// Forgets a watch and frees its number. Queue and counts are the caller's.
    pub(crate) fn end_watch(&mut self, wd: Wd) -> Option<ObjectId> {
        let object = self.watches.remove(wd)?;
        self.wds.release(wd);
        Some(object)
    }

    pub(crate) fn snapshot(&self, cookie: u32) -> SnapshotV1 {
        let Limits { instances_max, watches_max, queue_events_max } = self.limits;
        SnapshotV1 {
            cursor: self.wds.cursor_raw(),
            limits: LimitsV1 { instances_max, watches_max, queue_events_max },
            watches: self
                .watches
                .iter()
                .map(|Watch { wd, object, mask }| WatchV1 { wd: wd.0, object: object.0, mask })
                .collect(),
            events: self.queue.events().map(EventV1::from).collect(),
            tail_is_latest: self.queue.tail_is_latest(),
            cookie,
        }
    }

    pub(crate) fn restore(owner: OwnerId, snapshot: SnapshotV1) -> Result<Self, RestoreError> {
        let SnapshotV1 { cursor, limits, watches, events, tail_is_latest, cookie: _ } = snapshot;
        let LimitsV1 { instances_max, watches_max, queue_events_max } = limits;
        if watches.len() > watches_max as usize {
            return Err(RestoreError::TooManyWatches { watches: watches.len(), watches_max });
        }
        let wds = WdAllocator::from_parts(cursor, watches.iter().map(|watch| watch.wd..=watch.wd))
            .map_err(RestoreError::Wds)?;
        let mut table = WatchTable::default();
        let mut objects = BTreeSet::new();
        for WatchV1 { wd, object, mask } in watches {
            let watch = Watch { wd: Wd(wd), object: ObjectId(object), mask };
            if !objects.insert(watch.object) {
                return Err(RestoreError::ObjectTwice(watch.object, watch.wd));
            }
            if mask & !STORED_BITS != 0 {
                return Err(RestoreError::Mask(watch.wd, mask));
            }
            table.insert(watch);
        }
        let events = events.into_iter().map(Into::into).collect();
        let queue = EventQueue::from_parts(queue_events_max, events, tail_is_latest).map_err(RestoreError::Queue)?;
        Ok(Self {
            place: UNPLACED,
            owner,
            limits: Limits { instances_max, watches_max, queue_events_max },
            wds,
            watches: table,
            queue,
            readable_pending: false,
            totals: Totals::default(),
        })
    }
}
