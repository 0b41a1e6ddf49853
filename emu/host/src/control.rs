//! The control protocol: commands to an emulator that no call of inotify is for, as lines of JSON. docs/protocol.md describes it.

mod command;

use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, getsockopt, recv, setsockopt, sockopt};
use nix::sys::time::TimeVal;
use nix::unistd::geteuid;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uinotify_wire::{Request, RequestKind};

use crate::fdinfo::{EmulatorAddress, misunderstood, receive_reply};
use crate::frame;
use crate::status::PACKET_BYTES;

pub use crate::place::Inode;
pub use command::{Command, Injected, Injection, Report};

/// Version of the protocol. Each line of a client carries it.
pub const PROTOCOL: u32 = 1;

/// The most bytes of one packet to the emulator: a longer line goes on in the next one.
pub const CONTROL_PACKET_BYTES_MAX: usize = 4096;

/// The longest line of a client, its newline not counted.
pub(crate) const LINE_BYTES_MAX: usize = 1024 * 1024;

/// Why a command was not done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ControlError {
    /// An errno by its name, such as `ENOENT`.
    pub errno: String,
    /// What is wrong, in a sentence for people.
    pub message: String,
}

impl ControlError {
    pub(crate) fn new(errno: Errno, message: impl Into<String>) -> Self {
        Self { errno: format!("{errno:?}"), message: message.into() }
    }

    /// Is it this errno?
    #[must_use]
    pub fn is(&self, errno: Errno) -> bool {
        self.errno == format!("{errno:?}")
    }
}

impl fmt::Display for ControlError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} ({})", self.message, self.errno)
    }
}

impl std::error::Error for ControlError {}

/// What an emulator has refused, of an error of [`Control`].
#[must_use]
pub fn refusal(error: &io::Error) -> Option<&ControlError> {
    error.get_ref()?.downcast_ref()
}

/// The answer to one line: `ok` or `error`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Answer {
    /// That of the line; null where none could be read.
    pub(crate) id: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ok: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<ControlError>,
}

impl Answer {
    pub(crate) fn new(id: Option<u64>, result: Result<Value, ControlError>) -> Self {
        match result {
            Ok(ok) => Self { id, ok: Some(ok), error: None },
            Err(error) => Self { id, ok: None, error: Some(error) },
        }
    }

    /// The line, with its newline.
    pub(crate) fn line(&self) -> Vec<u8> {
        let mut line = serde_json::to_vec(self).unwrap_or_default();
        line.push(b'\n');
        line
    }
}

/// A success of which there is nothing to say.
pub(crate) fn done() -> Value {
    Value::Object(Map::new())
}

/// Reads a client's line: its id, and the command.
///
/// # Errors
///
/// What is wrong with it, with the id as far as there is one. EBADMSG: no JSON object, or without an id. EPROTONOSUPPORT: of another
/// version. EOPNOTSUPP: a command that this emulator does not have. EINVAL: a command with wrong arguments.
pub(crate) fn parse(line: &[u8]) -> Result<(u64, Command), (Option<u64>, ControlError)> {
    let mut object = serde_json::from_slice::<Map<String, Value>>(line)
        .map_err(|problem| (None, ControlError::new(Errno::EBADMSG, format!("a line is no JSON object: {problem}"))))?;
    let id = object.remove("id").and_then(|id| id.as_u64());
    let refuse = |errno, message: String| (id, ControlError::new(errno, message));
    match object.remove("v") {
        Some(version) if version.as_u64() == Some(PROTOCOL.into()) => {}
        version => {
            let found = version.map_or_else(|| "nothing".to_owned(), |version| version.to_string());
            let message = format!("\"v\" has to be {PROTOCOL}, the version of the protocol, and is {found}");
            return Err(refuse(Errno::EPROTONOSUPPORT, message));
        }
    }
    let id = id.ok_or_else(|| refuse(Errno::EBADMSG, "\"id\" has to be a number from 0 to 2^64 - 1".to_owned()))?;
    match object.get("do").and_then(Value::as_str) {
        Some(name) if Command::NAMES.contains(&name) => {}
        Some(name) => return Err(refuse(Errno::EOPNOTSUPP, format!("this emulator has no command {name:?}"))),
        None => return Err(refuse(Errno::EBADMSG, "\"do\" has to name a command".to_owned())),
    }
    let command = serde_json::from_value(Value::Object(object))
        .map_err(|problem| refuse(Errno::EINVAL, format!("wrong arguments: {problem}")))?;
    Ok((id, command))
}

