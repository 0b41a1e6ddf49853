//! Processes and their descriptors.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
use nix::sys::prctl;
use nix::sys::signal::{SigHandler, SigSet, SigmaskHow, Signal, sigprocmask};
use nix::unistd::{Pid, chdir, dup2_stdin, dup2_stdout, setsid};

use crate::inherited::disposition;

/// As a kernel object would, the emulator ends with its last user, and not when a service manager or a terminal tells
/// all processes of a service to end: they may still be cleaning up.
const IGNORED: &[Signal] = &[Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGQUIT, Signal::SIGPIPE];

/// The exit status of `child` as a shell shows it, or nothing while it runs. The child is reaped.
///
/// Not nix's `waitpid`: that one knows no real-time signals.
pub(crate) fn exit_status_now(child: Pid) -> nix::Result<Option<u8>> {
    wait(child, libc::WNOHANG)
}

/// Waits for `child` to end and returns its exit status as a shell shows it.
pub(crate) fn exit_status(child: Pid) -> nix::Result<u8> {
    loop {
        match wait(child, 0) {
            Ok(Some(status)) => return Ok(status),
            Ok(None) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

fn wait(child: Pid, options: i32) -> nix::Result<Option<u8>> {
    let mut status = 0;
    // SAFETY: `status` outlives the call, which writes one int into it.
    let result = unsafe { libc::waitpid(child.as_raw(), &raw mut status, options) };
    if Errno::result(result)? == 0 {
        return Ok(None);
    }
    let status = if libc::WIFSIGNALED(status) { 128 + libc::WTERMSIG(status) } else { libc::WEXITSTATUS(status) };
    // An exit status has eight bits, and signals end at 64.
    Ok(Some(status as u8))
}

/// Leaves standard error and `kept` open and nothing else; `/dev/null` takes the place of standard input and output.
///
/// Whoever waits for the end of a pipe that the program has inherited waits for the program alone then. The caller owns
/// no other descriptor that it will use.
pub(crate) fn let_go_of_descriptors(kept: &[RawFd]) {
    // A root folder without /dev is no reason to fail: then they stay.
    if let Ok(null) = OpenOptions::new().read(true).write(true).open("/dev/null") {
        let _ = dup2_stdin(&null);
        let _ = dup2_stdout(&null);
    }
    let Ok(entries) = fs::read_dir("/proc/self/fd") else {
        return;
    };
    let open: Vec<RawFd> = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    for descriptor in open {
        if descriptor > 2 && !kept.contains(&descriptor) {
            // SAFETY: no value of this process owns the descriptor: it was inherited, or was that of the listing and is
            // closed already, which is no more than EBADF.
            unsafe { libc::close(descriptor) };
        }
    }
}

/// Leaves session, folder, signal mask and limits of the user's process behind.
pub(crate) fn stand_alone() -> io::Result<()> {
    setsid()?;
    // A folder that is in use cannot be unmounted.
    chdir("/")?;
    // Under a nested run the name is that of /proc/self/exe.
    prctl::set_name(c"uinotify")?;
    for signal in IGNORED {
        disposition(*signal, SigHandler::SigIgn)?;
    }
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)?;
    raise_descriptor_limit();
    Ok(())
}

/// The emulator holds a descriptor for each instance of all its programs, which count against their own limits only.
pub(crate) fn raise_descriptor_limit() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` outlives the call, which writes one structure into it.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } == 0 {
        limit.rlim_cur = limit.rlim_max;
        // SAFETY: `limit` outlives the call, which only reads it. A refusal leaves the limit as it was.
        unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) };
    }
}

/// Gives up all capabilities of this thread, which has to be the only one.
pub(crate) fn give_up_capabilities() -> io::Result<()> {
    const VERSION_3: u32 = 0x2008_0522;
    let header = [VERSION_3, 0];
    let none = [[0_u32; 3]; 2];
    // SAFETY: version 3 has a header of a version and a pid and two sets of three words, which outlive the call.
    let result = unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), none.as_ptr()) };
    Errno::result(result)?;
    Ok(())
}

/// Takes the descriptor that the caller has left open under this number.
///
/// # Errors
/// It is not open, or not for writing.
pub(crate) fn take_descriptor(number: RawFd) -> Result<OwnedFd, String> {
    if number < 0 {
        return Err("a descriptor is a number from 0 on".to_owned());
    }
    // SAFETY: it is closed or the caller's, who has left it to us; the number is checked by the next call.
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    let flags = fcntl(borrowed, FcntlArg::F_GETFL).map_err(|_| "no such descriptor is open".to_owned())?;
    if OFlag::from_bits_retain(flags) & OFlag::O_ACCMODE == OFlag::O_RDONLY {
        return Err("the descriptor is not open for writing".to_owned());
    }
    // exec has left it open; the next one is not to.
    let _ = fcntl(borrowed, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC));
    // SAFETY: as above, and nothing else in this process uses it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}
