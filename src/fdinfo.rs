//! `uinotify fdinfo`: what a program sees of its instances in /proc/self/fdinfo, from outside.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs;
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use uinotify_host::{EmulatorAddress, query_fdinfo};

use crate::ps;

/// An address with its token's bytes, if it has any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) socket: PathBuf,
    pub(crate) token: Vec<u8>,
}

impl Address {
    pub(crate) fn borrowed(&self) -> EmulatorAddress<'_> {
        EmulatorAddress { socket: &self.socket, token: &self.token }
    }
}

/// Prints the text of /proc/PID/fdinfo/N, as the program sees it, for its descriptor `fd`; without one for each emulated
/// descriptor of the process, behind a line `fd N`.
///
/// # Errors
/// There is no such process or descriptor, it is not an emulated one, this user may not look at it, its emulator does not answer,
/// or standard output cannot be written.
pub fn fdinfo(pid: u32, fd: Option<u32>) -> anyhow::Result<()> {
    let process = PathBuf::from(format!("/proc/{pid}"));
    if !process.exists() {
        bail!("there is no process {pid}");
    }
    let addresses = addresses(&process);
    let mut text = String::new();
    match fd {
        Some(fd) => text = of_one(&process, pid, fd, &addresses)?,
        None => {
            for fd in descriptors(&process, pid)? {
                let Some(inode) = link(&process, fd).ok().as_deref().and_then(socket_inode) else { continue };
                if let Some(shown) = ask(&process, fd, inode, &addresses)? {
                    let separator = if text.is_empty() { "" } else { "\n" };
                    // Writing to a string does not fail.
                    let _ = write!(text, "{separator}fd {fd}\n{shown}");
                }
            }
            if text.is_empty() {
                bail!("process {pid} has no emulated inotify descriptor");
            }
        }
    }
    match io::stdout().write_all(text.as_bytes()) {
        // The reader, such as `head`, has seen enough.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        result => result.context("cannot write to standard output"),
    }
}

fn of_one(process: &Path, pid: u32, fd: u32, addresses: &[Address]) -> anyhow::Result<String> {
    let target = link(process, fd).map_err(|error| match error.kind() {
        ErrorKind::NotFound => anyhow!("process {pid} has no descriptor {fd}"),
        _ => unseen(pid, &error),
    })?;
    let shown = match socket_inode(&target) {
        Some(inode) => ask(process, fd, inode, addresses)?,
        None => None,
    };
    shown.ok_or_else(|| match target.as_os_str().as_bytes() {
        b"anon_inode:inotify" | b"inotify" => {
            anyhow!("descriptor {fd} of process {pid} is the kernel's own inotify: see /proc/{pid}/fdinfo/{fd}")
        }
        _ => anyhow!("descriptor {fd} of process {pid} is no emulated inotify descriptor, but {}", target.display()),
    })
}

pub(crate) fn unseen(pid: u32, error: &io::Error) -> anyhow::Error {
    match error.kind() {
        ErrorKind::PermissionDenied => {
            anyhow!("the descriptors of process {pid} are not for this user to see; its own user or root may")
        }
        ErrorKind::NotFound => anyhow!("there is no process {pid} any more"),
        _ => anyhow!("cannot list the descriptors of process {pid}: {error}"),
    }
}

pub(crate) fn link(process: &Path, fd: u32) -> io::Result<PathBuf> {
    fs::read_link(process.join(format!("fd/{fd}")))
}

/// The numbers of the open descriptors, in order.
pub(crate) fn descriptors(process: &Path, pid: u32) -> anyhow::Result<Vec<u32>> {
    let entries = fs::read_dir(process.join("fd")).map_err(|error| unseen(pid, &error))?;
    let mut numbers: Vec<u32> =
        entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

pub(crate) fn socket_inode(target: &Path) -> Option<u64> {
    target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

/// The emulators that may know a socket of the process: its own, as its environment says, and those of this user.
pub(crate) fn addresses(process: &Path) -> Vec<Address> {
    let environment = fs::read(process.join("environ")).unwrap_or_default();
    let named = environment.split(|&byte| byte == 0).find_map(|entry| entry.strip_prefix(b"UINOTIFY_SOCKET="));
    let mut addresses: Vec<_> = named.map(address).into_iter().collect();
    for socket in ps::sockets() {
        if addresses.iter().all(|address| address.socket != socket) {
            addresses.push(Address { socket, token: Vec::new() });
        }
    }
    addresses
}

/// Takes `PATH?token=HEX` or `PATH` apart.
pub(crate) fn address(value: &[u8]) -> Address {
    const SEPARATOR: &[u8] = b"?token=";
    let split = value.windows(SEPARATOR.len()).rposition(|window| window == SEPARATOR);
    let (path, digits) = split.map_or((value, &[][..]), |at| (&value[..at], &value[at + SEPARATOR.len()..]));
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    let token = digits.chunks(2).map(byte).collect::<Option<_>>().unwrap_or_default();
    Address { socket: PathBuf::from(OsStr::from_bytes(path)), token }
}

/// The text, from whichever emulator knows the socket; `None` if none does.
fn ask(process: &Path, fd: u32, inode: u64, addresses: &[Address]) -> anyhow::Result<Option<String>> {
    let own = fs::read_to_string(process.join(format!("fdinfo/{fd}"))).unwrap_or_default();
    let Some(flags) = flags(&own) else { return Ok(None) };
    let mut refusal = None;
    for address @ Address { socket, .. } in addresses {
        match query_fdinfo(&address.borrowed(), inode, flags) {
            Ok(text) => return Ok(Some(text)),
            // Another emulator's socket, or none at all; an emulator that has ended.
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {}
            Err(error) => refusal = Some((socket, error)),
        }
    }
    match refusal {
        Some((socket, error)) => {
            Err(anyhow!("the emulator at {} does not describe the descriptor: {error}", socket.display()))
        }
        None => Ok(None),
    }
}

/// The flags of an inotify descriptor, from those of the socket that it is: inotify is open for reading only.
pub(crate) fn flags(information: &str) -> Option<u32> {
    const ACCESS_MODE: u32 = 3;
    let digits = information.lines().find_map(|line| line.strip_prefix("flags:"))?;
    u32::from_str_radix(digits.trim(), 8).ok().map(|flags| flags & !ACCESS_MODE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_taken_apart() {
        let of = |value: &str| address(value.as_bytes());
        let expected = |socket: &str, token: &[u8]| Address { socket: socket.into(), token: token.into() };
        assert_eq!(of("/run/1.sock?token=00ffA1"), expected("/run/1.sock", &[0, 0xff, 0xa1]));
        assert_eq!(of("/run/1.sock"), expected("/run/1.sock", &[]));
        assert_eq!(of("/a?token=1?token=02"), expected("/a?token=1", &[2]));
        assert_eq!(of("/run/1.sock?token=zz"), expected("/run/1.sock", &[]));
    }

    #[test]
    fn a_socket_is_known_by_its_link() {
        assert_eq!(socket_inode(Path::new("socket:[17]")), Some(17));
        assert_eq!(socket_inode(Path::new("pipe:[17]")), None);
        assert_eq!(socket_inode(Path::new("/socket:[17]")), None);
    }

    #[test]
    fn flags_lose_the_access_mode() {
        assert_eq!(flags("pos:\t0\nflags:\t02004002\n"), Some(0o2_004_000));
        assert_eq!(flags("pos:\t0\n"), None);
    }
}
