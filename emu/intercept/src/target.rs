//! A thread that waits for an answer: what it has, as long as it waits.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::OnceLock;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat, readlinkat};
use nix::sys::stat::Mode;

/// `PATH_MAX`, with the NUL.
const PATH_BYTES_MAX: usize = 4096;
/// No page of any machine is smaller: what lies in one is there or not.
const PAGE_BYTES: u64 = 4096;

/// `PIDFD_THREAD`
const PIDFD_THREAD: i32 = libc::O_EXCL;

/// A thread of another process.
#[derive(Debug)]
pub struct Target {
    thread: i32,
    /// Its folder in procfs, which stands for this thread for ever: behind a later one with its number there is nothing.
    folder: OwnedFd,
    process: OnceLock<i32>,
}

/// What stands under a number of the thread's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Descriptor {
    /// A socket, by its inode.
    Socket(u64),
    /// Anything else, or nothing.
    Other,
}

/// By what a thread's access to files is judged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ids {
    /// Of the process.
    pub process: i32,
    /// The real one, whose limits count.
    pub owner: u32,
    /// For files.
    pub uid: u32,
    /// For files.
    pub gid: u32,
    /// The supplementary ones.
    pub groups: Vec<u32>,
    /// The effective ones, in its user name space.
    pub capabilities: u64,
}

impl Target {
    /// The thread of this number.
    ///
    /// # Errors
    ///
    /// ENOENT if there is none, or /proc shows other processes.
    pub fn new(thread: i32) -> Result<Self, Errno> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let folder = open(format!("/proc/{thread}").as_str(), flags, Mode::empty())?;
        Ok(Self { thread, folder, process: OnceLock::new() })
    }

    /// Its number.
    #[must_use]
    pub fn thread(&self) -> i32 {
        self.thread
    }

    /// Its process.
    #[must_use]
    pub fn process(&self) -> i32 {
        *self.process.get_or_init(|| self.ids().map_or(self.thread, |ids| ids.process))
    }

    /// Whether it has not ended.
    #[must_use]
    pub fn exists(&self) -> bool {
        nix::unistd::faccessat(&self.folder, c"stat", nix::unistd::AccessFlags::F_OK, nix::fcntl::AtFlags::empty())
            .is_ok()
    }

    pub(crate) fn folder(&self) -> &OwnedFd {
        &self.folder
    }

    /// What is open under a number.
    #[must_use]
    pub fn descriptor(&self, number: i32) -> Descriptor {
        // The text, which no file of a file system has: those begin with a slash. A duplicate would be had sooner, but closing one of a
        // file in FUSE asks its server, and closing the last one of any file tells of it.
        let link = readlinkat(&self.folder, format!("fd/{number}").as_str()).unwrap_or_default();
        let inode = link.to_str().and_then(|link| link.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok());
        inode.map_or(Descriptor::Other, Descriptor::Socket)
    }

    /// A descriptor of our own, of a socket that it has open under a number (Linux 5.6).
    ///
    /// # Errors
    ///
    /// EBADF if there is nothing; EPERM if this process may not look into that one; EINVAL for a thread that is not the first of its
    /// process (before 6.9).
    pub fn duplicate(&self, number: i32) -> Result<OwnedFd, Errno> {
        // The thread itself, where the kernel has descriptors of threads (6.9); else its process, if it is the first one there.
        let handle = handle_of(self.thread, PIDFD_THREAD).or_else(|_| handle_of(self.thread, 0))?;
        // SAFETY: takes numbers.
        let number = Errno::result(unsafe { libc::syscall(libc::SYS_pidfd_getfd, handle.as_raw_fd(), number, 0) })?;
        // SAFETY: the call has just returned this descriptor, which nobody else has.
        Ok(unsafe { OwnedFd::from_raw_fd(number as i32) })
    }

    /// Whether it has opened this without waiting (`O_NONBLOCK`). `None` if it has nothing open there.
    #[must_use]
    pub fn is_nonblocking(&self, number: i32) -> Option<bool> {
        let text = self.text(&format!("fdinfo/{number}"))?;
        let flags = text.lines().find_map(|line| line.strip_prefix("flags:"))?;
        let flags = i32::from_str_radix(flags.trim(), 8).ok()?;
        Some(flags & libc::O_NONBLOCK != 0)
    }

    /// Takes bytes out of its memory, as many as are there before a hole.
    ///
    /// # Errors
    ///
    /// EFAULT if there is none; EPERM if this process may not look there.
    pub fn read(&self, address: u64, bytes: &mut [u8]) -> Result<usize, Errno> {
        let here = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
        let there = libc::iovec { iov_base: address as *mut libc::c_void, iov_len: bytes.len() };
        // SAFETY: the room is ours and lives through the call; the other address is looked up in the other process.
        let result = unsafe { libc::process_vm_readv(self.thread, &raw const here, 1, &raw const there, 1, 0) };
        Errno::result(result).map(isize::unsigned_abs)
    }

    /// Puts bytes into its memory.
    ///
    /// # Errors
    ///
    /// EFAULT if not all of it can be written.
    pub fn write(&self, address: u64, bytes: &[u8]) -> Result<(), Errno> {
        let here = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
        let there = libc::iovec { iov_base: address as *mut libc::c_void, iov_len: bytes.len() };
        // SAFETY: the bytes are ours and only read; the other address is looked up in the other process.
        let result = unsafe { libc::process_vm_writev(self.thread, &raw const here, 1, &raw const there, 1, 0) };
        if Errno::result(result)?.unsigned_abs() == bytes.len() { Ok(()) } else { Err(Errno::EFAULT) }
    }

    /// The string at an address, taken once.
    ///
    /// # Errors
    ///
    /// EFAULT if it runs into a hole, ENAMETOOLONG without an end; EPERM as [`read`](Self::read).
    pub fn read_path(&self, address: u64) -> Result<CString, Errno> {
        let mut bytes = Vec::with_capacity(PATH_BYTES_MAX);
        let mut chunk = [0; PAGE_BYTES as usize];
        while bytes.len() < PATH_BYTES_MAX {
            let at = address.checked_add(bytes.len() as u64).ok_or(Errno::EFAULT)?;
            // Most paths are short; a read never goes over the end of a page, behind which there may be nothing.
            let length = if bytes.is_empty() { 256 } else { PAGE_BYTES };
            let room = (PAGE_BYTES - at % PAGE_BYTES).min(length) as usize;
            let room = room.min(PATH_BYTES_MAX - bytes.len());
            let length = self.read(at, &mut chunk[..room])?;
            if let Ok(end) = CStr::from_bytes_until_nul(&chunk[..length]) {
                bytes.extend_from_slice(end.to_bytes());
                return CString::new(bytes).map_err(|_| Errno::EFAULT);
            }
            if length < room {
                return Err(Errno::EFAULT);
            }
            bytes.extend_from_slice(&chunk[..length]);
        }
        Err(Errno::ENAMETOOLONG)
    }

    /// The environment with which its program was executed, or what that has put in its place.
    #[must_use]
    pub fn environment(&self) -> Vec<u8> {
        // As much as a program can be given by one who has the usual stack. What it says is in its memory may be any length.
        const BYTES_MAX: u64 = 2 * 1024 * 1024;
        let mut bytes = Vec::new();
        if let Some(file) = self.open("environ") {
            // Half of it is what there is to be had.
            let _ = file.take(BYTES_MAX).read_to_end(&mut bytes);
        }
        bytes
    }

    /// Its ids and rights. `None` if it has gone.
    #[must_use]
    pub fn ids(&self) -> Option<Ids> {
        ids_in(&self.text("status")?)
    }

    /// Its process and itself, as they are called in the innermost name space.
    pub(crate) fn inner_numbers(&self) -> Option<(i32, i32)> {
        inner_numbers_in(&self.text("status")?)
    }

    /// Its user name space, by its inode.
    #[must_use]
    pub fn user_space(&self) -> Option<u64> {
        readlinkat(&self.folder, c"ns/user").ok().and_then(|link| user_space_in(link.to_str()?))
    }

    fn open(&self, name: &str) -> Option<File> {
        let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
        openat(&self.folder, name, flags, Mode::empty()).ok().map(File::from)
    }

    fn text(&self, name: &str) -> Option<String> {
        let mut text = String::new();
        self.open(name)?.read_to_string(&mut text).ok()?;
        Some(text)
    }
}

