//! The differences that stay: rows of docs/differences.md.

/// A row whose results differ, and how.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Expected {
    /// In docs/differences.md.
    pub(crate) id: &'static str,
    /// The row, or all that fit, `*` being any text.
    pub(crate) row: &'static str,
    /// The result on a descriptor of the kernel's, `*` being any text.
    pub(crate) native: &'static str,
    /// The result on an emulated one, `*` being any text.
    pub(crate) emulated: &'static str,
    /// Does root see it too? A privilege can hide it.
    pub(crate) concerns_root: bool,
}

/// Does the text fit the pattern, in which `*` stands for any text?
pub(crate) fn fits(pattern: &str, text: &str) -> bool {
    let Some((start, pattern)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut rest) = text.strip_prefix(start) else { return false };
    let mut parts: Vec<_> = pattern.split('*').collect();
    let end = parts.pop().unwrap_or_default();
    for part in parts {
        let Some((_, after)) = rest.split_once(part) else { return false };
        rest = after;
    }
    rest.ends_with(end)
}

const fn differs(id: &'static str, row: &'static str, native: &'static str, emulated: &'static str) -> Expected {
    Expected { id, row, native, emulated, concerns_root: true }
}

const fn differs_for_others(
    id: &'static str,
    row: &'static str,
    native: &'static str,
    emulated: &'static str,
) -> Expected {
    Expected { id, row, native, emulated, concerns_root: false }
}

/// The rows that differ for the user of this process.
pub(crate) fn expected_rows() -> impl Iterator<Item = &'static Expected> {
    let is_root = nix::unistd::geteuid().is_root();
    EXPECTED.iter().filter(move |expected| expected.concerns_root || !is_root)
}

/// What is left of an instance that has read nothing.
macro_rules! untouched {
    ($result:literal) => {
        concat!($result, " | 1 4000 48 1:40000004() 1:100(name)")
    };
}

/// A line of a way of calling that differs, and how.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Way {
    /// In docs/differences.md.
    pub(crate) id: &'static str,
    /// The program that says it.
    pub(crate) program: &'static str,
    /// The line on a descriptor of the kernel's.
    pub(crate) native: &'static str,
    /// The line on an emulated one.
    pub(crate) emulated: &'static str,
}

/// The ways of calling that differ.
pub(crate) const WAYS: &[Way] = &[
    ring("4000 two events: 64 1:100(two) 1:100(three)", "4000 two events: 32 1:100(two)"),
    ring("4000 left: 0 EAGAIN", "4000 left: 32 1:100(three)"),
    ring("4000 a small buffer: EINVAL", "4000 a small buffer: 8 8 bytes"),
    ring("4000 after a small buffer: 32 1:100(four)", "4000 after a small buffer: 0 EAGAIN"),
    ring("4000 poll: (2, 1)", "4000 poll: (2, 3)"),
    ring("0 two events: 64 1:100(two) 1:100(three)", "0 two events: 32 1:100(two)"),
    ring("0 nothing is left", "0 what is left: 32 1:100(three)"),
    ring("0 a small buffer: EINVAL", "0 a small buffer: 8 8 bytes"),
    ring("0 after a small buffer: 32 1:100(four)", "0 after a small buffer: 0 EAGAIN"),
    ring("0 poll: (2, 1)", "0 poll: (2, 3)"),
];

/// A request that no function sees: one event a read, the rest of an event is lost, and a socket's readiness.
const fn ring(native: &'static str, emulated: &'static str) -> Way {
    Way { id: "DIFF-7", program: "io_uring", native, emulated }
}

