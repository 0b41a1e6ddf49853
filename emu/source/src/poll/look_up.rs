//! The calls: nothing but directories is ever opened, and nothing stays open.

use std::ffi::{CStr, CString};
use std::hash::{DefaultHasher, Hasher};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;

use nix::dir::{Dir, Type};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, open, openat};
use nix::sys::stat::Mode;
use uinotify_core::Kind;

use super::listing::Found;
use super::look::{Identity, Look};
use crate::kernel_handle::KernelHandle;
use crate::mountinfo;
use crate::status::Status;

/// What is known of a file system before anything in it is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) device: u64,
    /// An object's time of birth, and its file handle, stay as long as it does.
    is_constant: bool,
}

/// What is to be asked of the server, where there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Freshness {
    /// What any program would see: a network file system keeps attributes for some time.
    AsStat,
    /// What is so now.
    Asked,
}

impl Freshness {
    fn flag(self) -> libc::c_int {
        match self {
            Self::AsStat => libc::AT_STATX_SYNC_AS_STAT,
            Self::Asked => libc::AT_STATX_FORCE_SYNC,
        }
    }
}

/// What was found under a name or path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    This(Look),
    /// Of another file system: something is mounted there.
    Covered,
    Nothing,
    /// That cannot be told now: no permission, or no answer.
    Unknown,
}

impl Facts {
    pub(super) fn of(object: BorrowedFd<'_>) -> Result<Self, Errno> {
        let device = Status::of(object)?.key.device;
        // When a file of overlayfs is written for the first time, it becomes another one in the layer above.
        let magic = nix::sys::statfs::fstatfs(object)?.filesystem_type();
        Ok(Self { device, is_constant: magic != nix::sys::statfs::OVERLAYFS_SUPER_MAGIC })
    }

    /// What stands under a name, a symbolic link itself.
    pub(super) fn look(&self, directory: impl AsFd, name: &CStr, freshness: Freshness) -> Seen {
        self.seen(Status::at(directory, name, libc::AT_SYMLINK_NOFOLLOW | freshness.flag()))
    }

    /// The object behind a descriptor.
    pub(super) fn look_at(&self, object: impl AsFd) -> Seen {
        self.seen(Status::at(object, c"", libc::AT_EMPTY_PATH | Freshness::Asked.flag()))
    }

    /// What stands under a path.
    pub(super) fn look_under(&self, path: &CStr) -> Seen {
        self.look(AT_FDCWD, path, Freshness::Asked)
    }

    fn seen(&self, status: Result<Status, Errno>) -> Seen {
        match status {
            Ok(status) if status.key.device != self.device => Seen::Covered,
            Ok(status) => Seen::This(Look::new(&status, self.is_constant)),
            Err(errno) if is_absence(errno) => Seen::Nothing,
            Err(_) => Seen::Unknown,
        }
    }

    /// An object that is known from here on: where its time of birth does not tell it from a later one, its handle is asked for.
    pub(super) fn identify(&self, directory: impl AsFd, name: &CStr, look: Look) -> Look {
        if look.identity.born != 0 || !self.is_constant {
            return look;
        }
        let flags = if name.is_empty() { libc::AT_EMPTY_PATH } else { 0 };
        let digest = KernelHandle::of(directory, name, flags).map_or(0, |(handle, _)| {
            let (kind, bytes) = handle.parts();
            let mut hasher = DefaultHasher::new();
            hasher.write_i32(kind);
            hasher.write(bytes);
            hasher.finish().max(1)
        });
        Look { identity: Identity { handle: digest, ..look.identity }, ..look }
    }
}

/// There is no such thing. Other errors say that one cannot tell.
pub(super) fn is_absence(errno: Errno) -> bool {
    matches!(errno, Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP)
}

/// A directory, to look from there and to list it.
pub(super) fn open_directory(path: &CStr) -> Result<OwnedFd, Errno> {
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    open(path, flags, Mode::empty())
}

