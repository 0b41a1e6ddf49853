//! The objects of one file system that are watched, and the directories in watched directories, with their names there.
//!
//! The kernel tells what happens to a directory without where that stands (what happens to a file it tells with directory and name), so
//! that is kept here, by what is created, moved and deleted. Nothing else is: whatever is neither watched nor stands in a watched directory.

use std::collections::hash_map::RandomState;
use std::collections::{BTreeMap, VecDeque};
use std::hash::BuildHasher;
use std::sync::Arc;

use hashbrown::HashTable;
use slab::Slab;
use uinotify_core::{Entry, Kind, Mask, ObjectId};

use super::handle::Handle;

/// What stands in an event for whatever is not watched.
pub const UNWATCHED: ObjectId = ObjectId(u64::MAX);

/// Directories that were removed and may still be open, at most.
const REMOVED_MAX: usize = 1024;
/// Longer chains are none of a path's.
const DEPTH_MAX: usize = 4096;

/// Whether a directory is still under its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Link {
    /// It is.
    There,
    /// It was removed.
    Removed,
    /// Another directory was moved onto it.
    Replaced,
}

/// Where a directory stands, in a watched one.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) directory: ObjectId,
    pub(super) name: Arc<[u8]>,
    pub(super) link: Link,
}

/// An object.
#[derive(Debug)]
pub(super) struct Object {
    pub(super) handle: Handle,
    pub(super) kind: Kind,
    /// In events. [`UNWATCHED`]: not watched.
    pub(super) id: ObjectId,
    /// The number of its inode, if it is watched: what people know it by.
    pub(super) inode: u64,
    /// What its watches ask for.
    pub(super) mask: Mask,
    /// The directories in this one were looked for.
    knows_children: bool,
    rest: Option<Box<Rest>>,
}

/// What few objects have, of which there may be a million.
#[derive(Debug, Default)]
struct Rest {
    place: Option<Place>,
    /// Where it was when it was watched, if it has no place.
    path: Option<Box<[u8]>>,
    /// The directories in it, by name.
    children: BTreeMap<Arc<[u8]>, u32>,
}

/// The objects.
#[derive(Debug, Default)]
pub(super) struct Tree {
    objects: Slab<Object>,
    /// Their places. The handles, of which there may be a million, are in the objects only.
    by_handle: HashTable<u32>,
    hasher: RandomState,
    removed: VecDeque<Handle>,
    watched: usize,
    /// How many of these leave out what comes by names that were removed.
    excluding: usize,
}

/// The part of a number that says where the object is.
pub(super) fn slot_of(id: ObjectId) -> u32 {
    id.0 as u32
}

impl Tree {
    pub(super) fn find(&self, handle: &Handle) -> Option<&Object> {
        self.at(self.slot_by(handle)?)
    }

    pub(super) fn by_id(&self, id: ObjectId) -> Option<&Object> {
        self.at(slot_of(id)).filter(|object| object.is_watched() && object.id == id)
    }

    /// Watched objects, those that were known last first.
    pub(super) fn watched(&self) -> Vec<ObjectId> {
        let mut ids: Vec<_> = self.objects.iter().map(|(_, object)| object.id).filter(|id| *id != UNWATCHED).collect();
        ids.sort_unstable_by(|a, b| b.cmp(a));
        ids
    }

    pub(super) fn watched_count(&self) -> usize {
        self.watched
    }

    /// Whether any watch asks for whose a name is (IN_EXCL_UNLINK).
    pub(super) fn is_any_excluding(&self) -> bool {
        self.excluding > 0
    }

    /// How many objects are known, and how many bytes their names take.
    pub(super) fn size(&self) -> (usize, usize) {
        let names = self.objects.iter().filter_map(|(_, object)| object.place()).map(|place| place.name.len());
        (self.objects.len(), names.sum())
    }

    /// From now on this object is watched, for what `mask` says, under the number that `number` makes of where it lies.
    pub(super) fn watch(
        &mut self,
        handle: &Handle,
        kind: Kind,
        mask: Mask,
        number: impl FnOnce(u32) -> ObjectId,
    ) -> ObjectId {
        let slot = self.slot(handle, kind);
        let Some(object) = self.objects.get_mut(slot as usize) else { return UNWATCHED };
        self.excluding -= usize::from(object.excludes());
        (object.kind, object.mask) = (kind, mask);
        self.excluding += usize::from(object.excludes());
        if !object.is_watched() {
            object.id = number(slot);
            self.watched += 1;
        }
        object.id
    }

