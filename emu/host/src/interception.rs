//! Programs that no shim reaches: the calls that a filter in them has stopped, and what is known of the threads that wait for an answer.

mod elsewhere;
mod rights;
mod workers;

use std::collections::{HashMap, VecDeque};
use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::eventfd::{EfdFlags, EventFd};
use uinotify_intercept::{At, Call, Listener, Lookup, Notification, Opened, Target, resolve};
use uinotify_source::fuse::may_read;
use uinotify_source::inotify::{Instance, KernelWd};
use uinotify_wire::{DONT_FOLLOW, ONLYDIR};

pub(crate) use elsewhere::{NamedEmulator, named_emulator, open_elsewhere, pass_on};
pub(crate) use rights::{OwnRights, with_rights_of_target};
pub(crate) use workers::Workers;

/// Threads that are kept in mind. One that asks again is found without a look at the file system.
const TARGETS_MAX: usize = 8;

/// Results that a signal kept from their callers. Each caller comes back at once, unless it does not.
const LEFT_MAX: usize = 64;
const LEFT_FOR: Duration = Duration::from_secs(1);

/// The calls of one filter.
#[derive(Debug)]
pub(crate) struct Interception {
    pub(crate) listener: Arc<Listener>,
    pub(crate) workers: Workers<Found>,
    pub(crate) own_rights: OwnRights,
    targets: VecDeque<Arc<Target>>,
    /// Whether what was found on a mount without waiting is what the program means, and can be watched without waiting.
    mounts: HashMap<At, bool>,
    left: VecDeque<Left>,
    /// Threads that wait for something to read.
    pub(crate) readers: Vec<Reader>,
    /// Calls may be about instances of other emulators.
    pub(crate) knows_others: bool,
    stops_reads: bool,
}

/// What was done for a call that has not returned it.
#[derive(Debug)]
struct Left {
    target: Arc<Target>,
    call: Call,
    place: u64,
    value: i64,
    since: Instant,
}

/// A read into little room.
#[derive(Clone, Debug)]
pub(crate) struct Reader {
    pub(crate) notification: Notification,
    pub(crate) target: Arc<Target>,
    pub(crate) session: u64,
    pub(crate) fd: i32,
    pub(crate) buffer: u64,
    pub(crate) count: usize,
}

/// An object that was sought for `inotify_add_watch`.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) notification: Notification,
    pub(crate) target: Arc<Target>,
    pub(crate) session: u64,
    pub(crate) mask: u32,
    pub(crate) path: CString,
    pub(crate) result: Result<Object, Errno>,
}

/// The object, what is to be remembered of its mount, and whether it is watched already.
#[derive(Debug)]
pub(crate) struct Object {
    pub(crate) object: OwnedFd,
    pub(crate) at: At,
    pub(crate) is_plain: bool,
    pub(crate) armed: Option<Result<KernelWd, Errno>>,
}

