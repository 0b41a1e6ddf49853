//! Putting the filter in front of a program.

use std::fmt;
use std::os::fd::{AsFd, FromRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::prctl;

use crate::filter::Filter;
use crate::listener::can_give_descriptors;

/// Why there is no filter. [`Unusable`](Self::Unusable) aside, this thread is as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InstallError {
    /// It takes CAP_SYS_ADMIN, or to give up that executed programs gain rights (`no_new_privs`).
    NeedsNoNewPrivs,
    /// Another supervisor listens to this process, and the kernel has room for one.
    Supervised,
    /// The kernel has no notifications of seccomp that are of use (before 5.9), or something forbids them.
    Missing(Errno),
    /// The kernel gives no descriptor in answer to a notification after all. The filter is there, and this process is lost to it.
    Unusable,
}

impl fmt::Display for InstallError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NeedsNoNewPrivs => formatter
                .write_str("it takes CAP_SYS_ADMIN or no_new_privs, under which setuid programs gain no rights"),
            Self::Supervised => formatter.write_str(
                "another supervisor of system calls listens to this process (EBUSY); Linux has room for one",
            ),
            Self::Missing(errno) => {
                write!(formatter, "seccomp does not give programs descriptors here (Linux 5.9): {}", errno.desc())
            }
            Self::Unusable => formatter.write_str("seccomp gives programs no descriptors here (Linux 5.9)"),
        }
    }
}

impl std::error::Error for InstallError {}

/// A filter in front of this thread and of all that it will start.
#[derive(Debug)]
pub struct Installed {
    /// Where the calls that stop are told: for [`Listener::new`](crate::Listener::new).
    pub listener: OwnedFd,
    /// Executed programs gain no rights any more, because of the filter.
    pub gave_up_privileges: bool,
}

/// Puts the filter in front of this thread, which nothing takes away again. With `may_give_up_privileges` it sets `no_new_privs` where the
/// kernel insists.
///
/// # Errors
///
/// [`InstallError`].
pub fn install(filter: &Filter, may_give_up_privileges: bool) -> Result<Installed, InstallError> {
    if is_too_old() {
        return Err(InstallError::Missing(Errno::ENOSYS));
    }
    let (listener, gave_up_privileges) = match load(filter) {
        Err(Errno::EACCES) if may_give_up_privileges => {
            prctl::set_no_new_privs().map_err(InstallError::Missing)?;
            (load(filter), true)
        }
        loaded => (loaded, false),
    };
    let listener = listener.map_err(|errno| match errno {
        Errno::EACCES => InstallError::NeedsNoNewPrivs,
        Errno::EBUSY => InstallError::Supervised,
        errno => InstallError::Missing(errno),
    })?;
    if !can_give_descriptors(listener.as_fd()) {
        return Err(InstallError::Unusable);
    }
    Ok(Installed { listener, gave_up_privileges })
}

/// Whether this thread may have a filter at no change of what it may do.
#[must_use]
pub fn is_possible_unprivileged() -> bool {
    if is_too_old() {
        return false;
    }
    // The kernel asks for the right before it looks at the program, and finds that there is no such instruction: EINVAL, and not EACCES.
    let nothing = [libc::sock_filter { code: u16::MAX, jt: 0, jf: 0, k: 0 }];
    set_filter(&nothing, 0) == Err(Errno::EINVAL)
}

/// Kernels before 5.9 have notifications and no descriptors in answer to them, which shows only when it is too late.
fn is_too_old() -> bool {
    const OLDEST: (u32, u32) = (5, 9);
    let release = nix::sys::utsname::uname().ok();
    let release = release.as_ref().and_then(|name| name.release().to_str()).unwrap_or_default();
    let mut numbers =
        release.split(|character: char| !character.is_ascii_digit()).map(|number| number.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) < OLDEST
}

fn load(filter: &Filter) -> Result<OwnedFd, Errno> {
    // It is no boundary of security, for which programs had to be slowed down.
    let usual = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER | libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW;
    // Whom we answer at once no signal is to disturb (Linux 5.19). A read waits for events, and has to be.
    let killable = if filter.stops_reads() { 0 } else { libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV };
    match load_program(filter.instructions(), usual | killable) {
        Err(Errno::EINVAL) if killable != 0 => load_program(filter.instructions(), usual),
        loaded => loaded,
    }
}

fn load_program(instructions: &[libc::sock_filter], flags: libc::c_ulong) -> Result<OwnedFd, Errno> {
    let number = set_filter(instructions, flags)?;
    // SAFETY: with SECCOMP_FILTER_FLAG_NEW_LISTENER, which both callers give, the call has just returned a descriptor, which nobody else has.
    Ok(unsafe { OwnedFd::from_raw_fd(number as i32) })
}

/// seccomp(2).
fn set_filter(instructions: &[libc::sock_filter], flags: libc::c_ulong) -> Result<i64, Errno> {
    let program = libc::sock_fprog { len: instructions.len() as u16, filter: instructions.as_ptr().cast_mut() };
    // SAFETY: the program and its instructions live through the call, which reads as many as it says.
    let result = unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program) };
    Errno::result(result)
}
