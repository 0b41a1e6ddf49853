//! Each record split into the hooks that it stands for.
//!
//! The kernel merges what is about the same object and name into one record, which stands where the first of them stood. Split again they
//! come in the order in which a single system call makes them, and a file's life goes: created, opened, read, written, closed, deleted.

use std::collections::HashMap;
use std::mem;

use uinotify_core::{Change, Entry, FsEvent, Kind, Mask, Object, ObjectId, Subject};

use super::handle::Handle;
use super::records::{End, Identifier, Information, Record, Records};
use super::scan;
use super::tree::{Link, Tree, UNWATCHED};
use crate::fuse::Sink;

/// Kinds of files, and names of which it is known whose they are, at most.
const KNOWN_MAX: usize = 16384;
const NOWHERE: Entry<'_> = Entry { directory: UNWATCHED, name: b"." };

/// The state that translating needs.
#[derive(Debug, Default)]
pub(super) struct Translation {
    pub(super) tree: Tree,
    /// What a mark on the file system tells of special files, ones on inodes leave out: their kind has to be asked for (EVENT-8).
    asks_for_kinds: bool,
    kinds: HashMap<Handle, Kind>,
    /// Whose a name is now, where a watch leaves out what was removed (EXCL-1).
    owners: HashMap<(Handle, Box<[u8]>), Option<Handle>>,
    /// Where directories were and went in this turn.
    moved: HashMap<Handle, Vec<Stand>>,
    /// One end of a rename whose other end may follow, before FAN_RENAME.
    half: Option<Half>,
    /// What is gone, and is told so only behind some of the records that follow.
    gone: Vec<Gone>,
}

#[derive(Debug)]
struct Gone {
    object: Object,
    handle: Handle,
    records: usize,
}

/// A watched directory, and a name there.
type Stand = (ObjectId, Box<[u8]>);

#[derive(Debug)]
struct Half {
    directory: Handle,
    name: Box<[u8]>,
    is_directory: bool,
}

/// A name in a directory, as a record has it.
#[derive(Clone, Copy)]
struct Name<'a> {
    directory: Identifier<'a>,
    name: &'a [u8],
}

/// What a record is about.
#[derive(Default)]
struct Parts<'a> {
    object: Option<Identifier<'a>>,
    only: Option<Name<'a>>,
    old: Option<Name<'a>>,
    new: Option<Name<'a>>,
}

impl<'a> Parts<'a> {
    fn of(record: &Record<'a>) -> Self {
        let mut parts = Self::default();
        for information in record.information() {
            match information {
                Information::Object(object) => parts.object = Some(object),
                // A group without names has this in the place of `.`.
                Information::Directory(directory) => parts.only = Some(Name { directory, name: b"." }),
                Information::Entry { end, directory, name } => {
                    let name = Some(Name { directory, name });
                    match end {
                        End::Only => parts.only = name,
                        End::Old => parts.old = name,
                        End::New => parts.new = name,
                    }
                }
                _ => {}
            }
        }
        parts
    }
}

impl Identifier<'_> {
    fn handle(&self) -> Handle {
        Handle::new(self.kind, self.bytes)
    }
}

impl Translation {
    pub(super) fn new(asks_for_kinds: bool) -> Self {
        Self { asks_for_kinds, ..Self::default() }
    }

    /// Tells what a record stands for. `rest` follows behind it.
    pub(super) fn translate(&mut self, record: &Record<'_>, rest: &Records<'_>, sink: &mut impl Sink) {
        let has = |bits: u64| record.mask & bits != 0;
        let parts = Parts::of(record);
        let is_directory = has(libc::FAN_ONDIR);
        if !has(libc::FAN_MOVED_TO) {
            self.end_half(sink);
        }
        match (parts.only, parts.object) {
            _ if has(libc::FAN_RENAME) => self.renamed(&parts, is_directory, sink),
            (Some(name), object) if name.name != b"." => {
                self.named(record.mask, name, object, is_directory, sink);
            }
            (Some(Name { directory, .. }), _) => {
                self.told_to_itself(record.mask, directory, Kind::Directory, sink);
                self.ended(record.mask, directory, rest);
            }
            (None, Some(object)) => {
                let kind = if is_directory { Kind::Directory } else { Kind::File };
                self.told_to_itself(record.mask, object, kind, sink);
                self.ended(record.mask, object, rest);
            }
            (None, None) => {}
        }
        self.end_gone(1, sink);
    }

