//! Ordinary users: a filter takes no_new_privs there, and that is said.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::life::Twice;
use crate::program::Program;
use crate::room::{Outcome, Room, as_nobody, end, eventually};

/// The command, the program and a folder where an ordinary user can use them.
fn for_nobody(room: &Room) -> (String, String, String) {
    let folder = room.folder("watched");
    let copy = |from: &std::path::Path, name: &str| {
        let to = room.path(name);
        fs::copy(from, &to).expect("a copy");
        fs::set_permissions(&to, fs::Permissions::from_mode(0o755)).expect("its owner sets its mode");
        to.to_str().expect("UTF-8").to_owned()
    };
    fs::set_permissions(room.path(""), fs::Permissions::from_mode(0o777)).expect("its owner sets its mode");
    let command = copy(crate::room::UINOTIFY.as_ref(), "uinotify-command");
    (command, copy(&Program::MuslStatic.path(), "program"), folder)
}

/// By itself nothing changes what a program may do: one that is out of reach is named.
pub(super) fn a_static_program_is_told() -> Outcome {
    let room = Room::new();
    let (command, program, folder) = for_nobody(&room);
    let ended = end(as_nobody(&mut room.command(&command, &["run", "--", &program, "twice", &folder])));
    assert!(ended.stdout.starts_with("anon_inode:i"), "{ended:?}");
    let stderr = room.stderr();
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert!(stderr.starts_with(&format!("uinotify: {program} is statically linked")), "{stderr}");
    assert!(stderr.contains("--interpose seccomp") && stderr.contains("no_new_privs"), "{stderr}");
    let ended = end(as_nobody(&mut room.command(&command, &["run", "--strict", "--", &program, "twice", &folder])));
    assert_eq!(ended.status, Some(125));
    Ok(())
}

/// So is one that another program starts, once it has an inotify descriptor.
pub(super) fn a_stray_is_told() -> Outcome {
    let room = Room::new();
    let (command, program, folder) = for_nobody(&room);
    // Behind the shim: what that borrows is the emulator's.
    let script = format!("{program} twice {folder}; :");
    let mut command = room.command(&command, &["run", "--", "sh", "-c", &script]);
    let mut twice = Twice::start(as_nobody(&mut command));
    assert!(twice.line().starts_with("anon_inode:i"));
    eventually("it is named", || room.stderr().contains("has the kernel's inotify"))?;
    let stderr = room.stderr();
    assert!(stderr.starts_with(&format!("uinotify: {program} (process ")), "{stderr}");
    twice.go_on();
    assert_eq!(twice.child.wait()?.code(), Some(0));
    assert_eq!(room.stderr().lines().count(), 1, "{}", room.stderr());
    Ok(())
}

pub(super) fn rights_are_given_up_and_said_so() -> Outcome {
    let room = Room::new();
    let (command, program, folder) = for_nobody(&room);
    let arguments = ["run", "--interpose", "seccomp", "--strict", "--", &program, "twice", &folder];
    let ended = end(as_nobody(&mut room.command(&command, &arguments)));
    assert!(ended.stdout.starts_with("socket:["), "{ended:?} {}", room.stderr());
    let stderr = room.stderr();
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert!(stderr.contains("no_new_privs"), "{stderr}");
    // Where it is set already nothing changes, and nothing is to be said.
    let arguments = ["--no-new-privs", &command, "run", "--", &program, "work", &folder];
    let ended = end(as_nobody(&mut room.command("setpriv", &arguments)));
    assert!(ended.stdout.contains("by /proc/thread-self"), "{ended:?} {}", room.stderr());
    assert!(!ended.stdout.contains("Permission denied"), "{ended:?}");
    assert_eq!(room.stderr(), "");
    Ok(())
}

/// With the filter a setuid program is reached, as root lets it gain its rights; without, it is named.
pub(super) fn a_setuid_program() -> Outcome {
    let room = Room::new();
    let volume = nix::sys::statvfs::statvfs(&room.path(""))?;
    if volume.flags().contains(nix::sys::statvfs::FsFlags::ST_NOSUID) {
        return Ok(());
    }
    let (command, program, folder) = for_nobody(&room);
    std::os::unix::fs::chown(&program, Some(4323), None)?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o4755))?;
    let ended = end(&mut room.run(&[], &[&program, "twice", &folder]));
    assert!(ended.stdout.starts_with("socket:["), "{ended:?} {}", room.stderr());
    assert_eq!(room.stderr(), "");
    let ended = end(as_nobody(&mut room.command(&command, &["run", "--", &program, "twice", &folder])));
    assert!(ended.stdout.starts_with("anon_inode:i"), "{ended:?}");
    assert!(room.stderr().starts_with(&format!("uinotify: {program} is ")), "{}", room.stderr());
    Ok(())
}
