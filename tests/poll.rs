//! Source `poll` where the conformance lists do not come: other users, other mounts, other machines, and a server that does not answer.
//!
//! Each test is a program under an emulator of its own: this binary with `--act` as its first argument. Nothing sleeps: `barrier` has everything looked at.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use libtest_mimic::{Arguments, Failed, Trial};
use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::poll::{PollFd, PollFlags, poll};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Gid, Pid, Uid, chown};
use uinotify::checkpoint::{self, EmulatorAddress};
use uinotify_harness::show;
use uinotify_host::control::Control;
use uinotify_source::inotify::Records;

const ACT: &str = "--act";
/// After this many seconds something hangs that will not end by itself.
const HANG_SECONDS: u32 = 120;
/// For what has to come by itself.
const PATIENCE_MS: u16 = 20_000;
const ALL: u32 = libc::IN_ALL_EVENTS;
const NOBODY: u32 = 65534;

/// How the program of a test is run.
#[derive(Clone, Copy, Default)]
struct Way {
    /// As an ordinary user.
    as_nobody: bool,
    /// In a mount name space of its own, with its emulator.
    with_mounts: bool,
    /// Looked at every so often, not only when that is asked for.
    interval: Option<&'static str>,
}

type Act = fn(&Path) -> Result<()>;

/// Those that are run as one of the arguments says.
const ACTS: &[(&str, Way, Act)] = &[
    ("moves_are_pairs", Way { as_nobody: false, with_mounts: false, interval: None }, moves_are_pairs),
    ("an_ordinary_user_may_look", Way { as_nobody: true, with_mounts: false, interval: None }, moves_are_pairs),
    ("strays_are_followed", Way { as_nobody: false, with_mounts: false, interval: None }, strays_are_followed),
    ("strays_have_ended_for_others", Way { as_nobody: true, with_mounts: false, interval: None }, strays_have_ended),
    ("unmount", Way { as_nobody: false, with_mounts: true, interval: None }, unmount),
    ("a_look_comes_by_itself", Way { as_nobody: false, with_mounts: false, interval: Some("50ms") }, by_itself),
    ("what_may_not_be_read", Way { as_nobody: true, with_mounts: false, interval: None }, what_may_not_be_read),
    ("many_at_once", Way { as_nobody: false, with_mounts: false, interval: None }, many_at_once),
    ("a_new_watch_is_told_nothing_old", Way { as_nobody: false, with_mounts: false, interval: None }, nothing_old),
    ("watches_end_and_begin", Way { as_nobody: false, with_mounts: false, interval: None }, end_and_begin),
    (
        "moved_before",
        Way { as_nobody: true, with_mounts: false, interval: None },
        moved_before_its_directory_was_watched,
    ),
    ("looking_makes_no_events", Way { as_nobody: false, with_mounts: false, interval: None }, makes_no_events),
    ("changed_elsewhere", Way { as_nobody: false, with_mounts: true, interval: None }, changed_elsewhere),
    ("a_server_that_does_not_answer", Way { as_nobody: false, with_mounts: true, interval: None }, does_not_answer),
];

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    // SAFETY: it takes no pointer; the default action of SIGALRM is to end the process.
    unsafe { libc::alarm(HANG_SECONDS) };
    if let [given, name, folder] = &arguments.iter().map(String::as_str).collect::<Vec<_>>()[..]
        && *given == ACT
    {
        let act = ACTS.iter().find(|(other, ..)| other == name).map(|(.., act)| act);
        return match act.context("no such act").and_then(|act| act(Path::new(folder))) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("{error:#}");
                ExitCode::FAILURE
            }
        };
    }
    let arguments = Arguments::from_args();
    let mut trials = Vec::new();
    for &(name, way, _) in ACTS {
        let missing = missing(name, way);
        if let (Some(missing), false) = (&missing, arguments.list) {
            println!("ignored: {name}: {missing}");
        }
        let run = move || run(name, way).map_err(|error| Failed::from(format!("{error:#}")));
        trials.push(Trial::test(name, run).with_ignored_flag(missing.is_some()));
    }
    for kind in ["nfs", "9p"] {
        let name = format!("on_{kind}");
        let missing = network::missing(kind);
        if let (Some(missing), false) = (&missing, arguments.list) {
            println!("ignored: {name}: {missing}");
        }
        let run = move || network::run(kind).map_err(|error| Failed::from(format!("{error:#}")));
        trials.push(Trial::test(name, run).with_ignored_flag(missing.is_some()));
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn missing(name: &str, way: Way) -> Option<String> {
    let is_root = Uid::effective().is_root();
    if !is_root && (way.as_nobody || way.with_mounts || name == "strays_are_followed") {
        return Some("only root may become another user, mount, and find objects by their handles".to_owned());
    }
    let needs_fuse = ["changed_elsewhere", "a_server_that_does_not_answer"].contains(&name);
    (needs_fuse && !Path::new("/dev/fuse").exists()).then(|| "there is no /dev/fuse".to_owned())
}

fn run(name: &str, way: Way) -> Result<()> {
    let room = tempfile::Builder::new().prefix("uinotify-poll-").tempdir()?;
    fs::set_permissions(room.path(), fs::Permissions::from_mode(0o755))?;
    let folder = room.path().join("folder");
    fs::create_dir(&folder)?;
    let [uinotify, program] = within_reach(room.path())?;
    let mut command = Command::new(uinotify);
    let interval = way.interval.unwrap_or("1h");
    command.args(["run", "--interpose", "preload", "--source", "poll", "--poll-interval", interval, "--"]);
    command.arg(program).args([ACT, name]).arg(&folder);
    command.env("XDG_RUNTIME_DIR", room.path()).env_remove("UINOTIFY_SOCKET").env_remove("LD_PRELOAD");
    if way.as_nobody {
        chown(&folder, Some(Uid::from_raw(NOBODY)), Some(Gid::from_raw(NOBODY)))?;
        chown(room.path(), Some(Uid::from_raw(NOBODY)), Some(Gid::from_raw(NOBODY)))?;
        command.uid(NOBODY).gid(NOBODY);
    }
    if way.with_mounts {
        let apart = || {
            unshare(CloneFlags::CLONE_NEWNS)?;
            Ok(mount::<str, str, str, str>(None, "/", None, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None)?)
        };
        // SAFETY: two system calls, and nothing that allocates.
        unsafe { command.pre_exec(apart) };
    }
    let output = command.stdin(Stdio::null()).output()?;
    let text = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}: {text}", output.status);
    Ok(())
}

