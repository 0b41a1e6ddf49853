//! System calls without libc: no interposition, no cancellation point, no `errno`.

use core::ffi::c_void;

use uinotify_wire::PASS_MARK;

/// A positive errno.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Errno(pub i32);

#[allow(missing_docs, reason = "the names are errno(3)'s")]
impl Errno {
    pub const PERM: Self = Self(1);
    pub const NOENT: Self = Self(2);
    pub const INTR: Self = Self(4);
    pub const IO: Self = Self(5);
    pub const NXIO: Self = Self(6);
    pub const BADF: Self = Self(9);
    pub const AGAIN: Self = Self(11);
    pub const NOMEM: Self = Self(12);
    pub const ACCES: Self = Self(13);
    pub const FAULT: Self = Self(14);
    pub const INVAL: Self = Self(22);
    pub const NFILE: Self = Self(23);
    pub const MFILE: Self = Self(24);
    pub const NOTTY: Self = Self(25);
    pub const PIPE: Self = Self(32);
    pub const NOSYS: Self = Self(38);
    pub const NOTSOCK: Self = Self(88);
    pub const NOPROTOOPT: Self = Self(92);
    pub const CONNRESET: Self = Self(104);
    pub const NOTCONN: Self = Self(107);
    pub const CONNREFUSED: Self = Self(111);
    pub const OPNOTSUPP: Self = Self(95);
}

/// What a system call gives: its result, or an errno.
pub type Outcome = Result<usize, Errno>;

fn outcome(result: isize) -> Outcome {
    if (-4095..0).contains(&result) { Err(Errno((-result) as i32)) } else { Ok(result as usize) }
}

pub mod number;
pub mod process;

/// One system call.
///
/// # Safety
///
/// Whatever the call reads or writes through its arguments must be valid for that.
#[cfg(target_arch = "x86_64")]
#[inline]
pub unsafe fn syscall(number: usize, arguments: [usize; 6]) -> Outcome {
    let result: isize;
    let [a, b, c, d, e, f] = arguments;
    // SAFETY: the kernel keeps every register but rax, rcx and r11, and the stack; what it does with memory is the caller's
    // promise.
    unsafe {
        core::arch::asm!(
            "syscall",
            inlateout("rax") number as isize => result,
            in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d, in("r8") e, in("r9") f,
            lateout("rcx") _, lateout("r11") _,
            options(nostack),
        );
    }
    outcome(result)
}

/// One system call.
///
/// # Safety
///
/// Whatever the call reads or writes through its arguments must be valid for that.
#[cfg(target_arch = "aarch64")]
#[inline]
pub unsafe fn syscall(number: usize, arguments: [usize; 6]) -> Outcome {
    let result: isize;
    let [a, b, c, d, e, f] = arguments;
    // SAFETY: the kernel keeps every register but x0, and the stack; what it does with memory is the caller's promise.
    unsafe {
        core::arch::asm!(
            "svc 0",
            in("x8") number,
            inlateout("x0") a as isize => result,
            in("x1") b, in("x2") c, in("x3") d, in("x4") e, in("x5") f,
            options(nostack),
        );
    }
    outcome(result)
}

const AT_FDCWD: usize = -100isize as usize;

/// `struct iovec`.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct IoVec {
    /// Where the bytes are.
    pub base: *mut c_void,
    /// How many.
    pub length: usize,
}

impl IoVec {
    /// No bytes.
    pub const EMPTY: Self = Self { base: core::ptr::null_mut(), length: 0 };
}

/// `struct msghdr` of 64-bit Linux; musl's has the padding elsewhere, the kernel's layout is this one.
#[repr(C)]
pub struct MessageHeader {
    /// Address.
    pub name: *mut c_void,
    /// Its length.
    pub name_length: u32,
    /// Pieces.
    pub pieces: *mut IoVec,
    /// Their number.
    pub piece_count: usize,
    /// Control messages.
    pub control: *mut c_void,
    /// Their length.
    pub control_length: usize,
    /// `MSG_CTRUNC` and the like, set by `recvmsg`.
    pub flags: i32,
}

