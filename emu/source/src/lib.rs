//! Where file-system events come from.
//!
//! Each source turns what it sees into the core's terms: `inotify`, a kernel instance behind each group, whose watch descriptors are
//! translated; `fuse`, a file system of our own, which sees each operation; `fanotify`, marks on file systems or inodes;
//! `poll`, looks at what is there, again and again; `script`, nothing but what a test says.
#![deny(unsafe_op_in_unsafe_fn)]

pub mod capabilities;
pub mod fanotify;
pub mod fuse;
pub mod inotify;
pub mod kernel_handle;
pub mod mountinfo;
pub mod poll;
pub mod rights;
pub mod script;
mod status;
