//! The files and directories that are open.

use std::fs::File;
use std::sync::Arc;

use nix::errno::Errno;
use slab::Slab;

use super::names::NameId;
use super::request::{Handle, NodeId};
use super::ways::Way;

/// An open file or directory.
#[derive(Debug)]
pub(super) struct OpenFile {
    pub(super) node: NodeId,
    /// The name by which it was come to.
    pub(super) name: Option<NameId>,
    /// Others may be using it when it is closed.
    pub(super) lower: Arc<File>,
    pub(super) is_writable: bool,
    /// The kernel has opened it for itself, to ask for attributes: no program knows of it.
    pub(super) is_internal: bool,
    pub(super) appends: bool,
    /// None in exact mode, and of a directory: it need not be known.
    pub(super) way: Option<Way>,
    /// Of a directory: where its next entries are read.
    pub(super) position: i64,
}

/// All open files.
#[derive(Debug, Default)]
pub(super) struct OpenFiles {
    files: Slab<OpenFile>,
}

impl OpenFiles {
    pub(super) fn add(&mut self, file: OpenFile) -> Handle {
        Handle(self.files.insert(file) as u64)
    }

    pub(super) fn len(&self) -> usize {
        self.files.len()
    }

    pub(super) fn handles(&self) -> Vec<Handle> {
        self.files.iter().map(|(key, _)| Handle(key as u64)).collect()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &OpenFile> {
        self.files.iter().map(|(_, file)| file)
    }

    /// # Errors
    ///
    /// EBADF, which no kernel makes us answer.
    pub(super) fn get(&self, handle: Handle) -> Result<&OpenFile, Errno> {
        usize::try_from(handle.0).ok().and_then(|key| self.files.get(key)).ok_or(Errno::EBADF)
    }

    /// # Errors
    ///
    /// As [`get`](Self::get).
    pub(super) fn get_mut(&mut self, handle: Handle) -> Result<&mut OpenFile, Errno> {
        usize::try_from(handle.0).ok().and_then(|key| self.files.get_mut(key)).ok_or(Errno::EBADF)
    }

    pub(super) fn remove(&mut self, handle: Handle) -> Result<OpenFile, Errno> {
        usize::try_from(handle.0).ok().and_then(|key| self.files.try_remove(key)).ok_or(Errno::EBADF)
    }
}
