//! Packets to and from the emulator, past the shim.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use anyhow::{Context, Result, bail, ensure};
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};
use uinotify_harness::raw_syscall;
use uinotify_wire::{REPLY_BYTES, REPLY_EVENTS_BYTES_MAX, Reply, Request, RequestKind};

/// The kernel's `SCM_MAX_FD`.
pub(crate) const DESCRIPTORS_MAX: usize = 253;

/// `sendmsg(2)`, which does not wait: bytes with descriptors.
pub(crate) fn send(fd: RawFd, bytes: &[u8], descriptors: &[RawFd]) -> Result<(), Errno> {
    let length = u32::try_from(size_of_val(descriptors)).map_err(|_| Errno::EINVAL)?;
    // SAFETY: only computes.
    let room = unsafe { libc::CMSG_SPACE(length) } as usize;
    let mut control = vec![0_u64; room.div_ceil(8)];
    let mut piece = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    // SAFETY: all zeroes is a header without anything.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = &raw mut piece;
    header.msg_iovlen = 1;
    if !descriptors.is_empty() {
        header.msg_control = control.as_mut_ptr().cast();
        header.msg_controllen = room as _;
        // SAFETY: the header names the control buffer, which lives through the call.
        let message = unsafe { libc::CMSG_FIRSTHDR(&raw const header) };
        // SAFETY: all zeroes is a header without anything.
        let mut rights: libc::cmsghdr = unsafe { std::mem::zeroed() };
        // SAFETY: only computes.
        let message_length = unsafe { libc::CMSG_LEN(length) };
        (rights.cmsg_level, rights.cmsg_type) = (libc::SOL_SOCKET, libc::SCM_RIGHTS);
        rights.cmsg_len = message_length as _;
        // SAFETY: the control buffer has room for a header, and more.
        unsafe { message.write(rights) };
        // SAFETY: the message is within the control buffer.
        let data = unsafe { libc::CMSG_DATA(message) }.cast::<RawFd>();
        for (index, descriptor) in descriptors.iter().enumerate() {
            // SAFETY: the control buffer has room for all of them.
            unsafe { data.wrapping_add(index).write_unaligned(*descriptor) };
        }
    }
    let flags = libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT;
    // SAFETY: the header, its piece and its control buffer live through the call.
    Errno::result(unsafe { raw_syscall!(libc::SYS_sendmsg, fd, &raw const header, flags) })?;
    Ok(())
}

/// `recvmsg(2)` of one packet: its bytes, and the first two descriptors.
pub(crate) fn receive(fd: RawFd) -> Result<(Vec<u8>, Vec<OwnedFd>), Errno> {
    let mut bytes = vec![0; REPLY_BYTES + REPLY_EVENTS_BYTES_MAX];
    let mut control = [0_u64; 3];
    let mut piece = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
    // SAFETY: all zeroes is a header without anything.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = &raw mut piece;
    header.msg_iovlen = 1;
    header.msg_control = control.as_mut_ptr().cast();
    header.msg_controllen = size_of_val(&control) as _;
    // SAFETY: the header, its piece and its control buffer live through the call.
    let length = unsafe { raw_syscall!(libc::SYS_recvmsg, fd, &raw mut header, libc::MSG_CMSG_CLOEXEC) };
    bytes.truncate(Errno::result(length)?.unsigned_abs() as usize);
    let mut descriptors = Vec::new();
    // SAFETY: the header was filled by the kernel.
    let message = unsafe { libc::CMSG_FIRSTHDR(&raw const header) };
    if !message.is_null() {
        // SAFETY: the macro gives a header within the control buffer.
        let length = unsafe { message.read() }.cmsg_len;
        // SAFETY: it points behind the header.
        let data = unsafe { libc::CMSG_DATA(message) }.cast::<RawFd>();
        for index in 0..(length - 16) / size_of::<RawFd>() {
            // SAFETY: within the length that the kernel wrote.
            let number = unsafe { data.wrapping_add(index).read_unaligned() };
            // SAFETY: the kernel has just installed this descriptor, which nobody else has.
            descriptors.push(unsafe { OwnedFd::from_raw_fd(number) });
        }
    }
    Ok((bytes, descriptors))
}

/// A request's frame.
pub(crate) fn frame(kind: RequestKind, argument: u64, word: u32, payload: &[u8]) -> Vec<u8> {
    let request = Request { kind, argument, word, payload };
    [&request.header()[..], payload].concat()
}

/// A connection on which nobody has asked for anything yet.
pub(crate) fn connection() -> Result<OwnedFd> {
    let value = std::env::var("UINOTIFY_SOCKET")?;
    let path = value.split('?').next().unwrap_or(&value);
    let connection = socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None)?;
    connect(connection.as_raw_fd(), &UnixAddr::new(path)?)?;
    Ok(connection)
}

/// An instance and its control connection, of which the shim does not know.
pub(crate) fn instance() -> Result<(OwnedFd, OwnedFd)> {
    let value = std::env::var("UINOTIFY_SOCKET")?;
    let digits = value.split_once("?token=").context("a token")?.1;
    let token = (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16));
    let token = token.collect::<Result<Vec<_>, _>>()?;
    let connection = connection()?;
    send(connection.as_raw_fd(), &frame(RequestKind::Init, 0, 0, &token), &[])?;
    let (reply, descriptors) = reply(connection.as_raw_fd())?;
    let Ok([instance]) = <[OwnedFd; 1]>::try_from(descriptors) else { bail!("Init brings {reply:?}") };
    Ok((instance, connection))
}

/// The reply that comes next over a connection, with its descriptors.
pub(crate) fn reply(connection: RawFd) -> Result<(Reply, Vec<OwnedFd>)> {
    let (bytes, descriptors) = receive(connection)?;
    Ok((parse(&bytes)?, descriptors))
}

fn parse(bytes: &[u8]) -> Result<Reply> {
    let fixed = bytes.first_chunk().with_context(|| format!("{} bytes are no reply", bytes.len()))?;
    Reply::parse(fixed).context("no reply")
}

/// Sends a packet over an instance, with a pipe for the reply and whatever descriptors behind it.
pub(crate) fn ask(instance: RawFd, packet: &[u8], descriptors: &[RawFd]) -> Result<Reply> {
    let (reader, writer) = std::io::pipe()?;
    let all = [&[writer.as_raw_fd()], descriptors].concat();
    send(instance, packet, &all)?;
    drop(writer);
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut { reader }, &mut bytes)?;
    parse(&bytes)
}

/// The errno that a packet gets, after which the connection has ended.
pub(crate) fn refusal(connection: RawFd, packet: &[u8], descriptors: &[RawFd]) -> Result<Errno> {
    send(connection, packet, descriptors)?;
    let (reply, _) = reply(connection)?;
    let (end, _) = receive(connection)?;
    ensure!(end.is_empty(), "the connection goes on after {reply:?}");
    Ok(Errno::from_raw(reply.errno.cast_signed()))
}
