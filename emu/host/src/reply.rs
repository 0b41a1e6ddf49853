//! Where a reply goes.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, SpliceFFlags, fcntl, splice};
use nix::sys::socket::{SockType, UnixAddr, getpeername, getsockopt, sockopt};
use nix::unistd::{pipe2, read, write};
use uinotify_wire::{REPLY_BYTES, Reply};

use crate::closer::close_apart;
use crate::frame;

/// A descriptor that came with a request, by its kind.
#[derive(Debug)]
pub(crate) enum ReplyObject {
    /// The write end of a pipe.
    Pipe(OwnedFd),
    /// A program's own end of a connection: the reply may carry descriptors, and the program may go on to use it as its control
    /// connection.
    Socket(OwnedFd),
}

impl ReplyObject {
    /// Takes a descriptor for a reply object; anything but a pipe or one end of a connection is put away.
    pub(crate) fn new(fd: OwnedFd) -> Option<Self> {
        // Neither question reaches a file system, which fstat(2) does, and which might keep us waiting.
        if fcntl(&fd, FcntlArg::F_GETPIPE_SZ).is_ok() {
            return Some(Self::Pipe(fd));
        }
        // The other end of what we hold ourselves has a name: kept by us, it would never be closed.
        if is_packet_socket(fd.as_fd()) && getpeername::<UnixAddr>(fd.as_raw_fd()).is_ok_and(|peer| peer.is_unnamed()) {
            return Some(Self::Socket(fd));
        }
        close_apart(fd);
        None
    }

    /// Sends the reply. A program that does not take it has itself to blame.
    pub(crate) fn send(self, reply: &Reply, relay: &Relay) {
        match self {
            Self::Pipe(pipe) => relay.send(pipe.as_fd(), &reply.encode()),
            Self::Socket(socket) => {
                let _ = frame::send(socket.as_fd(), [&reply.encode(), &[]], &[]);
                // What is on its way to it goes too, whatever that is.
                close_apart(socket);
            }
        }
    }
}

/// A pipe of our own, through which replies go to the pipes of programs. `splice(2)` never waits for room, whatever a program does
/// to its pipe meanwhile; `write(2)` would, if the pipe were full by then, as `O_NONBLOCK` is not ours to keep set.
#[derive(Debug)]
pub(crate) struct Relay {
    reader: OwnedFd,
    writer: OwnedFd,
}

impl Relay {
    /// A new one.
    pub(crate) fn new() -> Result<Self, Errno> {
        let (reader, writer) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
        Ok(Self { reader, writer })
    }

    /// A pipe that is full, or has no reader, gets nothing.
    fn send(&self, pipe: BorrowedFd<'_>, bytes: &[u8; REPLY_BYTES]) {
        if write(&self.writer, bytes).is_ok() {
            let flags = SpliceFFlags::SPLICE_F_NONBLOCK;
            if splice(&self.reader, None, pipe, None, REPLY_BYTES, flags) != Ok(REPLY_BYTES) {
                // What is left would be taken for the beginning of the next reply.
                let _ = read(&self.reader, &mut [0; REPLY_BYTES]);
            }
        }
    }
}

/// Is this a local socket that keeps packets apart? Asks nothing that takes a lock of the socket.
pub(crate) fn is_packet_socket(fd: BorrowedFd<'_>) -> bool {
    let mut domain: libc::c_int = -1;
    let mut length = size_of_val(&domain) as libc::socklen_t;
    let (level, name) = (libc::SOL_SOCKET, libc::SO_DOMAIN);
    // SAFETY: SO_DOMAIN writes one int, which lives through the call, as its length does.
    let result = unsafe { libc::getsockopt(fd.as_raw_fd(), level, name, (&raw mut domain).cast(), &raw mut length) };
    result == 0 && domain == libc::AF_UNIX && getsockopt(&fd, sockopt::SockType) == Ok(SockType::SeqPacket)
}

/// Is this descriptor one opened with `O_PATH`? Its close never blocks, and it can be nothing but an object to watch.
pub(crate) fn is_path_only(fd: BorrowedFd<'_>) -> bool {
    fcntl(fd, FcntlArg::F_GETFL).is_ok_and(|flags| OFlag::from_bits_retain(flags).contains(OFlag::O_PATH))
}

/// The raw number of an errno, as it travels.
pub(crate) fn error(errno: Errno) -> Reply {
    Reply::error(errno as i32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_pipe_gets_nothing_and_the_next_its_own() {
        let relay = Relay::new().expect("a pipe");
        // A blocking one, as programs send.
        let (reader, writer) = pipe2(OFlag::O_CLOEXEC).expect("a pipe");
        let room = fcntl(&writer, FcntlArg::F_GETPIPE_SZ).expect("a pipe has a size");
        write(&writer, &vec![0; room.unsigned_abs() as usize]).expect("there is room");
        let full = || ReplyObject::new(writer.try_clone().expect("a duplicate")).expect("a reply object");
        full().send(&Reply::value(1), &relay);
        full().send(&Reply::value(2), &relay);
        drop(reader);
        full().send(&Reply::value(3), &relay);

        let (reader, writer) = pipe2(OFlag::O_CLOEXEC).expect("a pipe");
        ReplyObject::new(writer).expect("a reply object").send(&Reply::value(4), &relay);
        let mut bytes = [0; REPLY_BYTES];
        assert_eq!(read(&reader, &mut bytes), Ok(REPLY_BYTES));
        assert_eq!(Reply::parse(&bytes), Some(Reply::value(4)));
    }
}