    /// The queue is empty: whatever waits for a next record waits no longer.
    pub(super) fn end_turn(&mut self, sink: &mut impl Sink) {
        self.end_half(sink);
        self.end_gone(usize::MAX, sink);
        // Of several renames of one directory to and fro, merged ones have lost their order: look where it is.
        for (handle, mut places) in mem::take(&mut self.moved) {
            if places.len() <= 2 {
                continue;
            }
            places.reverse();
            let found = places.iter().find(|(directory, name)| {
                let path = self.path_in(*directory, name);
                path.and_then(|path| scan::handle_under(&path)).is_some_and(|found| found == handle)
            });
            if let Some((directory, name)) = found {
                self.tree.put(*directory, name, &handle);
            }
        }
    }

    /// Events are lost: nothing is known of what they would have told.
    pub(super) fn forget(&mut self) {
        self.half = None;
        self.gone.clear();
        self.kinds.clear();
        self.owners.clear();
        self.moved.clear();
    }

    fn number(&self, directory: &Handle) -> ObjectId {
        self.tree.find(directory).map_or(UNWATCHED, |object| object.id)
    }

    fn mask(&self, handle: &Handle) -> Mask {
        self.tree.find(handle).map_or(Mask::empty(), |object| object.mask)
    }

    fn path_in(&self, directory: ObjectId, name: &[u8]) -> Option<Vec<u8>> {
        let mut path = self.tree.path(directory)?;
        path.push(b'/');
        path.extend_from_slice(name);
        Some(path)
    }

    /// FAN_RENAME, never merged with anything but itself: the pair and its cookie. What the object itself is told comes by a record of its own.
    fn renamed(&mut self, parts: &Parts<'_>, is_directory: bool, sink: &mut impl Sink) {
        let old = parts.old.map(|name| (name.directory.handle(), name.name));
        let new = parts.new.map(|name| (name.directory.handle(), name.name));
        let handle = parts.object.map(|object| object.handle());
        let entry = |end: &Option<(Handle, &[u8])>| end.as_ref().map(|(directory, _)| self.number(directory));
        let (from, to) = (entry(&old).unwrap_or(UNWATCHED), entry(&new).unwrap_or(UNWATCHED));
        let kind = if is_directory { Kind::Directory } else { Kind::File };
        sink.observe(FsEvent::Rename {
            moved: Object { id: UNWATCHED, kind },
            from: old.as_ref().map_or(NOWHERE, |(_, name)| Entry { directory: from, name }),
            to: new.as_ref().map_or(NOWHERE, |(_, name)| Entry { directory: to, name }),
            replaced: None,
        });
        let Some(handle) = handle else { return };
        if let Some((directory, name)) = &old {
            self.own(directory, name, Some(&handle), None);
        }
        if let Some((directory, name)) = &new {
            self.own(directory, name, Some(&handle), Some(&handle));
        }
        if is_directory {
            let places = self.moved.entry(handle.clone()).or_default();
            let ends = [(from, &old), (to, &new)];
            places.extend(ends.iter().filter_map(|(id, end)| Some((*id, end.as_ref()?.1.into()))));
            self.tree.put(to, new.as_ref().map_or(b".", |(_, name)| name), &handle);
        }
    }

