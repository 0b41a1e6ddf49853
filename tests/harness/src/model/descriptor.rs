//! Descriptors, slots and processes, as the executor has them.

use super::tree::Form;
use super::{Answer, FileId, Model, OpenFile, Opened, Stop, errno};
use crate::operation::{Descriptor, Oddity, Operation};
use crate::trace::Outcome;
use uinotify_core::FsEvent;

/// The lowest number that a list gets.
const FIRST: i32 = 3;

impl Model {
    /// The number behind a descriptor; -1 for an empty slot.
    pub(super) fn number(&self, descriptor: Descriptor) -> i32 {
        match descriptor {
            Descriptor::Slot(slot) => self.process.slots[usize::from(slot) % 16].map_or(-1, |opened| opened.number),
            Descriptor::Number(number) => number,
        }
    }

    pub(super) fn is_group(&self, descriptor: Descriptor) -> bool {
        match descriptor {
            Descriptor::Slot(slot) => self.process.slots[usize::from(slot) % 16].is_some_and(|opened| opened.group),
            Descriptor::Number(_) => false,
        }
    }

    /// Whatever is open there, O_PATH or not.
    pub(super) fn file_id(&self, descriptor: Descriptor) -> Answer<FileId> {
        let number = self.number(descriptor);
        if (0..FIRST).contains(&number) {
            return Err(Stop::Unmodelled("the standard descriptors"));
        }
        self.process.descriptors.get(&number).copied().ok_or(Stop::Errno(libc::EBADF))
    }

    /// What a call finds that takes no O_PATH descriptor.
    pub(super) fn file(&self, descriptor: Descriptor) -> Answer<(FileId, &OpenFile)> {
        let id = self.file_id(descriptor)?;
        let file = &self.files[&id];
        if file.is_path() { errno(libc::EBADF) } else { Ok((id, file)) }
    }

    fn free_number(&self, skipped: usize) -> Answer<i32> {
        let mut free = (FIRST..).filter(|number| !self.process.descriptors.contains_key(number));
        match free.nth(skipped) {
            Some(number) if (number as u64) < self.process.descriptors_max => Ok(number),
            _ => errno(libc::EMFILE),
        }
    }

    /// EMFILE before anything else is looked at.
    pub(super) fn has_free_number(&self) -> Answer<()> {
        self.free_number(0).map(drop)
    }

    /// Gives a new file its number.
    pub(super) fn install_file(&mut self, file: OpenFile) -> Answer<i32> {
        let number = self.free_number(0)?;
        self.file_next += 1;
        self.files.insert(self.file_next, file);
        self.process.descriptors.insert(number, self.file_next);
        Ok(number)
    }

    pub(super) fn hold_file(&mut self, id: FileId) {
        if let Some(file) = self.files.get_mut(&id) {
            file.holders += 1;
        }
    }

    /// `fput`: with the last holder the file is closed.
    pub(super) fn release_file(&mut self, id: FileId) {
        let Some(file) = self.files.get_mut(&id) else { return };
        file.holders -= 1;
        if file.holders > 0 {
            return;
        }
        let file = file.clone();
        if let Some(group) = file.group {
            self.engine.close_group(group);
        }
        if let Some(dentry) = file.dentry {
            if !file.is_path() {
                let writable = file.writable();
                self.hook(dentry, |subject| FsEvent::Close { subject, writable });
            }
            self.files.remove(&id);
            if self.tree.inode(dentry).form == Form::Fifo && !self.is_open(dentry) {
                self.tree.inode_mut(dentry).pages.clear();
            }
            self.release_name(dentry);
            self.end_detached();
        } else {
            self.files.remove(&id);
        }
    }

    /// Whether the object of a name is open, but with O_PATH.
    fn is_open(&self, dentry: super::Dentry) -> bool {
        let inode = self.tree.inode_of(dentry);
        let mut files = self.files.values().filter(|file| !file.is_path());
        files.any(|file| file.dentry.is_some_and(|dentry| self.tree.inode_of(dentry) == inode))
    }

    fn close_number(&mut self, number: i32) -> Answer<i64> {
        if (0..FIRST).contains(&number) {
            return Err(Stop::Unmodelled("the standard descriptors"));
        }
        let Some(id) = self.process.descriptors.remove(&number) else { return errno(libc::EBADF) };
        self.release_file(id);
        Ok(0)
    }

    /// Closes what the slot holds.
    pub(super) fn vacate(&mut self, slot: u8) -> Answer<()> {
        if let Some(opened) = self.process.slots[usize::from(slot) % 16].take()
            && let Err(stop @ Stop::Unmodelled(_)) = self.close_number(opened.number)
        {
            return Err(stop);
        }
        Ok(())
    }

    pub(super) fn occupy(&mut self, slot: u8, number: i32, group: bool) -> i64 {
        self.process.slots[usize::from(slot) % 16] = Some(Opened { number, group });
        number.into()
    }

    pub(super) fn close(&mut self, descriptor: Descriptor) -> Answer<i64> {
        let closed = self.close_number(self.number(descriptor));
        if let Descriptor::Slot(slot) = descriptor {
            self.process.slots[usize::from(slot) % 16] = None;
        }
        closed
    }

