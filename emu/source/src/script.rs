//! No file system at all: what is watched is known by its identity, and nothing ever happens to it but what a test says.
//!
//! Nothing of the kernel's inotify or fanotify is used, and none of their limits.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd};

use nix::errno::Errno;
use nix::libc::{AT_EMPTY_PATH, S_IFDIR, S_IFLNK, S_IFMT, S_IFREG};
use nix::sys::stat::{FileStat, fstat};
use uinotify_core::{Kind, Object, ObjectId};

use crate::kernel_handle::KernelHandle;

/// The numbers of objects have these highest bits, which those of no other source have.
const TAG: u64 = 0xd << 60;
const TAG_BITS: u64 = 0xf << 60;

/// Whether a number is one that this source gives.
#[must_use]
pub fn is_scripted(object: ObjectId) -> bool {
    object.0 & TAG_BITS == TAG
}

/// What an inode is, as far as the rules ask.
#[must_use]
pub fn kind_of(mode: u32) -> Kind {
    match mode & S_IFMT {
        S_IFDIR => Kind::Directory,
        S_IFREG | S_IFLNK => Kind::File,
        _ => Kind::Special,
    }
}

/// By what an inode is told from every other, also from a later one that has its number.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Identity {
    /// Of the file system.
    pub device: u64,
    /// Number in it.
    pub inode: u64,
    /// Type and bytes of its handle; nothing where the file system has none.
    pub handle: (i32, Vec<u8>),
}

/// The objects that are watched.
#[derive(Debug, Default)]
pub struct Script {
    objects: BTreeMap<Identity, Object>,
    identities: BTreeMap<ObjectId, Identity>,
    made: u64,
}

impl Script {
    /// Takes note of an object that is to be watched.
    ///
    /// # Errors
    ///
    /// As `fstat(2)`.
    pub fn watch(&mut self, object: BorrowedFd<'_>) -> Result<ObjectId, Errno> {
        let FileStat { st_dev: device, st_ino: inode, st_mode, .. } = fstat(object)?;
        let handle = KernelHandle::of(object.as_fd(), c"", AT_EMPTY_PATH);
        let handle = handle.map_or((0, Vec::new()), |(handle, _)| {
            let (kind, bytes) = handle.parts();
            (kind, bytes.to_vec())
        });
        let identity = Identity { device, inode, handle };
        if let Some(known) = self.objects.get(&identity) {
            return Ok(known.id);
        }
        self.made += 1;
        let id = ObjectId(TAG | self.made);
        self.objects.insert(identity.clone(), Object { id, kind: kind_of(st_mode) });
        self.identities.insert(id, identity);
        Ok(id)
    }

    /// The object with this number on this device that was watched last: the inode of one that is gone may be used again.
    #[must_use]
    pub fn find(&self, device: u64, inode: u64) -> Option<Object> {
        let first = Identity { device, inode, handle: (i32::MIN, Vec::new()) };
        let alike = self.objects.range(first..).take_while(|(found, _)| (found.device, found.inode) == (device, inode));
        alike.map(|(_, object)| *object).max_by_key(|object| object.id)
    }

    /// What is known of an object.
    #[must_use]
    pub fn known_by(&self, object: ObjectId) -> Option<&Identity> {
        self.identities.get(&object)
    }

    /// What an object is.
    #[must_use]
    pub fn kind(&self, object: ObjectId) -> Option<Kind> {
        self.objects.get(self.identities.get(&object)?).map(|object| object.kind)
    }

    /// Nobody watches it any more.
    pub fn forget(&mut self, object: ObjectId) {
        if let Some(identity) = self.identities.remove(&object) {
            self.objects.remove(&identity);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, File};

    #[test]
    fn an_object_is_known_by_any_of_its_names() {
        let folder = tempfile::tempdir().expect("a folder");
        let (first, second) = (folder.path().join("first"), folder.path().join("second"));
        fs::write(&first, "").expect("a file");
        fs::hard_link(&first, &second).expect("a link");
        let mut script = Script::default();
        let mut watch = |path| script.watch(File::open(path).expect("the file").as_fd()).expect("its identity");
        let (one, other, directory) = (watch(&first), watch(&second), watch(&folder.path().to_owned()));
        assert_eq!(one, other);
        assert_ne!(one, directory);
        assert!(is_scripted(one) && is_scripted(directory));
        let Identity { device, inode, .. } = script.known_by(directory).expect("known").clone();
        assert_eq!(script.find(device, inode), Some(Object { id: directory, kind: Kind::Directory }));
        script.forget(directory);
        assert_eq!(script.find(device, inode), None);
        assert_eq!(script.known_by(directory), None);
    }

    #[test]
    fn an_inode_that_is_used_again_is_another_object() {
        let identity = |generation: u8| Identity { device: 1, inode: 2, handle: (1, vec![generation]) };
        let mut script = Script::default();
        for (number, generation) in [(7, 9), (8, 3)] {
            let object = Object { id: ObjectId(TAG | number), kind: Kind::File };
            script.objects.insert(identity(generation), object);
            script.identities.insert(object.id, identity(generation));
        }
        assert_eq!(script.find(1, 2).map(|object| object.id), Some(ObjectId(TAG | 8)), "the later one");
        assert_eq!(script.find(1, 3), None);
        assert_eq!(script.find(2, 2), None);
    }
}
