//! What the kernel is answered (linux/fuse.h).

use std::time::Duration;

use super::request::{Handle, NodeId};
use crate::status::{InodeKey, Status, Time};

/// The file is read and written past the page cache: each call is a request.
pub(super) const OPEN_DIRECT: u32 = 1 << 0;

/// The kernel reads and writes the lower file itself, unless the file is direct as well.
pub(super) const OPEN_PASSTHROUGH: u32 = 1 << 7;

/// The length of the header of each reply.
pub(super) const HEADER_LENGTH: usize = 16;

/// For how long the kernel need not ask again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Hold {
    /// What stands under a name.
    pub(super) entry: Duration,
    pub(super) attributes: Duration,
}

/// The fields of a reply behind its header.
#[derive(Debug, Default)]
pub(super) struct Reply {
    bytes: Vec<u8>,
}

/// Where numbers of inodes come from: those of the tree's own file system are shown as they are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Numbering {
    pub(super) device: u64,
    /// One file system has several devices and yet one number for each inode, nearly always: an overlay.
    pub(super) spans_devices: bool,
}

impl Numbering {
    /// What `st_ino` says. An object of a file system that is mounted within the tree may not have the number of one of the
    /// tree's own, as both are shown on one device.
    pub(super) fn number(self, key: InodeKey) -> u64 {
        const SCATTER: u64 = 0x9E37_79B9_7F4A_7C15;
        if key.device == self.device || self.spans_devices {
            key.number
        } else {
            key.number ^ key.device.wrapping_mul(SCATTER) | 1 << 63
        }
    }
}

impl Reply {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The buffer is used for the next one.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
    }

    /// The bytes themselves, for what is read straight into the reply.
    pub(super) fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    pub(super) fn u32(&mut self, value: u32) {
        self.bytes.extend_from_slice(&value.to_ne_bytes());
    }

    pub(super) fn u64(&mut self, value: u64) {
        self.bytes.extend_from_slice(&value.to_ne_bytes());
    }

    fn seconds(&mut self, time: Time) {
        self.u64(time.seconds.cast_unsigned());
    }

    /// fuse_entry_out
    pub(super) fn entry(&mut self, node: NodeId, status: &Status, numbering: Numbering, hold: Hold) {
        self.u64(node.0);
        // The generation: no node's number is used twice.
        self.u64(0);
        self.u64(hold.entry.as_secs());
        self.u64(hold.attributes.as_secs());
        self.u32(hold.entry.subsec_nanos());
        self.u32(hold.attributes.subsec_nanos());
        self.attr(status, numbering);
    }

    /// fuse_attr_out
    pub(super) fn attributes(&mut self, status: &Status, numbering: Numbering, hold: Duration) {
        self.u64(hold.as_secs());
        self.u32(hold.subsec_nanos());
        self.u32(0);
        self.attr(status, numbering);
    }

    fn attr(&mut self, status: &Status, numbering: Numbering) {
        self.u64(numbering.number(status.key));
        self.u64(status.size);
        self.u64(status.blocks);
        for time in [status.accessed, status.modified, status.changed] {
            self.seconds(time);
        }
        for time in [status.accessed, status.modified, status.changed] {
            self.u32(time.nanoseconds);
        }
        self.u32(status.mode);
        self.u32(status.links);
        self.u32(status.uid);
        self.u32(status.gid);
        self.u32(encode_device(status.device_major, status.device_minor));
        self.u32(status.block_size);
        self.u32(0);
    }

    /// fuse_statx_out
    pub(super) fn statx(&mut self, status: &Status, numbering: Numbering, hold: Duration) {
        self.u64(hold.as_secs());
        self.u32(hold.subsec_nanos());
        // No flags, spare.
        self.u32(0);
        for _ in 0..2 {
            self.u64(0);
        }
        let born = if status.born.is_some() { libc::STATX_BTIME } else { 0 };
        self.u32(libc::STATX_BASIC_STATS | born);
        self.u32(status.block_size);
        self.u64(0);
        self.u32(status.links);
        self.u32(status.uid);
        self.u32(status.gid);
        // A mode has 16 bits; the spare ones behind it are zero on a little-endian machine only by this order.
        self.bytes.extend_from_slice(&u16::try_from(status.mode).unwrap_or(0).to_ne_bytes());
        self.bytes.extend_from_slice(&[0; 2]);
        self.u64(numbering.number(status.key));
        self.u64(status.size);
        self.u64(status.blocks);
        self.u64(0);
        let unknown = Time { seconds: 0, nanoseconds: 0 };
        for time in [status.accessed, status.born.unwrap_or(unknown), status.changed, status.modified] {
            self.seconds(time);
            self.u32(time.nanoseconds);
            self.u32(0);
        }
        self.u32(status.device_major);
        self.u32(status.device_minor);
        // The device of the file system itself is the kernel's.
        self.u64(0);
        for _ in 0..14 {
            self.u64(0);
        }
    }

    /// fuse_open_out
    pub(super) fn opened(&mut self, handle: Handle, flags: u32, backing: u32) {
        self.u64(handle.0);
        self.u32(flags);
        self.u32(backing);
    }

    /// fuse_dirent; false, and nothing is added, if `size_max` bytes are not enough.
    pub(super) fn directory_entry(&mut self, number: u64, next: u64, kind: u8, name: &[u8], size_max: usize) -> bool {
        const FIXED: usize = 24;
        let padded = (FIXED + name.len()).next_multiple_of(8);
        if self.bytes.len() + padded > size_max {
            return false;
        }
        let end = self.bytes.len() + padded;
        self.u64(number);
        self.u64(next);
        self.u32(u32::try_from(name.len()).unwrap_or(0));
        self.u32(u32::from(kind));
        self.bytes.extend_from_slice(name);
        self.bytes.resize(end, 0);
        true
    }
}