/// A connection to an emulator that speaks the control protocol.
#[derive(Debug)]
pub struct Control {
    connection: OwnedFd,
    received: Vec<u8>,
    next_id: u64,
}

impl Control {
    /// Connects to the emulator at an address.
    ///
    /// # Errors
    ///
    /// ECONNREFUSED if nobody listens there any more; EPERM from an emulator that this user may not control; EOPNOTSUPP from one
    /// that does not know the protocol; `InvalidData` for an answer that is none.
    pub fn open(emulator: &EmulatorAddress<'_>) -> io::Result<Self> {
        Self::open_within(emulator, None)
    }

    /// As [`open`](Self::open), of an emulator that has so much time for each answer: see [`set_patience`](Self::set_patience).
    ///
    /// # Errors
    ///
    /// As there; EAGAIN when the time is over.
    pub fn open_within(emulator: &EmulatorAddress<'_>, patience: Option<Duration>) -> io::Result<Self> {
        let connection = emulator.connect()?;
        set_patience(&connection, patience)?;
        // The abstract name of an emulator that is gone can be taken by anybody.
        let listener = getsockopt(&connection, sockopt::PeerCredentials)?.uid();
        if listener != 0 && listener != geteuid().as_raw() && emulator.token.is_empty() {
            return Err(Errno::ECONNREFUSED.into());
        }
        let request = Request { kind: RequestKind::Control, argument: 0, word: 0, payload: emulator.token };
        frame::send(connection.as_fd(), [&request.header(), request.payload], &[])?;
        let (reply, _) = receive_reply(connection.as_fd())?;
        if reply.value.cast_unsigned() < PROTOCOL {
            return Err(misunderstood());
        }
        Ok(Self { connection, received: Vec::new(), next_id: 1 })
    }

    /// Has the emulator do something, and waits for its answer.
    ///
    /// # Errors
    ///
    /// `UnexpectedEof` if the emulator ends meanwhile; a [`ControlError`] inside for what was refused.
    pub fn ask(&mut self, command: &Command) -> io::Result<Value> {
        let id = self.begin(command)?;
        self.finish(id)
    }

    /// Has the emulator do something. The number of the command.
    ///
    /// # Errors
    ///
    /// If the emulator has ended.
    pub fn begin(&mut self, command: &Command) -> io::Result<u64> {
        let id = self.next_id;
        self.next_id += 1;
        let mut object = Map::from_iter([("v".to_owned(), PROTOCOL.into()), ("id".to_owned(), id.into())]);
        if let Value::Object(arguments) = serde_json::to_value(command)? {
            object.extend(arguments);
        }
        let mut line = serde_json::to_vec(&object)?;
        line.push(b'\n');
        for packet in line.chunks(CONTROL_PACKET_BYTES_MAX) {
            nix::sys::socket::send(self.connection.as_raw_fd(), packet, MsgFlags::MSG_NOSIGNAL)?;
        }
        Ok(id)
    }

    /// Waits for the answer to a command. Those to others are dropped.
    ///
    /// # Errors
    ///
    /// As for [`ask`](Self::ask); EAGAIN when the [time](Self::set_patience) is over.
    pub fn finish(&mut self, id: u64) -> io::Result<Value> {
        loop {
            let answer: Answer = serde_json::from_slice(&self.line()?).map_err(|_| misunderstood())?;
            if answer.id.is_some_and(|other| other != id) {
                continue;
            }
            return match answer {
                Answer { error: Some(error), .. } => Err(io::Error::other(error)),
                answer => Ok(answer.ok.unwrap_or_default()),
            };
        }
    }

