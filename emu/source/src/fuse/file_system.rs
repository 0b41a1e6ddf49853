//! The file system: each request is done in the lower tree, as the one that asks, and its hooks are told before the reply.

mod attributes;
mod directories;
mod entries;
mod extended;
mod files;
mod leaving;
mod objects;
mod opening;

pub use attributes::may_read;

use std::collections::{HashSet, VecDeque};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use nix::errno::Errno;

use super::device::{Device, Received};
use super::fast::Fast;
use super::identity::Identity;
use super::lower::Lower;
use super::mode::Mode;
use super::mount::TRANSFER_BYTES_MAX;
use super::names::{NameId, Names};
use super::nodes::Nodes;
use super::numbered::Numbered;
use super::open_files::OpenFiles;
use super::reply::{Numbering, Reply};
use super::request::{Handle, NodeId, Operation, Request};
use super::sink::Sink;
use super::slow::Slow;
use crate::status::Status;
use leaving::Leaving;

/// A passthrough file system. It belongs to the thread that made it, whose file system ids, groups, capabilities and umask change while it
/// serves.
#[derive(Debug)]
pub struct FileSystem {
    lower: Lower,
    nodes: Nodes,
    names: Names,
    files: OpenFiles,
    identity: Identity,
    numbering: Numbering,
    /// None in exact mode.
    fast: Option<Fast>,
    slow: Slow,
    /// Whether FLUSH is worth a request.
    flushes: bool,
    /// The request.
    message: Vec<u8>,
    /// The reply's fields.
    reply: Reply,
    /// What a read has read.
    data: Vec<u8>,
    /// An object of which it is not yet known whether anybody holds it.
    leaving: Option<Leaving>,
    /// Objects without links that are held in a way that is not told.
    held: HashSet<NodeId>,
    /// Directories that the kernel has forgotten in front of the end of a file in them.
    waiting: Vec<NodeId>,
    /// Requests that were read and not handled yet.
    ahead: VecDeque<Vec<u8>>,
    /// Where those are read.
    spare: Vec<u8>,
    /// What the last request of a thread looked up, if it did that.
    looked_up: Numbered<u32, NameId>,
    /// Whose request was the last one, if they wait for its reply.
    last_thread: Option<u32>,
    /// Whose requests were answered since settling began.
    answered: HashSet<u32>,
}

/// What serving has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Served {
    /// One request was handled and answered.
    One,
    /// None is there now.
    Nothing,
    /// The file system is unmounted: no more will come.
    Ended,
}

/// How a request that has succeeded is answered.
enum Answer {
    /// With the fields of the reply.
    Reply(Given),
    /// With so many bytes of data.
    Data(usize),
    /// Not here: not at all, or by another thread.
    None,
    Ended,
}

/// What a reply gives to the kernel, and has to be taken back if it does not arrive.
enum Given {
    Nothing,
    Node(NodeId),
    Open(Handle),
    NodeAndOpen(NodeId, Handle),
}

/// More requests than the kernel queues at a time.
const QUEUED_MAX: usize = 1 << 17;

/// A reply without more.
const DONE: Result<Answer, Errno> = Ok(Answer::Reply(Given::Nothing));

impl FileSystem {
    /// Shows the tree below `root`, a directory that was opened before the mount covered it.
    ///
    /// # Errors
    ///
    /// If the directory cannot be read, there is no procfs, or this thread cannot have a umask of its own.
    pub fn new(root: OwnedFd, mode: Mode) -> Result<Self, Errno> {
        let status = Status::of(&root)?;
        let lower = Lower::new(root)?;
        let is_overlay = lower.is_overlay();
        let nodes = Nodes::new(&status, is_overlay);
        let flushes = lower.reports_on_close();
        Ok(Self {
            lower,
            nodes,
            names: Names::default(),
            files: OpenFiles::default(),
            identity: Identity::new()?,
            numbering: Numbering { device: status.key.device, spans_devices: is_overlay },
            fast: (mode == Mode::Fast).then(Fast::default),
            slow: Slow::default(),
            flushes,
            message: vec![0; TRANSFER_BYTES_MAX as usize + 4096],
            reply: Reply::default(),
            data: vec![0; TRANSFER_BYTES_MAX as usize],
            leaving: None,
            held: HashSet::new(),
            waiting: Vec::new(),
            ahead: VecDeque::new(),
            spare: Vec::new(),
            looked_up: Numbered::default(),
            last_thread: None,
            answered: HashSet::new(),
        })
    }

    /// Handles the next request, if there is one, and answers it; its hooks go to `sink` before. Never waits for the device.
    ///
    /// Requests come in the order in which the kernel has queued them. A caller that goes on until there is [`Served::Nothing`] has
    /// handled all whose system call returned before; then it has to [`rest`](Self::rest) before it does other work.
    ///
    /// # Errors
    ///
    /// If the device cannot be read, or the kernel does not take an answer.
    pub fn serve(&mut self, device: &Device, sink: &mut dyn Sink) -> Result<Served, Errno> {
        let mut message = std::mem::take(&mut self.message);
        let received = match self.ahead.pop_front() {
            Some(ahead) => {
                message.get_mut(..ahead.len()).unwrap_or_default().copy_from_slice(&ahead);
                Ok(Received::Request(ahead.len()))
            }
            None => device.receive(&mut message),
        };
        let served = match received {
            Ok(Received::Request(length)) => {
                self.serve_message(device, message.get(..length).unwrap_or_default(), sink)
            }
            Ok(Received::Nothing) => Ok(Served::Nothing),
            Ok(Received::Ended) => Ok(Served::Ended),
            Err(error) => Err(error),
        };
        self.message = message;
        served
    }

