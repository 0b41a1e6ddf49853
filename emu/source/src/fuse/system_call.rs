//! The system call in which a thread waits for us: some requests do not tell by which they were made.
//!
//! In the middle of exec the kernel keeps everybody from reading this until the exec goes on, and that may be waiting for our answer. So another
//! thread reads it, and it is not waited for longer than it takes elsewhere.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use crossbeam_channel::bounded;

/// How long procfs may take.
const PATIENCE: Duration = Duration::from_millis(20);

/// How many threads may be kept waiting.
const READERS_MAX: usize = 16;
static READERS: AtomicUsize = AtomicUsize::new(0);

/// procfs has not answered in time.
struct Late;

/// /proc/PID/syscall of a thread; none where it may not be read.
fn line_of(thread: u32) -> Result<Option<String>, Late> {
    if READERS.fetch_add(1, Ordering::AcqRel) >= READERS_MAX {
        READERS.fetch_sub(1, Ordering::AcqRel);
        return Err(Late);
    }
    let (sender, receiver) = bounded(1);
    let read = move || {
        let line = fs::read_to_string(format!("/proc/{thread}/syscall"));
        READERS.fetch_sub(1, Ordering::AcqRel);
        // Nobody may be waiting any longer.
        let _ = sender.send(line);
    };
    if thread::Builder::new().name("procfs".into()).spawn(read).is_err() {
        READERS.fetch_sub(1, Ordering::AcqRel);
        return Err(Late);
    }
    receiver.recv_timeout(PATIENCE).map(Result::ok).map_err(|_| Late)
}

/// Number and arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SystemCall {
    number: i64,
    first: u64,
    second: u64,
}

impl SystemCall {
    /// None for a page fault of the program itself, and where procfs does not tell us, who then need the right to trace the thread.
    pub(super) fn of(thread: u32) -> Option<Self> {
        Self::parse(&line_of(thread).ok()??)
    }

    /// Where the file of the descriptor is now, by the name by which it was opened. If that is gone, where it was.
    pub(super) fn path_of_descriptor(self, thread: u32) -> Option<Vec<u8>> {
        let path = fs::read_link(format!("/proc/{thread}/fd/{}", self.first)).ok().map(OsString::from)?.into_vec();
        Some(path.strip_suffix(b" (deleted)").unwrap_or(&path).to_vec())
    }

    /// Whether a thread may still be in a call that removes a name. One that runs may be.
    pub(super) fn may_be_in_removal(thread: u32) -> bool {
        let line = match line_of(thread) {
            Ok(Some(line)) => line,
            Ok(None) => return false,
            Err(Late) => return true,
        };
        let old = if cfg!(target_arch = "x86_64") { &[82, 84, 87][..] } else { &[] };
        let new = [libc::SYS_unlinkat, libc::SYS_renameat, libc::SYS_renameat2];
        line.starts_with("running")
            || Self::parse(&line).is_some_and(|call| old.contains(&call.number) || new.contains(&call.number))
    }

    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split_ascii_whitespace();
        let number = words.next()?.parse().ok().filter(|number| *number >= 0)?;
        let mut argument = || u64::from_str_radix(words.next()?.strip_prefix("0x")?, 16).ok();
        Some(Self { number, first: argument()?, second: argument()? })
    }

    /// Pages go to a pipe or a socket, by way of the page cache.
    pub(super) fn takes_pages(self) -> bool {
        self.is_splice() || [libc::SYS_sendfile, libc::SYS_copy_file_range].contains(&self.number)
    }

    /// splice(2).
    pub(super) fn is_splice(self) -> bool {
        self.number == libc::SYS_splice
    }

    /// The owner is given, even if that is to stay as it is.
    pub(super) fn gives_owner(self) -> bool {
        let by_path = if cfg!(target_arch = "x86_64") { &[92, 94][..] } else { &[] };
        by_path.contains(&self.number) || [libc::SYS_fchown, libc::SYS_fchownat].contains(&self.number)
    }

    /// The mode is given, by chmod(2) and its like.
    pub(super) fn sets_mode(self) -> bool {
        const FCHMODAT2: i64 = 452;
        let by_path = if cfg!(target_arch = "x86_64") { &[90][..] } else { &[] };
        by_path.contains(&self.number) || [libc::SYS_fchmod, libc::SYS_fchmodat, FCHMODAT2].contains(&self.number)
    }

    /// The object is named by a descriptor and not by a path.
    pub(super) fn is_by_descriptor(self) -> bool {
        let by_descriptor = [libc::SYS_fchmod, libc::SYS_fchown, libc::SYS_fsetxattr, libc::SYS_fremovexattr];
        by_descriptor.contains(&self.number) || self.number == libc::SYS_utimensat && self.second == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_taken_apart() {
        let line = |number: i64| format!("{number} 0x3 0x0 0x7ffd 0x0 0x0 0x0 0x7ffd17b0 0x7f2a\n");
        let call = SystemCall::parse(&line(libc::SYS_utimensat)).expect("a call");
        assert!(call.is_by_descriptor() && !call.takes_pages());
        let path = line(libc::SYS_utimensat).replace("0x3 0x0", "0x3 0x7f00");
        assert!(!SystemCall::parse(&path).expect("a call").is_by_descriptor());
        let call = |number| SystemCall::parse(&line(number)).expect("a call");
        assert!(call(libc::SYS_sendfile).takes_pages() && !call(libc::SYS_sendfile).is_splice());
        assert!(call(libc::SYS_splice).takes_pages() && call(libc::SYS_splice).is_splice());
        assert_eq!(SystemCall::parse("-1 0x7ffc 0x7f2a\n"), None);
        assert_eq!(SystemCall::parse("running\n"), None);
    }
}
