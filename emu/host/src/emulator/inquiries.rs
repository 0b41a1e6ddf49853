//! What procfs would show: the text of fdinfo, the limits in force, whose socket it is.

use std::fmt::Write;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use uinotify_core::{Mask, ObjectId, Profile};
use uinotify_source::fanotify::is_numbered;
use uinotify_source::poll::{Known, is_polled};
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

/// The permission bits of fdinfo before Linux 5.14.
const EL7_FDINFO_MODE: u32 = 0o400;

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
            .map(|(text, mode)| match self.config.profile {
                Profile::Native => (text, mode),
                Profile::El7 => (fdinfo_of_el7(&text), EL7_FDINFO_MODE),
            })
            .and_then(|(text, mode)| text_file::open(text.as_bytes(), mode))
            .map(Some)
            .map_err(|problem| errno_of(&problem))
    }

    /// By what people know an object that is observed.
    pub(super) fn shown(&self, object: ObjectId) -> Option<Shown> {
        if is_polled(object) {
            let Known { device, inode, handle } = self.polled.known_by(object)?.clone();
            return Some(Shown { inode, device, handle: handle.unwrap_or_default() });
        }
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

/// What RHEL 7's kernel prints where one of today prints `text` (PROFILE-7): no inode of the descriptor, and of masks the events
/// alone.
fn fdinfo_of_el7(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for line in text.lines().filter(|line| !line.starts_with("ino:")) {
        if !shown.is_empty() {
            shown.push('\n');
        }
        for (place, part) in line.split(' ').enumerate() {
            if place > 0 {
                shown.push(' ');
            }
            match part.strip_prefix("mask:").map(|hex| u32::from_str_radix(hex, 16)) {
                // Writing to a string does not fail.
                Some(Ok(mask)) => _ = write!(shown, "mask:{:x}", mask & Mask::IN_ALL_EVENTS.bits()),
                _ => shown.push_str(part),
            }
        }
    }
    shown.push('\n');
    shown
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

#[cfg(test)]
mod tests {
    use super::*;

    /// PROFILE-7
    #[test]
    fn an_old_kernel_shows_less() {
        let today = "pos:\t0\nflags:\t04000\nmnt_id:\t17\nino:\t1029\n\
            inotify wd:34d71d6 ino:11 sdev:700000 mask:84000fff ignored_mask:0 fhandle-bytes:8 fhandle-type:1 f_handle:11\n\
            inotify wd:1 ino:a sdev:700000 mask:300 ignored_mask:0 \n";
        let then = "pos:\t0\nflags:\t04000\nmnt_id:\t17\n\
            inotify wd:34d71d6 ino:11 sdev:700000 mask:fff ignored_mask:0 fhandle-bytes:8 fhandle-type:1 f_handle:11\n\
            inotify wd:1 ino:a sdev:700000 mask:300 ignored_mask:0 \n";
        assert_eq!(fdinfo_of_el7(today), then);
    }
}
