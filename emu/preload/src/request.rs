//! Asking the emulator.
//!
//! The plain way needs nothing but the instance: the request goes over it, with the write end of a new pipe for the answer.
//! No path, no environment, no lock; nothing is stale after fork or exec, and an emulator that dies shows as end of file. A
//! control connection, where this process has one, spares the pipe.

use core::ffi::c_void;
use core::sync::atomic::{AtomicU32, Ordering};

use uinotify_wire::{PLUG, REPLY_BYTES, Reply, Request, RequestKind, STAND_IN, VALUE_OFFSET};

use crate::address::Address;
use crate::identity::Instance;
use crate::private::{self, Private};
use crate::raw::{self, Errno, IoVec, MSG_CMSG_CLOEXEC, MSG_CTRUNC, MSG_DONTWAIT, MessageHeader, process};
use crate::settings::Emulator;
use crate::{log, memory, settings, slot};

/// Why there is no reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The emulator is gone.
    Dead,
    /// The request could not be made or taken: no descriptor left, or the program's memory is bad.
    Refused(Errno),
    /// The program's buffer is where no program has memory: nothing was asked.
    Unreachable,
}

/// Where parts of a reply go straight from the kernel.
#[derive(Clone, Copy)]
pub struct Into {
    /// A program's `int` for the value; null for none.
    pub value: *mut c_void,
    /// A program's buffer for events.
    pub events: *mut c_void,
    /// Its length; 0 for none.
    pub events_room: usize,
}

impl Into {
    /// Nowhere.
    pub const NOTHING: Self = Self { value: core::ptr::null_mut(), events: core::ptr::null_mut(), events_room: 0 };

    /// Can the kernel take these addresses at all? One that it refuses on sight would leave the reply in the connection, to be
    /// taken for the next one. `connection` has nothing to be read, so that it touches no memory.
    fn is_reachable(&self, connection: i32) -> bool {
        let pieces = [(self.value, if self.value.is_null() { 0 } else { 4 }), (self.events, self.events_room)];
        pieces.into_iter().all(|(start, length)| {
            // SAFETY: the memory is the program's own, or a bad address, which gives EFAULT.
            length == 0 || unsafe { raw::receive(connection, start, length, MSG_DONTWAIT) } != Err(Errno::FAULT)
        })
    }
}

/// Room for two descriptors in a control message.
#[repr(C, align(8))]
struct Control {
    length: usize,
    level: i32,
    kind: i32,
    fds: [i32; 2],
}

const CONTROL_HEADER_BYTES: usize = 16;
const SOL_SOCKET: i32 = 1;
const SCM_RIGHTS: i32 = 1;

impl Control {
    fn with(fds: &[i32]) -> (Self, usize) {
        let mut control = Self { length: 0, level: SOL_SOCKET, kind: SCM_RIGHTS, fds: [-1; 2] };
        let mut count = 0;
        for (to, &fd) in control.fds.iter_mut().zip(fds) {
            *to = fd;
            count += 1;
        }
        control.length = CONTROL_HEADER_BYTES + 4 * count;
        // CMSG_SPACE rounds up to a word.
        (control, if count == 0 { 0 } else { CONTROL_HEADER_BYTES + 8 })
    }

    fn received(&self, header: &MessageHeader) -> [Option<i32>; 2] {
        let is_rights =
            header.control_length >= CONTROL_HEADER_BYTES && self.level == SOL_SOCKET && self.kind == SCM_RIGHTS;
        let count = if is_rights { self.length.saturating_sub(CONTROL_HEADER_BYTES) / 4 } else { 0 };
        let [first, second] = self.fds;
        [(count > 0).then_some(first), (count > 1).then_some(second)]
    }
}

/// Waiting for a reply without sleeping, for a moment: where the emulator runs on another processor that is awake, the reply is
/// there before this one has fallen asleep, and being woken takes several times as long as the request.
struct Spins {
    /// How many requests are to sleep at once, as spinning was in vain lately.
    to_skip: AtomicU32,
    /// How many it will be after the next failure.
    penalty: AtomicU32,
}