/// The command and this program, where every user can execute them.
fn within_reach(room: &Path) -> Result<[PathBuf; 2]> {
    let put = |from: &Path, name: &str| -> Result<PathBuf> {
        let to = room.join(name);
        if fs::hard_link(from, &to).is_err() {
            // By another process: while this one had it open for writing, a child of another test could inherit that.
            let status = Command::new("cp").arg("--").arg(from).arg(&to).status()?;
            ensure!(status.success(), "cp: {status}");
        }
        Ok(to)
    };
    Ok([
        put(Path::new(env!("CARGO_BIN_EXE_uinotify")), "uinotify-command")?,
        put(&std::env::current_exe()?, "program")?,
    ])
}

/// An instance, and what its watches are called.
struct Instance {
    descriptor: OwnedFd,
    names: BTreeMap<i32, String>,
}

impl Instance {
    fn new() -> Result<Self> {
        // SAFETY: takes flags only.
        let descriptor = Errno::result(unsafe { libc::inotify_init1(libc::IN_CLOEXEC | libc::IN_NONBLOCK) })?;
        // SAFETY: the call has just returned this descriptor, which nobody else has.
        Ok(Self { descriptor: unsafe { OwnedFd::from_raw_fd(descriptor) }, names: BTreeMap::new() })
    }

    fn watch(&mut self, path: &Path, mask: u32) -> Result<i32, Errno> {
        let text = CString::new(path.as_os_str().as_bytes()).expect("a path without NUL");
        // SAFETY: the path ends with NUL and outlives the call.
        let wd = Errno::result(unsafe { libc::inotify_add_watch(self.descriptor.as_raw_fd(), text.as_ptr(), mask) })?;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        self.names.insert(wd, name);
        Ok(wd)
    }

    fn unwatch(&self, wd: i32) -> Result<()> {
        // SAFETY: takes numbers only.
        Errno::result(unsafe { libc::inotify_rm_watch(self.descriptor.as_raw_fd(), wd) })?;
        Ok(())
    }

