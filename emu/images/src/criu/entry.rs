//! An entry of files.img.

use prost::Message;

use super::error::ImageError;
use super::fields::{Fields, Value, put_bytes, put_number};
use super::frame::Entry;
use super::inotify::InotifyFile;
use super::message::{SignalOwnerMessage, TYPE_INOTIFY, TYPE_UNIX_SOCKET, UnixSocketMessage, decode, required};

const TYPE: u32 = 1;
const ID: u32 = 2;
const INOTIFY: u32 = 13;
const UNIX_SOCKET: u32 = 16;

const ENTRY: &str = "file_entry";

/// What an open file is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileEntry {
    /// An inotify instance, with fields of the entry that are not known.
    Inotify(InotifyFile, Vec<u8>),
    /// A unix socket.
    UnixSocket(UnixSocket),
    /// Anything else.
    Other,
}

/// A unix socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnixSocket {
    /// The number of the open file.
    pub id: u32,
    /// Its inode.
    pub inode: u32,
    /// The inode of its peer; 0 without one.
    pub peer: u32,
    /// Status flags.
    pub flags: u32,
    /// It is outside the dumped processes, which only have its peer.
    pub external: bool,
    /// The address; a leading NUL makes it abstract.
    pub name: Vec<u8>,
    /// Who gets its signals.
    pub owner: SignalOwnerMessage,
}

/// USK_EXTERN of `uflags`.
pub(crate) const EXTERNAL: u32 = 1;

impl FileEntry {
    /// Reads an entry.
    ///
    /// # Errors
    ///
    /// It is malformed, or an instance or a socket lacks what must be there.
    pub fn parse(entry: &Entry) -> Result<Self, ImageError> {
        let (mut kind, mut inotify, mut socket) = (None, None, None);
        let mut unknown = Vec::new();
        for field in Fields::new(&entry.bytes, entry.offset) {
            let field = field?;
            match (field.number, field.value) {
                (TYPE, Value::Number(number)) => kind = Some(number as u32),
                (ID, Value::Number(_)) => {}
                (INOTIFY, Value::Bytes(bytes)) => inotify = Some((bytes, field.offset)),
                (UNIX_SOCKET, Value::Bytes(bytes)) => socket = Some((bytes, field.offset)),
                _ => unknown.extend_from_slice(field.raw),
            }
        }
        match required(kind, entry.offset, ENTRY, "type")? {
            TYPE_INOTIFY => {
                let (bytes, offset) = required(inotify, entry.offset, ENTRY, "ify")?;
                Ok(Self::Inotify(InotifyFile::parse(bytes, offset)?, unknown))
            }
            TYPE_UNIX_SOCKET => {
                let (bytes, offset) = required(socket, entry.offset, ENTRY, "usk")?;
                UnixSocket::parse(bytes, offset).map(Self::UnixSocket)
            }
            _ => Ok(Self::Other),
        }
    }
}

/// The message of an entry for an instance.
pub(crate) fn encode_inotify(file: &InotifyFile, unknown: &[u8]) -> Vec<u8> {
    encode(TYPE_INOTIFY, file.id, INOTIFY, &file.encode(), unknown)
}

pub(crate) fn encode_socket(id: u32, socket: &UnixSocketMessage) -> Vec<u8> {
    encode(TYPE_UNIX_SOCKET, id, UNIX_SOCKET, &socket.encode_to_vec(), &[])
}

fn encode(kind: u32, id: u32, number: u32, message: &[u8], unknown: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    put_number(TYPE, kind.into(), &mut bytes);
    put_number(ID, id.into(), &mut bytes);
    put_bytes(number, message, &mut bytes);
    bytes.extend_from_slice(unknown);
    bytes
}

impl UnixSocket {
    fn parse(message: &[u8], offset: u64) -> Result<Self, ImageError> {
        const NAME: &str = "unix_sk_entry";
        let message: UnixSocketMessage = decode(message, offset)?;
        Ok(Self {
            id: required(message.id, offset, NAME, "id")?,
            inode: required(message.ino, offset, NAME, "ino")?,
            peer: required(message.peer, offset, NAME, "peer")?,
            flags: required(message.flags, offset, NAME, "flags")?,
            external: required(message.uflags, offset, NAME, "uflags")? & EXTERNAL != 0,
            name: message.name.unwrap_or_default(),
            owner: message.fown.unwrap_or_default(),
        })
    }
}
