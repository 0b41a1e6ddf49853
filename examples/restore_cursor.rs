//! Gives a new watch a chosen number, as the restore path of a checkpointer does.
//!
//! Natively it needs Linux 4.16; under `uinotify run` any kernel will do:
//!
//! ```console
//! $ cargo run --release -- run -- cargo run --release --example restore_cursor
//! ```

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::{env, fs, io, process};

const INOTIFY_IOC_SETNEXTWD: u32 = 0x4004_4900;
const UINOTIFY_IOC_GETNEXTWD: u32 = 0x8004_4980;
const WANTED: i32 = 0x34d_71d6;

fn checked(result: i32) -> io::Result<i32> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn main() -> io::Result<()> {
    let folder = env::temp_dir().join(format!("restore_cursor-{}", process::id()));
    fs::create_dir(&folder)?;
    let result = restore(&folder);
    fs::remove_dir_all(&folder)?;
    result
}

fn restore(folder: &std::path::Path) -> io::Result<()> {
    let path = CString::new(folder.as_os_str().as_bytes())?;
    // SAFETY: takes flags only.
    let instance = checked(unsafe { libc::inotify_init1(libc::IN_CLOEXEC) })?;

    // SAFETY: this ioctl takes its number by value.
    let set = checked(unsafe { libc::ioctl(instance, INOTIFY_IOC_SETNEXTWD as libc::Ioctl, WANTED) });
    if let Err(error) = set {
        println!("no INOTIFY_IOC_SETNEXTWD here ({error}): {WANTED} watches would have to be added and removed");
        return Err(error);
    }
    // SAFETY: `path` is a string that lives through the call.
    let wd = checked(unsafe { libc::inotify_add_watch(instance, path.as_ptr(), libc::IN_CREATE) })?;
    println!("asked for wd {WANTED:#x} ({WANTED}), got {wd:#x} ({wd})");

    let mut next: i32 = 0;
    // SAFETY: this ioctl writes one int, which lives through the call.
    match checked(unsafe { libc::ioctl(instance, UINOTIFY_IOC_GETNEXTWD as libc::Ioctl, &raw mut next) }) {
        Ok(_) => println!("next wd is {next:#x} ({next})"),
        Err(_) => println!("the kernel does not tell the next wd"),
    }

    fs::write(folder.join("restored"), b"")?;
    let mut buffer = [0u8; 4096];
    // SAFETY: `buffer` lives through the call, with its length beside it.
    let length = unsafe { libc::read(instance, buffer.as_mut_ptr().cast(), buffer.len()) };
    let length = usize::try_from(length).map_err(|_| io::Error::last_os_error())?;
    let word =
        |index: usize| u32::from_ne_bytes([buffer[index], buffer[index + 1], buffer[index + 2], buffer[index + 3]]);
    let (wd, mask) = (word(0), word(4));
    let name = buffer[16..length].split(|byte| *byte == 0).next().unwrap_or_default();
    assert_eq!(mask, libc::IN_CREATE);
    println!("IN_CREATE on wd {wd:#x} ({wd}): {}", String::from_utf8_lossy(name));
    // SAFETY: takes a number only.
    checked(unsafe { libc::close(instance) })?;
    Ok(())
}
