//! What a source tells that sees the hooks of a file system: one [`FsEvent`] for each fsnotify hook of Linux.
//!
//! A source states facts: which object, come to by which name, in which state. What a watch is told of them, and in
//! which order, are rules of the core ([`Engine::observe`](crate::Engine::observe)). The events have to come in the
//! order in which Linux calls its hooks, as is said at each of them; all watched objects that they name must have the
//! [`ObjectId`] under which they were watched. An event of which neither the object nor the directory is watched may be
//! left out, but not a rename, which counts for the cookies.

use crate::engine::ObjectId;

/// What an inode is, as far as the rules ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Has IN_ISDIR set where that is shown (EVENT-6).
    Directory,
    /// A regular file or a symbolic link.
    File,
    /// A FIFO, a socket or a device: what is read from it and written to it is told to its own watches only (EVENT-8).
    Special,
}

/// An inode and what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Object {
    /// The source's number for it.
    pub id: ObjectId,
    /// What it is.
    pub kind: Kind,
}

/// A name in a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Entry<'a> {
    /// The directory.
    pub directory: ObjectId,
    /// The name, 1 to 255 bytes, no NUL and no slash; `#` and the inode's number for an O_TMPFILE file.
    pub name: &'a [u8],
}

/// An object, and the name by which it was come to: the kernel's dentry.
///
/// Of several hard links only the one that was used counts (EVENT-9): for an open file the one by which it was opened,
/// for a call with a path the one in the path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Subject<'a> {
    /// What something was done to.
    pub object: Object,
    /// Where that name is *now*: behind a rename the new directory and the new name. Of a name that was removed, or
    /// replaced by a rename: the directory in which and the name under which it was last. `None`: the root of a file
    /// system, or an object come to without a name (`open_by_handle_at` of one that is not cached).
    pub entry: Option<Entry<'a>>,
    /// That name is no longer in the directory (`d_unlinked`): it was removed, replaced by a rename, or is an O_TMPFILE
    /// file's, which stays so even after that is linked. Another link of the object may be there all the same. Only the
    /// events of open files ask for it (EXCL-1, EXCL-2).
    pub unlinked: bool,
}

/// What of an inode was changed: the valid bits of the kernel's `notify_change`, or of a FUSE SETATTR.
///
/// All that one call changes is one change, and one event (EVENT-12).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Change {
    /// The owner or the group was given, whether it is another one or not; `fchown(-1, -1)` gives none.
    pub owner: bool,
    /// The mode: chmod, and the clearing of set-user-ID and set-group-ID bits by a write, truncation or chown.
    pub mode: bool,
    /// The size: truncate and ftruncate, also to the same size.
    pub size: bool,
    /// The time of the last access, by utimensat and its kin.
    pub accessed: bool,
    /// The time of the last modification, likewise. Times that a write or a truncation sets by itself do not count.
    pub modified: bool,
    /// An extended attribute or an ACL was set or removed.
    pub attribute: bool,
}

