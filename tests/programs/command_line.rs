//! Programs of the command line.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use std::time::Duration;

use libtest_mimic::Failed;

use crate::Case;
use crate::need::Need;
use crate::run::{END, Outcome, Room, Subject, append, distinct_changes};

pub(super) fn cases() -> [Case; 7] {
    [
        Case { name: "inotifywait::monitor", needs: &[Need::Inotifywait], play: monitor },
        Case { name: "inotifywait::recursive", needs: &[Need::Inotifywait], play: recursive },
        Case { name: "inotifywait::once", needs: &[Need::Inotifywait], play: once },
        Case { name: "tail::follow_by_name", needs: &[Need::Tail], play: tail },
        Case { name: "entr::a_change", needs: &[Need::Entr], play: entr },
        Case { name: "fswatch::events", needs: &[Need::Fswatch], play: fswatch },
        Case { name: "gio::monitor", needs: &[Need::Gio], play: gio },
    ]
}

fn monitor(subject: Subject) -> Result<String, Failed> {
    let room = Room::new(subject)?;
    let tree = room.tree();
    let running = room.start(&["inotifywait", "-m", tree.to_str().ok_or("a UTF-8 path")?])?;
    running.said("Watches established.")?;
    running.watches(1)?;
    distinct_changes(&tree)?;
    running.end()
}

/// The events of opening and reading are left out: the program walks each new folder, beside what the test does there.
fn recursive(subject: Subject) -> Result<String, Failed> {
    let room = Room::new(subject)?;
    let tree = room.tree();
    fs::create_dir_all(tree.join("a/deep/folder"))?;
    fs::create_dir(tree.join("b"))?;
    let path = tree.to_str().ok_or("a UTF-8 path")?;
    let events = "create,modify,close_write,attrib,move,delete,delete_self,move_self";
    let running = room.start(&["inotifywait", "-m", "-r", "-e", events, path])?;
    running.said("Watches established.")?;
    running.watches(5)?;
    distinct_changes(&tree.join("a/deep"))?;

    fs::create_dir(tree.join("b/new"))?;
    running.watches(6)?;
    distinct_changes(&tree.join("b/new"))?;
    fs::rename(tree.join("b/new"), tree.join("a/moved"))?;
    running.said("MOVE_SELF")?;
    File::create(tree.join("a/moved/after"))?;

    fs::remove_dir_all(tree.join("a/deep"))?;
    running.watches(4)?;
    running.end()
}

/// Without `-m` the program ends after one event.
fn once(subject: Subject) -> Result<String, Failed> {
    let room = Room::new(subject)?;
    let tree = room.tree();
    let running = room.start(&["inotifywait", "-e", "delete", tree.to_str().ok_or("a UTF-8 path")?])?;
    running.said("Watches established.")?;
    running.watches(1)?;
    distinct_changes(&tree)?;
    running.whole()
}

fn tail(subject: Subject) -> Result<String, Failed> {
    let room = Room::new(subject)?;
    let log = room.tree().join("log");
    fs::write(&log, "before\n")?;
    let running = room.start(&["tail", "-F", log.to_str().ok_or("a UTF-8 path")?])?;
    // The file and its folder.
    running.watches(2)?;
    running.said("before")?;
    append(&log, "first")?;
    running.said("first")?;
    append(&log, "second")?;
    running.said("second")?;
    // Rotated: the old file stays watched until the program learns that the name is another's.
    fs::rename(&log, running.path("log.1"))?;
    running.said("has become inaccessible")?;
    fs::write(running.path("new"), "third\n")?;
    fs::rename(running.path("new"), &log)?;
    running.said("third")?;
    append(&log, "fourth")?;
    running.said("fourth")?;
    File::create(&log)?;
    running.said("truncated")?;
    append(&log, END)?;
    running.until(END)
}

/// DIFF-40: it asks for the type of the file system, and takes one of FUSE for one that others change elsewhere.
pub(super) fn tail_polls_in_a_tree() -> Outcome {
    let room = Room::new(Subject::Tree)?;
    let log = room.tree().join("log");
    fs::write(&log, "before\n")?;
    let running = room.start(&["tail", "-s", "0.05", "-F", log.to_str().ok_or("a UTF-8 path")?])?;
    running.said("before")?;
    append(&log, "first")?;
    running.said("first")?;
    let watched: Vec<_> = running.emulated_groups().into_iter().flat_map(|group| group.watches).collect();
    assert!(watched.is_empty(), "{watched:?}");
    append(&log, END)?;
    running.until(END).map(|_| ())
}

