//! The page that tells programs whether there is anything to ask for.
//!
//! A line belongs to one group. Programs map it read-only, from a descriptor that was opened so; the writable descriptor never
//! leaves the emulator.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

use nix::sys::mman::{MapFlags, ProtFlags, mmap};
use uinotify_wire::settle_line::{ASK, CYCLE_OFFSET, LINE_BYTES, MORE_OFFSET, SOLO_OFFSET};

use crate::memory_file::memory_file;

/// Room for 16384 lines; memory is taken only for those that are used. A multiple of every page size.
const PAGE_BYTES: usize = 1024 * 1024;
const LINES: u32 = (PAGE_BYTES / LINE_BYTES) as u32;

/// The shared memory.
#[derive(Debug)]
pub(crate) struct SettlePage {
    readable: OwnedFd,
    start: NonNull<u8>,
    free: Vec<u32>,
    used: u32,
}

/// One group's line. It must not outlive the page, which lives as long as the emulator.
#[derive(Debug)]
pub(crate) struct Line {
    index: u32,
    cycle: &'static AtomicU32,
    more: &'static AtomicU32,
    solo: &'static AtomicU32,
}

impl SettlePage {
    pub(crate) fn new() -> io::Result<Self> {
        let file = memory_file(c"uinotify-settle")?;
        file.set_len(PAGE_BYTES as u64)?;
        let length = std::num::NonZeroUsize::new(PAGE_BYTES).ok_or(io::ErrorKind::InvalidInput)?;
        let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new mapping where the kernel chooses overlaps nothing; it is never unmapped, and the file keeps its length.
        let start = unsafe { mmap(None, length, access, MapFlags::MAP_SHARED, &file, 0) }?;
        let readable = File::open(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
        Ok(Self { readable: readable.into(), start: start.cast(), free: Vec::new(), used: 0 })
    }

    /// A line for a new group, if one is left.
    pub(crate) fn line(&mut self) -> Option<Line> {
        let index = self.free.pop().or_else(|| {
            let index = self.used;
            (index < LINES).then(|| {
                self.used += 1;
                index
            })
        })?;
        let [cycle, more, solo] = [CYCLE_OFFSET, MORE_OFFSET, SOLO_OFFSET].map(|offset| self.word(index, offset));
        let line = Line { index, cycle, more, solo };
        line.more.store(0, Ordering::Release);
        Some(line)
    }

    fn word(&self, index: u32, offset: usize) -> &'static AtomicU32 {
        let offset = index as usize * LINE_BYTES + offset;
        let word = self.start.as_ptr().wrapping_add(offset).cast::<AtomicU32>();
        // SAFETY: the offset is within the mapping, which is never unmapped, and aligned; programs can only read it.
        unsafe { &*word }
    }

    /// The group is gone.
    pub(crate) fn release(&mut self, line: &Line) {
        self.free.push(line.index);
    }

    /// What programs map.
    pub(crate) fn readable(&self) -> BorrowedFd<'_> {
        self.readable.as_fd()
    }
}

impl Line {
    /// Where the line is in the file.
    pub(crate) fn offset(&self) -> u32 {
        self.index * LINE_BYTES as u32
    }

    /// Before the source is read: from here on events may be in the emulator's hands.
    pub(crate) fn begin_cycle(&self) {
        // The store must be seen before the source is seen empty; the kernel's lock around the source's queue orders the two.
        self.cycle.fetch_add(1, Ordering::AcqRel);
    }

    /// After the events are sent, or `more` says that they wait.
    pub(crate) fn end_cycle(&self) {
        self.cycle.fetch_add(1, Ordering::Release);
    }

    /// In this cycle the source is drained, the socket is empty, and one event is about to be sent, the only one.
    pub(crate) fn announce_solo(&self) {
        self.solo.store(self.cycle.load(Ordering::Relaxed), Ordering::Release);
    }

    /// Do events wait behind the window? Is there anything that nobody but the emulator can see?
    pub(crate) fn set_more(&self, more: bool, ask: bool) {
        self.more.store(u32::from(more) | if ask { ASK } else { 0 }, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_apart_and_used_again() {
        let mut page = SettlePage::new().expect("a page");
        let (first, second) = (page.line().expect("a line"), page.line().expect("a line"));
        assert_ne!(first.offset(), second.offset());
        first.set_more(true, false);
        first.begin_cycle();
        assert_eq!((second.cycle.load(Ordering::Relaxed), second.more.load(Ordering::Relaxed)), (0, 0));
        page.release(&first);
        let again = page.line().expect("a line");
        assert_eq!(again.offset(), first.offset());
        assert_eq!(again.more.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn programs_can_only_read() {
        let page = SettlePage::new().expect("a page");
        let length = std::num::NonZeroUsize::new(4096).expect("not zero");
        let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new mapping where the kernel chooses overlaps nothing.
        let mapped = unsafe { mmap(None, length, access, MapFlags::MAP_SHARED, page.readable(), 0) };
        assert_eq!(mapped.err(), Some(nix::errno::Errno::EACCES));
    }
}
