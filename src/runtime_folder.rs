//! Where the sockets of emulators are.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::unistd::geteuid;

/// The folders that may hold sockets of this user, the preferred one first. None is made or looked at.
#[must_use]
pub fn candidates() -> Vec<PathBuf> {
    let user = geteuid();
    let mut folders = Vec::new();
    // A relative path is to be ignored (XDG base directory specification).
    if let Some(folder) = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from)
        && folder.is_absolute()
    {
        folders.push(folder.join("uinotify"));
    }
    let of_user = PathBuf::from(format!("/run/user/{user}"));
    if of_user.is_dir() {
        folders.push(of_user.join("uinotify"));
    }
    if user.is_root() {
        folders.push(PathBuf::from("/run/uinotify"));
    }
    folders.push(PathBuf::from(format!("/tmp/uinotify-{user}")));
    let mut seen = Vec::new();
    folders.retain(|folder| {
        !seen.contains(folder) && {
            seen.push(folder.clone());
            true
        }
    });
    folders
}

/// Makes `folder`, or takes it as it is if it is this user's own; its mode becomes 0700, and 0711 for root, whose
/// programs may change their user and must still reach the socket (which a token guards).
///
/// # Errors
/// `folder` cannot be made, is not a folder (a symbolic link neither), or belongs to another user.
pub fn prepare(folder: &Path) -> io::Result<()> {
    let user = geteuid();
    let mode = if user.is_root() { 0o711 } else { 0o700 };
    match DirBuilder::new().mode(mode).create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    check(folder)?;
    // Also after making it: the mode of a new folder goes through the umask.
    if fs::metadata(folder)?.permissions().mode() & 0o7777 != mode {
        fs::set_permissions(folder, Permissions::from_mode(mode))?;
    }
    Ok(())
}

/// Checks that `folder` is a folder of this user's own.
///
/// # Errors
/// It does not exist, is not a folder (a symbolic link neither), or belongs to another user.
pub fn check(folder: &Path) -> io::Result<()> {
    let metadata = fs::symlink_metadata(folder)?;
    if !metadata.is_dir() {
        return Err(io::Error::new(io::ErrorKind::NotADirectory, "it is not a folder"));
    }
    if metadata.uid() != geteuid().as_raw() {
        let owner = metadata.uid();
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, format!("it belongs to user {owner}")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_made_and_taken_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("uinotify");
        prepare(&path).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o777)).unwrap();
        prepare(&path).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode, if geteuid().is_root() { 0o711 } else { 0o700 });
    }

    #[test]
    fn links_and_files_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(folder.path(), &link).unwrap();
        assert_eq!(prepare(&link).unwrap_err().kind(), io::ErrorKind::NotADirectory);
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        assert_eq!(prepare(&file).unwrap_err().kind(), io::ErrorKind::NotADirectory);
    }

    #[test]
    fn a_folder_of_another_user_is_refused() {
        // Root's folder for everybody else, and for root one that is given away.
        let folder = tempfile::tempdir().unwrap();
        let path = if geteuid().is_root() {
            std::os::unix::fs::chown(folder.path(), Some(65534), None).unwrap();
            folder.path()
        } else {
            Path::new("/")
        };
        assert_eq!(prepare(path).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
    }
}
