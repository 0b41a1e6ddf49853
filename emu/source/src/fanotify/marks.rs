//! What is asked of the kernel.

use std::fmt;

use nix::errno::Errno;
use uinotify_core::{Kind, Mask};

use super::group::Abilities;

/// How a file system's objects are marked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MarkKind {
    /// One mark for all of it.
    FileSystem,
    /// One for each watched inode, because the kernel gives no other: what it says to one on the file system.
    Inodes(Errno),
}

impl fmt::Display for MarkKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FileSystem => formatter.write_str("one mark on the file system"),
            Self::Inodes(reason) => write!(formatter, "a mark on each watched inode ({})", why(*reason)),
        }
    }
}

/// What it means that there is no mark on the file system.
fn why(reason: Errno) -> &'static str {
    match reason {
        Errno::EPERM => "one on the file system needs CAP_SYS_ADMIN",
        Errno::ENODEV => "the file system has no identity",
        Errno::EXDEV => "a part of a file system with an identity of its own",
        Errno::EOPNOTSUPP => "the file system's handles do not lead back to its objects",
        Errno::EINVAL => "the kernel knows no marks on file systems",
        _ => "there is none on the file system",
    }
}

/// What tells of a directory to the one above, by its name there.
pub(super) const OF_SUBDIRECTORIES: Mask = Mask::IN_OPEN
    .union(Mask::IN_ACCESS)
    .union(Mask::IN_MODIFY)
    .union(Mask::IN_ATTRIB)
    .union(Mask::IN_CLOSE_NOWRITE)
    .union(Mask::IN_CLOSE_WRITE);

const OF_ENTRIES: u64 = libc::FAN_CREATE | libc::FAN_DELETE;
const RENAMES: u64 = libc::FAN_MOVED_FROM | libc::FAN_MOVED_TO;

/// The events of a mark that is to tell what a watch with `mask` asks for, and what has to be known besides.
pub(super) fn events(kind: Kind, mask: Mask, abilities: Abilities, whole_file_system: bool) -> u64 {
    // Bits of inotify and of fanotify are the same. That a watch ends is told whatever it asks for.
    let mut events = u64::from((mask & Mask::IN_ALL_EVENTS).bits()) | libc::FAN_DELETE_SELF;
    if mask.contains(Mask::IN_OPEN) {
        events |= libc::FAN_OPEN_EXEC;
    }
    let on_directory = kind == Kind::Directory || whole_file_system;
    if kind == Kind::Directory && mask.intersects(OF_SUBDIRECTORIES) || mask.contains(Mask::IN_EXCL_UNLINK) {
        // Which name a subdirectory has, and whether a name is still there.
        events |= OF_ENTRIES | RENAMES;
    }
    if events & RENAMES != 0 && abilities.targets {
        // The only source of pairs; the two halves would be merged with others.
        events = events & !RENAMES | libc::FAN_RENAME;
    }
    if !on_directory {
        return events & !(OF_ENTRIES | RENAMES | libc::FAN_RENAME);
    }
    events |= libc::FAN_ONDIR;
    if whole_file_system { events } else { events | libc::FAN_EVENT_ON_CHILD }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Abilities = Abilities { privileged: false, targets: true };

    #[test]
    fn a_file_is_asked_for_nothing_that_only_directories_have() {
        let all = events(Kind::File, Mask::IN_ALL_EVENTS | Mask::IN_EXCL_UNLINK, NOW, false);
        let directories = libc::FAN_ONDIR | libc::FAN_EVENT_ON_CHILD | libc::FAN_RENAME | OF_ENTRIES | RENAMES;
        assert_eq!(all & directories, 0);
        assert_ne!(all & libc::FAN_OPEN_EXEC, 0);
    }

    #[test]
    fn an_end_is_always_told() {
        assert_eq!(events(Kind::File, Mask::empty(), NOW, false), libc::FAN_DELETE_SELF);
    }

    #[test]
    fn pairs_come_from_renames_where_there_are_such() {
        let moves = Mask::IN_MOVED_FROM | Mask::IN_MOVED_TO;
        assert_eq!(events(Kind::Directory, moves, NOW, true) & (RENAMES | libc::FAN_RENAME), libc::FAN_RENAME);
        let before = Abilities { targets: false, ..NOW };
        assert_eq!(events(Kind::Directory, moves, before, true) & (RENAMES | libc::FAN_RENAME), RENAMES);
    }

    #[test]
    fn what_a_directory_tells_needs_its_name() {
        let asked = events(Kind::Directory, Mask::IN_ATTRIB, NOW, false);
        assert_eq!(asked & OF_ENTRIES, OF_ENTRIES);
        assert_ne!(asked & libc::FAN_RENAME, 0);
        assert_eq!(events(Kind::Directory, Mask::IN_DELETE_SELF, NOW, false) & OF_ENTRIES, 0);
    }
}
