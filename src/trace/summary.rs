//! What a trace adds up to.

use std::collections::BTreeMap;
use std::fmt;

use uinotify_host::Mask;
use uinotify_host::trace::{Outcome, Record, What};

/// Calls, events and queues of a trace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// By the name of the call: how many, and how many of these failed.
    pub calls: BTreeMap<&'static str, (u64, u64)>,
    /// By the name of the bit.
    pub events: BTreeMap<String, Events>,
    /// By instance: the longest that its queue was, and how long it may be.
    pub queues: BTreeMap<u64, Peak>,
}

/// What has become of events of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Events {
    /// All that came.
    pub came: u64,
    /// Those for which the one before stood.
    pub merged: u64,
    /// Those that nobody got.
    pub lost: u64,
}

/// The longest that a queue was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Peak {
    /// Events, IN_Q_OVERFLOW included.
    pub queue_events: usize,
    /// The limit; 0 if it is not known.
    pub queue_events_max: u32,
}

impl Summary {
    /// Adds up.
    #[must_use]
    pub fn of(records: &[Record]) -> Self {
        let mut summary = Self::default();
        for Record { instance, what, .. } in records {
            match what {
                What::Init { errno, queue_events_max, .. } => {
                    summary.call("inotify_init1", errno.is_some());
                    if errno.is_none() {
                        summary.queues.entry(*instance).or_default().queue_events_max = *queue_events_max;
                    }
                }
                What::AddWatch { errno, .. } => summary.call("inotify_add_watch", errno.is_some()),
                What::RemoveWatch { errno, .. } => summary.call("inotify_rm_watch", errno.is_some()),
                What::SetNextWd { errno, .. } => summary.call("INOTIFY_IOC_SETNEXTWD", errno.is_some()),
                What::GetNextWd { .. } => summary.call("UINOTIFY_IOC_GETNEXTWD", false),
                What::Count { .. } => summary.call("FIONREAD", false),
                What::FailedRead { .. } => summary.call("read", true),
                // It is told again when it comes.
                What::Event { outcome: Outcome::Held, .. } => {}
                What::Event { mask, outcome, queue_events, .. } => {
                    let peak = summary.queues.entry(*instance).or_default();
                    peak.queue_events = peak.queue_events.max(*queue_events);
                    for (name, _) in Mask::from_bits_retain(*mask).difference(Mask::IN_ISDIR).iter_names() {
                        let events = summary.events.entry(name.to_owned()).or_default();
                        events.came += 1;
                        match outcome {
                            Outcome::Queued | Outcome::Held => {}
                            Outcome::Merged => events.merged += 1,
                            Outcome::Overflowed | Outcome::Dropped => events.lost += 1,
                        }
                    }
                }
                What::Read { .. } | What::Close {} => {}
            }
        }
        // It stands for those that are lost, and is itself none.
        if let Some(overflows) = summary.events.get_mut("IN_Q_OVERFLOW") {
            overflows.lost = 0;
        }
        summary
    }

    fn call(&mut self, name: &'static str, failed: bool) {
        let (count, failures) = self.calls.entry(name).or_default();
        *count += 1;
        *failures += u64::from(failed);
    }

    /// Events that nobody got.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.events.values().map(|events| events.lost).sum()
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "{:<24}{:>10}{:>10}", "call", "number", "failed")?;
        for (name, (count, failures)) in &self.calls {
            writeln!(formatter, "{name:<24}{count:>10}{failures:>10}")?;
        }
        writeln!(formatter, "{:<24}{:>10}{:>10}{:>10}", "event", "number", "merged", "lost")?;
        for (name, Events { came, merged, lost }) in &self.events {
            writeln!(formatter, "{name:<24}{came:>10}{merged:>10}{lost:>10}")?;
        }
        for (instance, Peak { queue_events, queue_events_max }) in &self.queues {
            write!(formatter, "instance {instance}: at most {queue_events}")?;
            match queue_events_max {
                0 => writeln!(formatter, " events were queued")?,
                max => writeln!(formatter, " of {max} events were queued")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uinotify_images::text::ByteString;

    #[test]
    fn calls_and_events_are_added_up() {
        let record = |what| Record { time_us: 0, instance: 1, what };
        let event = |mask, outcome, queue_events| {
            let name = ByteString::default();
            record(What::Event { wd: 1, path: None, mask, cookie: 0, name, outcome, queue_events })
        };
        let refused = Some("ENOENT".to_owned());
        let records = [
            record(What::Init { pid: 1, flags: 0, queue_events_max: 2, errno: None }),
            record(What::AddWatch { pid: 1, path: ByteString::default(), mask: 1, wd: Some(1), errno: None }),
            record(What::AddWatch { pid: 1, path: ByteString::default(), mask: 1, wd: None, errno: refused }),
            event(0x4000_0020, Outcome::Queued, 1),
            event(0x20, Outcome::Merged, 1),
            event(0x6, Outcome::Queued, 2),
            event(0x20, Outcome::Overflowed, 3),
            event(0x20, Outcome::Dropped, 3),
            record(What::Close {}),
        ];
        let summary = Summary::of(&records);
        assert_eq!(summary.lost(), 2);
        let expected = "\
call                        number    failed
inotify_add_watch                2         1
inotify_init1                    1         0
event                       number    merged      lost
IN_ATTRIB                        1         0         0
IN_MODIFY                        1         0         0
IN_OPEN                          4         1         2
instance 1: at most 3 of 2 events were queued
";
        assert_eq!(summary.to_string(), expected);
    }
}
