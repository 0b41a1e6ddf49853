//! What the members of a session ask.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use uinotify_core::{AddMask, ObjectId, Wd};
use uinotify_source::fuse::may_read;
use uinotify_source::inotify::KernelWd;
use uinotify_wire::{REBUILDS, Reply, Request, RequestKind};

use super::polled::Answered;
use super::{Emulator, say};
use crate::closer::close_apart;
use crate::config::{SetNextWd, Sources};
use crate::fault::Call;
use crate::paths;
use crate::reply::{error, is_path_only};
use crate::sender::with_rights_of;
use crate::session::{Sought, errno};

impl Emulator {
    /// What any member of a session may ask, over whatever it came.
    pub(super) fn answer(
        &mut self,
        id: u64,
        request: &Request<'_>,
        descriptors: Vec<OwnedFd>,
        returned: &[u8],
        events: &mut Vec<u8>,
    ) -> Answered {
        if let Some(recorded) = self.replay_call(id, request) {
            descriptors.into_iter().for_each(close_apart);
            let reply = error(recorded);
            self.trace_call(id, request, &reply);
            self.replay_answer(request, &reply);
            return Answered::Now(reply);
        }
        let answered = self.reply_to(id, request, descriptors, returned, events);
        if let Answered::Now(reply) = &answered {
            self.trace_call(id, request, reply);
            self.replay_answer(request, reply);
        }
        answered
    }

    fn reply_to(
        &mut self,
        id: u64,
        request: &Request<'_>,
        mut descriptors: Vec<OwnedFd>,
        returned: &[u8],
        events: &mut Vec<u8>,
    ) -> Answered {
        if request.kind == RequestKind::AddWatch {
            let (objects, others): (Vec<_>, Vec<_>) = descriptors.into_iter().partition(|fd| is_path_only(fd.as_fd()));
            others.into_iter().for_each(close_apart);
            // It is closed before the reply: an object that we still hold would outlive its last name, and its IN_DELETE_SELF come late.
            let added = match objects.into_iter().next() {
                Some(object) => self.add_watch(id, object, request.word, request.payload),
                None => Err(self.refused_by_program(request)),
            };
            return added.unwrap_or_else(|errno| Answered::Now(error(errno)));
        }
        if let Some(fault) = self.fault_of(id, request) {
            descriptors.into_iter().for_each(close_apart);
            return Answered::Now(error(fault));
        }
        let tools = &mut self.tools;
        let Some(session) = self.sessions.get_mut(&id) else { return Answered::Now(error(Errno::EIO)) };
        // All that was asked of the trees has been told by now.
        if matches!(request.kind, RequestKind::Settle | RequestKind::Count) && session.must_ask() {
            let (engine, group) = (&tools.engine, session.group);
            if !self.trees.may_tell_later(|object| engine.watch_of(group, object).is_some()) {
                session.need_not_ask();
            }
        }
        let reply = match request.kind {
            RequestKind::RemoveWatch => match session.remove_watch(tools, Wd(request.word.cast_signed())) {
                Ok(()) => Reply::default(),
                Err(errno) => error(errno),
            },
            RequestKind::SetCursor => match self.config.setnextwd {
                SetNextWd::NotTty if request.word != REBUILDS => error(Errno::ENOTTY),
                SetNextWd::Inval if request.word != REBUILDS => error(Errno::EINVAL),
                _ => match tools.engine.set_cursor(session.group, request.argument) {
                    Ok(()) => Reply::default(),
                    Err(refusal) => error(errno(refusal)),
                },
            },
            RequestKind::GetCursor => match tools.engine.cursor(session.group) {
                Ok(cursor) => Reply::value(cursor),
                Err(refusal) => error(errno(refusal)),
            },
            RequestKind::Settle => {
                let reply = session.settle_for_read(tools, request.argument, events);
                if session.is_pulled() {
                    self.lulls.begin(id);
                }
                reply
            }
            RequestKind::Count => session.count(tools),
            RequestKind::Return => match descriptors.pop_if(|fd| session.is_theirs(fd.as_fd())) {
                Some(theirs) => {
                    let record = if request.payload.is_empty() { returned } else { request.payload };
                    session.take_back(tools, theirs.as_fd(), record);
                    Reply::default()
                }
                None => error(Errno::EBADF),
            },
            // Those that are served elsewhere, as not everybody may ask them so.
            RequestKind::AddWatch
            | RequestKind::Init
            | RequestKind::Status
            | RequestKind::Attach
            | RequestKind::Describe
            | RequestKind::Limit
            | RequestKind::Find
            | RequestKind::Checkpoint
            | RequestKind::Restore
            | RequestKind::Control => error(Errno::EINVAL),
        };
        descriptors.into_iter().for_each(close_apart);
        Answered::Now(reply)
    }

