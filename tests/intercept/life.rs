//! Filters outlive the command, and end with their programs.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::program::Program;
use crate::room::{Outcome, Room, UINOTIFY, end, eventually};

/// `calls twice`, which says a line, waits for one, and says another.
pub(super) struct Twice {
    pub(super) child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Twice {
    pub(super) fn start(command: &mut std::process::Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the command starts");
        let output = BufReader::new(child.stdout.take().expect("it is piped"));
        let input = child.stdin.take().expect("it is piped");
        Self { child, input, output }
    }

    pub(super) fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("a pipe can be read");
        line.trim_end().to_owned()
    }

    pub(super) fn go_on(&mut self) -> String {
        writeln!(self.input).expect("the program reads its input");
        self.line()
    }
}

fn emulator(room: &Room) -> i32 {
    let stderr = room.stderr();
    let number = stderr.lines().find_map(|line| line.strip_prefix("uinotify: emulator ")?.parse().ok());
    number.unwrap_or_else(|| panic!("-v names the emulator: {stderr}"))
}

fn is_there(process: i32) -> bool {
    Path::new(&format!("/proc/{process}")).exists()
}

/// The command is killed, and the program has nothing in its environment that tells of an emulator: it is answered all the same, and when it
/// has ended nothing is left.
pub(super) fn a_daemon_goes_on() -> Outcome {
    let room = Room::new();
    let (program, folder) = (Program::MuslStatic.path(), room.folder("watched"));
    let program = program.to_str().ok_or("UTF-8")?;
    let mut twice = Twice::start(&mut room.run(&["-v"], &["env", "-i", program, "twice", &folder]));
    let line = twice.line();
    assert!(line.starts_with("socket:[") && line.ends_with(" wd 1"), "{line}");
    let emulator = emulator(&room);
    twice.child.kill()?;
    twice.child.wait()?;
    let line = twice.go_on();
    assert!(line.starts_with("socket:[") && line.ends_with(" wd 1"), "{line}");
    drop(twice);
    eventually("the emulator has ended", || !is_there(emulator))
}

/// DIFF-60.
pub(super) fn without_the_emulator_calls_fail() -> Outcome {
    let room = Room::new();
    let (program, folder) = (Program::MuslStatic.path(), room.folder("watched"));
    let mut twice = Twice::start(&mut room.run(&["-v"], &[program.to_str().ok_or("UTF-8")?, "twice", &folder]));
    assert!(twice.line().ends_with(" wd 1"));
    let emulator = emulator(&room);
    kill(Pid::from_raw(emulator), Signal::SIGKILL)?;
    eventually("it is told", || room.stderr().contains("ended before the program"))?;
    let line = twice.go_on();
    assert!(line.contains("FIONREAD: Function not implemented") && line.ends_with("wd -1"), "{line}");
    assert_eq!(twice.child.wait()?.code(), Some(0));
    Ok(())
}

/// A static program finds the instance of a checkpoint under its old number.
pub(super) fn a_restored_instance() -> Outcome {
    let room = Room::new();
    let (program, folder) = (Program::MuslStatic.path(), room.folder("watched"));
    let program = program.to_str().ok_or("UTF-8")?;
    let mut twice = Twice::start(&mut room.run(&["--next-wd", "0x34d71d6"], &[program, "twice", &folder]));
    assert!(twice.line().ends_with(" wd 55407062"));
    let checkpoint = room.path("checkpoint.json");
    let checkpoint = checkpoint.to_str().ok_or("UTF-8")?;
    let run = twice.child.id();
    let children = fs::read_to_string(format!("/proc/{run}/task/{run}/children"))?;
    let pid = children
        .split(' ')
        .find(|pid| fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.starts_with("musl-static")));
    let dumped = end(&mut room.command(UINOTIFY, &["dump", "--pid", pid.ok_or("the program")?, "-o", checkpoint]));
    assert_eq!(dumped.status, Some(0), "{}", room.stderr());
    twice.go_on();
    twice.child.wait()?;
    fs::remove_dir_all(&folder)?;
    fs::create_dir_all(format!("{folder}/dir"))?;
    let restore =
        ["restore", "--missing", "path", "--interpose", "seccomp", checkpoint, "--", program, "inherited", &folder];
    let ended = end(&mut room.command(UINOTIFY, &restore));
    let expected =
        "on 55407062: File exists\nFIONREAD: 0\nwaiting: 32\nevent: wd 55407062 mask 100 cookie 0 name new\n";
    assert_eq!((ended.status, &*ended.stdout), (Some(0), expected), "{}", room.stderr());
    Ok(())
}
