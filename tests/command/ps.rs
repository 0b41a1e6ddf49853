//! `uinotify ps`.

use std::fs;
use std::process::Stdio;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::room::{Outcome, Room, Running, eventually, helper_command, is_running};

pub(super) fn groups_and_watches_are_shown() -> Outcome {
    let room = Room::new();
    fs::create_dir(room.path("watched"))?;
    let watched = room.path("watched");
    let command = helper_command(&["hold", watched.to_str().ok_or("a UTF-8 path")?]);
    let mut command = room.uinotify(&[&["run", "-v", "--next-wd", "0x34d71d6", "--"], &command[..]].concat());
    let mut running = Running::start(command.stdin(Stdio::piped()));
    assert_eq!(running.line(), "ready");
    let emulator = room.emulator();

    // Other emulators of this user are shown as well.
    let text = room.end(&mut room.uinotify(&["ps"])).stdout;
    let is_other = |line: &&str| !line.starts_with(&format!("emulator {emulator} "));
    let lines: Vec<_> = text.lines().skip_while(is_other).take(3).collect();
    assert_eq!(lines.len(), 3, "{text}");
    assert!(lines[0].starts_with(&format!("emulator {emulator}  group ")), "{text}");
    assert!(lines[0].contains("(command"), "the creator's name: {text}");
    assert!(lines[1].contains("cursor 55407063 (0x34d71d7)") && lines[1].contains("queue 0 of "), "{text}");
    assert_eq!(lines[2], format!("  wd 55407062 (0x34d71d6)  CREATE  {}", watched.display()));

    let json = room.end(&mut room.uinotify(&["ps", "--json"])).stdout;
    let json: Vec<serde_json::Value> = serde_json::from_str(&json)?;
    let own = json.iter().find(|status| status["pid"] == emulator).ok_or("this emulator")?;
    assert!(own["schema"].is_u64(), "{own}");
    let group = &own["groups"][0];
    assert_eq!(group["cursor"], 55_407_063);
    assert_eq!(group["watches"][0]["wd"], 55_407_062);
    assert_eq!(group["watches"][0]["mask"], libc::IN_CREATE);
    assert_eq!(group["watches"][0]["path"], watched.to_str().ok_or("a UTF-8 path")?);

    running.tell("go");
    assert!(running.line().starts_with("wd 55407062 "));
    assert_eq!(running.child.wait()?.code(), Some(0));
    eventually("the emulator ends", || !is_running(emulator))?;
    let json = room.end(&mut room.uinotify(&["ps", "--json"])).stdout;
    let json: Vec<serde_json::Value> = serde_json::from_str(&json)?;
    assert!(json.iter().all(|status| status["pid"] != emulator), "{json:?}");
    Ok(())
}

pub(super) fn stale_sockets_are_removed() -> Outcome {
    let room = Room::new();
    let mut command = room.uinotify(&["run", "-v", "--", "sh", "-c", "echo ready; read answer"]);
    let mut running = Running::start(command.stdin(Stdio::piped()));
    assert_eq!(running.line(), "ready");
    let emulator = room.emulator();
    // The command first, or it would clear up.
    kill(running.pid(), Signal::SIGSTOP)?;
    kill(Pid::from_raw(emulator), Signal::SIGKILL)?;
    eventually("the emulator is killed", || !is_running(emulator))?;
    assert_eq!(room.sockets().len(), 1);
    let ended = room.end(&mut room.uinotify(&["ps"]));
    assert_eq!((ended.status, &*ended.stderr), (Some(0), ""));
    assert!(!ended.stdout.contains(&format!("emulator {emulator} ")), "{}", ended.stdout);
    assert!(room.sockets().is_empty());
    kill(running.pid(), Signal::SIGCONT)?;
    running.tell("done");
    assert_eq!(running.child.wait()?.code(), Some(0));
    Ok(())
}
