//! When an object without links is gone: Linux says so when nobody holds it any more.
//!
//! Open files are known here. Of who holds it otherwise (O_PATH, a working directory) the kernel tells nothing but the end, by FORGET. Where nobody
//! does, it has queued the FORGET before the call returns that took the last name or file away; so what it says next decides, and until then the
//! events that follow wait.

use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, poll};
use uinotify_core::{Entry, FsEvent, ObjectId};

use super::FileSystem;
use crate::fuse::device::{Device, Received};
use crate::fuse::nodes::Node;
use crate::fuse::request::{NodeId, Request};
use crate::fuse::sink::Sink;
use crate::fuse::system_call::SystemCall;

/// An object without links and open files.
#[derive(Debug)]
pub(super) struct Leaving {
    pub(super) node: NodeId,
    /// The directory and the name that it was deleted from, to be told behind the end of the object.
    pub(super) deleted: Option<(NodeId, Box<[u8]>)>,
    pub(super) is_directory: bool,
    /// Who has taken the last name away.
    pub(super) thread: u32,
    /// How often it was looked at in vain.
    pub(super) looks: u32,
}

/// With more open files it is not worth while to look at each.
const OPEN_FILES_MAX: usize = 64;

/// How much is read ahead: many writes may be queued.
const AHEAD_BYTES_MAX: usize = 64 << 20;

/// How long a thread that has been answered may take to return from its call, before others are served: so often, a millisecond each.
const WAITS_MAX: u32 = 5;

/// How often to look for a thread that is about to return from its call, or computes.
const LOOKS_MAX: u32 = 40;

impl FileSystem {
    /// A name or the last open file of a name has gone, and no link is left.
    pub(super) fn leave(&mut self, leaving: Leaving, sink: &mut dyn Sink) {
        let (lookups, opens) =
            self.nodes.get(leaving.node).map_or((false, false), |node| (node.is_looked_up(), node.opens > 0));
        // With a file that is open by another name, this name's end is the deletion (EVENT-17).
        if opens || !lookups {
            self.gone(leaving.node, sink);
            return tell_deleted(&leaving, sink);
        }
        sink.expect(ObjectId(leaving.node.0));
        if let Some((directory, _)) = leaving.deleted {
            sink.expect(ObjectId(directory.0));
        }
        self.leaving = Some(leaving);
    }

    /// Whether something that has happened may be told later, of objects for which `is_watched` says so: a close that the kernel has queued, the end of
    /// what is held. Never no by mistake.
    #[must_use]
    pub fn may_tell_later(&self, is_watched: impl Fn(NodeId) -> bool) -> bool {
        let is_undecided = self.leaving.is_some() || !self.held.is_empty() || !self.waiting.is_empty();
        is_undecided
            || self.files.len() > OPEN_FILES_MAX
            || self.files.iter().filter(|file| !file.is_internal).any(|file| {
                let name = file.name.and_then(|name| self.names.get(name));
                is_watched(file.node) || name.is_some_and(|name| is_watched(name.directory))
            })
    }

    /// Tells that an object is gone: each of its names tells so that goes when there is no link.
    fn gone(&self, node: NodeId, sink: &mut dyn Sink) {
        sink.observe(FsEvent::Gone(self.nodes.object(node)));
    }

    /// The kernel knows an object no longer: if it has no link, it is gone.
    pub(super) fn let_go_of_unlinked(&mut self, node: NodeId, sink: &mut dyn Sink) {
        self.held.remove(&node);
        if self.nodes.get(node).is_some_and(|node| node.pinned.is_some() && node.opens == 0) {
            // An open file keeps the directory of its name: its RELEASE is on the way.
            if self.is_directory_of_open_file(node) {
                self.waiting.push(node);
                if let Some(leaving) = self.leaving.take_if(|leaving| leaving.node == node) {
                    tell_deleted(&leaving, sink);
                }
                return;
            }
            self.gone(node, sink);
            if let Some(leaving) = self.leaving.take_if(|leaving| leaving.node == node) {
                tell_deleted(&leaving, sink);
            }
            self.let_go_of_directories(sink);
        }
    }

    fn is_directory_of_open_file(&self, node: NodeId) -> bool {
        let mut names = self.files.iter().filter_map(|file| self.names.get(file.name?));
        names.any(|name| name.directory == node)
    }

