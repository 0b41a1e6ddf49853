//! The emulator's loop.

mod answers;
mod checkpoint;
mod control;
mod description;
mod faults;
mod injection;
mod inquiries;
mod intercepted;
mod marked;
mod polled;
mod replaying;
mod script;
mod sessions;
mod tracing;
mod trees;
mod waiters;

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::socket::{SockFlag, accept4};
use slab::Slab;
use uinotify_core::{Engine, GroupId};
use uinotify_source::fanotify;
use uinotify_source::inotify::Instance;
use uinotify_source::script::Script;
use uinotify_wire::{Reply, Request, RequestKind, STAND_IN};

use crate::calibration::Weights;
use crate::closer::{Closer, close_apart};
use crate::config::{Admission, Config, Lifetime};
use crate::connection::{Connection, Peer};
use crate::fault::Faults;
use crate::frame::{self, Inbox};
use crate::interception::Interception;
use crate::limits::MachineLimits;
use crate::lull::Lulls;
use crate::programs::{self, Presence};
use crate::refusal::{Complaints, Refusal};
use crate::reply::{Relay, ReplyObject, error};
use crate::sender::Sender;
use crate::session::{Session, Tools};
use crate::settle_page::SettlePage;
use crate::trace::{Log, Tracer};
use crate::trees::Trees;
use crate::vigil::Vigil;

/// Requests that one program may have served before others get their turn.
const REQUESTS_MAX: usize = 64;

/// Connections on which one process may be without having an instance, more than threads of it can be between `connect` and
/// `send` at a time; and all processes of one user together. They take descriptors, which others need.
const CONNECTIONS_OF_PROCESS_MAX: usize = 64;
const CONNECTIONS_OF_USER_MAX: usize = 512;

/// Control connections of one instance: one for each process that uses it. Processes beyond that ask over the instance itself.
const CONTROLS_MAX: usize = 64;

/// How often to see whether the last program has ended, when nothing else is left to do.
const LOOK_AGAIN_MS: u16 = 250;

/// How long an event waits for what the kernel says of an object, before it is asked for otherwise.
const UNDECIDED_MS: u16 = 5;

/// How often to look again because of a process that shows no environment.
const DOUBTS_MAX: u32 = 2;

/// An emulator: its instances, and the programs that use them.
#[derive(Debug)]
pub struct Emulator {
    config: Config,
    limits: MachineLimits,
    tools: Tools,
    sessions: BTreeMap<u64, Session>,
    sessions_made: u64,
    /// The session of each group.
    groups: BTreeMap<GroupId, u64>,
    trees: Trees,
    awaited: Option<AwaitedTrees>,
    marked: Option<fanotify::Source>,
    polled: Polled,
    interception: Option<Interception>,
    /// Where the filter of a program that is about to start is handed over.
    filters: Option<OwnedFd>,
    /// The session of each program's end, by the inode.
    ends: HashMap<u64, u64>,
    script: Script,
    faults: Faults,
    replaying: Option<Replaying>,
    may_have_waiters: bool,
    began: Instant,
    connections: Slab<Connection>,
    connections_made: u64,
    page: Option<SettlePage>,
    closer: Closer,
    inbox: Inbox,
    relay: Relay,
    complaints: Complaints,
    epoll: Epoll,
    vigil: Vigil,
    lulls: Lulls,
    tracer: Tracer,
    log: Option<Log>,
    reserve: Option<OwnedFd>,
    start_ticks: u64,
}

/// What an epoll entry stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    Lifeline,
    Listener(usize),
    Connection(usize),
    /// Our end of a session's socketpair.
    End(u64),
    /// A session's kernel instance.
    Kernel(u64),
    Tree(usize),
    Announcements,
    Marked,
    Polled,
    /// What hands over a filter.
    Filters,
    /// A filter has stopped a call.
    Stopped,
    /// What was done for a call on another thread.
    Done,
}

impl Token {
    const KINDS: u64 = 16;

