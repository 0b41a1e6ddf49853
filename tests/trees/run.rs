//! `uinotify run --tree`: who sees a tree, and how.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Stdio;

use nix::sys::signal::{Signal, kill};

use crate::Test;
use crate::helper::shown_trees;
use crate::need::Need;
use crate::room::{Outcome, Room, Running, eventually, helper_command, is_running};
use crate::talk::{Talk, text};

pub(super) const TESTS: &[Test] = &[
    ("run::the_program_alone_sees_the_tree", &[Need::Tree], the_program_alone_sees_the_tree),
    ("run::the_folder_is_kept", &[Need::Tree], the_folder_is_kept),
    ("run::a_tree_may_be_read_only", &[Need::Tree], a_tree_may_be_read_only),
    ("run::trees_beside_and_in_each_other", &[Need::Tree], trees_beside_and_in_each_other),
    ("run::names_with_blanks_and_links", &[Need::Tree], names_with_blanks_and_links),
    ("run::the_runtime_folder_may_be_in_the_tree", &[Need::Tree], the_runtime_folder_may_be_in_the_tree),
    ("run::a_mount_below_is_a_part_of_the_tree", &[Need::Mount], a_mount_below_is_a_part_of_the_tree),
    ("run::sockets_join_who_goes_the_same_way", &[Need::Tree], sockets_join_who_goes_the_same_way),
    ("run::what_cannot_be_shown_is_told", &[Need::Tree], what_cannot_be_shown_is_told),
    ("run::status_and_signals_are_as_without", &[Need::Tree], status_and_signals_are_as_without),
    ("run::a_daemon_keeps_its_tree", &[Need::Tree], a_daemon_keeps_its_tree),
    ("run::a_run_in_a_run_has_its_own_tree", &[Need::Tree], a_run_in_a_run_has_its_own_tree),
];

/// What a new file with bytes in it is to whoever watches its folder as wd 1.
pub(super) fn events_of_writing(name: &str) -> String {
    ["CREATE", "OPEN", "MODIFY", "CLOSE_WRITE"].map(|bit| format!("1:{bit}({name})")).join(" ")
}

/// A room with a folder `tree` in it.
pub(super) fn with_tree() -> Room {
    let room = Room::new();
    fs::create_dir(room.path("tree")).expect("a folder in a folder of our own");
    room
}

fn the_program_alone_sees_the_tree() -> Outcome {
    let room = with_tree();
    let tree = room.path("tree");
    fs::write(tree.join("before"), "kept")?;
    let machine = fs::read("/proc/self/mountinfo")?;
    let mut talk = Talk::run(&room, &["--source", "fuse", "--tree", text(&tree)]);
    assert_eq!(talk.tell(&["trees"]), text(&tree.canonicalize()?));
    assert!(fs::read("/proc/self/mountinfo")? == machine, "the machine sees another mount");
    assert_eq!(talk.tell(&["read", text(&tree.join("before"))]), "kept");
    assert_eq!(talk.tell(&["watch", text(&tree)]), "wd 1");
    talk.done(&["write", text(&tree.join("file")), "text"]);
    assert_eq!(talk.tell(&["events"]), events_of_writing("file"));
    assert_eq!(fs::read_to_string(tree.join("file"))?, "text");
    // What the rest of the machine does there is seen, and tells nothing, as on a network file system.
    fs::write(tree.join("behind"), "the mount")?;
    assert_eq!(talk.tell(&["read", text(&tree.join("behind"))]), "the mount");
    assert_eq!(talk.tell(&["events"]), "1:OPEN(behind) 1:ACCESS(behind) 1:CLOSE_NOWRITE(behind)");
    assert_eq!(talk.end(), Some(0));
    assert!(fs::read("/proc/self/mountinfo")? == machine);
    Ok(())
}

