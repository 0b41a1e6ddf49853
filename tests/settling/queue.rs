//! A queue that is longer than its window: order, counts and the place of the overflow event are the kernel's.

use std::fs::{self, File, Permissions};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use nix::errno::Errno;

use uinotify_harness::raw;
use uinotify_wire::{Reply, RequestKind};

use crate::call::{self, Poll, Way};
use crate::random::Random;
use crate::wire;

/// Lengths around the window's, the limit's, and between.
const COUNTS: &[u32] = &[1, 2, 169, 170, 171, 172, 340, 341, 342, 343, 1000, 5000];

/// The kernel's own limit, unless the machine has another: asked of the machine.
pub(crate) fn kernel_limit() -> Result<u32> {
    Ok(raw::read_small_file(c"/proc/sys/fs/inotify/max_queued_events")?.trim().parse()?)
}

/// `queue_limit` is the emulated one's.
pub(crate) fn beyond_the_window(folder: &Path, queue_limit: u32, seed: u64) -> Result<()> {
    let mut random = Random::new(seed);
    let kernel_limit = kernel_limit()?;
    for (round, &count) in COUNTS.iter().chain(&[20_000, kernel_limit - 1, kernel_limit, kernel_limit + 1]).enumerate()
    {
        let emulated = call::init(Way::Libc, libc::IN_NONBLOCK)?;
        let kernel = call::init(Way::Raw, libc::IN_NONBLOCK)?;
        let (emulated, kernel) = (emulated.as_raw_fd(), kernel.as_raw_fd());
        call::add_watch(Way::Libc, emulated, folder, libc::IN_CREATE)?;
        call::add_watch(Way::Raw, kernel, folder, libc::IN_CREATE)?;
        for number in 0..count {
            let path = folder.join(format!("{number:0width$}", width = 1 + (number as usize * 7) % 40));
            File::create(&path)?;
            fs::remove_file(&path)?;
        }
        if round % 2 == 0 {
            let (ours, its) = (call::queued_bytes(Way::Libc, emulated)?, call::queued_bytes(Way::Raw, kernel)?);
            ensure!(
                ours == its || count > queue_limit.min(kernel_limit),
                "FIONREAD with {count} events: {ours}, not {its}"
            );
        }
        let room = [16, 64, 272, 300, 4096, 65536][random.below(6) as usize];
        let (ours, its) = (drain(Way::Libc, emulated, room)?, drain(Way::Raw, kernel, room)?);
        check(&ours, count, queue_limit)
            .map_err(|error| error.context(format!("{count} events, read({room}), emulated")))?;
        check(&its, count, kernel_limit)
            .map_err(|error| error.context(format!("{count} events, read({room}), kernel")))?;
        if queue_limit == kernel_limit {
            ensure!(ours == its, "{count} events differ");
        }
    }
    Ok(())
}

/// Who reads with the shim takes a long queue with the replies to requests, and needs no full window. Who reads past it, as one event a
/// call, gets the rest all the same, each announced.
pub(crate) fn two_ways_of_reading(folder: &Path) -> Result<()> {
    const NAMES: [&str; 2] = ["one", "other"];
    let count = (kernel_limit()? as usize).min(16_000);
    let instance = call::init(Way::Libc, libc::IN_NONBLOCK)?;
    let fd = instance.as_raw_fd();
    for name in NAMES {
        File::create(folder.join(name))?;
    }
    call::add_watch(Way::Libc, fd, folder, libc::IN_ATTRIB)?;
    for number in 0..count {
        fs::set_permissions(folder.join(NAMES[number % 2]), Permissions::from_mode(0o600))?;
    }
    let mut events = Vec::new();
    // Of the shim's turns most have their events from a reply, in others the window was filled again fast enough.
    for (way, calls) in [(Way::Libc, 1), (Way::Raw, 200)].into_iter().cycle() {
        for _ in 0..calls.min(count - events.len()) {
            let is_readable = call::readable(Way::Raw, Poll::PPoll, &[fd], Duration::from_secs(10))? == [true];
            ensure!(is_readable, "after {} events of {count} the socket stays empty", events.len());
            events.extend(call::events(&call::read(way, fd, 32 * 1024)?));
        }
        if events.len() == count {
            break;
        }
    }
    for (number, event) in events.iter().enumerate() {
        ensure!(event.mask == libc::IN_ATTRIB && event.name() == NAMES[number % 2], "{event:?} at {number}");
    }
    ensure!(call::read(Way::Libc, fd, 4096) == Err(Errno::EAGAIN), "more than there was");
    Ok(())
}

