//! What this process holds for an instance: the control connection, the source's descriptor and the settle page.
//!
//! All of it is an aid. The program may have closed any of these descriptors and given the number to another file, so each is
//! verified before use, and where something is missing or doubtful a request over the instance itself does the same.

use core::sync::atomic::{AtomicI32, AtomicPtr, AtomicU32, AtomicU64, Ordering};

use uinotify_wire::settle_line::{ASK, CYCLE_OFFSET, LINE_BYTES, MORE_OFFSET, SOLO_OFFSET};

use crate::identity::socket_identity;
use crate::raw::{self, Errno};

/// Twice the instances that Linux lets a user have as it comes.
const SLOTS: usize = 256;
const PROBES: usize = 8;

/// What one mapping of the settle page spans: a whole page, whatever its size.
pub const MAPPING_BYTES: usize = 64 * 1024;

/// No descriptor.
const NONE: i32 = -1;
/// The emulator will not hand one over.
const REFUSED: i32 = -2;
/// There is none: the settle page says all.
const UNNEEDED: i32 = -3;

/// One instance's aids.
pub struct Slot {
    /// Odd while the rest is being changed; a reader that finds another value afterwards has read nothing.
    sequence: AtomicU32,
    /// Of the instance; 0 for a free slot.
    identity: AtomicU64,
    control_fd: AtomicI32,
    control_identity: AtomicU64,
    control_pid: AtomicI32,
    /// Not 0 while a request is under way. Nobody waits for it: who finds it taken goes another way.
    control_busy: AtomicU32,
    source_fd: AtomicI32,
    page: AtomicPtr<u8>,
    line_offset: AtomicU32,
}

static TABLE: [Slot; SLOTS] = [const { Slot::new() }; SLOTS];

/// What the settle page and the source say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quiet {
    /// There is doubt: ask.
    Unknown,
    /// Every event that has happened is in the socket.
    Settled,
    /// Every event that has happened is queued, but some stand behind the window.
    More,
    /// In the cycle of this number one event goes into an empty socket, and with it every event that has happened: who takes it
    /// has taken all.
    Solo {
        /// The cycle's number.
        cycle: u32,
        /// The cycle is over: the event is in the socket, or somebody has taken it.
        is_sent: bool,
    },
}

impl Quiet {
    /// Is every event that has happened in the socket, or taken from it?
    pub fn is_settled(self) -> bool {
        matches!(self, Self::Settled | Self::Solo { is_sent: true, .. })
    }
}

/// A control connection while it is in use by one thread of the process that owns it.
pub struct Control {
    slot: &'static Slot,
    /// The verified descriptor.
    pub fd: i32,
}

impl Drop for Control {
    fn drop(&mut self) {
        self.slot.control_busy.store(0, Ordering::Release);
    }
}

fn probes(identity: u64) -> impl Iterator<Item = &'static Slot> {
    let first = (identity.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as usize;
    (0..PROBES).filter_map(move |step| TABLE.get((first + step) % SLOTS))
}

/// The slot of an instance.
pub fn find(identity: u64) -> Option<&'static Slot> {
    probes(identity).find(|slot| slot.identity.load(Ordering::Acquire) == identity)
}

/// A new slot for an instance, if need be in the place of one that holds nothing or has ended. Only for the owner of the memory.
pub fn create(identity: u64) -> Option<&'static Slot> {
    let slot = probes(identity)
        .find(|slot| slot.identity.load(Ordering::Relaxed) == 0)
        .or_else(|| probes(identity).find(|slot| slot.holds_nothing() || slot.has_ended()))?;
    slot.change(|| {
        slot.drop_descriptors();
        slot.identity.store(identity, Ordering::Release);
    })?;
    Some(slot)
}

/// To be called in a new process, once: what threads of the parent were doing at the fork, nobody will end here.
pub fn forget_business_of_parent() {
    for slot in &TABLE {
        let sequence = slot.sequence.load(Ordering::Relaxed);
        slot.sequence.store(sequence.next_multiple_of(2), Ordering::Relaxed);
        slot.control_busy.store(0, Ordering::Relaxed);
    }
}

/// Gives the shim's own descriptors back to a program that has no number left. True if there were any.
pub fn release_all() -> bool {
    release_where(|_| true)
}

/// As [`release_all`] for the sources alone.
pub fn release_sources() -> bool {
    let mut any = false;
    for slot in TABLE.iter().filter(|slot| !slot.wants_source()) {
        any |= slot.change(|| slot.drop_source()) == Some(true);
    }
    any
}

/// Lets go of instances that have ended without a call that the shim sees: what it holds of them counts against the limits of
/// the kernel. True if there were any.
pub fn release_ended() -> bool {
    release_where(Slot::has_ended)
}

fn release_where(is_meant: impl Fn(&Slot) -> bool) -> bool {
    let mut any = false;
    for slot in &TABLE {
        if slot.holds_nothing() || !is_meant(slot) {
            continue;
        }
        any |= slot.change(|| slot.drop_descriptors()) == Some(true);
    }
    any
}

