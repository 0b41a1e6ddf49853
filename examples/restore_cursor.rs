//! Gives a new watch a chosen number, as the restore path of a checkpointer does. Then dumps the whole instance, with events in its queue,
//! and rebuilds it.
//!
//! Natively it needs Linux 4.16; under `uinotify run` any kernel will do:
//!
//! ```console
//! $ cargo run --release -- run -- cargo run --release --example restore_cursor
//! ```

use std::ffi::CString;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::{env, fs, io, process};

use uinotify::checkpoint::{self, EmulatorAddress, Options, Selection};

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
    read_and_show(instance)?;
    fs::write(folder.join("unread"), b"")?;
    dump_and_rebuild()?;
    // SAFETY: takes a number only.
    checked(unsafe { libc::close(instance) })?;
    Ok(())
}

fn read_and_show(instance: i32) -> io::Result<()> {
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
    Ok(())
}

/// What no kernel does: the queue comes back as well.
fn dump_and_rebuild() -> io::Result<()> {
    let Some(emulator) = env::var_os("UINOTIFY_SOCKET") else {
        println!("the kernel's inotify cannot be dumped with its queue");
        return Ok(());
    };
    let (socket, token) = checkpoint::address(&emulator);
    let dumped = checkpoint::dump(&Selection::All, Some(&socket)).map_err(io::Error::other)?;
    let has_watch = |instance: &&checkpoint::Instance| instance.watches.iter().any(|watch| watch.wd == WANTED);
    let instance = dumped.instances.iter().find(has_watch).ok_or(io::ErrorKind::NotFound)?;
    println!("dumped: {} watch, {} unread event", instance.watches.len(), instance.queue.events.len());

    let address = EmulatorAddress { socket: &socket, token: &token };
    let rebuilt = checkpoint::restore(&address, &dumped, instance, Options::default(), &mut |_| {});
    let rebuilt = rebuilt.map_err(io::Error::other)?;
    for difference in rebuilt.differences(&address, instance)? {
        println!("differs: {difference}");
    }
    print!("rebuilt: ");
    read_and_show(rebuilt.descriptor.as_raw_fd())
}