/// What is in it. Its time of access stays as it is, where this user may ask for that.
pub(super) fn list(directory: &OwnedFd) -> Result<Vec<Found>, Errno> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
    // A directory that may not be searched has no `.`, but may be listed.
    let again = |flags| match openat(directory, c".", flags, Mode::empty()) {
        Err(Errno::EACCES) => open(format!("/proc/self/fd/{}", directory.as_raw_fd()).as_str(), flags, Mode::empty()),
        opened => opened,
    };
    let opened = match again(flags | OFlag::O_NOATIME) {
        Err(Errno::EPERM) => again(flags),
        opened => opened,
    };
    let mut listing = Dir::from_fd(opened?)?;
    let mut found = Vec::new();
    for entry in listing.iter() {
        let entry = entry?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            let kind = entry.file_type().map(|kind| match kind {
                Type::Directory => Kind::Directory,
                Type::File | Type::Symlink => Kind::File,
                _ => Kind::Special,
            });
            found.push(Found { name: name.into(), inode: entry.ino(), kind });
        }
    }
    Ok(found)
}

/// Where an object is, as far as this process can say.
pub(super) fn path_of(object: BorrowedFd<'_>) -> Option<CString> {
    let path = std::fs::read_link(format!("/proc/self/fd/{}", object.as_raw_fd())).ok()?;
    if path.is_absolute() { CString::new(path.into_os_string().into_vec()).ok() } else { None }
}

/// A file handle, and the device of its file system.
#[derive(Clone, Debug)]
pub(super) struct Handle {
    handle: KernelHandle,
    device: (u32, u32),
}

impl Handle {
    pub(super) fn of(object: BorrowedFd<'_>, device: u64) -> Option<Self> {
        let (handle, _) = KernelHandle::of(object, c"", libc::AT_EMPTY_PATH).ok()?;
        Some(Self { handle, device: (libc::major(device), libc::minor(device)) })
    }

    pub(super) fn parts(&self) -> (i32, &[u8]) {
        self.handle.parts()
    }

    /// The object, wherever it is now. `mount` keeps the way into the file system for the next one.
    ///
    /// # Errors
    ///
    /// ESTALE if it is gone. All others: that cannot be told, as by an ordinary user.
    pub(super) fn open(&self, mount: &mut Option<OwnedFd>) -> Result<OwnedFd, Errno> {
        if let Some(mount) = mount {
            return self.handle.open(mount);
        }
        let mounts = mountinfo::mounted().map_err(|_| Errno::EIO)?;
        let mut last = Err(Errno::ENODEV);
        for point in mounts.iter().filter(|mount| mount.device == self.device) {
            let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC | OFlag::O_DIRECTORY;
            let Ok(opened) = open(&point.point, flags, Mode::empty()) else { continue };
            last = self.handle.open(&opened);
            if matches!(last, Ok(_) | Err(Errno::ESTALE)) {
                *mount = Some(opened);
                break;
            }
        }
        last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_listed_is_what_is_found() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("file"), b"x").expect("a file");
        std::fs::create_dir(folder.path().join("folder")).expect("a folder");
        std::os::unix::fs::symlink("file", folder.path().join("link")).expect("a link");
        let path = CString::new(folder.path().as_os_str().as_encoded_bytes()).expect("a path");
        let directory = open_directory(&path).expect("the folder");
        let facts = Facts::of(directory.as_fd()).expect("its file system");
        let mut found = list(&directory).expect("a listing");
        found.sort_by(|a, b| a.name.cmp(&b.name));
        assert_eq!(found.iter().map(|found| &*found.name).collect::<Vec<_>>(), [c"file", c"folder", c"link"]);
        for found in found {
            let Seen::This(look) = facts.look(&directory, &found.name, Freshness::Asked) else { panic!("{found:?}") };
            assert_eq!(look.kind(), found.kind.unwrap_or(look.kind()));
        }
        assert_eq!(facts.look(&directory, c"absent", Freshness::AsStat), Seen::Nothing);
        assert_eq!(facts.look_under(c"/proc"), Seen::Covered);
        assert_eq!(path_of(directory.as_fd()).as_deref(), Some(&*path));
    }

    #[test]
    fn a_handle_leads_back_for_those_who_may() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("file");
        std::fs::write(&path, b"x").expect("a file");
        let file = open(&path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()).expect("the file");
        let facts = Facts::of(file.as_fd()).expect("its file system");
        let Some(handle) = Handle::of(file.as_fd(), facts.device) else { return };
        let Ok(found) = handle.open(&mut None) else { return };
        assert_eq!(facts.look_at(&found), facts.look_at(&file));
        drop((file, found));
        std::fs::remove_file(&path).expect("the file");
        assert_eq!(handle.open(&mut None).map(drop), Err(Errno::ESTALE));
    }
}
