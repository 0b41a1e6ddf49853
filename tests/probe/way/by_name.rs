//! Functions that are looked up at run time, as language bindings do, and system calls by number.

use std::ffi::{CStr, CString, c_void};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::errno::Errno;

type Any = unsafe extern "C" fn(usize, usize, usize, usize, usize, usize) -> i64;
/// Calls the function of this name with these arguments.
type Call<'a> = &'a dyn Fn(&CStr, &[usize]) -> i64;

fn called(address: *mut c_void, arguments: &[usize]) -> i64 {
    assert!(!address.is_null(), "the function is found");
    let mut all = [0; 6];
    all[..arguments.len()].copy_from_slice(arguments);
    let [a, b, c, d, e, f] = all;
    // SAFETY: the address is that of a C function that takes integers and pointers.
    let function: Any = unsafe { std::mem::transmute(address) };
    // SAFETY: the arguments are the function's, and what they point to lives through the call.
    unsafe { function(a, b, c, d, e, f) }
}

/// An int and its errno.
fn said(result: i64) -> String {
    let result = result as i32;
    if result < 0 { format!("{result} {:?}", Errno::last()) } else { result.to_string() }
}

/// What a binding does: open, watch, wait, ask, read, unwatch and close.
fn session(folder: &Path, call: Call<'_>) {
    let path = CString::new(folder.as_os_str().as_bytes()).expect("a path");
    let number = path.as_ptr() as usize;
    for init in [c"inotify_init", c"inotify_init1"] {
        let fd = crate::instance::when_there_is_a_place(|| call(init, &[0]) as i32);
        let own = fd as usize;
        println!("{init:?} {}", fd > 2);
        crate::instance::is_of_its_side(fd);
        println!("add_watch {}", said(call(c"inotify_add_watch", &[own, number, libc::IN_CREATE as usize])));
        println!("bad mask {}", said(call(c"inotify_add_watch", &[own, number, 0])));
        for name in ["first", "second"] {
            fs::write(folder.join(name), "").expect("a file");
        }
        let mut entry = libc::pollfd { fd, events: libc::POLLIN | libc::POLLOUT, revents: 0 };
        println!("poll {} {}", said(call(c"poll", &[(&raw mut entry) as usize, 1, 1000])), entry.revents);
        let mut queued = 0_i32;
        let bytes = (&raw mut queued) as usize;
        println!("FIONREAD {} {queued}", said(call(c"ioctl", &[own, libc::FIONREAD as usize, bytes])));
        println!("F_GETFL {}", said(call(c"fcntl", &[own, libc::F_GETFL as usize])));
        println!("F_SETFL {}", said(call(c"fcntl", &[own, libc::F_SETFL as usize, libc::O_NONBLOCK as usize])));
        let mut buffer = [0_u8; 4096];
        let (start, room) = (buffer.as_mut_ptr() as usize, buffer.len());
        println!("small read {}", said(call(c"read", &[own, start, 8])));
        let length = call(c"read", &[own, start, room]).max(0) as usize;
        println!("read {length} {}", crate::instance::events(&buffer[..length]));
        println!("read {}", said(call(c"read", &[own, start, room])));
        println!("write {}", said(call(c"write", &[own, start, 16])));
        // SAFETY: the structure is integers, of which all zeroes is a value.
        let mut status: libc::stat = unsafe { std::mem::zeroed() };
        println!("fstat {} {:o}", said(call(c"fstat", &[own, (&raw mut status) as usize])), status.st_mode);
        println!("lseek {}", said(call(c"lseek", &[own, 0, 0])));
        println!("rm_watch {}", said(call(c"inotify_rm_watch", &[own, 1])));
        println!("rm_watch {}", said(call(c"inotify_rm_watch", &[own, 1])));
        let duplicate = call(c"dup", &[own]) as usize;
        println!("close {}", said(call(c"close", &[own])));
        println!("closed {}", said(call(c"read", &[own, start, room])));
        let length = call(c"read", &[duplicate, start, room]).max(0) as usize;
        println!("read {length} {}", crate::instance::events(&buffer[..length]));
        println!("close {}", said(call(c"close", &[duplicate])));
        for name in ["first", "second"] {
            fs::remove_file(folder.join(name)).expect("the file goes");
        }
    }
}

