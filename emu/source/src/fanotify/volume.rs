//! One file system: its group, its marks, and what is watched there.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStringExt;

use nix::errno::Errno;
use nix::sys::stat::{FileStat, fstat};
use nix::sys::statfs::{EXT4_SUPER_MAGIC, FsType, TMPFS_MAGIC, fstatfs};
use uinotify_core::{FsEvent, Kind, Mask, Object, ObjectId};

use super::gate::Gate;
use super::group::{Abilities, Group};
use super::handle::Handle;
use super::marks::{self, MarkKind, OF_SUBDIRECTORIES};
use super::own::Own;
use super::records::Records;
use super::scan;
use super::translation::Translation;
use crate::fuse::Sink;

/// The longest record: metadata, two names and an object.
const RECORD_BYTES_MAX: usize = 2048;
/// So often the queue's length is looked at.
const READS_A_LOOK: usize = 64;
/// File systems on which the links of a directory count its subdirectories.
const XFS_SUPER_MAGIC: FsType = FsType(0x5846_5342);
const COUNTING: [FsType; 3] = [EXT4_SUPER_MAGIC, XFS_SUPER_MAGIC, TMPFS_MAGIC];

/// What tells file systems apart: a device's number, and the identity that records bear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key {
    device: u64,
    fsid: [u8; 8],
}

impl Key {
    pub(super) fn device(&self) -> u64 {
        self.device
    }
}

/// What is to be watched.
#[derive(Debug)]
pub(super) struct Target<'a> {
    object: BorrowedFd<'a>,
    pub(super) key: Key,
    status: FileStat,
    magic: FsType,
    handle: Handle,
}

impl<'a> Target<'a> {
    /// # Errors
    ///
    /// EOPNOTSUPP where there are no handles.
    pub(super) fn new(object: BorrowedFd<'a>) -> Result<Self, Errno> {
        let status = fstat(object)?;
        let system = fstatfs(object)?;
        let identity = system.filesystem_id();
        // SAFETY: two integers without anything between them, of which any bytes are a value, lie there.
        let fsid = unsafe { (&raw const identity).cast::<[u8; 8]>().read() };
        let key = Key { device: status.st_dev, fsid };
        Ok(Self { object, key, status, magic: system.filesystem_type(), handle: Handle::of(object)? })
    }

    fn kind(&self) -> Kind {
        scan::kind_of(self.status.st_mode)
    }
}

/// One file system of which something is watched.
#[derive(Debug)]
pub(super) struct Volume {
    pub(super) key: Key,
    group: Group,
    pub(super) mark: MarkKind,
    /// What its mark asks for.
    events: u64,
    /// As the kernel numbers it inside.
    device: Option<u64>,
    /// It is mounted in no place that this process sees.
    pub(super) is_detached: bool,
    pub(super) translation: Translation,
    /// Slots of objects that were given numbers.
    numbered: u32,
    pub(super) tally: Tally,
}

/// How many records were read, and how many of them stand for several events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// All.
    pub records: u64,
    /// Those that the kernel has merged; two of the same kind cannot be told from one.
    pub merged: u64,
}

impl Volume {
    /// Marks a file system, if that can be, for what a watch of `target` asks for; else the target's inode.
    ///
    /// # Errors
    ///
    /// As [`Source::watch`](super::Source::watch).
    pub(super) fn new(target: &Target<'_>, mask: Mask, most: Abilities, whole: bool) -> Result<Self, Errno> {
        let group = Group::new(most).map_err(|error| if error == Errno::EMFILE { Errno::ENOSPC } else { error })?;
        let path = scan::link_of(target.object);
        let all = marks::events(target.kind(), mask, group.abilities, true);
        let answer = if whole { group.mark(true, all, &path) } else { Err(Errno::EPERM) };
        let (mark, events) = match answer {
            Ok(()) => (MarkKind::FileSystem, all),
            Err(reason @ (Errno::EPERM | Errno::EXDEV | Errno::EOPNOTSUPP | Errno::ENODEV | Errno::EINVAL)) => {
                group.mark(false, marks::events(target.kind(), mask, group.abilities, false), &path)?;
                (MarkKind::Inodes(reason), 0)
            }
            Err(error) => return Err(error),
        };
        let device = group.marked().ok().and_then(|marked| marked.device);
        let translation = Translation::new(mark == MarkKind::FileSystem);
        Ok(Self {
            key: target.key,
            group,
            mark,
            events,
            device,
            is_detached: false,
            translation,
            numbered: 0,
            tally: Tally::default(),
        })
    }

