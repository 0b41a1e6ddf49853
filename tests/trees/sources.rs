//! Where events come from beside a tree, and what a tree needs of the machine.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::Test;
use crate::circumstances::{ANOTHER, ARGUMENT, give_away};
use crate::need::Need;
use crate::room::{Outcome, Room, copy_program};
use crate::run::{events_of_writing, with_tree};
use crate::talk::{Talk, text};

pub(super) const TESTS: &[Test] = &[
    ("sources::fuse_alone_watches_nothing_else", &[Need::Tree], fuse_alone_watches_nothing_else),
    ("sources::auto_watches_the_rest_by_the_kernel", &[Need::Tree], auto_watches_the_rest_by_the_kernel),
    ("sources::without_kernel_inotify", &[Need::Tree, Need::Limits], without_kernel_inotify),
    ("sources::another_user_has_a_tree", &[Need::AnotherUser, Need::Limits], another_user_has_a_tree),
    ("sources::a_closed_device_is_told", &[Need::AnotherUser], a_closed_device_is_told),
];

fn fuse_alone_watches_nothing_else() -> Outcome {
    let room = with_tree();
    fs::create_dir(room.path("elsewhere"))?;
    let (tree, elsewhere) = (room.path("tree"), room.path("elsewhere"));
    let mut talk = Talk::run(&room, &["--source", "fuse", "--tree", text(&tree)]);
    let before = room.stderr().lines().count();
    assert_eq!(talk.tell(&["watch", text(&elsewhere)]), "ENOSPC");
    let stderr = room.stderr();
    let said: Vec<_> = stderr.lines().skip(before).filter(|line| line.contains("elsewhere")).collect();
    let expected =
        format!("{} is in no tree that is shown: it cannot be watched by --source fuse alone", text(&elsewhere));
    assert_eq!(said, [format!("uinotify: {expected}")]);
    assert_eq!(talk.tell(&["watch", text(&tree)]), "wd 1");
    talk.done(&["write", text(&tree.join("file")), "text"]);
    assert_eq!(talk.tell(&["events"]), events_of_writing("file"));
    Ok(())
}

fn auto_watches_the_rest_by_the_kernel() -> Outcome {
    let room = with_tree();
    fs::create_dir(room.path("elsewhere"))?;
    let (tree, elsewhere) = (room.path("tree"), room.path("elsewhere"));
    let mut talk = Talk::run(&room, &["--tree", text(&tree)]);
    assert_eq!(talk.tell(&["watch", text(&elsewhere)]), "wd 1");
    assert_eq!(talk.tell(&["watch", text(&tree)]), "wd 2");
    // Others than the program do it: a tree does not see that, the kernel does.
    fs::create_dir(elsewhere.join("theirs"))?;
    fs::create_dir(tree.join("theirs"))?;
    assert_eq!(talk.tell(&["events"]), "1:CREATE,ISDIR(theirs)");
    talk.done(&["write", text(&elsewhere.join("file")), "text"]);
    assert_eq!(talk.tell(&["events"]), events_of_writing("file"));
    talk.done(&["mkdir", text(&tree.join("own"))]);
    assert_eq!(talk.tell(&["events"]), "2:CREATE,ISDIR(own)");
    Ok(())
}

/// The limits of the kernel's inotify are those of the user name space: none is to be had.
fn without_kernel_inotify() -> Outcome {
    for source in ["fuse", "auto"] {
        let room = with_tree();
        fs::create_dir(room.path("elsewhere"))?;
        let (tree, elsewhere) = (room.path("tree"), room.path("elsewhere"));
        let program = [env!("CARGO_BIN_EXE_uinotify"), "run", "-v", "--source", source, "--tree", text(&tree), "--"];
        let arguments = [&[ARGUMENT, "without-inotify", "--"], &program[..], &crate::room::helper_command(&["talk"])];
        let mut talk = Talk::start(&mut room.command(std::env::current_exe()?, &arguments.concat()));
        assert_eq!(talk.tell(&["watch", text(&tree)]), "wd 1", "{source}: {}", room.stderr());
        talk.done(&["write", text(&tree.join("file")), "text"]);
        assert_eq!(talk.tell(&["events"]), events_of_writing("file"), "{source}");
        if source == "auto" && uinotify_harness::needs::Need::Fanotify.probe().is_ok() {
            assert_eq!(talk.tell(&["watch", text(&elsewhere)]), "wd 2", "{}", room.stderr());
            talk.done(&["write", text(&elsewhere.join("file")), "text"]);
            let events = talk.tell(&["events"]);
            assert!(events.contains("2:CREATE(file)") && events.contains("2:CLOSE_WRITE(file)"), "{events}");
        } else {
            assert_eq!(talk.tell(&["watch", text(&elsewhere)]), "ENOSPC", "{source}");
            assert!(room.stderr().contains("elsewhere is in no tree that is shown"), "{}", room.stderr());
        }
        talk.done(&["rename", text(&tree.join("file")), text(&tree.join("new"))]);
        assert_eq!(talk.tell(&["events"]), "1:MOVED_FROM(file) 1:MOVED_TO(new)", "{source}");
        assert_eq!(talk.end(), Some(0));
    }
    Ok(())
}

