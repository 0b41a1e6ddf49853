//! Reading and writing files.

use super::tree::{Dentry, Form};
use super::{Answer, FileId, Model, Stop, errno};
use crate::execute::take_apart;
use crate::operation::{Buffer, Descriptor};
use crate::trace::{Outcome, Return};

/// Of a FIFO.
const PAGE_BYTES: u64 = 4096;
const PAGES_MAX: usize = 16;
/// `d_reclen` of `.` and of `..`.
const RECORD_BYTES: usize = 24;

/// Where a call reads to.
#[derive(Debug, Clone, Copy)]
struct Room {
    /// Bytes asked for.
    size: u64,
    /// Bytes of them that can be written.
    mapped: u64,
    /// From the beginning, not from the position.
    positioned: bool,
}

impl Model {
    pub(super) fn read(&mut self, descriptor: Descriptor, buffer: &Buffer) -> Answer<Outcome> {
        let found = self.file(descriptor).map(|(id, file)| (id, file.group));
        if self.is_group(descriptor) {
            let taken = found.and_then(|(id, group)| {
                let group = group.ok_or(Stop::Unmodelled("a slot that says it has an instance"))?;
                self.read_events(id, group, buffer)
            });
            return match taken {
                Ok((returned, bytes)) => Ok(take_apart(returned, bytes)),
                Err(Stop::Errno(errno)) => Ok(take_apart(Return::Error(errno), Vec::new())),
                Err(stop) => Err(stop),
            };
        }
        let (id, group) = found?;
        if group.is_some() {
            return Err(Stop::Unmodelled("an instance read by its number"));
        }
        let all = |size: usize| Room { size: size as u64, mapped: size as u64, positioned: false };
        let room = match buffer {
            Buffer::Plain(size) => all(*size),
            Buffer::Vector(sizes) => all(sizes.iter().sum()),
            Buffer::Positioned(size) => Room { positioned: true, ..all(*size) },
            // The executor reads no further than this.
            Buffer::Guarded { mapped, size } => Room { mapped: *mapped as u64, ..all(*size.min(&(mapped + 1024))) },
        };
        let vector = matches!(buffer, Buffer::Vector(_));
        Ok(Outcome::value(self.read_file(id, room, vector)?))
    }

    fn dentry_of(&self, id: FileId) -> Answer<Dentry> {
        self.files[&id].dentry.ok_or(Stop::Errno(libc::EINVAL))
    }

    fn read_file(&mut self, id: FileId, room: Room, vector: bool) -> Answer<i64> {
        let dentry = self.dentry_of(id)?;
        let file = &self.files[&id];
        let form = &self.tree.inode(dentry).form;
        if room.positioned && *form == Form::Fifo {
            return errno(libc::ESPIPE);
        }
        if !file.readable() {
            return errno(libc::EBADF);
        }
        let count = match form {
            _ if vector && room.size == 0 => 0,
            Form::Directory => return errno(libc::EISDIR),
            Form::Fifo => self.read_fifo(dentry, file.has(libc::O_NONBLOCK), room)?,
            _ => {
                let from = if room.positioned { 0 } else { file.position };
                let available = self.tree.inode(dentry).bytes.saturating_sub(from).min(room.size);
                if available > 0 && room.mapped == 0 {
                    return errno(libc::EFAULT);
                }
                available.min(room.mapped)
            }
        };
        if !room.positioned {
            self.advance(id, count);
        }
        // readv tells of its end, too.
        if count > 0 || vector {
            self.accessed(dentry);
        }
        Ok(count as i64)
    }

    fn advance(&mut self, id: FileId, count: u64) {
        if let Some(file) = self.files.get_mut(&id) {
            file.position += count;
        }
    }

    /// `pipe_read`.
    fn read_fifo(&mut self, dentry: Dentry, nonblocking: bool, room: Room) -> Answer<u64> {
        if room.size == 0 {
            return Ok(0);
        }
        let mut count = 0;
        let writer = self.has_writer(dentry);
        let pages = &mut self.tree.inode_mut(dentry).pages;
        while count < room.size
            && let Some((used, taken)) = pages.front_mut()
        {
            let wanted = (*used - *taken).min(room.size - count);
            if count + wanted > room.mapped {
                return if count == 0 { errno(libc::EFAULT) } else { Ok(count) };
            }
            count += wanted;
            *taken += wanted;
            if taken == used {
                pages.pop_front();
            }
        }
        match (count, writer, nonblocking) {
            (1.., _, _) | (0, false, _) => Ok(count),
            (0, true, true) => errno(libc::EAGAIN),
            (0, true, false) => Err(Stop::Unmodelled("waiting for a writer")),
        }
    }

    pub(super) fn has_reader(&self, dentry: Dentry) -> bool {
        self.ends(dentry).any(super::OpenFile::readable)
    }

    fn has_writer(&self, dentry: Dentry) -> bool {
        self.ends(dentry).any(super::OpenFile::writable)
    }

    /// The open files of an object.
    fn ends(&self, dentry: Dentry) -> impl Iterator<Item = &super::OpenFile> {
        let inode = self.tree.inode_of(dentry);
        self.files.values().filter(move |file| file.dentry.is_some_and(|own| self.tree.inode_of(own) == inode))
    }

