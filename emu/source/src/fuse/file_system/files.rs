//! Open files: made, opened, read, written, closed.

use std::ffi::CStr;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, FcntlArg, OFlag, copy_file_range, fallocate, fcntl, openat};
use nix::sys::stat::Mode;
use uinotify_core::{Change, FsEvent, Profile, Subject};

use super::attributes::may;
use super::leaving::Leaving;
use super::{Answer, FileSystem, Given};
use crate::fuse::device::Device;
use crate::fuse::lower::open_object;
use crate::fuse::names::NameId;
use crate::fuse::open_files::OpenFile;
use crate::fuse::request::{Asker, Handle, NodeId, Place, READ_LOCKOWNER, WRITE_CACHE, WRITE_KILL_SUIDGID};
use crate::fuse::sink::Sink;
use crate::fuse::slow::{Job, SlowCall};
use crate::fuse::system_call::SystemCall;
use crate::status::Status;

/// The kernel's FMODE_EXEC, which is in the flags if an exec opens the file.
const EXECUTED: i32 = 0x20;

/// How much is copied in one call, during which nobody else is served.
const COPY_BYTES_MAX: usize = 16 << 20;

/// What each open by a 64-bit process has, and no open by the kernel itself; the C library says 0.
const LARGE_FILE: i32 = if cfg!(target_arch = "aarch64") { 0o400_000 } else { 0o100_000 };

/// What is asked of the lower file system too. Not O_DIRECT: the buffers are not the program's.
fn lower_flags(flags: i32) -> OFlag {
    let kept = OFlag::O_ACCMODE | OFlag::O_APPEND | OFlag::O_TRUNC | OFlag::O_SYNC | OFlag::O_DSYNC | OFlag::O_NOATIME;
    OFlag::from_bits_retain(flags) & kept | OFlag::O_NONBLOCK
}

pub(super) fn is_writable(flags: i32) -> bool {
    flags & libc::O_ACCMODE != libc::O_RDONLY
}

impl FileSystem {
    pub(super) fn open(
        &mut self,
        device: &Device,
        node: NodeId,
        flags: i32,
        asker: Asker,
        sink: &mut dyn Sink,
    ) -> Result<Answer, Errno> {
        let object = self.object(node)?;
        let name = self.name_by(node, asker);
        let handle = self.open_object_file(&object, node, name, flags, asker, sink)?;
        self.reply_opened(device, handle, (flags, false), sink)?;
        Ok(Answer::Reply(Given::Open(handle)))
    }

    fn open_object_file(
        &mut self,
        object: &OwnedFd,
        node: NodeId,
        name: Option<NameId>,
        flags: i32,
        asker: Asker,
        sink: &mut dyn Sink,
    ) -> Result<Handle, Errno> {
        // Others the kernel opens itself, and here they might wait for another side, or lead elsewhere.
        match self.nodes.get(node).map(|node| node.kind) {
            Some(libc::S_IFREG) => {}
            Some(libc::S_IFLNK) => return Err(Errno::ELOOP),
            _ => return Err(Errno::ENXIO),
        }
        self.identity.take_on(asker)?;
        let truncates = flags & libc::O_TRUNC != 0;
        let had_set_ids = truncates && Status::of(object)?.has_set_ids();
        if flags & EXECUTED != 0 {
            // What may be executed need not be readable.
            may(object, libc::X_OK)?;
            self.identity.own();
        }
        let lower = self.with_room(|this| this.lower.reopen(object, lower_flags(flags)))?;
        let clears = had_set_ids && !Status::of(&lower)?.has_set_ids();
        let handle = self.opened(node, name, lower, flags);
        let is_internal = flags & (LARGE_FILE | EXECUTED) == 0 && !is_writable(flags);
        self.files.get_mut(handle)?.is_internal = is_internal;
        let subject = self.subject(node, name);
        let change = Change { size: true, mode: clears, ..Change::default() };
        match (is_internal, truncates) {
            (false, true) => sink.observe(FsEvent::OpenTruncated { subject, change }),
            (false, false) => sink.observe(FsEvent::Open { subject, exec: flags & EXECUTED != 0 }),
            (true, true) => sink.observe(FsEvent::Change { subject, change }),
            (true, false) => {}
        }
        Ok(handle)
    }