    /// What a program is to see whose own kernel has refused the path: Linux looks at the mask first.
    fn refused_by_program(&self, request: &Request<'_>) -> Errno {
        let refusal = i32::try_from(request.argument).map(Errno::from_raw).unwrap_or(Errno::UnknownErrno);
        match self.checked(request.word) {
            Err(errno) => errno,
            // No errno, and no object: no request that a program of ours makes.
            Ok(_) if refusal == Errno::UnknownErrno => Errno::EBADF,
            Ok(_) => refusal,
        }
    }

    /// Is this a mask that `inotify_add_watch` takes?
    pub(super) fn accepts(&self, bits: u32) -> bool {
        self.checked(bits).is_ok()
    }

    /// The mask that a call of `inotify_add_watch` gives.
    pub(super) fn checked(&self, bits: u32) -> Result<AddMask, Errno> {
        let mask = AddMask::new(bits).map_err(errno)?;
        mask.check_combination().map_err(errno)?;
        self.config.profile.check(mask).map_err(errno)?;
        Ok(mask)
    }

    /// Whether an object is told of by looking at it.
    pub(super) fn is_polled(&mut self, object: BorrowedFd<'_>) -> bool {
        self.trees.find(object).is_none()
            && match self.config.sources {
                Sources::Poll => true,
                Sources::Auto => self.polled.file_systems.silent(object).is_some(),
                Sources::Inotify | Sources::Fuse | Sources::Fanotify | Sources::Script => false,
            }
    }

    fn add_watch(&mut self, id: u64, object: OwnedFd, bits: u32, path: &[u8]) -> Result<Answered, Errno> {
        if self.is_polled(object.as_fd()) {
            return self.begin_polled_watch(id, object, bits, path).map(Answered::Later);
        }
        let added = self.add_watch_at_once(id, Sought::new(object.as_fd()), bits, path);
        added.map(|wd| Answered::Now(Reply::value(wd.0)))
    }

    /// `inotify_add_watch` for an object that is not polled, by the path with which it was sought.
    pub(super) fn add_watch_at_once(
        &mut self,
        id: u64,
        sought: Sought<'_>,
        bits: u32,
        path: &[u8],
    ) -> Result<Wd, Errno> {
        let added = self.try_add_watch(id, sought, bits, path);
        added.inspect(|wd| {
            self.trace_watch(id, *wd, sought.object);
            self.answer_waiters(id, *wd, sought.object, path);
        })
    }

