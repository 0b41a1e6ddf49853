//! A program that speaks to the emulator itself and leaves out what the shim would check.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, UnixAddr, UnixCredentials,
    connect, recvmsg, sendmsg, socket,
};
use nix::sys::stat::Mode;
use uinotify_wire::{REPLY_BYTES, Reply, Request, RequestKind};

use super::say;

fn send(over: BorrowedFd<'_>, request: &Request<'_>, with: &[RawFd]) -> Result<(), Errno> {
    let rights = [ControlMessage::ScmRights(with)];
    let control = if with.is_empty() { &[][..] } else { &rights };
    let header = request.header();
    let pieces = [IoSlice::new(&header), IoSlice::new(request.payload)];
    sendmsg::<()>(over.as_raw_fd(), &pieces, control, MsgFlags::MSG_NOSIGNAL, None).map(drop)
}

/// A reply and what came with it; `None` where the emulator has hung up.
fn receive(over: BorrowedFd<'_>) -> Option<(Reply, Vec<OwnedFd>)> {
    let mut bytes = [0; REPLY_BYTES];
    let mut control = nix::cmsg_space!([RawFd; 2]);
    let mut pieces = [IoSliceMut::new(&mut bytes)];
    let message = recvmsg::<()>(over.as_raw_fd(), &mut pieces, Some(&mut control), MsgFlags::empty()).ok()?;
    let mut descriptors = Vec::new();
    for part in message.cmsgs().ok()? {
        if let ControlMessageOwned::ScmRights(numbers) = part {
            // SAFETY: the kernel has just installed them for this message.
            descriptors.extend(numbers.into_iter().map(|number| unsafe { OwnedFd::from_raw_fd(number) }));
        }
    }
    Reply::parse(&bytes).map(|reply| (reply, descriptors))
}

/// Opens an instance at `socket`, does `prepare`, and shows what the emulator answers to AddWatch for each of `paths`, over the connection and over
/// the instance; then to Attach over the connection and over the socketpair that is open as descriptors `pair` and the next, if any.
pub(super) fn intrude(socket_path: &Path, pair: Option<RawFd>, prepare: impl FnOnce(), paths: &[&str]) {
    let connection = socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::empty(), None).expect("a socket");
    let address = UnixAddr::new(socket_path).expect("a short path");
    connect(connection.as_raw_fd(), &address).expect("the server listens");
    send(connection.as_fd(), &Request::new(RequestKind::Init, 0, 0), &[]).expect("it takes requests");
    let (reply, mut descriptors) = receive(connection.as_fd()).expect("an answer");
    if reply.errno != 0 {
        return say(&format!("init errno {}", reply.errno));
    }
    let instance = descriptors.pop().expect("an instance");
    prepare();
    for path in paths {
        let object = open(*path, OFlag::O_PATH, Mode::empty()).expect("it can be found");
        let request =
            Request { kind: RequestKind::AddWatch, argument: 0, word: libc::IN_OPEN, payload: path.as_bytes() };
        send(connection.as_fd(), &request, &[object.as_raw_fd()]).expect("it takes requests");
        let (by_connection, _) = receive(connection.as_fd()).expect("an answer");
        let (reader, writer) = io::pipe().expect("a pipe");
        send(instance.as_fd(), &request, &[writer.as_raw_fd(), object.as_raw_fd()]).expect("it takes requests");
        drop(writer);
        let mut bytes = [0; REPLY_BYTES];
        io::Read::read_exact(&mut &reader, &mut bytes).expect("an answer");
        let by_instance = Reply::parse(&bytes).expect("a reply");
        say(&format!("errno {} {}", by_connection.errno, by_instance.errno));
    }

    // Somebody else's name on a message: the kernel does not let it through.
    let root = UnixCredentials::from(libc::ucred { pid: std::process::id().cast_signed(), uid: 0, gid: 0 });
    let header = Request::new(RequestKind::Attach, 0, 0).header();
    let forged = [ControlMessage::ScmCredentials(&root)];
    let sent = sendmsg::<()>(connection.as_raw_fd(), &[IoSlice::new(&header)], &forged, MsgFlags::empty(), None);
    say(&format!("forged {:?}", sent.map(drop)));

    let attach = Request::new(RequestKind::Attach, 0, 0);
    send(connection.as_fd(), &attach, &[]).expect("it takes requests");
    let (reply, descriptors) = receive(connection.as_fd()).expect("an answer");
    say(&format!("attach errno {} descriptors {}", reply.errno, descriptors.len()));
    if let Some(ours) = pair {
        send(instance.as_fd(), &attach, &[ours + 1]).expect("it takes requests");
        // SAFETY: the test has left it open for us.
        let (reply, descriptors) = receive(unsafe { BorrowedFd::borrow_raw(ours) }).expect("an answer");
        say(&format!("attach errno {} descriptors {}", reply.errno, descriptors.len()));
    }
}
