//! inotify_add_watch and inotify_rm_watch: masks, updates, removals.

use crate::case::Case;
use crate::list;
use crate::operation::{Descriptor, Operation, Path, Time, Watch};
use crate::shorthand::{
    chmod, close, group, open, open_read, read_all, remove, rename, slot, touch, unlink, utimens, watch, write,
};

use super::words::{ALL, both, drain};

/// The 22 bits that the kernel takes.
const VALID: [u32; 22] = [
    libc::IN_ACCESS,
    libc::IN_MODIFY,
    libc::IN_ATTRIB,
    libc::IN_CLOSE_WRITE,
    libc::IN_CLOSE_NOWRITE,
    libc::IN_OPEN,
    libc::IN_MOVED_FROM,
    libc::IN_MOVED_TO,
    libc::IN_CREATE,
    libc::IN_DELETE,
    libc::IN_DELETE_SELF,
    libc::IN_MOVE_SELF,
    libc::IN_UNMOUNT,
    libc::IN_Q_OVERFLOW,
    libc::IN_IGNORED,
    libc::IN_ONLYDIR,
    libc::IN_DONT_FOLLOW,
    libc::IN_EXCL_UNLINK,
    libc::IN_MASK_CREATE,
    libc::IN_MASK_ADD,
    libc::IN_ISDIR,
    libc::IN_ONESHOT,
];

fn add(descriptor: Descriptor, path: impl Into<Path>, mask: u32) -> Operation {
    Operation::AddWatch { descriptor, path: path.into(), mask }
}

fn remove_from(descriptor: Descriptor, wd: i32) -> Operation {
    Operation::RemoveWatch { descriptor, watch: Watch::Number(wd) }
}

