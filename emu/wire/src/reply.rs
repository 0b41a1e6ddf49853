//! Replies: emulator to program.

use crate::{MAGIC, VERSION, u32_at};

/// Length of a reply's fixed part. Events of a read, if any, follow it in the same packet.
pub const REPLY_BYTES: usize = 24;

/// Offset of the value, which the shim lets the kernel write straight into a program's `int`.
pub const VALUE_OFFSET: usize = 12;

/// The answer to a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reply {
    /// 0, or the errno that the program is to see.
    pub errno: u32,
    /// The result: a wd, a cursor, a number of bytes; by request.
    pub value: i32,
    /// A second result: the offset of the group's line in the settle page, or the length of the events that follow.
    pub extent: u32,
    /// Bits of `Reply::MORE` and the like.
    pub flags: u32,
}

impl Reply {
    /// Events wait behind the window.
    pub const MORE: u32 = 1;
    /// The window is not empty: read it first.
    pub const WINDOW: u32 = 2;
    /// The oldest event is larger than the room.
    pub const TOO_SMALL: u32 = 4;
    /// `Attach` brings the settle page alone: there is no source that a program could ask.
    pub const PAGE_ALONE: u32 = 8;
    /// This error is meant: the same is not to be tried again with more descriptors.
    pub const FINAL: u32 = 16;

    /// A success that brings `value`.
    #[must_use]
    pub fn value(value: i32) -> Self {
        Self { value, ..Self::default() }
    }

    /// A failure.
    #[must_use]
    pub fn error(errno: i32) -> Self {
        Self { errno: errno.unsigned_abs(), ..Self::default() }
    }

    /// The frame.
    #[must_use]
    pub fn encode(&self) -> [u8; REPLY_BYTES] {
        let mut bytes = [0; REPLY_BYTES];
        let (magic, rest) = bytes.split_at_mut(4);
        magic.copy_from_slice(&MAGIC);
        rest[0] = VERSION;
        rest[4..8].copy_from_slice(&self.errno.to_ne_bytes());
        rest[8..12].copy_from_slice(&self.value.to_ne_bytes());
        rest[12..16].copy_from_slice(&self.extent.to_ne_bytes());
        rest[16..20].copy_from_slice(&self.flags.to_ne_bytes());
        bytes
    }

    /// Reads the fixed part; `None` if this is no reply of this version.
    #[must_use]
    pub fn parse(bytes: &[u8; REPLY_BYTES]) -> Option<Self> {
        if bytes[..4] != MAGIC || bytes[4] != VERSION {
            return None;
        }
        let mut value = [0; 4];
        value.copy_from_slice(&bytes[VALUE_OFFSET..VALUE_OFFSET + 4]);
        Some(Self {
            errno: u32_at(bytes, 8),
            value: i32::from_ne_bytes(value),
            extent: u32_at(bytes, 16),
            flags: u32_at(bytes, 20),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_survives_the_wire() {
        let reply = Reply { errno: 28, value: -7, extent: 64, flags: Reply::MORE | Reply::WINDOW };
        let bytes = reply.encode();
        assert_eq!(Reply::parse(&bytes), Some(reply));
        assert_eq!(bytes[VALUE_OFFSET..VALUE_OFFSET + 4], (-7i32).to_ne_bytes());
    }

    #[test]
    fn a_reply_is_a_value_or_an_error() {
        assert_eq!(Reply::value(-7), Reply { errno: 0, value: -7, extent: 0, flags: 0 });
        assert_eq!(Reply::error(28), Reply { errno: 28, value: 0, extent: 0, flags: 0 });
    }

    #[test]
    fn junk_is_refused() {
        let mut bytes = Reply::value(1).encode();
        bytes[4] ^= 1;
        assert_eq!(Reply::parse(&bytes), None);
        assert_eq!(Reply::parse(&[0; REPLY_BYTES]), None);
    }
}
