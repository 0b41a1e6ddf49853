//! How much happens in a second.

use std::collections::BTreeMap;
use std::time::Instant;

use uinotify_host::status::{EmulatorStatus, GroupStatus};

/// An instance at one moment.
#[derive(Clone, Debug)]
pub(super) struct Rated {
    /// Its emulator's process.
    pub(super) emulator: i32,
    pub(super) group: GroupStatus,
    /// Events a second since the last look: queued and merged. Nothing at the first one.
    pub(super) events_a_second: Option<f64>,
}

/// What was counted at the last look.
#[derive(Debug, Default)]
pub(super) struct Rates {
    counted: BTreeMap<(i32, u64), (Instant, u64)>,
}

impl Rates {
    /// All instances, with what has happened since the last time.
    pub(super) fn of(&mut self, emulators: Vec<EmulatorStatus>, now: Instant) -> Vec<Rated> {
        let before = std::mem::take(&mut self.counted);
        let mut rated = Vec::new();
        for EmulatorStatus { pid, groups, .. } in emulators {
            for group in groups {
                let key = (pid, group.id);
                let events = group.events_queued + group.events_merged;
                let events_a_second = before.get(&key).and_then(|(then, counted)| {
                    let seconds = now.duration_since(*then).as_secs_f64();
                    (seconds > 0.0).then(|| events.saturating_sub(*counted) as f64 / seconds)
                });
                self.counted.insert(key, (now, events));
                rated.push(Rated { emulator: pid, group, events_a_second });
            }
        }
        rated
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use uinotify_host::status::{LimitsStatus, WatchStatus};

    use super::*;

    pub(in crate::top) fn group(id: u64, events_queued: u64) -> GroupStatus {
        GroupStatus {
            id,
            creator_pid: 1,
            owner: 0,
            source: "inotify".to_owned(),
            cursor: 3,
            queue_events: 4,
            queue_bytes: 64,
            events_queued,
            events_merged: 10,
            events_lost: 2,
            limits: LimitsStatus { watches_max: 8, instances_max: 1, queue_events_max: 16 },
            watches: vec![WatchStatus { wd: 2, mask: 0x300, path: "/a\nb".to_owned(), path_bytes_hex: None }],
        }
    }

    pub(in crate::top) fn emulator(groups: Vec<GroupStatus>) -> EmulatorStatus {
        EmulatorStatus { schema: 1, pid: 7, command: Vec::new(), groups, marks: Vec::new() }
    }

    #[test]
    fn rates_are_since_the_last_look() {
        let mut rates = Rates::default();
        let begin = Instant::now();
        let mut look = |events: &[u64], seconds| {
            let groups = (1..).zip(events).map(|(id, events)| group(id, *events)).collect();
            let rated = rates.of(vec![emulator(groups)], begin + Duration::from_secs(seconds));
            rated.iter().map(|rated| rated.events_a_second).collect::<Vec<_>>()
        };
        assert_eq!(look(&[100], 0), [None]);
        assert_eq!(look(&[160, 7], 2), [Some(30.0), None]);
        assert_eq!(look(&[160, 8], 3), [Some(0.0), Some(1.0)]);
    }
}