/// All rows of the table that differ.
const EXPECTED: &[Expected] = &[
    differs("DIFF-7", "raw:read(fd, buffer, 8)", untouched!("-1 EINVAL"), "8 [8 bytes] | 1 4000 32 1:100(name)"),
    differs(
        "DIFF-7",
        "raw:read(fd, buffer, 64)",
        "48 [1:40000004() 1:100(name)] | 1 4000 0 EAGAIN",
        "16 [1:40000004()] | 1 4000 32 1:100(name)",
    ),
    differs("DIFF-7", "raw:write(fd, bytes, 16)", untouched!("-1 EBADF"), untouched!("16")),
    differs("DIFF-7", "raw:lseek(fd, 0, 0)", untouched!("0"), untouched!("-1 ESPIPE")),
    differs("DIFF-7", "raw:fstatfs(fd, [120])", "0 <9041934,*", "0 <534f434b,*"),
    differs(
        "DIFF-7",
        "raw:getsockopt(fd, SOL_SOCKET, SO_TYPE, [4], &110)",
        untouched!("-1 ENOTSOCK"),
        untouched!("0 <5> <4>"),
    ),
    differs("DIFF-7", "raw:shutdown(fd, 77)", untouched!("-1 ENOTSOCK"), untouched!("-1 EINVAL")),
    differs(
        "DIFF-7",
        "raw:readlinkat(AT_FDCWD, \"/proc/self/fd/{fd}\", [64], 64)",
        untouched!("18 \"anon_inode:inotify\""),
        "* \"socket:[*]\" *",
    ),
    differs("DIFF-7", "io_submit of a read", untouched!("-1 EINVAL"), "1 | *"),
    differs("DIFF-11", "open(\"/proc/self/fdinfo/{fd}\", O_RDONLY*)", "Ok(\"/proc/PID/fdinfo/*", "Ok(\"/memfd:*"),
    differs("DIFF-11", "fdinfo read again from its start, in pieces, and after a change", "* wd:2 *", "*"),
    differs(
        "DIFF-12",
        "open(\"/proc/self/fd/{fd}\", O_PATH | O_NOFOLLOW)",
        "Ok(\"/proc/PID/fd/*\") 120500 *",
        "Ok(\"/proc/PID/fd/*\") 120700 *",
    ),
    differs(
        "DIFF-12",
        "readlink(\"/proc/../proc/self/./fd/{fd}\", [64], 64)",
        untouched!("18 \"anon_inode:inotify\""),
        "1* \"socket:[*]\" *",
    ),
    differs_for_others(
        "DIFF-12",
        "SYS_faccessat2(AT_FDCWD, \"/proc/self/fd/{fd}\", 2, AT_SYMLINK_NOFOLLOW)",
        untouched!("-1 EACCES"),
        untouched!("0"),
    ),
    differs_for_others(
        "DIFF-12",
        "SYS_faccessat2(AT_FDCWD, \"/proc/self/fd/{fd}\", 6, AT_SYMLINK_NOFOLLOW)",
        untouched!("-1 EACCES"),
        untouched!("0"),
    ),
    differs_for_others(
        "DIFF-12",
        "*linkat(fd, \"\", AT_FDCWD, \"{folder}/link\", AT_EMPTY_PATH)",
        untouched!("-1 EXDEV"),
        untouched!("-1 ENOENT"),
    ),
    differs("DIFF-13", "*dprintf*\"text\")", untouched!("-1 EBADF"), untouched!("4")),
    differs("DIFF-13", "ftok(\"/proc/self/fd/{fd}\", 1)", "*", "*"),
    differs(
        "DIFF-13",
        "fdopen, then fseek, ftell and fputc",
        untouched!("0 0 -1 EBADF 0"),
        untouched!("-1 ESPIPE -1 -1 EBADF 0"),
    ),
    differs("DIFF-13", "aio_read", "0 48 [1:40000004() 1:100(name) 0:0()] *", "0 16 [1:40000004() *"),
    differs("DIFF-13", "aio_write", "0 -1 EBADF *", "0 64 *"),
    differs(
        "DIFF-14",
        "flock of the descriptor, then through a duplicate and another instance",
        untouched!("0 0 -1 EAGAIN 0 0"),
        untouched!("0 0 0 0 0"),
    ),
];
