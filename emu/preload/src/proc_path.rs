//! Paths of procfs that show descriptors, or limits of inotify's.

use uinotify_wire::LimitFile;

/// Whose descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Process<'a> {
    /// The caller's own.
    Own,
    /// That of the process or thread with this number, in digits.
    Numbered(&'a [u8]),
}

/// Which of the two files of a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// fd/N, the link.
    Link,
    /// fdinfo/N.
    Information,
}

/// What a path names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProcPath<'a> {
    /// A descriptor.
    Descriptor {
        /// Of this process.
        process: Process<'a>,
        /// Through this file.
        view: View,
        /// Its number.
        fd: i32,
    },
    /// A limit.
    Limit(LimitFile),
}

/// What an absolute path names, by its text alone. Empty parts and "." are passed over, as the kernel does; a path with ".." is
/// none of these, nor one with a slash at its end, which asks for a directory.
#[must_use]
pub fn parse(path: &[u8]) -> Option<ProcPath<'_>> {
    let path = path.strip_prefix(b"/").filter(|rest| rest.last() != Some(&b'/'))?;
    let mut parts = path.split(|&byte| byte == b'/').filter(|part| !matches!(*part, b"" | b"."));
    match parts.next()? {
        b"proc" => {}
        // A link to /proc/self/fd (proc(5)).
        b"dev" if parts.next() == Some(b"fd") => return descriptor(Process::Own, View::Link, parts),
        _ => return None,
    }
    let process = match parts.next()? {
        b"sys" => return limit(parts),
        b"self" => Process::Own,
        b"thread-self" => {
            let view = view(parts.next()?)?;
            return descriptor(Process::Own, view, parts);
        }
        digits => {
            number(digits)?;
            Process::Numbered(digits)
        }
    };
    let mut part = parts.next()?;
    if part == b"task" {
        // Threads of a process share their descriptors.
        number(parts.next()?)?;
        part = parts.next()?;
    }
    descriptor(process, view(part)?, parts)
}

/// How relative paths to ours begin, below the directories of procfs that lead there. A number does as well.
const BEGINNINGS: [&[u8]; 9] =
    [b"fd/", b"fdinfo/", b"self/", b"thread-self/", b"task/", b"sys/", b"fs/", b"inotify/", b"max_"];

/// May the relative path lead to something of ours, below a directory of procfs? A hint from its beginning.
#[must_use]
pub fn may_be_below(path: impl Iterator<Item = u8>) -> bool {
    let mut start = [0; 12];
    let named = path.skip_while(|byte| matches!(byte, b'.' | b'/'));
    for (to, from) in start.iter_mut().zip(named) {
        *to = from;
    }
    start.first().is_some_and(u8::is_ascii_digit) || BEGINNINGS.iter().any(|beginning| start.starts_with(beginning))
}

fn view(part: &[u8]) -> Option<View> {
    match part {
        b"fd" => Some(View::Link),
        b"fdinfo" => Some(View::Information),
        _ => None,
    }
}

fn descriptor<'a>(process: Process<'a>, view: View, mut parts: impl Iterator<Item = &'a [u8]>) -> Option<ProcPath<'a>> {
    let fd = number(parts.next()?)?;
    parts.next().is_none().then_some(ProcPath::Descriptor { process, view, fd })
}

fn limit<'a>(mut parts: impl Iterator<Item = &'a [u8]>) -> Option<ProcPath<'a>> {
    let (folder, mut name) = (parts.next()?, parts.next()?);
    let is_system_wide = folder == b"fs" && name == b"inotify";
    if is_system_wide {
        name = parts.next()?;
    }
    let file = match name {
        b"max_queued_events" if is_system_wide => LimitFile::QueuedEvents,
        b"max_user_instances" if is_system_wide => LimitFile::Instances,
        b"max_user_watches" if is_system_wide => LimitFile::Watches,
        b"max_inotify_instances" if folder == b"user" => LimitFile::Instances,
        b"max_inotify_watches" if folder == b"user" => LimitFile::Watches,
        _ => return None,
    };
    parts.next().is_none().then_some(ProcPath::Limit(file))
}

/// A number as procfs takes it: without sign and leading zeros.
fn number(digits: &[u8]) -> Option<i32> {
    if digits.is_empty() || (digits.len() > 1 && digits.first() == Some(&b'0')) {
        return None;
    }
    digits.iter().try_fold(0i32, |number, &digit| {
        let digit = digit.checked_sub(b'0').filter(|digit| *digit < 10)?;
        number.checked_mul(10)?.checked_add(i32::from(digit))
    })
}