    /// All that is in the queue.
    fn read(&self) -> Result<Vec<String>> {
        let mut told = Vec::new();
        let mut bytes = vec![0; 1 << 16];
        loop {
            // SAFETY: the buffer outlives the call, which writes at most its length.
            let length = unsafe { libc::read(self.descriptor.as_raw_fd(), bytes.as_mut_ptr().cast(), bytes.len()) };
            let length = match Errno::result(length) {
                Err(Errno::EAGAIN) => return Ok(told),
                length => length?.unsigned_abs(),
            };
            for record in Records::new(&bytes[..length]) {
                let watch = self.names.get(&record.wd).map_or("?", String::as_str);
                let name = String::from_utf8_lossy(record.name);
                let separator = if name.is_empty() { "" } else { "/" };
                told.push(format!("{watch}{separator}{name} {}", show::mask(record.mask)));
            }
        }
    }

    /// What has happened up to now.
    fn told(&self) -> Result<Vec<String>> {
        barrier()?;
        self.read()
    }
}

fn barrier() -> Result<()> {
    let address = std::env::var_os("UINOTIFY_SOCKET").context("no emulator")?;
    let (socket, token) = checkpoint::address(&address);
    Ok(Control::open(&EmulatorAddress { socket: &socket, token: &token })?.barrier()?)
}

fn expect(told: &[String], expected: &[&str]) -> Result<()> {
    ensure!(told == expected, "expected {expected:?}, told {told:?}");
    Ok(())
}

fn moves_are_pairs(folder: &Path) -> Result<()> {
    let (d, e) = (folder.join("d"), folder.join("e"));
    fs::create_dir(&d)?;
    fs::create_dir(&e)?;
    fs::write(d.join("f"), "x")?;
    let mut instance = Instance::new()?;
    instance.watch(&d, ALL)?;
    instance.watch(&e, ALL)?;
    instance.watch(&d.join("f"), ALL)?;
    fs::rename(d.join("f"), e.join("g"))?;
    expect(&instance.told()?, &["d/f MOVED_FROM", "e/g MOVED_TO", "f MOVE_SELF"])?;
    fs::write(e.join("g"), "longer")?;
    expect(&instance.told()?, &["e/g MODIFY", "f MODIFY"])?;
    // All in one look: content first, then the move, what is gone, what has come.
    fs::write(d.join("old"), "")?;
    instance.told()?;
    fs::remove_file(d.join("old"))?;
    fs::write(e.join("g"), "longest of all")?;
    fs::rename(e.join("g"), d.join("h"))?;
    fs::write(d.join("new"), "y")?;
    let expected = [
        "e/g MODIFY",
        "f MODIFY",
        "e/g MOVED_FROM",
        "d/h MOVED_TO",
        "f MOVE_SELF",
        "d/old DELETE",
        "d/new CREATE",
        "d/new MODIFY",
    ];
    expect(&instance.told()?, &expected)?;
    // A whole tree.
    fs::remove_dir_all(&d)?;
    let told = instance.told()?;
    let expected =
        ["f ATTRIB", "f DELETE_SELF", "f IGNORED", "d/h DELETE", "d/new DELETE", "d DELETE_SELF", "d IGNORED"];
    expect(&told, &expected)
}

/// `a` is watched and in no watched directory, and so is what is in it.
fn stray(folder: &Path) -> Result<(Instance, PathBuf)> {
    let a = folder.join("a");
    fs::create_dir(&a)?;
    fs::write(a.join("inside"), "")?;
    let mut instance = Instance::new()?;
    instance.watch(&a, ALL)?;
    fs::create_dir(folder.join("away"))?;
    let moved = folder.join("away/b");
    fs::rename(&a, &moved)?;
    Ok((instance, moved))
}

fn strays_are_followed(folder: &Path) -> Result<()> {
    let (instance, moved) = stray(folder)?;
    expect(&instance.told()?, &["a MOVE_SELF"])?;
    fs::write(moved.join("new"), "")?;
    expect(&instance.told()?, &["a/new CREATE"])?;
    // What is above it may be moved without a word.
    fs::rename(folder.join("away"), folder.join("further"))?;
    expect(&instance.told()?, &[])?;
    fs::remove_file(folder.join("further/b/new"))?;
    expect(&instance.told()?, &["a/new DELETE"])
}

fn strays_have_ended(folder: &Path) -> Result<()> {
    let (instance, moved) = stray(folder)?;
    expect(&instance.told()?, &["a/inside DELETE", "a DELETE_SELF", "a IGNORED"])?;
    fs::write(moved.join("new"), "")?;
    expect(&instance.told()?, &[])
}