    /// A file was closed, perhaps the last that kept the directory of its name. Its own end comes first.
    pub(super) fn let_go_of_directories(&mut self, sink: &mut dyn Sink) {
        if self.leaving.is_some() {
            return;
        }
        for node in std::mem::take(&mut self.waiting) {
            if self.is_directory_of_open_file(node) {
                self.waiting.push(node);
            } else {
                self.gone(node, sink);
            }
        }
    }

    /// Whether the kernel has forgotten such an object has to be known before another request is handled. What it forgets it tells in a list of its
    /// own, which may come later than requests that it has queued behind.
    pub(super) fn find_out_leaving(
        &mut self,
        device: &Device,
        asker: Option<u32>,
        sink: &mut dyn Sink,
    ) -> Result<(), Errno> {
        if self.leaving.is_none() && self.held.is_empty() {
            return Ok(());
        }
        let mut spare = std::mem::take(&mut self.spare);
        spare.resize(self.data.len() + 4096, 0);
        let mut ahead_bytes: usize = self.ahead.iter().map(Vec::len).sum();
        while (self.leaving.is_some() || !self.held.is_empty()) && ahead_bytes < AHEAD_BYTES_MAX {
            let length = match device.receive(&mut spare)? {
                Received::Request(length) => length,
                Received::Nothing if self.forget_may_come(device, asker) => continue,
                Received::Nothing | Received::Ended => break,
            };
            let message = spare.get(..length).unwrap_or_default();
            match Request::parse(message) {
                Some(request) if request.operation.forgets() => {
                    self.answer(device, &request, sink)?;
                }
                _ => {
                    ahead_bytes += message.len();
                    self.ahead.push_back(message.into());
                }
            }
        }
        self.spare = spare;
        self.tell_left(sink);
        Ok(())
    }

    /// Waits, not for long, until the device has something to read, as long as the call that took the last name away may not have returned; `asker`
    /// has returned from it. False if there is nothing more to come.
    pub(super) fn forget_may_come(&mut self, device: &Device, asker: Option<u32>) -> bool {
        let Some(leaving) = &self.leaving else { return false };
        let thread = leaving.thread;
        if leaving.deleted.is_none() || thread == 0 || asker == Some(thread) {
            return false;
        }
        for _ in 0..WAITS_MAX {
            let mut entry = [PollFd::new(device.as_fd(), PollFlags::POLLIN)];
            if poll(&mut entry, 1_u8) != Ok(0) {
                return true;
            }
            self.identity.own();
            if !SystemCall::may_be_in_removal(thread) {
                return false;
            }
        }
        false
    }

    /// Nothing has come for a moment: has the call returned that took the last name away, so that nothing will?
    pub fn look_again(&mut self, sink: &mut dyn Sink) {
        let Some(leaving) = &mut self.leaving else { return };
        leaving.looks += 1;
        let (thread, looks) = (leaving.thread, leaving.looks);
        self.identity.own();
        if looks > LOOKS_MAX || !SystemCall::may_be_in_removal(thread) {
            self.tell_left(sink);
        }
    }

    /// The tree is unmounted: all that was open is closed, and nobody holds anything. The kernel says no more of that, and throws away what it has
    /// queued.
    pub fn end(&mut self, sink: &mut dyn Sink) {
        self.identity.own();
        for handle in self.files.handles() {
            let _ = self.release(handle, sink);
            self.tell_left(sink);
        }
        self.tell_left(sink);
        let mut held: Vec<_> = self.held.drain().collect();
        held.sort_unstable_by_key(|node| node.0);
        for node in held {
            self.gone(node, sink);
        }
    }

    /// Somebody holds the object: its end is told later.
    pub(super) fn tell_left(&mut self, sink: &mut dyn Sink) {
        if let Some(leaving) = self.leaving.take() {
            if self.nodes.get(leaving.node).is_some_and(Node::is_looked_up) {
                self.held.insert(leaving.node);
            }
            tell_deleted(&leaving, sink);
            self.let_go_of_directories(sink);
        }
    }
}

fn tell_deleted(leaving: &Leaving, sink: &mut dyn Sink) {
    if let Some((directory, name)) = &leaving.deleted {
        let entry = Entry { directory: ObjectId(directory.0), name };
        sink.observe(FsEvent::Delete { entry, directory: leaving.is_directory });
    }
}
