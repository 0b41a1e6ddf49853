//! `uinotify mount` and `uinotify umount`.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use uinotify_host::status::EmulatorStatus;

use crate::Test;
use crate::helper::shown_trees;
use crate::need::Need;
use crate::room::{Ended, Outcome, Room, Running, eventually, helper_command, is_running};
use crate::run::events_of_writing;
use crate::talk::{Talk, text};

pub(super) const TESTS: &[Test] = &[
    ("mount::every_process_sees_it", &[Need::Mount], every_process_sees_it),
    ("mount::over_itself", &[Need::Mount], over_itself),
    ("mount::read_only", &[Need::Mount], read_only),
    ("mount::what_is_in_use_stays", &[Need::Mount], what_is_in_use_stays),
    ("mount::a_lazy_umount_lets_users_go_on", &[Need::Mount], a_lazy_umount_lets_users_go_on),
    ("mount::in_the_foreground_until_a_signal", &[Need::Mount], in_the_foreground_until_a_signal),
    ("mount::what_is_not_ours_is_refused", &[Need::Mount], what_is_not_ours_is_refused),
    ("mount::what_cannot_be_mounted_is_told", &[Need::Mount], what_cannot_be_mounted_is_told),
    ("mount::a_stale_one_is_cleared_by_run", &[Need::Mount], || a_stale_one_is_cleared("run")),
    ("mount::a_stale_one_is_cleared_by_mount", &[Need::Mount], || a_stale_one_is_cleared("mount")),
    ("mount::a_stale_one_is_cleared_by_umount", &[Need::Mount], || a_stale_one_is_cleared("umount")),
];

/// A tree, seen at a point beside it or over itself, in a room.
struct Mounted {
    room: Room,
    tree: PathBuf,
    point: PathBuf,
    socket: String,
}

/// A room with the folders `tree` and `point`.
fn folders() -> Room {
    let room = Room::new();
    for name in ["tree", "point"] {
        fs::create_dir(room.path(name)).expect("a folder in a folder of our own");
    }
    room
}

impl Mounted {
    fn new(point: &str, options: &[&str]) -> Self {
        Self::of("tree", point, options)
    }

    fn of(tree: &str, point: &str, options: &[&str]) -> Self {
        let room = folders();
        let (shown, point) = (room.path(tree), room.path(point));
        let ended = room.end(&mut room.uinotify(&[&["mount"], options, &[text(&shown), text(&point)]].concat()));
        assert_eq!(ended.status, Some(0), "{}", ended.stderr);
        let tree = room.path("tree");
        Self { room, tree, point, socket: ended.stdout.trim_end().to_owned() }
    }

    /// A program as a shell starts it that has evaluated `uinotify env`.
    fn watcher(&self) -> Talk {
        const SCRIPT: &str = r#"eval "$("$0" env --socket "$1")" && shift && exec "$@""#;
        let arguments = ["-c", SCRIPT, env!("CARGO_BIN_EXE_uinotify"), &self.socket];
        Talk::start(&mut self.room.command("sh", &[&arguments, &helper_command(&["talk"])[..]].concat()))
    }

    fn emulator(&self) -> i32 {
        let ended = self.room.end(&mut self.room.uinotify(&["ps", "--json", "--socket", &self.socket]));
        let emulators: Vec<EmulatorStatus> = serde_json::from_str(&ended.stdout).expect("ps gives JSON");
        emulators.first().expect("an emulator").pid
    }

    fn umount(&self, options: &[&str]) -> Ended {
        self.room.end(&mut self.room.uinotify(&[&["umount"], options, &[text(&self.point)]].concat()))
    }

    fn is_shown(&self) -> bool {
        is_shown_at(&self.point)
    }

    /// The emulator has ended, and its socket has gone.
    fn has_ended(&self, emulator: i32) -> Outcome {
        eventually("the emulator ends", || !is_running(emulator))?;
        assert!(!Path::new(&self.socket).exists(), "{} is left", self.socket);
        assert!(!self.is_shown());
        Ok(())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // With it the emulator ends.
        while self.is_shown() && umount2(&self.point, MntFlags::MNT_DETACH).is_ok() {}
    }
}

fn is_shown_at(point: &Path) -> bool {
    shown_trees().expect("/proc is mounted").iter().any(|shown| Path::new(shown) == point)
}

