//! Prints what happens in a folder, until it is told to end or the folder is gone.
//!
//! ```console
//! $ cargo run --release -- run -- cargo run --release --example watch -- FOLDER
//! ```

use std::ffi::CString;
use std::os::unix::ffi::OsStringExt;
use std::{env, io};

const NAMES: [(u32, &str); 16] = [
    (libc::IN_ACCESS, "ACCESS"),
    (libc::IN_MODIFY, "MODIFY"),
    (libc::IN_ATTRIB, "ATTRIB"),
    (libc::IN_CLOSE_WRITE, "CLOSE_WRITE"),
    (libc::IN_CLOSE_NOWRITE, "CLOSE_NOWRITE"),
    (libc::IN_OPEN, "OPEN"),
    (libc::IN_MOVED_FROM, "MOVED_FROM"),
    (libc::IN_MOVED_TO, "MOVED_TO"),
    (libc::IN_CREATE, "CREATE"),
    (libc::IN_DELETE, "DELETE"),
    (libc::IN_DELETE_SELF, "DELETE_SELF"),
    (libc::IN_MOVE_SELF, "MOVE_SELF"),
    (libc::IN_UNMOUNT, "UNMOUNT"),
    (libc::IN_Q_OVERFLOW, "Q_OVERFLOW"),
    (libc::IN_IGNORED, "IGNORED"),
    (libc::IN_ISDIR, "ISDIR"),
];

fn main() -> io::Result<()> {
    let folder = env::args_os().nth(1).unwrap_or_else(|| ".".into());
    let path = CString::new(folder.into_vec())?;
    // SAFETY: takes flags only.
    let instance = unsafe { libc::inotify_init1(libc::IN_CLOEXEC) };
    if instance < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: `path` is a string that lives through the call.
    let wd = unsafe { libc::inotify_add_watch(instance, path.as_ptr(), libc::IN_ALL_EVENTS) };
    if wd < 0 {
        return Err(io::Error::last_os_error());
    }
    println!("watching as wd {wd}");

    let mut buffer = [0u8; 4096];
    loop {
        // SAFETY: `buffer` lives through the call, with its length beside it.
        let length = unsafe { libc::read(instance, buffer.as_mut_ptr().cast(), buffer.len()) };
        let length = usize::try_from(length).map_err(|_| io::Error::last_os_error())?;
        let mut events = &buffer[..length];
        while let Some((header, rest)) = events.split_first_chunk::<16>() {
            let word = |index: usize| {
                u32::from_ne_bytes([header[index], header[index + 1], header[index + 2], header[index + 3]])
            };
            let (mask, cookie, (name, rest)) = (word(4), word(8), rest.split_at(word(12) as usize));
            let bits: Vec<_> = NAMES.iter().filter(|(bit, _)| mask & bit != 0).map(|(_, name)| *name).collect();
            let name = String::from_utf8_lossy(name.split(|byte| *byte == 0).next().unwrap_or_default());
            println!("wd {} {} cookie {cookie} {name}", word(0), bits.join(","));
            if mask & libc::IN_IGNORED != 0 {
                return Ok(());
            }
            events = rest;
        }
    }
}
