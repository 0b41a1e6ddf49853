//! The process that makes events while another reads them.

use std::fs::{File, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

/// How many files are written round robin.
pub(crate) const FILES: usize = 1000;

/// What the reader asks for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Order {
    pub(crate) is_ours: bool,
    /// Times round all files; 0 for a single write whose time is told.
    pub(crate) rounds: u8,
    /// Writes to a file before it is the next one's turn.
    pub(crate) writes: u8,
}

/// The file behind the others; a change of its mode ends a burst.
pub(crate) fn paths(root: &Path, side: &str) -> (Vec<PathBuf>, PathBuf) {
    let folder = root.join(side).join("written");
    ((0..FILES).map(|index| folder.join(format!("file{index}"))).collect(), folder.join("last"))
}

/// Nanoseconds on a clock that all processes share.
pub(crate) fn now() -> i64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel writes one timespec, which lives through the call.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    time.tv_sec * 1_000_000_000 + time.tv_nsec
}

/// The writer's own `main`: orders come in on its standard input, times go out on its standard output.
pub(crate) fn main(root: &Path) {
    let sides = ["native", "ours"].map(|side| {
        let (paths, last) = paths(root, side);
        let open = |path: &PathBuf| File::options().write(true).open(path).expect("the reader has made the file");
        (paths.iter().map(open).collect::<Vec<_>>(), open(&last))
    });
    let (mut orders, mut times) = (std::io::stdin().lock(), std::io::stdout().lock());
    let mut order = [0; 3];
    while orders.read_exact(&mut order).is_ok() {
        let [is_ours, rounds, writes] = order;
        let (files, last) = &sides[usize::from(is_ours)];
        if rounds == 0 {
            // The state that is measured: a reader who has been waiting for some time.
            std::thread::sleep(Duration::from_micros(200));
            let start = now();
            files[0].write_at(b"x", 0).expect("a byte");
            times.write_all(&start.to_ne_bytes()).and_then(|()| times.flush()).expect("the reader listens");
            continue;
        }
        for _ in 0..rounds {
            for file in files {
                for _ in 0..writes {
                    file.write_at(b"x", 0).expect("a byte");
                }
            }
        }
        last.set_permissions(Permissions::from_mode(0o600)).expect("the mode changes");
    }
}

/// The writer, as the reader sees it.
#[derive(Debug)]
pub(crate) struct Writer {
    child: Child,
    orders: Option<ChildStdin>,
    times: ChildStdout,
}

impl Writer {
    /// Starts it, without the shim. The files must be there.
    pub(crate) fn start(root: &Path) -> Self {
        let program = std::env::current_exe().expect("the benchmark's own path");
        let mut command = Command::new(program);
        command.arg(super::WRITER).arg(root).env_remove("LD_PRELOAD");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("a writer");
        let (orders, times) = (child.stdin.take(), child.stdout.take().expect("its output"));
        Self { child, orders, times }
    }

    pub(crate) fn order(&mut self, order: Order) {
        let bytes = [u8::from(order.is_ours), order.rounds, order.writes];
        let orders = self.orders.as_mut().expect("open until the end");
        orders.write_all(&bytes).expect("the writer listens");
    }

    /// When the single write began.
    pub(crate) fn time(&mut self) -> i64 {
        let mut bytes = [0; 8];
        self.times.read_exact(&mut bytes).expect("the writer tells the time");
        i64::from_ne_bytes(bytes)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.orders = None;
        let _ = self.child.wait();
    }
}