/// A descriptor that stands for a process, or with PIDFD_THREAD for a thread.
fn handle_of(thread: i32, flags: i32) -> Result<OwnedFd, Errno> {
    // SAFETY: takes numbers.
    let number = Errno::result(unsafe { libc::syscall(libc::SYS_pidfd_open, thread, flags) })?;
    // SAFETY: the call has just returned this descriptor, which nobody else has.
    Ok(unsafe { OwnedFd::from_raw_fd(number as i32) })
}

/// The number in `user:[NUMBER]`.
pub(crate) fn user_space_in(link: &str) -> Option<u64> {
    link.strip_prefix("user:[")?.strip_suffix(']')?.parse().ok()
}

fn line<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    status.lines().find_map(|line| line.strip_prefix(name))
}

fn ids_in(status: &str) -> Option<Ids> {
    let numbers = |name: &str| {
        line(status, name)?.split_ascii_whitespace().map(|word| word.parse().ok()).collect::<Option<Vec<u32>>>()
    };
    // Real, effective, saved, and that for files.
    Some(Ids {
        process: numbers("Tgid:")?.first()?.cast_signed(),
        owner: *numbers("Uid:")?.first()?,
        uid: *numbers("Uid:")?.get(3)?,
        gid: *numbers("Gid:")?.get(3)?,
        groups: numbers("Groups:")?,
        capabilities: u64::from_str_radix(line(status, "CapEff:")?.trim(), 16).ok()?,
    })
}

