//! Images that are cut, lie, or come from later versions.

use std::io::{self, Read};

use uinotify_images::criu::{
    Directory, DirectoryError, ENTRY_BYTES_MAX, Entry, FileEntry, ImageError, ImageReader, Kind, Problem, read_legacy,
};

const FILES: &[u8] = include_bytes!("dumps/kernel/files.img");

/// The number of whole entries, and how it ended.
fn read(bytes: impl Read) -> (usize, Result<(), ImageError>) {
    let mut count = 0;
    let all = || {
        let mut reader = ImageReader::open(bytes, Kind::Files)?;
        while let Some(entry) = reader.next_entry()? {
            FileEntry::parse(&entry)?;
            count += 1;
        }
        Ok(())
    };
    let ended = all();
    (count, ended)
}

fn message(bytes: &[u8]) -> String {
    read(bytes).1.unwrap_err().to_string()
}

fn head_and(rest: &[u8]) -> Vec<u8> {
    [&FILES[..8], rest].concat()
}

/// The one entry with an instance.
fn inotify() -> Entry {
    let mut reader = ImageReader::open(FILES, Kind::Files).unwrap();
    let mut entries = std::iter::from_fn(|| reader.next_entry().unwrap());
    entries.find(|entry| matches!(FileEntry::parse(entry).unwrap(), FileEntry::Inotify(..))).unwrap()
}

#[test]
fn a_cut_image_is_told_wherever_it_is_cut() {
    let (whole, ended) = read(FILES);
    ended.unwrap();
    let mut ends = 0;
    for length in 0..FILES.len() {
        let (count, ended) = read(&FILES[..length]);
        match ended {
            // Between two entries nothing is missing.
            Ok(()) => {
                assert_eq!(count, ends);
                ends += 1;
            }
            Err(error) => {
                let start = error.offset;
                assert!(start <= length as u64, "{length}: {error}");
                let cut = matches!(error.problem, Problem::EntryTruncated { .. } | Problem::Truncated(_));
                assert!(cut || length < 8, "{length}: {error}");
                assert!(count <= ends && count < whole, "{length}: {error}");
            }
        }
    }
    assert_eq!(ends, whole);
    assert_eq!(message(&FILES[..10]), "offset 0x8: the file ends inside the length of an entry");
    assert_eq!(message(&FILES[..20]), format!("offset 0x8: an entry of {} bytes, of which the file has 8", FILES[8]));
    assert!(message(&FILES[..3]).ends_with("the file ends inside the magic number"));
}

#[test]
fn another_file_is_no_image() {
    assert_eq!(
        message(b"{\"format\""),
        "offset 0x0: not this kind of image: its magic is 0x6f66227b and should be 0x56303138"
    );
    let error = ImageReader::open(FILES, Kind::Inotify).unwrap_err();
    assert_eq!(error.offset, 4);
    // The first version had no common magic.
    assert_eq!(read(&FILES[4..]).0, read(FILES).0);
}

/// Endless zeroes behind a head, which count what was taken of them.
struct Endless {
    head: Vec<u8>,
    taken: usize,
}

impl Read for Endless {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.head.len().min(buffer.len());
        if count > 0 {
            buffer[..count].copy_from_slice(&self.head[..count]);
            self.head.drain(..count);
            return Ok(count);
        }
        self.taken += buffer.len();
        buffer.fill(0);
        Ok(buffer.len())
    }
}

#[test]
fn no_length_is_believed() {
    let huge = head_and(&u32::MAX.to_le_bytes());
    let mut input = Endless { head: huge.clone(), taken: 0 };
    let error = read(&mut input).1.unwrap_err().to_string();
    assert_eq!(error, format!("offset 0x8: an entry of 4294967295 bytes; at most {ENTRY_BYTES_MAX} are taken"));
    assert_eq!(input.taken, 0);
    // A length that is allowed, and a file that has little: what is there is all that is held.
    let long = head_and(&[&ENTRY_BYTES_MAX.to_le_bytes()[..], b"abc"].concat());
    assert_eq!(message(&long), format!("offset 0x8: an entry of {ENTRY_BYTES_MAX} bytes, of which the file has 3"));
    // Inside a message: a field that is longer than it.
    let field = [8, 8, 16, 6, 13 << 3 | 2, 0xff, 0xff, 0xff, 0xff, 0x0f, 1];
    let entry = [&(field.len() as u32).to_le_bytes()[..], &field].concat();
    let told = message(&head_and(&entry));
    assert!(told.starts_with("offset 0x10: malformed protobuf:") && told.contains("4294967295"), "{told}");
}