/// The change is made now and then until it is seen: at its start the program throws away what happens until nothing has for
/// a while.
fn entr(subject: Subject) -> Result<String, Failed> {
    let room = Room::new(subject)?;
    let file = room.tree().join("source");
    fs::write(&file, "text\n")?;
    let path = file.to_str().ok_or("a UTF-8 path")?;
    let list = room.beside("list");
    fs::write(&list, format!("{path}\n"))?;
    // `/_` is the file that has changed.
    let program = ["entr", "-n", "-p", "-z", "echo", END, "/_"];
    let running = room.start_with(&[], &program, Stdio::from(File::open(list)?))?;
    running.watches(1)?;
    running.said_after(END, Duration::from_millis(300), || append(&file, "more"))?;
    running.until(END)
}

/// Each change is waited for, because the program gathers what happens within its latency by path.
fn fswatch(subject: Subject) -> Result<String, Failed> {
    let room = Room::new(subject)?;
    let tree = room.tree();
    let path = tree.to_str().ok_or("a UTF-8 path")?;
    let running = room.start(&["fswatch", "-m", "inotify_monitor", "-x", "-l", "0.1", path])?;
    running.watches(1)?;
    fs::create_dir(tree.join("folder"))?;
    running.said("folder Created")?;
    fs::rename(tree.join("folder"), tree.join("moved"))?;
    running.said("moved Created MovedTo")?;
    fs::remove_dir(tree.join("moved"))?;
    running.said("moved Removed")?;
    running.end()
}

/// Each change is waited for, because the program keeps back changes that follow each other quickly.
fn gio(subject: Subject) -> Result<String, Failed> {
    let room = Room::new(subject)?;
    let tree = room.tree();
    let running = room.start(&["gio", "monitor", "--dir", tree.to_str().ok_or("a UTF-8 path")?])?;
    running.watches(1)?;
    fs::write(tree.join("one"), "text")?;
    running.said("one: changes done")?;
    fs::set_permissions(tree.join("one"), fs::Permissions::from_mode(0o600))?;
    running.said("one: attributes changed")?;
    fs::rename(tree.join("one"), tree.join("two"))?;
    running.said("one: renamed to")?;
    fs::rename(tree.join("two"), running.beside("outside"))?;
    running.said("two: moved out")?;
    fs::rename(running.beside("outside"), tree.join("back"))?;
    running.said("back: moved in")?;
    fs::remove_file(tree.join("back"))?;
    running.said("back: deleted")?;
    fs::create_dir(tree.join("folder"))?;
    running.said("folder: created")?;
    fs::remove_dir_all(&tree)?;
    running.until("tree: deleted")
}

/// Real events under a number that the user has chosen, and `uinotify ps` beside them.
pub(super) fn next_wd_beside_ps() -> Outcome {
    let room = Room::new(Subject::Run)?;
    let tree = room.tree();
    let path = tree.to_str().ok_or("a UTF-8 path")?;
    let running = room.start_with(&["--next-wd", "55407062"], &["inotifywait", "-m", path], Stdio::null())?;
    running.said("Watches established.")?;
    let groups = running.emulated_groups();
    let [group] = &groups[..] else { panic!("one group: {groups:?}") };
    let [watch] = &group.watches[..] else { panic!("one watch: {groups:?}") };
    assert_eq!((watch.wd, watch.path.as_str()), (55_407_062, path));
    assert_eq!(group.cursor, 55_407_063);

    fs::write(tree.join("made"), "text")?;
    let text = running.end()?;
    let expected = format!(
        "Setting up watches.\nWatches established.\n\
         ROOM/tree/ CREATE made\nROOM/tree/ OPEN made\nROOM/tree/ MODIFY made\nROOM/tree/ CLOSE_WRITE,CLOSE made\n\
         ROOM/tree/ CREATE,ISDIR {END}\n"
    );
    assert_eq!(text, expected);
    Ok(())
}
