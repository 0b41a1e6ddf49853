//! What is watched by fanotify.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use nix::errno::Errno;
use nix::sys::epoll::EpollFlags;
use uinotify_core::{AddMask, Mask, ObjectId, Wd};
use uinotify_source::fanotify::{Marked, Options, Source};
use uinotify_source::fuse::may_read;

use super::{Emulator, Token, say};
use crate::config::{Order, Sources};
use crate::paths;
use crate::sender::with_rights_of;
use crate::status::MarksStatus;
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
        let asked = Mask::from_bits_retain(bits);
        let marked = self.mark(object, asked, path);
        if marked == Err(Errno::ENOSPC) && self.config.sources == Sources::Fanotify {
            // What it would have done at a limit of its own.
            self.sessions.get(&id).into_iter().for_each(|session| self.tools.engine.burn_wd(session.group));
        }
        let marked = marked?;
        if !self.sessions.get(&id).is_some_and(|session| self.tools.engine.has_watch_room(session.group)) {
            self.make_room();
        }
        let session = self.sessions.get_mut(&id).ok_or(Errno::EIO)?;
        let added = session.add_observed_watch(&mut self.tools, marked, mask, path);
        if let Err(errno) = added {
            self.unmark(marked);
            return Err(errno);
        }
        // The mark is to tell what all watches of the object together ask for.
        let interest = self.tools.engine.interest(marked);
        if !asked.contains(interest) {
            self.mark(object, asked | interest, path)?;
        }
        added.map(|added| added.wd)
    }

    /// Watches by a mark what the kernel's inotify has refused to watch, where that may be. `None`: it cannot be.
    pub(super) fn watch_without_kernel(
        &mut self,
        id: u64,
        object: BorrowedFd<'_>,
        (mask, bits): (AddMask, u32),
        path: &[u8],
    ) -> Option<Result<Wd, Errno>> {
        let has_room = |emulator: &Self| {
            emulator.sessions.get(&id).is_some_and(|session| emulator.tools.engine.has_watch_room(session.group))
        };
        // A limit of uinotify's own holds for all sources.
        if self.config.sources != Sources::Auto || !has_room(self) {
            return None;
        }
        match self.add_marked_watch(id, object, (mask, bits), path) {
            Err(Errno::ENOSPC) => None,
            added => Some(added),
        }
    }

    /// Whether an instance watches an object by a mark already. It stays there: an object has one watch in an instance.
    pub(super) fn is_marked_by(&self, id: u64, object: BorrowedFd<'_>) -> bool {
        let (Some(session), Some(marked)) = (self.sessions.get(&id), &self.marked) else { return false };
        session.has_marks()
            && marked.find(object).is_some_and(|object| self.tools.engine.watch_of(session.group, object).is_some())
    }

    /// Whoever asks for strict order is to know at once if it is not to be had.
    ///
    /// # Errors
    ///
    /// If it is not.
    pub(super) fn check_order(&mut self) -> io::Result<()> {
        if self.config.order == Order::Eager || !matches!(self.config.sources, Sources::Auto | Sources::Fanotify) {
            return Ok(());
        }
        self.ensure_marked().map_err(|errno| {
            let why = if errno == Errno::EPERM { "it needs CAP_SYS_ADMIN" } else { errno.desc() };
            io::Error::other(format!("strict order is not to be had of fanotify: {why}"))
        })
    }

    /// Whether marks may take the place of a kernel instance, and can.
    pub(super) fn can_mark(&mut self) -> bool {
        self.config.sources == Sources::Auto && self.ensure_marked().is_ok()
    }

    fn ensure_marked(&mut self) -> Result<(), Errno> {
        if self.marked.is_none() {
            let source = Source::new(Options {
                strict_order: self.config.order == Order::Strict,
                shares_process: self.config.shares_process,
                ..Options::default()
            })?;
            self.watch(source.as_fd(), Token::Marked, EpollFlags::EPOLLIN)?;
            self.marked = Some(source);
        }
        Ok(())
    }

    fn mark(&mut self, object: BorrowedFd<'_>, mask: Mask, path: &[u8]) -> Result<ObjectId, Errno> {
        let before = self.volumes_count();
        let marked = self.ensure_marked().and_then(|()| {
            self.with_marked(|marked, told| marked.watch(object, mask, told)).unwrap_or(Err(Errno::EIO))
        });
        if self.volumes_count() > before
            && let (Some(source), Ok(object)) = (&self.marked, marked)
        {
            let device = source.known_by(object).map(|(device, ..)| device);
            for volume in source.volumes().iter().filter(|volume| Some(volume.device) == device) {
                self.tell(&|| volume.to_string());
            }
        }
        marked.map_err(|errno| match errno {
            Errno::EACCES => errno,
            errno => {
                let refusal = || {
                    let path = String::from_utf8_lossy(paths::written(path));
                    format!("{path} cannot be watched by fanotify: {}", errno.desc())
                };
                // A limit of marks is what the program is told of; and where others would do, this one is not missed.
                if errno != Errno::ENOSPC && self.config.sources == Sources::Fanotify {
                    say(&refusal());
                } else {
                    self.complain(&refusal);
                }
                Errno::ENOSPC
            }
        })
    }

    fn volumes_count(&self) -> usize {
        self.marked.as_ref().map_or(0, |marked| marked.volumes().iter().count())
    }

    /// How file systems are marked, for people.
    pub(super) fn marks(&self) -> Vec<MarksStatus> {
        let volumes = self.marked.iter().flat_map(|marked| marked.volumes().iter());
        let status = |Marked { device, watched, kind }| MarksStatus {
            device: format!("{}:{}", libc::major(device), libc::minor(device)),
            kind: kind.to_string(),
            watched_objects: watched as u64,
        };
        volumes.map(status).collect()
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