static SPINS: Spins = Spins { to_skip: AtomicU32::new(0), penalty: AtomicU32::new(Spins::PENALTY_MIN) };

impl Spins {
    /// Some twenty microseconds.
    const TRIES: u32 = 128;
    const PENALTY_MIN: u32 = 4;
    const PENALTY_MAX: u32 = 512;

    /// Tries until there is another answer than EAGAIN.
    fn attempt(&self, mut receive: impl FnMut() -> raw::Outcome) -> raw::Outcome {
        let to_skip = self.to_skip.load(Ordering::Relaxed);
        if to_skip > 0 {
            self.to_skip.store(to_skip - 1, Ordering::Relaxed);
            return Err(Errno::AGAIN);
        }
        for _ in 0..Self::TRIES {
            let received = receive();
            if received != Err(Errno::AGAIN) {
                self.penalty.store(Self::PENALTY_MIN, Ordering::Relaxed);
                return received;
            }
        }
        let penalty = self.penalty.load(Ordering::Relaxed);
        self.to_skip.store(penalty, Ordering::Relaxed);
        self.penalty.store((2 * penalty).min(Self::PENALTY_MAX), Ordering::Relaxed);
        Err(Errno::AGAIN)
    }
}

/// Sends a request.
fn send(fd: i32, request: &Request<'_>, fds: &[i32]) -> Result<(), Errno> {
    let mut header_bytes = request.header();
    let mut pieces = [
        IoVec { base: header_bytes.as_mut_ptr().cast(), length: header_bytes.len() },
        IoVec { base: request.payload.as_ptr().cast_mut().cast(), length: request.payload.len() },
    ];
    let (mut control, control_length) = Control::with(fds);
    let message = MessageHeader {
        name: core::ptr::null_mut(),
        name_length: 0,
        pieces: pieces.as_mut_ptr(),
        piece_count: pieces.len(),
        control: (&raw mut control).cast(),
        control_length,
        flags: 0,
    };
    loop {
        // SAFETY: the pieces and the control buffer live in this frame, or are the request's payload.
        match unsafe { raw::send_message(fd, &message) } {
            Ok(_) => return Ok(()),
            // The emulator has not read the earlier requests of this and other threads yet. Room over an instance is not told of, as
            // the plug hides it: a wait for it, here or in the kernel, might not end.
            Err(Errno::AGAIN) => {
                let _ = raw::poll_one(fd, raw::POLLOUT, true);
            }
            Err(errno) => return Err(errno),
        }
    }
}

/// Sends a request over an instance.
fn send_over_instance(fd: i32, request: &Request<'_>, fds: &[i32]) -> Result<(), Errno> {
    send(fd, request, fds)?;
    let mut piece = IoVec { base: (&raw const PLUG).cast_mut().cast(), length: PLUG.len() };
    let message = MessageHeader {
        name: core::ptr::null_mut(),
        name_length: 0,
        pieces: &raw mut piece,
        piece_count: 1,
        control: core::ptr::null_mut(),
        control_length: 0,
        flags: 0,
    };
    // Where there is no room, enough is on its way. An emulator that has died meanwhile shows in the reply.
    // SAFETY: the piece is a constant.
    let _ = unsafe { raw::send_message(fd, &message) };
    Ok(())
}

/// The pieces of memory that a reply is scattered over.
fn reply_pieces(fixed: &mut [u8; REPLY_BYTES], into: Into) -> [IoVec; 4] {
    let base: *mut u8 = fixed.as_mut_ptr();
    let events = IoVec { base: into.events, length: into.events_room };
    if into.value.is_null() {
        return [IoVec { base: base.cast(), length: REPLY_BYTES }, events, IoVec::EMPTY, IoVec::EMPTY];
    }
    let behind = VALUE_OFFSET + 4;
    [
        IoVec { base: base.cast(), length: VALUE_OFFSET },
        IoVec { base: into.value, length: 4 },
        IoVec { base: base.wrapping_add(behind).cast(), length: REPLY_BYTES - behind },
        events,
    ]
}

