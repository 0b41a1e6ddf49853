//! The file system in a process of its own, as the emulator is, and its mount.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use nix::fcntl::{OFlag, open};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::Mode as Permissions;
use uinotify_core::{Entry, FsEvent, Mask, ObjectId, Subject};
use uinotify_source::fuse::{FileSystem, Mode, Mount, MountOptions, Served, Sink};

/// The first argument of the process that serves.
pub(crate) const ARGUMENT: &str = "--serve";

/// How a tree is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Exact,
    /// Without a watch, unless a test sets one.
    Fast,
    /// The same without CAP_SYS_ADMIN, as in a user name space: by the page cache.
    Cached,
}

impl Kind {
    const ALL: [(Self, &'static str); 3] = [(Self::Exact, "exact"), (Self::Fast, "fast"), (Self::Cached, "cached")];

    pub(crate) fn name(self) -> &'static str {
        Self::ALL.iter().find(|(kind, _)| *kind == self).map_or("", |(_, name)| name)
    }

    fn mode(self) -> Mode {
        if self == Self::Exact { Mode::Exact } else { Mode::Fast }
    }
}

/// A mounted tree.
pub(crate) struct Server {
    process: Child,
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    point: PathBuf,
}

impl Server {
    /// Shows `lower` at `point`. `open_max` limits the server's descriptors.
    pub(crate) fn start(kind: Kind, lower: &Path, point: &Path, open_max: Option<u64>) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args([ARGUMENT, kind.name()]).arg(lower).arg(point).args(open_max.map(|max| max.to_string()));
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let orders = process.stdin.take();
        let answers = BufReader::new(process.stdout.take().context("its output")?);
        let mut server = Self { process, orders, answers, point: point.to_owned() };
        ensure!(server.line()? == "mounted", "the server has not mounted");
        Ok(server)
    }

    /// What hooks were told since the last time, all of them whose operation has returned.
    pub(crate) fn settle(&mut self) -> Result<Vec<String>> {
        self.order(b's')?;
        let mut events = Vec::new();
        loop {
            let line = self.line()?;
            if line == "settled" {
                return Ok(events);
            }
            events.push(line);
        }
    }

    /// How many objects the server knows.
    pub(crate) fn known_objects(&mut self) -> Result<usize> {
        self.order(b'k')?;
        Ok(self.line()?.parse()?)
    }

    /// The server's descriptors.
    pub(crate) fn open_descriptors(&self) -> Result<usize> {
        Ok(std::fs::read_dir(format!("/proc/{}/fd", self.process.id()))?.count())
    }

    /// The server's number of the object behind a descriptor of this process.
    pub(crate) fn node_of(&mut self, object: impl AsFd) -> Result<Option<u64>> {
        let order = format!("n/proc/{}/fd/{}\n", std::process::id(), object.as_fd().as_raw_fd());
        self.orders.as_mut().context("no orders")?.write_all(order.as_bytes())?;
        let line = self.line()?;
        Ok(if line == "none" { None } else { Some(line.parse()?) })
    }

    /// Somebody watches the object behind a descriptor of this process from now on; for nothing ends it.
    pub(crate) fn watch(&mut self, object: impl AsFd, mask: Mask) -> Result<()> {
        let node = self.node_of(object)?.context("no object of the tree")?;
        let order = format!("w{node} {}\n", mask.bits());
        self.orders.as_mut().context("no orders")?.write_all(order.as_bytes())?;
        ensure!(self.line()? == "watched", "not watched");
        Ok(())
    }

    pub(crate) fn signal(&self, signal: nix::sys::signal::Signal) -> Result<()> {
        Ok(nix::sys::signal::kill(nix::unistd::Pid::from_raw(self.process.id().cast_signed()), signal)?)
    }

    pub(crate) fn process(&self) -> u32 {
        self.process.id()
    }

