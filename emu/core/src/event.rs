//! One queued event, and its record as a reader gets it.

use crate::allocator::Wd;
use crate::mask::{Mask, REPORTED_BITS};

/// The size of a record without a name, in bytes: `sizeof(struct inotify_event)`.
pub const HEADER_BYTES: usize = 16;

/// An event as it stands in a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The watch, or -1 for the overflow event.
    pub wd: Wd,
    /// What happened. Readers see the bits of [`REPORTED_BITS`].
    pub mask: u32,
    /// Joins the two halves of a rename; 0 on every other event.
    pub cookie: u32,
    /// The name in the watched directory, without NUL bytes; empty if the event is about the watched object itself.
    pub name: Box<[u8]>,
    /// Bits that no reader sees but merging compares: 0x1000, FS_OPEN_EXEC, on the open of an exec (MERGE-4).
    pub hidden: u32,
}

impl Event {
    /// The end of a watch (IGNORED-1).
    #[must_use]
    pub fn ignored(wd: Wd) -> Self {
        Self { wd, mask: Mask::IN_IGNORED.bits(), cookie: 0, name: Box::default(), hidden: 0 }
    }

    /// The loss of events (OVERFLOW-1).
    #[must_use]
    pub fn overflow() -> Self {
        Self { wd: Wd(-1), mask: Mask::IN_Q_OVERFLOW.bits(), cookie: 0, name: Box::default(), hidden: 0 }
    }

    /// Whether this is the overflow event.
    #[must_use]
    pub fn is_overflow(&self) -> bool {
        self.mask & Mask::IN_Q_OVERFLOW.bits() != 0
    }

    /// The mask as the kernel keeps it, hidden bits included.
    #[must_use]
    pub fn mask_internal(&self) -> u32 {
        self.mask | self.hidden
    }

    /// The length of the padded name, in bytes (EVENT-2, EVENT-3): the kernel's round_event_name_len.
    #[must_use]
    pub fn name_bytes(&self) -> usize {
        if self.name.is_empty() { 0 } else { (self.name.len() + 1).next_multiple_of(HEADER_BYTES) }
    }

    /// The size of the record, in bytes: a multiple of 16, at most 272 for names that Linux allows.
    #[must_use]
    pub fn size(&self) -> usize {
        HEADER_BYTES + self.name_bytes()
    }

    /// Appends the record in native byte order (EVENT-1, EVENT-4): exactly [`Event::size`] bytes.
    pub fn encode_into(&self, into: &mut Vec<u8>) {
        let name_bytes = self.name_bytes();
        into.reserve(HEADER_BYTES + name_bytes);
        into.extend_from_slice(&self.wd.0.to_ne_bytes());
        into.extend_from_slice(&(self.mask & REPORTED_BITS).to_ne_bytes());
        into.extend_from_slice(&self.cookie.to_ne_bytes());
        into.extend_from_slice(&(name_bytes as u32).to_ne_bytes());
        into.extend_from_slice(&self.name);
        into.resize(into.len() + name_bytes - self.name.len(), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(length: usize) -> Event {
        Event { name: vec![b'n'; length].into(), ..Event::ignored(Wd(1)) }
    }

    /// MERGE-4
    #[test]
    fn hidden_bits_are_added() {
        let event = |mask, hidden| Event { mask, hidden, ..Event::ignored(Wd(1)) };
        assert_eq!(event(0x20, 0x1000).mask_internal(), 0x1020);
        assert_eq!(event(0x1020, 0x1000).mask_internal(), 0x1020, "a source that shows them as well");
    }

    /// EVENT-1, EVENT-3
    #[test]
    fn record_is_four_words_and_a_padded_name() {
        let event = Event { wd: Wd(-2), mask: 0x4000_0100, cookie: 0x0102_0304, name: (*b"abc").into(), hidden: 0 };
        let mut bytes = vec![9];
        event.encode_into(&mut bytes);
        let mut expected = vec![9];
        for word in [0xffff_fffe_u32, 0x4000_0100, 0x0102_0304, 16] {
            expected.extend(word.to_ne_bytes());
        }
        expected.extend(*b"abc\0\0\0\0\0\0\0\0\0\0\0\0\0");
        assert_eq!(bytes, expected);
        assert_eq!(event.size(), 32);
    }

    /// EVENT-2, EVENT-3
    #[test]
    fn name_is_rounded_up_with_room_for_a_nul() {
        let lengths = [(0, 0), (1, 16), (15, 16), (16, 32), (31, 32), (32, 48), (254, 256), (255, 256)];
        for (length, padded) in lengths {
            let event = named(length);
            let mut bytes = Vec::new();
            event.encode_into(&mut bytes);
            assert_eq!((event.name_bytes(), bytes.len()), (padded, 16 + padded), "{length}");
            assert_eq!(bytes[12..16], (padded as u32).to_ne_bytes());
            assert_eq!(bytes[16..16 + length], *event.name);
            assert!(bytes[16 + length..].iter().all(|&byte| byte == 0));
        }
    }

    /// EVENT-4, MERGE-4
    #[test]
    fn hidden_bits_are_not_shown() {
        let event = Event { mask: 0xffff_ffff, hidden: 0x1000, ..Event::ignored(Wd(1)) };
        let mut bytes = Vec::new();
        event.encode_into(&mut bytes);
        assert_eq!(bytes[4..8], 0x4000_efff_u32.to_ne_bytes());
    }

    /// IGNORED-1, OVERFLOW-1
    #[test]
    fn own_events_carry_nothing_else() {
        let words = |event: &Event| {
            let mut bytes = Vec::new();
            event.encode_into(&mut bytes);
            bytes.chunks(4).map(|word| u32::from_ne_bytes(word.try_into().unwrap())).collect::<Vec<_>>()
        };
        assert_eq!(words(&Event::ignored(Wd(5))), [5, 0x8000, 0, 0]);
        assert_eq!(words(&Event::overflow()), [0xffff_ffff, 0x4000, 0, 0]);
        assert!(Event::overflow().is_overflow() && !Event::ignored(Wd(5)).is_overflow());
    }
}
