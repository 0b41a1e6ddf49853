//! The objects that the kernel knows, each by a number of ours.
//!
//! A number is given to an inode when the kernel looks it up first, and lives until the kernel has forgotten it, no file is open, nobody
//! watches it and no known name leads through it. It is never used again, so that it is an [`ObjectId`] too.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use uinotify_core::{Kind, Object, ObjectId};

use super::file_handle::FileHandle;
use super::names::{NameId, Names};
use super::numbered::Numbered;
use super::request::NodeId;
use super::ways::Ways;
use crate::status::{InodeKey, Status, Time};

/// What is known of an object.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) key: InodeKey,
    born: Option<Time>,
    /// The type bits of its mode.
    pub(super) kind: u32,
    /// How often the kernel has looked it up and not forgotten it.
    lookups: u64,
    /// How often it is watched.
    holds: u64,
    /// How many open files it has.
    pub(super) opens: u32,
    /// In fast mode: how its open files go.
    pub(super) ways: Ways,
    /// The names that lead to it, the one that was used last behind the others.
    pub(super) names: Vec<NameId>,
    /// The names by which its open files were come to, the latest one last. They may be gone.
    pub(super) open_names: Vec<NameId>,
    /// The way back to it when no descriptor is kept.
    pub(super) handle: Option<FileHandle>,
    /// Kept for an object whose last name was removed: there would be no way back.
    pub(super) pinned: Option<Arc<OwnedFd>>,
}

impl Node {
    /// Whether the kernel knows it.
    pub(super) fn is_looked_up(&self) -> bool {
        self.lookups > 0
    }

    /// Whether this is the inode that was known.
    pub(super) fn is(&self, status: &Status) -> bool {
        self.key == status.key
            && self.kind == status.kind()
            && match (self.born, status.born) {
                (Some(known), Some(found)) => known == found,
                _ => true,
            }
    }
}

/// All objects.
#[derive(Debug)]
pub(super) struct Nodes {
    nodes: Numbered<NodeId, Node>,
    /// Objects that a look-up may find.
    keys: HashMap<InodeKey, NodeId>,
    next: u64,
    /// An overlay gives an inode another time of birth when it is written first.
    births_change: bool,
}

impl Nodes {
    pub(super) fn new(root: &Status, births_change: bool) -> Self {
        let mut nodes = Self { nodes: Numbered::default(), keys: HashMap::new(), next: NodeId::ROOT.0, births_change };
        nodes.identify(root);
        nodes.look_up(NodeId::ROOT);
        nodes
    }

    pub(super) fn get(&self, id: NodeId) -> Option<&Node> {
        self.nodes.get(&id)
    }

    pub(super) fn get_mut(&mut self, id: NodeId) -> Option<&mut Node> {
        self.nodes.get_mut(&id)
    }

    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// The number of the inode with this status; a new one if it was not known.
    pub(super) fn identify(&mut self, status: &Status) -> NodeId {
        if let Some(id) = self.keys.get(&status.key)
            && self.nodes.get(id).is_some_and(|node| node.is(status))
        {
            return *id;
        }
        let id = NodeId(self.next);
        self.next += 1;
        let born = status.born.filter(|_| !self.births_change);
        let node = Node {
            key: status.key,
            born,
            kind: status.kind(),
            lookups: 0,
            holds: 0,
            opens: 0,
            ways: Ways::default(),
            names: Vec::new(),
            open_names: Vec::new(),
            handle: None,
            pinned: None,
        };
        self.nodes.insert(id, node);
        self.keys.insert(status.key, id);
        id
    }

    /// The kernel is told of it once more.
    pub(super) fn look_up(&mut self, id: NodeId) {
        if let Some(node) = self.nodes.get_mut(&id) {
            node.lookups += 1;
        }
    }

    /// The kernel forgets it so often. True if it knows it no longer.
    pub(super) fn forget(&mut self, id: NodeId, lookups: u64) -> bool {
        match self.nodes.get_mut(&id) {
            Some(node) if id != NodeId::ROOT => {
                node.lookups = node.lookups.saturating_sub(lookups);
                node.lookups == 0
            }
            _ => false,
        }
    }

    /// It is watched once more, or less: Linux keeps the inode of a watch.
    pub(super) fn hold(&mut self, id: NodeId, change: i64) {
        if let Some(node) = self.nodes.get_mut(&id) {
            node.holds = node.holds.saturating_add_signed(change);
        }
    }

