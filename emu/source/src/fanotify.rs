//! Source `fanotify`: one mark on a file system, or one on each watched inode.
//!
//! The kernel's records are read by a parser of our own, and each is split into the hooks that it stands for. The set of events is exact.
//! Their order and their number are best effort: the kernel merges what is not yet read, also what is not adjacent. Objects are told apart
//! by their file handles, which are compared and never opened.

mod gate;
mod group;
mod handle;
mod marks;
mod mounts;
mod own;
mod records;
mod scan;
mod source;
mod translation;
mod tree;
mod volume;

pub use handle::Handle;
pub use marks::MarkKind;
pub(crate) use mounts::Mounts;
pub use records::{End, Identifier, Information, Record, Records};
pub(crate) use scan::kind_of;
pub use source::{Marked, Options, Source, Volumes, is_numbered};
pub use tree::UNWATCHED;
pub use volume::Tally;