/// A room of [`ANOTHER`]'s, with the programs, a folder `tree`, and a way to start that user's programs with a /dev/fuse of this mode.
fn room_of_another() -> Result<Room, std::io::Error> {
    let room = with_tree();
    let programs = [("uinotify", Path::new(env!("CARGO_BIN_EXE_uinotify"))), ("test", &std::env::current_exe()?)];
    for (name, program) in programs {
        copy_program(program, &room.path(name)).map_err(|_| std::io::Error::other("a copy"))?;
    }
    give_away(room.folder.path())?;
    give_away(&room.path("tree"))?;
    Ok(room)
}

fn as_another(room: &Room, device: &str, program: &[&str]) -> std::process::Command {
    room.command(room.path("test"), &[&[ARGUMENT, device, "another-user", "--"], program].concat())
}

fn another_user_has_a_tree() -> Outcome {
    let room = room_of_another()?;
    let (tree, test, uinotify) = (room.path("tree"), room.path("test"), room.path("uinotify"));
    let path = |name: &str| tree.join(name);
    fs::write(path("secret"), "root's")?;
    fs::set_permissions(path("secret"), std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    fs::write(path("shared"), "root's")?;
    fs::set_permissions(path("shared"), std::os::unix::fs::PermissionsExt::from_mode(0o666))?;
    let program = [text(&uinotify), "run", "-v", "--source", "fuse", "--tree", text(&tree), "--", text(&test)];
    let mut talk = Talk::start(&mut as_another(&room, "device=666", &[&program[..], &["--helper", "talk"]].concat()));
    assert_eq!(talk.tell(&["trees"]), text(&tree.canonicalize()?));
    assert_eq!(talk.tell(&["watch", text(&tree)]), "wd 1");
    talk.done(&["write", text(&path("file")), "text"]);
    assert_eq!(talk.tell(&["events"]), events_of_writing("file"));
    let status = fs::metadata(path("file"))?;
    assert_eq!((status.uid(), status.gid()), (ANOTHER, ANOTHER));
    // Rights are the user's own, though it is root in its user name space.
    assert_eq!(talk.tell(&["read", text(&path("secret"))]), "EACCES");
    assert_eq!(talk.tell(&["events"]), "-");
    assert_eq!(talk.tell(&["read", text(&path("shared"))]), "root's");
    assert_eq!(talk.tell(&["events"]), "1:OPEN(shared) 1:ACCESS(shared) 1:CLOSE_NOWRITE(shared)");
    // The kernel writes to no file whose owner has no number in the user name space of the mount.
    assert_eq!(talk.tell(&["write", text(&path("shared")), "theirs"]), "EACCES");
    let emulator = room.emulator();
    assert_eq!(talk.end(), Some(0));
    crate::room::eventually("the emulator ends", || !crate::room::is_running(emulator))?;
    Ok(())
}

fn a_closed_device_is_told() -> Outcome {
    let room = room_of_another()?;
    let (tree, uinotify) = (room.path("tree"), room.path("uinotify"));
    let program = [text(&uinotify), "run", "--tree", text(&tree), "--", "echo", "was run"];
    let ended = room.end(&mut as_another(&room, "device=600", &program));
    assert_eq!((ended.status, &*ended.stdout), (Some(125), ""), "{}", ended.stderr);
    assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
    assert!(ended.stderr.contains("/dev/fuse may not be opened by this user"), "{}", ended.stderr);
    Ok(())
}
