//! Many descriptors closed at once.

use std::fs;
use std::os::fd::{AsRawFd, IntoRawFd, RawFd};
use std::path::Path;

use crate::instance;
use crate::table::said;

/// What is open, but for what lists it: number and kind.
fn open_descriptors() -> Vec<String> {
    let listing = format!("/proc/{}/fd", std::process::id());
    let mut found: Vec<_> = fs::read_dir("/proc/self/fd")
        .expect("procfs")
        .filter_map(Result::ok)
        .filter_map(|entry| Some((entry.file_name(), fs::read_link(entry.path()).ok()?)))
        .filter(|(_, target)| target.to_str() != Some(&listing))
        .map(|(number, _)| number.to_string_lossy().into_owned())
        .collect();
    found.sort();
    found
}

fn works(folder: &Path, fd: RawFd) -> String {
    let name = format!("made{fd}");
    instance::watch(fd, folder, libc::IN_CREATE);
    fs::write(folder.join(&name), "").expect("a file");
    let queue = instance::queue(fd);
    fs::remove_file(folder.join(name)).expect("the file goes");
    queue
}

/// Three instances one after the other, each used, and a duplicate.
fn four(folder: &Path) -> [RawFd; 4] {
    let flags = libc::IN_NONBLOCK | libc::IN_CLOEXEC;
    let [one, two, three] = [0; 3].map(|_| instance::open(flags).into_raw_fd());
    for fd in [one, two, three] {
        works(folder, fd);
    }
    // SAFETY: takes a number only.
    [one, two, three, unsafe { libc::dup(one) }]
}

fn close_range(first: RawFd, last: u32, flags: i32) -> String {
    unsafe extern "C" {
        fn close_range(first: libc::c_uint, last: libc::c_uint, flags: libc::c_int) -> libc::c_int;
    }
    // SAFETY: whoever owns these descriptors has given them up.
    said(unsafe { close_range(first as u32, last, flags) })
}

/// The numbers that are open are those that were open before, whoever closes how much.
pub(crate) fn ranges(folder: &Path) {
    unsafe extern "C" {
        fn closefrom(first: libc::c_int);
    }
    const CLOEXEC: i32 = 4;
    const UNSHARE: i32 = 2;
    let before = open_descriptors();
    let show = |what: &str, result: String| {
        let now = open_descriptors();
        let new: Vec<_> = now.iter().filter(|fd| !before.contains(fd)).collect();
        let gone: Vec<_> = before.iter().filter(|fd| !now.contains(fd)).collect();
        println!("{what}: {result}, new {new:?}, gone {gone:?}");
    };
    let [first, .., last] = four(folder);
    show("close_range of the instances", close_range(first, last as u32, 0));
    let [one, two, three, four_] = four(folder);
    let result = close_range(two, three as u32, 0);
    println!("close_range of two of them: {result}, {} {}", works(folder, one), works(folder, four_));
    show("and of the rest", close_range(one, four_ as u32, 0));
    let [first, .., last] = four(folder);
    println!("CLOSE_RANGE_CLOEXEC: {}, {}", close_range(first, last as u32, CLOEXEC), works(folder, last));
    show("close_range unshared", close_range(first, last as u32, UNSHARE));
    let [first, .., last] = four(folder);
    for fd in first..=last {
        // SAFETY: the descriptor was made above.
        unsafe { libc::close(fd) };
    }
    show("close of each", "done".into());
    let [first, ..] = four(folder);
    show("close_range to the end", close_range(first, u32::MAX, 0));
    let [first, ..] = four(folder);
    // SAFETY: whoever owns these descriptors has given them up.
    unsafe { closefrom(first) };
    show("closefrom", "done".into());
    let [first, .., last] = four(folder);
    println!("no such range: {}", close_range(last, first as u32, 0));
    println!("no such flag: {}, {}", close_range(first, last as u32, 77), works(folder, last));
    show("close_range of everything", close_range(3, u32::MAX, 0));
    let new = instance::open(libc::IN_NONBLOCK);
    println!("afterwards: {} {}", new.as_raw_fd(), works(folder, new.as_raw_fd()));
    // SAFETY: whoever owns these descriptors has given them up.
    unsafe { closefrom(3) };
    std::mem::forget(new);
    show("closefrom of everything", "done".into());
    let new = instance::open(libc::IN_NONBLOCK);
    println!("afterwards: {} {}", new.as_raw_fd(), works(folder, new.as_raw_fd()));
}
