//! What is watched without a file system: nothing happens to it but what is injected.

use std::os::fd::BorrowedFd;

use nix::errno::Errno;
use uinotify_core::{AddMask, ObjectId, Wd};
use uinotify_source::fuse::may_read;

use super::Emulator;
use crate::sender::with_rights_of;

impl Emulator {
    /// Watches an object of which no source tells.
    ///
    /// # Errors
    ///
    /// EACCES if the program may not read it; else as the core's `add_watch`.
    pub(super) fn add_scripted_watch(
        &mut self,
        id: u64,
        object: BorrowedFd<'_>,
        mask: AddMask,
        path: &[u8],
    ) -> Result<Wd, Errno> {
        with_rights_of(self.inbox.sender(), object, || may_read(object))?;
        if !self.sessions.get(&id).is_some_and(|session| self.tools.engine.has_watch_room(session.group)) {
            self.make_room();
        }
        let scripted = self.script.watch(object)?;
        let session = self.sessions.get_mut(&id).ok_or(Errno::EIO)?;
        let added = session.add_observed_watch(&mut self.tools, scripted, mask, path);
        if added.is_err() {
            self.forget_scripted(scripted);
        }
        added.map(|added| added.wd)
    }

    /// The watch of an object has ended in a group.
    pub(super) fn forget_scripted(&mut self, object: ObjectId) {
        if !self.tools.engine.is_watched(object) {
            self.script.forget(object);
        }
    }
}
