//! `read` and `readv` of an instance.

use core::ffi::c_void;

use uinotify_wire::{EVENT_BYTES_MAX, FOR_READ, REPLY_EVENTS_BYTES_MAX, Reply, Request, RequestKind};

use crate::caller_memory::{is_array_readable, is_in_address_space};
use crate::errno::ErrnoKept;
use crate::identity::{Instance, socket_identity};
use crate::log;
use crate::next::{self, NEXT};
use crate::raw::{self, Errno, IoVec, MSG_DONTWAIT, MSG_PEEK, MSG_TRUNC, Outcome};
use crate::request::{self, Failure, Into};
use crate::settle;
use crate::slot::{Quiet, Slot};

/// May a thread be cancelled while it waits? In `read` and its kin, but not in `syscall` (pthreads(7)).
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Cancellation {
    /// It is a point of cancellation.
    Point,
    /// It is none.
    None,
}

/// Only the kernel writes to a program's buffer, so that a bad page gives EFAULT and not a signal.
#[derive(Clone, Copy)]
struct Buffer {
    start: *mut c_void,
    length: usize,
    filled: usize,
    cancellation: Cancellation,
}

impl Buffer {
    fn next(&self) -> *mut c_void {
        self.start.wrapping_byte_add(self.filled)
    }

    fn room(&self) -> usize {
        self.length - self.filled
    }
}

/// Why taking events out of the socket came to its end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stop {
    /// The one event that there was is taken.
    Solo,
    Empty,
    NoRoom,
    Interrupted,
    Dead,
}

/// `read(2)`: as many whole events as fit. EAGAIN for an empty queue of a non-blocking instance, EINVAL where the first event does
/// not fit (it stays queued), EFAULT for a bad buffer (the event is consumed), EIO when the emulator has died.
///
/// A call that waits may be restarted on another file under the same number: if another thread has closed ours, and if a checkpointer
/// has restored the program with the kernel's inotify in its place. That one is read as it is.
pub fn read(instance: &Instance, start: *mut c_void, length: usize, cancellation: Cancellation) -> Outcome {
    match read_settled(instance, start, length, cancellation) {
        Err(Errno::NOTSOCK) if raw::is_inotify(instance.fd) => read_plainly(instance, start, length, cancellation),
        Err(Errno::NOTSOCK) => Err(Errno::BADF),
        outcome => outcome,
    }
}

/// What `read` does with a file that is none of ours.
fn read_plainly(instance: &Instance, start: *mut c_void, length: usize, cancellation: Cancellation) -> Outcome {
    if cancellation == Cancellation::Point
        && let Some(read) = next::address(&NEXT.read)
    {
        type Read = unsafe extern "C" fn(i32, *mut c_void, usize) -> isize;
        // SAFETY: the address is that of libc's `read`, whose type this is.
        let read: Read = unsafe { core::mem::transmute(read) };
        let errno = ErrnoKept::now();
        // SAFETY: the buffer is the program's own, or a bad address, which gives EFAULT.
        let result = unsafe { read(instance.fd, start, length) };
        return if result >= 0 { Ok(result as usize) } else { Err(errno.restore()) };
    }
    // SAFETY: as above.
    unsafe { raw::syscall(raw::number::READ, [instance.fd as usize, start as usize, length, 0, 0, 0]) }
}

fn read_settled(instance: &Instance, start: *mut c_void, length: usize, cancellation: Cancellation) -> Outcome {
    if !is_in_address_space(start as usize, length) {
        return Err(Errno::FAULT);
    }
    let mut buffer = Buffer { start, length, filled: 0, cancellation };
    let mut purpose = FOR_READ;
    loop {
        let quiet = settle::quiet(instance);
        let may_wait = match quiet {
            Quiet::Settled => true,
            Quiet::More => false,
            Quiet::Solo { is_sent, .. } => is_sent,
            Quiet::Unknown => match pull(instance, &mut buffer, core::mem::take(&mut purpose))? {
                Pulled::Window { more } => !more,
                Pulled::Events { more: false } => return finish(&buffer),
                Pulled::Events { more: true } => continue,
                Pulled::TooSmall => return finish(&buffer),
                // What is still in the socket can be had; then there is an error, never silence.
                Pulled::Dead => {
                    take(instance, &mut buffer, false, quiet)?;
                    return finish_dead(&buffer);
                }
            },
        };
        let may_block = may_wait && buffer.filled == 0;
        let filled_before = buffer.filled;
        let stop = take(instance, &mut buffer, may_block, quiet)?;
        let has_solo = matches!(quiet, Quiet::Solo { .. }) && buffer.filled > filled_before;
        match stop {
            Stop::Solo => return Ok(buffer.filled),
            Stop::NoRoom => return finish(&buffer),
            Stop::Interrupted => return Err(Errno::INTR),
            Stop::Dead => return finish_dead(&buffer),
            Stop::Empty if may_wait || has_solo => {
                return if buffer.filled > 0 { Ok(buffer.filled) } else { Err(Errno::AGAIN) };
            }
            // More stands behind the window than the socket held.
            Stop::Empty => match pull(instance, &mut buffer, core::mem::take(&mut purpose))? {
                Pulled::Events { more: false } | Pulled::TooSmall => return finish(&buffer),
                Pulled::Events { more: true } | Pulled::Window { .. } => {}
                Pulled::Dead => return finish_dead(&buffer),
            },
        }
    }
}