/// `struct pollfd`.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct PollFd {
    /// Descriptor.
    pub fd: i32,
    /// Asked for.
    pub events: i16,
    /// Found.
    pub revents: i16,
}

/// `struct timespec`.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct TimeSpec {
    /// Seconds.
    pub seconds: i64,
    /// Nanoseconds.
    pub nanoseconds: i64,
}

/// `MSG_DONTWAIT`.
pub const MSG_DONTWAIT: i32 = 0x40;
/// `MSG_PEEK`.
pub const MSG_PEEK: i32 = 2;
/// `MSG_TRUNC`.
pub const MSG_TRUNC: i32 = 0x20;
/// `MSG_CTRUNC`.
pub const MSG_CTRUNC: i32 = 8;
/// `MSG_NOSIGNAL`.
pub const MSG_NOSIGNAL: i32 = 0x4000;
/// `MSG_CMSG_CLOEXEC`.
pub const MSG_CMSG_CLOEXEC: i32 = 0x4000_0000;
/// `POLLIN`.
pub const POLLIN: i16 = 1;
/// `POLLOUT`.
pub const POLLOUT: i16 = 4;
/// `POLLHUP`.
pub const POLLHUP: i16 = 0x10;
/// `F_DUPFD`.
pub const F_DUPFD: i32 = 0;
/// `F_GETFL`.
pub const F_GETFL: i32 = 3;
/// `F_DUPFD_CLOEXEC`.
pub const F_DUPFD_CLOEXEC: i32 = 1030;
/// `MAP_ANONYMOUS`.
pub const MAP_ANONYMOUS: i32 = 0x20;
/// `O_CLOEXEC`.
pub const O_CLOEXEC: i32 = 0o2_000_000;
/// `O_NONBLOCK`.
pub const O_NONBLOCK: i32 = 0o4000;
/// `O_PATH`.
pub const O_PATH: i32 = 0o10_000_000;
/// `O_DIRECTORY`.
#[cfg(target_arch = "x86_64")]
pub const O_DIRECTORY: i32 = 0o200_000;
/// `O_DIRECTORY`.
#[cfg(target_arch = "aarch64")]
pub const O_DIRECTORY: i32 = 0o40_000;
/// `O_NOFOLLOW`.
#[cfg(target_arch = "x86_64")]
pub const O_NOFOLLOW: i32 = 0o400_000;
/// `O_NOFOLLOW`.
#[cfg(target_arch = "aarch64")]
pub const O_NOFOLLOW: i32 = 0o100_000;

/// `getpid`.
#[must_use]
pub fn getpid() -> i32 {
    // SAFETY: touches no memory.
    let pid = unsafe { syscall(number::GETPID, [0; 6]) };
    pid.unwrap_or(0) as i32
}

/// Ends the process at once, as `abort` would be seen from outside.
pub fn abort() -> ! {
    // SAFETY: touches no memory.
    let _ = unsafe { syscall(number::KILL, [getpid() as usize, 6, 0, 0, 0, 0]) };
    loop {
        // SAFETY: touches no memory.
        let _ = unsafe { syscall(number::EXIT_GROUP, [134, 0, 0, 0, 0, 0]) };
    }
}

/// `close`.
pub fn close(fd: i32) -> Outcome {
    // SAFETY: touches no memory.
    unsafe { syscall(number::CLOSE, [fd as usize, 0, 0, 0, 0, 0]) }
}

/// `fcntl` with a number as its argument.
pub fn fcntl(fd: i32, command: i32, argument: usize) -> Outcome {
    // SAFETY: the callers' commands take a number, not a pointer.
    unsafe { syscall(number::FCNTL, [fd as usize, command as usize, argument, 0, 0, 0]) }
}

