//! Signals that this process gets in the program's place.

use std::os::fd::{AsRawFd, RawFd};

use nix::errno::Errno;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd, siginfo};
use nix::unistd::{Pid, getpid, getsid};

const FORWARDED: &[Signal] = &[
    Signal::SIGTERM,
    Signal::SIGINT,
    Signal::SIGHUP,
    Signal::SIGQUIT,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGWINCH,
];

/// The signals that are forwarded, and SIGCHLD, blocked and read one by one.
pub(super) struct Signals(SignalFd);

impl Signals {
    /// Blocks them in this process. Linux keeps a blocked signal even where its disposition is to ignore it, so that
    /// `nohup` above does not hide it from a program that has changed its mind.
    pub(super) fn block() -> nix::Result<Self> {
        let mut set: SigSet = FORWARDED.iter().copied().collect();
        set.add(Signal::SIGCHLD);
        set.thread_block()?;
        SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC).map(Self)
    }

    /// While `act` goes on they do what they do to any process.
    pub(super) fn unblocked<T>(&self, act: impl FnOnce() -> T) -> nix::Result<T> {
        let set: SigSet = FORWARDED.iter().copied().collect();
        set.thread_unblock()?;
        let result = act();
        set.thread_block()?;
        Ok(result)
    }

    pub(super) fn descriptor(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    /// Waits for the next one.
    pub(super) fn next(&self) -> nix::Result<siginfo> {
        loop {
            match self.0.read_signal() {
                Ok(Some(signal)) => return Ok(signal),
                Ok(None) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno),
            }
        }
    }
}

/// Whether a signal that this process got has to be forwarded for the program to get it.
///
/// What the terminal sends (`si_code` SI_KERNEL) has reached the whole foreground group, the program too. There is one
/// exception: when the line is lost, only the leader of the session gets SIGHUP. Without uinotify that were the program.
/// What the program itself sends to its group or to its parent is not meant for it a second time.
pub(super) fn is_for_program(signal: &siginfo, program: Pid) -> bool {
    if signal.ssi_code > 0 {
        return signal.ssi_signo == libc::SIGHUP as u32 && getsid(None) == Ok(getpid());
    }
    signal.ssi_pid != program.as_raw() as u32
}

/// Sends the signal on. A program that has ended cannot be told, and one that has become another user's may not be.
pub(super) fn send(program: Pid, signal: &siginfo) {
    if let Ok(signal) = Signal::try_from(signal.ssi_signo as i32) {
        let _ = kill(program, signal);
    }
}
