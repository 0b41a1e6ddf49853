//! The record of an event, and the cookie.

use crate::case::Case;
use crate::list;
use crate::needs::Need;
use crate::operation::{Operation, Path};
use crate::shorthand::{chmod, group, link, mkdir, open, read_all, rename, rename_with, repeat, touch, unlink, watch};

use super::words::{ALL, as_nobody, both, drain};

pub(super) fn cases() -> Vec<Case> {
    let lengths = [1, 7, 8, 14, 15, 16, 17, 30, 31, 32, 33, 47, 48, 254, 255];
    vec![
        Case::new(
            "EVENT-1 EVENT-2 an event about the watched object has no name and len 0",
            list![touch("f"), group(0), watch(0, "f", ALL), chmod("f", 0o600), drain()],
        )
        .results("0 16 EAGAIN"),
        Case::new(
            "EVENT-3 a name is padded to the next multiple of 16 that leaves room for a NUL",
            list![
                group(0),
                watch(0, ".", libc::IN_CREATE),
                lengths.map(|length| Operation::Mkfifo(Path::Component(length))),
                drain(),
            ],
        ),
        Case::new(
            "EVENT-5 a watch for IN_ATTRIB alone gets a truncation that clears set-user-ID as one event",
            list![
                touch("f"),
                open(1, "f", libc::O_WRONLY),
                chmod("f", 0o6777),
                group(0),
                watch(0, ".", ALL),
                watch(0, "f", libc::IN_ATTRIB),
                as_nobody(list![Operation::Truncate { path: "f".into(), size: 0 }]),
                drain(),
            ],
        )
        .needs(Need::Root)
        .events("1:MODIFY,ATTRIB(f) 2:MODIFY,ATTRIB"),
        Case::new(
            "COOKIE-1 both halves of a rename carry one cookie, the same in every instance",
            list![
                touch("f"),
                mkdir("d"),
                group(0),
                group(1),
                watch(0, ".", ALL),
                watch(0, "d", ALL),
                watch(1, "d", ALL),
                watch(1, ".", ALL),
                rename("f", "d/g"),
                rename("d/g", "d/h"),
                drain(),
                read_all(1),
            ],
        )
        .events(
            "1:MOVED_FROM(f)#1 2:MOVED_TO(g)#1 2:MOVED_FROM(g)#2 2:MOVED_TO(h)#2 \
             2:MOVED_FROM(f)#1 1:MOVED_TO(g)#1 1:MOVED_FROM(g)#2 1:MOVED_TO(h)#2",
        ),
        Case::new(
            "COOKIE-1 only moves carry a cookie",
            list![touch("f"), both("f"), link("f", "g"), unlink("g"), rename("f", "h"), unlink("h"), drain()],
        )
        .events(
            "2:ATTRIB 1:CREATE(g) 2:ATTRIB 1:DELETE(g) 1:MOVED_FROM(f)#1 1:MOVED_TO(h)#1 \
             2:MOVE_SELF 2:ATTRIB 2:DELETE_SELF 2:IGNORED 1:DELETE(h)",
        ),
        Case::new(
            "COOKIE-2 an exchange takes two cookies",
            list![
                touch("f"),
                touch("g"),
                group(0),
                watch(0, ".", ALL),
                rename_with("f", "g", libc::RENAME_EXCHANGE),
                repeat(2, list![rename("f", "h"), rename("h", "f")]),
                drain(),
            ],
        ),
    ]
}
