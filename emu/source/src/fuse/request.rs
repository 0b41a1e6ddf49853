//! What the kernel asks: a request from /dev/fuse, taken apart (linux/fuse.h).
//!
//! The crate's own loop blocks in its read, and knows neither STATX nor TMPFILE, so the requests are read here. Numbers are in
//! the machine's byte order.

mod fields;

use std::ffi::CStr;

use fields::Fields;

/// The kernel's number of an inode: ours, chosen at its look-up, and never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u64);

impl NodeId {
    /// The root of the file system.
    pub const ROOT: Self = Self(1);
}

/// Our number of an open file or directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Handle(pub(super) u64);

/// Who asks: the file system ids and the thread, as the emulator's name spaces number them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Asker {
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// 0: the kernel itself, or a process of another pid name space.
    pub(super) thread: u32,
}

/// A time to set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TimeToSet {
    Now,
    At { seconds: i64, nanoseconds: u32 },
}

/// What SETATTR sets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Attributes {
    pub(super) mode: Option<u32>,
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
    pub(super) size: Option<u64>,
    pub(super) accessed: Option<TimeToSet>,
    pub(super) modified: Option<TimeToSet>,
    pub(super) handle: Option<Handle>,
    /// The kernel has found that the caller may not keep set-user-ID bits.
    pub(super) clears_set_ids: bool,
}

/// The place of a read or a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) handle: Handle,
    pub(super) offset: i64,
    pub(super) size: u32,
    /// Of read or of write: `READ_*`, `WRITE_*`.
    pub(super) flags: u32,
    /// The flags of the open file, as `F_GETFL`.
    pub(super) file_flags: i32,
}

/// A read by a system call; without it the page cache is filled: a page fault, read-ahead.
pub(super) const READ_LOCKOWNER: u32 = 1 << 1;
/// The page cache is written back: what a mapping has changed.
pub(super) const WRITE_CACHE: u32 = 1 << 0;
/// The writer has not CAP_FSETID.
pub(super) const WRITE_KILL_SUIDGID: u32 = 1 << 2;

/// What is asked for. Names have no slash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation<'a> {
    Lookup {
        name: &'a CStr,
    },
    Forget {
        lookups: u64,
    },
    BatchForget {
        forgets: Forgets<'a>,
    },
    GetAttributes {
        handle: Option<Handle>,
    },
    Statx {
        handle: Option<Handle>,
    },
    SetAttributes(Attributes),
    ReadLink,
    SymbolicLink {
        name: &'a CStr,
        target: &'a CStr,
    },
    MakeNode {
        name: &'a CStr,
        mode: u32,
        device: u32,
        umask: u32,
    },
    MakeDirectory {
        name: &'a CStr,
        mode: u32,
        umask: u32,
    },
    Unlink {
        name: &'a CStr,
    },
    RemoveDirectory {
        name: &'a CStr,
    },
    Rename {
        name: &'a CStr,
        new_directory: NodeId,
        new_name: &'a CStr,
        flags: u32,
    },
    Link {
        object: NodeId,
        name: &'a CStr,
    },
    Open {
        flags: i32,
    },
    Create {
        name: &'a CStr,
        flags: i32,
        mode: u32,
        umask: u32,
    },
    Unnamed {
        flags: i32,
        mode: u32,
        umask: u32,
    },
    Read(Place),
    Write {
        place: Place,
        data: &'a [u8],
    },
    Flush {
        handle: Handle,
    },
    Release {
        handle: Handle,
    },
    Synchronize {
        handle: Handle,
        data_only: bool,
    },
    SynchronizeAll,
    OpenDirectory {
        flags: i32,
    },
    ReadDirectory(Place),
    ReleaseDirectory {
        handle: Handle,
    },
    SynchronizeDirectory {
        handle: Handle,
        data_only: bool,
    },
    Statistics,
    SetExtended {
        name: &'a CStr,
        value: &'a [u8],
        flags: i32,
    },
    GetExtended {
        name: &'a CStr,
        size: u32,
    },
    ListExtended {
        size: u32,
    },
    RemoveExtended {
        name: &'a CStr,
    },
    Access {
        mask: i32,
    },
    Allocate {
        handle: Handle,
        offset: i64,
        length: i64,
        mode: i32,
    },
    Seek {
        handle: Handle,
        offset: i64,
        whence: i32,
    },
    Copy {
        from: Handle,
        from_offset: i64,
        to_node: NodeId,
        to: Handle,
        to_offset: i64,
        length: u64,
        flags: u64,
    },
    Control {
        handle: Handle,
        command: u32,
        input: &'a [u8],
        output_size: u32,
    },
    /// The file system ends.
    Destroy,
    /// No reply is owed.
    Interrupt,
    /// What we do not do, or do not know.
    Other,
}

