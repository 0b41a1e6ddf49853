//! A connection on which a program asks.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use nix::sys::socket::{getsockopt, setsockopt, sockopt};
use nix::unistd::geteuid;
use uinotify_source::poll::Ticket;

use crate::emulator::Waiter;

/// A connection: at first from a program that wants an instance, then that instance's control connection.
#[derive(Debug)]
pub(crate) struct Connection {
    socket: OwnedFd,
    /// No other one ever has this.
    pub(crate) number: u64,
    /// When it was made.
    pub(crate) made: Instant,
    /// The instance, once there is one.
    pub(crate) session: Option<u64>,
    /// The events that the last reply carried: they come back if the program could not take them.
    pub(crate) last_events: Vec<u8>,
    /// A checkpoint of which more is to come.
    pub(crate) pieces: Vec<u8>,
    /// Once it speaks the control protocol.
    pub(crate) control: Option<ControlState>,
}

/// Of a connection that speaks the control protocol.
#[derive(Debug, Default)]
pub(crate) struct ControlState {
    /// A line of which more is to come.
    pub(crate) line: Vec<u8>,
    /// Barriers that what is polled has not passed, each with the id of its line.
    pub(crate) barriers: Vec<(Ticket, u64)>,
    /// Commands that are not answered yet.
    pub(crate) waiters: Vec<Waiter>,
}

/// Who is at the other end.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Peer {
    pub(crate) pid: i32,
    pub(crate) uid: u32,
}

impl Peer {
    /// May see and hold what is the emulator's own.
    pub(crate) fn is_ourselves(self) -> bool {
        self.uid == geteuid().as_raw()
    }
}

impl Connection {
    pub(crate) fn new(socket: OwnedFd, session: Option<u64>, number: u64) -> Self {
        // A connection without it brings requests of nobody.
        let _ = setsockopt(&socket, sockopt::PassCred, &true);
        Self {
            socket,
            number,
            made: Instant::now(),
            session,
            last_events: Vec::new(),
            pieces: Vec::new(),
            control: None,
        }
    }

    /// The socket, to be closed.
    pub(crate) fn into_socket(self) -> OwnedFd {
        self.socket
    }

    /// The process and user who made the connection.
    pub(crate) fn peer(&self) -> Option<Peer> {
        let credentials = getsockopt(&self.socket, sockopt::PeerCredentials).ok()?;
        Some(Peer { pid: credentials.pid(), uid: credentials.uid() })
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
