//! Reading, writing and seeking.

use crate::argument::{Argument, FD, NOWHERE, NULL, Other, constant, number};
use crate::row::Table;

fn room(bytes: usize) -> Argument {
    Argument::Shown("buffer", bytes, |bytes| format!("[{}]", crate::instance::events(written(bytes))))
}

/// Up to the last byte that was written; an event ends in zeroes, never in the filling.
fn written(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().rposition(|&byte| byte != 0xa5).map_or(0, |last| last + 1);
    &bytes[..end]
}

/// An `iovec` for each of these rooms.
fn pieces(name: &'static str, rooms: &[usize]) -> Argument {
    Argument::Structure(name, rooms.iter().flat_map(|&bytes| [room(bytes), number(bytes as i64)]).collect())
}

fn text() -> Argument {
    Argument::Bytes("bytes", b"sixteen bytes...".to_vec())
}

fn text_pieces() -> Argument {
    Argument::Structure("pieces", vec![text(), number(16)])
}

pub(crate) fn add(table: &mut Table) {
    let read = "read __read SYS_read";
    for size in [0, 1, 15, 16, 47, 48, 272, 4096] {
        table.long_always_nonblocking(read, [FD, room(size.max(1)), number(size as i64)]);
    }
    table.long("__read_chk", [FD, room(64), number(64), number(64)]);
    table.long("__read_chk", [FD, room(16), number(16), number(64)]);
    table.long(read, [FD, NOWHERE, number(64)]);
    table.long(read, [FD, NULL, number(0)]);
    table.long(read, [FD, NULL, number(16)]);
    table.long(read, [FD, room(64), number(i64::MAX)]);
    table.long(read, [FD, room(64), number(-1)]);

    let readv = "readv SYS_readv";
    table.long_always_nonblocking(readv, [FD, pieces("40 64", &[40, 64]), number(2)]);
    table.long(readv, [FD, pieces("16 8 64", &[16, 8, 64]), number(3)]);
    table.long(readv, [FD, pieces("8 64", &[8, 64]), number(2)]);
    table.long(readv, [FD, pieces("64", &[64]), number(0)]);
    table.long(readv, [FD, pieces("64", &[64]), number(-1)]);
    table.long(readv, [FD, pieces("64", &[64]), number(1025)]);
    table.long(readv, [FD, NOWHERE, number(1)]);
    table.long(readv, [FD, Argument::Structure("nowhere 64", vec![NOWHERE, number(64)]), number(1)]);
    table.long(readv, [FD, Argument::Structure("negative length", vec![room(64), number(-1)]), number(1)]);

    let at = "pread pread64 __pread64 SYS_pread64";
    for offset in [0, 5, -1, i64::MAX] {
        table.long(at, [FD, room(64), number(64), number(offset)]);
    }
    table.long(at, [FD, NOWHERE, number(64), number(0)]);
    table.long(at, [FD, room(64), number(0), number(0)]);
    table.long("__pread_chk __pread64_chk", [FD, room(64), number(64), number(0), number(64)]);
    let vector_at = "preadv preadv64";
    for offset in [0, 7, -1] {
        table.long(vector_at, [FD, pieces("64", &[64]), number(1), number(offset)]);
        // The kernel's own takes the offset in two halves.
        table.long("SYS_preadv", [FD, pieces("64", &[64]), number(1), number(offset), number(offset)]);
    }
    table.long(vector_at, [FD, NOWHERE, number(1), number(0)]);
    let with_flags = "preadv2 preadv64v2";
    for flags in [
        NULL,
        constant!(RWF_NOWAIT),
        constant!(RWF_HIPRI),
        constant!(RWF_DSYNC),
        constant!(RWF_SYNC),
        constant!(RWF_APPEND),
        number(0x1000_0000),
        number(-1),
    ] {
        for offset in [-1, 0, -2] {
            table.long(with_flags, [FD, pieces("16 64", &[16, 64]), number(2), number(offset), flags.clone()]);
            table.long(
                "SYS_preadv2",
                [FD, pieces("16 64", &[16, 64]), number(2), number(offset), number(offset), flags.clone()],
            );
        }
    }
    table.long_always_nonblocking(with_flags, [FD, pieces("8 64", &[8, 64]), number(2), number(-1), NULL]);
    table.long(with_flags, [FD, NOWHERE, number(1), number(-1), NULL]);
    table.long(with_flags, [FD, pieces("64", &[64]), number(0), number(-1), NULL]);

    add_writing(table);
    add_seeking(table);
    // Past libc.
    for size in [16, 8] {
        table.long("raw:read", [FD, room(size), number(size as i64)]);
    }
    table.long("raw:read", [FD, room(64), number(64)]);
    table.long("raw:write", [FD, text(), number(16)]);
    table.long("raw:lseek", [FD, number(0), number(0)]);
}