fn unmount(folder: &Path) -> Result<()> {
    mount::<str, Path, str, str>(None, folder, Some("tmpfs"), MsFlags::empty(), None)?;
    fs::create_dir(folder.join("d"))?;
    fs::write(folder.join("d/f"), "")?;
    let mut instance = Instance::new()?;
    instance.watch(&folder.join("d"), ALL)?;
    instance.watch(&folder.join("d/f"), ALL)?;
    fs::write(folder.join("d/g"), "")?;
    expect(&instance.told()?, &["d/g CREATE"])?;
    // Nothing is held there.
    umount2(folder, MntFlags::empty())?;
    expect(&instance.told()?, &["d UNMOUNT,ISDIR", "d IGNORED", "f UNMOUNT", "f IGNORED"])
}

fn by_itself(folder: &Path) -> Result<()> {
    let mut instance = Instance::new()?;
    instance.watch(folder, ALL)?;
    for count in 0..3 {
        fs::write(folder.join(count.to_string()), "")?;
        let mut one = [PollFd::new(std::os::fd::AsFd::as_fd(&instance.descriptor), PollFlags::POLLIN)];
        ensure!(poll(&mut one, PATIENCE_MS)? == 1, "nothing was told");
        expect(&instance.read()?, &[&format!("folder/{count} CREATE")])?;
    }
    Ok(())
}

fn what_may_not_be_read(folder: &Path) -> Result<()> {
    let closed = folder.join("closed");
    fs::create_dir(&closed)?;
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o300))?;
    let mut instance = Instance::new()?;
    ensure!(instance.watch(&closed, ALL) == Err(Errno::EACCES));
    ensure!(instance.watch(&folder.join("absent"), ALL) == Err(Errno::ENOENT));
    ensure!(instance.watch(folder, ALL) == Ok(1), "a refused watch takes a number");
    // What may be listed and not searched has names only.
    let listed = folder.join("listed");
    fs::create_dir(&listed)?;
    fs::write(listed.join("f"), "")?;
    fs::set_permissions(&listed, fs::Permissions::from_mode(0o600))?;
    instance.watch(&listed, ALL)?;
    instance.told()?;
    fs::set_permissions(&listed, fs::Permissions::from_mode(0o700))?;
    let told = instance.told()?;
    ensure!(told == ["folder/listed ATTRIB,ISDIR", "listed ATTRIB,ISDIR"], "{told:?}");
    fs::remove_file(listed.join("f"))?;
    expect(&instance.told()?, &["listed/f DELETE"])
}

/// More than the channel between the threads holds, and than the queue does.
fn many_at_once(folder: &Path) -> Result<()> {
    const FILES: usize = 20_000;
    let mut instance = Instance::new()?;
    instance.watch(folder, libc::IN_CREATE | libc::IN_DELETE)?;
    for file in 0..FILES {
        fs::write(folder.join(file.to_string()), "")?;
    }
    let told = instance.told()?;
    let limit: usize = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events")?.trim().parse()?;
    let overflows = told.iter().filter(|line| line.ends_with("Q_OVERFLOW")).count();
    let expected = if limit < FILES { (limit + 1, 1) } else { (FILES, 0) };
    ensure!((told.len(), overflows) == expected, "{} events, {overflows} overflows", told.len());
    for file in 0..FILES / 4 {
        fs::remove_file(folder.join(file.to_string()))?;
    }
    ensure!(instance.told()?.len() == FILES / 4, "not every end was told");
    Ok(())
}

/// The others that watch the object are told what was before, the new one is not.
fn nothing_old(folder: &Path) -> Result<()> {
    let (mut first, mut second) = (Instance::new()?, Instance::new()?);
    first.watch(folder, ALL)?;
    fs::write(folder.join("f"), "")?;
    second.watch(folder, ALL)?;
    expect(&first.read()?, &["folder/f CREATE"])?;
    fs::write(folder.join("g"), "")?;
    expect(&second.told()?, &["folder/g CREATE"])?;
    expect(&first.read()?, &["folder/g CREATE"])?;
    // One that asks for more than those before it is told what is done from then on.
    let mut third = Instance::new()?;
    fs::create_dir(folder.join("d"))?;
    fs::write(folder.join("d/f"), "")?;
    third.watch(&folder.join("d"), libc::IN_CREATE)?;
    fs::write(folder.join("d/f"), "x")?;
    let mut fourth = Instance::new()?;
    fourth.watch(&folder.join("d"), ALL)?;
    expect(&fourth.told()?, &[])?;
    fs::write(folder.join("d/f"), "longer")?;
    expect(&fourth.told()?, &["d/f MODIFY"])
}

