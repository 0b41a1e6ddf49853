//! The full queue. `max_queued_events` is the machine's: the lists are made for 16384.

use crate::case::Case;
use crate::list;
use crate::operation::{Operation, Time};
use crate::shorthand::{chmod, count_bytes, group, read, read_all, remove, repeat, touch, utimens, watch};

use super::words::ALL;

/// `max_queued_events` unless the administrator changed it.
const EVENTS_MAX: u32 = 16384;
/// All of a full queue of short events, and more.
const ALL_BYTES: usize = 1 << 20;

/// As many events as are asked for, none of which merges: IN_ATTRIB and IN_ACCESS of f by turns.
fn events(count: u32) -> Vec<Operation> {
    let access = || utimens("f", Time::Now, Time::Omit);
    let mut operations = vec![repeat(count / 2, list![chmod("f", 0o600), access()])];
    if count % 2 == 1 {
        operations.push(chmod("f", 0o600));
    }
    operations
}

/// A second watch is added and removed, so often.
fn steps(count: i32) -> Vec<Operation> {
    (2..2 + count).flat_map(|wd| list![watch(0, "g", ALL), remove(0, wd)]).collect()
}

fn watched() -> Vec<Operation> {
    list![touch("f"), group(0), watch(0, "f", ALL)]
}

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new(
            "OVERFLOW-2 as many events as fit are no overflow",
            list![watched(), events(EVENTS_MAX), count_bytes(0), read(0, ALL_BYTES), read_all(0)],
        )
        .results("0/262144 262144 EAGAIN"),
        Case::new(
            "OVERFLOW-1 OVERFLOW-2 OVERFLOW-4 one more queues the overflow event, once",
            list![
                watched(),
                events(EVENTS_MAX + 1),
                count_bytes(0),
                events(4),
                count_bytes(0),
                read(0, ALL_BYTES),
                read_all(0),
            ],
        ),
        Case::new(
            "OVERFLOW-3 an event equal to the tail of a full queue is lost, not merged",
            list![
                watched(),
                events(EVENTS_MAX),
                utimens("f", Time::Now, Time::Omit),
                count_bytes(0),
                read(0, ALL_BYTES),
                read_all(0),
            ],
        ),
        Case::new(
            "OVERFLOW-3 the last event before the queue is full still merges",
            list![
                watched(),
                events(EVENTS_MAX - 1),
                chmod("f", 0o600),
                count_bytes(0),
                utimens("f", Time::Now, Time::Omit),
                count_bytes(0),
                chmod("f", 0o600),
                count_bytes(0),
            ],
        )
        .results("0 0/262128 0 0/262144 0 0/262160"),
        Case::new(
            "OVERFLOW-5 one read keeps the queue full, the second opens it",
            list![
                watched(),
                events(EVENTS_MAX + 1),
                read(0, 16),
                chmod("f", 0o600),
                count_bytes(0),
                read(0, 16),
                chmod("f", 0o600),
                count_bytes(0),
                utimens("f", Time::Now, Time::Omit),
                count_bytes(0),
                read(0, ALL_BYTES),
                read_all(0),
                chmod("f", 0o600),
                read_all(0),
            ],
        ),
        Case::new(
            "OVERFLOW-4 a further overflow event only after the first was read",
            list![
                watched(),
                events(EVENTS_MAX + 1),
                read(0, 16 * 16383),
                events(EVENTS_MAX + 8),
                count_bytes(0),
                read(0, 32),
                events(8),
                count_bytes(0),
                read(0, ALL_BYTES),
                read_all(0),
            ],
        ),
        Case::new(
            "OVERFLOW-6 everything is lost in a full queue, IN_IGNORED too",
            list![
                watched(),
                touch("g"),
                watch(0, "g", ALL),
                events(EVENTS_MAX),
                remove(0, 2),
                remove(0, 2),
                count_bytes(0),
                remove(0, 1),
                watch(0, "f", ALL),
                read(0, 64),
                remove(0, 3),
                read(0, ALL_BYTES),
                read_all(0),
            ],
        ),
        Case::new(
            "OVERFLOW-2 OVERFLOW-6 the loop of a restore without the ioctl floods the queue with IN_IGNORED",
            list![
                touch("f"),
                touch("g"),
                group(0),
                watch(0, "f", ALL),
                events(EVENTS_MAX - 20),
                steps(30),
                count_bytes(0),
                watch(0, "g", ALL),
                read(0, ALL_BYTES),
                read_all(0),
                remove(0, 2),
            ],
        )
        .results("0/262160 32 262160 EAGAIN EINVAL"),
        Case::new(
            "OVERFLOW-2 the queue of one instance is not that of another",
            list![
                watched(),
                group(1),
                watch(1, "f", libc::IN_ATTRIB),
                events(EVENTS_MAX + 3),
                count_bytes(0),
                count_bytes(1),
                read_all(1),
            ],
        )
        .results("0/262160 0/16 16"),
    ]
}
