//! The errors that inotify's calls give, by meaning.

use std::fmt;

/// An error of Linux, as the caller of an inotify function sees it in `errno`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Errno {
    /// Bad file descriptor. The core: the group does not exist.
    BadF,
    /// Nothing to read at the moment.
    Again,
    /// Out of memory.
    NoMem,
    /// Permission denied.
    Acces,
    /// Bad address.
    Fault,
    /// The object is watched already (IN_MASK_CREATE).
    Exist,
    /// Invalid argument.
    Inval,
    /// Too many inotify instances of this owner.
    MFile,
    /// The command is none of this descriptor's.
    NotTty,
    /// No watch descriptor left, or too many watches of this owner.
    NoSpc,
}

impl Errno {
    /// The number on Linux. These ten are the same on every architecture.
    #[must_use]
    pub const fn raw(self) -> i32 {
        match self {
            Self::BadF => 9,
            Self::Again => 11,
            Self::NoMem => 12,
            Self::Acces => 13,
            Self::Fault => 14,
            Self::Exist => 17,
            Self::Inval => 22,
            Self::MFile => 24,
            Self::NotTty => 25,
            Self::NoSpc => 28,
        }
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BadF => "EBADF: bad file descriptor",
            Self::Again => "EAGAIN: nothing to read",
            Self::NoMem => "ENOMEM: out of memory",
            Self::Acces => "EACCES: permission denied",
            Self::Fault => "EFAULT: bad address",
            Self::Exist => "EEXIST: already watched",
            Self::Inval => "EINVAL: invalid argument",
            Self::MFile => "EMFILE: too many inotify instances",
            Self::NotTty => "ENOTTY: unknown command for this descriptor",
            Self::NoSpc => "ENOSPC: no watch descriptor left, or too many watches",
        })
    }
}

impl std::error::Error for Errno {}

#[cfg(test)]
mod tests {
    use super::Errno;

    #[test]
    fn numbers_are_those_of_linux() {
        let all = [
            (Errno::BadF, 9, "EBADF"),
            (Errno::Again, 11, "EAGAIN"),
            (Errno::NoMem, 12, "ENOMEM"),
            (Errno::Acces, 13, "EACCES"),
            (Errno::Fault, 14, "EFAULT"),
            (Errno::Exist, 17, "EEXIST"),
            (Errno::Inval, 22, "EINVAL"),
            (Errno::MFile, 24, "EMFILE"),
            (Errno::NotTty, 25, "ENOTTY"),
            (Errno::NoSpc, 28, "ENOSPC"),
        ];
        for (errno, raw, name) in all {
            assert_eq!(errno.raw(), raw);
            assert_eq!(std::io::Error::from_raw_os_error(raw).raw_os_error(), Some(errno.raw()));
            assert!(errno.to_string().starts_with(name), "{errno}");
        }
    }
}
