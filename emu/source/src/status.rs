//! What a file system says of an object: statx, or fstatat where the kernel has none (before 4.11).

use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use nix::errno::Errno;

use crate::inotify;

/// A point in time; seconds before 1970 are negative.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Time {
    pub(crate) seconds: i64,
    pub(crate) nanoseconds: u32,
}

/// The file system and the number of an inode, which may be used again after its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct InodeKey {
    pub(crate) device: u64,
    pub(crate) number: u64,
}

/// The metadata of an object.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Status {
    pub(crate) key: InodeKey,
    /// With the type.
    pub(crate) mode: u32,
    pub(crate) links: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) device_major: u32,
    pub(crate) device_minor: u32,
    pub(crate) size: u64,
    pub(crate) blocks: u64,
    pub(crate) block_size: u32,
    pub(crate) accessed: Time,
    pub(crate) modified: Time,
    pub(crate) changed: Time,
    /// Where the file system knows it: this tells an inode from a later one with its number.
    pub(crate) born: Option<Time>,
}

impl Status {
    /// Of the object behind a descriptor, an `O_PATH` one too.
    pub(crate) fn of(object: impl AsFd) -> Result<Self, Errno> {
        Self::at(object, c"", libc::AT_EMPTY_PATH)
    }

    /// Of what stands under a name in a directory, a symbolic link itself.
    pub(crate) fn under(directory: impl AsFd, name: &CStr) -> Result<Self, Errno> {
        Self::at(directory, name, libc::AT_SYMLINK_NOFOLLOW)
    }

    /// The device of an object's file system, as its kernel knows it: nobody is asked, not even the server of a FUSE file system.
    ///
    /// # Errors
    ///
    /// Before Linux 4.11: EMFILE if the user may have no further inotify instance, EACCES if the object may not be read.
    pub(crate) fn device_of(object: impl AsFd) -> Result<u64, Errno> {
        let flags = libc::AT_EMPTY_PATH | libc::AT_NO_AUTOMOUNT | libc::AT_STATX_DONT_SYNC;
        match statx(object.as_fd(), c"", flags, 0) {
            Ok(status) => Ok(libc::makedev(status.stx_dev_major, status.stx_dev_minor)),
            Err(Errno::ENOSYS) => inotify::device_of(object.as_fd()),
            Err(errno) => Err(errno),
        }
    }

    pub(crate) fn kind(&self) -> u32 {
        self.mode & libc::S_IFMT
    }

    pub(crate) fn is_directory(&self) -> bool {
        self.kind() == libc::S_IFDIR
    }

    pub(crate) fn is_regular(&self) -> bool {
        self.kind() == libc::S_IFREG
    }

    /// Has bits that a write or a truncation by the unprivileged clears.
    pub(crate) fn has_set_ids(&self) -> bool {
        let group = libc::S_ISGID | libc::S_IXGRP;
        self.is_regular() && (self.mode & libc::S_ISUID != 0 || self.mode & group == group)
    }

    /// `flags` as for statx(2), of which an older kernel takes what fstatat(2) knows.
    pub(crate) fn at(directory: impl AsFd, name: &CStr, flags: i32) -> Result<Self, Errno> {
        static HAS_NO_STATX: AtomicBool = AtomicBool::new(false);
        if !HAS_NO_STATX.load(Ordering::Relaxed) {
            match Self::by_statx(directory.as_fd(), name, flags) {
                // Seccomp rules of containers may answer EPERM for a call that they do not know.
                Err(Errno::ENOSYS) => HAS_NO_STATX.store(true, Ordering::Relaxed),
                result => return result,
            }
        }
        Self::by_stat(directory, name, flags & !libc::AT_STATX_SYNC_TYPE)
    }

