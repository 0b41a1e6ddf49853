//! Readiness.

use std::os::fd::RawFd;

use crate::argument::{Argument, FD, NOWHERE, NULL, Other, number};
use crate::row::{Table, shown_errno};
use crate::state::State;
use crate::table::said;

fn polled(fd: RawFd, events: i16) -> Vec<u8> {
    [&fd.to_ne_bytes()[..], &events.to_ne_bytes(), &0x5555_u16.to_ne_bytes()].concat()
}

fn one_bit(fd: RawFd) -> Vec<u8> {
    let mut set = vec![0; 128];
    set[fd as usize / 8] |= 1 << (fd % 8);
    set
}

fn set() -> Argument {
    Argument::Made("{fd}", one_bit)
}

/// No time, as a `timeval` or a `timespec`.
fn now() -> Argument {
    Argument::Bytes("now", vec![0; 16])
}

const EVERY_EVENT: i16 = 0x7fff_u16.cast_signed();

/// Makes an entry for a descriptor.
type Make = fn(RawFd) -> Vec<u8>;

pub(crate) fn add(table: &mut Table) {
    let bits: &[(&str, Make)] = &[
        ("nothing", |fd| polled(fd, 0)),
        ("POLLIN", |fd| polled(fd, 1)),
        ("POLLPRI", |fd| polled(fd, 2)),
        ("POLLOUT", |fd| polled(fd, 4)),
        ("POLLERR", |fd| polled(fd, 8)),
        ("POLLHUP", |fd| polled(fd, 0x10)),
        ("POLLNVAL", |fd| polled(fd, 0x20)),
        ("POLLRDNORM", |fd| polled(fd, 0x40)),
        ("POLLRDBAND", |fd| polled(fd, 0x80)),
        ("POLLWRNORM", |fd| polled(fd, 0x100)),
        ("POLLWRBAND", |fd| polled(fd, 0x200)),
        ("POLLMSG", |fd| polled(fd, 0x400)),
        ("POLLREMOVE", |fd| polled(fd, 0x1000)),
        ("POLLRDHUP", |fd| polled(fd, 0x2000)),
        ("every event", |fd| polled(fd, EVERY_EVENT)),
        ("all bits", |fd| polled(fd, -1)),
    ];
    for &(name, make) in bits {
        let entry = || Argument::Made(name, make);
        table.int_always("poll SYS_poll", [entry(), number(1), number(0)]);
        table.int_always("ppoll SYS_ppoll", [entry(), number(1), now(), NULL, number(8)]);
        if matches!(name, "POLLIN" | "all bits") {
            table.int_always("__poll", [entry(), number(1), number(0)]);
            table.int_always("poll", [entry(), number(1), number(3)]);
            table.int_always("__poll_chk", [entry(), number(1), number(0), number(8)]);
            table.int_always("__ppoll_chk", [entry(), number(1), now(), NULL, number(8)]);
        }
    }
    table.int_always("raw:ppoll", [Argument::Made("all bits", |fd| polled(fd, -1)), number(1), now(), NULL, number(8)]);
    table.int("poll", [NOWHERE, number(1), number(0)]);
    // Libc reads the time itself, and so would end the program.
    table.int("SYS_ppoll", [Argument::Made("POLLIN", |fd| polled(fd, 1)), number(1), NOWHERE, NULL]);
    let bad_time = || Argument::Bytes("bad time", [0_i64, -1].into_iter().flat_map(i64::to_ne_bytes).collect());
    table.int("ppoll", [Argument::Made("POLLIN", |fd| polled(fd, 1)), number(1), bad_time(), NULL]);
    table.int_always(
        "poll",
        [Argument::Made("twice", |fd| [polled(fd, 1), polled(fd, 5)].concat()), number(2), number(0)],
    );
    table.int_always(
        "poll",
        [
            Argument::Made("beside a bad one", |fd| [polled(fd, 1), polled(777, 1), polled(-1, 1)].concat()),
            number(3),
            number(0),
        ],
    );

    let select = "select __select SYS_select";
    let end = || number(1024);
    table.int_always(select, [end(), set(), NULL, NULL, now()]);
    table.int_always(select, [end(), NULL, set(), NULL, now()]);
    table.int_always(select, [end(), NULL, NULL, set(), now()]);
    table.int_always(select, [end(), set(), set(), set(), now()]);
    table.int_always("pselect", [end(), set(), set(), set(), now(), NULL]);
    table.int_always("SYS_pselect6", [end(), set(), set(), set(), now(), NULL]);
    table.int("select", [end(), NOWHERE, NULL, NULL, now()]);
    table.int("select", [number(-1), set(), NULL, NULL, now()]);
    table.int("select", [end(), set(), NULL, NULL, bad_time()]);
    table.int("SYS_select", [end(), set(), NULL, NULL, NOWHERE]);
    table.int("pselect", [end(), set(), NULL, NULL, bad_time(), NULL]);
    table.int("select", [number(0), NULL, NULL, NULL, now()]);

    add_epoll(table);
    let event = || Argument::Bytes("event", [&1_u32.to_ne_bytes()[..], &[7; 8]].concat());
    let epoll = || Argument::Other(Other::Epoll);
    let control = "epoll_ctl SYS_epoll_ctl";
    for operation in [1, 2, 3, 4, 77] {
        table.int(control, [epoll(), number(operation), FD, event()]);
        table.int(control, [FD, number(operation), FD, event()]);
        table.int(control, [FD, number(operation), Argument::Other(Other::File), event()]);
        table.int(control, [FD, number(operation), epoll(), event()]);
    }
    table.int(control, [epoll(), number(1), FD, NULL]);
    table.int(control, [epoll(), number(1), FD, NOWHERE]);
    let events = || Argument::Room(24);
    table.int("epoll_wait SYS_epoll_wait", [FD, events(), number(2), number(0)]);
    table.int("epoll_pwait SYS_epoll_pwait", [FD, events(), number(2), number(0), NULL, number(8)]);
    table.int("epoll_pwait2 SYS_epoll_pwait2", [FD, events(), number(2), now(), NULL, number(8)]);
    table.steps("epoll_ctl twice, of a duplicate too", |state| {
        let (epoll, fd, duplicate) = (state.other(Other::Epoll), state.fd(), state.other(Other::Duplicate));
        let mut event = libc::epoll_event { events: 1, u64: 7 };
        let mut control = |operation, fd| {
            // SAFETY: the event lives through the call.
            said(unsafe { libc::epoll_ctl(epoll, operation, fd, &raw mut event) })
        };
        [
            control(libc::EPOLL_CTL_ADD, fd),
            control(libc::EPOLL_CTL_ADD, fd),
            control(libc::EPOLL_CTL_ADD, duplicate),
            control(libc::EPOLL_CTL_MOD, duplicate),
            control(libc::EPOLL_CTL_DEL, fd),
            control(libc::EPOLL_CTL_DEL, fd),
        ]
        .join(" ")
    });
}

