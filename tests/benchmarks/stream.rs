//! Events from another process: how many a second, and how soon.

use std::cell::RefCell;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;
use std::time::Instant;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::events::Events;
use crate::row::{Goal, Place, Row};
use crate::side::{Native, Ours, Side, must};
use crate::statistics::{Pairs, alternate, clock_nanoseconds, nanoseconds};
use crate::worker::{Extent, string};
use crate::writer::{FILES, Order, Writer, paths};

/// Times round all files in one burst: all its events fit the usual queue, so that none may be lost.
const ROUNDS: u8 = 4;

/// A blocking reader of one instance that watches all files.
struct Reader {
    instance: OwnedFd,
    last_wd: i32,
    seen: Vec<u32>,
    buffer: Vec<u8>,
    counts: Counts,
}

/// What became of the writes.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    written: u64,
    read: u64,
    merged: u64,
    lost: u64,
}

impl Reader {
    fn new<S: Side>(root: &Path) -> Self {
        let (files, last) = paths(root, S::NAME);
        std::fs::create_dir_all(last.parent().expect("a folder above")).expect("a folder");
        let instance = must("inotify_init1", S::init(0));
        for (index, path) in files.iter().enumerate() {
            File::create(path).expect("a file");
            let wd = must("inotify_add_watch", S::add(instance.as_raw_fd(), &string(path), libc::IN_MODIFY));
            assert_eq!(wd as usize, index + 1);
        }
        File::create(&last).expect("a file");
        let last_wd = must("inotify_add_watch", S::add(instance.as_raw_fd(), &string(&last), libc::IN_ATTRIB));
        let counts = Counts::default();
        Self { instance, last_wd, seen: vec![0; FILES + 1], buffer: vec![0; 64 * 1024], counts }
    }

    /// A burst, up to its end; events a second.
    fn burst<S: Side>(&mut self, writer: &mut Writer, is_ours: bool, writes: u8) -> f64 {
        self.seen.fill(0);
        let start = Instant::now();
        writer.order(Order { is_ours, rounds: ROUNDS, writes });
        let mut has_ended = false;
        let mut has_overflowed = false;
        while !has_ended && !has_overflowed {
            let length = must("read", S::read(self.instance.as_raw_fd(), &mut self.buffer));
            for event in Events::new(&self.buffer[..length]) {
                assert!(!has_ended, "{}: an event after the last one", S::NAME);
                if event.wd == self.last_wd {
                    has_ended = true;
                } else if event.mask & libc::IN_Q_OVERFLOW != 0 {
                    has_overflowed = true;
                } else {
                    self.seen[event.wd as usize] += 1;
                }
            }
        }
        let elapsed = nanoseconds(start.elapsed());
        let merges_all = is_ours && crate::is_marked();
        let read = self.count(u32::from(writes), merges_all);
        assert!(!has_overflowed, "{}: the queue has overflowed", S::NAME);
        // Else a side that merges what is not adjacent would seem slower the more it merges.
        let told = if crate::is_marked() { FILES as u64 * u64::from(ROUNDS * writes) } else { read };
        told as f64 / elapsed * 1e9
    }

    /// Linux merges an event with the one just before it, never further: of the writes to a file in one round at least one event
    /// comes.
    fn count(&mut self, writes: u32, merges_all: bool) -> u64 {
        let rounds = u32::from(ROUNDS);
        let mut read = 0;
        for &seen in &self.seen[1..] {
            assert!(seen <= rounds * writes, "more events than writes");
            let missing = u64::from(rounds * writes - seen);
            // On fanotify any write may be merged with one that waits.
            let least = if merges_all { 1 } else { rounds };
            let lost = u64::from(least.saturating_sub(seen));
            self.counts.lost += lost;
            self.counts.merged += missing - lost;
            read += u64::from(seen);
        }
        self.counts.read += read;
        self.counts.written += FILES as u64 * u64::from(rounds * writes);
        read
    }

    /// From just before a write to the return of the read that was waiting for it, in nanoseconds.
    fn latency<S: Side>(&mut self, writer: &mut Writer, is_ours: bool) -> f64 {
        writer.order(Order { is_ours, rounds: 0, writes: 1 });
        let length = must("read", S::read(self.instance.as_raw_fd(), &mut self.buffer));
        let end = crate::writer::now();
        assert_eq!(Events::new(&self.buffer[..length]).count(), 1, "{}: one write, one event", S::NAME);
        (end - writer.time()) as f64
    }