/// A request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Request<'a> {
    pub(super) unique: u64,
    pub(super) node: NodeId,
    pub(super) asker: Asker,
    pub(super) operation: Operation<'a>,
}

/// The nodes of a BATCH_FORGET, with their counts of look-ups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Forgets<'a>(&'a [u8]);

impl Iterator for Forgets<'_> {
    type Item = (NodeId, u64);

    fn next(&mut self) -> Option<Self::Item> {
        let mut fields = Fields(self.0);
        let one = (NodeId(fields.u64()?), fields.u64()?);
        self.0 = fields.0;
        Some(one)
    }
}

impl<'a> Request<'a> {
    /// Takes one message apart; `None` if it is cut short.
    pub(super) fn parse(message: &'a [u8]) -> Option<Self> {
        let mut fields = Fields(message);
        let length = usize::try_from(fields.u32()?).ok()?;
        let opcode = fields.u32()?;
        let unique = fields.u64()?;
        let node = NodeId(fields.u64()?);
        let asker = Asker { uid: fields.u32()?, gid: fields.u32()?, thread: fields.u32()? };
        fields.u32()?;
        if length != message.len() {
            return None;
        }
        Some(Self { unique, node, asker, operation: Operation::parse(opcode, fields)? })
    }
}

impl Request<'_> {
    /// The thread that waits for the reply, if one does and the kernel tells which.
    pub(super) fn waiting_thread(&self) -> Option<u32> {
        let is_alone = matches!(
            self.operation,
            Operation::Forget { .. }
                | Operation::BatchForget { .. }
                | Operation::Interrupt
                | Operation::Release { .. }
                | Operation::ReleaseDirectory { .. }
                | Operation::Destroy
        );
        (!is_alone && self.asker.thread != 0).then_some(self.asker.thread)
    }
}

impl<'a> Operation<'a> {
    /// Whether the kernel forgets objects by it.
    pub(super) fn forgets(&self) -> bool {
        matches!(self, Self::Forget { .. } | Self::BatchForget { .. })
    }