    /// An open file comes to be.
    pub(super) fn opened(&mut self, node: NodeId, name: Option<NameId>, lower: File, flags: i32) -> Handle {
        if let Some(name) = name.and_then(|name| self.names.get_mut(name)) {
            name.opens += 1;
        }
        if let Some(node) = self.nodes.get_mut(node) {
            node.opens += 1;
            node.open_names.extend(name);
        }
        self.files.add(OpenFile {
            node,
            name,
            lower: Arc::new(lower),
            is_writable: is_writable(flags),
            is_internal: false,
            appends: flags & libc::O_APPEND != 0,
            way: None,
            position: 0,
        })
    }

    pub(super) fn create(
        &mut self,
        device: &Device,
        (directory, name): (NodeId, &CStr),
        flags: i32,
        mode: u32,
        asker: Asker,
        sink: &mut dyn Sink,
    ) -> Result<Answer, Errno> {
        let folder = self.object(directory)?;
        self.identity.take_on(asker)?;
        let new = lower_flags(flags) | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let mode = Mode::from_bits_truncate(mode);
        let (node, status, handle) = match self.with_room(|_| openat(&folder, name, new, mode)) {
            Ok(lower) => {
                let lower = File::from(lower);
                let status = Status::of(&lower)?;
                let node = self.nodes.identify(&status);
                let id = self.name(directory, name.to_bytes(), node, asker.thread);
                let handle = self.opened(node, Some(id), lower, flags);
                if let Some(name) = self.names.get(id) {
                    sink.observe(FsEvent::Create { entry: name.entry(), directory: false });
                }
                sink.observe(FsEvent::Open { subject: self.subject(node, Some(id)), exec: false });
                (node, status, handle)
            }
            // Somebody was faster, in the lower tree.
            Err(Errno::EEXIST) if flags & libc::O_EXCL == 0 => {
                let object = Arc::new(self.with_room(|_| open_object(&folder, name))?);
                let node = self.nodes.identify(&Status::of(&object)?);
                self.keep(node, Arc::clone(&object));
                let id = self.name(directory, name.to_bytes(), node, asker.thread);
                let handle = self.open_object_file(&object, node, Some(id), flags, asker, sink)?;
                (node, Status::of(&object)?, handle)
            }
            Err(error) => return Err(error),
        };
        self.entry(directory, node, &status);
        self.reply_opened(device, handle, (flags, true), sink)?;
        Ok(Answer::Reply(Given::NodeAndOpen(node, handle)))
    }

    /// O_TMPFILE.
    pub(super) fn create_unnamed(
        &mut self,
        device: &Device,
        directory: NodeId,
        flags: i32,
        mode: u32,
        asker: Asker,
        sink: &mut dyn Sink,
    ) -> Result<Answer, Errno> {
        let folder = self.object(directory)?;
        self.identity.take_on(asker)?;
        // With O_EXCL it can never be linked.
        let exclusive = OFlag::from_bits_retain(flags) & OFlag::O_EXCL;
        let unnamed = lower_flags(flags) | OFlag::O_TMPFILE | OFlag::O_CLOEXEC | exclusive;
        let lower = File::from(self.with_room(|_| openat(&folder, c".", unnamed, Mode::from_bits_truncate(mode)))?);
        let status = Status::of(&lower)?;
        // There is no name to find it by.
        let object = self.with_room(|this| this.lower.reopen(&lower, OFlag::O_PATH))?;
        let node = self.nodes.identify(&status);
        self.pin(node, Arc::new(object.into()));
        let bytes = format!("#{}", status.key.number);
        let name = self.names.add_unlinked(directory, bytes.as_bytes(), node);
        let handle = self.opened(node, Some(name), lower, flags);
        sink.observe(FsEvent::Open { subject: self.subject(node, Some(name)), exec: false });
        self.entry(directory, node, &status);
        self.reply_opened(device, handle, (flags, true), sink)?;
        Ok(Answer::Reply(Given::NodeAndOpen(node, handle)))
    }

    pub(super) fn read(&mut self, place: Place, asker: Asker, sink: &mut dyn Sink) -> Result<Answer, Errno> {
        let file = self.files.get(place.handle)?;
        let size = usize::try_from(place.size).unwrap_or(usize::MAX).min(self.data.len());
        let buffer = self.data.get_mut(..size).unwrap_or_default();
        let length = retried(|| nix::sys::uio::pread(&file.lower, buffer, place.offset))?;
        if length > 0 {
            // A page fault is no read, and fills the page cache; so does splice(2), which is one.
            let is_read = place.flags & READ_LOCKOWNER != 0;
            let call = if is_read { None } else { self.call_of(asker).filter(|call| call.takes_pages()) };
            let file = self.files.get(place.handle)?;
            let subject = self.subject(file.node, file.name);
            match call {
                Some(call) if call.is_splice() => sink.observe(FsEvent::Splice { subject, writes: false }),
                Some(_) => sink.observe(FsEvent::Access(subject)),
                None if is_read => sink.observe(FsEvent::Access(subject)),
                None => {}
            }
        }
        Ok(Answer::Data(length))
    }