    pub(super) fn duplicate(&mut self, descriptor: Descriptor, slot: u8) -> Answer<i64> {
        let group = self.is_group(descriptor);
        let copy = self.file_id(descriptor).and_then(|id| Ok((id, self.free_number(0)?)));
        if let Ok((id, number)) = copy {
            self.hold_file(id);
            self.process.descriptors.insert(number, id);
        }
        self.vacate(slot)?;
        Ok(self.occupy(slot, copy?.1, group))
    }

    pub(super) fn duplicate_onto(&mut self, descriptor: Descriptor, onto: Descriptor) -> Answer<i64> {
        let group = self.is_group(descriptor);
        let (id, number) = (self.file_id(descriptor)?, self.number(onto));
        if number < 0 || number as u64 >= self.process.descriptors_max {
            return errno(libc::EBADF);
        }
        if (0..FIRST).contains(&number) {
            return Err(Stop::Unmodelled("the standard descriptors"));
        }
        if self.process.descriptors.get(&number) != Some(&id) || self.number(descriptor) != number {
            self.hold_file(id);
            if let Some(old) = self.process.descriptors.insert(number, id) {
                self.release_file(old);
            }
        }
        if let Descriptor::Slot(slot) = onto {
            self.occupy(slot, number, group);
        }
        Ok(number.into())
    }

    /// Through a socket pair, which has the two lowest numbers meanwhile.
    pub(super) fn pass(&mut self, descriptor: Descriptor, slot: u8) -> Answer<i64> {
        let (number, group) = (self.number(descriptor), self.is_group(descriptor));
        self.vacate(slot)?;
        if number >= 0 && !self.process.descriptors.contains_key(&number) {
            return Err(Stop::Unmodelled("a number that is one of the sockets by then"));
        }
        let id = self.file_id(Descriptor::Number(number))?;
        let received = self.free_number(2)?;
        self.hold_file(id);
        self.process.descriptors.insert(received, id);
        Ok(self.occupy(slot, received, group))
    }

    pub(super) fn chdir(&mut self, path: &crate::operation::Path) -> Answer<i64> {
        let root = crate::operation::Path::from("/");
        let directory = if *path == root { self.outside } else { self.lookup(path, super::path::Follow::Yes)? };
        if !self.tree.inode(directory).is_directory() {
            return errno(libc::ENOTDIR);
        }
        self.permitted(directory, libc::X_OK)?;
        self.tree.hold(directory);
        let old = std::mem::replace(&mut self.process.directory, directory);
        self.release_name(old);
        Ok(0)
    }

    /// In a forked child that is waited for.
    pub(super) fn child(&mut self, operations: &[Operation]) -> Answer<Outcome> {
        let parent = self.process.clone();
        self.process.id = self.process_next;
        self.process_next += 1;
        let files: Vec<FileId> =
            parent.descriptors.values().copied().chain(parent.mappings.iter().copied().flatten()).collect();
        for id in files {
            self.hold_file(id);
        }
        self.tree.hold(parent.directory);
        let outcomes = self.several(operations)?;
        let child = std::mem::replace(&mut self.process, parent);
        for id in child.mappings.into_iter().flatten() {
            self.release_file(id);
        }
        for id in child.descriptors.into_values() {
            self.release_file(id);
        }
        self.release_name(child.directory);
        Ok(Outcome::Several(outcomes))
    }

    pub(super) fn become_user(&mut self, user: u32) -> Answer<i64> {
        if self.process.user != 0 {
            return errno(libc::EPERM);
        }
        self.process.user = user;
        Ok(0)
    }

    pub(super) fn odd(&mut self, descriptor: Descriptor, call: Oddity) -> Answer<i64> {
        const UNMODELLED: Stop = Stop::Unmodelled("calls that nobody means for an inotify descriptor");
        // fstat takes an O_PATH descriptor, too.
        let (id, file) = self.file(descriptor)?;
        let dentry = file.dentry.ok_or(UNMODELLED)?;
        let inode = self.tree.inode(dentry);
        match call {
            Oddity::Seek { offset, whence } if inode.form == Form::File => {
                let from = match whence {
                    libc::SEEK_SET => 0,
                    libc::SEEK_CUR => file.position as i64,
                    libc::SEEK_END => inode.bytes as i64,
                    _ => return errno(libc::EINVAL),
                };
                let position = u64::try_from(from + offset).map_err(|_| Stop::Errno(libc::EINVAL))?;
                self.files.get_mut(&id).ok_or(UNMODELLED)?.position = position;
                Ok(position as i64)
            }
            Oddity::Status => {
                let form = match inode.form {
                    Form::Directory => libc::S_IFDIR,
                    Form::File => libc::S_IFREG,
                    Form::Symlink(_) => libc::S_IFLNK,
                    Form::Fifo => libc::S_IFIFO,
                };
                Ok((form | inode.mode).into())
            }
            Oddity::Synchronise | Oddity::Lock => Ok(0),
            Oddity::Splice => self.splice(descriptor),
            _ => Err(UNMODELLED),
        }
    }
}