/// A reply that came over a connection, and the descriptors with it.
type Answer = Result<(Reply, [Option<i32>; 2]), Failure>;

/// Receives a reply over a connection, with up to two descriptors.
fn receive(fd: i32, into: Into, flags: i32) -> Answer {
    let mut fixed = [0; REPLY_BYTES];
    let mut pieces = reply_pieces(&mut fixed, into);
    let (mut control, _) = Control::with(&[]);
    let mut message = MessageHeader {
        name: core::ptr::null_mut(),
        name_length: 0,
        pieces: pieces.as_mut_ptr(),
        piece_count: pieces.len(),
        control: (&raw mut control).cast(),
        control_length: CONTROL_HEADER_BYTES + 8,
        flags: 0,
    };
    let received = SPINS.attempt(|| {
        // SAFETY: the fixed part and the control buffer live in this frame; the rest is the program's own buffer, or a bad
        // address, which gives EFAULT.
        unsafe { raw::receive_message(fd, &mut message, flags | MSG_DONTWAIT) }
    });
    let received = match received {
        // SAFETY: as above.
        Err(Errno::AGAIN) => unsafe { raw::receive_message(fd, &mut message, flags) },
        received => received,
    };
    let received = match received {
        // The other end was closed with a request unread. The kernel says so once; then what was sent before can be had.
        // SAFETY: as above.
        Err(Errno::CONNRESET) => unsafe { raw::receive_message(fd, &mut message, flags) },
        received => received,
    };
    let length = match received {
        Ok(length) => length,
        Err(errno @ Errno::FAULT) => return Err(Failure::Refused(errno)),
        Err(_) => return Err(Failure::Dead),
    };
    if length < REPLY_BYTES {
        return Err(Failure::Dead);
    }
    let reply = Reply::parse(&fixed).ok_or(Failure::Dead)?;
    let fds = control.received(&message);
    if reply.errno == 0 && message.flags & MSG_CTRUNC != 0 {
        for fd in fds.into_iter().flatten() {
            let _ = raw::close(fd);
        }
        // Nothing but a full table keeps a descriptor from being installed.
        return Err(Failure::Refused(Errno::MFILE));
    }
    Ok((reply, fds))
}

/// What a request that could not be sent means.
fn failure(errno: Errno) -> Failure {
    match errno {
        Errno::PIPE | Errno::CONNRESET | Errno::CONNREFUSED | Errno::NOTCONN => Failure::Dead,
        errno => Failure::Refused(errno),
    }
}

/// Asks, and waits for the answer. EFAULT for a reply with events has put them back.
pub fn ask(instance: &Instance, request: &Request<'_>, object: Option<i32>, into: Into) -> Result<Reply, Failure> {
    let object = object.as_slice();
    if let Some(slot) = instance.slot
        // A vfork child may use its parent's, who waits meanwhile: the descriptor is its own copy, and is verified.
        && let Some(control) = memory::tenant().and_then(|pid| slot.control(pid))
    {
        if !into.is_reachable(control.fd) {
            return Err(Failure::Unreachable);
        }
        let answer = match send(control.fd, request, object) {
            Ok(()) => receive(control.fd, into, 0).map(|(reply, _)| reply),
            Err(errno) => Err(failure(errno)),
        };
        if answer == Err(Failure::Refused(Errno::FAULT)) && into.events_room > 0 {
            // Before anybody else can ask on this connection, which remembers its last reply only.
            let back = Request::new(RequestKind::Return, 0, 0);
            let _ = send(control.fd, &back, &[instance.fd]).map(|()| receive(control.fd, Into::NOTHING, 0));
        }
        if answer != Err(Failure::Dead) {
            return answer;
        }
        slot.drop_control(control.fd);
    }
    ask_over_instance(instance, request, object, into)
}

