//! What is looked up by path. A path may be stale, so whatever is found counts only if its handle is the one that is meant.

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use nix::dir::{Dir, Type};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, open};
use nix::sys::stat::{Mode, SFlag};
use uinotify_core::Kind;

use super::handle::Handle;

/// Of what is under a path, if anything is.
pub(super) fn handle_under(path: &[u8]) -> Option<Handle> {
    Handle::under(AT_FDCWD, &CString::new(path).ok()?).ok()
}

/// Whether this special file is under this path.
pub(super) fn is_special_under(path: &[u8], handle: &Handle) -> Option<bool> {
    let path = CString::new(path).ok()?;
    // Most are plain files, and no look at the handle is needed.
    let is_special = kind_of(nix::sys::stat::lstat(path.as_c_str()).ok()?.st_mode) == Kind::Special;
    Some(is_special && Handle::under(AT_FDCWD, &path).ok()? == *handle)
}

pub(crate) fn kind_of(mode: u32) -> Kind {
    match SFlag::from_bits_truncate(mode & libc::S_IFMT) {
        SFlag::S_IFDIR => Kind::Directory,
        SFlag::S_IFREG | SFlag::S_IFLNK => Kind::File,
        _ => Kind::Special,
    }
}

/// The name by which procfs shows a descriptor of this process.
pub(super) fn link_of(object: BorrowedFd<'_>) -> String {
    format!("/proc/self/fd/{}", object.as_raw_fd())
}

/// The directories in the one behind a descriptor, which may be an `O_PATH` one.
///
/// # Errors
///
/// EACCES for one that may not be read, and as `readdir(3)`.
pub(super) fn directories_in(directory: BorrowedFd<'_>) -> Result<Vec<(Vec<u8>, Handle)>, Errno> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
    let mut listing = Dir::open(link_of(directory).as_str(), flags, Mode::empty())?;
    let mut found = Vec::new();
    let mut names = Vec::new();
    for entry in listing.iter() {
        let entry = entry?;
        let name = entry.file_name().to_owned();
        let may_be = matches!(entry.file_type(), Some(Type::Directory) | None);
        if may_be && name.as_bytes() != b"." && name.as_bytes() != b".." {
            names.push((name, entry.file_type().is_some()));
        }
    }
    for (name, is_sure) in names {
        let is_directory = is_sure || {
            let status = nix::sys::stat::fstatat(&listing, name.as_c_str(), nix::fcntl::AtFlags::AT_SYMLINK_NOFOLLOW);
            status.is_ok_and(|status| kind_of(status.st_mode) == Kind::Directory)
        };
        // It may be gone by now, which its own event will tell.
        if is_directory && let Ok(handle) = Handle::under(&listing, &name) {
            found.push((name.into_bytes(), handle));
        }
    }
    Ok(found)
}

/// The FIFOs, sockets and devices in the directory behind a descriptor, as `O_PATH` descriptors.
///
/// # Errors
///
/// As `readdir(3)`.
pub(super) fn special_files_in(directory: BorrowedFd<'_>) -> Result<Vec<std::os::fd::OwnedFd>, Errno> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
    let mut listing = Dir::open(link_of(directory).as_str(), flags, Mode::empty())?;
    let plain = [Type::Directory, Type::File, Type::Symlink];
    let mut names = Vec::new();
    for entry in listing.iter() {
        let entry = entry?;
        if entry.file_type().is_none_or(|kind| !plain.contains(&kind)) {
            names.push(entry.file_name().to_owned());
        }
    }
    let opened = names.iter().filter_map(|name| {
        let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let found = nix::fcntl::openat(&listing, name.as_c_str(), flags, Mode::empty()).ok()?;
        (kind_of(nix::sys::stat::fstat(&found).ok()?.st_mode) == Kind::Special).then_some(found)
    });
    Ok(opened.collect())
}

/// Opens what is under a path, if that is the object that is meant.
pub(super) fn open_under(path: &[u8], handle: &Handle) -> Option<std::os::fd::OwnedFd> {
    let path = CString::new(path).ok()?;
    let found = open(path.as_c_str(), OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::empty()).ok()?;
    (Handle::of(found.as_fd()).ok()? == *handle).then_some(found)
}
