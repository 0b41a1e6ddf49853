//! The vocabulary: what a list can do, to an inotify descriptor and to the tree under it.

use serde::{Deserialize, Serialize};

/// Limits of `user/max_inotify_*` that hold for one list.
///
/// There is none for the queue: `fs.inotify.max_queued_events` belongs to the whole machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Limits {
    /// Most watches of the user over all groups.
    pub watches_max: u32,
    /// Most groups of the user.
    pub instances_max: u32,
}

/// What is run in a fresh directory, in a fresh process, on one subject.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct List {
    /// Limits of its own; `None` leaves the machine's.
    pub limits: Option<Limits>,
    /// Done in order; the path texts are relative to the fresh directory.
    pub operations: Vec<Operation>,
}

impl List {
    /// A list under the machine's own limits.
    pub fn new(operations: Vec<Operation>) -> Self {
        Self { limits: None, operations }
    }
}

/// Which descriptor a call is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Descriptor {
    /// What was opened into the slot of this number (0 to 15), or -1 if it is empty.
    Slot(u8),
    /// This number, whatever it is.
    Number(i32),
}

/// A path argument.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Path {
    /// The bytes as they stand.
    Text(String),
    /// `/proc/self/fd/N` of a slot.
    Link(u8),
    /// One component of that many bytes.
    Component(usize),
    /// That many bytes of `./././`, ended by `.`.
    Dots(usize),
    /// A pointer to memory that is not mapped.
    Unmapped,
}

impl From<&str> for Path {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

/// Which watch descriptor `inotify_rm_watch` is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Watch {
    /// This number.
    Number(i32),
    /// The n-th that an `inotify_add_watch` of the list returned, counted from 0 and
    /// around the end; 0 while none was returned.
    Nth(usize),
}

/// The third argument of an ioctl.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Argument {
    /// Passed by value.
    Value(u64),
    /// The address of an `int` that holds this before the call; the trace tells what it holds after.
    Integer(i32),
}

/// Where a read puts what it gets. All memory is painted before the call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Buffer {
    /// `read` of that many bytes.
    Plain(usize),
    /// `readv` with segments of that many bytes.
    Vector(Vec<usize>),
    /// `read` of `size` bytes into memory of which only the first `mapped` bytes can be written.
    Guarded {
        /// Bytes before the page that faults.
        mapped: usize,
        /// The count given to the call.
        size: usize,
    },
    /// `pread` at offset 0.
    Positioned(usize),
}

/// By which call readiness is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Asking {
    /// `poll`.
    Poll,
    /// `ppoll`.
    Ppoll,
    /// `select`, with the descriptor in all of the sets that `events` names (POLLIN, POLLOUT, POLLPRI).
    Select,
    /// `pselect`, likewise.
    Pselect,
    /// A fresh `epoll` set with this descriptor alone.
    Epoll,
}

/// A call that can wait, done by a thread of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Waiting {
    /// As [`Operation::Read`].
    Read {
        /// Read from.
        descriptor: Descriptor,
        /// Read into.
        buffer: Buffer,
    },
    /// As [`Operation::Poll`].
    Poll {
        /// By which call.
        asking: Asking,
        /// Asked of.
        descriptor: Descriptor,
        /// POLL* bits.
        events: i16,
        /// Longest wait; negative is for ever.
        timeout_ms: i32,
    },
}

/// Calls that nobody means for an inotify descriptor, but that have a defined result there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Oddity {
    /// `lseek`.
    Seek {
        /// Bytes.
        offset: i64,
        /// SEEK_*, or a wrong one.
        whence: i32,
    },
    /// `fstat`; the value is `st_mode`.
    Status,
    /// Whether `readlink` of `/proc/self/fd/N` gives `anon_inode:inotify`; the value is 1 or 0.
    Link,
    /// `fsync`.
    Synchronise,
    /// `flock` LOCK_SH.
    Lock,
    /// `mmap` of one page, read-only and shared.
    Map,
    /// `getsockopt` SO_TYPE.
    SocketType,
    /// `recv` of 64 bytes, not waiting.
    Receive,
    /// `open` of `/proc/self/fd/N`.
    Reopen,
    /// `splice` of 64 bytes into a pipe.
    Splice,
    /// The lines about watches in `/proc/self/fdinfo/N`, without what names the object.
    Information,
}

/// One time of `utimensat`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Time {
    /// UTIME_NOW.
    Now,
    /// UTIME_OMIT.
    Omit,
    /// Seconds since the epoch.
    Seconds(i64),
}