/// The sum of all delivery counters: if it is the same before and after a wait, nothing was delivered between.
pub fn deliveries() -> u32 {
    TABLE.iter().filter_map(Slot::cycle).fold(0, u32::wrapping_add)
}

impl Slot {
    const fn new() -> Self {
        Self {
            sequence: AtomicU32::new(0),
            identity: AtomicU64::new(0),
            control_fd: AtomicI32::new(NONE),
            control_identity: AtomicU64::new(0),
            control_pid: AtomicI32::new(0),
            control_busy: AtomicU32::new(0),
            source_fd: AtomicI32::new(NONE),
            page: AtomicPtr::new(core::ptr::null_mut()),
            line_offset: AtomicU32::new(0),
        }
    }

    /// Begins a change, unless another thread is at it.
    fn lock(&self) -> Option<u32> {
        let sequence = self.sequence.load(Ordering::Relaxed);
        if sequence & 1 != 0 {
            return None;
        }
        self.sequence.compare_exchange(sequence, sequence.wrapping_add(1), Ordering::AcqRel, Ordering::Relaxed).ok()
    }

    fn unlock(&self, sequence: u32) {
        self.sequence.store(sequence.wrapping_add(2), Ordering::Release);
    }

    /// Makes a change while no request is under way, or does nothing.
    fn change<T>(&self, change: impl FnOnce() -> T) -> Option<T> {
        self.control_busy.compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed).ok()?;
        let result = self.lock().map(|sequence| {
            let result = change();
            self.unlock(sequence);
            result
        });
        self.control_busy.store(0, Ordering::Release);
        result
    }

    /// Closes what is verifiably ours and forgets the rest. True if anything was closed. Within a change.
    fn drop_descriptors(&self) -> bool {
        let control_closed = self.proved_control().is_some_and(|control| raw::close(control).is_ok());
        self.control_fd.store(NONE, Ordering::Relaxed);
        self.drop_source() || control_closed
    }

    /// As [`Self::drop_descriptors`] for the source alone.
    fn drop_source(&self) -> bool {
        let source = self.source_fd.swap(NONE, Ordering::Relaxed);
        // The program may have closed it, and have given the number to another file.
        source >= 0 && raw::is_inotify(source) && raw::close(source).is_ok()
    }

    /// The control connection's descriptor, if it is still that.
    fn proved_control(&self) -> Option<i32> {
        let control = self.control_fd.load(Ordering::Relaxed);
        let is_right = control >= 0 && socket_identity(control) == Some(self.control_identity.load(Ordering::Relaxed));
        is_right.then_some(control)
    }

    /// The source's descriptor, if it is still an inotify descriptor.
    pub fn proved_source(&self) -> Option<i32> {
        let source = self.source_fd.load(Ordering::Relaxed);
        (source >= 0 && raw::is_inotify(source)).then_some(source)
    }

    fn holds_nothing(&self) -> bool {
        self.control_fd.load(Ordering::Relaxed) < 0 && self.source_fd.load(Ordering::Relaxed) < 0
    }

    /// Has the emulator hung up, as it does when an instance has ended?
    fn has_ended(&self) -> bool {
        self.proved_control().is_some_and(|control| raw::poll_one(control, 0, false) & raw::POLLHUP != 0)
    }

    /// The instance's last descriptor in this process is about to go.
    pub fn release(&self, identity: u64) {
        self.change(|| {
            if self.identity.load(Ordering::Relaxed) == identity {
                self.drop_descriptors();
                self.identity.store(0, Ordering::Relaxed);
            }
        });
    }

    /// Keeps a control connection that `pid` has just made.
    pub fn set_control(&self, fd: i32, pid: i32) {
        let is_kept = socket_identity(fd).and_then(|identity| {
            self.change(|| {
                // Another thread may have been first. What fork has copied nobody uses here.
                if self.has_control(pid) {
                    return false;
                }
                if let Some(old) = self.proved_control() {
                    let _ = raw::close(old);
                }
                self.control_fd.store(fd, Ordering::Relaxed);
                self.control_identity.store(identity, Ordering::Relaxed);
                self.control_pid.store(pid, Ordering::Relaxed);
                true
            })
        });
        if is_kept != Some(true) {
            let _ = raw::close(fd);
        }
    }

    /// Has process `pid` made a control connection, which may be in use?
    pub fn has_control(&self, pid: i32) -> bool {
        self.control_pid.load(Ordering::Relaxed) == pid && self.control_fd.load(Ordering::Relaxed) >= 0
    }

    /// The control connection, if process `pid` made it and nobody is using it.
    pub fn control(&'static self, pid: i32) -> Option<Control> {
        if !self.has_control(pid) {
            return None;
        }
        self.control_busy.compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed).ok()?;
        let mut control = Control { slot: self, fd: NONE };
        if let Some(fd) = self.proved_control() {
            control.fd = fd;
            return Some(control);
        }
        self.control_fd.store(NONE, Ordering::Relaxed);
        None
    }

    /// The control connection has failed.
    pub fn drop_control(&self, fd: i32) {
        if self.control_fd.compare_exchange(fd, NONE, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            let _ = raw::close(fd);
        }
    }

    /// Is an attachment wanted and not yet there?
    pub fn wants_source(&self) -> bool {
        self.source_fd.load(Ordering::Relaxed) == NONE
    }

    /// The emulator keeps its source to itself: not to be asked again.
    pub fn refuse_source(&self) {
        self.source_fd.store(REFUSED, Ordering::Relaxed);
    }

    /// Keeps the source's descriptor and maps the settle page, whose descriptor is closed.
    pub fn set_source(&self, source: i32, page: i32, line_offset: u32) {
        let is_set = self.lock().is_some_and(|sequence| {
            // Another thread may have been first.
            let is_set = self.wants_source() && self.map(page, line_offset).is_ok();
            if is_set {
                // Where this number was another slot's, that one had lost it.
                for other in &TABLE {
                    let _ = other.source_fd.compare_exchange(source, NONE, Ordering::Relaxed, Ordering::Relaxed);
                }
                self.source_fd.store(source, Ordering::Relaxed);
            } else if self.wants_source() {
                self.refuse_source();
            }
            self.unlock(sequence);
            is_set
        });
        let _ = raw::close(page);
        if !is_set {
            let _ = raw::close(source);
        }
    }

    /// Maps the settle page, whose descriptor is closed, of an instance without a source.
    pub fn set_page(&self, page: i32, line_offset: u32) {
        if let Some(sequence) = self.lock() {
            if self.wants_source() {
                let is_mapped = self.map(page, line_offset).is_ok();
                self.source_fd.store(if is_mapped { UNNEEDED } else { REFUSED }, Ordering::Relaxed);
            }
            self.unlock(sequence);
        }
        let _ = raw::close(page);
    }

    /// Within a change.
    fn map(&self, page: i32, line_offset: u32) -> Result<(), Errno> {
        let offset = line_offset as usize;
        if !offset.is_multiple_of(LINE_BYTES) {
            return Err(Errno::INVAL);
        }
        let start = offset - offset % MAPPING_BYTES;
        // A mapping is never taken away, only replaced: another thread may be reading it.
        let over = self.page.load(Ordering::Relaxed);
        // SAFETY: `over` is null or came from here.
        let mapped = unsafe { raw::map_shared(page, start, MAPPING_BYTES, over) };
        if let Ok(address) = mapped {
            self.page.store(address.cast_mut(), Ordering::Relaxed);
            self.line_offset.store((offset - start) as u32, Ordering::Relaxed);
        }
        mapped.map(|_| ())
    }

    fn line_word(page: *const u8, offset: usize) -> u32 {
        // SAFETY: the page is mapped for ever and the offset was checked against its length and alignment.
        let word = unsafe { &*page.wrapping_add(offset).cast::<AtomicU32>() };
        word.load(Ordering::Acquire)
    }

    /// Is everything that has happened in the queue? The order matters: first the source, then the cycle, then `more`.
    pub fn quiet(&self, identity: u64) -> Quiet {
        let sequence = self.sequence.load(Ordering::Acquire);
        let source = self.source_fd.load(Ordering::Relaxed);
        let page = self.page.load(Ordering::Relaxed);
        let line = self.line_offset.load(Ordering::Relaxed) as usize;
        let is_attached = source >= 0 || source == UNNEEDED;
        if sequence & 1 != 0 || !is_attached || page.is_null() || self.identity.load(Ordering::Relaxed) != identity {
            return Quiet::Unknown;
        }
        // An inotify descriptor with an empty queue answers EAGAIN; nearly every other file under this number gives doubt.
        if source >= 0 && raw::read_nothing(source) != Err(Errno::AGAIN) {
            return Quiet::Unknown;
        }
        let cycle = Self::line_word(page, line + CYCLE_OFFSET);
        let solo = Self::line_word(page, line + SOLO_OFFSET);
        let more = Self::line_word(page, line + MORE_OFFSET);
        core::sync::atomic::fence(Ordering::Acquire);
        if self.sequence.load(Ordering::Relaxed) != sequence {
            return Quiet::Unknown;
        }
        if more & ASK != 0 {
            return Quiet::Unknown;
        }
        let is_sent = cycle & 1 == 0;
        match more {
            0 if solo & 1 != 0 && cycle.wrapping_sub(solo) <= 1 => Quiet::Solo { cycle: solo, is_sent },
            0 if is_sent => Quiet::Settled,
            _ if is_sent => Quiet::More,
            _ => Quiet::Unknown,
        }
    }

    /// A number that changes with every delivery, if it can be read.
    pub fn cycle(&self) -> Option<u32> {
        let page = self.page.load(Ordering::Relaxed);
        let source = self.source_fd.load(Ordering::Relaxed);
        if page.is_null() || source < 0 && source != UNNEEDED {
            return None;
        }
        Some(Self::line_word(page, self.line_offset.load(Ordering::Relaxed) as usize + CYCLE_OFFSET))
    }
}
