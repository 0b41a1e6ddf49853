//! A descriptor on its way through a socket.

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, RawFd};

use nix::cmsg_space;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg, sendmsg, socketpair,
};

/// Sends the descriptor to this process itself. Between the two calls it is in flight.
pub(super) fn through_socket(number: RawFd) -> Result<RawFd, Errno> {
    let (here, there) = socketpair(AddressFamily::Unix, SockType::Stream, None, SockFlag::SOCK_CLOEXEC)?;
    let rights = [number];
    let byte = [IoSlice::new(b"x")];
    sendmsg::<()>(here.as_raw_fd(), &byte, &[ControlMessage::ScmRights(&rights)], MsgFlags::empty(), None)?;
    let mut received = [0];
    let mut room = [IoSliceMut::new(&mut received)];
    let mut space = cmsg_space!(RawFd);
    let message = recvmsg::<()>(there.as_raw_fd(), &mut room, Some(&mut space), MsgFlags::empty())?;
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(numbers) = control
            && let Some(number) = numbers.first()
        {
            return Ok(*number);
        }
    }
    Err(Errno::EBADMSG)
}