    /// Gives the thread its own rights back.
    pub fn rest(&mut self) {
        self.identity.rest();
    }

    fn serve_message(&mut self, device: &Device, message: &[u8], sink: &mut dyn Sink) -> Result<Served, Errno> {
        let request = Request::parse(message).ok_or(Errno::EPROTO)?;
        if !request.operation.forgets() {
            self.find_out_leaving(device, request.waiting_thread(), sink)?;
        }
        self.last_thread = request.waiting_thread();
        self.answer(device, &request, sink)
    }

    /// Handles all requests whose system call has returned by now, and perhaps some more; their hooks go to `sink`.
    ///
    /// However many programs ask without a pause, it comes to an end: requests are queued in order, so that a second one of a thread
    /// that was answered since was queued later than all those.
    ///
    /// # Errors
    ///
    /// As [`serve`](Self::serve).
    pub fn settle(&mut self, device: &Device, sink: &mut dyn Sink) -> Result<Served, Errno> {
        self.answered.clear();
        let mut served_count = 0;
        loop {
            served_count += 1;
            match self.serve(device, sink)? {
                // Who is not known by a number does not come again: so many are not queued at one moment.
                Served::One if served_count > QUEUED_MAX || self.comes_again() => return Ok(Served::One),
                Served::One => {}
                Served::Nothing if self.forget_may_come(device, None) => {}
                served => {
                    self.tell_left(sink);
                    return Ok(served);
                }
            }
        }
    }

    /// Whether an event waits for what the kernel says next of an object, or for [`settle`](Self::settle). If nothing comes for a moment, it is
    /// time to [look again](Self::look_again).
    #[must_use]
    pub fn is_undecided(&self) -> bool {
        self.leaving.is_some()
    }

    /// Whether requests were read that are not handled yet: the device is not ready for them any more.
    #[must_use]
    pub fn is_ahead(&self) -> bool {
        !self.ahead.is_empty()
    }

    /// Whether the thread of the last request had another one answered before it, since `answered` is kept.
    fn comes_again(&mut self) -> bool {
        match self.last_thread {
            Some(thread) => !self.answered.insert(thread),
            None => false,
        }
    }

    /// Keeps the number of an object, which is watched, until it is [let go](Self::let_go) as often.
    pub fn hold(&mut self, node: NodeId) {
        self.nodes.hold(node, 1);
    }

    /// It is watched once less.
    pub fn let_go(&mut self, node: NodeId) {
        self.nodes.hold(node, -1);
        self.release_node(node);
    }

    /// The object in the lower tree, by an `O_PATH` descriptor.
    ///
    /// # Errors
    ///
    /// ESTALE if it is not known, or is no longer where it was.
    pub fn lower_object(&mut self, node: NodeId) -> Result<Arc<OwnedFd>, Errno> {
        self.object(node)
    }

    /// An object, as hooks tell of it.
    #[must_use]
    pub fn object_of(&self, node: NodeId) -> uinotify_core::Object {
        self.nodes.object(node)
    }

    /// The number of an object's inode, as stat(2) shows it through the mount.
    #[must_use]
    pub fn inode_number(&self, node: NodeId) -> Option<u64> {
        self.nodes.get(node).map(|node| self.numbering.number(node.key))
    }

    /// How many objects the kernel knows.
    #[must_use]
    pub fn known_objects(&self) -> usize {
        self.nodes.len()
    }

    fn answer(&mut self, device: &Device, request: &Request<'_>, sink: &mut dyn Sink) -> Result<Served, Errno> {
        self.reply.clear();
        if let Some(fast) = &mut self.fast {
            fast.expires(device);
        }
        let result = self.handle(device, request, sink);
        // The kernel looks for capabilities of the file in between.
        if !matches!(request.operation, Operation::Lookup { .. } | Operation::GetExtended { .. })
            && self.last_thread.is_some()
        {
            self.looked_up.remove(&request.asker.thread);
        }
        if let Some(fast) = &mut self.fast {
            fast.tell(device, &mut self.identity);
        }
        let given = match result {
            Ok(Answer::None) => return Ok(Served::One),
            Ok(Answer::Ended) => {
                device.send(request.unique, Ok(&[]))?;
                return Ok(Served::Ended);
            }
            Ok(Answer::Reply(given)) => {
                if device.send(request.unique, Ok(self.reply.bytes()))? {
                    return Ok(Served::One);
                }
                given
            }
            Ok(Answer::Data(length)) => {
                device.send(request.unique, Ok(self.data.get(..length).unwrap_or_default()))?;
                return Ok(Served::One);
            }
            // Of the emulator's own descriptors there are too many, not of the program's.
            Err(Errno::EMFILE) => {
                device.send(request.unique, Err(Errno::ENFILE))?;
                return Ok(Served::One);
            }
            Err(error) => {
                device.send(request.unique, Err(error))?;
                return Ok(Served::One);
            }
        };
        // Whoever asked was killed: the kernel does not know what it would have been given.
        let (node, handle) = match given {
            Given::Nothing => (None, None),
            Given::Node(node) => (Some(node), None),
            Given::Open(handle) => (None, Some(handle)),
            Given::NodeAndOpen(node, handle) => (Some(node), Some(handle)),
        };
        if let Some(handle) = handle {
            self.release(handle, sink)?;
        }
        if let Some(node) = node {
            self.forget(node, 1, sink);
        }
        if let Some(fast) = &mut self.fast {
            fast.tell(device, &mut self.identity);
        }
        Ok(Served::One)
    }

