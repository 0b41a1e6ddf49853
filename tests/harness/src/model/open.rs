//! open(2).

use super::attribute::SET_GROUP;
use super::path::{Follow, Found, Last, Named};
use super::tree::{Dentry, Form, Inode};
use super::{Answer, Model, OpenFile, Stop, errno};
use crate::operation::Path;
use uinotify_core::{Change, FsEvent};

/// As the executor sets it.
const UMASK: u32 = 0o022;

impl Model {
    pub(super) fn open(&mut self, slot: u8, path: &Path, flags: i32, mode: u32) -> Answer<i64> {
        self.vacate(slot)?;
        let number = self.open_path(path, flags, mode)?;
        Ok(self.occupy(slot, number, false))
    }

    /// A number for what the path names.
    pub(super) fn open_path(&mut self, path: &Path, flags: i32, mode: u32) -> Answer<i32> {
        let has = |flag: i32| flags & flag == flag;
        if has(libc::O_CREAT) && has(libc::O_DIRECTORY) {
            return errno(libc::EINVAL);
        }
        let unnamed = has(libc::O_TMPFILE) && !has(libc::O_PATH);
        if unnamed && flags & libc::O_ACCMODE == libc::O_RDONLY {
            return errno(libc::EINVAL);
        }
        let named = self.named(path)?;
        self.has_free_number()?;
        if unnamed {
            return self.open_unnamed(path, flags, mode);
        }
        if has(libc::O_PATH) {
            let follow = if has(libc::O_NOFOLLOW) { Follow::No } else { Follow::Yes };
            let dentry = self.lookup(path, follow)?;
            if has(libc::O_DIRECTORY) && !self.tree.inode(dentry).is_directory() {
                return errno(libc::ENOTDIR);
            }
            let kept = flags & (libc::O_PATH | libc::O_DIRECTORY | libc::O_NOFOLLOW);
            return self.opened(dentry, kept);
        }
        let (dentry, created) = match &named {
            Named::Descriptor(_) if has(libc::O_NOFOLLOW) => return errno(libc::ELOOP),
            Named::Descriptor(number) => {
                let dentry = self.descriptor_dentry(*number)?;
                if has(libc::O_CREAT | libc::O_EXCL) {
                    return errno(libc::EEXIST);
                }
                if has(libc::O_CREAT) && self.tree.inode(dentry).is_directory() {
                    return errno(libc::EISDIR);
                }
                (dentry, false)
            }
            Named::Text(text) if has(libc::O_CREAT) => self.find_or_create(text, flags, mode)?,
            Named::Text(_) => {
                let follow = if has(libc::O_NOFOLLOW) { Follow::No } else { Follow::Yes };
                (self.lookup(path, follow)?, false)
            }
        };
        if !created {
            self.may_open(dentry, flags)?;
        }
        let number = self.opened(dentry, flags)?;
        self.hook(dentry, |subject| FsEvent::Open { subject, exec: false });
        if has(libc::O_TRUNC) && !created && self.tree.inode(dentry).form == Form::File {
            self.resize(dentry, 0);
        }
        Ok(number)
    }

    /// Holds the name.
    fn opened(&mut self, dentry: Dentry, flags: i32) -> Answer<i32> {
        let number = self.install_file(OpenFile::new(Some(dentry), None, flags))?;
        self.tree.hold(dentry);
        Ok(number)
    }

    fn open_unnamed(&mut self, path: &Path, flags: i32, mode: u32) -> Answer<i32> {
        let directory = self.lookup(path, Follow::Yes)?;
        if !self.tree.inode(directory).is_directory() {
            return errno(libc::ENOTDIR);
        }
        self.may_create(directory)?;
        let inode = self.new_inode(directory, Form::File, mode);
        let dentry = self.tree.make_unnamed(directory, inode);
        let number = self.opened(dentry, flags & !libc::O_TRUNC)?;
        self.hook(dentry, |subject| FsEvent::Open { subject, exec: false });
        Ok(number)
    }

