//! What the fast mode knows: what this kernel can do, found out by trying, and what is still to be said to it.

use std::collections::HashMap;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};

use super::device::Device;
use super::identity::Identity;
use super::request::NodeId;

/// For how long names and attributes hold, and what else is remembered of the lower tree: changes behind our back are seen so much later.
pub(super) const HOLD: Duration = Duration::from_secs(1);

/// Of so many directories is remembered who may search them.
const DIRECTORIES_MAX: usize = 4096;

#[derive(Debug, Default)]
pub(super) struct Fast {
    /// Whether the kernel reads and writes lower files itself: Linux 6.9, CAP_SYS_ADMIN in the first user name space.
    passes: Option<bool>,
    /// Whether all names can be told to hold no longer, at once and without a lock: Linux 6.16.
    expires: Option<bool>,
    /// Devices whose files can be backings, or cannot.
    devices: HashMap<u64, bool>,
    /// Directories that all users may search, or not, and when that was seen.
    searched: HashMap<NodeId, (Instant, bool)>,
    /// Backings that nobody needs any longer.
    unneeded: Vec<u32>,
    names_expire: bool,
}

impl Fast {
    /// Whether names may hold for a time: only if it can be ended at once.
    pub(super) fn expires(&mut self, device: &Device) -> bool {
        *self.expires.get_or_insert_with(|| device.expire_names().is_ok())
    }

    /// The same, once it is known.
    pub(super) fn holds_names(&self) -> bool {
        self.expires == Some(true)
    }

    /// Whether it does so, or may, for files on a device.
    pub(super) fn passes(&self, lower_device: u64) -> bool {
        self.passes != Some(false) && self.devices.get(&lower_device) != Some(&false)
    }

    /// All names have to be looked up again, from before the next reply on.
    pub(super) fn expire_names(&mut self) {
        self.names_expire = true;
    }

    pub(super) fn unneeded(&mut self, backing: u32) {
        self.unneeded.push(backing);
    }

    /// Says what is to be said before a reply.
    pub(super) fn tell(&mut self, device: &Device, identity: &mut Identity) {
        for backing in self.unneeded.drain(..) {
            // It may be gone with the file system.
            let _ = identity.ending_a_backing(|| device.close_backing(backing));
        }
        if std::mem::take(&mut self.names_expire) && self.holds_names() {
            let _ = device.expire_names();
        }
    }

    /// Makes an open file of the lower tree a backing.
    pub(super) fn open_backing(
        &mut self,
        device: &Device,
        lower: impl AsFd,
        lower_device: u64,
        identity: &mut Identity,
    ) -> Option<u32> {
        // What the program has opened with O_DIRECT would fail where the lower file system has none.
        if self.passes == Some(false) || !*self.devices.entry(lower_device).or_insert_with(|| takes_direct(&lower)) {
            return None;
        }
        match identity.making_a_backing(|| device.open_backing(&lower)) {
            Ok(backing) => {
                self.passes = Some(true);
                Some(backing)
            }
            // Of this file system none, as it is stacked too high.
            Err(Errno::ELOOP) => {
                self.devices.insert(lower_device, false);
                None
            }
            Err(_) => {
                // Once it has worked, this is about the one file, or for want of memory.
                self.passes.get_or_insert(false);
                None
            }
        }
    }

    /// What is remembered of who may search a directory.
    pub(super) fn all_may_search(&self, directory: NodeId) -> Option<bool> {
        self.searched.get(&directory).filter(|(seen, _)| seen.elapsed() < HOLD).map(|(_, may)| *may)
    }

    pub(super) fn remember_search(&mut self, directory: NodeId, all_may: bool) {
        if self.searched.len() >= DIRECTORIES_MAX {
            self.searched.clear();
        }
        self.searched.insert(directory, (Instant::now(), all_may));
    }

    /// Who may search a directory has changed, perhaps.
    pub(super) fn rights_changed(&mut self, directory: NodeId) {
        self.searched.remove(&directory);
        self.expire_names();
    }
}

/// Whether files of its file system can be opened with O_DIRECT.
fn takes_direct(file: impl AsFd) -> bool {
    let Ok(flags) = fcntl(&file, FcntlArg::F_GETFL) else { return false };
    let flags = OFlag::from_bits_retain(flags);
    let takes = fcntl(&file, FcntlArg::F_SETFL(flags | OFlag::O_DIRECT)).is_ok();
    takes && fcntl(&file, FcntlArg::F_SETFL(flags)).is_ok()
}
