//! Reading calls, and the events in what they returned.

use anyhow::Result;

use super::bare;
use super::call::ended;
use super::memory::{PAINT, Painted, untouched};
use crate::operation::Buffer;
use crate::trace::{Event, Outcome, Return};

/// Mapped and painted behind every buffer that has no guard of its own.
const SURPLUS: usize = 64;
/// `sizeof(struct inotify_event)`.
const HEADER: usize = 16;

/// One reading call. `group` says whether the bytes are events.
pub(super) fn read(number: i32, buffer: &Buffer, group: bool) -> Result<Outcome> {
    match buffer {
        Buffer::Plain(size) => {
            let memory = Painted::new(size + SURPLUS)?;
            // SAFETY: `size` writable bytes lie at the pointer while `memory` lives.
            let count = unsafe { bare::read(number, memory.pointer(), *size, group) };
            let returned = ended(count as i64);
            Ok(taken_apart(returned, memory.bytes(size + SURPLUS), group))
        }
        Buffer::Positioned(size) => {
            let memory = Painted::new(size + SURPLUS)?;
            // SAFETY: `size` writable bytes lie at the pointer while `memory` lives.
            let count = unsafe { libc::pread(number, memory.pointer(), *size, 0) };
            let returned = ended(count as i64);
            Ok(taken_apart(returned, memory.bytes(size + SURPLUS), group))
        }
        Buffer::Guarded { mapped, size } => {
            let memory = Painted::new(*mapped)?;
            // SAFETY: `mapped` writable bytes lie at the pointer, then a page of our own where nothing
            // is: the kernel answers EFAULT for it and never writes behind it.
            let count = unsafe { bare::read(number, memory.pointer(), (*size).min(mapped + HEADER * 64), group) };
            let returned = ended(count as i64);
            Ok(taken_apart(returned, memory.bytes(*mapped), group))
        }
        Buffer::Vector(sizes) => {
            let memories = sizes.iter().map(|size| Painted::new(size + SURPLUS)).collect::<Result<Vec<_>>>()?;
            let segments: Vec<libc::iovec> = memories
                .iter()
                .zip(sizes)
                .map(|(memory, &size)| libc::iovec { iov_base: memory.pointer(), iov_len: size })
                .collect();
            // SAFETY: each segment names as many writable bytes as it says while `memories` lives.
            let count = unsafe { libc::readv(number, segments.as_ptr(), segments.len() as i32) };
            let returned = ended(count as i64);
            let mut bytes = Vec::new();
            let mut surplus = Vec::new();
            for (memory, &size) in memories.iter().zip(sizes) {
                bytes.extend_from_slice(memory.bytes(size));
                surplus.extend_from_slice(&memory.bytes(size + SURPLUS)[size..]);
            }
            bytes.extend(surplus);
            Ok(taken_apart(returned, &bytes, group))
        }
    }
}

/// As [`taken_apart`], of a group, from what was returned alone.
pub(crate) fn take_apart(returned: Return, mut bytes: Vec<u8>) -> Outcome {
    bytes.extend([PAINT; SURPLUS]);
    taken_apart(returned, &bytes, true)
}

fn taken_apart(returned: Return, bytes: &[u8], group: bool) -> Outcome {
    if !group {
        return Outcome::Returned(returned);
    }
    let filled = match returned {
        Return::Value(count) => usize::try_from(count).unwrap_or(0).min(bytes.len()),
        Return::Error(_) => 0,
    };
    let mut left = &bytes[..filled];
    let mut events = Vec::new();
    while let Some((event, behind)) = first_event(left) {
        events.push(event);
        left = behind;
    }
    let intact = returned == Return::Error(libc::EFAULT) || untouched(&bytes[filled..]);
    Outcome::Read { returned, events, rest: left.len(), intact }
}

fn first_event(bytes: &[u8]) -> Option<(Event, &[u8])> {
    let (header, behind) = bytes.split_at_checked(HEADER)?;
    let mut words = header.chunks_exact(4).map(|word| u32::from_ne_bytes([word[0], word[1], word[2], word[3]]));
    let mut word = || words.next().unwrap_or_default();
    let (wd, mask, cookie, len) = (word(), word(), word(), word());
    let (field, behind) = behind.split_at_checked(len as usize)?;
    let end = field.iter().position(|&byte| byte == 0);
    let name = &field[..end.unwrap_or(field.len())];
    let event = Event {
        wd: wd as i32,
        mask,
        cookie,
        len,
        name: name.escape_ascii().to_string(),
        padded: field.is_empty() || end.is_some_and(|end| field[end..].iter().all(|&byte| byte == 0)),
    };
    Some((event, behind))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(wd: i32, mask: u32, cookie: u32, name: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for word in [wd as u32, mask, cookie, name.len() as u32] {
            bytes.extend(word.to_ne_bytes());
        }
        bytes.extend(name);
        bytes
    }

    #[test]
    fn tells_events_rest_and_padding() {
        let mut bytes = raw(1, 2, 3, b"");
        bytes.extend(raw(4, 5, 6, b"ab\0\0"));
        bytes.extend(raw(7, 8, 9, b"c\0x\0"));
        bytes.extend([0; 5]);
        let filled = bytes.len() as i64;
        let outcome = taken_apart(Return::Value(filled), &bytes, true);
        let Outcome::Read { events, rest, .. } = outcome else { panic!("not taken apart") };
        let padded: Vec<_> = events.iter().map(|event| (event.name.as_str(), event.padded)).collect();
        assert_eq!(padded, [("", true), ("ab", true), ("c", false)]);
        assert_eq!(rest, 5);
    }

    #[test]
    fn tells_a_write_behind_the_count() {
        let memory = Painted::new(64).expect("memory");
        assert!(untouched(memory.bytes(64)));
        let mut bytes = memory.bytes(64).to_vec();
        bytes[20] = 0;
        let outcome = taken_apart(Return::Value(16), &bytes, true);
        assert!(matches!(outcome, Outcome::Read { intact: false, .. }));
    }
}
