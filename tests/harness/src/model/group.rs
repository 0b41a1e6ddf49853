//! inotify itself: the engine behind the calls.

use super::path::{Follow, Named};
use super::{Answer, FileId, Model, OpenFile, Stop, errno};
use crate::operation::{Argument, Asking, Buffer, Descriptor, Path, Watch};
use crate::shorthand::{FIONREAD, SETNEXTWD};
use crate::trace::{Outcome, Return};
use uinotify_core::{AddMask, Errno, GroupId, Mask, ObjectId, OwnerId, Wd};

/// All groups of a list are one user's: limits are of a user name space.
const OWNER: OwnerId = OwnerId(0);

impl From<Errno> for Stop {
    fn from(errno: Errno) -> Self {
        Self::Errno(errno.raw())
    }
}

impl Model {
    pub(super) fn init(&mut self, slot: u8, flags: i32) -> Answer<i64> {
        self.vacate(slot)?;
        if flags & !(libc::IN_NONBLOCK | libc::IN_CLOEXEC) != 0 {
            return errno(libc::EINVAL);
        }
        let group = self.engine.create_group(OWNER, self.limits)?;
        match self.install_file(OpenFile::new(None, Some(group), flags)) {
            Ok(number) => Ok(self.occupy(slot, number, true)),
            Err(stop) => {
                self.engine.close_group(group);
                Err(stop)
            }
        }
    }

    fn group(&self, descriptor: Descriptor) -> Answer<GroupId> {
        self.file(descriptor)?.1.group.ok_or(Stop::Errno(libc::EINVAL))
    }

    /// ADD-1.
    pub(super) fn add_watch(&mut self, descriptor: Descriptor, path: &Path, bits: u32) -> Answer<i64> {
        let mask = AddMask::new(bits)?;
        self.file(descriptor)?;
        mask.check_combination()?;
        let group = self.group(descriptor)?;
        let object = self.object_to_watch(path, mask.mask())?;
        let added = self.engine.add_watch(group, object, mask)?;
        self.process.wds.push(added.wd.0);
        Ok(added.wd.0.into())
    }

    fn object_to_watch(&mut self, path: &Path, mask: Mask) -> Answer<ObjectId> {
        let only_directories = mask.contains(Mask::IN_ONLYDIR);
        let follow = if mask.contains(Mask::IN_DONT_FOLLOW) { Follow::No } else { Follow::Yes };
        if follow == Follow::No
            && let Named::Descriptor(number) = self.named(path)?
        {
            return self.link_to_watch(number, only_directories);
        }
        let dentry = self.lookup(path, follow)?;
        if only_directories && !self.tree.inode(dentry).is_directory() {
            return errno(libc::ENOTDIR);
        }
        self.permitted(dentry, libc::R_OK)?;
        Ok(self.tree.object(dentry).id)
    }

    /// The link of procfs itself, an object for as long as it is looked up while the number is open.
    fn link_to_watch(&mut self, number: i32, only_directories: bool) -> Answer<ObjectId> {
        let key = (self.process.id, number);
        if !self.process.descriptors.contains_key(&number) {
            self.links.remove(&key);
            return errno(libc::ENOENT);
        }
        if only_directories {
            return errno(libc::ENOTDIR);
        }
        let tree = &mut self.tree;
        Ok(*self.links.entry(key).or_insert_with(|| tree.foreign()))
    }

    pub(super) fn remove_watch(&mut self, descriptor: Descriptor, watch: Watch) -> Answer<i64> {
        let wds = &self.process.wds;
        let wd = match watch {
            Watch::Number(wd) => wd,
            Watch::Nth(_) if wds.is_empty() => 0,
            Watch::Nth(nth) => wds[nth % wds.len()],
        };
        let group = self.group(descriptor)?;
        self.engine.remove_watch(group, Wd(wd))?;
        Ok(0)
    }

