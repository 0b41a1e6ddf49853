//! How the process that mounts a tree tells the emulator: it hands over the device, and waits until its requests are served.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recv, recvmsg, send, sendmsg,
    socketpair,
};
use uinotify_source::fuse::{Device, MountNumber};

const BYTES: usize = 16;

/// A tree that was mounted.
#[derive(Debug)]
pub(crate) struct Announcement {
    /// Which of those that the emulator was started for.
    pub(crate) index: usize,
    pub(crate) number: MountNumber,
    pub(crate) device: OwnedFd,
}

/// The two ends: for the emulator, and for the one that mounts.
///
/// # Errors
///
/// If the kernel has no descriptors or memory left.
pub fn announcements() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?)
}

/// Tells the emulator that the tree with this `index` is mounted, and returns when it serves it.
///
/// # Errors
///
/// What keeps the emulator from serving it; the end of the connection if it has ended.
pub fn announce(socket: BorrowedFd<'_>, index: usize, number: MountNumber, device: &Device) -> io::Result<()> {
    let mut message = [0; BYTES];
    message[..8].copy_from_slice(&(index as u64).to_ne_bytes());
    message[8..].copy_from_slice(&number.0.to_ne_bytes());
    let descriptors = [device.as_fd().as_raw_fd()];
    let control = [ControlMessage::ScmRights(&descriptors)];
    sendmsg::<()>(socket.as_raw_fd(), &[IoSlice::new(&message)], &control, MsgFlags::MSG_NOSIGNAL, None)?;
    let mut answer = [0; 4];
    match recv(socket.as_raw_fd(), &mut answer, MsgFlags::empty())? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => match i32::from_ne_bytes(answer) {
            0 => Ok(()),
            errno => Err(Errno::from_raw(errno).into()),
        },
    }
}

/// The next announcement; `None` when there will be none any more.
pub(crate) fn receive(socket: BorrowedFd<'_>) -> Option<Announcement> {
    let mut message = [0; BYTES];
    let mut space = nix::cmsg_space!(i32);
    let mut pieces = [IoSliceMut::new(&mut message)];
    let received = recvmsg::<()>(socket.as_raw_fd(), &mut pieces, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC).ok()?;
    let descriptors = received.cmsgs().ok()?.find_map(|control| match control {
        ControlMessageOwned::ScmRights(descriptors) => descriptors.first().copied(),
        _ => None,
    });
    // SAFETY: the call has just installed this descriptor, which nobody else has.
    let device = unsafe { OwnedFd::from_raw_fd(descriptors?) };
    let word = |at: usize| message.get(at..at + 8)?.try_into().ok().map(u64::from_ne_bytes);
    Some(Announcement { index: usize::try_from(word(0)?).ok()?, number: MountNumber(word(8)?), device })
}

/// Says whether the tree is served.
pub(crate) fn answer(socket: BorrowedFd<'_>, result: &io::Result<()>) {
    let errno = match result {
        Ok(()) => 0,
        Err(error) => error.raw_os_error().unwrap_or(libc::EIO),
    };
    // Whoever does not wait for it any longer has ended.
    let _ = send(socket.as_raw_fd(), &errno.to_ne_bytes(), MsgFlags::MSG_NOSIGNAL);
}