    /// The server's threads that are in one of these system calls.
    pub(crate) fn threads_in(&self, calls: &[libc::c_long]) -> Result<Vec<u32>> {
        let mut found = Vec::new();
        for thread in std::fs::read_dir(format!("/proc/{}/task", self.process.id()))? {
            let thread = thread?;
            let text = std::fs::read_to_string(thread.path().join("syscall")).unwrap_or_default();
            if calls.iter().any(|call| text.starts_with(&format!("{call} "))) {
                found.push(thread.file_name().to_string_lossy().parse()?);
            }
        }
        Ok(found)
    }

    pub(crate) fn kill(&mut self) -> Result<()> {
        self.process.kill()?;
        self.process.wait()?;
        Ok(())
    }

    fn order(&mut self, order: u8) -> Result<()> {
        self.orders.as_mut().context("no orders")?.write_all(&[order])?;
        Ok(())
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        if line.is_empty() {
            bail!("the server has ended: {:?}", self.process.wait()?);
        }
        Ok(line.trim_end().to_owned())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.orders.take());
        let _ = self.process.wait();
        // Only if it could not do so itself.
        let _ = nix::mount::umount2(&self.point, nix::mount::MntFlags::MNT_DETACH);
    }
}

/// The process that serves: until its standard input ends.
pub(crate) fn serve(arguments: &[String]) -> Result<()> {
    let [kind, lower, point, rest @ ..] = arguments else { bail!("how, a lower tree and a mount point") };
    let (kind, _) = *Kind::ALL.iter().find(|(_, name)| name == kind).context("no such kind")?;
    nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)?;
    if let [open_max] = rest {
        let open_max = open_max.parse()?;
        nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE, open_max, open_max)?;
    }
    let root = std::fs::File::open(lower)?;
    let options = MountOptions { mode: kind.mode(), ..MountOptions::default() };
    let (mount, device) = Mount::new(Path::new(point), options)?;
    if kind == Kind::Cached {
        give_up_administration()?;
    }
    let mut file_system = FileSystem::new(root.into(), kind.mode())?;
    let mut told = Told::default();
    let (input, mut output) = (std::io::stdin(), std::io::stdout());
    writeln!(output, "mounted")?;
    loop {
        let ready = wait(&device, input.as_fd())?;
        // First whether there is an order, then the device until it is empty: what had happened before the order is seen.
        let mut order = [0; 1];
        let ordered = if ready { Some(nix::unistd::read(&input, &mut order)?) } else { None };
        loop {
            match file_system.serve(&device, &mut told)? {
                Served::One => {}
                Served::Nothing => break,
                Served::Ended => return Ok(()),
            }
        }
        file_system.rest();
        match (ordered, order) {
            (None, _) => {}
            (Some(0), _) => break,
            (Some(_), [b's']) => {
                writeln!(output, "{}settled", told.text)?;
                told.text.clear();
            }
            (Some(_), [b'n']) => {
                // Nothing may be left in a buffer, where no poll sees it: the line is short enough for one read.
                let mut line = [0; 64];
                let length = nix::unistd::read(&input, &mut line)?;
                let path = std::str::from_utf8(line.get(..length).unwrap_or_default())?;
                // As a program would send it: opened by its link it leads to no look-up here.
                let object = open(path.trim_end(), OFlag::O_PATH, Permissions::empty())?;
                match mount.number().node_of(object.as_fd()) {
                    Some(node) => writeln!(output, "{}", node.0)?,
                    None => writeln!(output, "none")?,
                }
            }
            (Some(_), [b'w']) => {
                let mut line = [0; 64];
                let length = nix::unistd::read(&input, &mut line)?;
                let line = std::str::from_utf8(line.get(..length).unwrap_or_default())?;
                let (node, mask) = line.trim_end().split_once(' ').context("an object and a mask")?;
                told.watched.insert(ObjectId(node.parse()?), Mask::from_bits_retain(mask.parse()?));
                writeln!(output, "watched")?;
            }
            (Some(_), _) => writeln!(output, "{}", file_system.known_objects())?,
        }
    }
    // The kernel may ask something while it unmounts.
    drop(mount);
    Ok(())
}

/// The hooks, a line each.
#[derive(Default)]
struct Told {
    text: String,
    watched: BTreeMap<ObjectId, Mask>,
}