/// The buffer's end was reached: with nothing read the first event was too large.
fn finish(buffer: &Buffer) -> Outcome {
    if buffer.filled > 0 { Ok(buffer.filled) } else { Err(Errno::INVAL) }
}

/// Nothing comes any more: with nothing read that is an error, and told.
fn finish_dead(buffer: &Buffer) -> Outcome {
    if buffer.filled > 0 {
        return Ok(buffer.filled);
    }
    log::death();
    Err(Errno::IO)
}

enum Pulled {
    /// The window is to be read first; `more` stands behind it.
    Window {
        more: bool,
    },
    /// Events came with the reply.
    Events {
        more: bool,
    },
    /// The next event does not fit.
    TooSmall,
    Dead,
}

/// Settles by request, and takes what the reply brings. A call that reads says with its first request that it does.
fn pull(instance: &Instance, buffer: &mut Buffer, purpose: u32) -> Result<Pulled, Errno> {
    let request = Request::new(RequestKind::Settle, buffer.room() as u64, purpose);
    // A room beyond what a reply can bring might reach beyond what the kernel takes for memory.
    let events_room = buffer.room().min(REPLY_EVENTS_BYTES_MAX);
    let into = Into { events: buffer.next(), events_room, ..Into::NOTHING };
    match request::ask(instance, &request, None, into) {
        Ok(Reply { errno: errno @ 1.., .. }) if buffer.filled == 0 => Err(Errno(errno as i32)),
        Ok(reply) => {
            let more = reply.flags & Reply::MORE != 0;
            if reply.extent > 0 {
                buffer.filled += reply.extent as usize;
                return Ok(Pulled::Events { more });
            }
            if reply.flags & Reply::TOO_SMALL != 0 {
                return Ok(Pulled::TooSmall);
            }
            Ok(Pulled::Window { more })
        }
        Err(Failure::Dead) => Ok(Pulled::Dead),
        Err(Failure::Unreachable) => Err(Errno::FAULT),
        Err(Failure::Refused(Errno::FAULT)) => {
            // The reply was longer than the good pages, but Linux consumes one event at a time, up to the one that meets the bad
            // page: all are put back, and come one by one.
            settle::request(instance).map_err(|_| Errno::IO)?;
            Ok(Pulled::Window { more: true })
        }
        // What was read already is not to be lost.
        Err(Failure::Refused(_)) if buffer.filled > 0 => Ok(Pulled::TooSmall),
        Err(Failure::Refused(errno)) => {
            Err(if errno == Errno::MFILE || errno == Errno::NFILE { Errno::NOMEM } else { errno })
        }
    }
}

/// Returns an event to the emulator.
fn give_back(instance: &Instance, record: &[u8]) {
    let request = Request { kind: RequestKind::Return, argument: 0, word: 0, payload: record };
    let _ = request::ask(instance, &request, Some(instance.fd), Into::NOTHING);
}

