//! Where hooks are told.

use uinotify_core::{FsEvent, Mask, ObjectId, Profile};

/// Takes each hook of the file system at its moment: after the operation, before whoever asked for it is answered.
pub trait Sink {
    /// One hook.
    fn observe(&mut self, event: FsEvent<'_>);

    /// An event of an object comes later, though what it tells of has happened.
    fn expect(&mut self, object: ObjectId) {
        let _ = object;
    }

    /// What all watches on an object together ask for at this moment, as `Engine::interest`. In fast mode only what is asked for is sure to be told.
    fn interest(&self, object: ObjectId) -> Mask;

    /// Which Linux is shown: what that does not tell need not be found out.
    fn profile(&self) -> Profile {
        Profile::Native
    }
}

impl<F: FnMut(FsEvent<'_>)> Sink for F {
    fn observe(&mut self, event: FsEvent<'_>) {
        self(event);
    }

    fn interest(&self, _: ObjectId) -> Mask {
        Mask::IN_ALL_EVENTS
    }
}
