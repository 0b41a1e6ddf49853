//! The comparison of the class of source `fanotify`: the set of events exact, their order and number best effort.
//!
//! The kernel merges what waits to be read there, so what two reads give together is compared, once repeats count once: the events, the ends
//! of renames, the ends of watches, and for whatever lived once the order of its life. All that is no event is compared literally.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write;

use anyhow::{Result, ensure};
use uinotify_core::Mask;

use crate::operation::{Argument, Buffer, Descriptor, List, Operation, Waiting};
use crate::shorthand::{FIONREAD, PLENTY, count_bytes, read_all, slot};
use crate::show;
use crate::trace::{End, Event, Outcome, Return, Trace};

/// An event, by the label of its watch.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seen {
    /// The same for the same watch, on both sides.
    pub watch: String,
    /// IN_* bits.
    pub mask: u32,
    /// As the side has it.
    pub cookie: u32,
    /// Without padding.
    pub name: String,
}

/// One bit of one event.
type Part<'a> = (&'a str, u32, &'a str);
/// An end of a rename: the watch, and the name.
type Name<'a> = (&'a str, &'a str);
type Pair<'a> = (Option<Name<'a>>, Option<Name<'a>>);

/// The largest event: a queue that leaves so much room in a buffer is empty.
const EVENT_BYTES_MAX: usize = 16 + 256;

const BEGINNINGS: Mask = Mask::IN_CREATE.union(Mask::IN_MOVED_TO);
const ENDINGS: Mask = Mask::IN_DELETE.union(Mask::IN_MOVED_FROM);

/// Whether what was read of a source in one go, or between two moments at which nothing waited, is that of the kernel in this class.
///
/// # Errors
///
/// What is not.
pub fn ensure_same(kernel: &[Seen], source: &[Seen]) -> Result<()> {
    let (theirs, ours) = (parts(kernel), parts(source));
    // What is told of a directory bears no name, and is merged across its renames: it comes under the name that the directory had or has,
    // and so does that a directory lost its link to one that was moved onto it.
    let directory = Mask::IN_ISDIR.bits();
    let has_moved = |(watch, bits, name): &&Part<'_>| {
        let moved = [Mask::IN_MOVED_FROM, Mask::IN_MOVED_TO].map(|end| end.bits() | directory);
        let of_itself = Mask::IN_OPEN | Mask::IN_ACCESS | Mask::IN_MODIFY | Mask::IN_ATTRIB | Mask::IN_CLOSE_NOWRITE;
        bits & directory != 0
            && bits & of_itself.bits() != 0
            && moved.into_iter().any(|bits| theirs.contains(&(*watch, bits, *name)))
    };
    let lost: Vec<_> = theirs.difference(&ours).filter(|part| !has_moved(part)).collect();
    // What came behind the end of a watch, which was told to others, may have been merged with what stood before it.
    let came_later = |(watch, bits, _): &&Part<'_>| {
        let is_end = |event: &Seen| event.mask & Mask::IN_IGNORED.bits() != 0 && event.watch == *watch;
        let bit = bits & !directory;
        let end = kernel.iter().position(is_end);
        end.is_some_and(|end| kernel[end..].iter().any(|event| event.mask & bit != 0 && event.watch != *watch))
    };
    let invented: Vec<_> = ours.difference(&theirs).filter(|part| !has_moved(part) && !came_later(part)).collect();
    ensure!(lost.is_empty() && invented.is_empty(), "lost {lost:x?}, invented {invented:x?}");
    let (theirs, ours) = (renames(kernel), renames(source));
    let is_same = theirs.iter().all(|pair| is_among(pair, &ours)) && ours.iter().all(|pair| is_among(pair, &theirs));
    ensure!(is_same, "renames {theirs:?}, {ours:?}");
    let (theirs, ours) = (ends(kernel), ends(source));
    ensure!(theirs == ours, "ends {theirs:?}, {ours:?}");
    ensure_lives(kernel, source)
}

fn parts(events: &[Seen]) -> BTreeSet<Part<'_>> {
    let flag = Mask::IN_ISDIR.bits();
    let bits = |event: &'_ Seen| {
        let (mask, directory) = (event.mask & !flag, event.mask & flag);
        (0..32).map(|bit| 1 << bit).filter(move |bit| mask & bit != 0).map(move |bit| bit | directory)
    };
    let mut parts = BTreeSet::new();
    for event in events {
        for bit in bits(event) {
            parts.insert((&*event.watch, bit, &*event.name));
        }
    }
    parts
}

