//! Threads, and the copies that fork makes of them in the middle of a request.

use std::fs::{self, File};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Result, ensure};
use nix::errno::Errno;

use crate::call::{self, Way};
use crate::descriptors::{open_descriptors, watching};
use crate::process;
use crate::threads::SetAtEnd;

/// One thread adds and removes while another one reads, whose first read is that of the instance.
pub(crate) fn adding_and_removing(folder: &Path) -> Result<()> {
    const ROUNDS: usize = 60;
    const WATCHES: usize = 40;
    let paths: Vec<PathBuf> = (1..=WATCHES).map(|number| folder.join(number.to_string())).collect();
    for path in &paths {
        File::create(path)?;
    }
    for round in 0..ROUNDS {
        let instance = call::init(Way::Libc, 0)?;
        let fd = instance.as_raw_fd();
        let start = Barrier::new(2);
        let ended = std::thread::scope(|scope| -> Result<Vec<i32>> {
            let reader = scope.spawn(|| -> Result<Vec<i32>> {
                start.wait();
                let mut ended = Vec::new();
                while ended.len() < WATCHES {
                    for event in call::events(&call::read(Way::Libc, fd, 8192)?) {
                        ensure!(event.mask == libc::IN_IGNORED, "round {round}: {event:?}");
                        ended.push(event.wd);
                    }
                }
                Ok(ended)
            });
            let change = || -> Result<()> {
                for (wd, path) in (1..).zip(&paths) {
                    if wd == 3 {
                        start.wait();
                    }
                    let added = call::add_watch(Way::Libc, fd, path, libc::IN_OPEN | libc::IN_MASK_CREATE);
                    ensure!(added == Ok(wd), "round {round}: {added:?} for watch {wd}");
                }
                for (wd, _) in (1..).zip(&paths) {
                    let removed = call::remove_watch(fd, wd);
                    ensure!(removed.is_ok(), "round {round}: {removed:?} for the removal of {wd}");
                }
                Ok(())
            };
            if let Err(error) = change() {
                // The reader waits for what does not come.
                println!("{error:#}");
                std::process::exit(1);
            }
            reader.join().map_err(|_| anyhow::anyhow!("the reader panicked"))?
        })?;
        ensure!(ended.iter().copied().eq(1..=i32::try_from(WATCHES)?), "round {round}: {ended:?}");
    }
    Ok(())
}

/// Whichever of three first reads gets what the shim holds for an instance, what the others got goes back.
pub(crate) fn fresh_instances() -> Result<()> {
    const ROUNDS: usize = 150;
    let before = open_descriptors()?;
    for _ in 0..ROUNDS {
        let instance = call::init(Way::Libc, libc::IN_NONBLOCK)?;
        let start = Barrier::new(3);
        std::thread::scope(|scope| -> Result<()> {
            let read = || {
                start.wait();
                call::read(Way::Libc, instance.as_raw_fd(), 4096)
            };
            let readers = [(); 3].map(|()| scope.spawn(read));
            for reader in readers {
                let bytes = reader.join().map_err(|_| anyhow::anyhow!("a reader panicked"))?;
                ensure!(bytes == Err(Errno::EAGAIN), "{}", call::show(&bytes));
            }
            Ok(())
        })?;
    }
    let after = open_descriptors()?;
    ensure!(before == after, "descriptors before and after: {before:?}, {after:?}");
    Ok(())
}

/// A child begins with one thread: what the others were asking for at the fork, nobody will end in it.
pub(crate) fn forking(folder: &Path) -> Result<()> {
    const CHILDREN: usize = 100;
    // Without the shim's aids each request has a pipe, of which the child of the moment has a copy.
    let has_pipes = std::env::var("UINOTIFY_SETTLE").is_ok_and(|way| way == "request");
    let none = open_descriptors()?;
    let instance = watching(folder)?;
    let fd = instance.as_raw_fd();
    ensure!(call::read(Way::Libc, fd, 4096) == Err(Errno::EAGAIN), "nothing has happened");
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                assert_eq!(call::remove_watch(fd, i32::MAX), Err(Errno::EINVAL), "an unknown wd");
            }
        });
        let _end = SetAtEnd(&is_over);
        for number in 0..CHILDREN {
            process::run(|| child(folder, number, &instance, (!has_pipes).then_some(&none[..])));
        }
    });
    ensure!(call::add_watch(Way::Libc, fd, folder, libc::IN_CREATE) == Ok(1), "the parent's is as it was");
    drop(instance);
    ensure!(open_descriptors()? == none, "nothing is left in the parent");
    Ok(())
}

/// `none` are the descriptors without any instance, where they can be told.
fn child(folder: &Path, number: usize, instance: &OwnedFd, none: Option<&[String]>) {
    let fd = instance.as_raw_fd();
    assert_eq!(call::add_watch(Way::Libc, fd, folder, libc::IN_CREATE), Ok(1), "add_watch of what is watched");
    let name = format!("child{number}");
    fs::write(folder.join(&name), "").expect("a file");
    let events = call::events(&call::read(Way::Libc, fd, 4096).expect("an event"));
    assert!(events.len() == 1 && events[0].name() == name, "{events:?}");
    let wd = call::add_watch(Way::Libc, fd, &folder.join(&name), libc::IN_OPEN).expect("a new watch");
    assert_eq!(call::remove_watch(fd, wd), Ok(()), "the removal of {wd}");
    assert!(call::read(Way::Libc, fd, 4096).is_ok_and(|bytes| bytes.len() == 16), "IN_IGNORED");
    // SAFETY: the descriptor is the copy of this process, which does not use it any more.
    assert_eq!(unsafe { libc::close(fd) }, 0, "close");
    if let Some(none) = none {
        let left = open_descriptors().expect("the descriptors");
        assert_eq!(left, none, "what the shim holds for a closed instance");
    }
}
