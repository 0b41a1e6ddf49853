//! What holds of the parsers whatever they are given: for the fuzz targets, and for the test that runs the corpus.

use uinotify_wire::{InstanceName, NAME_BYTES_MAX, REPLY_BYTES, Reply, Request};

/// A packet is refused, or is the frame that its request makes, to the byte.
pub(crate) fn request(packet: &[u8]) {
    if let Ok(request) = Request::parse(packet) {
        let again = [&request.header()[..], request.payload].concat();
        assert_eq!(again, packet);
    }
}

/// A reply that is read makes a frame that is read as the same.
pub(crate) fn reply(packet: &[u8]) {
    let Some((fixed, events)) = packet.split_first_chunk::<REPLY_BYTES>() else { return };
    if let Some(reply) = Reply::parse(fixed) {
        assert_eq!(Reply::parse(&reply.encode()), Some(reply), "with {} bytes of events", events.len());
    }
}

/// A name that is read is one that is written, but for zeroes in front of a number.
pub(crate) fn name(sun_path: &[u8]) {
    if let Some(name) = InstanceName::parse(sun_path) {
        let mut buffer = [0; NAME_BYTES_MAX];
        let length = name.write(&mut buffer);
        assert!(length <= sun_path.len(), "{name:?}");
        assert_eq!(InstanceName::parse(&buffer[..length]), Some(name));
    }
}
