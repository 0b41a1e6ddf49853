//! The kernel beside the emulator, for a program that makes its calls by number and is reached by a filter of system calls alone.

use std::path::PathBuf;
use std::sync::Arc;

use libtest_mimic::{Failed, Trial};
use uinotify_harness::compare::compare;
use uinotify_harness::subject::Kind;

use crate::{Subjects, Unmet, cases};

/// What is about the descriptor as a file, or needs a read that takes several events into bad or divided memory: past the shim these are a
/// socket's (DIFF-7, DIFF-11 to DIFF-14).
const OF_THE_SHIM: &[&str] = &[
    "FD-12 lseek gives 0 for any offset, and EINVAL for another whence",
    "FD-13 fstat shows mode 0600 without type bits",
    "FD-14 the link of the descriptor reads anon_inode:inotify, and cannot be opened",
    "FD-15 MASK-4 fdinfo has one line a watch, newest first, with the mask that is stored",
    "FD-21 fallocate of the descriptor is EBADF",
    "FD-22 fchmod of the descriptor is EOPNOTSUPP",
    "FD-23 splice from the descriptor is EINVAL",
    "FD-25 getsockopt of the descriptor is ENOTSOCK",
    "FD-25 recv from the descriptor is ENOTSOCK",
    "FD-3 F_GETFL shows O_RDONLY and O_NONBLOCK if asked for",
    "FD-4 F_SETFL changes O_NONBLOCK for all duplicates",
    "FD-5 a refused write changes neither readiness nor queue",
    "FD-5 write gives EBADF, and pwrite ESPIPE",
    "FD-6 a descriptor that came through a socket is the same instance",
    "IOCTL-6 an unknown command is ENOTTY",
    "IOCTL-7 FIONBIO, FIOCLEX and FIONCLEX work as on every descriptor",
    "READ-3 an empty queue is EAGAIN, for size 0 too",
    "READ-6 bad memory at the second event: EFAULT, and both are gone",
    "READ-6 bad memory within the second event's name",
    "READ-6 events without names, the third one bad",
    "READ-7 readv goes on after a segment that was filled",
    "READ-7 readv skips an empty segment behind one that was filled, but not the first",
    "READ-7 readv with a later segment that is too small, or with empty ones",
    "READ-8 readv whose first segment is too small is EINVAL and keeps the event",
    "READ-9 readv on a blocking descriptor waits for the second segment's event",
];

/// Here it needs no descriptor for a moment: the kernel itself puts the instance's into the program.
const NOT_HERE: &str = "DIFF-2";

pub(super) fn kind(executor: PathBuf) -> Kind {
    let arguments = ["--interpose", "seccomp"].map(Into::into).to_vec();
    Kind::emulated(executor, env!("CARGO_BIN_EXE_uinotify").into(), arguments).by_number()
}

pub(super) fn trials(subjects: &Arc<Subjects>, unmet: &mut Unmet, is_list: bool) -> Vec<Trial> {
    let mut trials = Vec::new();
    for case in cases() {
        let differs = OF_THE_SHIM.contains(&case.name);
        let name = format!("{}, by number{}", case.name, if differs { ", is a socket's" } else { "" });
        let reason = case.needs.iter().find_map(|need| unmet.reason(*need));
        if let (Some(reason), false) = (&reason, is_list) {
            println!("ignored: {name}: {reason}");
        }
        let subjects = Arc::clone(subjects);
        let check = move || -> Result<(), Failed> {
            let (native, emulated) = subjects.run_by_number(&case.list);
            let asserted: Vec<_> = case.asserted.into_iter().filter(|asserted| asserted.id != NOT_HERE).collect();
            match compare(&case.list, &native, &emulated, &asserted) {
                Ok(()) if differs => Err("it is Linux's now: take it out of the list".into()),
                Err(difference) if !differs => Err(difference.into()),
                _ => Ok(()),
            }
        };
        trials.push(Trial::test(name, check).with_ignored_flag(reason.is_some()));
    }
    trials
}
