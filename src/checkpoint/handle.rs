//! File handles: names of inodes that outlive their paths, and tell an inode from a later one with its number.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::rc::Rc;

use nix::errno::Errno;
use uinotify_host::{KernelHandle, mountinfo};
use uinotify_images::checkpoint::FileHandle;
use uinotify_images::text::Device;

/// The handle of the object behind a descriptor; nothing where the file system has none.
pub(super) fn of(object: BorrowedFd<'_>) -> Option<FileHandle> {
    let (handle, _) = KernelHandle::of(object, c"", libc::AT_EMPTY_PATH).ok()?;
    let (kind, bytes) = handle.parts();
    Some(FileHandle { kind: kind.cast_unsigned(), bytes: bytes.to_vec() })
}

/// Where handles are opened: one mount of each file system, opened when it is needed.
#[derive(Debug, Default)]
pub(super) struct Mounts {
    opened: HashMap<(u32, u32), Option<Rc<File>>>,
}

impl Mounts {
    /// An `O_PATH` descriptor of the object of a handle.
    ///
    /// # Errors
    ///
    /// ESTALE if it is gone, EPERM without CAP_DAC_READ_SEARCH, ENODEV if its file system is not mounted here.
    pub(super) fn open(&mut self, device: Device, handle: &FileHandle) -> Result<OwnedFd, Errno> {
        let mount = self.mount_of(device).ok_or(Errno::ENODEV)?;
        let handle = KernelHandle::new(handle.kind.cast_signed(), &handle.bytes).map_err(|_| Errno::EINVAL)?;
        handle.open(&*mount)
    }

    /// The kernel wants a file that is really open, which whoever watches the root of the mount sees.
    fn mount_of(&mut self, device: Device) -> Option<Rc<File>> {
        let opened = self.opened.entry((device.major, device.minor)).or_insert_with(|| {
            let mounted = mountinfo::mounted().ok()?;
            let mut points = mounted
                .into_iter()
                .filter(|mount| mount.device == (device.major, device.minor))
                .map(|mount| mount.point);
            let flags = libc::O_DIRECTORY | libc::O_CLOEXEC;
            let open = |point| OpenOptions::new().read(true).custom_flags(flags).open::<PathBuf>(point).ok();
            points.find_map(open).map(Rc::new)
        });
        opened.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn a_handle_leads_back_to_its_object() {
        let folder = tempfile::tempdir().unwrap();
        let object = File::open(folder.path()).unwrap();
        let Some(handle) = of(object.as_fd()) else { return };
        let device = nix::sys::stat::fstat(&object).unwrap().st_dev;
        let device = Device { major: libc::major(device), minor: libc::minor(device) };
        match Mounts::default().open(device, &handle) {
            // Another user than root, or a file system whose st_dev is not that of its mount.
            Err(Errno::EPERM | Errno::ENODEV) => {}
            found => assert_eq!(of(found.unwrap().as_fd()), Some(handle)),
        }
    }
}
