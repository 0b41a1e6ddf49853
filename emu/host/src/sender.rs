//! Who asks, message by message, and what they may read.
//!
//! A connection's credentials are those of its maker, who may have changed user since, or have handed it on. The kernel puts the
//! sender's onto each message (SCM_CREDENTIALS), and nobody can claim another's.

use std::fs;
use std::io::{self, Write};
use std::os::fd::BorrowedFd;

use nix::errno::Errno;
use nix::sys::stat::fstat;
use nix::unistd::{Gid, Uid, getegid, geteuid, getgroups};
use uinotify_source::rights::{set_file_ids, set_groups};

/// The sender of a message: a process, and its real ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sender {
    pub(crate) pid: i32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

impl Sender {
    pub(crate) fn is_ourselves(self) -> bool {
        self.uid == geteuid().as_raw()
    }

    /// The supplementary groups. None where procfs shows another user under this number: the process may have executed a program
    /// of more rights since it asked, or have ended.
    fn groups(self) -> Vec<libc::gid_t> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).unwrap_or_default();
        groups_in(&status, self.uid, self.gid)
    }
}

/// The groups in a proc_pid_status(5), if its real ids are these.
fn groups_in(status: &str, uid: u32, gid: u32) -> Vec<libc::gid_t> {
    let numbers = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        line.split_ascii_whitespace().filter_map(|number| number.parse::<u32>().ok()).collect::<Vec<_>>()
    };
    if numbers("Uid:").first() == Some(&uid) && numbers("Gid:").first() == Some(&gid) {
        numbers("Groups:")
    } else {
        Vec::new()
    }
}

/// Has the kernel check, while `watch` sets up its watch on `object`, whether the sender may read it; for a sender of our own user
/// it does so anyway. What the program says it has checked does not count, and opening the object would make events.
///
/// # Errors
///
/// EACCES if the sender may not read `object`, or did not come with the message; else those of `watch`.
pub(crate) fn with_rights_of<T>(
    sender: Option<Sender>,
    object: BorrowedFd<'_>,
    watch: impl FnOnce() -> Result<T, Errno>,
) -> Result<T, Errno> {
    let sender = sender.ok_or(Errno::EACCES)?;
    if sender.is_ourselves() {
        return watch();
    }
    let groups = sender.groups();
    if let Some(_assumed) = Assumed::new(sender, &groups) {
        return watch();
    }
    // Without root's rights: an access list that takes from this user what the mode gives to all goes unseen.
    if may_read_by_mode(sender, &groups, object)? { watch() } else { Err(Errno::EACCES) }
}

fn may_read_by_mode(sender: Sender, groups: &[libc::gid_t], object: BorrowedFd<'_>) -> Result<bool, Errno> {
    let stat = fstat(object)?;
    let is_of_group = stat.st_gid == sender.gid || groups.contains(&stat.st_gid);
    let bit = match stat.st_uid {
        owner if owner == sender.uid => libc::S_IRUSR,
        _ if is_of_group => libc::S_IRGRP,
        _ => libc::S_IROTH,
    };
    Ok(sender.uid == 0 || stat.st_mode & bit != 0)
}

/// While it lives, this thread has a sender's rights to files. The other threads keep theirs; and other than by real or effective
/// ids nobody gets a right over this process by it, such as to signal it (credentials(7), the filesystem ids).
struct Assumed {
    uid: Uid,
    gid: Gid,
    groups: Vec<Gid>,
}

impl Assumed {
    /// `None` for an emulator that may not do this.
    fn new(sender: Sender, groups: &[libc::gid_t]) -> Option<Self> {
        let groups_before = getgroups().ok()?;
        set_groups(groups).ok()?;
        // From here on, and not before, there is something that the end of `own` must restore, and can.
        let own = Self { uid: geteuid(), gid: getegid(), groups: groups_before };
        let is_assumed = set_file_ids(sender.uid, sender.gid).is_ok();
        is_assumed.then_some(own)
    }
}

impl Drop for Assumed {
    fn drop(&mut self) {
        let groups: Vec<_> = self.groups.iter().map(|group| group.as_raw()).collect();
        if set_file_ids(self.uid.as_raw(), self.gid.as_raw()).is_err() || set_groups(&groups).is_err() {
            // Serving others with the rights of this one would be wrong, and so would be the other way round.
            let _ = writeln!(io::stderr(), "uinotify: cannot take back the rights of user {}", self.uid);
            std::process::abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn groups_count_for_the_process_that_asked() {
        let status = "Name:\tx\nUid:\t1000\t0\t0\t0\nGid:\t100\t100\t100\t100\nFDSize:\t64\nGroups:\t4 27 \n";
        assert_eq!(groups_in(status, 1000, 100), [4, 27]);
        assert_eq!(groups_in(status, 0, 100), [0; 0]);
        assert_eq!(groups_in(status, 1000, 0), [0; 0]);
        assert_eq!(groups_in("", 0, 0), [0; 0]);
    }

    #[test]
    fn an_emulator_that_may_not_take_on_groups_goes_by_the_mode() {
        let file = nameless_file();
        let own = getegid().as_raw();
        // In a thread of its own, as it gives up the right.
        let answers = std::thread::scope(|scope| {
            let ask = || {
                // SAFETY: takes numbers; the thread's sets of capabilities become empty.
                let result = unsafe { libc::syscall(libc::SYS_capset, &[0x2008_0522u32, 0], &[[0u32; 3]; 2]) };
                assert_eq!(result, 0);
                [own, own + 1].map(|gid| {
                    let sender = Sender { pid: 0, uid: 65533, gid };
                    with_rights_of(Some(sender), file.as_fd(), || Ok(()))
                })
            };
            scope.spawn(ask).join().expect("the answers")
        });
        assert_eq!(answers, [Ok(()), Err(Errno::EACCES)]);
    }

    /// A file without a name, which its owner and group may read.
    fn nameless_file() -> fs::File {
        use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
        let folder = std::env::temp_dir();
        let file = fs::File::options().read(true).write(true).custom_flags(libc::O_TMPFILE).open(folder);
        let file = file.expect("a file");
        file.set_permissions(fs::Permissions::from_mode(0o640)).expect("a mode");
        file
    }

    #[test]
    fn rights_are_those_of_the_sender_and_come_back() {
        if !geteuid().is_root() {
            return;
        }
        let folder = std::env::temp_dir().join(format!("uinotify-sender-{}", std::process::id()));
        fs::write(&folder, "").expect("a file");
        let file = fs::File::open(&folder).expect("the file");
        let probe =
            || fs::File::open(&folder).map(drop).map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(0)));
        let sender = Sender { pid: 0, uid: 65534, gid: 65534 };
        let set = |mode| {
            use std::os::unix::fs::PermissionsExt;
            fs::set_permissions(&folder, fs::Permissions::from_mode(mode)).expect("a mode");
        };
        set(0o600);
        assert_eq!(with_rights_of(Some(sender), file.as_fd(), probe), Err(Errno::EACCES));
        assert_eq!(with_rights_of(None, file.as_fd(), probe), Err(Errno::EACCES));
        assert_eq!(probe(), Ok(()));
        set(0o604);
        assert_eq!(with_rights_of(Some(sender), file.as_fd(), probe), Ok(()));
        assert_eq!(may_read_by_mode(sender, &[], file.as_fd()), Ok(true));
        set(0o640);
        assert_eq!(may_read_by_mode(sender, &[], file.as_fd()), Ok(false));
        assert_eq!(may_read_by_mode(sender, &[getegid().as_raw()], file.as_fd()), Ok(true));
        fs::remove_file(&folder).expect("the file");
    }
}
