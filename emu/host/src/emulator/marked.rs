//! What is watched by fanotify.

use std::os::fd::{AsFd, BorrowedFd};

use nix::errno::Errno;
use nix::sys::epoll::EpollFlags;
use uinotify_core::{AddMask, Mask, ObjectId, Wd};
use uinotify_source::fanotify::{Options, Source};
use uinotify_source::fuse::may_read;

use super::{Emulator, Token, say};
use crate::paths;
use crate::sender::with_rights_of;
use crate::told::Told;

impl Emulator {
    /// Watches an object that is in no tree by a mark. `bits` are those of the call.
    ///
    /// # Errors
    ///
    /// ENOSPC at a limit of marks, and where the kernel can mark nothing, with a line that says so; else as the core's `add_watch`.
    pub(super) fn add_marked_watch(
        &mut self,
        id: u64,
        object: BorrowedFd<'_>,
        (mask, bits): (AddMask, u32),
        path: &[u8],
    ) -> Result<Wd, Errno> {
        with_rights_of(self.inbox.sender(), object, || may_read(object))?;
        self.ensure_marked(path)?;
        let asked = Mask::from_bits_retain(bits);
        let marked = self.mark(object, asked, path)?;
        if !self.sessions.get(&id).is_some_and(|session| self.tools.engine.has_watch_room(session.group)) {
            self.make_room();
        }
        let session = self.sessions.get_mut(&id).ok_or(Errno::EIO)?;
        let added = session.add_observed_watch(&mut self.tools, marked, mask, path);
        if added.is_err() {
            self.unmark(marked);
            return added.map(|added| added.wd);
        }
        // The mark is to tell what all watches of the object together ask for.
        let interest = self.tools.engine.interest(marked) | asked & Mask::IN_EXCL_UNLINK;
        if !asked.contains(interest) {
            self.mark(object, asked | interest, path)?;
        }
        added.map(|added| added.wd)
    }

    fn ensure_marked(&mut self, path: &[u8]) -> Result<(), Errno> {
        if self.marked.is_some() {
            return Ok(());
        }
        let source = Source::new(Options { shares_process: self.config.shares_process, ..Options::default() })
            .map_err(|errno| {
                say(&format!(
                    "{} cannot be watched by fanotify: {}",
                    String::from_utf8_lossy(paths::written(path)),
                    errno.desc()
                ));
                Errno::ENOSPC
            })?;
        self.watch(source.as_fd(), Token::Marked, EpollFlags::EPOLLIN)?;
        self.marked = Some(source);
        Ok(())
    }

    fn mark(&mut self, object: BorrowedFd<'_>, mask: Mask, path: &[u8]) -> Result<ObjectId, Errno> {
        self.with_marked(|marked, told| marked.watch(object, mask, told)).unwrap_or(Err(Errno::EIO)).map_err(|errno| {
            match errno {
                Errno::EACCES | Errno::ENOSPC => errno,
                errno => {
                    let path = String::from_utf8_lossy(paths::written(path));
                    say(&format!("{path} cannot be watched by fanotify on its file system: {}", errno.desc()));
                    Errno::ENOSPC
                }
            }
        })
    }

    /// Takes all that has happened to what is marked.
    pub(super) fn drain_marked(&mut self) {
        if let Some(Err(errno)) = self.with_marked(|marked, told| marked.drain(told)) {
            self.complain(&|| format!("fanotify cannot be read: {}", errno.desc()));
        }
        self.let_go_unwatched();
    }

    /// The watch of an object has ended in a group. Its mark goes with the last one.
    pub(super) fn unmark(&mut self, object: ObjectId) {
        if !self.tools.engine.is_watched(object)
            && let Some(marked) = &mut self.marked
        {
            marked.unwatch(object);
        }
    }

    fn with_marked<T>(&mut self, act: impl FnOnce(&mut Source, &mut Told<'_>) -> T) -> Option<T> {
        let mut marked = self.marked.take()?;
        let mut told =
            Told { tools: &mut self.tools, sessions: &mut self.sessions, groups: &self.groups, touched: Vec::new() };
        let result = act(&mut marked, &mut told);
        let touched = told.touched;
        self.marked = Some(marked);
        for id in touched {
            self.update_interest(id);
        }
        Some(result)
    }
}