    /// What has a directory and a name: entries made and removed, and what is done to files by their names.
    fn named(
        &mut self,
        mask: u64,
        name: Name<'_>,
        object: Option<Identifier<'_>>,
        is_directory: bool,
        sink: &mut impl Sink,
    ) {
        let has = |bits: u64| mask & bits != 0;
        let directory = name.directory.handle();
        let handle = object.map(|object| object.handle());
        let id = self.number(&directory);
        let entry = Entry { directory: id, name: name.name };
        if has(libc::FAN_CREATE) {
            sink.observe(FsEvent::Create { entry, directory: is_directory });
            self.own(&directory, name.name, handle.as_ref(), handle.as_ref());
            if is_directory && self.tree.knows_children(id) {
                let found = || self.path_in(id, name.name).and_then(|path| scan::handle_under(&path));
                if let Some(child) = handle.clone().or_else(found) {
                    self.tree.put(id, name.name, &child);
                }
            }
        }
        if !is_directory && mask & OF_OPEN_FILES != 0 {
            self.done_by_name(mask, &directory, entry, handle.as_ref(), sink);
        }
        if has(libc::FAN_MOVED_FROM | libc::FAN_MOVED_TO) {
            self.moved_half(mask, &directory, name.name, is_directory, sink);
        }
        if has(libc::FAN_DELETE) {
            sink.observe(FsEvent::Delete { entry, directory: is_directory });
            self.own(&directory, name.name, handle.as_ref(), None);
            let child = handle.or_else(|| self.tree.child(id, name.name).map(|child| child.handle.clone()));
            if is_directory && let Some(child) = child {
                self.tree.unlink(&child);
            }
        }
    }

    /// What is done to a file by a name.
    fn done_by_name(
        &mut self,
        mask: u64,
        directory: &Handle,
        entry: Entry<'_>,
        handle: Option<&Handle>,
        sink: &mut impl Sink,
    ) {
        let known = handle.and_then(|handle| self.tree.find(handle)).filter(|object| object.is_watched());
        let watched = known.map(|object| (object.id, object.kind));
        if watched.is_none() && entry.directory == UNWATCHED {
            return;
        }
        let kind = match (watched, handle) {
            (Some((_, kind)), _) => kind,
            (None, Some(handle)) => self.kind_of(directory, entry, handle),
            (None, None) => Kind::File,
        };
        let object = Object { id: watched.map_or(UNWATCHED, |(id, _)| id), kind };
        let unlinked = handle.is_some_and(|handle| self.is_unlinked(directory, entry, handle));
        tell_file(mask, Subject { object, entry: Some(entry), unlinked }, sink);
    }

    /// What has no name: what is done to an object that has none, and what is told to it alone. And all that is done to a directory.
    fn told_to_itself(&mut self, mask: u64, object: Identifier<'_>, kind: Kind, sink: &mut impl Sink) {
        let has = |bits: u64| mask & bits != 0;
        let handle = object.handle();
        let Some(known) = self.tree.find(&handle) else { return };
        let object = Object { id: known.id, kind: if known.is_watched() { known.kind } else { kind } };
        let place = known.place().cloned();
        let link = place.as_ref().map(|place| place.link);
        let entry = place.as_ref().map(super::tree::Place::entry);
        let subject = Subject { object, entry, unlinked: link.is_some_and(|link| link != Link::There) };
        // A file without a name, and a directory that another one was moved onto, have lost a link.
        let links = kind != Kind::Directory || link == Some(Link::Replaced);
        let attribute = if links { libc::FAN_ATTRIB } else { 0 };
        tell_file(mask & !attribute, subject, sink);
        if has(attribute) {
            sink.observe(FsEvent::LinkCount(object));
        }
        if has(libc::FAN_MOVE_SELF) {
            sink.observe(FsEvent::Rename { moved: object, from: NOWHERE, to: NOWHERE, replaced: None });
        }
    }

