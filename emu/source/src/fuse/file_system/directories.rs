//! Directories, listed.

use std::os::fd::AsRawFd;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::unistd::{Whence, lseek};
use uinotify_core::FsEvent;

use super::{Answer, FileSystem, Given};
use crate::fuse::request::{Asker, NodeId, Place};
use crate::fuse::sink::Sink;
use crate::status::InodeKey;

/// Before the name in linux_dirent64: the inode's number, the next place, the length of the record, the kind.
const FIXED: usize = 19;

impl FileSystem {
    pub(super) fn open_directory(
        &mut self,
        node: NodeId,
        flags: i32,
        asker: Asker,
        sink: &mut dyn Sink,
    ) -> Result<Answer, Errno> {
        let object = self.object(node)?;
        self.identity.take_on(asker)?;
        let kept = OFlag::from_bits_retain(flags) & OFlag::O_NOATIME;
        let lower = self.with_room(|this| this.lower.reopen(&object, kept | OFlag::O_RDONLY | OFlag::O_DIRECTORY))?;
        let name = self.name_by(node, asker);
        let handle = self.opened(node, name, lower, libc::O_RDONLY);
        // As for files, the kernel's own are told by their flags.
        if flags == 0 {
            self.files.get_mut(handle)?.is_internal = true;
        } else {
            sink.observe(FsEvent::Open { subject: self.subject(node, name), exec: false });
        }
        self.reply.opened(handle, 0, 0);
        Ok(Answer::Reply(Given::Open(handle)))
    }

    pub(super) fn read_directory(&mut self, place: Place, sink: &mut dyn Sink) -> Result<Answer, Errno> {
        let size_max = usize::try_from(place.size).unwrap_or(usize::MAX).min(self.data.len());
        let numbering = self.numbering;
        let file = self.files.get_mut(place.handle)?;
        let device = self.nodes.get(file.node).map_or(numbering.device, |node| node.key.device);
        if file.position != place.offset {
            lseek(&file.lower, place.offset, Whence::SeekSet)?;
            file.position = place.offset;
        }
        // Our records are longer than the kernel's by up to eight bytes each; what does not fit is read again.
        let room = (size_max - size_max / 4).max(FIXED + 256 + 8);
        let buffer = self.data.get_mut(..room).unwrap_or_default();
        // SAFETY: the buffer lives through the call, with its length beside it.
        let length =
            unsafe { libc::syscall(libc::SYS_getdents64, file.lower.as_raw_fd(), buffer.as_mut_ptr(), buffer.len()) };
        let length = usize::try_from(Errno::result(length)?).unwrap_or(0);
        let mut records = self.data.get(..length).unwrap_or_default();
        let mut all_fit = true;
        while let Some(record) = Record::first(records) {
            records = records.get(record.length..).unwrap_or_default();
            let number = numbering.number(InodeKey { device, number: record.number });
            if !self.reply.directory_entry(number, record.next.cast_unsigned(), record.kind, record.name, size_max) {
                all_fit = false;
                break;
            }
            file.position = record.next;
        }
        if !all_fit {
            lseek(&file.lower, file.position, Whence::SeekSet)?;
        }
        let file = self.files.get(place.handle)?;
        if !file.is_internal {
            sink.observe(FsEvent::Access(self.subject(file.node, file.name)));
        }
        Ok(Answer::Reply(Given::Nothing))
    }
}

/// A linux_dirent64.
struct Record<'a> {
    number: u64,
    next: i64,
    length: usize,
    kind: u8,
    name: &'a [u8],
}

impl<'a> Record<'a> {
    fn first(records: &'a [u8]) -> Option<Self> {
        let (number, rest) = records.split_first_chunk()?;
        let (next, rest) = rest.split_first_chunk()?;
        let (length, rest) = rest.split_first_chunk()?;
        let (kind, _) = rest.split_first()?;
        let length = usize::from(u16::from_ne_bytes(*length));
        let padded = records.get(FIXED..length)?;
        let name = padded.split(|byte| *byte == 0).next()?;
        Some(Self { number: u64::from_ne_bytes(*number), next: i64::from_ne_bytes(*next), length, kind: *kind, name })
    }
}
