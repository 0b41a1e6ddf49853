//! The records that the kernel writes: bytes in, borrowed records out.
//!
//! `struct fanotify_event_metadata`, and behind it `struct fanotify_event_info_header`s with what each stands for (fanotify(7)). A record
//! has the length that it says, and so has each piece of information: what is not known today is passed over.

/// `FANOTIFY_METADATA_VERSION`
const VERSION: u8 = 3;
/// The metadata that Linux has written since 2.6.37.
const METADATA_BYTES: usize = 24;
const HEADER_BYTES: usize = 4;
const FSID_BYTES: usize = 8;
/// `struct file_handle` without its bytes: their number, and the type.
const HANDLE_BYTES: usize = 8;

/// One record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// FAN_* bits of all events that it stands for.
    pub mask: u64,
    /// FAN_NOFD (-1), unless the group asks for descriptors.
    pub fd: i32,
    /// Who did it: a thread with FAN_REPORT_TID, else a process; 0 if that may not be known.
    pub pid: i32,
    information: &'a [u8],
}

/// A file system and a handle in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identifier<'a> {
    /// As statfs(2) gives it; zero for file systems that have none.
    pub fsid: [u8; FSID_BYTES],
    /// The type of the handle.
    pub kind: i32,
    /// Its bytes, which only the file system understands.
    pub bytes: &'a [u8],
}

/// Which end of an event a name is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// `FAN_EVENT_INFO_TYPE_DFID_NAME`: the only one.
    Only,
    /// `FAN_EVENT_INFO_TYPE_OLD_DFID_NAME`: from where it was moved.
    Old,
    /// `FAN_EVENT_INFO_TYPE_NEW_DFID_NAME`: to where.
    New,
}

/// What stands behind the metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Information<'a> {
    /// `FAN_EVENT_INFO_TYPE_FID`: the object.
    Object(Identifier<'a>),
    /// `FAN_EVENT_INFO_TYPE_DFID`: the directory, or a directory itself.
    Directory(Identifier<'a>),
    /// A name in a directory.
    Entry {
        /// Which of two.
        end: End,
        /// The directory.
        directory: Identifier<'a>,
        /// Without the NUL behind it; `.` if the directory itself is meant.
        name: &'a [u8],
    },
    /// `FAN_EVENT_INFO_TYPE_PIDFD`: a descriptor, or a negative number.
    Process(i32),
    /// `FAN_EVENT_INFO_TYPE_ERROR`: the errno of a file system that is broken, and how often it has failed.
    Error {
        /// A positive errno.
        errno: i32,
        /// Failures since the last record.
        count: u32,
    },
    /// Of another type, or one whose content is too short for it.
    Unknown {
        /// The type.
        kind: u8,
        /// What is behind the header.
        bytes: &'a [u8],
    },
}

/// The records of one read.
#[derive(Clone, Debug)]
pub struct Records<'a>(&'a [u8]);

impl<'a> Records<'a> {
    /// The records in what a read has filled. A record that is cut off or of another version, which the kernel never writes, ends the walk.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }
}

/// The first `N` bytes, and the rest.
fn take<const N: usize>(bytes: &[u8]) -> Option<([u8; N], &[u8])> {
    bytes.split_first_chunk::<N>().map(|(first, rest)| (*first, rest))
}

fn take_u32(bytes: &[u8]) -> Option<(u32, &[u8])> {
    take(bytes).map(|(first, rest)| (u32::from_ne_bytes(first), rest))
}

fn take_i32(bytes: &[u8]) -> Option<(i32, &[u8])> {
    take(bytes).map(|(first, rest)| (i32::from_ne_bytes(first), rest))
}

impl<'a> Iterator for Records<'a> {
    type Item = Record<'a>;

