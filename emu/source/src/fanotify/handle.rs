//! File handles, as identities: compared, never opened.

use std::ffi::CStr;
use std::os::fd::AsFd;

use nix::errno::Errno;

use crate::kernel_handle::KernelHandle;

/// What ext4, xfs, tmpfs and btrfs need lies in the value itself.
const INLINE_BYTES: usize = 20;
/// `AT_HANDLE_FID`: one that need not lead back to the object (since 6.5).
const AT_HANDLE_FID: libc::c_int = 0x200;

/// An inode in its file system, told from a later one with its number where the file system can.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Handle(Form);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Form {
    Inline { kind: u16, length: u8, bytes: [u8; INLINE_BYTES] },
    Boxed(Box<(i32, Box<[u8]>)>),
}

impl Handle {
    /// From its parts. Equal parts make equal values.
    #[must_use]
    pub fn new(kind: i32, bytes: &[u8]) -> Self {
        let mut inline = [0; INLINE_BYTES];
        Self(match (u16::try_from(kind), u8::try_from(bytes.len()), inline.get_mut(..bytes.len())) {
            (Ok(kind), Ok(length), Some(room)) => {
                room.copy_from_slice(bytes);
                Form::Inline { kind, length, bytes: inline }
            }
            _ => Form::Boxed(Box::new((kind, bytes.into()))),
        })
    }

    /// The type and the bytes.
    #[must_use]
    pub fn parts(&self) -> (i32, &[u8]) {
        match &self.0 {
            Form::Inline { kind, length, bytes } => {
                (i32::from(*kind), bytes.get(..usize::from(*length)).unwrap_or_default())
            }
            Form::Boxed(parts) => (parts.0, &parts.1),
        }
    }

    /// Of the object behind a descriptor, an `O_PATH` one too.
    ///
    /// # Errors
    ///
    /// EOPNOTSUPP where the file system has none.
    pub(super) fn of(object: impl AsFd) -> Result<Self, Errno> {
        Self::at(object, c"", libc::AT_EMPTY_PATH)
    }

    /// Of what stands under a path, a symbolic link itself.
    ///
    /// # Errors
    ///
    /// As `name_to_handle_at(2)`.
    pub(super) fn under(directory: impl AsFd, path: &CStr) -> Result<Self, Errno> {
        Self::at(directory, path, 0)
    }

    fn at(directory: impl AsFd, path: &CStr, flags: libc::c_int) -> Result<Self, Errno> {
        match Self::ask(&directory, path, flags | AT_HANDLE_FID) {
            // An older kernel, or one for which this file system has only handles that lead back.
            Err(Errno::EINVAL | Errno::EOPNOTSUPP) => Self::ask(&directory, path, flags),
            result => result,
        }
    }

    fn ask(directory: impl AsFd, path: &CStr, flags: libc::c_int) -> Result<Self, Errno> {
        let (handle, _) = KernelHandle::of(directory, path, flags)?;
        let (kind, bytes) = handle.parts();
        Ok(Self::new(kind, bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel_handle::BYTES_MAX;

    #[test]
    fn parts_come_back_whatever_their_length() {
        for length in [0, 1, 8, INLINE_BYTES, INLINE_BYTES + 1, BYTES_MAX] {
            let bytes: Vec<_> = (0..length).map(|byte| byte as u8 + 1).collect();
            for kind in [0, 1, 0xfe, 0x1_0000, -1] {
                let handle = Handle::new(kind, &bytes);
                assert_eq!(handle.parts(), (kind, &bytes[..]));
                assert_eq!(handle, Handle::new(kind, &bytes));
            }
        }
        assert_ne!(Handle::new(1, b"a"), Handle::new(1, b"a\0"));
        assert_ne!(Handle::new(1, b"a"), Handle::new(2, b"a"));
        assert_eq!(size_of::<Handle>(), 24);
    }

    #[test]
    fn an_object_has_one_handle_by_any_name() {
        let folder = tempfile::tempdir().expect("a folder");
        let directory = std::fs::File::open(folder.path()).expect("the folder");
        let file = std::fs::File::create(folder.path().join("a")).expect("a file");
        std::fs::hard_link(folder.path().join("a"), folder.path().join("b")).expect("a link");
        std::fs::write(folder.path().join("c"), b"").expect("another");
        let Ok(handle) = Handle::of(&file) else { return };
        assert_eq!(Handle::under(&directory, c"b"), Ok(handle.clone()));
        assert_ne!(Handle::under(&directory, c"c"), Ok(handle));
        assert_eq!(Handle::under(&directory, c"d"), Err(Errno::ENOENT));
    }
}