    /// A new inode of the process, in the file system of a directory.
    pub(super) fn new_inode(&self, directory: Dentry, form: Form, mode: u32) -> Inode {
        let above = self.tree.inode(directory);
        let mut inode = Inode::new(form, mode & !UMASK & 0o7777, self.process.user, above.volume);
        if above.mode & SET_GROUP != 0 {
            inode.group = above.group;
            inode.mode |= if inode.is_directory() { SET_GROUP } else { 0 };
        }
        inode
    }

    /// `open_last_lookups` with O_CREAT. A symbolic link that leads nowhere is made to lead somewhere.
    fn find_or_create(&mut self, text: &[u8], flags: i32, mode: u32) -> Answer<(Dentry, bool)> {
        let exclusive = flags & libc::O_EXCL != 0;
        let mut links = 0;
        let (mut from, mut text) = (self.process.directory, text.to_vec());
        loop {
            let Found { directory, last, slash, .. } = self.walk_from(from, &text, Follow::Parent, &mut links)?;
            let Last::Name(name) = last else {
                let dentry = self.walk_from(from, &text, Follow::Yes, &mut links)?.dentry;
                return self.existing(dentry.ok_or(Stop::Errno(libc::ENOENT))?, exclusive);
            };
            if slash {
                return errno(libc::EISDIR);
            }
            let Some(dentry) = self.entry_named(directory, &name)? else {
                self.may_create(directory)?;
                let inode = self.new_inode(directory, Form::File, mode);
                let dentry = self.tree.make(directory, &name, inode);
                self.created(dentry);
                return Ok((dentry, true));
            };
            match &self.tree.inode(dentry).form {
                Form::Symlink(_) if flags & libc::O_NOFOLLOW != 0 && !exclusive => return errno(libc::ELOOP),
                Form::Symlink(target) if !exclusive => {
                    (from, text) = (directory, target.clone().into_bytes());
                    self.count_link(&mut links)?;
                }
                _ => return self.existing(dentry, exclusive),
            }
        }
    }

    fn existing(&self, dentry: Dentry, exclusive: bool) -> Answer<(Dentry, bool)> {
        if exclusive {
            errno(libc::EEXIST)
        } else if self.tree.inode(dentry).is_directory() {
            errno(libc::EISDIR)
        } else {
            Ok((dentry, false))
        }
    }

    /// `may_open`, and what the form itself asks.
    fn may_open(&self, dentry: Dentry, flags: i32) -> Answer<()> {
        let access = flags & libc::O_ACCMODE;
        let writes = access != libc::O_RDONLY || flags & libc::O_TRUNC != 0;
        let inode = self.tree.inode(dentry);
        if flags & libc::O_DIRECTORY != 0 && !inode.is_directory() {
            return errno(libc::ENOTDIR);
        }
        match inode.form {
            Form::Symlink(_) => return errno(libc::ELOOP),
            Form::Directory if writes => return errno(libc::EISDIR),
            _ => {}
        }
        if access != libc::O_WRONLY {
            self.permitted(dentry, libc::R_OK)?;
        }
        if writes {
            self.permitted(dentry, libc::W_OK)?;
        }
        if inode.form == Form::Fifo && access != libc::O_RDWR {
            if flags & libc::O_NONBLOCK == 0 {
                return Err(Stop::Unmodelled("waiting for the other end of a FIFO"));
            }
            if access == libc::O_WRONLY && !self.has_reader(dentry) {
                return errno(libc::ENXIO);
            }
        }
        Ok(())
    }

    /// `fsnotify_create`.
    pub(super) fn created(&mut self, dentry: Dentry) {
        let directory = self.tree.inode(dentry).is_directory();
        if let Some(entry) = self.tree.entry(dentry) {
            self.engine.observe(FsEvent::Create { entry, directory });
        }
    }

    /// `do_truncate`: size and set-user-ID bits are one change.
    pub(super) fn resize(&mut self, dentry: Dentry, bytes: u64) {
        let mode = self.clear_set_id(dentry);
        self.tree.inode_mut(dentry).bytes = bytes;
        self.hook(dentry, |subject| FsEvent::Change {
            subject,
            change: Change { size: true, mode, ..Change::default() },
        });
    }
}
