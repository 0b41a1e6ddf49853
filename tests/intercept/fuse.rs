//! File systems of FUSE: one that never answers, and one of uinotify's own.

use std::ffi::CString;
use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::process::Stdio;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use crate::program::Program;
use crate::room::{Outcome, Room, UINOTIFY, end, eventually};

pub(super) fn missing() -> Option<String> {
    File::options().read(true).write(true).open("/dev/fuse").err().map(|error| format!("needs /dev/fuse: {error}"))
}

/// A program mounts a file system that answers nothing, and watches there: its call waits. Another program of the same emulator, and the
/// emulator itself, go on; and when the file system is gone, so is the wait.
pub(super) fn a_path_that_waits() -> Outcome {
    let room = Room::new();
    let program = Program::MuslStatic.path();
    let program = program.to_str().ok_or("UTF-8")?;
    let (stuck, point, free) = (room.folder("stuck"), room.folder("point"), room.folder("free"));
    let native = end(&mut room.command(program, &["work", &room.folder("native")]));
    let device = File::options().read(true).write(true).open("/dev/fuse")?;
    let options = format!("fd={},rootmode=40000,user_id=0,group_id=0,default_permissions", device.as_raw_fd());
    let (point_text, options) = (CString::new(point.clone())?, CString::new(options)?);
    // Many calls that wait, and one that has nothing to do with them.
    let script = r#"for i in 1 2 3 4 5 6 7 8; do "$0" stuck "$1" "$2" & done; until [ -e "$1/8" ]; do :; done; "$0" work "$3"; wait"#;
    let mut command = room.run(&["-v"], &["sh", "-c", script, program, &stuck, &point, &free]);
    // SAFETY: system calls only.
    unsafe {
        command.pre_exec(move || {
            unshare(CloneFlags::CLONE_NEWNS)?;
            mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)?;
            mount(Some("none"), point_text.as_c_str(), Some("fuse"), MsFlags::empty(), Some(options.as_c_str()))?;
            Ok(())
        });
    }
    let child = command.stdout(Stdio::piped()).spawn()?;
    let stuck_ones = || (1..=8).all(|number| room.path("stuck").join(number.to_string()).exists());
    eventually("all are about to wait", stuck_ones)?;
    eventually("the other program has ended", || fs::metadata(room.path("free").join("dir/three")).is_ok())?;
    let json = end(&mut room.command(UINOTIFY, &["ps", "--json"]));
    assert_eq!(json.status, Some(0), "{}", room.stderr());
    // The end of the file system.
    drop(device);
    let output = child.wait_with_output()?;
    let stdout = String::from_utf8(output.stdout)?;
    let (waited, worked): (Vec<_>, Vec<_>) = stdout.lines().partition(|line| line.starts_with("waited"));
    assert_eq!(waited, vec!["waited: Socket not connected"; 8], "{stdout}");
    assert_eq!(worked.join("\n") + "\n", native.stdout);
    Ok(())
}

/// A static program watches a tree that is shown to it, by the file system of ours.
pub(super) fn a_tree_that_is_shown() -> Outcome {
    let room = Room::new();
    let program = Program::MuslStatic.path();
    let program = program.to_str().ok_or("UTF-8")?;
    let (native, tree) = (room.folder("native"), room.folder("tree"));
    let native = end(&mut room.command(program, &["work", &native]));
    let ended = end(&mut room.run(&["--source", "fuse", "--tree", &tree], &[program, "work", &tree]));
    assert_eq!(ended.stdout, native.stdout, "{}", room.stderr());
    Ok(())
}
