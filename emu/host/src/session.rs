//! One instance: the core's group, what it watches and the socket to its programs.

mod information;
mod kernel;
mod restored;
mod short;

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::epoll::EpollFlags;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr, bind, getsockopt, send, setsockopt, socketpair, sockopt,
};
use nix::sys::stat::fstat;
use uinotify_core::{AddMask, Added, Engine, Event, GroupId, ObjectId, Output, Wd};
use uinotify_source::fanotify::is_numbered;
use uinotify_source::inotify::{Instance, Record, Records};
use uinotify_source::poll::is_polled;
use uinotify_source::script::is_scripted;
use uinotify_wire::{
    EVENT_BYTES_MAX, EVENT_HEADER_BYTES, InstanceName, NAME_BYTES_MAX, PLUG, REPLY_EVENTS_BYTES_MAX, Reply,
};

use crate::calibration::{Weights, unread_weight};
use crate::closer::close_apart;
use crate::connection::Peer;
use crate::paths::{self, Paths};
use crate::reply::is_packet_socket;
use crate::settle_page::Line;
use crate::trees::{Shown, is_observed};
use crate::window::Window;

pub(crate) use kernel::{Sought, kernel_wd};
pub(crate) use short::Short;

/// Asked for the emulator's end; the kernel doubles it. A raw reader is refilled when a quarter is left (the kernel's rule for
/// EPOLLOUT), so the window takes half.
const SEND_BUFFER_BYTES: usize = 128 * 1024;

/// Asked for the program's end; the kernel doubles it. So small that the plug takes more than a quarter, and the largest request, a
/// path of `PATH_MAX` bytes, still finds room behind it.
const REQUESTS_BUFFER_BYTES: usize = 8 * 1024;

/// How far beyond its limit a queue may grow by events that come back: those of one reply, and more than there are readers of one
/// instance. Whoever returns what was never sent fills no memory.
const RETURNED_MAX: usize = REPLY_EVENTS_BYTES_MAX / EVENT_HEADER_BYTES + 1024;

/// One read of the source.
const SOURCE_BUFFER_BYTES: usize = 64 * 1024;

/// An instance.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) group: GroupId,
    pub(crate) creator: Peer,
    pub(crate) line: Option<Line>,
    /// The inode of the program's end, by which /proc/PID/fd shows it.
    pub(crate) program_inode: u64,
    /// Watches objects that are in no tree of ours.
    kernel: Option<Instance>,
    /// It came when programs knew already that there is none.
    is_kernel_late: bool,
    /// How many watches are on objects of our trees, marked or polled.
    observed_watches: usize,
    /// How many of these are marked.
    marked_watches: usize,
    /// How many of these are polled.
    polled_watches: usize,
    /// How many of these are told nothing but what is injected.
    scripted_watches: usize,
    /// The kernel may have queued requests for a tree of which this group is to be told.
    must_ask: bool,
    end: OwnedFd,
    window: Window,
    paths: Paths,
    has_lost_events: bool,
    wants_writable: bool,
    is_cut_off: bool,
    /// The reader takes the events with replies (`lull`).
    is_pulled: bool,
    /// Somebody waits until its events are read. The kernel tells when the socket can be written, which each read says anew.
    pub(crate) is_followed: bool,
    /// Each read may bring the next event of a recording, so that whoever reads has to ask.
    is_replayed: bool,
    /// A read may have to fail, of which only the emulator knows.
    may_fail_reads: bool,
    /// Events that were queued since the window was last filled.
    arrived: usize,
}

/// What every session works with.
#[derive(Debug)]
pub(crate) struct Tools {
    pub(crate) engine: Engine,
    pub(crate) weights: Weights,
    buffer: Vec<u8>,
    record: Vec<u8>,
    /// Objects whose watch has ended.
    pub(crate) unwatched: Vec<ObjectId>,
}

impl Tools {
    pub(crate) fn new(engine: Engine, weights: Weights) -> Self {
        Self {
            engine,
            weights,
            buffer: vec![0; SOURCE_BUFFER_BYTES],
            record: Vec::with_capacity(EVENT_BYTES_MAX),
            unwatched: Vec::new(),
        }
    }
}