    fn next(&mut self) -> Option<Record<'a>> {
        let (length, rest) = take_u32(self.0)?;
        let ([version, _reserved], rest) = take(rest)?;
        let (metadata, rest) = take(rest).map(|(bytes, rest)| (u16::from_ne_bytes(bytes), rest))?;
        let (mask, rest) = take(rest).map(|(bytes, rest)| (u64::from_ne_bytes(bytes), rest))?;
        let (fd, rest) = take_i32(rest)?;
        let (pid, _) = take_i32(rest)?;
        let (whole, rest) = self.0.split_at_checked(length as usize)?;
        let metadata = usize::from(metadata);
        if version != VERSION || metadata < METADATA_BYTES {
            return None;
        }
        let information = whole.get(metadata..)?;
        self.0 = rest;
        Some(Record { mask, fd, pid, information })
    }
}

impl<'a> Record<'a> {
    /// What stands behind the metadata, in order.
    pub fn information(&self) -> impl Iterator<Item = Information<'a>> + use<'a> {
        let mut rest = self.information;
        std::iter::from_fn(move || {
            let ([kind, _pad], behind) = take(rest)?;
            let (length, _) = take(behind).map(|(bytes, rest)| (u16::from_ne_bytes(bytes), rest))?;
            let (whole, behind) = rest.split_at_checked(usize::from(length))?;
            let bytes = whole.get(HEADER_BYTES..)?;
            rest = behind;
            Some(Information::new(kind, bytes).unwrap_or(Information::Unknown { kind, bytes }))
        })
    }
}

impl<'a> Information<'a> {
    fn new(kind: u8, bytes: &'a [u8]) -> Option<Self> {
        let named = |end| {
            let (directory, rest) = Identifier::take(bytes)?;
            let name = rest.split(|byte| *byte == 0).next().unwrap_or_default();
            Some(Information::Entry { end, directory, name })
        };
        match kind {
            libc::FAN_EVENT_INFO_TYPE_FID => Identifier::take(bytes).map(|(object, _)| Information::Object(object)),
            libc::FAN_EVENT_INFO_TYPE_DFID => {
                Identifier::take(bytes).map(|(directory, _)| Information::Directory(directory))
            }
            libc::FAN_EVENT_INFO_TYPE_DFID_NAME => named(End::Only),
            libc::FAN_EVENT_INFO_TYPE_OLD_DFID_NAME => named(End::Old),
            libc::FAN_EVENT_INFO_TYPE_NEW_DFID_NAME => named(End::New),
            libc::FAN_EVENT_INFO_TYPE_PIDFD => take_i32(bytes).map(|(descriptor, _)| Information::Process(descriptor)),
            libc::FAN_EVENT_INFO_TYPE_ERROR => {
                let (errno, rest) = take_i32(bytes)?;
                let (count, _) = take_u32(rest)?;
                Some(Information::Error { errno, count })
            }
            _ => None,
        }
    }
}

impl<'a> Identifier<'a> {
    fn take(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (fsid, rest) = take(bytes)?;
        let (length, rest) = take_u32(rest)?;
        let (kind, rest) = take_i32(rest)?;
        let (bytes, rest) = rest.split_at_checked(length as usize)?;
        Some((Self { fsid, kind, bytes }, rest))
    }
}

const _: () = assert!(FSID_BYTES + HANDLE_BYTES == 16);

#[cfg(test)]
mod tests {
    use super::*;

    fn identifier(bytes: &[u8]) -> Vec<u8> {
        let mut written = vec![9; FSID_BYTES];
        written.extend((bytes.len() as u32).to_ne_bytes());
        written.extend(1_i32.to_ne_bytes());
        written.extend(bytes);
        written
    }

    fn information(kind: u8, content: &[u8]) -> Vec<u8> {
        let mut written = vec![kind, 0];
        let length = (HEADER_BYTES + content.len()).next_multiple_of(4);
        written.extend((length as u16).to_ne_bytes());
        written.extend(content);
        written.resize(length, 0);
        written
    }