    /// Notes the number of a watched object's inode.
    pub(super) fn set_inode(&mut self, id: ObjectId, inode: u64) {
        if let Some(object) = self.objects.get_mut(slot_of(id) as usize) {
            object.inode = inode;
        }
    }

    /// Whether a path is needed to find this object again.
    pub(super) fn needs_path(&self, id: ObjectId) -> bool {
        self.by_id(id).is_some_and(|object| object.place().is_none() && object.path().is_none())
    }

    pub(super) fn set_path(&mut self, id: ObjectId, path: Option<Box<[u8]>>) {
        if let Some(object) = self.by_id_mut(id) {
            object.set_path(path);
        }
    }

    /// This object is watched no longer.
    pub(super) fn unwatch(&mut self, id: ObjectId) {
        // Before the way to them is gone.
        let rest = self.by_id_mut(id).and_then(|object| object.rest.as_mut());
        let children = rest.map(|rest| std::mem::take(&mut rest.children)).unwrap_or_default();
        for child in children.into_values() {
            self.displace(child);
            self.drop_if_idle(child);
        }
        self.excluding -= usize::from(self.by_id(id).is_some_and(Object::excludes));
        let Some(object) = self.by_id_mut(id) else { return };
        (object.id, object.mask, object.knows_children) = (UNWATCHED, Mask::empty(), false);
        object.set_path(None);
        let handle = object.handle.clone();
        self.watched -= 1;
        if let Some(slot) = self.slot_by(&handle) {
            self.drop_if_idle(slot);
        }
    }

    /// The directories in this one are known from here on.
    pub(super) fn begin_children(&mut self, directory: ObjectId) {
        if let Some(object) = self.by_id_mut(directory) {
            object.knows_children = true;
        }
    }

    pub(super) fn knows_children(&self, directory: ObjectId) -> bool {
        self.by_id(directory).is_some_and(|object| object.knows_children)
    }

    /// A directory stands under this name. If nothing is known of what is in that directory, it stands nowhere.
    pub(super) fn put(&mut self, directory: ObjectId, name: &[u8], child: &Handle) {
        if !self.knows_children(directory) {
            self.remove_place(child);
            return;
        }
        let slot = self.slot(child, Kind::Directory);
        self.displace(slot);
        let name: Arc<[u8]> = name.into();
        let replaced = self
            .by_id_mut(directory)
            .and_then(|object| object.rest.get_or_insert_default().children.insert(Arc::clone(&name), slot));
        if let Some(object) = self.objects.get_mut(slot as usize) {
            let rest = object.rest.get_or_insert_default();
            (rest.place, rest.path) = (Some(Place { directory, name, link: Link::There }), None);
        }
        if let Some(replaced) = replaced.filter(|replaced| *replaced != slot) {
            self.lose(replaced, Link::Replaced);
        }
    }

    /// A directory was removed. It keeps its name for the events of those who have it open.
    pub(super) fn unlink(&mut self, child: &Handle) {
        let Some(slot) = self.slot_by(child) else { return };
        let Some(place) = self.at(slot).and_then(Object::place).cloned() else { return };
        self.remove_child(&place, slot);
        self.lose(slot, Link::Removed);
    }

    /// A directory stands in no watched one any more.
    pub(super) fn remove_place(&mut self, child: &Handle) {
        let Some(slot) = self.slot_by(child) else { return };
        self.displace(slot);
        // Where it was is where it is not.
        if let Some(object) = self.objects.get_mut(slot as usize) {
            object.set_path(None);
        }
        self.drop_if_idle(slot);
    }

    /// An object is no more.
    pub(super) fn gone(&mut self, handle: &Handle) {
        let Some(slot) = self.slot_by(handle) else { return };
        if let Some(id) = self.at(slot).map(|object| object.id) {
            self.unwatch(id);
        }
        if let Some(slot) = self.slot_by(handle) {
            self.displace(slot);
            self.drop_if_idle(slot);
        }
    }

    /// What stands under a name, as far as that is known.
    pub(super) fn child(&self, directory: ObjectId, name: &[u8]) -> Option<&Object> {
        self.at(*self.by_id(directory)?.rest.as_ref()?.children.get(name)?)
    }

