//! The paths by which watched objects were first added: for `ps`, and for whoever looks after a program.
//!
//! A map from object to path takes 60 bytes for each beside the path itself, and an emulator may have hundreds of thousands. The
//! kernel numbers objects in ascending order, so neighbours share an allocation.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;

use uinotify_core::ObjectId;

/// Objects whose numbers differ only below this share a block.
const BLOCK_OBJECTS: u64 = 64;

/// In front of each path in a block: the object's place among those of the block, and the length of the path, which is below 4096.
const HEADER_BYTES: usize = 3;

/// Paths by object.
#[derive(Debug, Default)]
pub(crate) struct Paths {
    blocks: BTreeMap<u64, Vec<u8>>,
}

/// Number of the block, and place in it.
fn place(ObjectId(object): ObjectId) -> (u64, u8) {
    (object / BLOCK_OBJECTS, (object % BLOCK_OBJECTS) as u8)
}

/// Where the path of this place begins and ends; its header stands in front.
fn find(block: &[u8], place: u8) -> Option<(usize, usize)> {
    let mut at = 0;
    while let Some(&[found, low, high]) = block[at..].first_chunk::<HEADER_BYTES>() {
        let start = at + HEADER_BYTES;
        let end = start + usize::from(u16::from_le_bytes([low, high]));
        if found == place {
            return Some((start, end));
        }
        at = end;
    }
    None
}

/// Between a path as the program wrote it and the absolute one, where both are noted: no path has this byte in it.
const SEPARATOR: u8 = 0;

/// What is to be noted of a path: where it says nothing to anybody else, as one that begins in the program's working folder or goes
/// over a link of procfs (CRIU adds all its watches through /proc/self/fd/N), the absolute path of what it led to as well.
pub(crate) fn noted<'a>(written: &'a [u8], object: BorrowedFd<'_>) -> Cow<'a, [u8]> {
    if written.starts_with(b"/") && !written.starts_with(b"/proc/") {
        return Cow::Borrowed(written);
    }
    match fs::read_link(format!("/proc/self/fd/{}", object.as_raw_fd())) {
        Ok(path) if path.is_absolute() => [written, path.as_os_str().as_bytes()].join(&SEPARATOR).into(),
        _ => Cow::Borrowed(written),
    }
}

/// The part of a noted path that the program wrote.
pub(crate) fn written(noted: &[u8]) -> &[u8] {
    noted.split(|byte| *byte == SEPARATOR).next().unwrap_or(noted)
}

/// The absolute path of a noted one, where it is known.
pub(crate) fn absolute(noted: &[u8]) -> Option<&[u8]> {
    noted.rsplit(|byte| *byte == SEPARATOR).next().filter(|path| path.starts_with(b"/"))
}

impl Paths {
    /// Notes the path of an object, in place of one that it may have had.
    pub(crate) fn insert(&mut self, object: ObjectId, path: &[u8]) {
        self.remove(object);
        let (number, place) = place(object);
        // A path that the kernel has resolved is never longer.
        let length = path.len().min(usize::from(u16::MAX));
        if !self.blocks.contains_key(&number)
            && let Some((_, before)) = self.blocks.range_mut(..number).next_back()
        {
            // It has most likely got all that it will ever have.
            before.shrink_to_fit();
        }
        let block = self.blocks.entry(number).or_default();
        block.push(place);
        block.extend_from_slice(&(length as u16).to_le_bytes());
        block.extend_from_slice(&path[..length]);
    }

    /// Forgets an object.
    pub(crate) fn remove(&mut self, object: ObjectId) {
        let (number, place) = place(object);
        let Some(block) = self.blocks.get_mut(&number) else { return };
        if let Some((start, end)) = find(block, place) {
            block.drain(start - HEADER_BYTES..end);
        }
        if block.is_empty() {
            self.blocks.remove(&number);
        }
    }

    /// The path of an object; empty for one that has none.
    pub(crate) fn get(&self, object: ObjectId) -> &[u8] {
        let (number, place) = place(object);
        let block = self.blocks.get(&number).map_or(&[][..], Vec::as_slice);
        find(block, place).map_or(&[], |(start, end)| &block[start..end])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_found_until_they_are_forgotten() {
        let mut paths = Paths::default();
        let path = |object: u64| vec![b'a' + (object % 26) as u8; object as usize % 300];
        // Several blocks, in no order.
        let objects: Vec<_> = (0..1000).map(|index| index * 7 % 1000).collect();
        for &object in &objects {
            paths.insert(ObjectId(object), &path(object));
        }
        for &object in &objects {
            assert_eq!(paths.get(ObjectId(object)), path(object));
        }
        for &object in objects.iter().filter(|object| **object % 3 != 0) {
            paths.remove(ObjectId(object));
        }
        for &object in &objects {
            let expected = if object % 3 == 0 { path(object) } else { Vec::new() };
            assert_eq!(paths.get(ObjectId(object)), expected, "{object}");
        }
        for &object in &objects {
            paths.remove(ObjectId(object));
        }
        assert!(paths.blocks.is_empty());
    }

    #[test]
    fn a_path_that_only_the_program_knows_is_noted_twice() {
        use std::os::fd::AsFd;
        let folder = fs::File::open("/usr").expect("a folder");
        for (path, beside) in [(&b"/usr"[..], None), (b"usr", Some(&b"/usr"[..])), (b"/proc/self/fd/4", Some(b"/usr"))]
        {
            let noted = noted(path, folder.as_fd());
            assert_eq!(written(&noted), path);
            assert_eq!(absolute(&noted), Some(beside.unwrap_or(path)));
        }
        assert_eq!((written(b"usr"), absolute(b"usr")), (&b"usr"[..], None));
    }

    #[test]
    fn a_path_replaces_the_one_before() {
        let mut paths = Paths::default();
        for path in [&b"first"[..], b"", &[b'x'; 4095]] {
            paths.insert(ObjectId(u64::MAX), path);
            assert_eq!(paths.get(ObjectId(u64::MAX)), path);
        }
        assert_eq!(paths.get(ObjectId(u64::MAX - 1)), b"");
    }
}
