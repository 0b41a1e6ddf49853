//! The kernel beside the emulator whose events come from marks of fanotify.
//!
//! As they stand, lists are compared in the class of that source. Settled after each operation they are compared literally.

use std::path::PathBuf;
use std::sync::Arc;

use libtest_mimic::{Failed, Trial};
use uinotify_harness::case::Case;
use uinotify_harness::class;
use uinotify_harness::compare::compare;
use uinotify_harness::needs::Need;
use uinotify_harness::operation::{List, Operation, Path};
use uinotify_harness::subject::Kind;
use uinotify_harness::trace::Trace;

use crate::{Subjects, Unmet, cases};

/// What differs on this source: the case, and the row of docs/differences.md.
type Different = (&'static str, &'static str);

/// How a case is compared.
type Check = fn(&Subjects, &Case) -> Result<(), Failed>;

/// Though settled after each operation.
const DIFFERENT: &[Different] = &[
    ("FD-9 RLIMIT_NOFILE reached is EMFILE", "DIFF-2"),
    ("exec of a binary", "DIFF-50"),
    ("EVENT-5 a watch for IN_ATTRIB alone gets a truncation that clears set-user-ID as one event", "DIFF-54"),
    ("EVENT-12 ftruncate without CAP_FSETID of a set-user-ID file: one event for both", "DIFF-54"),
    ("write without CAP_FSETID to a set-user-ID file: ATTRIB, then MODIFY", "DIFF-54"),
    ("fallocate without CAP_FSETID of a set-user-ID file: ATTRIB, then MODIFY", "DIFF-54"),
    ("EVENT-8 FIFO: writing is told to its own watch only, opening, closing and its times to both", "DIFF-55"),
    ("EXCL-1 EXCL-2 write of an unlinked file is silent, ftruncate and fchmod are not", "DIFF-56"),
];

/// Not even the same in class, unless the emulator happens to be quicker than whoever acts.
const DIFFERENT_IN_CLASS: &[Different] = &[
    ("FD-9 RLIMIT_NOFILE reached is EMFILE", "DIFF-2"),
    ("OVERFLOW-1 OVERFLOW-2 OVERFLOW-4 one more queues the overflow event, once", "DIFF-50"),
    ("OVERFLOW-3 an event equal to the tail of a full queue is lost, not merged", "DIFF-50"),
    ("OVERFLOW-4 a further overflow event only after the first was read", "DIFF-50"),
    ("OVERFLOW-5 one read keeps the queue full, the second opens it", "DIFF-50"),
    ("OVERFLOW-6 everything is lost in a full queue, IN_IGNORED too", "DIFF-50"),
    ("OVERFLOW-2 OVERFLOW-6 the loop of a restore without the ioctl floods the queue with IN_IGNORED", "DIFF-50"),
    ("EVENT-5 a watch for IN_ATTRIB alone gets a truncation that clears set-user-ID as one event", "DIFF-54"),
    ("EVENT-8 FIFO: writing is told to its own watch only, opening, closing and its times to both", "DIFF-55"),
    ("EXCL-1 EXCL-2 write of an unlinked file is silent, ftruncate and fchmod are not", "DIFF-56"),
    ("EXCL-1 without the flag an unlinked file goes on telling the directory", "DIFF-56"),
    ("WATCH-2 a plain update clears IN_EXCL_UNLINK, IN_MASK_ADD sets it", "DIFF-56"),
];

/// The emulator with marks of fanotify.
pub(crate) fn kind(executor: PathBuf) -> Kind {
    Kind::emulated(executor, env!("CARGO_BIN_EXE_uinotify").into(), ["--source", "fanotify"].map(Into::into).into())
}

/// The same, which holds whoever opens or reads.
pub(crate) fn strict_kind(executor: PathBuf) -> Kind {
    let arguments = ["--source", "fanotify", "--order", "strict"].map(Into::into).into();
    Kind::emulated(executor, env!("CARGO_BIN_EXE_uinotify").into(), arguments)
}

pub(crate) fn trials(subjects: &Arc<Subjects>, unmet: &mut Unmet, quiet: bool) -> Vec<Trial> {
    let mut trials = vec![Trial::test("fanotify: differences are those of cases", differences_are_of_cases)];
    for case in cases() {
        let reason = std::iter::once(&Need::Fanotify).chain(&case.needs).find_map(|need| unmet.reason(*need));
        if let (Some(reason), false) = (&reason, quiet) {
            println!("ignored: fanotify: {}: {reason}", case.name);
        }
        for (way, check) in [("in class", check_in_class as Check), ("settled", check_settled)] {
            // A request for each of some hundred thousand operations.
            if way == "settled" && case.name.starts_with("OVERFLOW-") {
                continue;
            }
            let (subjects, case) = (Arc::clone(subjects), case.clone());
            let trial = Trial::test(format!("fanotify, {way}: {}", case.name), move || check(&subjects, &case));
            trials.push(trial.with_ignored_flag(reason.is_some()));
        }
    }
    trials
}

/// A case that was renamed would take its difference with it.
fn differences_are_of_cases() -> Result<(), Failed> {
    let names: Vec<_> = cases().iter().map(|case| case.name).collect();
    match DIFFERENT.iter().chain(DIFFERENT_IN_CLASS).find(|(name, ..)| !names.contains(name)) {
        Some((name, ..)) => Err(format!("no such case: {name}").into()),
        None => Ok(()),
    }
}

