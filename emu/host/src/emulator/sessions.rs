//! Opening and closing of sessions.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};

use nix::errno::Errno;
use nix::sys::epoll::EpollFlags;
use uinotify_core::{GroupId, OwnerId};
use uinotify_source::inotify::Instance;
use uinotify_wire::{InstanceName, Reply, Request};

use super::{Emulator, Token, say};
use crate::config::{Admission, Sources};
use crate::connection::Peer;
use crate::fault::Call;
use crate::frame;
use crate::reply::error;
use crate::session::{Session, errno, kernel_wd};
use crate::settle_page::SettlePage;
use crate::trees::is_observed;

impl Emulator {
    pub(super) fn open_session(&mut self, key: usize, peer: Peer, request: &Request<'_>) {
        if self.admits(peer, request.payload)
            && let fault = self.faults.of_call(Call::Init, 0, b"")
            && let Some(fault) = fault.or_else(|| self.replay_init(request.argument))
        {
            self.trace_init(peer.pid, request.argument, Err(fault));
            let refusal = Reply { flags: Reply::FINAL, ..error(fault) };
            self.reply_on_connection(key, &refusal, Vec::new());
            return self.drop_connection(key);
        }
        let result = self.try_open_session(key, peer, request);
        let made = result.as_ref().map(|_| self.sessions_made).map_err(|errno| *errno);
        self.trace_init(peer.pid, request.argument, made);
        let Some(connection) = self.connections.get(key) else { return };
        let sent = match &result {
            Ok(theirs) => frame::send(connection.as_fd(), [&Reply::default().encode(), &[]], &[theirs.as_fd()]),
            Err(errno) => frame::send(connection.as_fd(), [&error(*errno).encode(), &[]], &[]),
        };
        if result.is_err() || sent.is_err() {
            self.drop_connection(key);
        }
    }

    /// May this program open instances?
    pub(super) fn admits(&self, peer: Peer, token: &[u8]) -> bool {
        match &self.config.admission {
            Admission::Token(secret) => token == secret,
            Admission::OwnUser => peer.is_ourselves(),
            Admission::AllUsers => true,
        }
    }

    fn try_open_session(&mut self, key: usize, peer: Peer, request: &Request<'_>) -> Result<OwnedFd, Errno> {
        if !self.admits(peer, request.payload) {
            let Peer { pid, uid } = peer;
            say(&format!("refused an instance to process {pid} of user {uid}, which does not belong here"));
            return Err(Errno::ENOMEM);
        }
        let flags = i32::try_from(request.argument).map_err(|_| Errno::EINVAL)?;
        if flags & !(libc::IN_NONBLOCK | libc::IN_CLOEXEC) != 0 {
            return Err(Errno::EINVAL);
        }
        let theirs = self.make_session_with_room(peer, flags)?;
        if let Some(connection) = self.connections.get_mut(key) {
            connection.session = Some(self.sessions_made);
        }
        Ok(theirs)
    }

    /// A new session, the last of those made, and its program's end.
    pub(super) fn make_session_with_room(&mut self, peer: Peer, flags: i32) -> Result<OwnedFd, Errno> {
        match self.make_session(peer, flags, false) {
            Err(Errno::EMFILE | Errno::ENFILE) => {
                self.make_room();
                let may_do_without = self.can_mark();
                self.make_session(peer, flags, may_do_without)
            }
            // A kernel without inotify.
            Err(Errno::ENOSYS) if self.can_mark() => self.make_session(peer, flags, true),
            made => made,
        }
    }

    /// `may_do_without` a kernel instance that is not to be had.
    fn make_session(&mut self, peer: Peer, flags: i32, may_do_without: bool) -> Result<OwnedFd, Errno> {
        let limits = self.limits.with(self.replayed_limits(), self.config.sources);
        let group = self.tools.engine.create_group(OwnerId(peer.uid), limits).map_err(errno)?;
        let id = self.sessions_made + 1;
        // A process may have several emulators, as a test does.
        static NAMES: AtomicU64 = AtomicU64::new(1);
        let group_name = NAMES.fetch_add(1, Ordering::Relaxed);
        let emulator_pid = std::process::id().into();
        let name = InstanceName { emulator_pid, start_ticks: self.start_ticks, group: group_name };
        let nonblocking = flags & libc::IN_NONBLOCK != 0;
        let opened = self.open(group, peer, name, nonblocking, may_do_without).and_then(|(session, theirs)| {
            if let Some(kernel) = session.kernel() {
                self.watch(kernel, Token::Kernel(id), EpollFlags::EPOLLIN)?;
            }
            self.watch(session.end(), Token::End(id), session.interest())?;
            Ok((session, theirs))
        });
        let (mut session, theirs) = opened.map_err(|problem| {
            self.tools.engine.close_group(group);
            problem.raw_os_error().map_or(Errno::ENOMEM, Errno::from_raw)
        })?;
        if let Some(next_wd) = self.config.next_wd {
            // Checked by the command line.
            let _ = self.tools.engine.set_cursor(group, u64::from(next_wd.cast_unsigned()));
        }
        session.line = self.page.as_mut().and_then(SettlePage::line);
        let source = session.source_name();
        self.ends.insert(session.program_inode, id);
        self.sessions.insert(id, session);
        self.groups.insert(group, id);
        self.sessions_made = id;
        self.give_faults(id);
        self.replay_opened(id);
        self.tell(&|| format!("instance {id} for process {} by {source}", peer.pid));
        Ok(theirs)
    }

