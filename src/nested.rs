//! An emulator that is started by an emulated program: its own inotify must be the kernel's.

use std::ffi::{CString, OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use nix::errno::Errno;
use nix::unistd::execve;
use uinotify_wire::{IOC_GETNEXTWD, IS_INTERCEPTED};

use crate::environment::{DISABLE, DISABLE_BEFORE, is_shim, to_strings};
use crate::inherited::Inherited;

/// Whether this process itself is a program under an emulator.
///
/// The shim reads its environment once, at its start, so that it is too late to change it in this process.
pub(crate) fn is_emulated() -> bool {
    std::env::var_os(DISABLE_BEFORE).is_none() && (shim_is_loaded() || is_intercepted())
}

/// Does an emulator answer this process's bare system calls about inotify?
pub(crate) fn is_intercepted() -> bool {
    // SAFETY: it is no descriptor's number, and the argument is no address.
    unsafe { libc::syscall(libc::SYS_ioctl, -1, IOC_GETNEXTWD, IS_INTERCEPTED) == 1 }
}

fn shim_is_loaded() -> bool {
    let maps = std::fs::read("/proc/self/maps").unwrap_or_default();
    maps.split(|byte| *byte == b'\n')
        // proc_pid_maps(5): the path begins at the first slash, and may contain spaces.
        .filter_map(|line| line.iter().position(|byte| *byte == b'/').map(|start| &line[start..]))
        .map(|path| path.strip_suffix(b" (deleted)").unwrap_or(path))
        .any(|path| is_shim(Path::new(OsStr::from_bytes(path))))
}

/// Executes this command again, with a shim that leaves every call to the kernel, and known as such to whoever has a filter. Returns only if that fails.
pub(crate) fn execute_again(inherited: &Inherited) -> Errno {
    let mut before = OsString::new();
    if let Some(value) = std::env::var_os(DISABLE) {
        before.push("=");
        before.push(value);
    }
    let environment = std::env::vars_os().filter(|(name, _)| name != DISABLE);
    let hidden = [(DISABLE.into(), "1".into()), (DISABLE_BEFORE.into(), before)];
    let environment = to_strings(environment.chain(hidden));
    let arguments: Vec<_> = std::env::args_os().filter_map(|argument| CString::new(argument.into_vec()).ok()).collect();
    // Not std's `exec`, which would set the signal mask and SIGPIPE to its own defaults.
    match inherited.restore().and_then(|()| execve(c"/proc/self/exe", &arguments, &environment)) {
        Ok(never) => match never {},
        Err(errno) => errno,
    }
}
