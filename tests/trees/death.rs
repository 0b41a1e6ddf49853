//! What is left when something is killed: no mount, no process that hangs, and a tree with all that was answered.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::Test;
use crate::need::Need;
use crate::room::{Outcome, Room, Running, eventually, helper_command, is_running};
use crate::run::{events_of_writing, with_tree};
use crate::talk::{Talk, text};

pub(super) const TESTS: &[Test] = &[
    ("death::of_the_program", &[Need::Tree], of_the_program),
    ("death::of_the_command", &[Need::Tree], of_the_command),
    ("death::of_the_emulator", &[Need::Tree], of_the_emulator),
    ("death::of_the_emulator_while_somebody_waits", &[Need::Tree], of_the_emulator_while_somebody_waits),
    ("death::of_the_emulator_in_the_middle_of_traffic", &[Need::Tree], || in_the_middle_of_traffic("exact")),
    ("death::of_the_emulator_in_the_middle_of_fast_traffic", &[Need::Tree], || in_the_middle_of_traffic("fast")),
];

/// Whether any process of the machine has a mount at this path.
fn is_mounted_anywhere(path: &Path) -> bool {
    let wanted = format!(" {} ", text(path));
    let processes = fs::read_dir("/proc").expect("/proc is mounted").flatten();
    let mut tables = processes.filter_map(|process| fs::read_to_string(process.path().join("mountinfo")).ok());
    tables.any(|table| table.contains(&wanted))
}

fn nothing_is_left(room: &Room, emulator: i32, tree: &Path) -> Outcome {
    eventually("the emulator ends", || !is_running(emulator))?;
    eventually("the tree is mounted nowhere", || !is_mounted_anywhere(tree))?;
    // A killed emulator may have left its socket, if it was about to end when the command did.
    let asked = room.end(&mut room.uinotify(&["ps"]));
    assert!(asked.status == Some(0) && room.sockets().is_empty(), "{:?}", room.sockets());
    // And can be shown again.
    let ended = room.run(&["--source", "fuse", "--tree", text(tree)], &["ls", text(tree)]);
    assert_eq!(ended.status, Some(0), "{}", ended.stderr);
    Ok(())
}

fn of_the_program() -> Outcome {
    let room = with_tree();
    let tree = room.path("tree").canonicalize()?;
    let mut talk = Talk::run(&room, &["--source", "fuse", "--tree", text(&tree)]);
    assert_eq!(talk.tell(&["watch", text(&tree)]), "wd 1");
    assert!(is_mounted_anywhere(&tree));
    let program: i32 = talk.tell(&["pid"]).parse().map_err(|_| "a number")?;
    kill(Pid::from_raw(program), Signal::SIGKILL)?;
    assert_eq!(talk.running.child.wait()?.code(), Some(128 + libc::SIGKILL));
    nothing_is_left(&room, room.emulator(), &tree)
}

/// The program goes on, with its tree.
fn of_the_command() -> Outcome {
    let room = with_tree();
    let tree = room.path("tree").canonicalize()?;
    let mut talk = Talk::run(&room, &["--source", "fuse", "--tree", text(&tree)]);
    kill(talk.pid(), Signal::SIGKILL)?;
    let mut status = None;
    eventually("the command is killed", || {
        status = talk.running.child.try_wait().expect("a child of ours");
        status.is_some()
    })?;
    assert_eq!(status.and_then(|status| status.signal()), Some(libc::SIGKILL));
    assert_eq!(talk.tell(&["watch", text(&tree)]), "wd 1");
    talk.done(&["write", text(&tree.join("file")), "text"]);
    assert_eq!(talk.tell(&["events"]), events_of_writing("file"));
    let emulator = room.emulator();
    talk.end();
    nothing_is_left(&room, emulator, &tree)
}

