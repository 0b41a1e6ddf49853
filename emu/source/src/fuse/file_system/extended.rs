//! Extended attributes, among them access lists, and the flags of files (ioctl).

use std::ffi::CStr;
use std::os::fd::AsRawFd;

use nix::errno::Errno;
use uinotify_core::{Change, FsEvent};

use super::{Answer, FileSystem, Given};
use crate::fuse::lower::path_of;
use crate::fuse::request::{Asker, Handle, NodeId};
use crate::fuse::sink::Sink;

/// What chattr(1), lsattr(1) and their kin ask for: commands that are done the same way by every file system, with arguments of fixed size. All
/// others would be a program's talk with a file system that it does not have before it.
const COMMANDS: [u32; 5] = [
    0x8008_6601, // FS_IOC_GETFLAGS
    0x4008_6602, // FS_IOC_SETFLAGS
    0x8008_7601, // FS_IOC_GETVERSION
    0x801c_581f, // FS_IOC_FSGETXATTR
    0x401c_5820, // FS_IOC_FSSETXATTR
];

/// Room for the largest of their arguments.
const ARGUMENT_BYTES: usize = 32;

impl FileSystem {
    pub(super) fn get_extended(&mut self, node: NodeId, name: &CStr, size: u32, asker: Asker) -> Result<Answer, Errno> {
        let path = path_of(self.object(node)?)?;
        self.identity.take_on(asker)?;
        let room = self.room(size);
        // SAFETY: both strings live through the call, as does the buffer, with its length beside it.
        let length = unsafe { libc::getxattr(path.as_ptr(), name.as_ptr(), room.as_mut_ptr().cast(), room.len()) };
        self.extended(size, Errno::result(length)?)
    }

    pub(super) fn list_extended(&mut self, node: NodeId, size: u32, asker: Asker) -> Result<Answer, Errno> {
        let path = path_of(self.object(node)?)?;
        self.identity.take_on(asker)?;
        let room = self.room(size);
        // SAFETY: the string lives through the call, as does the buffer, with its length beside it.
        let length = unsafe { libc::listxattr(path.as_ptr(), room.as_mut_ptr().cast(), room.len()) };
        self.extended(size, Errno::result(length)?)
    }

    fn room(&mut self, size: u32) -> &mut [u8] {
        self.data.get_mut(..usize::try_from(size).unwrap_or(usize::MAX)).unwrap_or_default()
    }

    /// The value, or its length for whom has no room.
    fn extended(&mut self, size: u32, length: isize) -> Result<Answer, Errno> {
        let length = usize::try_from(length).unwrap_or(0);
        if size > 0 {
            return Ok(Answer::Data(length));
        }
        self.reply.u32(u32::try_from(length).unwrap_or(0));
        self.reply.u32(0);
        Ok(Answer::Reply(Given::Nothing))
    }

    pub(super) fn set_extended(
        &mut self,
        node: NodeId,
        name: &CStr,
        value: &[u8],
        flags: i32,
        asker: Asker,
        sink: &mut dyn Sink,
    ) -> Result<Answer, Errno> {
        let path = path_of(self.object(node)?)?;
        self.identity.take_on(asker)?;
        // SAFETY: both strings live through the call, as does the value, with its length beside it.
        let result = unsafe { libc::setxattr(path.as_ptr(), name.as_ptr(), value.as_ptr().cast(), value.len(), flags) };
        Errno::result(result)?;
        self.rights_changed(node);
        self.attribute_changed(node, asker, sink);
        super::DONE
    }

    pub(super) fn remove_extended(
        &mut self,
        node: NodeId,
        name: &CStr,
        asker: Asker,
        sink: &mut dyn Sink,
    ) -> Result<Answer, Errno> {
        let path = path_of(self.object(node)?)?;
        self.identity.take_on(asker)?;
        // SAFETY: both strings live through the call.
        Errno::result(unsafe { libc::removexattr(path.as_ptr(), name.as_ptr()) })?;
        self.rights_changed(node);
        self.attribute_changed(node, asker, sink);
        super::DONE
    }

    fn attribute_changed(&mut self, node: NodeId, asker: Asker, sink: &mut dyn Sink) {
        let change = Change { attribute: true, ..Change::default() };
        sink.observe(FsEvent::Change { subject: self.subject_for(node, asker), change });
    }

    pub(super) fn control(
        &mut self,
        handle: Handle,
        command: u32,
        input: &[u8],
        output_size: u32,
        asker: Asker,
    ) -> Result<Answer, Errno> {
        if !COMMANDS.contains(&command) {
            return Err(Errno::ENOTTY);
        }
        self.identity.take_on(asker)?;
        let mut argument = [0_u8; ARGUMENT_BYTES];
        argument.get_mut(..input.len()).ok_or(Errno::EINVAL)?.copy_from_slice(input);
        let output_size = usize::try_from(output_size).unwrap_or(usize::MAX);
        let fd = self.files.get(handle)?.lower.as_raw_fd();
        // SAFETY: the argument has room for that of each of these commands, and lives through the call.
        let result = unsafe { libc::ioctl(fd, command as libc::Ioctl, argument.as_mut_ptr()) };
        let result = Errno::result(result)?;
        self.reply.u32(result.cast_unsigned());
        for _ in 0..3 {
            self.reply.u32(0);
        }
        self.reply.buffer().extend_from_slice(argument.get(..output_size).ok_or(Errno::EINVAL)?);
        Ok(Answer::Reply(Given::Nothing))
    }
}
