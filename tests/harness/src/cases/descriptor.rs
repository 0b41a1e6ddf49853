//! The descriptor itself.

use crate::case::Case;
use crate::list;
use crate::operation::{Argument, Buffer, Descriptor, Oddity, Operation};
use crate::shorthand::{
    chmod, close, duplicate, group, odd, open_read, read, read_all, remove, slot, touch, watch, while_reading, write,
};

use crate::compare::Asserted;
use crate::trace::Outcome;

use super::words::{ALL, blocking_group, both, drain, fcntl};

pub(super) fn cases() -> Vec<Case> {
    let init = |flags| Operation::Init { slot: 0, flags };
    let seek = |offset, whence| odd(0, Oddity::Seek { offset, whence });
    let control =
        |command, value| Operation::Control { descriptor: slot(0), command, argument: Argument::Integer(value) };
    let mut cases = vec![
        Case::new(
            "FD-1 inotify_init1 takes two flags and no other bit",
            list![
                [0, libc::IN_NONBLOCK, libc::IN_CLOEXEC].map(init),
                init(libc::IN_NONBLOCK | libc::IN_CLOEXEC),
                [1, 2, 0x400, libc::O_PATH, -1, i32::MIN].map(init),
            ],
        )
        .results("3 3 3 3 EINVAL EINVAL EINVAL EINVAL EINVAL EINVAL"),
        Case::new(
            "FD-2 IN_CLOEXEC sets FD_CLOEXEC and its absence leaves it clear",
            list![
                group(0),
                fcntl(0, libc::F_GETFD, 0),
                init(libc::IN_CLOEXEC),
                fcntl(0, libc::F_GETFD, 0),
                fcntl(0, libc::F_SETFD, 0),
                fcntl(0, libc::F_GETFD, 0),
            ],
        )
        .results("3 0 3 1 0 0"),
        Case::new(
            "FD-3 F_GETFL shows O_RDONLY and O_NONBLOCK if asked for",
            list![
                blocking_group(0),
                fcntl(0, libc::F_GETFL, 0),
                group(0),
                fcntl(0, libc::F_GETFL, 0),
                init(libc::IN_CLOEXEC | libc::IN_NONBLOCK),
                fcntl(0, libc::F_GETFL, 0),
            ],
        )
        .results("3 0 3 2048 3 2048"),
        Case::new(
            "FD-4 F_SETFL changes O_NONBLOCK for all duplicates",
            list![
                blocking_group(0),
                duplicate(0, 1),
                fcntl(1, libc::F_SETFL, libc::O_NONBLOCK),
                fcntl(0, libc::F_GETFL, 0),
                read_all(0),
                Operation::Child(list![fcntl(0, libc::F_SETFL, 0)]),
                fcntl(1, libc::F_GETFL, 0),
            ],
        )
        .results("3 4 0 2048 EAGAIN [0] 0"),
        Case::new(
            "FD-5 write gives EBADF, and pwrite ESPIPE",
            list![
                touch("f"),
                both("f"),
                write(0, 0),
                write(0, 16),
                Operation::Write { descriptor: slot(0), size: 16, offset: Some(0) },
                drain(),
            ],
        )
        .results("EBADF EBADF ESPIPE EAGAIN EAGAIN"),
        Case::new(
            "FD-6 duplicates are one instance with one queue",
            list![
                touch("f"),
                touch("g"),
                group(0),
                duplicate(0, 1),
                watch(1, "f", ALL),
                watch(0, "f", libc::IN_ATTRIB),
                watch(0, "g", ALL),
                chmod("f", 0o600),
                chmod("g", 0o600),
                chmod("f", 0o644),
                read(1, 16),
                Operation::Child(list![read(0, 16), watch(0, ".", ALL)]),
                watch(0, ".", ALL),
                read_all(0),
                read_all(1),
            ],
        )
        .events("1:ATTRIB 2:ATTRIB 1:ATTRIB"),
        Case::new(
            "FD-6 a descriptor that came through a socket is the same instance",
            list![
                touch("f"),
                both("f"),
                chmod("f", 0o600),
                Operation::Pass { descriptor: slot(0), slot: 1 },
                close(0),
                chmod("f", 0o644),
                watch(1, "f", libc::IN_ATTRIB),
                fcntl(1, libc::F_GETFL, 0),
                fcntl(1, libc::F_GETFD, 0),
                read_all(1),
                Operation::Pass { descriptor: slot(1), slot: 2 },
                remove(1, 2),
                read_all(2),
            ],
        )
        .events("1:ATTRIB(f) 2:ATTRIB 1:ATTRIB(f) 2:ATTRIB 2:IGNORED"),
        Case::new(
            "FD-7 closing one duplicate changes nothing",
            list![
                touch("f"),
                both("f"),
                duplicate(0, 1),
                chmod("f", 0o600),
                close(1),
                Operation::Child(list![close(0)]),
                Operation::DuplicateOnto { descriptor: slot(0), onto: slot(0) },
                chmod("f", 0o644),
                drain(),
                chmod("f", 0o600),
                duplicate(0, 1),
                close(0),
                read_all(1),
                close(1),
                group(0),
                watch(0, "f", ALL),
                read_all(0),
            ],
        )
        .events("1:ATTRIB(f) 2:ATTRIB 1:ATTRIB(f) 2:ATTRIB 1:ATTRIB(f) 2:ATTRIB"),
        Case::new(
            "FD-7 dup2 onto a group ends it, and onto another descriptor makes that the group",
            list![
                touch("f"),
                both("f"),
                group(1),
                watch(1, "f", ALL),
                open_read(2, "f"),
                Operation::DuplicateOnto { descriptor: slot(0), onto: slot(1) },
                Operation::DuplicateOnto { descriptor: slot(0), onto: slot(2) },
                watch(1, "f", ALL),
                read_all(2),
            ],
        )
        .events("1:OPEN(f) 2:OPEN 1:CLOSE_NOWRITE(f) 2:CLOSE_NOWRITE"),
        Case::new(
            "FD-8 the lowest free descriptor number is returned",
            list![
                touch("f"),
                open_read(1, "f"),
                group(0),
                open_read(2, "f"),
                close(0),
                close(1),
                group(0),
                watch(0, "f", ALL),
                read_all(0),
                group(3),
                open_read(1, "f"),
            ],
        )
        .results("3 4 5 0 0 3 1 EAGAIN 4 6"),
        Case::new(
            "FD-9 RLIMIT_NOFILE reached is EMFILE",
            list![Operation::DescriptorsMax(4), group(0), group(1), close(0), group(1),],
        )
        .results("0 3 EMFILE 0 3")
        .differs(differs("DIFF-2", 1, Outcome::value(3), Outcome::error(libc::EMFILE)))
        .differs(differs("DIFF-2", 3, Outcome::value(0), Outcome::error(libc::EBADF)))
        .differs(differs("DIFF-2", 4, Outcome::value(3), Outcome::error(libc::EMFILE))),
        Case::new(
            "FD-10 pread gives ESPIPE",
            list![
                touch("f"),
                both("f"),
                chmod("f", 0o600),
                Operation::Read { descriptor: slot(0), buffer: Buffer::Positioned(64) },
                drain(),
            ],
        )
        .results("ESPIPE 48 EAGAIN"),
        Case::new(
            "FD-11 a close by another thread leaves the reader blocked, and it gets the next events",
            list![
                touch("f"),
                blocking_group(0),
                watch(0, "f", ALL),
                while_reading(0, Buffer::Plain(64), list![close(0), chmod("f", 0o600)]),
            ],
        )
        .results("waited(16)[0 0]"),
        Case::new(
            "FD-12 lseek gives 0 for any offset, and EINVAL for another whence",
            list![
                group(0),
                seek(0, libc::SEEK_SET),
                seek(7, libc::SEEK_SET),
                seek(-7, libc::SEEK_CUR),
                seek(7, libc::SEEK_END),
                seek(0, 77),
            ],
        )
        .results("0 0 0 0 EINVAL"),
        Case::new("FD-13 fstat shows mode 0600 without type bits", list![group(0), odd(0, Oddity::Status)])
            .results("384"),
        // ENXIO to root; to others EACCES, for the mode is 0600 and the owner 0.
        Case::new(
            "FD-14 the link of the descriptor reads anon_inode:inotify, and cannot be opened",
            list![group(0), odd(0, Oddity::Reopen), odd(0, Oddity::Link)],
        )
        .results("1"),
        Case::new(
            "FD-15 MASK-4 fdinfo has one line a watch, newest first, with the mask that is stored",
            list![
                touch("f"),
                group(0),
                odd(0, Oddity::Information),
                watch(0, ".", ALL),
                watch(0, "f", libc::IN_ISDIR),
                watch(0, "f", libc::IN_OPEN | libc::IN_ONESHOT | libc::IN_EXCL_UNLINK),
                odd(0, Oddity::Information),
            ],
        ),
        Case::new(
            "IOCTL-7 FIONBIO, FIOCLEX and FIONCLEX work as on every descriptor",
            list![
                blocking_group(0),
                control(0x5421, 1),
                fcntl(0, libc::F_GETFL, 0),
                control(0x5421, 0),
                fcntl(0, libc::F_GETFL, 0),
                control(0x5451, 0),
                fcntl(0, libc::F_GETFD, 0),
                control(0x5450, 0),
                fcntl(0, libc::F_GETFD, 0),
            ],
        )
        .results("0/1 2048 0/0 0 0/0 1 0/0 0"),
        Case::new(
            "a closed descriptor is EBADF to every call",
            list![
                group(0),
                close(0),
                watch(0, ".", ALL),
                read_all(0),
                Operation::Close(Descriptor::Number(3)),
                fcntl(0, libc::F_GETFL, 0),
                control(0x541b, 0),
            ],
        )
        .results("EBADF EBADF EBADF EBADF EBADF/0"),
    ];
    cases.extend(foreign());
    cases
}