/// Takes events out of the socket, one packet each. Waits for the first if `may_wait` and the instance is blocking.
fn take(instance: &Instance, buffer: &mut Buffer, may_wait: bool, quiet: Quiet) -> Result<Stop, Errno> {
    let mut wait = may_wait;
    loop {
        let stop = if buffer.room() >= EVENT_BYTES_MAX {
            // No event can be cut here.
            receive(instance, buffer.next(), buffer.room(), 0, wait.then_some(buffer.cancellation))
        } else {
            take_by_size(instance, buffer, wait)
        };
        match stop {
            Ok(0) => return Ok(Stop::Dead),
            Ok(length) => {
                buffer.filled += length;
                // After a wait there may be more by now.
                if let Quiet::Solo { cycle, .. } = quiet
                    && instance.slot.and_then(Slot::cycle).is_some_and(|now| now.wrapping_sub(cycle) <= 1)
                {
                    return Ok(Stop::Solo);
                }
            }
            Err(Refusal::NoRoom) => return Ok(Stop::NoRoom),
            Err(Refusal::Errno(Errno::AGAIN)) => return Ok(Stop::Empty),
            Err(Refusal::Errno(Errno::INTR)) => return Ok(Stop::Interrupted),
            Err(Refusal::Errno(errno)) if errno != Errno::FAULT && buffer.filled > 0 => return Ok(Stop::NoRoom),
            Err(Refusal::Errno(errno)) => return Err(errno),
        }
        // While we waited another thread may have closed the descriptor, and the number be another socket's by now.
        if wait && socket_identity(instance.fd) != Some(instance.identity) {
            return Ok(Stop::NoRoom);
        }
        wait = false;
    }
}

enum Refusal {
    NoRoom,
    Errno(Errno),
}

/// Takes one event into a room that may be too small for it: its size is asked first, where there is one. A wait takes the event
/// itself, because another thread may close the descriptor meanwhile, and gives it back if it is too large.
fn take_by_size(instance: &Instance, buffer: &Buffer, wait: bool) -> Result<usize, Refusal> {
    let wait = match receive(instance, core::ptr::null_mut(), 0, MSG_PEEK | MSG_TRUNC, None) {
        Ok(0) => return Ok(0),
        Ok(size) if size > buffer.room() => return Err(Refusal::NoRoom),
        Ok(_) => false,
        Err(Refusal::Errno(Errno::AGAIN)) if wait => true,
        Err(refusal) => return Err(refusal),
    };
    // Without a wait, too, another reader may have taken that event meanwhile, and the next may be larger: what would be cut off
    // lands in `rest`.
    let mut rest = [0u8; EVENT_BYTES_MAX];
    let mut pieces = [
        IoVec { base: buffer.next(), length: buffer.room() },
        IoVec { base: rest.as_mut_ptr().cast(), length: rest.len() },
    ];
    let mut message = raw::MessageHeader {
        name: core::ptr::null_mut(),
        name_length: 0,
        pieces: pieces.as_mut_ptr(),
        piece_count: pieces.len(),
        control: core::ptr::null_mut(),
        control_length: 0,
        flags: 0,
    };
    let wait = wait.then_some(buffer.cancellation);
    let length = match receive_message_once(instance, &mut message, wait) {
        // The emulator has died with a request unread: see `receive`.
        Err(Errno::CONNRESET) => receive_message_once(instance, &mut message, wait),
        result => result,
    }
    .map_err(Refusal::Errno)?;
    if length <= buffer.room() {
        return Ok(length);
    }
    let mut record = [0u8; EVENT_BYTES_MAX];
    let kept = buffer.room();
    for (offset, to) in record.iter_mut().enumerate() {
        *to = if offset < kept {
            // SAFETY: the kernel has just written `kept` bytes there.
            unsafe { buffer.next().cast::<u8>().wrapping_add(offset).read_volatile() }
        } else {
            rest.get(offset - kept).copied().unwrap_or(0)
        };
    }
    give_back(instance, record.get(..length).unwrap_or(&record));
    Err(Refusal::NoRoom)
}

/// One `recvmsg` into the program's buffer, and where that ends into ours; as [`receive_once`] in all else.
fn receive_message_once(instance: &Instance, message: &mut raw::MessageHeader, wait: Option<Cancellation>) -> Outcome {
    if wait == Some(Cancellation::Point)
        && let Some(recvmsg) = next::address(&NEXT.recvmsg)
    {
        type Receive = unsafe extern "C" fn(i32, *mut raw::MessageHeader, i32) -> isize;
        // SAFETY: the address is that of libc's `recvmsg`, whose type this is.
        let recvmsg: Receive = unsafe { core::mem::transmute(recvmsg) };
        let errno = ErrnoKept::now();
        // SAFETY: the first piece is the program's own buffer, or a bad address, which gives EFAULT; the second is the caller's.
        let result = unsafe { recvmsg(instance.fd, message, 0) };
        return if result >= 0 { Ok(result as usize) } else { Err(errno.restore()) };
    }
    let flags = if wait.is_some() { 0 } else { MSG_DONTWAIT };
    let arguments = [instance.fd as usize, &raw mut *message as usize, flags as usize, 0, 0, 0];
    // SAFETY: as above.
    unsafe { raw::syscall(raw::number::RECVMSG, arguments) }
}

