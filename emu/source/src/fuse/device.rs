//! The descriptor over which the kernel asks.

use std::io::IoSlice;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};

use super::reply::HEADER_LENGTH;

/// /dev/fuse with a file system behind it, non-blocking.
#[derive(Debug)]
pub struct Device {
    fd: OwnedFd,
}

/// What a read gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Received {
    /// A request, of so many bytes.
    Request(usize),
    /// There is none now.
    Nothing,
    /// The file system is unmounted, or was aborted.
    Ended,
}

impl Device {
    /// A device whose file system is mounted, and agreed upon with the kernel by [`Mount`](super::Mount), here or in another process.
    ///
    /// # Errors
    ///
    /// If the descriptor cannot be set to non-blocking.
    pub fn new(fd: OwnedFd) -> Result<Self, Errno> {
        let flags = OFlag::from_bits_retain(fcntl(&fd, FcntlArg::F_GETFL)?);
        fcntl(&fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
        Ok(Self { fd })
    }

    /// # Errors
    ///
    /// Those of `read(2)` that say that something is wrong here.
    pub(super) fn receive(&self, buffer: &mut [u8]) -> Result<Received, Errno> {
        loop {
            match nix::unistd::read(&self.fd, buffer) {
                Ok(length) => return Ok(Received::Request(length)),
                // ENOENT: whoever asked was killed while we were reading.
                Err(Errno::EINTR | Errno::ENOENT) => {}
                Err(Errno::EAGAIN) => return Ok(Received::Nothing),
                Err(Errno::ENODEV | Errno::ECONNABORTED) => return Ok(Received::Ended),
                Err(error) => return Err(error),
            }
        }
    }

    /// Answers. False if nobody waits for it any longer.
    ///
    /// # Errors
    ///
    /// Those of `writev(2)`; EINVAL is a reply that the kernel does not understand.
    pub(super) fn send(&self, unique: u64, result: Result<&[u8], Errno>) -> Result<bool, Errno> {
        let (error, body) = match result {
            Ok(body) => (0, body),
            Err(error) => (-(error as i32), &[][..]),
        };
        let mut header = [0; HEADER_LENGTH];
        let length = u32::try_from(HEADER_LENGTH + body.len()).map_err(|_| Errno::EMSGSIZE)?;
        for (field, bytes) in
            [(0..4, &length.to_ne_bytes()[..]), (4..8, &error.to_ne_bytes()[..]), (8..16, &unique.to_ne_bytes()[..])]
        {
            header[field].copy_from_slice(bytes);
        }
        loop {
            match nix::sys::uio::writev(&self.fd, &[IoSlice::new(&header), IoSlice::new(body)]) {
                Ok(_) => return Ok(true),
                Err(Errno::EINTR) => {}
                Err(Errno::ENOENT | Errno::ENODEV | Errno::ECONNABORTED) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
    }
}

impl AsFd for Device {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
