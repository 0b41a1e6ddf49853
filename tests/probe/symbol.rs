//! The C functions that are probed, by name: as a program finds them that was linked against this or an older libc.

use std::ffi::CString;

/// Which function, and how it is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Function {
    /// By its name, in its newest version.
    Newest(&'static str),
    /// By its name and version: what older programs were linked against.
    Versioned(&'static str, &'static str),
    /// By number, through libc's `syscall`.
    Number(&'static str),
    /// By number, with an instruction of the program's own.
    Instruction(&'static str),
}

impl Function {
    /// `name`, `name@VERSION`, `SYS_name` or `raw:name`.
    pub(crate) fn parse(text: &'static str) -> Self {
        if let Some(name) = text.strip_prefix("SYS_") {
            Self::Number(name)
        } else if let Some(name) = text.strip_prefix("raw:") {
            Self::Instruction(name)
        } else if let Some((name, version)) = text.split_once('@') {
            Self::Versioned(name, version)
        } else {
            Self::Newest(text)
        }
    }

    /// The function's result as it stands in the register, or `None` if this libc or kernel's headers have no such function.
    pub(crate) fn call(&self, arguments: [usize; 6]) -> Option<i64> {
        let [a, b, c, d, e, f] = arguments;
        match *self {
            Self::Newest(name) => invoke(find(name, None)?, [a, b, c, d, e, f, 0]),
            Self::Versioned(name, version) => invoke(find(name, Some(version))?, [a, b, c, d, e, f, 0]),
            Self::Number(name) => invoke(find("syscall", None)?, [number(name)?, a, b, c, d, e, f]),
            Self::Instruction(name) => Some(instruction(number(name)?, arguments)),
        }
    }
}

/// The address of the function that a program linked against it would call.
fn find(name: &str, version: Option<&str>) -> Option<*mut libc::c_void> {
    let name = CString::new(name).ok()?;
    let address = match version {
        // SAFETY: the name is a string.
        None => unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) },
        Some(version) => {
            let version = CString::new(version).ok()?;
            // SAFETY: the name and the version are strings.
            unsafe { dlvsym(libc::RTLD_DEFAULT, name.as_ptr(), version.as_ptr()) }
        }
    };
    (!address.is_null()).then_some(address)
}

unsafe extern "C" {
    fn dlvsym(handle: *mut libc::c_void, name: *const libc::c_char, version: *const libc::c_char) -> *mut libc::c_void;
}

type Any = unsafe extern "C" fn(usize, usize, usize, usize, usize, usize, usize) -> i64;

/// All arguments are integers or pointers, so one type calls every function; those that it does not take, it does not see.
#[expect(clippy::unnecessary_wraps, reason = "the result of its callers")]
fn invoke(function: *mut libc::c_void, arguments: [usize; 7]) -> Option<i64> {
    let [a, b, c, d, e, f, g] = arguments;
    // SAFETY: the address is that of a C function.
    let function: Any = unsafe { std::mem::transmute(function) };
    // SAFETY: the arguments are those of the function, and what they point to lives through the call.
    Some(unsafe { function(a, b, c, d, e, f, g) })
}

#[cfg(target_arch = "x86_64")]
fn instruction(number: usize, arguments: [usize; 6]) -> i64 {
    let [a, b, c, d, e, f] = arguments;
    let mut result = number;
    // SAFETY: the arguments are those of the call, and what they point to lives through it.
    unsafe {
        std::arch::asm!(
            "syscall",
            inlateout("rax") result,
            in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d, in("r8") e, in("r9") f,
            lateout("rcx") _, lateout("r11") _,
        );
    }
    as_libc(result)
}

#[cfg(target_arch = "aarch64")]
fn instruction(number: usize, arguments: [usize; 6]) -> i64 {
    let [a, b, c, d, e, f] = arguments;
    let mut result = a;
    // SAFETY: the arguments are those of the call, and what they point to lives through it.
    unsafe {
        std::arch::asm!(
            "svc 0",
            in("x8") number, inlateout("x0") result,
            in("x1") b, in("x2") c, in("x3") d, in("x4") e, in("x5") f,
        );
    }
    as_libc(result)
}