/// How an epoll with this in it sees four moments: as it is, once more, after a new event, and after a read.
fn add_epoll(table: &mut Table) {
    macro_rules! rows {
        ($($title:literal $bits:expr;)*) => {
            $(
                let title = concat!("epoll of ", $title);
                table.steps(title, |state| moments(state, $bits));
                table.steps_on_empty(title, |state| moments(state, $bits));
            )*
        };
    }
    rows! {
        "EPOLLIN" 1;
        "EPOLLPRI" 2;
        "EPOLLOUT" 4;
        "EPOLLRDNORM" 0x40;
        "EPOLLWRNORM" 0x100;
        "EPOLLRDHUP" 0x2000;
        "nothing" 0;
        "every event" 0x3fff;
        "EPOLLIN EPOLLET" 1 | 1 << 31;
        "EPOLLIN EPOLLONESHOT" 1 | 1 << 30;
        "EPOLLIN EPOLLWAKEUP" 1 | 1 << 29;
        "EPOLLIN EPOLLEXCLUSIVE" 1 | 1 << 28;
        "EPOLLEXCLUSIVE EPOLLRDHUP" 0x2001 | 1 << 28;
        "EPOLLOUT EPOLLET" 4 | 1 << 31;
        "everything" u32::MAX;
    }
}

fn moments(state: &mut State, bits: u32) -> String {
    let epoll = state.other(Other::Epoll);
    let mut event = libc::epoll_event { events: bits, u64: 0x0102_0304_0506_0708 };
    // SAFETY: the event lives through the call.
    let added = said(unsafe { libc::epoll_ctl(epoll, libc::EPOLL_CTL_ADD, state.fd(), &raw mut event) });
    let look = || {
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; 4];
        nix::errno::Errno::set_raw(4711);
        // SAFETY: the array lives through the call, which writes at most its length.
        let found = unsafe { libc::epoll_wait(epoll, events.as_mut_ptr(), 4, 0) };
        let errno = shown_errno(nix::errno::Errno::last_raw());
        let shown: Vec<_> = events
            .iter()
            .take(found.max(0) as usize)
            .map(|event| {
                let (bits, data) = (event.events, event.u64);
                format!("{bits:x}/{data:x}")
            })
            .collect();
        format!("{found}{errno} {}", shown.join(" "))
    };
    let (first, second) = (look(), look());
    let new = state.folder().join("watched/other");
    std::fs::write(&new, "").expect("a file");
    std::fs::remove_file(&new).expect("the file goes");
    let third = look();
    let mut events = [0; 4096];
    let read = crate::instance::read(state.fd(), &mut events);
    format!("{added}, {first}, {second}, {third}, {read:?}, {}", look())
}
