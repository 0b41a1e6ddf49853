//! Reading a full queue to its end.

use std::fs::{File, Permissions};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;

use crate::events::Events;
use crate::row::{Goal, Row};
use crate::side::{Native, Ours, Side, must};
use crate::statistics::{Pairs, alternate, nanoseconds};
use crate::worker::{Extent, string};

const NAMES: [&str; 2] = ["one", "other"];

/// The record of an event with one of these names, and of the one that tells of the overflow.
const EVENT_BYTES: usize = 32;
const OVERFLOW_BYTES: usize = 16;

/// Between two looks at the queue. The source of ours has a queue of its own, of the same length, which must not overflow first.
const CHANGES_A_LOOK: usize = 2000;

/// The state that is measured: neither side has had anything to do for a moment.
const REST: Duration = Duration::from_millis(2);

/// An instance that watches a folder with two files.
struct Subject {
    instance: OwnedFd,
    files: [File; 2],
    events_max: usize,
}

impl Subject {
    fn new<S: Side>(root: &Path, events_max: usize) -> Self {
        let folder = root.join(S::NAME).join("queue");
        std::fs::create_dir_all(&folder).expect("a folder");
        let files = NAMES.map(|name| File::create(folder.join(name)).expect("a file"));
        let instance = must("inotify_init1", S::init(libc::IN_NONBLOCK));
        must("inotify_add_watch", S::add(instance.as_raw_fd(), &string(&folder), libc::IN_ATTRIB));
        Self { instance, files, events_max }
    }

    /// Fills the queue beyond its end. Asking for its length settles it: nothing is on its way any more.
    fn fill<S: Side>(&self) {
        let full_bytes = self.events_max * EVENT_BYTES + OVERFLOW_BYTES;
        for change in 0..=self.events_max {
            // In turn, so that no two neighbours are equal.
            self.files[change % 2].set_permissions(Permissions::from_mode(0o600)).expect("the mode changes");
            if change % CHANGES_A_LOOK == 0 {
                must("FIONREAD", S::queued_bytes(self.instance.as_raw_fd()));
            }
        }
        let queued = must("FIONREAD", S::queued_bytes(self.instance.as_raw_fd()));
        assert_eq!(queued, full_bytes, "{}: the queue is not full", S::NAME);
    }

    /// From the first read to the one that finds nothing, in nanoseconds an event.
    fn drain<S: Side>(&self, buffer: &mut [u8]) -> f64 {
        self.fill::<S>();
        std::thread::sleep(REST);
        let (mut bytes, mut last_bytes) = (0, 0);
        let start = Instant::now();
        let end = loop {
            match S::read(self.instance.as_raw_fd(), buffer) {
                Ok(length) => (bytes, last_bytes) = (bytes + length, length),
                Err(errno) => break errno,
            }
        };
        let elapsed = nanoseconds(start.elapsed());
        assert_eq!((end, bytes), (Errno::EAGAIN, self.events_max * EVENT_BYTES + OVERFLOW_BYTES), "{}", S::NAME);
        let last = Events::new(&buffer[..last_bytes]).last();
        assert!(last.is_some_and(|event| event.mask == libc::IN_Q_OVERFLOW), "{}: {last:?}", S::NAME);
        elapsed / (self.events_max + 1) as f64
    }
}

pub(crate) fn measure(root: &Path, extent: Extent) -> Vec<Row> {
    let limit = std::fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").expect("the kernel's inotify");
    let events_max = limit.trim().parse().expect("a number");
    let (native, ours) = (Subject::new::<Native>(root, events_max), Subject::new::<Ours>(root, events_max));
    let drains = |kib: usize| {
        let (mut their_buffer, mut our_buffer) = (vec![0; kib * 1024], vec![0; kib * 1024]);
        let mut pairs = Pairs::default();
        for turn in 0..extent.of(100) {
            let (a, b) =
                alternate(turn, || native.drain::<Native>(&mut their_buffer), || ours.drain::<Ours>(&mut our_buffer));
            pairs.push(a, b);
        }
        let note = format!("each the mean over {} events", events_max + 1);
        let what = format!("an event of a full queue, read into {kib} KiB");
        Row::of_pairs(&what, Goal::RatioAtMost(1.5), &pairs, &note)
    };
    vec![drains(4), drains(64)]
}
