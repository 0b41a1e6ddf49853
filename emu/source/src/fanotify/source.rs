//! The source: the file systems of which something is watched, behind one descriptor.

use std::fmt;
use std::mem;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use uinotify_core::{Mask, ObjectId};

use super::gate::Gate;
use super::group::{Abilities, Group};
use super::handle::Handle;
use super::marks::MarkKind;
use super::mounts::Mounts;
use super::own::Own;
use super::volume::{Tally, Target, Volume};
use crate::fuse::Sink;

/// What belongs together should come together.
const BUFFER_BYTES: usize = 1 << 18;
/// How often a file system that is mounted nowhere any more is looked at, until the last who uses it lets it go.
const DETACHED_CHECK: Duration = Duration::from_millis(100);
/// With more marks on it, it is not looked at more often.
const DETACHED_MARKS_MAX: usize = 64;
/// Numbers of objects: `TAG`, how often a place was used again, the file system, the place.
const TAG: u64 = 0xf << 60;
const REUSED_SHIFT: u32 = 40;
const REUSED_MAX: u64 = 0xf_ffff;
const VOLUME_SHIFT: u32 = 32;
const VOLUMES_MAX: usize = 0xff;

/// How a source is to behave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Mark file systems where that can be. Else each inode, whatever the rights.
    pub whole_file_systems: bool,
    /// Use what root may: threads told apart, queues and marks without a limit.
    pub privileges: bool,
    /// Have records of renames and the objects behind names (5.17).
    pub targets: bool,
    /// Hold whoever opens or reads what is watched until all before that was drained, so that the kernel merges less. With CAP_SYS_ADMIN.
    pub strict_order: bool,
    /// Records that may wait in a queue without a limit. Beyond it they are dropped, and queues overflow.
    pub records_max: usize,
    /// What other threads of this process do is not its own: a test's, which has the emulator beside it. Of those only who may tell threads
    /// apart hears.
    pub shares_process: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            whole_file_systems: true,
            privileges: true,
            targets: true,
            strict_order: false,
            records_max: 1_000_000,
            shares_process: false,
        }
    }
}

/// A source. One thread owns it: it waits until the descriptor is readable, and drains.
#[derive(Debug)]
pub struct Source {
    options: Options,
    volumes: Vec<Option<Volume>>,
    epoll: Epoll,
    mounts: Mounts,
    /// When to look again at what is mounted nowhere.
    look_at: Option<Instant>,
    own: Own,
    gate: Option<Gate>,
    buffer: Vec<u8>,
    reused: u64,
}

