//! Packets with descriptors.

use std::io::IoSlice;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, MsgFlags, recv, sendmsg};
use nix::unistd::{getegid, geteuid};
use uinotify_wire::{PLUG, PLUG_BYTES, REQUEST_BYTES, REQUEST_BYTES_MAX, Request};

use crate::refusal::Refusal;
use crate::sender::Sender;

/// The most descriptors that a request carries: the reply object and one more.
const REQUEST_DESCRIPTORS_MAX: usize = 2;

/// The most descriptors that a packet carries, the kernel's `SCM_MAX_FD`. Those for which there were no room in the control message
/// the kernel would close here and now, and some closes wait as long as a program likes.
const DESCRIPTORS_MAX: usize = 253;

/// Where requests are received.
#[derive(Debug)]
pub(crate) struct Inbox {
    bytes: Vec<u8>,
    sender: Option<Sender>,
    ourselves: Sender,
}

/// What was received.
#[derive(Debug)]
pub(crate) struct Packet {
    /// Bytes in the inbox.
    pub(crate) length: usize,
    /// In the order in which they were sent.
    pub(crate) descriptors: Vec<OwnedFd>,
    /// There were more descriptors than this process has numbers left.
    lacks_descriptors: bool,
}

impl Packet {
    /// A plug, which something has followed, asks for nothing.
    pub(crate) fn is_plug(&self, bytes: &[u8]) -> bool {
        bytes == PLUG && self.descriptors.is_empty()
    }

    /// The request that this packet is, in the bytes that the inbox gave for it.
    ///
    /// # Errors
    ///
    /// Why it is none.
    pub(crate) fn request<'a>(&self, bytes: &'a [u8]) -> Result<Request<'a>, Refusal> {
        let request = Request::parse(bytes).map_err(Refusal::Malformed)?;
        match self.descriptors.len() {
            _ if self.lacks_descriptors => Err(Refusal::NoNumberLeft),
            0..=REQUEST_DESCRIPTORS_MAX => Ok(request),
            count => Err(Refusal::TooManyDescriptors(count)),
        }
    }
}

/// Room for the control message of a packet.
#[repr(C, align(8))]
struct Control([u8; CONTROL_BYTES]);

// SAFETY: CMSG_SPACE only computes.
const RIGHTS_BYTES: usize = unsafe { libc::CMSG_SPACE((DESCRIPTORS_MAX * size_of::<RawFd>()) as u32) } as usize;
// SAFETY: CMSG_SPACE only computes.
const CREDENTIALS_BYTES: usize = unsafe { libc::CMSG_SPACE(size_of::<libc::ucred>() as u32) } as usize;
const CONTROL_BYTES: usize = CREDENTIALS_BYTES + RIGHTS_BYTES;

impl Inbox {
    pub(crate) fn new() -> Self {
        // One byte more than the largest request, so that a larger packet does not parse.
        let pid = std::process::id().cast_signed();
        let ourselves = Sender { pid, uid: geteuid().as_raw(), gid: getegid().as_raw() };
        Self { bytes: vec![0; REQUEST_BYTES_MAX + 1], sender: None, ourselves }
    }

    /// Receives one packet. `Ok(None)` when there is none.
    ///
    /// # Errors
    ///
    /// ESHUTDOWN at the end, with nothing left to receive; ECONNRESET for an end with something left.
    pub(crate) fn receive(&mut self, socket: BorrowedFd<'_>) -> Result<Option<Packet>, Errno> {
        let mut piece = libc::iovec { iov_base: self.bytes.as_mut_ptr().cast(), iov_len: self.bytes.len() };
        let mut control = Control([0; CONTROL_BYTES]);
        // SAFETY: all zeroes is a header without anything.
        let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
        header.msg_iov = &raw mut piece;
        header.msg_iovlen = 1;
        header.msg_control = control.0.as_mut_ptr().cast();
        header.msg_controllen = CONTROL_BYTES as _;
        let flags = libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC;
        // SAFETY: the header, its piece and its control buffer live in this frame and in `self`, with their lengths beside them.
        let received = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut header, flags) };
        let length = match Errno::result(received) {
            Ok(length) => length.unsigned_abs(),
            Err(Errno::EAGAIN | Errno::EINTR) => return Ok(None),
            Err(errno) => return Err(errno),
        };
        let (sender, descriptors) = unpack(&header);
        self.sender = sender;
        if length == 0 && descriptors.is_empty() && has_hung_up(socket) {
            return Err(Errno::ESHUTDOWN);
        }
        let lacks_descriptors = header.msg_flags & libc::MSG_CTRUNC != 0;
        Ok(Some(Packet { length, descriptors, lacks_descriptors }))
    }

    /// Who has sent the last packet, as the kernel says. `None` if it did not: the program can take SO_PASSCRED from a connection
    /// that it has sent itself.
    pub(crate) fn sender(&self) -> Option<Sender> {
        self.sender
    }

    /// What is asked next the emulator asks itself, in the name of a process whose rights it has seen to.
    pub(crate) fn ask_for(&mut self, pid: i32) {
        self.sender = Some(Sender { pid, ..self.ourselves });
    }

    /// The bytes of a packet.
    pub(crate) fn bytes(&self, packet: &Packet) -> &[u8] {
        &self.bytes[..packet.length]
    }
}

