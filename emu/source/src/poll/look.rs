//! What one look at an object has shown, and what two of them tell.

use uinotify_core::Kind;

use crate::fanotify::kind_of;
use crate::status::{Status, Time};

/// Tells an inode from another one, and from a later one with its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) struct Identity {
    pub(super) inode: u64,
    /// When it was born, in nanoseconds since 1970; 0 where the file system does not say.
    pub(super) born: i64,
    /// A digest of its file handle; 0 where that was not asked for, or is not to be had.
    pub(super) handle: u64,
}

impl Identity {
    /// The same object, as far as both know.
    pub(super) fn is(&self, other: &Self) -> bool {
        let agree = |a: i128, b: i128| a == b || a == 0 || b == 0;
        self.inode == other.inode
            && agree(self.born.into(), other.born.into())
            && agree(self.handle.into(), other.handle.into())
    }
}

/// An object at one moment. Times in nanoseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) struct Look {
    pub(super) identity: Identity,
    pub(super) mode: u32,
    pub(super) links: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) size: u64,
    pub(super) accessed: i64,
    pub(super) modified: i64,
    pub(super) changed: i64,
}

fn nanoseconds(time: Time) -> i64 {
    time.seconds.saturating_mul(1_000_000_000).saturating_add(time.nanoseconds.into())
}

impl Look {
    /// `knows_birth`: the time of birth stays the same as long as the object does.
    pub(super) fn new(status: &Status, knows_birth: bool) -> Self {
        let born = status.born.filter(|_| knows_birth).map_or(0, nanoseconds);
        Self {
            identity: Identity { inode: status.key.number, born, handle: 0 },
            mode: status.mode,
            links: status.links,
            uid: status.uid,
            gid: status.gid,
            size: status.size,
            accessed: nanoseconds(status.accessed),
            modified: nanoseconds(status.modified),
            changed: nanoseconds(status.changed),
        }
    }

    pub(super) fn kind(&self) -> Kind {
        kind_of(self.mode)
    }

    /// Bytes that a program has written.
    pub(super) fn has_content(&self) -> bool {
        self.mode & libc::S_IFMT == libc::S_IFREG && self.size > 0
    }

    /// Whether anything that is ever told of is another.
    pub(super) fn differs(&self, other: &Self) -> bool {
        (self.changed, self.modified, self.size, self.mode) != (other.changed, other.modified, other.size, other.mode)
            || (self.links, self.uid, self.gid) != (other.links, other.uid, other.gid)
    }
}

/// The kernel's coarse clock lags behind the fine one by less.
const TICK: i64 = 20_000_000;

/// What has been done to an object between two looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) struct Done {
    /// Written, truncated, or its time of modification alone set.
    pub(super) modified: bool,
    /// The last of these: of a FIFO this is told otherwise (EVENT-8).
    pub(super) is_set: bool,
    /// Its attributes were changed.
    pub(super) attributes: bool,
    /// The number of its links is another; never of a directory, where subdirectories count.
    pub(super) links: bool,
    /// The attributes last, as far as can be told.
    pub(super) attributes_last: bool,
}

