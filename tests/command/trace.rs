//! `--trace` and `--trace-json`.

use std::fs::{self, File};
use std::io::BufReader;
use std::process::Command;

use libtest_mimic::Trial;

use uinotify_host::trace::{Outcome as Became, Record, What};

use crate::room::{Outcome, Room, eventually, helper_command};

/// Debian's name of the browser.
const BROWSER: &str = "chromium";

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

    // The emulator outlives the program for a moment.
    let is_whole = || fs::read_to_string(&json).is_ok_and(|text| text.ends_with("\"what\":\"close\"}\n"));
    eventually("the end of the instance is told", is_whole)?;
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

/// Lines while it runs, a summary behind them, and the program's own status.
pub(super) fn a_summary_stands_behind_the_lines() -> Outcome {
    let room = Room::new();
    let folder = room.path("watched");
    fs::create_dir(&folder)?;
    let told = helper_command(&["told", folder.to_str().ok_or("UTF-8")?]).join(" ");
    let command = ["sh", "-c", &format!("{told}; exit 7")];
    let traced =
        |options: &[&str]| room.end(&mut room.uinotify(&[&["trace"], options, &["--"], &command[..]].concat()));
    let ended = traced(&[]);
    assert_eq!((ended.status, &*ended.stdout), (Some(7), ""));
    let (lines, summary) =
        ended.stderr.split_once("call                        number    failed\n").ok_or("a summary")?;
    assert!(lines.contains("] inotify_init1(IN_CLOEXEC) = instance 1\n"), "{lines}");
    assert!(lines.ends_with(" instance 1 closed\n"), "{lines}");
    let rows: Vec<Vec<&str>> = summary.lines().map(|line| line.split_whitespace().collect()).collect();
    for row in [
        &["INOTIFY_IOC_SETNEXTWD", "1", "1"][..],
        &["inotify_add_watch", "2", "1"],
        &["inotify_rm_watch", "2", "1"],
        &["IN_CREATE", "1", "0", "0"],
        &["IN_IGNORED", "1", "0", "0"],
    ] {
        assert!(rows.contains(&row.to_vec()), "{row:?} in {summary}");
    }
    assert!(summary.contains("instance 1: at most 3 of "), "{summary}");

    let file = room.path("trace.json");
    let ended = traced(&["--json", "-o", file.to_str().ok_or("UTF-8")?]);
    assert!(ended.stderr.starts_with("call "), "{}", ended.stderr);
    assert!(fs::read_to_string(&file)?.lines().skip(1).all(|line| serde_json::from_str::<Record>(line).is_ok()));
    Ok(())
}

/// The page as a browser shows it: what was queued in green, what was lost in red.
pub(super) fn report_is_drawn() -> Trial {
    let is_there = Command::new(BROWSER).arg("--version").output().is_ok_and(|output| output.status.success());
    if !is_there {
        println!("ignored: trace::report_is_drawn: needs {BROWSER}");
    }
    Trial::test("trace::report_is_drawn", draw).with_ignored_flag(!is_there)
}

fn draw() -> Outcome {
    let room = Room::new();
    let [folder, page, picture] = ["watched", "page.html", "picture.png"].map(|name| room.path(name));
    fs::create_dir(&folder)?;
    let told = helper_command(&["told", folder.to_str().ok_or("UTF-8")?]);
    let mut queued_and_lost = Vec::new();
    for queue in ["queue=2", "queue=100"] {
        let options = ["trace", "--limit", queue, "--report", page.to_str().ok_or("UTF-8")?, "--"];
        let ended = room.end(&mut room.uinotify(&[&options[..], &told].concat()));
        assert_eq!(ended.status, Some(0), "{}", ended.stderr);
        let mut browser =
            room.command(BROWSER, &["--headless", "--no-sandbox", "--disable-gpu", "--window-size=1300,800"]);
        browser.env("HOME", room.folder.path());
        browser.arg(format!("--screenshot={}", picture.display())).arg(format!("file://{}", page.display()));
        assert!(browser.output()?.status.success());
        let mut reader = png::Decoder::new(BufReader::new(File::open(&picture)?)).read_info()?;
        let mut pixels = vec![0; reader.output_buffer_size().ok_or("a picture of some size")?];
        let information = reader.next_frame(&mut pixels)?;
        assert_eq!((information.width, information.height), (1300, 800));
        let bytes = information.color_type.samples();
        let count = |colour: [u8; 3]| pixels.chunks(bytes).filter(|pixel| pixel.starts_with(&colour)).count();
        queued_and_lost.push((count([0x1f, 0x8a, 0x4c]), count([0xc6, 0x28, 0x28])));
    }
    let [(queued_short, lost_short), (queued, lost)] = queued_and_lost[..] else { panic!("two pictures") };
    // The legend has one of each, and each page calls that fail.
    assert!(queued > queued_short && queued_short > 20, "{queued_and_lost:?}");
    assert!(lost_short > lost && lost > 5, "{queued_and_lost:?}");
    Ok(())
}