    /// Whether an instance is nothing without one of the kernel's. Beside trees that are shown, that is made for the first object that is
    /// in none of them.
    fn needs_kernel(&self) -> bool {
        let shows_trees = self.awaited.is_some() || !self.trees.is_empty();
        match self.config.sources {
            Sources::Auto => !shows_trees,
            Sources::Inotify => true,
            Sources::Fuse | Sources::Fanotify | Sources::Poll | Sources::Script => false,
        }
    }

    fn open(
        &self,
        group: GroupId,
        peer: Peer,
        name: InstanceName,
        nonblocking: bool,
        may_do_without: bool,
    ) -> io::Result<(Session, OwnedFd)> {
        let kernel = match self.needs_kernel().then(Instance::new) {
            Some(Err(_)) if may_do_without => None,
            kernel => kernel.transpose()?,
        };
        Session::open(group, peer, name, nonblocking, kernel)
    }

    /// Has the session watch with the kernel's inotify as well.
    ///
    /// # Errors
    ///
    /// If the kernel has no instance left, or no inotify.
    pub(super) fn ensure_kernel(&mut self, id: u64) -> Result<(), Errno> {
        let Some(session) = self.sessions.get_mut(&id) else { return Err(Errno::EIO) };
        if session.kernel().is_some() {
            return Ok(());
        }
        session.set_kernel(Instance::new()?);
        if let Some(kernel) = self.sessions.get(&id).and_then(Session::kernel) {
            self.watch(kernel, Token::Kernel(id), EpollFlags::EPOLLIN)?;
        }
        Ok(())
    }

    /// Ends the sessions whose programs are gone.
    pub(super) fn close_ended_sessions(&mut self) {
        let is_ended = |session: &Session| frame::has_hung_up(session.end());
        let ended: Vec<_> = self.sessions.iter().filter(|(_, session)| is_ended(session)).map(|(id, _)| *id).collect();
        for id in ended {
            self.close_session(id);
        }
    }

    pub(super) fn close_session(&mut self, id: u64) {
        let Some(session) = self.sessions.remove(&id) else { return };
        self.trace_events();
        if !self.tracer.is_idle() {
            self.tracer.closed(id);
        }
        self.tell(&|| format!("instance {id} ended"));
        if self.ends.get(&session.program_inode) == Some(&id) {
            self.ends.remove(&session.program_inode);
        }
        self.lulls.forget(id);
        self.faults.forget(id);
        self.replay_closed(id);
        // A program may keep the kernel instance open, so that closing it would not take it out.
        if let Some(kernel) = session.kernel() {
            let _ = self.epoll.delete(kernel);
        }
        let _ = self.epoll.delete(session.end());
        if let (Some(page), Some(line)) = (&mut self.page, &session.line) {
            page.release(line);
        }
        self.groups.remove(&session.group);
        let (kernel, watched) = session.close(&mut self.tools.engine);
        let (observed, of_kernel): (Vec<_>, Vec<_>) = watched.into_iter().partition(|object| is_observed(*object));
        if let Some(kernel) = kernel {
            self.closer.retire(kernel, of_kernel.into_iter().map(kernel_wd).collect());
        }
        self.tools.unwatched.extend(observed);
        self.let_go_unwatched();
        let orphans = self.connections.iter().filter(|(_, connection)| connection.session == Some(id));
        for key in orphans.map(|(key, _)| key).collect::<Vec<_>>() {
            self.dismiss(key);
        }
    }

    /// Linux gives places back at once: those of closed instances, and those of watches that have ended and whose IN_IGNORED is
    /// on its way.
    pub(super) fn make_room(&mut self) {
        self.close_ended_sessions();
        self.closer.wait();
        for session in self.sessions.values_mut() {
            session.deliver(&mut self.tools);
        }
        for id in self.sessions.keys().copied().collect::<Vec<_>>() {
            self.update_interest(id);
        }
    }
}