fn of_the_emulator() -> Outcome {
    let room = with_tree();
    let tree = room.path("tree").canonicalize()?;
    fs::write(tree.join("held"), "text")?;
    let mut talk = Talk::run(&room, &["--source", "fuse", "--tree", text(&tree)]);
    assert_eq!(talk.tell(&["watch", text(&tree)]), "wd 1");
    talk.done(&["hold", text(&tree.join("held"))]);
    assert_eq!(talk.tell(&["read held"]), "text");
    let emulator = room.emulator();
    kill(Pid::from_raw(emulator), Signal::SIGKILL)?;
    eventually("the emulator is gone", || !is_running(emulator))?;
    for words in [
        &["read", text(&tree.join("held"))][..],
        &["write", text(&tree.join("new")), "text"],
        &["mkdir", text(&tree.join("folder"))],
        &["rename", text(&tree.join("held")), text(&tree.join("other"))],
        &["remove", text(&tree.join("held"))],
    ] {
        assert_eq!(talk.tell(words), "ENOTCONN", "{words:?}");
    }
    // DIFF-9.
    assert_eq!(talk.tell(&["watch", text(&tree)]), "ENOMEM");
    // The second is for what was opened before.
    assert!(["ENOTCONN", "ECONNABORTED"].contains(&&*talk.tell(&["read held"])));
    assert_eq!(talk.tell(&["events"]), "EIO");
    talk.done(&["drop held"]);
    // The rest of the machine has never seen the mount.
    assert_eq!(fs::read_to_string(tree.join("held"))?, "text");
    let beside = Room::new();
    let mut other = Talk::run(&beside, &["--source", "fuse", "--tree", text(&tree)]);
    assert_eq!(other.tell(&["watch", text(&tree)]), "wd 1");
    assert_eq!(other.tell(&["read", text(&tree.join("held"))]), "text");
    assert_eq!(other.end(), Some(0));
    assert_eq!(talk.end(), Some(0));
    let told = room.stderr().lines().filter(|line| line.contains("ended before the program")).count();
    assert_eq!(told, 1, "{}", room.stderr());
    nothing_is_left(&room, emulator, &tree)
}

fn of_the_emulator_while_somebody_waits() -> Outcome {
    let room = with_tree();
    let tree = room.path("tree").canonicalize()?;
    let mut reader = Talk::run(&room, &["--source", "fuse", "--tree", text(&tree)]);
    assert_eq!(reader.tell(&["watch", text(&tree)]), "wd 1");
    let emulator = room.emulator();
    reader.running.tell("wait");
    let waiter: i32 = fs::read_to_string(format!("/proc/{0}/task/{0}/children", reader.pid()))?
        .split_whitespace()
        .filter_map(|pid| pid.parse().ok())
        .find(|pid| *pid != emulator)
        .ok_or("the program")?;
    let state = || fs::read_to_string(format!("/proc/{waiter}/wchan")).unwrap_or_default();
    eventually("the program waits", || state().contains("poll") || state().contains("recv") || state() == "0")?;
    kill(Pid::from_raw(emulator), Signal::SIGKILL)?;
    assert_eq!(reader.running.line(), "EIO");
    Ok(())
}

/// The files of a writer, with what is in them.
type Files = BTreeMap<String, String>;

#[derive(Clone, Debug)]
enum Operation {
    Make { name: String, content: String },
    Rename { from: String, to: String },
    Remove { name: String },
}

/// What a writer does, without an end.
fn operations(writer: u64) -> impl Iterator<Item = Operation> {
    let first = move |number: u64| format!("{writer}-first-{number}");
    let last =
        move |number: u64| if number.is_multiple_of(3) { format!("{writer}-second-{number}") } else { first(number) };
    (0..).flat_map(move |number: u64| {
        let content = number.to_string().repeat(1 + (number % 97) as usize);
        let made = Operation::Make { name: first(number), content };
        let renamed = number.is_multiple_of(3).then(|| Operation::Rename { from: first(number), to: last(number) });
        let old = number.checked_sub(20).filter(|old| old.is_multiple_of(5));
        [Some(made), renamed, old.map(|old| Operation::Remove { name: last(old) })].into_iter().flatten()
    })
}