/// `dup` to the lowest free number from `lowest` on, close-on-exec.
pub fn duplicate_from(fd: i32, lowest: i32) -> Result<i32, Errno> {
    fcntl(fd, F_DUPFD_CLOEXEC, lowest as usize).map(|fd| fd as i32)
}

/// `read` with count 0: asks an inotify descriptor whether its queue is empty (EAGAIN) or not (EINVAL), under its lock.
pub fn read_nothing(fd: i32) -> Outcome {
    // SAFETY: a count of 0 lets the kernel write nothing.
    unsafe { syscall(number::READ, [fd as usize, 0, 0, 0, 0, 0]) }
}

/// Is this an inotify descriptor? The kernel looks at that before it looks at the path, which is bad.
pub fn is_inotify(fd: i32) -> bool {
    // SAFETY: the kernel answers EFAULT for a null path.
    unsafe { syscall(number::INOTIFY_ADD_WATCH, [fd as usize, 0, 1, 0, 0, 0]) == Err(Errno::FAULT) }
}

/// `openat` from the working directory.
///
/// # Safety
///
/// None beyond the kernel's: a bad `path` gives EFAULT. It is unsafe so that no caller hands over memory of another by accident.
pub unsafe fn open(path: *const u8, flags: i32) -> Result<i32, Errno> {
    // SAFETY: the kernel copies the path in and answers EFAULT where it cannot.
    unsafe { syscall(number::OPENAT, [AT_FDCWD, path as usize, flags as usize, 0o600, 0, 0]) }.map(|fd| fd as i32)
}

/// `write` of a whole buffer.
pub fn write(fd: i32, bytes: &[u8]) -> Outcome {
    // SAFETY: `bytes` lives through the call and the kernel only reads it.
    unsafe { syscall(number::WRITE, [fd as usize, bytes.as_ptr() as usize, bytes.len(), 0, 0, 0]) }
}

/// `recvfrom` without an address.
///
/// # Safety
///
/// The kernel writes up to `length` bytes to `buffer`, or answers EFAULT; nothing else may rely on those bytes.
pub unsafe fn receive(fd: i32, buffer: *mut c_void, length: usize, flags: i32) -> Outcome {
    // SAFETY: by this function's contract.
    unsafe { syscall(number::RECVFROM, [fd as usize, buffer as usize, length, flags as usize, 0, 0]) }
}

/// `recvmsg`, again after a signal.
///
/// # Safety
///
/// The header's pieces and control buffer must be the caller's to have written, or bad addresses, which give EFAULT.
pub unsafe fn receive_message(fd: i32, header: &mut MessageHeader, flags: i32) -> Outcome {
    loop {
        // SAFETY: `header` lives through the call; its contents are by this function's contract.
        let result =
            unsafe { syscall(number::RECVMSG, [fd as usize, &raw mut *header as usize, flags as usize, 0, 0, 0]) };
        if result != Err(Errno::INTR) {
            return result;
        }
    }
}

/// `sendmsg` without SIGPIPE, again after a signal.
///
/// # Safety
///
/// The header's pieces and control buffer must be readable, or bad addresses, which give EFAULT.
pub unsafe fn send_message(fd: i32, header: &MessageHeader) -> Outcome {
    loop {
        // SAFETY: `header` lives through the call; its contents are by this function's contract.
        let result = unsafe {
            let flags = MSG_NOSIGNAL | MSG_DONTWAIT;
            syscall(number::SENDMSG, [fd as usize, &raw const *header as usize, flags as usize, 0, 0, 0])
        };
        if result != Err(Errno::INTR) {
            return result;
        }
    }
}

/// `readv`, again after a signal.
///
/// # Safety
///
/// The pieces must be the caller's to have written, or bad addresses, which give EFAULT.
pub unsafe fn read_pieces(fd: i32, pieces: &[IoVec]) -> Outcome {
    loop {
        // SAFETY: `pieces` lives through the call; what it points at is by this function's contract.
        let result = unsafe { syscall(number::READV, [fd as usize, pieces.as_ptr() as usize, pieces.len(), 0, 0, 0]) };
        if result != Err(Errno::INTR) {
            return result;
        }
    }
}

