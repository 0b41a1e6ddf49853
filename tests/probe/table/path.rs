//! Paths that lead to the descriptor, and what the kernel tells of it in /proc.

use std::fs;

use crate::argument::{Argument, NULL, constant, number};
use crate::row::Table;
use crate::state::State;
use crate::table::said;
use crate::table::status::{extended, status};

const PATHS: [&str; 4] = ["/proc/self/fd/{fd}", "/proc/{pid}/fd/{fd}", "/proc/thread-self/fd/{fd}", "/dev/fd/{fd}"];

/// `struct stat` of a link in procfs: its inode's number and times are new each time.
fn status_of_link() -> Argument {
    Argument::Shown("status", size_of::<libc::stat>(), |bytes| {
        // SAFETY: the bytes are as many as a status has, and all integers are values.
        let status: libc::stat = unsafe { bytes.as_ptr().cast::<libc::stat>().read_unaligned() };
        format!("{:o} {} {} {} {}", status.st_mode, status.st_nlink, status.st_size, status.st_uid, status.st_blksize)
    })
}

pub(crate) fn add(table: &mut Table) {
    for (index, path) in PATHS.into_iter().enumerate() {
        let text = || Argument::Text(path);
        let room = || Argument::Room(64);
        table.long("readlink SYS_readlink", [text(), room(), number(64)]);
        table.long("readlinkat SYS_readlinkat", [constant!(AT_FDCWD), text(), room(), number(64)]);
        table.int("stat stat64 SYS_stat", [text(), status()]);
        table.int("lstat lstat64 SYS_lstat", [text(), status_of_link()]);
        table.int("open", [text(), constant!(O_RDONLY)]);
        table.descriptor_as_link("open", [text(), constant!(O_PATH)]);
        if index == 0 {
            add_one(table, path);
        }
    }
    table.long("readlink", [Argument::Text("/proc/self/fd//{fd}"), Argument::Room(64), number(64)]);
    table.long("readlink", [Argument::Text("/proc/../proc/self/./fd/{fd}"), Argument::Room(64), number(64)]);
    table.long("readlink", [Argument::Text("/proc/self/fd/{fd}/"), Argument::Room(64), number(64)]);
    table.long("readlink", [Argument::Text("/proc/self/fd/0{fd}"), Argument::Room(64), number(64)]);
    table.long("readlink", [Argument::Text("/proc/self/fd/{fd}"), Argument::Room(64), number(8)]);
    table.long("readlink", [Argument::Text("/proc/self/fd/{fd}"), Argument::Room(64), number(0)]);
    table.long("readlink", [Argument::Text("/proc/self/fd/{fd}"), Argument::Constant("nowhere", 16), number(8)]);
    table.long("readlink", [Argument::Text("/proc/self/task/{pid}/fd/{fd}"), Argument::Room(64), number(64)]);
    table.steps("readlinkat in an open /proc/self/fd", |state| {
        let folder = fs::File::open("/proc/self/fd").expect("procfs");
        let name = std::ffi::CString::new(state.fd().to_string()).expect("digits");
        let mut text = [0_u8; 64];
        use std::os::fd::AsRawFd;
        let (folder, start) = (folder.as_raw_fd(), text.as_mut_ptr().cast());
        // SAFETY: the name and the buffer live through the call.
        let length = unsafe { libc::readlinkat(folder, name.as_ptr(), start, text.len()) };
        String::from_utf8_lossy(&text[..length.max(0) as usize]).into_owned()
    });
    table.steps("readlink in /proc/self/fd as the current folder", |state| {
        let before = std::env::current_dir().expect("a current folder");
        std::env::set_current_dir("/proc/self/fd").expect("procfs");
        let found = fs::read_link(state.fd().to_string());
        std::env::set_current_dir(before).expect("the folder that was current");
        format!("{found:?}")
    });
    table.steps("read_dir of /proc/self/fd", |state| {
        let entries = fs::read_dir("/proc/self/fd").expect("procfs").filter_map(Result::ok);
        let names: Vec<_> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.contains(&state.fd().to_string()).to_string()
    });
    add_information(table);
    add_limits(table);
}

