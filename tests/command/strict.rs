//! `--order strict` holds whoever opens or reads, and never for long, whatever becomes of those who hold.

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use libtest_mimic::{Completion, Failed};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::room::{Room, Running, eventually, helper_command, is_running};

type Outcome = Result<Completion, Failed>;

/// Longer than anybody is held, on a machine that is busy.
const HELD_MAX: Duration = Duration::from_secs(10);
const OPENS: usize = 20;

/// A program that watches the folder in which its emulator writes what it has to say.
struct Scene {
    room: Room,
    running: Running,
    emulator: i32,
    keeper: i32,
}

impl Scene {
    /// `None`: without the right to hold anybody.
    fn new() -> Option<Self> {
        // SAFETY: takes flags only.
        let group = unsafe { libc::fanotify_init(libc::FAN_CLASS_CONTENT | libc::FAN_CLOEXEC, 0) };
        let _ = nix::unistd::close(nix::errno::Errno::result(group).ok()?);
        let room = Room::new();
        fs::write(room.path("file"), "text").expect("a folder of our own");
        let hold = helper_command(&["hold", room.folder.path().to_str().expect("a UTF-8 path")]);
        let run = [&["run", "-v", "--source", "fanotify", "--order", "strict", "--"][..], &hold].concat();
        let mut running = Running::start(room.uinotify(&run).stdin(Stdio::piped()));
        assert_eq!(running.line(), "ready", "{}", room.stderr());
        let emulator = room.emulator();
        let keeper = children(emulator).into_iter().find(|child| name(*child) == "uinotify-gate");
        let keeper = keeper.expect("the emulator has a keeper");
        Some(Self { room, running, emulator, keeper })
    }

    /// Files of the watched folder are opened and read, by a process that nobody is to hold for long.
    fn open(&self, when: &str) -> Result<Duration, Failed> {
        let path = self.room.path("file");
        let (done, is_done) = mpsc::channel();
        let start = Instant::now();
        std::thread::spawn(move || {
            for _ in 0..OPENS {
                let read = fs::File::open(&path).and_then(|mut file| file.read(&mut [0; 4]));
                assert_eq!(read.expect("it may be read"), 4);
            }
            let _ = done.send(());
        });
        is_done.recv_timeout(HELD_MAX).map_err(|_| format!("{when}: held for more than {HELD_MAX:?}"))?;
        Ok(start.elapsed())
    }

    /// The program is told of what happens.
    fn ensure_told(&mut self) {
        self.running.tell("go");
        let line = self.running.line();
        assert!(line.starts_with("wd 1 mask 0x100 name made"), "{line}");
    }
}

fn signal(process: i32, signal: Signal) {
    kill(Pid::from_raw(process), signal).expect("it is there");
}

fn name(process: i32) -> String {
    fs::read_to_string(format!("/proc/{process}/comm")).unwrap_or_default().trim_end().to_owned()
}

fn children(process: i32) -> Vec<i32> {
    let entries = fs::read_dir("/proc").expect("/proc is mounted").flatten();
    let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let parent = |number: &i32| {
        let stat = fs::read_to_string(format!("/proc/{number}/stat")).ok()?;
        stat.rsplit(") ").next()?.split(' ').nth(1)?.parse::<i32>().ok()
    };
    numbers.filter(|number| parent(number) == Some(process)).collect()
}

fn ignored() -> Outcome {
    Ok(Completion::ignored_with("permission events need CAP_SYS_ADMIN"))
}

pub(super) fn nobody_hangs_when_the_emulator_stops() -> Outcome {
    let Some(mut scene) = Scene::new() else { return ignored() };
    scene.open("with an emulator")?;
    signal(scene.emulator, Signal::SIGSTOP);
    // One is held for as long as the keeper is patient; after that nobody is.
    scene.open("with a stopped emulator")?;
    let later = scene.open("with a stopped emulator, later")?;
    assert!(later < HELD_MAX / 5, "{OPENS} files were opened in {later:?}");
    signal(scene.emulator, Signal::SIGCONT);
    scene.open("with an emulator that goes on")?;
    scene.ensure_told();
    assert!(is_running(scene.keeper));
    scene.running.child.wait()?;
    eventually("the keeper ends with its emulator", || !is_running(scene.keeper))?;
    Ok(Completion::Completed)
}