/// `ioctl`.
///
/// # Safety
///
/// What the request does through `argument` must be valid, or a bad address, which gives EFAULT.
pub unsafe fn ioctl(fd: i32, request: u32, argument: usize) -> Outcome {
    // SAFETY: by this function's contract.
    unsafe { syscall(number::IOCTL, [fd as usize, request as usize, argument, 0, 0, 0]) }
}

/// `ioctl`, also of instances, which goes to the kernel past a filter of system calls.
///
/// # Safety
///
/// As [`ioctl`].
pub unsafe fn ioctl_judged(fd: i32, request: u32, argument: usize) -> Outcome {
    let request = (PASS_MARK as usize) << 32 | request as usize;
    // SAFETY: by this function's contract; the kernel takes the lower half of the request.
    unsafe { syscall(number::IOCTL, [fd as usize, request, argument, 0, 0, 0]) }
}

/// `poll` of one descriptor: what it shows now, or, with `wait`, once it shows something or a millisecond has gone by.
#[must_use]
pub fn poll_one(fd: i32, events: i16, wait: bool) -> i16 {
    let mut entry = PollFd { fd, events, revents: 0 };
    let timeout = TimeSpec { seconds: 0, nanoseconds: if wait { 1_000_000 } else { 0 } };
    // SAFETY: `entry` and `timeout` live through the call.
    let _ = unsafe { syscall(number::PPOLL, [&raw mut entry as usize, 1, &raw const timeout as usize, 0, 0, 0]) };
    entry.revents
}

/// `eventfd2`, close-on-exec, for which nobody waits.
pub fn event_descriptor() -> Result<i32, Errno> {
    // SAFETY: touches no memory.
    unsafe { syscall(number::EVENTFD2, [0, (O_CLOEXEC | O_NONBLOCK) as usize, 0, 0, 0, 0]) }.map(|fd| fd as i32)
}

/// Two descriptors in one array, as `pipe2` and `socketpair` give them.
pub type Pair = [i32; 2];

/// `pipe2`, close-on-exec: read end, write end.
pub fn pipe() -> Result<Pair, Errno> {
    let mut ends = [-1; 2];
    // SAFETY: `ends` lives through the call.
    unsafe { syscall(number::PIPE2, [ends.as_mut_ptr() as usize, O_CLOEXEC as usize, 0, 0, 0, 0]) }?;
    Ok(ends)
}

const AF_UNIX: usize = 1;
const SOCK_SEQPACKET: usize = 5;

/// `socketpair` of type `SOCK_SEQPACKET`, close-on-exec.
pub fn socket_pair() -> Result<Pair, Errno> {
    let mut ends = [-1; 2];
    let kind = SOCK_SEQPACKET | O_CLOEXEC as usize;
    // SAFETY: `ends` lives through the call.
    unsafe { syscall(number::SOCKETPAIR, [AF_UNIX, kind, 0, ends.as_mut_ptr() as usize, 0, 0]) }?;
    Ok(ends)
}

/// `struct sockaddr_un`.
#[repr(C)]
pub struct UnixAddress {
    /// `AF_UNIX`.
    pub family: u16,
    /// The path; an abstract name begins with a zero byte.
    pub path: [u8; 108],
}

