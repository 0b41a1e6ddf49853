//! Equal neighbours.

use crate::case::Case;
use crate::compare::Asserted;
use crate::list;
use crate::operation::{Asking, Operation};
use crate::shorthand::{
    chmod, close, count_bytes, group, mkdir, open, open_read, poll, read, read_all, remove, rename, repeat, touch,
    unlink, watch, write,
};

use crate::trace::{Outcome, Return};

use super::words::{ALL, both, drain};

pub(super) fn cases() -> Vec<Case> {
    vec![
        // Counting brings the first IN_OPEN into the emulator before the second comes.
        Case::new(
            "MERGE-4 an open and an exec of one file are two IN_OPEN",
            list![
                Operation::Install("f".into()),
                group(0),
                watch(0, "f", libc::IN_OPEN),
                open_read(1, "f"),
                count_bytes(0),
                Operation::Execute("f".into()),
                count_bytes(0),
            ],
        )
        .results("0/16 0 0/32")
        .differs(Asserted {
            id: "DIFF-1",
            operation: 6,
            native: Outcome::Integer { returned: Return::Value(0), integer: 32 },
            emulated: Outcome::Integer { returned: Return::Value(0), integer: 16 },
        }),
        Case::new(
            "MERGE-1 an event equal to the last queued one is dropped",
            list![
                touch("f"),
                group(0),
                watch(0, "f", ALL),
                open(1, "f", libc::O_WRONLY),
                repeat(5, list![write(1, 1)]),
                count_bytes(0),
                chmod("f", 0o600),
                chmod("f", 0o644),
                drain(),
            ],
        )
        .events("1:OPEN 1:MODIFY 1:ATTRIB"),
        Case::new(
            "MERGE-1 another name, another wd or another mask is another event",
            list![
                touch("f"),
                touch("g"),
                mkdir("d"),
                both("f"),
                chmod("f", 0o600),
                chmod("f", 0o644),
                chmod("g", 0o600),
                chmod("g", 0o644),
                chmod("d", 0o700),
                chmod("d", 0o755),
                drain(),
            ],
        )
        .events("1:ATTRIB(f) 2:ATTRIB 1:ATTRIB(f) 2:ATTRIB 1:ATTRIB(g) 1:ATTRIB,ISDIR(d)"),
        Case::new(
            "EVENT-13 MERGE-1 two instances merge each for itself",
            list![
                touch("f"),
                group(0),
                group(1),
                watch(0, "f", ALL),
                watch(1, "f", ALL),
                chmod("f", 0o600),
                read_all(0),
                chmod("f", 0o644),
                drain(),
                read_all(1),
            ],
        )
        .events("1:ATTRIB 1:ATTRIB 1:ATTRIB"),
        Case::new(
            "MERGE-2 only the tail is compared",
            list![
                touch("f"),
                touch("g"),
                group(0),
                watch(0, ".", libc::IN_ATTRIB),
                repeat(3, list![chmod("f", 0o600), chmod("g", 0o600)]),
                drain(),
            ],
        )
        .events("1:ATTRIB(f) 1:ATTRIB(g) 1:ATTRIB(f) 1:ATTRIB(g) 1:ATTRIB(f) 1:ATTRIB(g)"),
        Case::new(
            "MERGE-3 the cookie is not compared and the first one's stays",
            list![
                mkdir("d"),
                touch("d/f"),
                touch("g"),
                group(0),
                group(1),
                watch(0, "d", libc::IN_MOVED_FROM),
                watch(1, ".", libc::IN_MOVED_FROM | libc::IN_MOVED_TO),
                rename("d/f", "1"),
                rename("g", "d/f"),
                rename("d/f", "2"),
                drain(),
                read_all(1),
            ],
        )
        .events("1:MOVED_FROM(f)#1 1:MOVED_TO(1)#1 1:MOVED_FROM(g)#2 1:MOVED_TO(2)#3"),
        Case::new(
            "MERGE-3 two moves to one name merge as well",
            list![
                mkdir("d"),
                touch("d/f"),
                touch("d/g"),
                group(0),
                watch(0, ".", libc::IN_MOVED_TO),
                rename("d/f", "n"),
                rename("d/g", "n"),
                drain(),
            ],
        )
        .events("1:MOVED_TO(n)#1"),
        Case::new(
            "MERGE-5 nothing merges with IN_IGNORED",
            list![
                touch("f"),
                touch("g"),
                group(0),
                watch(0, "f", ALL),
                watch(0, "g", ALL),
                remove(0, 1),
                remove(0, 2),
                watch(0, "f", ALL),
                remove(0, 3),
                drain(),
            ],
        )
        .events("1:IGNORED 2:IGNORED 3:IGNORED"),
        Case::new(
            "MERGE-6 nothing merges with an event that was read",
            list![
                touch("f"),
                group(0),
                watch(0, "f", ALL),
                repeat(3, list![chmod("f", 0o600), read(0, 16)]),
                chmod("f", 0o600),
                drain(),
            ],
        )
        .events("1:ATTRIB 1:ATTRIB 1:ATTRIB 1:ATTRIB"),
        Case::new(
            "MERGE-6 counting and polling between two events do not keep them apart",
            list![
                touch("f"),
                group(0),
                watch(0, "f", ALL),
                chmod("f", 0o600),
                count_bytes(0),
                chmod("f", 0o644),
                poll(Asking::Poll, 0),
                chmod("f", 0o600),
                read(0, 0),
                chmod("f", 0o644),
                drain(),
            ],
        )
        .events("1:ATTRIB"),
        Case::new(
            "MERGE-6 a tail behind others that were read still merges",
            list![
                touch("f"),
                touch("g"),
                group(0),
                watch(0, ".", libc::IN_ATTRIB),
                chmod("f", 0o600),
                chmod("g", 0o600),
                read(0, 32),
                chmod("g", 0o644),
                drain(),
            ],
        )
        .events("1:ATTRIB(f) 1:ATTRIB(g)"),
        Case::new(
            "MERGE-1 a file made again under its name merges with its former self",
            list![
                touch("f"),
                group(0),
                watch(0, ".", libc::IN_DELETE | libc::IN_OPEN),
                open_read(1, "f"),
                close(1),
                open_read(1, "f"),
                close(1),
                unlink("f"),
                rename("absent", "f"),
                touch("f"),
                unlink("f"),
                drain(),
            ],
        )
        .events("1:OPEN(f) 1:DELETE(f) 1:OPEN(f) 1:DELETE(f)"),
        Case::new(
            "MERGE-1 an update between two equal events does not keep them apart",
            list![
                touch("f"),
                group(0),
                watch(0, "f", ALL),
                chmod("f", 0o600),
                watch(0, "f", libc::IN_ATTRIB),
                chmod("f", 0o600),
                drain(),
            ],
        )
        .events("1:ATTRIB"),
    ]
}