pub(super) fn nobody_hangs_when_the_emulator_dies() -> Outcome {
    let Some(mut scene) = Scene::new() else { return ignored() };
    signal(scene.emulator, Signal::SIGKILL);
    scene.open("without an emulator")?;
    eventually("the keeper ends with its emulator", || !is_running(scene.keeper))?;
    scene.running.child.kill()?;
    scene.running.child.wait()?;
    Ok(Completion::Completed)
}

pub(super) fn nobody_hangs_without_the_keeper(by: Signal) -> Outcome {
    let Some(mut scene) = Scene::new() else { return ignored() };
    signal(scene.keeper, by);
    scene.open("without a keeper")?;
    eventually("a keeper that was stopped is ended", || !is_running(scene.keeper))?;
    // Events go on, and it is said that their order is not what it was.
    scene.ensure_told();
    scene.running.child.wait()?;
    let said = scene.room.stderr();
    assert!(said.contains("the order of events is best effort from here on"), "{said}");
    Ok(Completion::Completed)
}

/// The kernel opens for the keeper what it holds. That must not be a FIFO's other end. (6.18 asks nobody about special files; kernels that do
/// are what this is about.)
pub(super) fn a_writer_of_a_fifo_waits_for_its_reader() -> Outcome {
    let Some(mut scene) = Scene::new() else { return ignored() };
    let path = scene.room.path("fifo");
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU)?;
    let (done, is_done) = mpsc::channel();
    for _ in 0..2 {
        let (path, done) = (path.clone(), done.clone());
        std::thread::spawn(move || done.send(write(&path)));
    }
    let waiting = || {
        let tasks = fs::read_dir("/proc/self/task").expect("/proc is mounted").flatten();
        let places = tasks.map(|task| fs::read_to_string(task.path().join("wchan")).unwrap_or_default());
        places.filter(|place| place == "wait_for_partner").count()
    };
    eventually("both writers wait for a reader", || waiting() == 2)?;
    // Whoever else opens it must not wake them.
    let opens_nonblocking = |path: &PathBuf| {
        use std::os::unix::fs::OpenOptionsExt;
        fs::OpenOptions::new()
            .write(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(path)
            .err()
            .and_then(|error| error.raw_os_error())
    };
    for _ in 0..OPENS {
        assert_eq!(opens_nonblocking(&path), Some(libc::ENXIO), "there is a reader");
    }
    assert_eq!(waiting(), 2, "a writer was let in without a reader");
    let mut text = String::new();
    while text.len() < 2 {
        fs::File::open(&path)?.read_to_string(&mut text)?;
    }
    for _ in 0..2 {
        is_done.recv_timeout(HELD_MAX)??;
    }
    scene.running.tell("go");
    scene.running.line();
    scene.running.child.wait()?;
    Ok(Completion::Completed)
}

fn write(path: &Path) -> std::io::Result<()> {
    fs::OpenOptions::new().write(true).open(path)?.write_all(b"x")
}

/// Whoever may not hold anybody is told so before anything is run.
pub(super) fn it_is_for_root() -> Outcome {
    if !nix::unistd::geteuid().is_root() {
        let room = Room::new();
        let ended = room.run(&["--source", "fanotify", "--order", "strict"], &["true"]);
        assert_eq!(ended.status, Some(125));
        assert!(ended.stderr.contains("it needs CAP_SYS_ADMIN"), "{}", ended.stderr);
        return Ok(Completion::Completed);
    }
    // Without the right, in a user name space of its own.
    let room = Room::new();
    let run = [env!("CARGO_BIN_EXE_uinotify"), "run", "--source", "fanotify", "--order", "strict", "--", "true"];
    let command = helper_command(&[&["limited", "max_inotify_watches", "10"], &run[..]].concat());
    let ended = room.end(&mut room.command(command[0], &command[1..]));
    if ended.stderr.contains("a user name space") {
        return Ok(Completion::ignored_with("no user name spaces"));
    }
    assert_eq!(ended.status, Some(125), "{}", ended.stderr);
    assert!(ended.stderr.contains("it needs CAP_SYS_ADMIN"), "{}", ended.stderr);
    Ok(Completion::Completed)
}
