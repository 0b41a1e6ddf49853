//! `--trace` and `--trace-json`.

use std::fs;

use uinotify_host::trace::{Outcome as Became, Record, What};

use crate::room::{Outcome, Room, helper_command};

/// Both traces of a helper that watches a folder, and of one that is refused, with the traces in a folder of that name in the room.
pub(super) fn calls_and_events_are_told() -> Outcome {
    let room = Room::new();
    let folder = room.path("watched");
    fs::create_dir(&folder)?;
    let folder = folder.canonicalize()?;
    // In the watched folder itself: what is written is not told, or it would never end.
    let (text, json) = (folder.join("trace"), folder.join("trace.json"));
    let [folder, text_path, json_path] = [&folder, &text, &json].map(|path| path.to_str().unwrap_or_default());
    let command = helper_command(&["told", folder]);
    let options = ["--trace", text_path, "--trace-json", json_path, "--next-wd", "0x34d71d6"];
    let ended = room.run(&options, &command);
    assert_eq!((ended.status, &*ended.stderr), (Some(0), ""));

    let lines = fs::read_to_string(&json)?;
    let (head, lines) = lines.split_once('\n').ok_or("a first line")?;
    assert!(head.starts_with(r#"{"format":"uinotify-trace","version":1,"#), "{head}");
    let records: Vec<Record> = lines.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let text = fs::read_to_string(&text)?;
    assert_eq!(text.lines().collect::<Vec<_>>(), records.iter().map(ToString::to_string).collect::<Vec<_>>());

    // Without the time, and the process, of which there is one.
    let shown: Vec<String> = text
        .lines()
        .map(|line| line.split_once(' ').map_or("", |(_, rest)| rest))
        .map(|line| line.split_once("] ").map_or(line, |(_, call)| call).replace(folder, "DIR"))
        .filter(|line| !line.contains(" read: "))
        .collect();
    let expected = [
        "inotify_init1(IN_CLOEXEC) = instance 1",
        "inotify_add_watch(instance 1, \"DIR\", IN_CREATE|IN_DELETE) = 55407062",
        "inotify_add_watch(instance 1, \"DIR/none\", IN_CREATE|IN_DELETE) = -1 ENOENT (No such file or directory)",
        "instance 1 wd 55407062 \"DIR\": IN_CREATE \"made\", 1 queued",
        "instance 1 wd 55407062 \"DIR\": IN_DELETE \"made\", 2 queued",
        "inotify_rm_watch(instance 1, 7) = -1 EINVAL (Invalid argument)",
        "ioctl(instance 1, INOTIFY_IOC_SETNEXTWD, 0) = -1 EINVAL (Invalid argument)",
        "instance 1 wd 55407062 \"DIR\": IN_IGNORED, 3 queued",
        "inotify_rm_watch(instance 1, 55407062) = 0",
        "instance 1 closed",
    ];
    assert_eq!(shown, expected);
    let is_whole = |record: &&Record| matches!(record.what, What::Event { outcome: Became::Queued, .. });
    assert_eq!(records.iter().filter(is_whole).count(), 3);
    assert!(records.is_sorted_by_key(|record| record.time_us));
    Ok(())
}

/// A trace that cannot be written is an error before anything runs.
pub(super) fn a_trace_that_cannot_be_written_is_named() -> Outcome {
    let room = Room::new();
    let ended = room.run(&["--trace", "/nonexistent/trace"], &["echo", "ran"]);
    assert_eq!((ended.status, &*ended.stdout), (Some(125), ""));
    assert!(ended.stderr.contains("cannot write /nonexistent/trace: "), "{}", ended.stderr);
    Ok(())
}
