//! Packets with descriptors.

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::cmsg_space;
use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};
use uinotify_wire::REQUEST_BYTES_MAX;

/// The most descriptors that a request carries: the reply object and one more.
const DESCRIPTORS_MAX: usize = 2;

/// Where requests are received.
#[derive(Debug)]
pub(crate) struct Inbox {
    bytes: Vec<u8>,
    control: Vec<u8>,
}

/// What was received.
#[derive(Debug)]
pub(crate) struct Packet {
    /// Bytes in the inbox.
    pub(crate) length: usize,
    /// In the order in which they were sent. What a packet carries beyond the two of a request, the kernel drops.
    pub(crate) descriptors: Vec<OwnedFd>,
}

impl Inbox {
    pub(crate) fn new() -> Self {
        // One byte more than the largest request, so that a larger packet does not parse.
        Self { bytes: vec![0; REQUEST_BYTES_MAX + 1], control: cmsg_space!([i32; DESCRIPTORS_MAX]) }
    }

    /// Receives one packet. `Ok(None)` when there is none.
    ///
    /// # Errors
    ///
    /// ECONNRESET also for the end of the connection.
    pub(crate) fn receive(&mut self, socket: BorrowedFd<'_>) -> Result<Option<Packet>, Errno> {
        let mut pieces = [IoSliceMut::new(&mut self.bytes)];
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_CMSG_CLOEXEC;
        let message = match recvmsg::<()>(socket.as_raw_fd(), &mut pieces, Some(&mut self.control), flags) {
            Ok(message) => message,
            Err(Errno::EAGAIN | Errno::EINTR) => return Ok(None),
            Err(errno) => return Err(errno),
        };
        let length = message.bytes;
        let mut descriptors = Vec::new();
        for control in message.cmsgs()? {
            if let ControlMessageOwned::ScmRights(numbers) = control {
                // SAFETY: the kernel has just installed these descriptors for this message, and nobody else has them.
                descriptors.extend(numbers.into_iter().map(|number| unsafe { OwnedFd::from_raw_fd(number) }));
            }
        }
        if length == 0 && descriptors.is_empty() {
            return Err(Errno::ECONNRESET);
        }
        Ok(Some(Packet { length, descriptors }))
    }

    /// The bytes of a packet.
    pub(crate) fn bytes(&self, packet: &Packet) -> &[u8] {
        &self.bytes[..packet.length]
    }
}

/// Sends one packet in two parts, with descriptors, never waiting.
pub(crate) fn send(socket: BorrowedFd<'_>, parts: [&[u8]; 2], descriptors: &[BorrowedFd<'_>]) -> Result<(), Errno> {
    let pieces = parts.map(IoSlice::new);
    let numbers: Vec<_> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&numbers)];
    let control = if numbers.is_empty() { &[][..] } else { &rights };
    sendmsg::<()>(socket.as_raw_fd(), &pieces, control, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL, None).map(drop)
}