/// A message of two bytes would take a watch's room in memory each time.
#[test]
fn empty_watches_end_at_the_first() {
    let watches = [5_u8 << 3 | 2, 0].repeat(100_000);
    let body = [&[8, 6, 16, 0, 4 << 3 | 2, 0][..], &watches].concat();
    let mut field = vec![8, 8, 16, 6, 13 << 3 | 2];
    let mut length = body.len();
    while length > 0x7f {
        field.push(length as u8 | 0x80);
        length >>= 7;
    }
    field.push(length as u8);
    field.extend(body);
    let image = head_and(&[&(field.len() as u32).to_le_bytes()[..], &field].concat());
    assert_eq!(message(&image), "offset 0x1c: inotify_wd_entry without f_handle");
}

#[test]
fn what_must_be_there_is_asked_for() {
    let entry = |bytes: &[u8]| FileEntry::parse(&Entry { offset: 0x40, bytes: bytes.to_vec() });
    for (bytes, told) in [
        (&[][..], "offset 0x40: file_entry without type"),
        (&[8, 8], "offset 0x40: file_entry without ify"),
        (&[8, 5, 16, 1], "offset 0x40: file_entry without usk"),
        (&[8, 8, 16, 6, 13 << 3 | 2, 0], "offset 0x46: inotify_file_entry without id"),
    ] {
        assert_eq!(entry(bytes).unwrap_err().to_string(), told);
    }
    assert_eq!(entry(&[8, 1]).unwrap(), FileEntry::Other);
}

#[test]
fn fields_of_later_versions_are_kept() {
    let entry = inotify();
    let FileEntry::Inotify(file, unknown) = FileEntry::parse(&entry).unwrap() else { unreachable!() };
    assert!(unknown.is_empty());
    // A number, some bytes and a 64-bit word, in the instance, in its first watch and in that one's handle.
    let later = [&[0x98, 6, 7][..], &[0xa2, 6, 2, b'x', b'y'], &[0xa9, 6, 1, 2, 3, 4, 5, 6, 7, 8]].concat();
    let bytes = file.encode();
    let changed = uinotify_images::criu::InotifyFile::parse(&[&bytes[..], &later].concat(), 0).unwrap();
    assert_ne!(changed, file);
    assert_eq!(changed.encode(), [&bytes[..], &later].concat());
    let watch = file.watches[0].encode();
    let changed = uinotify_images::criu::InotifyWatch::parse(&[&watch[..], &later].concat(), 0).unwrap();
    assert_eq!(changed.encode(), [&watch[..], &later].concat());
    // Of a handle that comes in two parts, as protobuf allows.
    let parts = [&watch[..], &[7 << 3 | 2, later.len() as u8], &later].concat();
    let changed = uinotify_images::criu::InotifyWatch::parse(&parts, 0).unwrap();
    assert_eq!(changed.encode().strip_suffix(&later[..]).map(<[u8]>::len), Some(watch.len()));
}

#[test]
fn watches_of_nobody_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let FileEntry::Inotify(file, _) = FileEntry::parse(&inotify()).unwrap() else { unreachable!() };
    uinotify_images::criu::Directory::create(folder.path(), uinotify_images::criu::Layout::Legacy, &[file]).unwrap();
    let image = |name: &str| std::fs::read(folder.path().join(name)).unwrap();
    let (files, watches) = (image("inotify.img"), image("inotify-wd.img"));
    assert_eq!(read_legacy(&files[..], &watches[..]).unwrap().unwrap()[0].watches.len(), 3);
    let error = read_legacy(&files[..8], &watches[..]).unwrap().unwrap_err();
    assert!(error.to_string().ends_with("which inotify.img does not have"), "{error}");
    // A directory says which of its files is at fault.
    std::fs::write(folder.path().join("inotify-wd.img"), &watches[..50]).unwrap();
    let error = Directory::read(folder.path()).unwrap_err();
    assert!(matches!(&error, DirectoryError::Image(path, _) if path.ends_with("inotify-wd.img")), "{error}");
    assert!(error.to_string().contains("inotify-wd.img: offset 0x"), "{error}");
}

#[test]
fn a_directory_without_images_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let error = Directory::read(folder.path()).unwrap_err().to_string();
    assert!(error.ends_with("has no images of CRIU: neither files.img nor inotify.img"), "{error}");
    assert!(matches!(Directory::read(&folder.path().join("none")), Err(DirectoryError::NoImages(_))));
}
