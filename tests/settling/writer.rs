//! What makes events: operations on a few files, chosen by a seed.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;

use crate::random::Random;

/// The file that has a watch of its own besides that of its folder; it is never renamed and never removed.
pub(crate) const WATCHED_FILE: &str = "watched";

/// Files that come and go. Their names are of several lengths, so that events are.
const SLOTS: u32 = 6;

#[derive(Clone, Copy, Debug)]
enum Operation {
    Create,
    Write,
    Chmod,
    Close,
    Rename,
    Unlink,
    WriteWatched,
    ChmodWatched,
    MakeFolder,
}

const OPERATIONS: &[Operation] = &[
    Operation::Create,
    Operation::Write,
    Operation::Chmod,
    Operation::Close,
    Operation::Rename,
    Operation::Unlink,
    Operation::WriteWatched,
    Operation::ChmodWatched,
    Operation::MakeFolder,
];

/// A process that writes, with the files it has open.
#[derive(Debug)]
pub(crate) struct Writer {
    folder: PathBuf,
    open: [Option<i32>; SLOTS as usize],
    watched: i32,
}

fn path(folder: &Path, name: &str) -> CString {
    CString::new(folder.join(name).as_os_str().as_bytes()).expect("no NUL in our own names")
}

fn open(path: &CString) -> i32 {
    // SAFETY: the path is a string that lives through the call.
    let fd = unsafe { libc::open(path.as_ptr(), libc::O_RDWR | libc::O_CREAT | libc::O_CLOEXEC, 0o600) };
    assert!(fd >= 0, "open: {}", Errno::last());
    fd
}

fn write(fd: i32) {
    // SAFETY: the byte lives through the call.
    let result = unsafe { libc::pwrite(fd, c"x".as_ptr().cast(), 1, 0) };
    assert_eq!(result, 1, "pwrite: {}", Errno::last());
}

fn close(fd: i32) {
    // SAFETY: the descriptor is one that `open` gave and nobody has closed.
    let result = unsafe { libc::close(fd) };
    assert_eq!(result, 0, "close: {}", Errno::last());
}

fn chmod(path: &CString, mode: u32) -> bool {
    // SAFETY: the path is a string that lives through the call.
    unsafe { libc::chmod(path.as_ptr(), mode) == 0 }
}

impl Writer {
    pub(crate) fn new(folder: &Path) -> Self {
        Self { folder: folder.into(), open: [None; SLOTS as usize], watched: open(&path(folder, WATCHED_FILE)) }
    }

    /// The operations that a seed stands for. Without files left open: for a process whose end closes them.
    pub(crate) fn run(&mut self, seed: u64, count: u32) {
        let mut random = Random::new(seed);
        for _ in 0..count {
            let operation = *random.choose(OPERATIONS);
            let slot = random.below(SLOTS);
            self.perform(operation, slot, &mut random);
        }
    }

    fn perform(&mut self, operation: Operation, slot: u32, random: &mut Random) {
        let name = "n".repeat(1 + (slot * slot * 8) as usize) + &slot.to_string();
        let here = path(&self.folder, &name);
        let there = path(&self.folder, &(name + "~"));
        let held = &mut self.open[slot as usize];
        let mode = 0o600 | random.below(2);
        match operation {
            Operation::Create => {
                if let Some(fd) = held.replace(open(&here)) {
                    close(fd);
                }
            }
            Operation::Write => write(*held.get_or_insert_with(|| open(&here))),
            Operation::Chmod => {
                if !chmod(&here, mode) && !chmod(&there, mode) {
                    close(open(&here));
                }
            }
            Operation::Close => match held.take() {
                Some(fd) => close(fd),
                None => close(open(&here)),
            },
            Operation::Rename => {
                // SAFETY: both paths are strings that live through the call.
                let rename = |from: &CString, to: &CString| unsafe { libc::rename(from.as_ptr(), to.as_ptr()) == 0 };
                if !rename(&here, &there) && !rename(&there, &here) {
                    close(open(&here));
                }
            }
            Operation::Unlink => {
                // SAFETY: the path is a string that lives through the call.
                let unlink = |path: &CString| unsafe { libc::unlink(path.as_ptr()) == 0 };
                if !unlink(&here) && !unlink(&there) {
                    close(open(&here));
                }
            }
            Operation::WriteWatched => write(self.watched),
            Operation::ChmodWatched => {
                assert!(chmod(&path(&self.folder, WATCHED_FILE), mode), "chmod: {}", Errno::last());
            }
            Operation::MakeFolder => {
                let folder = path(&self.folder, "folder");
                // SAFETY: the path is a string that lives through the call.
                if unsafe { libc::mkdir(folder.as_ptr(), 0o700) } != 0 {
                    // SAFETY: the path is a string that lives through the call.
                    let result = unsafe { libc::rmdir(folder.as_ptr()) };
                    assert_eq!(result, 0, "rmdir: {}", Errno::last());
                }
            }
        }
    }
}
