//! The `O_PATH` descriptors that are kept, of many more objects that are known.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::numbered::Numbered;
use super::request::NodeId;

/// A bounded cache. Whoever has taken a descriptor keeps it though it is dropped here.
#[derive(Debug)]
pub(super) struct Descriptors {
    places: Numbered<NodeId, usize>,
    slots: Vec<Slot>,
    slots_max: usize,
    /// Goes round, and drops the first that was not used since it last came by.
    hand: usize,
}

#[derive(Debug)]
struct Slot {
    node: NodeId,
    object: Arc<OwnedFd>,
    was_used: bool,
}

impl Descriptors {
    pub(super) fn new(slots_max: usize) -> Self {
        Self { places: Numbered::default(), slots: Vec::new(), slots_max: slots_max.max(1), hand: 0 }
    }

    pub(super) fn get(&mut self, node: NodeId) -> Option<Arc<OwnedFd>> {
        let slot = self.slots.get_mut(*self.places.get(&node)?)?;
        slot.was_used = true;
        Some(Arc::clone(&slot.object))
    }

    /// Keeps one; what had to make room for it comes back.
    #[must_use]
    pub(super) fn insert(&mut self, node: NodeId, object: Arc<OwnedFd>) -> Option<(NodeId, Arc<OwnedFd>)> {
        if let Some(slot) = self.places.get(&node).and_then(|place| self.slots.get_mut(*place)) {
            slot.object = object;
            return None;
        }
        let dropped = if self.slots.len() >= self.slots_max { self.drop_one() } else { None };
        self.places.insert(node, self.slots.len());
        self.slots.push(Slot { node, object, was_used: false });
        dropped
    }

    pub(super) fn remove(&mut self, node: NodeId) -> Option<Arc<OwnedFd>> {
        let place = self.places.remove(&node)?;
        let slot = self.slots.swap_remove(place);
        if let Some(moved) = self.slots.get(place) {
            self.places.insert(moved.node, place);
        }
        Some(slot.object)
    }

    /// Drops the one that seems least needed.
    pub(super) fn drop_one(&mut self) -> Option<(NodeId, Arc<OwnedFd>)> {
        loop {
            if self.hand >= self.slots.len() {
                self.hand = 0;
            }
            let slot = self.slots.get_mut(self.hand)?;
            if slot.was_used {
                slot.was_used = false;
                self.hand += 1;
            } else {
                let node = slot.node;
                return self.remove(node).map(|object| (node, object));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object() -> Arc<OwnedFd> {
        Arc::new(std::fs::File::open("/").expect("the root").into())
    }

    #[test]
    fn what_is_used_stays() {
        let mut descriptors = Descriptors::new(3);
        for number in 1..=3 {
            assert!(descriptors.insert(NodeId(number), object()).is_none());
        }
        assert!(descriptors.get(NodeId(1)).is_some());
        assert_eq!(descriptors.insert(NodeId(4), object()).map(|(node, _)| node), Some(NodeId(2)));
        assert!(descriptors.get(NodeId(2)).is_none());
        for number in [1, 3, 4] {
            assert!(descriptors.get(NodeId(number)).is_some(), "{number}");
        }
        assert!(descriptors.remove(NodeId(3)).is_some());
        assert!(descriptors.get(NodeId(4)).is_some());
        assert!(descriptors.insert(NodeId(5), object()).is_none());
    }

    #[test]
    fn an_empty_one_drops_nothing() {
        assert!(Descriptors::new(1).drop_one().is_none());
    }
}
