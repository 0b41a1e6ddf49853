//! Bringing back a watch descriptor by its number.

use std::ffi::CStr;
use std::os::fd::AsRawFd;
use std::time::Instant;

use nix::errno::Errno;

use crate::row::{Goal, Place, Row};
use crate::side::{Native, Ours, Side, is_kernels, must};
use crate::statistics::{Pairs, Samples, alternate, nanoseconds};
use crate::worker::Extent;

/// The number that a real checkpoint asked for.
const WD: i32 = 0x34d_71d6;

const REMOVALS_A_DRAIN: usize = 1000;

/// The three calls of a restore, in nanoseconds; `None` where the kernel has no such ioctl.
fn restore<S: Side>(path: &CStr) -> Option<f64> {
    let start = Instant::now();
    let fd = must("inotify_init1", S::init(0));
    match S::set_next_wd(fd.as_raw_fd(), WD) {
        Err(Errno::ENOTTY | Errno::EINVAL) => return None,
        result => must("INOTIFY_IOC_SETNEXTWD", result),
    }
    let wd = must("inotify_add_watch", S::add(fd.as_raw_fd(), path, libc::IN_MODIFY));
    let elapsed = nanoseconds(start.elapsed());
    assert_eq!(wd, WD, "{} restored another wd", S::NAME);
    Some(elapsed)
}

/// Without the ioctl: one pair of calls for each number below, in nanoseconds a pair.
fn loop_pair<S: Side>(path: &CStr, pairs: usize) -> f64 {
    let fd = must("inotify_init1", S::init(libc::IN_NONBLOCK));
    let mut buffer = vec![0; 64 * 1024];
    let start = Instant::now();
    for index in 1..=pairs {
        let wd = must("inotify_add_watch", S::add(fd.as_raw_fd(), path, libc::IN_MODIFY));
        must("inotify_rm_watch", S::remove(fd.as_raw_fd(), wd));
        // An IN_IGNORED for each, of which the queue holds only so many.
        if index.is_multiple_of(REMOVALS_A_DRAIN) {
            while S::read(fd.as_raw_fd(), &mut buffer).is_ok() {}
        }
    }
    nanoseconds(start.elapsed()) / pairs as f64
}

pub(crate) fn measure(path: &CStr, extent: Extent) -> Vec<Row> {
    assert!(is_kernels(&must("inotify_init1", Native::init(0))), "the native side is not the kernel's");
    let other = must("inotify_init1", Ours::init(libc::IN_NONBLOCK));
    assert!(!is_kernels(&other), "the shim is not loaded: both sides are the kernel's");

    let (mut pairs, mut ours_alone) = (Pairs::default(), Samples::default());
    for turn in 0..extent.of(2000) {
        // Two round trips: the emulator has put away the instance of the turn before, which no restore waits for.
        must("inotify_add_watch", Ours::add(other.as_raw_fd(), path, libc::IN_MODIFY));
        must("inotify_add_watch", Ours::add(other.as_raw_fd(), path, libc::IN_MODIFY));
        let (native, ours) = alternate(turn, || restore::<Native>(path), || restore::<Ours>(path));
        let ours = ours.expect("the emulator has the ioctl");
        ours_alone.push(ours);
        if let Some(native) = native {
            pairs.push(native, ours);
        }
    }
    let has_ioctl = pairs.native.len() > 0;
    let spread = format!("p90 {:.0} us", ours_alone.at(0.9) / 1e3);
    let by_ioctl = Row {
        what: format!("restoring wd {WD:#x} (init, SETNEXTWD, add) against the kernel's ioctl"),
        place: Place::default(),
        unit: "us".into(),
        goal: Goal::OursAtMost(100.0),
        native: has_ioctl.then(|| pairs.native.median() / 1e3),
        ours: ours_alone.median() / 1e3,
        ratio: has_ioctl.then(|| pairs.ratio_quartiles()),
        note: format!("{} of ours, {spread}", ours_alone.len()),
    };

    let pairs_a_sample = extent.of(200_000);
    let mut samples = Samples::default();
    for _ in 0..5 {
        samples.push(loop_pair::<Native>(path, pairs_a_sample));
    }
    let seconds = |pair: f64| pair * f64::from(WD - 1) / 1e9;
    let by_loop = Row {
        what: format!("restoring wd {WD:#x} against the loop of add and remove"),
        place: Place::default(),
        unit: "us".into(),
        goal: Goal::FasterTimes(1e5),
        native: Some(seconds(samples.median()) * 1e6),
        ours: by_ioctl.ours,
        ratio: None,
        note: format!(
            "extrapolated from {} samples of {pairs_a_sample} pairs: {:.2} us a pair ({:.2} to {:.2}), {:.0} s ({:.0} to {:.0}) for {}",
            samples.len(),
            samples.median() / 1e3,
            samples.at(0.0) / 1e3,
            samples.at(1.0) / 1e3,
            seconds(samples.median()),
            seconds(samples.at(0.0)),
            seconds(samples.at(1.0)),
            WD - 1,
        ),
    };
    let pairs_of_ours = extent.of(20_000);
    let mut loops = Pairs::default();
    for turn in 0..5 {
        let (native, ours) =
            alternate(turn, || loop_pair::<Native>(path, pairs_of_ours), || loop_pair::<Ours>(path, pairs_of_ours));
        loops.push(native, ours);
    }
    let note = format!(
        "each the mean of {pairs_of_ours} pairs; all of {WD:#x} would take the kernel {:.0} s, and ours {:.0} s",
        seconds(loops.native.median()),
        seconds(loops.ours.median())
    );
    vec![by_ioctl, by_loop, Row::of_pairs("a step of the loop of add and remove", Goal::Shown, &loops, &note)]
}
