//! How much happens in a list: a generator whose lists do little tests little.

use std::collections::{HashMap, HashSet};

use crate::operation::{Buffer, Descriptor, List, Operation, Watch};
use crate::shorthand::read_all;
use crate::trace::{Outcome, Return, Trace, walk};

/// Sums over lists.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Measure {
    /// How many lists.
    pub lists: usize,
    /// Operations.
    pub operations: usize,
    /// Operations that failed.
    pub errors: usize,
    /// Events read.
    pub events: usize,
    /// Events that a reader after every operation sees beyond those.
    pub merged: usize,
    /// Times that 2147483647 was given and the next new watch got a lower number.
    pub wraps: usize,
    /// IN_IGNORED events.
    pub ignored: usize,
    /// Events that carry a cookie.
    pub moved: usize,
    /// Different masks seen.
    pub masks: usize,
}

impl Measure {
    /// Measures lists by what `run` gives for them.
    pub fn of(lists: &[List], mut run: impl FnMut(&List) -> Trace) -> Self {
        let mut measure = Self { lists: lists.len(), ..Self::default() };
        let mut masks = HashSet::new();
        for list in lists {
            let trace = run(list);
            walk(&list.operations, &trace.outcomes, &mut |_, outcome| {
                measure.operations += 1;
                measure.errors += usize::from(failed(outcome));
            });
            let events = trace.events();
            measure.events += events.len();
            for event in events {
                measure.ignored += usize::from(event.mask & libc::IN_IGNORED != 0);
                measure.moved += usize::from(event.cookie != 0);
                masks.insert(event.mask);
            }
            measure.wraps += wraps(list, &trace);
            let lazy = run(&without_loss(list, false)).events().len();
            let eager = run(&without_loss(list, true)).events().len();
            measure.merged += eager.saturating_sub(lazy);
        }
        measure.masks = masks.len();
        measure
    }
}

fn failed(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Returned(Return::Error(_)) | Outcome::Read { returned: Return::Error(_), .. })
}

fn wraps(list: &List, trace: &Trace) -> usize {
    let mut live: HashMap<u8, HashSet<i64>> = HashMap::new();
    let mut at_end: HashMap<u8, bool> = HashMap::new();
    let mut count = 0;
    let mut given = Vec::new();
    walk(&list.operations, &trace.outcomes, &mut |operation, outcome| match (operation, outcome) {
        (Operation::AddWatch { descriptor: Descriptor::Slot(slot), .. }, Outcome::Returned(Return::Value(wd))) => {
            given.push(*wd);
            if live.entry(*slot).or_default().insert(*wd) {
                count += usize::from(at_end.get(slot) == Some(&true));
                at_end.insert(*slot, *wd == i64::from(i32::MAX));
            }
        }
        (Operation::RemoveWatch { descriptor: Descriptor::Slot(slot), watch }, Outcome::Returned(Return::Value(0))) => {
            let wd = match watch {
                Watch::Number(wd) => i64::from(*wd),
                Watch::Nth(nth) => given.get(nth % given.len().max(1)).copied().unwrap_or(0),
            };
            live.entry(*slot).or_default().remove(&wd);
        }
        (Operation::Control { .. }, Outcome::Returned(Return::Value(0))) => at_end.clear(),
        _ => {}
    });
    count
}

/// The list without the operations by which queued events get lost unread: reads that fault, and the
/// end of a group. With `eager` both groups are read after each operation.
fn without_loss(list: &List, eager: bool) -> List {
    let loses = |operation: &Operation| match operation {
        Operation::Read { buffer: Buffer::Guarded { .. }, .. } | Operation::Child(_) => true,
        Operation::Init { slot, .. } | Operation::Duplicate { slot, .. } => *slot < 2,
        Operation::Close(Descriptor::Slot(slot)) | Operation::DuplicateOnto { onto: Descriptor::Slot(slot), .. } => {
            *slot < 2
        }
        _ => false,
    };
    let start =
        list.operations.iter().position(|operation| !matches!(operation, Operation::Init { .. })).unwrap_or_default();
    let (groups, rest) = list.operations.split_at(start);
    let mut operations = groups.to_vec();
    for operation in rest {
        if loses(operation) {
            continue;
        }
        match operation {
            Operation::Repeat { count, operations: inner } if eager => {
                for _ in 0..*count {
                    for operation in inner {
                        operations.extend([operation.clone(), read_all(0), read_all(1)]);
                    }
                }
            }
            other => operations.push(other.clone()),
        }
        if eager {
            operations.extend([read_all(0), read_all(1)]);
        }
    }
    List { limits: list.limits, operations }
}