/// The core's errnos are Linux's.
pub(crate) fn errno(core: uinotify_core::Errno) -> Errno {
    Errno::from_raw(core.raw())
}

impl Session {
    /// A new instance, and the program's end. Without `kernel` only trees of ours can be watched.
    pub(crate) fn open(
        group: GroupId,
        creator: Peer,
        name: InstanceName,
        nonblocking: bool,
        kernel: Option<Instance>,
    ) -> io::Result<(Self, OwnedFd)> {
        let (end, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
        let mut path = [0; NAME_BYTES_MAX];
        let length = name.write(&mut path);
        bind(end.as_raw_fd(), &UnixAddr::new_abstract(&path[1..length])?)?;
        setsockopt(&end, sockopt::PassCred, &true)?;
        setsockopt(&end, sockopt::SndBuf, &SEND_BUFFER_BYTES)?;
        let granted = getsockopt(&end, sockopt::SndBuf)?;
        if nonblocking {
            let flags = nix::fcntl::fcntl(&theirs, nix::fcntl::FcntlArg::F_GETFL)?;
            let flags = nix::fcntl::OFlag::from_bits_retain(flags) | nix::fcntl::OFlag::O_NONBLOCK;
            nix::fcntl::fcntl(&theirs, nix::fcntl::FcntlArg::F_SETFL(flags))?;
        }
        let window = Window::new(u32::try_from(granted / 2).unwrap_or(u32::MAX));
        setsockopt(&theirs, sockopt::SndBuf, &REQUESTS_BUFFER_BYTES)?;
        send(theirs.as_raw_fd(), &PLUG, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL)?;
        Ok((
            Self {
                group,
                creator,
                line: None,
                program_inode: fstat(&theirs)?.st_ino,
                kernel,
                is_kernel_late: false,
                observed_watches: 0,
                marked_watches: 0,
                polled_watches: 0,
                scripted_watches: 0,
                must_ask: false,
                end,
                window,
                paths: Paths::default(),
                has_lost_events: false,
                wants_writable: false,
                is_cut_off: false,
                is_pulled: false,
                is_followed: false,
                is_replayed: false,
                may_fail_reads: false,
                arrived: 0,
            },
            theirs,
        ))
    }

    /// Our end of the socketpair.
    pub(crate) fn end(&self) -> BorrowedFd<'_> {
        self.end.as_fd()
    }

    /// Is this the program's end?
    pub(crate) fn is_theirs(&self, fd: BorrowedFd<'_>) -> bool {
        // A file of a file system, which might keep us waiting, is asked nothing more.
        is_packet_socket(fd) && fstat(fd).is_ok_and(|stat| stat.st_ino == self.program_inode)
    }

    /// Nothing that is sent arrives any more.
    pub(crate) fn is_cut_off(&self) -> bool {
        self.is_cut_off
    }

    /// What is left when the programs have closed their ends: the kernel instance, and what was watched.
    pub(crate) fn close(self, engine: &mut Engine) -> (Option<Instance>, Vec<ObjectId>) {
        let watched = engine.close_group(self.group);
        // What was sent to it and never received may be anything.
        close_apart(self.end);
        (self.kernel, watched)
    }

    /// What /proc/PID/fdinfo/N shows of the program's descriptor, which has `flags`, with the permission bits of the file.
    pub(crate) fn information(
        &self,
        engine: &Engine,
        shown: &dyn Fn(ObjectId) -> Option<Shown>,
        flags: u32,
    ) -> io::Result<(String, u32)> {
        match &self.kernel {
            Some(kernel) if self.observed_watches == 0 => self.kernel_information(kernel, engine, flags),
            _ => self.mixed_information(engine, shown, flags),
        }
    }

    /// Where its events come from, for people.
    pub(crate) fn source_name(&self) -> String {
        let in_trees = self.observed_watches > self.marked_watches + self.polled_watches + self.scripted_watches;
        let sources = [
            ("fuse", in_trees),
            ("fanotify", self.marked_watches > 0),
            ("poll", self.polled_watches > 0),
            ("script", self.scripted_watches > 0),
            ("inotify", self.kernel.is_some()),
        ];
        let names: Vec<_> = sources.into_iter().filter(|(_, is_one)| *is_one).map(|(name, _)| name).collect();
        if names.is_empty() { "none yet".to_owned() } else { names.join(", ") }
    }

