//! When a listing is good enough to be kept: git's "racy" index, for directories.
//!
//! The times of a directory say that it has changed, but only as finely as the file system's clock ticks. What is made in the same tick as
//! a change that was seen leaves the times as they were. So a listing counts as settled only if it was begun when the tick of the
//! directory's times was over; until then it is made again at each snapshot.

use std::time::Duration;

/// A tick of the kernel's coarse clock is at most 10 ms.
const TICK: Duration = Duration::from_millis(20);
/// FAT and ext3 count seconds, FAT by twos.
const SECONDS: Duration = Duration::from_millis(2100);
/// No server's clock is expected to be so wrong.
const SKEW: Duration = Duration::from_secs(24 * 3600);

/// The times of a directory, which tell that its entries have changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Times {
    pub(super) modified: i64,
    pub(super) changed: i64,
}

impl Times {
    fn latest(self) -> i64 {
        self.modified.max(self.changed)
    }

    /// How long a change behind these times may leave them as they are. Clocks that count seconds show no fraction.
    fn granule(self) -> Duration {
        const MILLISECOND: i64 = 1_000_000;
        if self.modified % MILLISECOND == 0 || self.changed % MILLISECOND == 0 { SECONDS } else { TICK }
    }
}

/// A moment, by two clocks of this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Moment {
    /// Since some beginning; never set.
    pub(super) monotonic: Duration,
    /// Nanoseconds since 1970, as coarse as the times of files are: what is made from now on is not older.
    pub(super) coarse: i64,
}

impl Moment {
    pub(super) fn now() -> Self {
        use nix::time::{ClockId, clock_gettime};
        let read = |clock| clock_gettime(clock).map_or(Duration::ZERO, Duration::from);
        let coarse = read(ClockId::CLOCK_REALTIME_COARSE).as_nanos();
        Self { monotonic: read(ClockId::CLOCK_MONOTONIC), coarse: i64::try_from(coarse).unwrap_or(i64::MAX) }
    }
}

/// When which times of a directory were first seen, and whether it was listed since they cannot hide anything.
#[derive(Clone, Copy, Debug)]
pub(super) struct Listed {
    times: Times,
    /// By the clock that is never set: the file system's own may be another machine's.
    seen: Duration,
    is_settled: bool,
}

impl Listed {
    /// It is about to be listed for the first time, and has these times.
    pub(super) fn first(times: Times, now: Moment) -> Self {
        let mut listed = Self { times, seen: now.monotonic, is_settled: false };
        listed.settle(now);
        listed
    }

    /// Whether it has to be listed, now that it has these times. If so, that is to be done.
    pub(super) fn is_due(&mut self, times: Times, now: Moment) -> bool {
        if times != self.times {
            *self = Self::first(times, now);
            return true;
        }
        if self.is_settled {
            return false;
        }
        self.settle(now);
        true
    }

    /// Whatever its times say, it is to be listed the next time.
    pub(super) fn unsettle(&mut self) {
        self.is_settled = false;
    }

    /// A listing that begins now sees all that these times can hide.
    fn settle(&mut self, now: Moment) {
        let seen_for = now.monotonic.saturating_sub(self.seen);
        let age = Duration::from_nanos(now.coarse.saturating_sub(self.times.latest()).try_into().unwrap_or(0));
        self.is_settled = seen_for > self.times.granule() || age > SKEW;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 24 * 3_600_000_000_000;

    fn at(milliseconds: u64) -> Moment {
        Moment { monotonic: Duration::from_millis(milliseconds), coarse: 100 * DAY + milliseconds as i64 * 1_000_000 }
    }

    fn times(nanoseconds: i64) -> Times {
        Times { modified: nanoseconds, changed: nanoseconds }
    }

    #[test]
    fn what_has_just_changed_is_listed_until_its_tick_is_over() {
        let fine = times(100 * DAY + 123_456_789);
        let mut listed = Listed::first(fine, at(1000));
        assert!(listed.is_due(fine, at(1005)));
        assert!(listed.is_due(fine, at(1020)));
        assert!(listed.is_due(fine, at(1021)), "this one is behind the tick");
        assert!(!listed.is_due(fine, at(1022)));
        assert!(!listed.is_due(fine, at(99_000)));
        let later = times(100 * DAY + 987_654_321);
        assert!(listed.is_due(later, at(99_000)));
        assert!(listed.is_due(later, at(100_000)));
        assert!(!listed.is_due(later, at(101_000)));
    }

    #[test]
    fn a_clock_of_seconds_ticks_slowly() {
        let coarse = times(100 * DAY + 2_000_000_000);
        let mut listed = Listed::first(coarse, at(0));
        assert!(listed.is_due(coarse, at(1000)));
        assert!(listed.is_due(coarse, at(2000)));
        assert!(listed.is_due(coarse, at(3000)));
        assert!(!listed.is_due(coarse, at(4000)));
    }

    #[test]
    fn what_is_old_is_listed_once_unless_a_clock_is_wrong_by_a_day() {
        let old = times(98 * DAY + 1);
        assert!(!Listed::first(old, at(0)).is_due(old, at(1)));
        let ahead = times(101 * DAY + 1);
        let mut listed = Listed::first(ahead, at(0));
        assert!(listed.is_due(ahead, at(100)));
        assert!(!listed.is_due(ahead, at(200)), "the clock that is never set has seen them long enough");
    }

    #[test]
    fn times_that_were_set_back_are_a_change() {
        let first = times(98 * DAY + 1);
        let mut listed = Listed::first(first, at(0));
        // Whoever sets the time of modification back leaves another time of change.
        assert!(listed.is_due(Times { changed: 100 * DAY + 5, ..first }, at(10)));
        listed.unsettle();
        assert!(listed.is_due(Times { changed: 100 * DAY + 5, ..first }, at(100_000)));
        assert!(!listed.is_due(Times { changed: 100 * DAY + 5, ..first }, at(100_001)));
    }
}
