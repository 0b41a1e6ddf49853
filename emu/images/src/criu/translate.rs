//! Between CRIU's entry of an instance and a checkpoint's.

use std::collections::BTreeMap;
use std::fmt;

use uinotify_core::mask::STORED_BITS;

use super::inotify::{HANDLE_WORDS, Handle, InotifyFile, InotifyWatch};
use super::message::SignalOwnerMessage;
use crate::checkpoint::{Descriptor, FileHandle, Instance, Queue, SignalOwner, Watch};
use crate::loss::{O_NONBLOCK, cursor_of_restored};
use crate::text::{ByteString, Device};

/// Why an instance has no counterpart in the other format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TranslateError {
    /// A wd that is none: not 1 to 0x7fffffff.
    Wd(u32),
    /// The handle of this wd says that it has so many bytes, and has not, or is longer than a handle can be.
    Handle(u32, u32),
    /// The path of this wd has a NUL byte.
    Path(u32),
    /// The device of this wd has numbers for which the kernel has no room.
    Device(i32, Device),
    /// This wd has neither a path nor a file handle: CRIU could not find the object.
    Lost(i32),
    /// The number of this instance has no room in an image.
    Id(u64),
}

impl fmt::Display for TranslateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wd(wd) => write!(f, "{wd:#x} is no watch descriptor: it is not within 1 to 0x7fffffff"),
            Self::Handle(wd, bytes) => write!(f, "wd {wd:#x}: a file handle of {bytes} bytes, which it has not"),
            Self::Path(wd) => write!(f, "wd {wd:#x}: a path with a NUL byte"),
            Self::Device(wd, device) => write!(f, "wd {wd:#x}: device {device} has no room in an image"),
            Self::Lost(wd) => write!(f, "wd {wd:#x} has neither path nor file handle: CRIU could not find the object"),
            Self::Id(id) => write!(f, "instance {id} has no room in an image: its number is above 0xffffffff"),
        }
    }
}

impl std::error::Error for TranslateError {}

/// The instance that CRIU would restore from an entry. Its cursor is the one that it would have then; limits and owner are unknown,
/// and the queue is empty.
///
/// # Errors
///
/// The entry has a watch that cannot be.
pub fn instance_of(file: &InotifyFile, descriptors: Vec<Descriptor>) -> Result<Instance, TranslateError> {
    let watches = file.watches.iter().rev().map(watch_of).collect::<Result<Vec<_>, _>>()?;
    Ok(Instance {
        id: file.id.into(),
        owner: None,
        socket_inode: None,
        descriptors,
        flags: file.flags,
        signal_owner: (file.owner != SignalOwnerMessage::default()).then(|| (&file.owner).into()),
        cursor: cursor_of_restored(&watches),
        limits: None,
        watches,
        queue: Queue::default(),
    })
}

fn watch_of(watch: &InotifyWatch) -> Result<Watch, TranslateError> {
    let wd = i32::try_from(watch.wd).ok().filter(|wd| *wd >= 1).ok_or(TranslateError::Wd(watch.wd))?;
    let Handle { bytes, kind, words, path, mount_id, .. } = &watch.handle;
    let mut handle: Vec<u8> = words.iter().take(HANDLE_WORDS).flat_map(|word| word.to_le_bytes()).collect();
    if *bytes as usize > handle.len() {
        return Err(TranslateError::Handle(watch.wd, *bytes));
    }
    handle.truncate(*bytes as usize);
    if path.as_ref().is_some_and(|path| path.contains(&0)) {
        return Err(TranslateError::Path(watch.wd));
    }
    Ok(Watch {
        wd,
        // Old kernels show bits of their own.
        mask: watch.mask & STORED_BITS,
        path: path.clone().map(ByteString),
        device: Device::from_kernel(watch.device),
        inode: watch.inode,
        generation: None,
        handle: (*bytes > 0).then_some(FileHandle { kind: *kind, bytes: handle }),
        mount_id: *mount_id,
    })
}

/// The entry of an instance, for CRIU, with the number `id`: without what CRIU has no room for.
///
/// # Errors
///
/// A watch that CRIU could not find again, or that has no room in an image.
pub fn watches_of(instance: &Instance, id: u32) -> Result<InotifyFile, TranslateError> {
    // inotify_init1 takes no other flag.
    let flags = instance.flags & O_NONBLOCK;
    let mut file = InotifyFile::new(id, flags, instance.signal_owner.as_ref().map(Into::into).unwrap_or_default());
    file.watches = instance.watches.iter().rev().map(entry_of).collect::<Result<_, _>>()?;
    Ok(file)
}

/// The entry with the watches and flags of an instance in the place of its own, and the rest as it is.
///
/// # Errors
///
/// As [`watches_of`].
pub fn updated(file: &InotifyFile, instance: &Instance) -> Result<InotifyFile, TranslateError> {
    let mut new = watches_of(instance, file.id)?;
    let unknown: BTreeMap<u32, &[u8]> = file.watches.iter().map(|watch| (watch.wd, &watch.unknown[..])).collect();
    for watch in &mut new.watches {
        watch.id = file.watches.first().map_or(0, |first| first.id);
        watch.unknown = unknown.get(&watch.wd).copied().unwrap_or_default().to_vec();
    }
    Ok(InotifyFile { unknown: file.unknown.clone(), ..new })
}

fn entry_of(watch: &Watch) -> Result<InotifyWatch, TranslateError> {
    let Watch { wd, mask, path, device, inode, generation: _, handle, mount_id } = watch;
    if path.is_none() && handle.is_none() {
        return Err(TranslateError::Lost(*wd));
    }
    let number = u32::try_from(*wd).ok().filter(|wd| *wd >= 1).ok_or(TranslateError::Wd(wd.cast_unsigned()))?;
    let (kind, bytes) = handle.as_ref().map_or((0, &[][..]), |handle| (handle.kind, &handle.bytes));
    let mut words: Vec<u64> =
        bytes.chunks(8).map(|chunk| chunk.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte))).collect();
    if words.len() > HANDLE_WORDS {
        return Err(TranslateError::Handle(number, u32::try_from(bytes.len()).unwrap_or(u32::MAX)));
    }
    words.resize(HANDLE_WORDS, 0);
    Ok(InotifyWatch {
        id: 0,
        inode: *inode,
        mask: *mask,
        ignored_mask: 0,
        device: device.to_kernel().ok_or(TranslateError::Device(*wd, *device))?,
        wd: number,
        handle: Handle {
            bytes: bytes.len() as u32,
            kind,
            words,
            path: path.as_ref().map(|path| path.0.clone()),
            mount_id: *mount_id,
            unknown: Vec::new(),
        },
        unknown: Vec::new(),
    })
}

impl From<&SignalOwnerMessage> for SignalOwner {
    fn from(message: &SignalOwnerMessage) -> Self {
        let SignalOwnerMessage { uid, euid, signum, pid_type, pid } = *message;
        Self { pid, pid_type, uid, euid, signal: signum }
    }
}

impl From<&SignalOwner> for SignalOwnerMessage {
    fn from(owner: &SignalOwner) -> Self {
        let SignalOwner { pid, pid_type, uid, euid, signal } = *owner;
        Self { uid, euid, signum: signal, pid_type, pid }
    }
}