    /// An object is gone. It is told so behind what is still told of it: unlink's ATTRIB takes the DELETE_SELF of an open file to where it
    /// stood itself, an OPEN that of a directory, before what was removed from it; and that of what a rename replaced comes behind what the
    /// moved object is told.
    fn ended(&mut self, mask: u64, object: Identifier<'_>, rest: &Records<'_>) {
        if mask & libc::FAN_DELETE_SELF == 0 {
            return;
        }
        let handle = object.handle();
        let Some(known) = self.tree.find(&handle) else { return };
        let told = Object { id: known.id, kind: known.kind };
        let mut records = 0;
        if mask & !(libc::FAN_DELETE_SELF | libc::FAN_ONDIR) != 0 && told.id != UNWATCHED {
            let is_in_it = |name: &Name<'_>| name.directory == object;
            let is_of_it = |record: &Record<'_>| {
                let Parts { object: subject, only, old, new } = Parts::of(record);
                let is_entry = || [only, old, new].iter().flatten().any(is_in_it);
                if told.kind == Kind::Directory {
                    is_entry()
                } else {
                    record.mask & OF_OPEN_FILES != 0 && subject == Some(object)
                }
            };
            records = rest
                .clone()
                .enumerate()
                .filter(|(_, record)| is_of_it(record))
                .last()
                .map_or(0, |(index, _)| index + 1);
            if rest.clone().next().is_some_and(|record| record.mask & libc::FAN_MOVE_SELF != 0) {
                records = records.max(1);
            }
        }
        // This one counts too.
        self.gone.push(Gone { object: told, handle, records: records + 1 });
    }

    /// So many records have been told.
    fn end_gone(&mut self, records: usize, sink: &mut impl Sink) {
        if self.gone.is_empty() {
            return;
        }
        let mut gone = mem::take(&mut self.gone);
        gone.retain_mut(|gone| {
            gone.records = gone.records.saturating_sub(records);
            if gone.records > 0 {
                return true;
            }
            if gone.object.id != UNWATCHED {
                sink.observe(FsEvent::Gone(gone.object));
            }
            self.tree.gone(&gone.handle);
            self.kinds.remove(&gone.handle);
            false
        });
        self.gone = gone;
    }

    /// Only where it matters. At the first event that names it: later it may be under another name, or none.
    fn kind_of(&mut self, directory: &Handle, entry: Entry<'_>, handle: &Handle) -> Kind {
        let transfers = Mask::IN_ACCESS | Mask::IN_MODIFY;
        if !self.asks_for_kinds || !self.mask(directory).intersects(transfers) {
            return Kind::File;
        }
        if let Some(kind) = self.kinds.get(handle) {
            return *kind;
        }
        let path = self.path_in(entry.directory, entry.name);
        let is_special = path.and_then(|path| scan::is_special_under(&path, handle));
        let Some(is_special) = is_special else { return Kind::File };
        let kind = if is_special { Kind::Special } else { Kind::File };
        if self.kinds.len() >= KNOWN_MAX {
            self.kinds.clear();
        }
        self.kinds.insert(handle.clone(), kind);
        kind
    }

    /// From now on this name is that object's, or nobody's.
    fn own(&mut self, directory: &Handle, name: &[u8], object: Option<&Handle>, owner: Option<&Handle>) {
        if !self.tree.is_any_excluding() {
            return;
        }
        let known = || self.owners.get(&(directory.clone(), name.into()));
        if owner.is_none() && matches!(known(), Some(Some(other)) if Some(other) != object) {
            // What it was exchanged for has it.
            return;
        }
        if self.owners.len() >= KNOWN_MAX {
            self.owners.clear();
        }
        self.owners.insert((directory.clone(), name.into()), owner.cloned());
    }

    /// Whether an object was reached by a name that is no longer its own.
    fn is_unlinked(&self, directory: &Handle, entry: Entry<'_>, handle: &Handle) -> bool {
        if !(self.mask(directory) | self.mask(handle)).contains(Mask::IN_EXCL_UNLINK) {
            return false;
        }
        if let Some(owner) = self.owners.get(&(directory.clone(), entry.name.into())) {
            return owner.as_ref() != Some(handle);
        }
        // An O_TMPFILE file's is no name in a directory: its number, or that of whatever has none.
        if entry.name == b"/" {
            return true;
        }
        let number = entry.name.strip_prefix(b"#").unwrap_or_default();
        !number.is_empty()
            && number.iter().all(u8::is_ascii_digit)
            // Nor is there any in a directory that is no more.
            && self.path_in(entry.directory, entry.name).is_none_or(|path| scan::handle_under(&path).is_none())
    }

    /// Before FAN_RENAME the two ends of a rename are records of their own, one behind the other unless they were merged with others: what
    /// is adjacent is a pair.
    fn moved_half(&mut self, mask: u64, directory: &Handle, name: &[u8], is_directory: bool, sink: &mut impl Sink) {
        let ends = mask & (libc::FAN_MOVED_FROM | libc::FAN_MOVED_TO);
        if ends == libc::FAN_MOVED_FROM {
            self.half = Some(Half { directory: directory.clone(), name: name.into(), is_directory });
            return;
        }
        let half = self.half.take_if(|half| half.is_directory == is_directory && ends == libc::FAN_MOVED_TO);
        self.end_half(sink);
        let to = Entry { directory: self.number(directory), name };
        let from =
            half.as_ref().map_or(NOWHERE, |half| Entry { directory: self.number(&half.directory), name: &half.name });
        let kind = if is_directory { Kind::Directory } else { Kind::File };
        let moved = Object { id: UNWATCHED, kind };
        if half.is_none() && ends & libc::FAN_MOVED_FROM != 0 {
            sink.observe(FsEvent::Rename { moved, from: to, to: NOWHERE, replaced: None });
        }
        sink.observe(FsEvent::Rename { moved, from, to, replaced: None });
        let known = self.tree.child(from.directory, from.name).map(|child| child.handle.clone());
        let found = || self.path_in(to.directory, name).and_then(|path| scan::handle_under(&path));
        let child = if is_directory { known.or_else(found) } else { None };
        if let Some(child) = child {
            self.tree.put(to.directory, name, &child);
        }
    }

    /// The other end did not follow: it is not marked.
    fn end_half(&mut self, sink: &mut impl Sink) {
        let Some(half) = self.half.take() else { return };
        let directory = self.number(&half.directory);
        let kind = if half.is_directory { Kind::Directory } else { Kind::File };
        let from = Entry { directory, name: &half.name };
        sink.observe(FsEvent::Rename { moved: Object { id: UNWATCHED, kind }, from, to: NOWHERE, replaced: None });
        if let Some(child) = self.tree.child(directory, &half.name).map(|child| child.handle.clone()) {
            self.tree.remove_place(&child);
        }
    }
}

