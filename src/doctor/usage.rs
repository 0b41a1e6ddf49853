//! How much of the kernel's inotify is in use, and by whom.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::unistd::{Uid, User};
use serde_json::{Value, json};
use uinotify_host::Limits;

/// By all users whose processes can be looked at.
pub(super) struct Usage {
    pub(super) users: Vec<OfUser>,
    /// There are processes that cannot.
    pub(super) is_partial: bool,
}

/// By one user, the one with the most watches first.
pub(super) struct OfUser {
    uid: u32,
    pub(super) name: String,
    pub(super) processes: Vec<OfProcess>,
}

/// By one process.
pub(super) struct OfProcess {
    pub(super) pid: u32,
    pub(super) name: String,
    pub(super) instances: usize,
    pub(super) watches: usize,
}

/// One descriptor of an instance.
struct Held {
    pid: u32,
    fd: u32,
    information: String,
}

impl Usage {
    /// Looks through procfs. An instance that several processes hold counts for the first.
    pub(super) fn count() -> Self {
        let mut of_users: BTreeMap<u32, Vec<Held>> = BTreeMap::new();
        let mut is_partial = false;
        let mut pids: Vec<u32> = numbers(Path::new("/proc")).unwrap_or_default();
        pids.sort_unstable();
        for pid in pids {
            let process = Path::new("/proc").join(pid.to_string());
            let Ok(uid) = fs::metadata(&process).map(|status| status.uid()) else { continue };
            // Whoever has ended meanwhile is missing, and hides nothing.
            let Some(descriptors) = numbers(&process.join("fd")) else {
                is_partial |= process.join("fd").exists();
                continue;
            };
            let held = of_users.entry(uid).or_default();
            for fd in descriptors {
                let link = fs::read_link(process.join(format!("fd/{fd}"))).unwrap_or_default();
                if !matches!(link.to_str(), Some("anon_inode:inotify" | "anon_inode:[inotify]" | "inotify")) {
                    continue;
                }
                let information = fs::read_to_string(process.join(format!("fdinfo/{fd}"))).unwrap_or_default();
                let one = Held { pid, fd, information };
                if !held.iter().any(|other| is_same(other, &one)) {
                    held.push(one);
                }
            }
        }
        let users = of_users.into_iter().filter(|(_, held)| !held.is_empty()).map(|(uid, held)| OfUser::of(uid, &held));
        let mut users: Vec<_> = users.collect();
        users.sort_by_key(|user| std::cmp::Reverse(user.watches()));
        Self { users, is_partial }
    }

    /// For one screen, beside what the kernel allows each user.
    pub(super) fn lines(&self, limits: &Limits) -> Vec<String> {
        let (instances_max, watches_max) = (limits.instances_max, limits.watches_max);
        let mut lines = Vec::new();
        for user in self.users.iter().take(SHOWN_MAX) {
            let (name, instances, watches) = (&user.name, user.instances(), user.watches());
            lines.push(format!("{name}: {instances} of {instances_max} instances, {watches} of {watches_max} watches"));
            for OfProcess { pid, name, instances, watches } in user.processes.iter().take(SHOWN_MAX) {
                lines.push(format!("  {name} ({pid}): {instances} instances, {watches} watches"));
            }
            lines.extend(more(user.processes.len(), "processes").map(|more| format!("  {more}")));
        }
        lines.extend(more(self.users.len(), "users"));
        if self.users.is_empty() {
            lines.push(format!("nothing, of {instances_max} instances and {watches_max} watches of each user"));
        }
        lines.push(format!("{} events at most in each queue", limits.queue_events_max));
        if self.is_partial {
            lines.push("(what other users' processes hold is for root to see)".to_owned());
        }
        lines
    }

    pub(super) fn json(&self) -> Value {
        let users = self.users.iter().map(|user| {
            let processes = user.processes.iter().map(|process| {
                json!({
                    "pid": process.pid, "name": process.name, "instances": process.instances, "watches": process.watches
                })
            });
            json!({
                "uid": user.uid, "user": user.name, "instances": user.instances(), "watches": user.watches(),
                "processes": processes.collect::<Vec<_>>(),
            })
        });
        json!({ "users": users.collect::<Vec<_>>(), "is_partial": self.is_partial })
    }
}

impl OfUser {
    fn of(uid: u32, held: &[Held]) -> Self {
        let mut processes: Vec<OfProcess> = Vec::new();
        for Held { pid, information, .. } in held {
            let watches = information.lines().filter(|line| line.starts_with("inotify wd:")).count();
            match processes.iter_mut().find(|process| process.pid == *pid) {
                Some(process) => {
                    process.instances += 1;
                    process.watches += watches;
                }
                None => processes.push(OfProcess { pid: *pid, name: name_of(*pid), instances: 1, watches }),
            }
        }
        processes.sort_by_key(|process| std::cmp::Reverse(process.watches));
        let name = User::from_uid(Uid::from_raw(uid)).ok().flatten().map_or_else(|| uid.to_string(), |user| user.name);
        Self { uid, name, processes }
    }

    pub(super) fn instances(&self) -> usize {
        self.processes.iter().map(|process| process.instances).sum()
    }

    pub(super) fn watches(&self) -> usize {
        self.processes.iter().map(|process| process.watches).sum()
    }
}

/// So many of users, and of processes of each, are on one screen.
const SHOWN_MAX: usize = 4;

fn more(count: usize, what: &str) -> Option<String> {
    (count > SHOWN_MAX).then(|| format!("and {} more {what}: --json tells of all", count - SHOWN_MAX))
}

/// Whether two descriptors stand for one instance. Where the kernel does not tell (kcmp(2), a matter of its configuration), they do not.
fn is_same(one: &Held, other: &Held) -> bool {
    const KCMP_FILE: libc::c_long = 0;
    let watches = |held: &Held| held.information.lines().filter(|line| line.starts_with("inotify wd:")).count();
    if watches(one) != watches(other) {
        return false;
    }
    // SAFETY: takes numbers only.
    unsafe { libc::syscall(libc::SYS_kcmp, one.pid, other.pid, KCMP_FILE, one.fd, other.fd) == 0 }
}

fn name_of(pid: u32) -> String {
    fs::read_to_string(format!("/proc/{pid}/comm")).map_or_else(|_| "gone".to_owned(), |name| name.trim().to_owned())
}

/// The entries of a folder that are numbers.
fn numbers(folder: &Path) -> Option<Vec<u32>> {
    let entries = fs::read_dir(folder).ok()?;
    Some(entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect())
}
