//! What two snapshots show, and what Linux would most likely have told of it.
//!
//! Two snapshots do not say in which order things have happened. They are told in this one, in which each by itself is as a single system
//! call has it:
//!
//! 1. What was done to content and attributes of what was there before, under the name that it had then: who replaces a file writes the
//!    new one first, and moves it then. By time.
//! 2. Renames, each pair together. One onto a name that another one leaves comes behind that; one onto what is gone has replaced it.
//! 3. What was deleted, what is in a directory before the directory; the end of an object before its IN_DELETE, as rmdir and unlink do.
//! 4. What was made, by time of birth; IN_MODIFY behind it for a file with something in it. So a name that was deleted and made again is
//!    told in that order.
//! 5. The end of watched objects that stood in no watched directory.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use uinotify_core::{Kind, Object, ObjectId};

use super::difference::{Difference, Kind as Told, Place};
use super::look::{Done, Identity, Look};
use crate::fanotify::UNWATCHED;

/// A name that has come or gone.
#[derive(Clone, Debug)]
pub(super) struct Spot {
    pub(super) place: Place,
    /// How many watched directories are above.
    pub(super) depth: u32,
    pub(super) object: Object,
    pub(super) identity: Identity,
    /// The object when it was last looked at. None where that is not done, or not at every snapshot.
    pub(super) look: Option<Look>,
    /// It was there before this directory was last looked at: of what has come only.
    pub(super) is_older: bool,
}

/// An object that is not as it was.
#[derive(Clone, Debug)]
pub(super) struct Altered {
    pub(super) object: Object,
    pub(super) place: Option<Place>,
    pub(super) old: Look,
    pub(super) new: Look,
}

/// All that one snapshot shows.
#[derive(Clone, Debug, Default)]
pub(super) struct Changes {
    pub(super) altered: Vec<Altered>,
    pub(super) gone: Vec<Spot>,
    pub(super) come: Vec<Spot>,
    /// Watched objects that are no more, those furthest down first.
    pub(super) ended: Vec<Object>,
    /// Watched objects that have lost the name by which they were known, and have others.
    pub(super) unlinked: Vec<Object>,
    /// Watched objects that are found where nothing is watched, and were elsewhere.
    pub(super) strayed: Vec<Object>,
    /// Watched objects that are found in a watched directory, and were where nothing is watched.
    pub(super) returned: BTreeSet<ObjectId>,
}

/// An entry that was moved, from or to where nothing is watched if an end is missing.
struct Moved {
    from: Option<Spot>,
    to: Option<Spot>,
    object: Object,
}

impl Changes {
    /// Whether a name has gone for which nothing has come, or the other way round: the other end may be in a directory that was looked at
    /// before it happened.
    pub(super) fn has_half(&self) -> bool {
        let mut come: HashMap<u64, Vec<&Spot>> = HashMap::new();
        for spot in &self.come {
            come.entry(spot.identity.inode).or_default().push(spot);
        }
        let has_come = |gone: &Spot| {
            come.get(&gone.identity.inode).is_some_and(|come| come.iter().any(|come| is_same(gone, come)))
        };
        !self.gone.iter().all(has_come)
    }

