//! Duplicates, closing, and calls that are meant for descriptors of other kinds.

use crate::argument::{Argument, FD, NOWHERE, NULL, Other, constant, number};
use crate::row::Table;
use crate::table::said;

pub(crate) fn add(table: &mut Table) {
    table.descriptor("dup SYS_dup", [FD]);
    table.descriptor("dup2 __dup2 SYS_dup2", [FD, number(100)]);
    table.int("dup2 __dup2 SYS_dup2", [FD, FD]);
    table.descriptor("dup3 SYS_dup3", [FD, number(100), constant!(O_CLOEXEC)]);
    table.int("dup3 SYS_dup3", [FD, FD, NULL]);
    table.int("dup3 SYS_dup3", [FD, number(100), number(1)]);
    table.int("dup2 SYS_dup2", [FD, number(-1)]);
    table.int("dup2 SYS_dup2", [FD, number(1 << 30)]);
    table.int("close __close SYS_close", [FD]);
    table.int("close_range SYS_close_range", [FD, FD, NULL]);
    table.int("close_range SYS_close_range", [FD, FD, number(4)]);
    table.int("close_range SYS_close_range", [FD, FD, number(77)]);
    table.int("close_range SYS_close_range", [FD, number(0), NULL]);
    table.steps("close, and then each call", |state| {
        let fd = state.fd();
        let mut status = [0_u8; 256];
        // SAFETY: the descriptor is the state's, which knows that it may be closed.
        let closed = said(unsafe { libc::close(fd) });
        // SAFETY: takes numbers only.
        let again = said(unsafe { libc::close(fd) });
        // SAFETY: the buffer is large enough for a status.
        let stat = said(unsafe { libc::fstat(fd, status.as_mut_ptr().cast()) });
        // SAFETY: the buffer lives through the call.
        let read = said(unsafe { libc::read(fd, status.as_mut_ptr().cast(), 256) } as i32);
        // SAFETY: takes numbers only.
        let seek = said(unsafe { libc::lseek(fd, 0, 0) } as i32);
        format!("{closed} {again} {stat} {read} {seek}")
    });

    table.steps("kcmp with a duplicate", |state| {
        let other = state.other(Other::Duplicate);
        equal(state.fd(), other)
    });
    table.steps("kcmp with another instance", |state| {
        let other = state.other(Other::Instance);
        equal(state.fd(), other)
    });

    // Of a directory.
    let relative = || Argument::Text("x");
    table.long("getdents64 SYS_getdents64 SYS_getdents", [FD, Argument::Room(256), number(256)]);
    table.long(
        "getdirentries getdirentries64",
        [FD, Argument::Room(256), number(256), Argument::Bytes("&0", vec![0; 8])],
    );
    table.pointer("fdopendir", [FD]);
    table.int("fchdir SYS_fchdir", [FD]);
    for path in [relative(), Argument::Text(""), Argument::Text("."), Argument::Text("..")] {
        table.int("openat openat64 SYS_openat", [FD, path, constant!(O_RDONLY)]);
    }
    table.int("__openat_2 __openat64_2", [FD, relative(), constant!(O_RDONLY)]);
    table.int("openat openat64", [FD, relative(), constant!(O_CREAT), number(0o600)]);
    table.int("openat SYS_openat", [FD, Argument::Text(""), constant!(O_PATH)]);
    let how = || Argument::Bytes("how", vec![0; 24]);
    table.int("SYS_openat2", [FD, relative(), how(), number(24)]);
    table.int("faccessat SYS_faccessat", [FD, relative(), NULL, NULL]);
    for mode in [0, 1, 2, 4] {
        table.int("faccessat SYS_faccessat2", [FD, Argument::Text(""), number(mode), constant!(AT_EMPTY_PATH)]);
    }
    table.long("readlinkat SYS_readlinkat", [FD, Argument::Text(""), Argument::Room(64), number(64)]);
    table.long("readlinkat SYS_readlinkat", [FD, relative(), Argument::Room(64), number(64)]);
    table.long("__readlinkat_chk", [FD, Argument::Text(""), Argument::Room(64), number(64), number(64)]);
    table.int("unlinkat SYS_unlinkat", [FD, relative(), NULL]);
    table.int("mkdirat SYS_mkdirat mkfifoat mknodat", [FD, relative(), number(0o700), NULL]);
    table.int("symlinkat SYS_symlinkat", [relative(), FD, Argument::Text("y")]);
    table.int("renameat", [FD, relative(), FD, Argument::Text("y")]);
    table.int("renameat2", [FD, relative(), FD, Argument::Text("y"), NULL]);
    table.int(
        "linkat SYS_linkat",
        [FD, Argument::Text(""), constant!(AT_FDCWD), Argument::Text("{folder}/link"), constant!(AT_EMPTY_PATH)],
    );
    table.int("linkat SYS_linkat", [FD, relative(), FD, Argument::Text("y"), NULL]);
    let handle = || Argument::Bytes("handle", [&128_u32.to_ne_bytes()[..], &[0; 132]].concat());
    for flags in [0x1000, 0, 0x1200, 0x1001] {
        table.int(
            "name_to_handle_at SYS_name_to_handle_at",
            [FD, Argument::Text(""), handle(), Argument::Room(4), number(flags)],
        );
    }
    let small = Argument::Bytes("small handle", vec![0; 8]);
    table.int("name_to_handle_at", [FD, Argument::Text(""), small, Argument::Room(4), number(0x1000)]);
    table.int("open_by_handle_at SYS_open_by_handle_at", [FD, handle(), NULL]);

    let arguments = || Argument::Structure("arguments", vec![Argument::Text("program"), NULL]);
    let nothing = || Argument::Structure("nothing", vec![NULL]);
    table.int("fexecve", [FD, arguments(), nothing()]);
    table.int("execveat SYS_execveat", [FD, Argument::Text(""), arguments(), nothing(), constant!(AT_EMPTY_PATH)]);
    table.int("execveat SYS_execveat", [FD, relative(), arguments(), nothing(), NULL]);
    add_foreign(table);
    add_inotify(table);
}

