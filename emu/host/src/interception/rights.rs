//! Acting as a thread that waits.

use std::io::{self, Write};

use nix::errno::Errno;
use nix::unistd::{getegid, geteuid, getgroups};
use uinotify_intercept::{Ids, Target};
use uinotify_source::capabilities::{self, Capabilities, Own};
use uinotify_source::rights::{set_file_ids, set_groups};

/// What the emulator itself may do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OwnRights {
    /// It can act as another. Without that right all programs of its filter are its own user's: they gain none by executing another, or
    /// nobody has any in their user name space.
    can_be_others: bool,
    user_space: Option<u64>,
}

impl OwnRights {
    pub(crate) fn new() -> Result<Self, Errno> {
        let can_be_others = capabilities::effective(0)?.contains(Capabilities::OF_IDS);
        let own = Target::new(std::process::id().cast_signed()).ok();
        Ok(Self { can_be_others, user_space: own.and_then(|own| own.user_space()) })
    }

    /// May the thread look for files, and read them, where this process may?
    pub(crate) fn are_those_of(self, target: &Target) -> bool {
        if !self.can_be_others {
            return true;
        }
        let reads_all = |capabilities: Capabilities| capabilities.contains(Capabilities::OF_READING);
        capabilities::effective(target.thread()).is_ok_and(reads_all) && self.shares_user_space(target)
    }

    fn shares_user_space(self, target: &Target) -> bool {
        self.user_space.is_some() && target.user_space() == self.user_space
    }
}

/// Does something with the rights to files that a waiting thread has. `act` is told whether they are other ones. Nothing but this thread
/// changes.
///
/// # Errors
///
/// ESRCH if it has gone; EACCES for a user whom the kernel does not let us be; else those of `act`.
pub(crate) fn with_rights_of_target<T>(
    target: &Target,
    own: OwnRights,
    act: impl FnOnce(bool) -> Result<T, Errno>,
) -> Result<T, Errno> {
    if own.are_those_of(target) {
        return act(false);
    }
    let ids = target.ids().ok_or(Errno::ESRCH)?;
    let theirs = if own.shares_user_space(target) { Capabilities(ids.capabilities) } else { Capabilities::NONE };
    let _acting = Acting::new(&ids, theirs)?;
    act(true)
}

/// While it lives, this thread has another's rights to files.
struct Acting {
    sets: Own,
    effective: Capabilities,
    uid: u32,
    gid: u32,
    groups: Vec<u32>,
}

impl Acting {
    fn new(ids: &Ids, capabilities: Capabilities) -> Result<Self, Errno> {
        let acting = Self {
            sets: Own::new()?,
            effective: capabilities::effective(0)?,
            uid: geteuid().as_raw(),
            gid: getegid().as_raw(),
            groups: getgroups()?.iter().map(|group| group.as_raw()).collect(),
        };
        // Its folder in procfs is to be looked into all the same.
        let kept = capabilities.or(Capabilities::OF_TRACING).and(acting.sets.permitted());
        set_groups(&ids.groups)
            .and_then(|()| set_file_ids(ids.uid, ids.gid))
            .and_then(|()| acting.sets.set_effective(kept))
            .map_err(|_| Errno::EACCES)?;
        Ok(acting)
    }
}

impl Drop for Acting {
    fn drop(&mut self) {
        let taken_back = self
            .sets
            .set_effective(self.effective)
            .and_then(|()| set_file_ids(self.uid, self.gid))
            .and_then(|()| set_groups(&self.groups))
            // A change of user takes rights to files, or gives those that are permitted.
            .and_then(|()| self.sets.set_effective(self.effective));
        if taken_back.is_err() {
            // Serving others with the rights of this one would be wrong, and so would be the other way round.
            let _ = writeln!(io::stderr(), "uinotify: cannot take back the rights of user {}", self.uid);
            std::process::abort();
        }
    }
}