    /// The read alone, after a poll has waited for another process's event, in nanoseconds.
    fn after_wake_up<S: Side>(&mut self, writer: &mut Writer, is_ours: bool) -> f64 {
        writer.order(Order { is_ours, rounds: 0, writes: 1 });
        let mut entry = [PollFd::new(self.instance.as_fd(), PollFlags::POLLIN)];
        let ready = poll(&mut entry, PollTimeout::from(10_000_u16));
        assert_eq!(ready, Ok(1), "{}: a write wakes nobody", S::NAME);
        let start = Instant::now();
        let result = S::read(self.instance.as_raw_fd(), &mut self.buffer);
        let elapsed = nanoseconds(start.elapsed());
        assert_eq!(Events::new(&self.buffer[..must("read", result)]).count(), 1, "{}: one write, one event", S::NAME);
        writer.time();
        elapsed
    }
}

/// Both readers, and a writer for both.
fn prepare(root: &Path) -> (Reader, Reader, RefCell<Writer>) {
    let (native, ours) = (Reader::new::<Native>(root), Reader::new::<Ours>(root));
    (native, ours, RefCell::new(Writer::start(root)))
}

/// Events a second.
pub(crate) fn measure_rate(root: &Path, extent: Extent) -> Vec<Row> {
    let (mut native, mut ours, writer) = prepare(root);
    let mut rows = Vec::new();
    for (what, goal, writes) in [
        ("events a second, each file written once in its turn", Goal::RatioAtLeast(0.8), 1),
        ("events a second, each file written twice in its turn", Goal::Shown, 2),
    ] {
        (native.counts, ours.counts) = (Counts::default(), Counts::default());
        let mut pairs = Pairs::default();
        for turn in 0..extent.of(40) {
            let (a, b) = alternate(
                turn,
                || native.burst::<Native>(&mut writer.borrow_mut(), false, writes),
                || ours.burst::<Ours>(&mut writer.borrow_mut(), true, writes),
            );
            pairs.push(a, b);
        }
        assert_eq!((native.counts.lost, ours.counts.lost), (0, 0), "events were lost (native, ours)");
        let tell = |Counts { written, read, merged, lost }| {
            format!("{written} writes, {read} events, {merged} merged, {lost} lost")
        };
        rows.push(Row {
            what: what.into(),
            place: Place::default(),
            unit: "/s".into(),
            goal,
            native: Some(pairs.native.median()),
            ours: pairs.ours.median(),
            ratio: Some(pairs.ratio_quartiles()),
            note: format!(
                "{} pairs of bursts; native {}; ours {}",
                pairs.native.len(),
                tell(native.counts),
                tell(ours.counts)
            ),
        });
    }
    rows
}

/// How soon an event comes.
pub(crate) fn measure_latency(root: &Path, extent: Extent) -> Vec<Row> {
    let (mut native, mut ours, writer) = prepare(root);
    let mut pairs = Pairs::default();
    for turn in 0..extent.of(4000) {
        let (a, b) = alternate(
            turn,
            || native.latency::<Native>(&mut writer.borrow_mut(), false),
            || ours.latency::<Ours>(&mut writer.borrow_mut(), true),
        );
        pairs.push(a, b);
    }
    let (native_p99, our_p99) = (pairs.native.at(0.99) / 1e3, pairs.ours.at(0.99) / 1e3);
    let of_medians = pairs.ours.median() / pairs.native.median();
    let note = format!("ratio of the medians {of_medians:.2}; every event came");
    let p50 = Row::of_pairs("latency of a write to a waiting read, p50", Goal::RatioAtMost(3.0), &pairs, &note);
    let p99 = Row {
        what: "latency of a write to a waiting read, p99".into(),
        place: Place::default(),
        unit: "us".into(),
        goal: Goal::Shown,
        native: Some(native_p99),
        ours: our_p99,
        ratio: None,
        note: "the same".into(),
    };
    vec![p50, p99]
}

/// A read that finds its event waiting.
pub(crate) fn measure_wake_up(root: &Path, extent: Extent) -> Vec<Row> {
    let (mut native, mut ours, writer) = prepare(root);
    let clock = clock_nanoseconds();
    let mut pairs = Pairs::default();
    for turn in 0..extent.of(4000) {
        let (a, b) = alternate(
            turn,
            || native.after_wake_up::<Native>(&mut writer.borrow_mut(), false),
            || ours.after_wake_up::<Ours>(&mut writer.borrow_mut(), true),
        );
        pairs.push((a - clock).max(1.0), (b - clock).max(1.0));
    }
    let spread =
        format!("p90 {:.2} and {:.2} us; every event came", pairs.native.at(0.9) / 1e3, pairs.ours.at(0.9) / 1e3);
    vec![Row::of_pairs("read after a wake-up", Goal::RatioAtMost(4.0), &pairs, &spread)]
}
