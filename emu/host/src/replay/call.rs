//! A call of inotify, and what it returned, as a recording and a program are compared.

use std::fmt;

use nix::errno::Errno;
use uinotify_images::text::{ByteString, show_mask};
use uinotify_wire::{Reply, Request, RequestKind};

use crate::trace::{Quoted, errno_of, show_flags};

/// What a program asks, and not who or when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    /// `inotify_init1`; `None` where the recording only shows that there was an instance.
    Init { flags: Option<i32> },
    /// `inotify_add_watch`, with the path as it is written.
    AddWatch { path: ByteString, mask: u32 },
    /// `inotify_rm_watch`.
    RemoveWatch { wd: i32 },
    /// `ioctl(INOTIFY_IOC_SETNEXTWD)`.
    SetNextWd { argument: u64 },
    /// `ioctl(UINOTIFY_IOC_GETNEXTWD)`.
    GetNextWd,
}

/// What a call returned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// 0, or an instance whose queue takes so many events (0 where that is not known).
    Done { queue_events_max: u32 },
    /// A watch.
    Wd(i32),
    /// The cursor.
    NextWd(i32),
    /// The name of an errno.
    Failed(String),
}

impl Call {
    /// What a request asks for, if a recording has that.
    pub(crate) fn of(request: &Request<'_>) -> Option<Self> {
        Some(match request.kind {
            RequestKind::AddWatch => Self::AddWatch { path: ByteString(request.payload.to_vec()), mask: request.word },
            RequestKind::RemoveWatch => Self::RemoveWatch { wd: request.word.cast_signed() },
            RequestKind::SetCursor => Self::SetNextWd { argument: request.argument },
            RequestKind::GetCursor => Self::GetNextWd,
            _ => return None,
        })
    }
}

impl Answer {
    /// What was replied to a request.
    pub(crate) fn of(request: &Request<'_>, reply: &Reply) -> Self {
        match (reply.errno, request.kind) {
            (0, RequestKind::AddWatch) => Self::Wd(reply.value),
            (0, RequestKind::GetCursor) => Self::NextWd(reply.value),
            (0, _) => Self::Done { queue_events_max: 0 },
            (errno, _) => Self::Failed(format!("{:?}", Errno::from_raw(errno.cast_signed()))),
        }
    }

    /// The errno, if it failed with one that this machine knows.
    pub(crate) fn errno(&self) -> Option<Errno> {
        match self {
            Self::Failed(name) => Some(errno_of(name).unwrap_or(Errno::EIO)),
            _ => None,
        }
    }
}

impl fmt::Display for Call {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Init { flags: None } => formatter.write_str("an instance"),
            Self::Init { flags: Some(flags) } => write!(formatter, "inotify_init1({})", show_flags(*flags)),
            Self::AddWatch { path, mask } => {
                write!(formatter, "inotify_add_watch({}, {})", Quoted(path), show_mask(*mask))
            }
            Self::RemoveWatch { wd } => write!(formatter, "inotify_rm_watch({wd})"),
            Self::SetNextWd { argument } => write!(formatter, "ioctl(INOTIFY_IOC_SETNEXTWD, {argument})"),
            Self::GetNextWd => formatter.write_str("ioctl(UINOTIFY_IOC_GETNEXTWD)"),
        }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done { .. } => Ok(()),
            Self::Wd(number) | Self::NextWd(number) => write!(formatter, " = {number}"),
            Self::Failed(name) => write!(formatter, " = -1 {name}"),
        }
    }
}