fn add_one(table: &mut Table, path: &'static str) {
    let text = || Argument::Text(path);
    let room = || Argument::Room(64);
    let here = || constant!(AT_FDCWD);
    table.long("__readlink_chk", [text(), room(), number(64), number(64)]);
    table.long("__readlinkat_chk", [here(), text(), room(), number(64), number(64)]);
    table.int("__xstat __xstat64 __xstat@GLIBC_2.2.5 __xstat64@GLIBC_2.2.5", [number(1), text(), status()]);
    table.int("__lxstat __lxstat64 __lxstat@GLIBC_2.2.5 __lxstat64@GLIBC_2.2.5", [number(1), text(), status_of_link()]);
    table.int("fstatat fstatat64 SYS_newfstatat", [here(), text(), status(), NULL]);
    table.int("fstatat fstatat64 SYS_newfstatat", [here(), text(), status_of_link(), constant!(AT_SYMLINK_NOFOLLOW)]);
    table.int("__fxstatat __fxstatat64", [number(1), here(), text(), status(), NULL]);
    table.int("statx SYS_statx", [here(), text(), NULL, constant!(STATX_ALL), extended()]);
    for mode in [0, 1, 2, 4, 6, 8] {
        table.int("access SYS_access", [text(), number(mode)]);
        table.int("eaccess euidaccess", [text(), number(mode)]);
        table.int("faccessat SYS_faccessat", [here(), text(), number(mode), NULL]);
        table.int("faccessat", [here(), text(), number(mode), constant!(AT_EACCESS)]);
        table.int("SYS_faccessat2", [here(), text(), number(mode), constant!(AT_SYMLINK_NOFOLLOW)]);
    }
    for flags in [
        constant!(O_RDONLY),
        constant!(O_WRONLY),
        constant!(O_RDWR),
        constant!(O_RDONLY | O_NONBLOCK),
        constant!(O_RDONLY | O_NOFOLLOW),
        constant!(O_RDONLY | O_DIRECTORY),
        constant!(O_RDWR | O_TRUNC),
        constant!(O_RDWR | O_CREAT),
    ] {
        table.int("open open64 __open __open64 SYS_open", [text(), flags.clone(), number(0o600)]);
        table.int("openat openat64 SYS_openat", [here(), text(), flags, number(0o600)]);
    }
    table.int("__open_2 __open64_2", [text(), constant!(O_RDONLY)]);
    table.int("__openat_2 __openat64_2", [here(), text(), constant!(O_RDONLY)]);
    table.int("SYS_openat2", [here(), text(), Argument::Bytes("how", vec![0; 24]), number(24)]);
    table.int("creat creat64", [text(), number(0o600)]);
    table.descriptor_as_link("openat", [here(), text(), constant!(O_PATH)]);
    table.descriptor_as_link("open64 __open __open64", [text(), constant!(O_PATH)]);
    table.descriptor_as_link("open", [text(), constant!(O_PATH | O_NOFOLLOW)]);
    table.pointer("fopen fopen64", [text(), Argument::Text("r")]);
    table.pointer("fopen", [text(), Argument::Text("w")]);
    table.pointer("opendir", [text()]);
    table.pointer("canonicalize_file_name", [text()]);
    table.steps("realpath", |state| real_path(state, false));
    table.steps("__realpath_chk", |state| real_path(state, true));
    table.int("chmod SYS_chmod", [text(), number(0o600)]);
    table.int("fchmodat SYS_fchmodat", [here(), text(), number(0o600), NULL]);
    table.int("chown SYS_chown", [text(), number(-1), number(-1)]);
    table.int("lchown", [text(), number(-1), number(-1)]);
    table.int("truncate truncate64", [text(), NULL]);
    table.int("statfs statfs64 __statfs", [text(), Argument::Room(size_of::<libc::statfs>())]);
    table.int("statvfs statvfs64", [text(), Argument::Room(size_of::<libc::statvfs>())]);
    for name in 0..=21 {
        table.long("pathconf", [text(), number(name)]);
    }
    table.int("utimes utime", [text(), NULL]);
    table.int("utimensat SYS_utimensat", [here(), text(), NULL, NULL]);
    table.long("getxattr", [text(), Argument::Text("user.name"), room(), number(64)]);
    table.long("listxattr", [text(), room(), number(64)]);
    table.int("setxattr", [text(), Argument::Text("user.name"), room(), number(5), NULL]);
    table.int("removexattr", [text(), Argument::Text("user.name")]);
    table.int("link", [text(), Argument::Text("{folder}/link")]);
    table.int("linkat", [here(), text(), here(), Argument::Text("{folder}/link"), constant!(AT_SYMLINK_FOLLOW)]);
    table.int("unlink remove rmdir", [text()]);
    table.int("rename", [text(), Argument::Text("{folder}/link")]);
    table.int("chdir", [text()]);
    table.int("execv", [text(), Argument::Structure("arguments", vec![Argument::Text("program"), NULL])]);
    table.int("ftok", [text(), number(1)]);
    let handle = || Argument::Bytes("handle", [&128_u32.to_ne_bytes()[..], &[0; 132]].concat());
    table.int("name_to_handle_at", [here(), text(), handle(), Argument::Room(4), constant!(AT_SYMLINK_FOLLOW)]);
    table.int("open_tree", [here(), text(), NULL]);
    table.long("raw:readlinkat", [here(), text(), room(), number(64)]);
}

