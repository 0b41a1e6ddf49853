//! What each call on a file shows: wd 1 is the directory, wd 2 the object.

use crate::case::Case;
use crate::list;
use crate::needs::Need;
use crate::operation::{Buffer, Oddity, Operation, Path, Time};
use crate::shorthand::{
    chmod, close, create, duplicate, group, link, mkdir, open, open_read, read, read_all, repeat, slot, touch, unlink,
    utimens, watch, write,
};

use super::words::{ALL, as_nobody, both, drain};

/// f is open for reading and writing in slot 1 and holds ten bytes; its opening is not watched.
fn open_file() -> Vec<Operation> {
    list![create(1, "f"), write(1, 10), open(1, "f", libc::O_RDWR), both("f"),]
}

/// The operations on that file, read afterwards.
fn on_open(name: &'static str, operations: Vec<Operation>) -> Case {
    Case::new(name, list![open_file(), operations, drain()])
}

/// Operations on f by its name.
fn on_name(name: &'static str, operations: Vec<Operation>) -> Case {
    Case::new(name, list![touch("f"), both("f"), operations, drain()])
}

fn opened() -> Vec<Case> {
    vec![
        on_name(
            "EVENT-7 open of an existing file in any access mode",
            list![
                [libc::O_RDONLY, libc::O_WRONLY | libc::O_CREAT, libc::O_RDWR | libc::O_APPEND,]
                    .map(|flags| open(1, "f", flags)),
            ],
        )
        .events(
            "1:OPEN(f) 2:OPEN 1:CLOSE_NOWRITE(f) 2:CLOSE_NOWRITE 1:OPEN(f) 2:OPEN \
             1:CLOSE_WRITE(f) 2:CLOSE_WRITE 1:OPEN(f) 2:OPEN",
        ),
        on_name(
            "open that fails shows nothing",
            list![
                open_read(1, "absent"),
                open(1, "f", libc::O_RDWR | libc::O_CREAT | libc::O_EXCL),
                open(1, "f", libc::O_RDONLY | libc::O_DIRECTORY),
                open(1, ".", libc::O_WRONLY),
            ],
        )
        .events(""),
        on_name("open O_CREAT of a new file", list![create(1, "n"), close(1)])
            .events("1:CREATE(n) 1:OPEN(n) 1:CLOSE_WRITE(n)"),
        on_name("open O_TRUNC of an existing file", list![create(1, "f")])
            .events("1:OPEN(f) 2:OPEN 1:MODIFY(f) 2:MODIFY"),
        on_name(
            "open O_PATH and its close show nothing",
            list![open(1, "f", libc::O_PATH), duplicate(1, 2), close(1), close(2)],
        )
        .events(""),
        Case::new(
            "open O_TMPFILE is told by its inode number, its linking by the new name",
            list![
                group(0),
                watch(0, ".", ALL),
                open(1, ".", libc::O_TMPFILE | libc::O_RDWR),
                watch(0, Path::Link(1), ALL),
                write(1, 1),
                open(2, ".", libc::O_TMPFILE | libc::O_RDWR),
                link(Path::Link(1), "n"),
                write(1, 1),
                close(1),
                close(2),
                unlink("n"),
                drain(),
            ],
        )
        .needs(Need::Unnamed),
        Case::new(
            "close of an unlinked O_TMPFILE ends its own watch",
            list![
                group(0),
                watch(0, ".", ALL),
                open(1, ".", libc::O_TMPFILE | libc::O_RDWR),
                watch(0, Path::Link(1), ALL),
                close(1),
                drain(),
            ],
        )
        .needs(Need::Unnamed)
        .events("1:OPEN(#inode-1) 1:CLOSE_WRITE(#inode-1) 2:CLOSE_WRITE 2:DELETE_SELF 2:IGNORED"),
        on_open("close of a file opened for writing", list![close(1)]).events("1:CLOSE_WRITE(f) 2:CLOSE_WRITE"),
        on_open(
            "close while a duplicate, a fork's copy or a mapping remains shows nothing",
            list![
                duplicate(1, 2),
                close(1),
                Operation::Child(list![close(2)]),
                read_all(0),
                Operation::Map { descriptor: slot(2), place: 0, writable: true },
                close(2),
                read_all(0),
                Operation::Unmap { place: 0 },
            ],
        )
        .events("1:CLOSE_WRITE(f) 2:CLOSE_WRITE"),
        Case::new(
            "exec of a binary",
            list![Operation::Install("f".into()), both("f"), Operation::Execute("f".into()), drain()],
        ),
        on_name(
            "exec that fails",
            list![Operation::Execute("absent".into()), Operation::Execute("f".into()), Operation::Execute(".".into())],
        )
        .events(""),
    ]
}

