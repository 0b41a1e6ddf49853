//! Short names for the operations that lists are mostly made of.

use crate::operation::{Argument, Asking, Buffer, Descriptor, Oddity, Operation, Path, Time, Waiting, Watch};

/// `INOTIFY_IOC_SETNEXTWD`, `_IOW('I', 0, __s32)` (since 4.18, with CONFIG_CHECKPOINT_RESTORE).
pub const SETNEXTWD: u64 = 0x4004_4900;
/// `FIONREAD`.
pub const FIONREAD: u64 = 0x541b;
/// Larger than all that a list queues, but an overflow.
pub const PLENTY: usize = 1 << 16;

/// The descriptor in a slot.
pub fn slot(number: u8) -> Descriptor {
    Descriptor::Slot(number)
}

/// A non-blocking group in a slot.
pub fn group(slot: u8) -> Operation {
    Operation::Init { slot, flags: libc::IN_NONBLOCK }
}

/// Watches a path in the group of a slot.
pub fn watch(group: u8, path: impl Into<Path>, mask: u32) -> Operation {
    Operation::AddWatch { descriptor: slot(group), path: path.into(), mask }
}

/// Removes a wd from the group of a slot.
pub fn remove(group: u8, wd: i32) -> Operation {
    Operation::RemoveWatch { descriptor: slot(group), watch: Watch::Number(wd) }
}

/// SETNEXTWD on the group of a slot.
pub fn set_next_wd(group: u8, wd: u64) -> Operation {
    Operation::Control { descriptor: slot(group), command: SETNEXTWD, argument: Argument::Value(wd) }
}

/// FIONREAD on a slot.
pub fn count_bytes(from: u8) -> Operation {
    Operation::Control { descriptor: slot(from), command: FIONREAD, argument: Argument::Integer(-1) }
}

/// One `read` of a slot.
pub fn read(from: u8, size: usize) -> Operation {
    Operation::Read { descriptor: slot(from), buffer: Buffer::Plain(size) }
}

/// One `read` of all that a slot's group has.
pub fn read_all(from: u8) -> Operation {
    read(from, PLENTY)
}

/// One `readv` of a slot.
pub fn read_segments(from: u8, sizes: &[usize]) -> Operation {
    Operation::Read { descriptor: slot(from), buffer: Buffer::Vector(sizes.to_vec()) }
}

/// One `read` of a slot into memory that faults behind `mapped` bytes.
pub fn read_guarded(from: u8, mapped: usize, size: usize) -> Operation {
    Operation::Read { descriptor: slot(from), buffer: Buffer::Guarded { mapped, size } }
}

/// A blocking read of a slot in a thread of its own.
pub fn while_reading(from: u8, buffer: Buffer, meanwhile: Vec<Operation>) -> Operation {
    Operation::While { waiting: Waiting::Read { descriptor: slot(from), buffer }, meanwhile }
}

/// Asks for all of `poll`'s bits, without waiting.
pub fn poll(asking: Asking, of: u8) -> Operation {
    let events = libc::POLLIN
        | libc::POLLPRI
        | libc::POLLOUT
        | libc::POLLRDNORM
        | libc::POLLRDBAND
        | libc::POLLWRNORM
        | libc::POLLWRBAND;
    Operation::Poll { asking, descriptor: slot(of), events, timeout_ms: 0 }
}

/// Opens a path into a slot; a new file gets 0644.
pub fn open(into: u8, path: impl Into<Path>, flags: i32) -> Operation {
    Operation::Open { slot: into, path: path.into(), flags, mode: 0o644 }
}

/// Opens a path read-only into a slot.
pub fn open_read(into: u8, path: impl Into<Path>) -> Operation {
    open(into, path, libc::O_RDONLY)
}

/// Creates a file, or empties it, open for writing in a slot.
pub fn create(into: u8, path: impl Into<Path>) -> Operation {
    open(into, path, libc::O_CREAT | libc::O_TRUNC | libc::O_WRONLY)
}

/// Closes a slot.
pub fn close(what: u8) -> Operation {
    Operation::Close(slot(what))
}

/// Writes to a slot.
pub fn write(to: u8, size: usize) -> Operation {
    Operation::Write { descriptor: slot(to), size, offset: None }
}

/// `dup` of a slot into another.
pub fn duplicate(from: u8, to: u8) -> Operation {
    Operation::Duplicate { descriptor: slot(from), slot: to }
}

/// `chmod`.
pub fn chmod(path: impl Into<Path>, mode: u32) -> Operation {
    Operation::Chmod { path: path.into(), mode }
}

/// `utimensat`.
pub fn utimens(path: impl Into<Path>, access: Time, modification: Time) -> Operation {
    Operation::Utimens { path: path.into(), access, modification }
}

/// `rename`.
pub fn rename(from: impl Into<Path>, to: impl Into<Path>) -> Operation {
    rename_with(from, to, 0)
}

/// `renameat2`.
pub fn rename_with(from: impl Into<Path>, to: impl Into<Path>, flags: u32) -> Operation {
    Operation::Rename { from: from.into(), to: to.into(), flags }
}

/// `link`.
pub fn link(from: impl Into<Path>, to: impl Into<Path>) -> Operation {
    Operation::Link { from: from.into(), to: to.into() }
}

/// `symlink`.
pub fn symlink(target: &str, path: impl Into<Path>) -> Operation {
    Operation::Symlink { target: target.to_owned(), path: path.into() }
}

/// `mkdir`.
pub fn mkdir(path: impl Into<Path>) -> Operation {
    Operation::Mkdir(path.into())
}

/// `rmdir`.
pub fn rmdir(path: impl Into<Path>) -> Operation {
    Operation::Rmdir(path.into())
}

/// `unlink`.
pub fn unlink(path: impl Into<Path>) -> Operation {
    Operation::Unlink(path.into())
}

/// One of the odd calls on a slot.
pub fn odd(on: u8, call: Oddity) -> Operation {
    Operation::Odd { descriptor: slot(on), call }
}

/// A repetition.
pub fn repeat(count: u32, operations: Vec<Operation>) -> Operation {
    Operation::Repeat { count, operations }
}

/// An empty file made before anything is watched.
pub fn touch(path: impl Into<Path>) -> [Operation; 2] {
    [create(15, path), close(15)]
}

/// What a list can be put together of.
pub trait Operations {
    /// Puts them at the end of the list.
    fn append(self, list: &mut Vec<Operation>);
}

impl Operations for Operation {
    fn append(self, list: &mut Vec<Operation>) {
        list.push(self);
    }
}

impl Operations for Vec<Operation> {
    fn append(self, list: &mut Vec<Operation>) {
        list.extend(self);
    }
}

impl<const N: usize> Operations for [Operation; N] {
    fn append(self, list: &mut Vec<Operation>) {
        list.extend(self);
    }
}

/// A vector of operations, from operations, arrays and vectors of them.
#[macro_export]
macro_rules! list {
    ($($part:expr),* $(,)?) => {{
        let mut list = Vec::new();
        $($crate::shorthand::Operations::append($part, &mut list);)*
        list
    }};
}
