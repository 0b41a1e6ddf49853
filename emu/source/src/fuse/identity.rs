//! As whom this thread acts: as itself, or as the one that asks.
//!
//! The lower file system checks permissions, gives new files their owner, clears set-user-ID bits and counts quotas, all by itself
//! and by its own rules, if it is called with the caller's ids, groups and capabilities. The kernel could check in front of us
//! (`default_permissions`), but as nothing is cached it would then ask for the attributes of each directory of a path once more,
//! and would know nothing of the lower file system's own rules.

use std::marker::PhantomData;

use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{getegid, geteuid, getgroups};

use super::caller::{Caller, Callers};
use super::request::Asker;
use crate::capabilities::{self, Capabilities};
use crate::rights::{set_file_ids, set_groups};

/// The rights of the thread that made it, and only that one's.
#[derive(Debug)]
pub(super) struct Identity {
    own: Caller,
    sets: capabilities::Own,
    now: Option<Caller>,
    callers: Callers,
    own_umask: Mode,
    umask_now: Mode,
    /// Without root's rights all is done as the emulator's own user, and no other comes in.
    may_change: bool,
    thread: PhantomData<*const ()>,
}

impl Identity {
    /// # Errors
    ///
    /// If this thread cannot have a umask of its own, or the kernel does not tell its rights.
    pub(super) fn new() -> Result<Self, Errno> {
        unshare(CloneFlags::CLONE_FS)?;
        let own_umask = umask(Mode::empty());
        umask(own_umask);
        let sets = capabilities::Own::new()?;
        let own = Caller {
            uid: geteuid().as_raw(),
            gid: getegid().as_raw(),
            groups: getgroups()?.iter().map(|group| group.as_raw()).collect(),
            capabilities: sets.permitted(),
        };
        let may_change = own.capabilities.contains(Capabilities::OF_IDS) && set_groups(&own.groups).is_ok();
        Ok(Self {
            own,
            sets,
            now: None,
            callers: Callers::new(),
            own_umask,
            umask_now: own_umask,
            may_change,
            thread: PhantomData,
        })
    }

    /// Acts as whom a request names.
    ///
    /// # Errors
    ///
    /// EACCES for a user whom the kernel does not let us be.
    pub(super) fn take_on(&mut self, asker: Asker) -> Result<(), Errno> {
        if !self.may_change {
            return Ok(());
        }
        let mut callers = std::mem::take(&mut self.callers);
        let mut caller = callers.find(asker, || self.own());
        if asker.thread != 0 && caller.capabilities != Capabilities::NONE {
            // A thread of the same user can mostly be looked at as that one.
            let is_alike = self.now.as_ref().is_some_and(|now| now.uid == asker.uid);
            let is_at_hand = is_alike && callers.has_at_hand(asker.thread);
            if !is_at_hand {
                self.own();
            }
            let mut shares = callers.shares_user_space(asker.thread);
            if !shares && is_at_hand {
                self.own();
                shares = callers.shares_user_space(asker.thread);
            }
            if !shares {
                caller.capabilities = Capabilities::NONE;
            }
        }
        self.callers = callers;
        if self.now.as_ref() == Some(&caller) {
            return Ok(());
        }
        self.change(Some(caller))
    }

    /// The same for what is done with an open file: only the ids count, and what else was last seen of them.
    ///
    /// # Errors
    ///
    /// As [`take_on`](Self::take_on).
    pub(super) fn take_on_ids(&mut self, asker: Asker) -> Result<(), Errno> {
        match &self.now {
            Some(now) if (now.uid, now.gid) == (asker.uid, asker.gid) => Ok(()),
            _ => self.take_on(asker),
        }
    }

    /// Acts as the emulator again.
    pub(super) fn own(&mut self) {
        if self.now.is_some() && self.change(None).is_err() {
            // Serving others with the rights of this one would be wrong, and so would be the other way round.
            eprintln!("uinotify: cannot take back the rights of user {}", self.own.uid);
            std::process::abort();
        }
    }

    /// Makes an open file of the lower tree a backing, otherwise as whom this thread acts: of whose disk quota, for one, it is written. Whoever
    /// writes it clears its set-user-ID bits, as nobody knows who that will be.
    ///
    /// # Errors
    ///
    /// EPERM if the emulator has no such right; else those of what is done.
    pub(super) fn making_a_backing<T>(&mut self, make: impl FnOnce() -> Result<T, Errno>) -> Result<T, Errno> {
        self.with(self.acting().without(Capabilities::OF_SET_IDS).or(Capabilities::OF_BACKINGS), make)
    }

    /// Gives up a backing.
    ///
    /// # Errors
    ///
    /// As [`making_a_backing`](Self::making_a_backing).
    pub(super) fn ending_a_backing(&mut self, end: impl FnOnce() -> Result<(), Errno>) -> Result<(), Errno> {
        self.with(self.acting().or(Capabilities::OF_BACKINGS), end)
    }

    fn acting(&self) -> Capabilities {
        self.now.as_ref().unwrap_or(&self.own).capabilities.and(self.own.capabilities)
    }

    fn with<T>(&mut self, capabilities: Capabilities, act: impl FnOnce() -> Result<T, Errno>) -> Result<T, Errno> {
        let acting = self.acting();
        if acting == capabilities {
            return act();
        }
        self.sets.set_effective(capabilities)?;
        let result = act();
        if self.sets.set_effective(acting).is_err() {
            eprintln!("uinotify: cannot take back the rights of user {}", self.own.uid);
            std::process::abort();
        }
        result
    }

    /// The umask of what is made next.
    pub(super) fn set_umask(&mut self, mask: u32) {
        let mask = Mode::from_bits_truncate(mask & 0o777);
        if mask != self.umask_now {
            umask(mask);
            self.umask_now = mask;
        }
    }

    /// The thread is the emulator's again, for other work.
    pub(super) fn rest(&mut self) {
        self.own();
        self.set_umask(self.own_umask.bits());
    }

    fn change(&mut self, to: Option<Caller>) -> Result<(), Errno> {
        let target = to.as_ref().unwrap_or(&self.own);
        // Whatever happens, this is no longer who we were.
        let before = self.now.take();
        let before = before.as_ref().unwrap_or(&self.own);
        if before.capabilities != self.own.capabilities || before.uid != self.own.uid {
            self.sets.set_effective(self.own.capabilities)?;
        }
        let done = (|| {
            if before.groups != target.groups {
                set_groups(&target.groups)?;
            }
            set_file_ids(target.uid, target.gid)?;
            self.sets.set_effective(target.capabilities.and(self.own.capabilities))
        })();
        match (done, to) {
            (Ok(()), to) => {
                self.now = to;
                Ok(())
            }
            (Err(error), None) => Err(error),
            (Err(_), Some(caller)) => {
                self.now = Some(caller);
                self.own();
                Err(Errno::EACCES)
            }
        }
    }
}

impl Drop for Identity {
    fn drop(&mut self) {
        self.rest();
    }
}
