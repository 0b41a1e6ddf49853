//! A program that runs, natively or emulated, beside a folder that it watches.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use libtest_mimic::Failed;
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill, killpg};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::{Pid, getpgid};
use tempfile::TempDir;
use uinotify_host::status::{EmulatorStatus, GroupStatus};

use crate::inside::Inside;
use crate::need::with_node_packages;

pub(super) type Outcome = Result<(), Failed>;

/// The last thing that happens in a watched folder, and so the last name that a program shows.
pub(super) const END: &str = "the-end";

const PATIENCE: Duration = Duration::from_secs(30);

const POLL_PERIOD: Duration = Duration::from_millis(2);

/// What stands behind the program's inotify.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    /// The kernel.
    Native,
    /// `uinotify run`.
    Run,
    /// `uinotify serve`, and `uinotify env` in the shell that starts the program.
    Served,
    /// The library alone.
    Bare,
    /// `uinotify run --source fanotify`: events in the class of that source.
    Marked,
    /// `uinotify run --tree`: the folder is seen through the emulator's file system, and nothing else is watched.
    Tree,
}

impl Subject {
    /// Those that are compared with the kernel on a plain folder.
    pub(super) const EMULATED: [Self; 3] = [Self::Run, Self::Served, Self::Bare];
}

/// Starts the rest as a person does: the command and its socket first.
const UNDER_SERVER: &str = r#"eval "$("$0" env --socket "$1")" && shift && exec "$@""#;

/// The same for the library alone.
const UNDER_LIBRARY: &str = r#"LD_PRELOAD="$("$0" library)" && export LD_PRELOAD && exec "$@""#;

/// A folder of a trial's own, in which the watched one is.
pub(super) struct Room {
    subject: Subject,
    server: Option<Server>,
    /// While it is there, this thread sees what the program sees.
    inside: Option<Inside>,
    folder: TempDir,
    runtime: TempDir,
}

/// `uinotify serve`, for one trial.
struct Server(Child);

/// A program that is killed when its trial ends.
pub(super) struct Running {
    child: Child,
    room: Room,
}

impl Room {
    pub(super) fn new(subject: Subject) -> Result<Self, Failed> {
        let mut room =
            Self { subject, server: None, inside: None, folder: tempfile::tempdir()?, runtime: tempfile::tempdir()? };
        fs::create_dir(room.tree())?;
        if subject == Subject::Served {
            let socket = room.socket();
            let mut command = room.uinotify(&["serve", "--socket", &socket, "--ready-fd", "1"]);
            let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
            let Server(child) = room.server.insert(Server(child));
            let mut ready = String::new();
            child.stdout.take().ok_or("a pipe")?.read_to_string(&mut ready)?;
            assert_eq!(ready, "\n", "the server is ready");
        }
        Ok(room)
    }

    /// Where the server is.
    fn socket(&self) -> String {
        self.beside("socket").to_str().expect("UTF-8").to_owned()
    }

    /// The folder that is watched.
    pub(super) fn tree(&self) -> PathBuf {
        self.folder.path().join("tree")
    }

    /// A file beside the watched folder.
    pub(super) fn beside(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Starts `program` with nothing to read.
    pub(super) fn start(self, program: &[&str]) -> Result<Running, Failed> {
        self.start_with(&[], program, Stdio::null())
    }

    /// Starts `program`, under `uinotify run` with these options.
    pub(super) fn start_with(mut self, options: &[&str], program: &[&str], input: Stdio) -> Result<Running, Failed> {
        let mut command = match self.subject {
            Subject::Native => Command::new(program[0]),
            Subject::Run => self.uinotify(&[&["run"], options, &["--", program[0]]].concat()),
            Subject::Marked => {
                self.uinotify(&[&["run", "--source", "fanotify"], options, &["--", program[0]]].concat())
            }
            Subject::Tree => {
                let folder = self.folder.path().to_str().expect("UTF-8");
                let tree = ["run", "--source", "fuse", "--tree", folder];
                self.uinotify(&[&tree, options, &["--", program[0]]].concat())
            }
            Subject::Served => {
                let mut command = Command::new("sh");
                command.args(["-c", UNDER_SERVER, env!("CARGO_BIN_EXE_uinotify"), &self.socket(), program[0]]);
                command
            }
            Subject::Bare => {
                let mut command = Command::new("sh");
                command.args(["-c", UNDER_LIBRARY, env!("CARGO_BIN_EXE_uinotify"), program[0]]);
                command
            }
        };
        // Both streams in one file show what the program said in the order in which it did.
        let output = OpenOptions::new().append(true).create(true).open(self.beside("output"))?;
        command.args(&program[1..]).stdin(input).stdout(output.try_clone()?).stderr(output);
        let child = self.prepare(&mut command).process_group(0).spawn()?;
        if self.subject == Subject::Tree {
            self.inside = Some(Inside::of_child(child.id())?);
        }
        Ok(Running { child, room: self })
    }

    pub(super) fn uinotify(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_uinotify"));
        self.prepare(command.args(arguments));
        command
    }

    fn prepare<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        for name in ["LD_PRELOAD", "UINOTIFY_SOCKET", "UINOTIFY_DISABLE", "UINOTIFY_LOG", "UINOTIFY_SETTLE"] {
            command.env_remove(name);
        }
        with_node_packages(command).env("XDG_RUNTIME_DIR", self.runtime.path()).env("LC_ALL", "C")
    }
}

