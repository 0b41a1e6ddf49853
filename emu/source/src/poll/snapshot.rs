//! One file system: a look at all that is watched there, and what has changed since the last one.
//!
//! A snapshot takes its time, and things go on meanwhile. What has gone is looked for once more wherever the times have changed, before it is
//! told; the rest is left to the next one.

use std::collections::{BTreeSet, HashMap};
use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use uinotify_core::{Kind, Mask, Object, ObjectId};

use super::catalogue::{Catalogue, Directory, Watched};
use super::changes::{Altered, Changes, Spot};
use super::difference::{Difference, Kind as Told, Place};
use super::listing::{Compared, Entry, Listing};
use super::look::Look;
use super::look_up::{Facts, Freshness, Handle, Seen, is_absence, list, open_directory, path_of};
use super::moment::{Listed, Moment, Times};
use super::report::{Known, Ticket};
use crate::fanotify::Mounts;

/// What is watched on one file system.
#[derive(Debug)]
pub(super) struct Volume {
    facts: Facts,
    catalogue: Catalogue,
    mounts: Option<Mounts>,
    /// It is in the table of mounts, whose end can be seen there.
    is_listed: bool,
}

/// A snapshot that is being taken.
#[derive(Debug, Default)]
struct Taking {
    changes: Changes,
    /// Objects that are not where they were.
    missing: BTreeSet<ObjectId>,
    /// Those that were found elsewhere: whoever is moved to and fro meanwhile is found once.
    found: BTreeSet<ObjectId>,
    /// A way into the file system, for handles; held no longer than the snapshot takes.
    mount: Option<OwnedFd>,
    /// Where in the names that have gone those of watched objects are, up to so many of them.
    names_gone: HashMap<ObjectId, usize>,
    names_counted: usize,
}

impl Taking {
    /// A name that an object has lost in a watched directory.
    fn name_gone(&mut self, id: ObjectId) -> Option<&Spot> {
        for (at, spot) in self.changes.gone.iter().enumerate().skip(self.names_counted) {
            self.names_gone.entry(spot.object.id).or_insert(at);
        }
        self.names_counted = self.changes.gone.len();
        self.changes.gone.get(*self.names_gone.get(&id)?)
    }
}

/// How much is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Extent {
    /// All that is asked for.
    All(Freshness),
    /// Which names there are.
    Names,
}

fn times(look: &Look) -> Times {
    Times { modified: look.modified, changed: look.changed }
}

impl Volume {
    pub(super) fn new(object: BorrowedFd<'_>) -> Result<Self, Errno> {
        let facts = Facts::of(object)?;
        let mounts = Mounts::new().ok();
        let is_listed = is_mounted(facts.device).unwrap_or(false);
        Ok(Self { facts, catalogue: Catalogue::default(), mounts, is_listed })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.catalogue.is_empty()
    }

    pub(super) fn unwatch(&mut self, id: ObjectId, last: Ticket) {
        if self.catalogue.get(id).is_some_and(|object| object.ticket <= last) {
            self.catalogue.remove(id);
        }
    }

    /// Watches an object from now on: what has changed before, and the object's number if it is to have this one, or the one that it has.
    ///
    /// # Errors
    ///
    /// ENOENT for an object without a name here; as listing it.
    pub(super) fn watch(
        &mut self,
        object: OwnedFd,
        mask: Mask,
        ticket: Ticket,
        number: impl FnOnce() -> ObjectId,
    ) -> (Vec<Difference>, Result<(ObjectId, Known), Errno>) {
        let Seen::This(look) = self.facts.look_at(&object) else { return (Vec::new(), Err(Errno::ENOENT)) };
        if let Some(id) = self.catalogue.find(&look.identity) {
            // The new watch is told nothing that was before it; the others are.
            let told = self.look_again(id);
            if self.catalogue.get(id).is_some() {
                self.want(id, mask, ticket);
                let known = self.known(id).ok_or(Errno::ENOENT);
                return (told, known.map(|known| (id, known)));
            }
            let (_, result) = self.watch_new(object, look, mask, ticket, number);
            return (told, result);
        }
        self.watch_new(object, look, mask, ticket, number)
    }

