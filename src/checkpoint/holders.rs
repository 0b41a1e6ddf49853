//! The processes that hold instances: by which descriptors, and how those are open.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::PathBuf;

use nix::errno::Errno;
use uinotify_images::checkpoint::{Descriptor, Instance, SignalOwner};

use crate::fdinfo;
use crate::signal_owner::{F_GETOWN_EX, F_GETOWNER_UIDS, F_GETSIG, Owner};

/// A descriptor that is a socket.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    descriptor: Descriptor,
    pub(super) inode: u64,
    /// Status flags as fdinfo shows them.
    flags: u32,
}

/// The bits of a socket's flags that an inotify descriptor does not have: its access mode, and O_CLOEXEC, which is the descriptor's.
const ACCESS_MODE: u32 = 3;
const O_CLOEXEC: u32 = libc::O_CLOEXEC.cast_unsigned();

/// The sockets that a process has open.
pub(super) fn sockets_of(pid: u32) -> io::Result<Vec<Held>> {
    let process = PathBuf::from(format!("/proc/{pid}"));
    let mut held = Vec::new();
    for entry in fs::read_dir(process.join("fd"))? {
        let Some(fd) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // What was closed meanwhile is none of the process's.
        let Some(inode) = fdinfo::link(&process, fd).ok().as_deref().and_then(fdinfo::socket_inode) else { continue };
        let information = fs::read_to_string(process.join(format!("fdinfo/{fd}"))).unwrap_or_default();
        let Some(flags) = fdinfo::flags(&information) else { continue };
        let descriptor = Descriptor { pid, fd, close_on_exec: flags & O_CLOEXEC != 0 };
        held.push(Held { descriptor, inode, flags: flags & !(ACCESS_MODE | O_CLOEXEC) });
    }
    Ok(held)
}

/// The sockets of all processes that this user may look at.
pub(super) fn sockets_of_all() -> Vec<Held> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(|pid| sockets_of(pid).ok()).flatten().collect()
}

/// Puts into an instance which descriptors stand for it, and how they are open.
pub(super) fn fill(instance: &mut Instance, held: &[Held]) {
    let of_instance: Vec<&Held> = held.iter().filter(|held| Some(held.inode) == instance.socket_inode).collect();
    instance.descriptors = of_instance.iter().map(|held| held.descriptor).collect();
    instance.descriptors.sort_unstable();
    if let Some(Held { descriptor, flags, .. }) = of_instance.first() {
        instance.flags = *flags;
        instance.signal_owner = signal_owner(*descriptor);
    }
}

/// A process and all that descend from it.
#[must_use]
pub fn descendants_of(pid: u32) -> Vec<u32> {
    let mut found = BTreeSet::from([pid]);
    let mut waiting = vec![pid];
    while let Some(pid) = waiting.pop() {
        let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { continue };
        for thread in threads.flatten() {
            let children = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
            waiting.extend(
                children.split_whitespace().filter_map(|child| child.parse().ok()).filter(|child| found.insert(*child)),
            );
        }
    }
    found.into_iter().collect()
}

/// A duplicate of another process's descriptor (Linux 5.6), of one that this process may trace.
pub(crate) fn duplicate(pid: u32, fd: u32) -> Result<OwnedFd, Errno> {
    let own = |number: libc::c_long| {
        // SAFETY: the call has just returned this descriptor, which nobody else has.
        unsafe { OwnedFd::from_raw_fd(number as i32) }
    };
    // SAFETY: takes numbers only.
    let process = own(Errno::result(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })?);
    // SAFETY: takes numbers only.
    let found = unsafe { libc::syscall(libc::SYS_pidfd_getfd, process.as_raw_fd(), fd, 0) };
    Ok(own(Errno::result(found)?))
}

/// Who gets the signals of O_ASYNC; nothing if nobody does, or this kernel or user may not ask.
fn signal_owner(Descriptor { pid, fd, .. }: Descriptor) -> Option<SignalOwner> {
    let socket = duplicate(pid, fd).ok()?;
    let number = socket.as_raw_fd();
    let mut owner = Owner::default();
    // SAFETY: F_GETOWN_EX writes one such structure, which lives through the call.
    Errno::result(unsafe { libc::fcntl(number, F_GETOWN_EX, &raw mut owner) }).ok()?;
    // SAFETY: takes numbers only.
    let signal = Errno::result(unsafe { libc::fcntl(number, F_GETSIG) }).ok()?;
    if owner.pid == 0 && signal == 0 {
        return None;
    }
    let mut ids = [0_u32; 2];
    // SAFETY: F_GETOWNER_UIDS writes two words, which live through the call. A kernel without it leaves them.
    unsafe { libc::fcntl(number, F_GETOWNER_UIDS, ids.as_mut_ptr()) };
    let [uid, euid] = ids;
    Some(SignalOwner {
        pid: owner.pid.unsigned_abs(),
        pid_type: owner.kind.cast_unsigned(),
        uid,
        euid,
        signal: signal.cast_unsigned(),
    })
}