fn ask_over_instance(instance: &Instance, request: &Request<'_>, object: &[i32], into: Into) -> Result<Reply, Failure> {
    // A pipe cannot carry events of a size that is not known beforehand: they go into the window instead.
    let mut request = *request;
    if request.kind == RequestKind::Settle {
        request.argument = 0;
    }
    let [reader, writer] = with_spare_descriptors(raw::pipe).map_err(Failure::Refused)?;
    let sent = match object {
        [object] => send_over_instance(instance.fd, &request, &[writer, *object]),
        _ => send_over_instance(instance.fd, &request, &[writer]),
    };
    let _ = raw::close(writer);
    let answer = match sent {
        Ok(()) => receive_from_pipe(reader, Into { events_room: 0, ..into }),
        Err(errno) => Err(failure(errno)),
    };
    let _ = raw::close(reader);
    answer
}

fn receive_from_pipe(reader: i32, into: Into) -> Result<Reply, Failure> {
    let mut fixed = [0; REPLY_BYTES];
    let pieces = reply_pieces(&mut fixed, into);
    // SAFETY: the fixed part lives in this frame; the value goes to the program's own word, or a bad address, which gives EFAULT.
    match unsafe { raw::read_pieces(reader, &pieces) } {
        Ok(REPLY_BYTES) => Reply::parse(&fixed).ok_or(Failure::Dead),
        Err(errno @ Errno::FAULT) => Err(Failure::Refused(errno)),
        _ => Err(Failure::Dead),
    }
}

/// Fetches the source's descriptor and the settle page for an instance, and a control connection if there is none, so that most
/// reads need no request. Failing is no error.
pub fn attach(instance: &Instance) {
    let (Some(slot), Some(pid)) = (instance.slot, memory::owner()) else { return };
    if settings::settles_by_request() || !slot.wants_source() {
        return;
    }
    let request = Request::new(RequestKind::Attach, 0, 0);
    let answer = match slot.control(pid) {
        Some(control) => ask_on_connection(control.fd, &request),
        // Another thread is using it: the next call will do.
        None if slot.has_control(pid) => return,
        None => attach_with_new_connection(instance, slot, pid, &request),
    };
    match answer {
        Ok((Reply { errno: 0, extent, .. }, [Some(source), Some(page)])) => {
            slot.set_source(high(source), page, extent);
        }
        Ok((Reply { errno: 0, extent, flags, .. }, [Some(page), None])) if flags & Reply::PAGE_ALONE != 0 => {
            slot.set_page(page, extent);
        }
        Ok((_, fds)) => {
            for fd in fds.into_iter().flatten() {
                let _ = raw::close(fd);
            }
            slot.refuse_source();
        }
        Err(_) => {}
    }
}

fn attach_with_new_connection(instance: &Instance, slot: &slot::Slot, pid: i32, request: &Request<'_>) -> Answer {
    let (connection, answer) = ask_with_new_connection(instance, request)?;
    // EMFILE: the instance has all the control connections that the emulator gives it.
    if answer.is_ok_and(|(reply, _)| reply.errno != Errno::MFILE.0 as u32) {
        slot.set_control(high(connection), pid);
    } else {
        let _ = raw::close(connection);
    }
    answer
}

/// Asks on a connection for something without an object.
fn ask_on_connection(connection: i32, request: &Request<'_>) -> Answer {
    send(connection, request, &[]).map_err(failure)?;
    receive(connection, Into::NOTHING, MSG_CMSG_CLOEXEC)
}

/// Asks over the instance, with a new connection for the reply, which is the caller's to close.
fn ask_with_new_connection(instance: &Instance, request: &Request<'_>) -> Result<(i32, Answer), Failure> {
    let [ours, theirs] = raw::socket_pair().map_err(Failure::Refused)?;
    let sent = send_over_instance(instance.fd, request, &[theirs]);
    // Without our copy of the other end an emulator that dies shows as the end of the connection.
    let _ = raw::close(theirs);
    let answer = sent.map_err(failure).and_then(|()| receive(ours, Into::NOTHING, MSG_CMSG_CLOEXEC));
    Ok((ours, answer))
}

