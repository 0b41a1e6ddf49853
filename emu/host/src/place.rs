//! What a client of the control protocol means by a path.
//!
//! The emulator never resolves one itself: it may stand elsewhere than the client, and would ask its own trees, which wait for it.

use std::os::fd::BorrowedFd;

use nix::sys::stat::fstat;
use serde::{Deserialize, Serialize};

use crate::paths;

/// An inode, as `stat(2)` has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Inode {
    /// `st_dev`
    pub device: u64,
    /// `st_ino`
    pub inode: u64,
}

/// An object: by its inode, where the client has looked, and else by the path with which it was added.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) path: Vec<u8>,
    pub(crate) inode: Option<Inode>,
}

impl Place {
    /// The object behind a descriptor, which a program has found at a path.
    pub(crate) fn of(object: BorrowedFd<'_>, path: &[u8]) -> Self {
        let noted = paths::noted(path, object);
        let path = paths::absolute(&noted).unwrap_or(path).to_vec();
        let inode = fstat(object).ok().map(|stat| Inode { device: stat.st_dev, inode: stat.st_ino });
        Self { path, inode }
    }

    /// Is this what is watched, with this path and, as far as that is known, this inode? Where both are known and on one file system
    /// the inode decides: the path may lead to another one by now.
    pub(crate) fn is(&self, noted_path: &[u8], inode: Option<Inode>) -> bool {
        match (self.inode, inode) {
            (Some(own), Some(watched)) if own == watched => true,
            (Some(own), Some(watched)) if own.device == watched.device => false,
            _ => {
                let path = paths::absolute(noted_path).unwrap_or(noted_path);
                !self.path.is_empty() && trimmed(&self.path) == trimmed(path)
            }
        }
    }
}

/// Without slashes at its end.
fn trimmed(path: &[u8]) -> &[u8] {
    let end = path.iter().rposition(|byte| *byte != b'/').map_or(1.min(path.len()), |last| last + 1);
    &path[..end]
}

/// The directory of a path, and the name in it; nothing for the root folder.
pub(crate) fn split(path: &[u8]) -> Option<(&[u8], &[u8])> {
    let path = trimmed(path);
    let at = path.iter().rposition(|byte| *byte == b'/')?;
    let (directory, name) = (&path[..at.max(1)], &path[at + 1..]);
    (!name.is_empty()).then_some((directory, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Inode = Inode { device: 1, inode: 10 };

    fn place(path: &str, inode: Option<Inode>) -> Place {
        Place { path: path.into(), inode }
    }

    #[test]
    fn inodes_decide_where_they_can_be_compared() {
        let other = Inode { inode: 11, ..ONE };
        let elsewhere = Inode { device: 2, ..ONE };
        assert!(place("/a", Some(ONE)).is(b"/b", Some(ONE)));
        assert!(!place("/a", Some(ONE)).is(b"/a", Some(other)), "another file is there now");
        assert!(place("/a", Some(ONE)).is(b"/a", Some(elsewhere)), "shown by another file system");
        assert!(!place("/a", Some(ONE)).is(b"/b", Some(elsewhere)));
        assert!(place("/a", None).is(b"/a", Some(ONE)));
        assert!(place("/a", Some(ONE)).is(b"/a", None));
        assert!(!place("", None).is(b"", None));
    }

    #[test]
    fn paths_are_compared_as_they_were_meant() {
        assert!(place("/a/b/", None).is(b"/a/b", None));
        assert!(place("/a/b", None).is(b"b\0/a/b", None), "the absolute one of two that were noted");
        assert!(place("/", None).is(b"//", None));
        assert!(!place("/a", None).is(b"/ab", None));
    }

    #[test]
    fn a_path_has_a_directory_and_a_name() {
        assert_eq!(split(b"/a/b"), Some((&b"/a"[..], &b"b"[..])));
        assert_eq!(split(b"/a/"), Some((&b"/"[..], &b"a"[..])));
        assert_eq!(split(b"/"), None);
        assert_eq!(split(b"a"), None);
        assert_eq!(split(b""), None);
    }
}
