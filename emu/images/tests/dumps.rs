//! Images that a real CRIU has written: tests/dumps.

use std::fs;
use std::os::unix::fs::PermissionsExt;
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

#[test]
fn a_peer_inside_stays() {
    let folder = copy("emulated");
    let path = folder.path().join("files.img");
    let mut bytes = fs::read(&path).unwrap();
    // flags 0, uflags USK_EXTERN, backlog 0, peer 0: only the peer has these.
    let at = bytes.windows(8).position(|part| part == [0x28, 0, 0x30, 1, 0x38, 0, 0x40, 0]).unwrap();
    bytes[at + 3] = 0;
    fs::write(&path, bytes).unwrap();
    to_inotify(folder.path(), &checkpoint()).unwrap();
    let converted = Directory::read(folder.path()).unwrap();
    assert_eq!((converted.inotify.len(), converted.sockets.len()), (1, 1));
}

#[test]
fn new_sockets_have_inodes_of_their_own() {
    let folder = copy("kernel");
    let path = folder.path().join("files.img");
    let original = fs::read(&path).unwrap();
    let instance = entries(folder.path(), "files.img", Kind::Files).into_iter();
    let mut instance = instance.filter(|entry| matches!(FileEntry::parse(entry), Ok(FileEntry::Inotify(..))));
    let instance = instance.next().unwrap().bytes;
    to_sockets(folder.path()).unwrap();
    // Another instance, beside the sockets.
    let mut bytes = fs::read(&path).unwrap();
    bytes.extend((instance.len() as u32).to_le_bytes());
    bytes.extend(&instance);
    assert_ne!(bytes.len(), original.len());
    fs::write(&path, bytes).unwrap();
    to_sockets(folder.path()).unwrap();
    let mut inodes: Vec<u32> =
        Directory::read(folder.path()).unwrap().sockets.iter().map(|socket| socket.inode).collect();
    inodes.sort_unstable();
    inodes.dedup();
    assert_eq!(inodes.len(), 4);
}

#[test]
fn descriptors_find_their_instance() {
    let directory = Directory::read(&dump("kernel")).unwrap();
    let found = |pid, fd, id| {
        let instance = Instance {
            id,
            descriptors: vec![Descriptor { pid, fd, close_on_exec: true }],
            ..checkpoint().instances.remove(0)
        };
        directory.file_of(&instance).map(|file| file.id)
    };
    assert_eq!(found(13_449, 3, 99), Some(4));
    // Not by descriptor, but by number.
    assert_eq!(found(13_449, 0, 4), Some(4));
    for (pid, fd) in [(13_449, 0), (13_449, 4), (13_450, 3)] {
        assert_eq!(found(pid, fd, 99), None, "{pid} {fd}");
    }
}

#[test]
fn modes_are_kept_and_nothing_is_left_over() {
    let folder = copy("emulated");
    let path = folder.path().join("files.img");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let good = fs::read(&path).unwrap();
    let before = contents(folder.path());
    to_inotify(folder.path(), &checkpoint()).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    // The image is cut after it was read: nothing is changed.
    fs::write(&path, &good).unwrap();
    for (path, bytes) in &before {
        fs::write(folder.path().join(path), bytes).unwrap();
    }
    let directory = Directory::read(folder.path()).unwrap();
    fs::write(&path, &good[..good.len() - 1]).unwrap();
    let cut = contents(folder.path());
    assert!(directory.replace(&directory.inotify).is_err());
    assert!(to_inotify(folder.path(), &checkpoint()).is_err());
    assert_eq!(contents(folder.path()), cut);
}

#[test]
fn descriptors_tell_of_exec() {
    let folder = copy("kernel");
    let path = folder.path().join("fdinfo-2.img");
    let mut bytes = fs::read(&path).unwrap();
    // Of the descriptor of type INOTIFY, 8: its flags are the field before.
    let at = bytes.windows(4).position(|part| part == [0x10, 0, 0x18, 8]).unwrap();
    bytes[at + 1] = 1;
    fs::write(&path, bytes).unwrap();
    // A second process with the same table.
    fs::copy(folder.path().join("ids-13449.img"), folder.path().join("ids-77.img")).unwrap();
    let directory = Directory::read(folder.path()).unwrap();
    assert_eq!(directory.descriptors[0].pids, [77, 13_449]);
    let expected = [77, 13_449].map(|pid| Descriptor { pid, fd: 3, close_on_exec: true });
    assert_eq!(directory.descriptors_of(directory.inotify[0].id), expected);
}
