//! What a test needs of the machine.

use anyhow::Result;
use nix::unistd::geteuid;
use uinotify_harness::needs;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// /dev/fuse that this user may open, and a mount name space, in a user name space for whoever is not root.
    Tree,
    /// Mounts by this user itself, without a user name space.
    Mount,
    /// Rights to become another user, who can reach temporary folders, and to lay another /dev/fuse over the machine's.
    AnotherUser,
    /// User name spaces with limits of their own.
    Limits,
}

impl Need {
    /// Why it is not there.
    pub(super) fn missing(self, mounts: &Result<()>) -> Option<String> {
        let probed = match self {
            Self::Tree if geteuid().is_root() => needs::Need::Fuse.probe(),
            Self::Tree => std::fs::OpenOptions::new()
                .read(true)
                .write(true)
                .open("/dev/fuse")
                .map(|_| ())
                .map_err(|error| anyhow::anyhow!("/dev/fuse: {error}"))
                .and_then(|()| needs::Need::Limits.probe()),
            Self::Mount => return mounts.as_ref().err().map(|error| format!("{error:#}")),
            Self::AnotherUser => return mounts.as_ref().err().map(|error| format!("{error:#}")).or_else(another_user),
            Self::Limits => needs::Need::Limits.probe(),
        };
        probed.err().map(|error| format!("{error:#}"))
    }
}

fn another_user() -> Option<String> {
    needs::Need::Root.probe().err().map(|error| format!("{error:#}"))
}