/// Is there nothing to receive but one plug? That is left where it is.
pub(crate) fn holds_plug_only(socket: BorrowedFd<'_>) -> bool {
    let mut bytes: libc::c_int = 0;
    // SAFETY: FIONREAD writes one int, which lives through the call.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::FIONREAD, &raw mut bytes) };
    if result != 0 || usize::try_from(bytes) != Ok(PLUG_BYTES) {
        return false;
    }
    let mut start = [0; REQUEST_BYTES];
    let flags = MsgFlags::MSG_PEEK | MsgFlags::MSG_TRUNC | MsgFlags::MSG_DONTWAIT;
    if recv(socket.as_raw_fd(), &mut start, flags) != Ok(PLUG_BYTES) || start[..] != PLUG[..REQUEST_BYTES] {
        return false;
    }
    // Packets without a byte, which may carry descriptors, are not counted: the second packet is looked for. The kernel shows an empty
    // one to the first look only, after which the plug is taken.
    let is_alone = set_peek_offset(socket, bytes) && recv(socket.as_raw_fd(), &mut start, flags) == Err(Errno::EAGAIN);
    set_peek_offset(socket, -1) && is_alone
}

/// From which byte on MSG_PEEK looks (`SO_PEEK_OFF`, Linux 3.4); -1 for the first.
fn set_peek_offset(socket: BorrowedFd<'_>, offset: libc::c_int) -> bool {
    let length = size_of_val(&offset) as libc::socklen_t;
    let (level, name) = (libc::SOL_SOCKET, libc::SO_PEEK_OFF);
    // SAFETY: the option is one int, which lives through the call.
    let result = unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, (&raw const offset).cast(), length) };
    result == 0
}

/// Takes what came with a message: the sender, and every descriptor, also of a message that was cut off: they are installed, and
/// somebody must own them.
fn unpack(header: &libc::msghdr) -> (Option<Sender>, Vec<OwnedFd>) {
    let (mut sender, mut taken) = (None, Vec::new());
    // SAFETY: the header was filled by the kernel.
    let mut message = unsafe { libc::CMSG_FIRSTHDR(header) };
    while !message.is_null() {
        // SAFETY: the macros give headers within the control buffer only.
        let libc::cmsghdr { cmsg_len, cmsg_level, cmsg_type, .. } = unsafe { message.read() };
        if cmsg_level == libc::SOL_SOCKET && cmsg_type == libc::SCM_CREDENTIALS {
            // SAFETY: it points behind the header.
            let data = unsafe { libc::CMSG_DATA(message) }.cast::<libc::ucred>();
            // SAFETY: the buffer has room for a whole one in front of the descriptors, and the kernel has written it.
            let libc::ucred { pid, uid, gid } = unsafe { data.read_unaligned() };
            sender = Some(Sender { pid, uid, gid });
        }
        if cmsg_level == libc::SOL_SOCKET && cmsg_type == libc::SCM_RIGHTS {
            // SAFETY: it points behind the header.
            let data = unsafe { libc::CMSG_DATA(message) }.cast::<RawFd>();
            // SAFETY: it only computes.
            let header_bytes = unsafe { libc::CMSG_LEN(0) };
            // The length is of another type in each libc.
            let bytes: usize = cmsg_len.saturating_sub(header_bytes as _) as _;
            for index in 0..bytes / size_of::<RawFd>() {
                // SAFETY: within the length that the kernel wrote.
                let number = unsafe { data.wrapping_add(index).read_unaligned() };
                // SAFETY: the kernel has just installed this descriptor for this message, and nobody else has it.
                taken.push(unsafe { OwnedFd::from_raw_fd(number) });
            }
        }
        // SAFETY: both headers are the kernel's.
        message = unsafe { libc::CMSG_NXTHDR(header, message) };
    }
    (sender, taken)
}

/// Has everybody closed the other end, or somebody shut it down for sending? Nothing comes from there any more.
pub(crate) fn has_hung_up(socket: BorrowedFd<'_>) -> bool {
    let mut entry = libc::pollfd { fd: socket.as_raw_fd(), events: libc::POLLRDHUP, revents: 0 };
    // SAFETY: the one entry lives through the call.
    let found = unsafe { libc::poll(&raw mut entry, 1, 0) };
    found == 1 && entry.revents & (libc::POLLHUP | libc::POLLRDHUP) != 0
}

/// Sends one packet in two parts, with descriptors, never waiting.
pub(crate) fn send(socket: BorrowedFd<'_>, parts: [&[u8]; 2], descriptors: &[BorrowedFd<'_>]) -> Result<(), Errno> {
    let pieces = parts.map(IoSlice::new);
    let numbers: Vec<_> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&numbers)];
    let control = if numbers.is_empty() { &[][..] } else { &rights };
    sendmsg::<()>(socket.as_raw_fd(), &pieces, control, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL, None).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
    use std::os::fd::AsFd;

    #[test]
    fn a_plug_is_left_only_where_nothing_follows() {
        let pair = || {
            let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
            socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags).expect("two sockets")
        };
        for follower in [&b""[..], b"x", &PLUG] {
            let (ours, theirs) = pair();
            assert!(!holds_plug_only(ours.as_fd()));
            send(theirs.as_fd(), [&PLUG, &[]], &[]).expect("room");
            for _ in 0..3 {
                assert!(holds_plug_only(ours.as_fd()));
            }
            send(theirs.as_fd(), [follower, &[]], &[]).expect("room");
            assert!(!holds_plug_only(ours.as_fd()), "{} bytes follow", follower.len());
            // Looking has taken nothing away, and moved nothing.
            let mut inbox = Inbox::new();
            for length in [PLUG_BYTES, follower.len()] {
                let packet = inbox.receive(ours.as_fd()).expect("a packet").expect("a packet");
                assert_eq!(packet.length, length);
            }
            assert!(inbox.receive(ours.as_fd()).expect("an open socket").is_none());
        }
        let (ours, theirs) = pair();
        send(theirs.as_fd(), [&[0; PLUG_BYTES], &[]], &[]).expect("room");
        assert!(!holds_plug_only(ours.as_fd()), "a packet of the same length");
    }
}