    fn encode(self) -> u64 {
        let (kind, index) = match self {
            Self::Lifeline => (0, 0),
            Self::Listener(index) => (1, index as u64),
            Self::Connection(key) => (2, key as u64),
            Self::End(session) => (3, session),
            Self::Kernel(session) => (4, session),
            Self::Tree(index) => (5, index as u64),
            Self::Announcements => (6, 0),
            Self::Marked => (7, 0),
            Self::Polled => (8, 0),
            Self::Filters => (9, 0),
            Self::Stopped => (10, 0),
            Self::Done => (11, 0),
        };
        index * Self::KINDS + kind
    }

    fn decode(word: u64) -> Self {
        let index = word / Self::KINDS;
        // The numbers were made from a usize.
        match word % Self::KINDS {
            0 => Self::Lifeline,
            1 => Self::Listener(index as usize),
            2 => Self::Connection(index as usize),
            3 => Self::End(index),
            4 => Self::Kernel(index),
            5 => Self::Tree(index as usize),
            6 => Self::Announcements,
            7 => Self::Marked,
            8 => Self::Polled,
            9 => Self::Filters,
            10 => Self::Stopped,
            _ => Self::Done,
        }
    }
}

pub use intercepted::{filters, hand_over};
use polled::{AnswerTo, Answered, Polled};
use replaying::Replaying;
use trees::AwaitedTrees;
pub(crate) use waiters::Waiter;

impl Emulator {
    /// An emulator without instances.
    ///
    /// # Errors
    ///
    /// If the kernel has no descriptors or memory left, does not tell what of a socket is unread, or does not give strict order; if a
    /// trace cannot be written.
    pub fn new(config: Config) -> io::Result<Self> {
        let weights = Weights::measure()?;
        let engine = Engine::new(uinotify_core::Config { profile: config.profile, ..uinotify_core::Config::default() });
        // Without the page every settling is a request: slower, and as exact.
        let page = SettlePage::new().ok();
        let faults = Faults::new(config.faults.clone());
        let replaying = config.replay.as_ref().map(Replaying::new);
        let mut emulator = Self {
            config,
            limits: MachineLimits::open(),
            tools: Tools::new(engine, weights),
            sessions: BTreeMap::new(),
            sessions_made: 0,
            groups: BTreeMap::new(),
            trees: Trees::default(),
            awaited: None,
            marked: None,
            polled: Polled::default(),
            interception: None,
            filters: None,
            ends: HashMap::new(),
            script: Script::default(),
            faults,
            replaying,
            may_have_waiters: false,
            began: Instant::now(),
            connections: Slab::new(),
            connections_made: 0,
            page,
            closer: Closer::start()?,
            inbox: Inbox::new(),
            relay: Relay::new()?,
            complaints: Complaints::default(),
            epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?,
            vigil: Vigil::default(),
            lulls: Lulls::default(),
            tracer: Tracer::default(),
            log: None,
            reserve: reserve(),
            start_ticks: start_ticks().unwrap_or(0),
        };
        emulator.begin_traces()?;
        emulator.check_order()?;
        Ok(emulator)
    }