fn transferred() -> Vec<Case> {
    let second = || list![create(3, "g"), write(3, 3), open(3, "g", libc::O_RDWR)];
    vec![
        on_open(
            "read that gives something",
            list![read(1, 4), Operation::Read { descriptor: slot(1), buffer: Buffer::Vector(vec![1, 1]) }],
        )
        .events("1:ACCESS(f) 2:ACCESS 1:ACCESS(f) 2:ACCESS"),
        on_open(
            "read of nothing, at the end, or that fails shows nothing",
            list![
                read(1, 0),
                Operation::Write { descriptor: slot(1), size: 0, offset: None },
                open(2, "f", libc::O_WRONLY),
                read(2, 4),
                open(2, "f", libc::O_RDONLY | libc::O_APPEND),
                Operation::Odd { descriptor: slot(2), call: Oddity::Seek { offset: 0, whence: libc::SEEK_END } },
                read(2, 4),
                write(2, 4),
            ],
        )
        .events("1:OPEN(f) 2:OPEN 1:CLOSE_WRITE(f) 2:CLOSE_WRITE 1:OPEN(f) 2:OPEN"),
        on_open(
            "EVENT-18 readv of nothing and at the end is an access, unlike read",
            list![
                read(1, 20),
                read_all(0),
                [vec![0], vec![20], vec![10, 3]].map(|sizes| {
                    let buffer = Buffer::Vector(sizes);
                    repeat(
                        1,
                        list![Operation::Read { descriptor: slot(1), buffer }, read_all(0), read(1, 20), read(1, 0)],
                    )
                }),
                drain()
            ],
        )
        .events("1:ACCESS(f) 2:ACCESS 1:ACCESS(f) 2:ACCESS 1:ACCESS(f) 2:ACCESS 1:ACCESS(f) 2:ACCESS"),
        on_open(
            "write and pwrite",
            list![write(1, 1), read_all(0), Operation::Write { descriptor: slot(1), size: 2, offset: Some(100) }],
        )
        .events("1:MODIFY(f) 2:MODIFY 1:MODIFY(f) 2:MODIFY"),
        Case::new(
            "sendfile",
            list![
                open_file(),
                second(),
                read_all(0),
                Operation::Sendfile { from: slot(1), to: slot(3), size: 5 },
                drain()
            ],
        ),
        on_open("splice into a pipe", list![Operation::Odd { descriptor: slot(1), call: Oddity::Splice }])
            .events("1:ACCESS(f) 2:ACCESS"),
        Case::new(
            "copy_file_range",
            list![
                open_file(),
                second(),
                watch(0, "g", ALL),
                read_all(0),
                Operation::CopyFileRange { from: slot(1), to: slot(3), size: 5 },
                Operation::CopyFileRange { from: slot(1), to: slot(3), size: 0 },
                drain()
            ],
        ),
        on_open(
            "a mapping's loads, stores and msync show nothing",
            list![
                Operation::Map { descriptor: slot(1), place: 0, writable: true },
                Operation::Touch { place: 0 },
                Operation::Unmap { place: 0 },
            ],
        )
        .events(""),
        on_open(
            "truncate and ftruncate, whether the size changes or not",
            list![
                Operation::Truncate { path: "f".into(), size: 10 },
                read_all(0),
                Operation::Ftruncate { descriptor: slot(1), size: 10 },
                read_all(0),
                Operation::Ftruncate { descriptor: slot(1), size: 0 },
            ],
        )
        .events("1:MODIFY(f) 2:MODIFY 1:MODIFY(f) 2:MODIFY 1:MODIFY(f) 2:MODIFY"),
        on_open(
            "fallocate in three modes",
            [0, libc::FALLOC_FL_KEEP_SIZE, libc::FALLOC_FL_KEEP_SIZE | libc::FALLOC_FL_PUNCH_HOLE]
                .into_iter()
                .flat_map(|mode| {
                    list![Operation::Fallocate { descriptor: slot(1), mode, offset: 0, size: 5 }, read_all(0)]
                })
                .collect(),
        )
        .needs(Need::Allocation),
        Case::new(
            "EVENT-8 FIFO: writing is told to its own watch only, opening, closing and its times to both",
            list![
                Operation::Mkfifo("p".into()),
                both("p"),
                open(1, "p", libc::O_RDWR | libc::O_NONBLOCK),
                write(1, 4),
                read(1, 4),
                chmod("p", 0o600),
                utimens("p", Time::Now, Time::Omit),
                close(1),
                drain(),
            ],
        ),
    ]
}

