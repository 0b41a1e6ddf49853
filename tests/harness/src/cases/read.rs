//! Reading.

use crate::case::Case;
use crate::list;
use crate::operation::{Buffer, Operation, Watch};
use crate::shorthand::{
    chmod, close, count_bytes, duplicate, group, open_read, read, read_all, read_guarded, read_segments, slot, touch,
    unlink, watch, while_reading,
};

use super::words::{ALL, blocking_group, both, drain};

/// Two events of 16 bytes of wd 1.
fn two_short() -> Vec<Operation> {
    list![touch("f"), group(0), watch(0, "f", ALL), chmod("f", 0o600), touch("f"),]
}

/// ATTRIB of f, g and h in the directory that wd 1 watches: three events of 32 bytes.
fn three_long() -> Vec<Operation> {
    list![
        touch("f"),
        touch("g"),
        touch("h"),
        group(0),
        watch(0, ".", libc::IN_ATTRIB),
        chmod("f", 0o600),
        chmod("g", 0o600),
        chmod("h", 0o600),
    ]
}

pub(super) fn cases() -> Vec<Case> {
    let interrupt = |restart| Operation::Interrupt { restart };
    vec![
        Case::new("READ-1 as many whole events as fit", list![three_long(), read(0, 95), read(0, 33), read_all(0)])
            .results("64 32 EAGAIN"),
        Case::new(
            "READ-1 events of different sizes are never cut",
            list![
                touch("f"),
                both("f"),
                chmod("f", 0o600),
                touch("f"),
                [47, 48, 40, 32, 32, 32].map(|size| read(0, size)),
                drain(),
            ],
        ),
        Case::new(
            "READ-2 a buffer smaller than the first event is EINVAL and keeps it",
            list![three_long(), [0, 1, 15, 16, 31].map(|size| read(0, size)), read_all(0)],
        )
        .results("EINVAL EINVAL EINVAL EINVAL EINVAL 96"),
        Case::new(
            "READ-3 an empty queue is EAGAIN, for size 0 too",
            list![
                touch("f"),
                group(0),
                [0, 1, 16, 4096].map(|size| read(0, size)),
                watch(0, "f", ALL),
                read(0, 0),
                read_segments(0, &[0]),
                read_segments(0, &[16, 16]),
            ],
        ),
        Case::new(
            "READ-4 a blocking read waits for the next event",
            list![
                touch("f"),
                blocking_group(0),
                watch(0, "f", ALL),
                while_reading(0, Buffer::Plain(64), list![chmod("f", 0o600)]),
                while_reading(
                    0,
                    Buffer::Plain(64),
                    list![Operation::RemoveWatch { descriptor: slot(0), watch: Watch::Nth(0) }]
                ),
            ],
        )
        .results("waited(16)[0] waited(16)[0]"),
        Case::new(
            "READ-4 a signal interrupts a blocking read with EINTR",
            list![
                touch("f"),
                blocking_group(0),
                watch(0, "f", ALL),
                while_reading(0, Buffer::Plain(64), list![interrupt(false)]),
                chmod("f", 0o600),
                read(0, 64),
            ],
        )
        .results("waited(EINTR)[0] 0 16"),
        Case::new(
            "READ-4 under SA_RESTART a blocking read goes on",
            list![
                touch("f"),
                blocking_group(0),
                watch(0, "f", ALL),
                while_reading(0, Buffer::Plain(64), list![interrupt(true), chmod("f", 0o600)]),
            ],
        )
        .results("waited(16)[0 0]"),
        Case::new(
            "READ-4 a blocking read of what is there does not wait",
            list![
                touch("f"),
                blocking_group(0),
                watch(0, "f", ALL),
                chmod("f", 0o600),
                while_reading(0, Buffer::Plain(64), vec![]),
                chmod("f", 0o600),
                while_reading(0, Buffer::Plain(0), vec![]),
                read(0, 64),
            ],
        )
        .results("returned(16)[] 0 returned(EINVAL)[] 16"),
        Case::new(
            "READ-5 a bad buffer is EFAULT and the event is consumed",
            list![
                three_long(),
                read_guarded(0, 0, 64),
                count_bytes(0),
                read_guarded(0, 16, 64),
                count_bytes(0),
                drain()
            ],
        )
        .results("EFAULT 0/64 EFAULT 0/32 32 EAGAIN"),
        Case::new(
            "READ-5 a bad buffer that is too small, or with nothing queued, is not touched",
            list![
                touch("f"),
                group(0),
                watch(0, ".", ALL),
                read_guarded(0, 0, 64),
                chmod("f", 0o600),
                read_guarded(0, 0, 16),
                read_all(0),
            ],
        )
        .results("EAGAIN 0 EINVAL 32"),
        Case::new(
            "READ-6 bad memory at the second event: EFAULT, and both are gone",
            list![three_long(), read_guarded(0, 32, 96), count_bytes(0), drain()],
        )
        .results("EFAULT 0/32 32 EAGAIN"),
        Case::new(
            "READ-6 bad memory within the second event's name",
            list![three_long(), read_guarded(0, 56, 96), count_bytes(0), drain()],
        )
        .results("EFAULT 0/32 32 EAGAIN"),
        Case::new(
            "READ-6 events without names, the third one bad",
            list![two_short(), count_bytes(0), read_guarded(0, 32, 64), drain()],
        ),
        Case::new(
            "READ-7 readv stops after a segment that was not filled",
            list![three_long(), read_segments(0, &[40, 40]), read_all(0)],
        )
        .results("32 64"),
        Case::new(
            "READ-7 readv goes on after a segment that was filled",
            list![three_long(), read_segments(0, &[32, 32]), read_all(0)],
        )
        .results("64 32"),
        Case::new(
            "READ-7 readv with a later segment that is too small, or with empty ones",
            list![
                three_long(),
                read_segments(0, &[32, 16]),
                read_segments(0, &[0, 64]),
                read_segments(0, &[64, 64]),
                read_segments(0, &[64]),
            ],
        ),
        Case::new(
            "READ-7 readv skips an empty segment behind one that was filled, but not the first",
            list![
                three_long(),
                read_segments(0, &[32, 0, 0, 40]),
                read_segments(0, &[0, 32]),
                read_segments(0, &[32, 0]),
                read_segments(0, &[0, 32]),
            ],
        )
        .results("64 EINVAL 32 EAGAIN"),
        Case::new(
            "READ-8 readv whose first segment is too small is EINVAL and keeps the event",
            list![three_long(), read_segments(0, &[16, 48]), read_segments(0, &[31, 1, 64]), read_all(0)],
        )
        .results("EINVAL EINVAL 96"),
        Case::new(
            "READ-9 readv on a blocking descriptor waits for the second segment's event",
            list![
                touch("f"),
                blocking_group(0),
                watch(0, "f", ALL),
                chmod("f", 0o600),
                while_reading(0, Buffer::Vector(vec![16, 16]), list![open_read(1, "f")]),
            ],
        )
        .events("1:ATTRIB 1:OPEN"),
        Case::new(
            "READ-10 events come in the order in which they were queued",
            list![
                touch("f"),
                touch("g"),
                both("f"),
                chmod("g", 0o600),
                chmod("f", 0o600),
                touch("h"),
                unlink("g"),
                drain()
            ],
        )
        .events("1:ATTRIB(g) 1:ATTRIB(f) 2:ATTRIB 1:CREATE(h) 1:OPEN(h) 1:CLOSE_WRITE(h) 1:DELETE(g)"),
        Case::new(
            "FD-6 a reader in a forked process takes what it reads",
            list![
                three_long(),
                duplicate(0, 1),
                Operation::Child(list![read(0, 32), close(0), close(1)]),
                read(1, 32),
                count_bytes(0),
                read(0, 32),
                read_all(1),
            ],
        )
        .results("[32 0 0] 32 0/32 32 EAGAIN"),
    ]
}
