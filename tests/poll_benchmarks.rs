//! What it costs to look at 100,000 files: source `poll`, watchdog's `PollingObserver` and notify's `PollWatcher`, in turn, several times
//! round: `cargo bench --bench poll`.
//!
//! Each is a process that watches the same tree and has finished setting up, and nothing in the tree changes. What counts is the processor time of
//! one look, which is also the share of a processor that one look a second takes: a machine that is busy keeps nobody to an interval. The looks
//! of the others are counted by the kernel's inotify on one folder, which each of their looks opens once; ours, which open nothing, are asked
//! for by barriers, and their time is the emulator's. watchdog is taken from the `python3` in PATH, or from `UINOTIFY_PYTHON`; where that has
//! none its row says so.
//!
//! `--quick`, and any run without `--bench`, takes a small tree and shows that everything works, not what it costs.

use std::ffi::CString;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use notify::{Config, PollWatcher, RecursiveMode, Watcher};
use uinotify_host::EmulatorAddress;
use uinotify_host::control::Control;

const OURS: &str = "--ours";
const NOTIFY: &str = "--notify";
/// After this many seconds something hangs that will not end by itself.
const HANG_SECONDS: u32 = 900;
const INTERVAL: Duration = Duration::from_secs(1);

const WATCHDOG: &str = "
import sys, time
from watchdog.events import FileSystemEventHandler
from watchdog.observers.polling import PollingObserver
observer = PollingObserver(timeout=1.0)
observer.schedule(FileSystemEventHandler(), sys.argv[1], recursive=True)
observer.start()
print('ready', flush=True)
while True:
    time.sleep(3600)
";

/// How much is measured.
struct Extent {
    folders: usize,
    files: usize,
    rounds: usize,
    looks: u32,
}

/// A process that looks, and whatever else is there for it.
struct Subject {
    name: &'static str,
    watcher: Child,
    /// The one whose time counts, if another.
    server: Option<Child>,
    /// Where it is asked to look.
    socket: Option<PathBuf>,
}