    pub(super) fn write(&mut self, descriptor: Descriptor, size: u64, offset: Option<i64>) -> Answer<i64> {
        let (id, file) = self.file(descriptor)?;
        let offset = match offset.map(u64::try_from) {
            Some(Err(_)) => return errno(libc::EINVAL),
            Some(Ok(offset)) => Some(offset),
            None => None,
        };
        let Some(dentry) = file.dentry else {
            return errno(if offset.is_some() { libc::ESPIPE } else { libc::EBADF });
        };
        let fifo = self.tree.inode(dentry).form == Form::Fifo;
        if fifo && offset.is_some() {
            return errno(libc::ESPIPE);
        }
        if !file.writable() {
            return errno(libc::EBADF);
        }
        if size == 0 {
            return Ok(0);
        }
        let count = if fifo {
            let nonblocking = file.has(libc::O_NONBLOCK);
            self.write_fifo(dentry, size, nonblocking)?
        } else {
            let position = offset.unwrap_or(file.position);
            self.put(id, dentry, position, size, offset.is_none());
            size
        };
        self.written(dentry);
        Ok(count as i64)
    }

    /// Writes into a file. No hook but that of a mode that is cleared.
    fn put(&mut self, id: FileId, dentry: Dentry, position: u64, size: u64, advances: bool) {
        self.cleared_set_id(dentry);
        let inode = self.tree.inode_mut(dentry);
        let Some(file) = self.files.get_mut(&id) else { return };
        let from = if file.has(libc::O_APPEND) { inode.bytes } else { position };
        inode.bytes = inode.bytes.max(from + size);
        if advances {
            file.position = from + size;
        }
    }

    /// `pipe_write`.
    fn write_fifo(&mut self, dentry: Dentry, size: u64, nonblocking: bool) -> Answer<u64> {
        if !self.has_reader(dentry) {
            return errno(libc::EPIPE);
        }
        let pages = &mut self.tree.inode_mut(dentry).pages;
        let mut left = size;
        // What is no whole page joins the last one, if it fits.
        let odd = size % PAGE_BYTES;
        if let Some((used, _)) = pages.back_mut()
            && odd > 0
            && *used + odd <= PAGE_BYTES
        {
            *used += odd;
            left -= odd;
        }
        while left > 0 && pages.len() < PAGES_MAX {
            let part = left.min(PAGE_BYTES);
            pages.push_back((part, 0));
            left -= part;
        }
        match (size - left, nonblocking) {
            (count, _) if left == 0 => Ok(count),
            (0, true) => errno(libc::EAGAIN),
            (count, true) => Ok(count),
            (_, false) => Err(Stop::Unmodelled("waiting for a reader")),
        }
    }

    pub(super) fn getdents(&mut self, descriptor: Descriptor, size: usize) -> Answer<i64> {
        let (id, file) = self.file(descriptor)?;
        let Some(dentry) = file.dentry else { return errno(libc::ENOTDIR) };
        let listed = file.listed;
        if !self.tree.inode(dentry).is_directory() {
            return errno(libc::ENOTDIR);
        }
        if self.tree.inode(dentry).links == 0 {
            return errno(libc::ENOENT);
        }
        self.accessed(dentry);
        if !listed && size < RECORD_BYTES {
            return errno(libc::EINVAL);
        }
        if let Some(file) = self.files.get_mut(&id) {
            file.listed = true;
        }
        // How many bytes they take is the file system's.
        Ok(0)
    }

    pub(super) fn fallocate(&mut self, descriptor: Descriptor, mode: i32, offset: i64, size: i64) -> Answer<i64> {
        let (_, file) = self.file(descriptor)?;
        if offset < 0 || size <= 0 {
            return errno(libc::EINVAL);
        }
        if !file.writable() {
            return errno(libc::EBADF);
        }
        let Some(dentry) = file.dentry else { return errno(libc::EBADF) };
        match self.tree.inode(dentry).form {
            Form::Fifo => return errno(libc::ESPIPE),
            Form::File => {}
            Form::Directory => return errno(libc::EISDIR),
            Form::Symlink(_) => return errno(libc::ENODEV),
        }
        self.cleared_set_id(dentry);
        let inode = self.tree.inode_mut(dentry);
        if mode & libc::FALLOC_FL_KEEP_SIZE == 0 {
            inode.bytes = inode.bytes.max((offset + size) as u64);
        }
        self.written(dentry);
        Ok(0)
    }

    /// What two hooks show at the end of a copy.
    fn copied(&mut self, from: Dentry, to: Dentry) {
        self.accessed(from);
        self.written(to);
    }