fn attributes() -> Vec<Case> {
    let times = |access, modification| utimens("f", access, modification);
    let id = u32::MAX;
    vec![
        on_open("chmod and fchmod", {
            list![chmod("f", 0o600), read_all(0), Operation::Fchmod { descriptor: slot(1), mode: 0o644 }]
        })
        .events("1:ATTRIB(f) 2:ATTRIB 1:ATTRIB(f) 2:ATTRIB"),
        on_open(
            "fchown without an id shows nothing",
            list![Operation::Fchown { descriptor: slot(1), user: id, group: id }],
        )
        .events(""),
        on_open(
            "chown with an id",
            list![
                Operation::Fchown { descriptor: slot(1), user: 0, group: id },
                read_all(0),
                Operation::Lchown { path: "f".into(), user: id, group: 65534 },
            ],
        )
        .needs(Need::Root)
        .events("1:ATTRIB(f) 2:ATTRIB 1:ATTRIB(f) 2:ATTRIB"),
        on_name(
            "setxattr and removexattr, but not of a name that is missing",
            list![
                Operation::Setxattr("f".into()),
                read_all(0),
                Operation::Removexattr("f".into()),
                read_all(0),
                Operation::Removexattr("f".into()),
            ],
        )
        .needs(Need::Attributes)
        .events("1:ATTRIB(f) 2:ATTRIB 1:ATTRIB(f) 2:ATTRIB"),
        on_name(
            "EVENT-12 utimensat of both times",
            list![
                times(Time::Now, Time::Now),
                read_all(0),
                times(Time::Seconds(1), Time::Seconds(2)),
                read_all(0),
                times(Time::Now, Time::Seconds(2)),
            ],
        )
        .events("1:ATTRIB(f) 2:ATTRIB 1:ATTRIB(f) 2:ATTRIB 1:ATTRIB(f) 2:ATTRIB"),
        on_name(
            "EVENT-12 utimensat of the time of access alone is ACCESS",
            list![times(Time::Now, Time::Omit), times(Time::Seconds(1), Time::Omit)],
        )
        .events("1:ACCESS(f) 2:ACCESS 1:ACCESS(f) 2:ACCESS"),
        on_name(
            "EVENT-12 utimensat of the time of modification alone is MODIFY",
            list![times(Time::Omit, Time::Now), times(Time::Omit, Time::Seconds(1))],
        )
        .events("1:MODIFY(f) 2:MODIFY 1:MODIFY(f) 2:MODIFY"),
        on_name("utimensat of neither time shows nothing", list![times(Time::Omit, Time::Omit)]).events(""),
        Case::new(
            "write without CAP_FSETID to a set-user-ID file: ATTRIB, then MODIFY",
            list![create(1, "f"), chmod("f", 0o6777), both("f"), as_nobody(list![write(1, 1)]), drain()],
        )
        .needs(Need::Root)
        .events("1:ATTRIB(f) 2:ATTRIB 1:MODIFY(f) 2:MODIFY"),
        Case::new(
            "fallocate without CAP_FSETID of a set-user-ID file: ATTRIB, then MODIFY",
            list![
                create(1, "f"),
                chmod("f", 0o6777),
                both("f"),
                as_nobody(list![Operation::Fallocate { descriptor: slot(1), mode: 0, offset: 0, size: 5 }]),
                drain()
            ],
        )
        .needs(Need::Root)
        .needs(Need::Allocation)
        .events("1:ATTRIB(f) 2:ATTRIB 1:MODIFY(f) 2:MODIFY"),
        Case::new(
            "EVENT-12 ftruncate without CAP_FSETID of a set-user-ID file: one event for both",
            list![
                create(1, "f"),
                chmod("f", 0o6777),
                both("f"),
                as_nobody(list![Operation::Ftruncate { descriptor: slot(1), size: 5 }]),
                drain()
            ],
        )
        .needs(Need::Root)
        .events("1:MODIFY,ATTRIB(f) 2:MODIFY,ATTRIB"),
        Case::new(
            "chmod of a subdirectory, and of the watched directory itself",
            list![mkdir("s"), both("s"), chmod("s", 0o700), chmod(".", 0o700), drain()],
        )
        .events("1:ATTRIB,ISDIR(s) 2:ATTRIB,ISDIR 1:ATTRIB,ISDIR"),
        Case::new(
            "EVENT-9 access through a hard link elsewhere is told to the file, not to the directory",
            list![
                mkdir("d"),
                touch("f"),
                link("f", "d/g"),
                both("f"),
                open_read(1, "d/g"),
                chmod("d/g", 0o600),
                close(1),
                drain()
            ],
        )
        .events("2:OPEN 2:ATTRIB 2:CLOSE_NOWRITE"),
    ]
}

fn directories() -> Vec<Case> {
    let list_it = || Operation::Getdents { descriptor: slot(1), size: 4096 };
    vec![
        Case::new(
            "opendir, each getdents, and closedir",
            list![
                mkdir("s"),
                both("s"),
                open(1, "s", libc::O_RDONLY | libc::O_DIRECTORY),
                list_it(),
                read_all(0),
                list_it(),
                read_all(0),
                close(1),
                drain()
            ],
        )
        .events(
            "1:OPEN,ISDIR(s) 2:OPEN,ISDIR 1:ACCESS,ISDIR(s) 2:ACCESS,ISDIR \
             1:ACCESS,ISDIR(s) 2:ACCESS,ISDIR 1:CLOSE_NOWRITE,ISDIR(s) 2:CLOSE_NOWRITE,ISDIR",
        ),
        Case::new(
            "calls that only look show nothing",
            list![
                open_file(),
                Operation::Odd { descriptor: slot(1), call: Oddity::Status },
                Operation::Odd { descriptor: slot(1), call: Oddity::Synchronise },
                Operation::Odd { descriptor: slot(1), call: Oddity::Lock },
                drain()
            ],
        )
        .events(""),
    ]
}

/// What happens to files and their contents.
#[must_use]
pub fn cases() -> Vec<Case> {
    let mut cases = opened();
    cases.extend(transferred());
    cases.extend(attributes());
    cases.extend(directories());
    cases
}
