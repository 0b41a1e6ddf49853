//! What the emulator needs for a watch.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use uinotify_harness::arguments;
use uinotify_harness::raw::system_call;
use uinotify_wire::InstanceName;

use crate::row::{Goal, Place, Row};
use crate::side::{Ours, Side, must};
use crate::worker::{Extent, large_folder, string, watches_max};

const WATCHES: usize = 300_000;

/// The process that serves this instance: its name is on the other end of the socket.
pub(crate) fn emulator(instance: &OwnedFd) -> u64 {
    // SAFETY: all zeroes is an address.
    let mut address: libc::sockaddr_un = unsafe { std::mem::zeroed() };
    let mut length = size_of::<libc::sockaddr_un>() as libc::socklen_t;
    let arguments = arguments![instance.as_raw_fd(), &raw mut address, &raw mut length];
    // SAFETY: address and length live through the call.
    let asked = unsafe { system_call(libc::SYS_getpeername, arguments) };
    must("getpeername", asked);
    let name = address.sun_path.map(libc::c_char::cast_unsigned);
    let name = &name[..length as usize - size_of::<libc::sa_family_t>()];
    InstanceName::parse(name).expect("an instance of an emulator's").emulator_pid
}

/// The memory of a process that is its own, and in no file, in bytes (proc_pid_status(5)).
pub(crate) fn anonymous_bytes(pid: u64) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the emulator lives");
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("Linux 4.5");
    let number = line.trim().strip_suffix(" kB").and_then(|number| number.parse::<usize>().ok());
    number.expect("kibibytes") * 1024
}

/// The worker's own `main`.
pub(crate) fn main(root: &Path, extent: Extent) {
    let count = extent.of(WATCHES).min(watches_max() / 10 * 9);
    let instance = must("inotify_init1", Ours::init(libc::IN_NONBLOCK));
    let fd = instance.as_raw_fd();
    must("inotify_add_watch", Ours::add(fd, &string(root), libc::IN_ALL_EVENTS));
    let emulator = emulator(&instance);

    // Not the watched folder itself, which would have events.
    let folder = large_folder();
    let mut path_bytes = 0;
    let mut add = |index: usize| {
        let path = folder.path().join(format!("file{index}"));
        File::create(&path).expect("a file");
        let path = string(&path);
        path_bytes += path.as_bytes().len();
        must("inotify_add_watch", Ours::add(fd, &path, libc::IN_MODIFY));
    };
    let start = anonymous_bytes(emulator);
    (0..count / 2).for_each(&mut add);
    let half = anonymous_bytes(emulator);
    (count / 2..count).for_each(&mut add);
    let end = anonymous_bytes(emulator);
    drop(instance);

    let a_watch = |bytes: usize, watches: usize| bytes as f64 / watches as f64;
    let path = a_watch(path_bytes, count);
    let row = Row {
        what: "memory of the emulator for a watch, without the bytes of its path".into(),
        place: Place::default(),
        unit: "bytes".into(),
        goal: Goal::OursAtMost(100.0),
        native: None,
        ours: a_watch(end - start, count) - path,
        ratio: None,
        note: format!(
            "{count} watches; RssAnon, with the path's {path:.1} bytes: {:.1} for the first half, {:.1} for the second",
            a_watch(half - start, count / 2),
            a_watch(end - half, count - count / 2),
        ),
    };
    let line = serde_json::to_string(&row).expect("a row of numbers and text");
    writeln!(std::io::stdout(), "{line}").expect("somebody listens");
}
