//! With a real CRIU, which `CRIU` or PATH names.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use uinotify_images::checkpoint::{Checkpoint, Descriptor, Instance, Profile, Queue, Watch};
use uinotify_images::criu::{Directory, instance_of};
use uinotify_images::text::{ByteString, Device};

use crate::room::{Outcome, Room, end, eventually};
use crate::watcher::{FIRST_LARGE, WATCHES};

/// The descriptor of the instance in the program.
const FD: u32 = 4;

/// A CRIU that works here, or why there is none.
pub(super) fn find() -> Result<PathBuf, String> {
    let named = std::env::var_os("CRIU").filter(|path| !path.is_empty()).map(PathBuf::from);
    let in_path = || {
        let path = std::env::var_os("PATH")?;
        std::env::split_paths(&path).map(|folder| folder.join("criu")).find(|program| program.is_file())
    };
    let program = named.or_else(in_path).ok_or("criu is not installed")?;
    let checked = Command::new(&program).arg("check").stdin(Stdio::null()).output();
    let checked = checked.map_err(|error| format!("{} cannot be run: {error}", program.display()))?;
    if checked.status.success() {
        return Ok(program);
    }
    let told = String::from_utf8_lossy(&[checked.stdout, checked.stderr].concat()).into_owned();
    let told = told.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    Err(format!("`criu check` has failed: {told}"))
}

/// A program that watches, and is killed with the test.
struct Watcher {
    pid: i32,
    log: PathBuf,
    child: Option<Child>,
}

impl Watcher {
    /// Starts it behind `command`, such as `uinotify run --`, with no more open than it needs.
    fn start(room: &Room, mut command: Command) -> Result<Self, libtest_mimic::Failed> {
        for name in ["watched/a", "watched/b", "watched/c", "watched/d"] {
            fs::create_dir_all(room.path(name))?;
        }
        let log = room.path("log");
        let folder = room.path("watched");
        let command = command.args([folder.as_os_str(), log.as_os_str()]);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let mut watcher = Self { pid: child.id().cast_signed(), log, child: Some(child) };
        eventually("the program watches", || watcher.said("ready"))?;
        // Under `run`, it is that one's child, as the emulator is.
        let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", watcher.pid))?;
        let is_this = |pid: &&str| fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe == this_binary());
        if let Some(inner) = children.split_whitespace().find(is_this) {
            watcher.pid = inner.parse()?;
        }
        Ok(watcher)
    }

    fn said(&self, line: &str) -> bool {
        fs::read_to_string(&self.log).is_ok_and(|text| text.lines().any(|one| one == line))
    }

    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// wd and mask of each watch, oldest first, as its fdinfo shows them.
    fn fdinfo(&self, text: &str) -> Vec<(i32, u32)> {
        let field = |line: &str, name: &str| {
            let value = line.split_whitespace().find_map(|part| part.strip_prefix(name)).expect("the field");
            u32::from_str_radix(value, 16).expect("a number")
        };
        let lines = text.lines().filter(|line| line.starts_with("inotify "));
        let mut shown: Vec<_> = lines.map(|line| (field(line, "wd:").cast_signed(), field(line, "mask:"))).collect();
        shown.reverse();
        shown
    }

    fn kernel_fdinfo(&self) -> std::io::Result<String> {
        fs::read_to_string(format!("/proc/{}/fdinfo/{FD}", self.pid))
    }

    /// CRIU has ended the program: its number is free again.
    fn reap(&mut self) -> Outcome {
        if let Some(mut child) = self.child.take() {
            child.wait()?;
        }
        Ok(())
    }

    /// Events come with the old wd, and a new watch gets the next one.
    fn goes_on(&self, room: &Room) -> Outcome {
        fs::write(room.path("watched/b/made"), "")?;
        let created = format!("wd {FIRST_LARGE:#x} mask {:#x} name made", libc::IN_CREATE);
        eventually("the event is read", || self.said(&created))
            .map_err(|_| format!("{created} is not in the log:\n{}", self.log()))?;
        fs::write(room.path("watched/a/add"), "")?;
        let added = format!("added {:#x}", FIRST_LARGE + 2);
        eventually("a watch is added", || self.said(&added))
            .map_err(|_| format!("{added} is not in the log:\n{}", self.log()))?;
        Ok(())
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        // CRIU gives a restored program its old number.
        let _ = kill(Pid::from_raw(self.pid), Signal::SIGKILL);
        let _ = self.reap();
    }
}

