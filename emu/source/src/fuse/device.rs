//! The descriptor over which the kernel asks.

use std::io::IoSlice;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};

use super::reply::HEADER_LENGTH;

/// `struct fuse_backing_map`
#[repr(C)]
struct BackingMap {
    fd: i32,
    flags: u32,
    padding: u64,
}

nix::ioctl_write_ptr!(backing_open, 229, 1, BackingMap);
nix::ioctl_write_ptr!(backing_close, 229, 2, u32);

/// Replies up to this length are written in one piece.
const WHOLE_BYTES: usize = 512;

/// `FUSE_NOTIFY_INC_EPOCH`
const NAMES_EXPIRE: i32 = 8;

/// /dev/fuse with a file system behind it, non-blocking.
#[derive(Debug)]
pub struct Device {
    fd: Arc<OwnedFd>,
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
        Ok(Self { fd: Arc::new(fd) })
    }

    /// The same, for another thread to answer over.
    pub(super) fn share(&self) -> Self {
        Self { fd: Arc::clone(&self.fd) }
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
        match result {
            Ok(body) => self.write(unique, 0, body),
            Err(error) => self.write(unique, -(error as i32), &[]),
        }
    }

    /// Each name has to be looked up again before it is used.
    ///
    /// # Errors
    ///
    /// EINVAL before Linux 6.16.
    pub(super) fn expire_names(&self) -> Result<(), Errno> {
        // No request has the number 0: this is news.
        self.write(0, NAMES_EXPIRE, &[]).map(drop)
    }

    /// Makes an open file known to the kernel as one that it may read and write itself. What is done with it is done with the rights that this
    /// thread has now.
    ///
    /// # Errors
    ///
    /// EPERM without CAP_SYS_ADMIN in the first user name space, or if it was not negotiated; ENOTTY before Linux 6.9; ELOOP if the file
    /// system is stacked on others.
    pub(super) fn open_backing(&self, file: impl AsFd) -> Result<u32, Errno> {
        let map = BackingMap { fd: file.as_fd().as_raw_fd(), flags: 0, padding: 0 };
        // SAFETY: the argument is what this command takes, and lives through the call.
        let number = unsafe { backing_open(self.fd.as_raw_fd(), &raw const map) }?;
        Ok(number.cast_unsigned())
    }

    /// No file is opened with it any more.
    pub(super) fn close_backing(&self, backing: u32) -> Result<(), Errno> {
        // SAFETY: the argument is what this command takes, and lives through the call.
        unsafe { backing_close(self.fd.as_raw_fd(), &raw const backing) }.map(drop)
    }

    fn write(&self, unique: u64, error: i32, body: &[u8]) -> Result<bool, Errno> {
        let mut header = [0; HEADER_LENGTH];
        let length = u32::try_from(HEADER_LENGTH + body.len()).map_err(|_| Errno::EMSGSIZE)?;
        for (field, bytes) in
            [(0..4, &length.to_ne_bytes()[..]), (4..8, &error.to_ne_bytes()[..]), (8..16, &unique.to_ne_bytes()[..])]
        {
            header[field].copy_from_slice(bytes);
        }
        // The kernel looks up each piece's page, which for most replies takes longer than a copy.
        let mut whole = [0; WHOLE_BYTES];
        let whole = whole.get_mut(..HEADER_LENGTH + body.len()).map(|whole| {
            let (front, back) = whole.split_at_mut(HEADER_LENGTH);
            front.copy_from_slice(&header);
            back.copy_from_slice(body);
            &*whole
        });
        loop {
            let written = match whole {
                Some(whole) => nix::unistd::write(&self.fd, whole),
                None => nix::sys::uio::writev(&self.fd, &[IoSlice::new(&header), IoSlice::new(body)]),
            };
            match written {
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