impl Done {
    /// `is_moved`: it was renamed meanwhile, which changes its time of change.
    pub(super) fn between(old: &Look, new: &Look, is_moved: bool) -> Self {
        let is_directory = new.kind() == Kind::Directory;
        let has_other_owner = (old.mode, old.uid, old.gid) != (new.mode, new.uid, new.gid);
        let links = !is_directory && old.links != new.links;
        let has_other_size = !is_directory && old.size != new.size;
        let has_new_time = old.modified != new.modified;
        let was_accessed = old.accessed != new.accessed;
        // What writes sets both times alike, and so does what makes or removes a directory's entries. Whoever sets a time by hand leaves the
        // time of change apart from it, unless it is the present one.
        let is_now = new.modified == new.changed;
        // Whatever was read or written since has a later time than any that was seen before.
        let is_from_before = |time: i64| time.saturating_add(TICK) < old.changed;
        let is_access_set = was_accessed && is_from_before(new.accessed);
        let is_set_now = is_now && was_accessed && (new.accessed == new.modified || is_access_set);
        // Chmod, a rename or another link behind a write leave the times apart as well.
        let is_explained = has_other_owner || links || is_moved;
        let is_impossible = is_from_before(new.modified) || new.modified > new.changed;
        let is_odd = has_new_time && !is_now && !is_explained;
        let is_set = has_new_time && !has_other_size && is_set_now
            || has_new_time && !is_now && is_impossible
            || is_odd && !has_other_size && !is_directory;
        // utimensat(2) of both times is IN_ATTRIB, of the time of modification alone IN_MODIFY (EVENT-12).
        let is_set_alone = is_set && !was_accessed;
        let is_set_with_access = is_set && was_accessed;
        let only_changed = old.changed != new.changed && !has_new_time && !has_other_size;
        // The time of access alone was set.
        let is_touched = only_changed && was_accessed && (new.accessed == new.changed || is_access_set);
        let attributes = has_other_owner
            || is_set_with_access
            // An entry, and an attribute behind it.
            || is_directory && is_odd && !is_set
            || only_changed && !links && !is_moved && !is_touched;
        let modified = has_other_size || is_set_alone || has_new_time && !is_directory && !is_set_with_access;
        Self { modified, is_set: is_set_alone, attributes, links, attributes_last: !is_now }
    }

