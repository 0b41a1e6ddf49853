//! A bare `LD_PRELOAD`: a program with an emulator of its own.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::room::{Ended, Outcome, Room, Running, copy_program, eventually, helper_command, is_running};

const UINOTIFY: &str = env!("CARGO_BIN_EXE_uinotify");

fn library(room: &Room) -> String {
    let ended = room.end(&mut room.uinotify(&["library"]));
    assert_eq!((ended.status, &*ended.stderr), (Some(0), ""));
    ended.stdout.trim_end().to_owned()
}

/// A program of [`crate::helper`] with nothing but the library preloaded.
fn bare(room: &Room, arguments: &[&str]) -> Command {
    let library = library(room);
    let program = helper_command(arguments);
    let mut command = room.command(program[0], &program[1..]);
    command.env("LD_PRELOAD", library).env("UINOTIFY_LOG", room.path("log"));
    command
}

/// Such a program to its end, which leaves no emulator.
fn end(room: &Room, command: &mut Command) -> Result<Ended, libtest_mimic::Failed> {
    let ended = room.end(command);
    eventually("no socket is left", || room.sockets().is_empty())?;
    Ok(ended)
}

fn log(room: &Room) -> String {
    fs::read_to_string(room.path("log")).unwrap_or_default()
}

/// The one emulator in this room.
fn emulator(room: &Room) -> i32 {
    let sockets = room.sockets();
    let [socket] = &sockets[..] else { panic!("one socket: {sockets:?}") };
    let ended = room.end(&mut room.uinotify(&["ps", "--json", "--socket", socket.to_str().expect("UTF-8")]));
    let status: serde_json::Value = serde_json::from_str(&ended.stdout).expect("JSON");
    i32::try_from(status[0]["pid"].as_i64().expect("a number")).expect("a pid")
}

pub(super) fn a_program_has_an_emulator_of_its_own() -> Outcome {
    let room = Room::new();
    let watched = room.path("watched");
    fs::create_dir(&watched)?;
    let mut running = Running::start(bare(&room, &["hold", watched.to_str().ok_or("UTF-8")?]).stdin(Stdio::piped()));
    assert_eq!(running.line(), "ready", "{}", log(&room));
    let emulator = emulator(&room);
    assert_ne!(emulator, running.child.id().cast_signed());
    assert_eq!(fs::read_link(format!("/proc/{emulator}/cwd"))?, Path::new("/"));
    // Whoever reads what the program writes waits for the program alone, and nobody who ends its session or group ends this.
    for descriptor in 0..3 {
        assert_eq!(fs::read_link(format!("/proc/{emulator}/fd/{descriptor}"))?, Path::new("/dev/null"));
    }
    assert_eq!(nix::unistd::getsid(Some(Pid::from_raw(emulator)))?, Pid::from_raw(emulator));
    let blocked = fs::read_to_string(format!("/proc/{emulator}/status"))?;
    assert!(blocked.contains("SigBlk:\t0000000000000000\n"), "{blocked}");
    // It is shown with the program's command line.
    let shown = room.end(&mut room.uinotify(&["ps"])).stdout;
    assert!(shown.contains(&format!("emulator {emulator}  group 1  creator {} ", running.child.id())), "{shown}");

    running.tell("go");
    assert_eq!(running.line(), format!("wd 1 mask {:#x} name made", libc::IN_CREATE));
    assert_eq!(running.child.wait()?.code(), Some(0));
    eventually("the emulator ends", || !is_running(emulator))?;
    assert_eq!(room.sockets(), Vec::<PathBuf>::new());
    assert_eq!(log(&room), "");
    Ok(())
}

/// What one of the programs shows of itself.
fn shows(arguments: &[&str], expected: &str) -> Outcome {
    let room = Room::new();
    let ended = end(&room, &mut bare(&room, arguments))?;
    assert_eq!((ended.stdout.trim_end(), ended.status), (expected, Some(0)), "{} {}", ended.stderr, log(&room));
    assert_eq!(log(&room), "");
    Ok(())
}

pub(super) fn wait_does_not_see_the_emulator() -> Outcome {
    shows(&["wait-for-children"], "unseen")
}

/// docs/differences.md, DIFF-20.
pub(super) fn who_takes_in_orphans_gets_the_emulator() -> Outcome {
    shows(&["take-in-orphans"], "one orphan")
}

pub(super) fn threads_share_an_emulator() -> Outcome {
    shows(&["threads"], "instances 12 emulators 1")
}

pub(super) fn a_handler_does_not_wait_for_its_own_thread() -> Outcome {
    shows(&["in-a-handler"], "true 1 true")
}

pub(super) fn parent_and_child_have_instances() -> Outcome {
    shows(&["forks"], "both")
}

pub(super) fn a_child_does_not_wait_for_a_thread_of_its_parent() -> Outcome {
    let room = Room::new();
    let [started, go, script] = ["started", "go", "script"].map(|name| room.path(name));
    nix::unistd::mkfifo(&go, nix::sys::stat::Mode::S_IRWXU)?;
    // The first emulator is kept from starting, the second is not.
    let text = format!(
        "#!/bin/sh\nif mkdir '{}' 2>/dev/null; then read line < '{}'; fi\nexec '{UINOTIFY}' \"$@\"\n",
        started.display(),
        go.display()
    );
    fs::write(&script, text)?;
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
    let [started, go] = [&started, &go].map(|path| path.to_str().expect("UTF-8"));
    let mut command = bare(&room, &["fork-in-between", started, go]);
    let ended = end(&room, command.env("UINOTIFY_EMULATOR", &script))?;
    assert_eq!(ended.stdout, "child true parent true\n", "{} {}", ended.stderr, log(&room));
    Ok(())
}

