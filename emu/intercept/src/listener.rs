//! Where calls that were stopped are told, and answered.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;

use crate::call::Call;

/// Room for a notification of a later kernel as well.
const NOTIFICATION_BYTES_MAX: usize = 512;

#[repr(C, align(8))]
struct Room([u8; NOTIFICATION_BYTES_MAX]);

/// The kernel's end of a filter. Threads may share it; one receives.
#[derive(Debug)]
pub struct Listener {
    fd: OwnedFd,
    sends_with_descriptor: bool,
}

/// A thread that waits in a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Notification {
    /// Names this wait of this thread, and no later one.
    pub id: u64,
    /// The thread, as this process sees it; 0 if it cannot.
    pub thread: i32,
    /// What it calls.
    pub call: Option<Call>,
    /// Where in the program the call stands.
    pub place: u64,
}

/// A descriptor has been given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answered {
    /// The call has returned it.
    Returned,
    /// It has this number, but a signal has come between, and the thread is going to call again (before Linux 5.14).
    Left(i32),
}

impl Listener {
    /// Of a descriptor that [`install`](crate::install()) gave.
    ///
    /// # Errors
    ///
    /// EMSGSIZE if this kernel tells more than is understood.
    pub fn new(fd: OwnedFd) -> Result<Self, Errno> {
        let mut sizes = libc::seccomp_notif_sizes { seccomp_notif: 0, seccomp_notif_resp: 0, seccomp_data: 0 };
        // SAFETY: the sizes live through the call, which writes them.
        let result = unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_GET_NOTIF_SIZES, 0, &raw mut sizes) };
        Errno::result(result)?;
        let answer_bytes = size_of::<libc::seccomp_notif_resp>();
        if usize::from(sizes.seccomp_notif) > NOTIFICATION_BYTES_MAX
            || usize::from(sizes.seccomp_notif_resp) > answer_bytes
        {
            return Err(Errno::EMSGSIZE);
        }
        let sends_with_descriptor = give(fd.as_fd(), 0, -1, libc::SECCOMP_ADDFD_FLAG_SEND, 0) == Err(Errno::EBADF);
        Ok(Self { fd, sends_with_descriptor })
    }

    /// The next call. `None` if there is none, or its thread has just gone: to be called by one thread, after poll has shown something.
    ///
    /// # Errors
    ///
    /// If the kernel has no memory.
    pub fn receive(&self) -> Result<Option<Notification>, Errno> {
        let mut room = Room([0; NOTIFICATION_BYTES_MAX]);
        // SAFETY: there is room for what the kernel said it writes, all zeroes as it demands.
        let result = unsafe { libc::ioctl(self.fd.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_RECV, &raw mut room) };
        match Errno::result(result) {
            Err(Errno::ENOENT | Errno::EINTR) => return Ok(None),
            result => result?,
        };
        // SAFETY: the kernel has filled it from the start, it is aligned, and any bytes are a value of it.
        let told = unsafe { (&raw const room).cast::<libc::seccomp_notif>().read() };
        let call = Call::new(&told.data);
        let place = told.data.instruction_pointer;
        Ok(Some(Notification { id: told.id, thread: told.pid.cast_signed(), call, place }))
    }

    /// Does the thread still wait? What was read of it before then is what it has.
    #[must_use]
    pub fn is_waiting(&self, id: u64) -> bool {
        // SAFETY: the number lives through the call.
        unsafe { libc::ioctl(self.fd.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_ID_VALID, &raw const id) == 0 }
    }

    /// Has the call return.
    ///
    /// # Errors
    ///
    /// ENOENT if the thread does not wait any more.
    pub fn answer(&self, id: u64, result: Result<i64, Errno>) -> Result<(), Errno> {
        let (val, error) = match result {
            Ok(value) => (value, 0),
            Err(errno) => (0, -(errno as i32)),
        };
        self.send(libc::seccomp_notif_resp { id, val, error, flags: 0 })
    }

    /// Has the kernel do the call.
    ///
    /// # Errors
    ///
    /// As [`answer`](Self::answer).
    pub fn let_pass(&self, id: u64) -> Result<(), Errno> {
        let flags = libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32;
        self.send(libc::seccomp_notif_resp { id, val: 0, error: 0, flags })
    }

    fn send(&self, mut answer: libc::seccomp_notif_resp) -> Result<(), Errno> {
        // SAFETY: the answer lives through the call.
        let result = unsafe { libc::ioctl(self.fd.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_SEND, &raw mut answer) };
        Errno::result(result).map(drop)
    }

    /// Has the call return a descriptor of the same file, under the lowest number that the process has free.
    ///
    /// # Errors
    ///
    /// ENOENT if the thread does not wait any more; EMFILE as the call itself would have it.
    pub fn give(&self, id: u64, file: BorrowedFd<'_>, close_on_exec: bool) -> Result<Answered, Errno> {
        let flags = if close_on_exec { libc::O_CLOEXEC as u32 } else { 0 };
        if self.sends_with_descriptor {
            let given = give(self.fd.as_fd(), id, file.as_raw_fd(), libc::SECCOMP_ADDFD_FLAG_SEND, flags);
            return given.map(|_| Answered::Returned);
        }
        let number = give(self.fd.as_fd(), id, file.as_raw_fd(), 0, flags)?;
        match self.answer(id, Ok(number.into())) {
            Ok(()) => Ok(Answered::Returned),
            Err(Errno::ENOENT) => Ok(Answered::Left(number)),
            Err(errno) => Err(errno),
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Whether the kernel knows the request at all: then it misses a file.
pub(crate) fn can_give_descriptors(listener: BorrowedFd<'_>) -> bool {
    give(listener, 0, -1, 0, 0) == Err(Errno::EBADF)
}

fn give(listener: BorrowedFd<'_>, id: u64, fd: i32, flags: libc::c_ulong, fd_flags: u32) -> Result<i32, Errno> {
    let request = libc::seccomp_notif_addfd {
        id,
        flags: flags as u32,
        srcfd: fd.cast_unsigned(),
        newfd: 0,
        newfd_flags: fd_flags,
    };
    // SAFETY: the request lives through the call, which reads it.
    let result = unsafe { libc::ioctl(listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_ADDFD, &raw const request) };
    Errno::result(result)
}