    pub(super) fn is_nothing(self) -> bool {
        !(self.modified || self.attributes || self.links)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000_000;
    const FILE: Look = Look {
        identity: Identity { inode: 1, born: 1, handle: 0 },
        mode: libc::S_IFREG | 0o644,
        links: 1,
        uid: 0,
        gid: 0,
        size: 10,
        accessed: 100 * SECOND,
        modified: 100 * SECOND,
        changed: 100 * SECOND,
    };

    fn done(new: Look) -> (bool, bool, bool) {
        let done = Done::between(&FILE, &new, false);
        (done.modified, done.attributes, done.links)
    }

    const NOTHING: (bool, bool, bool) = (false, false, false);
    const MODIFIED: (bool, bool, bool) = (true, false, false);
    const ATTRIBUTES: (bool, bool, bool) = (false, true, false);
    const LINKS: (bool, bool, bool) = (false, false, true);

    #[test]
    fn what_was_done_to_a_file() {
        assert_eq!(done(FILE), NOTHING);
        assert_eq!(done(Look { accessed: 200 * SECOND, ..FILE }), NOTHING, "read");
        assert_eq!(done(Look { size: 11, modified: 200 * SECOND, changed: 200 * SECOND, ..FILE }), MODIFIED, "written");
        assert_eq!(done(Look { modified: 200 * SECOND, changed: 200 * SECOND, ..FILE }), MODIFIED, "overwritten");
        assert_eq!(done(Look { size: 11, ..FILE }), MODIFIED, "within one tick");
        assert_eq!(
            done(Look { modified: 200 * SECOND, changed: 200 * SECOND, accessed: 150 * SECOND, ..FILE }),
            MODIFIED,
            "and read before"
        );
        let read_after = Look { modified: 200 * SECOND, changed: 200 * SECOND, accessed: 250 * SECOND, ..FILE };
        assert_eq!(done(read_after), MODIFIED, "and read after");
        assert_eq!(done(Look { mode: libc::S_IFREG | 0o600, changed: 200 * SECOND, ..FILE }), ATTRIBUTES, "chmod");
        assert_eq!(done(Look { uid: 5, changed: 200 * SECOND, ..FILE }), ATTRIBUTES, "chown");
        assert_eq!(done(Look { changed: 200 * SECOND, ..FILE }), ATTRIBUTES, "setxattr");
        assert_eq!(done(Look { links: 2, changed: 200 * SECOND, ..FILE }), LINKS, "link");
        let written = Look { size: 11, modified: 200 * SECOND, changed: 300 * SECOND, ..FILE };
        assert_eq!(done(Look { mode: 0o100_600, ..written }), (true, true, false), "written, then chmod");
        assert_eq!(done(Look { links: 2, ..written }), (true, false, true), "written, then link");
    }

    #[test]
    fn times_that_were_set() {
        let set = |accessed: i64, modified: i64| {
            done(Look { accessed: accessed * SECOND, modified: modified * SECOND, changed: 300 * SECOND, ..FILE })
        };
        assert_eq!(set(300, 300), ATTRIBUTES, "touch");
        assert_eq!(set(5, 5), ATTRIBUTES, "both to the past");
        assert_eq!(set(400, 400), ATTRIBUTES, "both to the future");
        assert_eq!(set(200, 200), ATTRIBUTES, "both in between");
        assert_eq!(set(100, 5), MODIFIED, "that of modification");
        assert_eq!(set(100, 200), MODIFIED, "the same, or written and then setxattr");
        assert_eq!(set(300, 100), NOTHING, "touch -a");
        assert_eq!(set(5, 100), NOTHING, "touch -a to the past");
        assert_eq!(set(5, 300), ATTRIBUTES, "of access to the past, of modification to now");
        let copied = Look { size: 99, accessed: 50 * SECOND, modified: 50 * SECOND, changed: 300 * SECOND, ..FILE };
        assert_eq!(done(copied), (true, true, false), "cp -p: written, then both times set");
    }

    #[test]
    fn a_rename_is_no_change_of_attributes() {
        let renamed = Look { changed: 200 * SECOND, ..FILE };
        assert!(Done::between(&FILE, &renamed, true).is_nothing());
        let and_written = Look { size: 11, modified: 150 * SECOND, ..renamed };
        let done = Done::between(&FILE, &and_written, true);
        assert!(done.modified && !done.attributes);
    }

    #[test]
    fn what_is_in_a_directory_is_no_change_of_it() {
        let directory = Look { mode: libc::S_IFDIR | 0o755, ..FILE };
        let done = |new: Look| {
            let done = Done::between(&directory, &new, false);
            (done.modified, done.attributes, done.links)
        };
        assert_eq!(
            done(Look { size: 20, links: 3, modified: 200 * SECOND, changed: 200 * SECOND, ..directory }),
            NOTHING,
            "mkdir"
        );
        assert_eq!(done(Look { changed: 200 * SECOND, ..directory }), ATTRIBUTES, "setxattr");
        assert_eq!(done(Look { mode: libc::S_IFDIR, changed: 200 * SECOND, ..directory }), ATTRIBUTES, "chmod");
        assert_eq!(
            done(Look { modified: 150 * SECOND, changed: 200 * SECOND, ..directory }),
            ATTRIBUTES,
            "an entry, and setxattr"
        );
        let both = Look { mode: libc::S_IFDIR, modified: 150 * SECOND, changed: 200 * SECOND, ..directory };
        assert_eq!(done(both), ATTRIBUTES, "an entry, and chmod");
        assert_eq!(
            done(Look { accessed: 5 * SECOND, modified: 5 * SECOND, changed: 200 * SECOND, ..directory }),
            ATTRIBUTES,
            "utimensat"
        );
        assert_eq!(
            done(Look { modified: 5 * SECOND, changed: 200 * SECOND, ..directory }),
            MODIFIED,
            "of the time of modification"
        );
    }

    #[test]
    fn an_identity_is_as_sure_as_the_file_system_is() {
        let of = |inode, born, handle| Identity { inode, born, handle };
        assert!(of(1, 5, 0).is(&of(1, 5, 7)));
        assert!(of(1, 0, 7).is(&of(1, 5, 7)));
        assert!(!of(1, 5, 0).is(&of(1, 6, 0)), "a later one with its number");
        assert!(!of(1, 0, 7).is(&of(1, 0, 8)));
        assert!(!of(1, 5, 0).is(&of(2, 5, 0)));
    }
}
