//! The kernel beside the emulator that polls, and has no other source: what two looks can tell is what the kernel tells.
//!
//! After each operation everything is looked at (`Barrier`). What is left of the kernel's events in the class of this source has to be told,
//! in the same order, and nothing else.

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use libtest_mimic::{Failed, Trial};
use proptest::prelude::*;
use proptest::sample::select;
use uinotify::checkpoint::{self, EmulatorAddress};
use uinotify_harness::case::Case;
use uinotify_harness::cases::{entry, file, ignored};
use uinotify_harness::operation::{List, Operation, Time, Watch};
use uinotify_harness::shorthand::{
    chmod, close, group, link, mkdir, open, read_all, rename_with, rmdir, slot, symlink, touch, unlink, utimens, watch,
    write,
};
use uinotify_harness::show;
use uinotify_harness::subject::Kind;
use uinotify_harness::trace::{End, Event, Outcome, Trace};
use uinotify_host::control::Control;

use crate::random::each;
use crate::{Subjects, Unmet};

/// What two looks can tell.
const TOLD: u32 = libc::IN_CREATE
    | libc::IN_DELETE
    | libc::IN_MOVED_FROM
    | libc::IN_MOVED_TO
    | libc::IN_MODIFY
    | libc::IN_ATTRIB
    | libc::IN_DELETE_SELF
    | libc::IN_MOVE_SELF
    | libc::IN_IGNORED
    | libc::IN_UNMOUNT
    | libc::IN_Q_OVERFLOW;

/// What differs on this source: the case, the row of docs/differences.md, and what is shown instead.
pub(crate) const DIFFERENT: &[(&str, &str, &str)] = &[
    ("unlink of the last link of an open file", "DIFF-71", "2:ATTRIB 2:DELETE_SELF 2:IGNORED 1:DELETE(f)"),
    ("unlink of the last link, held by O_PATH", "DIFF-71", "2:ATTRIB 2:DELETE_SELF 2:IGNORED 1:DELETE(f)"),
    (
        "unlink of the last link, held by a mapping",
        "DIFF-71",
        "1:MODIFY(f) 2:MODIFY 2:ATTRIB 2:DELETE_SELF 2:IGNORED 1:DELETE(f)",
    ),
    (
        "EVENT-17 of a file opened by one name and unlinked by two, the other name's end is the deletion",
        "DIFF-71",
        "2:ATTRIB 1:CREATE(n) 2:ATTRIB 1:DELETE(f) 2:ATTRIB 2:DELETE_SELF 2:IGNORED 1:DELETE(n)",
    ),
    ("rmdir of an open directory", "DIFF-71", "2:DELETE_SELF 2:IGNORED 1:DELETE,ISDIR(s)"),
    ("rmdir of a working directory", "DIFF-71", "2:DELETE_SELF 2:IGNORED 1:DELETE,ISDIR(s)"),
    (
        "open O_TMPFILE is told by its inode number, its linking by the new name",
        "DIFF-71",
        "1:CREATE(n) 1:MODIFY(n) 1:DELETE(n)",
    ),
    ("close of an unlinked O_TMPFILE ends its own watch", "DIFF-71", ""),
    (
        "EXCL-1 without the flag an unlinked file goes on telling the directory",
        "DIFF-71",
        "2:ATTRIB 2:DELETE_SELF 2:IGNORED 1:DELETE(f)",
    ),
    (
        "EXCL-1 EXCL-2 write of an unlinked file is silent, ftruncate and fchmod are not",
        "DIFF-71",
        "1:MODIFY(f) 2:MODIFY 2:ATTRIB 2:DELETE_SELF 2:IGNORED 1:DELETE(f)",
    ),
    ("a mapping's loads, stores and msync show nothing", "DIFF-72", "1:MODIFY(f) 2:MODIFY"),
    ("fchown without an id shows nothing", "DIFF-72", "1:ATTRIB(f) 2:ATTRIB"),
    ("EVENT-12 utimensat of both times", "DIFF-72", "1:ATTRIB(f) 2:ATTRIB 1:ATTRIB(f) 2:ATTRIB"),
    (
        "EVENT-12 ftruncate without CAP_FSETID of a set-user-ID file: one event for both",
        "DIFF-72",
        "1:ATTRIB(f) 2:ATTRIB 1:MODIFY(f) 2:MODIFY",
    ),
    (
        "EVENT-9 access through a hard link elsewhere is told to the file, not to the directory",
        "DIFF-73",
        "1:ATTRIB(f) 2:ATTRIB",
    ),
    ("EVENT-16 IGNORED-2 an unmount ends the watches of its file system", "DIFF-74", "1:CREATE(g) 1:ATTRIB,ISDIR"),
    ("IGNORED-2 a lazy unmount ends them when the file system is let go", "DIFF-74", ""),
];

