//! Trees that a program sees through a file system of ours, while the rest of the machine sees them as before.

use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::mount;
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::mount::MsFlags;
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::Mode as Permissions;
use nix::unistd::chdir;
use uinotify_host::{Mode, Mount, MountOptions, announce};

/// A directory to be shown, as it was given: `DIR` or `DIR:ro`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tree {
    /// The directory.
    pub path: PathBuf,
    /// Nothing in it can be changed.
    pub read_only: bool,
}

impl Tree {
    /// Takes `DIR` or `DIR:ro` apart.
    #[must_use]
    pub fn parse(text: &OsStr) -> Self {
        match text.as_bytes().strip_suffix(b":ro") {
            Some(path) => Self { path: OsStr::from_bytes(path).into(), read_only: true },
            None => Self { path: text.into(), read_only: false },
        }
    }
}

/// Why a tree cannot be shown.
#[derive(Debug)]
pub struct TreeError {
    what: String,
    error: io::Error,
}

impl TreeError {
    fn new(what: String) -> impl FnOnce(io::Error) -> Self {
        move |error| Self { what, error }
    }

    pub(crate) fn of_announcements(error: io::Error) -> Self {
        Self { what: "have a socket for the emulator".into(), error }
    }

    fn refused(path: &Path, why: &'static str) -> Self {
        Self { what: format!("show {}", path.display()), error: io::Error::other(why) }
    }
}

impl fmt::Display for TreeError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "cannot {}: {}", self.what, self.error)
    }
}

impl std::error::Error for TreeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}

/// A tree whose directory is open, from before it is covered.
#[derive(Debug)]
pub(crate) struct OpenTree {
    path: PathBuf,
    options: MountOptions,
    root: OwnedFd,
}

impl OpenTree {
    fn open(tree: &Tree, mode: Mode) -> Result<Self, TreeError> {
        let purpose = || TreeError::new(format!("show {}", tree.path.display()));
        // If that fails, the next call says why.
        let _ = mount::clear_stale(&tree.path);
        let path = tree.path.canonicalize().map_err(purpose())?;
        if path == Path::new("/") {
            return Err(TreeError::refused(&path, "it is the root folder; choose folders in it"));
        }
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let root = open(&path, flags, Permissions::empty()).map_err(io::Error::from).map_err(purpose())?;
        let options = MountOptions::of_lower(root.as_fd(), tree.read_only, mode).map_err(purpose())?;
        Ok(Self { path, options, root })
    }

    pub(crate) fn root(&self) -> &OwnedFd {
        &self.root
    }

    pub(crate) fn into_root(self) -> OwnedFd {
        self.root
    }
}

/// Opens the directories of all trees; outer ones come before those that they hold.
///
/// # Errors
///
/// A directory cannot be opened, is the root folder, or is given twice.
pub(crate) fn open_all(trees: &[Tree], mode: Mode) -> Result<Vec<OpenTree>, TreeError> {
    let mut opened = trees.iter().map(|tree| OpenTree::open(tree, mode)).collect::<Result<Vec<_>, _>>()?;
    opened.sort_by(|one, other| one.path.cmp(&other.path));
    if let Some(twice) = opened.windows(2).find(|pair| pair[0].path == pair[1].path) {
        return Err(TreeError::refused(&twice[0].path, "it is given twice"));
    }
    Ok(opened)
}

/// Tells whether this process can have a file system of its own, before anything is started for it.
///
/// # Errors
///
/// Who may open /dev/fuse, or that there is none.
pub(crate) fn check_device() -> Result<(), TreeError> {
    // Who asks, and with which rights, is looked up in procfs.
    let own = std::fs::read_link("/proc/self").ok().and_then(|link| link.to_str()?.parse().ok());
    if own != Some(std::process::id()) {
        return Err(TreeError::refused(
            Path::new("a tree"),
            "/proc shows the processes of another name space, or nothing; mount one of this (unshare --mount-proc)",
        ));
    }
    let device = Path::new("/dev/fuse");
    match open(device, OFlag::O_RDWR | OFlag::O_CLOEXEC, Permissions::empty()) {
        Ok(_) => Ok(()),
        Err(Errno::EACCES | Errno::EPERM) => Err(TreeError::refused(
            Path::new("a tree"),
            "/dev/fuse may not be opened by this user; its permissions are the administrator's to set (0666 on most systems)",
        )),
        Err(errno) => Err(TreeError::new("show a tree: /dev/fuse cannot be opened".into())(errno.into())),
    }
}