fn this_binary() -> PathBuf {
    std::env::current_exe().expect("the path of the test")
}

fn succeed(command: &mut Command, log: &Path) -> Outcome {
    let ended = end(command);
    if ended.status == Some(0) {
        return Ok(());
    }
    let log = fs::read_to_string(log).unwrap_or_default();
    let tail: Vec<_> = log.lines().filter(|line| line.contains("Error")).collect();
    Err(format!("{command:?}: {:?}\n{}\n{}", ended.status, ended.stderr, tail.join("\n")).into())
}

/// What the masks are after a restore: the twelve events.
fn restored_masks() -> Vec<(i32, u32)> {
    WATCHES.iter().map(|(wd, mask, _)| (*wd, mask & libc::IN_ALL_EVENTS)).collect()
}

fn dump(criu: &Path, room: &Room, images: &Path, pid: i32) -> Command {
    let mut command = room.command(criu);
    command.args(["dump", "--tree", &pid.to_string(), "-v4", "--log-file", "dump.log", "--images-dir"]).arg(images);
    command
}

fn restore_arguments(command: &mut Command, images: &Path) {
    command.args(["restore", "--restore-detached", "-v4", "--log-file", "restore.log", "--images-dir"]).arg(images);
}

/// Images of kernel watches say what fdinfo said; written by us they are restored with the same wds.
pub(super) fn reads_what_was_read_and_rewritten(criu: &Path) -> Outcome {
    let room = Room::new();
    let images = room.path("images");
    fs::create_dir(&images)?;
    let mut program = room.command(this_binary());
    program.arg("--watch");
    let mut watcher = Watcher::start(&room, program)?;
    let before = watcher.fdinfo(&watcher.kernel_fdinfo()?);
    let expected: Vec<_> = WATCHES.iter().map(|(wd, mask, _)| (*wd, *mask)).collect();
    assert_eq!(before, expected);
    succeed(&mut dump(criu, &room, &images, watcher.pid), &images.join("dump.log"))?;
    watcher.reap()?;

    let directory = Directory::read(&images)?;
    let [file] = &directory.inotify[..] else { panic!("one instance: {directory:?}") };
    let instance = instance_of(file, directory.descriptors_of(file.id))?;
    let descriptor = Descriptor { pid: watcher.pid.cast_unsigned(), fd: FD, close_on_exec: false };
    assert_eq!((&instance.descriptors[..], instance.flags, instance.cursor), (&[descriptor][..], 0, 0x34d_71d8));
    for (watch, (wd, mask, name)) in instance.watches.iter().zip(WATCHES) {
        let path = room.path("watched").join(name);
        let status = fs::metadata(&path)?;
        assert_eq!((watch.wd, watch.mask, watch.inode), (wd, mask, status.ino()));
        assert_eq!(watch.path, Some(ByteString(path.into_os_string().into_encoded_bytes())));
    }

    // Through our own format, and back into the images.
    let original = fs::read(images.join("files.img"))?;
    let checkpoint = room.path("checkpoint.json");
    let exported = room.images(&[&"export", &images, &"-o", &checkpoint]);
    assert_eq!((exported.status, &*exported.stderr), (Some(0), ""));
    let mut without = file.clone();
    without.watches.clear();
    directory.replace(&[without])?;
    assert_ne!(fs::read(images.join("files.img"))?, original);
    let imported = room.images(&[&"import", &images, &checkpoint]);
    assert_eq!(imported.status, Some(0), "{}", imported.stderr);
    assert_eq!(fs::read(images.join("files.img"))?, original);

    let mut restore = room.command(criu);
    restore_arguments(&mut restore, &images);
    succeed(&mut restore, &images.join("restore.log"))?;
    assert_eq!(watcher.fdinfo(&watcher.kernel_fdinfo()?), restored_masks());
    watcher.goes_on(&room)
}

