//! The watched objects of one file system: where they are, and what was last seen of them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::{CStr, CString};

use uinotify_core::{Kind, Mask, Object, ObjectId};

use super::difference::Place;
use super::listing::Listing;
use super::look::{Identity, Look};
use super::look_up::Handle;
use super::moment::Listed;
use super::report::Ticket;
use crate::fanotify::UNWATCHED;

/// Longer chains are none of a path's.
const DEPTH_MAX: u32 = 4096;

/// A watched object.
#[derive(Debug)]
pub(super) struct Watched {
    pub(super) kind: Kind,
    /// What its watches have asked for so far, all together.
    pub(super) mask: Mask,
    pub(super) look: Look,
    /// Its name, if it stands in a watched directory.
    pub(super) place: Option<Place>,
    /// Its path, if it does not.
    pub(super) path: Option<CString>,
    pub(super) handle: Option<Box<Handle>>,
    pub(super) directory: Option<Box<Directory>>,
    /// The last order to watch it.
    pub(super) ticket: Ticket,
}

/// What is in a watched directory.
#[derive(Debug)]
pub(super) struct Directory {
    pub(super) listing: Listing,
    pub(super) listed: Listed,
    /// When it was last looked at, as coarse as the times of files.
    pub(super) looked: i64,
}

impl Watched {
    /// Whether what is done to the files in it is asked for, so that each has to be looked at.
    pub(super) fn wants_looks(&self) -> bool {
        self.mask.intersects(Mask::IN_MODIFY | Mask::IN_ATTRIB)
    }
}

#[derive(Debug, Default)]
pub(super) struct Catalogue {
    objects: BTreeMap<ObjectId, Watched>,
    by_inode: HashMap<u64, ObjectId>,
}

impl Catalogue {
    pub(super) fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }

    pub(super) fn ids(&self) -> Vec<ObjectId> {
        self.objects.keys().copied().collect()
    }

    pub(super) fn get(&self, id: ObjectId) -> Option<&Watched> {
        self.objects.get(&id)
    }

    pub(super) fn get_mut(&mut self, id: ObjectId) -> Option<&mut Watched> {
        self.objects.get_mut(&id)
    }

    /// The watched object with this identity.
    pub(super) fn find(&self, identity: &Identity) -> Option<ObjectId> {
        let id = *self.by_inode.get(&identity.inode)?;
        self.objects.get(&id)?.look.identity.is(identity).then_some(id)
    }

    /// An object as events name it.
    pub(super) fn object(&self, identity: &Identity, kind: Kind) -> Object {
        Object { id: self.find(identity).unwrap_or(UNWATCHED), kind }
    }

    pub(super) fn insert(&mut self, id: ObjectId, watched: Watched) {
        self.by_inode.insert(watched.look.identity.inode, id);
        self.objects.insert(id, watched);
    }

    /// Where an object should be found.
    pub(super) fn path(&self, id: ObjectId) -> Option<CString> {
        let mut names: Vec<&CStr> = Vec::new();
        let mut object = self.objects.get(&id)?;
        while let Some(place) = &object.place {
            names.push(&place.name);
            object = self.objects.get(&place.directory).filter(|_| names.len() < DEPTH_MAX as usize)?;
        }
        let mut path = object.path.as_ref()?.to_bytes().to_vec();
        for name in names.iter().rev() {
            if path != b"/" {
                path.push(b'/');
            }
            path.extend_from_slice(name.to_bytes());
        }
        CString::new(path).ok()
    }

    /// How many watched directories are above it.
    pub(super) fn depth(&self, id: ObjectId) -> u32 {
        let mut depth = 0;
        let mut object = self.objects.get(&id);
        while let Some(place) = object.and_then(|object| object.place.as_ref()).filter(|_| depth < DEPTH_MAX) {
            depth += 1;
            object = self.objects.get(&place.directory);
        }
        depth
    }

    /// Whether this very object stands in a place.
    pub(super) fn stands_at(&self, id: ObjectId, place: &Place) -> bool {
        let identity = self.objects.get(&id).map(|object| object.look.identity);
        let directory = self.objects.get(&place.directory).and_then(|object| object.directory.as_ref());
        let entry = directory.and_then(|directory| directory.listing.get(&place.name));
        entry.is_some_and(|entry| identity.is_some_and(|identity| entry.identity().is(&identity)))
    }

    /// Whether the looks at the directory in which an object stands are looks at the object.
    pub(super) fn is_looked_at_from_above(&self, id: ObjectId) -> bool {
        let Some(object) = self.objects.get(&id) else { return false };
        let above = object.place.as_ref().and_then(|place| self.objects.get(&place.directory));
        object.kind != Kind::Directory && above.is_some_and(Watched::wants_looks)
    }

    /// Where objects stand in watched directories that are not missing.
    pub(super) fn places_of(
        &self,
        sought: &BTreeSet<ObjectId>,
        missing: &BTreeSet<ObjectId>,
    ) -> BTreeMap<ObjectId, Place> {
        let mut places = BTreeMap::new();
        if sought.is_empty() {
            return places;
        }
        for (directory, object) in self.objects.iter().filter(|(id, _)| !missing.contains(id)) {
            let Some(listed) = &object.directory else { continue };
            for entry in &listed.listing.0 {
                if let Some(id) = self.find(&entry.identity()).filter(|id| sought.contains(id)) {
                    places.entry(id).or_insert_with(|| Place { directory: *directory, name: entry.name.clone() });
                }
            }
        }
        places
    }

    /// Gives those in a directory their places there that have none yet.
    pub(super) fn adopt_children(&mut self, directory: ObjectId) {
        for (id, place) in self.children(directory) {
            if let Some(object) = self.objects.get_mut(&id)
                && object.place.is_none()
                && id != directory
            {
                (object.place, object.path) = (Some(place), None);
            }
        }
    }

    /// The watched objects in a directory, with their names.
    fn children(&self, directory: ObjectId) -> Vec<(ObjectId, Place)> {
        let listed = self.objects.get(&directory).and_then(|object| object.directory.as_ref());
        let entries = listed.into_iter().flat_map(|directory| &directory.listing.0);
        let watched = entries.filter_map(|entry| Some((self.find(&entry.identity())?, entry)));
        watched.map(|(id, entry)| (id, Place { directory, name: entry.name.clone() })).collect()
    }

    /// It is watched no longer. Those in it are found by their paths from here on, and what was seen of them there is what was last seen of
    /// them.
    pub(super) fn remove(&mut self, id: ObjectId) {
        let wants_looks = self.objects.get(&id).is_some_and(Watched::wants_looks);
        for (child, place) in self.children(id) {
            let path = self.path(child);
            let look = self.get(id).and_then(|object| object.directory.as_ref()?.listing.get(&place.name)?.look);
            if let Some(child) = self.objects.get_mut(&child)
                && child.place.as_ref() == Some(&place)
            {
                (child.place, child.path) = (None, path);
                if let Some(look) = look.filter(|_| wants_looks && child.kind != Kind::Directory) {
                    child.look = look;
                }
            }
        }
        if let Some(object) = self.objects.remove(&id) {
            // From here on it is looked at from above.
            if object.kind == Kind::Directory
                && let Some(Place { directory, name }) = &object.place
                && let Some(above) = self.objects.get_mut(directory).and_then(|above| above.directory.as_mut())
                && let Some(entry) = above.listing.get_mut(name)
                && entry.identity().is(&object.look.identity)
            {
                entry.look = Some(object.look);
            }
            let inode = object.look.identity.inode;
            if self.by_inode.get(&inode) == Some(&id) {
                self.by_inode.remove(&inode);
            }
        }
    }
}