/// For whom is not root: a user name space, in which file systems may be mounted, and the own user and group are what they were. The
/// supplementary groups keep their rights, and are shown as the overflow group.
///
/// # Errors
///
/// This kernel or its administrator does not let this user have one.
pub(crate) fn enter_user_space() -> Result<(), TreeError> {
    let (uid, gid) = (nix::unistd::geteuid(), nix::unistd::getegid());
    let purpose = || TreeError::new("show a tree without root's rights: no user name space".into());
    unshare(CloneFlags::CLONE_NEWUSER).map_err(io::Error::from).map_err(purpose())?;
    // Linux before 3.19 has no such file, and needs none.
    let _ = std::fs::write("/proc/self/setgroups", "deny");
    std::fs::write("/proc/self/uid_map", format!("{uid} {uid} 1")).map_err(purpose())?;
    std::fs::write("/proc/self/gid_map", format!("{gid} {gid} 1")).map_err(purpose())
}

/// What the process that is about to execute the program does: from here on it sees the trees through the emulator. It is in a mount
/// name space of its own, with which the mounts end.
///
/// # Errors
///
/// The kernel refuses the name space or a mount, or the emulator has ended.
pub(crate) fn mount_all(trees: &[OpenTree], announcements: BorrowedFd<'_>) -> Result<(), TreeError> {
    let folder = std::env::current_dir();
    let purpose = || TreeError::new("have a mount name space".into());
    unshare(CloneFlags::CLONE_NEWNS).map_err(io::Error::from).map_err(purpose())?;
    // What the machine mounts later is seen here, but not the other way round.
    let flags = MsFlags::MS_REC | MsFlags::MS_SLAVE;
    nix::mount::mount(None::<&str>, "/", None::<&str>, flags, None::<&str>)
        .map_err(io::Error::from)
        .map_err(purpose())?;
    for (index, tree) in trees.iter().enumerate() {
        let purpose = || TreeError::new(format!("show {}", tree.path.display()));
        let (mounted, device) = Mount::new(&tree.path, tree.options).map_err(purpose())?;
        announce(announcements, index, mounted.number(), &device).map_err(purpose())?;
        mounted.leave();
        // Until it is asked for, the kernel takes the root folder for user 0's, who may be nobody in this user name space: then it would
        // let nobody write there.
        let _ = std::fs::metadata(&tree.path);
    }
    // A folder that was left behind under its name is the one that is shown now.
    if let Ok(folder) = folder {
        let _ = chdir(&folder);
    }
    Ok(())
}

/// The descriptors of the roots, for whoever closes all others.
pub(crate) fn descriptors(trees: &[OpenTree]) -> impl Iterator<Item = i32> {
    trees.iter().map(|tree| std::os::fd::AsRawFd::as_raw_fd(&tree.root().as_fd()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_may_be_read_only() {
        let tree = |text: &str| Tree::parse(OsStr::new(text));
        assert_eq!(tree("/a/b"), Tree { path: "/a/b".into(), read_only: false });
        assert_eq!(tree("a:ro"), Tree { path: "a".into(), read_only: true });
        assert_eq!(tree("a:rw"), Tree { path: "a:rw".into(), read_only: false });
    }

    #[test]
    fn the_root_and_doublets_are_refused() {
        let tree = |path: &str| Tree { path: path.into(), read_only: false };
        let problem = |trees: &[Tree]| open_all(trees, Mode::Exact).expect_err("an error").to_string();
        assert!(problem(&[tree("/")]).contains("root folder"));
        assert!(problem(&[tree("/proc"), tree("/proc/.")]).contains("twice"));
        assert!(problem(&[tree("/nowhere/at/all")]).contains("/nowhere/at/all"));
        let both = open_all(&[tree("/proc/sys"), tree("/proc")], Mode::Exact).expect("both");
        assert_eq!(both[0].path, Path::new("/proc"));
    }
}