/// One step of a list. Each is one system call unless it says otherwise, made through the
/// function that libc exports, never by number: an interposed libc has to see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Operation {
    /// `inotify_init1`. What the slot held before is closed first.
    Init {
        /// Takes the descriptor.
        slot: u8,
        /// IN_NONBLOCK, IN_CLOEXEC, or wrong ones.
        flags: i32,
    },
    /// `inotify_add_watch`.
    AddWatch {
        /// The group.
        descriptor: Descriptor,
        /// What to watch.
        path: Path,
        /// Any 32 bits.
        mask: u32,
    },
    /// `inotify_rm_watch`.
    RemoveWatch {
        /// The group.
        descriptor: Descriptor,
        /// Which watch.
        watch: Watch,
    },
    /// `ioctl`.
    Control {
        /// Asked of.
        descriptor: Descriptor,
        /// The whole unsigned long, of which the kernel takes the low 32 bits.
        command: u64,
        /// The third argument.
        argument: Argument,
    },
    /// One reading call; the trace takes its bytes apart if the slot holds a group.
    Read {
        /// Read from.
        descriptor: Descriptor,
        /// Read into.
        buffer: Buffer,
    },
    /// A call that a thread makes while the list goes on. Ends when the thread has returned.
    While {
        /// The call of the thread.
        waiting: Waiting,
        /// Done once the thread sleeps in its call, or has returned from it.
        meanwhile: Vec<Self>,
    },
    /// SIGUSR1 to the thread of the [`Operation::While`] around it.
    Interrupt {
        /// Whether the handler is installed with SA_RESTART.
        restart: bool,
    },
    /// The group is dumped, and one that was rebuilt from that takes its place at all its descriptors, if it is emulated; natively nothing
    /// happens. Nothing that is done later shows a difference.
    Checkpoint(Descriptor),
    /// Returns when all that was done before is in the queues, if they are emulated; natively it is there already.
    Barrier,
    /// `write`, or `pwrite` if there is an offset. The bytes are the executor's choice.
    Write {
        /// Written to.
        descriptor: Descriptor,
        /// Bytes.
        size: usize,
        /// Where in the file.
        offset: Option<i64>,
    },
    /// Asks whether the descriptor is ready.
    Poll {
        /// By which call.
        asking: Asking,
        /// Asked of.
        descriptor: Descriptor,
        /// POLL* bits.
        events: i16,
        /// Longest wait.
        timeout_ms: i32,
    },
    /// `epoll_create1`. What the slot held before is closed first.
    EpollCreate {
        /// Takes the descriptor.
        slot: u8,
    },
    /// `epoll_ctl`.
    EpollControl {
        /// The set.
        epoll: Descriptor,
        /// EPOLL_CTL_*.
        operation: i32,
        /// The member.
        descriptor: Descriptor,
        /// EPOLL* bits.
        events: u32,
    },
    /// `epoll_wait` for one event.
    EpollWait {
        /// The set.
        epoll: Descriptor,
        /// Longest wait.
        timeout_ms: i32,
    },
    /// `fcntl` with an integer argument.
    Fcntl {
        /// Asked of.
        descriptor: Descriptor,
        /// F_*.
        command: i32,
        /// The third argument.
        argument: i32,
    },
    /// `close`; the slot is empty afterwards.
    Close(Descriptor),
    /// `dup`. What the slot held before is closed first.
    Duplicate {
        /// Copied.
        descriptor: Descriptor,
        /// Takes the copy.
        slot: u8,
    },
    /// `dup2`.
    DuplicateOnto {
        /// Copied.
        descriptor: Descriptor,
        /// The number that it is copied to.
        onto: Descriptor,
    },
    /// Sends it through a socket pair and receives it again (SCM_RIGHTS). What the slot held before is closed first.
    Pass {
        /// Sent.
        descriptor: Descriptor,
        /// Takes what is received.
        slot: u8,
    },
    /// See [`Oddity`].
    Odd {
        /// The descriptor.
        descriptor: Descriptor,
        /// The call.
        call: Oddity,
    },

    /// `open`. What the slot held before is closed first.
    Open {
        /// Takes the descriptor.
        slot: u8,
        /// Opened.
        path: Path,
        /// O_* bits.
        flags: i32,
        /// Permissions of a new file.
        mode: u32,
    },
    /// `truncate`.
    Truncate {
        /// The file.
        path: Path,
        /// Bytes.
        size: i64,
    },
    /// `ftruncate`.
    Ftruncate {
        /// The file.
        descriptor: Descriptor,
        /// Bytes.
        size: i64,
    },
    /// `chmod`.
    Chmod {
        /// The file.
        path: Path,
        /// Permissions.
        mode: u32,
    },
    /// `fchmod`.
    Fchmod {
        /// The file.
        descriptor: Descriptor,
        /// Permissions.
        mode: u32,
    },
    /// `lchown`.
    Lchown {
        /// The file.
        path: Path,
        /// User id; `u32::MAX` leaves it.
        user: u32,
        /// Group id; `u32::MAX` leaves it.
        group: u32,
    },
    /// `fchown`.
    Fchown {
        /// The file.
        descriptor: Descriptor,
        /// User id; `u32::MAX` leaves it.
        user: u32,
        /// Group id; `u32::MAX` leaves it.
        group: u32,
    },
    /// `utimensat`.
    Utimens {
        /// The file.
        path: Path,
        /// Time of access.
        access: Time,
        /// Time of modification.
        modification: Time,
    },
    /// `mkdir`.
    Mkdir(Path),
    /// `rmdir`.
    Rmdir(Path),
    /// `link`, or `linkat` with AT_SYMLINK_FOLLOW if `from` is a [`Path::Link`].
    Link {
        /// The file.
        from: Path,
        /// Its new name.
        to: Path,
    },
    /// `symlink`.
    Symlink {
        /// Its text.
        target: String,
        /// Its name.
        path: Path,
    },
    /// `mkfifo`.
    Mkfifo(Path),
    /// `unlink`.
    Unlink(Path),
    /// `renameat2`, which without flags is `rename`.
    Rename {
        /// The old name.
        from: Path,
        /// The new name.
        to: Path,
        /// RENAME_* bits.
        flags: u32,
    },
    /// `getdents64`.
    Getdents {
        /// The directory.
        descriptor: Descriptor,
        /// Bytes of the buffer.
        size: usize,
    },
    /// `setxattr` of `user.conform`.
    Setxattr(Path),
    /// `removexattr` of `user.conform`.
    Removexattr(Path),
    /// `fallocate`.
    Fallocate {
        /// The file.
        descriptor: Descriptor,
        /// FALLOC_FL_* bits.
        mode: i32,
        /// First byte.
        offset: i64,
        /// Bytes.
        size: i64,
    },
    /// `copy_file_range` at the descriptors' own offsets.
    CopyFileRange {
        /// Read.
        from: Descriptor,
        /// Written.
        to: Descriptor,
        /// Bytes.
        size: usize,
    },
    /// `sendfile` at the descriptors' own offsets.
    Sendfile {
        /// Read.
        from: Descriptor,
        /// Written.
        to: Descriptor,
        /// Bytes.
        size: usize,
    },
    /// `mmap` of one page, shared.
    Map {
        /// The file.
        descriptor: Descriptor,
        /// The place that keeps the mapping, 0 to 3.
        place: u8,
        /// PROT_READ and PROT_WRITE, or PROT_READ alone.
        writable: bool,
    },
    /// A load from the mapping, a store if it is writable, and `msync`. The file must not be empty.
    Touch {
        /// The mapping.
        place: u8,
    },
    /// `munmap`.
    Unmap {
        /// The mapping.
        place: u8,
    },
    /// `chdir`.
    Chdir(Path),
    /// Copies the system's `true` to the path, executable: open, writes, `fchmod`, close.
    Install(Path),
    /// `fork`, `execve` with an empty environment, `waitpid`; the value is the exit status.
    Execute(Path),

    /// Done in a forked child that is waited for. Descriptors and slots are the child's own afterwards.
    Child(Vec<Self>),
    /// `setresgid` and `setresuid` after dropping all groups. There is no way back: use it in a child.
    Become {
        /// Both ids.
        user: u32,
    },
    /// `setrlimit` of RLIMIT_NOFILE, the soft limit only.
    DescriptorsMax(u64),
    /// `unshare` CLONE_NEWNS, and nothing mounted from then on is seen outside.
    PrivateMounts,
    /// `mount` of a tmpfs.
    Mount(Path),
    /// `umount2`.
    Unmount {
        /// Where it is mounted.
        path: Path,
        /// MNT_* bits.
        flags: i32,
    },
    /// The same operations again and again.
    Repeat {
        /// How often.
        count: u32,
        /// In order.
        operations: Vec<Self>,
    },
}