impl Drop for Subject {
    fn drop(&mut self) {
        for child in std::iter::once(&mut self.watcher).chain(&mut self.server) {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn main() -> ExitCode {
    // SAFETY: it takes no pointer; the default action of SIGALRM is to end the process.
    unsafe { libc::alarm(HANG_SECONDS) };
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let words: Vec<_> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        [OURS, root] => watch_all(Path::new(root)),
        [NOTIFY, root] => watch_by_notify(Path::new(root)),
        _ if words.contains(&"--list") => return ExitCode::SUCCESS,
        _ => {}
    }
    let is_full = words.contains(&"--bench") && !words.contains(&"--quick") && !words.contains(&"--test");
    let extent = if is_full {
        Extent { folders: 1000, files: 100, rounds: 3, looks: 10 }
    } else {
        Extent { folders: 10, files: 10, rounds: 1, looks: 2 }
    };
    measure(&extent);
    if !is_full {
        println!("A quick run: the figures say little.");
    }
    ExitCode::SUCCESS
}

fn measure(extent: &Extent) {
    let room = tempfile::tempdir().expect("a temporary folder");
    let root = room.path().join("tree");
    for folder in 0..extent.folders {
        let folder = root.join(format!("{}", folder / 100)).join(format!("{folder}"));
        fs::create_dir_all(&folder).expect("a folder");
        for file in 0..extent.files {
            File::create(folder.join(format!("a-file-{file}"))).expect("a file");
        }
    }
    let mut times: Vec<(&str, Vec<f64>)> = Vec::new();
    for round in 0..extent.rounds {
        for start in [ours, by_notify, by_watchdog] {
            let subject = match start(&root, room.path()) {
                Ok(subject) => subject,
                Err(reason) if round == 0 => {
                    println!("not measured: {reason}");
                    continue;
                }
                Err(_) => continue,
            };
            let time = look_of(&subject, &root, extent.looks);
            match times.iter_mut().find(|(name, _)| *name == subject.name) {
                Some((_, all)) => all.push(time),
                None => times.push((subject.name, vec![time])),
            }
        }
    }
    println!("{} files in {} folders, looked at", extent.folders * extent.files, extent.folders);
    println!("| who looks | CPU of a look, median | least | most | ours is |\n|---|---|---|---|---|");
    for (_, all) in &mut times {
        all.sort_by(f64::total_cmp);
    }
    let median = |all: &[f64]| all[all.len() / 2];
    let own = median(&times[0].1);
    for (name, all) in &times {
        let show = |look: f64| format!("{:.0} ms", look * 1000.0);
        let (least, most) = (show(all[0]), show(all[all.len() - 1]));
        let ratio = own / median(all);
        let ratio = if ratio.is_finite() { format!("{ratio:.2} of it") } else { "-".to_owned() };
        println!("| {name} | {} | {least} | {most} | {ratio} |", show(median(all)));
    }
}

/// Processor time of one look, behind some by which caches fill, in seconds.
fn look_of(subject: &Subject, root: &Path, looks: u32) -> f64 {
    let pid = subject.server.as_ref().unwrap_or(&subject.watcher).id();
    let mut look: Box<dyn FnMut()> = match &subject.socket {
        Some(socket) => {
            let mut control = Control::open(&EmulatorAddress { socket, token: &[] }).expect("the emulator");
            Box::new(move || control.barrier().expect("the emulator answers"))
        }
        None => {
            let opened = Inotify::init(InitFlags::IN_CLOEXEC).expect("an instance");
            opened.add_watch(&root.join("0/0"), AddWatchFlags::IN_OPEN).expect("a watch");
            // One that opens the folder twice would have half the time of a look.
            Box::new(move || drop(opened.read_events().expect("an event")))
        }
    };
    (0..2).for_each(|_| look());
    let before = processor_time(pid);
    (0..looks).for_each(|_| look());
    (processor_time(pid) - before).as_secs_f64() / f64::from(looks)
}

/// Fields 14 and 15 of proc_pid_stat(5).
fn processor_time(pid: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("it is running");
    let fields: Vec<_> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    let ticks: u64 = fields[11..13].iter().map(|field| field.parse::<u64>().expect("a number")).sum();
    // SAFETY: takes a number.
    let ticks_a_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    Duration::from_secs_f64(ticks as f64 / ticks_a_second as f64)
}

fn ready(name: &'static str, mut command: Command, server: Option<(Child, PathBuf)>) -> Result<Subject, String> {
    let mut watcher = command.stdout(Stdio::piped()).spawn().map_err(|error| format!("{name}: {error}"))?;
    let output = watcher.stdout.take().expect("it is piped");
    let (server, socket) = server.unzip();
    let subject = Subject { name, watcher, server, socket };
    let mut line = String::new();
    BufReader::new(output).read_line(&mut line).expect("a pipe can be read");
    if line.trim() == "ready" { Ok(subject) } else { Err(format!("{name} does not start")) }
}

fn this_program(mode: &str, root: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("the benchmark's own path"));
    command.arg(mode).arg(root);
    command
}

fn ours(root: &Path, room: &Path) -> Result<Subject, String> {
    let socket = room.join("server.sock");
    let mut command = Command::new(env!("CARGO_BIN_EXE_uinotify"));
    command.args(["serve", "--source", "poll", "--poll-interval", "1h", "--ready-fd", "1", "--socket"]).arg(&socket);
    let mut server = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().map_err(|error| error.to_string())?;
    let output = server.stdout.take().expect("it is piped");
    BufReader::new(output).read_line(&mut String::new()).expect("a pipe can be read");
    let library = Command::new(env!("CARGO_BIN_EXE_uinotify")).arg("library").output().expect("the command starts");
    let library = String::from_utf8(library.stdout).expect("a path");
    let mut watcher = this_program(OURS, root);
    watcher.env("LD_PRELOAD", library.trim()).env("UINOTIFY_SOCKET", &socket);
    ready("uinotify, source `poll`", watcher, Some((server, socket)))
}

fn by_notify(root: &Path, _: &Path) -> Result<Subject, String> {
    ready("notify 8, `PollWatcher`", this_program(NOTIFY, root), None)
}

fn by_watchdog(root: &Path, _: &Path) -> Result<Subject, String> {
    let python = std::env::var_os("UINOTIFY_PYTHON").unwrap_or_else(|| "python3".into());
    let mut command = Command::new(python);
    command.args(["-c", WATCHDOG]).arg(root).stderr(Stdio::null());
    ready("watchdog, `PollingObserver`", command, None)
}

/// Watches each folder of a tree for everything, by libc's functions.
fn watch_all(root: &Path) {
    // SAFETY: takes flags only.
    let instance = unsafe { libc::inotify_init1(libc::IN_CLOEXEC) };
    assert!(instance >= 0, "an instance");
    let mut folders: Vec<PathBuf> = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        let path = CString::new(folder.as_os_str().as_bytes()).expect("a path without NUL");
        // SAFETY: the path ends with NUL and outlives the call.
        let added = unsafe { libc::inotify_add_watch(instance, path.as_ptr(), libc::IN_ALL_EVENTS) };
        assert!(added > 0, "a watch");
        let entries = fs::read_dir(&folder).expect("a readable folder").flatten();
        folders.extend(
            entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path()),
        );
    }
    println!("ready");
    loop {
        std::thread::park();
    }
}

fn watch_by_notify(root: &Path) {
    let config = Config::default().with_poll_interval(INTERVAL);
    let mut watcher = PollWatcher::new(|_| {}, config).expect("a watcher");
    watcher.watch(root, RecursiveMode::Recursive).expect("a watch");
    println!("ready");
    loop {
        std::thread::park();
    }
}