    fn parse(opcode: u32, mut fields: Fields<'a>) -> Option<Self> {
        Some(match opcode {
            1 => Self::Lookup { name: fields.name()? },
            2 => Self::Forget { lookups: fields.u64()? },
            3 => Self::GetAttributes { handle: fields.handle_if_flag()? },
            4 => Self::SetAttributes(fields.attributes()?),
            5 => Self::ReadLink,
            6 => Self::SymbolicLink { name: fields.name()?, target: fields.name()? },
            8 => {
                let (mode, device, umask, _) = (fields.u32()?, fields.u32()?, fields.u32()?, fields.u32()?);
                Self::MakeNode { name: fields.name()?, mode, device, umask }
            }
            9 => {
                let (mode, umask) = (fields.u32()?, fields.u32()?);
                Self::MakeDirectory { name: fields.name()?, mode, umask }
            }
            10 => Self::Unlink { name: fields.name()? },
            11 => Self::RemoveDirectory { name: fields.name()? },
            12 => {
                let new_directory = NodeId(fields.u64()?);
                Self::Rename { name: fields.name()?, new_directory, new_name: fields.name()?, flags: 0 }
            }
            13 => Self::Link { object: NodeId(fields.u64()?), name: fields.name()? },
            14 => Self::Open { flags: fields.i32()? },
            15 => Self::Read(fields.place()?),
            16 => {
                let place = fields.place()?;
                Self::Write { place, data: fields.bytes(place.size)? }
            }
            17 => Self::Statistics,
            18 => Self::Release { handle: fields.handle()? },
            20 => Self::Synchronize { handle: fields.handle()?, data_only: fields.u32()? & 1 != 0 },
            21 => {
                let (size, flags) = (fields.u32()?, fields.i32()?);
                let name = fields.name()?;
                Self::SetExtended { name, value: fields.bytes(size)?, flags }
            }
            22 => {
                let (size, _) = (fields.u32()?, fields.u32()?);
                Self::GetExtended { name: fields.name()?, size }
            }
            23 => Self::ListExtended { size: fields.u32()? },
            24 => Self::RemoveExtended { name: fields.name()? },
            25 => Self::Flush { handle: fields.handle()? },
            27 => Self::OpenDirectory { flags: fields.i32()? },
            28 => Self::ReadDirectory(fields.place()?),
            29 => Self::ReleaseDirectory { handle: fields.handle()? },
            30 => Self::SynchronizeDirectory { handle: fields.handle()?, data_only: fields.u32()? & 1 != 0 },
            34 => Self::Access { mask: fields.i32()? },
            35 => {
                let (flags, mode, umask, _) = (fields.i32()?, fields.u32()?, fields.u32()?, fields.u32()?);
                Self::Create { name: fields.name()?, flags, mode, umask }
            }
            36 => Self::Interrupt,
            38 => Self::Destroy,
            39 => {
                let (handle, _flags, command) = (fields.handle()?, fields.u32()?, fields.u32()?);
                let (_argument, input_size, output_size) = (fields.u64()?, fields.u32()?, fields.u32()?);
                Self::Control { handle, command, input: fields.bytes(input_size)?, output_size }
            }
            42 => {
                let (count, _) = (fields.u32()?, fields.u32()?);
                Self::BatchForget { forgets: Forgets(fields.bytes(count.checked_mul(16)?)?) }
            }
            43 => Self::Allocate {
                handle: fields.handle()?,
                offset: fields.i64()?,
                length: fields.i64()?,
                mode: fields.i32()?,
            },
            45 => {
                let (new_directory, flags, _) = (NodeId(fields.u64()?), fields.u32()?, fields.u32()?);
                Self::Rename { name: fields.name()?, new_directory, new_name: fields.name()?, flags }
            }
            46 => Self::Seek { handle: fields.handle()?, offset: fields.i64()?, whence: fields.i32()? },
            47 => Self::Copy {
                from: fields.handle()?,
                from_offset: fields.i64()?,
                to_node: NodeId(fields.u64()?),
                to: fields.handle()?,
                to_offset: fields.i64()?,
                length: fields.u64()?,
                flags: fields.u64()?,
            },
            50 => Self::SynchronizeAll,
            51 => {
                let (flags, mode, umask) = (fields.i32()?, fields.u32()?, fields.u32()?);
                Self::Unnamed { flags, mode, umask }
            }
            52 => Self::Statx { handle: fields.handle_if_flag()? },
            _ => Self::Other,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(opcode: u32, body: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(u32::try_from(40 + body.len()).expect("a small message").to_ne_bytes());
        bytes.extend(opcode.to_ne_bytes());
        bytes.extend(7_u64.to_ne_bytes());
        bytes.extend(3_u64.to_ne_bytes());
        for number in [1000_u32, 100, 42, 0] {
            bytes.extend(number.to_ne_bytes());
        }
        bytes.extend(body);
        bytes
    }

    #[test]
    fn a_lookup_is_taken_apart() {
        let bytes = message(1, b"name\0");
        let request = Request::parse(&bytes).expect("a request");
        assert_eq!((request.unique, request.node), (7, NodeId(3)));
        assert_eq!(request.asker, Asker { uid: 1000, gid: 100, thread: 42 });
        assert_eq!(request.operation, Operation::Lookup { name: c"name" });
    }

    #[test]
    fn what_is_cut_short_is_no_request() {
        for (opcode, body) in [(1, &b"name"[..]), (3, b"1234"), (12, b"12345678from\0"), (16, &[0; 39]), (42, &[1; 8])]
        {
            assert_eq!(Request::parse(&message(opcode, body)), None, "opcode {opcode}");
        }
        let mut longer = message(5, b"");
        longer.push(0);
        assert_eq!(Request::parse(&longer), None);
        assert_eq!(Request::parse(b""), None);
    }

    #[test]
    fn forgets_come_one_by_one() {
        let mut body = Vec::new();
        for number in [2_u32, 0] {
            body.extend(number.to_ne_bytes());
        }
        for number in [5_u64, 1, 6, 2] {
            body.extend(number.to_ne_bytes());
        }
        let bytes = message(42, &body);
        let Operation::BatchForget { forgets } = Request::parse(&bytes).expect("a request").operation else {
            panic!("a batch");
        };
        assert_eq!(forgets.collect::<Vec<_>>(), [(NodeId(5), 1), (NodeId(6), 2)]);
    }

    #[test]
    fn setattr_says_what_is_set() {
        let mut body = vec![0; 88];
        let valid: u32 = 1 << 0 | 1 << 4 | 1 << 7 | 1 << 5;
        body[..4].copy_from_slice(&valid.to_ne_bytes());
        body[40..48].copy_from_slice(&(-5_i64).to_ne_bytes());
        body[68..72].copy_from_slice(&0o600_u32.to_ne_bytes());
        let bytes = message(4, &body);
        let Operation::SetAttributes(set) = Request::parse(&bytes).expect("a request").operation else {
            panic!("attributes");
        };
        assert_eq!(set.mode, Some(0o600));
        assert_eq!((set.uid, set.gid, set.size, set.handle), (None, None, None, None));
        assert_eq!(set.accessed, Some(TimeToSet::Now));
        assert_eq!(set.modified, Some(TimeToSet::At { seconds: -5, nanoseconds: 0 }));
    }
}