const OF_OPEN_FILES: u64 = libc::FAN_OPEN
    | libc::FAN_OPEN_EXEC
    | libc::FAN_ACCESS
    | libc::FAN_MODIFY
    | libc::FAN_ATTRIB
    | libc::FAN_CLOSE_WRITE
    | libc::FAN_CLOSE_NOWRITE;

/// What is told to a directory and to the object, in the order of a file's life.
fn tell_file(mask: u64, subject: Subject<'_>, sink: &mut impl Sink) {
    let has = |bits: u64| mask & bits != 0;
    if subject.object.id == UNWATCHED && subject.entry.is_none_or(|entry| entry.directory == UNWATCHED) {
        return;
    }
    if has(libc::FAN_OPEN | libc::FAN_OPEN_EXEC) {
        sink.observe(FsEvent::Open { subject, exec: has(libc::FAN_OPEN_EXEC) });
    }
    if has(libc::FAN_ACCESS) {
        sink.observe(FsEvent::Access(subject));
    }
    if has(libc::FAN_MODIFY) {
        sink.observe(FsEvent::Modify(subject));
    }
    if has(libc::FAN_ATTRIB) {
        let change = Change { mode: true, ..Change::default() };
        sink.observe(FsEvent::Change { subject, change });
    }
    if has(libc::FAN_CLOSE_WRITE) {
        sink.observe(FsEvent::Close { subject, writable: true });
    }
    if has(libc::FAN_CLOSE_NOWRITE) {
        sink.observe(FsEvent::Close { subject, writable: false });
    }
}