/// The emulator that only looks, when it is told to.
pub(crate) fn kind(executor: PathBuf) -> Kind {
    let arguments = ["--source", "poll", "--poll-interval", "1h"].map(Into::into);
    Kind::emulated(executor, env!("CARGO_BIN_EXE_uinotify").into(), arguments.into())
}

/// Waits until all that was done is in the queues of this process's emulator.
pub(crate) fn barrier() -> Result<()> {
    let Some(address) = std::env::var_os("UINOTIFY_SOCKET") else { return Ok(()) };
    let (socket, token) = checkpoint::address(&address);
    let mut control = Control::open(&EmulatorAddress { socket: &socket, token: &token }).context("no barrier")?;
    Ok(control.barrier()?)
}

fn own_cases() -> Vec<Case> {
    [entry::cases(), file::cases(), ignored::cases()].concat()
}

pub(crate) fn trials(subjects: &Arc<Subjects>, unmet: &mut Unmet, quiet: bool) -> Vec<Trial> {
    let mut trials = vec![Trial::test("poll: differences are those of cases", differences_are_of_cases)];
    for case in own_cases() {
        let reason = case.needs.iter().find_map(|need| unmet.reason(*need));
        if let (Some(reason), false) = (&reason, quiet) {
            println!("ignored: poll: {}: {reason}", case.name);
        }
        let subjects = Arc::clone(subjects);
        let trial = Trial::test(format!("poll: {}", case.name), move || check(&subjects, &case));
        trials.push(trial.with_ignored_flag(reason.is_some()));
    }
    trials
}

/// With a look behind each operation.
pub(crate) fn looked_at(list: &List) -> List {
    let with_look = |operation: &Operation| [operation.clone(), Operation::Barrier];
    List { operations: list.operations.iter().flat_map(with_look).collect(), ..list.clone() }
}

fn check(subjects: &Subjects, case: &Case) -> Result<(), Failed> {
    let list = looked_at(&case.list);
    let (native, polled) = subjects.run_polled(&list);
    let (kernel, source) = (words(&class(&native)), words(&class(&polled)));
    let admitted = DIFFERENT.iter().find(|(name, ..)| *name == case.name);
    let expected = admitted.map_or(&*kernel, |(_, _, shown)| shown);
    let finished = native.end == End::Finished && polled.end == End::Finished;
    if source == expected && finished && (admitted.is_none() || source != kernel) {
        return Ok(());
    }
    let text = format!(
        "differs otherwise than admitted ({:?}): ({:?}, \"DIFF-\", {source:?})\n  kernel: {kernel}\n  source: {source}\n\
         --- native\n{}--- polled\n{}",
        admitted.map(|(_, id, _)| id),
        case.name,
        show::trace(&list, &native),
        show::trace(&list, &polled)
    );
    Err(text.into())
}

/// The events of a trace that two looks can tell. Equal neighbours are one: what was between them is not told.
fn class(trace: &Trace) -> Vec<Event> {
    let events = trace.events();
    let mut ends: HashMap<u32, u32> = HashMap::new();
    for event in &events {
        *ends.entry(event.cookie).or_default() |= event.mask;
    }
    let mut cookies = HashMap::new();
    let mut told: Vec<Event> = Vec::new();
    for event in events {
        let mut event = Event { mask: event.mask & (TOLD | libc::IN_ISDIR), ..event.clone() };
        if event.mask & TOLD == 0 {
            continue;
        }
        // What comes from or goes to where nothing is watched may have been made there, or be no more.
        if event.cookie != 0 && ends[&event.cookie] & ENDS != ENDS {
            let end = if event.mask & libc::IN_MOVED_TO != 0 { libc::IN_CREATE } else { libc::IN_DELETE };
            (event.mask, event.cookie) = (end | event.mask & libc::IN_ISDIR, 0);
        }
        if event.cookie != 0 {
            let next = cookies.len() as u32 + 1;
            event.cookie = *cookies.entry(event.cookie).or_insert(next);
        }
        if told.last() != Some(&event) {
            told.push(event);
        }
    }
    told
}

const ENDS: u32 = libc::IN_MOVED_FROM | libc::IN_MOVED_TO;

fn words(events: &[Event]) -> String {
    events.iter().map(show::event).collect::<Vec<_>>().join(" ")
}

/// A case that was renamed would take its difference with it.
fn differences_are_of_cases() -> Result<(), Failed> {
    let names: Vec<_> = own_cases().iter().map(|case| case.name).collect();
    match DIFFERENT.iter().find(|(name, ..)| !names.contains(name)) {
        Some((name, ..)) => Err(format!("no such case: {name}").into()),
        None => Ok(()),
    }
}

const NAMES: [&str; 12] = ["a", "b", "c", "d", "e", "d/a", "d/b", "d/s", "d/s/a", "e/a", "e/s", "l"];