    /// Whether anything is watched by a mark.
    pub(crate) fn has_marks(&self) -> bool {
        self.marked_watches > 0
    }

    /// The path with which an object was first added.
    pub(crate) fn path(&self, object: ObjectId) -> &[u8] {
        paths::written(self.paths.get(object))
    }

    /// Does anything wait behind the window?
    pub(crate) fn has_more(&self, engine: &Engine) -> bool {
        engine.queue_len(self.group) > self.window.len()
    }

    /// Is there something to fill the window with, and nobody who takes it without?
    pub(crate) fn is_to_be_refilled(&self, engine: &Engine) -> bool {
        !self.is_pulled && self.has_more(engine)
    }

    /// Does a reader take the events with replies, with more to come?
    pub(crate) fn is_pulled(&self) -> bool {
        self.is_pulled
    }

    /// Whether to be told that the socket can be written. True if that has changed.
    pub(crate) fn set_wants_writable(&mut self, wants: bool) -> bool {
        std::mem::replace(&mut self.wants_writable, wants) != wants
    }

    /// What epoll is to tell of our end. By edges, as the plug that stays there is always to be read.
    pub(crate) fn interest(&self) -> EpollFlags {
        let mut flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLET;
        flags.set(EpollFlags::EPOLLOUT, self.wants_writable);
        flags
    }

    /// Tells the core how much of the window has been read.
    pub(crate) fn acknowledge(&mut self, engine: &mut Engine) {
        if self.window.is_empty() {
            return;
        }
        if let Ok(unread) = unread_weight(self.end.as_fd()) {
            let count = self.window.read_since(unread);
            engine.acknowledge(self.group, count);
        }
    }

    /// A cycle: takes what the kernel instance holds, and sends what the window has room for.
    pub(crate) fn deliver(&mut self, tools: &mut Tools) {
        self.begin_cycle();
        self.drain(tools);
        self.fill_window(tools);
        self.end_cycle();
    }

    /// The reader has paused: whoever reads next may be one that only sees the socket.
    pub(crate) fn end_lull(&mut self, tools: &mut Tools) {
        self.is_pulled = false;
        self.refill(tools);
    }

    /// A cycle that only sends.
    pub(crate) fn refill(&mut self, tools: &mut Tools) {
        self.begin_cycle();
        self.acknowledge(&mut tools.engine);
        self.fill_window(tools);
        self.end_cycle();
    }

    /// Something is about to be told to the core of which this group may learn: how long its queue is before.
    pub(crate) fn begin_to_tell(&mut self, engine: &mut Engine, has_sequel: bool) -> usize {
        self.must_ask |= has_sequel;
        self.begin_cycle();
        self.acknowledge(engine);
        engine.queue_len(self.group)
    }

    /// Something may be told later that has happened by then: whoever reads has to ask.
    pub(crate) fn will_be_told(&mut self, engine: &Engine) {
        self.must_ask = true;
        if let Some(line) = &self.line {
            line.set_more(self.has_more(engine), true);
        }
    }

    /// Whether the program has to ask before each read, as that may be to fail.
    pub(crate) fn set_may_fail_reads(&mut self, engine: &Engine, may_fail: bool) {
        if std::mem::replace(&mut self.may_fail_reads, may_fail) != may_fail
            && let Some(line) = &self.line
        {
            line.set_more(self.has_more(engine), self.has_doubts());
        }
    }

    /// Whether a recording has events for this instance still.
    pub(crate) fn set_replayed(&mut self, engine: &Engine, is_replayed: bool) {
        if std::mem::replace(&mut self.is_replayed, is_replayed) != is_replayed
            && let Some(line) = &self.line
        {
            line.set_more(self.has_more(engine), self.has_doubts());
        }
    }

