//! The emulator's description of itself, for `uinotify ps`.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, send, setsockopt, sockopt};
use nix::sys::time::TimeVal;
use serde::Serialize;

use super::Emulator;
use crate::config::Admission;
use crate::connection::Peer;
use crate::reply::error;
use crate::status::{EmulatorStatus, GroupStatus, LimitsStatus, PACKET_BYTES, SCHEMA, WatchStatus};

/// Descriptions that are being told at the same time: each is as large as the emulator's state, and takes a thread.
const TELLERS_MAX: usize = 8;
static TELLERS: AtomicUsize = AtomicUsize::new(0);

/// How long a reader may let us wait for room for a packet.
const PATIENCE: TimeVal = TimeVal::new(10, 0);

impl Emulator {
    pub(super) fn tell_status(&mut self, key: usize, peer: Peer) {
        self.tell_of_instances(key, peer, |emulator, owner| {
            let mut status = emulator.status();
            status.groups.retain(|group| owner.is_none_or(|owner| group.owner == owner));
            Ok(status)
        });
    }

    /// Answers with what `describe` gives, as JSON up to the end of the connection: of all instances, or of those of one user. Whoever
    /// may not know of any, and whatever cannot be described, has an errno.
    pub(super) fn tell_of_instances<Description: Serialize + Send + 'static>(
        &mut self,
        key: usize,
        peer: Peer,
        describe: impl FnOnce(&mut Self, Option<u32>) -> Result<Description, Errno>,
    ) {
        let sees_all = peer.is_ourselves() || peer.uid == 0;
        let described = if !sees_all && self.config.admission != Admission::AllUsers {
            Err(Errno::EPERM)
        } else if TELLERS.load(Ordering::Acquire) >= TELLERS_MAX {
            Err(Errno::EAGAIN)
        } else {
            // What a user may know of a server for all: what is their own.
            describe(self, (!sees_all).then_some(peer.uid))
        };
        let description = match described {
            Ok(description) => description,
            Err(errno) => {
                self.reply_on_connection(key, &error(errno), Vec::new());
                return self.dismiss(key);
            }
        };
        // Only this thread adds to it.
        TELLERS.fetch_add(1, Ordering::AcqRel);
        let connection = self.connections.remove(key);
        let _ = self.epoll.delete(&connection);
        // A reader who takes their time holds up nobody, and no thread for ever.
        let tell = move || {
            let text = serde_json::to_vec(&description).unwrap_or_default();
            if set_patient(connection.as_fd()).is_ok() {
                for packet in text.chunks(PACKET_BYTES) {
                    if send(connection.as_fd().as_raw_fd(), packet, MsgFlags::MSG_NOSIGNAL).is_err() {
                        break;
                    }
                }
            }
            TELLERS.fetch_sub(1, Ordering::AcqRel);
        };
        if thread::Builder::new().name("status".into()).spawn(tell).is_err() {
            TELLERS.fetch_sub(1, Ordering::AcqRel);
        }
    }

    fn status(&mut self) -> EmulatorStatus {
        let engine = &mut self.tools.engine;
        let groups = self.sessions.iter_mut().map(|(id, session)| {
            session.acknowledge(engine);
            let limits = engine.limits(session.group).unwrap_or_default();
            let totals = engine.totals(session.group);
            let watch = |watch: uinotify_core::watches::Watch| {
                WatchStatus::new(watch.wd.0, watch.mask, session.path(watch.object))
            };
            GroupStatus {
                id: *id,
                creator_pid: session.creator.pid,
                owner: session.creator.uid,
                source: session.source_name(),
                cursor: engine.cursor(session.group).unwrap_or(1),
                queue_events: engine.queue_len(session.group) as u64,
                queue_bytes: engine.queue_bytes(session.group) as u64,
                events_queued: totals.queued,
                events_merged: totals.merged,
                events_lost: totals.lost,
                limits: LimitsStatus {
                    watches_max: limits.watches_max,
                    instances_max: limits.instances_max,
                    queue_events_max: limits.queue_events_max,
                },
                watches: engine.watches(session.group).map(watch).collect(),
            }
        });
        let groups = groups.collect();
        EmulatorStatus {
            schema: SCHEMA,
            pid: std::process::id().cast_signed(),
            command: self.config.command.clone(),
            groups,
            marks: self.marks(),
        }
    }
}

/// Has sends wait for the reader, but not longer than `PATIENCE`.
fn set_patient(socket: BorrowedFd<'_>) -> Result<(), Errno> {
    use nix::fcntl::{FcntlArg, OFlag, fcntl};
    setsockopt(&socket, sockopt::SendTimeout, &PATIENCE)?;
    let flags = OFlag::from_bits_retain(fcntl(socket, FcntlArg::F_GETFL)?);
    fcntl(socket, FcntlArg::F_SETFL(flags.difference(OFlag::O_NONBLOCK))).map(drop)
}