fn real_path(state: &State, is_checked: bool) -> String {
    unsafe extern "C" {
        fn __realpath_chk(path: *const libc::c_char, buffer: *mut libc::c_char, room: usize) -> *mut libc::c_char;
    }
    let path = std::ffi::CString::new(state.filled("/proc/self/fd/{fd}")).expect("a path");
    let mut buffer = [0_u8; libc::PATH_MAX as usize];
    let start = buffer.as_mut_ptr().cast();
    let found = if is_checked {
        // SAFETY: the buffer is as long as is said, and lives through the call.
        unsafe { __realpath_chk(path.as_ptr(), start, buffer.len()) }
    } else {
        // SAFETY: the buffer has PATH_MAX bytes and lives through the call.
        unsafe { libc::realpath(path.as_ptr(), start) }
    };
    if found.is_null() {
        return said(-1);
    }
    String::from_utf8_lossy(buffer.split(|&byte| byte == 0).next().unwrap_or_default()).into_owned()
}

/// The text that the kernel gives, through each function that opens it.
fn add_information(table: &mut Table) {
    macro_rules! by_path {
        ($($path:literal)*) => {
            $(table.steps(concat!("the text of ", $path), |state| text_of(&state.filled($path)));)*
        };
    }
    by_path! {
        "/proc/self/fdinfo/{fd}" "/proc/{pid}/fdinfo/{fd}" "/proc/thread-self/fdinfo/{fd}" "/proc/self/task/{pid}/fdinfo/{fd}"
        "/proc/self/fdinfo//{fd}" "/proc/./self/fdinfo/{fd}"
    }
    macro_rules! by_function {
        ($($function:literal)*) => {
            $(table.steps(concat!($function, " of /proc/self/fdinfo/{fd}"), |state| {
                crate::table::stream::opened($function, &state.filled("/proc/self/fdinfo/{fd}"))
            });)*
        };
    }
    by_function! {
        "open" "open64" "__open" "__open64" "openat" "openat64" "__open_2" "__open64_2" "__openat_2" "__openat64_2"
        "fopen" "fopen64" "freopen" "freopen64" "SYS_openat" "SYS_open" "SYS_openat2"
    }
    let path = || Argument::Text("/proc/self/fdinfo/{fd}");
    table.int("stat", [path(), status_of_link()]);
    table.int("lstat", [path(), status_of_link()]);
    table.int("access", [path(), number(4)]);
    table.int("access", [path(), number(2)]);
    table.int("open", [path(), constant!(O_WRONLY)]);
    table.int("open", [path(), constant!(O_RDWR)]);
    table.int("open", [path(), constant!(O_DIRECTORY)]);
    table.descriptor_as_link("open", [path(), constant!(O_RDONLY)]);
    table.descriptor_as_link("open", [path(), constant!(O_RDONLY | O_CLOEXEC)]);
    table.descriptor_as_link("open", [path(), constant!(O_PATH)]);
    table.steps("the text of fdinfo after O_NONBLOCK was cleared, close-on-exec too, and a watch was added", |state| {
        // SAFETY: takes numbers only.
        unsafe { libc::fcntl(state.fd(), libc::F_SETFL, 0) };
        // SAFETY: takes numbers only.
        unsafe { libc::fcntl(state.fd(), libc::F_SETFD, 0) };
        crate::instance::watch(state.fd(), state.folder(), libc::IN_ONESHOT | libc::IN_MODIFY | libc::IN_EXCL_UNLINK);
        text_of(&state.filled("/proc/self/fdinfo/{fd}"))
    });
    table.steps("fdinfo read again from its start, in pieces, and after a change", |state| {
        use std::io::{Read, Seek};
        let mut file = fs::File::open(state.filled("/proc/self/fdinfo/{fd}")).expect("procfs");
        let mut piece = [0_u8; 7];
        let first = file.read(&mut piece).map(|length| piece[..length].to_vec());
        crate::instance::watch(state.fd(), state.folder(), libc::IN_MODIFY);
        let mut rest = String::new();
        let length = file.read_to_string(&mut rest);
        let sought = file.rewind();
        let mut again = String::new();
        let whole = file.read_to_string(&mut again);
        format!("{first:?} {length:?} {rest:?} {sought:?} {whole:?} {again:?}")
    });
}

fn text_of(path: &str) -> String {
    match fs::read(path) {
        Ok(text) => format!("{:?}", String::from_utf8_lossy(&text)),
        Err(error) => format!("{:?}", error.raw_os_error().map(nix::errno::Errno::from_raw)),
    }
}

fn add_limits(table: &mut Table) {
    table.steps("the limits in /proc/sys/fs/inotify", |_| {
        ["max_queued_events", "max_user_instances", "max_user_watches"]
            .map(|name| text_of(&format!("/proc/sys/fs/inotify/{name}")))
            .join(" ")
    });
}
