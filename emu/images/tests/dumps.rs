//! Images that a real CRIU has written: tests/dumps.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use uinotify_images::checkpoint::{Checkpoint, Descriptor, FileHandle, Instance, Profile, Queue, Watch};
use uinotify_images::criu::{
    Directory, Entry, FileDescriptor, FileEntry, ImageReader, Kind, Layout, instance_of, to_inotify, to_sockets,
};
use uinotify_images::text::{ByteString, Device};

fn dump(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dumps").join(name)
}

/// A copy of a dump that may be changed.
fn copy(name: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for file in fs::read_dir(dump(name)).unwrap() {
        let path = file.unwrap().path();
        fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
    }
    folder
}

fn contents(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().path())
        .map(|path| (path.strip_prefix(folder).unwrap().to_owned(), fs::read(&path).unwrap()))
        .collect();
    files.sort();
    files
}

fn entries(folder: &Path, name: &str, kind: Kind) -> Vec<Entry> {
    let mut reader = ImageReader::open(fs::File::open(folder.join(name)).unwrap(), kind).unwrap();
    std::iter::from_fn(|| reader.next_entry().unwrap()).collect()
}

fn watch(wd: i32, mask: u32, name: &str, inode: u64, handle: &[u8]) -> Watch {
    Watch {
        wd,
        mask,
        path: Some(ByteString(format!("/tmp/demo/watched/{name}").into_bytes())),
        device: Device { major: 254, minor: 0 },
        inode,
        generation: None,
        handle: Some(FileHandle { kind: 1, bytes: handle.to_vec() }),
        mount_id: None,
    }
}

/// What fdinfo showed of both programs, oldest watch first.
fn watches() -> Vec<Watch> {
    vec![
        watch(1, 0xfff, "a", 0x9f_40f1, b"\xf1\x40\x9f\x00\x86\xe0\x28\xbf"),
        watch(0x34d_71d6, 0x300, "b", 0x9f_4101, b"\x01\x41\x9f\x00\xe1\xd7\x56\x88"),
        watch(0x34d_71d7, 0x400_00c2, "c", 0x9f_4111, b"\x11\x41\x9f\x00\xf3\xc0\x9d\xb7"),
    ]
}

/// The checkpoint of the emulated one.
fn checkpoint() -> Checkpoint {
    let instance = Instance {
        id: 1,
        owner: Some(0),
        socket_inode: Some(20_891_541),
        descriptors: vec![Descriptor { pid: 13_471, fd: 3, close_on_exec: false }],
        flags: 0,
        signal_owner: None,
        cursor: 0x34d_71d8,
        limits: None,
        watches: watches(),
        queue: Queue::default(),
    };
    Checkpoint::new(Profile::Native, 0, vec![instance])
}

#[test]
fn of_the_kernel_are_read_exactly() {
    let directory = Directory::read(&dump("kernel")).unwrap();
    assert_eq!((directory.layout, directory.inotify.len(), directory.sockets.len()), (Layout::Files, 1, 0));
    let file = &directory.inotify[0];
    let descriptor = FileDescriptor { file: file.id, fd: 3, close_on_exec: false, table: 2, pids: vec![13_449] };
    assert_eq!(directory.descriptors, [descriptor]);
    let instance = instance_of(file, directory.descriptors_of(file.id)).unwrap();
    assert_eq!(instance.watches, watches());
    assert_eq!((instance.flags, instance.cursor, instance.signal_owner), (0, 0x34d_71d8, None));
    assert_eq!(directory.file_of(&instance), Some(file));
}

#[test]
fn are_written_as_they_were() {
    let folder = copy("kernel");
    let directory = Directory::read(folder.path()).unwrap();
    directory.replace(&directory.inotify).unwrap();
    assert_eq!(contents(folder.path()), contents(&dump("kernel")));
    let mut inotify = directory.inotify.clone();
    inotify[0].watches.pop();
    directory.replace(&inotify).unwrap();
    let changed = Directory::read(folder.path()).unwrap();
    assert_eq!(changed.inotify, inotify);
    // The entries of everything else are as they were.
    let others = |folder: &Path| {
        let all = entries(folder, "files.img", Kind::Files).into_iter();
        all.filter(|entry| FileEntry::parse(entry).unwrap() == FileEntry::Other).map(|e| e.bytes).collect::<Vec<_>>()
    };
    assert_eq!(others(folder.path()), others(&dump("kernel")));
    assert_ne!(others(folder.path()).len(), 0);
}

#[test]
fn of_an_emulated_instance_become_those_of_the_kernel() {
    let folder = copy("emulated");
    let before = entries(folder.path(), "files.img", Kind::Files);
    let conversion = to_inotify(folder.path(), &checkpoint()).unwrap();
    assert_eq!((&conversion.converted[..], &conversion.absent[..], &conversion.left[..]), (&[1][..], &[][..], &[][..]));
    let converted = Directory::read(folder.path()).unwrap();
    let kernels = Directory::read(&dump("kernel")).unwrap();
    assert_eq!(converted.sockets, []);
    assert_eq!(converted.inotify[0].watches, kernels.inotify[0].watches);
    assert_eq!((converted.inotify[0].flags, converted.inotify[0].id), (0, converted.descriptors[0].file));
    // The rest is as it was, in its order.
    let kept: Vec<_> = before.iter().filter(|e| FileEntry::parse(e).unwrap() == FileEntry::Other).collect();
    let after = entries(folder.path(), "files.img", Kind::Files);
    assert_eq!((after.len(), before.len()), (kept.len() + 1, kept.len() + 2));
    assert!(kept.iter().all(|entry| after.iter().any(|other| other.bytes == entry.bytes)));
    assert_eq!(contents(folder.path()).len(), contents(&dump("emulated")).len(), "nothing is left over");
    // Descriptor 3, of type INOTIFY now, and no other byte.
    let descriptors = |folder: &Path| fs::read(folder.join("fdinfo-2.img")).unwrap();
    let (old, new) = (descriptors(&dump("emulated")), descriptors(folder.path()));
    let changed: Vec<_> = old.iter().zip(&new).filter(|(old, new)| old != new).collect();
    assert_eq!((changed, old.len()), (vec![(&5, &8)], new.len()));

    // A second time there is nothing left to convert.
    let again = to_inotify(folder.path(), &checkpoint()).unwrap();
    assert_eq!((&again.converted[..], &again.absent[..]), (&[][..], &[1][..]));
}

#[test]
fn sockets_without_a_checkpoint_are_named_and_left() {
    let folder = copy("emulated");
    let conversion = to_inotify(folder.path(), &Checkpoint::new(Profile::Native, 0, Vec::new())).unwrap();
    assert_eq!(conversion.left, [20_891_541]);
    assert_eq!(contents(folder.path()), contents(&dump("emulated")));
}

#[test]
fn become_sockets_and_come_back() {
    let folder = copy("kernel");
    let checkpoint = to_sockets(folder.path()).unwrap();
    let sockets = Directory::read(folder.path()).unwrap();
    assert_eq!((sockets.inotify.len(), sockets.sockets.len()), (0, 2));
    assert!(sockets.sockets[0].external && sockets.sockets[1].peer == sockets.sockets[0].inode);
    assert_eq!(Some(u64::from(sockets.sockets[1].inode)), checkpoint.instances[0].socket_inode);
    assert_eq!(checkpoint.instances[0].watches, watches());
    to_inotify(folder.path(), &checkpoint).unwrap();
    assert_eq!(contents(folder.path()), contents(&dump("kernel")));
}