fn every_process_sees_it() -> Outcome {
    let mounted = Mounted::new("point", &["--source", "fuse"]);
    let emulator = mounted.emulator();
    let point = |name: &str| mounted.point.join(name);
    let mut watcher = mounted.watcher();
    assert_eq!(watcher.tell(&["watch", text(&mounted.point)]), "wd 1");
    // This process is under no emulator.
    fs::write(point("file"), "text")?;
    assert_eq!(watcher.tell(&["events"]), events_of_writing("file"));
    assert_eq!(fs::read_to_string(mounted.tree.join("file"))?, "text");
    fs::rename(point("file"), point("other"))?;
    assert_eq!(watcher.tell(&["events"]), "1:MOVED_FROM(file) 1:MOVED_TO(other)");
    assert_eq!(watcher.tell(&["watch", text(&mounted.tree)]), "ENOSPC");
    assert_eq!(watcher.tell(&["watch", text(&point("other"))]), "wd 2");

    // Under no emulator: the kernel's own inotify beside it.
    let mut native = Talk::start(&mut mounted.room.command(helper_command(&[])[0], &["--helper", "talk"]));
    assert_eq!(native.tell(&["watch", text(&mounted.point)]), "wd 1");
    assert_eq!(native.tell(&["watch", text(&point("other"))]), "wd 2");
    let ended = mounted.umount(&[]);
    assert_eq!((ended.status, &*ended.stderr), (Some(0), ""));
    // Linux goes through the objects of a file system in an order of its own.
    let [told, expected] = [&mut watcher, &mut native].map(|talk| {
        let mut events: Vec<_> = talk.tell(&["wait"]).split(' ').map(str::to_owned).collect();
        events.sort_unstable();
        events
    });
    assert_eq!(expected, ["1:IGNORED()", "1:UNMOUNT,ISDIR()", "2:IGNORED()", "2:UNMOUNT()"]);
    assert_eq!(told, expected);
    assert_eq!(watcher.tell(&["events"]), "-");
    // It has an instance: the emulator stays for it.
    assert!(is_running(emulator) && !mounted.is_shown());
    assert_eq!(watcher.end(), Some(0));
    mounted.has_ended(emulator)?;
    assert_eq!(fs::read_dir(&mounted.point)?.count(), 0);
    Ok(())
}

fn over_itself() -> Outcome {
    let mounted = Mounted::new("tree", &["--source", "fuse", "--mode", "fast"]);
    let emulator = mounted.emulator();
    let mut watcher = mounted.watcher();
    assert_eq!(watcher.tell(&["watch", text(&mounted.tree)]), "wd 1");
    fs::write(mounted.tree.join("file"), "text")?;
    assert_eq!(watcher.tell(&["events"]), events_of_writing("file"));
    assert_eq!(watcher.end(), Some(0));
    assert_eq!(mounted.umount(&[]).status, Some(0));
    mounted.has_ended(emulator)?;
    assert_eq!(fs::read_to_string(mounted.tree.join("file"))?, "text");
    Ok(())
}

fn read_only() -> Outcome {
    let mounted = Mounted::of("tree:ro", "point", &[]);
    fs::write(mounted.tree.join("file"), "text")?;
    let refused = fs::write(mounted.point.join("file"), "other").err().and_then(|error| error.raw_os_error());
    assert_eq!(refused, Some(libc::EROFS));
    assert_eq!(fs::read_to_string(mounted.point.join("file"))?, "text");
    Ok(())
}

fn what_is_in_use_stays() -> Outcome {
    let mounted = Mounted::new("point", &[]);
    let held = File::create(mounted.point.join("held"))?;
    let ended = mounted.umount(&[]);
    assert_eq!(ended.status, Some(1));
    let reason = format!("{} is in use", mounted.point.display());
    assert!(ended.stderr.contains(&reason) && ended.stderr.lines().count() == 1, "{}", ended.stderr);
    assert!(mounted.is_shown());
    assert_eq!(fs::read(mounted.point.join("held"))?, b"");
    drop(held);
    assert_eq!(mounted.umount(&[]).status, Some(0));
    Ok(())
}

fn a_lazy_umount_lets_users_go_on() -> Outcome {
    use std::io::Write;
    let mounted = Mounted::new("point", &["--source", "fuse"]);
    let emulator = mounted.emulator();
    let mut held = File::create(mounted.point.join("held"))?;
    let mut watcher = mounted.watcher();
    assert_eq!(watcher.tell(&["watch", text(&mounted.point.join("held"))]), "wd 1");
    let ended = mounted.umount(&["--lazy"]);
    assert_eq!((ended.status, &*ended.stderr), (Some(0), ""));
    assert!(!mounted.is_shown());
    held.write_all(b"after")?;
    assert_eq!(watcher.tell(&["events"]), "1:MODIFY()");
    assert_eq!(fs::read(mounted.tree.join("held"))?, b"after");
    drop(held);
    watcher.running.tell("wait");
    let mut line = watcher.running.line();
    if line == "1:CLOSE_WRITE()" {
        watcher.running.tell("wait");
        line = line + " " + &watcher.running.line();
    }
    assert_eq!(line, "1:CLOSE_WRITE() 1:UNMOUNT() 1:IGNORED()");
    assert_eq!(watcher.end(), Some(0));
    mounted.has_ended(emulator)
}

