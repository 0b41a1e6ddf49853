//! What only source `fanotify` is asked for: a million directories, and what it costs that others are busy.

use std::ffi::CString;
use std::fs::{self, File};
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use uinotify_core::{FsEvent, Mask};
use uinotify_source::fanotify::{Options, Source, Tally};

use crate::memory::{anonymous_bytes, emulator};
use crate::row::{Goal, Place, Row};
use crate::side::{Native, Ours, Side, must};
use crate::statistics::nanoseconds;
use crate::worker::{Extent, large_folder, string, watches_max};

const DIRECTORIES: usize = 1_000_000;
const DIRECTORIES_A_GROUP: usize = 1000;
/// Subdirectories are kept by name only where a watch is told what happens to them.
const NEEDS_NAMES: u32 = libc::IN_ALL_EVENTS;
const NEEDS_NO_NAMES: u32 = libc::IN_CREATE | libc::IN_DELETE | libc::IN_MOVED_FROM | libc::IN_MOVED_TO;

/// What the rest of the file system does meanwhile: writes a second, each an event, and for how long.
const UNRELATED_A_SECOND: u32 = 10_000;
const UNRELATED_FILES: usize = 1000;

/// How many directories: `UINOTIFY_FOLDERS`, or as many as the extent has.
fn count(extent: Extent) -> usize {
    let set = std::env::var("UINOTIFY_FOLDERS").ok().and_then(|count| count.parse().ok());
    set.unwrap_or_else(|| extent.of(DIRECTORIES))
}

fn make(root: &Path, count: usize) -> Vec<CString> {
    let path = |index: usize| {
        let group = root.join(format!("group{}", index / DIRECTORIES_A_GROUP));
        if index.is_multiple_of(DIRECTORIES_A_GROUP) {
            fs::create_dir_all(&group).expect("a directory");
        }
        let directory = group.join(format!("directory{index}"));
        fs::create_dir(&directory).expect("a directory");
        string(&directory)
    };
    (0..count).map(path).collect()
}

/// Memory of the kernel's own objects, in bytes: what is counted here belongs to the whole machine.
fn slab_bytes() -> i64 {
    let text = fs::read_to_string("/proc/meminfo").expect("procfs");
    let line = text.lines().find_map(|line| line.strip_prefix("Slab:")).expect("Linux 2.6.14");
    line.trim().strip_suffix(" kB").and_then(|number| number.parse::<i64>().ok()).expect("kibibytes") * 1024
}

/// Adds a watch on each, in nanoseconds a watch.
fn add<S: Side>(fd: i32, directories: &[CString], mask: u32) -> f64 {
    let start = Instant::now();
    for directory in directories {
        must("inotify_add_watch", S::add(fd, directory, mask));
    }
    nanoseconds(start.elapsed()) / directories.len() as f64
}

fn row(what: String, unit: &str, goal: Goal, native: Option<f64>, ours: f64, note: String) -> Row {
    Row { what, place: Place::default(), unit: unit.into(), goal, native, ours, ratio: None, note }
}

fn directories(extent: Extent, mask: u32, needs: &str) -> Vec<Row> {
    let count = count(extent);
    let folder = large_folder();
    let directories = make(folder.path(), count);
    let some = &directories[..count.min(watches_max() / 10 * 8)];
    let native = must("inotify_init1", Native::init(libc::IN_NONBLOCK));
    let slab = slab_bytes();
    let native_time = add::<Native>(native.as_raw_fd(), some, mask);
    let native_slab = (slab_bytes() - slab) as f64 / some.len() as f64;
    drop(native);
    let ours = must("inotify_init1", Ours::init(libc::IN_NONBLOCK));
    // Its first watch sets up what all have in common.
    must("inotify_add_watch", Ours::add(ours.as_raw_fd(), &string(folder.path()), libc::IN_DELETE_SELF));
    let emulator = emulator(&ours);
    let (anonymous, slab) = (anonymous_bytes(emulator), slab_bytes());
    let our_time = add::<Ours>(ours.as_raw_fd(), &directories, mask);
    let (anonymous, slab) = (anonymous_bytes(emulator) - anonymous, slab_bytes() - slab);
    let a_watch = |bytes: f64| bytes / count as f64;
    let paths: usize = directories.iter().map(|path| path.as_bytes().len()).sum();
    let path = a_watch(paths as f64);
    let memory = a_watch(anonymous as f64);
    // Each directory's group is not watched, so that none of these is kept by a name.
    let what = format!("watching {count} directories, {needs}");
    vec![
        row(
            format!("{what}: a watch"),
            "us",
            Goal::Shown,
            Some(native_time / 1e3),
            our_time / 1e3,
            format!("native {} of them; ours all, {:.1} s", some.len(), our_time * count as f64 / 1e9),
        ),
        row(
            format!("{what}: memory of the emulator for a watch, without its path"),
            "bytes",
            Goal::OursAtMost(100.0),
            None,
            memory - path,
            format!("RssAnon, {memory:.1} with the path's {path:.1} bytes"),
        ),
        row(
            format!("{what}: memory of the kernel for a watch"),
            "bytes",
            Goal::Shown,
            Some(native_slab),
            a_watch(slab as f64),
            "the growth of Slab in /proc/meminfo, where others have a part as well".into(),
        ),
    ]
}

