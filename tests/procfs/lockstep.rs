//! Two subjects that look at the same files at the same time, and do as they are told.

use std::ffi::CString;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use libtest_mimic::Failed;
use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use uinotify_harness::needs::Need;

use crate::play::{Subject, command, is_equal};

/// The first argument of this test when it compares in a mount name space of its own.
pub(crate) const ARGUMENT: &str = "--with-mounts";

/// The flags of `fcntl(F_SETFL)` that files have.
const STATUS_FLAGS: [i32; 5] = [libc::O_ASYNC, libc::O_APPEND, libc::O_NONBLOCK, libc::O_ASYNC | libc::O_NONBLOCK, 0];

struct Actor {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Actor {
    fn start(subject: &Subject<'_>, program: &Path, folder: &Path) -> Result<Self, Failed> {
        let mut command = command(subject, program, "obey", folder);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let (input, output) = (child.stdin.take(), child.stdout.take().ok_or("it is piped")?);
        Ok(Self { child, input, output: BufReader::new(output) })
    }

    fn ask(&mut self, line: &str) -> Result<String, Failed> {
        writeln!(self.input.as_mut().ok_or("it is piped")?, "{line}")?;
        let mut said = String::new();
        while !said.ends_with("\n.\n") && said != ".\n" {
            if self.output.read_line(&mut said)? == 0 {
                return Err(format!("after {line:?} it has ended: {said}").into());
            }
        }
        Ok(said)
    }

    fn end(mut self) -> Result<(), Failed> {
        drop(self.input.take());
        let status = self.child.wait()?;
        if status.success() { Ok(()) } else { Err(format!("it ended with {status}").into()) }
    }
}

struct Pair {
    native: Actor,
    emulated: Actor,
}

impl Pair {
    fn start(program: &Path, folder: &Path) -> Result<Self, Failed> {
        let native = Actor::start(&Subject::Native, program, folder)?;
        let emulated = Actor::start(&Subject::Emulated(&[]), program, folder)?;
        Ok(Self { native, emulated })
    }

    /// Tells both, and compares what they say to the byte.
    fn tell(&mut self, line: &str) -> Result<String, Failed> {
        let (native, emulated) = (self.native.ask(line)?, self.emulated.ask(line)?);
        is_equal(&native, &emulated).map_err(|failed| format!("{line}: {}", failed.message().unwrap_or_default()))?;
        Ok(native)
    }

    fn watch(&mut self, fd: i32, path: &Path, mask: u32) -> Result<String, Failed> {
        self.tell(&format!("watch {fd} {mask:x} {}", path.display()))
    }