    /// Serves for its lifetime; `lifeline` is cut when it reads end of file.
    ///
    /// # Errors
    ///
    /// If epoll fails.
    pub fn serve(mut self, listeners: &[OwnedFd], lifeline: BorrowedFd<'_>) -> io::Result<()> {
        self.watch(lifeline, Token::Lifeline, EpollFlags::EPOLLIN)?;
        for (index, listener) in listeners.iter().enumerate() {
            self.watch(listener.as_fd(), Token::Listener(index), EpollFlags::EPOLLIN)?;
        }
        let (mut is_alone, mut looks) = (self.config.lifetime == Lifetime::Trees, 0);
        let mut events = [EpollEvent::empty(); 64];
        loop {
            self.let_go_unwatched();
            self.tracer.pause();
            let is_unused = is_alone
                && self.sessions.is_empty()
                && self.awaited.is_none()
                && self.trees.is_empty()
                && !self.may_be_called();
            if !is_unused {
                looks = 0;
            }
            let timeout = if is_unused {
                match self.presence(looks) {
                    Presence::Some => looks = 0,
                    Presence::Perhaps if looks < DOUBTS_MAX => looks += 1,
                    _ => return Ok(()),
                }
                EpollTimeout::from(LOOK_AGAIN_MS)
            } else {
                EpollTimeout::NONE
            };
            while let Some(id) = self.lulls.end_one() {
                self.trees.rest();
                self.end_lull(id);
            }
            let mut timeout = self.lulls.shorten(timeout);
            let is_undecided = self.trees.is_undecided();
            if is_undecided {
                timeout = EpollTimeout::from(UNDECIDED_MS);
            }
            if let Some(wait_max) = self.marked.as_ref().and_then(fanotify::Source::wait_max) {
                // Rounded up: before its time there is nothing to see.
                let wait_max = EpollTimeout::try_from(wait_max + Duration::from_millis(1)).unwrap_or(EpollTimeout::MAX);
                timeout = if timeout.is_none() { wait_max } else { timeout.min(wait_max) };
            }
            timeout = self.shorten_for_delays(timeout);
            timeout = self.replay_on(timeout);
            let are_ahead = self.trees.are_ahead();
            let waited = if are_ahead {
                self.epoll.wait(&mut events, EpollTimeout::ZERO)
            } else {
                self.wait(&mut events, timeout)
            };
            let count = match waited {
                Err(Errno::EINTR) => continue,
                count => count?,
            };
            self.note_time();
            if count == 0 && !are_ahead && self.marked.as_ref().is_some_and(|marked| marked.wait_max().is_some()) {
                self.drain_marked();
            }
            if are_ahead {
                self.trees.indices().for_each(|index| self.serve_tree(index));
            } else if is_undecided && count == 0 {
                self.look_at_trees_again();
            }
            for event in &events[..count] {
                let token = Token::decode(event.data());
                if !matches!(token, Token::Tree(_)) {
                    self.trees.rest();
                }
                match token {
                    Token::Lifeline => {
                        let mut byte = [0];
                        is_alone = matches!(nix::unistd::read(lifeline, &mut byte), Ok(0));
                        if is_alone {
                            if matches!(self.config.lifetime, Lifetime::Lifeline | Lifetime::Trees) {
                                return Ok(());
                            }
                            self.epoll.delete(lifeline)?;
                        }
                    }
                    Token::Listener(index) => {
                        if let Some(listener) = listeners.get(index) {
                            self.accept(listener.as_fd());
                        }
                    }
                    Token::Connection(key) => self.serve_connection(key),
                    Token::End(id) => self.serve_end(id, event.events()),
                    Token::Kernel(id) => {
                        if let Some(session) = self.sessions.get_mut(&id) {
                            session.deliver(&mut self.tools);
                            self.update_interest(id);
                        }
                    }
                    Token::Tree(index) => self.serve_tree(index),
                    Token::Announcements => self.receive_announcement(),
                    Token::Marked => self.drain_marked(),
                    Token::Polled => self.drain_polled(),
                    Token::Filters => self.receive_filter(),
                    Token::Stopped => self.serve_stopped(event.events()),
                    Token::Done => self.finish_done(),
                }
                self.trace_events();
            }
            self.serve_readers();
        }
    }

    /// Are there programs that have no instance, and will perhaps open one?
    fn presence(&self, looks: u32) -> Presence {
        match (self.config.lifetime, self.config.admission) {
            (Lifetime::Programs, Admission::Token(token)) => programs::presence(&token),
            (Lifetime::Instances, _) if looks == 0 => Presence::Perhaps,
            _ => Presence::None,
        }
    }

    /// Waits for something to do. While requests follow each other quickly it looks for the next one before it falls asleep.
    fn wait(&mut self, events: &mut [EpollEvent], timeout: EpollTimeout) -> Result<usize, Errno> {
        let mut looks = 0;
        while self.vigil.is_kept() {
            match self.epoll.wait(events, EpollTimeout::ZERO)? {
                // On one processor the program that asks could not go on else.
                0 => thread::yield_now(),
                count => {
                    self.vigil.ended_by_request(looks);
                    return Ok(count);
                }
            }
            looks += 1;
        }
        self.epoll.wait(events, timeout)
    }

    fn watch(&self, fd: BorrowedFd<'_>, token: Token, flags: EpollFlags) -> Result<(), Errno> {
        self.epoll.add(fd, EpollEvent::new(flags, token.encode()))
    }

    /// A line about what goes on.
    fn tell(&self, message: &dyn Fn() -> String) {
        if self.config.verbose {
            say(&message());
        }
    }

