//! Limits for one process: a user namespace has its own `user/max_inotify_*`.

use anyhow::{Context, Result};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{Gid, Uid};

use super::process;
use crate::operation::Limits;

/// Moves this process into a user namespace of its own with the given limits. Nothing outside it changes.
///
/// # Errors
///
/// If the machine does not give this user a namespace, or one without its limits (both since 4.9).
pub(super) fn limit(limits: Limits) -> Result<()> {
    let (user, group) = (Uid::effective(), Gid::effective());
    unshare(CloneFlags::CLONE_NEWUSER).context("no user namespace")?;
    let write = |path: &str, text: String| std::fs::write(path, text).with_context(|| format!("cannot write {path}"));
    write("/proc/self/setgroups", "deny".to_owned())?;
    write("/proc/self/uid_map", format!("0 {user} 1"))?;
    write("/proc/self/gid_map", format!("0 {group} 1"))?;
    write("/proc/sys/user/max_inotify_watches", limits.watches_max.to_string())?;
    write("/proc/sys/user/max_inotify_instances", limits.instances_max.to_string())
}

/// Tries in a forked child whether a list can have limits of its own.
///
/// # Errors
///
/// The reason why this machine cannot.
pub fn can_limit() -> Result<()> {
    let (mut reading, mut writing) = process::high_pipe()?;
    let pid = process::fork()?;
    if pid == 0 {
        drop(reading);
        let tried = limit(Limits { watches_max: 1, instances_max: 1 });
        if let Err(error) = tried {
            let told = std::io::Write::write_all(&mut writing, format!("{error:#}").as_bytes());
            process::leave(if told.is_ok() { 0 } else { 1 });
        }
        process::leave(0);
    }
    drop(writing);
    let mut why = String::new();
    std::io::Read::read_to_string(&mut reading, &mut why)?;
    process::reap(pid);
    anyhow::ensure!(why.is_empty(), "{why}");
    Ok(())
}
