//! What procfs would show: the text of fdinfo, the limits in force, whose socket it is.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use uinotify_core::ObjectId;
use uinotify_source::fanotify::is_numbered;
use uinotify_source::script::Identity;
use uinotify_wire::{LimitFile, Reply, Request, RequestKind};

use super::Emulator;
use crate::closer::close_apart;
use crate::connection::Peer;
use crate::frame;
use crate::reply::{Relay, ReplyObject, error};
use crate::session::Session;
use crate::text_file;
use crate::trees::Shown;

/// The permission bits of the files in /proc/sys.
const LIMIT_MODE: u32 = 0o644;

type Answer = Result<Option<OwnedFd>, Errno>;

fn errno_of(problem: &io::Error) -> Errno {
    problem.raw_os_error().map_or(Errno::ENOMEM, Errno::from_raw)
}

impl Emulator {
    /// An inquiry over the program's own descriptor, or over its control connection.
    pub(super) fn describe_own(&self, id: u64, request: &Request<'_>) -> Answer {
        self.sessions.get(&id).ok_or(Errno::EIO).and_then(|session| self.describe(session, request.word))
    }

    fn describe(&self, session: &Session, flags: u32) -> Answer {
        session
            .information(&self.tools.engine, &|object| self.shown(object), flags)
            .and_then(|(text, mode)| text_file::open(text.as_bytes(), mode))
            .map(Some)
            .map_err(|problem| errno_of(&problem))
    }

    /// By what people know an object that is observed.
    pub(super) fn shown(&self, object: ObjectId) -> Option<Shown> {
        if let Some(Identity { device, inode, handle }) = self.script.known_by(object) {
            return Some(Shown { inode: *inode, device: *device, handle: handle.clone() });
        }
        if !is_numbered(object) {
            return self.trees.shown(object);
        }
        let (device, inode, handle) = self.marked.as_ref()?.known_by(object)?;
        let (kind, bytes) = handle.parts();
        Some(Shown { inode, device, handle: (kind, bytes.to_vec()) })
    }

    /// An inquiry of somebody who need not have an instance.
    pub(super) fn inquire(&self, peer: Peer, request: &Request<'_>) -> Answer {
        if !self.admits(peer, request.payload) && !peer.is_ourselves() && peer.uid != 0 {
            return Err(Errno::EPERM);
        }
        match request.kind {
            RequestKind::Find => self.find(request.argument).map(|_| None),
            RequestKind::Describe => {
                let session = self.find(request.argument)?;
                // As for the file itself, which belongs to the process's user.
                if peer.uid != session.creator.uid && peer.uid != 0 && !peer.is_ourselves() {
                    return Err(Errno::EACCES);
                }
                self.describe(session, request.word)
            }
            RequestKind::Limit => self.limit(request.word),
            _ => Err(Errno::EINVAL),
        }
    }

    fn find(&self, program_inode: u64) -> Result<&Session, Errno> {
        self.sessions.values().find(|session| session.program_inode == program_inode).ok_or(Errno::ENOENT)
    }

    /// The text of a limit that is not the machine's.
    fn limit(&self, file: u32) -> Answer {
        let limits = &self.config.limits;
        let limit = match LimitFile::from_word(file).ok_or(Errno::EINVAL)? {
            LimitFile::QueuedEvents => limits.queue_events_max,
            LimitFile::Instances => limits.instances_max,
            LimitFile::Watches => limits.watches_max,
        };
        limit
            .map(|limit| text_file::open(format!("{limit}\n").as_bytes(), LIMIT_MODE))
            .transpose()
            .map_err(|problem| errno_of(&problem))
    }
}

/// Sends an answer to an inquiry.
pub(super) fn send(socket: &impl AsFd, answer: &Answer) -> Result<(), Errno> {
    let (reply, text) = match answer {
        Ok(text) => (Reply::default(), text.as_ref()),
        Err(errno) => (error(*errno), None),
    };
    frame::send(socket.as_fd(), [&reply.encode(), &[]], text.map(AsFd::as_fd).as_slice())
}

/// Sends an answer to a reply object.
pub(super) fn send_to_object(object: ReplyObject, answer: &Answer, relay: &Relay) {
    match object {
        ReplyObject::Socket(socket) => {
            // A program that does not take it has itself to blame.
            let _ = send(&socket, answer);
            close_apart(socket);
        }
        // It cannot carry a descriptor.
        ReplyObject::Pipe(_) => object.send(&error(Errno::EINVAL), relay),
    }
}