    /// A line about something that was refused, unless there were many of late.
    fn complain(&mut self, message: &dyn Fn() -> String) {
        if !self.config.verbose {
            return;
        }
        if let Some(unsaid) = self.complaints.admit(Instant::now()) {
            if unsaid > 0 {
                say(&format!("refused {unsaid} times more, and did not say so"));
            }
            say(&message());
        }
    }

    fn accept(&mut self, listener: BorrowedFd<'_>) {
        // Another thread may have had the number when it was free.
        self.reserve = self.reserve.take().or_else(reserve);
        let accepted = match accept(listener) {
            Err(Errno::EMFILE | Errno::ENFILE) => {
                // Linux would say so. Without a descriptor in reserve the program would wait for ever.
                drop(self.reserve.take());
                let refused = accept(listener);
                if let Ok(socket) = &refused {
                    let _ = frame::send(socket.as_fd(), [&error(Errno::EMFILE).encode(), &[]], &[]);
                }
                drop(refused);
                self.reserve = reserve();
                return;
            }
            accepted => accepted,
        };
        if let Ok(socket) = accepted {
            let connection = Connection::new(socket, None, self.connection_number());
            if self.has_room_for(connection.peer().unwrap_or_default()) {
                self.adopt(connection);
            } else {
                // Whoever asks gets the answer of a process without descriptors, and nothing of ours.
                let _ = frame::send(connection.as_fd(), [&error(Errno::EMFILE).encode(), &[]], &[]);
                close_apart(connection.into_socket());
            }
        }
    }

    /// May this process have one more connection without an instance?
    fn has_room_for(&mut self, peer: Peer) -> bool {
        // Whoever has asked is served before the next is accepted, so that even many threads at once are not many here.
        let Peer { pid, uid } = peer;
        if self.undecided(|other| (other.pid, other.uid) == (pid, uid)).len() >= CONNECTIONS_OF_PROCESS_MAX {
            self.complain(&|| {
                format!("process {pid} of user {uid} has {CONNECTIONS_OF_PROCESS_MAX} silent connections: no more")
            });
            return false;
        }
        let of_user = self.undecided(|other| other.uid == uid);
        if of_user.len() >= CONNECTIONS_OF_USER_MAX {
            let made = |key: &usize| self.connections.get(*key).map(|connection| connection.made);
            if let Some(oldest) = of_user.into_iter().min_by_key(made) {
                self.complain(&|| {
                    format!("user {uid} has {CONNECTIONS_OF_USER_MAX} silent connections: the oldest is closed")
                });
                self.dismiss(oldest);
            }
        }
        true
    }

    /// The connections, not yet those of an instance, from such a process.
    fn undecided(&self, is_meant: impl Fn(Peer) -> bool) -> Vec<usize> {
        let undecided = self.connections.iter().filter(|(_, connection)| connection.session.is_none());
        undecided.filter(|(_, connection)| connection.peer().is_some_and(&is_meant)).map(|(key, _)| key).collect()
    }

    fn connection_number(&mut self) -> u64 {
        self.connections_made += 1;
        self.connections_made
    }

    fn adopt(&mut self, connection: Connection) {
        let entry = self.connections.vacant_entry();
        let event = EpollEvent::new(EpollFlags::EPOLLIN, Token::Connection(entry.key()).encode());
        if self.epoll.add(&connection, event).is_ok() {
            entry.insert(connection);
        }
    }

    fn drop_connection(&mut self, key: usize) {
        if let Some(connection) = self.connections.try_remove(key) {
            let _ = self.epoll.delete(&connection);
        }
    }

    /// Drops a connection on which there may be something still, whatever that is.
    fn dismiss(&mut self, key: usize) {
        if let Some(connection) = self.connections.try_remove(key) {
            let _ = self.epoll.delete(&connection);
            close_apart(connection.into_socket());
        }
    }