/// As `ctypes.CDLL("libc.so.6")` and FFI of other languages do.
pub(crate) fn handle_of_libc(folder: &Path) {
    for name in [c"libc.so.6", c"libc.musl-x86_64.so.1"] {
        // SAFETY: the library is loaded already.
        let handle = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_LAZY) };
        if handle.is_null() {
            println!("{name:?} is not here");
            continue;
        }
        // SAFETY: the name is a string.
        let find = |name: &CStr| unsafe { libc::dlsym(handle, name.as_ptr()) };
        session(folder, &|name, arguments| called(find(name), arguments));
    }
    // SAFETY: opens what is loaded already.
    let handle = unsafe { libc::dlopen(std::ptr::null(), libc::RTLD_LAZY) };
    // SAFETY: the name is a string.
    let find = |name: &CStr| unsafe { libc::dlsym(handle, name.as_ptr()) };
    session(folder, &|name, arguments| called(find(name), arguments));
}

/// As a library does that stands in front of libc's functions itself.
pub(crate) fn next_object(folder: &Path) {
    // SAFETY: the name is a string.
    let find = |name: &CStr| unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
    session(folder, &|name, arguments| called(find(name), arguments));
    // What is next after this program is the shim, or libc.
    // SAFETY: the name is a string.
    let find = |name: &CStr| unsafe { libc::dlsym(libc::RTLD_NEXT, name.as_ptr()) };
    session(folder, &|name, arguments| called(find(name), arguments));
    // An ordinary function is found as it was, and what does not exist is told so.
    // SAFETY: the name is a string.
    let none = unsafe { libc::dlsym(libc::RTLD_NEXT, c"no_function_of_this_name".as_ptr()) };
    // SAFETY: takes nothing.
    let error = unsafe { libc::dlerror() };
    println!("{} {}", none.is_null(), error.is_null());
}

unsafe extern "C" {
    fn dlvsym(handle: *mut c_void, name: *const libc::c_char, version: *const libc::c_char) -> *mut c_void;
}

/// With the version that the name has in glibc: `nm -D` shows it.
pub(crate) fn version(folder: &Path) {
    // SAFETY: the library is loaded already, or not here.
    let handle = unsafe { libc::dlopen(c"libc.so.6".as_ptr(), libc::RTLD_LAZY) };
    let versions = [c"GLIBC_2.4", c"GLIBC_2.9", c"GLIBC_2.2.5", c"GLIBC_2.17", c"GLIBC_2.33"];
    let find = |handle, name: &CStr| {
        versions
            .iter()
            // SAFETY: the name and the version are strings.
            .map(|version| unsafe { dlvsym(handle, name.as_ptr(), version.as_ptr()) })
            .find(|address| !address.is_null())
            .unwrap_or(std::ptr::null_mut())
    };
    if find(handle, c"inotify_init").is_null() {
        println!("{}no versions in this libc", super::IGNORED);
        return;
    }
    session(folder, &|name, arguments| called(find(handle, name), arguments));
    session(folder, &|name, arguments| called(find(libc::RTLD_DEFAULT, name), arguments));
}

/// Through libc's `syscall`, as programs do whose libc is older than the call.
pub(crate) fn number(folder: &Path) {
    // SAFETY: the name is a string.
    let function = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"syscall".as_ptr()) };
    session(folder, &|name, arguments| {
        let all = |number: libc::c_long, arguments: &[usize]| {
            let mut all = vec![number as usize];
            all.extend_from_slice(arguments);
            called(function, &all)
        };
        match name.to_bytes() {
            b"inotify_init" => all(libc::SYS_inotify_init1, &[0]),
            b"inotify_init1" => all(libc::SYS_inotify_init1, arguments),
            b"inotify_add_watch" => all(libc::SYS_inotify_add_watch, arguments),
            b"inotify_rm_watch" => all(libc::SYS_inotify_rm_watch, arguments),
            b"read" => all(libc::SYS_read, arguments),
            b"write" => all(libc::SYS_write, arguments),
            b"ioctl" => all(libc::SYS_ioctl, arguments),
            b"fcntl" => all(libc::SYS_fcntl, arguments),
            b"lseek" => all(libc::SYS_lseek, arguments),
            b"fstat" => all(libc::SYS_fstat, arguments),
            b"dup" => all(libc::SYS_dup, arguments),
            b"close" => all(libc::SYS_close, arguments),
            // poll itself is not on every architecture; the timeout of the session is one second.
            b"poll" => {
                let second = [1_i64, 0];
                all(libc::SYS_ppoll, &[arguments[0], arguments[1], second.as_ptr() as usize, 0, 8])
            }
            other => panic!("no number of {}", String::from_utf8_lossy(other)),
        }
    });
}