pub(super) fn cases() -> Vec<Case> {
    let closed = Descriptor::Number(100);
    let invalid = (0..32).map(|bit| 1_u32 << bit).filter(|bit| !VALID.contains(bit));
    // One after the other on an object of which no watch is left.
    let each_bit: Vec<Operation> = (1..).zip(VALID).flat_map(|(wd, bit)| [watch(0, ".", bit), remove(0, wd)]).collect();
    let mut cases = vec![
        Case::new(
            "MASK-1 every bit outside the 22 is EINVAL, alone or not",
            list![
                touch("f"),
                group(0),
                invalid.clone().map(|bit| watch(0, "f", bit)).collect::<Vec<_>>(),
                invalid.map(|bit| watch(0, "f", bit | ALL)).collect::<Vec<_>>(),
                watch(0, "f", u32::MAX),
            ],
        ),
        Case::new(
            "MASK-2 a mask without any of the 22 is EINVAL",
            list![touch("f"), group(0), watch(0, "f", 0), watch(0, "f", 0x1000)],
        )
        .results("EINVAL EINVAL"),
        Case::new("MASK-2 each of the 22 alone is taken", list![group(0), each_bit]),
        Case::new("MASK-3 IN_MASK_ADD with IN_MASK_CREATE is EINVAL, behind a bad descriptor", {
            let mask = ALL | libc::IN_MASK_ADD | libc::IN_MASK_CREATE;
            list![
                touch("f"),
                open_read(1, "f"),
                group(0),
                watch(0, "f", mask),
                watch(0, "absent", mask),
                watch(1, "f", mask),
                add(closed, "f", mask),
            ]
        })
        .results("EINVAL EINVAL EINVAL EBADF"),
        Case::new(
            "MASK-4 IN_UNMOUNT, IN_IGNORED and IN_ISDIR in a mask ask for nothing",
            list![
                touch("f"),
                group(0),
                watch(0, ".", libc::IN_ISDIR | libc::IN_UNMOUNT | libc::IN_IGNORED),
                chmod("f", 0o600),
                chmod(".", 0o700),
                remove(0, 1),
                drain(),
            ],
        )
        .events("1:IGNORED"),
        Case::new(
            "ADD-1 the checks come in order, and the first that fails decides",
            list![
                touch("f"),
                open_read(1, "f"),
                group(0),
                add(closed, "absent", 0),
                add(closed, "absent", ALL),
                add(slot(1), "absent", 0),
                add(slot(1), "absent", ALL),
                add(slot(1), Path::Unmapped, ALL),
                watch(0, Path::Unmapped, 0),
                watch(0, "absent", ALL | libc::IN_MASK_ADD | libc::IN_MASK_CREATE),
            ],
        )
        .results("EINVAL EBADF EINVAL EINVAL EINVAL EINVAL EINVAL"),
        Case::new(
            "ADD-2 a descriptor that is not open, or O_PATH, is EBADF",
            list![
                touch("f"),
                open(1, "f", libc::O_PATH),
                group(0),
                add(closed, "f", ALL),
                add(Descriptor::Number(-1), "f", ALL),
                add(slot(1), "f", ALL),
                add(slot(1), "f", 0),
            ],
        )
        .results("EBADF EBADF EBADF EINVAL"),
        Case::new(
            "ADD-3 an open descriptor that is not inotify's is EINVAL",
            list![
                touch("f"),
                open_read(1, "f"),
                open_read(2, "."),
                Operation::EpollCreate { slot: 3 },
                add(slot(1), "f", ALL),
                add(slot(2), "f", ALL),
                add(slot(3), "f", ALL),
                add(slot(3), "absent", ALL),
            ],
        )
        .results("EINVAL EINVAL EINVAL EINVAL"),
        Case::new(
            "WATCH-1 adding an object again updates its watch",
            list![
                touch("f"),
                both("f"),
                watch(0, "f", ALL),
                watch(0, ".", ALL),
                watch(0, "./f", libc::IN_OPEN),
                chmod("f", 0o600),
                drain(),
            ],
        )
        .events("1:ATTRIB(f)"),
        Case::new(
            "WATCH-2 a plain update clears IN_EXCL_UNLINK, IN_MASK_ADD sets it",
            list![
                touch("f"),
                touch("g"),
                group(0),
                watch(0, "f", ALL | libc::IN_EXCL_UNLINK),
                watch(0, "f", ALL),
                watch(0, "g", ALL),
                watch(0, "g", libc::IN_EXCL_UNLINK | libc::IN_MASK_ADD),
                open(1, "f", libc::O_RDWR),
                open(2, "g", libc::O_RDWR),
                unlink("f"),
                unlink("g"),
                write(1, 1),
                write(2, 1),
                drain(),
            ],
        )
        .events("1:OPEN 2:OPEN 1:ATTRIB 2:ATTRIB 1:MODIFY"),
        Case::new(
            "WATCH-2 a plain update replaces mask and flags",
            list![
                touch("f"),
                group(0),
                watch(0, "f", libc::IN_OPEN | libc::IN_ONESHOT | libc::IN_EXCL_UNLINK),
                watch(0, "f", libc::IN_ATTRIB),
                open_read(1, "f"),
                chmod("f", 0o600),
                close(1),
                chmod("f", 0o644),
                drain(),
            ],
        )
        .events("1:ATTRIB"),
        Case::new(
            "WATCH-3 IN_MASK_ADD ors mask and flags, or creates",
            list![
                touch("f"),
                group(0),
                watch(0, "f", libc::IN_OPEN | libc::IN_MASK_ADD),
                watch(0, "f", libc::IN_ATTRIB | libc::IN_MASK_ADD),
                watch(0, "f", libc::IN_EXCL_UNLINK | libc::IN_MASK_ADD),
                open_read(1, "f"),
                chmod("f", 0o600),
                close(1),
                drain(),
            ],
        )
        .events("1:OPEN 1:ATTRIB"),
        Case::new(
            "WATCH-4 IN_MASK_CREATE on a watched object is EEXIST and changes nothing",
            list![
                touch("f"),
                group(0),
                watch(0, "f", libc::IN_OPEN | libc::IN_MASK_CREATE),
                watch(0, "f", libc::IN_ATTRIB | libc::IN_MASK_CREATE),
                watch(0, ".", libc::IN_ATTRIB | libc::IN_MASK_CREATE),
                chmod("f", 0o600),
                open_read(1, "f"),
                drain(),
            ],
        )
        .events("2:ATTRIB(f) 1:OPEN"),
        Case::new(
            "WATCH-5 instances know nothing of each other's watches",
            list![
                touch("f"),
                touch("g"),
                group(0),
                group(1),
                watch(0, "f", libc::IN_ATTRIB),
                watch(1, "g", ALL),
                watch(1, "f", libc::IN_OPEN),
                chmod("f", 0o600),
                open_read(2, "f"),
                Operation::RemoveWatch { descriptor: slot(0), watch: Watch::Number(2) },
                drain(),
                read_all(1),
            ],
        )
        .events("1:ATTRIB 2:OPEN"),
        Case::new(
            "RM-1 a bad descriptor is EBADF, one that is not inotify's EINVAL",
            list![
                touch("f"),
                open_read(1, "f"),
                open(2, "f", libc::O_PATH),
                remove_from(closed, 1),
                remove_from(slot(1), 1),
                remove_from(slot(2), 1),
            ],
        )
        .results("EBADF EINVAL EBADF"),
        Case::new(
            "RM-2 a wd that is 0, negative, never given or already removed is EINVAL",
            list![
                touch("f"),
                both("f"),
                [0, -1, i32::MIN, 3, i32::MAX].map(|wd| remove(0, wd)),
                remove(0, 1),
                remove(0, 1),
                drain(),
            ],
        )
        .results("EINVAL EINVAL EINVAL EINVAL EINVAL 0 EINVAL 16 EAGAIN"),
        Case::new(
            "RM-3 success queues IN_IGNORED behind the watch's events",
            list![
                touch("f"),
                both("f"),
                chmod("f", 0o600),
                remove(0, 2),
                chmod("f", 0o644),
                remove(0, 1),
                chmod("f", 0o600),
                drain(),
            ],
        )
        .events("1:ATTRIB(f) 2:ATTRIB 2:IGNORED 1:ATTRIB(f) 1:IGNORED"),
    ];
    cases.push(
        Case::new("EVENT-4 each of the twelve events alone", {
            let bits = VALID.into_iter().filter(|bit| ALL & bit != 0);
            let rounds = bits.flat_map(|bit| {
                list![
                    watch(0, ".", bit),
                    watch(0, "f", bit),
                    utimens("f", Time::Now, Time::Omit),
                    open(1, "f", libc::O_RDWR),
                    write(1, 1),
                    close(1),
                    open_read(1, "f"),
                    close(1),
                    chmod("f", 0o644),
                    rename("f", "n"),
                    rename("n", "f"),
                    touch("g"),
                    unlink("g"),
                    read_all(0),
                ]
            });
            list![touch("f"), group(0), rounds.collect::<Vec<_>>()]
        })
        .events(
            "1:ACCESS(f) 2:ACCESS 1:MODIFY(f) 2:MODIFY 1:ATTRIB(f) 2:ATTRIB \
             1:CLOSE_WRITE(f) 2:CLOSE_WRITE 1:CLOSE_WRITE(g) 1:CLOSE_NOWRITE(f) 2:CLOSE_NOWRITE \
             1:OPEN(f) 2:OPEN 1:OPEN(f) 2:OPEN 1:OPEN(g) 1:MOVED_FROM(f)#1 1:MOVED_FROM(n)#2 \
             1:MOVED_TO(n)#3 1:MOVED_TO(f)#4 1:CREATE(g) 1:DELETE(g) 2:MOVE_SELF",
        ),
    );
    cases
}
