//! What goes between the emulator and the threads that look.

use std::fmt;
use std::os::fd::{BorrowedFd, OwnedFd};

use nix::errno::Errno;
use uinotify_core::{Mask, ObjectId};

use super::difference::Difference;

/// Tells orders apart; later ones are greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Ticket(pub(super) u64);

/// By what people know a watched object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// `st_dev`.
    pub device: u64,
    /// The number of the inode.
    pub inode: u64,
    /// The type and the bytes of its file handle, where it has one.
    pub handle: Option<(i32, Vec<u8>)>,
}

/// Whether an object may be watched, asked on the thread that looks.
pub type Check = Box<dyn FnOnce(BorrowedFd<'_>) -> Result<(), Errno> + Send>;

/// An object to be watched.
pub struct Watch {
    /// It, opened with `O_PATH`.
    pub object: OwnedFd,
    /// What all its watches together ask for.
    pub mask: Mask,
    /// Whether it may be watched. It may wait for the file system.
    pub check: Check,
}

impl fmt::Debug for Watch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Watch").field("object", &self.object).field("mask", &self.mask).finish_non_exhaustive()
    }
}

/// What a thread is told.
#[derive(Debug)]
pub(super) enum Order {
    Watch(Ticket, Watch),
    /// Unless it was ordered again, behind this ticket.
    Unwatch(ObjectId, Ticket),
    /// Take a snapshot that begins now.
    Barrier(Ticket),
}

/// What a thread tells, in order.
#[derive(Debug)]
pub enum Report {
    /// What has changed.
    Told(Vec<Difference>),
    /// An order to watch is done: a first look was taken.
    ///
    /// ENOENT for an object without a name, or whose path does not lead to it here; else what the check or the first look gave.
    Watched(Ticket, Result<(ObjectId, Known), Errno>),
    /// A snapshot that began behind [`Source::barrier`](super::Source::barrier) is over.
    Passed(Ticket),
}
