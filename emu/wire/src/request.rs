//! Requests: program to emulator.

use core::fmt;

use crate::{MAGIC, VERSION, u32_at, u64_at};

/// Length of a request's fixed part.
pub const REQUEST_BYTES: usize = 24;

/// Length of the secret that lets a program open an instance.
pub const TOKEN_BYTES: usize = 16;

/// The cursor is set by whoever rebuilds an instance, and not by a program's call.
pub const REBUILDS: u32 = 1;

/// The purpose of an `Attach` whose descriptor only stands in for the program's own in one call.
pub const STAND_IN: u32 = 1;

/// The purpose of the first `Settle` of a call that reads: whoever wants that call to fail says so in its reply.
pub const FOR_READ: u32 = 1;

/// What a program asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum RequestKind {
    /// `inotify_init1`: `argument` holds the flags, the payload the token. The reply brings the descriptor, and the connection
    /// stays the group's control connection.
    Init = 1,
    /// `inotify_add_watch`: `word` holds the mask, the payload the path as the program wrote it, the attached descriptor the
    /// object, opened with `O_PATH`. Without one `argument` is the errno with which the program's own kernel has refused the path: the
    /// reply's errno is that, or the one of a check that comes before it.
    AddWatch = 2,
    /// `inotify_rm_watch`: `word` holds the wd.
    RemoveWatch = 3,
    /// `INOTIFY_IOC_SETNEXTWD`: `argument` holds the ioctl's argument. `word` is 0 for the call of a program, and 1 ([`REBUILDS`]) for
    /// whoever rebuilds an instance, who can do it also where programs are shown a kernel without the call.
    SetCursor = 4,
    /// `UINOTIFY_IOC_GETNEXTWD`.
    GetCursor = 5,
    /// Bring every event that has already happened into the queue. `argument` is the room of the read that asks, in bytes: when
    /// the window is empty the reply carries as many whole events as fit. With room 0 the events go into the window. `word` is
    /// [`FOR_READ`] or 0.
    Settle = 6,
    /// As `Settle` with room 0; the reply's value is the number of queued bytes.
    Count = 7,
    /// Hands over the source's descriptor and the settle page. Over an inotify descriptor the reply object must be a socket,
    /// and becomes a control connection. With [`STAND_IN`] in `word` any inotify descriptor will do, which is not kept.
    Attach = 8,
    /// Gives back what was received and could not be passed on. The attached descriptor is the program's end, from which the
    /// emulator takes the window back. The payload is one event record; when it is empty, the last reply's events are meant.
    Return = 9,
    /// Asks for the emulator's state as JSON, in packets up to the end of the connection. The payload is empty.
    Status = 10,
    /// What /proc/PID/fdinfo/N shows: the reply brings a descriptor of the text, open for reading. `word` holds the flags of the
    /// program's descriptor as its own fdinfo shows them. Over an inotify descriptor the reply object must be a socket. On a new
    /// connection `argument` holds the inode of the program's socket, the payload the token if there is one; ENOENT if the
    /// emulator has no such instance.
    Describe = 11,
    /// What a file of /proc/sys shows: `word` holds a `LimitFile`, the payload the token if there is one. The reply brings a
    /// descriptor of the text as for `Describe`, or none where the machine's own limit is in force. On a new connection only.
    Limit = 12,
    /// Is `argument` the inode of the program's end of an instance? ENOENT if not. The payload is the token if there is one. On a
    /// new connection only.
    Find = 13,
    /// Asks for all that there is of the instances, as a checkpoint (JSON) in packets up to the end of the connection. `argument` is
    /// the number of one instance, or 0 for all. The payload is empty. On a new connection only.
    Checkpoint = 14,
    /// Gives an instance what no call of a program can: queue, limits, the order of its watches, the cookie counter. The payload is a
    /// piece of a checkpoint (JSON) with one instance; each piece has a reply. `word` is 1 with the last one. The instance is that of the
    /// program's end that is attached then, from which the window is taken back; without one that whose program's end has the inode
    /// `argument`. The last reply's value is the number of the instance. On a new connection only.
    Restore = 15,
    /// From the reply on, which brings the version of the protocol, the connection carries lines of JSON (docs/protocol.md). The payload
    /// is the token if there is one. On a new connection only.
    Control = 16,
}

impl RequestKind {
    fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::Init,
            2 => Self::AddWatch,
            3 => Self::RemoveWatch,
            4 => Self::SetCursor,
            5 => Self::GetCursor,
            6 => Self::Settle,
            7 => Self::Count,
            8 => Self::Attach,
            9 => Self::Return,
            10 => Self::Status,
            11 => Self::Describe,
            12 => Self::Limit,
            13 => Self::Find,
            14 => Self::Checkpoint,
            15 => Self::Restore,
            16 => Self::Control,
            _ => return None,
        })
    }
}

/// A file that shows a limit of inotify's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum LimitFile {
    /// /proc/sys/fs/inotify/max_queued_events
    QueuedEvents = 1,
    /// /proc/sys/fs/inotify/max_user_instances, and /proc/sys/user/max_inotify_instances since Linux 4.9
    Instances = 2,
    /// /proc/sys/fs/inotify/max_user_watches, and /proc/sys/user/max_inotify_watches since Linux 4.9
    Watches = 3,
}

