//! What past the shim comes to an instance, and goes from it.

use std::fs;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;

use anyhow::{Result, ensure};
use nix::errno::Errno;

use crate::call::{self, Way};
use crate::descriptors::{is_emulated, watching};
use crate::wire;

/// Waits, with an end, until the emulator has taken all that was sent to it over `fd`.
fn is_taken(fd: RawFd) -> bool {
    crate::shared::yield_until(1_000_000, || {
        let mut unread: libc::c_int = -1;
        // SAFETY: the request writes one int, which lives through the call.
        let result = unsafe { uinotify_harness::raw_syscall!(libc::SYS_ioctl, fd, libc::TIOCOUTQ, &raw mut unread) };
        // The plug is left.
        result == 0 && unread <= PLUG_WEIGHT_MAX
    })
}

/// The kernel's account of the one packet that always stays unread.
const PLUG_WEIGHT_MAX: i32 = 8 * 1024;

/// `write(2)`.
fn write(fd: RawFd, bytes: &[u8]) -> Result<()> {
    // SAFETY: the bytes live through the call.
    Errno::result(unsafe { uinotify_harness::raw_syscall!(libc::SYS_write, fd, bytes.as_ptr(), bytes.len()) })?;
    Ok(())
}

/// `send(2)`, which unlike `write(2)` makes a packet of nothing.
fn send(fd: RawFd, bytes: &[u8]) -> Result<()> {
    let (start, length, no_address) = (bytes.as_ptr(), bytes.len(), std::ptr::null::<libc::sockaddr>());
    // SAFETY: the bytes live through the call; there is no address.
    Errno::result(unsafe { uinotify_harness::raw_syscall!(libc::SYS_sendto, fd, start, length, 0, no_address, 0) })?;
    Ok(())
}

/// Some bytes with as many copies of a descriptor.
fn send_descriptors(fd: RawFd, bytes: &[u8], count: usize) -> Result<()> {
    let null = fs::File::open("/dev/null")?;
    wire::send(fd, bytes, &vec![null.as_raw_fd(); count])?;
    Ok(())
}

/// Whatever is sent to what somebody takes for a socket or a file, the instance lives on.
pub(crate) fn packets(folder: &Path) -> Result<()> {
    let instance = watching(folder)?;
    let fd = instance.as_raw_fd();
    let head_of_frame = [&b"uino\x01\x01"[..], &[0; 18]].concat();
    let mut number = 0;
    let mut after = |what: &str, sent: Result<()>| -> Result<()> {
        sent.map_err(|error| error.context(what.to_owned()))?;
        ensure!(is_taken(fd), "{what} is not taken");
        number += 1;
        is_emulated(fd, folder, &format!("after{number}")).map_err(|error| error.context(format!("after {what}")))
    };
    for count in [1, 2, 3, 4, 100, 253] {
        after(&format!("{count} descriptors with junk"), send_descriptors(fd, b"junk", count))?;
        after(&format!("{count} descriptors with a frame"), send_descriptors(fd, &head_of_frame, count))?;
        after(&format!("{count} descriptors with nothing"), send_descriptors(fd, b"", count))?;
    }
    after("a packet of nothing", send(fd, b""))?;
    for junk in [&b"j"[..], b"junk", &[0; 24], &[0xff; 5000], &[b'x'; 15_000], &head_of_frame] {
        after(&format!("{} bytes by write", junk.len()), write(fd, junk))?;
        after(&format!("{} bytes by send", junk.len()), send(fd, junk))?;
    }
    Ok(())
}

