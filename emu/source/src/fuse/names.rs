//! The names by which objects are known: what the kernel calls dentries.
//!
//! An event of a file tells the name by which that file was come to, where that name is now. A name that was removed stays here, with
//! its last place, while a file that was opened by it is open.

use std::collections::HashMap;
use std::rc::Rc;

use slab::Slab;
use uinotify_core::Entry;
use uinotify_core::ObjectId;

use super::numbered::Numbered;
use super::request::NodeId;

/// Our number of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct NameId(usize);

/// A name in a directory.
#[derive(Debug)]
pub(super) struct Name {
    pub(super) directory: NodeId,
    pub(super) bytes: Rc<[u8]>,
    pub(super) object: NodeId,
    /// It is no longer in the directory.
    pub(super) is_unlinked: bool,
    /// How many open files came by it.
    pub(super) opens: u32,
    /// Who looked it up last.
    pub(super) thread: u32,
}

impl Name {
    pub(super) fn entry(&self) -> Entry<'_> {
        Entry { directory: ObjectId(self.directory.0), name: &self.bytes }
    }
}

/// All names.
#[derive(Debug, Default)]
pub(super) struct Names {
    names: Slab<Name>,
    folders: Numbered<NodeId, HashMap<Rc<[u8]>, NameId>>,
}

impl Names {
    pub(super) fn get(&self, id: NameId) -> Option<&Name> {
        self.names.get(id.0)
    }

    pub(super) fn get_mut(&mut self, id: NameId) -> Option<&mut Name> {
        self.names.get_mut(id.0)
    }

    /// What is known to stand there.
    pub(super) fn find(&self, directory: NodeId, bytes: &[u8]) -> Option<NameId> {
        self.folders.get(&directory)?.get(bytes).copied()
    }

    /// Adds a name to where none is known to stand.
    pub(super) fn add(&mut self, directory: NodeId, bytes: &[u8], object: NodeId, thread: u32) -> NameId {
        let bytes: Rc<[u8]> = bytes.into();
        let id = NameId(self.names.insert(Name {
            directory,
            bytes: Rc::clone(&bytes),
            object,
            is_unlinked: false,
            opens: 0,
            thread,
        }));
        self.folders.entry(directory).or_default().insert(bytes, id);
        id
    }

    /// Adds the name of a file that has none (O_TMPFILE).
    pub(super) fn add_unlinked(&mut self, directory: NodeId, bytes: &[u8], object: NodeId) -> NameId {
        let name = Name { directory, bytes: bytes.into(), object, is_unlinked: true, opens: 0, thread: 0 };
        NameId(self.names.insert(name))
    }

    /// The name leaves its directory; it is kept while it is needed.
    pub(super) fn unlink(&mut self, id: NameId) {
        let Some(name) = self.names.get_mut(id.0) else { return };
        if !name.is_unlinked {
            name.is_unlinked = true;
            let (directory, bytes) = (name.directory, Rc::clone(&name.bytes));
            self.take_from_folder(directory, &bytes);
        }
    }

    /// The name goes to another place, where none is known to stand.
    pub(super) fn rename(&mut self, id: NameId, directory: NodeId, bytes: &[u8]) {
        let Some(name) = self.names.get_mut(id.0) else { return };
        let (old_directory, old_bytes) = (name.directory, Rc::clone(&name.bytes));
        name.directory = directory;
        name.bytes = bytes.into();
        let bytes = Rc::clone(&name.bytes);
        self.take_from_folder(old_directory, &old_bytes);
        self.folders.entry(directory).or_default().insert(bytes, id);
    }

    /// Two names change places.
    pub(super) fn exchange(&mut self, one: NameId, other: NameId) {
        let place =
            |names: &Slab<Name>, id: NameId| Some((names.get(id.0)?.directory, Rc::clone(&names.get(id.0)?.bytes)));
        let (Some(of_one), Some(of_other)) = (place(&self.names, one), place(&self.names, other)) else { return };
        for (id, (directory, bytes)) in [(one, of_other), (other, of_one)] {
            if let Some(name) = self.names.get_mut(id.0) {
                name.directory = directory;
                name.bytes = Rc::clone(&bytes);
            }
            self.folders.entry(directory).or_default().insert(bytes, id);
        }
    }

    /// Forgets a name altogether.
    pub(super) fn remove(&mut self, id: NameId) -> Option<Name> {
        self.unlink(id);
        self.names.try_remove(id.0)
    }

    /// Whether a name in it is known, which leads to its object by way of this directory.
    pub(super) fn is_needed(&self, directory: NodeId) -> bool {
        self.folders.contains_key(&directory)
    }

    fn take_from_folder(&mut self, directory: NodeId, bytes: &[u8]) {
        if let Some(folder) = self.folders.get_mut(&directory) {
            folder.remove(bytes);
            if folder.is_empty() {
                self.folders.remove(&directory);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: NodeId = NodeId(1);
    const B: NodeId = NodeId(2);

    #[test]
    fn a_name_moves_and_keeps_its_last_place() {
        let mut names = Names::default();
        let file = names.add(A, b"file", NodeId(7), 1);
        assert_eq!(names.find(A, b"file"), Some(file));
        names.rename(file, B, b"new");
        assert_eq!((names.find(A, b"file"), names.find(B, b"new")), (None, Some(file)));
        assert!(!names.is_needed(A) && names.is_needed(B));
        names.unlink(file);
        assert!(!names.is_needed(B));
        let name = names.get(file).expect("the name");
        assert!(name.is_unlinked);
        assert_eq!((name.directory, &name.bytes[..]), (B, &b"new"[..]));
        assert!(names.remove(file).is_some());
        assert!(names.get(file).is_none());
    }

    #[test]
    fn two_names_change_places() {
        let mut names = Names::default();
        let (one, other) = (names.add(A, b"one", NodeId(7), 1), names.add(B, b"other", NodeId(8), 1));
        names.exchange(one, other);
        assert_eq!((names.find(A, b"one"), names.find(B, b"other")), (Some(other), Some(one)));
        assert_eq!(names.get(one).map(|name| name.directory), Some(B));
    }
}