    fn by_statx(directory: impl AsFd, name: &CStr, flags: i32) -> Result<Self, Errno> {
        let mask = libc::STATX_BASIC_STATS | libc::STATX_BTIME;
        let flags = flags | libc::AT_NO_AUTOMOUNT | libc::AT_STATX_SYNC_AS_STAT;
        let status = statx(directory.as_fd(), name, flags, mask)?;
        let time = |time: libc::statx_timestamp| Time { seconds: time.tv_sec, nanoseconds: time.tv_nsec };
        Ok(Self {
            key: InodeKey { device: libc::makedev(status.stx_dev_major, status.stx_dev_minor), number: status.stx_ino },
            mode: u32::from(status.stx_mode),
            links: status.stx_nlink,
            uid: status.stx_uid,
            gid: status.stx_gid,
            device_major: status.stx_rdev_major,
            device_minor: status.stx_rdev_minor,
            size: status.stx_size,
            blocks: status.stx_blocks,
            block_size: status.stx_blksize,
            accessed: time(status.stx_atime),
            modified: time(status.stx_mtime),
            changed: time(status.stx_ctime),
            born: (status.stx_mask & libc::STATX_BTIME != 0).then(|| time(status.stx_btime)),
        })
    }

    fn by_stat(directory: impl AsFd, name: &CStr, flags: i32) -> Result<Self, Errno> {
        let flags = nix::fcntl::AtFlags::from_bits_retain(flags | libc::AT_NO_AUTOMOUNT);
        let status = nix::sys::stat::fstatat(directory, name, flags)?;
        let time = |seconds, nanoseconds: i64| Time { seconds, nanoseconds: u32::try_from(nanoseconds).unwrap_or(0) };
        Ok(Self {
            key: InodeKey { device: status.st_dev, number: status.st_ino },
            mode: status.st_mode,
            links: u32::try_from(status.st_nlink).unwrap_or(u32::MAX),
            uid: status.st_uid,
            gid: status.st_gid,
            device_major: libc::major(status.st_rdev),
            device_minor: libc::minor(status.st_rdev),
            size: status.st_size.cast_unsigned(),
            blocks: status.st_blocks.cast_unsigned(),
            block_size: u32::try_from(status.st_blksize).unwrap_or(4096),
            accessed: time(status.st_atime, status.st_atime_nsec),
            modified: time(status.st_mtime, status.st_mtime_nsec),
            changed: time(status.st_ctime, status.st_ctime_nsec),
            born: None,
        })
    }
}

/// statx(2) itself: glibc has no function for it before 2.28, and later ones ask fstatat(2) where the kernel has none.
fn statx(directory: BorrowedFd<'_>, name: &CStr, flags: i32, mask: u32) -> Result<libc::statx, Errno> {
    let mut buffer = MaybeUninit::<libc::statx>::zeroed();
    // SAFETY: `name` is a string and the buffer a statx; both live through the call.
    let result = unsafe {
        libc::syscall(libc::SYS_statx, directory.as_raw_fd(), name.as_ptr(), flags, mask, buffer.as_mut_ptr())
    };
    Errno::result(result)?;
    // SAFETY: the kernel has filled it in, and any bytes make one.
    Ok(unsafe { buffer.assume_init() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn both_ways_say_the_same() {
        let root = std::fs::File::open("/").expect("the root");
        let plain = root.metadata().expect("its metadata");
        for status in [
            Status::by_statx(&root, c"", libc::AT_EMPTY_PATH).expect("statx"),
            Status::by_stat(&root, c"", libc::AT_EMPTY_PATH).expect("stat"),
        ] {
            assert_eq!(status.key, InodeKey { device: plain.dev(), number: plain.ino() });
            assert_eq!((status.mode, u64::from(status.links)), (plain.mode(), plain.nlink()));
            assert_eq!(
                (status.modified.seconds, i64::from(status.modified.nanoseconds)),
                (plain.mtime(), plain.mtime_nsec())
            );
            assert!(status.is_directory());
        }
        let device = plain.dev();
        assert_eq!((Status::device_of(&root), inotify::device_of(root.as_fd())), (Ok(device), Ok(device)));
    }
}
