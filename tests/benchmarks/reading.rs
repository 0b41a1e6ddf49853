//! `read` in one program: of an empty descriptor, after a write of its own.

use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Instant;

use nix::errno::Errno;

use crate::events::Events;
use crate::row::{Goal, Row};
use crate::side::{Native, Ours, Side, must};
use crate::statistics::{Pairs, alternate, clock_nanoseconds, nanoseconds};
use crate::worker::{Extent, string};

const EMPTY_READS: usize = 200;

/// An instance that watches one file.
struct Subject {
    instance: OwnedFd,
    file: File,
    buffer: Vec<u8>,
}

impl Subject {
    fn new<S: Side>(root: &Path) -> Self {
        let folder = root.join(S::NAME);
        std::fs::create_dir_all(&folder).expect("a folder");
        let path = folder.join("read");
        let file = File::create(&path).expect("a file");
        let instance = must("inotify_init1", S::init(libc::IN_NONBLOCK));
        must("inotify_add_watch", S::add(instance.as_raw_fd(), &string(&path), libc::IN_MODIFY));
        Self { instance, file, buffer: vec![0; 4096] }
    }

    fn write(&self) {
        self.file.write_at(b"x", 0).expect("a byte");
    }

    /// Exactly the one event of the one write.
    fn check<S: Side>(&self, result: Result<usize, Errno>) {
        let length = result.unwrap_or_else(|errno| panic!("{}: a write was not seen: {errno}", S::NAME));
        let masks: Vec<_> = Events::new(&self.buffer[..length]).map(|event| event.mask).collect();
        assert_eq!(masks, [libc::IN_MODIFY], "{}", S::NAME);
    }

    fn empty<S: Side>(&mut self) -> f64 {
        let start = Instant::now();
        for _ in 0..EMPTY_READS {
            assert_eq!(S::read(self.instance.as_raw_fd(), &mut self.buffer), Err(Errno::EAGAIN));
        }
        nanoseconds(start.elapsed()) / EMPTY_READS as f64
    }

    /// A write, and the read that must see it.
    fn after_write<S: Side>(&mut self) -> f64 {
        let start = Instant::now();
        self.write();
        let result = S::read(self.instance.as_raw_fd(), &mut self.buffer);
        let elapsed = nanoseconds(start.elapsed());
        self.check::<S>(result);
        elapsed
    }
}

pub(crate) fn measure(root: &Path, extent: Extent) -> Vec<Row> {
    let (mut native, mut ours) = (Subject::new::<Native>(root), Subject::new::<Ours>(root));
    let clock = clock_nanoseconds();
    let (mut empty, mut written) = (Pairs::default(), Pairs::default());
    for turn in 0..extent.of(500) {
        let (a, b) = alternate(turn, || native.empty::<Native>(), || ours.empty::<Ours>());
        empty.push(a, b);
    }
    for turn in 0..extent.of(4000) {
        let (a, b) = alternate(turn, || native.after_write::<Native>(), || ours.after_write::<Ours>());
        written.push((a - clock).max(1.0), (b - clock).max(1.0));
    }
    vec![
        Row::of_pairs(
            "read of an empty descriptor",
            Goal::RatioAtMost(2.5),
            &empty,
            &format!("of {EMPTY_READS} calls"),
        ),
        Row::of_pairs("write, then read at once", Goal::Shown, &written, "every event came"),
    ]
}