/// A descriptor that the shim has not seen come is known to the calls that are meant for inotify.
pub(crate) fn raw_duplicates(folder: &Path) -> Result<()> {
    let instance = watching(folder)?;
    // Each call is the first that sees its descriptor.
    let duplicate = || -> Result<OwnedFd> {
        // SAFETY: takes a number only.
        let fd = Errno::result(unsafe { uinotify_harness::raw_syscall!(libc::SYS_dup, instance.as_raw_fd()) })?;
        // SAFETY: the call has just returned this descriptor, which nobody else has.
        Ok(unsafe { OwnedFd::from_raw_fd(i32::try_from(fd)?) })
    };
    let path = folder.join("watched");
    fs::write(&path, "")?;
    // Closed at the end, so that no number comes twice.
    let fds = [duplicate()?, duplicate()?, duplicate()?];
    let [of_cursor, of_adding, of_removing] = fds.each_ref().map(AsRawFd::as_raw_fd);
    ensure!(call::set_cursor(Way::Libc, of_cursor, 70) == Ok(()), "INOTIFY_IOC_SETNEXTWD");
    let added = call::add_watch(Way::Libc, of_adding, &path, libc::IN_OPEN);
    ensure!(added == Ok(70), "inotify_add_watch: {added:?}");
    let removed = call::remove_watch(of_removing, 70);
    ensure!(removed == Ok(()), "inotify_rm_watch: {removed:?}");
    let events = call::events(&call::read(Way::Libc, instance.as_raw_fd(), 4096)?);
    let masks: Vec<_> = events.iter().map(|event| (event.wd, event.mask)).collect();
    ensure!(masks == [(1, libc::IN_CREATE), (70, libc::IN_IGNORED)], "{events:?}");
    for fd in [of_cursor, of_adding, of_removing] {
        is_emulated(fd, folder, &format!("through{fd}"))?;
    }
    Ok(())
}

/// A raw `poll(2)` for whatever it may show.
fn raw_poll(fd: RawFd, milliseconds: i32) -> Result<i16> {
    let mut entry = libc::pollfd { fd, events: libc::POLLIN | libc::POLLOUT, revents: 0 };
    let (seconds, rest) = (milliseconds / 1000, milliseconds % 1000);
    let timeout = libc::timespec { tv_sec: seconds.into(), tv_nsec: i64::from(rest) * 1_000_000 };
    // SAFETY: the entry and the timeout live through the call; there is no signal mask.
    let found = unsafe { uinotify_harness::raw_syscall!(libc::SYS_ppoll, &raw mut entry, 1, &raw const timeout, 0, 8) };
    Errno::result(found)?;
    Ok(entry.revents)
}

/// The kernel itself shows no room for writing, whoever asks, but in the moment of a request over the instance.
pub(crate) fn never_writable(folder: &Path) -> Result<()> {
    let is_hidden = |fd: RawFd, what: &str| -> Result<()> {
        let mut found = 0;
        let is_hidden = crate::shared::yield_until(10_000, || {
            found = raw_poll(fd, 0).unwrap_or(-1);
            found == 0
        });
        ensure!(is_hidden, "{what}: {found:#x}");
        // And not only for now.
        let found = raw_poll(fd, 20)?;
        ensure!(found == 0, "{what}, waiting: {found:#x}");
        Ok(())
    };
    let fresh = call::init(Way::Libc, libc::IN_NONBLOCK)?;
    ensure!(raw_poll(fresh.as_raw_fd(), 0)? == 0, "a fresh instance");
    let instance = watching(folder)?;
    let fd = instance.as_raw_fd();
    is_hidden(fd, "after inotify_add_watch")?;
    for round in 0..20 {
        is_emulated(fd, folder, &format!("round{round}"))?;
        is_hidden(fd, "after requests")?;
    }
    crate::process::run(|| {
        is_emulated(fd, folder, "child").expect("it is emulated in a child");
        is_hidden(fd, "in a child").expect("no POLLOUT in a child");
    });
    is_hidden(fd, "after fork")?;
    // More threads than there is room for at once.
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                for _ in 0..50 {
                    assert_eq!(call::add_watch(Way::Libc, fd, folder, libc::IN_CREATE), Ok(1));
                }
            });
        }
    });
    is_hidden(fd, "after requests of many threads")?;
    fs::write(folder.join("readable"), "")?;
    ensure!(raw_poll(fd, 10_000)? == libc::POLLIN, "an event");
    Ok(())
}
