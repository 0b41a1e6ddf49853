//! Which file systems are mounted: fanotify tells nothing when one goes.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// The mounts of this process's name space.
#[derive(Debug)]
pub(super) struct Mounts {
    /// Whoever waits, waits for this one. Each poll takes the news from the descriptor that it asks.
    waited: File,
    asked: File,
}

impl Mounts {
    /// # Errors
    ///
    /// If procfs cannot be read.
    pub(super) fn new() -> io::Result<Self> {
        let open = || File::open("/proc/self/mountinfo");
        let mounts = Self { waited: open()?, asked: open()? };
        mounts.has_changed();
        Ok(mounts)
    }

    /// Whether anything was mounted or unmounted since this was last asked.
    pub(super) fn has_changed(&self) -> bool {
        let mut one = [PollFd::new(self.asked.as_fd(), PollFlags::POLLPRI)];
        poll(&mut one, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
    }

    /// Devices of what is mounted, as the kernel numbers them inside.
    ///
    /// # Errors
    ///
    /// If procfs cannot be read.
    pub(super) fn devices() -> io::Result<BTreeSet<u64>> {
        Ok(devices(&std::fs::read("/proc/self/mountinfo")?))
    }
}

impl AsFd for Mounts {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.waited.as_fd()
    }
}

/// The third word of each line, MAJOR:MINOR, as the kernel numbers devices inside.
fn devices(text: &[u8]) -> BTreeSet<u64> {
    let device = |line: &[u8]| {
        let word = std::str::from_utf8(line.split(|byte| *byte == b' ').nth(2)?).ok()?;
        let (major, minor) = word.split_once(':')?;
        Some(major.parse::<u64>().ok()? << 20 | minor.parse::<u64>().ok()?)
    };
    text.split(|byte| *byte == b'\n').filter_map(device).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_read_whatever_the_paths_are() {
        let text =
            b"22 1 254:0 / / rw,relatime - ext4 /dev/root rw\n23 22 0:39 / /m\xff\\040x rw - tmpfs none rw\n\nodd\n";
        assert_eq!(devices(text), BTreeSet::from([254 << 20, 39]));
    }
}
