//! What a list needs of the machine, and whether it is there.

use std::fs;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};

use anyhow::{Context, Result, bail, ensure};
use nix::unistd::Uid;

use crate::execute::can_limit;

/// Something that not every machine gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Need {
    /// User namespaces with their own `user/max_inotify_*` limits.
    Limits,
    /// `user.*` extended attributes in the directory for temporary files.
    Attributes,
    /// O_TMPFILE there.
    Unnamed,
    /// `fallocate` there.
    Allocation,
    /// Rights to become another user.
    Root,
    /// Rights to mount a tmpfs.
    Mounts,
    /// `INOTIFY_IOC_SETNEXTWD` in the kernel.
    NextWatch,
    /// /dev/fuse, and rights to mount with it.
    Fuse,
    /// fanotify with records of renames (5.17).
    Fanotify,
    /// Its permission events.
    Permissions,
}

impl Need {
    /// Tries it.
    ///
    /// # Errors
    ///
    /// Why the machine does not give it.
    pub fn probe(self) -> Result<()> {
        match self {
            Self::Limits => can_limit(),
            Self::Attributes => {
                let file = tempfile::NamedTempFile::new()?;
                let path = std::ffi::CString::new(file.path().to_string_lossy().into_owned())?;
                // SAFETY: path and name are NUL-terminated, and one byte lies at the value.
                let set =
                    unsafe { libc::setxattr(path.as_ptr(), c"user.conform".as_ptr(), b"v".as_ptr().cast(), 1, 0) };
                ensure!(set == 0, "{}", std::io::Error::last_os_error());
                Ok(())
            }
            Self::Unnamed => {
                fs::OpenOptions::new()
                    .write(true)
                    .custom_flags(libc::O_TMPFILE)
                    .open(std::env::temp_dir())
                    .context("O_TMPFILE")?;
                Ok(())
            }
            Self::Allocation => {
                let file = tempfile::tempfile()?;
                nix::fcntl::fallocate(&file, nix::fcntl::FallocateFlags::empty(), 0, 1)?;
                Ok(())
            }
            Self::Root => {
                ensure!(Uid::effective().is_root(), "not root");
                let directory = std::env::temp_dir();
                let searchable = |path: &std::path::Path| {
                    fs::metadata(path).is_ok_and(|status| status.permissions().mode() & 1 != 0)
                };
                match directory.ancestors().find(|path| !searchable(path)) {
                    Some(closed) => bail!("{} is closed to other users", closed.display()),
                    None => Ok(()),
                }
            }
            Self::Mounts => {
                // Only one thread of this process leaves the mount name space, and ends.
                let tried = std::thread::spawn(|| nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS));
                match tried.join() {
                    Ok(tried) => Ok(tried.context("no mount name space")?),
                    Err(_) => bail!("the probe panicked"),
                }
            }
            Self::Fuse => {
                fs::OpenOptions::new().read(true).write(true).open("/dev/fuse").context("/dev/fuse")?;
                Self::Mounts.probe()
            }
            Self::Fanotify => {
                let named = libc::FAN_REPORT_DFID_NAME | libc::FAN_REPORT_FID | libc::FAN_REPORT_TARGET_FID;
                // SAFETY: takes flags only.
                let group = unsafe { libc::fanotify_init(named | libc::FAN_CLOEXEC, 0) };
                let group = nix::errno::Errno::result(group)?;
                nix::unistd::close(group)?;
                Ok(())
            }
            Self::Permissions => {
                // SAFETY: takes flags only.
                let group = unsafe { libc::fanotify_init(libc::FAN_CLASS_CONTENT | libc::FAN_CLOEXEC, 0) };
                nix::unistd::close(nix::errno::Errno::result(group)?)?;
                Self::Fanotify.probe()
            }
            Self::NextWatch => {
                let group = nix::sys::inotify::Inotify::init(nix::sys::inotify::InitFlags::IN_CLOEXEC)?;
                let number = std::os::fd::AsRawFd::as_raw_fd(&std::os::fd::AsFd::as_fd(&group));
                let command = crate::shorthand::SETNEXTWD as libc::Ioctl;
                // SAFETY: the argument is a number, and `group` keeps the descriptor open.
                let set = unsafe { libc::ioctl(number, command, 1_u64) };
                ensure!(set == 0, "{}", std::io::Error::last_os_error());
                Ok(())
            }
        }
    }
}
