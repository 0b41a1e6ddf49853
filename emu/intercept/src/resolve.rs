//! The path of a watch, resolved as the thread that calls would resolve it: in its root, its working folder and its mounts.
//!
//! The calling thread's own rights count, which the caller has made those of the target.

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::OnceLock;

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;
use nix::sys::statfs::{FsType, fstatfs};

use crate::target::Target;
use crate::walk::walk;

/// Which object is meant by a path.
#[derive(Clone, Copy, Debug)]
pub struct Lookup<'a> {
    /// As the program wrote it.
    pub path: &'a CStr,
    /// It must be a directory (`IN_ONLYDIR`).
    pub is_directory: bool,
    /// A symbolic link at its end is meant itself (`IN_DONT_FOLLOW`).
    pub is_link: bool,
}

/// On which mount an object was found. The kernel gives no number twice since 6.8; before, one may come back, but then for another
/// device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct At {
    mount: u64,
    device: (u32, u32),
}

impl At {
    fn of(status: &libc::statx) -> Self {
        Self { mount: status.stx_mnt_id, device: (status.stx_dev_major, status.stx_dev_minor) }
    }
}

/// An object, open with `O_PATH`.
#[derive(Debug)]
pub struct Opened {
    /// The object.
    pub object: OwnedFd,
    /// Its mount.
    pub at: At,
    /// Of a file system whose server a user may be, or that is far away: asking it for anything may take for ever.
    pub may_wait: bool,
}

/// What was found without waiting.
#[derive(Debug)]
pub enum Cached {
    /// The object, if it is on a mount where there is no name that each process reads in its own way: see [`resolve()`], which tells
    /// that of each.
    Opened {
        /// The object.
        object: OwnedFd,
        /// Its mount.
        at: At,
        /// It is one.
        is_directory: bool,
    },
    /// [`resolve()`] has to look.
    Unknown,
}

/// Who answers only after a while, or never: file systems with a server.
const WAITING: [libc::__fsword_t; 9] = [
    0x6573_5546, // FUSE
    0x6969,      // NFS
    0xff53_4d42, // CIFS
    0xfe53_4d42, // SMB2
    0x517b,      // SMB
    0x0102_1997, // 9P
    0x00c3_6400, // Ceph
    0x5346_414f, // AFS
    0x0187,      // autofs
];

/// Looks in what the kernel has in memory, never waits, and gives up wherever there may be more to it.
#[must_use]
pub fn resolve_cached(target: &Target, lookup: &Lookup<'_>) -> Cached {
    let start = match start_of(target, lookup) {
        Ok(start) if !matches!(start, Start::Elsewhere) => start,
        _ => return Cached::Unknown,
    };
    let resolve = libc::RESOLVE_CACHED | libc::RESOLVE_NO_MAGICLINKS;
    let Ok(object) = open_from(&start, lookup, resolve) else { return Cached::Unknown };
    match statx(object.as_fd(), c"", libc::AT_EMPTY_PATH) {
        Ok(status) => {
            let is_directory = u32::from(status.stx_mode) & libc::S_IFMT == libc::S_IFDIR;
            Cached::Opened { object, at: At::of(&status), is_directory }
        }
        Err(_) => Cached::Unknown,
    }
}

/// Resolves the path, however long that takes. Also tells whether objects of that mount can be taken from [`resolve_cached`].
///
/// # Errors
///
/// Those of the path, in the order of the kernel's own.
pub fn resolve(target: &Target, lookup: &Lookup<'_>) -> Result<(Opened, bool), Errno> {
    if lookup.path.is_empty() {
        return Err(Errno::ENOENT);
    }
    let start = start_of(target, lookup)?;
    // What goes through /proc/self, and whatever else may be another for another process, is walked.
    if !matches!(start, Start::Elsewhere)
        && let Ok(object) = open_from(&start, lookup, libc::RESOLVE_NO_MAGICLINKS)
    {
        let (opened, is_procfs) = told(object)?;
        if !is_procfs {
            return Ok((opened, true));
        }
    }
    let (opened, is_procfs) = told(walk(target, lookup)?)?;
    Ok((opened, !is_procfs))
}

fn told(object: OwnedFd) -> Result<(Opened, bool), Errno> {
    let (at, _) = place_of(object.as_fd(), c"", libc::AT_EMPTY_PATH)?;
    let kind = fstatfs(&object).map(|status| status.filesystem_type());
    let is_procfs = kind == Ok(PROCFS);
    // One that does not even say what it is.
    let may_wait = kind.map_or(true, |FsType(kind)| WAITING.contains(&kind));
    Ok((Opened { object, at, may_wait }, is_procfs))
}

pub(crate) const PROCFS: FsType = FsType(libc::PROC_SUPER_MAGIC as _);