fn inner_numbers_in(status: &str) -> Option<(i32, i32)> {
    let innermost = |name: &str| line(status, name)?.split_ascii_whitespace().last()?.parse().ok();
    Some((innermost("NStgid:")?, innermost("NSpid:")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own() -> Target {
        Target::new(nix::unistd::gettid().as_raw()).expect("this thread")
    }

    #[test]
    fn memory_is_read_and_written_where_there_is_any() {
        let target = own();
        let (bytes, mut copy) = (*b"some bytes", [0; 10]);
        assert_eq!(target.read(bytes.as_ptr() as u64, &mut copy), Ok(10));
        assert_eq!(copy, bytes);
        let mut room = [0; 4];
        assert_eq!(target.write(room.as_mut_ptr() as u64, b"word"), Ok(()));
        // SAFETY: the byte is there; the kernel has written it behind the compiler's back.
        assert_eq!(unsafe { room.as_ptr().read_volatile() }, b'w');
        assert_eq!(target.read(8, &mut copy), Err(Errno::EFAULT));
        static CONSTANT: &str = "a constant";
        assert_eq!(target.write(CONSTANT.as_ptr() as u64, b"x"), Err(Errno::EFAULT));
    }

    #[test]
    fn paths_end_with_their_memory() {
        use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous, mprotect};
        let length = std::num::NonZeroUsize::new(3 * 4096).expect("not zero");
        let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new mapping where the kernel chooses overlaps nothing.
        let start = unsafe { mmap_anonymous(None, length, access, MapFlags::MAP_PRIVATE) }.expect("memory");
        // SAFETY: these pages are this test's own.
        unsafe { std::ptr::write_bytes(start.as_ptr().cast::<u8>(), b'x', 3 * 4096) };
        let address = start.as_ptr() as u64;
        let target = own();
        assert_eq!(target.read_path(address + 17), Err(Errno::ENAMETOOLONG));
        let end = address + 2 * 4096;
        let put = |at: u64, byte: u8| target.write(at, &[byte]).expect("memory");
        put(end - 1, 0);
        for length in [0, 1, 255, 256, 257, 4095] {
            let path = target.read_path(end - 1 - length).expect("a path");
            assert_eq!(path.to_bytes().len() as u64, length);
        }
        assert_eq!(target.read_path(end - 1 - 4096), Err(Errno::ENAMETOOLONG));
        put(end - 1, b'x');
        let last = std::ptr::NonNull::new(start.as_ptr().wrapping_byte_add(2 * 4096)).expect("the last page");
        // SAFETY: the page is this test's own, and holds nothing.
        unsafe { mprotect(last, 4096, ProtFlags::PROT_NONE) }.expect("a hole");
        assert_eq!(target.read_path(end - 300), Err(Errno::EFAULT));
        assert_eq!(target.read_path(u64::MAX - 3), Err(Errno::EFAULT));
    }

    #[test]
    fn a_thread_shows_what_it_has() {
        let target = own();
        let (socket, _other) = std::os::unix::net::UnixStream::pair().expect("sockets");
        socket.set_nonblocking(true).expect("a socket");
        let number = socket.as_raw_fd();
        let inode = nix::sys::stat::fstat(&socket).expect("a socket").st_ino;
        assert_eq!(target.descriptor(number), Descriptor::Socket(inode));
        assert_eq!(target.is_nonblocking(number), Some(true));
        assert_eq!(target.descriptor(-1), Descriptor::Other);
        let ids = target.ids().expect("ids");
        assert_eq!(ids.process, std::process::id().cast_signed());
        assert_eq!(ids.uid, nix::unistd::geteuid().as_raw());
        let copy = target.duplicate(number).expect("a duplicate");
        assert_eq!(nix::sys::stat::fstat(&copy).expect("a socket").st_ino, inode);
        assert!(target.environment().split(|byte| *byte == 0).any(|entry| entry.starts_with(b"PATH=")));
        assert!(target.inner_numbers().is_some());
        assert!(target.user_space().is_some());
        assert!(Target::new(i32::MAX).is_err());
    }

    #[test]
    fn ids_are_those_for_files() {
        let status = "Name:\tx\nTgid:\t7\nPid:\t8\nUid:\t1\t2\t3\t4\nGid:\t5\t6\t7\t8\nGroups:\t4 27 \n\
                      NStgid:\t7\t1\nNSpid:\t8\t2\nCapEff:\t0000000000000003\n";
        let ids = Ids { process: 7, owner: 1, uid: 4, gid: 8, groups: vec![4, 27], capabilities: 3 };
        assert_eq!(ids_in(status), Some(ids));
        assert_eq!(inner_numbers_in(status), Some((1, 2)));
        assert_eq!(ids_in("Name:\tx\n"), None);
        assert_eq!(user_space_in("user:[4026531837]"), Some(4_026_531_837));
    }
}
