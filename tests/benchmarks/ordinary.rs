//! What the shim costs a read that is none of its business.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use crate::row::{Goal, Place, Row};
use crate::side::{Ours, Side, is_kernels, must};
use crate::statistics::{Samples, nanoseconds};
use crate::worker::Extent;

const READS: usize = 2000;

/// The worker's own `main`: for every byte that comes in a batch of reads, whose mean time goes out.
pub(crate) fn main(is_under_shim: bool) {
    let zero = File::open("/dev/zero").expect("/dev/zero");
    // A program that uses inotify, so that the shim has something to look out for.
    let instance = must("inotify_init1", Ours::init(0));
    assert_eq!(is_kernels(&instance), !is_under_shim, "the shim is where it should not be, or is not where it should");
    let (mut orders, mut times) = (std::io::stdin().lock(), std::io::stdout().lock());
    let mut order = [0];
    let mut buffer = [1; 1];
    while orders.read_exact(&mut order).is_ok() {
        let start = Instant::now();
        for _ in 0..READS {
            assert_eq!(Ours::read(zero.as_raw_fd(), &mut buffer), Ok(1));
        }
        let mean = nanoseconds(start.elapsed()) / READS as f64;
        times.write_all(&mean.to_ne_bytes()).and_then(|()| times.flush()).expect("somebody asks");
    }
}

fn start(mut command: Command) -> Child {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("a worker")
}

fn batch(worker: &mut Child) -> f64 {
    let mut bytes = [0; 8];
    worker.stdin.as_mut().expect("its input").write_all(b"x").expect("the worker listens");
    worker.stdout.as_mut().expect("its output").read_exact(&mut bytes).expect("the worker answers");
    f64::from_ne_bytes(bytes)
}

/// Two processes at a time, one under the shim, batch by batch; several such pairs, as two processes also differ in where their
/// code and stacks lie. `run` prepares a command that runs this program under the shim, `plain` one that does not.
pub(crate) fn measure(run: impl Fn() -> Command, plain: impl Fn() -> Command, extent: Extent) -> Row {
    let (mut native, mut ours) = (Samples::default(), Samples::default());
    let (processes, batches) = (if extent.is_full() { 7 } else { 2 }, extent.of(200));
    for _ in 0..processes {
        let (mut without, mut with) = (start(plain()), start(run()));
        let (mut native_batches, mut our_batches) = (Samples::default(), Samples::default());
        for _ in 0..batches {
            native_batches.push(batch(&mut without));
            our_batches.push(batch(&mut with));
        }
        for worker in [&mut without, &mut with] {
            worker.stdin = None;
            assert!(worker.wait().is_ok_and(|status| status.success()), "a worker failed");
        }
        native.push(native_batches.at(0.0));
        ours.push(our_batches.at(0.0));
    }
    Row {
        what: "ordinary read (one byte of /dev/zero), without and with the shim".into(),
        place: Place::default(),
        unit: "ns".into(),
        goal: Goal::MoreAtMost(5.0),
        native: Some(native.median()),
        ours: ours.median(),
        ratio: None,
        note: format!(
            "least of {batches} batches of {READS} reads; median of {processes} processes each; native {:.1} to {:.1}, ours {:.1} to {:.1}",
            native.at(0.0),
            native.at(1.0),
            ours.at(0.0),
            ours.at(1.0)
        ),
    }
}