    fn serve_connection(&mut self, key: usize) {
        let Some(connection) = self.connections.get(key) else { return };
        match self.inbox.receive(connection.as_fd()) {
            // Whoever asks here waits for the answer: looking for a second request would be in vain.
            Ok(Some(packet)) => {
                let bytes = self.inbox.bytes(&packet).to_vec();
                if connection.control.is_some() {
                    packet.descriptors.into_iter().for_each(close_apart);
                    return self.serve_control(key, &bytes);
                }
                match packet.request(&bytes) {
                    Ok(request) => self.serve_on_connection(key, &request, packet.descriptors),
                    Err(refusal) => {
                        packet.descriptors.into_iter().for_each(close_apart);
                        self.refuse_on_connection(key, refusal);
                    }
                }
            }
            Ok(None) => {}
            Err(Errno::ESHUTDOWN) => self.drop_connection(key),
            Err(_) => self.dismiss(key),
        }
    }

    fn serve_on_connection(&mut self, key: usize, request: &Request<'_>, mut descriptors: Vec<OwnedFd>) {
        self.settle_observed();
        let Some(connection) = self.connections.get_mut(key) else { return };
        let takes_descriptors = match connection.session {
            Some(_) => is_of_instance(request.kind),
            None => request.kind == RequestKind::Restore,
        };
        if !takes_descriptors {
            descriptors.drain(..).for_each(close_apart);
        }
        let returned = std::mem::take(&mut connection.last_events);
        match (request.kind, connection.session) {
            (RequestKind::Init, None) => self.open_session(key, self.peer(key), request),
            (RequestKind::Status, None) => self.tell_status(key, self.peer(key)),
            (RequestKind::Checkpoint, None) => self.tell_checkpoint(key, self.peer(key), request.argument),
            (RequestKind::Restore, None) => self.take_checkpoint(key, self.peer(key), request, descriptors),
            (RequestKind::Control, None) => self.begin_control(key, self.peer(key), request),
            (RequestKind::Attach, Some(id)) => self.attach(id, self.peer(key), key, request.word),
            (RequestKind::Describe, Some(id)) => self.reply_to_inquiry(key, &self.describe_own(id, request)),
            (RequestKind::Describe | RequestKind::Limit | RequestKind::Find, None) => {
                self.reply_to_inquiry(key, &self.inquire(self.peer(key), request));
            }
            (_, Some(id)) if is_of_instance(request.kind) => {
                let mut events = Vec::new();
                match self.answer(id, request, descriptors, &returned, &mut events) {
                    Answered::Now(reply) => self.reply_on_connection(key, &reply, events),
                    Answered::Later(ticket) => {
                        let number = self.connections.get(key).map_or(0, |connection| connection.number);
                        self.polled.answer_to(ticket, AnswerTo::Connection(key, number));
                    }
                }
                self.vigil.request_served();
                self.update_interest(id);
            }
            (kind, _) => self.refuse_on_connection(key, Refusal::Misplaced(kind)),
        }
    }

    /// Says what is wrong with a packet, and ends a connection from which anything else may follow.
    fn refuse_on_connection(&mut self, key: usize, refusal: Refusal) {
        let Peer { pid, uid } = self.peer(key);
        self.complain(&|| format!("process {pid} of user {uid} sent {refusal}"));
        self.reply_on_connection(key, &error(refusal.errno()), Vec::new());
        if refusal != Refusal::NoNumberLeft {
            self.dismiss(key);
        }
    }

    fn peer(&self, key: usize) -> Peer {
        self.connections.get(key).and_then(Connection::peer).unwrap_or_default()
    }

