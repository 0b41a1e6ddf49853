//! Whether the filter makes of this machine's kernel an old one: what it answers to raw calls.

use std::process::{Command, ExitCode};

use nix::errno::Errno;
use uinotify_harness::old_kernel::OldKernel;

use crate::room::Outcome;

pub(super) const ARGUMENT: &str = "--probe";

/// A call, what vanilla 3.10 answers and what RHEL 7.9 does: as in the virtual machines, but for what a call without a purpose gets where it is
/// known.
type Row = (&'static str, fn() -> libc::c_long, i32, i32);

const NONE: i32 = 0;

fn call(number: libc::c_long, arguments: [libc::c_long; 5]) -> libc::c_long {
    let [a, b, c, d, e] = arguments;
    // SAFETY: the rows below pass numbers, or addresses of what lives as long as the program.
    unsafe { libc::syscall(number, a, b, c, d, e) }
}

fn address(text: &'static std::ffi::CStr) -> libc::c_long {
    text.as_ptr() as libc::c_long
}

const CWD: libc::c_long = libc::AT_FDCWD as libc::c_long;

#[rustfmt::skip]
const ROWS: &[Row] = &[
    ("statx", || call(libc::SYS_statx, [CWD, address(c"/"), 0, 0, 0]), libc::ENOSYS, libc::ENOSYS),
    ("getrandom", || call(libc::SYS_getrandom, [0; 5]), libc::ENOSYS, NONE),
    ("getrandom GRND_INSECURE", || call(libc::SYS_getrandom, [0, 0, 4, 0, 0]), libc::ENOSYS, libc::EINVAL),
    ("memfd_create", || call(libc::SYS_memfd_create, [address(c"x"), 1, 0, 0, 0]), libc::ENOSYS, NONE),
    ("renameat2", || call(libc::SYS_renameat2, [CWD, address(c"/proc/x"), CWD, address(c"/proc/y"), 1]), libc::ENOSYS, libc::ENOENT),
    ("copy_file_range", || call(libc::SYS_copy_file_range, [-1, 0, -1, 0, 0]), libc::ENOSYS, libc::ENOSYS),
    ("execveat", || call(libc::SYS_execveat, [-1, address(c""), 0, 0, 0]), libc::ENOSYS, libc::ENOSYS),
    ("seccomp", || call(libc::SYS_seccomp, [1, 8, 0, 0, 0]), libc::ENOSYS, libc::EINVAL),
    ("pidfd_open", || call(libc::SYS_pidfd_open, [1, 0, 0, 0, 0]), libc::ENOSYS, libc::ENOSYS),
    ("clone3", || call(libc::SYS_clone3, [0; 5]), libc::ENOSYS, libc::ENOSYS),
    ("close_range", || call(libc::SYS_close_range, [9999, 9999, 0, 0, 0]), libc::ENOSYS, libc::ENOSYS),
    ("openat2", || call(libc::SYS_openat2, [CWD, address(c"/"), 0, 0, 0]), libc::ENOSYS, libc::ENOSYS),
    ("faccessat2", || call(libc::SYS_faccessat2, [CWD, address(c"/"), 0, 0, 0]), libc::ENOSYS, libc::ENOSYS),
    ("fchmodat2", || call(libc::SYS_fchmodat2, [CWD, address(c"/proc/x"), 0, 0, 0]), libc::ENOSYS, libc::ENOSYS),
    ("INOTIFY_IOC_SETNEXTWD", set_next_wd, libc::ENOTTY, libc::ENOTTY),
    ("IN_MASK_CREATE", || call(libc::SYS_inotify_add_watch, [-1, address(c"/"), 0x1000_0100, 0, 0]), -libc::SIGSYS, libc::EINVAL),
    ("fanotify_init", || call(libc::SYS_fanotify_init, [0, 0, 0, 0, 0]), NONE, NONE),
    ("FAN_REPORT_FID", || call(libc::SYS_fanotify_init, [0x200, 0, 0, 0, 0]), libc::EINVAL, libc::EINVAL),
    ("FAN_MARK_FILESYSTEM", || call(libc::SYS_fanotify_mark, [-1, 0x101, 1, CWD, address(c"/")]), libc::EINVAL, libc::EINVAL),
    ("FAN_CREATE", || call(libc::SYS_fanotify_mark, [-1, 1, 0x100, CWD, address(c"/")]), libc::EINVAL, libc::EINVAL),
    ("AT_HANDLE_FID", || call(libc::SYS_name_to_handle_at, [CWD, address(c"/"), 0, 0, 0x200]), libc::EINVAL, libc::EINVAL),
    ("O_TMPFILE", || call(libc::SYS_openat, [CWD, address(c"/proc"), 0o20_200_002, 0o600, 0]), libc::EISDIR, libc::EOPNOTSUPP),
    ("F_OFD_SETLK", || call(libc::SYS_fcntl, [-1, 37, 0, 0, 0]), libc::EINVAL, libc::EBADF),
    ("PR_CAP_AMBIENT", || call(libc::SYS_prctl, [47, 4, 0, 0, 0]), libc::EINVAL, NONE),
    ("PR_SET_VMA", || call(libc::SYS_prctl, [0x5356_4d41, 0, 0, 0, 0]), libc::EINVAL, libc::EINVAL),
    ("MADV_WIPEONFORK", || call(libc::SYS_madvise, [0, 0, 18, 0, 0]), libc::EINVAL, libc::EINVAL),
    ("MADV_FREE", || call(libc::SYS_madvise, [0, 0, 8, 0, 0]), libc::EINVAL, NONE),
    ("MAP_FIXED_NOREPLACE", || call(libc::SYS_mmap, [0, 4096, 0, 0x10_0022, -1]), -libc::SIGSYS, -libc::SIGSYS),
    ("CLONE_NEWCGROUP", || call(libc::SYS_unshare, [0x0200_0000, 0, 0, 0, 0]), libc::EINVAL, libc::EINVAL),
    ("SO_COOKIE", || call(libc::SYS_getsockopt, [-1, 1, 57, 0, 0]), libc::ENOPROTOOPT, libc::ENOPROTOOPT),
    ("SO_PEERCRED", || call(libc::SYS_getsockopt, [-1, 1, 17, 0, 0]), libc::EBADF, libc::EBADF),
    ("P_PIDFD", || call(libc::SYS_waitid, [3, 0, 0, 4, 0]), libc::EINVAL, libc::EINVAL),
    ("utimensat AT_EMPTY_PATH", || call(libc::SYS_utimensat, [-1, address(c""), 0, 0x1000, 0]), libc::EINVAL, libc::EINVAL),
    ("a call of the future", || call(9999, [0; 5]), libc::ENOSYS, libc::ENOSYS),
];

fn set_next_wd() -> libc::c_long {
    // SAFETY: takes flags only.
    let instance = unsafe { libc::inotify_init1(libc::IN_CLOEXEC) };
    call(libc::SYS_ioctl, [instance.into(), 0x4004_4900, 7, 0, 0])
}

/// Says what the call whose number is the second argument gives.
pub(super) fn main() -> ExitCode {
    let row = std::env::args().nth(2).and_then(|number| ROWS.get(number.parse::<usize>().ok()?)).expect("a row");
    let errno = if (row.1)() == -1 { Errno::last_raw() } else { NONE };
    println!("{errno}");
    ExitCode::SUCCESS
}

pub(super) fn answers_as_it_did(kernel: OldKernel) -> Outcome {
    use std::os::unix::process::ExitStatusExt;
    let program = std::env::current_exe()?;
    let mut wrong = Vec::new();
    for (number, (name, _, vanilla, rhel)) in ROWS.iter().enumerate() {
        let expected = if kernel == OldKernel::Vanilla { *vanilla } else { *rhel };
        let mut command = Command::new(&program);
        let output = kernel.confine(command.args([ARGUMENT, &number.to_string()])).output()?;
        let found = match output.status.signal() {
            Some(signal) => -signal,
            None => String::from_utf8_lossy(&output.stdout).trim().parse()?,
        };
        if found != expected {
            wrong.push(format!("{name}: {found}, not {expected}"));
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n").into()) }
}