    /// What is to be told of it, in order.
    pub(super) fn differences(mut self) -> Vec<Difference> {
        let mut told = Vec::new();
        self.cancel();
        let mut moved = self.take_moved();
        self.tell_altered(&moved, &mut told);
        let targets: HashSet<&Place> = moved.iter().filter_map(|moved| Some(&moved.to.as_ref()?.place)).collect();
        let mut replaced: HashMap<Place, Spot> = HashMap::new();
        for gone in std::mem::take(&mut self.gone) {
            if targets.contains(&gone.place) && !replaced.contains_key(&gone.place) {
                replaced.insert(gone.place.clone(), gone);
            } else {
                self.gone.push(gone);
            }
        }
        let mut ended: BTreeSet<ObjectId> = self.ended.iter().map(|object| object.id).collect();
        for moved in in_order(&mut moved) {
            let target = moved.to.as_ref().and_then(|to| replaced.remove(&to.place)).map(|spot| spot.object);
            let place = |spot: Option<Spot>| spot.map(|spot| spot.place);
            let (from, to) = (place(moved.from), place(moved.to));
            told.push(Told::Moved { moved: moved.object, from, to, replaced: target }.into());
            if let Some(target) = target.filter(|target| ended.remove(&target.id)) {
                told.push(Told::Gone(target).into());
            }
        }
        self.tell_gone(&mut ended, &mut told);
        self.tell_come(&mut told);
        for object in &self.unlinked {
            told.push(Told::Links(*object).into());
        }
        for object in self.ended.iter().filter(|object| ended.contains(&object.id)) {
            if object.kind != Kind::Directory {
                told.push(Told::Links(*object).into());
            }
            told.push(Told::Gone(*object).into());
        }
        told
    }

    /// What came and went while the snapshot was taken, or went and came back.
    fn cancel(&mut self) {
        let come: HashSet<(&Place, u64)> = self.come.iter().map(|come| (&come.place, come.identity.inode)).collect();
        let both: HashSet<(Place, u64)> = self
            .gone
            .iter()
            .filter(|gone| come.contains(&(&gone.place, gone.identity.inode)))
            .map(|gone| (gone.place.clone(), gone.identity.inode))
            .collect();
        let is_both = |spot: &Spot| both.contains(&(spot.place.clone(), spot.identity.inode));
        if both.is_empty() {
            return;
        }
        // The number may be another object's by now.
        let stays = |spot: &Spot, others: &[Spot]| {
            let again = |other: &&Spot| other.place == spot.place && is_same(other, spot);
            !is_both(spot) || others.iter().find(again).is_none()
        };
        let (gone, come) = (std::mem::take(&mut self.gone), std::mem::take(&mut self.come));
        self.gone = gone.iter().filter(|spot| stays(spot, &come)).cloned().collect();
        self.come = come.iter().filter(|spot| stays(spot, &gone)).cloned().collect();
    }

    fn take_moved(&mut self) -> Vec<Moved> {
        self.gone.sort_by(|a, b| a.place.cmp(&b.place));
        self.come.sort_by(|a, b| a.place.cmp(&b.place));
        // By number: a handful of names of one object at most.
        let mut by_inode: HashMap<u64, Vec<usize>> = HashMap::new();
        for (index, gone) in self.gone.iter().enumerate() {
            by_inode.entry(gone.identity.inode).or_default().push(index);
        }
        let mut taken = BTreeMap::new();
        let mut moved = Vec::new();
        let mut stay = Vec::new();
        for come in std::mem::take(&mut self.come) {
            let candidates = by_inode.get(&come.identity.inode).map_or(&[][..], Vec::as_slice);
            let is_free = |index: &&usize| !taken.contains_key(*index) && is_same(&self.gone[**index], &come);
            // Of several names rather one in the same directory.
            let in_same = |index: &&usize| self.gone[**index].place.directory == come.place.directory;
            let from = candidates.iter().filter(is_free).find(in_same).or_else(|| candidates.iter().find(is_free));
            match from.copied() {
                Some(index) => {
                    taken.insert(index, come);
                }
                None => stay.push(come),
            }
        }
        let strayed: BTreeMap<ObjectId, Object> = self.strayed.iter().map(|object| (object.id, *object)).collect();
        let mut known = BTreeSet::new();
        let mut rest = Vec::new();
        for (index, gone) in std::mem::take(&mut self.gone).into_iter().enumerate() {
            let object = gone.object;
            if let Some(come) = taken.remove(&index) {
                moved.push(Moved { from: Some(gone), to: Some(come), object });
            } else if strayed.contains_key(&object.id) && known.insert(object.id) {
                moved.push(Moved { from: Some(gone), to: None, object });
            } else {
                rest.push(gone);
            }
        }
        self.gone = rest;
        for come in stay {
            let is_alone = come.look.is_some_and(|look| look.links == 1 || look.kind() == Kind::Directory);
            let object = come.object;
            if self.returned.contains(&object.id) && known.insert(object.id) || come.is_older && is_alone {
                moved.push(Moved { from: None, to: Some(come), object });
            } else {
                self.come.push(come);
            }
        }
        let of_no_place = strayed.into_values().filter(|object| !known.contains(&object.id));
        moved.extend(of_no_place.map(|object| Moved { from: None, to: None, object }));
        moved
    }

