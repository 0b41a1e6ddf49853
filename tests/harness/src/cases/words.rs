//! What many lists share.

use crate::operation::Operation;
use crate::shorthand::{group, read_all, slot, watch};

/// All twelve events.
pub const ALL: u32 = libc::IN_ALL_EVENTS;

/// A group whose wd 1 is the directory and wd 2 the object.
pub fn both(path: &str) -> [Operation; 3] {
    [group(0), watch(0, ".", ALL), watch(0, path, ALL)]
}

/// Reads all there is, and finds nothing behind it.
pub fn drain() -> [Operation; 2] {
    [read_all(0), read_all(0)]
}

/// `fcntl` of a slot.
pub fn fcntl(of: u8, command: i32, argument: i32) -> Operation {
    Operation::Fcntl { descriptor: slot(of), command, argument }
}

/// A blocking group.
pub fn blocking_group(into: u8) -> Operation {
    Operation::Init { slot: into, flags: 0 }
}

/// Done by a forked child as nobody.
pub fn as_nobody(operations: Vec<Operation>) -> Operation {
    let mut all = vec![Operation::Become { user: 65534 }];
    all.extend(operations);
    Operation::Child(all)
}