/// It was moved before its new directory was watched, and is found there.
fn moved_before_its_directory_was_watched(folder: &Path) -> Result<()> {
    let (d, e) = (folder.join("d"), folder.join("e"));
    fs::create_dir_all(d.join("inner"))?;
    fs::create_dir(&e)?;
    fs::write(d.join("f"), "")?;
    let mut instance = Instance::new()?;
    for path in [&d, &d.join("inner"), &d.join("f")] {
        instance.watch(path, ALL)?;
    }
    fs::rename(d.join("f"), e.join("g"))?;
    fs::rename(d.join("inner"), e.join("outer"))?;
    instance.watch(&e, ALL)?;
    let expected = ["d/f MOVED_FROM", "f MOVE_SELF", "d/inner MOVED_FROM,ISDIR", "inner MOVE_SELF"];
    expect(&instance.told()?, &expected)?;
    fs::write(e.join("outer/new"), "")?;
    fs::write(e.join("g"), "x")?;
    expect(&instance.told()?, &["e/g MODIFY", "f MODIFY", "inner/new CREATE"])
}

fn end_and_begin(folder: &Path) -> Result<()> {
    let (d, f) = (folder.join("d"), folder.join("d/f"));
    fs::create_dir(&d)?;
    fs::write(&f, "")?;
    let mut instance = Instance::new()?;
    let of_folder = instance.watch(folder, ALL)?;
    let of_d = instance.watch(&d, ALL)?;
    instance.watch(&f, ALL | libc::IN_ONESHOT)?;
    fs::write(&f, "x")?;
    expect(&instance.told()?, &["d/f MODIFY", "f MODIFY", "f IGNORED"])?;
    // Without the directory above, it is found by its path.
    instance.unwatch(of_folder)?;
    expect(&instance.told()?, &["folder IGNORED"])?;
    fs::set_permissions(&d, fs::Permissions::from_mode(0o700))?;
    expect(&instance.told()?, &["d ATTRIB,ISDIR"])?;
    instance.watch(folder, ALL)?;
    fs::rename(&d, folder.join("e"))?;
    expect(&instance.told()?, &["folder/d MOVED_FROM,ISDIR", "folder/e MOVED_TO,ISDIR", "d MOVE_SELF"])?;
    instance.unwatch(of_d)?;
    expect(&instance.told()?, &["d IGNORED"])?;
    // What was told to it is not told again from above.
    fs::write(folder.join("e/g"), "")?;
    expect(&instance.told()?, &[])?;
    fs::set_permissions(folder.join("e"), fs::Permissions::from_mode(0o755))?;
    expect(&instance.told()?, &["folder/e ATTRIB,ISDIR"])
}

/// To the kernel's own inotify nothing happens to a file that is looked at, and no directory's time of access is changed.
fn makes_no_events(folder: &Path) -> Result<()> {
    fs::write(folder.join("f"), "")?;
    let kernel = native_instance()?;
    let text = CString::new(folder.join("f").as_os_str().as_bytes())?;
    let arguments = [kernel.as_raw_fd() as usize, text.as_ptr() as usize, ALL as usize, 0, 0, 0];
    // SAFETY: the path ends with NUL and outlives the call.
    unsafe { uinotify_harness::raw::system_call(libc::SYS_inotify_add_watch, arguments) }?;
    let mut instance = Instance::new()?;
    instance.watch(folder, ALL)?;
    let accessed = || -> Result<_> { Ok(fs::metadata(folder)?.accessed()?) };
    let before = accessed()?;
    for file in ["a", "b", "c"] {
        fs::write(folder.join(file), "")?;
        instance.told()?;
    }
    ensure!(accessed()? == before, "the time of access has changed");
    let mut bytes = [0_u8; 64];
    let arguments = [kernel.as_raw_fd() as usize, bytes.as_mut_ptr() as usize, bytes.len(), 0, 0, 0];
    // SAFETY: the buffer outlives the call, which writes at most its length.
    let read = unsafe { uinotify_harness::raw::system_call(libc::SYS_read, arguments) };
    ensure!(read == Err(Errno::EAGAIN), "{read:?}");
    Ok(())
}