fn in_the_foreground_until_a_signal() -> Outcome {
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        let room = folders();
        let (tree, point, socket) = (room.path("tree"), room.path("point"), room.path("socket"));
        let arguments = ["mount", "--foreground", "--socket", text(&socket), text(&tree), text(&point)];
        let mut running = Running::start(&mut room.uinotify(&arguments));
        assert_eq!(running.line(), text(&socket));
        assert!(is_shown_at(&point));
        fs::write(point.join("file"), "text")?;
        assert!(running.child.try_wait()?.is_none(), "it stays");
        // Whoever uses it goes on until it is closed.
        let held = File::open(point.join("file"))?;
        kill(running.pid(), signal)?;
        eventually("it is unmounted", || !is_shown_at(&point))?;
        assert_eq!(std::io::read_to_string(&held)?, "text");
        assert!(running.child.try_wait()?.is_none(), "it stays for its user");
        drop(held);
        assert_eq!(running.child.wait()?.code(), Some(0), "{}", room.stderr());
        assert!(!socket.exists());
        assert_eq!(fs::read_to_string(tree.join("file"))?, "text");
    }
    Ok(())
}

fn what_is_not_ours_is_refused() -> Outcome {
    let room = folders();
    let point = room.path("point");
    let refused = |path: &Path| {
        let ended = room.end(&mut room.uinotify(&["umount", text(path)]));
        assert_eq!((ended.status, ended.stderr.lines().count()), (Some(1), 1), "{}", ended.stderr);
        let reason = format!("{} is no tree that uinotify shows", path.display());
        assert!(ended.stderr.contains(&reason), "{}", ended.stderr);
    };
    refused(&point);
    refused(&room.path("missing"));
    nix::mount::mount(Some("uinotify"), &point, Some("tmpfs"), MsFlags::empty(), None::<&str>)?;
    refused(&point);
    umount2(&point, MntFlags::empty())?;
    // One of ours that is covered by something else.
    let mounted = Mounted::new("point", &[]);
    nix::mount::mount(Some("none"), &mounted.point, Some("tmpfs"), MsFlags::empty(), None::<&str>)?;
    let ended = mounted.umount(&[]);
    assert!(ended.status == Some(1) && ended.stderr.contains("is no tree that uinotify shows"), "{}", ended.stderr);
    umount2(&mounted.point, MntFlags::empty())?;
    assert_eq!(mounted.umount(&[]).status, Some(0));
    Ok(())
}

fn what_cannot_be_mounted_is_told() -> Outcome {
    let room = folders();
    let (tree, file) = (room.path("tree"), room.path("file"));
    fs::write(&file, "")?;
    let inner = tree.join("inner");
    fs::create_dir(&inner)?;
    let (missing, point) = (room.path("missing"), room.path("point"));
    for (source, point, reason) in [
        (&tree, &inner, "it would show itself"),
        (&missing, &point, "No such file or directory"),
        (&file, &point, "Not a directory"),
        (&tree, &missing, "No such file or directory"),
        (&tree, &file, "that is no folder"),
    ] {
        let ended = room.end(&mut room.uinotify(&["mount", text(source), text(point)]));
        assert_eq!((ended.status, &*ended.stdout), (Some(1), ""), "{}", ended.stderr);
        assert!(ended.stderr.contains(reason) && !ended.stderr.contains("panic"), "{}", ended.stderr);
        let left: Vec<_> =
            shown_trees()?.into_iter().filter(|at| Path::new(at).starts_with(room.folder.path())).collect();
        assert!(left.is_empty(), "{left:?}");
    }
    assert!(room.sockets().is_empty(), "{:?}", room.sockets());
    Ok(())
}

/// The emulator of a mount was killed: each command that meets the mount takes it away.
fn a_stale_one_is_cleared(command: &str) -> Outcome {
    let mounted = Mounted::new("tree", &["--source", "fuse"]);
    fs::write(mounted.tree.join("file"), "text")?;
    let emulator = mounted.emulator();
    kill(Pid::from_raw(emulator), Signal::SIGKILL)?;
    eventually("the emulator is gone", || !is_running(emulator))?;
    let error = fs::read(mounted.tree.join("file")).err().and_then(|error| error.raw_os_error());
    assert_eq!(error, Some(libc::ENOTCONN));
    assert!(mounted.is_shown());
    let (room, tree) = (&mounted.room, text(&mounted.tree));
    let ended = match command {
        "run" => room.run(&["--source", "fuse", "--tree", tree], &["cat", text(&mounted.tree.join("file"))]),
        "mount" => room.end(&mut room.uinotify(&["mount", tree, tree])),
        _ => mounted.umount(&[]),
    };
    assert_eq!(ended.status, Some(0), "{}", ended.stderr);
    if command == "run" {
        assert_eq!(ended.stdout, "text");
    }
    if command != "umount" {
        let told = format!("{tree} was left mounted by an emulator that is gone: unmounted");
        assert!(ended.stderr.contains(&told), "{}", ended.stderr);
    }
    assert_eq!(mounted.is_shown(), command == "mount");
    assert_eq!(fs::read_to_string(mounted.tree.join("file"))?, "text");
    Ok(())
}