/// As [`ask_with_new_connection`], for one reply.
fn ask_over_passing_connection(instance: &Instance, request: &Request<'_>) -> Answer {
    let (connection, answer) = ask_with_new_connection(instance, request)?;
    let _ = raw::close(connection);
    answer
}

/// Asks for a descriptor, close-on-exec, over the instance or its control connection.
pub fn ask_for_descriptor(instance: &Instance, request: &Request<'_>) -> Result<(Reply, Option<i32>), Failure> {
    let of_control = instance.slot.and_then(|slot| {
        let control = memory::tenant().and_then(|pid| slot.control(pid))?;
        let answer = ask_on_connection(control.fd, request);
        if answer == Err(Failure::Dead) {
            slot.drop_control(control.fd);
            return None;
        }
        Some(answer)
    });
    of_control.unwrap_or_else(|| ask_over_passing_connection(instance, request)).map(|(reply, [fd, _])| (reply, fd))
}

/// The source's descriptor for one call, where this process holds none; `None` if the emulator keeps it to itself.
pub fn borrow_source(instance: &Instance) -> Option<i32> {
    let (reply, [source, page]) =
        ask_over_passing_connection(instance, &Request::new(RequestKind::Attach, 0, STAND_IN)).ok()?;
    if let Some(page) = page {
        let _ = raw::close(page);
    }
    source.filter(|_| reply.errno == 0)
}

/// Asks the emulator of this process's settings, over a connection of the moment.
pub fn ask_emulator(kind: RequestKind, argument: u64, word: u32) -> Result<(Reply, Option<i32>), Failure> {
    let address = match settings::emulator() {
        Some(Emulator::At(address)) => *address,
        Some(Emulator::Private) => private::running().ok_or(Failure::Dead)?,
        Some(Emulator::Unknown) | None => return Err(Failure::Dead),
    };
    let connection = connect(&address).map_err(|refusal| match refusal {
        Refusal::Errno(errno) => Failure::Refused(errno),
        Refusal::Nobody => Failure::Dead,
    })?;
    let request = Request { kind, argument, word, payload: address.token() };
    let sent = send(connection, &request, &[]);
    let answer = match sent {
        Ok(()) | Err(Errno::PIPE | Errno::CONNRESET) => receive(connection, Into::NOTHING, MSG_CMSG_CLOEXEC),
        Err(errno) => Err(Failure::Refused(errno)),
    };
    let _ = raw::close(connection);
    answer.map(|(reply, [fd, _])| (reply, fd))
}

/// Linux needs no descriptor for what the shim needs one for: where the program has no number left, the shim gives up its own and
/// tries again. The control connections go last, as a request without one takes more numbers.
pub fn with_spare_descriptors<T>(mut attempt: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    let mut result = attempt();
    for release in [slot::release_sources, slot::release_all] {
        match result {
            Err(Errno::MFILE) if memory::owner().is_some() => {
                if release() {
                    result = attempt();
                }
            }
            result => return result,
        }
    }
    result
}

/// Moves a descriptor of the shim's own out of the range that a program looks at; close-on-exec.
pub fn high(fd: i32) -> i32 {
    // Below the usual limit of 1024, so that the table of descriptors need not grow.
    let limit = raw::descriptor_limit().min(1024) as i32;
    match raw::duplicate_from(fd, limit - limit / 8) {
        Ok(moved) => {
            let _ = raw::close(fd);
            moved
        }
        Err(_) => fd,
    }
}

/// A new instance: its descriptor, and the connection that made it.
pub fn open_instance(flags: i32) -> Result<(i32, i32), Errno> {
    let opened = match with_spare_descriptors(|| try_open_instance(flags)) {
        // The limit of instances, or of descriptors.
        Err(Errno::MFILE) if memory::owner().is_some() && slot::release_ended() => try_open_instance(flags),
        result => result,
    };
    opened?
}