impl Source {
    /// A source that watches nothing.
    ///
    /// # Errors
    ///
    /// If the kernel has no fanotify of the kind that is needed: EPERM for an ordinary user before 5.13, EINVAL before 5.9, ENOSYS. EMFILE at the
    /// limit of groups. EPERM for strict order without CAP_SYS_ADMIN.
    pub fn new(options: Options) -> Result<Self, Errno> {
        drop(Group::new(Self::most(options))?);
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let mounts = Mounts::new().map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)))?;
        epoll.add(&mounts, EpollEvent::new(EpollFlags::EPOLLPRI, 0))?;
        let gate = options.strict_order.then(Gate::new).transpose()?;
        if let Some(gate) = &gate {
            epoll.add(gate, EpollEvent::new(EpollFlags::EPOLLIN, 0))?;
        }
        Ok(Self {
            options,
            volumes: Vec::new(),
            epoll,
            mounts,
            look_at: None,
            own: Own::new(options.shares_process && options.privileges),
            gate,
            buffer: vec![0; BUFFER_BYTES],
            reused: 0,
        })
    }

    fn most(options: Options) -> Abilities {
        Abilities { privileged: options.privileges, targets: options.targets }
    }

    /// Watches the object behind `object`, an `O_PATH` descriptor, for what all its watches together ask for; again if that has changed. All that
    /// happened before is told to `sink` first, and not to the new watch.
    ///
    /// # Errors
    ///
    /// ENOSPC at a limit of marks or groups, EACCES without read permission, EOPNOTSUPP, EXDEV or ENODEV if the kernel can mark nothing on this
    /// file system.
    pub fn watch(&mut self, object: BorrowedFd<'_>, mask: Mask, sink: &mut impl Sink) -> Result<ObjectId, Errno> {
        self.drain(sink)?;
        let target = Target::new(object)?;
        let index = match self.position(&target) {
            Some(index) => index,
            None => self.add_volume(&target, mask)?,
        };
        let reused = &mut self.reused;
        let volume = self.volumes.get_mut(index).and_then(Option::as_mut).ok_or(Errno::ENOSPC)?;
        let result = volume.watch(&target, mask, self.gate.as_ref(), |slot, is_reused| {
            *reused = (*reused + u64::from(is_reused)) & REUSED_MAX;
            ObjectId(TAG | *reused << REUSED_SHIFT | (index as u64) << VOLUME_SHIFT | u64::from(slot))
        });
        self.drop_idle();
        result
    }

    /// Ends the watch of an object. One that has ended by itself is no error.
    pub fn unwatch(&mut self, id: ObjectId) {
        if let Some(volume) = self.volumes.get_mut(volume_of(id)).and_then(Option::as_mut) {
            volume.unwatch(id, self.gate.as_ref());
        }
        self.drop_idle();
    }

    /// Tells all that has happened, until nothing is left. Does not block.
    ///
    /// # Errors
    ///
    /// As `read(2)` of a fanotify descriptor.
    pub fn drain(&mut self, sink: &mut impl Sink) -> Result<(), Errno> {
        let is_held = self.gate.as_ref().is_some_and(Gate::is_asked);
        // Asked first: what is told before an unmount comes before it.
        let is_time = self.look_at.is_some_and(|time| time <= Instant::now());
        let looks = self.mounts.has_changed() || is_time;
        let mut buffer = mem::take(&mut self.buffer);
        let mut result = Ok(());
        for volume in self.volumes.iter_mut().flatten() {
            let drained = volume.drain(&mut buffer, &mut self.own, self.options.records_max, sink);
            result = result.and(drained);
        }
        self.own.end_turn();
        self.buffer = buffer;
        if let Some(gate) = &self.gate {
            if is_held {
                gate.go_on();
            }
            if !gate.is_kept() {
                eprintln!(
                    "uinotify: whoever held those that open and read has ended: the order of events is best effort from here on"
                );
                // Readable for ever.
                let _ = self.epoll.delete(gate);
                self.gate = None;
            }
        }
        if looks {
            self.check_mounts(sink);
        } else {
            // Whoever unmounts what only they see goes on at once.
            let few = |volume: &&mut Volume| volume.is_detached && volume.marks_count() <= DETACHED_MARKS_MAX;
            self.volumes.iter_mut().flatten().filter(few).for_each(|volume| volume.check_unmounted(sink));
            let is_left = |volume: &Volume| volume.is_detached && volume.translation.tree.watched_count() > 0;
            self.look_at = self.look_at.filter(|_| self.volumes.iter().flatten().any(is_left));
        }
        self.drop_idle();
        result
    }

    /// How long to wait at most until the next drain, even if the descriptor is not readable.
    #[must_use]
    pub fn wait_max(&self) -> Option<Duration> {
        self.look_at.map(|time| time.saturating_duration_since(Instant::now()))
    }

    /// The number of the object behind a descriptor, if it is watched.
    #[must_use]
    pub fn find(&self, object: BorrowedFd<'_>) -> Option<ObjectId> {
        let target = Target::new(object).ok()?;
        let volume = self.volumes.get(self.position(&target)?)?.as_ref()?;
        volume.find(&target)
    }

    /// How the file system of an object is marked.
    #[must_use]
    pub fn mark_of(&self, id: ObjectId) -> Option<MarkKind> {
        self.volumes.get(volume_of(id)).and_then(Option::as_ref).map(|volume| volume.mark)
    }

    /// By what people know a watched object: the device, the number of the inode, and the file handle.
    #[must_use]
    pub fn known_by(&self, id: ObjectId) -> Option<(u64, u64, &Handle)> {
        let volume = self.volumes.get(volume_of(id))?.as_ref()?;
        let object = volume.translation.tree.by_id(id)?;
        Some((volume.key.device(), object.inode, &object.handle))
    }

    /// How each file system is marked.
    #[must_use]
    pub fn volumes(&self) -> Volumes<'_> {
        Volumes(self)
    }

    fn check_mounts(&mut self, sink: &mut impl Sink) {
        self.look_at = None;
        let Ok(mounted) = Mounts::devices() else { return };
        for volume in self.volumes.iter_mut().flatten() {
            volume.note_mounted(&mounted);
            if !volume.is_detached {
                continue;
            }
            volume.check_unmounted(sink);
            if volume.translation.tree.watched_count() > 0 {
                self.look_at = Some(Instant::now() + DETACHED_CHECK);
            }
        }
    }

    fn position(&self, target: &Target<'_>) -> Option<usize> {
        self.volumes.iter().position(|volume| volume.as_ref().is_some_and(|volume| volume.key == target.key))
    }

    fn add_volume(&mut self, target: &Target<'_>, mask: Mask) -> Result<usize, Errno> {
        let free = self.volumes.iter().position(Option::is_none).unwrap_or(self.volumes.len());
        if free >= VOLUMES_MAX {
            return Err(Errno::ENOSPC);
        }
        let mut volume = Volume::new(target, mask, Self::most(self.options), self.options.whole_file_systems)?;
        // It may be one of another name space.
        if let Ok(mounted) = Mounts::devices() {
            volume.note_mounted(&mounted);
        }
        if volume.is_detached {
            self.look_at.get_or_insert_with(|| Instant::now() + DETACHED_CHECK);
        }
        self.epoll.add(&volume, EpollEvent::new(EpollFlags::EPOLLIN, 0))?;
        if free == self.volumes.len() {
            self.volumes.push(None);
        }
        if let Some(room) = self.volumes.get_mut(free) {
            *room = Some(volume);
        }
        // Its places are new, their numbers are not.
        self.reused = (self.reused + 1) & REUSED_MAX;
        Ok(free)
    }

    /// Closing a group ends its marks.
    fn drop_idle(&mut self) {
        for volume in &mut self.volumes {
            if volume.as_ref().is_some_and(|volume| volume.translation.tree.watched_count() == 0) {
                *volume = None;
            }
        }
    }
}