    fn try_add_watch(&mut self, id: u64, sought: Sought<'_>, bits: u32, path: &[u8]) -> Result<Wd, Errno> {
        let mask = self.checked(bits)?;
        let object = sought.object;
        if let Some(refusal) = self.faults.of_call(Call::AddWatch, id, path) {
            self.burn_like_linux(id, object, path, refusal);
            return Err(refusal);
        }
        let session = self.sessions.get_mut(&id).ok_or(Errno::EIO)?;
        let group = session.group;
        if let Some(observed) = self.trees.find(object) {
            return self.add_tree_watch(id, observed, mask, &paths::noted(path, object));
        }
        let sources = self.config.sources;
        if sources == Sources::Fanotify || self.is_marked_by(id, object) {
            return self.add_marked_watch(id, object, (mask, bits), &paths::noted(path, object));
        }
        if sources == Sources::Script {
            return self.add_scripted_watch(id, object, mask, &paths::noted(path, object));
        }
        if sources == Sources::Fuse {
            let path = String::from_utf8_lossy(path);
            say(&format!("{path} is in no tree that is shown: it cannot be watched by --source fuse alone"));
            return Err(Errno::ENOSPC);
        }
        if let Err(refusal) = self.ensure_kernel(id) {
            let marked = self.watch_without_kernel(id, object, (mask, bits), &paths::noted(path, object));
            return marked.unwrap_or_else(|| {
                let path = String::from_utf8_lossy(path);
                say(&format!(
                    "{path} is in no tree that is shown, and kernel inotify is not to be had: {}",
                    refusal.desc()
                ));
                Err(Errno::ENOSPC)
            });
        }
        let session = self.sessions.get_mut(&id).ok_or(Errno::EIO)?;
        // What has ended before this call has given its number back.
        session.deliver_held(&mut self.tools);
        if !self.tools.engine.has_watch_room(group) {
            self.make_room();
        }
        let arm = |emulator: &Self| {
            let session = emulator.sessions.get(&id).ok_or(Errno::EIO)?;
            with_rights_of(emulator.inbox.sender(), object, || session.arm(&emulator.tools.engine, sought, bits))
        };
        let mut armed = arm(self);
        if armed == Err(Errno::ENOSPC) {
            self.make_room();
            armed = arm(self);
        }
        if armed == Err(Errno::ENOSPC)
            && let Some(added) = self.watch_without_kernel(id, object, (mask, bits), &paths::noted(path, object))
        {
            return added;
        }
        let session = self.sessions.get_mut(&id).ok_or(Errno::EIO)?;
        session.add_watch(&mut self.tools, armed, mask, || paths::noted(path, object))
    }

    /// `inotify_add_watch` for an object that the session's kernel instance watches already: another thread has waited for that.
    pub(super) fn add_armed_watch(
        &mut self,
        id: u64,
        object: BorrowedFd<'_>,
        armed: Result<KernelWd, Errno>,
        bits: u32,
        path: &[u8],
    ) -> Result<Wd, Errno> {
        let mask = self.checked(bits)?;
        if let Some(refusal) = self.faults.of_call(Call::AddWatch, id, path) {
            if let (Ok(armed), Some(session)) = (armed, self.sessions.get(&id)) {
                session.disarm(&self.tools.engine, armed);
            }
            self.burn_like_linux(id, object, path, refusal);
            return Err(refusal);
        }
        let session = self.sessions.get_mut(&id).ok_or(Errno::EIO)?;
        session.deliver_held(&mut self.tools);
        if !self.tools.engine.has_watch_room(session.group) {
            self.make_room();
        }
        let session = self.sessions.get_mut(&id).ok_or(Errno::EIO)?;
        let added = session.add_watch(&mut self.tools, armed, mask, || paths::noted(path, object))?;
        session.end_if_gone(&mut self.tools, added);
        self.trace_watch(id, added, object);
        self.answer_waiters(id, added, object, path);
        Ok(added)
    }

    fn add_tree_watch(&mut self, id: u64, object: ObjectId, mask: AddMask, path: &[u8]) -> Result<Wd, Errno> {
        let lower = self.trees.lower_object(object)?;
        with_rights_of(self.inbox.sender(), lower.as_fd(), || may_read(&*lower))?;
        let session = self.sessions.get_mut(&id).ok_or(Errno::EIO)?;
        session.deliver_held(&mut self.tools);
        if !self.tools.engine.has_watch_room(session.group) {
            self.make_room();
        }
        let session = self.sessions.get_mut(&id).ok_or(Errno::EIO)?;
        let added = session.add_observed_watch(&mut self.tools, object, mask, path)?;
        if added.new {
            self.trees.hold(object);
        }
        Ok(added.wd)
    }
}
