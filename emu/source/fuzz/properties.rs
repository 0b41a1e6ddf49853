//! What holds of the parsers whatever they are given: for the fuzz targets, and for the test that runs the corpora. Each uses its own.
#![allow(dead_code)]

use uinotify_source::fanotify::{self, Identifier, Information};
use uinotify_source::inotify::Records;

const HEADER_BYTES: usize = 16;

/// The records lie one behind the other in the bytes, and names end before their padding.
pub(crate) fn records(bytes: &[u8]) {
    let mut rest = bytes;
    for record in Records::new(bytes) {
        let (header, behind) = rest.split_at(HEADER_BYTES);
        assert_eq!(header[..4], record.wd.to_ne_bytes());
        assert_eq!(header[4..8], record.mask.to_ne_bytes());
        assert_eq!(header[8..12], record.cookie.to_ne_bytes());
        let length = u32::from_ne_bytes([header[12], header[13], header[14], header[15]]);
        let (padded, behind) = behind.split_at(length as usize);
        assert!(padded.starts_with(record.name) && !record.name.contains(&0));
        assert!(padded.get(record.name.len()).is_none_or(|byte| *byte == 0));
        rest = behind;
    }
    // What is left is no whole record.
    if let Some((header, behind)) = rest.split_first_chunk::<HEADER_BYTES>() {
        let length = u32::from_ne_bytes([header[12], header[13], header[14], header[15]]);
        assert!(length as usize > behind.len());
    }
}

/// The records of fanotify lie one behind the other, and what they hold lies in them, in order.
pub(crate) fn fanotify(bytes: &[u8]) {
    let mut behind = bytes.as_ptr();
    let mut rest = bytes;
    for record in fanotify::Records::new(bytes) {
        let length = u32::from_ne_bytes([rest[0], rest[1], rest[2], rest[3]]) as usize;
        let metadata = usize::from(u16::from_ne_bytes([rest[6], rest[7]]));
        assert!(rest[4] == 3 && metadata >= 24 && metadata <= length);
        assert_eq!(rest[8..16], record.mask.to_ne_bytes());
        assert_eq!(rest[16..20], record.fd.to_ne_bytes());
        assert_eq!(rest[20..24], record.pid.to_ne_bytes());
        let (whole, next) = rest.split_at(length);
        let mut found = 0;
        for information in record.information() {
            found += 4;
            let mut inside = |part: &[u8]| {
                let part = part.as_ptr_range();
                assert!(behind <= part.start && part.start <= part.end && part.end <= whole.as_ptr_range().end);
                behind = part.end;
                found += part.end as usize - part.start as usize;
            };
            match information {
                Information::Object(Identifier { bytes, .. }) | Information::Directory(Identifier { bytes, .. }) => {
                    inside(bytes);
                }
                Information::Entry { directory, name, .. } => {
                    inside(directory.bytes);
                    inside(name);
                    assert!(!name.contains(&0));
                }
                Information::Unknown { bytes, .. } => inside(bytes),
                Information::Process(_) | Information::Error { .. } => {}
            }
        }
        assert!(metadata + found <= length);
        rest = next;
    }
    // What is left is no whole record.
    if let Some((first, _)) = rest.split_first_chunk::<24>() {
        let length = u32::from_ne_bytes([first[0], first[1], first[2], first[3]]) as usize;
        let metadata = usize::from(u16::from_ne_bytes([first[6], first[7]]));
        assert!(length > rest.len() || first[4] != 3 || metadata < 24 || metadata > length);
    }
}