    /// Handles of the directories in one.
    pub(super) fn children(&self, directory: ObjectId) -> Vec<Handle> {
        let rest = self.by_id(directory).and_then(|object| object.rest.as_ref());
        let slots = rest.into_iter().flat_map(|rest| rest.children.values());
        slots.filter_map(|slot| Some(self.at(*slot)?.handle.clone())).collect()
    }

    /// Where an object should be found, unless it was moved by what cannot be seen.
    pub(super) fn path(&self, id: ObjectId) -> Option<Vec<u8>> {
        let mut names: Vec<&[u8]> = Vec::new();
        let mut object = self.by_id(id)?;
        for _ in 0..DEPTH_MAX {
            let Some(place) = object.place() else { break };
            if place.link != Link::There {
                return None;
            }
            names.push(&place.name);
            object = self.by_id(place.directory)?;
        }
        let mut path = object.path()?.to_vec();
        for name in names.iter().rev() {
            path.push(b'/');
            path.extend_from_slice(name);
        }
        Some(path)
    }

    fn at(&self, slot: u32) -> Option<&Object> {
        self.objects.get(slot as usize)
    }

    fn by_id_mut(&mut self, id: ObjectId) -> Option<&mut Object> {
        self.objects.get_mut(slot_of(id) as usize).filter(|object| object.is_watched() && object.id == id)
    }

    fn slot(&mut self, handle: &Handle, kind: Kind) -> u32 {
        if let Some(slot) = self.slot_by(handle) {
            return slot;
        }
        let object = Object {
            handle: handle.clone(),
            kind,
            id: UNWATCHED,
            inode: 0,
            mask: Mask::empty(),
            knows_children: false,
            rest: None,
        };
        // The kernel has fewer inodes in memory.
        let slot = self.objects.insert(object) as u32;
        let Self { objects, by_handle, hasher, .. } = self;
        let hash = |slot: &u32| objects.get(*slot as usize).map_or(0, |object| hasher.hash_one(&object.handle));
        by_handle.insert_unique(hasher.hash_one(handle), slot, hash);
        slot
    }

    fn slot_by(&self, handle: &Handle) -> Option<u32> {
        let is_it = |slot: &u32| self.at(*slot).is_some_and(|object| object.handle == *handle);
        self.by_handle.find(self.hasher.hash_one(handle), is_it).copied()
    }

    /// Out of its directory. If it is watched itself, it is found by its path from here on.
    fn displace(&mut self, slot: u32) {
        let Some(place) = self.at(slot).and_then(Object::place).cloned() else { return };
        let path = self.at(slot).and_then(|object| self.path(object.id));
        self.remove_child(&place, slot);
        if let Some(object) = self.objects.get_mut(slot as usize) {
            if let Some(rest) = &mut object.rest {
                rest.place = None;
            }
            object.set_path(path.map(Vec::into_boxed_slice));
        }
    }

    fn remove_child(&mut self, place: &Place, slot: u32) {
        let directory = self.by_id_mut(place.directory);
        if let Some(rest) = directory.and_then(|object| object.rest.as_mut())
            && rest.children.get(&place.name) == Some(&slot)
        {
            rest.children.remove(&place.name);
        }
    }

    /// Its name is another's or nobody's.
    fn lose(&mut self, slot: u32, link: Link) {
        let Some(object) = self.objects.get_mut(slot as usize) else { return };
        if let Some(place) = object.rest.as_mut().and_then(|rest| rest.place.as_mut()) {
            place.link = link;
        }
        self.removed.push_back(object.handle.clone());
        if self.removed.len() > REMOVED_MAX
            && let Some(oldest) = self.removed.pop_front()
            && self.find(&oldest).and_then(Object::place).is_some_and(|place| place.link != Link::There)
        {
            self.remove_place(&oldest);
        }
    }

    fn drop_if_idle(&mut self, slot: u32) {
        let is_idle = self.at(slot).is_some_and(|object| !object.is_watched() && object.place().is_none());
        if is_idle && let Some(object) = self.objects.try_remove(slot as usize) {
            let hash = self.hasher.hash_one(&object.handle);
            if let Ok(entry) = self.by_handle.find_entry(hash, |other| *other == slot) {
                entry.remove();
            }
        }
    }
}

impl Object {
    pub(super) fn place(&self) -> Option<&Place> {
        self.rest.as_ref()?.place.as_ref()
    }

    fn path(&self) -> Option<&[u8]> {
        self.rest.as_ref()?.path.as_deref()
    }

