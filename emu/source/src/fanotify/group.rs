//! A fanotify group: a descriptor of the kernel's, with its marks and its queue.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use fanotify::low_level as fan;
use nix::errno::Errno;

use super::handle::Handle;

/// How much of the file handles and of who did it the kernel tells. Asked for from the top.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Abilities {
    /// With CAP_SYS_ADMIN: threads are told apart, and neither queue nor marks have a limit.
    pub(super) privileged: bool,
    /// Names come with the object that they stand for, and renames with both ends (5.17).
    pub(super) targets: bool,
}

impl Abilities {
    const ALL: [Self; 4] = [
        Self { privileged: true, targets: true },
        Self { privileged: true, targets: false },
        Self { privileged: false, targets: true },
        Self { privileged: false, targets: false },
    ];

    fn flags(self) -> u32 {
        let mut flags = fan::FAN_CLASS_NOTIF | fan::FAN_CLOEXEC | fan::FAN_NONBLOCK;
        flags |= fan::FAN_REPORT_FID | fan::FAN_REPORT_DIR_FID | fan::FAN_REPORT_NAME;
        if self.targets {
            flags |= libc::FAN_REPORT_TARGET_FID;
        }
        if self.privileged {
            flags |= fan::FAN_REPORT_TID | fan::FAN_UNLIMITED_QUEUE | fan::FAN_UNLIMITED_MARKS;
        }
        flags
    }
}

/// A group.
#[derive(Debug)]
pub(super) struct Group {
    fd: OwnedFd,
    pub(super) abilities: Abilities,
}

/// What a group has marked, as its fdinfo shows it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Marked {
    /// The device of the one that is marked, or on which the inodes are, as the kernel numbers it inside.
    pub(super) device: Option<u64>,
    pub(super) file_system: bool,
    pub(super) inodes: HashSet<Handle>,
}

impl Group {
    /// A group with as much of `most` as the kernel gives.
    ///
    /// # Errors
    ///
    /// EPERM for an ordinary user before 5.13, EINVAL before 5.9, ENOSYS without fanotify, EMFILE at the limit of groups.
    pub(super) fn new(most: Abilities) -> Result<Self, Errno> {
        let mut failure = Errno::EPERM;
        for abilities in Abilities::ALL {
            if abilities.privileged && !most.privileged || abilities.targets && !most.targets {
                continue;
            }
            match fan::fanotify_init(abilities.flags(), libc::O_RDONLY as u32) {
                Ok(fd) => {
                    // SAFETY: the call has just returned this descriptor, which nobody else has.
                    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
                    return Ok(Self { fd, abilities });
                }
                Err(error) => failure = errno(&error),
            }
            if !matches!(failure, Errno::EPERM | Errno::EINVAL) {
                break;
            }
        }
        Err(failure)
    }

    /// Adds to the mark of the object behind `path`, or of its file system.
    ///
    /// # Errors
    ///
    /// ENOSPC at the limit of marks, EACCES without read permission, and what says that no such mark can be: EPERM, EXDEV, EOPNOTSUPP,
    /// ENODEV, EINVAL.
    pub(super) fn mark(&self, whole_file_system: bool, mask: u64, path: &str) -> Result<(), Errno> {
        let flags = if whole_file_system { fan::FAN_MARK_FILESYSTEM } else { fan::FAN_MARK_INODE };
        self.change_mark(flags | fan::FAN_MARK_ADD, mask, path)
    }

    /// Takes an inode's mark away.
    ///
    /// # Errors
    ///
    /// ENOENT if there is none.
    pub(super) fn unmark(&self, mask: u64, path: &str) -> Result<(), Errno> {
        self.change_mark(fan::FAN_MARK_REMOVE, mask, path)
    }

    fn change_mark(&self, flags: u32, mask: u64, path: &str) -> Result<(), Errno> {
        fan::fanotify_mark(self.fd.as_raw_fd(), flags, mask, fan::AT_FDCWD, path).map_err(|error| errno(&error))
    }

    /// Takes as many records as fit into `buffer`; 0 if there are none.
    ///
    /// # Errors
    ///
    /// As `read(2)`: EINVAL if not even one fits.
    pub(super) fn read(&self, buffer: &mut [u8]) -> Result<usize, Errno> {
        loop {
            match nix::unistd::read(&self.fd, buffer) {
                Err(Errno::EAGAIN) => return Ok(0),
                Err(Errno::EINTR) => {}
                result => return result,
            }
        }
    }

    /// The number of bytes that are queued: without their information, 24 a record.
    pub(super) fn queued_bytes(&self) -> usize {
        let mut bytes: libc::c_int = 0;
        // SAFETY: FIONREAD writes one int, which lives through the call.
        let result = unsafe { libc::ioctl(self.fd.as_raw_fd(), libc::FIONREAD, &raw mut bytes) };
        if result == 0 { usize::try_from(bytes).unwrap_or(0) } else { 0 }
    }