/// Time that a process has used, in nanoseconds.
fn processor_time(pid: u64) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("the emulator lives");
    let fields: Vec<_> = stat.rsplit(") ").next().expect("fields").split(' ').collect();
    let ticks: u64 = [11, 12].iter().map(|field| fields[*field].parse::<u64>().expect("a number")).sum();
    let a_second = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK).expect("a limit").expect("a number");
    ticks as f64 / a_second as f64 * 1e9
}

/// Processor time of the emulator while others write on the file system of which it watches something else.
fn unrelated(extent: Extent) -> Row {
    let folder = large_folder();
    let watched = folder.path().join("watched");
    fs::create_dir(&watched).expect("a directory");
    let ours = must("inotify_init1", Ours::init(libc::IN_NONBLOCK));
    must("inotify_add_watch", Ours::add(ours.as_raw_fd(), &string(&watched), libc::IN_ALL_EVENTS));
    let emulator = emulator(&ours);
    let seconds = if extent.is_full() { 10 } else { 1 };
    let files: Vec<_> = (0..UNRELATED_FILES)
        .map(|index| File::create(folder.path().join(format!("{index}"))).expect("a file"))
        .collect();
    let (start, before) = (Instant::now(), processor_time(emulator));
    let mut written = 0_u32;
    while start.elapsed() < Duration::from_secs(seconds) {
        // As many as are due, a hundredth of a second at a time.
        let due = (start.elapsed().as_secs_f64() * f64::from(UNRELATED_A_SECOND)) as u32;
        while written < due {
            files[written as usize % UNRELATED_FILES].write_at(b"x", 0).expect("a byte");
            written += 1;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    let used = processor_time(emulator) - before;
    let elapsed = nanoseconds(start.elapsed());
    let rate = f64::from(written) / elapsed * 1e9;
    let share = used / elapsed * 100.0 * (f64::from(UNRELATED_A_SECOND) / rate);
    row(
        "processor time of the emulator while 10,000 writes a second go on elsewhere on the file system".into(),
        "%",
        Goal::OursAtMost(5.0),
        None,
        share,
        format!("{written} writes in {seconds} s, {:.2} us each", used / f64::from(written) / 1e3),
    )
}

/// Another process makes a file, writes, reads, renames and removes it, again and again, while this one reads as soon as it can.
fn merged(extent: Extent, strict_order: bool) -> Option<[Row; 2]> {
    let folder = large_folder();
    let mut source = Source::new(Options { strict_order, ..Options::default() }).ok()?;
    let object = File::open(folder.path()).expect("a folder");
    let mut nothing = |_: FsEvent<'_>| {};
    source.watch(object.as_fd(), Mask::IN_ALL_EVENTS, &mut nothing).expect("a mark");
    let rounds = extent.of(5000);
    let program = std::env::current_exe().expect("the benchmark's own path");
    let mut command = Command::new(program);
    // It has no use for the shim.
    command.env("UINOTIFY_DISABLE", "1").arg(crate::ROUNDS).arg(folder.path()).arg(rounds.to_string());
    let start = Instant::now();
    let mut actor = command.spawn().expect("the benchmark's own path");
    while actor.try_wait().expect("our own child").is_none() {
        let mut one = [PollFd::new(source.as_fd(), PollFlags::POLLIN)];
        let _ = poll(&mut one, PollTimeout::from(20_u8));
        source.drain(&mut nothing).expect("records");
    }
    let elapsed = nanoseconds(start.elapsed());
    source.drain(&mut nothing).expect("records");
    let Tally { records, merged } = source.volumes().tally();
    let order = if strict_order { "strict" } else { "eager" };
    let share = merged as f64 / records as f64 * 100.0;
    let note = format!("{rounds} rounds, {records} records");
    let what = format!("order {order}: records that stand for several events");
    let round = format!("order {order}: a round of open, write, close, open, read, close, rename, unlink");
    Some([
        row(what, "%", Goal::Shown, None, share, note.clone()),
        row(round, "us", Goal::Shown, None, elapsed / rounds as f64 / 1e3, note),
    ])
}

/// The other process's `main`.
pub(crate) fn act(folder: &Path, rounds: usize) {
    let (name, other) = (folder.join("name"), folder.join("other"));
    for _ in 0..rounds {
        fs::write(&name, b"text").and_then(|()| fs::read(&name)).expect("a file");
        fs::rename(&name, &other).and_then(|()| fs::remove_file(&other)).expect("the file");
    }
}

/// The worker's own `main`.
pub(crate) fn main(extent: Extent) {
    let mut rows = vec![unrelated(extent)];
    rows.extend([false, true].into_iter().filter_map(|strict| merged(extent, strict)).flatten());
    rows.extend(directories(extent, NEEDS_NO_NAMES, "entries only"));
    rows.extend(directories(extent, NEEDS_NAMES, "all events"));
    for row in rows {
        let line = serde_json::to_string(&row).expect("a row of numbers and text");
        writeln!(std::io::stdout(), "{line}").expect("somebody listens");
    }
}
