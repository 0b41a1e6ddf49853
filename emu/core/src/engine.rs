//! The engine: all groups, their owners' counts, and what the caller is to be told.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;

use slab::Slab;

use crate::allocator::Wd;
use crate::arrival::Arrivals;
use crate::errno::Errno;
use crate::event::Event;
use crate::group::{Group, Totals};
use crate::history::{Happening, History};
use crate::hook::FsEvent;
use crate::index::{ObjectIndex, Place};
use crate::mask::{AddMask, Mask};
use crate::profile::Profile;
use crate::queue::{EventQueue, Pushed};
use crate::snapshot::{RestoreError, Snapshot};
use crate::watches::{Watch, Watches};

/// One inotify instance. Never given twice by an engine, so that a late message about a closed group finds nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupId(u64);

impl fmt::Display for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Whose limits a group counts against: a user id (LIMIT-6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OwnerId(pub u32);

/// An inode, by a number that the caller chose for it. The same inode must always have the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectId(pub u64);

/// What an engine starts with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Config {
    /// The first cookie is one more (COOKIE-2). The kernel's own counter starts at 0.
    pub cookie_seed: u32,
    /// Which Linux is shown.
    pub profile: Profile,
}

/// Limits of a group: those of /proc/sys/fs/inotify (LIMIT-1, LIMIT-3, LIMIT-7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// `max_user_instances`: groups of the owner, this one included.
    pub instances_max: u32,
    /// `max_user_watches`: watches of the owner in all its groups, at which this group gets no new one.
    pub watches_max: u32,
    /// `max_queued_events`: events in this group's queue, the overflow event apart.
    pub queue_events_max: u32,
}

impl Default for Limits {
    /// 128, 1048576 and 16384: the defaults of Linux. That of watches depends on the machine's memory, from 8192 up,
    /// and is never more than this one.
    fn default() -> Self {
        Self { instances_max: 128, watches_max: 1_048_576, queue_events_max: 16_384 }
    }
}

/// What [`Engine::add_watch`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Added {
    /// The watch's number.
    pub wd: Wd,
    /// Whether the watch was made, and not updated.
    pub new: bool,
    /// What the watch has stored now (MASK-4): a source's kernel is to be asked for this.
    pub mask_stored: u32,
}

/// An event that a source's kernel has matched to a watch already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Delivery<'a> {
    /// What happened, all of it (EVENT-5).
    pub mask: u32,
    /// Not 0 for the halves of a rename: the kernel's, or [`Engine::next_cookie`].
    pub cookie: u32,
    /// The name in the watched directory, or nothing. No padding.
    pub name: &'a [u8],
    /// Bits that no reader sees (MERGE-4); 0 from a source that cannot tell.
    pub hidden: u32,
    /// It stood directly behind the record delivered before to this group, in one read of a kernel's queue (MERGE-7).
    pub adjacent: bool,
}

/// What the caller is to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// Something was queued in this group since this was last polled. At most one of a group is pending.
    Readable(GroupId),
    /// A watch ended: at that moment, the object had no watch any more in this group.
    Unwatched {
        /// Of the watch.
        group: GroupId,
        /// What it watched.
        object: ObjectId,
        /// The number that it had.
        wd: Wd,
    },
}

/// What an owner has.
#[derive(Debug, Clone, Copy, Default)]
struct Usage {
    instances: u32,
    watches: u32,
}

