//! Which watches an object has, over all groups.

use std::collections::BTreeMap;
use std::ops::Bound;

use crate::allocator::Wd;
use crate::engine::ObjectId;

/// An [`ObjectId`] in halves: aligned to four bytes, it leaves no gap beside a wd or a mask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PackedObject {
    high: u32,
    low: u32,
}

impl From<ObjectId> for PackedObject {
    fn from(ObjectId(number): ObjectId) -> Self {
        Self { high: (number >> 32) as u32, low: number as u32 }
    }
}

impl From<PackedObject> for ObjectId {
    fn from(PackedObject { high, low }: PackedObject) -> Self {
        Self(u64::from(high) << 32 | u64::from(low))
    }
}

/// The number of a group among those that there are now. Given again when the group is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place(pub(crate) u32);

/// One ordered map: a B-tree filled in ascending order is a little over half full, which makes some 35 bytes a watch.
#[derive(Debug, Clone, Default)]
pub(crate) struct ObjectIndex {
    wds: BTreeMap<(PackedObject, Place), Wd>,
}

impl ObjectIndex {
    /// The watch of a group on an object.
    pub(crate) fn watch_of(&self, place: Place, object: ObjectId) -> Option<Wd> {
        self.wds.get(&(object.into(), place)).copied()
    }

    /// The watches on an object, by the place of their group.
    pub(crate) fn watches_of(&self, object: ObjectId) -> impl Iterator<Item = (Place, Wd)> {
        let object = object.into();
        let all = (object, Place(0))..=(object, Place(u32::MAX));
        self.wds.range(all).map(|(&(_, place), &wd)| (place, wd))
    }

    /// The first of them.
    pub(crate) fn first_watch(&self, object: ObjectId) -> Option<(Place, Wd)> {
        self.watches_of(object).next()
    }

    /// The next one behind that of the group at `place`, which may have ended.
    pub(crate) fn watch_behind(&self, object: ObjectId, place: Place) -> Option<(Place, Wd)> {
        let object = object.into();
        let behind = (Bound::Excluded((object, place)), Bound::Included((object, Place(u32::MAX))));
        self.wds.range(behind).next().map(|(&(_, place), &wd)| (place, wd))
    }

    /// The group has no watch on the object.
    pub(crate) fn insert(&mut self, place: Place, object: ObjectId, wd: Wd) {
        self.wds.insert((object.into(), place), wd);
    }

    pub(crate) fn remove(&mut self, place: Place, object: ObjectId) {
        self.wds.remove(&(object.into(), place));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_and_groups_are_kept_apart() {
        let mut index = ObjectIndex::default();
        let objects = [0, 1, u64::from(u32::MAX), 1 << 32, (1 << 32) + 1, u64::MAX].map(ObjectId);
        let places = [0, 7, u32::MAX].map(Place);
        let mut wd = 0;
        for object in objects {
            assert_eq!(ObjectId::from(PackedObject::from(object)), object);
            for place in places {
                wd += 1;
                index.insert(place, object, Wd(wd));
            }
        }
        let watches = |index: &ObjectIndex, object| index.watches_of(object).collect::<Vec<_>>();
        for (object, first) in objects.into_iter().zip((1..).step_by(3)) {
            assert_eq!(watches(&index, object), [0, 1, 2].map(|n| (places[n], Wd(first + n as i32))));
            assert_eq!(index.watch_of(places[1], object), Some(Wd(first + 1)));
            assert_eq!(index.watch_of(Place(8), object), None);
        }
        assert_eq!(index.first_watch(objects[1]), Some((places[0], Wd(4))));
        assert_eq!(index.watch_behind(objects[1], places[0]), Some((places[1], Wd(5))));
        assert_eq!(index.watch_behind(objects[1], Place(8)), Some((places[2], Wd(6))));
        assert_eq!(index.watch_behind(objects[1], places[2]), None);
        index.remove(places[1], objects[3]);
        assert_eq!(watches(&index, objects[3]), [(places[0], Wd(10)), (places[2], Wd(12))]);
        assert_eq!(watches(&index, objects[4]).len(), 3);
    }
}
