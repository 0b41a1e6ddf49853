//! Watch descriptors: the kernel's cyclic id allocation, with a cursor that can be set and read.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;

use crate::errno::Errno;

/// A watch descriptor. Those of watches are 1 to 2147483647; the overflow event has -1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Wd(pub i32);

impl fmt::Display for Wd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

const FIRST: i32 = 1;
const LAST: i32 = i32::MAX;

/// Where the raw cursor stands once [`i32::MAX`] was given: negative as the kernel's int, so that the search starts
/// at 1.
const CURSOR_RAW_MAX: u32 = 1 << 31;

/// Hands out watch descriptors as `lib/idr.c` `idr_alloc_cyclic` does for inotify (start 1, no end).
///
/// Numbers in use are kept as maximal runs, so that the number behind a run is free by construction: the cost of an
/// allocation is logarithmic in the number of runs, and does not depend on the length of a run or of a gap (WD-15).
#[derive(Debug, Clone, Default)]
pub struct WdAllocator {
    /// The kernel's `idr_next`: 0 when fresh, at most [`CURSOR_RAW_MAX`].
    cursor: u32,
    runs: Runs,
}

impl WdAllocator {
    /// An allocator of a new instance: nothing in use, the first number will be 1 (WD-1).
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Rebuilds an allocator from its raw cursor and the numbers in use.
    ///
    /// # Errors
    ///
    /// [`PartsError`] if the cursor or a number is out of range, or a number comes twice.
    pub fn from_parts(
        cursor_raw: u32,
        used: impl IntoIterator<Item = RangeInclusive<i32>>,
    ) -> Result<Self, PartsError> {
        if cursor_raw > CURSOR_RAW_MAX {
            return Err(PartsError::Cursor(cursor_raw));
        }
        let mut runs = Runs::default();
        for range in used {
            let (start, end) = range.into_inner();
            if start < FIRST || end < start {
                return Err(PartsError::OutOfRange(Wd(start)));
            }
            if runs.overlaps(start, end) {
                return Err(PartsError::Duplicate(Wd(start)));
            }
            runs.insert(start, end);
        }
        Ok(Self { cursor: cursor_raw, runs })
    }

    /// Takes the lowest free number from the cursor up, else from 1 (WD-2, WD-3, WD-5).
    ///
    /// # Errors
    ///
    /// [`Errno::NoSpc`] if all 2147483647 are in use; the cursor stays (WD-6).
    pub fn allocate(&mut self) -> Result<Wd, Errno> {
        let start = self.cursor();
        let id = self
            .runs
            .lowest_free(start)
            .or_else(|| if start > FIRST { self.runs.lowest_free(FIRST) } else { None })
            .ok_or(Errno::NoSpc)?;
        self.runs.insert(id, id);
        self.cursor = id.unsigned_abs() + 1;
        Ok(Wd(id))
    }

    /// Gives a number back. The cursor stays (WD-4, WD-8). A number that is not in use is left alone.
    pub fn release(&mut self, wd: Wd) {
        self.runs.remove(wd.0);
    }

    /// What `INOTIFY_IOC_SETNEXTWD` does with its argument, the full unsigned long (WD-9, WD-10). The number may be in
    /// use, and may lie below the cursor (WD-11, WD-12).
    ///
    /// # Errors
    ///
    /// [`Errno::Inval`] unless the argument is 1 to 2147483647; the cursor stays.
    pub fn set_cursor(&mut self, argument: u64) -> Result<(), Errno> {
        match i32::try_from(argument) {
            Ok(id) if id >= FIRST => {
                self.cursor = id.unsigned_abs();
                Ok(())
            }
            _ => Err(Errno::Inval),
        }
    }

    /// The number from which the next one is sought: 1 to 2147483647 (IOCTL-8). It may be in use.
    #[must_use]
    pub fn cursor(&self) -> i32 {
        i32::try_from(self.cursor).map_or(FIRST, |cursor| cursor.max(FIRST))
    }

