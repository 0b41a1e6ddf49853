//! Where a reply goes.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::{SFlag, fstat};
use uinotify_wire::Reply;

use crate::closer::close_apart;
use crate::frame;

/// A descriptor that came with a request, by its kind.
#[derive(Debug)]
pub(crate) enum ReplyObject {
    /// The write end of a pipe.
    Pipe(OwnedFd),
    /// A socket: the reply may carry descriptors, and the program may go on to use it as its control connection.
    Socket(OwnedFd),
}

impl ReplyObject {
    /// Takes a descriptor for a reply object; anything but a pipe or a socket is put away.
    pub(crate) fn new(fd: OwnedFd) -> Option<Self> {
        match fstat(&fd).map(|stat| SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT) {
            Ok(SFlag::S_IFIFO) => Some(Self::Pipe(fd)),
            Ok(SFlag::S_IFSOCK) => Some(Self::Socket(fd)),
            _ => {
                close_apart(fd);
                None
            }
        }
    }

    /// Sends the reply. A program that does not take it has itself to blame.
    pub(crate) fn send(&self, reply: &Reply) {
        match self {
            Self::Pipe(pipe) => {
                // A new pipe has room; one that somebody has filled must not block us.
                let mut entry = [PollFd::new(pipe.as_fd(), PollFlags::POLLOUT)];
                if poll(&mut entry, PollTimeout::ZERO) == Ok(1)
                    && entry[0].revents().is_some_and(|found| found.contains(PollFlags::POLLOUT))
                {
                    let _ = nix::unistd::write(pipe, &reply.encode());
                }
            }
            Self::Socket(socket) => {
                let _ = frame::send(socket.as_fd(), [&reply.encode(), &[]], &[]);
            }
        }
    }
}

/// Is this descriptor one opened with `O_PATH`? Its close never blocks, and it can be nothing but an object to watch.
pub(crate) fn is_path_only(fd: BorrowedFd<'_>) -> bool {
    fcntl(fd, FcntlArg::F_GETFL).is_ok_and(|flags| OFlag::from_bits_retain(flags).contains(OFlag::O_PATH))
}

/// The raw number of an errno, as it travels.
pub(crate) fn error(errno: Errno) -> Reply {
    Reply::error(errno as i32)
}