/// The kernel's `new_encode_dev`: the 32 bits of a device's number in requests and replies.
fn encode_device(major: u32, minor: u32) -> u32 {
    (minor & 0xff) | (major << 8) | ((minor & !0xff) << 12)
}

/// The major and the minor number in such 32 bits.
pub(super) fn decode_device(device: u32) -> (u32, u32) {
    ((device & 0xf_ff00) >> 8, (device & 0xff) | ((device >> 12) & 0xf_ff00))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status() -> Status {
        Status::of(std::fs::File::open("/").expect("the root")).expect("its status")
    }

    #[test]
    fn structures_have_the_kernels_lengths() {
        let (status, numbering) = (status(), Numbering { device: 0, spans_devices: false });
        let mut reply = Reply::default();
        reply.entry(NodeId(2), &status, numbering, Hold::default());
        assert_eq!(reply.bytes().len(), 128);
        reply.clear();
        reply.attributes(&status, numbering, Duration::ZERO);
        assert_eq!(reply.bytes().len(), 104);
        reply.clear();
        reply.statx(&status, numbering, Duration::ZERO);
        assert_eq!(reply.bytes().len(), 32 + 256);
    }

    #[test]
    fn entries_of_directories_are_padded_and_bounded() {
        let mut reply = Reply::default();
        assert!(reply.directory_entry(1, 2, libc::DT_REG, b"12345678", 64));
        assert_eq!(reply.bytes().len(), 32);
        assert!(reply.directory_entry(1, 2, libc::DT_REG, b"1", 64));
        assert_eq!(reply.bytes().len(), 64);
        assert!(!reply.directory_entry(1, 2, libc::DT_REG, b"1", 64));
        assert_eq!(reply.bytes().len(), 64);
    }

    #[test]
    fn device_numbers_come_back() {
        for (major, minor) in [(0, 0), (1, 3), (259, 0x1_2345), (0xfff, 0xf_ffff)] {
            assert_eq!(decode_device(encode_device(major, minor)), (major, minor));
        }
    }

    #[test]
    fn numbers_of_another_file_system_do_not_collide() {
        let numbering = Numbering { device: 7, spans_devices: false };
        let key = |device| InodeKey { device, number: 42 };
        assert_eq!(numbering.number(key(7)), 42);
        assert_ne!(numbering.number(key(8)), 42);
        assert_ne!(numbering.number(key(8)), numbering.number(key(9)));
    }
}
