//! What a process may do that asks for something: its groups and capabilities, which no request tells.
//!
//! The asking thread waits for the reply, so that what is read of it is what it has. One that is killed meanwhile may have given its
//! number to another: groups count only if one of the thread's user ids is the request's, capabilities only if it is the one for files.

use std::collections::VecDeque;
use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};

use super::capabilities::{self, Capabilities};
use super::request::Asker;

/// Ids and rights to files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Caller {
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) groups: Vec<u32>,
    pub(super) capabilities: Capabilities,
}

/// Reads of threads what they may do.
#[derive(Debug, Default)]
pub(super) struct Callers {
    /// The latest threads' status files. One that is open stands for its thread for ever, and says ESRCH when that is gone.
    open: VecDeque<(u32, File)>,
    /// The inode of the emulator's user name space.
    user_space: Option<u64>,
}

const OPEN_MAX: usize = 8;

impl Callers {
    pub(super) fn new() -> Self {
        Self { open: VecDeque::new(), user_space: user_space("self") }
    }

    /// What the asker may do, by its own account: see [`shares_user_space`](Self::shares_user_space) for its capabilities. To look into procfs
    /// takes rights of its own, which `take_own_rights` brings if they are needed.
    pub(super) fn find(&mut self, asker: Asker, take_own_rights: impl FnOnce()) -> Caller {
        let Asker { uid, gid, thread } = asker;
        let plain = |groups, capabilities| Caller { uid, gid, groups, capabilities };
        if thread == 0 {
            // Nobody to look at: what ids alone give.
            return plain(Vec::new(), if uid == 0 { Capabilities(u64::MAX) } else { Capabilities::NONE });
        }
        if uid == 0
            && let Ok(effective) = capabilities::effective(thread.cast_signed())
            && effective.contains(Capabilities::OF_FILES)
        {
            return plain(Vec::new(), effective);
        }
        if self.open.iter().all(|(open, _)| *open != thread) {
            take_own_rights();
        }
        let status = self.status(thread).unwrap_or_default();
        let (groups, capabilities) = rights_in(&status, asker);
        plain(groups, capabilities)
    }

    /// Whether a thread is in the emulator's user name space. Capabilities of another hold there only.
    pub(super) fn shares_user_space(&self, thread: u32) -> bool {
        user_space(&thread.to_string()) == self.user_space
    }

    /// The text of proc_pid_status(5).
    fn status(&mut self, thread: u32) -> Option<String> {
        if let Some(place) = self.open.iter().position(|(open, _)| *open == thread) {
            let (_, file) = self.open.remove(place)?;
            if let Some(text) = read(&file) {
                self.open.push_back((thread, file));
                return Some(text);
            }
        }
        let file = File::open(format!("/proc/{thread}/status")).ok()?;
        let text = read(&file)?;
        if self.open.len() == OPEN_MAX {
            self.open.pop_front();
        }
        self.open.push_back((thread, file));
        Some(text)
    }
}

fn read(file: &File) -> Option<String> {
    let mut text = vec![0; 4096];
    let mut length = 0;
    loop {
        // Many groups make it long.
        if length == text.len() {
            text.resize(length * 2, 0);
        }
        match file.read_at(text.get_mut(length..)?, u64::try_from(length).ok()?).ok()? {
            0 => break,
            count => length += count,
        }
    }
    text.truncate(length);
    String::from_utf8(text).ok().filter(|text| !text.is_empty())
}

fn user_space(process: &str) -> Option<u64> {
    Some(std::fs::metadata(format!("/proc/{process}/ns/user")).ok()?.ino())
}

fn rights_in(status: &str, asker: Asker) -> (Vec<u32>, Capabilities) {
    let line = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    let numbers = |name: &str| -> Vec<u32> {
        line(name).split_ascii_whitespace().filter_map(|number| number.parse().ok()).collect()
    };
    // Real, effective, saved, and that for files.
    let (uids, gids) = (numbers("Uid:"), numbers("Gid:"));
    let groups = if uids.contains(&asker.uid) { numbers("Groups:") } else { Vec::new() };
    let capabilities = if uids.get(3) == Some(&asker.uid) && gids.get(3) == Some(&asker.gid) {
        u64::from_str_radix(line("CapEff:").trim(), 16).map_or(Capabilities::NONE, Capabilities)
    } else {
        Capabilities::NONE
    };
    (groups, capabilities)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &str =
        "Name:\tx\nUid:\t1000\t0\t0\t1000\nGid:\t100\t100\t100\t100\nGroups:\t4 27 \nCapEff:\t0000000000000003\n";

    #[test]
    fn rights_count_for_the_ids_that_ask() {
        let asker = |uid, gid| Asker { uid, gid, thread: 1 };
        assert_eq!(rights_in(STATUS, asker(1000, 100)), (vec![4, 27], Capabilities(3)));
        assert_eq!(rights_in(STATUS, asker(0, 100)), (vec![4, 27], Capabilities::NONE));
        assert_eq!(rights_in(STATUS, asker(1000, 7)), (vec![4, 27], Capabilities::NONE));
        assert_eq!(rights_in(STATUS, asker(1, 100)), (vec![], Capabilities::NONE));
        assert_eq!(rights_in("", asker(0, 0)), (vec![], Capabilities::NONE));
    }

    #[test]
    fn a_thread_is_found_again() {
        let thread = nix::unistd::gettid().as_raw().cast_unsigned();
        let mut callers = Callers::new();
        let first = callers.status(thread).expect("a status");
        assert!(first.contains("Groups:"));
        assert_eq!(callers.open.len(), 1);
        assert!(callers.status(thread).is_some());
        assert_eq!(callers.open.len(), 1);
        assert!(callers.status(u32::MAX).is_none());
    }
}
