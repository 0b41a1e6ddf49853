//! The trees that are shown through a file system of ours (source `fuse`), and which of their objects are watched.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use nix::errno::Errno;
use uinotify_core::{FsEvent, Mask, Object, ObjectId, Profile};
use uinotify_source::fanotify::is_numbered;
use uinotify_source::fuse::{Device, FileSystem, Mode, MountNumber, NodeId, Served, Sink};
use uinotify_source::poll::is_polled;

use crate::told::Told;

/// The objects of each tree have numbers of their own, all above those of the kernel's wds, which are objects as well.
const NUMBERS: u64 = 1 << 40;

/// The type of file handles of file systems of FUSE, which are a node and a generation.
const FUSE_HANDLE_KIND: i32 = 0x81;

/// All trees. One that has ended keeps its place, as no number of an object is used twice.
#[derive(Debug, Default)]
pub(crate) struct Trees {
    trees: Vec<Option<Tree>>,
    /// This thread may have the rights of whoever asked last.
    serving: Option<usize>,
}

#[derive(Debug)]
struct Tree {
    file_system: FileSystem,
    device: Device,
    number: MountNumber,
}

/// An object of a tree, for fdinfo.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shown {
    pub(crate) inode: u64,
    pub(crate) device: u64,
    /// The type of the file handle, and its bytes; none of an object that has none.
    pub(crate) handle: (i32, Vec<u8>),
}

fn object(index: usize, node: NodeId) -> ObjectId {
    ObjectId((index as u64 + 1) * NUMBERS + node.0)
}

/// Whether what happens to an object is observed, in a tree, by fanotify or by looking again and again. Others are known by the kernel's wds.
pub(crate) fn is_observed(object: ObjectId) -> bool {
    object.0 >= NUMBERS
}

fn place(ObjectId(object): ObjectId) -> Option<(usize, NodeId)> {
    if is_numbered(ObjectId(object)) || is_polled(ObjectId(object)) {
        return None;
    }
    let index = (object / NUMBERS).checked_sub(1)?;
    Some((usize::try_from(index).ok()?, NodeId(object % NUMBERS)))
}

impl Trees {
    /// Whether nobody sees one.
    pub(crate) fn is_empty(&self) -> bool {
        self.trees.iter().all(Option::is_none)
    }

    /// Those that are there.
    pub(crate) fn indices(&self) -> impl Iterator<Item = usize> + use<> {
        let there = self.trees.iter().enumerate().filter(|(_, tree)| tree.is_some()).map(|(index, _)| index);
        there.collect::<Vec<_>>().into_iter()
    }

    /// Takes one on, and tells its place.
    pub(crate) fn add(&mut self, root: OwnedFd, mode: Mode, device: Device, number: MountNumber) -> io::Result<usize> {
        self.rest();
        let file_system = FileSystem::new(root, mode)?;
        self.trees.push(Some(Tree { file_system, device, number }));
        Ok(self.trees.len() - 1)
    }