/// A pair, or what was left of one when an end was merged with its neighbour, which has another cookie (MERGE-3).
fn is_among<'a>(pair: &Pair<'a>, pairs: &BTreeSet<Pair<'a>>) -> bool {
    let halves = [(pair.0, None), (None, pair.1)];
    let is_half = pair.0.is_none() || pair.1.is_none();
    let of_whole = |other: &Pair<'_>| pair.0.is_some() && pair.0 == other.0 || pair.1.is_some() && pair.1 == other.1;
    pairs.contains(pair) || halves.iter().any(|half| pairs.contains(half)) || is_half && pairs.iter().any(of_whole)
}

fn renames(events: &[Seen]) -> BTreeSet<Pair<'_>> {
    let mut pairs: BTreeMap<u32, Pair<'_>> = BTreeMap::new();
    for event in events.iter().filter(|event| event.cookie != 0) {
        let pair = pairs.entry(event.cookie).or_default();
        let end = if event.mask & Mask::IN_MOVED_FROM.bits() != 0 { &mut pair.0 } else { &mut pair.1 };
        *end = Some((&event.watch, &event.name));
    }
    pairs.into_values().collect()
}

/// How often each watch ended.
fn ends(events: &[Seen]) -> BTreeMap<&str, usize> {
    let mut ends = BTreeMap::new();
    for event in events.iter().filter(|event| event.mask & Mask::IN_IGNORED.bits() != 0) {
        *ends.entry(event.watch.as_str()).or_default() += 1;
    }
    ends
}

/// What a name that had one life was told first and last, and that nothing stands behind the end of a watch.
fn ensure_lives(kernel: &[Seen], source: &[Seen]) -> Result<()> {
    let (theirs, ours) = (lives(kernel), lives(source));
    for (name, masks) in &theirs {
        let count = |of: Mask| masks.iter().filter(|mask| **mask & of.bits() != 0).count();
        let is_first = |of: Mask, masks: &[u32]| masks.first().is_some_and(|mask| mask & of.bits() != 0);
        let is_last = |of: Mask, masks: &[u32]| masks.last().is_some_and(|mask| mask & of.bits() != 0);
        let Some(shown) = ours.get(name) else { continue };
        let lived_once = count(BEGINNINGS) <= 1 && count(ENDINGS) <= 1;
        let begins = !lived_once || !is_first(BEGINNINGS, masks) || is_first(BEGINNINGS, shown);
        let ends = !lived_once || !is_last(ENDINGS, masks) || is_last(ENDINGS, shown);
        let ended = !is_last(Mask::IN_IGNORED, masks) || is_last(Mask::IN_IGNORED, shown);
        ensure!(begins && ends && ended, "the life of {name:?}: {masks:x?}, {shown:x?}");
    }
    Ok(())
}

fn lives(events: &[Seen]) -> BTreeMap<Name<'_>, Vec<u32>> {
    let mut lives: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for event in events {
        lives.entry((event.watch.as_str(), event.name.as_str())).or_default().push(event.mask);
    }
    lives
}

/// Events a line each.
pub fn shown(events: &[Seen]) -> String {
    let mut text = String::new();
    for Seen { watch, mask, cookie, name } in events {
        let _ = writeln!(text, "    {watch}: {} {name} {cookie}", show::mask(*mask));
    }
    text
}

/// The list with all that was queued taken before each following operation, by a call that takes nothing: FIONREAD of the groups that the list
/// opens. Opening into a slot is two calls, if it is not empty.
#[must_use]
pub fn settled(list: &List) -> List {
    List { operations: settle(&list.operations, &mut BTreeSet::new()), ..list.clone() }
}

fn settle(operations: &[Operation], groups: &mut BTreeSet<u8>) -> Vec<Operation> {
    let mut settled = Vec::new();
    for operation in operations {
        let operation = match operation {
            Operation::Repeat { count, operations } => {
                Operation::Repeat { count: *count, operations: settle(operations, groups) }
            }
            Operation::Child(operations) => Operation::Child(settle(operations, groups)),
            Operation::Init { slot, .. } => {
                groups.insert(*slot);
                operation.clone()
            }
            operation => operation.clone(),
        };
        if let Operation::Open { slot, .. } | Operation::Duplicate { slot, .. } = &operation {
            settled.push(Operation::Close(Descriptor::Slot(*slot)));
            settled.extend(groups.iter().copied().map(count_bytes));
        }
        settled.push(operation);
        settled.extend(groups.iter().copied().map(count_bytes));
    }
    settled
}

