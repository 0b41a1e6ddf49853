//! The kernel beside the emulator that shows programs the one of RHEL 7: what differs is what the rules of PROFILE say, and nothing else.

use std::collections::BTreeSet;
use std::sync::Arc;

use libtest_mimic::{Failed, Trial};
use uinotify_harness::needs::Need;

use crate::fuse::{DIFFERENT, Different, are_of_cases, check_different};
use crate::rules::RULES;
use crate::{Subjects, Unmet, cases};

/// What differs beside that source's own differences: the case, the rule, and what is shown instead by which operation.
const OLD: &[Different] = &[
    ("LIMIT-4 at the watch limit an update works", "PROFILE-1", &[(16, "EINVAL")]),
    (
        "MASK-2 each of the 22 alone is taken",
        "PROFILE-1",
        &[
            (37, "EINVAL"),
            (38, "EINVAL"),
            (39, "19"),
            (40, "EINVAL"),
            (41, "19"),
            (42, "EINVAL"),
            (43, "19"),
            (44, "EINVAL"),
        ],
    ),
    (
        "WATCH-4 IN_MASK_CREATE on a watched object is EEXIST and changes nothing",
        "PROFILE-1",
        &[(3, "EINVAL"), (4, "EINVAL"), (5, "EINVAL"), (8, "EAGAIN")],
    ),
    ("WD-8 updates, refusals and the end of a watch leave the cursor alone", "PROFILE-1", &[(29, "EINVAL")]),
    (
        "IGNORED-3 from then on the wd is unknown, and adding makes a new one",
        "PROFILE-1",
        &[(6, "EINVAL"), (10, "EINVAL")],
    ),
    (
        "READ-1 events of different sizes are never cut",
        "PROFILE-2",
        &[
            (9, "48 2:ATTRIB len 0 1:MODIFY(f) len 16"),
            (10, "16 2:MODIFY len 0"),
            (11, "32 1:OPEN(f) len 16"),
            (12, "16 2:OPEN len 0"),
        ],
    ),
    (
        "open O_TRUNC of an existing file",
        "PROFILE-2",
        &[(6, "96 1:MODIFY(f) len 16 2:MODIFY len 0 1:OPEN(f) len 16 2:OPEN len 0")],
    ),
    ("splice into a pipe", "PROFILE-3", &[(7, "EAGAIN")]),
    ("fallocate in three modes", "PROFILE-3", &[(7, "EAGAIN"), (9, "EAGAIN"), (11, "EAGAIN")]),
    (
        "fallocate without CAP_FSETID of a set-user-ID file: ATTRIB, then MODIFY",
        "PROFILE-3",
        &[(6, "48 1:ATTRIB(f) len 16 2:ATTRIB len 0")],
    ),
    ("MERGE-4 an open and an exec of one file are two IN_OPEN", "PROFILE-5", &[(6, "0/16")]),
    (
        "rename of a directory over an empty one",
        "PROFILE-6",
        &[(
            17,
            "128 1:MOVED_FROM,ISDIR(s)#1 len 16 2:MOVED_TO,ISDIR(t)#1 len 16 6:ATTRIB len 0 5:MOVE_SELF len 0 6:DELETE_SELF len 0 6:IGNORED len 0",
        )],
    ),
    (
        "FD-15 MASK-4 fdinfo has one line a watch, newest first, with the mask that is stored",
        "PROFILE-7",
        &[(7, "[\"inotify wd:2 mask:20 ignored_mask:0\", \"inotify wd:1 mask:fff ignored_mask:0\"]")],
    ),
    ("WD-7 WD-13 a refusal at 2147483647 wraps the cursor", "PROFILE-8", &[(12, "ENOTTY"), (15, "3")]),
    (
        "WD-2 WD-9 the lowest free number from the cursor up",
        "PROFILE-8",
        &[
            (21, "ENOTTY"),
            (22, "1"),
            (23, "2"),
            (24, "ENOTTY"),
            (25, "3"),
            (26, "4"),
            (27, "ENOTTY"),
            (28, "5"),
            (29, "6"),
            (30, "7"),
        ],
    ),
    (
        "WD-3 nothing free from the cursor up: the lowest free from 1",
        "PROFILE-8",
        &[(21, "ENOTTY"), (22, "1"), (23, "ENOTTY"), (24, "2"), (25, "3"), (27, "ENOTTY"), (28, "4"), (29, "5")],
    ),
    (
        "WD-5 WD-13 SETNEXTWD to 2147483647, then the search starts at 1",
        "PROFILE-8",
        &[(21, "ENOTTY"), (22, "1"), (23, "2"), (24, "3")],
    ),
    (
        "WD-5 around the end with some numbers in use",
        "PROFILE-8",
        &[(23, "ENOTTY"), (24, "3"), (25, "4"), (26, "5"), (28, "6"), (29, "ENOTTY"), (30, "7")],
    ),
    (
        "WD-10 SETNEXTWD with any other argument is EINVAL and changes nothing",
        "PROFILE-8",
        &[
            (21, "ENOTTY"),
            (22, "ENOTTY"),
            (23, "ENOTTY"),
            (24, "ENOTTY"),
            (25, "ENOTTY"),
            (26, "ENOTTY"),
            (27, "ENOTTY"),
            (28, "ENOTTY"),
            (29, "ENOTTY"),
            (30, "ENOTTY"),
            (31, "1"),
        ],
    ),
    (
        "WD-9 SETNEXTWD with an argument from 1 to 2147483647 is 0",
        "PROFILE-8",
        &[(1, "ENOTTY"), (2, "ENOTTY"), (3, "ENOTTY"), (4, "ENOTTY"), (5, "ENOTTY"), (6, "ENOTTY")],
    ),
    (
        "WD-11 SETNEXTWD to a number in use: the lowest free above it",
        "PROFILE-8",
        &[(26, "ENOTTY"), (27, "5"), (28, "6")],
    ),
    (
        "WD-13 SETNEXTWD to 2147483647 in use: the lowest free one at once",
        "PROFILE-8",
        &[(21, "ENOTTY"), (22, "1"), (23, "2"), (24, "ENOTTY"), (25, "3"), (26, "4")],
    ),
    (
        "WD-12 SETNEXTWD below the cursor: holes are given again",
        "PROFILE-8",
        &[(28, "ENOTTY"), (29, "6"), (30, "7"), (31, "8")],
    ),
    (
        "WD-14 a number given again while its former watch's events are queued",
        "PROFILE-8",
        &[(24, "ENOTTY"), (25, "2"), (28, "48 1:ATTRIB len 0 1:IGNORED len 0 2:ATTRIB len 0")],
    ),
    ("IOCTL-4 only the low 32 bits of the command count", "PROFILE-8", &[(21, "ENOTTY"), (22, "1")]),
    (
        "the cursor of one instance is not that of another",
        "PROFILE-8",
        &[(22, "ENOTTY"), (23, "1"), (25, "ENOTTY"), (26, "2"), (27, "2")],
    ),
];