impl AsFd for Source {
    /// Readable while there is anything to drain.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.0.as_fd()
    }
}

/// Whether a number is one that a source of this kind gives: all have their four highest bits set.
#[must_use]
pub fn is_numbered(id: ObjectId) -> bool {
    id.0 & TAG == TAG
}

fn volume_of(id: ObjectId) -> usize {
    (id.0 >> VOLUME_SHIFT) as usize & VOLUMES_MAX
}

/// The file systems of which something is watched.
#[derive(Clone, Copy, Debug)]
pub struct Volumes<'a>(&'a Source);

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marked {
    /// The number of its device.
    pub device: u64,
    /// How many of its objects are watched.
    pub watched: usize,
    /// How they are marked.
    pub kind: MarkKind,
}

impl<'a> Volumes<'a> {
    /// Watched objects, objects known in all, and the bytes of the names among them, of all file systems together.
    #[must_use]
    pub fn size(&self) -> (usize, usize, usize) {
        self.0.volumes.iter().flatten().fold((0, 0, 0), |(watched, known, bytes), volume| {
            let tree = &volume.translation.tree;
            let (objects, names) = tree.size();
            (watched + tree.watched_count(), known + objects, bytes + names)
        })
    }

    /// What was read of all of them.
    #[must_use]
    pub fn tally(&self) -> Tally {
        self.0.volumes.iter().flatten().fold(Tally::default(), |all, volume| Tally {
            records: all.records + volume.tally.records,
            merged: all.merged + volume.tally.merged,
        })
    }

    /// Each.
    pub fn iter(&self) -> impl Iterator<Item = Marked> + use<'a> {
        self.0.volumes.iter().flatten().map(|volume| Marked {
            device: volume.key.device(),
            watched: volume.translation.tree.watched_count(),
            kind: volume.mark,
        })
    }
}

impl fmt::Display for Marked {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { device, watched, kind } = self;
        let (major, minor) = (libc::major(*device), libc::minor(*device));
        write!(formatter, "fanotify on file system {major}:{minor}: {kind}; watched objects: {watched}")
    }
}