    /// The call in which the asker waits for us, where it can be known.
    fn call_of(&mut self, asker: Asker) -> Option<SystemCall> {
        self.identity.own();
        SystemCall::of(asker.thread)
    }

    pub(super) fn write(
        &mut self,
        place: Place,
        data: &[u8],
        asker: Asker,
        sink: &mut dyn Sink,
    ) -> Result<Answer, Errno> {
        // What a mapping has changed comes from nobody, when the kernel likes.
        let is_mapping = place.flags & WRITE_CACHE != 0;
        if is_mapping {
            self.identity.own();
        } else if place.flags & WRITE_KILL_SUIDGID != 0 {
            // Whether such bits go is a question of capabilities, which others with the same ids may have.
            self.identity.take_on(asker)?;
        } else {
            self.identity.take_on_ids(asker)?;
        }
        let file = self.files.get_mut(place.handle)?;
        let appends = place.file_flags & libc::O_APPEND != 0 && !is_mapping;
        if appends != file.appends {
            let flags = OFlag::from_bits_retain(fcntl(&file.lower, FcntlArg::F_GETFL)?);
            let flags = if appends { flags | OFlag::O_APPEND } else { flags & !OFlag::O_APPEND };
            fcntl(&file.lower, FcntlArg::F_SETFL(flags))?;
            file.appends = appends;
        }
        let file = self.files.get(place.handle)?;
        let had_set_ids = place.flags & WRITE_KILL_SUIDGID != 0 && Status::of(&file.lower)?.has_set_ids();
        let length = retried(|| nix::sys::uio::pwrite(&file.lower, data, place.offset))?;
        let clears = had_set_ids && !Status::of(&file.lower)?.has_set_ids();
        if length > 0 && !is_mapping {
            // Where both are told alike, it need not be found out.
            let is_splice = sink.profile() != Profile::Native && self.call_of(asker).is_some_and(SystemCall::is_splice);
            let event = |subject| {
                if is_splice { FsEvent::Splice { subject, writes: true } } else { FsEvent::Modify(subject) }
            };
            self.written(place.handle, clears, event, sink)?;
        }
        self.reply.u32(u32::try_from(length).unwrap_or(u32::MAX));
        self.reply.u32(0);
        Ok(Answer::Reply(Given::Nothing))
    }

    fn written<'a>(
        &'a self,
        handle: Handle,
        clears_set_ids: bool,
        event: impl FnOnce(Subject<'a>) -> FsEvent<'a>,
        sink: &mut dyn Sink,
    ) -> Result<(), Errno> {
        let file = self.files.get(handle)?;
        let subject = self.subject(file.node, file.name);
        if clears_set_ids {
            sink.observe(cleared_set_ids(subject));
        }
        sink.observe(event(subject));
        Ok(())
    }

    pub(super) fn flush(&mut self, handle: Handle) -> Result<Answer, Errno> {
        // Never asked again.
        if !self.flushes {
            return Err(Errno::ENOSYS);
        }
        nix::unistd::close(nix::unistd::dup(&self.files.get(handle)?.lower)?)?;
        super::DONE
    }

    pub(super) fn release(&mut self, handle: Handle, sink: &mut dyn Sink) -> Result<(), Errno> {
        let file = self.files.remove(handle)?;
        if !file.is_internal {
            let subject = self.subject(file.node, file.name);
            sink.observe(FsEvent::Close { subject, writable: file.is_writable });
        }
        if let Some(node) = self.nodes.get_mut(file.node) {
            node.opens -= 1;
            if let Some(place) = node.open_names.iter().rposition(|name| Some(*name) == file.name) {
                node.open_names.remove(place);
            }
        }
        self.way_closed(&file);
        if let Some(id) = file.name
            && let Some(name) = self.names.get_mut(id)
        {
            name.opens -= 1;
            // The last that came by a name that is gone lets the object go, if that has no other name.
            if name.is_unlinked && name.opens == 0 {
                self.names.remove(id);
                let is_directory = self.nodes.get(file.node).is_some_and(|node| node.kind == libc::S_IFDIR);
                if is_directory || Status::of(&file.lower).is_ok_and(|status| status.links == 0) {
                    self.leave(Leaving { node: file.node, deleted: None, is_directory, thread: 0, looks: 0 }, sink);
                }
            }
        }
        self.let_go_of_directories(sink);
        self.release_node(file.node);
        Ok(())
    }