/// Where a path begins, and which root is not left by it.
enum Start {
    /// In our own root, which is the target's as well.
    Here,
    /// In the target's working folder, with the same root.
    Folder(OwnedFd),
    /// In the root of the target, which is another.
    Root(OwnedFd),
    /// In a folder, with another root.
    Elsewhere,
}

fn start_of(target: &Target, lookup: &Lookup<'_>) -> Result<Start, Errno> {
    let is_absolute = lookup.path.to_bytes().starts_with(b"/");
    let (at, inode) = place_of(target.folder().as_fd(), c"root", 0)?;
    Ok(match (own_root() == Some(&(at, inode)), is_absolute) {
        (true, true) => Start::Here,
        (true, false) => Start::Folder(working_folder(target)?),
        (false, true) => Start::Root(root(target)?),
        (false, false) => Start::Elsewhere,
    })
}

fn own_root() -> Option<&'static (At, u64)> {
    static ROOT: OnceLock<Option<(At, u64)>> = OnceLock::new();
    // SAFETY: it stands for no descriptor, and is used by this call alone.
    let here = unsafe { BorrowedFd::borrow_raw(libc::AT_FDCWD) };
    ROOT.get_or_init(|| place_of(here, c"/", 0).ok()).as_ref()
}

const FOLDER: OFlag = OFlag::O_PATH.union(OFlag::O_DIRECTORY).union(OFlag::O_CLOEXEC);

pub(crate) fn root(target: &Target) -> Result<OwnedFd, Errno> {
    openat(target.folder(), c"root", FOLDER, Mode::empty())
}

pub(crate) fn working_folder(target: &Target) -> Result<OwnedFd, Errno> {
    openat(target.folder(), c"cwd", FOLDER, Mode::empty())
}

/// The flags of the last step.
pub(crate) fn flags(lookup: &Lookup<'_>) -> OFlag {
    let mut flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
    flags.set(OFlag::O_DIRECTORY, lookup.is_directory);
    flags.set(OFlag::O_NOFOLLOW, lookup.is_link);
    flags
}

fn open_from(start: &Start, lookup: &Lookup<'_>, resolve: u64) -> Result<OwnedFd, Errno> {
    let (directory, resolve) = match start {
        Start::Here => (libc::AT_FDCWD, resolve),
        Start::Folder(folder) => (folder.as_raw_fd(), resolve),
        Start::Root(root) => (root.as_raw_fd(), resolve | libc::RESOLVE_IN_ROOT),
        Start::Elsewhere => return Err(Errno::EXDEV),
    };
    openat2(directory, lookup.path, flags(lookup), resolve)
}

/// openat2(2), Linux 5.6.
pub(crate) fn openat2(directory: i32, path: &CStr, flags: OFlag, resolve: u64) -> Result<OwnedFd, Errno> {
    // SAFETY: all zeroes is a value of it, which means nothing special.
    let mut how: libc::open_how = unsafe { std::mem::zeroed() };
    how.flags = u64::from(flags.bits().cast_unsigned());
    how.resolve = resolve;
    // SAFETY: the path is a string and the structure has the length that is given; both live through the call.
    let result = unsafe {
        libc::syscall(libc::SYS_openat2, directory, path.as_ptr(), &raw const how, size_of::<libc::open_how>())
    };
    let number = Errno::result(result)?;
    // SAFETY: the call has just returned this descriptor, which nobody else has.
    Ok(unsafe { OwnedFd::from_raw_fd(number as i32) })
}

/// Mount and inode, which no file system is asked for.
pub(crate) fn place_of(directory: BorrowedFd<'_>, path: &CStr, flags: i32) -> Result<(At, u64), Errno> {
    let status = statx(directory, path, flags)?;
    Ok((At::of(&status), status.stx_ino))
}

/// The type of a file, which no file system is asked for.
pub(crate) fn kind_of(object: BorrowedFd<'_>) -> Result<u32, Errno> {
    let status = statx(object, c"", libc::AT_EMPTY_PATH)?;
    Ok(u32::from(status.stx_mode) & libc::S_IFMT)
}

fn statx(directory: BorrowedFd<'_>, path: &CStr, flags: i32) -> Result<libc::statx, Errno> {
    // The unique number where there is one (6.8), else that of 5.8.
    let mask = libc::STATX_INO | libc::STATX_TYPE | libc::STATX_MNT_ID | libc::STATX_MNT_ID_UNIQUE;
    let flags = flags | libc::AT_STATX_DONT_SYNC | libc::AT_NO_AUTOMOUNT;
    // SAFETY: all zeroes is a value of it.
    let mut status: libc::statx = unsafe { std::mem::zeroed() };
    let number = directory.as_raw_fd();
    // By number: glibc has it since 2.28, and the command is linked for older ones.
    // SAFETY: the path is a string, and the structure is the kernel's; both live through the call.
    let result = unsafe { libc::syscall(libc::SYS_statx, number, path.as_ptr(), flags, mask, &raw mut status) };
    Errno::result(result)?;
    Ok(status)
}
