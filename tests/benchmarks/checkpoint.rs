//! Many watches brought back by their numbers, and dumped.

use std::collections::BTreeSet;
use std::ffi::CString;
use std::os::fd::AsRawFd;
use std::process::{Command, Stdio};
use std::time::Instant;

use nix::errno::Errno;

use crate::folders::make_tree;
use crate::row::{Goal, Place, Row};
use crate::side::{Native, Ours, Side, must};
use crate::statistics::{Pairs, Samples, alternate, nanoseconds};
use crate::worker::{Extent, large_folder, watches_max};

const RESTORED: usize = 10_000;
const DUMPED: usize = 100_000;

/// Numbers of one seed, all over what there is, in ascending order as a checkpointer has them.
fn numbers(count: usize) -> Vec<i32> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut numbers = BTreeSet::new();
    while numbers.len() < count {
        // xorshift64
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        numbers.extend(i32::try_from(state >> 33).ok().filter(|wd| *wd > 0));
    }
    numbers.into_iter().collect()
}

/// As a checkpointer restores: each target opened, its number set, and watched by way of procfs. In nanoseconds; `None` where the kernel
/// has no such ioctl.
fn restore<S: Side>(targets: &[CString], numbers: &[i32]) -> Option<f64> {
    let instance = must("inotify_init1", S::init(libc::IN_NONBLOCK));
    let fd = instance.as_raw_fd();
    let start = Instant::now();
    for (target, &number) in targets.iter().zip(numbers) {
        let target = must("openat", S::open_path(target));
        match S::set_next_wd(fd, number) {
            Err(Errno::ENOTTY) => return None,
            result => must("INOTIFY_IOC_SETNEXTWD", result),
        }
        let link = CString::new(format!("/proc/self/fd/{target}")).expect("digits");
        let wd = must("inotify_add_watch", S::add(fd, &link, libc::IN_ALL_EVENTS));
        assert_eq!(wd, number, "{} restored another wd", S::NAME);
        must("close", S::close(target));
    }
    let elapsed = nanoseconds(start.elapsed());
    // Off the clock, as the places of an instance that is closed come back a little later.
    for &number in numbers {
        must("inotify_rm_watch", S::remove(fd, number));
    }
    Some(elapsed)
}

pub(crate) fn measure(extent: Extent) -> Vec<Row> {
    let root = large_folder();
    let count = extent.of(RESTORED);
    let targets = make_tree(root.path(), count);
    let numbers = numbers(count);
    let (mut pairs, mut alone) = (Pairs::default(), Samples::default());
    for turn in 0..if extent.is_full() { 9 } else { 2 } {
        let (native, ours) =
            alternate(turn, || restore::<Native>(&targets, &numbers), || restore::<Ours>(&targets, &numbers));
        let ours = ours.expect("the emulator has the ioctl");
        alone.push(ours);
        if let Some(native) = native {
            pairs.push(native, ours);
        }
    }
    let has_ioctl = pairs.native.len() > 0;
    let restored = Row {
        what: format!("restoring {count} random wds (open, SETNEXTWD, add by /proc/self/fd)"),
        place: Place::default(),
        unit: "ms".into(),
        goal: Goal::RatioAtMost(10.0),
        native: has_ioctl.then(|| pairs.native.median() / 1e6),
        ours: alone.median() / 1e6,
        ratio: has_ioctl.then(|| pairs.ratio_quartiles()),
        note: format!("{} of ours", alone.len()),
    };
    let root = large_folder();
    let targets = make_tree(root.path(), extent.of(DUMPED).min(watches_max() / 10 * 9));
    vec![restored, dump(&targets, extent)]
}

/// The command `uinotify dump`, from its start to its end.
fn dump(targets: &[CString], extent: Extent) -> Row {
    let instance = must("inotify_init1", Ours::init(libc::IN_NONBLOCK));
    for target in targets {
        must("inotify_add_watch", Ours::add(instance.as_raw_fd(), target, libc::IN_ALL_EVENTS));
    }
    let mut samples = Samples::default();
    for _ in 0..if extent.is_full() { 5 } else { 2 } {
        let mut command = Command::new(env!("CARGO_BIN_EXE_uinotify"));
        command.args(["dump", "--pid", &std::process::id().to_string()]).stdout(Stdio::piped());
        let start = Instant::now();
        let output = command.output().expect("the command starts");
        samples.push(nanoseconds(start.elapsed()));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let watches = String::from_utf8_lossy(&output.stdout).matches("\"wd\": ").count();
        assert_eq!(watches, targets.len(), "watches in the checkpoint");
    }
    Row {
        what: format!("dumping an instance of {} watches", targets.len()),
        place: Place::default(),
        unit: "ms".into(),
        goal: Goal::OursAtMost(1000.0),
        native: None,
        ours: samples.median() / 1e6,
        ratio: None,
        note: format!("{} dumps, {:.0} to {:.0} ms", samples.len(), samples.at(0.0) / 1e6, samples.at(1.0) / 1e6),
    }
}
