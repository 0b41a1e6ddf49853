//! Names made, moved and removed.

use std::ffi::{CStr, OsStr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, readlinkat};
use nix::sys::stat::{Mode, SFlag, mkdirat, mknodat};
use nix::unistd::{UnlinkatFlags, linkat, symlinkat, unlinkat};
use uinotify_core::{Entry, FsEvent, ObjectId};

use super::leaving::Leaving;
use super::{Answer, FileSystem, Given};
use crate::fuse::lower::{open_object, path_of};
use crate::fuse::names::NameId;
use crate::fuse::reply::decode_device;
use crate::fuse::request::{Asker, NodeId};
use crate::fuse::sink::Sink;
use crate::status::Status;

/// A name in a directory.
type At<'a> = (NodeId, &'a CStr);

fn entry(directory: NodeId, name: &CStr) -> Entry<'_> {
    Entry { directory: ObjectId(directory.0), name: name.to_bytes() }
}

impl FileSystem {
    pub(super) fn read_link(&mut self, node: NodeId) -> Result<Answer, Errno> {
        let object = self.object(node)?;
        let target = readlinkat(&*object, c"")?;
        self.reply.buffer().extend_from_slice(target.as_bytes());
        Ok(Answer::Reply(Given::Nothing))
    }

    pub(super) fn make_symbolic_link(
        &mut self,
        directory: NodeId,
        name: &CStr,
        target: &CStr,
        asker: Asker,
        sink: &mut dyn Sink,
    ) -> Result<Answer, Errno> {
        self.make((directory, name), asker, sink, |folder| symlinkat(target, folder, name))
    }

    pub(super) fn make_node(
        &mut self,
        directory: NodeId,
        name: &CStr,
        mode: u32,
        device: u32,
        asker: Asker,
        sink: &mut dyn Sink,
    ) -> Result<Answer, Errno> {
        let (major, minor) = decode_device(device);
        let (kind, mode) = (SFlag::from_bits_truncate(mode), Mode::from_bits_truncate(mode));
        self.make((directory, name), asker, sink, |folder| {
            mknodat(folder, name, kind, mode, libc::makedev(major, minor))
        })
    }

    pub(super) fn make_directory(
        &mut self,
        directory: NodeId,
        name: &CStr,
        mode: u32,
        asker: Asker,
        sink: &mut dyn Sink,
    ) -> Result<Answer, Errno> {
        self.make((directory, name), asker, sink, |folder| mkdirat(folder, name, Mode::from_bits_truncate(mode)))
    }

    fn make(
        &mut self,
        (directory, name): At<'_>,
        asker: Asker,
        sink: &mut dyn Sink,
        make: impl FnOnce(&OwnedFd) -> Result<(), Errno>,
    ) -> Result<Answer, Errno> {
        let folder = self.object(directory)?;
        self.identity.take_on(asker)?;
        make(&folder)?;
        let (node, status) = self.made(&folder, (directory, name), asker)?;
        sink.observe(FsEvent::Create { entry: entry(directory, name), directory: status.is_directory() });
        Ok(self.entry(directory, node, &status))
    }

    /// What has just been made, held from now on.
    fn made(&mut self, folder: &OwnedFd, (directory, name): At<'_>, asker: Asker) -> Result<(NodeId, Status), Errno> {
        let object = self.with_room(|_| open_object(folder, name))?;
        let status = Status::of(&object)?;
        let node = self.nodes.identify(&status);
        self.keep(node, Arc::new(object));
        self.name(directory, name.to_bytes(), node, asker.thread);
        Ok((node, status))
    }

    pub(super) fn link(
        &mut self,
        node: NodeId,
        directory: NodeId,
        name: &CStr,
        asker: Asker,
        sink: &mut dyn Sink,
    ) -> Result<Answer, Errno> {
        let (object, folder) = (self.object(node)?, self.object(directory)?);
        self.identity.take_on(asker)?;
        linkat(AT_FDCWD, path_of(&object)?.as_c_str(), &*folder, name, AtFlags::AT_SYMLINK_FOLLOW)?;
        let status = Status::of(&object)?;
        // A file without a name (O_TMPFILE) has one now.
        if let Some(known) = self.nodes.get_mut(node)
            && let Some(pinned) = known.pinned.take()
        {
            self.nodes.show(node);
            self.keep(node, pinned);
        }
        self.name(directory, name.to_bytes(), node, asker.thread);
        sink.observe(FsEvent::LinkCount(self.nodes.object(node)));
        sink.observe(FsEvent::Create { entry: entry(directory, name), directory: false });
        Ok(self.entry(directory, node, &status))
    }

    pub(super) fn remove(
        &mut self,
        directory: NodeId,
        name: &CStr,
        is_directory: bool,
        asker: Asker,
        sink: &mut dyn Sink,
    ) -> Result<Answer, Errno> {
        let folder = self.object(directory)?;
        let known = self.held(directory, name)?;
        self.identity.take_on(asker)?;
        let flags = if is_directory { UnlinkatFlags::RemoveDir } else { UnlinkatFlags::NoRemoveDir };
        unlinkat(&*folder, name, flags)?;
        if let Some((id, object)) = known {
            let node = self.names.get(id).map_or(NodeId(0), |name| name.object);
            if !is_directory {
                sink.observe(FsEvent::LinkCount(self.nodes.object(node)));
            }
            self.name_removed(id, node, object, Some((directory, name)), asker, sink);
        } else {
            sink.observe(FsEvent::Delete { entry: entry(directory, name), directory: is_directory });
        }
        super::DONE
    }

