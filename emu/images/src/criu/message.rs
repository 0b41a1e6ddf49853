//! The messages of CRIU's images/*.proto that are read whole, with the numbers of their fields.
//!
//! Required fields are optional here, so that one that is missing is told from one that is zero. Strings are bytes: CRIU writes paths
//! as they are.

use prost::Message;

use super::error::{ImageError, Problem};

/// Numbers of CRIU's `fd_types`.
pub(crate) const TYPE_UNIX_SOCKET: u32 = 5;
pub(crate) const TYPE_INOTIFY: u32 = 8;

/// fown.proto: who gets a file's signals.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct SignalOwnerMessage {
    /// Real user of who set it.
    #[prost(uint32, required, tag = "1")]
    pub uid: u32,
    /// Effective user of who set it.
    #[prost(uint32, required, tag = "2")]
    pub euid: u32,
    /// The signal; 0 is SIGIO.
    #[prost(uint32, required, tag = "3")]
    pub signum: u32,
    /// Whether `pid` is a thread, a process or a group.
    #[prost(uint32, required, tag = "4")]
    pub pid_type: u32,
    /// Who gets it.
    #[prost(uint32, required, tag = "5")]
    pub pid: u32,
}

/// fsnotify.proto, inotify_wd_entry.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct WatchMessage {
    #[prost(uint32, optional, tag = "1")]
    pub(crate) id: Option<u32>,
    #[prost(uint64, optional, tag = "2")]
    pub(crate) i_ino: Option<u64>,
    #[prost(uint32, optional, tag = "3")]
    pub(crate) mask: Option<u32>,
    #[prost(uint32, optional, tag = "4")]
    pub(crate) ignored_mask: Option<u32>,
    #[prost(uint32, optional, tag = "5")]
    pub(crate) s_dev: Option<u32>,
    #[prost(uint32, optional, tag = "6")]
    pub(crate) wd: Option<u32>,
    #[prost(message, optional, tag = "7")]
    pub(crate) f_handle: Option<HandleMessage>,
}

/// fh.proto, fh_entry.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct HandleMessage {
    #[prost(uint32, optional, tag = "1")]
    pub(crate) bytes: Option<u32>,
    #[prost(uint32, optional, tag = "2")]
    pub(crate) kind: Option<u32>,
    #[prost(uint64, repeated, packed = "false", tag = "3")]
    pub(crate) handle: Vec<u64>,
    #[prost(bytes = "vec", optional, tag = "4")]
    pub(crate) path: Option<Vec<u8>>,
    #[prost(uint32, optional, tag = "5")]
    pub(crate) mnt_id: Option<u32>,
}

/// sk-unix.proto, unix_sk_entry, as far as it is needed.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct UnixSocketMessage {
    #[prost(uint32, optional, tag = "1")]
    pub(crate) id: Option<u32>,
    #[prost(uint32, optional, tag = "2")]
    pub(crate) ino: Option<u32>,
    #[prost(uint32, optional, tag = "3")]
    pub(crate) kind: Option<u32>,
    #[prost(uint32, optional, tag = "4")]
    pub(crate) state: Option<u32>,
    #[prost(uint32, optional, tag = "5")]
    pub(crate) flags: Option<u32>,
    #[prost(uint32, optional, tag = "6")]
    pub(crate) uflags: Option<u32>,
    #[prost(uint32, optional, tag = "7")]
    pub(crate) backlog: Option<u32>,
    #[prost(uint32, optional, tag = "8")]
    pub(crate) peer: Option<u32>,
    #[prost(message, optional, tag = "9")]
    pub(crate) fown: Option<SignalOwnerMessage>,
    #[prost(message, optional, tag = "10")]
    pub(crate) opts: Option<SocketOptionsMessage>,
    #[prost(bytes = "vec", optional, tag = "11")]
    pub(crate) name: Option<Vec<u8>>,
}

/// sk-opts.proto, sk_opts_entry: what must be there.
#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct SocketOptionsMessage {
    #[prost(uint32, required, tag = "1")]
    pub(crate) so_sndbuf: u32,
    #[prost(uint32, required, tag = "2")]
    pub(crate) so_rcvbuf: u32,
    #[prost(uint64, required, tag = "3")]
    pub(crate) so_snd_tmo_sec: u64,
    #[prost(uint64, required, tag = "4")]
    pub(crate) so_snd_tmo_usec: u64,
    #[prost(uint64, required, tag = "5")]
    pub(crate) so_rcv_tmo_sec: u64,
    #[prost(uint64, required, tag = "6")]
    pub(crate) so_rcv_tmo_usec: u64,
}

/// Reads a message that stands at `offset`.
pub(crate) fn decode<M: Message + Default>(bytes: &[u8], offset: u64) -> Result<M, ImageError> {
    M::decode(bytes).map_err(|error| ImageError::new(offset, Problem::Malformed(error.to_string())))
}

/// A field that has to be there.
pub(crate) fn required<T>(
    field: Option<T>,
    offset: u64,
    message: &'static str,
    name: &'static str,
) -> Result<T, ImageError> {
    field.ok_or_else(|| ImageError::new(offset, Problem::Missing(message, name)))
}