impl Running {
    pub(super) fn tree(&self) -> PathBuf {
        self.room.tree()
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.room.tree().join(name)
    }

    /// A file beside the watched folder.
    pub(super) fn beside(&self, name: &str) -> PathBuf {
        self.room.beside(name)
    }

    /// What the program has said so far, in whole lines.
    fn output(&self) -> String {
        let bytes = fs::read(self.room.beside("output")).expect("it is made before the program starts");
        let mut text = String::from_utf8_lossy(&bytes).into_owned();
        text.truncate(text.rfind('\n').map_or(0, |end| end + 1));
        text
    }

    /// Waits until the program has said `text`.
    pub(super) fn said(&self, text: &str) -> Outcome {
        self.eventually(&format!("{text:?} is said"), || self.output().contains(text))
    }

    /// Waits until the program has said so many lines, and no more.
    pub(super) fn said_lines(&self, count: usize) -> Outcome {
        self.eventually(&format!("{count} lines are said"), || self.output().lines().count() == count)
    }

    /// Waits until the program has said `text`, and does `action` now and then until then.
    pub(super) fn said_after(&self, text: &str, period: Duration, action: impl Fn() -> Outcome) -> Outcome {
        let start = Instant::now();
        while start.elapsed() < PATIENCE && !self.output().contains(text) {
            action()?;
            let acted = Instant::now();
            while acted.elapsed() < period && !self.output().contains(text) {
                std::thread::sleep(POLL_PERIOD);
            }
        }
        self.said(text)
    }

    /// Waits until the program has exactly `count` watches, which the one who is to hold them holds: the kernel for the
    /// process itself, or an emulator.
    pub(super) fn watches(&self, count: usize) -> Outcome {
        self.eventually(&format!("{count} watches"), || self.watch_count() == count)?;
        // Some programs watch what they have opened, by the name of the descriptor.
        let is_inside = |path: &PathBuf| path.starts_with(self.tree()) || path.starts_with("/proc/self/fd");
        let outside: Vec<_> = self.emulated_watches().into_iter().filter(|path| !is_inside(path)).collect();
        assert!(outside.is_empty(), "the emulator's watches are the program's: {outside:?}");
        Ok(())
    }

    /// The same for any number of them, anywhere.
    pub(super) fn any_watches(&self) -> Outcome {
        self.eventually("watches", || self.watch_count() > 0)
    }

    fn watch_count(&self) -> usize {
        match self.room.subject {
            Subject::Native => self.kernel_watches(),
            Subject::Run | Subject::Served | Subject::Bare | Subject::Marked | Subject::Tree => {
                self.emulated_watches().len()
            }
        }
    }

    /// The lines of proc_pid_fdinfo(5) that begin with `inotify`.
    fn kernel_watches(&self) -> usize {
        let Ok(entries) = fs::read_dir(format!("/proc/{}/fdinfo", self.child.id())) else {
            return 0;
        };
        let texts = entries.filter_map(|entry| fs::read_to_string(entry.ok()?.path()).ok());
        texts.map(|text| text.lines().filter(|line| line.starts_with("inotify wd:")).count()).sum()
    }

    fn emulated_watches(&self) -> Vec<PathBuf> {
        let watches = self.emulated_groups().into_iter().flat_map(|group| group.watches);
        watches.map(|watch| PathBuf::from(watch.path)).collect()
    }