    fn watch_new(
        &mut self,
        object: OwnedFd,
        look: Look,
        mask: Mask,
        ticket: Ticket,
        number: impl FnOnce() -> ObjectId,
    ) -> (Vec<Difference>, Result<(ObjectId, Known), Errno>) {
        let id = match self.first_look(object.as_fd(), look, mask, ticket) {
            Ok(watched) => {
                let id = number();
                self.catalogue.insert(id, watched);
                self.catalogue.adopt_children(id);
                Ok(id)
            }
            Err(errno) => Err(errno),
        };
        // Its last name may be taken away at any time, and then it should end.
        drop(object);
        (Vec::new(), id.and_then(|id| Ok((id, self.known(id).ok_or(Errno::ENOENT)?))))
    }

    fn first_look(&self, object: BorrowedFd<'_>, look: Look, mask: Mask, ticket: Ticket) -> Result<Watched, Errno> {
        let look = self.facts.identify(object, c"", look);
        let path = path_of(object).ok_or(Errno::ENOENT)?;
        // The path of a deleted object, or of one in another mount name space, leads elsewhere or nowhere.
        let is_it = |seen| matches!(seen, Seen::This(found) if found.identity.is(&look.identity));
        let directory = if look.kind() == Kind::Directory {
            let opened = open_directory(&path)?;
            if !is_it(self.facts.look_at(&opened)) {
                return Err(Errno::ENOENT);
            }
            Some(Box::new(self.first_listing(&opened, &look)?))
        } else if is_it(self.facts.look_under(&path)) {
            None
        } else {
            return Err(Errno::ENOENT);
        };
        let place = self.place_of(&path, &look);
        let handle = Handle::of(object, self.facts.device).map(Box::new);
        let path = if place.is_some() { None } else { Some(path) };
        Ok(Watched { kind: look.kind(), mask, look, place, path, handle, directory, ticket })
    }

    /// Where a path leads to, if that is a name in a watched directory.
    fn place_of(&self, path: &CString, look: &Look) -> Option<Place> {
        let bytes = path.as_bytes();
        let at = bytes.iter().rposition(|byte| *byte == b'/')?;
        let above = CString::new(bytes.get(..at.max(1))?).ok()?;
        let name = CString::new(bytes.get(at + 1..)?).ok()?.into_boxed_c_str();
        let Seen::This(found) = self.facts.look_under(&above) else { return None };
        let directory = self.catalogue.find(&found.identity)?;
        let entry = self.catalogue.get(directory)?.directory.as_ref()?.listing.get(&name)?;
        entry.identity().is(&look.identity).then_some(Place { directory, name })
    }

    /// Each entry is looked at once, whatever is asked for: a number alone does not tell an object from a later one.
    fn first_listing(&self, opened: &OwnedFd, look: &Look) -> Result<Directory, Errno> {
        let now = Moment::now();
        let mut listed = Listed::first(times(look), now);
        let mut listing = Listing::default();
        listing.update(list(opened)?);
        let length = listing.0.len();
        listing.0.retain_mut(|entry| self.meet(opened, entry));
        if listing.0.len() < length {
            listed.unsettle();
        }
        Ok(Directory { listing, listed, looked: now.coarse })
    }

    /// Looks at an entry for the first time. False: it is gone.
    fn meet(&self, directory: &OwnedFd, entry: &mut Entry) -> bool {
        match self.facts.look(directory, &entry.name, Freshness::AsStat) {
            Seen::This(look) => {
                entry.kind = look.kind();
                entry.look = Some(self.facts.identify(directory, &entry.name, look));
            }
            Seen::Nothing => return false,
            Seen::Covered | Seen::Unknown => {}
        }
        true
    }

    fn known(&self, id: ObjectId) -> Option<Known> {
        let object = self.catalogue.get(id)?;
        let parts = |handle: &Handle| {
            let (kind, bytes) = handle.parts();
            (kind, bytes.to_vec())
        };
        let handle = object.handle.as_deref().map(parts);
        Some(Known { device: self.facts.device, inode: object.look.identity.inode, handle })
    }

    /// A watch asks for more.
    fn want(&mut self, id: ObjectId, mask: Mask, ticket: Ticket) {
        let Some(object) = self.catalogue.get_mut(id) else { return };
        let wanted_looks = object.wants_looks();
        object.mask |= mask;
        object.ticket = ticket;
        let begins = object.wants_looks() && !wanted_looks;
        // What was last seen of what is in it may be long ago.
        if begins
            && let Some(path) = self.catalogue.path(id)
            && let Ok(opened) = open_directory(&path)
            && let Some(object) = self.catalogue.get_mut(id)
            && let Some(directory) = &mut object.directory
        {
            for entry in &mut directory.listing.0 {
                if let Seen::This(look) = self.facts.look(&opened, &entry.name, Freshness::Asked)
                    && let Some(old) = &mut entry.look
                    && look.identity.is(&old.identity)
                {
                    *old = Look { identity: old.identity, ..look };
                }
            }
        }
    }

