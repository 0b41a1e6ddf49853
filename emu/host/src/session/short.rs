//! Reads into little room, which the socket would cut.

use std::os::fd::{AsRawFd, BorrowedFd};

use nix::sys::socket::{MsgFlags, recv};
use uinotify_core::{Engine, Event};
use uinotify_source::inotify::Records;
use uinotify_wire::EVENT_BYTES_MAX;

use super::{Session, Tools, event};

/// What such a read gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Short {
    /// There is nothing to read.
    Empty,
    /// The oldest event does not fit, and stays.
    TooSmall,
    /// Events were taken.
    Taken,
}

impl Session {
    /// Takes as many whole events as fit, of all that have happened, as `read(2)` of an inotify descriptor does. `theirs` is the program's
    /// end.
    pub(crate) fn read_short(
        &mut self,
        tools: &mut Tools,
        theirs: BorrowedFd<'_>,
        room: usize,
        events: &mut Vec<u8>,
    ) -> Short {
        self.begin_cycle();
        self.drain(tools);
        self.acknowledge(&mut tools.engine);
        let recalled = self.recall_window(&mut tools.engine, theirs);
        tools.engine.put_back(self.group, recalled);
        let taken = tools.engine.take(self.group, room, events);
        self.fill_window(tools);
        self.end_cycle();
        match taken {
            Ok(_) => Short::Taken,
            Err(uinotify_core::Errno::Inval) => Short::TooSmall,
            Err(_) => Short::Empty,
        }
    }

    /// Gives back what [`read_short`](Self::read_short) took and nobody got.
    pub(crate) fn give_back(&mut self, tools: &mut Tools, theirs: BorrowedFd<'_>, events: &[u8]) {
        self.begin_cycle();
        self.acknowledge(&mut tools.engine);
        let mut all: Vec<_> = Records::new(events).map(event).collect();
        all.extend(self.recall_window(&mut tools.engine, theirs));
        tools.engine.put_back(self.group, all);
        self.fill_window(tools);
        self.end_cycle();
    }

    /// Takes the window out of the program's end, and so out of the queue.
    pub(super) fn recall_window(&mut self, engine: &mut Engine, theirs: BorrowedFd<'_>) -> Vec<Event> {
        let mut recalled = Vec::new();
        let mut packet = [0; EVENT_BYTES_MAX];
        let sent = self.window.len();
        // What others have read of it meanwhile is theirs.
        for _ in 0..sent {
            match recv(theirs.as_raw_fd(), &mut packet, MsgFlags::MSG_DONTWAIT) {
                Ok(length @ 1..) => recalled.extend(Records::new(&packet[..length]).map(event)),
                _ => break,
            }
        }
        engine.acknowledge(self.group, sent);
        self.window.read_since(0);
        recalled
    }
}