    pub(super) fn copy_file_range(&mut self, from: Descriptor, to: Descriptor, size: u64) -> Answer<i64> {
        let (source, source_file) = self.file(from)?;
        let (sink, sink_file) = self.file(to)?;
        let (Some(read), Some(written)) = (source_file.dentry, sink_file.dentry) else { return errno(libc::EINVAL) };
        let forms = [read, written].map(|dentry| &self.tree.inode(dentry).form);
        if forms.contains(&&Form::Directory) {
            return errno(libc::EISDIR);
        }
        if forms.iter().any(|form| **form != Form::File) {
            return errno(libc::EINVAL);
        }
        if !source_file.readable() || !sink_file.writable() || sink_file.has(libc::O_APPEND) {
            return errno(libc::EBADF);
        }
        let (start, end) = (source_file.position, sink_file.position);
        let count = self.tree.inode(read).bytes.saturating_sub(start).min(size);
        let same = self.tree.inode_of(read) == self.tree.inode_of(written);
        if same && end + count > start && end < start + count {
            return errno(libc::EINVAL);
        }
        if count == 0 {
            return Ok(0);
        }
        self.put(sink, written, end, count, false);
        self.advance(source, count);
        if let Some(file) = self.files.get_mut(&sink) {
            file.position = end + count;
        }
        self.copied(read, written);
        Ok(count as i64)
    }

    pub(super) fn sendfile(&mut self, from: Descriptor, to: Descriptor, size: u64) -> Answer<i64> {
        let (source, source_file) = self.file(from)?;
        if !source_file.readable() {
            return errno(libc::EBADF);
        }
        let (sink, sink_file) = self.file(to)?;
        if !sink_file.writable() {
            return errno(libc::EBADF);
        }
        let (Some(read), Some(written)) = (source_file.dentry, sink_file.dentry) else { return errno(libc::EINVAL) };
        let fifo = self.tree.inode(written).form == Form::Fifo;
        if !fifo && sink_file.has(libc::O_APPEND) {
            return errno(libc::EINVAL);
        }
        let (start, end, nonblocking) = (source_file.position, sink_file.position, sink_file.has(libc::O_NONBLOCK));
        if fifo && !self.has_reader(written) {
            return errno(libc::EPIPE);
        }
        if fifo && self.tree.inode(written).pages.len() == PAGES_MAX {
            return if nonblocking { errno(libc::EAGAIN) } else { Err(Stop::Unmodelled("waiting for a reader")) };
        }
        if self.tree.inode(read).form != Form::File {
            return errno(libc::EINVAL);
        }
        let mut count = 0;
        loop {
            let part = self.tree.inode(read).bytes.saturating_sub(start + count).min(size - count);
            if part == 0 {
                break;
            }
            if fifo {
                if part > PAGE_BYTES {
                    return Err(Stop::Unmodelled("pages of a file in a FIFO"));
                }
                // A page of the file, which nothing joins.
                self.tree.inode_mut(written).pages.push_back((part, 0));
                count += part;
                break;
            }
            // A file that is sent to itself may grow by it.
            self.put(sink, written, end + count, part, true);
            count += part;
        }
        if count == 0 {
            return Ok(0);
        }
        if let Some(file) = self.files.get_mut(&source) {
            file.position = start + count;
        }
        self.copied(read, written);
        Ok(count as i64)
    }

    /// 64 bytes into a pipe that is there for nothing else.
    pub(super) fn splice(&mut self, descriptor: Descriptor) -> Answer<i64> {
        const SIZE: u64 = 64;
        let (id, file) = self.file(descriptor)?;
        let dentry = self.dentry_of(id)?;
        if !file.readable() {
            return errno(libc::EBADF);
        }
        match self.tree.inode(dentry).form {
            Form::File => {}
            Form::Directory => return errno(libc::EINVAL),
            Form::Symlink(_) | Form::Fifo => return Err(Stop::Unmodelled("splice between two pipes")),
        }
        let count = self.tree.inode(dentry).bytes.saturating_sub(file.position).min(SIZE);
        if count > 0 {
            self.advance(id, count);
            self.accessed(dentry);
        }
        Ok(count as i64)
    }

    pub(super) fn map(&mut self, descriptor: Descriptor, place: u8, writable: bool) -> Answer<i64> {
        let (id, file) = self.file(descriptor)?;
        if (writable && !file.writable()) || !file.readable() {
            return errno(libc::EACCES);
        }
        match file.dentry.map(|dentry| &self.tree.inode(dentry).form) {
            Some(Form::File) => {}
            _ => return errno(libc::ENODEV),
        }
        if let Some(kept @ None) = self.process.mappings.get_mut(usize::from(place)) {
            *kept = Some(id);
            self.hold_file(id);
        }
        Ok(0)
    }

    pub(super) fn touch(&self, place: u8) -> Answer<i64> {
        let Some(id) = self.process.mappings.get(usize::from(place)).copied().flatten() else {
            return errno(libc::EINVAL);
        };
        let dentry = self.dentry_of(id)?;
        if self.tree.inode(dentry).bytes == 0 { Err(Stop::Unmodelled("SIGBUS")) } else { Ok(0) }
    }

    pub(super) fn unmap(&mut self, place: u8) -> Answer<i64> {
        match self.process.mappings.get_mut(usize::from(place)).and_then(Option::take) {
            Some(id) => {
                self.release_file(id);
                Ok(0)
            }
            None => errno(libc::EINVAL),
        }
    }
}