fn the_folder_is_kept() -> Outcome {
    let room = with_tree();
    let tree = room.path("tree").canonicalize()?;
    let deep = tree.join("deep/er");
    fs::create_dir_all(&deep)?;
    fs::write(deep.join("file"), "text")?;
    let options = ["run", "-v", "--source", "fuse", "--tree", "..", "--"];
    let mut command = room.uinotify(&[&options, &helper_command(&["talk"])[..]].concat());
    let mut talk = Talk::start(command.current_dir(&deep));
    assert_eq!(talk.tell(&["trees"]), text(&tree.join("deep")));
    assert_eq!(talk.tell(&["cwd"]), text(&deep));
    // It is the folder that is shown, not the one below.
    assert_eq!(talk.tell(&["watch", "."]), "wd 1");
    assert_eq!(talk.tell(&["read", "file"]), "text");
    assert_eq!(talk.tell(&["events"]), "1:OPEN(file) 1:ACCESS(file) 1:CLOSE_NOWRITE(file)");
    Ok(())
}

fn a_tree_may_be_read_only() -> Outcome {
    let room = with_tree();
    let tree = room.path("tree");
    let file = tree.join("file");
    fs::write(&file, "text")?;
    let mut talk = Talk::run(&room, &["--source", "fuse", "--tree", &format!("{}:ro", tree.display())]);
    assert_eq!(talk.tell(&["watch", text(&tree)]), "wd 1");
    assert_eq!(talk.tell(&["write", text(&file), "other"]), "EROFS");
    assert_eq!(talk.tell(&["write", text(&tree.join("new")), "other"]), "EROFS");
    assert_eq!(talk.tell(&["mkdir", text(&tree.join("new"))]), "EROFS");
    assert_eq!(talk.tell(&["remove", text(&file)]), "EROFS");
    assert_eq!(talk.tell(&["rename", text(&file), text(&tree.join("new"))]), "EROFS");
    assert_eq!(talk.tell(&["events"]), "-");
    assert_eq!(talk.tell(&["read", text(&file)]), "text");
    assert_eq!(talk.tell(&["events"]), "1:OPEN(file) 1:ACCESS(file) 1:CLOSE_NOWRITE(file)");
    Ok(())
}

fn trees_beside_and_in_each_other() -> Outcome {
    let room = Room::new();
    let [one, inner, other] = ["one", "one/inner", "other"].map(|name| room.path(name));
    fs::create_dir_all(&inner)?;
    fs::create_dir(&other)?;
    // The outer one comes second, and cannot be changed.
    let outer = format!("{}:ro", one.display());
    let options = ["--source", "fuse", "--tree", text(&inner), "--tree", &outer, "--tree", text(&other)];
    let mut talk = Talk::run(&room, &options);
    let shown = [&one, &inner, &other].map(|path| text(path).to_owned()).join(" ");
    assert_eq!(talk.tell(&["trees"]), shown);
    for (wd, path) in [(1, &inner), (2, &other), (3, &one)] {
        assert_eq!(talk.tell(&["watch", text(path)]), format!("wd {wd}"));
    }
    talk.done(&["write", text(&inner.join("a")), "text"]);
    assert_eq!(talk.tell(&["events"]), events_of_writing("a"));
    talk.done(&["mkdir", text(&other.join("folder"))]);
    assert_eq!(talk.tell(&["events"]), "2:CREATE,ISDIR(folder)");
    assert_eq!(talk.tell(&["mkdir", text(&one.join("folder"))]), "EROFS");
    assert_eq!(talk.tell(&["rename", text(&inner.join("a")), text(&other.join("a"))]), "EXDEV");
    assert_eq!(talk.tell(&["events"]), "-");
    assert_eq!(fs::read_to_string(inner.join("a"))?, "text");
    Ok(())
}

fn names_with_blanks_and_links() -> Outcome {
    let room = Room::new();
    let folder = room.path("a b\tc\\d");
    fs::create_dir(&folder)?;
    symlink(&folder, room.path("link"))?;
    // A second link to the same folder is the same folder.
    symlink("link", room.path("twice"))?;
    let (link, twice) = (room.path("link"), room.path("twice"));
    let ended = room.run(&["--tree", text(&link), "--tree", text(&twice)], &["true"]);
    assert_eq!(ended.status, Some(125));
    assert!(ended.stderr.contains("it is given twice"), "{}", ended.stderr);
    let mut talk = Talk::run(&room, &["--source", "fuse", "--tree", text(&twice)]);
    assert_eq!(talk.tell(&["watch", text(&link)]), "wd 1");
    talk.done(&["write", text(&twice.join("file")), "text"]);
    assert_eq!(talk.tell(&["events"]), events_of_writing("file"));
    assert_eq!(fs::read_to_string(folder.join("file"))?, "text");
    Ok(())
}

