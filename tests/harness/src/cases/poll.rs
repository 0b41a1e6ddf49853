//! Readiness, and the ioctls.

use crate::case::Case;
use crate::list;
use crate::operation::{Argument, Asking, Operation, Waiting};
use crate::shorthand::{
    FIONREAD, chmod, close, count_bytes, group, open_read, poll, read, read_all, read_guarded, remove, slot, touch,
    unlink, watch, write,
};

use super::words::{ALL, both, drain};

const ASKING: [Asking; 5] = [Asking::Poll, Asking::Ppoll, Asking::Select, Asking::Pselect, Asking::Epoll];
const ADD: i32 = libc::EPOLL_CTL_ADD;

fn ask_all() -> [Operation; 5] {
    ASKING.map(|asking| poll(asking, 0))
}

fn wait(asking: Asking, events: i16, timeout_ms: i32, meanwhile: Vec<Operation>) -> Operation {
    Operation::While { waiting: Waiting::Poll { asking, descriptor: slot(0), events, timeout_ms }, meanwhile }
}

fn control(command: u64, argument: Argument) -> Operation {
    Operation::Control { descriptor: slot(0), command, argument }
}

pub(super) fn cases() -> Vec<Case> {
    let member = |events: i32| Operation::EpollControl {
        epoll: slot(1),
        operation: ADD,
        descriptor: slot(0),
        events: events as u32,
    };
    let epoll = || Operation::EpollWait { epoll: slot(1), timeout_ms: 0 };
    vec![
        Case::new(
            "POLL-1 POLL-2 nothing when empty, POLLIN and POLLRDNORM when not, and never more",
            list![
                touch("f"),
                both("f"),
                ask_all(),
                chmod("f", 0o600),
                ask_all(),
                read(0, 32),
                ask_all(),
                read(0, 16),
                ask_all(),
            ],
        ),
        Case::new(
            "POLL-2 never ready for writing, nor after the last watch is gone",
            list![
                touch("f"),
                group(0),
                watch(0, "f", ALL),
                remove(0, 1),
                ask_all(),
                read_all(0),
                ASKING.map(|asking| Operation::Poll {
                    asking,
                    descriptor: slot(0),
                    events: libc::POLLOUT,
                    timeout_ms: 0
                }),
                ask_all(),
            ],
        ),
        Case::new(
            "POLL-3 an event wakes each kind of wait",
            list![
                touch("f"),
                group(0),
                watch(0, "f", ALL),
                ASKING
                    .into_iter()
                    .flat_map(|asking| list![wait(asking, libc::POLLIN, -1, list![chmod("f", 0o600)]), read_all(0),])
                    .collect::<Vec<_>>(),
            ],
        ),
        Case::new(
            "POLL-3 a wait for nothing ends by its timeout",
            list![
                touch("f"),
                group(0),
                watch(0, "f", ALL),
                ASKING.map(|asking| Operation::Poll {
                    asking,
                    descriptor: slot(0),
                    events: libc::POLLIN,
                    timeout_ms: 5
                }),
            ],
        ),
        Case::new(
            "POLL-3 epoll by level and by edge",
            list![
                touch("f"),
                group(0),
                watch(0, "f", ALL),
                Operation::EpollCreate { slot: 1 },
                member(libc::EPOLLIN | libc::EPOLLOUT),
                epoll(),
                chmod("f", 0o600),
                epoll(),
                epoll(),
                read_all(0),
                epoll(),
                Operation::EpollControl {
                    epoll: slot(1),
                    operation: libc::EPOLL_CTL_MOD,
                    descriptor: slot(0),
                    events: (libc::EPOLLIN | libc::EPOLLET) as u32,
                },
                epoll(),
                chmod("f", 0o600),
                epoll(),
                epoll(),
                open_read(2, "f"),
                epoll(),
                epoll(),
                read_all(0),
                epoll(),
                close(2),
                epoll(),
                close(0),
                epoll(),
            ],
        ),
        Case::new(
            "POLL-3 epoll by level, one shot",
            list![
                touch("f"),
                group(0),
                watch(0, "f", ALL),
                Operation::EpollCreate { slot: 1 },
                chmod("f", 0o600),
                member(libc::EPOLLIN | libc::EPOLLONESHOT),
                epoll(),
                epoll(),
                open_read(2, "f"),
                epoll(),
                member(libc::EPOLLIN),
            ],
        )
        .results("1/0x1 0/0x0 5 0/0x0 EEXIST"),
        Case::new(
            "POLL-4 a question with timeout 0 counts what happened before it",
            list![
                touch("f"),
                group(0),
                watch(0, "f", ALL),
                ASKING
                    .into_iter()
                    .flat_map(|asking| list![
                        open_read(1, "f"),
                        poll(asking, 0),
                        read_all(0),
                        close(1),
                        count_bytes(0),
                        read_all(0),
                        poll(asking, 0),
                    ])
                    .collect::<Vec<_>>(),
            ],
        ),
        Case::new(
            "POLL-4 a member of an older epoll set counts what happened before",
            list![
                touch("f"),
                group(0),
                watch(0, "f", ALL),
                Operation::EpollCreate { slot: 1 },
                member(libc::EPOLLIN),
                chmod("f", 0o600),
                epoll(),
                read_all(0),
                open_read(2, "f"),
                epoll(),
                read_all(0),
                epoll(),
                Operation::Child(list![close(2)]),
                epoll(),
                close(2),
                Operation::Child(list![epoll()]),
            ],
        )
        .results("1/0x1 16 5 1/0x1 16 0/0x0 [0] 0/0x0 0 [1/0x1]"),
        Case::new(
            "IOCTL-1 FIONREAD gives the size of all queued events",
            list![
                touch("f"),
                both("f"),
                count_bytes(0),
                chmod("f", 0o600),
                count_bytes(0),
                chmod("f", 0o644),
                count_bytes(0),
                touch("a name of more than fifteen bytes"),
                count_bytes(0),
                read(0, 40),
                count_bytes(0),
                read_guarded(0, 0, 16),
                count_bytes(0),
                read_all(0),
                count_bytes(0),
            ],
        ),
        Case::new(
            "IOCTL-2 FIONREAD to a bad address is EFAULT",
            list![
                touch("f"),
                both("f"),
                control(FIONREAD, Argument::Value(0)),
                control(FIONREAD, Argument::Value(1)),
                chmod("f", 0o600),
                control(FIONREAD, Argument::Value(0)),
                drain(),
            ],
        )
        .results("EFAULT EFAULT 0 EFAULT 48 EAGAIN"),
        Case::new(
            "IOCTL-4 FIONREAD with high bits in the command",
            list![touch("f"), both("f"), chmod("f", 0o600), control(FIONREAD | 1 << 40, Argument::Integer(-1)),],
        )
        .results("0/48"),
        Case::new(
            "IOCTL-6 an unknown command is ENOTTY",
            list![
                group(0),
                control(0x5401, Argument::Value(1)),
                control(0x4901, Argument::Value(1)),
                control(0x8004_4900, Argument::Value(1)),
                control(0x4008_4900, Argument::Value(1)),
                control(0x5411, Argument::Integer(-1)),
                control(0x8905, Argument::Integer(-1)),
            ],
        )
        .results("ENOTTY ENOTTY ENOTTY ENOTTY ENOTTY/-1 ENOTTY/-1"),
        Case::new(
            "FD-5 a refused write changes neither readiness nor queue",
            list![
                touch("f"),
                both("f"),
                write(0, 16),
                poll(Asking::Poll, 0),
                count_bytes(0),
                unlink("f"),
                write(0, 16),
                drain(),
            ],
        )
        .events("2:ATTRIB 2:DELETE_SELF 2:IGNORED 1:DELETE(f)"),
    ]
}