    fn tell_altered(&mut self, moved: &[Moved], told: &mut Vec<Difference>) {
        let inodes: BTreeSet<u64> = moved
            .iter()
            .flat_map(|moved| [&moved.from, &moved.to])
            .filter_map(|spot| Some(spot.as_ref()?.identity.inode))
            .collect();
        let strayed: BTreeSet<ObjectId> = self.strayed.iter().map(|object| object.id).collect();
        let mut altered = std::mem::take(&mut self.altered);
        for Moved { from, to, object } in moved {
            // A watched directory is looked at by itself.
            let is_looked_at_alone = object.id != UNWATCHED && object.kind == Kind::Directory;
            if let (Some(from), Some(to)) = (from, to)
                && let (Some(old), Some(new), false) = (from.look, to.look, is_looked_at_alone)
            {
                altered.push(Altered { object: *object, place: Some(from.place.clone()), old, new });
            }
        }
        altered.sort_by_key(|altered| altered.new.changed.max(altered.new.modified));
        // Links that are told with a name that has come or gone.
        let named: BTreeSet<u64> = self.gone.iter().chain(&self.come).map(|spot| spot.identity.inode).collect();
        // An object with several names is told once.
        let mut met = BTreeSet::new();
        for Altered { object, place, old, new } in altered {
            // Another link of it may have been moved.
            let is_named = named.contains(&new.identity.inode);
            let is_moved = is_named || inodes.contains(&new.identity.inode) || strayed.contains(&object.id);
            let done = Done::between(&old, &new, is_moved);
            if done.is_nothing() {
                continue;
            }
            let is_first = object.id == UNWATCHED || met.insert(object.id);
            let object = if is_first { object } else { Object { id: UNWATCHED, ..object } };
            if done.links && object.id != UNWATCHED && !is_named {
                told.push(Told::Links(object).into());
            }
            let attributes = done.attributes.then(|| Told::Attributes(object, place.clone()));
            let modified = if done.is_set { Told::TimeSet(object, place) } else { Told::Modified(object, place) };
            let modified = done.modified.then_some(modified);
            let both = if done.attributes_last { [modified, attributes] } else { [attributes, modified] };
            told.extend(both.into_iter().flatten().map(Difference::from));
        }
    }

    fn tell_gone(&mut self, ended: &mut BTreeSet<ObjectId>, told: &mut Vec<Difference>) {
        self.gone.sort_by(|a, b| b.depth.cmp(&a.depth).then_with(|| a.place.cmp(&b.place)));
        for Spot { place, object, .. } in std::mem::take(&mut self.gone) {
            let is_directory = object.kind == Kind::Directory;
            if object.id != UNWATCHED {
                if !is_directory {
                    told.push(Told::Links(object).into());
                }
                if ended.remove(&object.id) {
                    told.push(Told::Gone(object).into());
                }
            }
            told.push(Told::Deleted(place, is_directory).into());
        }
    }