impl Interception {
    pub(crate) fn new(listener: Listener, stops_reads: bool) -> Result<Self, Errno> {
        let wake = EventFd::from_value_and_flags(0, EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        Ok(Self {
            listener: Arc::new(listener),
            workers: Workers::new(wake),
            own_rights: OwnRights::new()?,
            targets: VecDeque::new(),
            mounts: HashMap::new(),
            left: VecDeque::new(),
            readers: Vec::new(),
            knows_others: false,
            stops_reads,
        })
    }

    /// Whether a read into little room loses what does not fit.
    pub(crate) fn is_cut(&self) -> bool {
        !self.stops_reads
    }

    /// The thread of a notification. One that is known by its number may have gone, and another have that, until it
    /// [is looked at](Self::target_anew).
    pub(crate) fn target(&mut self, thread: i32) -> Result<Arc<Target>, Errno> {
        if let Some(target) = self.targets.iter().find(|target| target.thread() == thread) {
            return Ok(Arc::clone(target));
        }
        let target = Arc::new(Target::new(thread)?);
        if self.targets.len() == TARGETS_MAX {
            self.targets.pop_front();
        }
        self.targets.push_back(Arc::clone(&target));
        Ok(target)
    }

    /// The thread that has this number now, if the one that is known by it has gone.
    pub(crate) fn target_anew(&mut self, known: &Target, thread: i32) -> Option<Arc<Target>> {
        if known.exists() {
            return None;
        }
        self.targets.retain(|target| target.thread() != thread);
        self.target(thread).ok()
    }

    /// Has a thread wait until there is something to read.
    pub(crate) fn keep_waiting(&mut self, reader: Reader) {
        // One that a signal has disturbed has called again, or has something else to do.
        let (listener, thread) = (&self.listener, reader.notification.thread);
        self.readers.retain(|other| other.notification.thread != thread && listener.is_waiting(other.notification.id));
        self.readers.push(reader);
    }

    /// Whether an object that was found on this mount, without waiting, may be watched like that.
    pub(crate) fn is_plain(&self, at: At) -> bool {
        self.mounts.get(&at) == Some(&true)
    }

    pub(crate) fn remember_mount(&mut self, at: At, is_plain: bool) {
        // Who mounts again and again fills no memory.
        const MOUNTS_MAX: usize = 4096;
        if self.mounts.len() >= MOUNTS_MAX {
            self.mounts.clear();
        }
        self.mounts.insert(at, is_plain);
    }

    /// What was done when this call was made before: a signal came between, and the thread calls again.
    pub(crate) fn take_left(&mut self, target: &Target, notification: &Notification) -> Option<i64> {
        let now = Instant::now();
        self.left.retain(|left| now.duration_since(left.since) < LEFT_FOR);
        let (call, place) = (notification.call?, notification.place);
        let is_same = |left: &Left| {
            left.target.thread() == target.thread() && (left.call, left.place) == (call, place) && left.target.exists()
        };
        let place = self.left.iter().position(is_same)?;
        self.left.remove(place).map(|left| left.value)
    }

    /// Returns a call's result. What has been done and cannot be done twice waits for a caller who was disturbed (before Linux 5.19, and
    /// with `reads`).
    pub(crate) fn answer(&mut self, target: &Arc<Target>, notification: &Notification, result: Result<i64, Errno>) {
        if self.listener.answer(notification.id, result) != Err(Errno::ENOENT) {
            return;
        }
        if let (Ok(value), Some(Call::RemoveWatch { .. } | Call::AddWatch { .. })) = (result, notification.call) {
            self.leave(target, notification, value);
        }
    }

    pub(crate) fn leave(&mut self, target: &Arc<Target>, notification: &Notification, value: i64) {
        let Some(call) = notification.call else { return };
        if matches!(call, Call::AddWatch { mask, .. } if mask & libc::IN_MASK_CREATE == 0) || !target.exists() {
            return;
        }
        if self.left.len() == LEFT_MAX {
            self.left.pop_front();
        }
        let (target, place) = (Arc::clone(target), notification.place);
        self.left.push_back(Left { target, call, place, value, since: Instant::now() });
    }
}

/// The way in which `inotify_add_watch` looks for its path.
pub(crate) fn lookup(path: &CString, mask: u32) -> Lookup<'_> {
    Lookup { path, is_directory: mask & ONLYDIR != 0, is_link: mask & DONT_FOLLOW != 0 }
}

/// Looks for an object as the target does, with its rights, and watches it if that may take its time.
pub(crate) fn find(
    target: &Target,
    own: OwnRights,
    lookup: &Lookup<'_>,
    kernel: Option<&Instance>,
    mask: u32,
) -> Result<Object, Errno> {
    with_rights_of_target(target, own, |is_other| {
        let (Opened { object, at, may_wait }, is_plain) = resolve(target, lookup)?;
        if is_other {
            may_read(&object)?;
        }
        let armed = kernel.filter(|_| may_wait).map(|kernel| kernel.watch(std::os::fd::AsFd::as_fd(&object), mask));
        Ok(Object { object, at, is_plain: is_plain && !may_wait, armed })
    })
}
