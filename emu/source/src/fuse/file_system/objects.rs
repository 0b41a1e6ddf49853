//! Objects: found by name, held by descriptor, found again.

use std::ffi::CStr;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use nix::errno::Errno;
use uinotify_core::Subject;

use super::{Answer, FileSystem, Given};
use crate::fuse::lower::open_object;
use crate::fuse::names::NameId;
use crate::fuse::request::{Asker, NodeId};
use crate::fuse::sink::Sink;
use crate::fuse::system_call::SystemCall;
use crate::status::Status;

/// How many kept descriptors go at once when there is no room for another.
const ROOM: usize = 16;

/// Threads may end behind a look-up.
const LOOKED_UP_MAX: usize = 1024;

impl FileSystem {
    pub(super) fn look_up(&mut self, directory: NodeId, name: &CStr, asker: Asker) -> Result<Answer, Errno> {
        if self.looked_up.len() >= LOOKED_UP_MAX {
            self.looked_up.clear();
        }
        self.looked_up.remove(&asker.thread);
        let (node, status) = self.find(directory, name, asker)?;
        if asker.thread != 0
            && let Some(name) = self.names.find(directory, name.to_bytes())
        {
            self.looked_up.insert(asker.thread, name);
        }
        Ok(self.entry(directory, node, &status))
    }

    /// A reply that tells the kernel of an object, by a name in a directory.
    pub(super) fn entry(&mut self, directory: NodeId, node: NodeId, status: &Status) -> Answer {
        self.nodes.look_up(node);
        let hold = self.entry_holds(directory, node, status);
        self.reply.entry(node, status, self.numbering, hold);
        Answer::Reply(Given::Node(node))
    }

    pub(super) fn forget(&mut self, node: NodeId, lookups: u64, sink: &mut dyn Sink) {
        if self.nodes.forget(node, lookups) {
            self.let_go_of_unlinked(node, sink);
        }
        self.release_node(node);
    }

    /// Drops what nobody needs any more.
    pub(super) fn release_node(&mut self, node: NodeId) {
        for released in self.nodes.release(node, &mut self.names) {
            self.lower.descriptors.remove(released);
        }
    }

    /// What stands under a name now, as the caller may see it.
    pub(super) fn find(&mut self, directory: NodeId, name: &CStr, asker: Asker) -> Result<(NodeId, Status), Errno> {
        let bytes = name.to_bytes();
        if matches!(bytes, b"" | b"." | b"..") || bytes.contains(&b'/') {
            return Err(Errno::EINVAL);
        }
        let folder = self.object(directory)?;
        self.identity.take_on(asker)?;
        let known = self.names.find(directory, bytes);
        // An object whose descriptor is kept is the same if its status is: while it is held its number goes to no other.
        let held = known
            .and_then(|name| self.names.get(name))
            .map(|name| name.object)
            .filter(|node| self.lower.descriptors.get(*node).is_some());
        let found = match held {
            Some(node) => Status::under(&folder, name).map(|status| (status, Some(node))),
            None => self.open_and_keep(&folder, name),
        };
        match found {
            Ok((status, node)) => {
                let node = match node.filter(|node| self.nodes.get(*node).is_some_and(|node| node.is(&status))) {
                    Some(node) => node,
                    None => self.nodes.identify(&status),
                };
                self.name(directory, bytes, node, asker.thread);
                Ok((node, status))
            }
            Err(error) => {
                if error == Errno::ENOENT
                    && let Some(known) = known
                {
                    self.unname(known);
                }
                Err(error)
            }
        }
    }

    fn open_and_keep(&mut self, folder: &OwnedFd, name: &CStr) -> Result<(Status, Option<NodeId>), Errno> {
        let object = self.with_room(|_| open_object(folder, name))?;
        let status = Status::of(&object)?;
        let node = self.nodes.identify(&status);
        self.keep(node, Arc::new(object));
        Ok((status, Some(node)))
    }

    /// A name leads to an object from now on.
    pub(super) fn name(&mut self, directory: NodeId, bytes: &[u8], node: NodeId, thread: u32) -> NameId {
        let known = self.names.find(directory, bytes);
        let id = match known {
            Some(id) if self.names.get(id).is_some_and(|name| name.object == node) => id,
            known => {
                if let Some(known) = known {
                    self.unname(known);
                }
                self.second_name(node);
                self.names.add(directory, bytes, node, thread)
            }
        };
        if let Some(name) = self.names.get_mut(id) {
            name.thread = thread;
        }
        self.nodes.name_used(node, id);
        id
    }

    /// A name leads to its object no longer; open files remember it.
    pub(super) fn unname(&mut self, id: NameId) {
        self.names.unlink(id);
        let Some(name) = self.names.get(id) else { return };
        let (node, opens) = (name.object, name.opens);
        self.nodes.name_gone(node, id);
        if opens == 0 {
            self.names.remove(id);
        }
    }

    /// The descriptor of an object, kept or got back; not as the caller.
    ///
    /// # Errors
    ///
    /// ESTALE if it is no longer where it was.
    pub(super) fn object(&mut self, node: NodeId) -> Result<Arc<OwnedFd>, Errno> {
        if let Some(object) = self.at_hand(node) {
            return Ok(object);
        }
        self.identity.own();
        if let Some(object) = self.by_handle(node)? {
            return Ok(object);
        }
        // Up to a directory that there is a way to, and down again by names.
        let mut way = Vec::new();
        let mut here = node;
        let mut object = loop {
            let name = self.living_name(here).ok_or(Errno::ESTALE)?;
            way.push((here, name));
            here = self.names.get(name).ok_or(Errno::ESTALE)?.directory;
            if let Some(object) = self.at_hand(here) {
                break object;
            }
            if let Some(object) = self.by_handle(here)? {
                break object;
            }
        };
        while let Some((node, name)) = way.pop() {
            let bytes = Arc::<[u8]>::from(&*self.names.get(name).ok_or(Errno::ESTALE)?.bytes);
            let name = std::ffi::CString::new(&*bytes).map_err(|_| Errno::ESTALE)?;
            let found = self.with_room(|_| open_object(&object, &name)).map_err(stale)?;
            let status = Status::of(&found)?;
            if !self.nodes.get(node).is_some_and(|node| node.is(&status)) {
                return Err(Errno::ESTALE);
            }
            object = Arc::new(found);
            self.keep(node, Arc::clone(&object));
        }
        Ok(object)
    }