/// A socket cannot be reached by its path through another file system.
fn the_runtime_folder_may_be_in_the_tree() -> Outcome {
    let room = Room::new();
    let mut talk = Talk::run(&room, &["--source", "fuse", "--tree", text(room.folder.path())]);
    assert_eq!(talk.tell(&["watch", text(room.folder.path())]), "wd 1");
    talk.done(&["write", text(&room.path("file")), "text"]);
    assert_eq!(talk.tell(&["events"]), events_of_writing("file"));
    drop(talk);
    // Nor does `ps` find it by its path there, and take it for one that was left.
    let uinotify = env!("CARGO_BIN_EXE_uinotify");
    let shell = format!("{uinotify} ps; {uinotify} ps");
    let ended = room.run(&["--tree", text(room.folder.path())], &["sh", "-c", &shell]);
    assert_eq!(
        ended.stdout.lines().filter(|line| line.contains(&shell)).count(),
        2,
        "{}{}",
        ended.stdout,
        ended.stderr
    );
    Ok(())
}

fn a_mount_below_is_a_part_of_the_tree() -> Outcome {
    let room = with_tree();
    let tree = room.path("tree");
    let below = tree.join("below");
    fs::create_dir(&below)?;
    fs::write(below.join("covered"), "")?;
    nix::mount::mount(Some("none"), &below, Some("tmpfs"), nix::mount::MsFlags::empty(), None::<&str>)?;
    let mut talk = Talk::run(&room, &["--source", "fuse", "--tree", text(&tree)]);
    assert_eq!(talk.tell(&["read", text(&below.join("covered"))]), "ENOENT");
    assert_eq!(talk.tell(&["watch", text(&below)]), "wd 1");
    talk.done(&["write", text(&below.join("file")), "text"]);
    assert_eq!(talk.tell(&["events"]), events_of_writing("file"));
    assert_eq!(talk.tell(&["rename", text(&below.join("file")), text(&tree.join("file"))]), "EXDEV");
    assert_eq!(fs::read_to_string(below.join("file"))?, "text");
    assert_eq!(talk.end(), Some(0));
    nix::mount::umount2(&below, nix::mount::MntFlags::MNT_DETACH)?;
    Ok(())
}

fn sockets_join_who_goes_the_same_way() -> Outcome {
    let room = with_tree();
    let path = |name: &str| room.path("tree").join(name);
    let _outside = std::os::unix::net::UnixListener::bind(path("outside"))?;
    let mut talk = Talk::run(&room, &["--source", "fuse", "--tree", text(&room.path("tree"))]);
    talk.done(&["listen", text(&path("inside"))]);
    talk.done(&["connect", text(&path("inside"))]);
    assert_eq!(talk.tell(&["connect", text(&path("outside"))]), "ECONNREFUSED");
    let refused = std::os::unix::net::UnixStream::connect(path("inside")).err().map(|error| error.kind());
    assert_eq!(refused, Some(std::io::ErrorKind::ConnectionRefused));
    Ok(())
}

fn what_cannot_be_shown_is_told() -> Outcome {
    let room = with_tree();
    let tree = room.path("tree");
    let file = room.path("file");
    fs::write(&file, "")?;
    let missing = room.path("missing");
    let again = tree.join("../tree");
    let twice = ["--tree", text(&tree), "--tree", text(&again)];
    for (options, reason) in [
        (&["--tree", "/"][..], "cannot show /: it is the root folder; choose folders in it".to_owned()),
        (&twice, format!("cannot show {}: it is given twice", tree.canonicalize()?.display())),
        (&["--tree", text(&missing)], format!("cannot show {}: No such file or directory", missing.display())),
        (&["--tree", text(&file)], format!("cannot show {}: Not a directory", file.display())),
        (&["--tree", ""], "cannot show : No such file or directory".to_owned()),
    ] {
        let ended = room.run(options, &["echo", "was run"]);
        assert_eq!((ended.status, &*ended.stdout), (Some(125), ""), "{options:?}: {}", ended.stderr);
        assert_eq!(ended.stderr.lines().count(), 1, "{options:?}: {}", ended.stderr);
        assert!(ended.stderr.contains(&reason), "{options:?}: {}", ended.stderr);
    }
    assert!(room.sockets().is_empty());
    Ok(())
}

