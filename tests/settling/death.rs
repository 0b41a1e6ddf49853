//! The emulator is killed: an error for everybody, at once, and no silence.

use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::call::{self, Poll, Way};
use crate::threads::{is_asleep, thread_id};

const LONG: Duration = Duration::from_secs(1000);

fn watching(folder: &Path, flags: i32) -> Result<OwnedFd> {
    let instance = call::init(Way::Libc, flags)?;
    call::add_watch(Way::Libc, instance.as_raw_fd(), folder, libc::IN_CREATE)?;
    Ok(instance)
}

/// Waits until a killed process has closed its descriptors, one after the other: its parent, the command, then reaps it.
fn has_ended(process: Pid) -> bool {
    let path = format!("/proc/{process}");
    crate::shared::yield_until(1_000_000, || !Path::new(&path).exists())
}

pub(crate) fn killed(folder: &Path) -> Result<()> {
    // What `queued` holds is in the socket; the others are waited for, each in its own way.
    let queued = watching(folder, libc::IN_NONBLOCK)?;
    fs::write(folder.join("before"), "")?;
    ensure!(call::readable(Way::Libc, Poll::Poll, &[queued.as_raw_fd()], Duration::ZERO)? == [true], "an event");
    let empty = watching(folder, libc::IN_NONBLOCK)?;
    let waiting = [0, 0, 0, 0, 0].map(|flags| watching(folder, flags));
    let waiting = waiting.into_iter().collect::<Result<Vec<_>>>()?;
    let fds: Vec<_> = waiting.iter().map(AsRawFd::as_raw_fd).collect();
    let emulator = Pid::from_raw(call::emulator_of(queued.as_raw_fd()));

    std::thread::scope(|scope| -> Result<()> {
        let (tell, told) = std::sync::mpsc::channel();
        let waiters: Vec<_> = fds
            .iter()
            .enumerate()
            .map(|(index, &fd)| {
                let tell = tell.clone();
                scope.spawn(move || -> Result<()> {
                    tell.send(thread_id())?;
                    match index {
                        0 => {}
                        1 => ensure!(call::readable(Way::Libc, Poll::Poll, &[fd], LONG)? == [true], "poll"),
                        2 => ensure!(call::readable(Way::Libc, Poll::PSelect, &[fd], LONG)? == [true], "pselect"),
                        3 => {
                            let epoll = call::epoll(Way::Libc, &[(fd, libc::EPOLLIN)])?;
                            ensure!(call::epoll_wait(Way::Libc, epoll.as_raw_fd(), 1_000_000)? == [fd], "epoll_wait");
                        }
                        _ => {
                            let pieces = call::read_pieces(Way::Libc, fd, [64; 3]);
                            ensure!(pieces == Err(Errno::EIO), "readv: {pieces:?}");
                        }
                    }
                    let bytes = call::read(Way::Libc, fd, 4096);
                    ensure!(bytes == Err(Errno::EIO), "read that waited in way {index}: {}", call::show(&bytes));
                    Ok(())
                })
            })
            .collect();
        for _ in &waiters {
            let thread = told.recv()?;
            ensure!(is_asleep(thread), "thread {thread} waits");
        }
        kill(emulator, Signal::SIGKILL)?;
        for waiter in waiters {
            waiter.join().map_err(|_| anyhow::anyhow!("a waiter panicked"))??;
        }
        Ok(())
    })?;

    ensure!(has_ended(emulator), "the emulator ends");
    let fd = queued.as_raw_fd();
    let events = call::events(&call::read(Way::Libc, fd, 4096).context("what is in the socket can be read")?);
    ensure!(events.len() == 1 && events[0].name() == "before", "{events:?}");
    for is_later in [false, true] {
        if is_later {
            // The kernel instance lives on where the shim holds it, and has events for nobody.
            fs::write(folder.join("after"), "")?;
        }
        for fd in [queued.as_raw_fd(), empty.as_raw_fd(), fds[0]] {
            for room in [0, 16, 100, 4096] {
                let bytes = call::read(Way::Libc, fd, room);
                ensure!(bytes == Err(Errno::EIO), "read({room}): {}", call::show(&bytes));
            }
            let pieces = call::read_pieces(Way::Libc, fd, [16, 4096, 1]);
            ensure!(pieces == Err(Errno::EIO), "readv: {pieces:?}");
            for call in [Poll::Poll, Poll::PPoll, Poll::Select, Poll::PSelect] {
                for timeout in [Duration::ZERO, LONG] {
                    ensure!(call::readable(Way::Libc, call, &[fd], timeout)? == [true], "{call:?} of a dead one");
                }
            }
            let count = call::queued_bytes(Way::Libc, fd);
            ensure!(count == Err(Errno::EIO), "FIONREAD: {count:?}");
            let added = call::add_watch(Way::Libc, fd, folder, libc::IN_CREATE);
            ensure!(added == Err(Errno::ENOMEM), "inotify_add_watch: {added:?}");
            ensure!(call::remove_watch(fd, 1) == Err(Errno::EIO), "inotify_rm_watch");
            ensure!(call::set_cursor(Way::Libc, fd, 5) == Err(Errno::EIO), "INOTIFY_IOC_SETNEXTWD");
        }
        let made = call::init(Way::Libc, 0);
        ensure!(made.is_err_and(|errno| errno == Errno::ENOMEM), "inotify_init1");
    }
    let log = fs::read_to_string(std::env::var("UINOTIFY_LOG")?).unwrap_or_default();
    ensure!(log.lines().any(|line| line.contains("has died")), "UINOTIFY_LOG tells of the death: {log:?}");
    Ok(())
}

/// A program that only reads is told, too.
pub(crate) fn told_to_a_reader(folder: &Path) -> Result<()> {
    let instance = watching(folder, libc::IN_NONBLOCK)?;
    ensure!(call::read(Way::Libc, instance.as_raw_fd(), 4096) == Err(Errno::EAGAIN), "nothing has happened");
    kill(Pid::from_raw(call::emulator_of(instance.as_raw_fd())), Signal::SIGKILL)?;
    ensure!(call::readable(Way::Libc, Poll::Poll, &[instance.as_raw_fd()], LONG)? == [true], "poll sees the end");
    ensure!(call::read(Way::Libc, instance.as_raw_fd(), 4096) == Err(Errno::EIO), "read fails");
    let log = fs::read_to_string(std::env::var("UINOTIFY_LOG")?).unwrap_or_default();
    ensure!(log.lines().any(|line| line.contains("has died")), "UINOTIFY_LOG tells of the death: {log:?}");
    Ok(())
}

/// Past the shim the end shows first, once, as the plug was never taken; then comes what was in the socket (DIFF-9).
pub(crate) fn told_past_the_shim(folder: &Path) -> Result<()> {
    let instance = watching(folder, libc::IN_NONBLOCK)?;
    let fd = instance.as_raw_fd();
    fs::write(folder.join("before"), "")?;
    ensure!(call::readable(Way::Libc, Poll::Poll, &[fd], Duration::ZERO)? == [true], "an event");
    let emulator = Pid::from_raw(call::emulator_of(fd));
    kill(emulator, Signal::SIGKILL)?;
    ensure!(has_ended(emulator), "the emulator ends");
    ensure!(call::read(Way::Raw, fd, 4096) == Err(Errno::ECONNRESET), "the end is an error");
    let events = call::events(&call::read(Way::Raw, fd, 4096)?);
    ensure!(events.len() == 1 && events[0].name() == "before", "{events:?}");
    ensure!(call::read(Way::Raw, fd, 4096) == Ok(Vec::new()), "the end of file");
    Ok(())
}
