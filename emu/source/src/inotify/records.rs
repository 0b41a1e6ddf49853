//! The records that the kernel writes: bytes in, borrowed records out.

/// One `struct inotify_event`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// The kernel's wd; -1 for an overflow.
    pub wd: i32,
    /// Event bits.
    pub mask: u32,
    /// Joins the two halves of a rename.
    pub cookie: u32,
    /// Without its padding; empty if there is none.
    pub name: &'a [u8],
}

/// The records of one read.
pub struct Records<'a>(&'a [u8]);

const HEADER_BYTES: usize = 16;

impl<'a> Records<'a> {
    /// The records in what a read has filled. A record that is cut off, which the kernel never writes, ends the walk.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Record<'a>;

    fn next(&mut self) -> Option<Record<'a>> {
        let (header, rest) = self.0.split_first_chunk::<HEADER_BYTES>()?;
        let word = |index: usize| {
            let mut bytes = [0; 4];
            bytes.copy_from_slice(&header[4 * index..4 * index + 4]);
            u32::from_ne_bytes(bytes)
        };
        let (padded, rest) = rest.split_at_checked(word(3) as usize)?;
        self.0 = rest;
        let name = padded.split(|&byte| byte == 0).next().unwrap_or_default();
        Some(Record { wd: word(0).cast_signed(), mask: word(1), cookie: word(2), name })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(wd: i32, mask: u32, cookie: u32, padded: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(wd.to_ne_bytes());
        bytes.extend(mask.to_ne_bytes());
        bytes.extend(cookie.to_ne_bytes());
        bytes.extend((padded.len() as u32).to_ne_bytes());
        bytes.extend(padded);
        bytes
    }

    #[test]
    fn records_follow_each_other() {
        let mut bytes = record(1, 0x100, 0, b"name\0\0\0\0\0\0\0\0\0\0\0\0");
        bytes.extend(record(-1, 0x4000, 0, b""));
        let found: Vec<_> = Records::new(&bytes).collect();
        assert_eq!(
            found,
            [
                Record { wd: 1, mask: 0x100, cookie: 0, name: b"name" },
                Record { wd: -1, mask: 0x4000, cookie: 0, name: b"" }
            ]
        );
    }

    #[test]
    fn a_cut_record_ends_the_walk() {
        let whole = record(7, 2, 9, &[b'x'; 16]);
        for cut in 0..whole.len() {
            assert_eq!(Records::new(&whole[..cut]).count(), 0, "cut at {cut}");
        }
        assert_eq!(Records::new(&whole).count(), 1);
    }
}
