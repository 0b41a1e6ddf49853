//! Programs that no shim reaches, and what a filter of system calls costs them.

use std::ffi::CString;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use nix::errno::Errno;
use uinotify_harness::arguments;
use uinotify_harness::raw::system_call;

use crate::row::{Goal, Place, Row};
use crate::side::{Native, Side, must};
use crate::statistics::{Pairs, alternate, nanoseconds};
use crate::worker::{Extent, string};

const FOLDERS: usize = 100;
const CALLS: usize = 2000;

/// What a worker is asked for, by a byte.
#[derive(Clone, Copy)]
enum Work {
    New,
    Again,
    Control,
    Count,
    Other,
    SmallRead,
    Read,
}

const WORKS: [Work; 7] = [Work::New, Work::Again, Work::Control, Work::Count, Work::Other, Work::SmallRead, Work::Read];

/// Calls by number, whoever answers them.
struct Worker {
    fd: RawFd,
    folders: Vec<CString>,
    zero: File,
    pipe: RawFd,
}

impl Worker {
    fn mean(calls: usize, mut call: impl FnMut(usize) -> Result<usize, Errno>) -> f64 {
        let start = Instant::now();
        for index in 0..calls {
            must("a call", call(index));
        }
        nanoseconds(start.elapsed()) / calls as f64
    }

    /// Nanoseconds a call.
    fn measure(&self, work: Work) -> f64 {
        let mut word: libc::c_int = 0;
        let mut buffer = [0_u8; 512];
        match work {
            Work::New => {
                let mean = Self::mean(FOLDERS, |index| {
                    Native::add(self.fd, &self.folders[index], libc::IN_ALL_EVENTS).map(|wd| wd as usize)
                });
                let first = must("inotify_add_watch", Native::add(self.fd, &self.folders[0], libc::IN_ALL_EVENTS));
                for wd in first..first + FOLDERS as i32 {
                    must("inotify_rm_watch", Native::remove(self.fd, wd));
                }
                let mut events = [0; 4096];
                while Native::read(self.fd, &mut events).is_ok() {}
                mean
            }
            Work::Again => {
                let wd = must("inotify_add_watch", Native::add(self.fd, &self.folders[0], libc::IN_CREATE));
                let mean = Self::mean(FOLDERS, |_| {
                    Native::add(self.fd, &self.folders[0], libc::IN_DELETE).map(|wd| wd as usize)
                });
                must("inotify_rm_watch", Native::remove(self.fd, wd));
                mean
            }
            Work::Control => Self::mean(CALLS, |_| {
                // SAFETY: takes no third argument.
                unsafe { system_call(libc::SYS_ioctl, arguments![self.pipe, libc::FIOCLEX]) }
            }),
            Work::Count => Self::mean(FOLDERS, |_| {
                // SAFETY: FIONREAD writes one int, which lives through the call.
                unsafe { system_call(libc::SYS_ioctl, arguments![self.pipe, libc::FIONREAD, &raw mut word]) }
            }),
            Work::Other => Self::mean(CALLS, |_| {
                // SAFETY: takes nothing.
                unsafe { system_call(libc::SYS_getppid, arguments![]) }
            }),
            Work::SmallRead => Self::mean(FOLDERS, |_| Native::read(self.zero.as_raw_fd(), &mut buffer[..8])),
            Work::Read => Self::mean(CALLS, |_| Native::read(self.zero.as_raw_fd(), &mut buffer)),
        }
    }
}

/// The worker's own `main`: for every byte that comes, a batch of what it names, whose mean time goes out.
pub(crate) fn main(root: &Path) {
    let folders = (0..FOLDERS).map(|index| {
        let folder = root.join(format!("{}/{index}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        string(&folder)
    });
    let (pipe, _other_end) = nix::unistd::pipe().expect("a pipe");
    let instance = must("inotify_init1", Native::init(libc::IN_NONBLOCK));
    let worker = Worker {
        fd: instance.as_raw_fd(),
        folders: folders.collect(),
        zero: File::open("/dev/zero").expect("/dev/zero"),
        pipe: pipe.as_raw_fd(),
    };
    let (mut orders, mut times) = (std::io::stdin().lock(), std::io::stdout().lock());
    let mut order = [0];
    while orders.read_exact(&mut order).is_ok() {
        let mean = worker.measure(WORKS[usize::from(order[0])]);
        times.write_all(&mean.to_ne_bytes()).and_then(|()| times.flush()).expect("somebody asks");
    }
}

fn batch(worker: &mut Child, work: Work) -> f64 {
    let mut bytes = [0; 8];
    worker.stdin.as_mut().expect("its input").write_all(&[work as u8]).expect("the worker listens");
    worker.stdout.as_mut().expect("its output").read_exact(&mut bytes).expect("the worker answers");
    f64::from_ne_bytes(bytes)
}

/// Three processes at a time, batch by batch: one that `plain` prepares, and one under each of two filters.
pub(crate) fn measure(run: impl Fn(&str) -> Command, plain: impl Fn() -> Command, extent: Extent) -> Vec<Row> {
    let start = |mut command: Command| command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("a worker");
    let (mut native, mut stopped, mut with_reads) =
        (start(plain()), start(run("seccomp")), start(run("seccomp,reads")));
    let mut pairs = |work: Work, others: &mut Child| {
        let mut pairs = Pairs::default();
        for turn in 0..extent.of(300) {
            // Each process is the other's pause.
            let (a, b) = alternate(turn, || batch(&mut native, work), || batch(others, work));
            pairs.push(a, b);
        }
        pairs
    };
    let calls = format!("of {FOLDERS} calls");
    let nanoseconds = |what: &str, goal: Goal, pairs: &Pairs, calls: usize| Row {
        what: what.into(),
        place: Place::default(),
        unit: "ns".into(),
        goal,
        native: Some(pairs.native.median()),
        ours: pairs.ours.median(),
        ratio: None,
        note: format!("medians of {} batches of {calls} calls", pairs.native.len()),
    };
    let goal = Goal::RatioAtMost(15.0);
    let mut rows = vec![
        Row::of_pairs("past the shim: add_watch, hot, a new watch", goal, &pairs(Work::New, &mut stopped), &calls),
        Row::of_pairs(
            "past the shim: add_watch, hot, the same watch again",
            goal,
            &pairs(Work::Again, &mut stopped),
            &calls,
        ),
        nanoseconds(
            "with a filter: an ordinary ioctl (FIOCLEX)",
            Goal::MoreAtMost(200.0),
            &pairs(Work::Control, &mut stopped),
            CALLS,
        ),
        nanoseconds(
            "with a filter: another system call (getppid)",
            Goal::Shown,
            &pairs(Work::Other, &mut stopped),
            CALLS,
        ),
        Row::of_pairs("with a filter: FIONREAD of a pipe", Goal::Shown, &pairs(Work::Count, &mut stopped), &calls),
    ];
    for (name, worker) in [("with a filter", &mut stopped), ("with a filter that takes reads", &mut with_reads)] {
        let small = pairs(Work::SmallRead, worker);
        rows.push(Row::of_pairs(&format!("{name}: read of 8 bytes of /dev/zero"), Goal::Shown, &small, &calls));
        let large = pairs(Work::Read, worker);
        rows.push(nanoseconds(&format!("{name}: read of 512 bytes of /dev/zero"), Goal::Shown, &large, CALLS));
    }
    for mut worker in [native, stopped, with_reads] {
        worker.stdin = None;
        assert!(worker.wait().is_ok_and(|status| status.success()), "a worker failed");
    }
    rows
}