/// One hook of the file system, after the operation has succeeded. Nothing else is told: what fails, or moves no byte,
/// is no event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FsEvent<'a> {
    /// A file or directory was opened (`fsnotify_open`), but not with O_PATH. Comes behind the [`Create`](Self::Create)
    /// of a new file. With O_TRUNC, of a file that was there, it is [`OpenTruncated`](Self::OpenTruncated).
    Open {
        /// What was opened.
        subject: Subject<'a>,
        /// By an exec: no reader sees it, but it keeps this event from merging with an open that is none (MERGE-4).
        exec: bool,
    },
    /// A file that was there was opened with O_TRUNC: [`Open`](Self::Open), and the [`Change`](Self::Change) of the truncation.
    OpenTruncated {
        /// What was opened.
        subject: Subject<'a>,
        /// The size, and the mode if set-user-ID bits were cleared.
        change: Change,
    },
    /// One or more bytes were read, or readv succeeded with whatever it gave (EVENT-18), or a directory was listed,
    /// also to its end (`fsnotify_access`).
    Access(Subject<'a>),
    /// One or more bytes were written (`fsnotify_modify`). Not for truncation, which is a [`Change`](Self::Change).
    Modify(Subject<'a>),
    /// fallocate succeeded: as [`Modify`](Self::Modify) since Linux 3.19.
    Allocate(Subject<'a>),
    /// One or more bytes went from the file to a pipe, or from a pipe to the file, by splice(2), which 3.10 does not tell. A source
    /// may call it [`Access`](Self::Access) and [`Modify`](Self::Modify) where a Linux of today is shown.
    Splice {
        /// The file.
        subject: Subject<'a>,
        /// It was written to.
        writes: bool,
    },
    /// The last reference to an open file has gone (`fsnotify_close`), but not for one opened with O_PATH.
    Close {
        /// What was closed.
        subject: Subject<'a>,
        /// It had been opened for writing.
        writable: bool,
    },
    /// Attributes were changed (`fsnotify_change`, `fsnotify_xattr`). The clearing of set-user-ID bits by a write is
    /// one by itself, in front of the [`Modify`](Self::Modify); by a truncation it is part of that.
    Change {
        /// Of which object. `unlinked` is not asked for (EXCL-2).
        subject: Subject<'a>,
        /// What was changed. Nothing: no event.
        change: Change,
    },
    /// An entry was made (`fsnotify_create`, `fsnotify_mkdir`): by open, mkdir, mknod, symlink, bind or link. In front
    /// of link's comes a [`LinkCount`](Self::LinkCount). None for O_TMPFILE.
    Create {
        /// The new entry.
        entry: Entry<'a>,
        /// It is a directory's.
        directory: bool,
    },
    /// An entry was removed (`fsnotify_delete`): by unlink or rmdir. In front of unlink's comes a
    /// [`LinkCount`](Self::LinkCount), and then [`Gone`](Self::Gone) if nothing holds the object. Not for the
    /// target of a rename.
    Delete {
        /// The entry that is gone.
        entry: Entry<'a>,
        /// It was a directory's.
        directory: bool,
    },
    /// An entry was moved (`fsnotify_move`). It takes the next cookie, so each rename has to be told even if nobody
    /// watches it. RENAME_EXCHANGE is two of them: from old to new, then the other object's from new to old.
    Rename {
        /// What was moved.
        moved: Object,
        /// Where it was.
        from: Entry<'a>,
        /// Where it is.
        to: Entry<'a>,
        /// What stood under the new name and has lost that link. [`Gone`](Self::Gone) follows behind this
        /// event if that was the last one and nothing holds the object.
        replaced: Option<Object>,
    },
    /// The number of links changed by link or unlink (`fsnotify_link_count`): told to the object's own watches only.
    /// rmdir has none.
    LinkCount(Object),
    /// An object without links was let go (`fsnotify_inoderemove`): it is deleted, and its watches end. On Linux that
    /// is when the last user of one of its names (open file, O_PATH descriptor, mapping, working directory, child) has
    /// gone. For a file that was opened by two names that is when the first is let go.
    Gone(Object),
    /// The file system of an object was unmounted, for good: its watches end. One for each watched object.
    Unmount(Object),
    /// Events of an object may have been lost before they came here: each group that watches it has its queue overflow
    /// (OVERFLOW-7). One for each watched object.
    Overflow(ObjectId),
}

impl<'a> FsEvent<'a> {
    /// The same event for a caller who numbers objects in another way, as one does that has several sources.
    #[must_use]
    pub fn map_objects(self, map: impl Fn(ObjectId) -> ObjectId) -> Self {
        let object = |object: Object| Object { id: map(object.id), ..object };
        let subject = |subject: Subject<'a>| Subject {
            object: object(subject.object),
            entry: subject.entry.map(|entry| Entry { directory: map(entry.directory), ..entry }),
            ..subject
        };
        let entry = |entry: Entry<'a>| Entry { directory: map(entry.directory), ..entry };
        match self {
            Self::Open { subject: of, exec } => Self::Open { subject: subject(of), exec },
            Self::OpenTruncated { subject: of, change } => Self::OpenTruncated { subject: subject(of), change },
            Self::Access(of) => Self::Access(subject(of)),
            Self::Modify(of) => Self::Modify(subject(of)),
            Self::Allocate(of) => Self::Allocate(subject(of)),
            Self::Splice { subject: of, writes } => Self::Splice { subject: subject(of), writes },
            Self::Close { subject: of, writable } => Self::Close { subject: subject(of), writable },
            Self::Change { subject: of, change } => Self::Change { subject: subject(of), change },
            Self::Create { entry: of, directory } => Self::Create { entry: entry(of), directory },
            Self::Delete { entry: of, directory } => Self::Delete { entry: entry(of), directory },
            Self::Rename { moved, from, to, replaced } => {
                Self::Rename { moved: object(moved), from: entry(from), to: entry(to), replaced: replaced.map(object) }
            }
            Self::LinkCount(of) => Self::LinkCount(object(of)),
            Self::Gone(of) => Self::Gone(object(of)),
            Self::Unmount(of) => Self::Unmount(object(of)),
            Self::Overflow(of) => Self::Overflow(map(of)),
        }
    }

    /// The objects whose watches may be told of it.
    pub fn objects(&self) -> impl Iterator<Item = ObjectId> + use<> {
        let of =
            |subject: &Subject<'_>| [subject.entry.map(|entry| entry.directory), Some(subject.object.id), None, None];
        let objects = match self {
            Self::Open { subject, .. } | Self::Close { subject, .. } | Self::Change { subject, .. } => of(subject),
            Self::OpenTruncated { subject, .. } | Self::Splice { subject, .. } => of(subject),
            Self::Access(subject) | Self::Modify(subject) | Self::Allocate(subject) => of(subject),
            Self::Create { entry, .. } | Self::Delete { entry, .. } => [Some(entry.directory), None, None, None],
            Self::Rename { moved, from, to, replaced } => {
                let replaced = replaced.map(|object| object.id);
                [Some(from.directory), Some(to.directory), replaced, Some(moved.id)]
            }
            Self::LinkCount(object) | Self::Gone(object) | Self::Unmount(object) => [Some(object.id), None, None, None],
            Self::Overflow(object) => [Some(*object), None, None, None],
        };
        objects.into_iter().flatten()
    }
}
