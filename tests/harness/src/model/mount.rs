//! Mounts of a tmpfs.

use super::path::Follow;
use super::tree::{Dentry, Form, Inode};
use super::{Answer, Model, Mount, errno};
use crate::operation::Path;
use uinotify_core::FsEvent;

impl Model {
    /// What covers a directory, or itself.
    pub(super) fn mounted_on(&self, dentry: Dentry) -> Dentry {
        let covering = self.mounts.iter().rev().find(|mount| mount.on == dentry);
        covering.map_or(dentry, |mount| self.mounted_on(mount.root))
    }

    /// Whether something is mounted there, or it is what is mounted.
    pub(super) fn is_mount(&self, dentry: Dentry) -> bool {
        self.mounts.iter().any(|mount| mount.on == dentry || mount.root == dentry)
    }

    fn privileged(&self) -> Answer<()> {
        if self.process.user == 0 { Ok(()) } else { errno(libc::EPERM) }
    }

    pub(super) fn private_mounts(&self) -> Answer<i64> {
        self.privileged()?;
        Ok(0)
    }

    pub(super) fn mount(&mut self, path: &Path) -> Answer<i64> {
        self.privileged()?;
        let on = self.lookup(path, Follow::Yes)?;
        if !self.tree.inode(on).is_directory() {
            return errno(libc::ENOTDIR);
        }
        let volume = self.volume_next;
        self.volume_next += 1;
        let root = self.tree.root(Inode::new(Form::Directory, 0o1777, 0, volume));
        self.tree.hold(on);
        self.mounts.push(Mount { on, root, volume });
        Ok(0)
    }

    pub(super) fn unmount(&mut self, path: &Path, flags: i32) -> Answer<i64> {
        self.privileged()?;
        let root = self.lookup(path, Follow::Yes)?;
        let Some(index) = self.mounts.iter().position(|mount| mount.root == root) else {
            return errno(libc::EINVAL);
        };
        let Mount { on, volume, .. } = self.mounts[index];
        let lazy = flags & libc::MNT_DETACH != 0;
        if !lazy && self.is_used(volume) {
            return errno(libc::EBUSY);
        }
        self.mounts.remove(index);
        self.release_name(on);
        self.detached.push((volume, root));
        self.end_detached();
        Ok(0)
    }

    fn is_used(&self, volume: u32) -> bool {
        let inside = |dentry: Dentry| self.tree.inode(dentry).volume == volume;
        self.files.values().filter_map(|file| file.dentry).any(inside)
            || inside(self.process.directory)
            || self.mounts.iter().any(|mount| inside(mount.on))
    }

    /// File systems that nobody uses any more after their unmount end.
    pub(super) fn end_detached(&mut self) {
        while let Some(index) = self.detached.iter().position(|&(volume, _)| !self.is_used(volume)) {
            let (volume, _) = self.detached.remove(index);
            for object in self.tree.objects_of_volume(volume) {
                self.engine.observe(FsEvent::Unmount(object));
            }
        }
    }
}
