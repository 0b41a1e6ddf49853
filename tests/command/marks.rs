//! What kernel inotify does not give comes from marks of fanotify.
//!
//! `UINOTIFY_FOLDERS` is how many are watched beyond the kernel's limit, 2000.

use std::process::Stdio;

use crate::room::{Room, Running, helper_command};
use libtest_mimic::Completion;

type Outcome = Result<Completion, libtest_mimic::Failed>;

/// The command line of a helper in a user name space of its own with this limit.
fn limited<'a>(name: &'a str, limit: &'a str, command: &[&'a str]) -> Vec<&'a str> {
    helper_command(&[&["limited", name, limit], command].concat())
}

/// What is missing, if anything.
fn missing(room: &Room) -> Option<Outcome> {
    let command = limited("max_inotify_watches", "10", &helper_command(&["has-marks"]));
    let ended = room.end(&mut room.command(command[0], &command[1..]));
    let reason = || format!("no user name space with fanotify: {}", ended.stderr.trim_end());
    (ended.status != Some(0)).then(|| Ok(Completion::ignored_with(reason())))
}

/// `watch-many` under `uinotify run`, with this limit.
fn watch_many(room: &Room, (name, limit): (&str, u32), options: &[&str], count: usize) -> Running {
    let folder = room.path("tree");
    let (limit, count) = (limit.to_string(), count.to_string());
    let watching = helper_command(&["watch-many", folder.to_str().expect("a UTF-8 path"), &count]);
    let run = [&[env!("CARGO_BIN_EXE_uinotify"), "run"], options, &["--"], &watching].concat();
    let command = limited(name, &limit, &run);
    Running::start(room.command(command[0], &command[1..]).stdin(Stdio::piped()))
}

/// A watcher under `auto`, where a limit of the kernel's own inotify is this.
pub(super) fn goes_on(name: &str, limit: u32) -> Outcome {
    let room = Room::new();
    if let Some(ignored) = missing(&room) {
        return ignored;
    }
    let count = std::env::var("UINOTIFY_FOLDERS").ok().and_then(|count| count.parse().ok()).unwrap_or(2000);
    let mut running = watch_many(&room, (name, limit), &[], count);
    assert_eq!(running.line(), "ready");
    let shown = room.end(&mut room.uinotify(&["ps"])).stdout;
    let source = if limit == 0 { "source fanotify\n" } else { "source fanotify, inotify\n" };
    assert!(shown.contains(source), "{shown}");
    let marks = "a mark on each watched inode (one on the file system needs CAP_SYS_ADMIN)";
    let marks = format!("{marks}; watched objects: {}\n", count - limit as usize);
    assert!(shown.contains(&marks), "{shown}");
    running.tell("go");
    assert_eq!(running.line(), format!("{count} events"));
    assert!(running.child.wait()?.success());
    Ok(Completion::Completed)
}

/// A limit of uinotify's own is one for every source.
pub(super) fn limits_that_are_set_hold() -> Outcome {
    if let Some(ignored) = missing(&Room::new()) {
        return ignored;
    }
    for source in ["auto", "fanotify"] {
        let room = Room::new();
        let options = ["--source", source, "--limit", "watches=20"];
        let mut running = watch_many(&room, ("max_inotify_watches", 10), &options, 100);
        assert_eq!(running.line(), format!("20 watched, errno {}", libc::ENOSPC));
        running.child.wait()?;
    }
    Ok(Completion::Completed)
}

/// Marks have a limit as well, which is told as inotify's is.
pub(super) fn at_the_limit_of_marks_there_is_no_watch() -> Outcome {
    let room = Room::new();
    if let Some(ignored) = missing(&room) {
        return ignored;
    }
    let mut running = watch_many(&room, ("max_fanotify_marks", 30), &["--source", "fanotify"], 100);
    assert_eq!(running.line(), format!("30 watched, errno {}", libc::ENOSPC));
    running.child.wait()?;
    Ok(Completion::Completed)
}