/// Do the two descriptors stand for one open file?
fn equal(one: i32, other: i32) -> String {
    const KCMP_FILE: i32 = 0;
    let pid = std::process::id();
    // SAFETY: takes numbers only.
    let order = unsafe { libc::syscall(libc::SYS_kcmp, pid, pid, KCMP_FILE, one, other) };
    // Which one is greater is a matter of addresses.
    if order > 0 { "not equal".into() } else { said(order as i32) }
}

fn add_foreign(table: &mut Table) {
    let time = || Argument::Bytes("time", vec![0; 32]);
    table.int("timerfd_settime SYS_timerfd_settime", [FD, NULL, time(), Argument::Room(32)]);
    table.int("timerfd_settime SYS_timerfd_settime", [FD, number(77), time(), NULL]);
    table.int("timerfd_gettime SYS_timerfd_gettime", [FD, Argument::Room(32)]);
    table.int("signalfd", [FD, Argument::Bytes("signals", vec![0; 128]), NULL]);
    table.int("SYS_signalfd4", [FD, Argument::Bytes("signals", vec![0; 8]), number(8), NULL]);
    table.int(
        "fanotify_mark SYS_fanotify_mark",
        [FD, number(1), number(2), constant!(AT_FDCWD), Argument::Text("{folder}")],
    );
    table.int("pidfd_getfd SYS_pidfd_getfd", [FD, number(0), NULL]);
    table.int("pidfd_send_signal SYS_pidfd_send_signal", [FD, NULL, NULL, NULL]);
    table.int("process_mrelease SYS_process_mrelease", [FD, NULL]);
    table.long("process_madvise SYS_process_madvise", [FD, NULL, NULL, NULL, NULL]);
    table.int("setns SYS_setns", [FD, NULL]);
    table.int("setns SYS_setns", [FD, constant!(CLONE_NEWNET)]);
    table.int("SYS_io_uring_register", [FD, number(3), NULL, NULL]);
    table.int("SYS_io_uring_enter", [FD, number(1), NULL, NULL, NULL, NULL]);
    table.int("fsconfig SYS_fsconfig", [FD, number(0), Argument::Text("ro"), NULL, NULL]);
    table.int("fsmount SYS_fsmount", [FD, NULL, NULL]);
    table.int("fspick SYS_fspick", [FD, Argument::Text(""), number(8)]);
    table.int("open_tree SYS_open_tree", [FD, Argument::Text(""), number(0x1001)]);
    table.int("move_mount SYS_move_mount", [FD, Argument::Text(""), FD, Argument::Text(""), number(0x44)]);
    table.int(
        "mount_setattr SYS_mount_setattr",
        [FD, Argument::Text(""), number(0x1000), Argument::Bytes("zeroes", vec![0; 32]), number(32)],
    );
    table.int("SYS_landlock_add_rule", [FD, number(1), Argument::Bytes("zeroes", vec![0; 16]), NULL]);
    table.int("SYS_landlock_restrict_self", [FD, NULL]);
    table.int("SYS_quotactl_fd", [FD, number(0x8000_0100), NULL, NULL]);
    table.int("mq_getattr", [FD, Argument::Room(64)]);
    table.int("SYS_mq_getsetattr", [FD, NULL, Argument::Room(64)]);
    table.int("mq_notify SYS_mq_notify", [FD, NULL]);
    table.long("mq_receive", [FD, Argument::Room(64), number(64), NULL]);
    table.long("SYS_mq_timedreceive", [FD, Argument::Room(64), number(64), NULL, NULL]);
    table.int("mq_send", [FD, Argument::Bytes("x", vec![1]), number(1), NULL]);
    table.int("SYS_mq_timedsend", [FD, Argument::Bytes("x", vec![1]), number(1), NULL, NULL]);
    table.int("login_tty", [Argument::Other(Other::File)]);
    table.int("mq_close", [FD]);
    table.steps("io_submit of a read", |state| {
        let mut context = 0_usize;
        // SAFETY: the context lives through the call.
        let made = unsafe { libc::syscall(libc::SYS_io_setup, 1, &raw mut context) };
        if made != 0 {
            return format!("io_setup {}", said(made as i32));
        }
        let mut buffer = [0_u8; 64];
        state.settle();
        // struct iocb: data, key and flags, opcode IOCB_CMD_PREAD, priority and descriptor, buffer, length, offset.
        let descriptor = (state.fd() as u64) << 32;
        let mut control = [0_u64, 0, descriptor, buffer.as_mut_ptr() as u64, 64, 0, 0, 0];
        let mut list = [control.as_mut_ptr()];
        // SAFETY: the block, its buffer and the list live through the call, and until the context is destroyed.
        let submitted = said(unsafe { libc::syscall(libc::SYS_io_submit, context, 1, list.as_mut_ptr()) } as i32);
        // SAFETY: the context is this call's own.
        unsafe { libc::syscall(libc::SYS_io_destroy, context) };
        submitted
    });
}

