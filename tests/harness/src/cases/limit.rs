//! Limits of the user.

use crate::case::Case;
use crate::list;
use crate::operation::{Limits, Operation};
use crate::shorthand::{chmod, close, duplicate, group, read_all, remove, set_next_wd, touch, unlink, watch};

use super::words::{ALL, drain};

fn limits(watches_max: u32, instances_max: u32) -> Limits {
    Limits { watches_max, instances_max }
}

fn files() -> Vec<Operation> {
    ["a", "b", "c", "d", "e"].into_iter().flat_map(touch).collect()
}

pub(super) fn cases() -> Vec<Case> {
    let watches = |names: &[&str]| -> Vec<Operation> { names.iter().map(|name| watch(0, *name, ALL)).collect() };
    vec![
        Case::new(
            "LIMIT-1 one instance too many is EMFILE",
            list![group(0), group(1), group(2), duplicate(0, 3), group(2)],
        )
        .limits(limits(10, 2))
        .results("3 4 EMFILE 5 EMFILE"),
        Case::new(
            "LIMIT-2 closing an instance gives its place and its watches' back at once",
            list![
                files(),
                group(0),
                watches(&["a", "b", "c"]),
                watch(0, "d", ALL),
                close(0),
                group(0),
                watches(&["d", "b", "e"]),
                duplicate(0, 1),
                close(0),
                group(2),
                close(1),
                group(2),
                watch(2, "a", ALL),
            ],
        )
        .limits(limits(3, 1))
        .results("1 2 3 ENOSPC 0 3 1 2 3 4 0 EMFILE 0 3 1"),
        Case::new(
            "LIMIT-3 watches are counted over all the user's instances",
            list![
                files(),
                group(0),
                group(1),
                watches(&["a", "b"]),
                watch(1, "a", ALL),
                watch(1, "b", ALL),
                watch(0, "c", ALL),
                remove(0, 1),
                watch(1, "b", ALL),
            ],
        )
        .limits(limits(3, 3))
        .results("1 2 1 ENOSPC ENOSPC 0 3"),
        Case::new(
            "LIMIT-4 at the watch limit an update works",
            list![
                files(),
                group(0),
                watches(&["a", "b"]),
                watch(0, "c", ALL),
                watch(0, "a", libc::IN_ATTRIB),
                watch(0, "b", libc::IN_MODIFY | libc::IN_MASK_ADD),
                watch(0, "b", libc::IN_MODIFY | libc::IN_MASK_CREATE),
            ],
        )
        .limits(limits(2, 3))
        .results("1 2 ENOSPC 1 2 EEXIST"),
        Case::new(
            "LIMIT-5 a watch that ends gives its place back before its IN_IGNORED is read",
            list![
                files(),
                group(0),
                watches(&["a", "b"]),
                remove(0, 1),
                watch(0, "c", ALL),
                unlink("c"),
                watch(0, "d", libc::IN_ATTRIB | libc::IN_ONESHOT),
                chmod("d", 0o600),
                watch(0, "e", ALL),
                watch(0, "a", ALL),
                drain(),
            ],
        )
        .limits(limits(2, 3))
        .results("0 3 0 4 0 5 ENOSPC 96 EAGAIN"),
        Case::new(
            "WD-7 a watch that the limit refuses has moved the cursor",
            list![
                files(),
                group(0),
                watches(&["a", "b", "c", "d", "e"]),
                remove(0, 2),
                watch(0, "d", ALL),
                read_all(0),
            ],
        )
        .limits(limits(3, 3))
        .results("1 2 3 ENOSPC ENOSPC 0 6 16"),
        Case::new(
            "WD-7 WD-13 a refusal at 2147483647 wraps the cursor",
            list![
                files(),
                group(0),
                watches(&["a"]),
                set_next_wd(0, 0x7fff_ffff),
                watch(0, "b", ALL),
                remove(0, 1),
                watch(0, "b", ALL),
            ],
        )
        .limits(limits(1, 3))
        .results("1 0 ENOSPC 0 1"),
    ]
}