    fn reply_on_connection(&mut self, key: usize, reply: &Reply, events: Vec<u8>) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let sent = frame::send(connection.as_fd(), [&reply.encode(), &events], &[]);
        connection.last_events = events;
        if sent.is_err() {
            // A program that does not read its replies: what this one took from the queue is not to be lost.
            let (events, session) = (std::mem::take(&mut connection.last_events), connection.session);
            if let Some(session) = session.and_then(|id| self.sessions.get_mut(&id)) {
                session.restore(&mut self.tools, &events);
            }
            self.dismiss(key);
        }
    }

    fn reply_to_inquiry(&mut self, key: usize, answer: &Result<Option<OwnedFd>, Errno>) {
        let sent = self.connections.get(key).map(|connection| inquiries::send(connection, answer));
        if sent.is_some_and(|sent| sent.is_err()) {
            self.drop_connection(key);
        }
    }

    fn serve_end(&mut self, id: u64, flags: EpollFlags) {
        let mut has_more = true;
        for _ in 0..REQUESTS_MAX {
            let Some(session) = self.sessions.get(&id) else { return };
            if frame::holds_plug_only(session.end()) {
                if flags.intersects(EpollFlags::EPOLLHUP | EpollFlags::EPOLLRDHUP) {
                    return self.close_session(id);
                }
                has_more = false;
                break;
            }
            match self.inbox.receive(session.end()) {
                Ok(Some(packet)) => {
                    let bytes = self.inbox.bytes(&packet).to_vec();
                    if !packet.is_plug(&bytes) {
                        let request = packet.request(&bytes);
                        self.serve_on_end(id, request, packet.descriptors);
                    }
                }
                Ok(None) => {
                    has_more = false;
                    break;
                }
                Err(_) => return self.close_session(id),
            }
        }
        if has_more && let Some(session) = self.sessions.get(&id) {
            // The edge has passed, and others have their turn first.
            let mut event = EpollEvent::new(session.interest(), Token::End(id).encode());
            let _ = self.epoll.modify(session.end(), &mut event);
        }
        if flags.contains(EpollFlags::EPOLLOUT)
            && let Some(session) = self.sessions.get_mut(&id)
        {
            session.refill(&mut self.tools);
        }
        self.update_interest(id);
    }

    fn serve_on_end(&mut self, id: u64, request: Result<Request<'_>, Refusal>, descriptors: Vec<OwnedFd>) {
        self.settle_observed();
        let mut descriptors = descriptors.into_iter();
        let object = descriptors.next().and_then(ReplyObject::new);
        match (request, object) {
            (Ok(request), Some(ReplyObject::Socket(socket))) if request.kind == RequestKind::Attach => {
                descriptors.for_each(close_apart);
                self.attach_new(id, socket, request.word);
            }
            (Ok(request), Some(object)) if request.kind == RequestKind::Describe => {
                descriptors.for_each(close_apart);
                inquiries::send_to_object(object, &self.describe_own(id, &request), &self.relay);
            }
            (Ok(mut request), Some(object)) => {
                // A reply object takes no events: they go into the window.
                if request.kind == RequestKind::Settle {
                    request.argument = 0;
                }
                let answered = if is_of_instance(request.kind) {
                    self.answer(id, &request, descriptors.collect(), &[], &mut Vec::new())
                } else {
                    descriptors.for_each(close_apart);
                    Answered::Now(error(Errno::EINVAL))
                };
                match answered {
                    Answered::Now(reply) => object.send(&reply, &self.relay),
                    Answered::Later(ticket) => self.polled.answer_to(ticket, AnswerTo::Object(object)),
                }
                self.update_interest(id);
            }
            // Whatever a program writes to what it takes for an inotify descriptor is no request, and dropped.
            (request, object) => {
                descriptors.for_each(close_apart);
                let refusal = request.err().unwrap_or(Refusal::NoReplyObject);
                let sender = self.inbox.sender().map_or(0, |sender| sender.pid);
                self.complain(&|| format!("process {sender} sent {refusal} to instance {id}"));
                if let Some(object) = object {
                    object.send(&error(refusal.errno()), &self.relay);
                }
            }
        }
    }

    /// `Attach` over an instance: the socket that came with it becomes a control connection.
    fn attach_new(&mut self, id: u64, socket: OwnedFd, purpose: u32) {
        if self.connections.iter().filter(|(_, connection)| connection.session == Some(id)).count() >= CONTROLS_MAX {
            let _ = frame::send(socket.as_fd(), [&error(Errno::EMFILE).encode(), &[]], &[]);
            return close_apart(socket);
        }
        let connection = Connection::new(socket, Some(id), self.connection_number());
        let peer = connection.peer().unwrap_or_default();
        let key = self.connections.vacant_key();
        self.adopt(connection);
        self.attach(id, peer, key, purpose);
    }

    /// Hands over what lets a program of our own user see by itself that there is nothing to ask for. For an instance that has no kernel
    /// instance it is one of the moment, if the program only wants something to stand in for its descriptor.
    fn attach(&mut self, id: u64, peer: Peer, key: usize, purpose: u32) {
        let (Some(session), Some(connection)) = (self.sessions.get_mut(&id), self.connections.get(key)) else { return };
        let line = session.line.as_ref().map(crate::settle_page::Line::offset);
        // Both: a socket of our user's making may have been handed to another.
        let is_sent_by_us = self.inbox.sender().is_some_and(Sender::is_ourselves);
        let is_trusted = peer.is_ourselves() && is_sent_by_us;
        let stands_in = session.kernel().is_none() && purpose == STAND_IN;
        let moment = if is_trusted && stands_in { Instance::new().ok() } else { None };
        let kernel = if is_trusted { session.share_kernel() } else { None }.or(moment.as_ref().map(AsFd::as_fd));
        let sent = match (&self.page, line, kernel) {
            (Some(page), Some(offset), Some(kernel)) => {
                let reply = Reply { extent: offset, ..Reply::default() };
                frame::send(connection.as_fd(), [&reply.encode(), &[]], &[kernel, page.readable()])
            }
            (Some(page), Some(offset), None) if is_trusted && purpose != STAND_IN => {
                let reply = Reply { extent: offset, flags: Reply::PAGE_ALONE, ..Reply::default() };
                frame::send(connection.as_fd(), [&reply.encode(), &[]], &[page.readable()])
            }
            _ => frame::send(connection.as_fd(), [&error(Errno::EPERM).encode(), &[]], &[]),
        };
        if sent.is_err() {
            self.drop_connection(key);
        }
        if let Some(moment) = moment {
            self.closer.retire(moment, Vec::new());
        }
    }

    fn end_lull(&mut self, id: u64) {
        if let Some(session) = self.sessions.get_mut(&id) {
            session.end_lull(&mut self.tools);
            self.update_interest(id);
        }
    }

    /// Asks to be told when the window can be refilled, while there is something to refill it with.
    fn update_interest(&mut self, id: u64) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        if session.is_cut_off() {
            return self.close_session(id);
        }
        let wants_writable = session.is_to_be_refilled(&self.tools.engine) || session.is_followed;
        if session.set_wants_writable(wants_writable) {
            let mut event = EpollEvent::new(session.interest(), Token::End(id).encode());
            // The end is registered as long as the session lives.
            let _ = self.epoll.modify(session.end(), &mut event);
        }
    }
}

