//! Where hooks are told.

use uinotify_core::FsEvent;

/// Takes each hook of the file system at its moment: after the operation, before whoever asked for it is answered.
pub trait Sink {
    /// One hook.
    fn observe(&mut self, event: FsEvent<'_>);
}

impl<F: FnMut(FsEvent<'_>)> Sink for F {
    fn observe(&mut self, event: FsEvent<'_>) {
        self(event);
    }
}