/// A `SOCK_SEQPACKET` connection to `path`, close-on-exec; to the abstract name of the same bytes if `is_abstract`.
pub fn connect(path: &[u8], is_abstract: bool) -> Result<i32, Errno> {
    let mut address = UnixAddress { family: AF_UNIX as u16, path: [0; 108] };
    let offset = usize::from(is_abstract);
    let Some(room) = address.path.get_mut(offset..offset + path.len()) else { return Err(Errno::INVAL) };
    for (to, from) in room.iter_mut().zip(path) {
        *to = *from;
    }
    // A path is sent with the zero byte behind it, an abstract name without.
    let length = 2 + path.len() + 1;
    // SAFETY: touches no memory.
    let fd = unsafe { syscall(number::SOCKET, [AF_UNIX, SOCK_SEQPACKET | O_CLOEXEC as usize, 0, 0, 0, 0]) }? as i32;
    loop {
        // SAFETY: `address` lives through the call and is at least `length` bytes.
        let result =
            unsafe { syscall(number::CONNECT, [fd as usize, &raw const address as usize, length.min(110), 0, 0, 0]) };
        match result {
            Ok(_) => return Ok(fd),
            Err(Errno::INTR) => {}
            Err(errno) => {
                let _ = close(fd);
                return Err(errno);
            }
        }
    }
}

/// `getpeername` of a UNIX socket: the bytes of `sun_path`.
pub fn peer_name(fd: i32, address: &mut UnixAddress) -> Result<&[u8], Errno> {
    let mut length: u32 = core::mem::size_of::<UnixAddress>() as u32;
    // SAFETY: `address` and `length` live through the call, and `length` is the size of `address`.
    unsafe {
        syscall(number::GETPEERNAME, [fd as usize, &raw mut *address as usize, &raw mut length as usize, 0, 0, 0])
    }?;
    if usize::from(address.family) != AF_UNIX {
        return Ok(&[]);
    }
    let end = (length as usize).saturating_sub(2).min(address.path.len());
    Ok(address.path.get(..end).unwrap_or(&[]))
}

/// `getsockopt(SO_COOKIE)`: a number that no other socket has (Linux 4.6).
pub fn socket_cookie(fd: i32) -> Result<u64, Errno> {
    const SOL_SOCKET: usize = 1;
    const SO_COOKIE: usize = 57;
    let mut cookie: u64 = 0;
    let mut length: u32 = 8;
    // SAFETY: `cookie` and `length` live through the call, and `length` is the size of `cookie`.
    unsafe {
        syscall(
            number::GETSOCKOPT,
            [fd as usize, SOL_SOCKET, SO_COOKIE, &raw mut cookie as usize, &raw mut length as usize, 0],
        )
    }?;
    Ok(cookie)
}

/// `fstat`: device, inode and mode.
pub fn file_identity(fd: i32) -> Result<(u64, u64, u32), Errno> {
    // struct stat of x86-64 is 144 bytes, of aarch64 128; both begin with device and inode.
    let mut stat = [0u64; 18];
    // SAFETY: `stat` lives through the call and is as large as the kernel's structure.
    unsafe { syscall(number::FSTAT, [fd as usize, stat.as_mut_ptr() as usize, 0, 0, 0, 0]) }?;
    let mode = if cfg!(target_arch = "x86_64") { stat[3] as u32 } else { stat[2] as u32 };
    Ok((stat[0], stat[1], mode))
}

/// `faccessat2` (Linux 5.8) of an open descriptor with the caller's effective ids: may it be read?
pub fn may_read(fd: i32) -> Outcome {
    const READABLE: usize = 4;
    const AT_EACCESS_EMPTY_PATH: usize = 0x200 | 0x1000;
    let empty = c"";
    // SAFETY: `empty` is a string that lives for ever.
    unsafe {
        syscall(number::FACCESSAT2, [fd as usize, empty.as_ptr() as usize, READABLE, AT_EACCESS_EMPTY_PATH, 0, 0])
    }
}

/// `faccessat` of a path with the caller's real ids, for kernels before `faccessat2`.
pub fn may_read_path(path: &core::ffi::CStr) -> Outcome {
    const READABLE: usize = 4;
    // SAFETY: `path` is a string that lives through the call.
    unsafe { syscall(number::FACCESSAT, [AT_FDCWD, path.as_ptr() as usize, READABLE, 0, 0, 0]) }
}

