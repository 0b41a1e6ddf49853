//! What holds of the parser whatever it is given: for the fuzz target, and for the test that runs the corpus.

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