    fn tell_come(&mut self, told: &mut Vec<Difference>) {
        let born = |spot: &Spot| match spot.look {
            Some(look) if look.identity.born != 0 => look.identity.born,
            look => look.map_or(i64::MAX, |look| look.changed),
        };
        self.come.sort_by(|a, b| born(a).cmp(&born(b)).then_with(|| a.place.cmp(&b.place)));
        for Spot { place, object, look, is_older, .. } in std::mem::take(&mut self.come) {
            // One that was made and watched before anybody looked has one link.
            let is_link = look.is_none_or(|look| look.links > 1);
            if object.id != UNWATCHED && object.kind != Kind::Directory && is_link {
                told.push(Told::Links(object).into());
            }
            let was_written = look.is_some_and(|look| look.has_content() && look.links == 1 && !is_older);
            let written = was_written.then(|| Told::Modified(object, Some(place.clone())));
            told.push(Told::Created(place, object.kind == Kind::Directory).into());
            told.extend(written.map(Difference::from));
        }
    }
}

fn is_same(gone: &Spot, come: &Spot) -> bool {
    gone.identity.is(&come.identity) && gone.object.kind == come.object.kind
}

/// One onto a name that another one leaves comes behind that one. In a circle, such as of an exchange, the first stays in front.
fn in_order(moved: &mut Vec<Moved>) -> Vec<Moved> {
    let leaving: HashMap<Place, usize> = moved
        .iter()
        .enumerate()
        .filter_map(|(index, moved)| Some((moved.from.as_ref()?.place.clone(), index)))
        .collect();
    let before: Vec<Option<usize>> =
        moved.iter().map(|moved| leaving.get(&moved.to.as_ref()?.place).copied()).collect();
    let mut is_placed = vec![false; moved.len()];
    let mut order = Vec::with_capacity(moved.len());
    for start in 0..moved.len() {
        let mut chain = Vec::new();
        let mut next = Some(start);
        while let Some(index) = next.filter(|index| !is_placed[*index]) {
            is_placed[index] = true;
            chain.push(index);
            next = before[index];
        }
        // Of a circle the last in the chain leads back to the first.
        let is_circle = chain.len() > 1 && next == Some(start);
        if !is_circle {
            chain.reverse();
        }
        order.extend(chain);
    }
    let mut moved: Vec<_> = std::mem::take(moved).into_iter().map(Some).collect();
    order.into_iter().filter_map(|index| moved.get_mut(index).and_then(Option::take)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::CString;

    const NOBODY: ObjectId = UNWATCHED;

    fn place(directory: u64, name: &str) -> Place {
        Place { directory: ObjectId(directory), name: CString::new(name).expect("no NUL").into_boxed_c_str() }
    }

    fn look(inode: u64) -> Look {
        let identity = Identity { inode, born: inode as i64, handle: 0 };
        let mode = libc::S_IFREG | 0o644;
        Look { identity, mode, links: 1, size: 0, changed: 50, modified: 50, ..Look::default() }
    }

    fn spot(directory: u64, name: &str, inode: u64) -> Spot {
        Spot {
            place: place(directory, name),
            depth: directory as u32,
            object: Object { id: NOBODY, kind: Kind::File },
            identity: look(inode).identity,
            look: Some(look(inode)),
            is_older: false,
        }
    }

    fn watched(spot: Spot, id: u64) -> Spot {
        Spot { object: Object { id: ObjectId(id), ..spot.object }, ..spot }
    }

    fn directory(spot: Spot) -> Spot {
        let look = spot.look.map(|look| Look { mode: libc::S_IFDIR | 0o755, ..look });
        Spot { object: Object { kind: Kind::Directory, ..spot.object }, look, ..spot }
    }

    fn show(changes: Changes) -> Vec<String> {
        let place = |place: &Place| format!("{}/{}", place.directory.0, place.name.to_string_lossy());
        let optional = |at: &Option<Place>| at.as_ref().map_or("-".to_owned(), place);
        let show = |difference: Difference| match difference.0 {
            Told::Modified(object, at) => format!("modified {} {}", optional(&at), object.id.0 as i64),
            Told::TimeSet(object, at) => format!("time {} {}", optional(&at), object.id.0 as i64),
            Told::Attributes(object, at) => format!("attributes {} {}", optional(&at), object.id.0 as i64),
            Told::Links(object) => format!("links {}", object.id.0),
            Told::Created(at, directory) => format!("created {}{}", place(&at), if directory { "/" } else { "" }),
            Told::Deleted(at, directory) => format!("deleted {}{}", place(&at), if directory { "/" } else { "" }),
            Told::Moved { from, to, replaced, .. } => {
                let replaced = replaced.map_or(String::new(), |object| format!(" replacing {}", object.id.0 as i64));
                format!("moved {} {}{replaced}", optional(&from), optional(&to))
            }
            Told::Gone(object) => format!("gone {}", object.id.0),
            Told::Unmounted(object) => format!("unmounted {}", object.id.0),
        };
        changes.differences().into_iter().map(show).collect()
    }

    #[test]
    fn names_of_one_object_are_a_rename_in_one_directory_or_two() {
        let changes = Changes { gone: vec![spot(1, "a", 5)], come: vec![spot(2, "b", 5)], ..Changes::default() };
        assert!(!changes.has_half());
        assert_eq!(show(changes), ["moved 1/a 2/b"]);
    }

    #[test]
    fn a_number_that_is_used_again_is_no_rename() {
        let mut come = spot(1, "b", 5);
        come.identity.born = 99;
        let changes = Changes { gone: vec![spot(1, "a", 5)], come: vec![come], ..Changes::default() };
        assert!(changes.has_half());
        assert_eq!(show(changes), ["deleted 1/a", "created 1/b"]);
        let changes =
            Changes { gone: vec![spot(1, "a", 5)], come: vec![directory(spot(1, "b", 5))], ..Changes::default() };
        assert_eq!(show(changes), ["deleted 1/a", "created 1/b/"]);
    }

    #[test]
    fn a_name_that_changed_hands_is_deleted_and_then_created() {
        let changes = Changes { gone: vec![spot(1, "a", 5)], come: vec![spot(1, "a", 6)], ..Changes::default() };
        assert_eq!(show(changes), ["deleted 1/a", "created 1/a"]);
    }

    #[test]
    fn a_rename_onto_what_is_gone_has_replaced_it() {
        let gone = vec![spot(1, "tmp", 6), watched(spot(1, "file", 5), 77)];
        let ended = vec![Object { id: ObjectId(77), kind: Kind::File }];
        let changes = Changes { gone, come: vec![spot(1, "file", 6)], ended, ..Changes::default() };
        assert_eq!(show(changes), ["moved 1/tmp 1/file replacing 77", "gone 77"]);
    }

    #[test]
    fn a_chain_of_renames_is_told_from_its_end() {
        let gone = vec![spot(1, "log", 5), spot(1, "log.1", 6), spot(1, "log.2", 7)];
        let come = vec![spot(1, "log.1", 5), spot(1, "log.2", 6), spot(1, "log", 8)];
        let changes = Changes { gone, come, ..Changes::default() };
        assert_eq!(show(changes), ["moved 1/log.1 1/log.2 replacing -1", "moved 1/log 1/log.1", "created 1/log"]);
    }

    #[test]
    fn an_exchange_is_two_renames() {
        let gone = vec![spot(1, "a", 5), spot(2, "b", 6)];
        let come = vec![spot(2, "b", 5), spot(1, "a", 6)];
        assert_eq!(show(Changes { gone, come, ..Changes::default() }), ["moved 1/a 2/b", "moved 2/b 1/a"]);
    }

    #[test]
    fn a_tree_goes_from_below() {
        let inner = watched(directory(spot(1, "d", 5)), 2);
        let ended = vec![Object { id: ObjectId(2), kind: Kind::Directory }];
        let changes = Changes { gone: vec![inner, spot(2, "f", 6)], ended, ..Changes::default() };
        assert_eq!(show(changes), ["deleted 2/f", "gone 2", "deleted 1/d/"]);
    }

    #[test]
    fn a_link_is_told_to_the_object_before_its_name() {
        let link = |name| {
            let spot = watched(spot(1, name, 5), 9);
            Spot { look: spot.look.map(|look| Look { links: 2, ..look }), ..spot }
        };
        assert_eq!(show(Changes { come: vec![link("b")], ..Changes::default() }), ["links 9", "created 1/b"]);
        let altered = |links| Altered {
            object: Object { id: ObjectId(9), kind: Kind::File },
            place: Some(place(1, "a")),
            old: look(5),
            new: Look { links, changed: 60, ..look(5) },
        };
        let come = vec![link("b")];
        let changes = Changes { come, altered: vec![altered(2)], ..Changes::default() };
        assert_eq!(show(changes), ["links 9", "created 1/b"], "once");
        assert_eq!(show(Changes { altered: vec![altered(2)], ..Changes::default() }), ["links 9"]);
    }

    #[test]
    fn what_was_written_comes_before_it_was_moved() {
        let mut to = spot(1, "b", 5);
        to.look = Some(Look { size: 9, modified: 60, changed: 70, ..look(5) });
        let changes = Changes { gone: vec![spot(1, "a", 5)], come: vec![to], ..Changes::default() };
        assert_eq!(show(changes), ["modified 1/a -1", "moved 1/a 1/b"]);
    }

    #[test]
    fn content_comes_behind_creation_and_creation_by_birth() {
        let mut written = spot(1, "a", 8);
        written.look = Some(Look { size: 3, ..look(8) });
        let changes = Changes { come: vec![written, spot(1, "b", 7)], ..Changes::default() };
        assert_eq!(show(changes), ["created 1/b", "created 1/a", "modified 1/a -1"]);
    }

    #[test]
    fn what_is_older_than_the_last_look_was_moved_here_or_linked() {
        let older = |links| {
            let spot = spot(1, "a", 8);
            let look = spot.look.map(|look| Look { size: 3, links, ..look });
            Changes { come: vec![Spot { is_older: true, look, ..spot }], ..Changes::default() }
        };
        assert_eq!(show(older(1)), ["moved - 1/a"]);
        assert_eq!(show(older(2)), ["created 1/a"]);
    }

    #[test]
    fn watched_objects_stray_and_return() {
        let object = Object { id: ObjectId(9), kind: Kind::File };
        let gone = vec![watched(spot(1, "a", 5), 9)];
        assert_eq!(show(Changes { gone, strayed: vec![object], ..Changes::default() }), ["moved 1/a -"]);
        assert_eq!(show(Changes { strayed: vec![object], ..Changes::default() }), ["moved - -"]);
        let come = vec![watched(spot(1, "a", 5), 9)];
        let returned = BTreeSet::from([ObjectId(9)]);
        assert_eq!(show(Changes { come, returned, ..Changes::default() }), ["moved - 1/a"]);
    }

    #[test]
    fn what_came_and_went_meanwhile_is_nothing() {
        let changes = Changes {
            gone: vec![spot(1, "a", 5), spot(2, "x", 5)],
            come: vec![spot(2, "x", 5), spot(3, "b", 5)],
            ..Changes::default()
        };
        assert_eq!(show(changes), ["moved 1/a 3/b"]);
    }

    #[test]
    fn an_object_with_two_names_is_told_once() {
        let altered = |name| Altered {
            object: Object { id: ObjectId(9), kind: Kind::File },
            place: Some(place(1, name)),
            old: look(5),
            new: Look { size: 4, modified: 60, changed: 60, ..look(5) },
        };
        let changes = Changes { altered: vec![altered("a"), altered("b")], ..Changes::default() };
        assert_eq!(show(changes), ["modified 1/a 9", "modified 1/b -1"]);
    }

    #[test]
    fn ends_come_last() {
        let file = Object { id: ObjectId(9), kind: Kind::File };
        let folder = Object { id: ObjectId(8), kind: Kind::Directory };
        let changes = Changes { ended: vec![folder, file], come: vec![spot(1, "a", 5)], ..Changes::default() };
        assert_eq!(show(changes), ["created 1/a", "gone 8", "links 9", "gone 9"]);
    }
}
