//! The records that a read gives.

/// An event, without its name.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Event {
    pub(crate) wd: i32,
    pub(crate) mask: u32,
}

/// Walks over `struct inotify_event` records.
#[derive(Debug)]
pub(crate) struct Events<'a>(&'a [u8]);

impl<'a> Events<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }
}

impl Iterator for Events<'_> {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        const HEADER_BYTES: usize = 16;
        let word = |index: usize| {
            let bytes = self.0.get(index * 4..index * 4 + 4)?;
            Some(u32::from_ne_bytes(bytes.try_into().ok()?))
        };
        let (wd, mask, name) = (word(0)?, word(1)?, word(3)? as usize);
        self.0 = self.0.get(HEADER_BYTES + name..).expect("a read gives whole events");
        Some(Event { wd: wd.cast_signed(), mask })
    }
}