/// The slots that [`apart`] takes for itself.
const GATE: u8 = 11;
const GATE_OPENED: u8 = 12;
const GATE_GROUP: u8 = 13;

/// The list without repeated neighbours, for strict order: whenever something would happen a second time to an object, whoever acts opens a
/// watched file before, for which it is held until all else was read. What changes names, or cannot be told, is held before and behind.
#[must_use]
pub fn apart(list: &List) -> List {
    let start =
        list.operations.iter().position(|operation| !matches!(operation, Operation::Init { .. })).unwrap_or_default();
    let (groups, rest) = list.operations.split_at(start);
    let mut operations = groups.to_vec();
    operations.push(crate::shorthand::create(GATE, "gate"));
    operations.push(crate::shorthand::group(GATE_GROUP));
    operations.push(crate::shorthand::watch(GATE_GROUP, "gate", libc::IN_OPEN));
    let mut touched = Touched::default();
    touched.hold(rest, &mut operations);
    List { operations, ..list.clone() }
}

/// What something has happened to since the last barrier.
#[derive(Default)]
struct Touched {
    names: BTreeSet<String>,
    /// By what name slots were opened, as long as it is known to be that object's.
    slots: HashMap<u8, String>,
}

impl Touched {
    fn hold(&mut self, operations: &[Operation], into: &mut Vec<Operation>) {
        for operation in operations {
            match operation {
                Operation::Repeat { count, operations } => {
                    for _ in 0..*count {
                        self.hold(operations, into);
                    }
                    continue;
                }
                Operation::Open { slot, .. } | Operation::Duplicate { slot, .. } => {
                    self.barrier(into);
                    into.push(Operation::Close(Descriptor::Slot(*slot)));
                    self.barrier(into);
                }
                _ => {}
            }
            match self.name_of(operation) {
                Some(name) if self.names.insert(name.clone()) => into.push(operation.clone()),
                Some(name) => {
                    self.barrier(into);
                    self.names.insert(name);
                    into.push(operation.clone());
                }
                None => {
                    self.barrier(into);
                    if let Operation::Child(inner) = operation {
                        let mut held = Vec::new();
                        self.hold(inner, &mut held);
                        into.push(Operation::Child(held));
                    } else {
                        into.push(operation.clone());
                    }
                    self.slots.clear();
                    self.barrier(into);
                }
            }
            if let Operation::Open { slot, path: crate::operation::Path::Text(path), .. } = operation {
                self.slots.insert(*slot, path.clone());
            }
        }
    }

    fn barrier(&mut self, into: &mut Vec<Operation>) {
        into.push(crate::shorthand::open_read(GATE_OPENED, crate::operation::Path::Link(GATE)));
        into.push(Operation::Close(Descriptor::Slot(GATE_OPENED)));
        self.names.clear();
    }

    /// The name of the one object that something happens to, if that can be told.
    fn name_of(&self, operation: &Operation) -> Option<String> {
        use crate::operation::Path;
        let descriptor = match operation {
            Operation::Chmod { path: Path::Text(path), .. }
            | Operation::Truncate { path: Path::Text(path), .. }
            | Operation::Utimens { path: Path::Text(path), .. }
            | Operation::Open { path: Path::Text(path), .. } => {
                // A symbolic link leads elsewhere, and others may have other names for the same.
                let is_plain = ["a", "b", "d/a"].contains(&path.as_str());
                return is_plain.then(|| path.clone());
            }
            Operation::Read { descriptor, .. }
            | Operation::Write { descriptor, .. }
            | Operation::Ftruncate { descriptor, .. }
            | Operation::Fchmod { descriptor, .. }
            | Operation::Getdents { descriptor, .. }
            | Operation::Fallocate { descriptor, .. } => descriptor,
            _ => return None,
        };
        let Descriptor::Slot(slot) = descriptor else { return None };
        self.slots.get(slot).cloned()
    }
}