/// An instance of the kernel's, past the library.
fn native_instance() -> Result<OwnedFd> {
    let flags = (libc::IN_CLOEXEC | libc::IN_NONBLOCK) as usize;
    // SAFETY: takes flags only.
    let number = unsafe { uinotify_harness::raw::system_call(libc::SYS_inotify_init1, [flags, 0, 0, 0, 0, 0]) }?;
    // SAFETY: the call has just returned this descriptor, which nobody else has.
    Ok(unsafe { OwnedFd::from_raw_fd(i32::try_from(number)?) })
}

/// A folder that is seen a second time through a file system whose server is another process; it ends with this.
struct Served {
    server: std::process::Child,
    lower: PathBuf,
    seen: PathBuf,
}

impl Served {
    fn new(folder: &Path) -> Result<Self> {
        let (lower, seen) = (folder.join("lower"), folder.join("seen"));
        fs::create_dir(&lower)?;
        fs::create_dir(&seen)?;
        let mut command = Command::new(env!("CARGO_BIN_EXE_uinotify"));
        command.args(["mount", "--foreground", "--source", "fuse"]).args([&lower, &seen]);
        command.env_remove("UINOTIFY_SOCKET").env_remove("LD_PRELOAD").stdout(Stdio::piped());
        let mut server = command.spawn()?;
        let output = server.stdout.take().context("no output")?;
        let mut line = String::new();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(output), &mut line)?;
        ensure!(!line.is_empty(), "the file system is not mounted");
        Ok(Self { server, lower, seen })
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill(Pid::from_raw(self.server.id().cast_signed()), signal)?)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.signal(Signal::SIGCONT);
        let _ = umount2(&self.seen, MntFlags::MNT_DETACH);
        let _ = self.signal(Signal::SIGTERM);
        let _ = self.server.wait();
    }
}

/// A file system that notifies nobody of what is done on its other side, as of another machine: the kernel's inotify sees nothing of it.
fn changed_elsewhere(folder: &Path) -> Result<()> {
    let served = Served::new(folder)?;
    fs::write(served.lower.join("f"), "")?;
    let kernel = native_instance()?;
    let text = CString::new(served.seen.as_os_str().as_bytes())?;
    let arguments = [kernel.as_raw_fd() as usize, text.as_ptr() as usize, ALL as usize, 0, 0, 0];
    // SAFETY: the path ends with NUL and outlives the call.
    unsafe { uinotify_harness::raw::system_call(libc::SYS_inotify_add_watch, arguments) }?;
    let mut instance = Instance::new()?;
    instance.watch(&served.seen, ALL & !libc::IN_OPEN)?;
    fs::write(served.lower.join("f"), "x")?;
    expect(&instance.told()?, &["seen/f MODIFY"])?;
    fs::write(served.lower.join("g"), "")?;
    expect(&instance.told()?, &["seen/g CREATE"])?;
    fs::rename(served.lower.join("g"), served.lower.join("h"))?;
    expect(&instance.told()?, &["seen/g MOVED_FROM", "seen/h MOVED_TO"])?;
    fs::remove_file(served.lower.join("h"))?;
    expect(&instance.told()?, &["seen/h DELETE"])?;
    let mut bytes = [0_u8; 4096];
    let arguments = [kernel.as_raw_fd() as usize, bytes.as_mut_ptr() as usize, bytes.len(), 0, 0, 0];
    // SAFETY: the buffer outlives the call, which writes at most its length.
    let length = unsafe { uinotify_harness::raw::system_call(libc::SYS_read, arguments) }.unwrap_or(0);
    let of_changes = libc::IN_MODIFY | libc::IN_CREATE | libc::IN_MOVED_FROM | libc::IN_MOVED_TO | libc::IN_DELETE;
    let seen: Vec<_> = Records::new(&bytes[..length as usize]).filter(|record| record.mask & of_changes != 0).collect();
    ensure!(seen.is_empty(), "the kernel has seen it too: nothing is shown by this: {seen:?}");
    Ok(())
}

