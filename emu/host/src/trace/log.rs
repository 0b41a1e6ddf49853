//! The last calls and events, and how many there were: for a test that wants to know, and for the message of one that has failed.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use super::Observer;
use super::record::{Record, What};

/// How many of the last records are kept.
const KEPT_MAX: usize = 1024;

/// How many calls of each kind, and what became of events.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// By the word that a trace has for them: `init`, `add_watch`, `remove_watch` and so on.
    pub calls: BTreeMap<String, u64>,
    /// Those of them that have failed.
    pub failed: BTreeMap<String, u64>,
    /// By what became of them: `queued`, `merged`, `overflowed`, `dropped`, `held`.
    pub events: BTreeMap<String, u64>,
    /// Events that were read.
    pub read: u64,
}

#[derive(Debug, Default)]
struct Kept {
    counts: Counts,
    last: VecDeque<Record>,
}

/// What is kept. Clones are of the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Log(Arc<Mutex<Kept>>);

impl Log {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All counts, and up to so many of the last records, oldest first.
    pub(crate) fn last(&self, count: usize) -> (Counts, Vec<Record>) {
        let kept = self.kept();
        let skipped = kept.last.len().saturating_sub(count);
        (kept.counts.clone(), kept.last.iter().skip(skipped).cloned().collect())
    }
}

impl Observer for Log {
    fn observe(&mut self, record: &Record) {
        let mut kept = self.kept();
        let (name, failed) = match &record.what {
            What::Event { outcome, .. } => {
                *kept.counts.events.entry(outcome.name().to_owned()).or_default() += 1;
                ("", false)
            }
            What::Read { events, .. } => {
                kept.counts.read += *events as u64;
                ("", false)
            }
            What::Close {} => ("", false),
            What::Init { errno, .. } => ("init", errno.is_some()),
            What::AddWatch { errno, .. } => ("add_watch", errno.is_some()),
            What::RemoveWatch { errno, .. } => ("remove_watch", errno.is_some()),
            What::SetNextWd { errno, .. } => ("set_next_wd", errno.is_some()),
            What::GetNextWd { .. } => ("get_next_wd", false),
            What::Count { .. } => ("count", false),
            What::FailedRead { .. } => ("failed_read", true),
        };
        if !name.is_empty() {
            *kept.counts.calls.entry(name.to_owned()).or_default() += 1;
            if failed {
                *kept.counts.failed.entry(name.to_owned()).or_default() += 1;
            }
        }
        if kept.last.len() == KEPT_MAX {
            kept.last.pop_front();
        }
        kept.last.push_back(record.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_are_kept_and_all_are_counted() {
        let log = Log::default();
        let mut observer = log.clone();
        for number in 0..2000_u64 {
            let errno = number.is_multiple_of(4).then(|| "EINVAL".to_owned());
            let what = What::RemoveWatch { pid: 1, wd: 1, errno };
            observer.observe(&Record { time_us: number, instance: 1, what });
        }
        let (counts, last) = log.last(3);
        assert_eq!(last.iter().map(|record| record.time_us).collect::<Vec<_>>(), [1997, 1998, 1999]);
        assert_eq!((counts.calls["remove_watch"], counts.failed["remove_watch"]), (2000, 500));
        assert_eq!(log.last(usize::MAX).1.len(), KEPT_MAX);
    }
}
