//! Calls that a filter has stopped: answered by the same sessions as those that come from the shim.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use nix::errno::Errno;
use nix::sys::epoll::EpollFlags;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, recv, socketpair};
use uinotify_core::Wd;
use uinotify_intercept::{
    Answered as Injected, Cached, Call, Descriptor, Listener, Notification, Target, resolve_cached,
};
use uinotify_wire::{
    EVENT_HEADER_BYTES, FIONREAD, IOC_GETNEXTWD, IOC_SETNEXTWD, IS_INTERCEPTED, Reply, Request, RequestKind,
};

use super::polled::{AnswerTo, Answered};
use super::{Emulator, Token, say};
use crate::config::{Admission, Sources};
use crate::connection::Peer;
use crate::fault::Call as FaultyCall;
use crate::frame;
use crate::interception::{
    Found, Interception, NamedEmulator, Object, Reader, find, lookup, named_emulator, open_elsewhere, pass_on,
};
use crate::reply::error;
use crate::session::{Short, Sought};

/// One end for the emulator, where filters are [handed over](hand_over), one for whoever starts the program.
///
/// # Errors
///
/// If there are no descriptors left.
pub fn filters() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?)
}

/// Gives the emulator at the other end what [`install`](uinotify_intercept::install()) gave, and returns when it answers the calls that the
/// filter stops.
///
/// # Errors
///
/// The emulator has ended, or cannot.
pub fn hand_over(filters: BorrowedFd<'_>, listener: BorrowedFd<'_>, stops_reads: bool) -> io::Result<()> {
    frame::send(filters, [&[u8::from(stops_reads)], &[]], &[listener])?;
    let mut answer = [0; 4];
    match recv(filters.as_raw_fd(), &mut answer, MsgFlags::empty())? {
        4 => match i32::from_ne_bytes(answer) {
            0 => Ok(()),
            errno => Err(io::Error::from_raw_os_error(errno)),
        },
        _ => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// The event records but the first.
fn behind_the_first(events: &[u8]) -> &[u8] {
    let name_bytes = events
        .get(EVENT_HEADER_BYTES - 4..)
        .and_then(|bytes| bytes.first_chunk())
        .map_or(0, |bytes| u32::from_ne_bytes(*bytes));
    events.get(EVENT_HEADER_BYTES + name_bytes as usize..).unwrap_or_default()
}

fn interception_is_waiting(interception: Option<&Interception>, reader: &Reader) -> bool {
    interception.is_some_and(|interception| interception.listener.is_waiting(reader.notification.id))
}

/// Whose a descriptor is.
enum Owner {
    /// One of ours.
    Session(u64),
    /// A socket, of which nothing is known.
    Socket,
    /// The kernel knows best.
    Kernel,
}

impl Emulator {
    /// Has the emulator take the filter of a program that is about to start.
    ///
    /// # Errors
    ///
    /// If epoll fails.
    pub fn await_filter(&mut self, filters: OwnedFd) -> io::Result<()> {
        self.watch(filters.as_fd(), Token::Filters, EpollFlags::EPOLLIN)?;
        self.filters = Some(filters);
        Ok(())
    }

    /// Is there, or will there be, a program with a filter? Without an answer its calls fail.
    pub(super) fn may_be_called(&self) -> bool {
        self.interception.is_some() || self.filters.is_some()
    }

    pub(super) fn receive_filter(&mut self) {
        let Some(filters) = self.filters.take() else { return };
        let received = self.inbox.receive(filters.as_fd());
        let _ = self.epoll.delete(&filters);
        let Ok(Some(packet)) = received else { return };
        let stops_reads = self.inbox.bytes(&packet).first() == Some(&1);
        let Some(listener) = packet.descriptors.into_iter().next() else { return };
        let errno = match self.take_filter(listener, stops_reads) {
            Ok(()) => 0,
            Err(errno) => errno as i32,
        };
        let _ = frame::send(filters.as_fd(), [&errno.to_ne_bytes(), &[]], &[]);
    }

    fn take_filter(&mut self, listener: OwnedFd, stops_reads: bool) -> Result<(), Errno> {
        let interception = Interception::new(Listener::new(listener)?, stops_reads)?;
        self.watch(interception.listener.as_fd(), Token::Stopped, EpollFlags::EPOLLIN)?;
        self.watch(interception.workers.wake(), Token::Done, EpollFlags::EPOLLIN)?;
        self.interception = Some(interception);
        Ok(())
    }

    /// The kernel has a call for us, or says that nobody is left who could call.
    pub(super) fn serve_stopped(&mut self, flags: EpollFlags) {
        let Some(interception) = &self.interception else { return };
        if flags.contains(EpollFlags::EPOLLIN) {
            let notification = interception.listener.receive();
            if let Ok(Some(notification)) = notification {
                self.serve_call(&notification);
                self.vigil.request_served();
            }
        } else if flags.contains(EpollFlags::EPOLLHUP) {
            let _ = self.epoll.delete(&*interception.listener);
            let _ = self.epoll.delete(interception.workers.wake());
            self.interception = None;
        }
    }

    fn serve_call(&mut self, notification: &Notification) {
        let Some(interception) = &mut self.interception else { return };
        if matches!(notification.call, Some(Call::Control { fd: -1, command: IOC_GETNEXTWD, argument: IS_INTERCEPTED }))
        {
            let _ = interception.listener.answer(notification.id, Ok(1));
            return;
        }
        let target = match interception.target(notification.thread) {
            Ok(target) if notification.thread != 0 => target,
            _ => {
                // It may have gone; nobody of its own name space can be seen from here.
                if interception.listener.is_waiting(notification.id)
                    && matches!(notification.call, Some(Call::Init { .. }))
                {
                    say(
                        "a program in a name space of processes that cannot be seen from here gets the kernel's inotify",
                    );
                }
                return self.let_pass(notification);
            }
        };
        if let Some(value) = interception.take_left(&target, notification) {
            return interception.answer(&target, notification, Ok(value));
        }
        match notification.call {
            Some(Call::Init { flags }) => self.open_for(&target, notification, flags),
            Some(
                Call::AddWatch { fd, .. }
                | Call::RemoveWatch { fd, .. }
                | Call::Control { fd, .. }
                | Call::Read { fd, .. },
            ) => self.serve_descriptor(target, notification, fd),
            None => self.let_pass(notification),
        }
    }

    fn let_pass(&self, notification: &Notification) {
        if let Some(interception) = &self.interception {
            let _ = interception.listener.let_pass(notification.id);
        }
    }

    pub(super) fn answer_call(
        &mut self,
        target: &Arc<Target>,
        notification: &Notification,
        result: Result<i64, Errno>,
    ) {
        if let Some(interception) = &mut self.interception {
            interception.answer(target, notification, result);
        }
    }

    /// `inotify_init1`.
    fn open_for(&mut self, known: &Arc<Target>, notification: &Notification, flags: i32) {
        let Some(interception) = &mut self.interception else { return };
        let newer = interception.target_anew(known, notification.thread);
        let target = newer.as_ref().unwrap_or(known);
        if flags & !(libc::IN_NONBLOCK | libc::IN_CLOEXEC) != 0 {
            return self.answer_call(target, notification, Err(Errno::EINVAL));
        }
        let Some(ids) = target.ids() else { return };
        let peer = Peer { pid: ids.process, uid: ids.owner };
        match named_emulator(&target.environment()) {
            NamedEmulator::Kernel => return self.let_pass(notification),
            // In the name of our own user only: to others it may answer what it would not answer them.
            NamedEmulator::At { socket, token } if !self.config.admission.is_by(&token) && peer.is_ourselves() => {
                interception.knows_others = true;
                let (listener, notification) = (Arc::clone(&interception.listener), *notification);
                return interception.workers.submit(ids.process, move || {
                    open_elsewhere(&listener, &notification, (&socket, &token), flags);
                    None
                });
            }
            NamedEmulator::None | NamedEmulator::At { .. } => {}
        }
        let fault = self.faults.of_call(FaultyCall::Init, 0, b"");
        if let Some(fault) = fault.or_else(|| self.replay_init(flags.cast_unsigned().into())) {
            self.trace_init(peer.pid, flags.cast_unsigned().into(), Err(fault));
            return self.answer_call(target, notification, Err(fault));
        }
        let made = self.make_session_with_room(peer, flags);
        let id = self.sessions_made;
        self.trace_init(peer.pid, flags.cast_unsigned().into(), made.as_ref().map(|_| id).map_err(|errno| *errno));
        let theirs = match made {
            Ok(theirs) => theirs,
            Err(errno) => return self.answer_call(target, notification, Err(errno)),
        };
        let Some(interception) = &mut self.interception else { return };
        match interception.listener.give(notification.id, theirs.as_fd(), flags & libc::IN_CLOEXEC != 0) {
            Ok(Injected::Returned) => {}
            Ok(Injected::Left(number)) => interception.leave(target, notification, number.into()),
            Err(errno) => {
                self.close_session(id);
                return self.answer_call(target, notification, Err(errno));
            }
        }
        let is_cut = interception.is_cut();
        self.tell(&|| {
            let cut = if is_cut { "; of an event that does not fit into its buffer the rest is lost" } else { "" };
            format!("instance {id} is read past the shim: one event a read{cut}")
        });
    }

    /// Whose a number of the thread's is, and the thread as it is now.
    fn owner(&mut self, target: &mut Arc<Target>, notification: &Notification, fd: i32) -> Owner {
        let mut found = target.descriptor(fd);
        if found == Descriptor::Other
            && let Some(interception) = &mut self.interception
            && let Some(newer) = interception.target_anew(target, notification.thread)
        {
            *target = newer;
            found = target.descriptor(fd);
        }
        match found {
            Descriptor::Socket(inode) => self.ends.get(&inode).map_or(Owner::Socket, |id| Owner::Session(*id)),
            Descriptor::Other => Owner::Kernel,
        }
    }

    fn serve_descriptor(&mut self, mut target: Arc<Target>, notification: &Notification, fd: i32) {
        let owner = self.owner(&mut target, notification, fd);
        let is_count = matches!(notification.call, Some(Call::Control { command: FIONREAD, .. }));
        let is_read = matches!(notification.call, Some(Call::Read { .. }));
        match owner {
            Owner::Session(id) => {
                self.settle_observed();
                self.inbox.ask_for(target.process());
                self.serve_session(id, &target, notification);
                self.update_interest(id);
            }
            Owner::Socket => {
                let Some(interception) = &mut self.interception else { return };
                if is_read || is_count && !interception.knows_others {
                    return self.let_pass(notification);
                }
                let (listener, own) = (Arc::clone(&interception.listener), interception.own_rights);
                let (process, notification) = (target.process(), *notification);
                interception.workers.submit(process, move || {
                    pass_on(&listener, &notification, &target, own);
                    None
                });
            }
            Owner::Kernel => self.let_pass(notification),
        }
    }

    fn serve_session(&mut self, id: u64, target: &Arc<Target>, notification: &Notification) {
        match notification.call {
            Some(Call::AddWatch { path, mask, .. }) => self.seek_object(id, target, notification, path, mask),
            Some(Call::RemoveWatch { wd, .. }) => {
                let result = self.ask(id, &Request::new(RequestKind::RemoveWatch, 0, wd.cast_unsigned()));
                self.answer_call(target, notification, result);
            }
            Some(Call::Control { command: IOC_SETNEXTWD, argument, .. }) => {
                let result = self.ask(id, &Request::new(RequestKind::SetCursor, argument, 0));
                self.answer_call(target, notification, result);
            }
            Some(Call::Control { command: IOC_GETNEXTWD, argument, .. }) => {
                self.tell_word(id, target, notification, RequestKind::GetCursor, argument);
            }
            Some(Call::Control { argument, .. }) => {
                self.tell_word(id, target, notification, RequestKind::Count, argument);
            }
            Some(Call::Read { fd, buffer, count }) => {
                self.feed_replay();
                let count = usize::try_from(count).unwrap_or(usize::MAX);
                let (notification, target) = (*notification, Arc::clone(target));
                let reader = Reader { notification, target, session: id, fd, buffer, count };
                if !self.serve_reader(&reader) {
                    self.keep_waiting(reader);
                }
            }
            Some(Call::Init { .. }) | None => self.let_pass(notification),
        }
    }

    /// Nothing to read: the thread waits, or is told so.
    fn keep_waiting(&mut self, reader: Reader) {
        let Some(interception) = &mut self.interception else { return };
        match reader.target.is_nonblocking(reader.fd) {
            Some(false) => interception.keep_waiting(reader),
            _ => interception.answer(&reader.target, &reader.notification, Err(Errno::EAGAIN)),
        }
    }

    /// Threads that wait for something to read, of whose instances there may be something now.
    pub(super) fn serve_readers(&mut self) {
        let Some(interception) = &mut self.interception else { return };
        let (sessions, engine) = (&self.sessions, &self.tools.engine);
        let may_go_on =
            |reader: &Reader| sessions.get(&reader.session).is_none_or(|session| engine.queue_len(session.group) > 0);
        let (ready, waiting) = std::mem::take(&mut interception.readers).into_iter().partition(may_go_on);
        interception.readers = waiting;
        for reader in Vec::<Reader>::from_iter(ready) {
            if interception_is_waiting(self.interception.as_ref(), &reader) && !self.serve_reader(&reader) {
                // Another one was sooner.
                self.interception.iter_mut().for_each(|interception| interception.keep_waiting(reader.clone()));
            }
        }
    }

    /// Answers a read into little room as Linux would. False if there is nothing to read.
    fn serve_reader(&mut self, reader: &Reader) -> bool {
        let Reader { notification, target, session: id, fd, buffer, count } = reader;
        let theirs = target.duplicate(*fd);
        let Some(session) = self.sessions.get_mut(id) else {
            self.let_pass(notification);
            return true;
        };
        let Some(theirs) = theirs.ok().filter(|theirs| session.is_theirs(theirs.as_fd())) else {
            // Where the program's end is not to be had, the kernel reads what fits.
            self.let_pass(notification);
            return true;
        };
        let mut events = Vec::new();
        let result = match session.read_short(&mut self.tools, theirs.as_fd(), *count, &mut events) {
            Short::Empty => return false,
            Short::TooSmall => Err(Errno::EINVAL),
            Short::Taken => Ok(i64::try_from(events.len()).unwrap_or(i64::MAX)),
        };
        let Some(interception) = &mut self.interception else { return true };
        let mut unread = &events[..];
        let result = result.and_then(|length| {
            if !interception.listener.is_waiting(notification.id) {
                return Err(Errno::ESRCH);
            }
            // Linux copies one after the other, and has taken by then the one that it cannot copy.
            while !unread.is_empty() {
                let (at, rest) = (events.len() - unread.len(), behind_the_first(unread));
                let record = &unread[..unread.len() - rest.len()];
                unread = rest;
                target.write(buffer.wrapping_add(at as u64), record)?;
            }
            Ok(length)
        });
        // Whoever was disturbed has read nothing.
        let answered = interception.listener.answer(notification.id, result);
        let unread = if answered == Err(Errno::ENOENT) { &events[..] } else { unread };
        if !unread.is_empty()
            && let Some(session) = self.sessions.get_mut(id)
        {
            session.give_back(&mut self.tools, theirs.as_fd(), unread);
        }
        self.update_interest(*id);
        true
    }

    fn ask(&mut self, id: u64, request: &Request<'_>) -> Result<i64, Errno> {
        let Answered::Now(reply) = self.answer(id, request, Vec::new(), &[], &mut Vec::new()) else {
            // Only what brings an object is answered later.
            return Err(Errno::EIO);
        };
        match reply.errno {
            0 => Ok(reply.value.into()),
            errno => Err(Errno::from_raw(errno.cast_signed())),
        }
    }

    /// A request whose value goes into the program's `int`.
    fn tell_word(
        &mut self,
        id: u64,
        target: &Arc<Target>,
        notification: &Notification,
        kind: RequestKind,
        address: u64,
    ) {
        let value = self.ask(id, &Request::new(kind, 0, 0));
        let Some(interception) = &self.interception else { return };
        let result = value.and_then(|value| {
            // Into the memory of a thread that waits, and of no later one with its number.
            if !interception.listener.is_waiting(notification.id) {
                return Err(Errno::ESRCH);
            }
            let bytes = i32::try_from(value).unwrap_or(i32::MAX).to_ne_bytes();
            target.write(address, &bytes).map(|()| 0)
        });
        let result = result.map_err(|errno| self.explained(target, errno));
        self.answer_call(target, notification, result);
    }

    /// Where this process may not look into a program, that is what has to be said, and not what the kernel calls it.
    fn explained(&mut self, target: &Target, errno: Errno) -> Errno {
        if errno != Errno::EPERM {
            return errno;
        }
        let thread = target.thread();
        say(&format!(
            "the memory of process {thread} may not be looked into (kernel.yama.ptrace_scope, or a process that has made itself undumpable): \
             its calls about inotify fail"
        ));
        Errno::ENOMEM
    }

    fn seek_object(&mut self, id: u64, target: &Arc<Target>, notification: &Notification, address: u64, mask: u32) {
        let path = target.read_path(address);
        let Some(interception) = &mut self.interception else { return };
        // What was read belongs to this thread if it waits still.
        if !interception.listener.is_waiting(notification.id) {
            return;
        }
        let path = match path {
            Ok(path) => path,
            Err(errno) => {
                let errno = self.explained(target, errno);
                return self.watch_nothing(id, target, notification, mask, b"", errno);
            }
        };
        if interception.own_rights.are_those_of(target)
            && let Cached::Opened { object, at, is_directory } = resolve_cached(target, &lookup(&path, mask))
            && interception.is_plain(at)
        {
            return self.watch_object(id, target, notification, (mask, path.to_bytes()), object, is_directory);
        }
        let (target, notification) = (Arc::clone(target), *notification);
        let own = interception.own_rights;
        let kernel = match self.config.sources {
            Sources::Auto | Sources::Inotify => {
                self.sessions.get_mut(&id).and_then(|session| session.kernel_for_thread())
            }
            Sources::Fuse | Sources::Fanotify | Sources::Poll | Sources::Script => None,
        };
        // What the mask alone forbids is nothing to be watched on the way.
        let kernel = kernel.filter(|_| self.accepts(mask));
        let process = target.process();
        let Some(interception) = &mut self.interception else { return };
        interception.workers.submit(process, move || {
            let result = find(&target, own, &lookup(&path, mask), kernel.as_ref(), mask);
            Some(Found { notification, target, session: id, mask, path, result })
        });
    }

    /// What other threads have done.
    pub(super) fn finish_done(&mut self) {
        let Some(interception) = &mut self.interception else { return };
        for found in interception.workers.take_done() {
            self.finish(found);
        }
    }

    fn finish(&mut self, found: Found) {
        let Found { notification, target, session: id, mask, path, result } = found;
        let Some(interception) = &mut self.interception else { return };
        let is_waiting = interception.listener.is_waiting(notification.id);
        self.settle_observed();
        self.inbox.ask_for(target.process());
        match result {
            Err(_) if !is_waiting => {}
            Err(errno) => self.watch_nothing(id, &target, &notification, mask, path.to_bytes(), errno),
            Ok(Object { object, at, is_plain, armed }) => {
                let Some(interception) = &mut self.interception else { return };
                interception.remember_mount(at, is_plain);
                match armed {
                    Some(armed) if armed != Err(Errno::ENOSPC) && self.is_of_kernel(id, object.as_fd()) => {
                        // It is watched, whether or not anybody waits for it.
                        let added = self.add_armed_watch(id, object.as_fd(), armed, mask, path.to_bytes());
                        drop(object);
                        self.answer_watch(id, &target, &notification, (mask, path.to_bytes()), added);
                    }
                    armed if is_waiting => {
                        if let (Some(Ok(armed)), Some(session)) = (armed, self.sessions.get(&id)) {
                            session.disarm(&self.tools.engine, armed);
                        }
                        self.watch_object(id, &target, &notification, (mask, path.to_bytes()), object, false);
                    }
                    _ => {}
                }
            }
        }
        self.update_interest(id);
    }

    /// Whether it is the kernel's inotify that tells of an object.
    fn is_of_kernel(&mut self, id: u64, object: BorrowedFd<'_>) -> bool {
        self.trees.find(object).is_none() && !self.is_polled(object) && !self.is_marked_by(id, object)
    }

    fn watch_object(
        &mut self,
        id: u64,
        target: &Arc<Target>,
        notification: &Notification,
        (mask, path): (u32, &[u8]),
        object: OwnedFd,
        is_plain_folder: bool,
    ) {
        if self.is_polled(object.as_fd()) {
            return match self.begin_polled_watch(id, object, mask, path) {
                Ok(ticket) => {
                    self.polled.answer_to(ticket, AnswerTo::Stopped(Arc::clone(target), *notification));
                }
                Err(errno) => self.answer_call(target, notification, Err(errno)),
            };
        }
        let request = Request { kind: RequestKind::AddWatch, argument: 0, word: mask, payload: path };
        let sought = Sought { object: object.as_fd(), is_plain_folder };
        let added = match self.replay_call(id, &request) {
            Some(recorded) => Err(recorded),
            None => self.add_watch_at_once(id, sought, mask, path),
        };
        // Before the answer: an object that we still hold would outlive its last name, and its IN_DELETE_SELF come late.
        drop(object);
        self.answer_watch(id, target, notification, (mask, path), added);
    }

    fn answer_watch(
        &mut self,
        id: u64,
        target: &Arc<Target>,
        notification: &Notification,
        (mask, path): (u32, &[u8]),
        added: Result<Wd, Errno>,
    ) {
        let request = Request { kind: RequestKind::AddWatch, argument: 0, word: mask, payload: path };
        let reply = added.map_or_else(error, |wd| Reply::value(wd.0));
        self.trace_call(id, &request, &reply);
        self.replay_answer(&request, &reply);
        self.answer_call(target, notification, added.map(|wd| wd.0.into()));
    }

    /// `inotify_add_watch` for a path that leads nowhere.
    fn watch_nothing(
        &mut self,
        id: u64,
        target: &Arc<Target>,
        notification: &Notification,
        mask: u32,
        path: &[u8],
        errno: Errno,
    ) {
        let argument = u64::from((errno as i32).unsigned_abs());
        let request = Request { kind: RequestKind::AddWatch, argument, word: mask, payload: path };
        let result = self.ask(id, &request);
        self.answer_call(target, notification, result.and(Err(errno)));
    }
}

impl Admission {
    /// Is this the secret of ours, so that whoever names it names us?
    fn is_by(&self, token: &[u8]) -> bool {
        matches!(self, Self::Token(secret) if token == secret)
    }
}