/// One `recv`, which the kernel restarts after a signal or not as it would `read(2)`. One that waits at a point of cancellation goes
/// through libc's own.
fn receive(
    instance: &Instance,
    start: *mut c_void,
    length: usize,
    flags: i32,
    wait: Option<Cancellation>,
) -> Result<usize, Refusal> {
    match receive_once(instance, start, length, flags, wait) {
        // The emulator has died with a request unread. The kernel says so once; then what is in the socket can be had.
        Err(Errno::CONNRESET) => receive_once(instance, start, length, flags, wait),
        result => result,
    }
    .map_err(Refusal::Errno)
}

fn receive_once(
    instance: &Instance,
    start: *mut c_void,
    length: usize,
    flags: i32,
    wait: Option<Cancellation>,
) -> Outcome {
    if wait == Some(Cancellation::Point)
        && let Some(recv) = next::address(&NEXT.recv)
    {
        type Receive = unsafe extern "C" fn(i32, *mut c_void, usize, i32) -> isize;
        // SAFETY: the address is that of libc's `recv`, whose type this is.
        let recv: Receive = unsafe { core::mem::transmute(recv) };
        let errno = ErrnoKept::now();
        // SAFETY: the buffer is the program's own, or a bad address, which gives EFAULT.
        let result = unsafe { recv(instance.fd, start, length, flags) };
        return if result >= 0 { Ok(result as usize) } else { Err(errno.restore()) };
    }
    let flags = if wait.is_some() { flags } else { flags | MSG_DONTWAIT };
    // SAFETY: as above.
    unsafe { raw::receive(instance.fd, start, length, flags) }
}

/// `readv(2)`: each piece is a read of its own, up to the first that is not filled (the kernel's `do_loop_readv_writev`).
///
/// # Safety
///
/// `pieces` must be readable, or a bad address.
pub unsafe fn read_pieces(
    instance: &Instance,
    pieces: *const IoVec,
    count: i32,
    cancellation: Cancellation,
) -> Outcome {
    const PIECES_MAX: i32 = 1024;
    if !(0..=PIECES_MAX).contains(&count) {
        return Err(Errno::INVAL);
    }
    if !is_array_readable(pieces, count as usize) {
        return Err(Errno::FAULT);
    }
    // SAFETY: by this function's contract.
    let piece = |index: usize| unsafe { pieces.wrapping_add(index).read() };
    let mut asked: usize = 0;
    for index in 0..count as usize {
        asked = asked.saturating_add(piece(index).length);
        if piece(index).length > isize::MAX as usize {
            return Err(Errno::INVAL);
        }
    }
    if asked == 0 {
        return Ok(0);
    }
    let mut total: usize = 0;
    for index in 0..count as usize {
        let piece = piece(index);
        // The kernel's iterator steps over empty pieces as it advances, which it has not done before the first.
        if piece.length == 0 && index > 0 {
            continue;
        }
        match read(instance, piece.base, piece.length, cancellation) {
            Ok(length) => {
                total += length;
                if length < piece.length {
                    break;
                }
            }
            Err(errno) if total == 0 => return Err(errno),
            Err(_) => break,
        }
    }
    Ok(total)
}

/// `preadv2(2)` at the current position, with the flags that a file without `read_iter` takes (the kernel's
/// `do_loop_readv_writev`): RWF_HIPRI, which says nothing here.
///
/// # Safety
///
/// `pieces` must be readable, or a bad address.
pub unsafe fn read_pieces_with_flags(
    instance: &Instance,
    pieces: *const IoVec,
    count: i32,
    flags: i32,
    cancellation: Cancellation,
) -> Outcome {
    const RWF_HIPRI: i32 = 1;
    if flags & !RWF_HIPRI != 0 {
        return Err(Errno::OPNOTSUPP);
    }
    // SAFETY: by this function's contract.
    unsafe { read_pieces(instance, pieces, count, cancellation) }
}