/// The inode in the text of a socket's link, `socket:[N]`.
#[must_use]
pub fn socket_inode(link: &[u8]) -> Option<u64> {
    let digits = link.strip_prefix(b"socket:[")?.strip_suffix(b"]")?;
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |number, &digit| {
        let digit = digit.checked_sub(b'0').filter(|digit| *digit < 10)?;
        number.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

/// The octal number of the line `flags:` in the text of fdinfo (proc_pid_fdinfo(5)).
#[must_use]
pub fn flags(information: &[u8]) -> Option<u32> {
    let line = information.split(|&byte| byte == b'\n').find_map(|line| line.strip_prefix(b"flags:"))?;
    let digits = line.iter().skip_while(|byte| matches!(byte, b'\t' | b' '));
    let mut any = false;
    let flags = digits.copied().try_fold(0u32, |number, digit| {
        any = true;
        let digit = digit.checked_sub(b'0').filter(|digit| *digit < 8)?;
        number.checked_mul(8)?.checked_add(u32::from(digit))
    });
    flags.filter(|_| any)
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::format;

    #[test]
    fn descriptors_are_found_under_every_name() {
        let link = |process| Some(ProcPath::Descriptor { process, view: View::Link, fd: 15 });
        let information = |process| Some(ProcPath::Descriptor { process, view: View::Information, fd: 15 });
        let numbered = Process::Numbered(b"70");
        for (folder, process) in [
            ("/proc/self", Process::Own),
            ("/proc/thread-self", Process::Own),
            ("/proc/self/task/71", Process::Own),
            ("/proc/70", numbered),
            ("/proc/70/task/71", numbered),
            ("//proc///self", Process::Own),
            ("/./proc/././70/.", numbered),
        ] {
            assert_eq!(parse(format!("{folder}/fd/15").as_bytes()), link(process), "{folder}");
            assert_eq!(parse(format!("{folder}/fdinfo//./15").as_bytes()), information(process), "{folder}");
        }
        assert_eq!(parse(b"/dev/fd/15"), link(Process::Own));
    }

    #[test]
    fn limits_are_found_in_both_folders() {
        for (path, file) in [
            ("/proc/sys/fs/inotify/max_queued_events", LimitFile::QueuedEvents),
            ("/proc/sys/fs/inotify/max_user_instances", LimitFile::Instances),
            ("/proc/sys//fs/./inotify/max_user_watches", LimitFile::Watches),
            ("/proc/sys/user/max_inotify_instances", LimitFile::Instances),
            ("/proc/sys/user/max_inotify_watches", LimitFile::Watches),
        ] {
            assert_eq!(parse(path.as_bytes()), Some(ProcPath::Limit(file)), "{path}");
        }
    }

    #[test]
    fn other_paths_name_nothing() {
        for path in [
            "",
            "/",
            "/proc",
            "/proc/",
            "/proc/self",
            "/proc/self/fd",
            "/proc/self/fd/",
            "/proc/self/fd/5/",
            "/proc/self/fd/5/6",
            "/proc/self/fd/05",
            "/proc/self/fd/+5",
            "/proc/self/fd/5x",
            "/proc/self/fd/4294967296",
            "/proc/self/fds/5",
            "/proc/self/../self/fd/5",
            "/proc/thread-self/task/1/fd/5",
            "/proc/07/fd/5",
            "/proc/self/task/fd/5",
            "/proc/self/task/x/fd/5",
            "/proc/sys/fs/inotify",
            "/proc/sys/fs/inotify/max_queued_events/",
            "/proc/sys/fs/inotify/max_inotify_watches",
            "/proc/sys/fs/max_queued_events",
            "/proc/sys/user/max_user_watches",
            "/proc/sys/user/max_inotify_watches/x",
            "/process/self/fd/5",
            "/dev/fd/info/5",
            "/dev/fdinfo/5",
            "/dev/fd",
            "proc/self/fd/5",
        ] {
            assert_eq!(parse(path.as_bytes()), None, "{path}");
        }
    }

    #[test]
    fn relative_names_are_judged_by_their_beginning() {
        for name in [
            "5",
            "15",
            "./5",
            ".//./5",
            "fd/5",
            "fdinfo/5",
            "./fdinfo/5",
            "70/fd/5",
            "self/fd/5",
            "thread-self/fd/5",
            "task/7/fd/5",
            "sys/user/max_inotify_watches",
            "inotify/max_user_watches",
            "max_user_watches",
        ] {
            assert!(may_be_below(name.bytes()), "{name}");
        }
        for name in ["", ".", "./", "f", "file", "-5", "x5", "/.", "fds", "src/main.rs", "target"] {
            assert!(!may_be_below(name.bytes()), "{name}");
        }
    }

    #[test]
    fn links_of_sockets_hold_an_inode() {
        assert_eq!(socket_inode(b"socket:[4026531]"), Some(4_026_531));
        for link in ["socket:[]", "socket:[4", "socket:[x]", "pipe:[4]", "anon_inode:inotify", "/socket:[4]"] {
            assert_eq!(socket_inode(link.as_bytes()), None, "{link}");
        }
    }

    #[test]
    fn flags_are_octal() {
        assert_eq!(flags(b"pos:\t0\nflags:\t02004002\nmnt_id:\t9\n"), Some(0o2_004_002));
        assert_eq!(flags(b"flags:\t00"), Some(0));
        for text in ["", "flags:\t", "flags:\t08", "flags:\t0x1", "pos:\t0\n", "flags:\t077777777777777"] {
            assert_eq!(flags(text.as_bytes()), None, "{text}");
        }
    }
}