/// All events that reads with a buffer of `room` give, and of 300 where one does not fit.
fn drain(way: Way, fd: i32, room: usize) -> Result<Vec<call::Event>> {
    let mut all = Vec::new();
    loop {
        match call::read(way, fd, room) {
            Ok(bytes) => all.extend(call::events(&bytes)),
            Err(Errno::EAGAIN) => return Ok(all),
            Err(Errno::EINVAL) => all.extend(call::events(&call::read(way, fd, 300)?)),
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// The first `limit` events in order, and behind them the overflow event if there were more (OVERFLOW-2).
fn check(events: &[call::Event], count: u32, limit: u32) -> Result<()> {
    let kept = count.min(limit);
    for (number, event) in (0..kept).zip(events) {
        let found: u32 = event.name().parse()?;
        ensure!(event.mask == libc::IN_CREATE && found == number, "{event:?} at the place of {number}");
    }
    let rest = events.get(kept as usize..).unwrap_or_default();
    match rest {
        [] => ensure!(count <= limit && events.len() == kept as usize, "{} events", events.len()),
        [last] => ensure!(count > limit && last.mask == libc::IN_Q_OVERFLOW && last.wd == -1, "{last:?} at the end"),
        more => anyhow::bail!("{} events too many", more.len()),
    }
    Ok(())
}

/// An edge-triggered epoll reports each event as it is queued, read or not; here as long as events go into the window. Who reads
/// to the end, as epoll(7) asks for, is told of the next.
pub(crate) fn edges(folder: &Path) -> Result<()> {
    const EVENTS: usize = 600;
    let count = |way: Way| -> Result<(usize, usize)> {
        let instance = call::init(way, libc::IN_NONBLOCK)?;
        let fd = instance.as_raw_fd();
        call::add_watch(way, fd, folder, libc::IN_CREATE)?;
        let epoll = call::epoll(way, &[(fd, libc::EPOLLIN | libc::EPOLLET)])?;
        let make = |number: usize| -> Result<bool> {
            let path = folder.join(number.to_string());
            File::create(&path)?;
            fs::remove_file(&path)?;
            Ok(call::epoll_wait(way, epoll.as_raw_fd(), 0)? == [fd])
        };
        let mut unread = 0;
        for number in 0..EVENTS {
            unread += usize::from(make(number)?);
        }
        let mut read = 0;
        for number in 0..EVENTS {
            while call::read(way, fd, 4096).is_ok() {}
            read += usize::from(make(number)?);
        }
        Ok((unread, read))
    };
    ensure!(count(Way::Raw)? == (EVENTS, EVENTS), "the kernel reports each");
    let (unread, read) = count(Way::Libc)?;
    ensure!(read == EVENTS, "{read} events of {EVENTS} reported to who reads to the end");
    ensure!((100..EVENTS).contains(&unread), "{unread} events of {EVENTS} reported to who does not read");
    Ok(())
}

/// So it does while a reader takes events with the replies to its requests, for whom the window is kept short.
pub(crate) fn edges_beside_a_reader(folder: &Path) -> Result<()> {
    const ATTEMPTS: usize = 30;
    let mut result = Ok(());
    for attempt in 0..ATTEMPTS {
        let folder = folder.join(format!("attempt{attempt}"));
        fs::create_dir(&folder)?;
        result = edges_beside_a_quick_reader(&folder);
        if result.is_ok() {
            break;
        }
    }
    result
}

/// A reader that asks for nothing for two milliseconds, as happens on a busy machine, has its window filled, and what is behind it makes no edge.
fn edges_beside_a_quick_reader(folder: &Path) -> Result<()> {
    const BEFORE: usize = 300;
    const READ: usize = 165;
    const EVENTS: usize = 40;
    let (instance, control) = wire::instance()?;
    let (fd, control) = (instance.as_raw_fd(), control.as_raw_fd());
    let object = fs::OpenOptions::new().read(true).custom_flags(libc::O_PATH).open(folder)?;
    let ask = |packet: &[u8], descriptors: &[RawFd]| -> Result<Reply> {
        wire::send(control, packet, descriptors)?;
        Ok(wire::reply(control)?.0)
    };
    ask(&wire::frame(RequestKind::AddWatch, 0, libc::IN_CREATE, b"folder"), &[object.as_raw_fd()])?;
    let epoll = call::epoll(Way::Raw, &[(fd, libc::EPOLLIN | libc::EPOLLET)])?;
    let make = |name: String| -> Result<()> {
        let path = folder.join(name);
        File::create(&path)?;
        Ok(fs::remove_file(&path)?)
    };
    for number in 0..BEFORE {
        make(format!("{number}"))?;
    }
    let settle = |room: u64| ask(&wire::frame(RequestKind::Settle, room, 0, b""), &[]);
    // The window is full, and is not filled again.
    ensure!(settle(1)?.flags & Reply::MORE != 0, "{BEFORE} events are more than a window");
    for _ in 0..READ {
        call::read(Way::Raw, fd, 4096)?;
    }
    for number in 0..EVENTS {
        settle(1)?;
        call::epoll_wait(Way::Raw, epoll.as_raw_fd(), 0)?;
        make(format!("beside{number}"))?;
        settle(0)?;
        let reported = call::epoll_wait(Way::Raw, epoll.as_raw_fd(), 0)?;
        ensure!(reported == [fd], "event {number} is no edge");
    }
    Ok(())
}