    pub(super) fn control(&mut self, descriptor: Descriptor, command: u64, argument: Argument) -> Answer<Outcome> {
        const UNMODELLED: Stop = Stop::Unmodelled("other ioctls");
        let file = self.file(descriptor).map(|(_, file)| file.group);
        match (command & 0xffff_ffff, argument) {
            (SETNEXTWD, Argument::Value(value)) => {
                let group = file?.ok_or(Stop::Errno(libc::ENOTTY))?;
                self.engine.set_cursor(group, value)?;
                Ok(Outcome::value(0))
            }
            (FIONREAD, Argument::Integer(before)) => match file {
                Ok(Some(group)) => {
                    let integer = self.engine.queue_bytes(group) as i32;
                    Ok(Outcome::Integer { returned: Return::Value(0), integer })
                }
                Ok(None) => Err(UNMODELLED),
                Err(Stop::Errno(errno)) => Ok(Outcome::Integer { returned: Return::Error(errno), integer: before }),
                Err(stop) => Err(stop),
            },
            _ => Err(UNMODELLED),
        }
    }

    /// `inotify_read`, once for each segment.
    pub(super) fn read_events(&mut self, id: FileId, group: GroupId, buffer: &Buffer) -> Answer<(Return, Vec<u8>)> {
        let mut bytes = Vec::new();
        let blocking = !self.files[&id].has(libc::O_NONBLOCK);
        let waits = |queued: usize| {
            if blocking && queued == 0 { Err(Stop::Unmodelled("waiting for an event")) } else { Ok(()) }
        };
        match buffer {
            Buffer::Positioned(_) => return errno(libc::ESPIPE),
            Buffer::Plain(size) => {
                waits(self.engine.queue_len(group))?;
                self.engine.take(group, *size, &mut bytes)?;
            }
            Buffer::Guarded { mapped, size } => {
                waits(self.engine.queue_len(group))?;
                self.take_guarded(group, *mapped, *size.min(&(mapped + 1024)), &mut bytes)?;
            }
            Buffer::Vector(sizes) if sizes.iter().all(|&size| size == 0) => {}
            Buffer::Vector(sizes) => {
                for (index, &size) in sizes.iter().enumerate() {
                    if index > 0 && size == 0 {
                        continue;
                    }
                    waits(self.engine.queue_len(group))?;
                    match self.engine.take(group, size, &mut bytes) {
                        Ok(count) if count == size => {}
                        Ok(_) => break,
                        Err(_) if !bytes.is_empty() => break,
                        Err(errno) => return Err(errno.into()),
                    }
                }
            }
        }
        Ok((Return::Value(bytes.len() as i64), bytes))
    }

    /// READ-5, READ-6.
    fn take_guarded(&mut self, group: GroupId, mapped: usize, size: usize, bytes: &mut Vec<u8>) -> Answer<()> {
        loop {
            let next = self.engine.event(group, 0).map(uinotify_core::Event::size);
            match next {
                Some(next) if bytes.len() + next <= size => {
                    self.engine.take(group, next, bytes)?;
                    if bytes.len() > mapped {
                        return errno(libc::EFAULT);
                    }
                }
                _ if !bytes.is_empty() => return Ok(()),
                Some(_) => return errno(libc::EINVAL),
                None => return errno(libc::EAGAIN),
            }
        }
    }

    pub(super) fn poll(&self, asking: Asking, descriptor: Descriptor, events: i16, wait_ms: i32) -> Answer<Outcome> {
        let number = self.number(descriptor);
        let ready = |returned, events| Ok(Outcome::Ready { returned, events });
        let file = match self.file_id(descriptor) {
            Ok(id) => Some(&self.files[&id]),
            Err(Stop::Errno(_)) => None,
            Err(stop) => return Err(stop),
        };
        let Some(file) = file else {
            return match asking {
                Asking::Poll | Asking::Ppoll if number < 0 => ready(Return::Value(0), 0),
                Asking::Poll | Asking::Ppoll => ready(Return::Value(1), libc::POLLNVAL as u32),
                Asking::Select | Asking::Pselect => ready(Return::Error(libc::EBADF), 0),
                Asking::Epoll => errno(libc::EBADF),
            };
        };
        let Some(group) = file.group else { return Err(Stop::Unmodelled("the readiness of files")) };
        let full = self.engine.queue_len(group) > 0;
        if !full && wait_ms < 0 {
            return Err(Stop::Unmodelled("waiting for an event"));
        }
        let shown = match asking {
            Asking::Select | Asking::Pselect => libc::POLLIN,
            _ => libc::POLLIN | libc::POLLRDNORM,
        };
        let shown = if full { shown & events } else { 0 };
        ready(Return::Value(i64::from(shown != 0)), shown as u32)
    }
}