fn as_libc(result: usize) -> i64 {
    let result = result.cast_signed() as i64;
    if (-4095..0).contains(&result) {
        nix::errno::Errno::set_raw(-result as i32);
        return -1;
    }
    result
}

macro_rules! numbers {
    ($($number:ident)*; only on x86_64: $($old:ident)*) => {
        /// The number of a system call.
        fn number(name: &str) -> Option<usize> {
            $(if stringify!($number).strip_prefix("SYS_") == Some(name) {
                return Some(libc::$number as usize);
            })*
            #[cfg(target_arch = "x86_64")]
            $(if stringify!($old).strip_prefix("SYS_") == Some(name) {
                return Some(libc::$old as usize);
            })*
            LATER.iter().find(|(later, _)| *later == name).map(|&(_, number)| number)
        }
    };
}

/// Calls that every architecture has under one number, and that the headers do not name yet.
const LATER: &[(&str, usize)] = &[
    ("quotactl_fd", 443),
    ("cachestat", 451),
    ("fchmodat2", 452),
    ("setxattrat", 463),
    ("getxattrat", 464),
    ("listxattrat", 465),
    ("removexattrat", 466),
    ("file_getattr", 468),
    ("file_setattr", 469),
];

numbers! {
    SYS_read SYS_readv SYS_pread64 SYS_preadv SYS_preadv2 SYS_write SYS_writev SYS_pwrite64 SYS_pwritev SYS_pwritev2 SYS_lseek
    SYS_fstat SYS_newfstatat SYS_statx SYS_fstatfs SYS_fcntl SYS_flock SYS_ioctl SYS_ppoll SYS_pselect6 SYS_epoll_ctl
    SYS_epoll_pwait SYS_epoll_pwait2 SYS_fsync SYS_fdatasync SYS_syncfs SYS_sync_file_range SYS_fadvise64 SYS_readahead
    SYS_fallocate SYS_ftruncate SYS_fchmod SYS_fchown SYS_fchownat SYS_fchmodat SYS_utimensat SYS_fgetxattr SYS_flistxattr
    SYS_fsetxattr SYS_fremovexattr SYS_mmap SYS_getsockopt SYS_setsockopt SYS_getsockname SYS_getpeername SYS_recvfrom
    SYS_recvmsg SYS_recvmmsg SYS_sendto SYS_sendmsg SYS_sendmmsg SYS_shutdown SYS_listen SYS_accept SYS_accept4 SYS_bind
    SYS_connect SYS_splice SYS_tee SYS_vmsplice SYS_sendfile SYS_copy_file_range SYS_getdents64 SYS_fchdir SYS_openat
    SYS_openat2 SYS_linkat SYS_name_to_handle_at SYS_execveat SYS_dup SYS_dup3 SYS_close SYS_close_range SYS_inotify_init1
    SYS_inotify_add_watch SYS_inotify_rm_watch SYS_timerfd_settime SYS_timerfd_gettime SYS_signalfd4 SYS_fanotify_mark SYS_kcmp
    SYS_readlinkat SYS_faccessat SYS_faccessat2 SYS_io_uring_register SYS_io_uring_enter SYS_pidfd_getfd SYS_pidfd_send_signal
    SYS_fsconfig SYS_fsmount SYS_fspick SYS_open_tree SYS_move_mount SYS_mount_setattr SYS_setns SYS_landlock_add_rule
    SYS_landlock_restrict_self SYS_mq_getsetattr SYS_mq_timedreceive SYS_mq_timedsend SYS_mq_notify SYS_open_by_handle_at
    SYS_process_madvise SYS_process_mrelease SYS_io_submit SYS_bpf SYS_getrandom SYS_getpid SYS_gettid SYS_unlinkat SYS_mkdirat SYS_symlinkat;
    only on x86_64:
    SYS_inotify_init SYS_dup2 SYS_poll SYS_select SYS_epoll_wait SYS_signalfd SYS_readlink SYS_stat SYS_lstat SYS_open SYS_access
    SYS_getdents SYS_futimesat SYS_chmod SYS_chown SYS_utimes
}