    pub(super) fn rename(
        &mut self,
        (directory, name): At<'_>,
        (new_directory, new_name): At<'_>,
        flags: u32,
        asker: Asker,
        sink: &mut dyn Sink,
    ) -> Result<Answer, Errno> {
        let (folder, new_folder) = (self.object(directory)?, self.object(new_directory)?);
        let is_exchange = flags & libc::RENAME_EXCHANGE != 0;
        let target = self.held(new_directory, new_name)?;
        self.identity.take_on(asker)?;
        rename(&folder, name, &new_folder, new_name, flags)?;
        if new_directory != directory {
            self.moved();
        }
        let (from, to) = (entry(directory, name), entry(new_directory, new_name));
        let Some(moved) = self.names.find(directory, name.to_bytes()) else {
            // The kernel has looked it up; all the same, no rename may go untold.
            let (node, _) = self.made(&new_folder, (new_directory, new_name), asker)?;
            sink.observe(FsEvent::Rename { moved: self.nodes.object(node), from, to, replaced: None });
            self.release_node(node);
            return super::DONE;
        };
        let moved_node = self.names.get(moved).map_or(NodeId(0), |name| name.object);
        let target_node = target.as_ref().and_then(|(id, _)| self.names.get(*id)).map(|name| name.object);
        if is_exchange {
            if let (Some((other, _)), Some(other_node)) = (target, target_node) {
                self.names.exchange(moved, other);
                let object = self.nodes.object(moved_node);
                sink.observe(FsEvent::Rename { moved: object, from, to, replaced: None });
                let object = self.nodes.object(other_node);
                sink.observe(FsEvent::Rename { moved: object, from: to, to: from, replaced: None });
            }
            return super::DONE;
        }
        let replaced = target_node.map(|node| self.nodes.object(node));
        if let Some((id, _)) = &target {
            self.names.unlink(*id);
        }
        self.names.rename(moved, new_directory, new_name.to_bytes());
        self.nodes.name_used(moved_node, moved);
        sink.observe(FsEvent::Rename { moved: self.nodes.object(moved_node), from, to, replaced });
        if let (Some((id, object)), Some(node)) = (target, target_node) {
            self.name_removed(id, node, object, None, asker, sink);
        }
        super::DONE
    }

    /// The object that is known to stand under a name, in hand before the name goes.
    ///
    /// # Errors
    ///
    /// If there is no room for that now: it would go without being told.
    fn held(&mut self, directory: NodeId, name: &CStr) -> Result<Option<(NameId, Arc<OwnedFd>)>, Errno> {
        let known = self.names.find(directory, name.to_bytes());
        let Some((id, node)) = known.and_then(|id| Some((id, self.names.get(id)?.object))) else { return Ok(None) };
        match self.object(node) {
            Ok(object) => Ok(Some((id, object))),
            Err(error @ (Errno::EMFILE | Errno::ENFILE | Errno::ENOMEM)) => Err(error),
            Err(_) => Ok(None),
        }
    }

    /// A name has gone from its directory, by an unlink or a rmdir of `removed`, or by a rename. An object without another one is kept
    /// while anybody knows it.
    fn name_removed(
        &mut self,
        id: NameId,
        node: NodeId,
        object: Arc<OwnedFd>,
        removed: Option<At<'_>>,
        asker: Asker,
        sink: &mut dyn Sink,
    ) {
        let is_open = self.names.get(id).is_some_and(|name| name.opens > 0);
        self.unname(id);
        let is_directory = self.nodes.get(node).is_some_and(|node| node.kind == libc::S_IFDIR);
        let has_links = !is_directory && Status::of(&object).is_ok_and(|status| status.links > 0);
        if !has_links {
            self.pin(node, object);
            if !is_open {
                let deleted = removed.map(|(directory, name)| (directory, name.to_bytes().into()));
                return self.leave(Leaving { node, deleted, is_directory, thread: asker.thread, looks: 0 }, sink);
            }
        }
        if let Some((directory, name)) = removed {
            sink.observe(FsEvent::Delete { entry: entry(directory, name), directory: is_directory });
        }
    }
}

/// renameat2(2) only if it must be: Linux has it since 3.15.
fn rename(folder: &OwnedFd, name: &CStr, new_folder: &OwnedFd, new_name: &CStr, flags: u32) -> Result<(), Errno> {
    if flags == 0 {
        let (name, new_name) = (OsStr::from_bytes(name.to_bytes()), OsStr::from_bytes(new_name.to_bytes()));
        return nix::fcntl::renameat(folder, name, new_folder, new_name);
    }
    // SAFETY: both names are strings, which live through the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_renameat2,
            folder.as_raw_fd(),
            name.as_ptr(),
            new_folder.as_raw_fd(),
            new_name.as_ptr(),
            flags,
        )
    };
    Errno::result(result).map(drop)
}
