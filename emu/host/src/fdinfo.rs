//! Asking an emulator for the text of /proc/PID/fdinfo/N.

use std::fs::File;
use std::io::{self, IoSliceMut, Read};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, MsgFlags, SockFlag, SockType, UnixAddr, connect, recvmsg, socket,
};
use uinotify_wire::{REPLY_BYTES, Reply, Request, RequestKind};

use crate::frame;

/// An address of an emulator, and what it may want to hear.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EmulatorAddress<'a> {
    /// Path of its socket.
    pub socket: &'a Path,
    /// The token; empty for none.
    pub token: &'a [u8],
}

/// Asks the emulator at an address for the text that a program with the socket `inode`, whose descriptor has `flags` (as the
/// socket's own fdinfo shows them), sees of its instance.
///
/// # Errors
///
/// ENOENT if the emulator has no such instance; EPERM and EACCES if it does not tell this user; ECONNREFUSED if nobody listens
/// there any more; `InvalidData` for an answer that is none.
pub fn query_fdinfo(emulator: &EmulatorAddress<'_>, inode: u64, flags: u32) -> io::Result<String> {
    let connection = socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None)?;
    let to_path = connect(connection.as_raw_fd(), &UnixAddr::new(emulator.socket)?);
    if to_path.is_err() {
        // Another root directory or mount name space: the abstract name is one for the network name space.
        let name = UnixAddr::new_abstract(emulator.socket.as_os_str().as_bytes())?;
        if connect(connection.as_raw_fd(), &name).is_err() {
            to_path?;
        }
    }
    let request = Request { kind: RequestKind::Describe, argument: inode, word: flags, payload: emulator.token };
    frame::send(connection.as_fd(), [&request.header(), request.payload], &[])?;

    let mut bytes = [0; REPLY_BYTES];
    let mut pieces = [IoSliceMut::new(&mut bytes)];
    let mut control = nix::cmsg_space!(i32);
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let received = recvmsg::<()>(connection.as_raw_fd(), &mut pieces, Some(&mut control), flags)?;
    let length = received.bytes;
    let text = received.cmsgs()?.find_map(|message| match message {
        ControlMessageOwned::ScmRights(descriptors) => descriptors.first().copied(),
        _ => None,
    });
    // SAFETY: the kernel has just installed this descriptor for this message, and nobody else has it.
    let text = text.map(|number| unsafe { OwnedFd::from_raw_fd(number) });
    let problem = || io::Error::new(io::ErrorKind::InvalidData, "the emulator's answer cannot be understood");
    let reply = Reply::parse(&bytes).filter(|_| length == REPLY_BYTES).ok_or_else(problem)?;
    if reply.errno != 0 {
        return Err(io::Error::from_raw_os_error(reply.errno.cast_signed()));
    }
    let mut shown = String::new();
    File::from(text.ok_or_else(problem)?).read_to_string(&mut shown)?;
    Ok(shown)
}
