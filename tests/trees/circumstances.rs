//! What a program of a test is started in: another user, another /dev/fuse, a kernel without inotify instances.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail, ensure};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use nix::unistd::{getegid, geteuid, setgid, setgroups, setuid};

/// The first argument of this test when it is to start another program: `--as WHAT [WHAT ...] -- PROGRAM ...`.
pub(super) const ARGUMENT: &str = "--as";

/// An ordinary user, who need not have a name. Not the overflow user, whom a user name space shows for those it does not have.
pub(super) const ANOTHER: u32 = 12345;

/// The number of /dev/fuse, as in Documentation/admin-guide/devices.txt.
const FUSE_NUMBER: (u64, u64) = (10, 229);

/// From here on no mount of this process is seen by others.
///
/// # Errors
///
/// What is missing.
pub(super) fn enter_mount_space() -> Result<()> {
    ensure!(geteuid().is_root(), "not root");
    fs::OpenOptions::new().read(true).write(true).open("/dev/fuse").context("/dev/fuse")?;
    private_mounts()
}

fn private_mounts() -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNS).context("no mount name space")?;
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
        .context("mounts are not private")
}

/// Brings each circumstance about, and becomes the program.
pub(super) fn main(arguments: &[String]) -> ExitCode {
    match become_program(arguments) {
        Ok(never) => match never {},
        Err(error) => {
            eprintln!("circumstances: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn become_program(arguments: &[String]) -> Result<std::convert::Infallible> {
    let end = arguments.iter().position(|word| word == "--").context("-- before the program")?;
    for circumstance in &arguments[..end] {
        match circumstance.as_str() {
            "without-inotify" => without_inotify()?,
            "another-user" => become_another_user()?,
            device => match device.strip_prefix("device=") {
                Some(mode) => lay_device(u32::from_str_radix(mode, 8)?)?,
                None => bail!("no such circumstance: {device}"),
            },
        }
    }
    let program = arguments.get(end + 1..).filter(|program| !program.is_empty()).context("a program")?;
    Err(Command::new(&program[0]).args(&program[1..]).exec().into())
}

/// Lays a /dev/fuse with this mode over the machine's, in a mount name space of this process.
fn lay_device(mode: u32) -> Result<()> {
    private_mounts()?;
    let folder = tempfile::tempdir()?;
    // The folder for temporary files may be on a file system without devices.
    mount(Some("none"), folder.path(), Some("tmpfs"), MsFlags::empty(), None::<&str>).context("a tmpfs")?;
    let node = folder.path().join("fuse");
    mknod(&node, SFlag::S_IFCHR, Mode::empty(), makedev(FUSE_NUMBER.0, FUSE_NUMBER.1)).context("mknod")?;
    fs::set_permissions(&node, std::os::unix::fs::PermissionsExt::from_mode(mode))?;
    mount(Some(&node), "/dev/fuse", None::<&str>, MsFlags::MS_BIND, None::<&str>).context("over /dev/fuse")?;
    nix::mount::umount2(folder.path(), nix::mount::MntFlags::MNT_DETACH)?;
    Ok(())
}

fn become_another_user() -> Result<()> {
    setgroups(&[])?;
    setgid(ANOTHER.into())?;
    Ok(setuid(ANOTHER.into())?)
}

/// A user name space in which nobody may have a kernel instance. The user stays what it is.
fn without_inotify() -> Result<()> {
    let (user, group) = (geteuid(), getegid());
    unshare(CloneFlags::CLONE_NEWUSER).context("no user name space")?;
    let write = |path: &str, text: String| fs::write(path, text).with_context(|| path.to_owned());
    write("/proc/self/setgroups", "deny".to_owned())?;
    write("/proc/self/uid_map", format!("{user} {user} 1"))?;
    write("/proc/self/gid_map", format!("{group} {group} 1"))?;
    write("/proc/sys/user/max_inotify_instances", "0".to_owned())?;
    let refused = nix::sys::inotify::Inotify::init(nix::sys::inotify::InitFlags::empty()).err();
    ensure!(refused == Some(nix::errno::Errno::EMFILE), "the kernel gives an instance: {refused:?}");
    Ok(())
}

/// Gives a path away to [`ANOTHER`].
pub(super) fn give_away(path: &Path) -> std::io::Result<()> {
    std::os::unix::fs::chown(path, Some(ANOTHER), Some(ANOTHER))
}
