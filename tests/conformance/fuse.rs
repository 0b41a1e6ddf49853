//! The kernel beside the emulator whose events come from a file system of its own, and from nothing else.

use std::path::PathBuf;
use std::sync::Arc;

use libtest_mimic::{Failed, Trial};
use uinotify_harness::case::Case;
use uinotify_harness::needs::Need;
use uinotify_harness::operation::{Buffer, List, Operation, Path};
use uinotify_harness::show;
use uinotify_harness::subject::Kind;
use uinotify_harness::trace::{End, Outcome, Trace};

use crate::{Subjects, Unmet, cases};

/// What differs on this source: the case, the row of docs/differences.md, and what is shown instead by which operation.
pub(crate) type Different = (&'static str, &'static str, &'static [(usize, &'static str)]);

pub(crate) const DIFFERENT: &[Different] = &[
    ("FD-9 RLIMIT_NOFILE reached is EMFILE", "DIFF-2", &[(1, "EMFILE"), (3, "EBADF"), (4, "EMFILE")]),
    ("ADD-14 with IN_DONT_FOLLOW the link of procfs itself is watched", "DIFF-30", &[(5, "ENOSPC")]),
    (
        "EVENT-16 IGNORED-2 an unmount ends the watches of its file system",
        "DIFF-30",
        &[
            (5, "ENOSPC"),
            (8, "ENOSPC"),
            (13, "112 1:CREATE(g) len 16 1:OPEN(g) len 16 1:CLOSE_WRITE(g) len 16 1:ATTRIB,ISDIR len 0"),
        ],
    ),
    ("IGNORED-2 a lazy unmount ends them when the file system is let go", "DIFF-30", &[(7, "ENOSPC"), (10, "EAGAIN")]),
    (
        "EVENT-8 FIFO: writing is told to its own watch only, opening, closing and its times to both",
        "DIFF-31",
        &[(10, "96 1:ATTRIB(p) len 16 2:ATTRIB len 0 1:ACCESS(p) len 16 2:ACCESS len 0")],
    ),
    (
        "EVENT-18 readv of nothing and at the end is an access, unlike read",
        "DIFF-32",
        &[
            (8, "4 inner 0 EAGAIN 0 (2 times)"),
            (9, "4 inner 0 EAGAIN 0 (2 times)"),
            (10, "4 inner 0 EAGAIN 0 (2 times)"),
        ],
    ),
    (
        "IOCTL-3 IOCTL-5 SETNEXTWD elsewhere is ENOTTY, on O_PATH or nothing EBADF",
        "DIFF-33",
        &[(23, "EFAULT"), (26, "EFAULT")],
    ),
];

/// The emulator with `folder` shown through its file system.
pub(crate) fn kind(executor: PathBuf, folder: &std::path::Path, further: &[&str]) -> Kind {
    let arguments = ["--source".into(), "fuse".into(), "--tree".into(), folder.into()];
    let arguments = arguments.into_iter().chain(further.iter().map(Into::into)).collect();
    Kind::emulated(executor, env!("CARGO_BIN_EXE_uinotify").into(), arguments).folder(folder.into())
}

pub(crate) fn trials(subjects: &Arc<Subjects>, unmet: &mut Unmet, quiet: bool) -> Vec<Trial> {
    let mut trials = vec![Trial::test("fuse: differences are those of cases", differences_are_of_cases)];
    for case in cases() {
        let reason = std::iter::once(&Need::Fuse).chain(&case.needs).find_map(|need| unmet.reason(*need));
        if let (Some(reason), false) = (&reason, quiet) {
            println!("ignored: fuse: {}: {reason}", case.name);
        }
        let subjects = Arc::clone(subjects);
        let trial = Trial::test(format!("fuse: {}", case.name), move || check(&subjects, &case));
        trials.push(trial.with_ignored_flag(reason.is_some()));
    }
    trials
}

/// A case that was renamed would take its difference with it.
fn differences_are_of_cases() -> Result<(), Failed> {
    are_of_cases(DIFFERENT)
}