fn status_and_signals_are_as_without() -> Outcome {
    let room = with_tree();
    let tree = room.path("tree");
    let options = ["--source", "fuse", "--tree", text(&tree)];
    assert_eq!(room.run(&options, &["sh", "-c", "exit 7"]).status, Some(7));
    assert_eq!(room.run(&options, &["sh", "-c", "kill -SEGV $$"]).status, Some(128 + libc::SIGSEGV));
    assert_eq!(room.run(&options, &[text(&room.path("nothing"))]).status, Some(127));
    // A program that is seen in the tree.
    fs::write(tree.join("script"), "#!/bin/sh\necho $0 $1\nexit 3\n")?;
    let script = tree.join("script");
    assert_eq!(room.run(&options, &[text(&script)]).status, Some(126));
    fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    let ended = room.run(&options, &[text(&script), "word"]);
    assert_eq!((ended.status, ended.stdout), (Some(3), format!("{} word\n", script.display())), "{}", ended.stderr);

    let shell = "trap 'echo told; exit 9' TERM; echo ready; while :; do sleep 0.01; done";
    let mut command = room.uinotify(&[&["run", "-v"], &options[..], &["--", "sh", "-c", shell]].concat());
    let mut running = Running::start(command.stdin(Stdio::null()));
    assert_eq!(running.line(), "ready");
    kill(running.pid(), Signal::SIGTERM)?;
    assert_eq!(running.line(), "told");
    assert_eq!(running.child.wait()?.code(), Some(9));
    Ok(())
}

/// It has neither an instance nor a file open when the command ends.
fn a_daemon_keeps_its_tree() -> Outcome {
    let room = with_tree();
    let tree = room.path("tree");
    let command = helper_command(&["leave"]);
    let options = ["run", "-v", "--source", "fuse", "--tree", text(&tree), "--"];
    let mut talk = Talk::start(&mut room.uinotify(&[&options[..], &command].concat()));
    let mut status = None;
    eventually("the command ends before the daemon", || {
        status = talk.running.child.try_wait().expect("a child of ours");
        status.is_some()
    })?;
    assert_eq!(status.and_then(|status| status.code()), Some(0));
    let emulator = room.emulator();
    assert_eq!(talk.tell(&["trees"]), text(&tree.canonicalize()?));
    talk.done(&["write", text(&tree.join("before")), "text"]);
    assert_eq!(talk.tell(&["watch", text(&tree)]), "wd 1");
    talk.done(&["write", text(&tree.join("file")), "text"]);
    assert_eq!(talk.tell(&["events"]), events_of_writing("file"));
    assert!(is_running(emulator));
    assert_eq!(talk.end(), Some(0));
    eventually("the emulator ends with the daemon", || !is_running(emulator))?;
    assert!(room.sockets().is_empty());
    Ok(())
}

/// The inner emulator's lower tree is one that the outer shows.
fn a_run_in_a_run_has_its_own_tree() -> Outcome {
    let room = with_tree();
    let tree = room.path("tree");
    let inner = tree.join("inner");
    fs::create_dir(&inner)?;
    let outer = ["run", "--source", "fuse", "--tree", text(&tree), "--", env!("CARGO_BIN_EXE_uinotify")];
    let options = ["run", "-v", "--source", "fuse", "--tree", text(&inner), "--"];
    let mut talk = Talk::start(&mut room.uinotify(&[&outer[..], &options, &helper_command(&["talk"])].concat()));
    assert_eq!(talk.tell(&["trees"]), format!("{} {}", tree.display(), inner.display()));
    assert_eq!(talk.tell(&["watch", text(&inner)]), "wd 1");
    talk.done(&["write", text(&inner.join("file")), "text"]);
    assert_eq!(talk.tell(&["events"]), events_of_writing("file"));
    assert_eq!(talk.tell(&["watch", text(&tree)]), "ENOSPC");
    assert_eq!(talk.end(), Some(0));
    assert_eq!(fs::read_to_string(inner.join("file"))?, "text");
    assert_eq!(shown_trees()?, Vec::<String>::new());
    Ok(())
}
