//! The commands that control an emulator, by running them.

use std::fs;
use std::process::{Command, Output, Stdio};

use crate::Outcome;
use crate::puppet::Puppet;

/// `uinotify` in a runtime folder of the test's own, outside any test bed of this process.
struct Room(tempfile::TempDir);

impl Room {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary folder"))
    }

    fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_uinotify"));
        command.args(line.split_whitespace()).env("XDG_RUNTIME_DIR", self.0.path()).current_dir(self.0.path());
        // Others of this machine's user are left alone.
        let is_run = line.starts_with("run");
        let sockets = fs::read_dir(self.0.path().join("uinotify")).into_iter().flatten().flatten();
        let socket = sockets.map(|entry| entry.path()).find(|path| path.extension().is_some_and(|name| name == "sock"));
        if let Some(socket) = socket.filter(|_| !is_run && !line.contains("--watch")) {
            command.env("UINOTIFY_SOCKET", socket);
        }
        command
    }

    /// The exit status, standard output, and standard error.
    fn run(&self, line: &str) -> (Option<i32>, String, String) {
        let Output { status, stdout, stderr } = self.command(line).output().expect("it starts");
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        (status.code(), text(stdout), text(stderr))
    }

    fn does(&self, line: &str) -> String {
        let (status, stdout, stderr) = self.run(line);
        assert_eq!((status, &*stderr), (Some(0), ""), "{line}");
        stdout
    }

    fn puppet(&self, options: &str) -> Puppet {
        let this = std::env::current_exe().expect("/proc is mounted");
        Puppet::run(self.command(&format!("run {options} --")).arg(this).arg("--puppet"))
    }

    fn folder(&self, name: &str) -> std::path::PathBuf {
        let folder = self.0.path().join(name);
        fs::create_dir_all(&folder).expect("a folder");
        folder
    }
}

const ALL: u32 = libc::IN_ALL_EVENTS;

pub(super) fn inject_has_something_happen() -> Outcome {
    let room = Room::new();
    let watched = room.folder("watched");
    let mut puppet = room.puppet("--source script");
    let instance = puppet.init();
    puppet.add(&instance, &watched, ALL);
    room.does("inject watched/new create open close_write");
    room.does("inject watched/new move:watched/moved");
    room.does("inject watched/folder CREATE,ISDIR");
    room.does("inject --raw wd=9,mask=MODIFY|ISDIR,name=a,b --raw wd=-1,mask=0x8000,cookie=7");
    room.does("inject --overflow");
    room.does("inject --unmount watched");
    assert_eq!(
        puppet.read(&instance),
        "1:100:new 1:20:new 1:8:new 1:40:c:new 1:80:c:moved 1:40000100:folder 9:40000002:a,b -1:8000:c -1:4000 1:40002000 1:8000"
    );
    puppet.add(&instance, &watched, ALL);
    room.does("inject watched --ignored");
    assert_eq!(puppet.read(&instance), "2:8000");
    let (status, _, stderr) = room.run("inject watched/new create");
    assert_eq!(status, Some(1));
    assert!(stderr.contains("nobody watches"), "{stderr}");
    room.does("inject --unwatched watched/new create");
    for wrong in ["inject watched", "inject watched creates", "inject --raw wd=1", "inject watched move"] {
        assert_ne!(room.run(wrong).0, Some(0), "{wrong}");
    }
    Ok(())
}

/// Also if the emulator comes later than the command that waits.
pub(super) fn wait_ends_with_a_watch() -> Outcome {
    let room = Room::new();
    let watched = room.folder("watched");
    let mut waiting = room.command("wait --watch watched --mask CREATE|DELETE").stderr(Stdio::piped()).spawn()?;
    let mut puppet = room.puppet("--log");
    let instance = puppet.init();
    puppet.add(&instance, &watched, libc::IN_CREATE);
    assert_eq!(waiting.try_wait()?, None);
    puppet.add(&instance, &watched, ALL);
    let ended = waiting.wait_with_output()?;
    assert_eq!((ended.status.code(), &*String::from_utf8(ended.stderr)?), (Some(0), ""));
    room.does("wait --watch watched");
    let (status, _, stderr) = room.run("wait --watch other --timeout 1");
    assert_eq!(status, Some(1));
    for part in ["nobody has watched other within 1 s", "watched are", "inotify_add_watch(instance 1, "] {
        assert!(stderr.contains(part), "{part:?} in {stderr}");
    }
    Ok(())
}

