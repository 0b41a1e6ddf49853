//! Closing what might block.
//!
//! The last close of a descriptor that a program holds or sent can wait for that program: for a file of its own FUSE mount, or
//! an epoll that watches one.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Sender, bounded, unbounded};
use uinotify_source::inotify::{Instance, KernelWd};

/// How long an instance may keep us waiting that a program holds up.
const PATIENCE: Duration = Duration::from_secs(1);

enum Order {
    Retire(Instance, Vec<KernelWd>),
    /// Dropping it tells that all before it is done.
    Report(#[allow(dead_code, reason = "it is there to be dropped")] Sender<()>),
}

/// The thread that ends kernel instances: the kernel takes milliseconds over each.
#[derive(Debug)]
pub(crate) struct Closer {
    // Each entry but a report holds a descriptor, so their number is bounded by the limit of those.
    orders: Sender<Order>,
    /// Instances that were given to the thread and have not ended.
    left: Arc<AtomicUsize>,
}

impl Closer {
    pub(crate) fn start() -> std::io::Result<Self> {
        let (orders, receiver) = unbounded();
        let left = Arc::new(AtomicUsize::new(0));
        let ended = Arc::clone(&left);
        thread::Builder::new().name("closer".into()).spawn(move || {
            for order in receiver {
                if let Order::Retire(instance, watched) = order {
                    instance.retire(watched);
                    drop(instance);
                    ended.fetch_sub(1, Ordering::AcqRel);
                }
            }
        })?;
        Ok(Self { orders, left })
    }

    /// Ends a kernel instance that a program may hold as well.
    pub(crate) fn retire(&self, instance: Instance, watched: Vec<KernelWd>) {
        // Without the thread, which never ends before this, the instance is dropped here.
        self.left.fetch_add(1, Ordering::AcqRel);
        let _ = self.orders.send(Order::Retire(instance, watched));
    }

    /// Waits until what was retired has ended, so that the kernel counts it no longer.
    pub(crate) fn wait(&self) {
        // A program at its limit asks for each watch.
        if self.left.load(Ordering::Acquire) == 0 {
            return;
        }
        let (done, is_done) = bounded(0);
        if self.orders.send(Order::Report(done)).is_ok() {
            // An end of the channel, too, means that it is done.
            let _ = is_done.recv_timeout(PATIENCE);
        }
    }
}

/// How many closes may keep a thread waiting at the same time.
const CLOSERS_MAX: usize = 64;

/// What is to be closed, and the threads that do it.
struct Closes {
    waiting: Vec<OwnedFd>,
    threads: usize,
}

static CLOSES: Mutex<Closes> = Mutex::new(Closes { waiting: Vec::new(), threads: 0 });

/// Closes a descriptor of unknown kind that a program has sent, on another thread: should it block, it blocks nobody else.
pub(crate) fn close_apart(fd: OwnedFd) {
    let mut closes = CLOSES.lock().unwrap_or_else(PoisonError::into_inner);
    closes.waiting.push(fd);
    if closes.threads == CLOSERS_MAX {
        return;
    }
    closes.threads += 1;
    drop(closes);
    if thread::Builder::new().name("closer".into()).spawn(close_waiting).is_err() {
        // Where no thread can be had they are closed here.
        close_waiting();
    }
}

/// Closes one after the other until none is left.
fn close_waiting() {
    loop {
        let mut closes = CLOSES.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(fd) = closes.waiting.pop() else {
            closes.threads -= 1;
            return;
        };
        drop(closes);
        drop(fd);
    }
}