/// The list without the operations by which queued events get lost unread, which are another number of events here: before a group may end it
/// is read, reads do not fault, and at the end all is read.
#[must_use]
pub fn without_loss(list: &List) -> List {
    let mut groups = BTreeSet::new();
    let mut operations = Vec::new();
    for operation in &list.operations {
        let ending = match operation {
            Operation::Init { slot, .. } | Operation::Duplicate { slot, .. } => Some(*slot),
            Operation::Close(Descriptor::Slot(slot))
            | Operation::DuplicateOnto { onto: Descriptor::Slot(slot), .. } => Some(*slot),
            _ => None,
        };
        if let Some(slot) = ending.filter(|slot| groups.contains(slot)) {
            operations.push(read_all(slot));
        }
        match operation {
            Operation::Init { slot, flags } if flags & libc::IN_NONBLOCK != 0 => drop(groups.insert(*slot)),
            Operation::Init { slot, .. } => drop(groups.remove(slot)),
            _ => {}
        }
        operations.push(whole(operation));
    }
    operations.extend(groups.into_iter().map(read_all));
    List { operations, ..list.clone() }
}

fn whole(operation: &Operation) -> Operation {
    let all = |operations: &[Operation]| operations.iter().map(whole).collect();
    match operation {
        Operation::Read { descriptor, buffer: Buffer::Guarded { size, .. } } => {
            Operation::Read { descriptor: *descriptor, buffer: Buffer::Plain(*size) }
        }
        Operation::Repeat { count, operations } => Operation::Repeat { count: *count, operations: all(operations) },
        Operation::Child(operations) => Operation::Child(all(operations)),
        operation => operation.clone(),
    }
}

/// Compares what one list showed on the kernel and on the emulator.
///
/// # Errors
///
/// The first difference, with both traces and the list.
pub fn compare(list: &List, native: &Trace, emulated: &Trace) -> Result<()> {
    compare_by(list, native, emulated, ensure_same)
}

/// As [`compare`], with another comparison of what was read between two moments at which nothing waited.
///
/// # Errors
///
/// As `compare`.
pub fn compare_by(list: &List, native: &Trace, emulated: &Trace, same: Same) -> Result<()> {
    let mut walk = Walk { same, groups: HashMap::new(), made: 0, read: HashMap::new() };
    let both_end = || {
        ensure!(native.end == End::Finished && emulated.end == End::Finished, "not finished");
        ensure!(native.outcomes.len() == emulated.outcomes.len(), "not as many outcomes");
        Ok(())
    };
    let compared = both_end().and_then(|()| walk.all(&list.operations, &native.outcomes, &emulated.outcomes));
    compared.map_err(|problem| {
        anyhow::anyhow!(
            "{problem:#}\n--- native\n{}\n--- emulated\n{}\n--- list, for UINOTIFY_REPLAY\n{}",
            show::trace(list, native),
            show::trace(list, emulated),
            serde_json::to_string(list).unwrap_or_else(|error| error.to_string())
        )
    })
}

/// Compares what the kernel and a source have told of one group.
pub type Same = fn(&[Seen], &[Seen]) -> Result<()>;

/// Reads of both sides, by group.
struct Walk {
    same: Same,
    /// The group behind a descriptor, as far as slots tell.
    groups: HashMap<(bool, i32), usize>,
    made: usize,
    /// What both have read since nothing waited.
    read: HashMap<usize, (Vec<Seen>, Vec<Seen>)>,
}

fn key(descriptor: Descriptor) -> (bool, i32) {
    match descriptor {
        Descriptor::Slot(slot) => (true, slot.into()),
        Descriptor::Number(number) => (false, number),
    }
}

impl Walk {
    fn all(&mut self, operations: &[Operation], native: &[Outcome], emulated: &[Outcome]) -> Result<()> {
        ensure!(native.len() == emulated.len(), "not as many outcomes");
        if operations.is_empty() {
            return Ok(());
        }
        let outcomes = native.iter().zip(emulated);
        for (index, (operation, (native, emulated))) in operations.iter().cycle().zip(outcomes).enumerate() {
            self.one(operation, native, emulated)
                .map_err(|error| error.context(format!("operation {index}, {operation:?}")))?;
        }
        Ok(())
    }

