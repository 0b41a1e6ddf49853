//! Strict order: whoever opens or reads what is watched is held until all that was told before has been read.
//!
//! The kernel merges what waits to be read, and so what waits must not be long. Permission events of a second group stop whoever opens and reads
//! until they are answered. Another process answers them, the keeper, which has nothing else to do: should this one stop, die or wait for
//! something, it lets everybody go on after a moment. Should the keeper stop or die, the group is closed, and the kernel lets everybody go on.

mod keeper;

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use fanotify::low_level as fan;
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, recv, send, socketpair};
use nix::sys::statfs::{
    BTRFS_SUPER_MAGIC, EXT4_SUPER_MAGIC, FsType, OVERLAYFS_SUPER_MAGIC, TMPFS_MAGIC, XFS_SUPER_MAGIC,
};
use nix::unistd::{ForkResult, fork};
use uinotify_core::Kind;

use super::scan;

/// What is asked of those who are held.
const HELD: u64 = libc::FAN_OPEN_PERM | libc::FAN_ACCESS_PERM;
/// File systems whose files the keeper can open at no risk: the kernel opens each for it, and refuses the caller if that fails.
const HELD_MAGICS: [FsType; 5] =
    [EXT4_SUPER_MAGIC, XFS_SUPER_MAGIC, BTRFS_SUPER_MAGIC, TMPFS_MAGIC, OVERLAYFS_SUPER_MAGIC];
/// One question is on its way at most.
const QUESTION: [u8; 1] = [0];

/// The group, as long as there is a keeper.
type Held = Arc<Mutex<Option<OwnedFd>>>;

/// What holds whoever opens or reads.
#[derive(Debug)]
pub(super) struct Gate {
    group: Held,
    /// The keeper asks whether all was read.
    questions: OwnedFd,
}

impl Gate {
    /// # Errors
    ///
    /// EPERM without CAP_SYS_ADMIN; EMFILE, ENOMEM.
    pub(super) fn new() -> Result<Self, Errno> {
        let flags = fan::FAN_CLASS_CONTENT | fan::FAN_CLOEXEC | fan::FAN_NONBLOCK;
        let flags = flags | fan::FAN_UNLIMITED_QUEUE | fan::FAN_UNLIMITED_MARKS;
        // What the kernel opens for the keeper: without waiting for whoever is at the other end of a FIFO.
        let opened = libc::O_RDONLY | libc::O_NONBLOCK | libc::O_CLOEXEC | libc::O_LARGEFILE;
        let group = fan::fanotify_init(flags, opened.cast_unsigned())
            .map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)))?;
        // SAFETY: the call has just returned this descriptor, which nobody else has.
        let group = unsafe { OwnedFd::from_raw_fd(group) };
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let (questions, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)?;
        let emulator = std::process::id().cast_signed();
        // SAFETY: the child makes system calls alone, and takes no lock and no memory.
        let keeper = match unsafe { fork() }? {
            ForkResult::Child => keeper::keep(group.as_raw_fd(), theirs.as_raw_fd(), emulator),
            ForkResult::Parent { child } => child,
        };
        drop(theirs);
        let group = Arc::new(Mutex::new(Some(group)));
        let watched = Arc::clone(&group);
        let watch = move || {
            keeper::wait_for_end(keeper);
            // Nobody answers any more: the kernel lets go of all who wait.
            drop(watched.lock().unwrap_or_else(PoisonError::into_inner).take());
        };
        thread::Builder::new().name("gate".into()).spawn(watch).map_err(|_| Errno::EAGAIN)?;
        Ok(Self { group, questions })
    }

    /// Whether those who use a file system of this type can be held.
    pub(super) fn can_hold(magic: FsType) -> bool {
        HELD_MAGICS.contains(&magic)
    }

    /// From now on whoever opens or reads this, or what stands in it, is held.
    ///
    /// # Errors
    ///
    /// As `fanotify_mark(2)`.
    pub(super) fn hold(&self, object: BorrowedFd<'_>, kind: Kind) -> Result<(), Errno> {
        match kind {
            // The kernel would open it.
            Kind::Special => return Ok(()),
            // Those that come later the keeper finds when they are first opened.
            Kind::Directory => {
                for special in scan::special_files_in(object).unwrap_or_default() {
                    let ignored = fan::FAN_MARK_ADD | libc::FAN_MARK_IGNORED_MASK | libc::FAN_MARK_IGNORED_SURV_MODIFY;
                    self.mark(ignored, HELD, special.as_fd())?;
                }
            }
            Kind::File => {}
        }
        self.mark(fan::FAN_MARK_ADD, events(kind), object)
    }

    /// Nobody watches this any more.
    pub(super) fn let_go(&self, object: BorrowedFd<'_>, kind: Kind) {
        // One that has gone has no mark.
        let _ = self.mark(fan::FAN_MARK_REMOVE, events(kind), object);
    }

    fn mark(&self, flags: u32, mask: u64, object: BorrowedFd<'_>) -> Result<(), Errno> {
        let group = self.group.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(group) = &*group else { return Ok(()) };
        let path = scan::link_of(object);
        fan::fanotify_mark(group.as_raw_fd(), flags, mask, fan::AT_FDCWD, path.as_str())
            .map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)))
    }

    /// Whether somebody is held, until it is [said](Self::go_on) that all was read that waits now.
    pub(super) fn is_asked(&self) -> bool {
        let mut byte = QUESTION;
        matches!(recv(self.questions.as_raw_fd(), &mut byte, MsgFlags::MSG_DONTWAIT), Ok(1))
    }

    /// All was read that waited when it was asked.
    pub(super) fn go_on(&self) {
        // A keeper that is gone keeps nobody.
        let _ = send(self.questions.as_raw_fd(), &QUESTION, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL);
    }

    /// Whether anybody can be held still.
    pub(super) fn is_kept(&self) -> bool {
        self.group.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }
}

fn events(kind: Kind) -> u64 {
    if kind == Kind::Directory { HELD | libc::FAN_ONDIR | libc::FAN_EVENT_ON_CHILD } else { HELD }
}

impl AsFd for Gate {
    /// Readable when it is asked, and at the end of the keeper.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.questions.as_fd()
    }
}