fn name() -> impl Strategy<Value = &'static str> {
    select(&NAMES[..])
}

/// A tree, of which some is watched, and 10 to 60 operations on its names.
fn lists(operation: impl Strategy<Value = Operation>) -> impl Strategy<Value = List> {
    proptest::collection::vec(operation, 10..60).prop_map(|drawn| {
        let mut operations = vec![group(0), group(1), mkdir("d"), mkdir("d/s"), mkdir("e"), mkdir("u")];
        operations.extend(["a", "b", "d/a", "d/s/a", "u/a"].into_iter().flat_map(touch));
        operations.extend([symlink("a", "l"), Operation::Mkfifo("f".into())]);
        operations.extend([".", "d", "e", "a", "d/s"].map(|path| watch(0, path, libc::IN_ALL_EVENTS)));
        operations.extend(["d", "d/a"].map(|path| watch(1, path, libc::IN_ALL_EVENTS)));
        operations.extend(drawn);
        // Behind each: what was done, a look, and all there is to read.
        let looked_at = |operation| [operation, Operation::Barrier, read_all(0), read_all(1)];
        List::new(operations.into_iter().flat_map(looked_at).collect())
    })
}

/// What is done to names, and to the watches of what has them.
fn on_names() -> BoxedStrategy<Operation> {
    let flags = prop_oneof![4 => Just(0), 1 => Just(libc::RENAME_NOREPLACE), 2 => Just(libc::RENAME_EXCHANGE)];
    // What comes and goes is asked for as one: it may be told as the other.
    let events = proptest::bits::u32::masked(TOLD & libc::IN_ALL_EVENTS).prop_map(|mask| {
        let both = |bits: u32| if mask & bits != 0 { bits } else { 0 };
        mask | both(libc::IN_CREATE | libc::IN_MOVED_TO) | both(libc::IN_DELETE | libc::IN_MOVED_FROM)
    });
    let masks = prop_oneof![
        4 => Just(libc::IN_ALL_EVENTS),
        2 => events.clone().prop_map(|mask| mask | libc::IN_MODIFY),
        1 => events.prop_map(|mask| mask | libc::IN_MODIFY | libc::IN_ONESHOT),
    ];
    let removed = (0..12_usize).prop_map(|nth| Operation::RemoveWatch { descriptor: slot(0), watch: Watch::Nth(nth) });
    let from_outside = (name(), any::<bool>()).prop_map(|(name, inward)| {
        let (from, to) = if inward { ("u/a", name) } else { (name, "u/a") };
        rename_with(from, to, 0)
    });
    // A FIFO without its other end would block.
    let made = name().prop_map(|name| {
        let opened = open(5, name, libc::O_WRONLY | libc::O_CREAT | libc::O_NONBLOCK);
        Operation::Repeat { count: 1, operations: vec![opened, close(5)] }
    });
    prop_oneof![
        3 => name().prop_map(mkdir),
        2 => name().prop_map(rmdir),
        1 => (name(), name()).prop_map(|(target, path)| symlink(target, path)),
        1 => name().prop_map(|name| Operation::Mkfifo(name.into())),
        4 => name().prop_map(unlink),
        10 => (name(), name(), flags).prop_map(|(from, to, flags)| rename_with(from, to, flags)),
        2 => from_outside,
        4 => made,
        4 => (0..2_u8, name(), masks).prop_map(|(group, path, mask)| watch(group, path, mask)),
        1 => removed,
    ]
    .boxed()
}

/// As well what is done to objects. No two sizes or times are likely to be the same.
fn on_all() -> BoxedStrategy<Operation> {
    let time = || prop_oneof![Just(Time::Now), (0..1_000_000_000_i64).prop_map(Time::Seconds)];
    let written = (name(), 1..100_usize).prop_map(|(name, size)| {
        let opened = open(5, name, libc::O_WRONLY | libc::O_APPEND | libc::O_NONBLOCK);
        Operation::Repeat { count: 1, operations: vec![opened, write(5, size), close(5)] }
    });
    prop_oneof![
        8 => on_names(),
        2 => (name(), select(vec![0o600, 0o644, 0o755])).prop_map(|(path, mode)| chmod(path, mode)),
        2 => (name(), 0..1_000_000_000_i64).prop_map(|(path, size)| Operation::Truncate { path: path.into(), size }),
        1 => (name(), time(), time()).prop_map(|(path, access, modified)| utimens(path, access, modified)),
        1 => (name(), 0..1_000_000_000_i64)
            .prop_map(|(path, modified)| utimens(path, Time::Omit, Time::Seconds(modified))),
        3 => written,
    ]
    .boxed()
}

