//! `uinotify mount` and `uinotify umount`: a tree seen through the emulator's file system by every process, as any other mount.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::thread;

use anyhow::{Context, bail};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::mount::{MntFlags, umount2};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::stat::Mode as Permissions;
use nix::unistd::{ForkResult, chdir, fork, geteuid, pipe2};
use uinotify_host::mountinfo::{self, Mounted};
use uinotify_host::{Admission, Device, Emulator, Lifetime, Mount, MountOptions};

use crate::inherited::Inherited;
use crate::notice::notice;
use crate::settings::Settings;
use crate::socket::Socket;
use crate::tree::{self, Tree};
use crate::{nested, process};

/// What `uinotify mount` is told.
#[derive(Debug)]
pub struct Options {
    /// The emulator's settings.
    pub settings: Settings,
    /// What is shown.
    pub source: OsString,
    /// Where.
    pub point: PathBuf,
    /// Where programs find the emulator; a path of its own choice if not given.
    pub socket: Option<PathBuf>,
    /// Serve every user's programs.
    pub all_users: bool,
    /// Return when it is unmounted, and not when it is mounted.
    pub foreground: bool,
}

/// Mounts, and prints the path of the socket for `uinotify env`.
///
/// It forks, and changes the signal mask and the working folder of the process that serves: it is made for a process with one thread that ends
/// when it returns.
///
/// # Errors
/// The tree cannot be shown there, or the emulator cannot be started; nothing is mounted then.
pub fn mount(options: &Options) -> anyhow::Result<()> {
    if nested::is_emulated() {
        let inherited = Inherited::take().context("cannot read the signal mask")?;
        return Err(nested::execute_again(&inherited)).context("cannot execute /proc/self/exe again");
    }
    if options.all_users && !geteuid().is_root() {
        bail!("--all-users is for root, who may read what each of them may read");
    }
    clear_stale(&options.point)?;
    let source = Tree::parse(&options.source);
    let shown = |path: &Path| format!("cannot show {} at {}", source.path.display(), path.display());
    let lower = source.path.canonicalize().with_context(|| shown(&options.point))?;
    let point = options.point.canonicalize().with_context(|| shown(&options.point))?;
    // The kernel would take it, and show a folder whose root is a file.
    if !point.is_dir() {
        bail!("{}: that is no folder", shown(&point));
    }
    if point != lower && point.starts_with(&lower) {
        bail!("{}: it would show itself; choose a folder outside", shown(&point));
    }
    tree::check_device()?;
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let root = open(&lower, flags, Permissions::empty()).with_context(|| shown(&point))?;
    let mode = if options.all_users { 0o666 } else { 0o600 };
    let socket = match &options.socket {
        Some(path) => {
            let path = std::path::absolute(path).with_context(|| format!("cannot serve at {}", path.display()))?;
            Socket::bind_at(path.clone(), mode).with_context(|| format!("cannot serve at {}", path.display()))?
        }
        None => Socket::bind()?,
    };
    let mount =
        MountOptions::of_lower(root.as_fd(), source.read_only, options.settings.mode).with_context(|| shown(&point))?;
    let server = Server { options, root, point, mount, socket };
    if options.foreground {
        let path = server.socket.path().to_owned();
        return server.serve(|| say(&path));
    }
    let (reader, writer) = pipe2(OFlag::O_CLOEXEC).context("cannot start the emulator")?;
    // SAFETY: this process has one thread, so no lock can be held by a thread that the child lacks.
    match unsafe { fork() }.context("cannot start the emulator")? {
        ForkResult::Child => {
            drop(reader);
            let kept = [server.root.as_raw_fd(), writer.as_raw_fd()];
            let mut ready = File::from(writer);
            let result = server.serve_apart(&kept, || Ok(ready.write_all(&[0])?));
            if let Err(problem) = &result {
                notice(format!("{problem:#}"));
            }
            std::process::exit(result.is_err().into());
        }
        ForkResult::Parent { child } => {
            drop(writer);
            let path = server.socket.leave_path();
            if File::from(reader).read_exact(&mut [0]).is_err() {
                let _ = process::exit_status(child);
                let _ = fs::remove_file(&path);
                bail!("not mounted");
            }
            say(&path)
        }
    }
}

fn say(socket: &Path) -> anyhow::Result<()> {
    let mut output = io::stdout();
    writeln!(output, "{}", socket.display()).and_then(|()| output.flush()).context("cannot write to standard output")
}

/// All that serving takes.
struct Server<'a> {
    options: &'a Options,
    root: OwnedFd,
    point: PathBuf,
    mount: MountOptions,
    socket: Socket,
}

