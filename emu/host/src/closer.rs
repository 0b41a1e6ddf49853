//! Closing what might block.
//!
//! The last close of a descriptor that a program holds or sent can wait for that program: for a file of its own FUSE mount, or
//! an epoll that watches one.

use std::os::fd::OwnedFd;
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
}

impl Closer {
    pub(crate) fn start() -> std::io::Result<Self> {
        let (orders, receiver) = unbounded();
        thread::Builder::new().name("closer".into()).spawn(move || {
            for order in receiver {
                if let Order::Retire(instance, watched) = order {
                    instance.retire(watched);
                }
            }
        })?;
        Ok(Self { orders })
    }

    /// Ends a kernel instance that a program may hold as well.
    pub(crate) fn retire(&self, instance: Instance, watched: Vec<KernelWd>) {
        // Without the thread, which never ends before this, the instance is dropped here.
        let _ = self.orders.send(Order::Retire(instance, watched));
    }

    /// Waits until what was retired has ended, so that the kernel counts it no longer.
    pub(crate) fn wait(&self) {
        let (done, is_done) = bounded(0);
        if self.orders.send(Order::Report(done)).is_ok() {
            // An end of the channel, too, means that it is done.
            let _ = is_done.recv_timeout(PATIENCE);
        }
    }
}

/// Closes a descriptor of unknown kind that a program has sent, on a thread of its own: should it block, it blocks nobody else.
pub(crate) fn close_apart(fd: OwnedFd) {
    // Where no thread can be had the descriptor is closed here, with the closure.
    let _ = thread::Builder::new().name("closer".into()).spawn(move || drop(fd));
}