/// inotify, for any number of groups.
///
/// After [`deliver`](Self::deliver), [`observe`](Self::observe), [`source_overflowed`](Self::source_overflowed),
/// [`remove_watch`](Self::remove_watch), [`end_watch_silently`](Self::end_watch_silently) and
/// [`restore`](Self::restore), [`poll_output`](Self::poll_output) has to be called until it gives `None`: after the
/// last of a batch of deliveries will do, but before the next [`add_watch`](Self::add_watch), which may watch an object
/// again that is reported as unwatched. No other call makes outputs.
///
/// A closed group is unknown like one that never was. What can fail gives [`Errno::BadF`] then; its queue is empty, it
/// has no watches, and what a source says of it is ignored.
#[derive(Debug, Clone)]
pub struct Engine {
    pub(crate) groups: BTreeMap<GroupId, Group>,
    /// Of the groups that there are, each at its place.
    pub(crate) places: Slab<GroupId>,
    pub(crate) objects: ObjectIndex,
    group_next: u64,
    owners: BTreeMap<OwnerId, Usage>,
    pub(crate) profile: Profile,
    cookie: u32,
    /// A cookie was given out, or came with a snapshot.
    cookie_used: bool,
    /// Only this group is told of what is observed ([`observe_in`](Self::observe_in)).
    pub(crate) told_only: Option<Place>,
    pub(crate) outputs: VecDeque<Output>,
    pub(crate) history: History,
}

