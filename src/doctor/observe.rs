//! The program of a trial: it asks for a number, watches a folder, changes it, and reads what it is told.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use anyhow::{Context, ensure};
use nix::errno::Errno;
use nix::sys::inotify::{InitFlags, Inotify};

/// The subcommand.
pub const COMMAND: &str = "observe";

/// `INOTIFY_IOC_SETNEXTWD`, by value.
const SETNEXTWD: libc::Ioctl = 0x4004_4900;
/// A number that no program comes to by itself.
const NUMBER: i32 = 0x34d_71d6;

/// Whether the kernel's own inotify takes the number of the next watch.
///
/// # Errors
/// ENOTTY if it does not know the request; what `inotify_init1(2)` says if there is no instance.
pub(super) fn kernel_next_wd() -> Result<(), Errno> {
    set_next_wd(&Inotify::init(InitFlags::IN_CLOEXEC)?)
}

fn set_next_wd(instance: &Inotify) -> Result<(), Errno> {
    // SAFETY: the argument is a number.
    let result = unsafe { libc::ioctl(instance.as_fd().as_raw_fd(), SETNEXTWD, libc::c_long::from(NUMBER)) };
    Errno::result(result).map(drop)
}

/// Does it in `folder`.
///
/// # Errors
/// Which step fails, or goes otherwise than under Linux.
pub fn observe(folder: &Path) -> anyhow::Result<()> {
    let instance = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK).context("inotify_init1")?;
    set_next_wd(&instance).context("INOTIFY_IOC_SETNEXTWD")?;
    let path = CString::new(folder.as_os_str().as_bytes())?;
    // SAFETY: the path is a string that lives through the call.
    let wd = unsafe { libc::inotify_add_watch(instance.as_fd().as_raw_fd(), path.as_ptr(), libc::IN_CREATE) };
    Errno::result(wd).context("inotify_add_watch")?;
    ensure!(wd == NUMBER, "the watch has the number {wd:#x}, and not {NUMBER:#x}, which was asked for");
    let file = folder.join("new");
    fs::write(&file, "").with_context(|| format!("cannot write {}", file.display()))?;
    let mut waiting: libc::c_int = 0;
    // Without the library a read may come before the event; this brings it.
    // SAFETY: FIONREAD writes one int, which lives through the call.
    let counted = unsafe { libc::ioctl(instance.as_fd().as_raw_fd(), libc::FIONREAD, &raw mut waiting) };
    Errno::result(counted).context("FIONREAD")?;
    let events = instance.read_events();
    fs::remove_file(&file)?;
    let events = events.map_err(io::Error::from).context("read")?;
    let [event] = &events[..] else { anyhow::bail!("one event was due, and {} came", events.len()) };
    ensure!(event.name.as_deref() == file.file_name(), "the event names another file");
    Ok(())
}