impl LimitFile {
    /// The file of this number.
    #[must_use]
    pub fn from_word(word: u32) -> Option<Self> {
        [Self::QueuedEvents, Self::Instances, Self::Watches].into_iter().find(|file| *file as u32 == word)
    }
}

/// A request with its payload still in the receive buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// What is asked.
    pub kind: RequestKind,
    /// The wide argument.
    pub argument: u64,
    /// The narrow argument.
    pub word: u32,
    /// What follows the fixed part.
    pub payload: &'a [u8],
}

impl<'a> Request<'a> {
    /// A request without payload.
    #[must_use]
    pub fn new(kind: RequestKind, argument: u64, word: u32) -> Self {
        Self { kind, argument, word, payload: &[] }
    }

    /// The fixed part; the payload follows it in the packet.
    #[must_use]
    pub fn header(&self) -> [u8; REQUEST_BYTES] {
        let mut bytes = [0; REQUEST_BYTES];
        let (magic, rest) = bytes.split_at_mut(4);
        magic.copy_from_slice(&MAGIC);
        rest[0] = VERSION;
        rest[1] = self.kind as u8;
        rest[4..12].copy_from_slice(&self.argument.to_ne_bytes());
        rest[12..16].copy_from_slice(&self.word.to_ne_bytes());
        // A payload is at most a path, far below 4 GiB.
        rest[16..20].copy_from_slice(&(self.payload.len() as u32).to_ne_bytes());
        bytes
    }

    /// Reads a packet, which must be a whole frame of this version.
    ///
    /// # Errors
    ///
    /// What is wrong with it: it may come from another version, or from somebody who took the descriptor for a file.
    pub fn parse(packet: &'a [u8]) -> Result<Self, Malformed> {
        if packet.len() < REQUEST_BYTES || packet[..4] != MAGIC {
            return Err(Malformed::NoFrame);
        }
        if packet[4] != VERSION {
            return Err(Malformed::Version(packet[4]));
        }
        let kind = RequestKind::from_byte(packet[5]).ok_or(Malformed::Kind(packet[5]))?;
        let (header, payload) = packet.split_at(REQUEST_BYTES);
        if u32_at(header, 20) as usize != payload.len() || header[6..8] != [0, 0] {
            return Err(Malformed::Length);
        }
        Ok(Self { kind, argument: u64_at(header, 8), word: u32_at(header, 16), payload })
    }
}

/// Why a packet is no request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// It does not begin as a frame does, or ends before the fixed part does.
    NoFrame,
    /// A frame of another version.
    Version(u8),
    /// A frame of this version, of a kind that it does not have.
    Kind(u8),
    /// The payload is not as long as it says, or reserved bytes are set.
    Length,
}

impl fmt::Display for Malformed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoFrame => formatter.write_str("a packet that is no frame"),
            Self::Version(version) => write!(formatter, "a frame of version {version} where {VERSION} is spoken"),
            Self::Kind(kind) => write!(formatter, "a request of unknown kind {kind}"),
            Self::Length => formatter.write_str("a frame that is not as long as it says"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limit_files_have_numbers() {
        for file in [LimitFile::QueuedEvents, LimitFile::Instances, LimitFile::Watches] {
            assert_eq!(LimitFile::from_word(file as u32), Some(file));
        }
        assert_eq!([0, 4, u32::MAX].map(LimitFile::from_word), [None; 3]);
    }

    #[test]
    fn a_request_survives_the_wire() {
        let request =
            Request { kind: RequestKind::AddWatch, argument: u64::MAX - 1, word: 0xfff, payload: b"some/path" };
        let mut packet = [0; 64];
        packet[..REQUEST_BYTES].copy_from_slice(&request.header());
        packet[REQUEST_BYTES..REQUEST_BYTES + 9].copy_from_slice(request.payload);
        assert_eq!(Request::parse(&packet[..REQUEST_BYTES + 9]), Ok(request));
    }

    #[test]
    fn every_kind_has_one_number() {
        let mut known = 0;
        for byte in 0..=u8::MAX {
            if let Some(kind) = RequestKind::from_byte(byte) {
                assert_eq!(kind as u8, byte);
                known += 1;
            }
        }
        assert_eq!(known, 16);
    }

    #[test]
    fn junk_is_refused() {
        let good = Request::new(RequestKind::Settle, 0, 0).header();
        assert!(Request::parse(&good).is_ok());
        for cut in 0..good.len() {
            assert_eq!(Request::parse(&good[..cut]), Err(Malformed::NoFrame), "cut at {cut}");
        }
        for (offset, value, expected) in [
            (0, b'x', Malformed::NoFrame),
            (4, VERSION + 1, Malformed::Version(VERSION + 1)),
            (5, 0, Malformed::Kind(0)),
            (5, 200, Malformed::Kind(200)),
            (6, 1, Malformed::Length),
            (7, 1, Malformed::Length),
            (20, 1, Malformed::Length),
        ] {
            let mut bad = good;
            bad[offset] = value;
            assert_eq!(Request::parse(&bad), Err(expected), "byte {offset} set to {value}");
        }
        assert_eq!(Request::parse(&[0; 4096]), Err(Malformed::NoFrame));
    }
}