    /// The cursor as the kernel keeps it: 0 in a new instance, 2147483648 after 2147483647 was given.
    #[must_use]
    pub fn cursor_raw(&self) -> u32 {
        self.cursor
    }

    /// Whether a number is in use.
    #[must_use]
    pub fn is_used(&self, wd: Wd) -> bool {
        self.runs.overlaps(wd.0, wd.0)
    }

    /// The maximal runs of numbers in use, ascending.
    pub fn runs(&self) -> impl Iterator<Item = RangeInclusive<i32>> + '_ {
        self.runs.by_start.iter().map(|(&start, &end)| start..=end)
    }
}

/// Why [`WdAllocator::from_parts`] refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PartsError {
    /// The raw cursor is above 2147483648.
    Cursor(u32),
    /// The number is not within 1 to 2147483647.
    OutOfRange(Wd),
    /// The number is given twice.
    Duplicate(Wd),
}

impl fmt::Display for PartsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cursor(cursor) => write!(f, "cursor {cursor} is above {CURSOR_RAW_MAX}"),
            Self::OutOfRange(wd) => write!(f, "watch descriptor {wd} is not within {FIRST} to {LAST}"),
            Self::Duplicate(wd) => write!(f, "watch descriptor {wd} is given twice"),
        }
    }
}

impl std::error::Error for PartsError {}

/// Disjoint runs with at least one free number between any two.
#[derive(Debug, Clone, Default)]
struct Runs {
    /// From the first number of a run to its last.
    by_start: BTreeMap<i32, i32>,
    #[cfg(test)]
    lookups: std::cell::Cell<usize>,
}

impl Runs {
    /// The last run that starts at `id` or below.
    fn at_or_before(&self, id: i32) -> Option<(i32, i32)> {
        #[cfg(test)]
        self.lookups.set(self.lookups.get() + 1);
        self.by_start.range(..=id).next_back().map(|(&start, &end)| (start, end))
    }

    fn lowest_free(&self, from: i32) -> Option<i32> {
        match self.at_or_before(from) {
            Some((_, end)) if end >= from => end.checked_add(1),
            _ => Some(from),
        }
    }

    fn overlaps(&self, start: i32, end: i32) -> bool {
        self.at_or_before(end).is_some_and(|(_, last)| last >= start)
    }

    /// Adds numbers of which none is in use.
    fn insert(&mut self, mut start: i32, mut end: i32) {
        if let Some((before_start, before_end)) = self.at_or_before(start)
            && before_end.checked_add(1) == Some(start)
        {
            start = before_start;
        }
        if let Some(after_start) = end.checked_add(1)
            && let Some(after_end) = self.by_start.remove(&after_start)
        {
            end = after_end;
        }
        self.by_start.insert(start, end);
    }