/// A program under uinotify is dumped, its socket becomes an instance, and CRIU restores that one into an emulator.
pub(super) fn restores_an_emulated_program(criu: &Path) -> Outcome {
    let room = Room::new();
    let images = room.path("images");
    fs::create_dir(&images)?;
    let uinotify = |room: &Room| {
        let mut command = room.command(env!("CARGO_BIN_EXE_uinotify"));
        // What the shim would hold in the program stands in CRIU's way.
        command.args(["run", "--"]).env("UINOTIFY_SETTLE", "request");
        command
    };
    let mut program = uinotify(&room);
    program.arg(this_binary()).arg("--watch");
    let mut watcher = Watcher::start(&room, program)?;
    let link = fs::read_link(format!("/proc/{}/fd/{FD}", watcher.pid))?;
    let link = link.to_string_lossy().into_owned();
    let inode = link.strip_prefix("socket:[").and_then(|rest| rest.strip_suffix(']')).ok_or("a socket")?;
    let mut command = dump(criu, &room, &images, watcher.pid);
    succeed(command.args(["--external", &format!("unix[{inode}]")]), &images.join("dump.log"))?;
    watcher.reap()?;

    let checkpoint = room.path("checkpoint.json");
    fs::write(&checkpoint, self::checkpoint(&room, watcher.pid, inode.parse()?)?.to_json())?;
    let converted = room.images(&[&"convert", &images, &"--checkpoint", &checkpoint]);
    assert_eq!((converted.status, &*converted.stdout), (Some(0), "instance 0x1 converted, with 3 watches\n"));
    assert!(converted.stderr.contains("wd 0x34d71d7: IN_EXCL_UNLINK is lost"), "{}", converted.stderr);

    let mut restore = uinotify(&room);
    restore.arg(criu);
    restore_arguments(&mut restore, &images);
    succeed(&mut restore, &images.join("restore.log"))?;
    let fdinfo = end(room.command(env!("CARGO_BIN_EXE_uinotify")).args(["fdinfo", &watcher.pid.to_string()]));
    assert_eq!(watcher.fdinfo(&fdinfo.stdout), restored_masks(), "{}", fdinfo.stderr);
    watcher.goes_on(&room)
}

fn uinotify_criu(criu: &Path, room: &Room, options: &[&str], arguments: &[&dyn AsRef<std::ffi::OsStr>]) -> Command {
    let mut command = room.command(env!("CARGO_BIN_EXE_uinotify"));
    command.arg("criu").arg("--program").arg(criu).args(options).arg("--");
    command.args(arguments.iter().map(|argument| argument.as_ref()));
    command
}

/// A program that is to be checkpointed, with two events that it has not read, dumped by one command.
fn dumped(criu: &Path, room: &Room) -> Result<Watcher, libtest_mimic::Failed> {
    let images = room.path("images");
    fs::create_dir(&images)?;
    let mut program = room.command(env!("CARGO_BIN_EXE_uinotify"));
    program.args(["run", "--"]).env("UINOTIFY_SETTLE", "request").arg(this_binary()).arg("--watch");
    let mut watcher = Watcher::start(room, program)?;
    let process = Pid::from_raw(watcher.pid);
    // While it is stopped it reads nothing; CRIU sees a stopped program, and restores one.
    kill(process, Signal::SIGSTOP)?;
    eventually("the program is stopped", || {
        fs::read_to_string(format!("/proc/{process}/stat")).is_ok_and(|stat| stat.contains(") T "))
    })?;
    for name in ["unread1", "unread2"] {
        fs::write(room.path("watched/b").join(name), "")?;
    }
    let pid = watcher.pid.to_string();
    let arguments: [&dyn AsRef<std::ffi::OsStr>; 7] =
        [&"dump", &"--tree", &pid, &"-v4", &"--log-file", &"dump.log", &"--images-dir"];
    let arguments = [&arguments[..], &[&images]].concat();
    succeed(&mut uinotify_criu(criu, room, &[], &arguments), &images.join("dump.log"))?;
    watcher.reap()?;
    Ok(watcher)
}

