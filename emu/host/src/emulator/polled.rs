//! What is watched by looking again and again. A look may take as long as a server likes, so that nothing here waits for one: whoever adds a
//! watch is answered when the first look was taken.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use nix::errno::Errno;
use nix::sys::epoll::EpollFlags;
use uinotify_core::{AddMask, FsEvent, Mask, ObjectId, Wd};
use uinotify_intercept::{Notification, Target};
use uinotify_source::fuse::may_read;
use uinotify_source::poll::{FileSystems, Known, Options, Report, Source, Ticket, Watch};
use uinotify_wire::Reply;

use super::tracing::AddWatchCall;
use super::{Emulator, Token, say};
use crate::fault::Call;
use crate::paths;
use crate::place::{Inode, Place};
use crate::reply::{ReplyObject, error};
use crate::sender::with_rights_of;
use crate::told::Told;

/// What no look can find.
const NEVER_TOLD: Mask = Mask::IN_ACCESS.union(Mask::IN_OPEN).union(Mask::IN_CLOSE_WRITE).union(Mask::IN_CLOSE_NOWRITE);

/// Watches that one instance may have waiting for a first look: each holds a descriptor, and takes a thread of the program.
const AWAITED_MAX: usize = 256;

/// The source, and who waits for it.
#[derive(Debug, Default)]
pub(super) struct Polled {
    source: Option<Source>,
    pub(super) file_systems: FileSystems,
    awaited: BTreeMap<Ticket, Awaited>,
    /// It has been said what is never told.
    has_said: bool,
}

/// A watch that is to be added when its object was looked at.
#[derive(Debug)]
struct Awaited {
    session: u64,
    mask: AddMask,
    path: Vec<u8>,
    /// For whoever follows.
    call: Option<AddWatchCall>,
    answer_to: Option<AnswerTo>,
}

/// Where an answer goes that comes later.
#[derive(Debug)]
pub(super) enum AnswerTo {
    /// A connection by its key, unless another one has that by now.
    Connection(usize, u64),
    Object(ReplyObject),
    /// A call that a filter has stopped.
    Stopped(Arc<Target>, Notification),
}

/// What was asked is answered at once, or when something was done.
#[derive(Debug)]
pub(super) enum Answered {
    Now(Reply),
    Later(Ticket),
}

impl Polled {
    /// By what people know a polled object.
    pub(super) fn known_by(&self, object: ObjectId) -> Option<&Known> {
        self.source.as_ref()?.known_by(object)
    }

    /// The watch of an object has ended in the last group.
    pub(super) fn unwatch(&mut self, object: ObjectId) {
        if let Some(source) = &mut self.source {
            source.unwatch(object);
        }
    }

    /// Has all looked at; `None` if there is nothing.
    pub(super) fn barrier(&mut self) -> Option<Ticket> {
        self.source.as_mut()?.barrier()
    }

    /// Where the answer to an order goes.
    pub(super) fn answer_to(&mut self, ticket: Ticket, answer_to: AnswerTo) {
        if let Some(awaited) = self.awaited.get_mut(&ticket) {
            awaited.answer_to = Some(answer_to);
        }
    }
}