    fn remove(&mut self, id: i32) {
        let Some((start, end)) = self.at_or_before(id).filter(|&(_, end)| end >= id) else {
            return;
        };
        if start == id {
            self.by_start.remove(&start);
        } else {
            self.by_start.insert(start, id - 1);
        }
        if id < end {
            self.by_start.insert(id + 1, end);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn used(numbers: impl IntoIterator<Item = i32>) -> WdAllocator {
        WdAllocator::from_parts(0, numbers.into_iter().map(|n| n..=n)).unwrap()
    }

    /// WD-1, WD-2
    #[test]
    fn new_instance_counts_from_one() {
        let mut wds = WdAllocator::new();
        assert_eq!([1, 2, 3].map(Wd).map(Ok), [(); 3].map(|()| wds.allocate()));
    }

    /// WD-2, WD-3
    #[test]
    fn lowest_free_from_the_cursor_else_from_one() {
        let mut wds = used([1, 2, 4, 7, i32::MAX]);
        wds.set_cursor(2).unwrap();
        assert_eq!(wds.allocate(), Ok(Wd(3)));
        assert_eq!(wds.allocate(), Ok(Wd(5)));
        wds.set_cursor(i32::MAX as u64).unwrap();
        assert_eq!(wds.allocate(), Ok(Wd(6)));
        assert_eq!(wds.cursor(), 7);
    }

    /// WD-4
    #[test]
    fn freed_numbers_wait_for_the_wrap() {
        let mut wds = WdAllocator::new();
        for _ in 0..3 {
            wds.allocate().unwrap();
        }
        wds.release(Wd(3));
        wds.release(Wd(2));
        assert_eq!(wds.allocate(), Ok(Wd(4)));
        assert_eq!(wds.allocate(), Ok(Wd(5)));
    }

    /// WD-5, WD-13, IOCTL-8
    #[test]
    fn wraps_after_the_last_number() {
        let mut wds = WdAllocator::new();
        assert_eq!((wds.cursor(), wds.cursor_raw()), (1, 0));
        wds.set_cursor(i32::MAX as u64).unwrap();
        assert_eq!(wds.cursor(), i32::MAX);
        assert_eq!(wds.allocate(), Ok(Wd(i32::MAX)));
        assert_eq!((wds.cursor(), wds.cursor_raw()), (1, 0x8000_0000));
        assert_eq!(wds.allocate(), Ok(Wd(1)));
        assert_eq!(wds.cursor(), 2);

        wds.set_cursor(i32::MAX as u64).unwrap();
        assert_eq!(wds.allocate(), Ok(Wd(2)), "the last number is in use");
    }

    /// WD-6
    #[test]
    fn all_in_use_keeps_the_cursor() {
        for cursor in [0, 1, 17, i32::MAX.unsigned_abs(), 0x8000_0000] {
            let mut wds = WdAllocator::from_parts(cursor, [1..=i32::MAX]).unwrap();
            assert_eq!(wds.allocate(), Err(Errno::NoSpc));
            assert_eq!(wds.cursor_raw(), cursor);
            wds.release(Wd(9));
            assert_eq!(wds.allocate(), Ok(Wd(9)));
        }
    }

    /// WD-9
    #[test]
    fn set_cursor_takes_every_positive_int() {
        let mut wds = WdAllocator::new();
        for n in [1, 2, 0x34d_71d6, i32::MAX] {
            assert_eq!(wds.set_cursor(n as u64), Ok(()));
            assert_eq!(wds.cursor(), n);
        }
    }

    /// WD-10
    #[test]
    fn set_cursor_compares_the_full_unsigned_long() {
        let mut wds = WdAllocator::new();
        wds.set_cursor(5).unwrap();
        let bad = [0, -1_i64 as u64, 0x8000_0000, 0xffff_ffff, 0x1_0000_0000, 0x1_0000_0001, 1 << 63, i32::MIN as u64];
        for argument in bad {
            assert_eq!(wds.set_cursor(argument), Err(Errno::Inval), "{argument:#x}");
            assert_eq!(wds.cursor(), 5);
        }
    }

    /// WD-11
    #[test]
    fn cursor_on_a_used_number_gives_the_next_free_one() {
        let mut wds = used(1..=5);
        wds.set_cursor(2).unwrap();
        assert_eq!(wds.cursor(), 2);
        assert_eq!(wds.allocate(), Ok(Wd(6)));
    }

    /// WD-12
    #[test]
    fn cursor_set_back_gives_holes_again() {
        let mut wds = used(1..=5);
        wds.set_cursor(100).unwrap();
        wds.release(Wd(3));
        wds.set_cursor(2).unwrap();
        assert_eq!(wds.allocate(), Ok(Wd(3)));
        assert_eq!(wds.allocate(), Ok(Wd(6)));
    }

    /// WD-8
    #[test]
    fn release_keeps_the_cursor_and_ignores_free_numbers() {
        let mut wds = used([1, 2]);
        wds.set_cursor(2).unwrap();
        for wd in [2, 2, 0, -1, i32::MIN, i32::MAX] {
            wds.release(Wd(wd));
            assert_eq!(wds.cursor(), 2);
        }
        assert_eq!(wds.runs().collect::<Vec<_>>(), [1..=1]);
        assert!(wds.is_used(Wd(1)) && !wds.is_used(Wd(2)));
    }

    #[test]
    fn runs_are_maximal() {
        let mut wds = used([1, 3, 5, i32::MAX, i32::MAX - 2]);
        wds.set_cursor(4).unwrap();
        wds.allocate().unwrap();
        assert_eq!(wds.runs().collect::<Vec<_>>(), [1..=1, 3..=5, i32::MAX - 2..=i32::MAX - 2, i32::MAX..=i32::MAX]);
        wds.set_cursor(i32::MAX as u64 - 1).unwrap();
        wds.allocate().unwrap();
        wds.release(Wd(4));
        assert_eq!(wds.runs().collect::<Vec<_>>(), [1..=1, 3..=3, 5..=5, i32::MAX - 2..=i32::MAX]);
    }

    /// WD-15
    #[test]
    fn cost_is_the_same_for_any_run_and_gap() {
        let dense = WdAllocator::from_parts(1, [1..=1_000_000]).unwrap();
        let alternating = WdAllocator::from_parts(1, (0..500_000).map(|n| 2 * n + 1..=2 * n + 1)).unwrap();
        let gap = WdAllocator::from_parts(2, [1..=1, i32::MAX..=i32::MAX]).unwrap();
        let wrap = WdAllocator::from_parts(2, [2..=i32::MAX]).unwrap();
        for (mut wds, expected) in [(dense, 1_000_001), (alternating, 2), (gap, 2), (wrap, 1)] {
            wds.runs.lookups.set(0);
            assert_eq!(wds.allocate(), Ok(Wd(expected)));
            wds.release(Wd(expected));
            // From the cursor, from 1, the neighbour of the new number, and the run to take it out of.
            assert!(wds.runs.lookups.get() <= 4, "{} look-ups", wds.runs.lookups.get());
        }
    }

    /// WD-15: without the bound above this would be some 10^11 steps.
    #[test]
    fn long_block_is_filled_and_emptied_at_its_start() {
        let mut wds = WdAllocator::new();
        for n in 1..=1_000_000 {
            wds.set_cursor(1).unwrap();
            assert_eq!(wds.allocate(), Ok(Wd(n)));
        }
        assert_eq!(wds.runs().collect::<Vec<_>>(), [1..=1_000_000]);
        for n in (2..=1_000_000).step_by(2) {
            wds.release(Wd(n));
        }
        assert_eq!(wds.runs().count(), 500_000);
        wds.set_cursor(1).unwrap();
        for n in (2..=1_000_000).step_by(2) {
            assert_eq!(wds.allocate(), Ok(Wd(n)));
        }
        assert_eq!(wds.runs().collect::<Vec<_>>(), [1..=1_000_000]);
    }

    #[test]
    fn bad_parts_are_refused() {
        let from = |cursor, used: &[RangeInclusive<i32>]| WdAllocator::from_parts(cursor, used.iter().cloned()).err();
        assert_eq!(from(0x8000_0000, &[]), None);
        assert_eq!(from(0x8000_0001, &[]), Some(PartsError::Cursor(0x8000_0001)));
        assert_eq!(from(0, &[0..=0]), Some(PartsError::OutOfRange(Wd(0))));
        assert_eq!(from(0, &[-1..=5]), Some(PartsError::OutOfRange(Wd(-1))));
        assert_eq!(from(0, &[2..=2, 1..=1, 2..=2]), Some(PartsError::Duplicate(Wd(2))));
        assert_eq!(from(0, &[5..=9, 1..=5]), Some(PartsError::Duplicate(Wd(1))));
        assert_eq!(from(0, &[5..=9, 1..=4, 10..=10]), None);
    }
}
