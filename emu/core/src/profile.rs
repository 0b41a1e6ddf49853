//! Which Linux is shown.

use crate::errno::Errno;
use crate::mask::{AddMask, Mask};

/// The kernel whose inotify programs are shown, where kernels differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Profile {
    /// The one of today.
    #[default]
    Native,
    /// RHEL 7's 3.10 (PROFILE-1 to PROFILE-8).
    El7,
}

impl Profile {
    /// Whether this kernel knows all bits of a mask: a check that it makes together with those of [`AddMask::new`].
    ///
    /// # Errors
    ///
    /// [`Errno::Inval`] for IN_MASK_CREATE, which came with Linux 4.18 (PROFILE-1).
    pub fn check(self, mask: AddMask) -> Result<(), Errno> {
        match self {
            Self::El7 if mask.mask().contains(Mask::IN_MASK_CREATE) => Err(Errno::Inval),
            _ => Ok(()),
        }
    }

    /// What is shown of an event that a kernel of today has matched to a watch: 3.10 says of no directory that it is one when
    /// its file system is unmounted (PROFILE-6).
    pub(crate) fn delivered(self, mask: u32) -> u32 {
        match self {
            Self::El7 if mask & Mask::IN_UNMOUNT.bits() != 0 => mask & !Mask::IN_ISDIR.bits(),
            _ => mask,
        }
    }
}