    /// The last name is gone: what has the inode's number from now on is another.
    pub(super) fn hide(&mut self, id: NodeId) {
        if let Some(node) = self.nodes.get(&id)
            && self.keys.get(&node.key) == Some(&id)
        {
            self.keys.remove(&node.key);
        }
    }

    /// An object without links has got one again (O_TMPFILE and link).
    pub(super) fn show(&mut self, id: NodeId) {
        if let Some(node) = self.nodes.get(&id) {
            self.keys.insert(node.key, id);
        }
    }

    /// Drops what nobody needs any more: this one, and the directories that only led to it. They come back, for the caller to drop what
    /// it keeps of them.
    pub(super) fn release(&mut self, id: NodeId, names: &mut Names) -> Vec<NodeId> {
        let mut released = Vec::new();
        let mut candidates = vec![id];
        while let Some(id) = candidates.pop() {
            let Some(node) = self.nodes.get(&id) else { continue };
            if node.lookups > 0 || node.holds > 0 || node.opens > 0 || names.is_needed(id) {
                continue;
            }
            for name in self.nodes.remove(&id).into_iter().flat_map(|node| {
                if self.keys.get(&node.key) == Some(&id) {
                    self.keys.remove(&node.key);
                }
                node.names
            }) {
                candidates.extend(names.remove(name).map(|name| name.directory));
            }
            released.push(id);
        }
        released
    }

    /// The core's view of it.
    pub(super) fn object(&self, id: NodeId) -> Object {
        let kind = match self.nodes.get(&id).map(|node| node.kind) {
            Some(libc::S_IFDIR) => Kind::Directory,
            Some(libc::S_IFREG | libc::S_IFLNK) | None => Kind::File,
            Some(_) => Kind::Special,
        };
        Object { id: ObjectId(id.0), kind }
    }

    /// The name by which a thread comes to an object: the one that it looked up last. Others may have come by another since.
    pub(super) fn name_for(&self, id: NodeId, thread: u32, names: &Names) -> Option<NameId> {
        let known = &self.nodes.get(&id)?.names;
        known
            .iter()
            .rev()
            .find(|name| names.get(**name).is_some_and(|name| name.thread == thread && !name.is_unlinked))
            .or(known.last())
            .copied()
    }

    /// A name led to an object.
    pub(super) fn name_used(&mut self, id: NodeId, name: NameId) {
        if let Some(node) = self.nodes.get_mut(&id)
            && node.names.last() != Some(&name)
        {
            node.names.retain(|known| *known != name);
            node.names.push(name);
        }
    }

    /// A name leads to an object no longer.
    pub(super) fn name_gone(&mut self, id: NodeId, name: NameId) {
        if let Some(node) = self.nodes.get_mut(&id) {
            node.names.retain(|known| *known != name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status() -> Status {
        Status::of(std::fs::File::open("/").expect("the root")).expect("its status")
    }

    #[test]
    fn an_inode_keeps_its_number_and_a_later_one_has_another() {
        let mut status = status();
        let mut nodes = Nodes::new(&status, false);
        assert_eq!(nodes.identify(&status), NodeId::ROOT);
        status.key.number += 1;
        let file = nodes.identify(&status);
        assert_eq!(nodes.identify(&status), file);
        status.born = Some(Time { seconds: 1, nanoseconds: 2 });
        let later = nodes.identify(&status);
        assert!(status.born.is_none() || later != file);
        nodes.hide(later);
        assert_ne!(nodes.identify(&status), later);
    }

    #[test]
    fn a_directory_stays_while_it_leads_to_something() {
        let mut status = status();
        let mut names = Names::default();
        let mut nodes = Nodes::new(&status, false);
        let mut node = |nodes: &mut Nodes| {
            status.key.number += 1;
            let id = nodes.identify(&status);
            nodes.look_up(id);
            id
        };
        let (folder, file) = (node(&mut nodes), node(&mut nodes));
        for (directory, object) in [(NodeId::ROOT, folder), (folder, file)] {
            let name = names.add(directory, b"name", object, 0);
            nodes.name_used(object, name);
        }
        nodes.forget(folder, 1);
        assert_eq!(nodes.release(folder, &mut names), []);
        nodes.forget(file, 1);
        assert_eq!(nodes.release(file, &mut names), [file, folder]);
        assert_eq!(nodes.len(), 1);
        assert!(nodes.release(NodeId::ROOT, &mut names).is_empty());
    }
}
