//! Makes the steps of a replay from the lines of a recording.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use uinotify_core::{Event, Mask, Wd};

use super::call::{Answer, Call};
use super::{Act, Step, Told};
use crate::trace::{Outcome, Record, What};

/// A watch of a recorded instance.
type Watch = (u64, i32);

fn answer(errno: Option<&String>, done: Answer) -> Answer {
    errno.map_or(done, |name| Answer::Failed(name.clone()))
}

const DONE: Answer = Answer::Done { queue_events_max: 0 };

/// The call of a record, and what it returned.
fn call_of(what: &What) -> Option<(Call, Answer)> {
    Some(match what {
        What::Init { flags, queue_events_max, errno, .. } => {
            let done = Answer::Done { queue_events_max: *queue_events_max };
            (Call::Init { flags: Some(*flags) }, answer(errno.as_ref(), done))
        }
        What::AddWatch { path, mask, wd, errno, .. } => {
            let call = Call::AddWatch { path: path.clone(), mask: *mask };
            (call, answer(errno.as_ref(), wd.map_or(DONE, Answer::Wd)))
        }
        What::RemoveWatch { wd, errno, .. } => (Call::RemoveWatch { wd: *wd }, answer(errno.as_ref(), DONE)),
        What::SetNextWd { argument, errno, .. } => {
            (Call::SetNextWd { argument: *argument }, answer(errno.as_ref(), DONE))
        }
        What::GetNextWd { next_wd, .. } => (Call::GetNextWd, Answer::NextWd(*next_wd)),
        // Who reads when is the program's affair, and which of these calls reach an emulator is chance.
        What::Count { .. } | What::FailedRead { .. } | What::Event { .. } | What::Read { .. } | What::Close {} => {
            return None;
        }
    })
}

/// What is to be told of an event, each with how many events waited then; nothing of one that another stood for.
fn told_by(what: &What) -> Vec<(Told, usize)> {
    let What::Event { wd, mask, cookie, name, outcome, queue_events, .. } = what else { return Vec::new() };
    let overflow = (Told::Overflow, *queue_events);
    // However many wait, it is lost.
    let end = (Told::End(Wd(*wd)), usize::MAX);
    match outcome {
        Outcome::Queued if *mask & Mask::IN_Q_OVERFLOW.bits() == 0 => {
            let event = Event { wd: Wd(*wd), mask: *mask, cookie: *cookie, name: name.0[..].into(), hidden: 0 };
            vec![(Told::Event(event), *queue_events)]
        }
        Outcome::Overflowed if is_ignored(what, *wd) => vec![end, overflow],
        Outcome::Dropped if is_ignored(what, *wd) => vec![end],
        Outcome::Queued | Outcome::Overflowed => vec![overflow],
        Outcome::Merged | Outcome::Dropped | Outcome::Held => Vec::new(),
    }
}

fn is_ignored(what: &What, of: i32) -> bool {
    matches!(what, What::Event { wd, mask, .. } if *wd == of && mask & Mask::IN_IGNORED.bits() != 0)
}

/// The IN_IGNORED of each `inotify_rm_watch` of a recording: the line of the call by the index of the event. It stands before the call,
/// which is told when it returns; in a file that was edited perhaps behind it.
fn ends_by_call(records: &[(usize, Record)]) -> BTreeMap<usize, usize> {
    let mut ends = BTreeMap::new();
    let mut last_ends: BTreeMap<Watch, usize> = BTreeMap::new();
    let mut removed: BTreeMap<Watch, usize> = BTreeMap::new();
    for (index, (_, Record { instance, what, .. })) in records.iter().enumerate() {
        match what {
            What::AddWatch { wd: Some(wd), .. } => _ = removed.remove(&(*instance, *wd)),
            What::RemoveWatch { wd, errno: None, .. } => match last_ends.remove(&(*instance, *wd)) {
                Some(event) => _ = ends.insert(event, index),
                None => _ = removed.insert((*instance, *wd), index),
            },
            What::Event { wd, .. } if is_ignored(what, *wd) => match removed.remove(&(*instance, *wd)) {
                Some(call) => _ = ends.insert(index, call),
                None => _ = last_ends.insert((*instance, *wd), index),
            },
            _ => {}
        }
        if call_of(what).is_some() {
            last_ends.clear();
        }
    }
    ends
}

/// The steps, in the order in which they have begun. A call is told when it returns, behind events that it has caused itself.
pub(super) fn steps(records: &[(usize, Record)]) -> Vec<Step> {
    let ends = ends_by_call(records);
    let moved: BTreeSet<usize> = ends.iter().filter(|(event, call)| event < call).map(|(_, call)| *call).collect();
    let mut steps: Vec<Step> = Vec::with_capacity(records.len());
    let mut known = BTreeSet::new();
    let mut living: BTreeSet<Watch> = BTreeSet::new();
    // The first step about a watch of which no call has told yet, and the events of each instance that nobody has read yet.
    let mut early: BTreeMap<Watch, usize> = BTreeMap::new();
    let mut unread: BTreeMap<u64, VecDeque<Option<usize>>> = BTreeMap::new();
    for (index, (line, record)) in records.iter().enumerate() {
        let Record { time_us, instance, what } = record;
        let step = |line: usize, time_us: u64, (call, answer)| {
            let act = Act::Call { call, answer, is_done: false };
            Step { line, time_us, instance: *instance, act }
        };
        // An instance whose beginning was cut away.
        if *instance != 0 && known.insert(*instance) && !matches!(what, What::Init { .. }) {
            steps.push(step(*line, *time_us, (Call::Init { flags: None }, DONE)));
        }
        if let Some(call) = call_of(what) {
            if moved.contains(&index) {
                continue;
            }
            let made = step(*line, *time_us, call);
            if let What::AddWatch { wd: Some(wd), .. } = what
                && living.insert((*instance, *wd))
                && let Some(at) = early.remove(&(*instance, *wd))
            {
                steps.insert(at, made);
                let behind = |place: &mut usize| *place += usize::from(*place >= at);
                unread.values_mut().flatten().flatten().for_each(behind);
            } else {
                steps.push(made);
            }
            early.clear();
            continue;
        }
        if let What::Event { wd, .. } = what {
            let watch = (*instance, *wd);
            if is_ignored(what, *wd) {
                living.remove(&watch);
            } else if *wd > 0 && !living.contains(&watch) {
                early.entry(watch).or_insert(steps.len());
            }
        }
        if let Some(call) = ends.get(&index) {
            // The core's own, as soon as the call comes.
            unread.entry(*instance).or_default().push_back(None);
            if *call > index
                && let (line, Record { time_us, what, .. }) = &records[*call]
                && let Some(call) = call_of(what)
            {
                steps.push(step(*line, *time_us, call));
            }
            continue;
        }
        match what {
            What::Read { events, .. } => {
                let unread = unread.entry(*instance).or_default();
                for read in unread.drain(..(*events).min(unread.len())).flatten() {
                    if let Act::Event { was_read, .. } = &mut steps[read].act {
                        *was_read = true;
                    }
                }
            }
            what => {
                for (told, queue_events) in told_by(what) {
                    if !matches!(told, Told::End(_)) {
                        unread.entry(*instance).or_default().push_back(Some(steps.len()));
                    }
                    let act = Act::Event { told, queue_events, was_read: false };
                    steps.push(Step { line: *line, time_us: *time_us, instance: *instance, act });
                }
            }
        }
    }
    steps
}