    /// All that has changed since the last snapshot.
    pub(super) fn snapshot(&mut self, freshness: Freshness) -> Vec<Difference> {
        if self.has_ended() {
            return self.end();
        }
        let mut taking = Taking::default();
        for id in self.catalogue.ids() {
            self.look(id, Extent::All(freshness), &mut taking);
        }
        self.finish(taking)
    }

    /// As a snapshot, if this one object shows that anything has come or gone; else only what was done to it.
    fn look_again(&mut self, id: ObjectId) -> Vec<Difference> {
        let mut taking = Taking::default();
        self.look(id, Extent::All(Freshness::Asked), &mut taking);
        let Taking { changes, missing, .. } = &taking;
        if changes.gone.is_empty() && changes.come.is_empty() && missing.is_empty() {
            return taking.changes.differences();
        }
        for other in self.catalogue.ids().into_iter().filter(|other| *other != id) {
            self.look(other, Extent::All(Freshness::Asked), &mut taking);
        }
        self.finish(taking)
    }

    fn finish(&mut self, mut taking: Taking) -> Vec<Difference> {
        if taking.changes.has_half() || !taking.missing.is_empty() {
            for id in self.catalogue.ids() {
                self.look(id, Extent::Names, &mut taking);
            }
        }
        self.find_missing(&mut taking);
        if !taking.changes.ended.is_empty() && self.has_ended() {
            return self.end();
        }
        for object in &taking.changes.ended {
            self.catalogue.remove(object.id);
        }
        taking.changes.differences()
    }

    /// Looks at one object, and at what is in it.
    fn look(&mut self, id: ObjectId, extent: Extent, taking: &mut Taking) {
        let Some(object) = self.catalogue.get(id) else { return };
        let is_directory = object.kind == Kind::Directory;
        let is_left_out = !is_directory && extent == Extent::Names;
        if is_left_out || self.catalogue.is_looked_at_from_above(id) || taking.missing.contains(&id) {
            return;
        }
        // One that has lost its name is not looked for.
        let Some(path) = self.catalogue.path(id) else { return };
        let (seen, opened) = if is_directory {
            match open_directory(&path) {
                Ok(opened) => (self.facts.look_at(&opened), Some(opened)),
                Err(errno) if is_absence(errno) => (Seen::Nothing, None),
                Err(_) => (Seen::Unknown, None),
            }
        } else {
            let freshness = if let Extent::All(freshness) = extent { freshness } else { Freshness::AsStat };
            (self.facts.look(nix::fcntl::AT_FDCWD, &path, freshness), None)
        };
        let now = Moment::now();
        let new = match seen {
            Seen::This(new) if new.identity.is(&object.look.identity) => new,
            Seen::This(_) | Seen::Nothing => {
                taking.missing.insert(id);
                return;
            }
            Seen::Covered | Seen::Unknown => return,
        };
        let (kind, place, old) = (object.kind, object.place.clone(), object.look);
        let new = Look { identity: old.identity, ..new };
        if new.differs(&old) {
            taking.changes.altered.push(Altered { object: Object { id, kind }, place, old, new });
        }
        if let Some(object) = self.catalogue.get_mut(id) {
            object.look = new;
        }
        if let Some(opened) = opened {
            self.look_into(id, &opened, now, extent, taking);
        }
    }