impl Emulator {
    /// Has an object that is in no tree looked at, and then watched. `bits` are those of the call.
    ///
    /// # Errors
    ///
    /// ENOSPC where the kernel has no room for a thread, with a line that says so; ENOMEM for more than can wait. All else is told with the answer.
    pub(super) fn begin_polled_watch(
        &mut self,
        id: u64,
        object: OwnedFd,
        bits: u32,
        path: &[u8],
    ) -> Result<Ticket, Errno> {
        let mask = self.checked(bits)?;
        if let Some(refusal) = self.faults.of_call(Call::AddWatch, id, path) {
            self.burn_like_linux(id, object.as_fd(), path, refusal);
            return Err(refusal);
        }
        if self.polled.awaited.values().filter(|awaited| awaited.session == id).count() >= AWAITED_MAX {
            self.complain(&|| format!("instance {id} has {AWAITED_MAX} watches that wait for a first look: no more"));
            return Err(Errno::ENOMEM);
        }
        let call = self.add_watch_call(object.as_fd(), bits, path);
        let noted = paths::noted(path, object.as_fd()).into_owned();
        let sender = self.inbox.sender();
        let check =
            Box::new(move |object: std::os::fd::BorrowedFd<'_>| with_rights_of(sender, object, || may_read(object)));
        let asked = Mask::from_bits_retain(bits);
        let ordered = self.ensure_polled().and_then(|source| source.watch(Watch { object, mask: asked, check }));
        let ticket = ordered.map_err(|errno| {
            let path = String::from_utf8_lossy(path);
            say(&format!("{path} cannot be polled: {}", errno.desc()));
            Errno::ENOSPC
        })?;
        if asked.intersects(NEVER_TOLD) && !std::mem::replace(&mut self.polled.has_said, true) {
            let path = String::from_utf8_lossy(path);
            say(&format!("{path} is polled: opening, reading and closing are never told there"));
        }
        let awaited = Awaited { session: id, mask, path: noted, call, answer_to: None };
        self.polled.awaited.insert(ticket, awaited);
        Ok(ticket)
    }

    fn ensure_polled(&mut self) -> Result<&mut Source, Errno> {
        if self.polled.source.is_none() {
            let interval = self.config.poll_interval.unwrap_or(Options::default().interval);
            let source = Source::new(Options { interval })?;
            self.watch(source.as_fd(), Token::Polled, EpollFlags::EPOLLIN)?;
            self.polled.source = Some(source);
        }
        self.polled.source.as_mut().ok_or(Errno::EIO)
    }

    /// Takes what the threads have reported.
    pub(super) fn drain_polled(&mut self) {
        let Some(mut source) = self.polled.source.take() else { return };
        while let Some(report) = source.next_report() {
            match report {
                Report::Told(differences) => {
                    self.observe_all(differences.iter().map(uinotify_source::poll::Difference::hook));
                }
                Report::Watched(ticket, watched) => {
                    // Whatever ends a watch on the way is to find the source in its place.
                    self.polled.source = Some(source);
                    self.finish_polled_watch(ticket, watched);
                    let Some(back) = self.polled.source.take() else { return };
                    source = back;
                }
                Report::Passed(ticket) => self.pass_barrier(ticket),
            }
        }
        self.polled.source = Some(source);
        self.let_go_unwatched();
    }

    fn observe_all<'a>(&mut self, hooks: impl Iterator<Item = FsEvent<'a>>) {
        let mut told =
            Told { tools: &mut self.tools, sessions: &mut self.sessions, groups: &self.groups, touched: Vec::new() };
        hooks.for_each(|hook| told.observe(hook));
        let touched: BTreeSet<u64> = told.touched.into_iter().collect();
        for id in touched {
            self.update_interest(id);
        }
    }

    /// An object was looked at for the first time, or could not be.
    fn finish_polled_watch(&mut self, ticket: Ticket, watched: Result<(ObjectId, Known), Errno>) {
        let Some(Awaited { session: id, mask, path, call, answer_to }) = self.polled.awaited.remove(&ticket) else {
            return;
        };
        let result = watched.map_err(|errno| self.explain(errno, &path)).and_then(|(object, known)| {
            let added = self.add_polled_watch(id, object, mask, &path);
            if added.is_err() && !self.tools.engine.is_watched(object) {
                self.polled.unwatch(object);
            }
            if let Ok(wd) = added {
                let inode = Inode { device: known.device, inode: known.inode };
                let at = paths::absolute(&path).unwrap_or(&path).to_vec();
                self.answer_waiters_for(id, wd, &Place { path: at, inode: Some(inode) });
            }
            added
        });
        if let Some(call) = call {
            self.trace_late_watch(id, call, result);
        }
        let reply = || result.map_or_else(error, |wd| Reply::value(wd.0));
        match answer_to {
            Some(AnswerTo::Connection(key, number))
                if self.connections.get(key).is_some_and(|connection| connection.number == number) =>
            {
                self.reply_on_connection(key, &reply(), Vec::new());
            }
            Some(AnswerTo::Object(object)) => object.send(&reply(), &self.relay),
            Some(AnswerTo::Stopped(target, notification)) => {
                self.answer_call(&target, &notification, result.map(|wd| wd.0.into()));
            }
            // Whoever asked has hung up.
            Some(AnswerTo::Connection(..)) | None => {}
        }
        self.update_interest(id);
    }

    /// What Linux has no such error for is said.
    fn explain(&self, errno: Errno, path: &[u8]) -> Errno {
        match errno {
            Errno::EACCES | Errno::EPERM => Errno::EACCES,
            Errno::ENOENT => {
                let path = String::from_utf8_lossy(paths::written(path));
                say(&format!("{path} cannot be polled: it has no name that leads to it from where the emulator is"));
                Errno::ENOSPC
            }
            errno => {
                let path = String::from_utf8_lossy(paths::written(path));
                say(&format!("{path} cannot be polled: {}", errno.desc()));
                Errno::ENOSPC
            }
        }
    }

    fn add_polled_watch(&mut self, id: u64, object: ObjectId, mask: AddMask, path: &[u8]) -> Result<Wd, Errno> {
        let session = self.sessions.get_mut(&id).ok_or(Errno::EIO)?;
        session.deliver_held(&mut self.tools);
        if !self.tools.engine.has_watch_room(session.group) {
            self.make_room();
        }
        let session = self.sessions.get_mut(&id).ok_or(Errno::EIO)?;
        session.add_observed_watch(&mut self.tools, object, mask, path).map(|added| added.wd)
    }
}
