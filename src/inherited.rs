//! What this process was started with, so that the program can be started with the same.
//!
//! Before `main`, Rust's runtime ignores SIGPIPE and opens `/dev/null` for each of the descriptors 0 to 2 that is
//! closed. A program under uinotify must see neither, so both are noted in a constructor, which runs before that.

use std::os::fd::RawFd;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use nix::errno::Errno;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, SigmaskHow, Signal, sigaction, sigprocmask};

static SIGPIPE_IGNORED: AtomicBool = AtomicBool::new(false);
/// One bit for each of the descriptors 0 to 2.
static CLOSED: AtomicU8 = AtomicU8::new(0);

#[used]
#[unsafe(link_section = ".init_array")]
static CONSTRUCTOR: extern "C" fn() = note_what_the_runtime_changes;

extern "C" fn note_what_the_runtime_changes() {
    // SAFETY: `sigaction` is a plain structure of integers and an optional pointer; all zeroes is a value of it.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: `action` outlives the call; with no new action the call only reads.
    let result = unsafe { libc::sigaction(libc::SIGPIPE, std::ptr::null(), &raw mut action) };
    SIGPIPE_IGNORED.store(result == 0 && action.sa_sigaction == libc::SIG_IGN, Ordering::Relaxed);

    let closed = (0..3).filter(|descriptor| !is_open(*descriptor)).fold(0, |bits, descriptor| bits | 1 << descriptor);
    CLOSED.store(closed, Ordering::Relaxed);
}

fn is_open(descriptor: RawFd) -> bool {
    // SAFETY: F_GETFD takes no pointer and changes nothing.
    unsafe { libc::fcntl(descriptor, libc::F_GETFD) != -1 }
}

/// Signal mask, dispositions and standard descriptors of this process at its start, as far as they are changed.
pub(crate) struct Inherited {
    mask: SigSet,
    sigchld_ignored: bool,
}

impl Inherited {
    /// Notes the signal mask, and makes SIGCHLD what waiting for a program needs: not ignored, or the kernel throws the
    /// exit status away.
    pub(crate) fn take() -> nix::Result<Self> {
        let mut mask = SigSet::empty();
        sigprocmask(SigmaskHow::SIG_BLOCK, None, Some(&mut mask))?;
        let before = disposition(Signal::SIGCHLD, SigHandler::SigDfl)?;
        Ok(Self { mask, sigchld_ignored: matches!(before.handler(), SigHandler::SigIgn) })
    }

    /// Gives this process what it was started with: for a program that is executed in its place.
    ///
    /// It makes system calls only, so that it may run between `fork` and `exec`.
    pub(crate) fn restore(&self) -> nix::Result<()> {
        if self.sigchld_ignored {
            disposition(Signal::SIGCHLD, SigHandler::SigIgn)?;
        }
        if !SIGPIPE_IGNORED.load(Ordering::Relaxed) {
            disposition(Signal::SIGPIPE, SigHandler::SigDfl)?;
        }
        for descriptor in (0..3).filter(|descriptor| CLOSED.load(Ordering::Relaxed) & 1 << descriptor != 0) {
            // SAFETY: the descriptor is the runtime's substitute, and the caller is about to execute another program.
            unsafe { libc::close(descriptor) };
        }
        sigprocmask(SigmaskHow::SIG_SETMASK, Some(&self.mask), None)
    }
}

/// Sets what `signal` does, to the default or to nothing, and returns what it did.
pub(crate) fn disposition(signal: Signal, handler: SigHandler) -> Result<SigAction, Errno> {
    let action = SigAction::new(handler, SaFlags::empty(), SigSet::empty());
    // SAFETY: every caller gives the default or `SIG_IGN`, so no function of this process becomes a handler.
    unsafe { sigaction(signal, &action) }
}
