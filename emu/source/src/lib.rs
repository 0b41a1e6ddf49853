//! Where file-system events come from.
//!
//! Each source turns what it sees into the core's terms. So far there is one: `inotify`, a kernel instance behind each group,
//! whose watch descriptors are translated.
#![deny(unsafe_op_in_unsafe_fn)]

pub mod inotify;
