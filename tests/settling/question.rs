//! The ways to ask whether there are events.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicI32, AtomicU8, Ordering};
use std::time::Duration;

use nix::errno::Errno;

use crate::call::{self, Bytes, Poll, Way};
use crate::process;
use crate::shared::{Shareable, Shared};

/// Each is a chance to miss an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Question {
    /// `read(2)` of a non-blocking descriptor.
    Read { room: usize },
    /// `read(2)` of a blocking descriptor.
    BlockingRead { room: usize },
    /// `readv(2)`.
    ReadPieces { rooms: [usize; 3] },
    /// `ioctl(FIONREAD)`.
    QueuedBytes,
    /// A call with a timeout of zero.
    Now(Poll),
    /// A call with a timeout that is not zero, and a descriptor that is always ready.
    WithOther(Poll),
    /// A call that waits for the writer's report, and finds it.
    WithReport(Poll),
    /// `epoll_wait(2)` with a timeout of zero.
    EpollNow { edge: bool },
    /// The same, with a timeout that is not zero and a descriptor that is always ready.
    EpollWithOther { edge: bool },
    /// `epoll_wait(2)` that waits for the writer's report, and finds it.
    EpollWithReport,
    /// A forked child reads.
    ChildRead { room: usize },
}

/// What a question gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Bytes(Bytes),
    QueuedBytes(Result<usize, Errno>),
    IsReady(bool),
}

impl Answer {
    pub(crate) fn show(&self) -> String {
        match self {
            Self::Bytes(bytes) => call::show(bytes),
            other => format!("{other:?}"),
        }
    }
}

/// What a child has read.
#[repr(C)]
struct ChildRead {
    /// A length, or a negative errno.
    result: AtomicI32,
    bytes: [AtomicU8; CHILD_ROOM_MAX],
}

// SAFETY: it consists of atomics.
unsafe impl Shareable for ChildRead {}

pub(crate) const CHILD_ROOM_MAX: usize = 65536;

/// No question waits so long.
pub(crate) const LONG: Duration = Duration::from_secs(1000);

/// A subject: an inotify descriptor with what is needed to ask after it.
pub(crate) struct Subject {
    pub(crate) fd: OwnedFd,
    /// How descriptors are registered and asked.
    pub(crate) way: Way,
    other: RawFd,
    report: RawFd,
    level: OwnedFd,
    edge: OwnedFd,
    level_with_other: OwnedFd,
    edge_with_other: OwnedFd,
    level_with_report: OwnedFd,
    child: Shared<ChildRead>,
}

impl Subject {
    /// `other` is always ready; `report` is when the writer has reported.
    pub(crate) fn new(fd: OwnedFd, way: Way, other: RawFd, report: RawFd) -> Result<Self, Errno> {
        let number = fd.as_raw_fd();
        let level = (number, libc::EPOLLIN);
        let edge = (number, libc::EPOLLIN | libc::EPOLLET);
        Ok(Self {
            fd,
            way,
            other,
            report,
            level: call::epoll(way, &[level])?,
            edge: call::epoll(way, &[edge])?,
            level_with_other: call::epoll(way, &[level, (other, libc::EPOLLIN)])?,
            edge_with_other: call::epoll(way, &[edge, (other, libc::EPOLLIN)])?,
            level_with_report: call::epoll(way, &[level, (report, libc::EPOLLIN)])?,
            child: Shared::new(),
        })
    }

    pub(crate) fn read(&self, room: usize) -> Bytes {
        call::read(self.way, self.fd.as_raw_fd(), room)
    }

    pub(crate) fn queued_bytes(&self) -> Result<usize, Errno> {
        call::queued_bytes(self.way, self.fd.as_raw_fd())
    }

    /// Asks.
    pub(crate) fn ask(&self, question: Question) -> Result<Answer, Errno> {
        let fd = self.fd.as_raw_fd();
        Ok(match question {
            Question::Read { room } => Answer::Bytes(self.read(room)),
            Question::BlockingRead { room } => {
                call::set_nonblocking(fd, false);
                let bytes = self.read(room);
                call::set_nonblocking(fd, true);
                Answer::Bytes(bytes)
            }
            Question::ReadPieces { rooms } => Answer::Bytes(call::read_pieces(self.way, fd, rooms)),
            Question::QueuedBytes => Answer::QueuedBytes(self.queued_bytes()),
            Question::Now(call) => Answer::IsReady(call::readable(self.way, call, &[fd], Duration::ZERO)?[0]),
            Question::WithOther(call) => self.ask_with(call, self.other, LONG)?,
            Question::WithReport(call) => self.ask_with(call, self.report, LONG)?,
            Question::EpollNow { edge } => {
                let epoll = if edge { &self.edge } else { &self.level };
                let found = call::epoll_wait(self.way, epoll.as_raw_fd(), 0)?;
                Answer::IsReady(found.contains(&fd))
            }
            Question::EpollWithOther { edge } => {
                let epoll = if edge { &self.edge_with_other } else { &self.level_with_other };
                self.ask_epoll_with(epoll, self.other)?
            }
            Question::EpollWithReport => self.ask_epoll_with(&self.level_with_report, self.report)?,
            Question::ChildRead { room } => Answer::Bytes(self.read_in_child(room)),
        })
    }

    /// Waits until `with` is ready, and says whether the instance then is. Each call looks at `with` first: when it
    /// is found ready, so is everything that was queued before.
    fn ask_with(&self, call: Poll, with: RawFd, timeout: Duration) -> Result<Answer, Errno> {
        let fd = self.fd.as_raw_fd();
        assert!(with < fd, "select looks at the lower number first");
        let mut ready = call::readable(self.way, call, &[with, fd], timeout)?;
        if !ready[0] {
            // The instance alone was ready: no need to spin until the report is.
            call::readable(self.way, call, &[with], timeout)?;
            ready = call::readable(self.way, call, &[with, fd], timeout)?;
        }
        Ok(Answer::IsReady(ready[1]))
    }

    fn ask_epoll_with(&self, epoll: &OwnedFd, with: RawFd) -> Result<Answer, Errno> {
        let fd = self.fd.as_raw_fd();
        let mut found = call::epoll_wait(self.way, epoll.as_raw_fd(), LONG.as_millis() as i32)?;
        if !found.contains(&with) {
            call::readable(self.way, Poll::PPoll, &[with], LONG)?;
            found = call::epoll_wait(self.way, epoll.as_raw_fd(), LONG.as_millis() as i32)?;
        }
        Ok(Answer::IsReady(found.contains(&fd)))
    }

    /// The child of the kernel's descriptor is this process: there is nothing to learn from another.
    fn read_in_child(&self, room: usize) -> Bytes {
        if self.way == Way::Raw {
            return self.read(room);
        }
        process::run(|| {
            let result = match self.read(room.min(CHILD_ROOM_MAX)) {
                Ok(bytes) => {
                    for (to, from) in self.child.bytes.iter().zip(&bytes) {
                        to.store(*from, Ordering::Relaxed);
                    }
                    bytes.len() as i32
                }
                Err(errno) => -(errno as i32),
            };
            self.child.result.store(result, Ordering::Release);
        });
        let result = self.child.result.load(Ordering::Acquire);
        let length = usize::try_from(result).map_err(|_| Errno::from_raw(-result))?;
        Ok(self.child.bytes[..length].iter().map(|byte| byte.load(Ordering::Relaxed)).collect())
    }
}
