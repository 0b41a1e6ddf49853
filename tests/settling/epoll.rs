//! An array of `epoll_wait(2)` that has just the room for what there is.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use anyhow::{Result, ensure};
use nix::errno::Errno;

use crate::call::{self, Way};

const ROUNDS: usize = 200;
const LONG_MILLISECONDS: i32 = 1_000_000;

/// Beside level-triggered descriptors that are always ready an instance is reported too: what happened before the call is in its
/// answer.
pub(crate) fn small_arrays(folder: &Path) -> Result<()> {
    let path = folder.join("written");
    let mut file = OpenOptions::new().create(true).append(true).open(&path)?;
    for events_max in [2, 3, 8] {
        let (reader, mut writer) = std::io::pipe()?;
        writer.write_all(b"x")?;
        let others = (1..events_max).map(|_| reader.try_clone()).collect::<Result<Vec<_>, _>>()?;
        let subject = |way: Way| -> Result<(OwnedFd, OwnedFd)> {
            let instance = call::init(way, libc::IN_NONBLOCK)?;
            call::add_watch(way, instance.as_raw_fd(), &path, libc::IN_MODIFY)?;
            // Registered last, it is looked at last.
            let entries = others.iter().map(|other| (other.as_raw_fd(), libc::EPOLLIN));
            let entries: Vec<_> = entries.chain([(instance.as_raw_fd(), libc::EPOLLIN)]).collect();
            let epoll = call::epoll(way, &entries)?;
            Ok((instance, epoll))
        };
        let subjects = [(Way::Raw, subject(Way::Raw)?), (Way::Libc, subject(Way::Libc)?)];
        for round in 0..ROUNDS {
            file.write_all(b"y")?;
            for (way, (instance, epoll)) in &subjects {
                let fd = instance.as_raw_fd();
                let found = call::epoll_wait_for(*way, epoll.as_raw_fd(), events_max, LONG_MILLISECONDS)?;
                ensure!(found.contains(&fd), "{way:?}, round {round}: {found:?} of {events_max} without {fd}");
                ensure!(found.len() == events_max, "{way:?}, round {round}: {found:?} of {events_max}");
                ensure!(call::read(*way, fd, 4096)?.len() == 16, "{way:?}, round {round}: one event");
                ensure!(call::read(*way, fd, 4096) == Err(Errno::EAGAIN), "{way:?}, round {round}: nothing else");
            }
        }
    }
    Ok(())
}