    fn one(&mut self, operation: &Operation, native: &Outcome, emulated: &Outcome) -> Result<()> {
        match (operation, native, emulated) {
            (Operation::Repeat { operations, .. }, Outcome::Several(native), Outcome::Several(emulated)) => {
                self.all(operations, native, emulated)
            }
            (Operation::Child(operations), Outcome::Several(native), Outcome::Several(emulated)) => {
                // Its descriptors are its own.
                let groups = self.groups.clone();
                let result = self.all(operations, native, emulated);
                self.groups = groups;
                result
            }
            (
                Operation::While { waiting, meanwhile },
                Outcome::While { call, meanwhile: native, .. },
                Outcome::While { call: our_call, meanwhile: emulated, .. },
            ) => {
                if let Waiting::Read { descriptor, buffer } = waiting {
                    self.read(*descriptor, buffer, call, our_call)?;
                }
                self.all(meanwhile, native, emulated)
            }
            (Operation::Read { descriptor, buffer }, Outcome::Read { .. }, Outcome::Read { .. }) => {
                self.read(*descriptor, buffer, native, emulated)
            }
            (Operation::Control { command: FIONREAD, argument: Argument::Integer(_), .. }, ..)
            | (Operation::Poll { .. } | Operation::EpollWait { .. }, ..) => {
                let is_error = |outcome| {
                    matches!(
                        outcome,
                        &Outcome::Integer { returned: Return::Error(_), .. }
                            | &Outcome::Ready { returned: Return::Error(_), .. }
                    )
                };
                ensure!(is_error(native) == is_error(emulated), "refused by one");
                Ok(())
            }
            _ => {
                ensure!(native == emulated, "differs");
                self.descriptors(operation, native);
                Ok(())
            }
        }
    }

    fn descriptors(&mut self, operation: &Operation, outcome: &Outcome) {
        let Outcome::Returned(Return::Value(_)) = outcome else { return };
        let (place, group) = match operation {
            Operation::Init { slot, .. } => {
                self.made += 1;
                (crate::shorthand::slot(*slot), Some(self.made))
            }
            Operation::Duplicate { descriptor, slot: into } | Operation::Pass { descriptor, slot: into } => {
                (slot(*into), self.groups.get(&key(*descriptor)).copied())
            }
            Operation::DuplicateOnto { descriptor, onto } => (*onto, self.groups.get(&key(*descriptor)).copied()),
            Operation::Open { slot: into, .. } | Operation::EpollCreate { slot: into } => (slot(*into), None),
            Operation::Close(descriptor) => (*descriptor, None),
            _ => return,
        };
        match group {
            Some(group) => self.groups.insert(key(place), group),
            None => self.groups.remove(&key(place)),
        };
    }

    fn read(&mut self, descriptor: Descriptor, buffer: &Buffer, native: &Outcome, emulated: &Outcome) -> Result<()> {
        let (
            Outcome::Read { returned: theirs, events: their_events, .. },
            Outcome::Read { returned: ours, events: our_events, rest, intact },
        ) = (native, emulated)
        else {
            ensure!(native == emulated, "differs");
            return Ok(());
        };
        ensure!(*rest == 0 && *intact && our_events.iter().all(|event| event.padded), "a read that is no inotify's");
        let group = self.groups.get(&key(descriptor)).copied().unwrap_or_default();
        let (kernel, source) = self.read.entry(group).or_default();
        kernel.extend(their_events.iter().map(seen));
        source.extend(our_events.iter().map(seen));
        if [theirs, ours].iter().all(|returned| has_emptied(**returned, buffer)) {
            let (kernel, source) = self.read.remove(&group).unwrap_or_default();
            (self.same)(&kernel, &source).map_err(|error| {
                error.context(format!("\n  kernel:\n{}\n  source:\n{}", shown(&kernel), shown(&source)))
            })?;
        }
        Ok(())
    }
}

fn seen(event: &Event) -> Seen {
    Seen { watch: event.wd.to_string(), mask: event.mask, cookie: event.cookie, name: event.name.clone() }
}

fn has_emptied(returned: Return, buffer: &Buffer) -> bool {
    let size = match buffer {
        Buffer::Plain(size) | Buffer::Positioned(size) => *size,
        // A segment that has no room for the next event may end it.
        Buffer::Vector(_) | Buffer::Guarded { .. } => return returned == Return::Error(libc::EAGAIN),
    };
    match returned {
        Return::Value(taken) => size.min(PLENTY) >= taken as usize + EVENT_BYTES_MAX,
        Return::Error(errno) => errno == libc::EAGAIN,
    }
}
