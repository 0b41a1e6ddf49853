//! Closing what might block.
//!
//! The last close of a descriptor that a program holds or sent can wait for that program: for a file of its own FUSE mount, or
//! an epoll that watches one.

use std::os::fd::OwnedFd;
use std::thread;

use crossbeam_channel::{Sender, unbounded};
use uinotify_source::inotify::{Instance, KernelWd};

/// The thread that ends kernel instances.
#[derive(Debug)]
pub(crate) struct Closer {
    // Each entry holds a descriptor, so their number is bounded by the limit of those.
    doomed: Sender<(Instance, Vec<KernelWd>)>,
}

impl Closer {
    pub(crate) fn start() -> std::io::Result<Self> {
        let (doomed, receiver) = unbounded::<(Instance, Vec<KernelWd>)>();
        thread::Builder::new().name("closer".into()).spawn(move || {
            for (instance, watched) in receiver {
                instance.retire(watched);
            }
        })?;
        Ok(Self { doomed })
    }

    /// Ends a kernel instance that a program may hold as well.
    pub(crate) fn retire(&self, instance: Instance, watched: Vec<KernelWd>) {
        // Without the thread, which never ends before this, the instance is dropped here.
        let _ = self.doomed.send((instance, watched));
    }
}

/// Closes a descriptor of unknown kind that a program has sent, on a thread of its own: should it block, it blocks nobody else.
pub(crate) fn close_apart(fd: OwnedFd) {
    // Where no thread can be had the descriptor is closed here, with the closure.
    let _ = thread::Builder::new().name("closer".into()).spawn(move || drop(fd));
}
