//! Calls for another emulator than the one that has the filter: that of an inner `uinotify run`, of which Linux lets no second listen.

use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::errno::Errno;
use nix::sys::socket::{UnixAddr, getpeername};
use uinotify_intercept::{Answered, Call, Listener, Notification, Target};
use uinotify_wire::{IOC_GETNEXTWD, IOC_SETNEXTWD, NAME_PREFIX, TOKEN_BYTES};

use super::{OwnRights, find, lookup};
use crate::client::Client;
use crate::fdinfo::EmulatorAddress;

/// Whose instances a program is to get, as its environment says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NamedEmulator {
    /// Nobody's: the kernel's (`UINOTIFY_DISABLE`).
    Kernel,
    /// Nobody is named.
    None,
    /// `UINOTIFY_SOCKET`.
    At {
        /// Path of its socket.
        socket: Vec<u8>,
        /// What it wants to hear; empty for one that serves its user.
        token: Vec<u8>,
    },
}

/// Reads the environment as the shim does.
pub(crate) fn named_emulator(environment: &[u8]) -> NamedEmulator {
    let mut named = NamedEmulator::None;
    for entry in environment.split(|byte| *byte == 0) {
        if let Some(value) = entry.strip_prefix(b"UINOTIFY_DISABLE=") {
            if !value.is_empty() && value != b"0" {
                return NamedEmulator::Kernel;
            }
        } else if let Some(value) = entry.strip_prefix(b"UINOTIFY_SOCKET=")
            && !value.is_empty()
        {
            const SEPARATOR: &[u8] = b"?token=";
            let split = value.windows(SEPARATOR.len()).rposition(|window| window == SEPARATOR);
            let (socket, digits) = match split {
                Some(at) => (&value[..at], &value[at + SEPARATOR.len()..]),
                None => (value, &b""[..]),
            };
            named = NamedEmulator::At { socket: socket.to_owned(), token: token(digits).unwrap_or_default() };
        }
    }
    named
}

fn token(digits: &[u8]) -> Option<Vec<u8>> {
    if digits.len() != TOKEN_BYTES * 2 {
        return None;
    }
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

/// `inotify_init1` in that emulator.
pub(crate) fn open_elsewhere(
    listener: &Listener,
    notification: &Notification,
    (socket, token): (&[u8], &[u8]),
    flags: i32,
) {
    let address = EmulatorAddress { socket: Path::new(std::ffi::OsStr::from_bytes(socket)), token };
    // As the shim says it of an emulator that does not answer.
    let opened = Client::open(&address, flags & libc::IN_NONBLOCK != 0).map_err(|error| {
        error.raw_os_error().map(Errno::from_raw).filter(|errno| *errno != Errno::ECONNREFUSED).unwrap_or(Errno::ENOMEM)
    });
    let given = opened.and_then(|client| listener.give(notification.id, client.as_fd(), flags & libc::IN_CLOEXEC != 0));
    match given {
        Ok(Answered::Returned | Answered::Left(_)) | Err(Errno::ENOENT) => {}
        Err(errno) => _ = listener.answer(notification.id, Err(errno)),
    }
}

/// A call about a socket that is no instance of this emulator's: if it is one of another, that is asked; if not, the kernel answers.
pub(crate) fn pass_on(listener: &Listener, notification: &Notification, target: &Target, own: OwnRights) {
    let Some(call) = notification.call else { return };
    let result = match instance_elsewhere(target, call) {
        None => {
            let _ = listener.let_pass(notification.id);
            return;
        }
        Some(instance) => ask(listener, notification, target, own, call, &instance),
    };
    let _ = listener.answer(notification.id, result);
}

fn instance_elsewhere(target: &Target, call: Call) -> Option<Client> {
    let (Call::AddWatch { fd, .. } | Call::RemoveWatch { fd, .. } | Call::Control { fd, .. }) = call else {
        return None;
    };
    let descriptor = target.duplicate(fd).ok()?;
    let peer = getpeername::<UnixAddr>(descriptor.as_raw_fd()).ok()?;
    let is_ours = peer
        .as_abstract()
        .is_some_and(|name| NAME_PREFIX.strip_prefix(b"\0").is_some_and(|prefix| name.starts_with(prefix)));
    if !is_ours {
        return None;
    }
    Client::attach(descriptor).ok()
}

fn ask(
    listener: &Listener,
    notification: &Notification,
    target: &Target,
    own: OwnRights,
    call: Call,
    instance: &Client,
) -> Result<i64, Errno> {
    let errno = |error: std::io::Error| error.raw_os_error().map_or(Errno::EIO, Errno::from_raw);
    let put = |argument: u64, value: i32| {
        // Into the memory of a thread that waits, and of no later one with its number.
        if listener.is_waiting(notification.id) {
            target.write(argument, &value.to_ne_bytes()).map(|()| 0)
        } else {
            Ok(0)
        }
    };
    match call {
        Call::AddWatch { path, mask, .. } => {
            let path = target.read_path(path)?;
            if !listener.is_waiting(notification.id) {
                return Err(Errno::ESRCH);
            }
            let found = find(target, own, &lookup(&path, mask), None, mask)?;
            instance.add_watch(found.object.as_fd(), path.to_bytes(), mask).map(i64::from).map_err(errno)
        }
        Call::RemoveWatch { wd, .. } => instance.remove_watch(wd).map(|()| 0).map_err(errno),
        Call::Control { command: IOC_SETNEXTWD, argument, .. } => {
            let wd = i32::try_from(argument).map_err(|_| Errno::EINVAL)?;
            instance.set_cursor(wd).map(|()| 0).map_err(errno)
        }
        Call::Control { command: IOC_GETNEXTWD, argument, .. } => {
            instance.cursor().map_err(errno).and_then(|cursor| put(argument, cursor))
        }
        Call::Control { argument, .. } => instance.count().map_err(errno).and_then(|bytes| put(argument, bytes)),
        Call::Init { .. } | Call::Read { .. } => Err(Errno::EINVAL),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_says_the_same_as_to_the_shim() {
        let at = |socket: &str, token: &[u8]| NamedEmulator::At { socket: socket.into(), token: token.to_vec() };
        for (environment, expected) in [
            (&b""[..], NamedEmulator::None),
            (b"A=b\0UINOTIFY_SOCKET=\0", NamedEmulator::None),
            (b"UINOTIFY_SOCKET=/a\0B=c\0", at("/a", b"")),
            (b"UINOTIFY_SOCKET=/a?token=30313233343536373839616263646566\0", at("/a", b"0123456789abcdef")),
            (b"UINOTIFY_SOCKET=/a?token=3031\0", at("/a", b"")),
            (b"UINOTIFY_SOCKET=/a\0UINOTIFY_DISABLE=1\0", NamedEmulator::Kernel),
            (b"UINOTIFY_SOCKET=/a\0UINOTIFY_DISABLE=0\0", at("/a", b"")),
            (b"UINOTIFY_DISABLE=\0", NamedEmulator::None),
        ] {
            assert_eq!(named_emulator(environment), expected, "{}", String::from_utf8_lossy(environment));
        }
    }
}
