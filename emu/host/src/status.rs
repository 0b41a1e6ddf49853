//! What `uinotify ps` shows, and how it is asked for.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr, connect, getsockopt, recv, socket, sockopt,
};
use nix::unistd::geteuid;
use serde::{Deserialize, Serialize};
use uinotify_wire::{Reply, Request, RequestKind};

use crate::frame;

/// Version of this description.
pub const SCHEMA: u32 = 1;

/// How much of the description one packet carries.
pub(crate) const PACKET_BYTES: usize = 32 * 1024;

/// An emulator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EmulatorStatus {
    /// `SCHEMA`.
    pub schema: u32,
    /// The emulator's process.
    pub pid: i32,
    /// The command that runs under it.
    pub command: Vec<String>,
    /// Its instances, oldest first.
    pub groups: Vec<GroupStatus>,
    /// The file systems of which something is watched by marks of fanotify.
    #[serde(default)]
    pub marks: Vec<MarksStatus>,
}

/// The marks of fanotify on one file system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MarksStatus {
    /// Its device, as /proc/PID/mountinfo shows it.
    pub device: String,
    /// What is marked, and why that.
    pub kind: String,
    /// How many of its objects are watched.
    pub watched_objects: u64,
}

/// An instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupStatus {
    /// Number within the emulator.
    pub id: u64,
    /// The process that opened it.
    pub creator_pid: i32,
    /// The user who opened it, whose limits count.
    pub owner: u32,
    /// Where its events come from.
    pub source: String,
    /// The number from which the next wd is sought.
    pub cursor: i32,
    /// Events that wait to be read.
    pub queue_events: u64,
    /// Their length.
    pub queue_bytes: u64,
    /// Events that were queued since it was opened, IN_Q_OVERFLOW included.
    #[serde(default)]
    pub events_queued: u64,
    /// Events that were merged with the last queued one.
    #[serde(default)]
    pub events_merged: u64,
    /// Events that were lost in a full queue.
    #[serde(default)]
    pub events_lost: u64,
    /// In force for it.
    pub limits: LimitsStatus,
    /// Oldest first.
    pub watches: Vec<WatchStatus>,
}

/// Limits of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitsStatus {
    /// Watches of its user.
    pub watches_max: u32,
    /// Instances of its user.
    pub instances_max: u32,
    /// Queued events.
    pub queue_events_max: u32,
}

/// A watch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatchStatus {
    /// Its wd.
    pub wd: i32,
    /// Its mask with IN_ONESHOT and IN_EXCL_UNLINK.
    pub mask: u32,
    /// The path as the program wrote it, with replacement characters where that is not UTF-8.
    pub path: String,
    /// The path's bytes in hexadecimal, where it is not UTF-8.
    pub path_bytes_hex: Option<String>,
}

impl WatchStatus {
    pub(crate) fn new(wd: i32, mask: u32, path: &[u8]) -> Self {
        let hex = || path.iter().map(|byte| format!("{byte:02x}")).collect();
        let path_bytes_hex = std::str::from_utf8(path).is_err().then(hex);
        Self { wd, mask, path: String::from_utf8_lossy(path).into_owned(), path_bytes_hex }
    }
}

/// Connects to the abstract name that is the same as the path, which any user might have taken.
fn connect_by_name(connection: &OwnedFd, socket_path: &Path) -> Result<(), Errno> {
    connect(connection.as_raw_fd(), &UnixAddr::new_abstract(socket_path.as_os_str().as_bytes())?)?;
    let listener = getsockopt(connection, sockopt::PeerCredentials)?;
    if listener.uid() == geteuid().as_raw() { Ok(()) } else { Err(Errno::ECONNREFUSED) }
}

/// Asks the emulator at `socket` for its state.
///
/// # Errors
///
/// ECONNREFUSED if nobody listens there any more; EPERM from an emulator that refuses this user, EAGAIN from one that is telling
/// too many others; `InvalidData` for an answer that is none.
pub fn query_status(socket_path: &Path) -> io::Result<EmulatorStatus> {
    let connection = socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None)?;
    match connect(connection.as_raw_fd(), &UnixAddr::new(socket_path)?) {
        // Through another file system, such as a tree of ours, nobody seems to listen at the path.
        Err(Errno::ECONNREFUSED) => connect_by_name(&connection, socket_path)?,
        connected => connected?,
    }
    let text = receive_description(connection.as_fd(), &Request::new(RequestKind::Status, 0, 0))?;
    serde_json::from_slice(&text).map_err(|error| {
        let problem = format!("the emulator at {} gave no description of itself: {error}", socket_path.display());
        io::Error::new(io::ErrorKind::InvalidData, problem)
    })
}

/// Asks for something that is told up to the end of the connection.
pub(crate) fn receive_description(connection: BorrowedFd<'_>, request: &Request<'_>) -> io::Result<Vec<u8>> {
    frame::send(connection, [&request.header(), &[]], &[])?;
    let mut text = Vec::new();
    let mut packet = vec![0; PACKET_BYTES];
    loop {
        match recv(connection.as_raw_fd(), &mut packet, MsgFlags::empty()) {
            Ok(0) => break,
            Ok(length) => text.extend_from_slice(&packet[..length]),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    match text.first_chunk().and_then(Reply::parse) {
        Some(Reply { errno: errno @ 1.., .. }) => Err(io::Error::from_raw_os_error(errno.cast_signed())),
        _ => Ok(text),
    }
}