    /// Looks at what is in a directory.
    fn look_into(&mut self, id: ObjectId, opened: &OwnedFd, now: Moment, extent: Extent, taking: &mut Taking) {
        let Some(object) = self.catalogue.get_mut(id) else { return };
        let Some(mut directory) = object.directory.take() else { return };
        let (is_looked_at, look) = (object.wants_looks(), object.look);
        let into =
            Inside { directory: id, depth: self.catalogue.depth(id) + 1, is_looked_at, looked: directory.looked };
        let mut compared = None;
        if directory.listed.is_due(times(&look), now) {
            match list(opened) {
                Ok(found) => compared = Some(directory.listing.update(found)),
                // The next time.
                Err(_) => directory.listed.unsettle(),
            }
        }
        let mut met = Vec::new();
        let mut vanished = Vec::new();
        let to_be_met = compared.map(|compared| self.tell_gone(&into, compared, taking)).unwrap_or_default();
        for (at, before) in to_be_met {
            let Some(entry) = directory.listing.0.get_mut(at) else { continue };
            met.push(at);
            let is_there = self.meet(opened, entry);
            match before {
                // It only has another number in the listing.
                Some(before) if is_there && before.look.is_some() && before.identity().is(&entry.identity()) => {
                    entry.look = before.look;
                    met.pop();
                }
                before => {
                    taking.changes.gone.extend(before.map(|before| self.spot(&into, &before)));
                    if is_there {
                        taking.changes.come.push(self.spot(&into, entry));
                    } else {
                        vanished.push(at);
                    }
                }
            }
        }
        if let Extent::All(freshness) = extent
            && into.is_looked_at
        {
            met.sort_unstable();
            let mut met = met.into_iter().peekable();
            for (at, entry) in directory.listing.0.iter_mut().enumerate() {
                if met.next_if_eq(&at).is_none() && !self.look_at_entry(&into, opened, entry, freshness, taking) {
                    vanished.push(at);
                }
            }
        }
        if !vanished.is_empty() {
            vanished.sort_unstable();
            let (mut vanished, mut at) = (vanished.into_iter().peekable(), 0..);
            directory.listing.0.retain(|_| at.next().is_some_and(|at| vanished.next_if_eq(&at).is_none()));
            directory.listed.unsettle();
        }
        directory.looked = now.coarse;
        if let Some(object) = self.catalogue.get_mut(id) {
            object.directory = Some(directory);
        }
    }

    /// Notes the names that are no more. What is new, or may be, is to be looked at: its place, and what was under that name.
    fn tell_gone(&self, into: &Inside, compared: Compared, taking: &mut Taking) -> Vec<(usize, Option<Entry>)> {
        taking.changes.gone.extend(compared.gone.iter().map(|entry| self.spot(into, entry)));
        let new = compared.new.into_iter().map(|at| (at, None));
        new.chain(compared.doubtful.into_iter().map(|(at, before)| (at, Some(before)))).collect()
    }

    /// Looks at an entry that was there before. False: it is gone.
    fn look_at_entry(
        &self,
        into: &Inside,
        opened: &OwnedFd,
        entry: &mut Entry,
        freshness: Freshness,
        taking: &mut Taking,
    ) -> bool {
        // A watched directory is looked at by itself.
        if entry.kind == Kind::Directory && self.catalogue.find(&entry.identity()).is_some() {
            return true;
        }
        match (self.facts.look(opened, &entry.name, freshness), entry.look) {
            (Seen::Nothing, _) => {
                taking.changes.gone.push(self.spot(into, entry));
                return false;
            }
            (Seen::This(new), Some(old)) if new.identity.is(&old.identity) => {
                let new = Look { identity: old.identity, ..new };
                if new.differs(&old) {
                    let object = self.catalogue.object(&old.identity, entry.kind);
                    let place = Some(Place { directory: into.directory, name: entry.name.clone() });
                    taking.changes.altered.push(Altered { object, place, old, new });
                }
                // Memory that is only read stays in more caches.
                if new != old {
                    entry.look = Some(new);
                }
            }
            (Seen::This(new), before) => {
                let before = before.map(|_| self.spot(into, entry));
                entry.kind = new.kind();
                entry.look = Some(self.facts.identify(opened, &entry.name, new));
                if let Some(before) = before {
                    taking.changes.gone.push(before);
                    taking.changes.come.push(self.spot(into, entry));
                }
            }
            (Seen::Covered | Seen::Unknown, _) => {}
        }
        true
    }

    fn spot(&self, into: &Inside, entry: &Entry) -> Spot {
        let identity = entry.identity();
        Spot {
            place: Place { directory: into.directory, name: entry.name.clone() },
            depth: into.depth,
            object: self.catalogue.object(&identity, entry.kind),
            identity,
            // One that is not looked at each time was last seen nobody knows when.
            look: entry.look.filter(|_| into.is_looked_at),
            is_older: identity.born != 0 && identity.born < into.looked,
        }
    }