    fn handle(&mut self, device: &Device, request: &Request<'_>, sink: &mut dyn Sink) -> Result<Answer, Errno> {
        let Request { node, asker, .. } = *request;
        if let Operation::MakeNode { umask, .. }
        | Operation::MakeDirectory { umask, .. }
        | Operation::Create { umask, .. }
        | Operation::Unnamed { umask, .. } = request.operation
        {
            self.identity.set_umask(umask);
        }
        match request.operation {
            Operation::Lookup { name } => self.look_up(node, name, asker),
            Operation::Forget { lookups } => {
                self.forget(node, lookups, sink);
                Ok(Answer::None)
            }
            Operation::BatchForget { forgets } => {
                for (node, lookups) in forgets {
                    self.forget(node, lookups, sink);
                }
                Ok(Answer::None)
            }
            Operation::GetAttributes { handle } => self.attributes(node, handle),
            Operation::Statx { handle } => self.statx(node, handle),
            Operation::SetAttributes(set) => self.set_attributes(node, set, asker, sink),
            Operation::Access { mask } => self.access(node, mask, asker),
            Operation::Statistics => self.statistics(node),
            Operation::ReadLink => self.read_link(node),
            Operation::SymbolicLink { name, target } => self.make_symbolic_link(node, name, target, asker, sink),
            Operation::MakeNode { name, mode, device, .. } => self.make_node(node, name, mode, device, asker, sink),
            Operation::MakeDirectory { name, mode, .. } => self.make_directory(node, name, mode, asker, sink),
            Operation::Unlink { name } => self.remove(node, name, false, asker, sink),
            Operation::RemoveDirectory { name } => self.remove(node, name, true, asker, sink),
            Operation::Rename { name, new_directory, new_name, flags } => {
                self.rename((node, name), (new_directory, new_name), flags, asker, sink)
            }
            Operation::Link { object, name } => self.link(object, node, name, asker, sink),
            Operation::Open { flags } => self.open(device, node, flags, asker, sink),
            Operation::Create { name, flags, mode, .. } => self.create(device, (node, name), flags, mode, asker, sink),
            Operation::Unnamed { flags, mode, .. } => self.create_unnamed(device, node, flags, mode, asker, sink),
            Operation::Read(place) => self.read(place, asker, sink),
            Operation::Write { place, data } => self.write(place, data, asker, sink),
            Operation::Flush { handle } => self.flush(handle),
            Operation::Release { handle } | Operation::ReleaseDirectory { handle } => {
                self.release(handle, sink)?;
                DONE
            }
            Operation::Synchronize { handle, data_only } | Operation::SynchronizeDirectory { handle, data_only } => {
                self.synchronize(device, request.unique, handle, data_only)
            }
            Operation::SynchronizeAll => self.synchronize_all(device, request.unique),
            Operation::OpenDirectory { flags } => self.open_directory(node, flags, asker, sink),
            Operation::ReadDirectory(place) => self.read_directory(place, sink),
            Operation::SetExtended { name, value, flags } => self.set_extended(node, name, value, flags, asker, sink),
            Operation::GetExtended { name, size } => self.get_extended(node, name, size, asker),
            Operation::ListExtended { size } => self.list_extended(node, size, asker),
            Operation::RemoveExtended { name } => self.remove_extended(node, name, asker, sink),
            Operation::Allocate { handle, offset, length, mode } => {
                self.allocate(handle, offset, length, mode, asker, sink)
            }
            Operation::Seek { handle, offset, whence } => self.seek(handle, offset, whence),
            Operation::Copy { from, from_offset, to, to_offset, length, flags, .. } => {
                self.copy((from, from_offset), (to, to_offset), length, flags, asker, sink)
            }
            Operation::Control { handle, command, input, output_size } => {
                self.control(handle, command, input, output_size, asker)
            }
            Operation::Destroy => Ok(Answer::Ended),
            // ENOSYS ends these: a request is done before the next is read, so that none can be interrupted.
            Operation::Interrupt | Operation::Other => Err(Errno::ENOSYS),
        }
    }
}
