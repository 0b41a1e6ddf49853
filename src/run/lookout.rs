//! Programs that have the kernel's inotify although they run under an emulator, where there is no filter to reach them: they are named.
//!
//! A program is not told from outside by the calls that it makes, but by what it holds: an inotify descriptor of the kernel's which is not
//! one of the emulator's own, as the shim borrows those.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use nix::unistd::Pid;

use crate::environment::{DISABLE, SOCKET};
use crate::notice::notice;

/// How often to look: soon after the start, and later. A program that opens and closes its instance in between goes unseen.
const FIRST_PERIODS: u32 = 20;
const FIRST_PERIOD: Duration = Duration::from_millis(100);
const PERIOD: Duration = Duration::from_secs(1);

/// Looks, on a thread of its own, as long as this process lives. `named` was said before.
pub(super) fn start(address: Vec<u8>, emulator: Pid, named: Option<PathBuf>) {
    let look = move || {
        let mut told: BTreeSet<PathBuf> = named.into_iter().collect();
        for turn in 0_u32.. {
            thread::sleep(if turn < FIRST_PERIODS { FIRST_PERIOD } else { PERIOD });
            for (program, pid) in strays(&address, emulator) {
                if told.insert(program.clone()) {
                    let program = program.display();
                    notice(format_args!(
                        "{program} (process {pid}) has the kernel's inotify: it is statically linked, gains rights, or calls past libc; \
                         --interpose seccomp reaches it, if it is to gain no rights (no_new_privs)"
                    ));
                }
            }
        }
    };
    // Without a thread nobody is named: the program runs all the same.
    let _ = thread::Builder::new().name("lookout".to_owned()).spawn(look);
}

fn strays(address: &[u8], emulator: Pid) -> Vec<(PathBuf, i32)> {
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    let numbers = processes.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let strays = numbers.filter(|pid| is_of(*pid, address) && is_stray(*pid, emulator));
    strays.map(|pid| (name_of(pid), pid)).collect()
}

/// Was it started under this emulator, and with its inotify?
fn is_of(pid: i32, address: &[u8]) -> bool {
    let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    let value = |name: &str| {
        let entries = environment.split(|byte| *byte == 0);
        entries.filter_map(|entry| entry.strip_prefix(name.as_bytes())?.strip_prefix(b"=")).next_back()
    };
    let is_disabled = value(DISABLE).is_some_and(|value| !value.is_empty() && value != b"0");
    value(SOCKET) == Some(address) && !is_disabled
}

fn is_stray(pid: i32, emulator: Pid) -> bool {
    let own = instances(emulator.as_raw());
    instances(pid).into_iter().any(|fd| !own.iter().any(|own| is_same_file(pid, fd, emulator.as_raw(), *own)))
}

/// The inotify descriptors of the kernel's that a process has open.
fn instances(pid: i32) -> Vec<i32> {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) else { return Vec::new() };
    let is_instance =
        |path: &Path| fs::read_link(path).is_ok_and(|link| link.as_os_str().as_bytes() == b"anon_inode:inotify");
    let entries = entries.flatten().filter(|entry| is_instance(&entry.path()));
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// kcmp(2). Where that is not to be had nobody is suspected.
fn is_same_file(one: i32, fd: i32, other: i32, other_fd: i32) -> bool {
    const KCMP_FILE: libc::c_int = 0;
    // SAFETY: takes numbers.
    let result = unsafe { libc::syscall(libc::SYS_kcmp, one, other, KCMP_FILE, fd, other_fd) };
    result == 0 || result == -1
}

fn name_of(pid: i32) -> PathBuf {
    let of_file = fs::read_link(format!("/proc/{pid}/exe"));
    of_file.unwrap_or_else(|_| fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim_end().into())
}
