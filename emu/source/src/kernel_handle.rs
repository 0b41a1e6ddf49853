//! The kernel's two calls for file handles: names of inodes that outlive their paths, and tell an inode from a later one with its number.

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use nix::errno::Errno;

/// `MAX_HANDLE_SZ`
pub const BYTES_MAX: usize = 128;

/// What name_to_handle_at(2) gives: `struct file_handle`, with room for the longest.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct KernelHandle {
    length: u32,
    kind: i32,
    bytes: [u8; BYTES_MAX],
}

impl KernelHandle {
    /// The handle of what stands under a path, a symbolic link itself, and the number of the mount that it was come to by. With `AT_EMPTY_PATH`
    /// in `flags` and no path: of the object behind the descriptor.
    ///
    /// # Errors
    ///
    /// EOPNOTSUPP where the file system has none; else as `name_to_handle_at(2)`.
    pub fn of(directory: impl AsFd, path: &CStr, flags: libc::c_int) -> Result<(Self, i32), Errno> {
        let mut handle = Self { length: BYTES_MAX as u32, kind: 0, bytes: [0; BYTES_MAX] };
        let mut mount = 0;
        // SAFETY: `path` is a string, and the handle is the kernel's structure, which says how much room it has; all live through the call.
        let result = unsafe {
            libc::name_to_handle_at(
                directory.as_fd().as_raw_fd(),
                path.as_ptr(),
                (&raw mut handle).cast(),
                &raw mut mount,
                flags,
            )
        };
        Errno::result(result)?;
        if handle.length as usize > BYTES_MAX { Err(Errno::EOVERFLOW) } else { Ok((handle, mount)) }
    }

    /// From its parts.
    ///
    /// # Errors
    ///
    /// EOVERFLOW if no handle is so long.
    pub fn new(kind: i32, parts: &[u8]) -> Result<Self, Errno> {
        let mut bytes = [0; BYTES_MAX];
        bytes.get_mut(..parts.len()).ok_or(Errno::EOVERFLOW)?.copy_from_slice(parts);
        Ok(Self { length: parts.len() as u32, kind, bytes })
    }

    /// The type and the bytes.
    #[must_use]
    pub fn parts(&self) -> (i32, &[u8]) {
        (self.kind, self.bytes.get(..self.length as usize).unwrap_or_default())
    }

    /// An `O_PATH` descriptor of the object, in the file system of `mount`, which is no `O_PATH` one.
    ///
    /// # Errors
    ///
    /// ESTALE if it is gone, EPERM without CAP_DAC_READ_SEARCH.
    pub fn open(mut self, mount: impl AsFd) -> Result<OwnedFd, Errno> {
        let flags = libc::O_PATH | libc::O_NOFOLLOW | libc::O_CLOEXEC;
        // SAFETY: the handle is the kernel's structure, and lives through the call.
        let fd = unsafe { libc::open_by_handle_at(mount.as_fd().as_raw_fd(), (&raw mut self).cast(), flags) };
        Errno::result(fd)?;
        // SAFETY: the call has just returned this descriptor, which nobody else has.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_handle_is_longer_than_the_kernels() {
        let whole = [7; BYTES_MAX];
        assert_eq!(KernelHandle::new(1, &whole).expect("the longest").parts(), (1, &whole[..]));
        assert_eq!(KernelHandle::new(1, &[7; BYTES_MAX + 1]).map(drop), Err(Errno::EOVERFLOW));
    }
}