    /// Watches an object, or one more time.
    ///
    /// # Errors
    ///
    /// As [`Source::watch`](super::Source::watch).
    pub(super) fn watch(
        &mut self,
        target: &Target<'_>,
        mask: Mask,
        gate: Option<&Gate>,
        number: impl FnOnce(u32, bool) -> ObjectId,
    ) -> Result<ObjectId, Errno> {
        let kind = target.kind();
        let path = scan::link_of(target.object);
        match self.mark {
            MarkKind::FileSystem => {
                let events = marks::events(kind, mask, self.group.abilities, true) | self.events;
                if events != self.events {
                    self.group.mark(true, events, &path)?;
                    self.events = events;
                }
            }
            MarkKind::Inodes(_) => {
                self.group.mark(false, marks::events(kind, mask, self.group.abilities, false), &path)?;
            }
        }
        let gate = gate.filter(|_| Gate::can_hold(target.magic));
        if let Some(gate) = gate {
            gate.hold(target.object, kind)?;
        }
        let numbered = &mut self.numbered;
        let id = self.translation.tree.watch(&target.handle, kind, mask, |slot| {
            let is_reused = slot < *numbered;
            *numbered = (*numbered).max(slot.saturating_add(1));
            number(slot, is_reused)
        });
        let tree = &mut self.translation.tree;
        tree.set_inode(id, target.status.st_ino);
        // To take the mark away; or for what is looked up in a directory.
        let looks = kind == Kind::Directory && mask.intersects(OF_SUBDIRECTORIES | Mask::IN_EXCL_UNLINK);
        if (looks || self.mark != MarkKind::FileSystem || gate.is_some()) && tree.needs_path(id) {
            let path = nix::fcntl::readlink(path.as_str()).ok();
            tree.set_path(id, path.map(|path| path.into_vec().into_boxed_slice()));
        }
        if kind == Kind::Directory && mask.intersects(OF_SUBDIRECTORIES) && !tree.knows_children(id) {
            tree.begin_children(id);
            if !COUNTING.contains(&target.magic) || target.status.st_nlink != 2 {
                for (name, child) in scan::directories_in(target.object).unwrap_or_default() {
                    tree.put(id, &name, &child);
                }
            }
        }
        Ok(id)
    }

    /// The number of an object that is watched.
    pub(super) fn find(&self, target: &Target<'_>) -> Option<ObjectId> {
        self.translation.tree.find(&target.handle).filter(|object| object.is_watched()).map(|object| object.id)
    }

    /// Ends the watch of an object.
    pub(super) fn unwatch(&mut self, id: ObjectId, gate: Option<&Gate>) {
        let tree = &mut self.translation.tree;
        let has_mark = matches!(self.mark, MarkKind::Inodes(_));
        if (has_mark || gate.is_some())
            && let (Some(object), Some(path)) = (tree.by_id(id), tree.path(id))
            // One that was moved since keeps its mark, until it is gone or nothing on its file system is watched.
            && let Some(found) = scan::open_under(&path, &object.handle)
        {
            if has_mark {
                let events = marks::events(object.kind, Mask::all(), self.group.abilities, false);
                let _ = self.group.unmark(events, &scan::link_of(found.as_fd()));
            }
            if let Some(gate) = gate {
                gate.let_go(found.as_fd(), object.kind);
            }
        }
        tree.unwatch(id);
    }