impl Sink for Told {
    fn observe(&mut self, event: FsEvent<'_>) {
        self.text.push_str(&show(&event));
        self.text.push('\n');
    }

    fn interest(&self, object: ObjectId) -> Mask {
        self.watched.get(&object).copied().unwrap_or(Mask::empty())
    }
}

/// This process has CAP_SYS_ADMIN no longer.
fn give_up_administration() -> Result<()> {
    const VERSION: u32 = 0x2008_0522;
    const SYS_ADMIN: u32 = 21;
    let header = [VERSION, 0];
    let mut sets = [0_u32; 6];
    // SAFETY: a header and room for the sets, as this version has; they live through the call.
    let result = unsafe { libc::syscall(libc::SYS_capget, header.as_ptr(), sets.as_mut_ptr()) };
    nix::errno::Errno::result(result)?;
    // The lower half: effective, permitted, inheritable.
    for set in &mut sets[..3] {
        *set &= !(1 << SYS_ADMIN);
    }
    // SAFETY: a header and the sets, as this version has; they live through the call.
    let result = unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), sets.as_ptr()) };
    nix::errno::Errno::result(result)?;
    Ok(())
}

fn wait(device: impl AsFd, orders: BorrowedFd<'_>) -> Result<bool> {
    let mut both = [PollFd::new(device.as_fd(), PollFlags::POLLIN), PollFd::new(orders, PollFlags::POLLIN)];
    loop {
        match poll(&mut both, PollTimeout::NONE) {
            Err(nix::errno::Errno::EINTR) => {}
            result => {
                result?;
                return Ok(both[1].any().unwrap_or(true));
            }
        }
    }
}

/// A hook in words. Objects have no number here, which differs from run to run.
fn show(event: &FsEvent<'_>) -> String {
    let name = |entry: Entry<'_>| String::from_utf8_lossy(entry.name).into_owned();
    let of = |subject: &Subject<'_>| {
        let entry = subject.entry.map_or("(root)".to_owned(), name);
        format!("{entry}{}", if subject.unlinked { " (unlinked)" } else { "" })
    };
    match event {
        FsEvent::Open { subject, exec } => format!("open {}{}", of(subject), if *exec { " exec" } else { "" }),
        FsEvent::OpenTruncated { subject, change } => {
            let cleared = if change.mode { " mode" } else { "" };
            format!("open {}, change {}: size{cleared}", of(subject), of(subject))
        }
        FsEvent::Allocate(subject) => format!("allocate {}", of(subject)),
        FsEvent::Splice { subject, writes } => {
            format!("splice {} {}", if *writes { "to" } else { "from" }, of(subject))
        }
        FsEvent::Access(subject) => format!("access {}", of(subject)),
        FsEvent::Modify(subject) => format!("modify {}", of(subject)),
        FsEvent::Close { subject, writable } => {
            format!("close {}{}", of(subject), if *writable { " writable" } else { "" })
        }
        FsEvent::Change { subject, change } => {
            let parts = [
                (change.owner, "owner"),
                (change.mode, "mode"),
                (change.size, "size"),
                (change.accessed, "accessed"),
                (change.modified, "modified"),
                (change.attribute, "attribute"),
            ];
            let parts: Vec<_> = parts.iter().filter(|(is, _)| *is).map(|(_, name)| *name).collect();
            format!("change {}: {}", of(subject), parts.join(" "))
        }
        FsEvent::Create { entry, directory } => format!("create {}{}", name(*entry), slash(*directory)),
        FsEvent::Delete { entry, directory } => format!("delete {}{}", name(*entry), slash(*directory)),
        FsEvent::Rename { from, to, replaced, .. } => {
            let replaced = if replaced.is_some() { ", replaced" } else { "" };
            format!("rename {} to {}{replaced}", name(*from), name(*to))
        }
        FsEvent::LinkCount(_) => "link count".into(),
        FsEvent::Gone(_) => "gone".into(),
        FsEvent::Unmount(_) => "unmount".into(),
        FsEvent::Overflow(_) => "overflow".into(),
    }
}

fn slash(is_directory: bool) -> &'static str {
    if is_directory { "/" } else { "" }
}
