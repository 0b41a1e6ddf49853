//! What the program of one `run` sees of the machine's trees.

use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

use nix::unistd::geteuid;
use uinotify_host::{Emulator, Mode, announcements};

use crate::process;
use crate::tree::{self, OpenTree, Tree, TreeError};

/// Trees that are about to be shown. The emulator gets one end, the program's process the other.
pub(super) struct Sandbox {
    trees: Vec<OpenTree>,
    for_emulator: OwnedFd,
    for_program: OwnedFd,
    is_in_user_space: bool,
}

impl Sandbox {
    /// Opens the trees, and enters a user name space if this user has no right to mount otherwise. Nothing for no trees.
    pub(super) fn prepare(trees: &[Tree], mode: Mode) -> Result<Option<Self>, TreeError> {
        if trees.is_empty() {
            return Ok(None);
        }
        let trees = tree::open_all(trees, mode)?;
        tree::check_device()?;
        let is_in_user_space = !geteuid().is_root();
        if is_in_user_space {
            tree::enter_user_space()?;
        }
        let (for_emulator, for_program) = announcements().map_err(TreeError::of_announcements)?;
        Ok(Some(Self { trees, for_emulator, for_program, is_in_user_space }))
    }

    /// What the emulator's process must not close, as it is this one's.
    pub(super) fn descriptors_of_emulator(&self) -> Vec<RawFd> {
        tree::descriptors(&self.trees).chain([self.for_emulator.as_raw_fd(), self.for_program.as_raw_fd()]).collect()
    }

    /// In the emulator's process. Rights over the user name space are given up: the lower trees are touched with the user's own.
    pub(super) fn give_to(self, emulator: &mut Emulator) -> std::io::Result<()> {
        if self.is_in_user_space {
            process::give_up_capabilities()?;
        }
        emulator.await_trees(self.trees.into_iter().map(OpenTree::into_root).collect(), self.for_emulator)
    }

    /// In the process that is about to execute the program.
    pub(super) fn enter(&self) -> Result<(), TreeError> {
        tree::mount_all(&self.trees, self.for_program.as_fd())
    }
}
