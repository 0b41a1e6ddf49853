//! An emulated instance is a socket to CRIU, whose other end is outside the dumped processes. Here it becomes an instance, and back.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use super::directory::{Directory, FILES, Layout, Replacement, rewrite};
use super::entry::{EXTERNAL, FileEntry, UnixSocket, encode_inotify, encode_socket};
use super::error::DirectoryError;
use super::fields::{Fields, Value, put_number};
use super::frame::{Entry, Kind};
use super::inotify::InotifyFile;
use super::message::{SignalOwnerMessage, SocketOptionsMessage, TYPE_INOTIFY, TYPE_UNIX_SOCKET, UnixSocketMessage};
use super::translate::{TranslateError, instance_of, watches_of};
use crate::checkpoint::{Checkpoint, Instance, Profile};
use crate::loss::O_NONBLOCK;

/// What [`to_inotify`] did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Conversion {
    /// The instances that are in the images now, by the ids that they have in the checkpoint.
    pub converted: Vec<u64>,
    /// Those of the checkpoint whose sockets the images do not have.
    pub absent: Vec<u64>,
    /// Sockets whose peer is outside, and which the checkpoint does not have: inodes.
    pub left: Vec<u32>,
}

/// Why nothing was converted.
#[derive(Debug)]
#[non_exhaustive]
pub enum ConvertError {
    /// The images cannot be read or written.
    Directory(DirectoryError),
    /// An instance has no counterpart.
    Translate(u64, TranslateError),
    /// Images of the legacy layout have their sockets elsewhere, and nobody writes them any more.
    Legacy,
}

impl fmt::Display for ConvertError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(error) => error.fmt(f),
            Self::Translate(id, error) => write!(f, "instance {id}: {error}"),
            Self::Legacy => f.write_str("images of the legacy layout (inotify.img) cannot be converted"),
        }
    }
}

impl std::error::Error for ConvertError {}

impl From<DirectoryError> for ConvertError {
    fn from(error: DirectoryError) -> Self {
        Self::Directory(error)
    }
}

/// Puts the instances of a checkpoint in the place of the sockets that they were dumped as, found by their inodes.
///
/// # Errors
///
/// The images are left as they were.
pub fn to_inotify(path: &Path, checkpoint: &Checkpoint) -> Result<Conversion, ConvertError> {
    let directory = read_todays(path)?;
    let by_inode: BTreeMap<u32, &UnixSocket> = directory.sockets.iter().map(|socket| (socket.inode, socket)).collect();
    let mut conversion = Conversion::default();
    let mut files: BTreeMap<u32, InotifyFile> = BTreeMap::new();
    let mut peers = BTreeSet::new();
    for instance in &checkpoint.instances {
        let inode = instance.socket_inode.and_then(|inode| u32::try_from(inode).ok());
        let Some(socket) = inode.and_then(|inode| by_inode.get(&inode)) else {
            conversion.absent.push(instance.id);
            continue;
        };
        let file = watches_of(instance, socket.id).map_err(|error| ConvertError::Translate(instance.id, error))?;
        // Of a socket, fdinfo shows how it is open as well.
        files.insert(socket.id, InotifyFile { flags: socket.flags & O_NONBLOCK, owner: socket.owner, ..file });
        peers.insert(socket.peer);
        conversion.converted.push(instance.id);
    }
    let external = |inode: u32| by_inode.get(&inode).is_some_and(|socket| socket.external);
    let left = directory.sockets.iter().filter(|socket| external(socket.peer) && !files.contains_key(&socket.id));
    conversion.left = left.map(|socket| socket.inode).collect();
    if files.is_empty() {
        return Ok(conversion);
    }
    let replacement = rewrite(&path.join(FILES), Kind::Files, |entry, write| match FileEntry::parse(&entry)? {
        FileEntry::UnixSocket(socket) if socket.external && peers.contains(&socket.inode) => Ok(()),
        FileEntry::UnixSocket(socket) => match files.get(&socket.id) {
            Some(file) => write(&encode_inotify(file, &[])),
            None => write(&entry.bytes),
        },
        _ => write(&entry.bytes),
    })?;
    let mut replacements = vec![replacement];
    let ids: BTreeSet<u32> = files.keys().copied().collect();
    replacements.extend(retype_descriptors(&directory, &ids, TYPE_INOTIFY)?);
    replacements.into_iter().try_for_each(Replacement::commit)?;
    Ok(conversion)
}

