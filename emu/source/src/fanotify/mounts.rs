//! Which file systems are mounted: fanotify tells nothing when one goes.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::mountinfo::mounted;

/// The mounts of this process's name space.
#[derive(Debug)]
pub(crate) struct Mounts {
    /// Whoever waits, waits for this one. Each poll takes the news from the descriptor that it asks.
    waited: File,
    asked: File,
}

impl Mounts {
    /// # Errors
    ///
    /// If procfs cannot be read.
    pub(crate) fn new() -> io::Result<Self> {
        let open = || File::open("/proc/self/mountinfo");
        let mounts = Self { waited: open()?, asked: open()? };
        mounts.has_changed();
        Ok(mounts)
    }

    /// Whether anything was mounted or unmounted since this was last asked.
    pub(crate) fn has_changed(&self) -> bool {
        let mut one = [PollFd::new(self.asked.as_fd(), PollFlags::POLLPRI)];
        poll(&mut one, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
    }

    /// Devices of what is mounted, as the kernel numbers them inside.
    ///
    /// # Errors
    ///
    /// If procfs cannot be read.
    pub(crate) fn devices() -> io::Result<BTreeSet<u64>> {
        let devices = mounted()?.into_iter().map(|mount| mount.device);
        Ok(devices.map(|(major, minor)| u64::from(major) << 20 | u64::from(minor)).collect())
    }
}

impl AsFd for Mounts {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.waited.as_fd()
    }
}
