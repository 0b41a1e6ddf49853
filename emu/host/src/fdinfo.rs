//! Asking an emulator for the text of /proc/PID/fdinfo/N.

use std::fs::File;
use std::io::{self, IoSliceMut, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::errno::Errno;
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

impl EmulatorAddress<'_> {
    /// A new connection.
    pub(crate) fn connect(&self) -> io::Result<OwnedFd> {
        let connection = socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None)?;
        let to_path = connect(connection.as_raw_fd(), &UnixAddr::new(self.socket)?);
        if to_path.is_err() {
            // Another root directory or mount name space: the abstract name is one for the network name space.
            let name = UnixAddr::new_abstract(self.socket.as_os_str().as_bytes())?;
            if connect(connection.as_raw_fd(), &name).is_err() {
                to_path?;
            }
        }
        Ok(connection)
    }
}

/// Asks the emulator at an address for the text that a program with the socket `inode`, whose descriptor has `flags` (as the
/// socket's own fdinfo shows them), sees of its instance.
///
/// # Errors
///
/// ENOENT if the emulator has no such instance; EPERM and EACCES if it does not tell this user; ECONNREFUSED if nobody listens
/// there any more; `InvalidData` for an answer that is none.
pub fn query_fdinfo(emulator: &EmulatorAddress<'_>, inode: u64, flags: u32) -> io::Result<String> {
    let connection = emulator.connect()?;
    let request = Request { kind: RequestKind::Describe, argument: inode, word: flags, payload: emulator.token };
    frame::send(connection.as_fd(), [&request.header(), request.payload], &[])?;

    let (_, text) = receive_reply(connection.as_fd())?;
    let mut shown = String::new();
    File::from(text.ok_or_else(misunderstood)?).read_to_string(&mut shown)?;
    Ok(shown)
}

pub(crate) fn misunderstood() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the emulator's answer cannot be understood")
}

/// The next reply without events, and what came with it.
///
/// # Errors
///
/// The reply's errno; `UnexpectedEof` if the emulator has ended.
pub(crate) fn receive_reply(connection: BorrowedFd<'_>) -> io::Result<(Reply, Option<OwnedFd>)> {
    let mut bytes = [0; REPLY_BYTES];
    let mut pieces = [IoSliceMut::new(&mut bytes)];
    let mut control = nix::cmsg_space!(i32);
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let received = loop {
        match recvmsg::<()>(connection.as_raw_fd(), &mut pieces, Some(&mut control), flags) {
            Err(Errno::EINTR) => {}
            received => break received?,
        }
    };
    let length = received.bytes;
    let descriptor = received.cmsgs()?.find_map(|message| match message {
        ControlMessageOwned::ScmRights(descriptors) => descriptors.first().copied(),
        _ => None,
    });
    // SAFETY: the kernel has just installed this descriptor for this message, and nobody else has it.
    let descriptor = descriptor.map(|number| unsafe { OwnedFd::from_raw_fd(number) });
    if length == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let reply = Reply::parse(&bytes).filter(|_| length == REPLY_BYTES).ok_or_else(misunderstood)?;
    if reply.errno != 0 {
        return Err(io::Error::from_raw_os_error(reply.errno.cast_signed()));
    }
    Ok((reply, descriptor))
}