impl Engine {
    /// An engine without groups.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self {
            groups: BTreeMap::new(),
            places: Slab::new(),
            objects: ObjectIndex::default(),
            group_next: 1,
            owners: BTreeMap::new(),
            profile: config.profile,
            cookie: config.cookie_seed,
            cookie_used: false,
            told_only: None,
            outputs: VecDeque::new(),
            history: History::default(),
        }
    }

    /// Which Linux is shown.
    #[must_use]
    pub fn profile(&self) -> Profile {
        self.profile
    }

    /// Makes a group: inotify_init(2).
    ///
    /// # Errors
    ///
    /// [`Errno::MFile`] if the owner has `limits.instances_max` groups already (LIMIT-1).
    pub fn create_group(&mut self, owner: OwnerId, limits: Limits) -> Result<GroupId, Errno> {
        self.insert_group(Group::new(owner, limits))
    }

    /// Ends a group with its queue and watches, and gives their places back (FD-7, LIMIT-2). Returns what it watched,
    /// oldest watch first: there is no [`Output::Unwatched`] for these.
    pub fn close_group(&mut self, group: GroupId) -> Vec<ObjectId> {
        let Some(closed) = self.groups.remove(&group) else {
            return Vec::new();
        };
        self.places.try_remove(closed.place.0 as usize);
        let objects: Vec<ObjectId> = closed.watches.iter().map(|watch| watch.object).collect();
        for &object in &objects {
            self.objects.remove(closed.place, object);
        }
        if let Some(usage) = self.owners.get_mut(&closed.owner) {
            usage.instances -= 1;
            usage.watches -= objects.len() as u32;
            if usage.instances == 0 {
                self.owners.remove(&closed.owner);
            }
        }
        objects
    }

    /// Watches an object, or updates its watch: inotify_add_watch(2) once the path is resolved.
    ///
    /// # Errors
    ///
    /// In this order: [`Errno::BadF`]; [`Errno::Inval`] for a contradictory mask (MASK-3), and for one that the shown kernel
    /// does not know (PROFILE-1); [`Errno::Exist`] (WATCH-4);
    /// [`Errno::NoSpc`] if there is no number (WD-6), or if the owner has this group's `watches_max` watches: then the
    /// cursor has moved (LIMIT-3, WD-7).
    pub fn add_watch(&mut self, group: GroupId, object: ObjectId, mask: AddMask) -> Result<Added, Errno> {
        let group = self.groups.get_mut(&group).ok_or(Errno::BadF)?;
        mask.check_combination()?;
        self.profile.check(mask)?;
        if let Some(wd) = self.objects.watch_of(group.place, object)
            && let Some(stored) = group.watches.mask_mut(wd)
        {
            *stored = mask.update(*stored)?;
            return Ok(Added { wd, new: false, mask_stored: *stored });
        }
        let wd = group.wds.allocate()?;
        let usage = self.owners.entry(group.owner).or_default();
        if usage.watches >= group.limits.watches_max {
            group.wds.release(wd);
            return Err(Errno::NoSpc);
        }
        usage.watches += 1;
        let mask_stored = mask.stored();
        group.watches.insert(Watch { wd, object, mask: mask_stored });
        self.objects.insert(group.place, object, wd);
        Ok(Added { wd, new: true, mask_stored })
    }

    /// Would a new watch stay below the owner's limit (LIMIT-3)? False for a group that is not there.
    #[must_use]
    pub fn has_watch_room(&self, group: GroupId) -> bool {
        self.groups.get(&group).is_some_and(|group| {
            let used = self.owners.get(&group.owner).map_or(0, |usage| usage.watches);
            used < group.limits.watches_max
        })
    }

    /// A new watch was refused for the lack of watches outside this engine, by the source's own kernel: the cursor
    /// moves as it would have here (WD-7).
    pub fn burn_wd(&mut self, group: GroupId) {
        if let Some(group) = self.groups.get_mut(&group)
            && let Ok(wd) = group.wds.allocate()
        {
            group.wds.release(wd);
        }
    }

    /// Ends a watch and queues its IN_IGNORED: inotify_rm_watch(2) (RM-3, IGNORED-2). In a full queue that is lost and
    /// the watch ends all the same (OVERFLOW-6).
    ///
    /// # Errors
    ///
    /// [`Errno::BadF`]; [`Errno::Inval`] if the group has no such watch (RM-2).
    pub fn remove_watch(&mut self, group: GroupId, wd: Wd) -> Result<ObjectId, Errno> {
        let object = self.end_watch(group, wd)?;
        if let Some(entry) = self.groups.get_mut(&group) {
            let copy = self.history.copy(&Event::ignored(wd));
            let pushed = entry.queue.push_ignored(wd);
            self.history.came(group, copy, pushed, entry);
            note_readable(&mut self.outputs, group, entry, pushed);
        }
        Ok(object)
    }

    /// Ends a watch without IN_IGNORED: that was lost when the source's queue overflowed (IGNORED-5).
    ///
    /// # Errors
    ///
    /// As [`Engine::remove_watch`].
    pub fn end_watch_silently(&mut self, group: GroupId, wd: Wd) -> Result<ObjectId, Errno> {
        self.end_watch(group, wd)
    }

    /// Takes an event from a source whose kernel has matched it to a watch. The watch's mask is not consulted.
    ///
    /// IN_IGNORED ends the watch, and is the only thing that does: IN_ONESHOT is enforced by the source's kernel, which
    /// sends one (ONESHOT-2). IN_Q_OVERFLOW is [`Engine::source_overflowed`], whatever the wd. `None`: there is no such
    /// watch, the event is dropped (IGNORED-4).
    pub fn deliver(&mut self, group: GroupId, wd: Wd, delivery: Delivery<'_>) -> Option<Pushed> {
        let Delivery { mask, cookie, name, hidden, adjacent } = delivery;
        let mask = self.profile.delivered(mask);
        if mask & Mask::IN_Q_OVERFLOW.bits() != 0 {
            return self.source_overflowed(group);
        }
        let entry = self.groups.get_mut(&group)?;
        if entry.watches.object_of(wd).is_none() {
            entry.queue.skip();
            return None;
        }
        let event = if mask & Mask::IN_IGNORED.bits() == 0 {
            Event { wd, mask, cookie, name: name.into(), hidden }
        } else {
            self.end_watch(group, wd).ok()?;
            Event::ignored(wd)
        };
        let entry = self.groups.get_mut(&group)?;
        let copy = self.history.copy(&event);
        let pushed = entry.queue.push(event, adjacent);
        self.history.came(group, copy, pushed, entry);
        note_readable(&mut self.outputs, group, entry, pushed);
        Some(pushed)
    }

    /// A source lost events of this group (OVERFLOW-7). `None`: there is no such group.
    pub fn source_overflowed(&mut self, group: GroupId) -> Option<Pushed> {
        let entry = self.groups.get_mut(&group)?;
        let copy = self.history.copy(&Event::overflow());
        let pushed = entry.queue.overflow();
        self.history.came(group, copy, pushed, entry);
        note_readable(&mut self.outputs, group, entry, pushed);
        Some(pushed)
    }

    /// Queues an event as it is, whatever is watched: for tests of what a program makes of something that it never expects. It is
    /// merged or lost like any other, but not merged with the one before if it is `apart`. One with IN_Q_OVERFLOW is
    /// [`Engine::source_overflowed`]. IN_IGNORED ends no watch.
    pub fn queue_event(&mut self, group: GroupId, event: Event, apart: bool) -> Option<Pushed> {
        if event.is_overflow() {
            return self.source_overflowed(group);
        }
        let entry = self.groups.get_mut(&group)?;
        let copy = self.history.copy(&event);
        let pushed = entry.queue.push(event, apart);
        self.history.came(group, copy, pushed, entry);
        note_readable(&mut self.outputs, group, entry, pushed);
        Some(pushed)
    }

    /// Changes what becomes of events that arrive in a group ([`arrival`](crate::arrival)).
    pub fn set_arrivals(&mut self, group: GroupId, change: impl FnOnce(&mut Arrivals)) {
        self.with_queue(group, |queue| queue.set_arrivals(change));
    }

    /// Queues what is held back in a group.
    pub fn release(&mut self, group: GroupId) {
        self.with_queue(group, EventQueue::release);
    }

    fn with_queue(&mut self, group: GroupId, act: impl FnOnce(&mut EventQueue) -> bool) {
        let Some(entry) = self.groups.get_mut(&group) else { return };
        let is_new = act(&mut entry.queue);
        self.history.released(group, entry);
        note_readable(&mut self.outputs, group, entry, Pushed::Held { others_came: is_new });
    }

    /// What becomes of events that arrive in a group, if a test has said so.
    #[must_use]
    pub fn arrivals(&self, group: GroupId) -> Option<&Arrivals> {
        self.groups.get(&group)?.queue.arrivals()
    }

    /// What read(2) does with a buffer of `room_bytes`: removes as many whole events as fit, appends their records to
    /// `into`, and gives the number of bytes (READ-1).
    ///
    /// # Errors
    ///
    /// [`Errno::BadF`]; [`Errno::Again`] if the queue is empty (READ-3); [`Errno::Inval`] if the first event does not
    /// fit, which is then kept (READ-2). Nothing was appended.
    pub fn take(&mut self, group: GroupId, room_bytes: usize, into: &mut Vec<u8>) -> Result<usize, Errno> {
        let queue = &mut self.groups.get_mut(&group).ok_or(Errno::BadF)?.queue;
        let before = queue.len();
        let taken = queue.take(room_bytes, into);
        self.history.read(group, before - queue.len(), queue.len());
        taken
    }

    /// The reader has read the `count` oldest events, of which it was given copies by [`Engine::event`]. Returns how
    /// many there were to remove.
    pub fn acknowledge(&mut self, group: GroupId, count: usize) -> usize {
        let Some(entry) = self.groups.get_mut(&group) else { return 0 };
        let read = entry.queue.pop_front(count);
        self.history.read(group, read, entry.queue.len());
        read
    }

    /// The reader gives events back that it has read and could not use: they stand in front again, in their order.
    pub fn put_back(&mut self, group: GroupId, events: Vec<Event>) {
        if let Some(group) = self.groups.get_mut(&group) {
            group.queue.put_back(events);
        }
    }

    /// The queued event with `index` older ones in front of it.
    #[must_use]
    pub fn event(&self, group: GroupId, index: usize) -> Option<&Event> {
        self.groups.get(&group)?.queue.get(index)
    }

    /// The number of queued events, the overflow event included.
    #[must_use]
    pub fn queue_len(&self, group: GroupId) -> usize {
        self.groups.get(&group).map_or(0, |group| group.queue.len())
    }

    /// What FIONREAD gives (IOCTL-1).
    #[must_use]
    pub fn queue_bytes(&self, group: GroupId) -> usize {
        self.groups.get(&group).map_or(0, |group| group.queue.bytes())
    }

    /// Whether the next event will be lost (OVERFLOW-2).
    #[must_use]
    pub fn is_full(&self, group: GroupId) -> bool {
        self.groups.get(&group).is_some_and(|group| group.queue.is_full())
    }

    /// `INOTIFY_IOC_SETNEXTWD`, with the full unsigned long of the ioctl (WD-9 to WD-13).
    ///
    /// # Errors
    ///
    /// [`Errno::BadF`]; [`Errno::Inval`] unless the argument is 1 to 2147483647.
    pub fn set_cursor(&mut self, group: GroupId, argument: u64) -> Result<(), Errno> {
        self.groups.get_mut(&group).ok_or(Errno::BadF)?.wds.set_cursor(argument)
    }

    /// The number from which the next wd is sought, 1 to 2147483647 (IOCTL-8).
    ///
    /// # Errors
    ///
    /// [`Errno::BadF`].
    pub fn cursor(&self, group: GroupId) -> Result<i32, Errno> {
        Ok(self.groups.get(&group).ok_or(Errno::BadF)?.wds.cursor())
    }

    /// What a wd watches.
    ///
    /// # Errors
    ///
    /// [`Errno::BadF`]; [`Errno::Inval`] if the group has no such watch.
    pub fn object_of(&self, group: GroupId, wd: Wd) -> Result<ObjectId, Errno> {
        self.groups.get(&group).ok_or(Errno::BadF)?.watches.object_of(wd).ok_or(Errno::Inval)
    }

    /// The watch on an object.
    #[must_use]
    pub fn watch_of(&self, group: GroupId, object: ObjectId) -> Option<Wd> {
        self.objects.watch_of(self.groups.get(&group)?.place, object)
    }

    /// The watches of a group in order of creation, oldest first. Reversed: as fdinfo shows them (FD-15).
    #[must_use]
    pub fn watches(&self, group: GroupId) -> Watches<'_> {
        self.groups.get(&group).map_or_else(Watches::none, |group| group.watches.iter())
    }

    /// What has become of all events of a group since it was made.
    #[must_use]
    pub fn totals(&self, group: GroupId) -> Totals {
        self.groups.get(&group).map(|group| group.totals).unwrap_or_default()
    }

    /// The limits that a group was made with.
    #[must_use]
    pub fn limits(&self, group: GroupId) -> Option<Limits> {
        self.groups.get(&group).map(|group| group.limits)
    }

    /// Whose a group is.
    #[must_use]
    pub fn owner(&self, group: GroupId) -> Option<OwnerId> {
        self.groups.get(&group).map(|group| group.owner)
    }

    /// All groups, in order of creation.
    pub fn groups(&self) -> impl DoubleEndedIterator<Item = GroupId> + ExactSizeIterator {
        self.groups.keys().copied()
    }

    /// The cookie of the next rename, for a source whose events have none of their own (COOKIE-2).
    pub fn next_cookie(&mut self) -> u32 {
        self.cookie = self.cookie.wrapping_add(1);
        self.cookie_used = true;
        self.cookie
    }

    /// Takes one event that groups know by other objects each, as those of which each has a source of its own: as
    /// [`observe`](Self::observe), each group by its own version. All versions of a rename have the same cookie.
    pub fn observe_in<'a>(&mut self, versions: impl IntoIterator<Item = (GroupId, FsEvent<'a>)>) {
        let cookie_before = (self.cookie, self.cookie_used);
        for (group, event) in versions {
            let Some(place) = self.groups.get(&group).map(|group| group.place) else { continue };
            (self.cookie, self.cookie_used) = cookie_before;
            self.told_only = Some(place);
            self.observe(event);
        }
        self.told_only = None;
    }

    /// From now on notes what becomes of events: [`take_history`](Self::take_history).
    pub fn keep_history(&mut self) {
        self.history.keep();
    }

    /// What has become of events since this was last called, oldest first; nothing unless it is [kept](Self::keep_history).
    pub fn take_history(&mut self) -> Vec<Happening> {
        self.history.take()
    }

    /// What the caller is to be told, oldest first. When it has to be called is said at [`Engine`].
    pub fn poll_output(&mut self) -> Option<Output> {
        loop {
            let output = self.outputs.pop_front()?;
            if let Output::Readable(group) = output {
                // Closed in the meantime, or read.
                let Some(entry) = self.groups.get_mut(&group) else { continue };
                entry.readable_pending = false;
                if entry.queue.is_empty() {
                    continue;
                }
            }
            return Some(output);
        }
    }

    /// A group as data (SNAPSHOT-2). The group stays as it is.
    ///
    /// # Errors
    ///
    /// [`Errno::BadF`].
    pub fn snapshot(&self, group: GroupId) -> Result<Snapshot, Errno> {
        Ok(Snapshot::V1(self.groups.get(&group).ok_or(Errno::BadF)?.snapshot(self.cookie)))
    }

    /// Makes a group of a snapshot. If several are restored, then in the order in which their groups were made: so none
    /// is refused that was possible.
    ///
    /// The engine's cookie counter becomes the snapshot's, unless it is in use and ahead. The owner's other watches do
    /// not count against the snapshot's, which were all allowed once; they count against every later one.
    ///
    /// # Errors
    ///
    /// [`RestoreError`]; the engine is then as before.
    pub fn restore(&mut self, owner: OwnerId, snapshot: Snapshot) -> Result<GroupId, RestoreError> {
        let Snapshot::V1(snapshot) = snapshot;
        let cookie = snapshot.cookie;
        let group = Group::restore(owner, snapshot)?;
        let watches = group.watches.len() as u32;
        let has_events = !group.queue.is_empty();
        let id = self.insert_group(group).map_err(RestoreError::Refused)?;
        self.owners.entry(owner).or_default().watches += watches;
        // Ahead, on a counter that wraps.
        if !self.cookie_used || cookie.wrapping_sub(self.cookie) < 1 << 31 {
            self.cookie = cookie;
            self.cookie_used = true;
        }
        if has_events && let Some(entry) = self.groups.get_mut(&id) {
            note_readable(&mut self.outputs, id, entry, Pushed::Queued);
            // They were told to the group that it was.
            entry.totals = Totals::default();
        }
        Ok(id)
    }

    /// Counts and numbers a group that has no counted watches yet.
    fn insert_group(&mut self, mut group: Group) -> Result<GroupId, Errno> {
        let instances = self.owners.get(&group.owner).map_or(0, |usage| usage.instances);
        if instances >= group.limits.instances_max {
            return Err(Errno::MFile);
        }
        self.owners.entry(group.owner).or_default().instances += 1;
        let id = GroupId(self.group_next);
        self.group_next += 1;
        group.place = Place(self.places.insert(id) as u32);
        for Watch { wd, object, .. } in group.watches.iter() {
            self.objects.insert(group.place, object, wd);
        }
        self.groups.insert(id, group);
        Ok(id)
    }

    /// Everything but the IN_IGNORED (LIMIT-5, IGNORED-3).
    pub(crate) fn end_watch(&mut self, group: GroupId, wd: Wd) -> Result<ObjectId, Errno> {
        let entry = self.groups.get_mut(&group).ok_or(Errno::BadF)?;
        let object = entry.end_watch(wd).ok_or(Errno::Inval)?;
        self.objects.remove(entry.place, object);
        if let Some(usage) = self.owners.get_mut(&entry.owner) {
            usage.watches -= 1;
        }
        self.outputs.push_back(Output::Unwatched { group, object, wd });
        Ok(object)
    }
}

pub(crate) fn note_readable(outputs: &mut VecDeque<Output>, id: GroupId, group: &mut Group, pushed: Pushed) {
    group.count(pushed);
    if pushed.is_new() && !group.readable_pending {
        group.readable_pending = true;
        outputs.push_back(Output::Readable(id));
    }
}
