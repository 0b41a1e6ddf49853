//! Connections that speak the control protocol.

use std::os::fd::{AsFd, AsRawFd};

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, send};
use serde_json::{Value, json};
use uinotify_source::poll::Ticket;
use uinotify_wire::{Reply, Request};

use super::Emulator;
use crate::connection::{ControlState, Peer};
use crate::control::{
    Answer, CONTROL_PACKET_BYTES_MAX, Command, ControlError, LINE_BYTES_MAX, PROTOCOL, Report, done, parse,
};
use crate::fault::{NotARule, parse_delay};
use crate::place::Place;
use crate::reply::error;
use crate::status::PACKET_BYTES;

/// Barriers that one client may have waiting.
const BARRIERS_MAX: usize = 256;

impl Emulator {
    /// The connection speaks the control protocol from now on, if whoever has made it may.
    pub(super) fn begin_control(&mut self, key: usize, peer: Peer, request: &Request<'_>) {
        let may_control = self.admits(peer, request.payload) || peer.is_ourselves() || peer.uid == 0;
        if !may_control {
            self.reply_on_connection(key, &error(Errno::EPERM), Vec::new());
            return self.dismiss(key);
        }
        // Whoever controls it may want to know how it comes to something.
        self.keep_log();
        if let Some(connection) = self.connections.get_mut(key) {
            connection.control = Some(ControlState::default());
        }
        self.reply_on_connection(key, &Reply::value(PROTOCOL.cast_signed()), Vec::new());
    }

    /// A packet of such a connection: any part of lines.
    pub(super) fn serve_control(&mut self, key: usize, packet: &[u8]) {
        let Some(control) = self.connections.get_mut(key).and_then(|connection| connection.control.as_mut()) else {
            return;
        };
        control.line.extend_from_slice(packet);
        let mut lines = std::mem::take(&mut control.line);
        let end = lines.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        control.line = lines.split_off(end);
        // A packet that was longer than what is received of it is cut off.
        let is_cut = packet.len() > CONTROL_PACKET_BYTES_MAX;
        if is_cut || control.line.len() > LINE_BYTES_MAX {
            let message = format!(
                "a packet has at most {CONTROL_PACKET_BYTES_MAX} bytes, and a line at most {LINE_BYTES_MAX}: \
                 the connection ends"
            );
            self.answer_control(key, None, Err(ControlError::new(Errno::EMSGSIZE, message)));
            return self.dismiss(key);
        }
        for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            match parse(line) {
                Ok((id, command)) => self.control(key, id, &command),
                Err((id, error)) => self.answer_control(key, id, Err(error)),
            }
        }
    }

    fn control(&mut self, key: usize, id: u64, command: &Command) {
        match command {
            Command::Barrier {} => {
                let control = self.connections.get(key).and_then(|connection| connection.control.as_ref());
                if control.is_some_and(|control| control.barriers.len() >= BARRIERS_MAX) {
                    let message = format!("{BARRIERS_MAX} barriers of this connection wait already");
                    return self.answer_control(key, Some(id), Err(ControlError::new(Errno::EAGAIN, message)));
                }
                self.settle_all();
                let waits = self.polled.barrier();
                let control = self.connections.get_mut(key).and_then(|connection| connection.control.as_mut());
                match (waits, control) {
                    (Some(ticket), Some(control)) => control.barriers.push((ticket, id)),
                    _ => {
                        self.release_held();
                        self.answer_control(key, Some(id), Ok(done()));
                    }
                }
            }
            Command::WaitForWatch { path, object, mask } => {
                self.wait_for_watch(key, id, Place { path: path.0.clone(), inode: *object }, *mask);
            }
            command => {
                let result = self.done_at_once(command);
                self.answer_control(key, Some(id), result);
            }
        }
    }

    fn done_at_once(&mut self, command: &Command) -> Result<Value, ControlError> {
        let wrong = |problem: NotARule| ControlError::new(Errno::EINVAL, problem.to_string());
        match command {
            Command::Inject(injection) => self.inject(injection),
            Command::Overflow { instance, socket } => self.overflow(*instance, *socket),
            Command::Queue { instance, socket, wd, mask, cookie, name } => {
                let id = self.meant_one(*instance, *socket)?;
                self.queue(id, *wd, (*mask, *cookie), &name.0)
            }
            Command::SetNextWd { instance, socket, wd } => {
                let id = self.meant_one(*instance, *socket)?;
                self.set_next_wd(id, *wd)
            }
            Command::GetNextWd { instance, socket } => {
                let id = self.meant_one(*instance, *socket)?;
                self.next_wd(id)
            }
            Command::Fault { rule } => {
                let number = self.add_fault(&rule.parse().map_err(wrong)?);
                Ok(json!({ "fault": number }))
            }
            Command::Delay { delay } => {
                self.set_delay(parse_delay(delay).map_err(wrong)?);
                Ok(done())
            }
            Command::ClearFaults {} => {
                self.clear_faults();
                Ok(done())
            }
            Command::Log { last } => {
                let (counts, last) = self.logged(*last);
                serde_json::to_value(Report { counts, last, watches: self.watches_in_words() })
                    .map_err(|problem| ControlError::new(Errno::EIO, problem.to_string()))
            }
            Command::EndReplay {} => self.end_replay(),
            // Not at once.
            Command::Barrier {} | Command::WaitForWatch { .. } => {
                Err(ControlError::new(Errno::EINVAL, "this takes its time"))
            }
        }
    }

    /// What is polled was looked at, behind these barriers.
    pub(super) fn pass_barrier(&mut self, passed: Ticket) {
        let mut answered = Vec::new();
        for (key, connection) in &mut self.connections {
            let barriers = connection.control.iter_mut().flat_map(|control| &mut control.barriers);
            answered.extend(barriers.filter(|(ticket, _)| *ticket == passed).map(|(_, id)| (key, *id)));
            if let Some(control) = &mut connection.control {
                control.barriers.retain(|(ticket, _)| *ticket != passed);
            }
        }
        self.release_held();
        for (key, id) in answered {
            self.answer_control(key, Some(id), Ok(done()));
        }
    }

    /// Answers a line. A client that does not take its answers loses the connection.
    pub(super) fn answer_control(&mut self, key: usize, id: Option<u64>, result: Result<Value, ControlError>) {
        let Some(connection) = self.connections.get(key) else { return };
        let line = Answer::new(id, result).line();
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        let mut packets = line.chunks(PACKET_BYTES);
        if packets.any(|packet| send(connection.as_fd().as_raw_fd(), packet, flags).is_err()) {
            self.dismiss(key);
        }
    }

    /// Brings into the queues what any source holds.
    pub(super) fn settle_all(&mut self) {
        self.settle_observed();
        for id in self.sessions.keys().copied().collect::<Vec<_>>() {
            if let Some(session) = self.sessions.get_mut(&id) {
                session.deliver_held(&mut self.tools);
            }
            self.update_interest(id);
        }
    }
}