    fn set_path(&mut self, path: Option<Box<[u8]>>) {
        if path.is_some() || self.rest.is_some() {
            self.rest.get_or_insert_default().path = path;
        }
        if self
            .rest
            .as_ref()
            .is_some_and(|rest| rest.place.is_none() && rest.path.is_none() && rest.children.is_empty())
        {
            self.rest = None;
        }
    }

    pub(super) fn is_watched(&self) -> bool {
        self.id != UNWATCHED
    }

    fn excludes(&self) -> bool {
        self.mask.contains(Mask::IN_EXCL_UNLINK)
    }
}

impl Place {
    pub(super) fn entry(&self) -> Entry<'_> {
        Entry { directory: self.directory, name: &self.name }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_small() {
        assert!(size_of::<Object>() <= 56, "{}", size_of::<Object>());
    }

    fn handle(number: u8) -> Handle {
        Handle::new(1, &[number])
    }

    fn tree() -> (Tree, ObjectId) {
        let mut tree = Tree::default();
        let top = tree.watch(&handle(1), Kind::Directory, Mask::IN_ALL_EVENTS, |slot| ObjectId(slot.into()));
        tree.set_path(top, Some(b"/top".as_slice().into()));
        tree.begin_children(top);
        (tree, top)
    }

    fn place(tree: &Tree, number: u8) -> Option<(Vec<u8>, Link)> {
        let place = tree.find(&handle(number))?.place()?;
        Some((place.name.to_vec(), place.link))
    }

    #[test]
    fn only_what_is_needed_is_kept() {
        let (mut tree, top) = tree();
        tree.put(top, b"a", &handle(2));
        tree.put(top, b"b", &handle(3));
        assert_eq!(tree.size(), (3, 2));
        tree.remove_place(&handle(2));
        assert_eq!(tree.size(), (2, 1));
        tree.put(UNWATCHED, b"c", &handle(3));
        assert_eq!(tree.size(), (1, 0));
        tree.put(top, b"a", &handle(2));
        tree.unwatch(top);
        assert_eq!(tree.size(), (0, 0));
    }

    #[test]
    #[cfg_attr(miri, ignore = "takes minutes")]
    fn removed_directories_are_kept_up_to_a_number() {
        let (mut tree, top) = tree();
        for number in 0..2 * REMOVED_MAX as u32 {
            let handle = Handle::new(2, &number.to_ne_bytes());
            tree.put(top, b"a", &handle);
            tree.unlink(&handle);
        }
        assert_eq!(tree.size().0, REMOVED_MAX + 1);
    }

    #[test]
    fn a_directory_that_is_replaced_or_removed_keeps_its_name_until_it_is_gone() {
        let (mut tree, top) = tree();
        tree.put(top, b"a", &handle(2));
        tree.put(top, b"b", &handle(3));
        tree.put(top, b"b", &handle(2));
        assert_eq!(place(&tree, 2), Some((b"b".to_vec(), Link::There)));
        assert_eq!(place(&tree, 3), Some((b"b".to_vec(), Link::Replaced)));
        assert!(tree.child(top, b"a").is_none());
        tree.gone(&handle(3));
        assert_eq!(place(&tree, 3), None);
        assert_eq!(tree.child(top, b"b").map(|object| object.handle.clone()), Some(handle(2)));
        tree.unlink(&handle(2));
        assert_eq!(place(&tree, 2), Some((b"b".to_vec(), Link::Removed)));
    }

    #[test]
    fn paths_follow_what_is_moved_and_unwatched() {
        let (mut tree, top) = tree();
        tree.put(top, b"a", &handle(2));
        let number = |slot: u32| ObjectId(u64::from(slot) | 1 << 40);
        let inner = tree.watch(&handle(2), Kind::Directory, Mask::IN_ALL_EVENTS, number);
        assert_eq!(tree.path(inner).as_deref(), Some(&b"/top/a"[..]));
        tree.put(top, b"b", &handle(2));
        assert_eq!(tree.path(inner).as_deref(), Some(&b"/top/b"[..]));
        assert!(!tree.needs_path(inner));
        tree.unwatch(top);
        assert_eq!(tree.path(inner).as_deref(), Some(&b"/top/b"[..]), "it is found without the one above");
        assert_eq!(tree.by_id(ObjectId(0)).map(|object| object.id), None);
    }
}