    /// How long to wait for an answer; for ever if `None`.
    ///
    /// # Errors
    ///
    /// If the time is none that a socket knows.
    pub fn set_patience(&self, patience: Option<Duration>) -> io::Result<()> {
        set_patience(&self.connection, patience)
    }

    /// Returns when everything that had happened before the call is in the queues.
    ///
    /// # Errors
    ///
    /// As for [`ask`](Self::ask).
    pub fn barrier(&mut self) -> io::Result<()> {
        self.ask(&Command::Barrier {}).map(drop)
    }

    /// What has gone on, with up to so many of the last calls and events.
    ///
    /// # Errors
    ///
    /// As for [`ask`](Self::ask).
    pub fn log(&mut self, last: usize) -> io::Result<Report> {
        let answer = self.ask(&Command::Log { last })?;
        serde_json::from_value(answer).map_err(|_| misunderstood())
    }

    fn line(&mut self) -> io::Result<Vec<u8>> {
        let mut packet = vec![0; PACKET_BYTES];
        loop {
            if let Some(end) = self.received.iter().position(|byte| *byte == b'\n') {
                let rest = self.received.split_off(end + 1);
                return Ok(std::mem::replace(&mut self.received, rest));
            }
            match recv(self.connection.as_raw_fd(), &mut packet, MsgFlags::empty()) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(length) => self.received.extend_from_slice(&packet[..length]),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

fn set_patience(connection: &OwnedFd, patience: Option<Duration>) -> io::Result<()> {
    // Zero would be for ever.
    let patience = patience.map_or(Duration::ZERO, |patience| patience.max(Duration::from_micros(1)));
    let seconds = i64::try_from(patience.as_secs()).unwrap_or(i64::MAX);
    let patience = TimeVal::new(seconds, i64::from(patience.subsec_micros()));
    Ok(setsockopt(connection, sockopt::ReceiveTimeout, &patience)?)
}

impl AsFd for Control {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.connection.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(line: &str) -> (Option<u64>, String) {
        let (id, error) = parse(line.as_bytes()).expect_err(line);
        (id, error.errno)
    }

    #[test]
    fn a_command_is_read() {
        assert_eq!(parse(br#"{"v":1,"id":7,"do":"barrier"}"#), Ok((7, Command::Barrier {})));
        assert_eq!(parse(br#" {"do":"barrier", "id":0, "v":1}"#), Ok((0, Command::Barrier {})));
    }

    #[test]
    fn what_is_wrong_is_told() {
        let of = |id, errno: &str| (id, errno.to_owned());
        for line in ["", "x", "[]", r#"{"v":1"#, "1"] {
            assert_eq!(refused(line), of(None, "EBADMSG"), "{line}");
        }
        assert_eq!(refused(r#"{"v":2,"id":7,"do":"barrier"}"#), of(Some(7), "EPROTONOSUPPORT"));
        assert_eq!(refused(r#"{"id":7,"do":"barrier"}"#), of(Some(7), "EPROTONOSUPPORT"));
        assert_eq!(refused(r#"{"v":1,"do":"barrier"}"#), of(None, "EBADMSG"));
        assert_eq!(refused(r#"{"v":1,"id":-1,"do":"barrier"}"#), of(None, "EBADMSG"));
        assert_eq!(refused(r#"{"v":1,"id":7}"#), of(Some(7), "EBADMSG"));
        assert_eq!(refused(r#"{"v":1,"id":7,"do":"jump"}"#), of(Some(7), "EOPNOTSUPP"));
        assert_eq!(refused(r#"{"v":1,"id":7,"do":"barrier","fast":true}"#), of(Some(7), "EINVAL"));
    }

    #[test]
    fn an_answer_is_one_line() {
        let line = |result| String::from_utf8(Answer::new(Some(7), result).line()).expect("JSON is UTF-8");
        assert_eq!(line(Ok(done())), "{\"id\":7,\"ok\":{}}\n");
        let error = ControlError::new(Errno::ENOENT, "two\nlines");
        assert_eq!(line(Err(error)), "{\"id\":7,\"error\":{\"errno\":\"ENOENT\",\"message\":\"two\\nlines\"}}\n");
    }
}
