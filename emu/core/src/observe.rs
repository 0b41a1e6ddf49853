//! Which watches are told of a hook, what they are told, and in which order: `include/linux/fsnotify.h` and
//! `fs/notify/fsnotify.c` of Linux 6.18.
//!
//! Linux serves the groups one by one, in the order of their addresses, which is none; each gets its own copies in the
//! order that is said here (EVENT-13).

use crate::allocator::Wd;
use crate::engine::{Engine, GroupId, ObjectId, note_readable};
use crate::event::Event;
use crate::hook::{Change, Entry, FsEvent, Kind, Object, Subject};
use crate::index::Place;
use crate::mask::Mask;
use crate::profile::Profile;

/// FS_OPEN_EXEC, which no reader sees (MERGE-4).
const OPEN_EXEC: u32 = 0x1000;
/// What a watch can ask for. IN_UNMOUNT is asked for by every one.
const ASKED: u32 = Mask::IN_ALL_EVENTS.bits();

/// What the watches of one object are told.
#[derive(Clone, Copy)]
struct Notice<'a> {
    mask: Mask,
    cookie: u32,
    name: &'a [u8],
    hidden: u32,
    /// Comes from an open file whose name was removed (EXCL-1).
    unlinked: bool,
}

impl Notice<'_> {
    fn of(mask: Mask) -> Self {
        Self { mask, cookie: 0, name: b"", hidden: 0, unlinked: false }
    }
}

impl Change {
    /// `fsnotify_change` and `fsnotify_xattr` (EVENT-12).
    fn mask(self) -> Mask {
        let Self { owner, mode, size, accessed, modified, attribute } = self;
        let mut mask = Mask::empty();
        mask.set(Mask::IN_ATTRIB, owner || mode || attribute || (accessed && modified));
        mask.set(Mask::IN_MODIFY, size || (modified && !accessed));
        mask.set(Mask::IN_ACCESS, accessed && !modified);
        mask
    }
}

/// What one looks like that is a directory's (EVENT-6).
fn of_kind(mask: Mask, directory: bool) -> Mask {
    if directory { mask | Mask::IN_ISDIR } else { mask }
}

impl Engine {
    /// Takes an event of a source that sees the hooks of a file system, and gives each watch its due (EVENT-5 to
    /// EVENT-16, ONESHOT-1, EXCL-1, COOKIE-1). An object that nobody watches, and one that is not known, costs a
    /// look-up.
    ///
    /// The number of an object must not be in use for another one by a source whose events come by
    /// [`deliver`](Self::deliver).
    pub fn observe(&mut self, event: FsEvent<'_>) {
        match event {
            FsEvent::Open { subject, exec } => {
                // Since Linux 5.0 (PROFILE-5).
                let hidden = if exec && self.profile != Profile::El7 { OPEN_EXEC } else { 0 };
                let notice = Notice { hidden, ..through_file(Mask::IN_OPEN, &subject) };
                self.tell_directory_and_object(&subject, notice);
            }
            FsEvent::OpenTruncated { subject, change } => {
                let opened = FsEvent::Open { subject, exec: false };
                let truncated = FsEvent::Change { subject, change };
                // 3.10 opens last (PROFILE-2).
                let ordered = if self.profile == Profile::El7 { [truncated, opened] } else { [opened, truncated] };
                ordered.into_iter().for_each(|event| self.observe(event));
            }
            FsEvent::Access(subject) => self.transferred(Mask::IN_ACCESS, &subject),
            FsEvent::Modify(subject) => self.transferred(Mask::IN_MODIFY, &subject),
            // No hooks in 3.10 (PROFILE-3).
            FsEvent::Allocate(_) | FsEvent::Splice { .. } if self.profile == Profile::El7 => {}
            FsEvent::Allocate(subject) => self.transferred(Mask::IN_MODIFY, &subject),
            FsEvent::Splice { subject, writes } => {
                self.transferred(if writes { Mask::IN_MODIFY } else { Mask::IN_ACCESS }, &subject);
            }
            FsEvent::Close { subject, writable } => {
                let mask = if writable { Mask::IN_CLOSE_WRITE } else { Mask::IN_CLOSE_NOWRITE };
                self.tell_directory_and_object(&subject, through_file(mask, &subject));
            }
            FsEvent::Change { subject, change } => {
                let mask = change.mask();
                if !mask.is_empty() {
                    let directory = subject.object.kind == Kind::Directory;
                    self.tell_directory_and_object(&subject, Notice::of(of_kind(mask, directory)));
                }
            }
            FsEvent::Create { entry, directory } => self.tell_directory(entry, of_kind(Mask::IN_CREATE, directory), 0),
            FsEvent::Delete { entry, directory } => self.tell_directory(entry, of_kind(Mask::IN_DELETE, directory), 0),
            FsEvent::Rename { moved, from, to, replaced } => self.renamed(moved, from, to, replaced),
            FsEvent::LinkCount(object) => self.linked(object),
            FsEvent::Gone(object) => {
                self.tell(object.id, Notice::of(Mask::IN_DELETE_SELF));
                self.end_watches(object.id);
            }
            FsEvent::Unmount(object) => {
                self.tell(object.id, Notice::of(self.self_event(Mask::IN_UNMOUNT, object)));
                self.end_watches(object.id);
            }
            FsEvent::Overflow(object) => self.overflowed(object),
        }
    }

    /// What the watches on an object, those of all groups together, ask for: event bits, none if nobody watches it, and IN_EXCL_UNLINK if one
    /// of them has that.
    #[must_use]
    pub fn interest(&self, object: ObjectId) -> Mask {
        let masks = self.objects.watches_of(object).filter_map(|(place, wd)| {
            let id = self.places.get(place.0 as usize)?;
            self.groups.get(id)?.watches.mask(wd)
        });
        Mask::from_bits_retain(masks.fold(0, |all, mask| all | mask) & (ASKED | Mask::IN_EXCL_UNLINK.bits()))
    }