    /// What is marked: marks go silently, with their inode or their file system.
    ///
    /// # Errors
    ///
    /// If procfs cannot be read.
    pub(super) fn marked(&self) -> io::Result<Marked> {
        let text = fs::read_to_string(format!("/proc/self/fdinfo/{}", self.fd.as_raw_fd()))?;
        Ok(Marked::of(&text))
    }
}

impl AsFd for Group {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Marked {
    /// The lines `fanotify sdev:HEX ...` and `fanotify ino:HEX sdev:HEX ... fhandle-type:HEX f_handle:HEX`.
    fn of(text: &str) -> Self {
        let mut marked = Self::default();
        for line in text.lines() {
            let value = |key: &str| line.split(' ').find_map(|word| word.strip_prefix(key));
            let Some(line) = line.strip_prefix("fanotify ") else { continue };
            if let Some(device) = value("sdev:").and_then(|device| u64::from_str_radix(device, 16).ok()) {
                marked.device = Some(device);
                marked.file_system |= line.starts_with("sdev:");
            }
            if let (Some(kind), Some(bytes)) = (value("fhandle-type:"), value("f_handle:"))
                && let (Ok(kind), Some(bytes)) = (i32::from_str_radix(kind, 16), from_hexadecimal(bytes))
            {
                marked.inodes.insert(Handle::new(kind, &bytes));
            }
        }
        marked
    }
}

fn from_hexadecimal(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pairs = text.as_bytes().chunks_exact(2);
    pairs.map(|pair| Some(digit(pair.first()?)? << 4 | digit(pair.get(1)?)?)).collect()
}

fn errno(error: &io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_crates_numbers_are_those_of_libc() {
        let flags = [
            (fan::FAN_CLASS_NOTIF, libc::FAN_CLASS_NOTIF),
            (fan::FAN_CLOEXEC, libc::FAN_CLOEXEC),
            (fan::FAN_NONBLOCK, libc::FAN_NONBLOCK),
            (fan::FAN_UNLIMITED_QUEUE, libc::FAN_UNLIMITED_QUEUE),
            (fan::FAN_UNLIMITED_MARKS, libc::FAN_UNLIMITED_MARKS),
            (fan::FAN_REPORT_TID, libc::FAN_REPORT_TID),
            (fan::FAN_REPORT_FID, libc::FAN_REPORT_FID),
            (fan::FAN_REPORT_DIR_FID, libc::FAN_REPORT_DIR_FID),
            (fan::FAN_REPORT_NAME, libc::FAN_REPORT_NAME),
            (fan::FAN_MARK_ADD, libc::FAN_MARK_ADD),
            (fan::FAN_MARK_REMOVE, libc::FAN_MARK_REMOVE),
            (fan::FAN_MARK_INODE, libc::FAN_MARK_INODE),
            (fan::FAN_MARK_FILESYSTEM, libc::FAN_MARK_FILESYSTEM),
        ];
        for (crates, libcs) in flags {
            assert_eq!(crates, libcs);
        }
        let masks = [
            (fan::FAN_ACCESS, libc::FAN_ACCESS),
            (fan::FAN_MODIFY, libc::FAN_MODIFY),
            (fan::FAN_ATTRIB, libc::FAN_ATTRIB),
            (fan::FAN_CLOSE_WRITE, libc::FAN_CLOSE_WRITE),
            (fan::FAN_CLOSE_NOWRITE, libc::FAN_CLOSE_NOWRITE),
            (fan::FAN_OPEN, libc::FAN_OPEN),
            (fan::FAN_MOVED_FROM, libc::FAN_MOVED_FROM),
            (fan::FAN_MOVED_TO, libc::FAN_MOVED_TO),
            (fan::FAN_CREATE, libc::FAN_CREATE),
            (fan::FAN_DELETE, libc::FAN_DELETE),
            (fan::FAN_DELETE_SELF, libc::FAN_DELETE_SELF),
            (fan::FAN_MOVE_SELF, libc::FAN_MOVE_SELF),
            (fan::FAN_OPEN_EXEC, libc::FAN_OPEN_EXEC),
            (fan::FAN_Q_OVERFLOW, libc::FAN_Q_OVERFLOW),
            (fan::FAN_ONDIR, libc::FAN_ONDIR),
            (fan::FAN_EVENT_ON_CHILD, libc::FAN_EVENT_ON_CHILD),
        ];
        for (crates, libcs) in masks {
            assert_eq!(crates, libcs);
        }
    }

    #[test]
    fn marks_are_read_from_fdinfo() {
        let text = "pos:\t0\nflags:\t02004002\nmnt_id:\t17\nino:\t1038\nfanotify flags:1f33 event-flags:8000\n\
            fanotify ino:80 sdev:700001 mflags:0 mask:58001f3f ignored_mask:0 fhandle-bytes:c fhandle-type:81 f_handle:80000000000000000000000f\n\
            fanotify sdev:700001 mflags:0 mask:58001f3f ignored_mask:0\nfanotify mnt_id:12 mflags:0 mask:1 ignored_mask:0\n";
        let handle = Handle::new(0x81, &[0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x0f]);
        assert_eq!(
            Marked::of(text),
            Marked { device: Some(0x70_0001), file_system: true, inodes: HashSet::from([handle]) }
        );
    }
}
