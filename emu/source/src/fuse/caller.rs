//! What a process may do that asks for something: its groups and capabilities, which no request tells.
//!
//! The asking thread waits for the reply, so that what is read of it is what it has. One that is killed meanwhile may have given its
//! number to another: groups count only if one of the thread's user ids is the request's, capabilities only if it is the one for files.

use std::collections::VecDeque;
use std::fs::File;
use std::os::unix::fs::FileExt;

use super::request::Asker;
use crate::capabilities::{self, Capabilities};

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
    /// The folders of the latest threads' name spaces.
    spaces: VecDeque<(u32, File)>,
    /// The inode of the emulator's user name space.
    user_space: Option<u64>,
}

const OPEN_MAX: usize = 8;

impl Callers {
    pub(super) fn new() -> Self {
        let user_space = spaces_of("self").as_ref().and_then(user_space);
        Self { open: VecDeque::new(), spaces: VecDeque::new(), user_space }
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
        // The kernel does something for a file system of its own, as an overlay with the rights of who mounted it.
        if uid == 0 && !status.is_empty() && !has_user(&status, 0) {
            return plain(Vec::new(), Capabilities(u64::MAX));
        }
        let (groups, capabilities) = rights_in(&status, asker);
        plain(groups, capabilities)
    }

    /// Whether a thread is in the emulator's user name space. Capabilities of another hold there only. The folder of its name spaces is kept
    /// open, and stands for the thread for ever; where that is now is asked each time.
    pub(super) fn shares_user_space(&mut self, thread: u32) -> bool {
        if let Some(place) = self.spaces.iter().position(|(known, _)| *known == thread) {
            let found = self.spaces.get(place).and_then(|(_, folder)| user_space(folder));
            if found.is_some() {
                return found == self.user_space;
            }
            self.spaces.remove(place);
        }
        let Some(folder) = spaces_of(&thread.to_string()) else { return false };
        let found = user_space(&folder);
        if self.spaces.len() == OPEN_MAX {
            self.spaces.pop_front();
        }
        self.spaces.push_back((thread, folder));
        found.is_some() && found == self.user_space
    }

    /// Whether the name spaces of a thread can be asked for without looking into procfs anew.
    pub(super) fn has_at_hand(&self, thread: u32) -> bool {
        self.spaces.iter().any(|(known, _)| *known == thread)
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

fn spaces_of(process: &str) -> Option<File> {
    File::open(format!("/proc/{process}/ns")).ok()
}

/// The inode of the user name space, of a thread whose name spaces these are.
fn user_space(spaces: &File) -> Option<u64> {
    nix::sys::stat::fstatat(spaces, c"user", nix::fcntl::AtFlags::empty()).ok().map(|status| status.st_ino)
}

/// Whether a thread is this user, by any of its four ids.
fn has_user(status: &str, uid: u32) -> bool {
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:")).unwrap_or_default();
    line.split_ascii_whitespace().any(|number| number.parse() == Ok(uid))
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