    /// Is there anything that a program cannot see in the page?
    fn has_doubts(&self) -> bool {
        self.must_ask || self.is_kernel_late || self.may_fail_reads || self.is_replayed
    }

    /// Whether a tree has to be asked whether there is [anything](Self::will_be_told) left.
    pub(crate) fn must_ask(&self) -> bool {
        self.must_ask
    }

    /// There is nothing left of which a tree will tell later.
    pub(crate) fn need_not_ask(&mut self) {
        // What fanotify holds, and what was found by looking, only the emulator can see.
        self.must_ask = self.marked_watches + self.polled_watches > 0;
    }

    /// It was told, and the queue had this length before.
    pub(crate) fn end_telling(&mut self, tools: &mut Tools, length: usize) {
        self.arrived += tools.engine.queue_len(self.group).saturating_sub(length);
        self.fill_window(tools);
        self.end_cycle();
    }

    fn begin_cycle(&self) {
        if let Some(line) = &self.line {
            line.begin_cycle();
        }
    }

    fn end_cycle(&self) {
        if let Some(line) = &self.line {
            line.end_cycle();
        }
    }

    /// Watches that have ended in this group, the only one that the core was told of.
    fn forget_ended(&mut self, tools: &mut Tools) {
        while let Some(output) = tools.engine.poll_output() {
            if let Output::Unwatched { object, .. } = output {
                self.forget(object);
                tools.unwatched.push(object);
            }
        }
    }

    /// The watch on an object has ended.
    pub(crate) fn forget(&mut self, object: ObjectId) {
        self.paths.remove(object);
        if is_observed(object) {
            self.observed_watches -= 1;
            self.marked_watches -= usize::from(is_numbered(object));
            self.polled_watches -= usize::from(is_polled(object));
            self.scripted_watches -= usize::from(is_scripted(object));
        }
    }

    /// Sends what the window has room for, and says whether more waits.
    fn fill_window(&mut self, tools: &mut Tools) {
        if let Some(line) = &self.line
            && self.window.is_empty()
            && !self.must_ask
            && !self.may_fail_reads
            && !self.is_replayed
            && tools.engine.queue_len(self.group) == 1
        {
            // Sending wakes a reader, who may run before this cycle has ended.
            line.announce_solo();
        }
        // Each event that arrives is an edge for EPOLLET and a signal for O_ASYNC, whichever event is sent for it.
        let mut edges = std::mem::take(&mut self.arrived);
        while !self.window.is_full()
            && (self.window.is_empty() || !self.is_pulled || edges > 0)
            && let Some(event) = tools.engine.event(self.group, self.window.len())
        {
            tools.record.clear();
            event.encode_into(&mut tools.record);
            let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
            match send(self.end.as_raw_fd(), &tools.record, flags) {
                Ok(_) => {}
                // It is refilled when it can be written again.
                Err(Errno::EAGAIN | Errno::ENOBUFS | Errno::ENOMEM | Errno::EINTR) => break,
                // Closed, or shut down for receiving.
                Err(_) => {
                    self.is_cut_off = true;
                    break;
                }
            }
            self.window.push(tools.weights.of(tools.record.len()));
            edges = edges.saturating_sub(1);
        }
        if let Some(line) = &self.line {
            line.set_more(self.has_more(&tools.engine), self.has_doubts());
        }
    }

    /// `Settle`: with room for events and an empty window they come with the reply.
    pub(crate) fn settle_for_read(&mut self, tools: &mut Tools, room: u64, events: &mut Vec<u8>) -> Reply {
        self.begin_cycle();
        self.drain(tools);
        self.acknowledge(&mut tools.engine);
        let mut flags = 0;
        let room = usize::try_from(room).unwrap_or(usize::MAX);
        if self.window.is_empty() && room > 0 {
            let taken = tools.engine.take(self.group, room.min(REPLY_EVENTS_BYTES_MAX), events);
            let next = tools.engine.event(self.group, 0).map(Event::size);
            let fits = |size: usize| size <= room - events.len();
            match (taken, next) {
                (Ok(_), Some(size)) if fits(size) => flags = Reply::MORE,
                (Err(_), Some(_)) => flags = Reply::TOO_SMALL,
                _ => {}
            }
        }
        if room > 0 {
            self.is_pulled = self.has_more(&tools.engine);
        }
        self.fill_window(tools);
        if events.is_empty() {
            if !self.window.is_empty() {
                flags |= Reply::WINDOW;
            }
            if self.has_more(&tools.engine) {
                flags |= Reply::MORE;
            }
        }
        self.end_cycle();
        // At most REPLY_EVENTS_BYTES_MAX.
        Reply { flags, extent: events.len() as u32, ..Reply::default() }
    }