    pub(super) fn synchronize(
        &mut self,
        device: &Device,
        unique: u64,
        handle: Handle,
        data_only: bool,
    ) -> Result<Answer, Errno> {
        let file = Arc::clone(&self.files.get(handle)?.lower);
        self.do_slowly(device, unique, file, if data_only { SlowCall::Data } else { SlowCall::File })
    }

    pub(super) fn synchronize_all(&mut self, device: &Device, unique: u64) -> Result<Answer, Errno> {
        let root = self.lower.reopen(&*self.lower.root, OFlag::O_RDONLY | OFlag::O_DIRECTORY)?;
        self.do_slowly(device, unique, Arc::new(root), SlowCall::FileSystem)
    }

    fn do_slowly(&mut self, device: &Device, unique: u64, file: Arc<File>, call: SlowCall) -> Result<Answer, Errno> {
        if self.slow.is_idle() {
            // Its thread is to have our rights, not the caller's.
            self.identity.own();
        }
        match self.slow.take(Job { device: device.share(), unique, file, call }) {
            Ok(()) => Ok(Answer::None),
            Err(job) => {
                job.call.make(&job.file)?;
                super::DONE
            }
        }
    }

    pub(super) fn allocate(
        &mut self,
        handle: Handle,
        offset: i64,
        length: i64,
        mode: i32,
        asker: Asker,
        sink: &mut dyn Sink,
    ) -> Result<Answer, Errno> {
        self.identity.take_on(asker)?;
        let file = &self.files.get(handle)?.lower;
        let had_set_ids = Status::of(file)?.has_set_ids();
        fallocate(file, FallocateFlags::from_bits_retain(mode), offset, length)?;
        let clears = had_set_ids && !Status::of(file)?.has_set_ids();
        self.written(handle, clears, FsEvent::Allocate, sink)?;
        super::DONE
    }

    pub(super) fn seek(&mut self, handle: Handle, offset: i64, whence: i32) -> Result<Answer, Errno> {
        let whence = match whence {
            libc::SEEK_DATA => nix::unistd::Whence::SeekData,
            libc::SEEK_HOLE => nix::unistd::Whence::SeekHole,
            _ => return Err(Errno::EINVAL),
        };
        let found = nix::unistd::lseek(&self.files.get(handle)?.lower, offset, whence)?;
        self.reply.u64(found.cast_unsigned());
        Ok(Answer::Reply(Given::Nothing))
    }

    pub(super) fn copy(
        &mut self,
        (from, mut from_offset): (Handle, i64),
        (to, mut to_offset): (Handle, i64),
        length: u64,
        flags: u64,
        asker: Asker,
        sink: &mut dyn Sink,
    ) -> Result<Answer, Errno> {
        if flags != 0 {
            return Err(Errno::EINVAL);
        }
        self.identity.take_on(asker)?;
        let (source, target) = (self.files.get(from)?, self.files.get(to)?);
        let had_set_ids = Status::of(&target.lower)?.has_set_ids();
        // One call, as a program would make it: what is left over is asked for again.
        let length = usize::try_from(length).unwrap_or(usize::MAX).min(COPY_BYTES_MAX);
        let copied =
            copy_file_range(&source.lower, Some(&mut from_offset), &target.lower, Some(&mut to_offset), length)?;
        if copied > 0 {
            let (source, target) = (self.subject(source.node, source.name), self.subject(target.node, target.name));
            if had_set_ids && !Status::of(&self.files.get(to)?.lower)?.has_set_ids() {
                sink.observe(cleared_set_ids(target));
            }
            sink.observe(FsEvent::Access(source));
            sink.observe(FsEvent::Modify(target));
        }
        self.reply.u32(u32::try_from(copied).unwrap_or(u32::MAX));
        self.reply.u32(0);
        Ok(Answer::Reply(Given::Nothing))
    }
}

fn cleared_set_ids(subject: Subject<'_>) -> FsEvent<'_> {
    FsEvent::Change { subject, change: Change { mode: true, ..Change::default() } }
}

fn retried(mut call: impl FnMut() -> Result<usize, Errno>) -> Result<usize, Errno> {
    loop {
        match call() {
            Err(Errno::EINTR) => {}
            result => return result,
        }
    }
}
