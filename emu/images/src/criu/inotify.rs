//! An instance as CRIU keeps it: inotify_file_entry, with its watches.

use prost::Message;

use super::error::ImageError;
use super::fields::{Fields, Value, others, put_bytes, put_number};
use super::message::{HandleMessage, SignalOwnerMessage, WatchMessage, decode, required};

const ID: u32 = 1;
const FLAGS: u32 = 2;
const OWNER: u32 = 4;
const WATCH: u32 = 5;

/// How many words a handle has in an image: room for MAX_HANDLE_SZ, 128 bytes.
pub(crate) const HANDLE_WORDS: usize = 16;

/// An instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InotifyFile {
    /// The number of the open file, by which descriptors refer to it.
    pub id: u32,
    /// Its status flags.
    pub flags: u32,
    /// Who gets its signals.
    pub owner: SignalOwnerMessage,
    /// As they stand in the image: newest first, as fdinfo shows them. The legacy layout keeps them elsewhere.
    pub watches: Vec<InotifyWatch>,
    /// Fields of a later version, as they are.
    pub(crate) unknown: Vec<u8>,
}

/// A watch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InotifyWatch {
    /// Of the instance in the legacy layout; in today's 0.
    pub id: u32,
    /// Of the object.
    pub inode: u64,
    /// As fdinfo showed it, with IN_ONESHOT and IN_EXCL_UNLINK.
    pub mask: u32,
    /// 0 in inotify.
    pub ignored_mask: u32,
    /// The kernel's own encoding of the device, as fdinfo showed it.
    pub device: u32,
    /// Its wd.
    pub wd: u32,
    /// How the object is found again.
    pub handle: Handle,
    /// Fields of a later version, as they are.
    pub(crate) unknown: Vec<u8>,
}

/// A file handle, with the path that CRIU prefers to it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Handle {
    /// How many bytes of the words count.
    pub bytes: u32,
    /// `handle_type`.
    pub kind: u32,
    /// The handle in words of the machine that wrote it.
    pub words: Vec<u64>,
    /// Where the object was, if CRIU could tell. Any bytes.
    pub path: Option<Vec<u8>>,
    /// The mount that the path goes through.
    pub mount_id: Option<u32>,
    /// Fields of a later version, as they are.
    pub(crate) unknown: Vec<u8>,
}

impl InotifyFile {
    /// An instance without watches.
    #[must_use]
    pub fn new(id: u32, flags: u32, owner: SignalOwnerMessage) -> Self {
        Self { id, flags, owner, watches: Vec::new(), unknown: Vec::new() }
    }

    /// Reads the message that stands at `offset` in a file.
    ///
    /// # Errors
    ///
    /// It is malformed, or lacks what must be there.
    pub fn parse(message: &[u8], offset: u64) -> Result<Self, ImageError> {
        let (mut id, mut flags, mut owner) = (None, None, None);
        let (mut watches, mut unknown) = (Vec::new(), Vec::new());
        for field in Fields::new(message, offset) {
            let field = field?;
            match (field.number, field.value) {
                (ID, Value::Number(number)) => id = Some(number as u32),
                (FLAGS, Value::Number(number)) => flags = Some(number as u32),
                (OWNER, Value::Bytes(bytes)) => owner = Some(decode(bytes, field.offset)?),
                (WATCH, Value::Bytes(bytes)) => watches.push(InotifyWatch::parse(bytes, field.offset)?),
                _ => unknown.extend_from_slice(field.raw),
            }
        }
        Ok(Self {
            id: required(id, offset, "inotify_file_entry", "id")?,
            flags: required(flags, offset, "inotify_file_entry", "flags")?,
            owner: required(owner, offset, "inotify_file_entry", "fown")?,
            watches,
            unknown,
        })
    }

    /// The message.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        put_number(ID, self.id.into(), &mut bytes);
        put_number(FLAGS, self.flags.into(), &mut bytes);
        put_bytes(OWNER, &self.owner.encode_to_vec(), &mut bytes);
        for watch in &self.watches {
            put_bytes(WATCH, &watch.encode(), &mut bytes);
        }
        bytes.extend_from_slice(&self.unknown);
        bytes
    }
}

impl InotifyWatch {
    /// Reads the message that stands at `offset` in a file.
    ///
    /// # Errors
    ///
    /// It is malformed, or lacks what must be there.
    pub fn parse(message: &[u8], offset: u64) -> Result<Self, ImageError> {
        const NAME: &str = "inotify_wd_entry";
        let WatchMessage { id, i_ino, mask, ignored_mask, s_dev, wd, f_handle } = decode(message, offset)?;
        let handle = required(f_handle, offset, NAME, "f_handle")?;
        let mut handle_unknown = Vec::new();
        for field in Fields::new(message, offset) {
            let field = field?;
            if let (7, Value::Bytes(bytes)) = (field.number, field.value) {
                handle_unknown.extend(others(bytes, field.offset, &[1, 2, 3, 4, 5])?);
            }
        }
        Ok(Self {
            id: required(id, offset, NAME, "id")?,
            inode: required(i_ino, offset, NAME, "i_ino")?,
            mask: required(mask, offset, NAME, "mask")?,
            ignored_mask: required(ignored_mask, offset, NAME, "ignored_mask")?,
            device: required(s_dev, offset, NAME, "s_dev")?,
            wd: required(wd, offset, NAME, "wd")?,
            handle: Handle {
                bytes: required(handle.bytes, offset, "fh_entry", "bytes")?,
                kind: required(handle.kind, offset, "fh_entry", "type")?,
                words: handle.handle,
                path: handle.path,
                mount_id: handle.mnt_id,
                unknown: handle_unknown,
            },
            unknown: others(message, offset, &[1, 2, 3, 4, 5, 6, 7])?,
        })
    }

    /// The message.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let Self { id, inode, mask, ignored_mask, device, wd, handle, unknown } = self;
        let message = WatchMessage {
            id: Some(*id),
            i_ino: Some(*inode),
            mask: Some(*mask),
            ignored_mask: Some(*ignored_mask),
            s_dev: Some(*device),
            wd: Some(*wd),
            f_handle: None,
        };
        let handle_message = HandleMessage {
            bytes: Some(handle.bytes),
            kind: Some(handle.kind),
            handle: handle.words.clone(),
            path: handle.path.clone(),
            mnt_id: handle.mount_id,
        };
        let mut bytes = message.encode_to_vec();
        put_bytes(7, &[handle_message.encode_to_vec(), handle.unknown.clone()].concat(), &mut bytes);
        bytes.extend_from_slice(unknown);
        bytes
    }
}
