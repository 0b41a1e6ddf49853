//! Changes of attributes.

use super::path::Follow;
use super::tree::{Dentry, Form};
use super::{Answer, Model, errno};
use crate::operation::{Descriptor, Path, Time};
use uinotify_core::{Change, FsEvent};

const SET_USER: u32 = 0o4000;
pub(super) const SET_GROUP: u32 = 0o2000;
const GROUP_EXECUTES: u32 = 0o0010;

impl Model {
    fn change(&mut self, dentry: Dentry, change: Change) {
        self.hook(dentry, |subject| FsEvent::Change { subject, change });
    }

    /// What a write by a process without CAP_FSETID does to the mode. Says whether it did.
    pub(super) fn clear_set_id(&mut self, dentry: Dentry) -> bool {
        let bits = self.set_id(dentry);
        let cleared = self.process.user != 0 && bits != 0 && self.tree.inode(dentry).form == Form::File;
        if cleared {
            self.tree.inode_mut(dentry).mode &= !bits;
        }
        cleared
    }

    /// Which bits a change that does not come with the right to set them takes away.
    fn set_id(&self, dentry: Dentry) -> u32 {
        let user = self.process.user;
        let inode = self.tree.inode(dentry);
        let group = inode.mode & GROUP_EXECUTES != 0 || (user != 0 && user != inode.group);
        inode.mode & (SET_USER | if group { SET_GROUP } else { 0 })
    }

    /// The same as an event by itself, in front of the write's.
    pub(super) fn cleared_set_id(&mut self, dentry: Dentry) {
        if self.clear_set_id(dentry) {
            self.change(dentry, Change { mode: true, ..Change::default() });
        }
    }

    fn owned(&self, dentry: Dentry) -> Answer<()> {
        let user = self.process.user;
        if user == 0 || user == self.tree.inode(dentry).user { Ok(()) } else { errno(libc::EPERM) }
    }

    /// The file of a descriptor; EOPNOTSUPP for an inotify instance.
    fn on_descriptor(&self, descriptor: Descriptor) -> Answer<Dentry> {
        let (_, file) = self.file(descriptor)?;
        file.dentry.ok_or(super::Stop::Errno(libc::EOPNOTSUPP))
    }

    pub(super) fn chmod(&mut self, path: &Path, mode: u32) -> Answer<i64> {
        let dentry = self.lookup(path, Follow::Yes)?;
        self.set_mode(dentry, mode)
    }

    pub(super) fn fchmod(&mut self, descriptor: Descriptor, mode: u32) -> Answer<i64> {
        let dentry = self.on_descriptor(descriptor)?;
        self.set_mode(dentry, mode)
    }

    fn set_mode(&mut self, dentry: Dentry, mode: u32) -> Answer<i64> {
        self.owned(dentry)?;
        let user = self.process.user;
        let inode = self.tree.inode_mut(dentry);
        inode.mode = mode & 0o7777;
        if user != 0 && user != inode.group {
            inode.mode &= !SET_GROUP;
        }
        self.change(dentry, Change { mode: true, ..Change::default() });
        Ok(0)
    }

    pub(super) fn lchown(&mut self, path: &Path, user: u32, group: u32) -> Answer<i64> {
        let dentry = self.lookup(path, Follow::No)?;
        self.set_owner(dentry, user, group)
    }

    pub(super) fn fchown(&mut self, descriptor: Descriptor, user: u32, group: u32) -> Answer<i64> {
        let dentry = self.on_descriptor(descriptor)?;
        self.set_owner(dentry, user, group)
    }

    fn set_owner(&mut self, dentry: Dentry, user: u32, group: u32) -> Answer<i64> {
        let given = |id: u32| id != u32::MAX;
        if given(user) || given(group) {
            self.owned(dentry)?;
            if self.process.user != 0 && given(user) && user != self.tree.inode(dentry).user {
                return errno(libc::EPERM);
            }
        }
        let bits = if self.tree.inode(dentry).is_directory() { 0 } else { self.set_id(dentry) };
        if bits != 0 {
            // A change of the mode, even where no owner is given.
            self.owned(dentry)?;
        }
        let inode = self.tree.inode_mut(dentry);
        inode.mode &= !bits;
        if given(user) {
            inode.user = user;
        }
        if given(group) {
            inode.group = group;
        }
        let mode = bits != 0;
        self.change(dentry, Change { owner: given(user) || given(group), mode, ..Change::default() });
        Ok(0)
    }

    pub(super) fn utimens(&mut self, path: &Path, access: Time, modification: Time) -> Answer<i64> {
        if (access, modification) == (Time::Omit, Time::Omit) {
            return Ok(0);
        }
        let dentry = self.lookup(path, Follow::Yes)?;
        self.owned(dentry)?;
        let (accessed, modified) = (access != Time::Omit, modification != Time::Omit);
        self.change(dentry, Change { accessed, modified, ..Change::default() });
        Ok(0)
    }

    pub(super) fn setxattr(&mut self, path: &Path) -> Answer<i64> {
        let dentry = self.attributed(path)?;
        self.tree.inode_mut(dentry).attribute = true;
        self.change(dentry, Change { attribute: true, ..Change::default() });
        Ok(0)
    }

    pub(super) fn removexattr(&mut self, path: &Path) -> Answer<i64> {
        let dentry = self.attributed(path)?;
        if !std::mem::take(&mut self.tree.inode_mut(dentry).attribute) {
            return errno(libc::ENODATA);
        }
        self.change(dentry, Change { attribute: true, ..Change::default() });
        Ok(0)
    }

    /// What a user's attribute can be set on.
    fn attributed(&self, path: &Path) -> Answer<Dentry> {
        let dentry = self.lookup(path, Follow::Yes)?;
        match self.tree.inode(dentry).form {
            Form::File | Form::Directory => {}
            Form::Symlink(_) | Form::Fifo => return errno(libc::EPERM),
        }
        self.permitted(dentry, libc::W_OK)?;
        Ok(dentry)
    }

    pub(super) fn truncate(&mut self, path: &Path, size: i64) -> Answer<i64> {
        let Ok(bytes) = u64::try_from(size) else { return errno(libc::EINVAL) };
        let dentry = self.lookup(path, Follow::Yes)?;
        match self.tree.inode(dentry).form {
            Form::Directory => return errno(libc::EISDIR),
            Form::File => {}
            Form::Symlink(_) | Form::Fifo => return errno(libc::EINVAL),
        }
        self.permitted(dentry, libc::W_OK)?;
        self.resize(dentry, bytes);
        Ok(0)
    }

    pub(super) fn ftruncate(&mut self, descriptor: Descriptor, size: i64) -> Answer<i64> {
        let Ok(bytes) = u64::try_from(size) else { return errno(libc::EINVAL) };
        let (_, file) = self.file(descriptor)?;
        match file.dentry {
            Some(dentry) if file.writable() && self.tree.inode(dentry).form == Form::File => {
                self.resize(dentry, bytes);
                Ok(0)
            }
            _ => errno(libc::EINVAL),
        }
    }
}
