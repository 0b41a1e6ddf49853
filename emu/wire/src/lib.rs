//! The frames between a program and the emulator.
//!
//! A request is one `SOCK_SEQPACKET` packet, so a frame is never cut or glued. It travels either over the program's inotify
//! descriptor itself, with the reply object (the write end of a pipe, or a socket) as the first attached descriptor, or over a
//! control connection, which carries the reply back. Events go the other way as bare `struct inotify_event` records, one a
//! packet: a reader that bypasses the shim sees exactly what it would read from Linux.
//!
//! The numbers are in native byte order: both ends are on one machine.
#![no_std]
#![forbid(unsafe_code)]

mod name;
mod reply;
mod request;

pub use name::{InstanceName, NAME_BYTES_MAX, NAME_PREFIX};
pub use reply::{REPLY_BYTES, Reply, VALUE_OFFSET};
pub use request::{
    FOR_READ, LimitFile, Malformed, REBUILDS, REQUEST_BYTES, Request, RequestKind, STAND_IN, TOKEN_BYTES,
};

/// Version of the frames. A receiver refuses any other.
pub const VERSION: u8 = 1;

/// First bytes of every frame.
pub const MAGIC: [u8; 4] = *b"uino";

/// The largest request: a header and a path of `PATH_MAX` bytes.
pub const REQUEST_BYTES_MAX: usize = REQUEST_BYTES + 4096;

/// The most bytes of events that one reply carries.
pub const REPLY_EVENTS_BYTES_MAX: usize = 64 * 1024;

/// The largest event record: a header and a name of 255 bytes with its padding (semantics `EVENT` rules).
pub const EVENT_BYTES_MAX: usize = EVENT_HEADER_BYTES + 256;

/// The fixed part of `struct inotify_event`.
pub const EVENT_HEADER_BYTES: usize = 16;

/// The bits that `inotify_add_watch(2)` takes: the kernel's `ALL_INOTIFY_BITS`.
pub const ADD_WATCH_BITS: u32 = 0xf700_efff;

/// `IN_MASK_ADD | IN_MASK_CREATE`, which exclude each other since Linux 4.18.
pub const MASK_ADD_AND_CREATE: u32 = 0x3000_0000;

/// `IN_ONLYDIR`: the path must lead to a directory.
pub const ONLYDIR: u32 = 0x0100_0000;

/// `IN_DONT_FOLLOW`: a symbolic link at the end of the path is watched itself.
pub const DONT_FOLLOW: u32 = 0x0200_0000;

/// `INOTIFY_IOC_SETNEXTWD`, `_IOW('I', 0, __s32)`: sets the cursor, Linux 4.16.
pub const IOC_SETNEXTWD: u32 = 0x4004_4900;

/// `UINOTIFY_IOC_GETNEXTWD`, `_IOR('I', 0x80, __s32)`: reads the cursor back. Ours; Linux answers ENOTTY.
pub const IOC_GETNEXTWD: u32 = 0x8004_4980;

/// `FIONREAD`, on x86, ARM and most others.
pub const FIONREAD: u32 = 0x541b;

/// With this argument and descriptor -1 [`IOC_GETNEXTWD`] asks whether calls of this process are stopped by a filter of ours: 1 if they
/// are. Linux answers EBADF.
pub const IS_INTERCEPTED: u64 = u64::from_le_bytes(*b"uinotify");

/// In the upper half of an ioctl's request, of which the kernel takes the lower: the shim has judged this call already, and a filter
/// that stops calls without it lets this one pass.
pub const PASS_MARK: u32 = u32::from_le_bytes(MAGIC);

/// Length of [`PLUG`]: more than 4 KiB in the kernel's account (a quarter of what the program's end may send), and less than 16 KiB.
pub const PLUG_BYTES: usize = 3000;

/// A packet that asks for nothing and stays unread on the way to the emulator, so that the kernel takes the program's end for one that
/// cannot be written, as an inotify descriptor cannot (`unix_writable` of the kernel: a quarter of the send buffer). The emulator
/// takes it away when something follows it; who has sent a request over an instance sends another.
pub static PLUG: [u8; PLUG_BYTES] = {
    let mut bytes = [0; PLUG_BYTES];
    let mut index = 0;
    while index < MAGIC.len() {
        bytes[index] = MAGIC[index];
        index += 1;
    }
    bytes[MAGIC.len()] = VERSION;
    // No kind of request.
    bytes[MAGIC.len() + 1] = u8::MAX;
    bytes
};

/// One line of the settle page, which the emulator writes and programs only read. A line is a cache line long.
pub mod settle_line {
    /// Distance between two lines.
    pub const LINE_BYTES: usize = 64;
    /// Offset of the `u32` that is odd while the emulator holds events that it has not delivered.
    pub const CYCLE_OFFSET: usize = 0;
    /// Offset of the `u32` that is not zero while events wait behind the window.
    pub const MORE_OFFSET: usize = 4;
    /// In that word: whatever the rest says, something may have happened that only the emulator can find out. Ask.
    pub const ASK: u32 = 2;
    /// Offset of the `u32` that equals the odd number of a cycle in which, with the source drained and the socket empty, exactly
    /// one event is sent and none is left behind the window: who takes that one has taken all.
    pub const SOLO_OFFSET: usize = 8;
}

fn u32_at(bytes: &[u8], offset: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[offset..offset + 4]);
    u32::from_ne_bytes(word)
}

fn u64_at(bytes: &[u8], offset: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[offset..offset + 8]);
    u64::from_ne_bytes(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_those_of_linux() {
        // PATH_MAX, and `sizeof(struct inotify_event)` with the padded name of NAME_MAX bytes.
        assert_eq!((REQUEST_BYTES_MAX, EVENT_BYTES_MAX), (24 + 4096, 16 + 256));
        assert_eq!(REPLY_EVENTS_BYTES_MAX, 65_536, "a large buffer of a program");
    }

    #[test]
    fn the_plug_asks_for_nothing() {
        assert_eq!(Request::parse(&PLUG), Err(Malformed::Kind(u8::MAX)));
        assert!(PLUG[REQUEST_BYTES..].iter().all(|byte| *byte == 0));
    }
}