/// Besides those of PROFILE-2 to PROFILE-6: what the source `inotify` shows as 3.10 does (DIFF-90).
const UNMOUNT: &str = "EVENT-16 IGNORED-2 an unmount ends the watches of its file system";

/// The rules that the source `inotify` shows like the other; PROFILE-5 for want of the mark (DIFF-1).
const SHOWN_ALIKE: [&str; 4] = ["PROFILE-1", "PROFILE-5", "PROFILE-7", "PROFILE-8"];

pub(crate) fn trials(subjects: &Arc<Subjects>, unmet: &mut Unmet, quiet: bool) -> Vec<Trial> {
    let mut trials = vec![
        Trial::test("el7: differences are those of cases", || are_of_cases(OLD)),
        Trial::test("el7: differences are those of rules", differences_are_of_rules),
    ];
    for case in cases() {
        let reason = std::iter::once(&Need::Fuse).chain(&case.needs).find_map(|need| unmet.reason(*need));
        if let (Some(reason), false) = (&reason, quiet) {
            println!("ignored: el7: {}: {reason}", case.name);
        }
        let subjects = Arc::clone(subjects);
        let trial = Trial::test(format!("el7: {}", case.name), move || {
            let (native, old) = subjects.run_beside_old(&case.list);
            check_different(&case, &native, &old, &[OLD, DIFFERENT])
        });
        trials.push(trial.with_ignored_flag(reason.is_some()));
    }
    for case in cases().into_iter().filter(|case| of_inotify(case.name).is_some()) {
        let reason = case.needs.iter().find_map(|need| unmet.reason(*need));
        let subjects = Arc::clone(subjects);
        let trial = Trial::test(format!("el7, source inotify: {}", case.name), move || {
            let (native, old) = subjects.run_beside_old_kernel(&case.list);
            check_different(&case, &native, &old, &[of_inotify(case.name).as_slice()])
        });
        trials.push(trial.with_ignored_flag(reason.is_some()));
    }
    trials
}

/// Each difference has its rule, and each rule that is to be shown here its difference.
fn differences_are_of_rules() -> Result<(), Failed> {
    let named: BTreeSet<&str> = OLD.iter().map(|(_, id, _)| *id).collect();
    let ruled: BTreeSet<&str> = RULES
        .lines()
        .filter(|row| row.ends_with("el7 |"))
        .filter_map(|row| row.split('|').nth(1).map(str::trim))
        .filter(|id| id.starts_with("PROFILE-"))
        .collect();
    if named == ruled { Ok(()) } else { Err(format!("differences of {named:?}, rules {ruled:?}").into()) }
}

/// What differs on the source `inotify`, for the cases that are run on it.
fn of_inotify(name: &str) -> Option<Different> {
    if name == UNMOUNT {
        return Some((UNMOUNT, "PROFILE-6", UNMOUNTED));
    }
    let (name, id, shown) = OLD.iter().find(|(known, ..)| *known == name)?;
    Some((name, id, if SHOWN_ALIKE.contains(id) { shown } else { &[] }))
}

const UNMOUNTED: &[(usize, &str)] = &[(
    13,
    "272 2:CREATE(f) len 16 2:OPEN(f) len 16 2:CLOSE_WRITE(f) len 16 3:UNMOUNT len 0 3:IGNORED len 0 2:UNMOUNT len 0 \
     2:IGNORED len 0 1:CREATE(g) len 16 1:OPEN(g) len 16 1:CLOSE_WRITE(g) len 16 1:ATTRIB,ISDIR len 0",
)];
