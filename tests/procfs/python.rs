//! A program in another language.

use std::process::Command;

use libtest_mimic::{Completion, Failed};

use crate::play::is_equal;

const SCRIPT: &str = "
import ctypes, os, sys
libc = ctypes.CDLL(None)
fd = libc.inotify_init1(os.O_CLOEXEC)
print(libc.inotify_add_watch(fd, sys.argv[1].encode(), 0x300), libc.inotify_add_watch(fd, b'/proc', 0x100))
print(open(f'/proc/self/fdinfo/{fd}').read(), open(f'/proc/{os.getpid()}/fdinfo/{fd}', 'rb').read())
print(os.readlink(f'/proc/self/fd/{fd}'), os.path.islink(f'/dev/fd/{fd}'), os.path.exists(f'/proc/self/fd/{fd}'))
print([os.readlink(entry.path) for entry in os.scandir('/proc/self/fd') if entry.name == str(fd)])
folder = os.open('/proc/self/fd', os.O_RDONLY)
print(os.readlink(str(fd), dir_fd=folder), oct(os.stat(str(fd), dir_fd=folder).st_mode))
print(oct(os.lstat(f'/proc/self/fd/{fd}').st_mode), os.access(f'/proc/self/fd/{fd}', os.X_OK))
print(open('/proc/sys/fs/inotify/max_user_watches').read())
";

/// Python's own ways to the same files.
pub(crate) fn reads_the_text() -> Result<Completion, Failed> {
    if Command::new("python3").arg("--version").output().is_err() {
        return Ok(Completion::ignored_with("needs python3"));
    }
    let room = tempfile::tempdir()?;
    let said = |command: &mut Command| -> Result<String, Failed> {
        command.args(["-c", SCRIPT]).arg(room.path()).env("XDG_RUNTIME_DIR", room.path());
        for name in ["LD_PRELOAD", "UINOTIFY_SOCKET", "UINOTIFY_DISABLE", "UINOTIFY_LOG", "UINOTIFY_SETTLE"] {
            command.env_remove(name);
        }
        let output = command.output()?;
        let errors = String::from_utf8_lossy(&output.stderr);
        if output.status.success() { Ok(String::from_utf8(output.stdout)?) } else { Err(errors.into_owned().into()) }
    };
    let native = said(&mut Command::new("python3"))?;
    let emulated = said(Command::new(env!("CARGO_BIN_EXE_uinotify")).args(["run", "--", "python3"]))?;
    is_equal(&native, &emulated)?;
    Ok(Completion::Completed)
}