/// As well links. What is done to an object with several is told under all of them.
fn on_links() -> BoxedStrategy<Operation> {
    // What is told of other names would end a watch as well.
    let on_names = on_names().prop_map(|operation| match operation {
        Operation::AddWatch { descriptor, path, mask } => {
            Operation::AddWatch { descriptor, path, mask: mask & !libc::IN_ONESHOT }
        }
        operation => operation,
    });
    prop_oneof![
        4 => on_names,
        1 => (name(), name()).prop_map(|(from, to)| link(from, to)),
        1 => name().prop_map(|to| link("u/a", to)),
    ]
    .boxed()
}

/// What is told between two looks, and how the two ends of renames belong together; in what order does not count.
fn ensure_equal(list: &List, native: &Trace, polled: &Trace, have_links: bool) -> Result<(), String> {
    let mut reads = list.operations.iter().zip(native.outcomes.iter().zip(&polled.outcomes)).enumerate();
    let differing = reads.find_map(|(index, (operation, (theirs, ours)))| {
        let (Outcome::Read { events: theirs, .. }, Outcome::Read { events: ours, .. }) = (theirs, ours) else {
            let is_checked = !matches!(operation, Operation::Open { .. } | Operation::Read { .. });
            return (is_checked && theirs != ours).then(|| (index, show::outcome(theirs), show::outcome(ours)));
        };
        let (theirs, ours) = (between_looks(theirs, have_links), between_looks(ours, have_links));
        (theirs != ours).then(|| (index, format!("{theirs:?}"), format!("{ours:?}")))
    });
    let finished = native.end == End::Finished && polled.end == End::Finished;
    match differing {
        None if finished && native.outcomes.len() == polled.outcomes.len() => Ok(()),
        None => Err(format!("did not finish: {:?}, {:?}", native.end, polled.end)),
        Some((index, theirs, ours)) => {
            let before = list.operations[..index]
                .iter()
                .rev()
                .find(|operation| !matches!(operation, Operation::Read { .. } | Operation::Barrier));
            let text = serde_json::to_string(list).unwrap_or_default();
            Err(format!("behind {before:?}:\n  kernel: {theirs}\n  source: {ours}\n--- for UINOTIFY_REPLAY\n{text}"))
        }
    }
}

/// `have_links`: an object may have another name, where nothing is watched, that is moved.
fn between_looks(events: &[Event], have_links: bool) -> BTreeSet<String> {
    let partner = |event: &Event| {
        let other = events.iter().find(|other| other.cookie == event.cookie && other.mask != event.mask);
        other.map(|other| format!("{}:{}", other.wd, other.name))
    };
    let mut told: BTreeSet<(i32, u32, String, String)> = BTreeSet::new();
    for event in events {
        let mut mask = event.mask & (TOLD | libc::IN_ISDIR);
        let mut other = None;
        if event.cookie != 0 {
            other = partner(event);
            if other.is_none() {
                let end = if mask & libc::IN_MOVED_TO != 0 { libc::IN_CREATE } else { libc::IN_DELETE };
                mask = end | mask & libc::IN_ISDIR;
            }
        }
        if have_links && (mask == libc::IN_MOVE_SELF || mask == libc::IN_ATTRIB) {
            continue;
        }
        if mask & TOLD != 0 {
            told.insert((event.wd, mask, event.name.clone(), other.unwrap_or_default()));
        }
    }
    // What has come to a name from where nothing is watched has replaced what stood there, or was exchanged for it, or was made behind that.
    let made: Vec<(i32, String)> = told
        .iter()
        .filter(|(_, mask, ..)| mask & libc::IN_CREATE != 0)
        .map(|(wd, _, name, _)| (*wd, name.clone()))
        .collect();
    let hidden = libc::IN_DELETE | libc::IN_MODIFY;
    told.retain(|(wd, mask, name, _)| mask & hidden == 0 || !made.contains(&(*wd, name.clone())));
    // What a directory loses its link to can be seen from above only.
    let ended: BTreeSet<i32> =
        told.iter().filter(|(_, mask, ..)| mask & libc::IN_DELETE_SELF != 0).map(|(wd, ..)| *wd).collect();
    told.retain(|(wd, mask, ..)| *mask != libc::IN_ATTRIB | libc::IN_ISDIR || !ended.contains(wd));
    told.into_iter().map(|(wd, mask, name, other)| format!("{wd}:{}({name}){other}", show::mask(mask))).collect()
}

pub(crate) fn random(subjects: &Subjects, cases: u32, seed: u64) -> Result<(), Failed> {
    let run = |list: &List, have_links| {
        let (native, polled) = subjects.run_polled(list);
        ensure_equal(list, &native, &polled, have_links)
    };
    each(&|list| run(list, false), || lists(on_all()), cases / 4, seed)?;
    each(&|list| run(list, true), || lists(on_links()), cases / 4, seed)
}