    /// `Count`: the bytes of all queued events.
    pub(crate) fn count(&mut self, tools: &mut Tools) -> Reply {
        let reply = self.settle_for_read(tools, 0, &mut Vec::new());
        let bytes = tools.engine.queue_bytes(self.group);
        Reply { value: i32::try_from(bytes).unwrap_or(i32::MAX), ..reply }
    }

    /// `AddWatch` for an object that is observed.
    pub(crate) fn add_observed_watch(
        &mut self,
        tools: &mut Tools,
        object: ObjectId,
        mask: AddMask,
        path: &[u8],
    ) -> Result<Added, Errno> {
        let added = tools.engine.add_watch(self.group, object, mask).map_err(errno)?;
        if added.new {
            self.paths.insert(object, path);
            self.observed_watches += 1;
            self.marked_watches += usize::from(is_numbered(object));
            self.polled_watches += usize::from(is_polled(object));
            self.scripted_watches += usize::from(is_scripted(object));
            self.will_be_told(&tools.engine);
        }
        Ok(added)
    }

    /// `RemoveWatch`: the IN_IGNORED follows what was queued before.
    pub(crate) fn remove_watch(&mut self, tools: &mut Tools, wd: Wd) -> Result<(), Errno> {
        self.begin_cycle();
        // It may have ended by itself, with the IN_IGNORED still on its way.
        self.drain(tools);
        let result = tools.engine.object_of(self.group, wd).map_err(errno).and_then(|watched| {
            if !is_observed(watched) {
                let result = self.kernel_unwatch(watched);
                self.drain(tools);
                return result;
            }
            self.acknowledge(&mut tools.engine);
            let queued_before = tools.engine.queue_len(self.group);
            let result = tools.engine.remove_watch(self.group, wd).map(drop).map_err(errno);
            self.arrived += tools.engine.queue_len(self.group).saturating_sub(queued_before);
            self.forget_ended(tools);
            result
        });
        self.fill_window(tools);
        self.end_cycle();
        result
    }

    /// Events that were taken for a reply that could not be sent.
    pub(crate) fn restore(&mut self, tools: &mut Tools, events: &[u8]) {
        if self.window.is_empty() {
            tools.engine.put_back(self.group, Records::new(events).map(event).collect());
            self.refill(tools);
        } else if !events.is_empty() {
            // Behind what is in the socket their place is lost, and so are they: that must not go unseen.
            tools.engine.source_overflowed(self.group);
            self.refill(tools);
        }
    }

    /// `Return`: events that a program has taken and could not pass on. They stand in front again, and the window, which is
    /// taken back from the program's end, behind them.
    pub(crate) fn take_back(&mut self, tools: &mut Tools, theirs: BorrowedFd<'_>, events: &[u8]) {
        self.begin_cycle();
        self.acknowledge(&mut tools.engine);
        let mut returned: Vec<_> = Records::new(events).map(event).collect();
        returned.extend(self.recall_window(&mut tools.engine, theirs));
        let room = tools.engine.limits(self.group).map_or(0, |limits| limits.queue_events_max as usize) + RETURNED_MAX;
        if tools.engine.queue_len(self.group) + returned.len() <= room {
            tools.engine.put_back(self.group, returned);
        } else {
            // No reader has taken so many. What of it was real is not to go unseen.
            tools.engine.source_overflowed(self.group);
        }
        self.fill_window(tools);
        self.end_cycle();
    }
}

fn event(record: Record<'_>) -> Event {
    Event { wd: Wd(record.wd), mask: record.mask, cookie: record.cookie, name: record.name.into(), hidden: 0 }
}