/// What opens an instance; a refusal that is final is inside.
type Opened = Result<(i32, i32), Errno>;

/// Emulators that may be gone when the program comes to them, one after the other.
const PRIVATE_EMULATORS_MAX: usize = 4;

/// Why no instance was opened.
enum Refusal {
    /// Nobody answers.
    Nobody,
    /// The emulator, or this process, cannot.
    Errno(Errno),
}

fn try_open_instance(flags: i32) -> Result<Opened, Errno> {
    match settings::emulator() {
        Some(Emulator::At(address)) => open_at(address, flags).map_err(|refusal| match refusal {
            Refusal::Errno(errno) => errno,
            Refusal::Nobody => {
                log::line(&[b"inotify_init: no emulator answers at ", address.path()]);
                Errno::NOMEM
            }
        }),
        Some(Emulator::Private) => open_privately(flags),
        Some(Emulator::Unknown) | None => Err(Errno::NOMEM),
    }
}

fn open_privately(flags: i32) -> Result<Opened, Errno> {
    let mut gone = None;
    for _ in 0..PRIVATE_EMULATORS_MAX {
        let Private { address, number, lifeline } = private::emulator(gone)?;
        let opened = open_at(&address, flags);
        if let Some(lifeline) = lifeline {
            let _ = raw::close(lifeline);
        }
        match opened {
            Ok(opened) => return Ok(opened),
            Err(Refusal::Errno(errno)) => return Err(errno),
            // It has ended with its last instance.
            Err(Refusal::Nobody) => gone = Some(number),
        }
    }
    log::line(&[b"inotify_init: no emulator stays"]);
    Err(Errno::NOMEM)
}

fn connect(address: &Address) -> Result<i32, Refusal> {
    match raw::connect(address.path(), false) {
        Ok(connection) => return Ok(connection),
        Err(errno @ (Errno::MFILE | Errno::NFILE)) => return Err(Refusal::Errno(errno)),
        Err(_) => {}
    }
    // Another root directory or mount namespace: the abstract name is one for the network namespace.
    let connection = raw::connect(address.path(), true).map_err(|_| Refusal::Nobody)?;
    // There everybody can take the name of an emulator that has ended.
    if process::peer_user(connection).is_ok_and(|user| user == 0 || user == process::effective_user()) {
        return Ok(connection);
    }
    let _ = raw::close(connection);
    Err(Refusal::Nobody)
}

fn open_at(address: &Address, flags: i32) -> Result<Opened, Refusal> {
    // The number must be free again for the instance: Linux gives the lowest.
    let connection = high(connect(address)?);
    let request =
        Request { kind: RequestKind::Init, argument: u64::from(flags as u32), word: 0, payload: address.token() };
    let cloexec = if flags & raw::O_CLOEXEC != 0 { MSG_CMSG_CLOEXEC } else { 0 };
    let answer = match send(connection, &request, &[]) {
        // An emulator without a descriptor left says so before it has read anything, and hangs up.
        Ok(()) | Err(Errno::PIPE | Errno::CONNRESET) => receive(connection, Into::NOTHING, cloexec),
        Err(errno) => Err(Failure::Refused(errno)),
    };
    let refusal = match answer {
        Ok((Reply { errno: 0, .. }, [Some(instance), _])) => return Ok(Ok((instance, connection))),
        Ok((Reply { errno: 0, .. }, _)) => Refusal::Errno(Errno::MFILE),
        Ok((Reply { errno, flags, .. }, _)) if flags & Reply::FINAL != 0 => {
            let _ = raw::close(connection);
            return Ok(Err(Errno(errno as i32)));
        }
        Ok((reply, _)) => Refusal::Errno(Errno(reply.errno as i32)),
        Err(Failure::Refused(errno @ (Errno::MFILE | Errno::NFILE))) => Refusal::Errno(errno),
        Err(_) => Refusal::Nobody,
    };
    let _ = raw::close(connection);
    Err(refusal)
}
