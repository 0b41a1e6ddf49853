//! File handles: names of inodes that outlive their paths, and tell an inode from a later one with its number.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::rc::Rc;

use nix::errno::Errno;
use uinotify_host::mountinfo;
use uinotify_images::checkpoint::FileHandle;
use uinotify_images::text::Device;

/// `MAX_HANDLE_SZ`
const BYTES_MAX: usize = 128;

/// The kernel's `struct file_handle`.
#[repr(C)]
struct Buffer {
    length: u32,
    kind: i32,
    bytes: [u8; BYTES_MAX],
}

/// The handle of the object behind a descriptor; nothing where the file system has none.
pub(super) fn of(object: BorrowedFd<'_>) -> Option<FileHandle> {
    let mut buffer = Buffer { length: BYTES_MAX as u32, kind: 0, bytes: [0; BYTES_MAX] };
    let mut mount = 0;
    let number = object.as_raw_fd();
    // SAFETY: the buffer begins as the kernel's structure does, and says how much room follows; all of it lives through the call.
    let result = unsafe {
        libc::name_to_handle_at(number, c"".as_ptr(), (&raw mut buffer).cast(), &raw mut mount, libc::AT_EMPTY_PATH)
    };
    Errno::result(result).ok()?;
    let bytes = buffer.bytes.get(..usize::try_from(buffer.length).ok()?)?.to_vec();
    Some(FileHandle { kind: buffer.kind.cast_unsigned(), bytes })
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
        let length = u32::try_from(handle.bytes.len()).map_err(|_| Errno::EINVAL)?;
        let mut buffer = Buffer { length, kind: handle.kind.cast_signed(), bytes: [0; BYTES_MAX] };
        buffer.bytes.get_mut(..handle.bytes.len()).ok_or(Errno::EINVAL)?.copy_from_slice(&handle.bytes);
        let flags = libc::O_PATH | libc::O_NOFOLLOW | libc::O_CLOEXEC;
        // SAFETY: the buffer begins as the kernel's structure does, and lives through the call.
        let number = unsafe { libc::open_by_handle_at(mount.as_fd().as_raw_fd(), (&raw mut buffer).cast(), flags) };
        Errno::result(number)?;
        // SAFETY: the call has just returned this descriptor, which nobody else has.
        Ok(unsafe { OwnedFd::from_raw_fd(number) })
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