    /// The instances of this program that `uinotify ps` shows; those of other rooms it may show too.
    pub(super) fn emulated_groups(&self) -> Vec<GroupStatus> {
        let mut command = self.room.uinotify(&["ps", "--json"]);
        if self.room.server.is_some() {
            command.args(["--socket", &self.room.socket()]);
        }
        let output = command.output().expect("the command starts");
        let text = String::from_utf8_lossy(&output.stdout);
        let emulators: Vec<EmulatorStatus> =
            serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error} in the status: {text}"));
        let mut groups: Vec<_> = emulators.into_iter().flat_map(|emulator| emulator.groups).collect();
        groups.retain(|group| getpgid(Some(Pid::from_raw(group.creator_pid))) == Ok(self.pid()));
        groups
    }

    /// Of the process that was started, and of its process group.
    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }

    /// Makes the last event, and gives what the program has said until it showed that.
    pub(super) fn end(self) -> Result<String, Failed> {
        fs::create_dir(self.path(END))?;
        self.until(END)
    }

    /// What the program has said up to the first line with `text`, without the name of the room.
    pub(super) fn until(self, text: &str) -> Result<String, Failed> {
        self.said(text)?;
        let mut said = String::new();
        for line in self.output().split_inclusive('\n') {
            said.push_str(line);
            if line.contains(text) {
                break;
            }
        }
        Ok(self.without_name(&said))
    }

    /// All that the program says, and how it ends.
    pub(super) fn whole(self) -> Result<String, Failed> {
        self.eventually("the program ends", || self.has_ended())?;
        let end = match self.state()? {
            WaitStatus::Exited(_, status) => format!("exit status {status}"),
            WaitStatus::Signaled(_, signal, _) => format!("{signal}"),
            state => return Err(format!("no end: {state:?}").into()),
        };
        Ok(format!("{}{end}\n", self.without_name(&self.output())))
    }

    fn without_name(&self, text: &str) -> String {
        text.replace(self.room.folder.path().to_str().expect("UTF-8"), "ROOM")
    }

    /// The process is left to be waited for, so that its number stays its own.
    fn state(&self) -> Result<WaitStatus, Errno> {
        waitid(Id::Pid(self.pid()), WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT)
    }

    fn has_ended(&self) -> bool {
        self.state() != Ok(WaitStatus::StillAlive)
    }

    /// Waits, with an end, for what no descriptor tells.
    fn eventually(&self, what: &str, mut holds: impl FnMut() -> bool) -> Outcome {
        let start = Instant::now();
        loop {
            // Before it is asked for what the program may have done as its last.
            let has_ended = self.has_ended();
            if holds() {
                return Ok(());
            }
            if has_ended || start.elapsed() > PATIENCE {
                let reason = if has_ended { "the program has ended before" } else { "the time is over before" };
                let (subject, output) = (self.room.subject, self.output());
                return Err(format!("{subject:?}: {reason}: {what}; the program said:\n{output}").into());
            }
            std::thread::sleep(POLL_PERIOD);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = kill(Pid::from_raw(self.0.id().cast_signed()), Signal::SIGTERM);
        let _ = self.0.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // First `run` alone, which clears up; then the whole group, of which neither the test nor the emulator is one.
        let _ = kill(self.pid(), Signal::SIGTERM);
        let start = Instant::now();
        while !self.has_ended() && start.elapsed() < PATIENCE {
            std::thread::sleep(POLL_PERIOD);
        }
        let _ = killpg(self.pid(), Signal::SIGKILL);
        let _ = self.child.wait();
    }
}

/// Writes a line with one call: to make a file anew would be a change more, which may be merged with that.
pub(super) fn append(file: &Path, line: &str) -> Outcome {
    Ok(OpenOptions::new().append(true).open(file)?.write_all(format!("{line}\n").as_bytes())?)
}

/// The path of a file in the folder `scripts`.
pub(super) fn script(name: &str) -> String {
    format!("{}/tests/programs/scripts/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// Changes a tree with the folders `a/deep`, which the program watches with all that is in it.
pub(super) fn nested_changes(running: &Running) -> Outcome {
    let tree = running.tree();
    distinct_changes(&tree.join("a/deep"))?;
    // The program looks into a new folder before it tells of it.
    fs::create_dir(tree.join("new"))?;
    running.watches(4)?;
    running.said(&running.path("new").display().to_string())?;
    fs::write(tree.join("new/file"), "text")?;
    fs::rename(tree.join("new/file"), tree.join("a/file"))?;
    fs::rename(tree.join("a/file"), running.beside("outside"))?;
    fs::remove_dir(tree.join("new"))?;
    running.watches(3)?;
    fs::remove_dir_all(tree.join("a/deep"))?;
    running.watches(2)
}

/// Changes one thing after another in `tree`, so that no event equals the one before it: whether Linux merges two that are
/// equal depends on whether the program has read the first.
pub(super) fn distinct_changes(tree: &Path) -> Outcome {
    use std::os::unix::fs::PermissionsExt;
    let path = |name: &str| tree.join(name);
    let mut file = File::create(path("one"))?;
    file.write_all(b"text")?;
    drop(file);
    fs::set_permissions(path("one"), fs::Permissions::from_mode(0o600))?;
    fs::hard_link(path("one"), path("another"))?;
    fs::rename(path("one"), path("two"))?;
    // In and out of sight.
    let outside = tree.parent().ok_or("a folder in a folder")?.join("outside");
    fs::rename(path("two"), &outside)?;
    fs::rename(&outside, path("back"))?;
    fs::rename(path("another"), path("back"))?;
    fs::read(path("back"))?;
    File::create(path("ü and a name that is longer than one word of the kernel's"))?;
    fs::remove_file(path("back"))?;
    Ok(())
}
