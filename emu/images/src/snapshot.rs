//! Between a checkpoint's instance and the core's snapshot of one.

use uinotify_core::snapshot::{EventV1, LimitsV1, SnapshotV1, WatchV1};
use uinotify_core::{Config, Engine, OwnerId, RestoreError, Snapshot};

use crate::checkpoint::{Descriptor, Event, Instance, Limits, Queue, SignalOwner, Watch};
use crate::text::ByteString;

/// What an emulator knows of an instance and the core does not.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// [`Instance::id`].
    pub id: u64,
    /// [`Instance::owner`].
    pub owner: Option<u32>,
    /// [`Instance::socket_inode`].
    pub socket_inode: Option<u64>,
    /// [`Instance::descriptors`].
    pub descriptors: Vec<Descriptor>,
    /// [`Instance::flags`].
    pub flags: u32,
    /// [`Instance::signal_owner`].
    pub signal_owner: Option<SignalOwner>,
}

impl Instance {
    /// The instance of a snapshot. `watch_of` tells what is to be known of each watch's object; its wd and mask are filled in here.
    #[must_use]
    pub fn from_snapshot(
        surroundings: Surroundings,
        snapshot: &SnapshotV1,
        mut watch_of: impl FnMut(&WatchV1) -> Watch,
    ) -> Self {
        let Surroundings { id, owner, socket_inode, descriptors, flags, signal_owner } = surroundings;
        let LimitsV1 { instances_max, watches_max, queue_events_max } = snapshot.limits;
        Self {
            id,
            owner,
            socket_inode,
            descriptors,
            flags,
            signal_owner,
            cursor: snapshot.cursor,
            limits: Some(Limits { instances_max, watches_max, queue_events_max }),
            watches: snapshot
                .watches
                .iter()
                .map(|watch| Watch { wd: watch.wd, mask: watch.mask, ..watch_of(watch) })
                .collect(),
            queue: Queue {
                events: snapshot.events.iter().map(Event::from).collect(),
                tail_is_latest: snapshot.tail_is_latest,
            },
        }
    }

    /// The snapshot of this instance, for an engine that checks it (SNAPSHOT-3). `cookie` is
    /// [`Checkpoint::cookie`](crate::Checkpoint::cookie); `limits_unknown` are taken where the checkpoint has none; `object_of` gives the
    /// engine's number of each watch's object.
    #[must_use]
    pub fn to_snapshot(
        &self,
        cookie: u32,
        limits_unknown: LimitsV1,
        mut object_of: impl FnMut(&Watch) -> u64,
    ) -> SnapshotV1 {
        let known = self.limits.map(|Limits { instances_max, watches_max, queue_events_max }| LimitsV1 {
            instances_max,
            watches_max,
            queue_events_max,
        });
        SnapshotV1 {
            cursor: self.cursor,
            limits: known.unwrap_or(limits_unknown),
            watches: self
                .watches
                .iter()
                .map(|watch| WatchV1 { wd: watch.wd, object: object_of(watch), mask: watch.mask })
                .collect(),
            events: self.queue.events.iter().map(EventV1::from).collect(),
            tail_is_latest: self.queue.tail_is_latest,
            cookie,
        }
    }
}

impl Instance {
    /// Whether an instance can be in this state (SNAPSHOT-3).
    ///
    /// # Errors
    ///
    /// Why not.
    pub fn check(&self) -> Result<(), RestoreError> {
        // No limit that is unknown stands in its way, and each watch has an object of its own.
        let most = LimitsV1 { instances_max: 1, watches_max: u32::MAX, queue_events_max: u32::MAX };
        let mut object = 0;
        let mut snapshot = self.to_snapshot(0, most, |_| {
            object += 1;
            object
        });
        snapshot.limits.instances_max = most.instances_max;
        Engine::new(Config::default()).restore(OwnerId(0), Snapshot::V1(snapshot)).map(drop)
    }
}

impl From<&EventV1> for Event {
    fn from(event: &EventV1) -> Self {
        let EventV1 { wd, mask, cookie, name, hidden } = event;
        Self { wd: *wd, mask: *mask, cookie: *cookie, name: ByteString(name.clone()), hidden: *hidden }
    }
}

impl From<&Event> for EventV1 {
    fn from(event: &Event) -> Self {
        let Event { wd, mask, cookie, name, hidden } = event;
        Self { wd: *wd, mask: *mask, cookie: *cookie, name: name.0.clone(), hidden: *hidden }
    }
}