fn add_writing(table: &mut Table) {
    let write = "write __write SYS_write";
    for size in [0, 16, -1] {
        table.long(write, [FD, text(), number(size)]);
    }
    table.long(write, [FD, NOWHERE, number(16)]);
    table.long("writev SYS_writev", [FD, text_pieces(), number(1)]);
    table.long("writev SYS_writev", [FD, text_pieces(), number(0)]);
    table.long("writev SYS_writev", [FD, text_pieces(), number(-1)]);
    table.long("writev SYS_writev", [FD, NOWHERE, number(1)]);
    for offset in [0, -1] {
        table.long("pwrite pwrite64 __pwrite64 SYS_pwrite64", [FD, text(), number(16), number(offset)]);
        table.long("pwritev pwritev64", [FD, text_pieces(), number(1), number(offset)]);
        table.long("SYS_pwritev", [FD, text_pieces(), number(1), number(offset), number(offset)]);
        for flags in [NULL, constant!(RWF_NOWAIT), constant!(RWF_APPEND), number(-1)] {
            table.long("pwritev2 pwritev64v2", [FD, text_pieces(), number(1), number(offset), flags.clone()]);
            table.long("SYS_pwritev2", [FD, text_pieces(), number(1), number(offset), number(offset), flags]);
        }
    }
    table.int("dprintf", [FD, Argument::Text("text")]);
    table.int("dprintf", [FD, Argument::Text("")]);
    table.int("__dprintf_chk", [FD, number(1), Argument::Text("text")]);
    table.int("eventfd_read", [FD, Argument::Room(8)]);
    table.int("eventfd_write", [FD, number(1)]);
}

fn add_seeking(table: &mut Table) {
    let seek = "lseek lseek64 __lseek llseek@GLIBC_2.2.5 SYS_lseek";
    for whence in [-1, 0, 1, 2, 3, 4, 5, 77] {
        for offset in [0, 7, -7] {
            table.long(if offset == 0 { seek } else { "lseek lseek64" }, [FD, number(offset), number(whence)]);
        }
    }

    let transfer = [Argument::Other(Other::PipeInput), NULL, number(64), number(2)];
    let [to, null, length, flags] = transfer;
    let from = Argument::Other(Other::PipeOutput);
    let file = Argument::Other(Other::File);
    let splice = "splice SYS_splice";
    table.long(splice, [FD, NULL, to.clone(), null, length.clone(), flags.clone()]);
    table.long(splice, [FD, Argument::Bytes("&0", vec![0; 8]), to.clone(), NULL, length.clone(), flags.clone()]);
    table.long(splice, [FD, NULL, to.clone(), NULL, number(0), flags.clone()]);
    table.long(splice, [FD, NULL, file.clone(), NULL, length.clone(), flags.clone()]);
    table.long(splice, [from.clone(), NULL, FD, NULL, length.clone(), flags.clone()]);
    table.long(splice, [from.clone(), NULL, FD, NULL, number(0), flags.clone()]);
    table.long(splice, [from.clone(), NULL, FD, Argument::Bytes("&0", vec![0; 8]), length.clone(), flags.clone()]);
    table.long(splice, [FD, NULL, FD, NULL, length.clone(), flags.clone()]);
    table.long(splice, [FD, NULL, to.clone(), NULL, length.clone(), number(0x100)]);
    table.long("tee SYS_tee", [FD, to.clone(), length.clone(), flags.clone()]);
    table.long("tee SYS_tee", [from.clone(), FD, length.clone(), flags.clone()]);
    table.long("tee SYS_tee", [FD, to.clone(), number(0), flags.clone()]);
    table.long("vmsplice SYS_vmsplice", [FD, text_pieces(), number(1), NULL]);
    table.long("vmsplice SYS_vmsplice", [FD, text_pieces(), number(0), NULL]);
    let sendfile = "sendfile sendfile64 SYS_sendfile";
    table.long(sendfile, [to.clone(), FD, NULL, length.clone()]);
    table.long(sendfile, [to.clone(), FD, Argument::Bytes("&0", vec![0; 8]), length.clone()]);
    table.long(sendfile, [file.clone(), FD, NULL, length.clone()]);
    table.long(sendfile, [FD, file.clone(), NULL, length.clone()]);
    table.long(sendfile, [FD, file.clone(), Argument::Bytes("&0", vec![0; 8]), length.clone()]);
    table.long(sendfile, [FD, FD, NULL, length.clone()]);
    table.long(sendfile, [to, FD, NOWHERE, length.clone()]);
    table.long(sendfile, [FD, file.clone(), NULL, number(0)]);
    let copy = "copy_file_range SYS_copy_file_range";
    table.long(copy, [FD, NULL, file.clone(), NULL, length.clone(), NULL]);
    table.long(copy, [file.clone(), NULL, FD, NULL, length.clone(), NULL]);
    table.long(copy, [FD, NULL, FD, NULL, length.clone(), NULL]);
    table.long(copy, [FD, NULL, file, NULL, length, number(1)]);
}
