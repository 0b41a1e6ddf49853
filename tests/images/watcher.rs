//! The program that is dumped and restored: `--watch FOLDER LOG`.
//!
//! It watches FOLDER's a, b and c with wds 1, 0x34d71d6 and 0x34d71d7, writes each event to LOG, and for one of the name `add` watches d.

use std::ffi::CString;
use std::fs::File;
use std::io::Write;
use std::process::ExitCode;

/// `_IOW('I', 0, __s32)`.
const SETNEXTWD: libc::c_ulong = 0x4004_4900;

pub(super) const FIRST_LARGE: i32 = 0x34d_71d6;
/// What the watches are made with: wd, mask, and the folder's name.
pub(super) const WATCHES: [(i32, u32, &str); 3] = [
    (1, libc::IN_ALL_EVENTS, "a"),
    (FIRST_LARGE, libc::IN_CREATE | libc::IN_DELETE, "b"),
    (FIRST_LARGE + 1, libc::IN_MODIFY | libc::IN_MOVE | libc::IN_EXCL_UNLINK, "c"),
];

pub(super) fn main(arguments: &[String]) -> ExitCode {
    let [folder, log] = arguments else { return ExitCode::from(2) };
    // CRIU dumps whole sessions.
    nix::unistd::setsid().expect("a new child leads no group");
    let mut log = File::create(log).expect("the log");
    // SAFETY: it takes no pointer.
    let fd = unsafe { libc::inotify_init1(0) };
    for (wd, mask, name) in WATCHES {
        // SAFETY: the argument is a number.
        unsafe { libc::ioctl(fd, SETNEXTWD, libc::c_long::from(wd)) };
        assert_eq!(add(fd, &format!("{folder}/{name}"), mask), wd, "{}", std::io::Error::last_os_error());
    }
    writeln!(log, "ready").expect("the log");
    let mut bytes = [0_u8; 4096];
    loop {
        // SAFETY: the buffer is as long as is said.
        let length = unsafe { libc::read(fd, bytes.as_mut_ptr().cast(), bytes.len()) };
        let Ok(length) = usize::try_from(length) else {
            writeln!(log, "read: {}", std::io::Error::last_os_error()).expect("the log");
            return ExitCode::FAILURE;
        };
        let mut records = &bytes[..length];
        while let Some((header, rest)) = records.split_first_chunk::<16>() {
            let word = |at: usize| u32::from_ne_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
            let (name, rest) = rest.split_at(word(12) as usize);
            let name = String::from_utf8_lossy(name);
            let name = name.trim_end_matches('\0');
            writeln!(log, "wd {:#x} mask {:#x} name {name}", word(0), word(4)).expect("the log");
            if name == "add" && word(4) == libc::IN_CREATE {
                let added = add(fd, &format!("{folder}/d"), libc::IN_CREATE);
                writeln!(log, "added {added:#x}").expect("the log");
            }
            records = rest;
        }
    }
}

fn add(fd: i32, path: &str, mask: u32) -> i32 {
    let path = CString::new(path).expect("no NUL byte");
    // SAFETY: the path outlives the call.
    unsafe { libc::inotify_add_watch(fd, path.as_ptr(), mask) }
}