impl Operation {
    fn perform(&self, folder: &Path) -> std::io::Result<()> {
        match self {
            Self::Make { name, content } => fs::write(folder.join(name), content),
            Self::Rename { from, to } => fs::rename(folder.join(from), folder.join(to)),
            Self::Remove { name } => fs::remove_file(folder.join(name)),
        }
    }

    fn apply(&self, files: &mut Files) {
        match self {
            Self::Make { name, content } => {
                files.insert(name.clone(), content.clone());
            }
            Self::Rename { from, to } => {
                let content = files.remove(from).expect("it was made");
                files.insert(to.clone(), content);
            }
            Self::Remove { name } => {
                files.remove(name).expect("it was made");
            }
        }
    }
}

/// Does one operation after another, and notes each in the journal, which is outside the tree, once it is done. At the first error it ends.
pub(super) fn traffic(writer: &str, folder: &Path, journal: &Path) {
    let mut journal = File::create(journal).expect("the journal is outside");
    for operation in operations(writer.parse().expect("a number")) {
        if let Err(error) = operation.perform(folder) {
            eprintln!("{error} after {:?}: {operation:?}", journal.metadata().map(|status| status.len()));
            break;
        }
        journal.write_all(b".").expect("the journal is outside");
    }
}

const WRITERS: u64 = 4;

/// All that was answered is there, and nothing else but what was under way.
fn in_the_middle_of_traffic(mode: &str) -> Outcome {
    let room = with_tree();
    let tree = room.path("tree").canonicalize()?;
    let journal = |writer: u64| room.path(&format!("journal-{writer}"));
    let helper = helper_command(&["traffic"]).join(" ");
    let start = |writer| format!("{helper} {writer} {} {} & ", tree.display(), journal(writer).display());
    let script: String = (0..WRITERS).map(start).chain(["echo ready; wait; echo over".to_owned()]).collect();
    let options = ["run", "-v", "--source", "fuse", "--mode", mode, "--tree", text(&tree), "--", "sh", "-c", &script];
    let mut running = Running::start(&mut room.uinotify(&options));
    assert_eq!(running.line(), "ready");
    let done = |writer: u64| fs::metadata(journal(writer)).map_or(0, |status| status.len());
    if let Err(late) = eventually("all writers are at work", || (0..WRITERS).all(|writer| done(writer) > 300)) {
        return Err(format!("{late:?}: {:?}\n{}", (0..WRITERS).map(done).collect::<Vec<_>>(), room.stderr()).into());
    }
    let emulator = room.emulator();
    kill(Pid::from_raw(emulator), Signal::SIGKILL)?;
    // No writer hangs.
    assert_eq!(running.line(), "over");
    assert_eq!(running.child.wait()?.code(), Some(0));

    let mut under_way = 0;
    for writer in 0..WRITERS {
        let mut found = Files::new();
        for entry in fs::read_dir(&tree)? {
            let name = entry?.file_name().display().to_string();
            if name.starts_with(&format!("{writer}-")) {
                let content = fs::read_to_string(tree.join(&name))?;
                found.insert(name, content);
            }
        }
        let mut operations = operations(writer);
        let mut expected = Files::new();
        for _ in 0..done(writer) {
            operations.next().ok_or("it has no end")?.apply(&mut expected);
        }
        if found == expected {
            continue;
        }
        under_way += 1;
        let next = operations.next().ok_or("it has no end")?;
        // Making a file is two calls.
        if let Operation::Make { name, .. } = &next {
            let mut begun = expected.clone();
            begun.insert(name.clone(), String::new());
            if found == begun {
                continue;
            }
        }
        next.apply(&mut expected);
        assert!(found == expected, "{writer} has done {}:\n{found:?}\n{expected:?}", done(writer));
    }
    println!("{mode}: {} operations, {under_way} writers had one under way", (0..WRITERS).map(done).sum::<u64>());
    nothing_is_left(&room, emulator, &tree)
}