    /// The groups that watch an object, for whatever.
    pub fn watchers(&self, object: ObjectId) -> impl Iterator<Item = GroupId> {
        self.objects.watches_of(object).filter_map(|(place, _)| self.places.get(place.0 as usize).copied())
    }

    /// Whether any group watches an object, for whatever.
    #[must_use]
    pub fn is_watched(&self, object: ObjectId) -> bool {
        self.objects.watches_of(object).next().is_some()
    }

    /// `fsnotify_access`, `fsnotify_modify`. What goes through a special file is not in the directory's file system
    /// (EVENT-8); 3.10 does not ask (PROFILE-4).
    fn transferred(&mut self, mask: Mask, subject: &Subject<'_>) {
        let notice = through_file(mask, subject);
        if subject.object.kind == Kind::Special && self.profile != Profile::El7 {
            self.tell(subject.object.id, notice);
        } else {
            self.tell_directory_and_object(subject, notice);
        }
    }

    /// `fsnotify_move` (EVENT-15).
    fn renamed(&mut self, moved: Object, from: Entry<'_>, to: Entry<'_>, replaced: Option<Object>) {
        let cookie = self.next_cookie();
        let directory = moved.kind == Kind::Directory;
        self.tell_directory(from, of_kind(Mask::IN_MOVED_FROM, directory), cookie);
        self.tell_directory(to, of_kind(Mask::IN_MOVED_TO, directory), cookie);
        if let Some(replaced) = replaced {
            self.linked(replaced);
        }
        self.tell(moved.id, Notice::of(Mask::IN_MOVE_SELF));
    }

    /// `fsnotify_link_count` (EVENT-11).
    fn linked(&mut self, object: Object) {
        self.tell(object.id, Notice::of(self.self_event(Mask::IN_ATTRIB, object)));
    }

    /// What an object itself is told by its inode alone: 3.10 does not say then that it is a directory (PROFILE-6).
    fn self_event(&self, mask: Mask, object: Object) -> Mask {
        of_kind(mask, object.kind == Kind::Directory && self.profile != Profile::El7)
    }

    /// The directory first, with the name, then the object, without (EVENT-7, EVENT-9).
    fn tell_directory_and_object(&mut self, subject: &Subject<'_>, notice: Notice<'_>) {
        if let Some(Entry { directory, name }) = subject.entry {
            self.tell(directory, Notice { name, ..notice });
        }
        self.tell(subject.object.id, notice);
    }

    /// A change of the directory itself (EVENT-10).
    fn tell_directory(&mut self, entry: Entry<'_>, mask: Mask, cookie: u32) {
        self.tell(entry.directory, Notice { name: entry.name, cookie, ..Notice::of(mask) });
    }

    /// All watches of an object.
    fn tell(&mut self, object: ObjectId, notice: Notice<'_>) {
        let mut next = self.objects.first_watch(object);
        while let Some((place, wd)) = next {
            self.tell_watch(place, wd, notice);
            next = self.objects.watch_behind(object, place);
        }
    }

    /// `fsnotify_handle_inode_event` and `inotify_handle_inode_event`.
    fn tell_watch(&mut self, place: Place, wd: Wd, notice: Notice<'_>) {
        if self.told_only.is_some_and(|only| only != place) {
            return;
        }
        let Some(&id) = self.places.get(place.0 as usize) else { return };
        let Some(group) = self.groups.get_mut(&id) else { return };
        let Some(stored) = group.watches.mask(wd) else { return };
        let Notice { mask, cookie, name, hidden, unlinked } = notice;
        if unlinked && stored & Mask::IN_EXCL_UNLINK.bits() != 0 {
            return;
        }
        let asked = stored & ASKED | Mask::IN_UNMOUNT.bits();
        if mask.bits() & asked == 0 {
            return;
        }
        let event = Event { wd, mask: mask.bits(), cookie, name: name.into(), hidden };
        let copy = self.history.copy(&event);
        let pushed = group.queue.push(event, false);
        self.history.came(id, copy, pushed, group);
        note_readable(&mut self.outputs, id, group, pushed);
        // Whether it was queued, merged or lost (ONESHOT-3).
        if stored & Mask::IN_ONESHOT.bits() != 0 {
            self.end_with_ignored(place, wd);
        }
    }

    /// A source has lost events of an object.
    fn overflowed(&mut self, object: ObjectId) {
        let mut next = self.objects.first_watch(object);
        while let Some((place, _)) = next {
            if let Some(&group) = self.places.get(place.0 as usize)
                && self.told_only.is_none_or(|only| only == place)
            {
                self.source_overflowed(group);
            }
            next = self.objects.watch_behind(object, place);
        }
    }

    /// `fsnotify_inode_delete`.
    fn end_watches(&mut self, object: ObjectId) {
        let mut next = self.objects.first_watch(object);
        while let Some((place, wd)) = next {
            self.end_with_ignored(place, wd);
            next = self.objects.watch_behind(object, place);
        }
    }

    fn end_with_ignored(&mut self, place: Place, wd: Wd) {
        if let Some(&group) = self.places.get(place.0 as usize)
            && self.told_only.is_none_or(|only| only == place)
        {
            // The index has told of this watch just now.
            let _ = self.remove_watch(group, wd);
        }
    }
}

/// An event that has a path in the kernel.
fn through_file(mask: Mask, subject: &Subject<'_>) -> Notice<'static> {
    let mask = of_kind(mask, subject.object.kind == Kind::Directory);
    Notice { unlinked: subject.unlinked, ..Notice::of(mask) }
}
