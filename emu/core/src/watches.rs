//! The watches of one group: by wd, and in order of creation. By object they are in the engine's index of all groups.

use std::collections::BTreeMap;

use crate::allocator::Wd;
use crate::engine::ObjectId;
use crate::index::PackedObject;

/// One watch, as [`Engine::watches`](crate::Engine::watches) shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Watch {
    /// Its number.
    pub wd: Wd,
    /// What it watches.
    pub object: ObjectId,
    /// The stored mask with its flags (MASK-4), as fdinfo shows it.
    pub mask: u32,
}

/// Stands for "none" in the order of creation: no watch has it.
const NONE: Wd = Wd(0);

#[derive(Debug, Clone)]
struct Entry {
    object: PackedObject,
    mask: u32,
    older: Wd,
    newer: Wd,
}

/// An ordered map, and a list through it. A B-tree filled in ascending order is a little over half full: some 50 bytes a
/// watch.
#[derive(Debug, Clone)]
pub(crate) struct WatchTable {
    by_wd: BTreeMap<Wd, Entry>,
    oldest: Wd,
    newest: Wd,
}

impl Default for WatchTable {
    fn default() -> Self {
        Self { by_wd: BTreeMap::new(), oldest: NONE, newest: NONE }
    }
}

impl WatchTable {
    pub(crate) fn len(&self) -> usize {
        self.by_wd.len()
    }

    pub(crate) fn object_of(&self, wd: Wd) -> Option<ObjectId> {
        self.by_wd.get(&wd).map(|entry| entry.object.into())
    }

    pub(crate) fn mask(&self, wd: Wd) -> Option<u32> {
        self.by_wd.get(&wd).map(|entry| entry.mask)
    }

    pub(crate) fn mask_mut(&mut self, wd: Wd) -> Option<&mut u32> {
        self.by_wd.get_mut(&wd).map(|entry| &mut entry.mask)
    }

    /// Adds the newest watch, with a wd that none has.
    pub(crate) fn insert(&mut self, watch: Watch) {
        let Watch { wd, object, mask } = watch;
        let older = std::mem::replace(&mut self.newest, wd);
        match self.by_wd.get_mut(&older) {
            Some(entry) => entry.newer = wd,
            None => self.oldest = wd,
        }
        self.by_wd.insert(wd, Entry { object: object.into(), mask, older, newer: NONE });
    }

    pub(crate) fn remove(&mut self, wd: Wd) -> Option<ObjectId> {
        let Entry { object, older, newer, .. } = self.by_wd.remove(&wd)?;
        match self.by_wd.get_mut(&older) {
            Some(entry) => entry.newer = newer,
            None => self.oldest = newer,
        }
        match self.by_wd.get_mut(&newer) {
            Some(entry) => entry.older = older,
            None => self.newest = older,
        }
        Some(object.into())
    }

    /// Oldest first (FD-15: fdinfo shows them from the other end).
    pub(crate) fn iter(&self) -> Watches<'_> {
        Watches { table: Some(self), front: self.oldest, back: self.newest, left: self.len() }
    }
}

/// The watches of a group in order of creation, oldest first; reversed, as fdinfo shows them.
#[derive(Debug, Clone)]
pub struct Watches<'a> {
    table: Option<&'a WatchTable>,
    front: Wd,
    back: Wd,
    left: usize,
}

impl Watches<'_> {
    pub(crate) fn none() -> Self {
        Self { table: None, front: NONE, back: NONE, left: 0 }
    }

    fn get(&self, wd: Wd) -> Option<(Watch, &Entry)> {
        let entry = self.table?.by_wd.get(&wd)?;
        Some((Watch { wd, object: entry.object.into(), mask: entry.mask }, entry))
    }
}

impl Iterator for Watches<'_> {
    type Item = Watch;

    fn next(&mut self) -> Option<Watch> {
        let left = self.left.checked_sub(1)?;
        let (watch, entry) = self.get(self.front)?;
        self.front = entry.newer;
        self.left = left;
        Some(watch)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl DoubleEndedIterator for Watches<'_> {
    fn next_back(&mut self) -> Option<Watch> {
        let left = self.left.checked_sub(1)?;
        let (watch, entry) = self.get(self.back)?;
        self.back = entry.older;
        self.left = left;
        Some(watch)
    }
}

impl ExactSizeIterator for Watches<'_> {}

#[cfg(test)]
mod tests {
    use super::*;

    fn watch(n: i32) -> Watch {
        Watch { wd: Wd(n), object: ObjectId(100 + n as u64), mask: n as u32 }
    }

    fn order(table: &WatchTable) -> Vec<i32> {
        let order: Vec<i32> = table.iter().map(|watch| watch.wd.0).collect();
        let mut reversed: Vec<i32> = table.iter().rev().map(|watch| watch.wd.0).collect();
        reversed.reverse();
        assert_eq!(order, reversed);
        assert_eq!(table.iter().len(), order.len());
        order
    }

    /// FD-15
    #[test]
    fn order_is_that_of_creation() {
        let mut table = WatchTable::default();
        for n in [5, 2, 9, 1] {
            table.insert(watch(n));
        }
        assert_eq!(order(&table), [5, 2, 9, 1]);
        let removals = [(2, vec![5, 9, 1]), (1, vec![5, 9]), (5, vec![9]), (9, vec![])];
        for (n, left) in removals {
            assert_eq!(table.remove(Wd(n)), Some(ObjectId(100 + n as u64)));
            assert_eq!(table.remove(Wd(n)), None);
            assert_eq!(order(&table), left);
        }
        table.insert(watch(3));
        table.insert(watch(2));
        assert_eq!(order(&table), [3, 2]);
        assert_eq!(table.iter().next(), Some(watch(3)));
    }

    #[test]
    fn iterator_meets_in_the_middle() {
        let mut table = WatchTable::default();
        for n in 1..=3 {
            table.insert(watch(n));
        }
        let mut iter = table.iter();
        assert_eq!((iter.next(), iter.next_back(), iter.next()), (Some(watch(1)), Some(watch(3)), Some(watch(2))));
        assert_eq!((iter.next(), iter.next_back()), (None, None));
    }

    #[test]
    fn watches_are_found_by_wd() {
        let mut table = WatchTable::default();
        table.insert(watch(4));
        assert_eq!(table.object_of(Wd(4)), Some(ObjectId(104)));
        *table.mask_mut(Wd(4)).unwrap() = 7;
        assert_eq!((table.mask(Wd(4)), table.iter().next().unwrap().mask), (Some(7), 7));
        table.remove(Wd(4));
        assert_eq!((table.mask(Wd(4)), table.object_of(Wd(4)), table.len()), (None, None, 0));
    }
}