impl Server<'_> {
    /// Serves in a process that nobody waits for.
    fn serve_apart(mut self, kept: &[RawFd], ready: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<()> {
        let listeners = self.socket.take_listeners();
        let kept: Vec<_> = kept.iter().copied().chain(listeners.iter().map(AsRawFd::as_raw_fd)).collect();
        process::let_go_of_descriptors(&kept);
        process::stand_alone().context("cannot leave the terminal")?;
        self.serve_until_unmounted(&listeners, || {
            ready()?;
            // Whoever reads the other end is to see its end.
            let null = fs::OpenOptions::new().write(true).open("/dev/null");
            if let (Ok(null), false) = (null, self.options.settings.verbose) {
                let _ = nix::unistd::dup2_stderr(&null);
            }
            Ok(())
        })
    }

    fn serve(mut self, ready: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<()> {
        let listeners = self.socket.take_listeners();
        // A folder that is in use cannot be unmounted.
        chdir("/").context("cannot go to the root folder")?;
        process::raise_descriptor_limit();
        self.serve_until_unmounted(&listeners, ready)
    }

    fn serve_until_unmounted(
        &self,
        listeners: &[OwnedFd],
        ready: impl FnOnce() -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let ending = end_signals();
        // Before there is another thread.
        ending.thread_block().context("cannot wait for signals")?;
        let command = std::env::args_os().map(|part| part.to_string_lossy().into_owned()).collect();
        let admission = if self.options.all_users { Admission::AllUsers } else { Admission::OwnUser };
        let settings = &self.options.settings;
        let mut emulator =
            Emulator::new(settings.config(admission, Lifetime::Trees, command)).context("cannot start the emulator")?;
        let root = self.root.try_clone().context("cannot start the emulator")?;
        let (mount, device): (Mount, Device) =
            Mount::new(&self.point, self.mount).with_context(|| format!("cannot mount on {}", self.point.display()))?;
        let number = mount.number();
        // From here on it is unmounted by name, while its requests are served.
        mount.leave();
        let served = emulator.add_tree(root, number, device).map_err(anyhow::Error::from).and_then(|()| {
            let (lifeline, _writer) = pipe2(OFlag::O_CLOEXEC)?;
            let point = self.point.clone();
            thread::Builder::new().name("signals".to_owned()).spawn(move || unmount_at(&ending, &point))?;
            ready()?;
            Ok(emulator.serve(listeners, lifeline.as_fd())?)
        });
        if served.is_err() {
            let _ = umount2(&self.point, MntFlags::MNT_DETACH);
        }
        served
    }
}

fn end_signals() -> SigSet {
    [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP].into_iter().collect()
}

/// Unmounts when a signal tells to. Who still uses the tree is served on until they have let go of it. Once: what is under that name then is
/// another's.
fn unmount_at(signals: &SigSet, point: &Path) {
    while signals.wait().is_err() {}
    if is_ours(point).unwrap_or(false) && umount2(point, MntFlags::empty()).is_err() {
        let _ = umount2(point, MntFlags::MNT_DETACH);
    }
}

/// Unmounts a tree.
///
/// # Errors
/// It is not one of ours, is in use (unless `lazy`), or may not be unmounted by this user.
pub fn unmount(point: &Path, lazy: bool) -> anyhow::Result<()> {
    let point = &absolute(point)?;
    let shown = point.display();
    if !is_ours(point)? {
        bail!("{shown} is no tree that uinotify shows");
    }
    // What nobody serves any more is in nobody's use.
    let flags = if lazy || is_stale(point) { MntFlags::MNT_DETACH } else { MntFlags::empty() };
    match umount2(point, flags) {
        Ok(()) => Ok(()),
        Err(Errno::EBUSY) => {
            bail!("{shown} is in use; end what uses it (fuser -m {shown} names it), or unmount it with --lazy")
        }
        Err(errno) => bail!("cannot unmount {shown}: {}", errno.desc()),
    }
}

/// Takes away a mount of ours whose emulator was killed, so that the folder below can be used.
///
/// # Errors
/// It cannot be taken away.
pub(crate) fn clear_stale(point: &Path) -> anyhow::Result<()> {
    let Ok(point) = absolute(point) else { return Ok(()) };
    while is_stale(&point) && is_ours(&point)? {
        notice(format_args!("{} was left mounted by an emulator that is gone: unmounted", point.display()));
        umount2(&point, MntFlags::MNT_DETACH)
            .with_context(|| format!("cannot unmount {}, which an emulator has left", point.display()))?;
    }
    Ok(())
}

fn is_stale(point: &Path) -> bool {
    fs::metadata(point).is_err_and(|error| error.raw_os_error() == Some(libc::ENOTCONN))
}

/// The path without links, though what is mounted there may not answer.
fn absolute(point: &Path) -> anyhow::Result<PathBuf> {
    let path = std::path::absolute(point).with_context(|| format!("cannot use {}", point.display()))?;
    let parent =
        path.parent().map(Path::canonicalize).transpose().with_context(|| format!("cannot use {}", point.display()))?;
    Ok(match (parent, path.file_name()) {
        (Some(parent), Some(name)) => {
            let path = parent.join(name);
            // The last part may be a link too.
            path.canonicalize().unwrap_or(path)
        }
        _ => path,
    })
}

/// Whether what is mounted on top there is a tree of ours.
fn is_ours(point: &Path) -> anyhow::Result<bool> {
    let mounted = mountinfo::mounted().context("cannot read /proc/self/mountinfo")?;
    Ok(mounted.iter().rfind(|mount| mount.point == point).is_some_and(is_tree))
}

/// Whether a mount is a tree of ours. Before Linux 5.5 the kind has no second part.
pub(crate) fn is_tree(mount: &Mounted) -> bool {
    mount.kind == "fuse.uinotify" || mount.kind == "fuse" && mount.source == "uinotify"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_is_known_by_kind_or_source() {
        let mount = |kind: &str, source: &str| Mounted {
            device: (0, 43),
            point: "/mnt".into(),
            options: "rw".into(),
            kind: kind.into(),
            source: source.into(),
        };
        assert!(is_tree(&mount("fuse.uinotify", "uinotify")) && is_tree(&mount("fuse", "uinotify")));
        assert!(!is_tree(&mount("fuse.sshfs", "uinotify")) && !is_tree(&mount("fuse", "other")));
    }
}