/// Does this ask something of an instance, whatever it came over, so that the descriptors with it are the request's?
fn is_of_instance(kind: RequestKind) -> bool {
    !matches!(
        kind,
        RequestKind::Init
            | RequestKind::Status
            | RequestKind::Attach
            | RequestKind::Describe
            | RequestKind::Limit
            | RequestKind::Find
            | RequestKind::Checkpoint
            | RequestKind::Restore
            | RequestKind::Control
    )
}

/// A line on stderr, if somebody reads there: nobody is to wait for us because of it.
pub(crate) fn say(message: &str) {
    let stderr = io::stderr();
    let mut entry = [PollFd::new(stderr.as_fd(), PollFlags::POLLOUT)];
    let can_write = poll(&mut entry, PollTimeout::ZERO) == Ok(1)
        && entry[0].revents().is_some_and(|found| found == PollFlags::POLLOUT);
    if can_write {
        // Whoever has hung up meanwhile wants no message.
        let _ = writeln!(io::stderr(), "uinotify: {message}");
    }
}

fn accept(listener: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    let number = accept4(listener.as_raw_fd(), SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK)?;
    // SAFETY: the call has just returned this descriptor, which nobody else has.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// A descriptor that can be given up.
fn reserve() -> Option<OwnedFd> {
    File::open("/dev/null").ok().map(OwnedFd::from)
}

/// When this process started, in clock ticks since boot: field 22 of proc_pid_stat(5).
fn start_ticks() -> Option<u64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The name, in parentheses, may hold spaces.
    stat.rsplit(") ").next()?.split(' ').nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_survive() {
        for token in [
            Token::Lifeline,
            Token::Listener(1),
            Token::Connection(7),
            Token::End(9),
            Token::Kernel(9),
            Token::Tree(3),
            Token::Announcements,
            Token::Marked,
            Token::Polled,
            Token::Filters,
            Token::Stopped,
            Token::Done,
            Token::End(u64::MAX / 16),
        ] {
            assert_eq!(Token::decode(token.encode()), token);
        }
    }

    #[test]
    fn this_process_has_started() {
        assert!(start_ticks().is_some_and(|ticks| ticks > 0));
    }
}
