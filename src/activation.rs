//! A socket that a service manager has made and listens at, as sd_listen_fds(3) hands it over.

use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::socket::{SockType, getsockopt, sockopt};

/// The first descriptor that is handed over.
const FIRST: RawFd = 3;

/// Whether something is handed to this process. The variables may be those of a process above.
pub(crate) fn is_offered() -> bool {
    number("LISTEN_PID") == Some(std::process::id()) && number("LISTEN_FDS").is_some_and(|count| count > 0)
}

fn number(name: &str) -> Option<u32> {
    std::env::var(name).ok()?.parse().ok()
}

/// Takes the socket, if one was handed to this process.
///
/// # Errors
/// What was handed over is not one listening socket of the kind that programs connect to.
pub(crate) fn take() -> Result<Option<OwnedFd>, String> {
    if !is_offered() {
        return Ok(None);
    }
    if let Some(count) = number("LISTEN_FDS").filter(|count| *count != 1) {
        return Err(format!("{count} sockets were handed over, where one is needed"));
    }
    // SAFETY: it is closed or the service manager's, who has left it to us; the number is checked by the next calls.
    let borrowed = unsafe { BorrowedFd::borrow_raw(FIRST) };
    fcntl(borrowed, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))
        .map_err(|_| "the socket that was handed over is not open")?;
    let kind = getsockopt(&borrowed, sockopt::SockType);
    let listens = getsockopt(&borrowed, sockopt::AcceptConn);
    if !matches!((kind, listens), (Ok(SockType::SeqPacket), Ok(true))) {
        let needed = "what was handed over is no listening SOCK_SEQPACKET socket (ListenSequentialPacket= of systemd)";
        return Err(needed.to_owned());
    }
    // SAFETY: as above, and nothing else in this process uses it.
    Ok(Some(unsafe { OwnedFd::from_raw_fd(FIRST) }))
}