/// While a server does not answer, all that has to do with other file systems goes on.
fn does_not_answer(folder: &Path) -> Result<()> {
    let served = Served::new(folder)?;
    let other = folder.join("other");
    fs::create_dir(&other)?;
    let mut instance = Instance::new()?;
    instance.watch(&served.seen, ALL)?;
    served.signal(Signal::SIGSTOP)?;
    // Opens its path, which asks the server nothing, and has the emulator look, which does.
    let waiting = std::thread::spawn(barrier);
    let begun = Instant::now();
    let mut others = Instance::new()?;
    for count in 0..20 {
        others.watch(&other, ALL)?;
        fs::write(other.join(count.to_string()), "")?;
    }
    let names = others.read()?;
    ensure!(!waiting.is_finished(), "the barrier did not wait for the server");
    ensure!(begun.elapsed() < Duration::from_secs(10), "the emulator waited: {names:?}");
    served.signal(Signal::SIGCONT)?;
    match waiting.join() {
        Ok(passed) => passed?,
        Err(_) => bail!("the barrier panicked"),
    }
    let told: Vec<_> = names.into_iter().chain(others.told()?).collect();
    ensure!(told.len() == 20, "{told:?}");
    Ok(())
}

/// A real mount of a network file system, on this machine, under `--source auto`.
mod network {
    use super::{Command, Context, Path, Result, Stdio, bail, ensure, fs};

    /// What the machine lacks for a mount of this kind.
    pub(super) fn missing(kind: &str) -> Option<String> {
        let systems = fs::read_to_string("/proc/filesystems").unwrap_or_default();
        let knows = systems.lines().any(|line| line.split_whitespace().last().is_some_and(|name| name == kind));
        if !knows {
            return Some(format!("this kernel has no file system {kind}"));
        }
        let server = if kind == "nfs" { "/proc/fs/nfsd/threads" } else { "/usr/sbin/diod" };
        (!Path::new(server).exists()).then(|| format!("there is no server for {kind}: {server} is missing"))
    }

    /// The folder is exported to this machine itself, changed on the server's side, and looked at through the mount.
    pub(super) fn run(kind: &str) -> Result<()> {
        let room = tempfile::tempdir()?;
        let (lower, seen) = (room.path().join("lower"), room.path().join("seen"));
        fs::create_dir(&lower)?;
        fs::create_dir(&seen)?;
        let shell = |text: &str| -> Result<()> {
            let status = Command::new("sh").args(["-c", text]).stdin(Stdio::null()).status()?;
            ensure!(status.success(), "{text}: {status}");
            Ok(())
        };
        let (lower_text, seen_text) = (lower.display(), seen.display());
        let end = match kind {
            "nfs" => {
                shell(&format!("exportfs -o rw,no_root_squash,insecure,fsid=77 127.0.0.1:{lower_text}"))?;
                shell(&format!("mount -t nfs -o vers=4,nolock 127.0.0.1:{lower_text} {seen_text}"))?;
                format!("umount {seen_text}; exportfs -u 127.0.0.1:{lower_text}")
            }
            "9p" => {
                let socket = room.path().join("diod.sock");
                let socket = socket.display();
                shell(&format!("diod -n -l {socket} -e {lower_text} & until [ -S {socket} ]; do :; done"))?;
                let options = format!("trans=unix,version=9p2000.L,aname={lower_text},uname=root");
                shell(&format!("mount -t 9p -o {options} {socket} {seen_text}"))?;
                format!("umount {seen_text}; fuser -k {socket}")
            }
            _ => bail!("no such kind"),
        };
        let watched = watch(&lower, &seen);
        shell(&end)?;
        watched
    }

    fn watch(lower: &Path, seen: &Path) -> Result<()> {
        let text = "
            inotifywait -q -m -e create,delete --format '%e %f' \"$1\" > \"$2/told\" &
            watcher=$!
            until \"$3\" ps --socket \"${UINOTIFY_SOCKET%%\\?*}\" | grep -q 'wd 1'; do :; done
            touch \"$2/lower/f\"; \"$3\" barrier
            rm \"$2/lower/f\"; \"$3\" barrier
            until [ $(wc -l < \"$2/told\") -ge 2 ]; do :; done
            kill $watcher";
        let command = env!("CARGO_BIN_EXE_uinotify");
        let mut run = Command::new(command);
        let room = lower.parent().context("a folder in a folder")?;
        run.args(["run", "--poll-interval", "1h", "--", "sh", "-c", text, "sh"]).args([seen, room]).arg(command);
        let status = run.env("XDG_RUNTIME_DIR", room).stdin(Stdio::null()).status()?;
        ensure!(status.success(), "{status}");
        let told = fs::read_to_string(room.join("told"))?;
        ensure!(told == "CREATE f\nDELETE f\n", "{told}");
        Ok(())
    }
}