/// Ids of all rows that are asserted.
pub(crate) fn ids() -> impl Iterator<Item = &'static str> {
    DIFFERENT.iter().chain(DIFFERENT_IN_CLASS).map(|(_, id)| *id)
}

fn check_in_class(subjects: &Subjects, case: &Case) -> Result<(), Failed> {
    let list = class::without_loss(&case.list);
    let (native, marked) = subjects.run_marked(&list);
    match class::compare(&list, &native, &marked) {
        Err(error) if row(DIFFERENT_IN_CLASS, case).is_none() => Err(format!("{error:#}").into()),
        _ => Ok(()),
    }
}

fn check_settled(subjects: &Subjects, case: &Case) -> Result<(), Failed> {
    let list = class::settled(&case.list);
    let (native, marked) = subjects.run_marked(&list);
    match (compare(&list, &native, &marked, &[]), row(DIFFERENT, case)) {
        // The emulator may have come between the events of one call.
        (Ok(()), None | Some("DIFF-50" | "DIFF-54")) | (Err(_), Some(_)) => Ok(()),
        (Ok(()), Some(_)) => Err("does not differ any more".into()),
        (Err(difference), None) => Err(difference.into()),
    }
}

fn row(different: &[Different], case: &Case) -> Option<&'static str> {
    different.iter().find(|(name, _)| *name == case.name).map(|(_, id)| *id)
}

/// A random list as it can be compared in class: without what turns on the first of several events (DIFF-50), or on whether a name was there
/// (DIFF-56).
pub(crate) fn in_class(list: List) -> List {
    class::without_loss(&changed(list, &|operation| match operation {
        Operation::AddWatch { descriptor, path, mask } => {
            let mask = mask & !(libc::IN_ONESHOT | libc::IN_EXCL_UNLINK);
            Operation::AddWatch { descriptor, path, mask }
        }
        operation => operation,
    }))
}

/// A random list that is settled after each operation, without those that are several calls.
pub(crate) fn settled(list: List) -> List {
    class::settled(&changed(list, &|operation| match operation {
        Operation::Install(path) => Operation::Symlink { target: "x".into(), path },
        Operation::Execute(path) => Operation::Unlink(path),
        Operation::AddWatch { descriptor, path, mask } => {
            Operation::AddWatch { descriptor, path, mask: mask & !libc::IN_EXCL_UNLINK }
        }
        operation => operation,
    }))
}

/// A random list without repeated neighbours, without calls of which one makes two events in an order that is not told (DIFF-54).
pub(crate) fn apart(list: List) -> List {
    class::apart(&changed(list, &|operation| match operation {
        Operation::Install(path) => Operation::Symlink { target: "x".into(), path },
        Operation::Execute(path) => Operation::Unlink(path),
        Operation::AddWatch { descriptor, path, mask } => {
            Operation::AddWatch { descriptor, path, mask: mask & !libc::IN_EXCL_UNLINK }
        }
        operation => operation,
    }))
}

/// The same with IN_EXCL_UNLINK, and without what does not respect it (DIFF-56).
pub(crate) fn settled_with_names(list: List) -> List {
    class::settled(&changed(list, &|operation| match operation {
        Operation::Install(path) => Operation::Symlink { target: "x".into(), path },
        Operation::Execute(path) => Operation::Unlink(path),
        Operation::Ftruncate { descriptor, .. }
        | Operation::Fchmod { descriptor, .. }
        | Operation::Fchown { descriptor, .. } => Operation::Write { descriptor, size: 1, offset: None },
        // With a second name a file that has lost the one by which it is open would seem to have it again.
        Operation::Link { to, .. } => Operation::Symlink { target: "x".into(), path: to },
        Operation::Open { slot, path: Path::Link(_), flags, mode } => {
            Operation::Open { slot, path: "a".into(), flags, mode }
        }
        Operation::Chmod { path: Path::Link(_), mode } => Operation::Chmod { path: "a".into(), mode },
        Operation::Truncate { path: Path::Link(_), size } => Operation::Truncate { path: "a".into(), size },
        Operation::Utimens { path: Path::Link(_), access, modification } => {
            Operation::Utimens { path: "a".into(), access, modification }
        }
        operation => operation,
    }))
}

/// A list without what the records do not tell (DIFF-54, DIFF-55), and with each operation changed.
fn changed(list: List, change: &dyn Fn(Operation) -> Operation) -> List {
    List { operations: all(list.operations, change), ..list }
}

fn all(operations: Vec<Operation>, change: &dyn Fn(Operation) -> Operation) -> Vec<Operation> {
    let one = |operation| match operation {
        Operation::Mkfifo(path) => change(Operation::Install(path)),
        Operation::Chmod { path, mode } => change(Operation::Chmod { path, mode: mode & 0o777 }),
        Operation::Child(operations) => Operation::Child(all(operations, change)),
        Operation::Repeat { count, operations } => Operation::Repeat { count, operations: all(operations, change) },
        operation => change(operation),
    };
    operations.into_iter().map(one).collect()
}

/// Whether two traces of a random list are the same in class.
pub(crate) fn same_in_class(list: &List, native: &Trace, marked: &Trace) -> Result<(), String> {
    class::compare(list, native, marked).map_err(|error| format!("{error:#}"))
}
