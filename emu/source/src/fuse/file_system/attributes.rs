//! Attributes, read and set.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::sys::stat::{FchmodatFlags, Mode, UtimensatFlags, fchmodat, utimensat};
use nix::sys::statvfs::fstatvfs;
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, fchownat, ftruncate, truncate};
use uinotify_core::{Change, FsEvent};

use super::{Answer, FileSystem, Given};
use crate::fuse::lower::path_of;
use crate::fuse::request::{Asker, Attributes, Handle, NodeId, TimeToSet};
use crate::fuse::sink::Sink;
use crate::fuse::system_call::SystemCall;
use crate::status::Status;

impl FileSystem {
    pub(super) fn attributes(&mut self, node: NodeId, handle: Option<Handle>) -> Result<Answer, Errno> {
        let status = self.status(node, handle)?;
        self.reply.attributes(&status, self.numbering, self.attributes_hold(node, &status));
        Ok(Answer::Reply(Given::Nothing))
    }

    pub(super) fn statx(&mut self, node: NodeId, handle: Option<Handle>) -> Result<Answer, Errno> {
        let status = self.status(node, handle)?;
        self.reply.statx(&status, self.numbering, self.attributes_hold(node, &status));
        Ok(Answer::Reply(Given::Nothing))
    }

    fn status(&mut self, node: NodeId, handle: Option<Handle>) -> Result<Status, Errno> {
        match handle {
            Some(handle) => Status::of(&self.files.get(handle)?.lower),
            None => Status::of(self.object(node)?),
        }
    }

    pub(super) fn set_attributes(
        &mut self,
        node: NodeId,
        set: Attributes,
        asker: Asker,
        sink: &mut dyn Sink,
    ) -> Result<Answer, Errno> {
        let object = self.object(node)?;
        self.identity.take_on(asker)?;
        // Nothing at all: chown(-1, -1), or the kernel lets us clear such bits before a fallocate.
        let is_empty = set == Attributes { handle: set.handle, ..Attributes::default() };
        let had_set_ids = (set.size.is_some() || is_empty) && Status::of(&object)?.has_set_ids();
        let mut has_set_mode = set.mode.is_some();
        if let Some(mode) = set.mode
            && let Err(error) = set_mode(&object, mode)
        {
            if error != Errno::EPERM || !self.clears_bits_of_a_write(&object, mode, asker)? {
                return Err(error);
            }
            // A truncation does it by itself.
            has_set_mode = set.size.is_none() && set_mode(&object, mode).is_ok();
            self.identity.take_on(asker)?;
        }
        if set.uid.is_some() || set.gid.is_some() {
            fchownat(&object, c"", set.uid.map(Uid::from_raw), set.gid.map(Gid::from_raw), AtFlags::AT_EMPTY_PATH)?;
        } else if is_empty {
            // Who may not change the object so has written to it, and will be asked again for that, or has called chown(-1, -1).
            if let Err(error) = fchownat(&object, c"", None, None, AtFlags::AT_EMPTY_PATH) {
                self.identity.own();
                if SystemCall::of(asker.thread).is_some_and(SystemCall::gives_owner) {
                    return Err(error);
                }
                self.identity.take_on(asker)?;
            }
        }
        if let Some(size) = set.size {
            let size = i64::try_from(size).map_err(|_| Errno::EFBIG)?;
            match set.handle {
                Some(handle) => ftruncate(&self.files.get(handle)?.lower, size)?,
                None => truncate(path_of(&object)?.as_c_str(), size)?,
            }
        } else if set.accessed.is_some() || set.modified.is_some() {
            set_times(&object, set.accessed, set.modified)?;
        }
        let status = Status::of(&object)?;
        let name = match set.handle {
            Some(handle) => self.files.get(handle)?.name,
            None => self.name_by(node, asker),
        };
        let change = Change {
            owner: set.uid.is_some() || set.gid.is_some(),
            mode: has_set_mode || had_set_ids && !status.has_set_ids(),
            size: set.size.is_some(),
            accessed: set.accessed.is_some() && set.size.is_none(),
            modified: set.modified.is_some() && set.size.is_none(),
            attribute: false,
        };
        if change != Change::default() {
            sink.observe(FsEvent::Change { subject: self.subject(node, name), change });
        }
        if change.owner || change.mode {
            self.rights_changed(node);
        }
        self.reply.attributes(&status, self.numbering, self.attributes_hold(node, &status));
        Ok(Answer::Reply(Given::Nothing))
    }

    /// Whether the kernel asks for a mode in the name of one who writes, and may not change it: before FUSE 7.26, where it does not leave the
    /// clearing of set-user-ID bits to us, it asks for that by itself. Afterwards this thread has its own rights.
    fn clears_bits_of_a_write(&mut self, object: &OwnedFd, mode: u32, asker: Asker) -> Result<bool, Errno> {
        const SET_IDS: u32 = libc::S_ISUID | libc::S_ISGID;
        self.identity.own();
        let status = Status::of(object)?;
        let (before, after) = (status.mode & 0o7777, mode & 0o7777);
        let clears = before & !SET_IDS == after & !SET_IDS && after & !before == 0 && status.has_set_ids();
        Ok(clears && SystemCall::of(asker.thread).is_some_and(|call| !call.sets_mode()))
    }