    fn end(self) -> Result<(), Failed> {
        self.native.end()?;
        self.emulated.end()
    }
}

/// FD-15: the text is the kernel's to the byte. With mounts of many kinds where they can be made.
pub(crate) fn texts_are_the_kernels(program: &Path) -> Result<(), Failed> {
    let room = tempfile::tempdir()?;
    let folder = room.path().join("folder");
    fs::create_dir(&folder)?;
    if Need::Mounts.probe().is_err() {
        return compare(program, &folder);
    }
    let mut again = Command::new(std::env::current_exe()?);
    again.arg(ARGUMENT).arg(program).arg(&folder);
    // SAFETY: one system call, between fork and exec.
    unsafe { again.pre_exec(|| unshare(CloneFlags::CLONE_NEWNS).map_err(Into::into)) };
    let output = again.output()?;
    let errors = String::from_utf8_lossy(&output.stderr);
    if output.status.success() { Ok(()) } else { Err(errors.into_owned().into()) }
}

/// `mount(2)`.
fn mount(kind: &str, target: &Path, flags: libc::c_ulong, options: &str) -> Result<(), Failed> {
    let target = CString::new(target.as_os_str().as_bytes())?;
    let [kind, options] = [CString::new(kind)?, CString::new(options)?];
    // SAFETY: the strings live through the call.
    let result =
        unsafe { libc::mount(c"none".as_ptr(), target.as_ptr(), kind.as_ptr(), flags, options.as_ptr().cast()) };
    Errno::result(result)?;
    Ok(())
}

/// In a mount name space of this process's own.
pub(crate) fn with_mounts(program: &Path, folder: &Path) -> Result<(), Failed> {
    mount("none", Path::new("/"), libc::MS_REC | libc::MS_PRIVATE, "")?;
    let [memory, union] = ["memory", "union"].map(|name| folder.join(name));
    fs::create_dir(&memory)?;
    fs::create_dir(&union)?;
    mount("tmpfs", &memory, 0, "")?;
    let layers = ["lower", "upper", "work"].map(|name| memory.join(name));
    for layer in &layers {
        fs::create_dir(layer)?;
    }
    fs::write(layers[0].join("of_lower"), "")?;
    let [lower, upper, work] = layers.each_ref().map(|layer| layer.display());
    let options = format!("lowerdir={lower},upperdir={upper},workdir={work}");
    // Not every kernel has it.
    let _ = mount("overlay", &union, 0, &options);
    compare(program, folder)
}

fn compare(program: &Path, folder: &Path) -> Result<(), Failed> {
    let mut pair = Pair::start(program, folder)?;
    flags(&mut pair)?;
    watches(&mut pair, folder)?;
    pair.end()
}

fn flags(pair: &mut Pair) -> Result<(), Failed> {
    for flags in [0, libc::IN_NONBLOCK, libc::IN_CLOEXEC, libc::IN_NONBLOCK | libc::IN_CLOEXEC] {
        pair.tell(&format!("group {flags}"))?;
        pair.tell("show 3")?;
        for status in STATUS_FLAGS {
            pair.tell(&format!("status 3 {status}"))?;
            pair.tell("show 3")?;
        }
        for closing in [1, 0] {
            pair.tell(&format!("closing 3 {closing}"))?;
            pair.tell("duplicate 3")?;
            pair.tell("show 3")?;
            pair.tell("show 4")?;
            pair.tell("close 4")?;
        }
        pair.tell("close 3")?;
    }
    Ok(())
}

fn watches(pair: &mut Pair, folder: &Path) -> Result<(), Failed> {
    let [file, linked, gone, soft, sub] = ["file", "linked", "gone", "soft", "sub"].map(|name| folder.join(name));
    fs::write(&file, "")?;
    fs::write(&gone, "")?;
    fs::hard_link(&file, &linked)?;
    std::os::unix::fs::symlink("file", &soft)?;
    fs::create_dir(&sub)?;
    let status = format!("/proc/{}/status", std::process::id());
    pair.tell(&format!("group {}", libc::IN_CLOEXEC))?;
    pair.tell("show 3")?;
    for (path, mask) in [
        (folder, libc::IN_ALL_EVENTS),
        (&file, libc::IN_MODIFY),
        (&linked, libc::IN_ACCESS | libc::IN_MASK_ADD),
        (&soft, libc::IN_ATTRIB | libc::IN_DONT_FOLLOW),
        (&sub, libc::IN_ONLYDIR),
        (&sub, libc::IN_CREATE | libc::IN_ONLYDIR | libc::IN_EXCL_UNLINK),
        (&gone, libc::IN_ALL_EVENTS | libc::IN_ONESHOT | libc::IN_EXCL_UNLINK),
        (Path::new("/proc"), libc::IN_CREATE),
        (Path::new(&status), libc::IN_OPEN),
        (Path::new("/dev/shm"), libc::IN_ALL_EVENTS | libc::IN_UNMOUNT | libc::IN_Q_OVERFLOW | libc::IN_IGNORED),
        (Path::new("/sys/kernel"), libc::IN_DELETE_SELF),
        (Path::new("/dev/null"), libc::IN_OPEN | libc::IN_ISDIR),
        (Path::new("/dev/null"), libc::IN_ISDIR),
        (Path::new("/"), libc::IN_MOVE_SELF),
        (&folder.join("memory"), libc::IN_CREATE),
        (&folder.join("union"), libc::IN_CREATE),
        (&folder.join("union/of_lower"), libc::IN_OPEN),
    ] {
        pair.watch(3, path, mask)?;
        pair.tell("show 3")?;
    }
    // A watch that has ended is gone at once, though nobody has read its IN_IGNORED.
    let kept = fs::File::open(&file)?;
    fs::remove_file(&file)?;
    fs::remove_file(&linked)?;
    pair.tell("show 3")?;
    drop(kept);
    let shown = pair.tell("show 3")?;
    assert!(shown.contains("inotify wd:1 ") && !shown.contains("inotify wd:2 "), "{shown}");
    // The one shot.
    fs::set_permissions(&gone, std::os::unix::fs::PermissionsExt::from_mode(0o640))?;
    pair.tell("show 3")?;
    fs::remove_dir(&sub)?;
    pair.tell("show 3")?;
    pair.tell("remove 3 1")?;
    pair.tell("show 3")?;
    fs::write(&file, "")?;
    pair.watch(3, &file, libc::IN_ALL_EVENTS)?;
    pair.watch(3, folder, libc::IN_CREATE)?;
    pair.tell("show 3")?;
    if Need::NextWatch.probe().is_ok() {
        pair.tell("cursor 3 2147483647")?;
        pair.watch(3, &gone, libc::IN_OPEN)?;
        pair.tell("show 3")?;
    }
    // An instance that watches the file behind another.
    pair.tell("group 0")?;
    pair.tell("link 4")?;
    pair.tell("show 3")?;
    pair.tell("show 4")?;
    let many = folder.join("many");
    fs::create_dir(&many)?;
    for number in 0..3000 {
        let path = many.join(number.to_string());
        fs::write(&path, "")?;
        pair.watch(4, &path, libc::IN_MODIFY)?;
    }
    let shown = pair.tell("show 4")?;
    assert_eq!(shown.lines().filter(|line| line.starts_with("inotify wd:")).count(), 3000);
    Ok(())
}

/// DIFF-9: without its emulator the text is an error; what the kernel tells of the file is as before.
pub(crate) fn death_is_an_error(program: &Path) -> Result<(), Failed> {
    let room = tempfile::tempdir()?;
    let folder = room.path().join("folder");
    fs::create_dir(&folder)?;
    let mut native = Actor::start(&Subject::Native, program, &folder)?;
    let errors = room.path().join("errors");
    let mut command = command(&Subject::Emulated(&["-v"]), program, "obey", &folder);
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(fs::File::create(&errors)?);
    let mut child = child.spawn()?;
    let (input, output) = (child.stdin.take(), child.stdout.take().ok_or("it is piped")?);
    let mut emulated = Actor { child, input, output: BufReader::new(output) };
    for actor in [&mut native, &mut emulated] {
        actor.ask("group 0")?;
    }
    let said = fs::read_to_string(&errors)?;
    let emulator = said.lines().find_map(|line| line.strip_prefix("uinotify: emulator ")?.parse().ok());
    kill(Pid::from_raw(emulator.ok_or("-v names the emulator")?), Signal::SIGKILL)?;
    // What is asked next finds it dying or dead.
    let expected = format!("show /proc/self/fdinfo/3: errno {}\n.\n", libc::EIO);
    assert_eq!(emulated.ask("show 3")?, expected);
    is_equal(&native.ask("state 3")?, &emulated.ask("state 3")?)?;
    assert_eq!(emulated.ask("show 3")?, expected);
    native.end()?;
    emulated.end()
}