/// One command dumps, and one restores: wds, masks, the next wd, and what nobody had read.
pub(super) fn dumps_and_restores_with_a_command_each(criu: &Path) -> Outcome {
    let room = Room::new();
    let watcher = dumped(criu, &room)?;
    let images = room.path("images");
    let shown = room.images(&[&"show", &images]).stdout;
    for wd in ["wd 0x1 ", "wd 0x34d71d6 ", "wd 0x34d71d7 "] {
        assert!(shown.contains(wd), "{shown}");
    }
    let arguments: [&dyn AsRef<std::ffi::OsStr>; 7] =
        [&"restore", &"--restore-detached", &"-v4", &"--log-file", &"restore.log", &"--images-dir", &images];
    let began = Instant::now();
    succeed(&mut uinotify_criu(criu, &room, &[], &arguments), &images.join("restore.log"))?;
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    let fdinfo = end(room.command(env!("CARGO_BIN_EXE_uinotify")).args(["fdinfo", &watcher.pid.to_string()]));
    let whole: Vec<_> = WATCHES.iter().map(|(wd, mask, _)| (*wd, *mask)).collect();
    assert_eq!(watcher.fdinfo(&fdinfo.stdout), whole, "{}", fdinfo.stderr);
    kill(Pid::from_raw(watcher.pid), Signal::SIGCONT)?;
    watcher.goes_on(&room)?;
    let log = watcher.log();
    let lines: Vec<&str> = log.lines().skip(1).take(3).collect();
    let created = |name: &str| format!("wd {FIRST_LARGE:#x} mask {:#x} name {name}", libc::IN_CREATE);
    assert_eq!(lines, ["unread1", "unread2", "made"].map(created));
    Ok(())
}

/// Where the ioctl is missing, CRIU takes its loop, which is ended, with the task that it has forked.
pub(super) fn ends_a_restore_by_the_loop(criu: &Path) -> Outcome {
    let room = Room::new();
    let watcher = dumped(criu, &room)?;
    let images = room.path("images");
    let arguments: [&dyn AsRef<std::ffi::OsStr>; 7] =
        [&"restore", &"--restore-detached", &"-v4", &"--log-file", &"restore.log", &"--images-dir", &images];
    let options = ["--setnextwd", "enotty", "--max-seconds", "2"];
    let ended = end(&mut uinotify_criu(criu, &room, &options, &arguments));
    assert_eq!(ended.status, Some(128 + libc::SIGKILL), "{}", ended.stderr);
    assert!(ended.stderr.contains("not restored within 2 s: wd 0x"), "{}", ended.stderr);
    assert!(ended.stderr.contains("wd 0x34d71d7 would take some "), "{}", ended.stderr);
    eventually("nothing of the restore is left", || {
        let stat = fs::read_to_string(format!("/proc/{}/stat", watcher.pid));
        stat.map_or(true, |stat| stat.contains(") Z "))
    })
}

/// What is known of the program's one instance.
fn checkpoint(room: &Room, pid: i32, inode: u64) -> Result<Checkpoint, libtest_mimic::Failed> {
    let mut watches = Vec::new();
    for (wd, mask, name) in WATCHES {
        let path = room.path("watched").join(name);
        let status = fs::metadata(&path)?;
        let device = Device { major: libc::major(status.dev()), minor: libc::minor(status.dev()) };
        watches.push(Watch {
            wd,
            mask,
            path: Some(ByteString(path.into_os_string().into_encoded_bytes())),
            device,
            inode: status.ino(),
            generation: None,
            handle: None,
            mount_id: None,
        });
    }
    let instance = Instance {
        id: 1,
        owner: None,
        socket_inode: Some(inode),
        descriptors: vec![Descriptor { pid: pid.cast_unsigned(), fd: FD, close_on_exec: false }],
        flags: 0,
        signal_owner: None,
        cursor: (FIRST_LARGE + 2).cast_unsigned(),
        limits: None,
        watches,
        queue: Queue::default(),
    };
    Ok(Checkpoint::new(Profile::Native, 0, vec![instance]))
}
