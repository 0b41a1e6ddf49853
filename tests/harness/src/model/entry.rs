//! Calls on names: mkdir(2), link(2), unlink(2), rename(2) and their kin.

use super::path::{Follow, Found, Last};
use super::tree::{Dentry, Form, Inode};
use super::{Answer, Model, Stop, errno};
use crate::operation::Path;
use uinotify_core::{Entry, FsEvent, ObjectId};

impl Model {
    /// `may_create`.
    pub(super) fn may_create(&self, directory: Dentry) -> Answer<()> {
        if self.tree.inode(directory).links == 0 {
            return errno(libc::ENOENT);
        }
        self.permitted(directory, libc::W_OK | libc::X_OK)
    }

    /// `may_delete`.
    fn may_delete(&self, directory: Dentry, victim: Dentry, as_directory: bool) -> Answer<()> {
        self.permitted(directory, libc::W_OK | libc::X_OK)?;
        match (as_directory, self.tree.inode(victim).is_directory()) {
            (true, false) => errno(libc::ENOTDIR),
            (false, true) => errno(libc::EISDIR),
            _ if self.tree.inode(directory).links == 0 => errno(libc::ENOENT),
            _ => Ok(()),
        }
    }

    /// `filename_create`: where a new entry goes.
    fn place(&self, path: &Path, directory_too: bool) -> Answer<(Dentry, Vec<u8>)> {
        let Found { directory, last, slash, .. } = self.parent_of(path)?;
        let Last::Name(name) = last else { return errno(libc::EEXIST) };
        if self.entry_named(directory, &name)?.is_some() {
            return errno(libc::EEXIST);
        }
        if slash && !directory_too {
            return errno(libc::ENOENT);
        }
        Ok((directory, name))
    }

    fn make(&mut self, path: &Path, form: Form, mode: u32) -> Answer<i64> {
        let (directory, name) = self.place(path, form == Form::Directory)?;
        self.may_create(directory)?;
        let inode = match form {
            Form::Symlink(_) => Inode { mode: 0o777, ..self.new_inode(directory, form, 0) },
            _ => self.new_inode(directory, form, mode),
        };
        let dentry = self.tree.make(directory, &name, inode);
        self.created(dentry);
        Ok(0)
    }

    pub(super) fn mkdir(&mut self, path: &Path) -> Answer<i64> {
        self.make(path, Form::Directory, 0o755)
    }

    pub(super) fn mkfifo(&mut self, path: &Path) -> Answer<i64> {
        self.make(path, Form::Fifo, 0o644)
    }

    pub(super) fn symlink(&mut self, target: &str, path: &Path) -> Answer<i64> {
        self.named(&Path::from(target))?;
        self.make(path, Form::Symlink(target.to_owned()), 0o777)
    }

    pub(super) fn link(&mut self, from: &Path, to: &Path) -> Answer<i64> {
        let follow = if matches!(from, Path::Link(_)) { Follow::Yes } else { Follow::No };
        let old = self.lookup(from, follow)?;
        let (directory, name) = self.place(to, false)?;
        if self.tree.inode(old).volume != self.tree.inode(directory).volume {
            return errno(libc::EXDEV);
        }
        self.may_create(directory)?;
        let inode = self.tree.inode(old);
        if inode.is_directory() {
            return errno(libc::EPERM);
        }
        if inode.links == 0 && !inode.linkable {
            return errno(libc::ENOENT);
        }
        let number = self.tree.inode_of(old);
        let inode = self.tree.inode_mut(old);
        inode.links += 1;
        inode.linkable = false;
        let new = self.tree.link(directory, &name, number);
        self.engine.observe(FsEvent::LinkCount(self.tree.object(new)));
        self.created(new);
        Ok(0)
    }

    /// `d_delete_notify`: what is deleted at once is told before the entry.
    fn delete(&mut self, dentry: Dentry) {
        let directory = self.tree.inode(dentry).is_directory();
        let name = self.tree.entry(dentry).map(|entry| (entry.directory, entry.name.to_vec()));
        self.tree.unhash(dentry);
        let gone = self.tree.settle(dentry);
        self.gone(gone);
        if let Some((parent, name)) = name {
            self.engine.observe(FsEvent::Delete { entry: Entry { directory: parent, name: &name }, directory });
        }
    }

    pub(super) fn unlink(&mut self, path: &Path) -> Answer<i64> {
        let Found { directory, last, slash, .. } = self.parent_of(path)?;
        let Last::Name(name) = last else { return errno(libc::EISDIR) };
        let dentry = self.entry_named(directory, &name)?.ok_or(Stop::Errno(libc::ENOENT))?;
        if slash {
            return errno(if self.tree.inode(dentry).is_directory() { libc::EISDIR } else { libc::ENOTDIR });
        }
        self.may_delete(directory, dentry, false)?;
        self.tree.inode_mut(dentry).links -= 1;
        self.engine.observe(FsEvent::LinkCount(self.tree.object(dentry)));
        self.delete(dentry);
        Ok(0)
    }

