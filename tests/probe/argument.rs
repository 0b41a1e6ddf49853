//! Arguments of a call: numbers, descriptors and memory, and how they are shown.

use std::fmt;
use std::os::fd::RawFd;

use crate::state::State;

/// How bytes that a call wrote are shown.
pub(crate) type Show = fn(&[u8]) -> String;

/// One argument.
#[derive(Clone)]
pub(crate) enum Argument {
    /// The inotify descriptor.
    Fd,
    /// Another descriptor, by what it is.
    Other(Other),
    /// A number.
    Number(i64),
    /// A number with a name.
    Constant(&'static str, i64),
    /// Memory that the call may read, and write.
    Bytes(&'static str, Vec<u8>),
    /// Memory that the call writes.
    Room(usize),
    /// Memory that the call writes, and how it is shown.
    Shown(&'static str, usize, Show),
    /// Memory made from the number of the descriptor; shown if it changes.
    Made(&'static str, fn(RawFd) -> Vec<u8>),
    /// A string. `{fd}`, `{pid}` and `{folder}` in it stand for what they say.
    Text(&'static str),
    /// A structure of 8-byte fields.
    Structure(&'static str, Vec<Self>),
}

/// What else may be handed to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Other {
    /// A file, open for reading and writing.
    File,
    /// The reading end of a pipe that has some bytes in it.
    PipeOutput,
    /// The writing end of a pipe.
    PipeInput,
    /// An epoll descriptor.
    Epoll,
    /// A duplicate of the descriptor.
    Duplicate,
    /// An instance without watches.
    Instance,
}

/// A named constant of libc.
macro_rules! constant {
    ($name:ident) => {
        $crate::argument::Argument::Constant(stringify!($name), libc::$name as i64)
    };
    ($($name:ident)|+) => {
        $crate::argument::Argument::Constant(stringify!($($name)|+), $(libc::$name as i64)|+)
    };
}
pub(crate) use constant;

pub(crate) fn number(number: i64) -> Argument {
    Argument::Number(number)
}

pub(crate) const NULL: Argument = Argument::Number(0);
/// No program has memory there.
pub(crate) const NOWHERE: Argument = Argument::Constant("nowhere", 16);
pub(crate) const FD: Argument = Argument::Fd;

impl fmt::Display for Argument {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fd => write!(to, "fd"),
            Self::Other(other) => write!(to, "{other:?}"),
            Self::Number(number) if number.unsigned_abs() > 0xffff => write!(to, "{number:#x}"),
            Self::Number(number) => write!(to, "{number}"),
            Self::Constant(name, _)
            | Self::Bytes(name, _)
            | Self::Shown(name, ..)
            | Self::Made(name, _)
            | Self::Structure(name, _) => write!(to, "{name}"),
            Self::Room(room) => write!(to, "[{room}]"),
            Self::Text(text) => write!(to, "{text:?}"),
        }
    }
}

/// The memory of one call.
#[derive(Default)]
pub(crate) struct Memory {
    pieces: Vec<Piece>,
}

struct Piece {
    words: Vec<u64>,
    before: Vec<u8>,
    show: Option<Show>,
    is_shown: bool,
}

/// What memory holds that nobody has written.
const UNTOUCHED: u8 = 0xa5;

impl Memory {
    fn place(&mut self, bytes: &[u8], show: Option<Show>, is_shown: bool) -> usize {
        let mut words = vec![0_u64; bytes.len().div_ceil(8).max(1)];
        for (word, chunk) in words.iter_mut().zip(bytes.chunks(8)) {
            let mut whole = [0; 8];
            whole[..chunk.len()].copy_from_slice(chunk);
            *word = u64::from_ne_bytes(whole);
        }
        let address = words.as_mut_ptr() as usize;
        self.pieces.push(Piece { words, before: bytes.to_vec(), show, is_shown });
        address
    }

    /// The argument as it goes into a register.
    pub(crate) fn resolve(&mut self, argument: &Argument, state: &mut State) -> usize {
        match argument {
            Argument::Fd => state.fd() as usize,
            Argument::Other(other) => state.other(*other) as usize,
            Argument::Number(number) | Argument::Constant(_, number) => *number as usize,
            Argument::Bytes(_, bytes) => self.place(bytes, None, true),
            Argument::Room(room) => self.place(&vec![UNTOUCHED; *room], None, true),
            Argument::Shown(_, room, show) => self.place(&vec![UNTOUCHED; *room], Some(*show), true),
            Argument::Made(_, make) => self.place(&make(state.fd()), None, true),
            Argument::Text(text) => {
                let mut text = state.filled(text).into_bytes();
                text.push(0);
                self.place(&text, None, false)
            }
            Argument::Structure(_, fields) => {
                let fields: Vec<u64> = fields.iter().map(|field| self.resolve(field, state) as u64).collect();
                let bytes: Vec<u8> = fields.into_iter().flat_map(u64::to_ne_bytes).collect();
                self.place(&bytes, None, false)
            }
        }
    }

    /// What the call has changed.
    pub(crate) fn changes(&self) -> String {
        let mut all = Vec::new();
        for piece in self.pieces.iter().filter(|piece| piece.is_shown) {
            let mut now: Vec<u8> = piece.words.iter().flat_map(|word| word.to_ne_bytes()).collect();
            now.truncate(piece.before.len());
            if now == piece.before {
                continue;
            }
            let end = now.iter().zip(&piece.before).rposition(|(now, before)| now != before).map_or(0, |last| last + 1);
            all.push(piece.show.map_or_else(|| hexadecimal(&now[..end]), |show| show(&now)));
        }
        all.join(" ")
    }
}

/// In words of four bytes, as most structures are, or as text.
pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    if bytes.len() > 4 && bytes.iter().all(|byte| (b' '..=b'~').contains(byte)) {
        return format!("{:?}", String::from_utf8_lossy(bytes));
    }
    let words = bytes.chunks(4).map(|chunk| {
        let mut whole = [0; 4];
        whole[..chunk.len()].copy_from_slice(chunk);
        format!("{:x}", u32::from_ne_bytes(whole))
    });
    format!("<{}>", words.collect::<Vec<_>>().join(","))
}