    /// Finds the objects that are not where they were: in another watched directory, by their handles, or not at all.
    fn find_missing(&mut self, taking: &mut Taking) {
        // Those that are looked at from above are seen to be gone there.
        for spot in &taking.changes.gone {
            let id = spot.object.id;
            let is_its_place = self.catalogue.get(id).is_some_and(|object| object.place.as_ref() == Some(&spot.place));
            if !is_its_place || self.catalogue.stands_at(id, &spot.place) {
                continue;
            }
            taking.missing.insert(id);
            if let (Some(object), Some(look)) = (self.catalogue.get_mut(id), spot.look)
                && object.kind != Kind::Directory
            {
                object.look = look;
            }
        }
        self.move_to_where_they_came(taking);
        let mut emptied = BTreeSet::new();
        loop {
            // Whatever was found may lead to others.
            let before = taking.missing.len();
            for id in self.highest_first(&taking.missing) {
                taking.missing.remove(&id);
                self.look_where_it_stands(id, taking);
            }
            self.move_to_where_they_came(taking);
            if taking.missing.len() < before {
                continue;
            }
            let mut has_found = self.find_where_listed(taking);
            for id in self.highest_first(&taking.missing) {
                if has_found {
                    break;
                }
                if !taking.found.contains(&id) && self.find_by_handle(id, taking) {
                    taking.found.insert(id);
                    taking.missing.remove(&id);
                    self.look_where_it_stands(id, taking);
                    // One below is most likely found by its path.
                    has_found = true;
                }
            }
            if has_found {
                continue;
            }
            let lost: Vec<_> = taking.missing.iter().copied().filter(|id| emptied.insert(*id)).collect();
            if lost.is_empty() {
                break;
            }
            lost.into_iter().for_each(|id| self.empty(id, taking));
            self.move_to_where_they_came(taking);
        }
        let mut lost = self.highest_first(&std::mem::take(&mut taking.missing));
        lost.reverse();
        for id in lost {
            self.lose(id, taking);
        }
    }

    /// Those with fewer directories above them first.
    fn highest_first(&self, ids: &BTreeSet<ObjectId>) -> Vec<ObjectId> {
        let mut ids: Vec<_> = ids.iter().map(|id| (self.catalogue.depth(*id), *id)).collect();
        ids.sort_unstable();
        ids.into_iter().map(|(_, id)| id).collect()
    }

    /// A directory is nowhere to be found: what was in it was taken out of it first.
    fn empty(&mut self, id: ObjectId, taking: &mut Taking) {
        let depth = self.catalogue.depth(id) + 1;
        let Some(object) = self.catalogue.get_mut(id) else { return };
        let is_looked_at = object.wants_looks();
        let Some(directory) = &mut object.directory else { return };
        let listing = std::mem::take(&mut directory.listing);
        let into = Inside { directory: id, depth, is_looked_at, looked: directory.looked };
        for entry in &listing.0 {
            let spot = self.spot(&into, entry);
            let child =
                self.catalogue.get_mut(spot.object.id).filter(|child| child.place.as_ref() == Some(&spot.place));
            if let Some(child) = child {
                if let Some(look) = spot.look.filter(|_| child.kind != Kind::Directory) {
                    child.look = look;
                }
                taking.missing.insert(spot.object.id);
            }
            taking.changes.gone.push(spot);
        }
    }

    /// Looks for one that was missing, unless its place is another's or nobody's.
    fn look_where_it_stands(&mut self, id: ObjectId, taking: &mut Taking) {
        let place = self.catalogue.get(id).and_then(|object| object.place.clone());
        if place.is_some_and(|place| !self.catalogue.stands_at(id, &place)) {
            taking.missing.insert(id);
        } else {
            self.look(id, Extent::All(Freshness::Asked), taking);
        }
    }

    /// Gives watched objects the places where their names have appeared, unless they stand where they stood.
    fn move_to_where_they_came(&mut self, taking: &mut Taking) {
        let mut altered = Vec::new();
        let come = std::mem::take(&mut taking.changes.come);
        for spot in &come {
            let id = spot.object.id;
            let Some(object) = self.catalogue.get(id) else { continue };
            let is_missing = taking.missing.contains(&id);
            let has_left = match &object.place {
                Some(place) => *place != spot.place && !self.catalogue.stands_at(id, place),
                None => true,
            };
            if !has_left || !self.catalogue.stands_at(id, &spot.place) {
                continue;
            }
            if object.place.is_none() && is_missing {
                taking.changes.returned.insert(id);
            }
            // Where it was it was looked at by itself, and where it is not.
            let was_alone = taking.name_gone(id).is_none_or(|gone| gone.look.is_none());
            if let Some(object) = self.catalogue.get_mut(id) {
                if let Some(new) = spot.look.filter(|_| object.kind != Kind::Directory) {
                    if was_alone && new.differs(&object.look) {
                        let place = object.place.clone();
                        altered.push(Altered {
                            object: Object { id, kind: object.kind },
                            place,
                            old: object.look,
                            new,
                        });
                    }
                    object.look = new;
                }
                (object.place, object.path) = (Some(spot.place.clone()), None);
            }
        }
        taking.changes.come = come;
        taking.changes.altered.extend(altered);
    }