    pub(super) fn rmdir(&mut self, path: &Path) -> Answer<i64> {
        let Found { directory, last, .. } = self.parent_of(path)?;
        let name = match last {
            Last::Name(name) => name,
            Last::Dot => return errno(libc::EINVAL),
            Last::DotDot => return errno(libc::ENOTEMPTY),
            Last::None => return errno(libc::EBUSY),
        };
        let dentry = self.entry_named(directory, &name)?.ok_or(Stop::Errno(libc::ENOENT))?;
        self.may_delete(directory, dentry, true)?;
        if self.is_mount(dentry) {
            return errno(libc::EBUSY);
        }
        if !self.tree.is_empty(dentry) {
            return errno(libc::ENOTEMPTY);
        }
        self.tree.inode_mut(dentry).links = 0;
        self.delete(dentry);
        Ok(0)
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path, flags: u32) -> Answer<i64> {
        let has = |flag: u32| flags & flag != 0;
        let exchanges = has(libc::RENAME_EXCHANGE);
        if flags & !(libc::RENAME_NOREPLACE | libc::RENAME_EXCHANGE | libc::RENAME_WHITEOUT) != 0
            || exchanges && has(libc::RENAME_NOREPLACE | libc::RENAME_WHITEOUT)
        {
            return errno(libc::EINVAL);
        }
        if has(libc::RENAME_WHITEOUT) {
            return Err(Stop::Unmodelled("whiteouts"));
        }
        let (old, new) = (self.parent_of(from)?, self.parent_of(to)?);
        if self.tree.inode(old.directory).volume != self.tree.inode(new.directory).volume {
            return errno(libc::EXDEV);
        }
        let Last::Name(old_name) = old.last else { return errno(libc::EBUSY) };
        let Last::Name(new_name) = new.last else {
            return errno(if has(libc::RENAME_NOREPLACE) { libc::EEXIST } else { libc::EBUSY });
        };
        let moved = self.entry_named(old.directory, &old_name)?.ok_or(Stop::Errno(libc::ENOENT))?;
        let target = self.entry_named(new.directory, &new_name)?;
        let is_directory = |dentry: Dentry| self.tree.inode(dentry).is_directory();
        if has(libc::RENAME_NOREPLACE) && target.is_some() {
            return errno(libc::EEXIST);
        }
        if exchanges {
            let Some(target) = target else { return errno(libc::ENOENT) };
            if !is_directory(target) && new.slash {
                return errno(libc::ENOTDIR);
            }
        }
        if !is_directory(moved) && (old.slash || (!exchanges && new.slash)) {
            return errno(libc::ENOTDIR);
        }
        // The ancestors that `lock_rename` finds.
        if old.directory != new.directory {
            if self.tree.contains(moved, new.directory) {
                return errno(libc::EINVAL);
            }
            if target.is_some_and(|target| self.tree.contains(target, old.directory)) {
                return errno(if exchanges { libc::EINVAL } else { libc::ENOTEMPTY });
            }
        }
        if target.is_some_and(|target| self.tree.inode_of(target) == self.tree.inode_of(moved)) {
            return Ok(0);
        }
        self.may_delete(old.directory, moved, is_directory(moved))?;
        match target {
            None => self.may_create(new.directory)?,
            Some(target) => {
                let as_directory = is_directory(if exchanges { target } else { moved });
                self.may_delete(new.directory, target, as_directory)?;
            }
        }
        if [Some(moved), target].into_iter().flatten().any(|dentry| self.is_mount(dentry)) {
            return errno(libc::EBUSY);
        }
        if let Some(target) = target.filter(|&target| !exchanges && is_directory(target))
            && !self.tree.is_empty(target)
        {
            return errno(libc::ENOTEMPTY);
        }
        let (from, to) = ((old.directory, old_name), (new.directory, new_name));
        match target {
            Some(other) if exchanges => {
                self.tree.exchange(moved, other);
                self.moved(moved, &from, &to, None);
                self.moved(other, &to, &from, None);
            }
            _ => self.moved_over(moved, &from, &to, target),
        }
        Ok(0)
    }

    fn moved_over(&mut self, moved: Dentry, from: &(Dentry, Vec<u8>), to: &(Dentry, Vec<u8>), target: Option<Dentry>) {
        if let Some(target) = target {
            // The caller's own hold, until all is told.
            self.tree.hold(target);
            let inode = self.tree.inode_mut(target);
            inode.links = if inode.is_directory() { 0 } else { inode.links - 1 };
            self.tree.unhash(target);
        }
        self.tree.rename(moved, to.0, &to.1);
        self.moved(moved, from, to, target);
        if let Some(target) = target {
            self.release_name(target);
        }
    }

    /// `fsnotify_move`.
    fn moved(&mut self, moved: Dentry, from: &(Dentry, Vec<u8>), to: &(Dentry, Vec<u8>), replaced: Option<Dentry>) {
        let Self { tree, engine, .. } = self;
        let entry = |place: &'_ (Dentry, Vec<u8>)| ObjectId(tree.inode_of(place.0));
        engine.observe(FsEvent::Rename {
            moved: tree.object(moved),
            from: Entry { directory: entry(from), name: &from.1 },
            to: Entry { directory: entry(to), name: &to.1 },
            replaced: replaced.map(|dentry| tree.object(dentry)),
        });
    }
}
