//! Descriptors that are lacking, and those that are not what they were.

use std::fs;
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, poll};

use crate::call::{self, Way};
use crate::descriptors::{is_emulated, open_descriptors, watching};
use crate::wire;

/// Once: the helper that waits for a lack of instances to pass is not meant here.
fn init_once() -> Result<OwnedFd, Errno> {
    // SAFETY: takes flags only.
    let fd = Errno::result(unsafe { libc::inotify_init1(libc::IN_NONBLOCK | libc::IN_CLOEXEC) })?;
    // SAFETY: the call has just returned this descriptor, which nobody else has.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Sets the soft limit of descriptors of a process, itself for 0, and gives the one that was.
pub(crate) fn set_descriptor_limit(process: i32, limit: u64) -> Result<u64> {
    let mut old = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `old` lives through the call, which writes it; nothing is set.
    Errno::result(unsafe { libc::prlimit(process, libc::RLIMIT_NOFILE, std::ptr::null(), &raw mut old) })?;
    let new = libc::rlimit { rlim_cur: limit, ..old };
    // SAFETY: `new` lives through the call, which reads it.
    Errno::result(unsafe { libc::prlimit(process, libc::RLIMIT_NOFILE, &raw const new, std::ptr::null_mut()) })?;
    Ok(old.rlim_cur)
}

/// The numbers of a process's descriptors, in order.
fn numbers(process: i32) -> Result<Vec<u64>> {
    let number = |entry: std::io::Result<fs::DirEntry>| Ok(entry?.file_name().to_string_lossy().parse()?);
    let mut numbers = fs::read_dir(format!("/proc/{process}/fd"))?.map(number).collect::<Result<Vec<u64>>>()?;
    numbers.sort_unstable();
    Ok(numbers)
}

/// The lowest number that a process has no descriptor of.
pub(crate) fn lowest_free(process: i32) -> Result<u64> {
    let numbers = numbers(process)?;
    Ok((0..).zip(&numbers).find(|(free, number)| free != *number).map_or(numbers.len() as u64, |(free, _)| free))
}

/// The highest number that a process has a descriptor of.
fn highest(process: i32) -> Result<u64> {
    Ok(numbers(process)?.last().copied().unwrap_or(0))
}

/// An emulator without a descriptor left says so: as Linux does, and at once.
pub(crate) fn full_emulator(folder: &Path) -> Result<()> {
    const TRIES: usize = 100;
    const ROOM: u64 = 4;
    // Each request of its own brings the emulator a descriptor.
    let asks_for_all = std::env::var("UINOTIFY_SETTLE").is_ok_and(|way| way == "request");
    let instance = watching(folder)?;
    let fd = instance.as_raw_fd();
    is_emulated(fd, folder, "before")?;
    let emulator = call::emulator_of(fd);
    let room = highest(emulator)? + 1 + ROOM;
    let limit = set_descriptor_limit(emulator, room)?;
    let idle = (0..=room).map(|_| wire::connection()).collect::<Result<Vec<_>>>()?;
    let last = idle.last().context("a connection")?;
    // The emulator takes them in their order: when it has refused the last one, it is full.
    let mut entry = [PollFd::new(last.as_fd(), PollFlags::POLLIN)];
    ensure!(poll(&mut entry, 10_000_u16) == Ok(1), "a full emulator does not answer");
    let mut answers = Vec::new();
    for _ in 0..TRIES {
        answers.push(init_once().map(drop));
    }
    fs::write(folder.join("meanwhile"), "")?;
    let events = if asks_for_all { None } else { Some(call::read(Way::Libc, fd, 4096)) };
    drop(idle);
    set_descriptor_limit(emulator, limit)?;
    for (number, answer) in answers.iter().enumerate() {
        ensure!(*answer == Err(Errno::EMFILE), "inotify_init {number} of a full emulator: {answer:?}");
    }
    let events = call::events(&events.unwrap_or_else(|| call::read(Way::Libc, fd, 4096))?);
    ensure!(events.len() == 1 && events[0].name() == "meanwhile", "{events:?}");
    is_emulated(fd, folder, "after")?;
    is_emulated(watching(folder)?.as_raw_fd(), folder, "another")
}

/// Nobody reads what the emulator says, which therefore holds up nobody.
pub(crate) fn unheard(folder: &Path) -> Result<()> {
    const INSTANCES: usize = 10;
    fill_stderr()?;
    for number in 0..INSTANCES {
        let instance = watching(folder).with_context(|| format!("instance {number}"));
        // What is said on standard error nobody hears.
        let checked = instance.and_then(|instance| is_emulated(instance.as_raw_fd(), folder, &number.to_string()));
        if let Err(error) = checked {
            println!("{error:#}");
            return Err(error);
        }
    }
    Ok(())
}

/// Until there is no room, or nobody.
fn fill_stderr() -> Result<()> {
    // SAFETY: takes numbers only.
    let flags = Errno::result(unsafe { libc::fcntl(2, libc::F_GETFL) })?;
    // SAFETY: takes numbers only.
    Errno::result(unsafe { libc::fcntl(2, libc::F_SETFL, flags | libc::O_NONBLOCK) })?;
    let refused = loop {
        if let Err(error) = std::io::stderr().write_all(b"x") {
            break error;
        }
    };
    // The emulator has the same open file.
    // SAFETY: takes numbers only.
    Errno::result(unsafe { libc::fcntl(2, libc::F_SETFL, flags) })?;
    let refused = refused.raw_os_error().map(Errno::from_raw);
    ensure!(matches!(refused, Some(Errno::EAGAIN | Errno::EPIPE)), "standard error gives {refused:?}");
    Ok(())
}

/// The numbers of an instance and of what the shim holds for it.
struct Held {
    instance: OwnedFd,
    numbers: Vec<RawFd>,
}

fn attached(folder: &Path) -> Result<Held> {
    let numbers = || -> Result<Vec<RawFd>> {
        let all = open_descriptors()?;
        all.iter().map(|line| Ok(line.split(' ').next().context("a number")?.parse()?)).collect()
    };
    let before = numbers()?;
    let instance = watching(folder)?;
    ensure!(call::read(Way::Libc, instance.as_raw_fd(), 4096) == Err(Errno::EAGAIN), "nothing has happened");
    let fd = instance.as_raw_fd();
    let numbers: Vec<_> = numbers()?.into_iter().filter(|number| *number != fd && !before.contains(number)).collect();
    ensure!(!numbers.is_empty(), "the shim holds something");
    Ok(Held { instance, numbers })
}

/// Closes what the shim holds past it, and gives the numbers to files of the program's own: each holds its number.
fn take_numbers(numbers: &[RawFd]) -> Result<Vec<OwnedFd>> {
    let take = |&number: &RawFd| -> Result<OwnedFd> {
        let end = number;
        // SAFETY: takes numbers only; nobody but the shim has this descriptor.
        Errno::result(unsafe { uinotify_harness::raw_syscall!(libc::SYS_close_range, number, end, 0) })?;
        // SAFETY: takes numbers only.
        let fd =
            Errno::result(unsafe { libc::eventfd(number.unsigned_abs(), libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) })?;
        // SAFETY: the call has just returned this descriptor, which nobody else has.
        let event = unsafe { OwnedFd::from_raw_fd(fd) };
        if fd == number {
            return Ok(event);
        }
        // SAFETY: takes numbers only; nothing has the target.
        Errno::result(unsafe { uinotify_harness::raw_syscall!(libc::SYS_dup3, fd, number, libc::O_CLOEXEC) })?;
        // SAFETY: nothing had the number, which is now ours.
        Ok(unsafe { OwnedFd::from_raw_fd(number) })
    };
    numbers.iter().map(take).collect()
}

/// Each is the file that it was, and nobody has read or written it: its value is its number.
fn are_untouched(events: Vec<OwnedFd>, what: &str) -> Result<()> {
    use std::os::fd::IntoRawFd;
    let fds: Vec<_> = events.into_iter().map(IntoRawFd::into_raw_fd).collect();
    for fd in &fds {
        let value = call::read(Way::Raw, *fd, 8);
        let expected = u64::from(fd.unsigned_abs()).to_ne_bytes().to_vec();
        ensure!(value == Ok(expected), "{what}: eventfd {fd} gives {value:?}");
    }
    for fd in fds {
        // SAFETY: it was owned, and is there as was just seen.
        drop(unsafe { OwnedFd::from_raw_fd(fd) });
    }
    Ok(())
}

/// `close_range(2)` or `closefrom(3)` may take from the shim what it holds, and the program may give the numbers to files of its
/// own: those the shim leaves alone, whatever it does.
pub(crate) fn taken_numbers(folder: &Path) -> Result<()> {
    let held = attached(folder)?;
    let events = take_numbers(&held.numbers)?;
    drop(held.instance);
    are_untouched(events, "after close")?;

    let held = attached(folder)?;
    let events = take_numbers(&held.numbers)?;
    let null = fs::File::open("/dev/null")?;
    // SAFETY: takes numbers only; the target is the instance.
    Errno::result(unsafe { libc::dup2(null.as_raw_fd(), held.instance.as_raw_fd()) })?;
    are_untouched(events, "after dup2 over the instance")?;

    let held = attached(folder)?;
    let events = take_numbers(&held.numbers)?;
    is_emulated(held.instance.as_raw_fd(), folder, "used")?;
    is_emulated(watching(folder)?.as_raw_fd(), folder, "beside")?;
    are_untouched(events, "after use")?;

    // The shim gives up what it holds where the program has no number left, and may not have any of this.
    let held = attached(folder)?;
    let events = take_numbers(&held.numbers)?;
    let limit = set_descriptor_limit(0, lowest_free(std::process::id().cast_signed())?)?;
    let made = init_once().map(drop);
    set_descriptor_limit(0, limit)?;
    ensure!(made == Err(Errno::EMFILE), "inotify_init without a number left: {made:?}");
    are_untouched(events, "after inotify_init at EMFILE")?;
    is_emulated(held.instance.as_raw_fd(), folder, "afterwards")
}

/// With no descriptor number left, Linux adds watches all the same: so does an instance for which the shim holds something.
pub(crate) fn full_table(folder: &Path) -> Result<()> {
    // The shim's own numbers are below the limit that it finds.
    let limit = set_descriptor_limit(0, 64)?;
    let held = attached(folder)?;
    let fd = held.instance.as_raw_fd();
    let mut fillers = Vec::new();
    let refused = loop {
        match fs::File::open("/dev/null") {
            Ok(file) => fillers.push(file),
            Err(error) => break error,
        }
    };
    let beside = folder.join("beside");
    let added = call::add_watch(Way::Libc, fd, folder, libc::IN_CREATE | libc::IN_MASK_ADD);
    let again = call::add_watch(Way::Libc, fd, folder, libc::IN_CREATE | libc::IN_MASK_ADD);
    drop(fillers.pop());
    let created = fs::File::create(&beside);
    let read = call::read(Way::Libc, fd, 4096);
    set_descriptor_limit(0, limit)?;
    ensure!(refused.raw_os_error() == Some(libc::EMFILE), "{refused}");
    created?;
    fs::remove_file(&beside)?;
    ensure!(added == Ok(1) && again == Ok(1), "{added:?} {again:?}");
    let events = read.map(|bytes| call::events(&bytes).len());
    ensure!(events == Ok(1), "{events:?}");
    is_emulated(fd, folder, "afterwards")
}