    /// Where the requests of one come from.
    pub(crate) fn device(&self, index: usize) -> Option<BorrowedFd<'_>> {
        Some(self.trees.get(index)?.as_ref()?.device.as_fd())
    }

    /// Handles the next request.
    pub(crate) fn serve(&mut self, index: usize, told: &mut Told<'_>) -> Result<Served, Errno> {
        let Some(tree) = self.begin(index) else { return Ok(Served::Nothing) };
        tree.file_system.serve(&tree.device, &mut OfTree { index, told })
    }

    /// Handles all requests whose system call has returned.
    pub(crate) fn settle(&mut self, index: usize, told: &mut Told<'_>) -> Result<Served, Errno> {
        let Some(tree) = self.begin(index) else { return Ok(Served::Nothing) };
        tree.file_system.settle(&tree.device, &mut OfTree { index, told })
    }

    /// Whether an event of one waits for what the kernel says next, which may be nothing.
    pub(crate) fn is_undecided(&self) -> bool {
        self.trees.iter().flatten().any(|tree| tree.file_system.is_undecided())
    }

    /// Whether something that has happened by then may be told later, of objects that are watched.
    pub(crate) fn may_tell_later(&self, is_watched: impl Fn(ObjectId) -> bool) -> bool {
        self.trees.iter().enumerate().any(|(index, tree)| {
            tree.as_ref().is_some_and(|tree| tree.file_system.may_tell_later(|node| is_watched(object(index, node))))
        })
    }

    /// Whether one has requests that were read and are not handled yet, of which epoll tells nothing.
    pub(crate) fn are_ahead(&self) -> bool {
        self.trees.iter().flatten().any(|tree| tree.file_system.is_ahead())
    }

    /// Nothing was said for a moment.
    pub(crate) fn look_again(&mut self, index: usize, told: &mut Told<'_>) {
        if let Some(tree) = self.begin(index) {
            tree.file_system.look_again(&mut OfTree { index, told });
        }
    }

    /// One is unmounted: tells what was not told yet.
    pub(crate) fn end(&mut self, index: usize, told: &mut Told<'_>) {
        if let Some(tree) = self.begin(index) {
            tree.file_system.end(&mut OfTree { index, told });
        }
    }

    fn begin(&mut self, index: usize) -> Option<&mut Tree> {
        if self.serving != Some(index) {
            self.rest();
        }
        self.serving = Some(index);
        self.trees.get_mut(index)?.as_mut()
    }

    /// Gives this thread its own rights back, for other work than serving a tree.
    pub(crate) fn rest(&mut self) {
        if let Some(index) = self.serving.take()
            && let Some(Some(tree)) = self.trees.get_mut(index)
        {
            tree.file_system.rest();
        }
    }

    /// Forgets a tree that was unmounted. What it had watched is known until then: see [`object_of`](Self::object_of).
    pub(crate) fn remove(&mut self, index: usize) {
        self.rest();
        if let Some(tree) = self.trees.get_mut(index) {
            *tree = None;
        }
    }

    /// The object behind a descriptor that a program has sent, if it is one of a tree.
    pub(crate) fn find(&self, object_sent: BorrowedFd<'_>) -> Option<ObjectId> {
        self.trees
            .iter()
            .enumerate()
            .find_map(|(index, tree)| Some(object(index, tree.as_ref()?.number.node_of(object_sent)?)))
    }

    fn tree_of(&mut self, object: ObjectId) -> Option<(&mut FileSystem, NodeId)> {
        let (index, node) = place(object)?;
        Some((&mut self.trees.get_mut(index)?.as_mut()?.file_system, node))
    }

    /// The object in the lower tree. Of the one in the tree nothing may be asked, as it would be asked of us.
    pub(crate) fn lower_object(&mut self, object: ObjectId) -> Result<Arc<OwnedFd>, Errno> {
        let (file_system, node) = self.tree_of(object).ok_or(Errno::ENOENT)?;
        file_system.lower_object(node)
    }

    /// It is watched: its number stays.
    pub(crate) fn hold(&mut self, object: ObjectId) {
        if let Some((file_system, node)) = self.tree_of(object) {
            file_system.hold(node);
        }
    }

    /// It is watched once less.
    pub(crate) fn let_go(&mut self, object: ObjectId) {
        if let Some((file_system, node)) = self.tree_of(object) {
            file_system.let_go(node);
        }
    }

    /// What is known of an object, if it is one of this tree.
    pub(crate) fn object_of(&self, index: usize, object: ObjectId) -> Option<Object> {
        let (found, node) = place(object)?;
        let tree = self.trees.get(index).filter(|_| found == index)?.as_ref()?;
        Some(Object { id: object, ..tree.file_system.object_of(node) })
    }

    /// What fdinfo shows of an object.
    pub(crate) fn shown(&self, object: ObjectId) -> Option<Shown> {
        let (index, node) = place(object)?;
        let tree = self.trees.get(index)?.as_ref()?;
        let inode = tree.file_system.inode_number(node)?;
        // The more significant half first, each in the machine's order, then the generation.
        let words = [(node.0 >> 32) as u32, node.0 as u32, 0];
        let handle = (FUSE_HANDLE_KIND, words.into_iter().flat_map(u32::to_ne_bytes).collect());
        Some(Shown { inode, device: tree.number.0, handle })
    }
}

/// The hooks of one tree.
struct OfTree<'a, 'b> {
    index: usize,
    told: &'a mut Told<'b>,
}

impl Sink for OfTree<'_, '_> {
    fn observe(&mut self, event: FsEvent<'_>) {
        self.told.observe(event.map_objects(|ObjectId(node)| object(self.index, NodeId(node))));
    }

    fn expect(&mut self, ObjectId(node): ObjectId) {
        self.told.expect(object(self.index, NodeId(node)));
    }

    fn interest(&self, ObjectId(node): ObjectId) -> Mask {
        self.told.interest(object(self.index, NodeId(node)))
    }

    fn profile(&self) -> Profile {
        Sink::profile(self.told)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_of_trees_are_apart() {
        for index in [0, 1, 1000] {
            for node in [1, 2, NUMBERS - 1].map(NodeId) {
                let object = object(index, node);
                assert!(is_observed(object));
                assert_eq!(place(object), Some((index, node)));
            }
        }
        let wd = ObjectId(u64::from(u32::MAX));
        assert!(!is_observed(wd));
        assert_eq!(place(wd), None);
    }
}