    fn record(mask: u64, information: &[Vec<u8>]) -> Vec<u8> {
        let information = information.concat();
        let mut written = Vec::new();
        written.extend(((METADATA_BYTES + information.len()) as u32).to_ne_bytes());
        written.extend([VERSION, 0]);
        written.extend((METADATA_BYTES as u16).to_ne_bytes());
        written.extend(mask.to_ne_bytes());
        written.extend((-1_i32).to_ne_bytes());
        written.extend(42_i32.to_ne_bytes());
        written.extend(information);
        written
    }

    fn entry(kind: u8, handle: &[u8], name: &[u8]) -> Vec<u8> {
        information(kind, &[&identifier(handle), name, &[0]].concat())
    }

    #[test]
    fn records_and_what_is_in_them_follow_each_other() {
        let rename = record(
            libc::FAN_RENAME,
            &[
                entry(10, b"12345678", b"old"),
                entry(12, b"87654321", b"new name"),
                information(1, &identifier(b"abcdefgh")),
            ],
        );
        let bytes = [rename, record(libc::FAN_Q_OVERFLOW, &[])].concat();
        let found: Vec<_> = Records::new(&bytes).collect();
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].mask, found[0].fd, found[0].pid), (libc::FAN_RENAME, -1, 42));
        let one = |bytes| Identifier { fsid: [9; 8], kind: 1, bytes };
        let parts: Vec<_> = found[0].information().collect();
        assert_eq!(
            parts,
            [
                Information::Entry { end: End::Old, directory: one(b"12345678"), name: b"old" },
                Information::Entry { end: End::New, directory: one(b"87654321"), name: b"new name" },
                Information::Object(one(b"abcdefgh")),
            ]
        );
        assert_eq!(found[1].information().count(), 0);
    }

    #[test]
    fn what_is_unknown_is_passed_over_by_its_length() {
        let bytes = record(
            libc::FAN_OPEN,
            &[
                information(77, b"anything at all"),
                information(5, &[5_i32.to_ne_bytes(), 3_i32.to_ne_bytes()].concat()),
                information(4, &7_i32.to_ne_bytes()),
                information(1, b"short"),
                entry(2, b"handle", b"."),
            ],
        );
        let found: Vec<_> = Records::new(&bytes).flat_map(|record| record.information()).collect();
        assert!(matches!(found[0], Information::Unknown { kind: 77, bytes: b"anything at all\0" }));
        assert_eq!(found[1..3], [Information::Error { errno: 5, count: 3 }, Information::Process(7)]);
        assert!(matches!(found[3], Information::Unknown { kind: 1, .. }));
        assert!(matches!(found[4], Information::Entry { end: End::Only, name: b".", .. }));
    }

    #[test]
    fn longer_metadata_is_passed_over() {
        let mut bytes = record(libc::FAN_OPEN, &[]);
        bytes.extend([0xff; 8]);
        bytes.extend(information(1, &identifier(b"handle")));
        let length = bytes.len() as u32;
        bytes[..4].copy_from_slice(&length.to_ne_bytes());
        bytes[6..8].copy_from_slice(&32_u16.to_ne_bytes());
        let found: Vec<_> = Records::new(&bytes).flat_map(|record| record.information()).collect();
        assert!(matches!(found[..], [Information::Object(_)]), "{found:?}");
    }

    #[test]
    fn a_cut_record_ends_the_walk() {
        let whole = record(libc::FAN_CREATE, &[entry(2, b"12345678", b"name")]);
        for cut in 0..whole.len() {
            assert_eq!(Records::new(&whole[..cut]).count(), 0, "cut at {cut}");
        }
        assert_eq!(Records::new(&whole).count(), 1);
        let mut other = whole.clone();
        other[4] = VERSION + 1;
        assert_eq!(Records::new(&other).count(), 0);
        let mut short = whole;
        short[..4].copy_from_slice(&8_u32.to_ne_bytes());
        assert_eq!(Records::new(&short).count(), 0);
    }
}