pub(super) fn standard_descriptors_may_be_closed() -> Outcome {
    let room = Room::new();
    let result = room.path("result");
    let ended = end(&room, &mut bare(&room, &["without-standard-descriptors", result.to_str().ok_or("UTF-8")?]))?;
    assert_eq!(ended.status, Some(0), "{}", log(&room));
    assert_eq!(fs::read_to_string(result)?, "0 true");
    Ok(())
}

pub(super) fn the_next_instance_finds_another_emulator() -> Outcome {
    let room = Room::new();
    let mut running = Running::start(bare(&room, &["open-when-told"]).stdin(Stdio::piped()));
    running.tell("open");
    assert_eq!(running.line(), "opened true", "{}", log(&room));
    let first = emulator(&room);
    running.tell("open");
    assert_eq!(running.line(), "opened true");
    assert_eq!(emulator(&room), first);
    // Its path stays behind, and refuses.
    kill(Pid::from_raw(first), Signal::SIGKILL)?;
    eventually("the emulator is killed", || !is_running(first))?;
    running.tell("open");
    assert_eq!(running.line(), "opened true", "{}", log(&room));
    let stale: Vec<_> =
        room.sockets().into_iter().filter(|path| path.to_string_lossy().contains(&format!("/{first}."))).collect();
    assert_eq!(stale.len(), 1);
    fs::remove_file(&stale[0])?;
    assert_ne!(emulator(&room), first);
    drop(running.child.stdin.take());
    assert_eq!(running.child.wait()?.code(), Some(0));
    eventually("no socket is left", || room.sockets().is_empty())?;
    Ok(())
}

pub(super) fn without_an_emulator_there_is_no_instance() -> Outcome {
    let room = Room::new();
    let silent = room.path("silent");
    fs::write(&silent, "#!/bin/sh\nexit 0\n")?;
    fs::set_permissions(&silent, fs::Permissions::from_mode(0o755))?;
    for program in [&room.path("missing"), &silent] {
        let _ = fs::remove_file(room.path("log"));
        let ended = end(&room, bare(&room, &["watch", "/tmp"]).env("UINOTIFY_EMULATOR", program))?;
        assert_eq!(ended.stdout, format!("init errno {}\n", libc::ENOMEM));
        let log = log(&room);
        assert_eq!(log.lines().count(), 1, "{log}");
        assert!(log.contains("cannot start an emulator") && log.contains("UINOTIFY_EMULATOR"), "{log}");
    }
    // An emulator that cannot go on says why.
    let _ = fs::remove_file(room.path("log"));
    let crowded = room.path("crowded");
    fs::write(&crowded, format!("#!/bin/sh\nulimit -n 5\nexec '{UINOTIFY}' \"$@\"\n"))?;
    fs::set_permissions(&crowded, fs::Permissions::from_mode(0o755))?;
    let ended = end(&room, bare(&room, &["watch", "/tmp"]).env("UINOTIFY_EMULATOR", &crowded))?;
    assert_eq!(ended.stdout, format!("init errno {}\n", libc::ENOMEM));
    assert!(log(&room).contains("cannot start an emulator: "), "{}", log(&room));
    assert!(log(&room).contains("Too many open files") || log(&room).contains("EMFILE"), "{}", log(&room));

    // UINOTIFY_DISABLE=1 is the kernel's inotify, here as elsewhere.
    let ended = end(&room, bare(&room, &["watch", "/tmp"]).env("UINOTIFY_EMULATOR", "/").env("UINOTIFY_DISABLE", "1"))?;
    assert_eq!(ended.stdout, "wd 1 wd 2\n");
    Ok(())
}

/// As a package has them: `lib/libuinotify.so` and `bin/uinotify`; and a program that has left the folder of its start.
pub(super) fn the_emulator_is_found_from_the_library() -> Outcome {
    let room = Room::new();
    let installed = library(&room);
    for folder in ["lib", "bin", "beside"] {
        fs::create_dir(room.path(folder))?;
    }
    fs::copy(&installed, room.path("lib/libuinotify.so"))?;
    copy_program(UINOTIFY.as_ref(), &room.path("bin/uinotify"))?;
    fs::copy(&installed, room.path("beside/libuinotify.so"))?;
    copy_program(UINOTIFY.as_ref(), &room.path("beside/uinotify"))?;
    for (library, command) in [("./lib/libuinotify.so", "bin/uinotify"), ("beside/libuinotify.so", "beside/uinotify")] {
        let mut command_line = bare(&room, &["open-when-told"]);
        command_line.env("LD_PRELOAD", library).current_dir(room.folder.path());
        let mut running = Running::start(command_line.stdin(Stdio::piped()));
        running.tell("go away");
        assert_eq!(running.line(), "Ok(())");
        running.tell("open");
        assert_eq!(running.line(), "opened true", "{}", log(&room));
        let executed = fs::read_link(format!("/proc/{}/exe", emulator(&room)))?;
        assert_eq!(executed, fs::canonicalize(room.path(command))?);
        drop(running.child.stdin.take());
        assert_eq!(running.child.wait()?.code(), Some(0));
        eventually("no socket is left", || room.sockets().is_empty())?;
    }
    Ok(())
}

/// The command itself may be run with the library preloaded: its emulators use the kernel's inotify.
pub(super) fn run_under_a_bare_library_is_the_inner_one() -> Outcome {
    let room = Room::new();
    let library = library(&room);
    let helper = helper_command(&["watch", "/tmp"]);
    let mut command = room.uinotify(&[&["run", "--next-wd", "70", "--"], &helper[..]].concat());
    let ended = end(&room, command.env("LD_PRELOAD", library))?;
    assert_eq!((&*ended.stdout, &*ended.stderr), ("wd 70 wd 71\n", ""));
    Ok(())
}
