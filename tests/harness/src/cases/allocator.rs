//! Watch descriptors.

use crate::case::Case;
use crate::list;
use crate::needs::Need;
use crate::operation::{Argument, Operation};
use crate::shorthand::{
    SETNEXTWD, chmod, close, count_bytes, group, open, open_read, remove, set_next_wd, slot, touch, unlink, watch,
};

use super::words::{ALL, drain};

const WD_MAX: u64 = 0x7fff_ffff;

/// Files `0` to `9`, and a group.
fn ten() -> Vec<Operation> {
    let names = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"];
    list![names.into_iter().flat_map(touch).collect::<Vec<_>>(), group(0)]
}

fn add(name: &str) -> Operation {
    watch(0, name, ALL)
}

fn adds(names: &[&str]) -> Vec<Operation> {
    names.iter().map(|name| add(name)).collect()
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = vec![
        Case::new("WD-1 a new instance gives 1, 2, 3", {
            list![ten(), adds(&["0", "1", "2"]), group(1), watch(1, "2", ALL)]
        })
        .results("1 2 3 4 1"),
        Case::new(
            "WD-4 a freed number is not given again before the cursor comes to it",
            list![ten(), adds(&["0", "1", "2"]), remove(0, 3), remove(0, 2), adds(&["3", "4"]), drain()],
        )
        .results("1 2 3 0 0 4 5 32 EAGAIN"),
        Case::new(
            "WD-8 updates, refusals and the end of a watch leave the cursor alone",
            list![
                ten(),
                adds(&["0", "1", "2"]),
                adds(&["0", "absent", "2/x", ""]),
                watch(0, "1", 0),
                watch(0, "1", ALL | libc::IN_MASK_CREATE),
                watch(0, "1", ALL | libc::IN_ONLYDIR),
                watch(0, "3", libc::IN_ATTRIB | libc::IN_ONESHOT),
                chmod("3", 0o600),
                unlink("2"),
                remove(0, 1),
                add("5"),
                drain(),
            ],
        )
        .results("1 2 3 1 ENOENT ENOTDIR ENOENT EINVAL EEXIST ENOTDIR 4 0 0 0 5 96 EAGAIN"),
    ];
    let with_cursor = [
        Case::new(
            "WD-2 WD-9 the lowest free number from the cursor up",
            list![
                ten(),
                set_next_wd(0, 5),
                adds(&["0", "1"]),
                set_next_wd(0, 4),
                adds(&["2", "3"]),
                set_next_wd(0, 1),
                adds(&["4", "5", "6", "7"]),
            ],
        )
        .results("0 5 6 0 4 7 0 1 2 3 8"),
        Case::new(
            "WD-3 nothing free from the cursor up: the lowest free from 1",
            list![
                ten(),
                set_next_wd(0, WD_MAX),
                add("0"),
                set_next_wd(0, WD_MAX),
                adds(&["1", "2"]),
                remove(0, 1),
                set_next_wd(0, WD_MAX),
                adds(&["3", "4"]),
            ],
        )
        .results("0 2147483647 0 1 2 0 0 1 3"),
        Case::new(
            "WD-5 WD-13 SETNEXTWD to 2147483647, then the search starts at 1",
            list![ten(), set_next_wd(0, WD_MAX), adds(&["0", "1", "2"])],
        )
        .results("0 2147483647 1 2"),
        Case::new(
            "WD-5 around the end with some numbers in use",
            list![
                ten(),
                adds(&["0", "1"]),
                set_next_wd(0, WD_MAX - 1),
                adds(&["2", "3", "4"]),
                remove(0, 1),
                adds(&["5"]),
                set_next_wd(0, 1),
                adds(&["6"]),
            ],
        )
        .results("1 2 0 2147483646 2147483647 3 0 4 0 1"),
        Case::new(
            "WD-9 SETNEXTWD with an argument from 1 to 2147483647 is 0",
            list![group(0), [1, 2, 0x10, 0x1_0000, WD_MAX - 1, WD_MAX].map(|wd| set_next_wd(0, wd))],
        )
        .results("0 0 0 0 0 0"),
        Case::new(
            "WD-10 SETNEXTWD with any other argument is EINVAL and changes nothing",
            list![
                ten(),
                set_next_wd(0, 7),
                [
                    0,
                    WD_MAX + 1,
                    0xffff_ffff,
                    1 << 32,
                    (1 << 32) + 1,
                    1 << 63,
                    (1 << 63) + 1,
                    u64::MAX,
                    i64::from(i32::MIN) as u64,
                ]
                .map(|wd| set_next_wd(0, wd)),
                add("0"),
            ],
        )
        .results("0 EINVAL EINVAL EINVAL EINVAL EINVAL EINVAL EINVAL EINVAL EINVAL 7"),
        Case::new(
            "WD-11 SETNEXTWD to a number in use: the lowest free above it",
            list![ten(), adds(&["0", "1", "2", "3"]), remove(0, 4), set_next_wd(0, 2), adds(&["4", "5"]),],
        )
        .results("1 2 3 4 0 0 4 5"),
        Case::new(
            "WD-12 SETNEXTWD below the cursor: holes are given again",
            list![
                ten(),
                adds(&["0", "1", "2", "3", "4"]),
                remove(0, 2),
                remove(0, 4),
                set_next_wd(0, 1),
                adds(&["5", "6", "7"]),
            ],
        )
        .results("0 0 0 2 4 6"),
        Case::new(
            "WD-13 SETNEXTWD to 2147483647 in use: the lowest free one at once",
            list![ten(), set_next_wd(0, WD_MAX), add("0"), adds(&["1"]), set_next_wd(0, WD_MAX), adds(&["2", "3"]),],
        )
        .results("0 2147483647 1 0 2 3"),
        Case::new(
            "WD-14 a number given again while its former watch's events are queued",
            list![
                ten(),
                add("0"),
                chmod("0", 0o600),
                remove(0, 1),
                set_next_wd(0, 1),
                add("1"),
                chmod("1", 0o600),
                chmod("0", 0o644),
                drain(),
            ],
        )
        .events("1:ATTRIB 1:IGNORED 1:ATTRIB"),
        Case::new(
            "IOCTL-4 only the low 32 bits of the command count",
            list![
                ten(),
                Operation::Control {
                    descriptor: slot(0),
                    command: SETNEXTWD | 0xdead_beef << 32,
                    argument: Argument::Value(5)
                },
                add("0"),
            ],
        )
        .results("0 5"),
        Case::new(
            "IOCTL-3 IOCTL-5 SETNEXTWD elsewhere is ENOTTY, on O_PATH or nothing EBADF",
            list![
                ten(),
                open_read(1, "0"),
                open(2, "0", libc::O_PATH),
                set_next_wd(1, 5),
                set_next_wd(2, 5),
                set_next_wd(9, 5),
                set_next_wd(1, 0),
                close(0),
                set_next_wd(0, 5),
            ],
        )
        .results("ENOTTY EBADF EBADF ENOTTY 0 EBADF"),
        Case::new(
            "the cursor of one instance is not that of another",
            list![
                ten(),
                group(1),
                set_next_wd(0, 100),
                add("0"),
                watch(1, "0", ALL),
                set_next_wd(1, 50),
                add("1"),
                watch(1, "1", ALL),
                count_bytes(0),
            ],
        )
        .results("0 100 1 0 101 50 0/0"),
    ];
    cases.extend(with_cursor.map(|case| case.needs(Need::NextWatch)));
    cases
}