    /// Finds objects where they stood before they were missed: by another link, or where the directory is watched only since they came there.
    fn find_where_listed(&mut self, taking: &mut Taking) -> bool {
        let sought = taking.missing.difference(&taking.found).copied().collect();
        let places = self.catalogue.places_of(&sought, &taking.missing);
        for (id, place) in &places {
            let has_links = self.kind(*id) != Some(Kind::Directory) && self.links_before(*id, taking) > 1;
            let Some(object) = self.catalogue.get_mut(*id) else { continue };
            (object.place, object.path) = (Some(place.clone()), None);
            if !has_links {
                taking.changes.strayed.push(Object { id: *id, kind: object.kind });
            }
            taking.missing.remove(id);
            taking.found.insert(*id);
        }
        let has_found = !places.is_empty();
        for (id, _) in places {
            self.look_where_it_stands(id, taking);
        }
        has_found
    }

    /// Finds an object by its handle, where this process may, and takes on its path.
    fn find_by_handle(&mut self, id: ObjectId, taking: &mut Taking) -> bool {
        let Some(object) = self.catalogue.get(id) else { return false };
        let found = object.handle.as_ref().map(|handle| handle.open(&mut taking.mount));
        let Some(Ok(found)) = found else { return false };
        let Seen::This(look) = self.facts.look_at(&found) else { return false };
        if look.links == 0 || !look.identity.is(&object.look.identity) {
            return false;
        }
        let Some(path) = path_of(found.as_fd()) else { return false };
        drop(found);
        match self.facts.look_under(&path) {
            Seen::This(found) if found.identity.is(&look.identity) => {}
            _ => return false,
        }
        // A directory above it may have been moved: that is told to nobody.
        if look.changed != object.look.changed {
            let object = Object { id, kind: object.kind };
            if object.kind == Kind::Directory || look.links >= self.links_before(id, taking) {
                taking.changes.strayed.push(object);
            } else if taking.name_gone(id).is_none() {
                taking.changes.unlinked.push(object);
            }
        }
        if let Some(object) = self.catalogue.get_mut(id) {
            (object.place, object.path) = (None, Some(path));
        }
        true
    }

    fn kind(&self, id: ObjectId) -> Option<Kind> {
        self.catalogue.get(id).map(|object| object.kind)
    }

    /// How many links an object had when it was last seen under the name that it has lost.
    fn links_before(&self, id: ObjectId, taking: &mut Taking) -> u32 {
        let from_above = taking.name_gone(id).and_then(|spot| spot.look);
        from_above.or_else(|| self.catalogue.get(id).map(|object| object.look)).map_or(0, |look| look.links)
    }

    /// An object is nowhere to be found.
    fn lose(&mut self, id: ObjectId, taking: &mut Taking) {
        let Some(object) = self.catalogue.get(id) else { return };
        let (kind, links) = (object.kind, self.links_before(id, taking));
        if kind != Kind::Directory && links > 1 {
            // It has other names, where nothing is watched.
            if taking.name_gone(id).is_none() {
                taking.changes.unlinked.push(Object { id, kind });
            }
            if let Some(object) = self.catalogue.get_mut(id) {
                (object.place, object.path) = (None, None);
            }
            return;
        }
        taking.changes.ended.push(Object { id, kind });
    }

    /// Whether the file system is no longer mounted.
    fn has_ended(&mut self) -> bool {
        let has_changed = self.mounts.as_ref().is_some_and(Mounts::has_changed);
        has_changed && self.is_listed && is_mounted(self.facts.device) == Some(false)
    }

    fn end(&mut self) -> Vec<Difference> {
        let ids = self.catalogue.ids();
        let kinds = ids.iter().filter_map(|id| Some(Object { id: *id, kind: self.catalogue.get(*id)?.kind }));
        let told = kinds.map(|object| Told::Unmounted(object).into()).collect();
        self.catalogue = Catalogue::default();
        told
    }
}

fn is_mounted(device: u64) -> Option<bool> {
    let (major, minor) = (u64::from(libc::major(device)), u64::from(libc::minor(device)));
    Some(Mounts::devices().ok()?.contains(&(major << 20 | minor)))
}

/// The directory that is looked into.
#[derive(Clone, Copy, Debug)]
struct Inside {
    directory: ObjectId,
    depth: u32,
    /// Its entries are looked at each time.
    is_looked_at: bool,
    looked: i64,
}