pub(crate) fn are_of_cases(table: &[Different]) -> Result<(), Failed> {
    let names: Vec<_> = cases().iter().map(|case| case.name).collect();
    match table.iter().find(|(name, ..)| !names.contains(name)) {
        Some((name, ..)) => Err(format!("no such case: {name}").into()),
        None => Ok(()),
    }
}

fn check(subjects: &Subjects, case: &Case) -> Result<(), Failed> {
    let (native, sandboxed) = subjects.run_in_sandbox(&case.list);
    check_different(case, &native, &sandboxed, &[DIFFERENT])
}

/// What differs is what the first of these tables that has the case says.
pub(crate) fn check_different(
    case: &Case,
    native: &Trace,
    sandboxed: &Trace,
    tables: &[&[Different]],
) -> Result<(), Failed> {
    let (id, expected) = tables
        .iter()
        .find_map(|table| table.iter().find(|(name, ..)| *name == case.name))
        .map_or(("", &[][..]), |(_, id, expected)| (id, expected));
    let found = differences(native, sandboxed);
    let expected: Vec<_> = expected.iter().map(|(index, shown)| (*index, (*shown).to_owned())).collect();
    let finished = native.end == End::Finished && sandboxed.end == End::Finished;
    if found == expected && finished {
        return Ok(());
    }
    let mut text = format!("differs otherwise than admitted ({id:?}): ({:?}, \"DIFF-\", &[", case.name);
    for (index, shown) in &found {
        text += &format!("({index}, {shown:?}), ");
    }
    text += &format!(
        "])\n--- native\n{}--- in the sandbox\n{}",
        show::trace(&case.list, native),
        show::trace(&case.list, sandboxed)
    );
    Err(text.into())
}

/// The operations whose outcomes are not the same, with what the sandbox shows.
fn differences(native: &Trace, sandboxed: &Trace) -> Vec<(usize, String)> {
    let mut differences = Vec::new();
    for index in 0..native.outcomes.len().max(sandboxed.outcomes.len()) {
        let (theirs, ours) = (native.outcomes.get(index), sandboxed.outcomes.get(index));
        if theirs != ours {
            differences.push((index, ours.map_or_else(String::new, shown)));
        }
    }
    differences
}

/// On one line.
fn shown(outcome: &Outcome) -> String {
    show::outcome(outcome).split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A list without what a file system is not told of (DIFF-30 to DIFF-36, and what a direct read does to memory): the same operation in a form that it sees.
pub(crate) fn visible(list: List) -> List {
    List { operations: list.operations.into_iter().map(seen).collect(), ..list }
}

fn seen(operation: Operation) -> Operation {
    let all = |operations: Vec<Operation>| operations.into_iter().map(seen).collect();
    match operation {
        Operation::Read { descriptor, buffer: Buffer::Vector(segments) } => {
            Operation::Read { descriptor, buffer: Buffer::Plain(segments.iter().sum()) }
        }
        Operation::Read { descriptor, buffer: Buffer::Guarded { size, .. } } => {
            Operation::Read { descriptor, buffer: Buffer::Plain(size) }
        }
        Operation::AddWatch { descriptor, path: Path::Link(slot), mask } => {
            Operation::AddWatch { descriptor, path: Path::Link(slot), mask: mask & !libc::IN_DONT_FOLLOW }
        }
        Operation::Open { slot, path, flags, mode } => {
            let path = if matches!(path, Path::Link(_)) { "d/a".into() } else { path };
            Operation::Open { slot, path, flags: flags & !libc::O_PATH, mode }
        }
        Operation::Sendfile { from, to, size } => Operation::CopyFileRange { from, to, size },
        Operation::Chmod { path: Path::Link(_), mode } => Operation::Chmod { path: "d/a".into(), mode },
        Operation::Truncate { path: Path::Link(_), size } => Operation::Truncate { path: "d/a".into(), size },
        Operation::Utimens { path: Path::Link(_), access, modification } => {
            Operation::Utimens { path: "d/a".into(), access, modification }
        }
        Operation::Mkfifo(path) => Operation::Install(path),
        Operation::Child(operations) => Operation::Child(all(operations)),
        Operation::Repeat { count, operations } => Operation::Repeat { count, operations: all(operations) },
        operation => operation,
    }
}