fn add_inotify(table: &mut Table) {
    let add = "inotify_add_watch SYS_inotify_add_watch";
    let watched = || Argument::Text("{folder}/watched");
    for mask in [
        constant!(IN_CREATE),
        constant!(IN_ALL_EVENTS),
        constant!(IN_MASK_CREATE),
        constant!(IN_ONLYDIR),
        constant!(IN_DONT_FOLLOW),
        NULL,
        number(0x1000_0000 | 0x2000_0000),
        number(0x800_0000),
        number(0x1_0000_0000),
        number(-1),
    ] {
        table.int(add, [FD, watched(), mask.clone()]);
        table.int(add, [FD, Argument::Text("{folder}"), mask]);
    }
    let create = || constant!(IN_CREATE);
    table.int(add, [FD, NULL, create()]);
    table.int(add, [FD, NOWHERE, create()]);
    table.int(add, [FD, Argument::Text(""), create()]);
    table.int(add, [FD, Argument::Text("{folder}/none"), create()]);
    table.int(add, [FD, Argument::Text("{folder}/watched/name"), constant!(IN_CREATE | IN_ONLYDIR)]);
    table.int(add, [FD, Argument::Text("{folder}/watched/name/x"), create()]);
    table.int(add, [FD, Argument::Text("/proc/self/fd/{fd}"), create()]);
    table.int(add, [FD, Argument::Text("/dev/fd/{fd}"), create()]);
    table.int(add, [FD, Argument::Text("/proc/self/fd/{fd}"), constant!(IN_CREATE | IN_DONT_FOLLOW)]);
    table.int(add, [Argument::Other(Other::File), watched(), create()]);
    table.int(add, [Argument::Other(Other::Duplicate), watched(), create()]);
    table.int(add, [number(-1), watched(), create()]);
    table.int(add, [number(777), watched(), create()]);
    let remove = "inotify_rm_watch SYS_inotify_rm_watch";
    for wd in [1, 0, -1, 2, 0x1_0000_0001] {
        table.int(remove, [FD, number(wd)]);
    }
    table.int(remove, [Argument::Other(Other::File), number(1)]);
    table.int(remove, [Argument::Other(Other::Duplicate), number(1)]);
    table.int(remove, [Argument::Other(Other::Instance), number(1)]);
    table.int(remove, [number(777), number(1)]);
    table.descriptor("inotify_init SYS_inotify_init", []);
    for flags in [0, 0x800, 0x80000, 0x80800, 1, -1] {
        table.descriptor("inotify_init1 SYS_inotify_init1", [number(flags)]);
    }
    table.descriptor("SYS_inotify_init1", [number(0x1_0000_0800)]);
    table.int("ioctl", [Argument::Other(Other::File), number(0x4004_4900), number(7)]);
}