    /// Reads the queue until it is empty.
    ///
    /// # Errors
    ///
    /// As `read(2)`.
    pub(super) fn drain(
        &mut self,
        buffer: &mut [u8],
        own: &mut Own,
        records_max: usize,
        sink: &mut impl Sink,
    ) -> Result<(), Errno> {
        let mut reads = 0;
        let mut has_lost = false;
        loop {
            let length = self.group.read(buffer)?;
            let bytes = buffer.get(..length).unwrap_or_default();
            let mut records = Records::new(bytes);
            while let Some(record) = records.next() {
                if record.mask & libc::FAN_Q_OVERFLOW != 0 {
                    has_lost = true;
                } else if !has_lost && !own.is(record.pid) {
                    self.tally.records += 1;
                    self.tally.merged += u64::from((record.mask & KINDS).count_ones() > 1);
                    self.translation.translate(&record, &records, sink);
                }
            }
            // Otherwise the kernel had no more.
            if length + RECORD_BYTES_MAX <= buffer.len() {
                break;
            }
            reads += 1;
            if reads % READS_A_LOOK == 0 && !has_lost && self.group.queued_bytes() / RECORD_BYTES_MIN > records_max {
                eprintln!(
                    "uinotify: more than {records_max} fanotify records wait to be read: they are dropped, and queues overflow"
                );
                has_lost = true;
            }
        }
        if has_lost {
            self.lost(sink);
        }
        self.translation.end_turn(sink);
        Ok(())
    }

    /// Events are lost. Whoever watches anything here is told so; where directories are is looked up again.
    fn lost(&mut self, sink: &mut impl Sink) {
        self.translation.forget();
        let tree = &mut self.translation.tree;
        let watched = tree.watched();
        for id in &watched {
            sink.observe(FsEvent::Overflow(*id));
        }
        for id in watched.into_iter().filter(|id| tree.knows_children(*id)).collect::<Vec<_>>() {
            let Some((path, handle)) = tree.path(id).zip(tree.by_id(id).map(|object| object.handle.clone())) else {
                continue;
            };
            let Some(directory) = scan::open_under(&path, &handle) else { continue };
            for child in tree.children(id) {
                tree.remove_place(&child);
            }
            for (name, child) in scan::directories_in(directory.as_fd()).unwrap_or_default() {
                tree.put(id, &name, &child);
            }
        }
        // What was deleted meanwhile has lost its mark. A mark on the file system does not show it.
        if self.mark != MarkKind::FileSystem {
            self.end_without_mark(FsEvent::Gone, sink);
        }
    }

    /// These devices are mounted where this process sees them.
    pub(super) fn note_mounted(&mut self, mounted: &BTreeSet<u64>) {
        self.is_detached = self.device.is_some_and(|device| !mounted.contains(&device));
    }

    /// How many marks its group has.
    pub(super) fn marks_count(&self) -> usize {
        if self.mark == MarkKind::FileSystem { 1 } else { self.translation.tree.watched_count() }
    }

    /// If its file system is unmounted, all watches end.
    pub(super) fn check_unmounted(&mut self, sink: &mut impl Sink) {
        let Ok(marked) = self.group.marked() else { return };
        if marked.file_system || !marked.inodes.is_empty() {
            return;
        }
        for id in self.translation.tree.watched() {
            self.end(id, FsEvent::Unmount, sink);
        }
    }

    fn end_without_mark(&mut self, event: fn(Object) -> FsEvent<'static>, sink: &mut impl Sink) {
        let Ok(marked) = self.group.marked() else { return };
        for id in self.translation.tree.watched() {
            let object = self.translation.tree.by_id(id);
            if object.is_some_and(|object| !marked.inodes.contains(&object.handle)) {
                self.end(id, event, sink);
            }
        }
    }

    fn end(&mut self, id: ObjectId, event: fn(Object) -> FsEvent<'static>, sink: &mut impl Sink) {
        let tree = &mut self.translation.tree;
        let Some(object) = tree.by_id(id) else { return };
        let (kind, handle) = (object.kind, object.handle.clone());
        sink.observe(event(Object { id, kind }));
        tree.gone(&handle);
    }
}

/// Events of which each is one of inotify's.
const KINDS: u64 = Mask::IN_ALL_EVENTS.bits() as u64;

/// What FIONREAD counts for each record.
const RECORD_BYTES_MIN: usize = 24;

impl AsFd for Volume {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.group.as_fd()
    }
}
