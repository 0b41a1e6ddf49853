//! The objects of watches: whether one is still where it was.

use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::{Mode, fstat};
use uinotify_images::checkpoint::Watch;
use uinotify_images::text::{ByteString, Device};

use super::handle::{self, Mounts};

/// What to do about an object that is not where it was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Missing {
    /// Restore nothing.
    #[default]
    Fail,
    /// Leave its watch out.
    Skip,
    /// Watch whatever is at its path now.
    Path,
    /// Watch the object itself, wherever it is now, by its file handle. It takes root's rights.
    Handle,
}

/// An object that is not where it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Of its watch.
    pub wd: i32,
    /// Where it was, as far as that is known.
    pub path: Option<ByteString>,
    /// What became of it.
    pub whereabouts: Whereabouts,
}

/// What became of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Whereabouts {
    /// There is nothing at its path.
    Vanished,
    /// At its path is another object, with this inode.
    Changed(u64),
    /// It is at another path.
    Moved(ByteString),
    /// Its path is not known, or it had none.
    Nameless,
    /// It may not be looked at.
    Unseen(Errno),
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "wd {:#x}: ", self.wd)?;
        if let Some(path) = &self.path {
            write!(f, "{path} ")?;
        }
        match &self.whereabouts {
            Whereabouts::Vanished => f.write_str("is not there any more"),
            Whereabouts::Changed(inode) => write!(f, "is another object now, with inode {inode:#x}"),
            Whereabouts::Moved(path) => write!(f, "is at {path} now"),
            Whereabouts::Nameless => f.write_str("it is not known where the object was"),
            Whereabouts::Unseen(errno) => write!(f, "cannot be looked at: {}", errno.desc()),
        }
    }
}

/// An object, open with `O_PATH`, and by which path.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) object: OwnedFd,
    pub(super) path: Vec<u8>,
}

/// What became of an object that is not at its path, and what there is in its place.
#[derive(Debug)]
pub(super) struct Lost {
    pub(super) whereabouts: Whereabouts,
    /// Another object at its path.
    pub(super) at_path: Option<Found>,
    /// The object itself, by its handle.
    pub(super) by_handle: Option<Found>,
}

/// Looks for objects.
#[derive(Debug, Default)]
pub(super) struct Search {
    mounts: Mounts,
}

impl Search {
    /// The object of a watch at its path.
    ///
    /// # Errors
    ///
    /// It is not there.
    pub(super) fn find(&mut self, watch: &Watch) -> Result<Found, Box<Lost>> {
        let mut at_path = None;
        let mut refusal = None;
        if let Some(ByteString(path)) = &watch.path {
            // A symbolic link may have been watched itself.
            for flags in [OFlag::O_PATH, OFlag::O_PATH | OFlag::O_NOFOLLOW] {
                match open(OsStr::from_bytes(path), flags | OFlag::O_CLOEXEC, Mode::empty()) {
                    Ok(object) if is_object_of(object.as_fd(), watch) => {
                        return Ok(Found { object, path: path.clone() });
                    }
                    Ok(object) => at_path = at_path.or(Some(Found { object, path: path.clone() })),
                    Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => {}
                    Err(errno) => refusal = Some(errno),
                }
            }
        }
        let by_handle = watch.handle.as_ref().and_then(|handle| self.mounts.open(watch.device, handle).ok());
        let by_handle =
            by_handle.map(|object| Found { path: name_of(object.as_fd(), watch).unwrap_or_default(), object });
        let whereabouts = match (&by_handle, &at_path, refusal, &watch.path) {
            (Some(found), ..) if found.path.is_empty() => Whereabouts::Nameless,
            (Some(found), ..) => Whereabouts::Moved(ByteString(found.path.clone())),
            (None, Some(found), ..) => Whereabouts::Changed(fstat(&found.object).map_or(0, |status| status.st_ino)),
            (None, None, Some(errno), _) => Whereabouts::Unseen(errno),
            (None, None, None, Some(_)) => Whereabouts::Vanished,
            (None, None, None, None) => Whereabouts::Nameless,
        };
        Err(Box::new(Lost { whereabouts, at_path, by_handle }))
    }
}

/// The name that an open object has now.
fn name_of(object: BorrowedFd<'_>, watch: &Watch) -> Option<Vec<u8>> {
    let path = fs::read_link(Path::new("/proc/self/fd").join(object.as_raw_fd().to_string())).ok()?;
    // One that was deleted has a path that leads nowhere.
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let there = open(&path, flags, Mode::empty()).ok()?;
    is_object_of(there.as_fd(), watch).then(|| PathBuf::into_os_string(path).into_vec())
}

/// Is this what is watched? By its handle where there is one; else by its inode and, unless that is a number which the file system
/// gives only to its watchers, its device.
fn is_object_of(object: BorrowedFd<'_>, watch: &Watch) -> bool {
    let Ok(status) = fstat(object) else { return false };
    let now = Watch {
        inode: status.st_ino,
        handle: handle::of(object),
        device: Device { major: libc::major(status.st_dev), minor: libc::minor(status.st_dev) },
        ..watch.clone()
    };
    now.is_on_object_of(watch)
}

/// An errno that `problem` stands for.
pub(super) fn errno_of(problem: &io::Error) -> Errno {
    problem.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    fn watch_of(path: &Path) -> Watch {
        let object = fs::File::open(path).unwrap();
        let status = fs::metadata(path).unwrap();
        Watch {
            wd: 1,
            mask: 0x100,
            path: Some(ByteString(path.as_os_str().as_bytes().to_vec())),
            device: Device { major: libc::major(status.dev()), minor: libc::minor(status.dev()) },
            inode: status.ino(),
            generation: None,
            handle: handle::of(object.as_fd()),
            mount_id: None,
        }
    }

    #[test]
    fn what_became_of_an_object_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let (path, elsewhere) = (folder.path().join("a"), folder.path().join("b"));
        fs::create_dir(&path).unwrap();
        let watch = watch_of(&path);
        let mut search = Search::default();
        assert!(search.find(&watch).is_ok());

        let without_handle = Watch { handle: None, ..watch.clone() };
        fs::rename(&path, &elsewhere).unwrap();
        let whereabouts =
            |search: &mut Search, watch: &Watch| search.find(watch).map(drop).map_err(|lost| lost.whereabouts);
        assert_eq!(whereabouts(&mut search, &without_handle), Err(Whereabouts::Vanished));
        // By its handle root finds it.
        let moved = whereabouts(&mut search, &watch).unwrap_err();
        let there = ByteString(elsewhere.as_os_str().as_bytes().to_vec());
        assert!(matches!(&moved, Whereabouts::Vanished) || moved == Whereabouts::Moved(there), "{moved:?}");

        fs::create_dir(&path).unwrap();
        let inode = fs::metadata(&path).unwrap().ino();
        assert_eq!(whereabouts(&mut search, &without_handle), Err(Whereabouts::Changed(inode)));
        let nameless = Watch { path: None, ..without_handle };
        assert_eq!(whereabouts(&mut search, &nameless), Err(Whereabouts::Nameless));
    }

    #[test]
    fn findings_are_sentences() {
        let finding = |whereabouts| Finding { wd: 0x10, path: Some(ByteString::from(&b"/a"[..])), whereabouts };
        assert_eq!(finding(Whereabouts::Vanished).to_string(), "wd 0x10: /a is not there any more");
        let moved = Whereabouts::Moved(ByteString::from(&b"/b"[..]));
        assert_eq!(finding(moved).to_string(), "wd 0x10: /a is at /b now");
    }
}