/// The rules as a command tries them: those of the allocator, on both sides.
pub(super) fn conform_tries_the_rules() -> Outcome {
    let room = Room::new();
    let report: serde_json::Value = serde_json::from_str(&room.does("conform --only WD --json"))?;
    let cases = report["cases"].as_array().ok_or("a list")?;
    assert!(cases.len() >= 10, "{report}");
    for case in cases {
        let passed = |side: &str| case[side]["verdict"] == "pass";
        // A user name space of the list's own is not to be had everywhere.
        assert!(passed("emulator") && passed("kernel") || case["kernel"]["verdict"] == "skipped", "{case}");
    }
    let table = room.does("conform --only WD-1 --only WD-2 --native --md .");
    assert!(table.ends_with("| Rule | Kernel | Lists |\n| --- | --- | --- |\n| WD-1 | pass | 1 |\n| WD-2 | pass | 1 |\n| WD-9 | pass | 1 |\n"), "{table}");
    let lines = room.does("conform --only MERGE-2 --tap");
    assert_eq!(
        lines,
        "TAP version 13\n1..2\nok 1 - kernel: MERGE-2 only the tail is compared\nok 2 - emulator: MERGE-2 only the tail is compared\n"
    );
    for wrong in
        ["conform --only NOTHING", "conform /nonexistent", "conform --native --source fuse", "conform --md --tap"]
    {
        assert_ne!(room.run(wrong).0, Some(0), "{wrong}");
    }
    Ok(())
}

pub(super) fn cursors_are_named_in_three_ways() -> Outcome {
    let room = Room::new();
    let watched = room.folder("watched");
    let mut puppet = room.puppet("");
    let instance = puppet.init();
    // `run` has two: the emulator, which is of its own kind, and the program.
    let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", puppet.pid()))?;
    let this = std::env::current_exe()?;
    let is_program = |pid: &&str| fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|program| program == this);
    let pid = children.split_whitespace().find(is_program).ok_or("the program")?.to_owned();
    room.does(&format!("setnextwd {pid} 0x7fffffff"));
    assert_eq!(room.does("getnextwd #1"), "2147483647\n");
    assert_eq!(puppet.add(&instance, &watched, ALL), "2147483647");
    assert_eq!(room.does(&format!("getnextwd {pid}:{instance}")), "1\n");
    let second = puppet.init();
    let (status, _, stderr) = room.run(&format!("getnextwd {pid}"));
    assert_eq!(status, Some(1));
    assert!(stderr.contains("has 2 instances"), "{stderr}");
    room.does(&format!("setnextwd {pid}:{second} 9"));
    assert_eq!(room.does("getnextwd #2"), "9\n");
    for wrong in [format!("getnextwd {pid}:0"), "getnextwd #9".to_owned(), format!("setnextwd {pid} 0")] {
        assert_ne!(room.run(&wrong).0, Some(0), "{wrong}");
    }
    Ok(())
}

pub(super) fn faults_are_given_on_the_line_in_a_file_and_later() -> Outcome {
    let room = Room::new();
    let watched = room.folder("watched");
    fs::write(room.0.path().join("faults"), "# of a full queue\nqueue:drop:when=2\nseed=3\n")?;
    let mut puppet = room.puppet("--source script --fault-file faults --fault rm_watch:EINTR:when=1 --lie");
    let instance = puppet.init();
    puppet.add(&instance, &watched, ALL);
    room.does("inject watched/a create open modify");
    assert_eq!(puppet.read(&instance), "1:100:a 1:2:a");
    assert_eq!(puppet.does(&format!("rm {instance} 1")), "EINTR");
    room.does("fault add_watch:ENOSPC:when=1 --delay barrier");
    assert_eq!(puppet.add(&instance, &watched, ALL), "ENOSPC");
    room.does("inject watched/b create");
    assert_eq!(puppet.read(&instance), "EAGAIN");
    room.does("barrier");
    assert_eq!(puppet.read(&instance), "1:100:b");
    room.does("fault --clear");
    room.does("inject watched/c create");
    assert_eq!(puppet.read(&instance), "1:100:c");
    let log = room.does("log");
    for part in ["add_watch: 2, 1 failed", "events queued: 4", "events held: 1", "events dropped: 1"] {
        assert!(log.contains(part), "{part:?} in {log}");
    }
    let json: serde_json::Value = serde_json::from_str(&room.does("log --json --last 1"))?;
    assert_eq!((&json["calls"]["add_watch"], json["last"].as_array().map(Vec::len)), (&2.into(), Some(1)));
    for wrong in
        ["fault", "fault x", "run --fault x -- true", "run --fault-file nothing -- true", "run --drop x -- true"]
    {
        assert_ne!(room.run(wrong).0, Some(0), "{wrong}");
    }
    Ok(())
}
