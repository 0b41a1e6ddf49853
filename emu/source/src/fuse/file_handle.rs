//! File handles: names of inodes that outlive their paths and tell an inode from a later one with its number.

use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;

use super::request::NodeId;
use crate::kernel_handle::KernelHandle;

/// What name_to_handle_at(2) gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FileHandle {
    kind: i32,
    bytes: Box<[u8]>,
}

impl FileHandle {
    /// The handle of the object behind a descriptor, and the mount that it came by.
    ///
    /// # Errors
    ///
    /// EOPNOTSUPP where the file system has none.
    pub(super) fn of(object: impl AsFd) -> Result<(Self, i32), Errno> {
        let (handle, mount) = KernelHandle::of(object, c"", libc::AT_EMPTY_PATH)?;
        let (kind, bytes) = handle.parts();
        Ok((Self { kind, bytes: bytes.into() }, mount))
    }

    /// What the kernel's FUSE puts into a handle: the number of the node, the more significant half first, and its generation.
    pub(super) fn fuse_node(&self) -> Option<NodeId> {
        const WITHOUT_PARENT: i32 = 0x81;
        let (high, rest) = self.bytes.split_first_chunk()?;
        let (low, _) = rest.split_first_chunk()?;
        let (high, low) = (u32::from_ne_bytes(*high), u32::from_ne_bytes(*low));
        (self.kind == WITHOUT_PARENT).then_some(NodeId(u64::from(high) << 32 | u64::from(low)))
    }

    /// An `O_PATH` descriptor of the object, in the file system of `mount`.
    ///
    /// # Errors
    ///
    /// ESTALE if it is gone, EPERM without CAP_DAC_READ_SEARCH.
    pub(super) fn open(&self, mount: impl AsFd) -> Result<OwnedFd, Errno> {
        KernelHandle::new(self.kind, &self.bytes)?.open(mount)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::Status;

    #[test]
    fn a_handle_leads_back_to_its_object_or_nowhere() {
        let folder = tempfile::tempdir().expect("a folder");
        let mount = std::fs::File::open(folder.path()).expect("the folder");
        let path = folder.path().join("file");
        let file = std::fs::File::create(&path).expect("a file");
        let Ok((handle, _)) = FileHandle::of(&file) else { return };
        let found = match handle.open(&mount) {
            Err(Errno::EPERM) => return,
            found => found.expect("the object"),
        };
        assert_eq!(Status::of(&found).expect("its status").key, Status::of(&file).expect("its status").key);
        std::fs::remove_file(&path).expect("the file goes");
        drop((found, file));
        assert_eq!(handle.open(&mount).map(drop), Err(Errno::ESTALE));
    }
}
