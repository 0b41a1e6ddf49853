//! `uinotify fdinfo`.

use std::fs;

use crate::room::{Outcome, Room, holder};

pub(super) fn the_text_is_what_the_process_sees() -> Outcome {
    let room = Room::new();
    let watched = room.path("watched");
    fs::create_dir(&watched)?;
    let (mut running, pid) = holder(&room, &watched)?;

    let all = room.end(&mut room.uinotify(&["fdinfo", &pid]));
    assert_eq!((all.status, &*all.stderr), (Some(0), ""));
    let (first, text) = all.stdout.split_once('\n').ok_or("more than one line")?;
    let fd = first.strip_prefix("fd ").ok_or("the number of the descriptor")?;
    assert!(text.starts_with("pos:\t0\nflags:\t02000000\n"), "{text}");
    assert!(text.contains("\ninotify wd:34d71d6 ino:") && text.contains(" mask:100 "), "{text}");
    let one = room.end(&mut room.uinotify(&["fdinfo", &pid, fd]));
    assert_eq!((one.status, &*one.stdout), (Some(0), text));
    // A program under the same emulator, which looks by itself.
    let environment = fs::read(format!("/proc/{pid}/environ"))?;
    let variables =
        environment.split(|&byte| byte == 0).filter_map(|variable| std::str::from_utf8(variable).ok()?.split_once('='));
    let is_needed = |(name, _): &(&str, &str)| matches!(*name, "LD_PRELOAD" | "UINOTIFY_SOCKET");
    let mut cat = room.command("cat", &[&format!("/proc/{pid}/fdinfo/{fd}")]);
    assert_eq!(room.end(cat.envs(variables.filter(is_needed))).stdout, text);

    for (arguments, problem) in [
        (
            vec!["fdinfo", &*pid, "0"],
            format!("descriptor 0 of process {pid} is no emulated inotify descriptor, but pipe:["),
        ),
        (vec!["fdinfo", &*pid, "99999"], format!("process {pid} has no descriptor 99999")),
        (vec!["fdinfo", "2147483647"], "there is no process 2147483647".to_owned()),
    ] {
        let refused = room.end(&mut room.uinotify(&arguments));
        assert_eq!((refused.status, &*refused.stdout), (Some(1), ""));
        assert!(refused.stderr.starts_with(&format!("uinotify: {problem}")), "{}", refused.stderr);
    }
    let own = std::process::id().to_string();
    let none = room.end(&mut room.uinotify(&["fdinfo", &own]));
    assert_eq!(none.stderr, format!("uinotify: process {own} has no emulated inotify descriptor\n"));
    running.tell("go");
    assert!(running.line().starts_with("wd 55407062 "));
    assert_eq!(running.child.wait()?.code(), Some(0));
    Ok(())
}

pub(super) fn wrong_arguments_are_named() -> Outcome {
    let room = Room::new();
    for arguments in [&["fdinfo"][..], &["fdinfo", "self"], &["fdinfo", "1", "-1"], &["fdinfo", "1", "2", "3"]] {
        let refused = room.end(&mut room.uinotify(arguments));
        assert_eq!((refused.status, &*refused.stdout), (Some(2), ""), "{arguments:?}");
        assert!(refused.stderr.starts_with("uinotify: "), "{}", refused.stderr);
    }
    Ok(())
}
