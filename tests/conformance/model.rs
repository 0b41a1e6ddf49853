//! The kernel beside the model: hooks made up in memory, and the core's rules for them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use libtest_mimic::{Failed, Trial};
use uinotify_harness::case::Case;
use uinotify_harness::compare::compare;
use uinotify_harness::model;
use uinotify_harness::operation::{List, Operation};
use uinotify_harness::trace::{End, Outcome, Trace};

use crate::{Subjects, Unmet, cases};

/// Lists that the model cannot do, with the reason that it gives.
const REFUSED: &[(&str, &str)] = &[
    ("ADD-3 an open descriptor that is not inotify's is EINVAL", "a set of epoll"),
    ("FD-11 a close by another thread leaves the reader blocked, and it gets the next events", "threads that wait"),
    (
        "FD-12 lseek gives 0 for any offset, and EINVAL for another whence",
        "calls that nobody means for an inotify descriptor",
    ),
    ("FD-13 fstat shows mode 0600 without type bits", "calls that nobody means for an inotify descriptor"),
    (
        "FD-14 the link of the descriptor reads anon_inode:inotify, and cannot be opened",
        "calls that nobody means for an inotify descriptor",
    ),
    (
        "FD-15 MASK-4 fdinfo has one line a watch, newest first, with the mask that is stored",
        "calls that nobody means for an inotify descriptor",
    ),
    ("FD-19 mmap of the descriptor is ENODEV", "calls that nobody means for an inotify descriptor"),
    ("FD-2 IN_CLOEXEC sets FD_CLOEXEC and its absence leaves it clear", "the flags of descriptors"),
    ("FD-20 fsync of the descriptor is EINVAL", "calls that nobody means for an inotify descriptor"),
    ("FD-23 splice from the descriptor is EINVAL", "calls that nobody means for an inotify descriptor"),
    ("FD-24 flock of the descriptor is 0", "calls that nobody means for an inotify descriptor"),
    ("FD-25 getsockopt of the descriptor is ENOTSOCK", "calls that nobody means for an inotify descriptor"),
    ("FD-25 recv from the descriptor is ENOTSOCK", "calls that nobody means for an inotify descriptor"),
    ("FD-3 F_GETFL shows O_RDONLY and O_NONBLOCK if asked for", "the flags of descriptors"),
    ("FD-4 F_SETFL changes O_NONBLOCK for all duplicates", "the flags of descriptors"),
    ("FD-6 a descriptor that came through a socket is the same instance", "the flags of descriptors"),
    ("IOCTL-2 FIONREAD to a bad address is EFAULT", "other ioctls"),
    ("IOCTL-6 an unknown command is ENOTTY", "other ioctls"),
    ("IOCTL-7 FIONBIO, FIOCLEX and FIONCLEX work as on every descriptor", "other ioctls"),
    ("POLL-3 an event wakes each kind of wait", "threads that wait"),
    ("POLL-3 epoll by level and by edge", "a set of epoll"),
    ("POLL-3 epoll by level, one shot", "a set of epoll"),
    ("POLL-4 a member of an older epoll set counts what happened before", "a set of epoll"),
    ("READ-4 a blocking read of what is there does not wait", "threads that wait"),
    ("READ-4 a blocking read waits for the next event", "threads that wait"),
    ("READ-4 a signal interrupts a blocking read with EINTR", "threads that wait"),
    ("READ-4 under SA_RESTART a blocking read goes on", "threads that wait"),
    ("READ-9 readv on a blocking descriptor waits for the second segment's event", "threads that wait"),
    ("a closed descriptor is EBADF to every call", "the flags of descriptors"),
];

/// How often, and how long each time, the kernel is waited for to have an instance free.
const TURNS_MAX: u32 = 100;
const TURN: Duration = Duration::from_millis(100);

/// What the kernel and the model show. A list that the model refuses is broken there.
pub(crate) fn run(subjects: &Subjects, list: &List) -> (Trace, Trace) {
    let refusal = |reason| Trace { outcomes: Vec::new(), end: End::Broken(format!("not modelled: {reason}")) };
    let modelled = model::run(list).unwrap_or_else(refusal);
    let mut native = subjects.native.run(list);
    for _ in 0..TURNS_MAX {
        if !lacks_instances(list, &native, &modelled) {
            break;
        }
        std::thread::sleep(TURN);
        native = subjects.native.run(list);
    }
    (model::without_directory_sizes(list, native), model::without_directory_sizes(list, modelled))
}

/// Whether the machine's instances, which are the user's and not the list's, were all in use: the model has its own.
fn lacks_instances(list: &List, native: &Trace, modelled: &Trace) -> bool {
    let refused = Outcome::error(libc::EMFILE);
    let mut outcomes = list.operations.iter().zip(native.outcomes.iter().zip(&modelled.outcomes));
    outcomes.any(|(operation, (native, modelled))| {
        matches!(operation, Operation::Init { .. }) && *native == refused && *modelled != refused
    })
}

pub(crate) fn trials(subjects: &Arc<Subjects>, unmet: &mut Unmet) -> Vec<Trial> {
    let refused: BTreeMap<_, _> = REFUSED.iter().copied().collect();
    let mut trials = vec![Trial::test("model: what it refuses is listed, with the reason", refusals_are_listed)];
    for case in cases().into_iter().filter(|case| !refused.contains_key(case.name)) {
        let met = case.needs.iter().all(|need| unmet.reason(*need).is_none());
        let subjects = Arc::clone(subjects);
        let name = format!("model: {}", case.name);
        trials.push(Trial::test(name, move || equal(&subjects, &case)).with_ignored_flag(!met));
    }
    trials
}

/// Differences that are asserted are those of a source.
fn equal(subjects: &Subjects, case: &Case) -> Result<(), Failed> {
    let (native, modelled) = run(subjects, &case.list);
    Ok(compare(&case.list, &native, &modelled, &[])?)
}

fn refusals_are_listed() -> Result<(), Failed> {
    let cases = cases();
    let refused: BTreeMap<_, _> =
        cases.iter().filter_map(|case| Some((case.name, model::run(&case.list).err()?))).collect();
    let listed: BTreeMap<_, _> = REFUSED.iter().copied().collect();
    if refused == listed {
        return Ok(());
    }
    let mut difference = String::new();
    for (name, reason) in &refused {
        if listed.get(name) != Some(reason) {
            difference += &format!("\n    ({name:?}, {reason:?}),");
        }
    }
    for name in listed.keys().filter(|name| !refused.contains_key(*name)) {
        difference += &format!("\nnot refused: {name}");
    }
    Err(difference.into())
}