/// Calls that are not meant for the descriptor, one a list: what they give, and that the queue is as before.
fn foreign() -> Vec<Case> {
    let alone = |name, call, results| {
        let before = list![touch("f"), both("f"), chmod("f", 0o600)];
        Case::new(name, list![before, call, drain()]).results(results)
    };
    let this = slot(0);
    vec![
        alone("FD-19 mmap of the descriptor is ENODEV", odd(0, Oddity::Map), "ENODEV 48 EAGAIN"),
        alone("FD-20 fsync of the descriptor is EINVAL", odd(0, Oddity::Synchronise), "EINVAL 48 EAGAIN"),
        alone("FD-24 flock of the descriptor is 0", odd(0, Oddity::Lock), "0 48 EAGAIN"),
        alone("FD-25 getsockopt of the descriptor is ENOTSOCK", odd(0, Oddity::SocketType), "ENOTSOCK 48 EAGAIN"),
        alone("FD-25 recv from the descriptor is ENOTSOCK", odd(0, Oddity::Receive), "ENOTSOCK 48 EAGAIN"),
        alone("FD-23 splice from the descriptor is EINVAL", odd(0, Oddity::Splice), "EINVAL 48 EAGAIN"),
        alone(
            "FD-20 ftruncate of the descriptor is EINVAL",
            Operation::Ftruncate { descriptor: this, size: 0 },
            "EINVAL 48 EAGAIN",
        ),
        alone(
            "FD-22 fchmod of the descriptor is EOPNOTSUPP",
            Operation::Fchmod { descriptor: this, mode: 0o600 },
            "EOPNOTSUPP 48 EAGAIN",
        ),
        alone(
            "FD-21 fallocate of the descriptor is EBADF",
            Operation::Fallocate { descriptor: this, mode: 0, offset: 0, size: 1 },
            "EBADF 48 EAGAIN",
        ),
        alone(
            "FD-26 getdents of the descriptor is ENOTDIR",
            Operation::Getdents { descriptor: this, size: 100 },
            "ENOTDIR 48 EAGAIN",
        ),
    ]
}

/// A row of docs/differences.md for one operation.
fn differs(id: &'static str, operation: usize, native: Outcome, emulated: Outcome) -> Asserted {
    Asserted { id, operation, native, emulated }
}
