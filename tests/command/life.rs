//! Who lives how long: command, program, emulator, socket.

use std::fs;
use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::room::{Outcome, Room, Running, eventually, helper_command, is_running};

pub(super) fn nothing_is_left_behind() -> Outcome {
    let room = Room::new();
    let mut command = room.uinotify(&["run", "-v", "--", "sh", "-c", "echo ready; read answer"]);
    let mut running = Running::start(command.stdin(Stdio::piped()));
    assert_eq!(running.line(), "ready");
    let emulator = room.emulator();
    assert!(is_running(emulator));
    assert_eq!(fs::read_to_string(format!("/proc/{emulator}/comm"))?, "uinotify\n");
    assert_eq!(fs::read_link(format!("/proc/{emulator}/cwd"))?, Path::new("/"));
    assert_eq!(room.sockets().len(), 1);
    let named = room.stderr().contains(&format!("uinotify: socket {}", room.sockets()[0].display()));
    assert!(named, "-v names the socket: {}", room.stderr());

    // What ends a service, or comes from a terminal, does not end the emulator.
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGQUIT] {
        kill(Pid::from_raw(emulator), signal)?;
    }
    assert!(is_running(emulator));

    running.tell("done");
    assert_eq!(running.child.wait()?.code(), Some(0));
    eventually("the emulator ends", || !is_running(emulator))?;
    assert_eq!(room.sockets(), Vec::<PathBuf>::new());
    Ok(())
}

/// Lets the helper `hold` make an event and see it, though the command is gone, and waits for the emulator's end.
fn holder_still_works(room: &Room, running: &mut Running, emulator: i32) -> Outcome {
    assert!(is_running(emulator));
    assert_eq!(room.sockets().len(), 1);
    running.tell("go");
    assert_eq!(running.line(), format!("wd 1 mask {:#x} name made", libc::IN_CREATE));
    let mut rest = String::new();
    running.output.read_to_string(&mut rest)?;
    assert_eq!(rest, "");
    eventually("the emulator ends with the last instance", || !is_running(emulator))?;
    assert_eq!(room.sockets(), Vec::<PathBuf>::new());
    Ok(())
}

pub(super) fn a_daemon_keeps_its_instance() -> Outcome {
    let room = Room::new();
    fs::create_dir(room.path("watched"))?;
    let watched = room.path("watched");
    let command = helper_command(&["leave", watched.to_str().ok_or("a UTF-8 path")?]);
    let mut command = room.uinotify(&[&["run", "-v", "--"], &command[..]].concat());
    let mut running = Running::start(command.stdin(Stdio::piped()));
    assert_eq!(running.line(), "ready");
    // Not `wait`, which would close the pipe to the daemon.
    let mut status = None;
    eventually("the command ends before the daemon", || {
        status = running.child.try_wait().expect("a child of ours");
        status.is_some()
    })?;
    assert_eq!(status.and_then(|status| status.code()), Some(0));
    let emulator = room.emulator();
    let null = |descriptor| {
        fs::read_link(format!("/proc/{emulator}/fd/{descriptor}")).is_ok_and(|to| to == Path::new("/dev/null"))
    };
    eventually("the emulator gives standard error back", || null(2))?;
    assert!(null(0) && null(1));
    holder_still_works(&room, &mut running, emulator)
}

pub(super) fn the_program_outlives_the_command() -> Outcome {
    let room = Room::new();
    fs::create_dir(room.path("watched"))?;
    let watched = room.path("watched");
    let command = helper_command(&["hold", watched.to_str().ok_or("a UTF-8 path")?]);
    let mut command = room.uinotify(&[&["run", "-v", "--"], &command[..]].concat());
    let mut running = Running::start(command.stdin(Stdio::piped()));
    assert_eq!(running.line(), "ready");
    let emulator = room.emulator();
    kill(running.pid(), Signal::SIGKILL)?;
    let mut status = None;
    eventually("the command is killed", || {
        status = running.child.try_wait().expect("a child of ours");
        status.is_some()
    })?;
    assert_eq!(status.and_then(|status| status.signal()), Some(9));
    holder_still_works(&room, &mut running, emulator)
}

pub(super) fn the_death_of_the_emulator_is_told_once() -> Outcome {
    let room = Room::new();
    let mut command = room.uinotify(&["run", "-v", "--", "sh", "-c", "echo ready; read answer; exit 6"]);
    let mut running = Running::start(command.stdin(Stdio::piped()));
    assert_eq!(running.line(), "ready");
    let emulator = room.emulator();
    kill(Pid::from_raw(emulator), Signal::SIGKILL)?;
    let told = || room.stderr().lines().filter(|line| line.contains("ended before the program")).count();
    eventually("the command says that the emulator is gone", || told() > 0)?;
    running.tell("done");
    assert_eq!(running.child.wait()?.code(), Some(6));
    assert_eq!(told(), 1);
    assert!(room.sockets().is_empty());
    Ok(())
}

pub(super) fn folders_that_cannot_be_used_are_passed_over() -> Outcome {
    let room = Room::new();
    let long = room.path(&"l".repeat(120));
    fs::create_dir(&long)?;
    let linked = room.path("linked");
    fs::create_dir(&linked)?;
    std::os::unix::fs::symlink(room.folder.path(), linked.join("uinotify"))?;
    for folder in [&long, &linked] {
        let mut command = room.uinotify(&["run", "-v", "--", "true"]);
        let ended = room.end(command.env("XDG_RUNTIME_DIR", folder));
        assert_eq!(ended.status, Some(0), "{}", ended.stderr);
        let socket = ended.stderr.lines().find_map(|line| line.strip_prefix("uinotify: socket ")).ok_or("-v")?;
        assert!(!Path::new(socket).starts_with(room.folder.path()), "{socket}");
    }
    // A folder whose name LD_PRELOAD cannot hold takes the socket, and another one the shim.
    let spaced = room.path("a b");
    fs::create_dir(&spaced)?;
    let mut command = room.uinotify(&["run", "-v", "--", "true"]);
    command.env("XDG_RUNTIME_DIR", &spaced).env("XDG_CACHE_HOME", room.path("cache"));
    let ended = room.end(&mut command);
    assert_eq!(ended.status, Some(0), "{}", ended.stderr);
    assert!(ended.stderr.contains(&format!("socket {}", spaced.display())), "{}", ended.stderr);
    let shim = ended.stderr.lines().find_map(|line| line.strip_prefix("uinotify: shim ")).ok_or("-v")?;
    assert!(!shim.contains(' ') && Path::new(shim).is_file(), "{shim}");
    Ok(())
}
