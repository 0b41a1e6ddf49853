//! Calls for sockets, which inotify's descriptor is none.

use crate::argument::{Argument, FD, NOWHERE, NULL, constant, number};
use crate::row::Table;

fn address() -> Argument {
    let mut bytes = vec![0; 110];
    bytes[0] = 1;
    bytes[3] = b'x';
    Argument::Bytes("address", bytes)
}

fn length() -> Argument {
    Argument::Bytes("&110", 110_u32.to_ne_bytes().to_vec())
}

fn header(room: Argument) -> Argument {
    let pieces = Argument::Structure("piece", vec![room, number(16)]);
    Argument::Structure("header", vec![NULL, NULL, pieces, number(1), NULL, NULL, NULL, NULL])
}

pub(crate) fn add(table: &mut Table) {
    let buffer = || Argument::Room(64);
    let text = || Argument::Bytes("bytes", b"sixteen bytes...".to_vec());
    for flags in [0, 0x2, 0x20, 0x40, 0x100, -1] {
        table.long("recv", [FD, buffer(), number(64), number(flags)]);
        table.long("recvfrom SYS_recvfrom", [FD, buffer(), number(64), number(flags), NULL, NULL]);
        table.long("send __send", [FD, text(), number(16), number(flags)]);
        table.long("sendto SYS_sendto", [FD, text(), number(16), number(flags), NULL, NULL]);
        table.long("recvmsg SYS_recvmsg", [FD, header(buffer()), number(flags)]);
        table.long("sendmsg SYS_sendmsg", [FD, header(text()), number(flags)]);
        table.int("recvmmsg SYS_recvmmsg", [FD, header(buffer()), number(1), number(flags), NULL]);
        table.int("sendmmsg SYS_sendmmsg", [FD, header(text()), number(1), number(flags)]);
    }
    table.long("recv", [FD, NOWHERE, number(64), NULL]);
    table.long("recv", [FD, buffer(), number(0), NULL]);
    table.long("__recv_chk", [FD, buffer(), number(64), number(64), NULL]);
    table.long("__recvfrom_chk", [FD, buffer(), number(64), number(64), NULL, NULL]);
    table.long("recvfrom SYS_recvfrom", [FD, buffer(), number(64), NULL, Argument::Room(110), length()]);
    table.long("recvmsg SYS_recvmsg sendmsg SYS_sendmsg", [FD, NOWHERE, NULL]);
    table.long("recvmsg SYS_recvmsg sendmsg SYS_sendmsg", [FD, NULL, NULL]);
    table.int("recvmmsg SYS_recvmmsg sendmmsg SYS_sendmmsg", [FD, NULL, number(0), NULL, NULL]);
    table.int("recvmmsg SYS_recvmmsg", [FD, header(buffer()), number(1), NULL, NOWHERE]);
    let bad_time = Argument::Bytes("bad time", [-1_i64, -1].into_iter().flat_map(i64::to_ne_bytes).collect());
    table.int("recvmmsg SYS_recvmmsg", [FD, header(buffer()), number(1), NULL, bad_time]);

    for name in [3, 4, 7, 8, 16, 17, 38, 39, 57, 77] {
        table.int("getsockopt SYS_getsockopt", [FD, constant!(SOL_SOCKET), number(name), buffer(), length()]);
        table.int(
            "setsockopt SYS_setsockopt",
            [FD, constant!(SOL_SOCKET), number(name), Argument::Bytes("&1", vec![1, 0, 0, 0]), number(4)],
        );
    }
    table.int("getsockopt SYS_getsockopt", [FD, number(6), number(1), buffer(), length()]);
    table.int("getsockopt SYS_getsockopt", [FD, constant!(SOL_SOCKET), number(3), NOWHERE, NOWHERE]);
    table.int("setsockopt SYS_setsockopt", [FD, constant!(SOL_SOCKET), number(3), NULL, number(-1)]);
    table.int("getsockname getpeername SYS_getsockname SYS_getpeername", [FD, Argument::Room(110), length()]);
    table.int("getsockname getpeername SYS_getsockname SYS_getpeername", [FD, NULL, NULL]);
    for how in [0, 1, 2, 77] {
        table.int("shutdown SYS_shutdown", [FD, number(how)]);
    }
    table.int("listen SYS_listen", [FD, number(1)]);
    table.int("accept SYS_accept", [FD, NULL, NULL]);
    table.int("accept SYS_accept", [FD, Argument::Room(110), length()]);
    for flags in [0, 0x80000, -1] {
        table.int("accept4 SYS_accept4", [FD, NULL, NULL, number(flags)]);
    }
    table.int("bind connect __connect SYS_bind SYS_connect", [FD, address(), number(110)]);
    table.int("bind connect __connect SYS_bind SYS_connect", [FD, NULL, NULL]);
    table.int("bind connect SYS_bind SYS_connect", [FD, address(), number(-1)]);
    // AF_UNSPEC dissolves a socket's connection.
    table.int("connect __connect SYS_connect", [FD, Argument::Bytes("nobody", vec![0; 16]), number(16)]);
    table.int("bindresvport", [FD, NULL]);
    table.int(
        "getsourcefilter",
        [FD, NULL, address(), number(16), Argument::Room(4), Argument::Bytes("&0", vec![0; 4])],
    );
    table.int("getipv4sourcefilter", [FD, NULL, NULL, Argument::Room(4), Argument::Bytes("&0", vec![0; 4])]);
    table.int("setipv4sourcefilter", [FD, NULL, NULL, NULL, NULL]);
    table.int("getmsg@GLIBC_2.2.5 putmsg@GLIBC_2.2.5", [FD, NULL, NULL, NULL]);
    table.int("raw:getsockopt", [FD, constant!(SOL_SOCKET), constant!(SO_TYPE), Argument::Room(4), length()]);
    table.int("raw:shutdown", [FD, number(77)]);
}