/// `readlink`.
pub fn read_link<'a>(path: &core::ffi::CStr, target: &'a mut [u8]) -> Result<&'a [u8], Errno> {
    let arguments = [AT_FDCWD, path.as_ptr() as usize, target.as_mut_ptr() as usize, target.len(), 0, 0];
    // SAFETY: `path` is a string that lives through the call; `target` is ours to be written, with its length beside it.
    let length = unsafe { syscall(number::READLINKAT, arguments) }?;
    Ok(target.get(..length).unwrap_or(&[]))
}

/// `getdents64` into `buffer`: bytes filled.
pub fn read_directory(fd: i32, buffer: &mut [u8]) -> Outcome {
    // SAFETY: `buffer` is ours to be written, with its length beside it.
    unsafe { syscall(number::GETDENTS64, [fd as usize, buffer.as_mut_ptr() as usize, buffer.len(), 0, 0, 0]) }
}

/// The soft `RLIMIT_NOFILE`.
#[must_use]
pub fn descriptor_limit() -> u64 {
    const RLIMIT_NOFILE: usize = 7;
    let mut limit = [0u64; 2];
    // SAFETY: `limit` lives through the call and has the size of a struct rlimit64.
    let result = unsafe { syscall(number::PRLIMIT64, [0, RLIMIT_NOFILE, 0, limit.as_mut_ptr() as usize, 0, 0]) };
    if result.is_ok() { limit[0] } else { 1024 }
}

/// What a fork makes of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFork {
    /// It is zero in the child (Linux 4.14).
    Wiped,
    /// The child does not have it.
    Missing,
}

/// A page of zeroes that is this process's alone.
pub fn map_own_page(on_fork: OnFork) -> Result<*mut u8, Errno> {
    const READ_WRITE: usize = 3;
    const PRIVATE_ANONYMOUS: usize = 0x22;
    const MADV_DONTFORK: usize = 10;
    const MADV_WIPEONFORK: usize = 18;
    const LENGTH: usize = 4096;
    let advice = if on_fork == OnFork::Wiped { MADV_WIPEONFORK } else { MADV_DONTFORK };
    // SAFETY: maps new pages at an address of the kernel's choice.
    let address = unsafe { syscall(number::MMAP, [0, LENGTH, READ_WRITE, PRIVATE_ANONYMOUS, usize::MAX, 0]) }?;
    // SAFETY: the page is this function's own.
    if let Err(errno) = unsafe { syscall(number::MADVISE, [address, LENGTH, advice, 0, 0, 0]) } {
        // SAFETY: nobody else knows the page.
        let _ = unsafe { syscall(number::MUNMAP, [address, LENGTH, 0, 0, 0, 0]) };
        return Err(errno);
    }
    Ok(address as *mut u8)
}

/// Whether there is a page at this address.
pub fn is_mapped(page: *const u8) -> bool {
    let mut is_resident = [0u8];
    // SAFETY: the kernel writes one byte for the one page, which lives through the call.
    unsafe { syscall(number::MINCORE, [page as usize, 1, is_resident.as_mut_ptr() as usize, 0, 0, 0]) }.is_ok()
}

/// Maps `length` bytes of `fd` read-only: over `over`, if that is an earlier mapping of the same length, else anywhere.
///
/// # Safety
///
/// `over` must be null or come from an earlier call with the same length.
pub unsafe fn map_shared(fd: i32, offset: usize, length: usize, over: *const u8) -> Result<*const u8, Errno> {
    const READ: usize = 1;
    const SHARED: usize = 1;
    const FIXED: usize = 0x10;
    let flags = if over.is_null() { SHARED } else { SHARED | FIXED };
    // SAFETY: either a new mapping, or one over an old mapping of ours, by this function's contract.
    unsafe { syscall(number::MMAP, [over as usize, length, READ, flags, fd as usize, offset]) }
        .map(|address| address as *const u8)
}