    pub(super) fn access(&mut self, node: NodeId, mask: i32, asker: Asker) -> Result<Answer, Errno> {
        let object = self.object(node)?;
        self.identity.take_on(asker)?;
        may(&object, mask)?;
        super::DONE
    }

    pub(super) fn statistics(&mut self, node: NodeId) -> Result<Answer, Errno> {
        let object = self.object(node)?;
        let status = fstatvfs(&*object)?;
        let reply = &mut self.reply;
        for number in
            [status.blocks(), status.blocks_free(), status.blocks_available(), status.files(), status.files_free()]
        {
            reply.u64(number);
        }
        for number in [status.block_size(), status.name_max(), status.fragment_size()] {
            reply.u32(u32::try_from(number).unwrap_or(u32::MAX));
        }
        for _ in 0..7 {
            reply.u32(0);
        }
        Ok(Answer::Reply(Given::Nothing))
    }
}

/// Whether this thread may read an object of a lower tree, by its file system ids of the moment.
///
/// # Errors
///
/// EACCES if not.
pub fn may_read(object: impl AsFd) -> Result<(), Errno> {
    may(object, libc::R_OK)
}

/// Whether this thread may read, write or execute, by its file system ids, as it now is.
///
/// # Errors
///
/// EACCES if not; EROFS, ETXTBSY as access(2).
pub(super) fn may(object: impl AsFd, mask: i32) -> Result<(), Errno> {
    let (fd, flags) = (object.as_fd().as_raw_fd(), libc::AT_EACCESS | libc::AT_EMPTY_PATH);
    // SAFETY: the path is an empty string.
    let result = unsafe { libc::syscall(libc::SYS_faccessat2, fd, c"".as_ptr(), mask, flags) };
    match Errno::result(result) {
        // Before Linux 5.8.
        Err(Errno::ENOSYS) => may_by_mode(&Status::of(&object)?, mask),
        result => result.map(drop),
    }
}

/// By the mode alone: an access list goes unseen.
fn may_by_mode(status: &Status, mask: i32) -> Result<(), Errno> {
    const ASK: u32 = u32::MAX;
    let wanted = mask.cast_unsigned() & 7;
    // SAFETY: takes a number, which is no user's: the call only tells.
    let uid = unsafe { libc::setfsuid(ASK) }.cast_unsigned();
    // SAFETY: takes a number, which is no group's: the call only tells.
    let gid = unsafe { libc::setfsgid(ASK) }.cast_unsigned();
    let bits = if uid == 0 {
        let executes = status.is_directory() || status.mode & 0o111 != 0;
        if executes { 7 } else { 6 }
    } else if uid == status.uid {
        status.mode >> 6
    } else if gid == status.gid || nix::unistd::getgroups()?.contains(&Gid::from_raw(status.gid)) {
        status.mode >> 3
    } else {
        status.mode
    };
    if wanted & !bits == 0 { Ok(()) } else { Err(Errno::EACCES) }
}

/// fchmodat2(2) has one number everywhere; the crate knows it on some architectures only.
const FCHMODAT2: libc::c_long = 452;

fn set_mode(object: impl AsFd, mode: u32) -> Result<(), Errno> {
    let mode = mode & 0o7777;
    let fd = object.as_fd().as_raw_fd();
    // SAFETY: the path is an empty string.
    let result = unsafe { libc::syscall(FCHMODAT2, fd, c"".as_ptr(), mode, libc::AT_EMPTY_PATH) };
    match Errno::result(result) {
        // Before Linux 6.6.
        Err(Errno::ENOSYS) => {
            let mode = Mode::from_bits_truncate(mode);
            fchmodat(AT_FDCWD, path_of(&object)?.as_c_str(), mode, FchmodatFlags::FollowSymlink)
        }
        result => result.map(drop),
    }
}

fn set_times(object: impl AsFd, accessed: Option<TimeToSet>, modified: Option<TimeToSet>) -> Result<(), Errno> {
    let time = |time| match time {
        None => TimeSpec::UTIME_OMIT,
        Some(TimeToSet::Now) => TimeSpec::UTIME_NOW,
        Some(TimeToSet::At { seconds, nanoseconds }) => TimeSpec::new(seconds, i64::from(nanoseconds)),
    };
    let (accessed, modified) = (time(accessed), time(modified));
    let times = [*accessed.as_ref(), *modified.as_ref()];
    // SAFETY: the path is an empty string, and the two times live through the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_utimensat,
            object.as_fd().as_raw_fd(),
            c"".as_ptr(),
            times.as_ptr(),
            libc::AT_EMPTY_PATH,
        )
    };
    match Errno::result(result) {
        // Before Linux 5.8.
        Err(Errno::EINVAL) => {
            let path = path_of(&object)?;
            utimensat(
                AT_FDCWD,
                Path::new(path.to_str().unwrap_or_default()),
                &accessed,
                &modified,
                UtimensatFlags::FollowSymlink,
            )
        }
        result => result.map(drop),
    }
}
