//! Inotify by libc's functions.

use std::ffi::CString;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::errno::Errno;

use crate::symbol::Function;

/// A new instance. The kernel gives a place back only some milliseconds after a close, and a user's places are shared with whatever
/// else runs: a lack of them is waited out, with an end.
///
/// # Panics
///
/// If there is none to be had.
pub(crate) fn open(flags: i32) -> OwnedFd {
    // SAFETY: takes flags only.
    let fd = when_there_is_a_place(|| unsafe { libc::inotify_init1(flags) });
    assert!(fd >= 0, "inotify_init1: {}", Errno::last());
    is_of_its_side(fd);
    // SAFETY: the call has just returned this descriptor.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// Repeats what opens an instance while it gives EMFILE.
pub(crate) fn when_there_is_a_place(open: impl Fn() -> RawFd) -> RawFd {
    for _ in 0..400_000 {
        let fd = open();
        if fd >= 0 || Errno::last() != Errno::EMFILE {
            return fd;
        }
        // SAFETY: takes nothing.
        unsafe { libc::sched_yield() };
    }
    -1
}

/// Under `uinotify run` every instance is emulated, however it was opened; else the comparison would be one of like with like.
///
/// # Panics
///
/// If it is not.
pub(crate) fn is_of_its_side(fd: RawFd) {
    let socket = Function::parse("raw:getsockname");
    let mut address = [0_u64; 16];
    let mut length = size_of_val(&address) as libc::socklen_t;
    let arguments = [fd as usize, address.as_mut_ptr() as usize, (&raw mut length) as usize, 0, 0, 0];
    let is_socket = socket.call(arguments) == Some(0);
    let is_emulated = std::env::var_os("UINOTIFY_SOCKET").is_some();
    assert_eq!(is_socket, is_emulated, "descriptor {fd} is emulated");
}

/// Watches the path.
///
/// # Panics
///
/// If that fails.
pub(crate) fn watch(fd: RawFd, path: &Path, mask: u32) -> i32 {
    let path = CString::new(path.as_os_str().as_bytes()).expect("a path has no NUL");
    // SAFETY: the path is a string that lives through the call.
    let wd = unsafe { libc::inotify_add_watch(fd, path.as_ptr(), mask) };
    assert!(wd > 0, "inotify_add_watch: {}", Errno::last());
    wd
}

/// One read.
pub(crate) fn read(fd: RawFd, buffer: &mut [u8]) -> Result<usize, Errno> {
    // SAFETY: the buffer lives through the call, which writes at most its length.
    Errno::result(unsafe { libc::read(fd, buffer.as_mut_ptr().cast(), buffer.len()) }).map(isize::cast_unsigned)
}

/// FIONREAD, and then what one large read gives.
pub(crate) fn queue(fd: RawFd) -> String {
    let mut queued: libc::c_int = -1;
    // SAFETY: FIONREAD writes one int, which lives through the call.
    unsafe { libc::ioctl(fd, libc::FIONREAD, &raw mut queued) };
    let mut buffer = [0; 4096];
    match read(fd, &mut buffer) {
        Ok(length) => format!("{queued} {}", events(&buffer[..length])),
        Err(errno) => format!("{queued} {errno:?}"),
    }
}

/// The records in what a read has given, without their cookies.
pub(crate) fn events(mut rest: &[u8]) -> String {
    let mut shown = Vec::new();
    while let Some((header, more)) = rest.split_at_checked(16) {
        let word = |index: usize| {
            u32::from_ne_bytes(header[4 * index..4 * index + 4].try_into().expect("four bytes of a header"))
        };
        let Some((name, after)) = more.split_at_checked(word(3) as usize) else {
            shown.push("torn".into());
            break;
        };
        let name = String::from_utf8_lossy(name.split(|&byte| byte == 0).next().unwrap_or_default()).into_owned();
        shown.push(format!("{}:{:x}({name})", word(0).cast_signed(), word(1)));
        rest = after;
    }
    if !rest.is_empty() {
        shown.push(format!("{} bytes", rest.len()));
    }
    shown.join(" ")
}