    fn at_hand(&mut self, node: NodeId) -> Option<Arc<OwnedFd>> {
        if node == NodeId::ROOT {
            return Some(Arc::clone(&self.lower.root));
        }
        self.lower.descriptors.get(node).or_else(|| self.nodes.get(node)?.pinned.clone())
    }

    fn by_handle(&mut self, node: NodeId) -> Result<Option<Arc<OwnedFd>>, Errno> {
        let Some(handle) = self.nodes.get(node).ok_or(Errno::ESTALE)?.handle.clone() else { return Ok(None) };
        let object = Arc::new(self.with_room(|this| this.lower.open_handle(&handle))?);
        self.keep(node, Arc::clone(&object));
        Ok(Some(object))
    }

    fn living_name(&self, node: NodeId) -> Option<NameId> {
        let names = &self.nodes.get(node)?.names;
        names.iter().rev().find(|name| self.names.get(**name).is_some_and(|name| !name.is_unlinked)).copied()
    }

    /// Keeps a descriptor. Of the object whose descriptor has to go the handle is kept.
    pub(super) fn keep(&mut self, node: NodeId, object: Arc<OwnedFd>) {
        if node != NodeId::ROOT
            && let Some(dropped) = self.lower.descriptors.insert(node, object)
        {
            self.remember(dropped);
        }
    }

    fn remember(&mut self, (node, object): (NodeId, Arc<OwnedFd>)) {
        if let Some(node) = self.nodes.get_mut(node)
            && node.handle.is_none()
        {
            node.handle = self.lower.handle_of(&object);
        }
    }

    /// Keeps an object for as long as it is known: it has no name to be found again by.
    pub(super) fn pin(&mut self, node: NodeId, object: Arc<OwnedFd>) {
        self.nodes.hide(node);
        self.lower.descriptors.remove(node);
        if let Some(node) = self.nodes.get_mut(node) {
            node.pinned = Some(object);
        }
    }

    /// Opens something; descriptors that are only kept make room for it.
    pub(super) fn with_room<T>(&mut self, mut open: impl FnMut(&Self) -> Result<T, Errno>) -> Result<T, Errno> {
        loop {
            match open(self) {
                Err(Errno::EMFILE) => {}
                result => return result,
            }
            let mut dropped = 0;
            while dropped < ROOM
                && let Some(kept) = self.lower.descriptors.drop_one()
            {
                self.remember(kept);
                dropped += 1;
            }
            if dropped == 0 {
                return Err(Errno::EMFILE);
            }
        }
    }

    /// The name by which a call comes to an object. A path's is looked up directly before; without that it is a descriptor's.
    pub(super) fn name_by(&mut self, id: NodeId, asker: Asker) -> Option<NameId> {
        let node = self.nodes.get(id)?;
        if let [name] = node.names[..]
            && node.open_names.iter().all(|open| *open == name)
        {
            return Some(name);
        }
        let open_names = node.open_names.clone();
        let looked_up = self.looked_up.get(&asker.thread).copied();
        let by_path = looked_up.filter(|name| self.names.get(*name).is_some_and(|name| name.object == id));
        let Some(latest) = open_names.last().copied() else {
            return by_path.or_else(|| self.nodes.name_for(id, asker.thread, &self.names));
        };
        // It may have been looked up for a call that went no further, and which of several open files is meant no request says.
        if open_names.iter().all(|name| by_path.is_none_or(|path| path == *name) && *name == latest) {
            return Some(latest);
        }
        self.identity.own();
        let call = SystemCall::of(asker.thread).filter(|call| call.is_by_descriptor());
        let path = call.and_then(|call| call.path_of_descriptor(asker.thread)).unwrap_or_default();
        let meant = open_names.iter().rev().find(|name| self.leads_to(&path, **name)).copied();
        meant.or(by_path.filter(|_| call.is_none())).or(Some(latest))
    }

    /// Whether a path, which may begin above the root of this tree, leads to a name.
    fn leads_to(&self, path: &[u8], name: NameId) -> bool {
        let mut parts = path.rsplit(|byte| *byte == b'/');
        let mut name = self.names.get(name);
        while let Some(here) = name {
            if parts.next() != Some(&*here.bytes) {
                return false;
            }
            name = self.living_name(here.directory).and_then(|name| self.names.get(name));
        }
        true
    }

    /// What an event of an object says of it.
    pub(super) fn subject(&self, node: NodeId, name: Option<NameId>) -> Subject<'_> {
        let name = name.and_then(|name| self.names.get(name));
        Subject {
            object: self.nodes.object(node),
            entry: name.map(|name| name.entry()),
            unlinked: name.is_some_and(|name| name.is_unlinked),
        }
    }

    /// The same for a call with a path.
    pub(super) fn subject_for(&mut self, node: NodeId, asker: Asker) -> Subject<'_> {
        let name = self.name_by(node, asker);
        self.subject(node, name)
    }
}

fn stale(error: Errno) -> Errno {
    match error {
        Errno::ENOENT | Errno::ENOTDIR => Errno::ESTALE,
        error => error,
    }
}