/// Puts a socket to outside in the place of each instance, for a CRIU that is to be given an emulator's sockets. The checkpoint
/// that is returned has what was in the images, with the sockets' inodes.
///
/// # Errors
///
/// The images are left as they were.
pub fn to_sockets(path: &Path) -> Result<Checkpoint, ConvertError> {
    let directory = read_todays(path)?;
    let used: BTreeSet<u32> = directory.sockets.iter().map(|socket| socket.inode).collect();
    let mut free = (1..=u32::MAX).rev().filter(|inode| !used.contains(inode));
    let highest = directory.descriptors.iter().map(|descriptor| descriptor.file).chain(directory.file_ids());
    let mut peer_id = highest.max().unwrap_or(0);
    let mut sockets = BTreeMap::new();
    let mut instances = Vec::new();
    for file in &directory.inotify {
        let instance = instance_of(file, directory.descriptors_of(file.id))
            .map_err(|error| ConvertError::Translate(file.id.into(), error))?;
        let (Some(inode), Some(peer)) = (free.next(), free.next()) else { continue };
        peer_id = peer_id.wrapping_add(1);
        sockets.insert(file.id, pair(file, inode, peer, peer_id));
        instances.push(Instance { socket_inode: Some(inode.into()), ..instance });
    }
    let replacement = rewrite(&path.join(FILES), Kind::Files, |entry, write| match FileEntry::parse(&entry)? {
        FileEntry::Inotify(file, _) => match sockets.get(&file.id) {
            Some([peer, socket]) => {
                write(peer)?;
                write(socket)
            }
            None => write(&entry.bytes),
        },
        _ => write(&entry.bytes),
    })?;
    let mut replacements = vec![replacement];
    let ids: BTreeSet<u32> = sockets.keys().copied().collect();
    replacements.extend(retype_descriptors(&directory, &ids, TYPE_UNIX_SOCKET)?);
    replacements.into_iter().try_for_each(Replacement::commit)?;
    Ok(Checkpoint::new(Profile::Native, 0, instances))
}

fn read_todays(path: &Path) -> Result<Directory, ConvertError> {
    let directory = Directory::read(path)?;
    if directory.layout == Layout::Legacy { Err(ConvertError::Legacy) } else { Ok(directory) }
}

impl Directory {
    fn file_ids(&self) -> impl Iterator<Item = u32> {
        let inotify = self.inotify.iter().map(|file| file.id);
        inotify.chain(self.sockets.iter().map(|socket| socket.id))
    }
}

const SOCK_DGRAM: u32 = 2;
const SOCK_SEQPACKET: u32 = 5;
const TCP_ESTABLISHED: u32 = 1;
const TCP_LISTEN: u32 = 10;
const O_RDWR: u32 = 2;

/// The entries that CRIU writes for a socket whose peer is outside: first the peer.
fn pair(file: &InotifyFile, inode: u32, peer: u32, peer_id: u32) -> [Vec<u8>; 2] {
    let outside = UnixSocketMessage {
        id: Some(peer_id),
        ino: Some(peer),
        kind: Some(SOCK_DGRAM),
        state: Some(TCP_LISTEN),
        flags: Some(0),
        uflags: Some(EXTERNAL),
        backlog: Some(0),
        peer: Some(0),
        fown: Some(SignalOwnerMessage::default()),
        opts: Some(SocketOptionsMessage::default()),
        name: Some(Vec::new()),
    };
    let inside = UnixSocketMessage {
        id: Some(file.id),
        ino: Some(inode),
        kind: Some(SOCK_SEQPACKET),
        state: Some(TCP_ESTABLISHED),
        flags: Some(O_RDWR | file.flags),
        uflags: Some(0),
        peer: Some(peer),
        fown: Some(file.owner),
        ..outside.clone()
    };
    [encode_socket(peer_id, &outside), encode_socket(file.id, &inside)]
}

/// The images of descriptors in which these files get another type.
fn retype_descriptors(
    directory: &Directory,
    files: &BTreeSet<u32>,
    kind: u32,
) -> Result<Vec<Replacement>, DirectoryError> {
    let of_files = directory.descriptors.iter().filter(|descriptor| files.contains(&descriptor.file));
    let tables: BTreeSet<u32> = of_files.map(|descriptor| descriptor.table).collect();
    let retyped = tables.into_iter().map(|table| {
        let path = directory.path.join(format!("fdinfo-{table}.img"));
        rewrite(&path, Kind::Descriptors, |entry, write| {
            let message = retype(&entry, files, kind)?;
            write(message.as_deref().unwrap_or(&entry.bytes))
        })
    });
    retyped.collect()
}

/// The fdinfo_entry with another type, if it is of one of these files.
fn retype(entry: &Entry, files: &BTreeSet<u32>, kind: u32) -> Result<Option<Vec<u8>>, super::ImageError> {
    let mut message = Vec::new();
    let mut of_files = false;
    for field in Fields::new(&entry.bytes, entry.offset) {
        let field = field?;
        match (field.number, field.value) {
            (3, Value::Number(_)) => put_number(3, kind.into(), &mut message),
            (number, value) => {
                if let (1, Value::Number(id)) = (number, value) {
                    of_files = files.contains(&(id as u32));
                }
                message.extend_from_slice(field.raw);
            }
        }
    }
    Ok(of_files.then_some(message))
}
