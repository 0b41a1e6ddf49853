//! Calls that would change a file, its data or its owner; and mappings of it.

use crate::argument::{Argument, FD, NOWHERE, NULL, Other, constant, number};
use crate::row::Table;

pub(crate) fn add(table: &mut Table) {
    table.int("fsync fdatasync syncfs SYS_fsync SYS_fdatasync SYS_syncfs", [FD]);
    for flags in [NULL, constant!(SYNC_FILE_RANGE_WRITE), number(7), number(8)] {
        table.int("sync_file_range SYS_sync_file_range", [FD, NULL, number(1), flags]);
    }
    table.int("sync_file_range SYS_sync_file_range", [FD, number(-1), number(1), NULL]);
    let advise = "posix_fadvise posix_fadvise64 SYS_fadvise64";
    for advice in [0, 1, 2, 3, 4, 5, 6, 77, -1] {
        table.int(advise, [FD, NULL, number(1), number(advice)]);
    }
    table.int(advise, [FD, NULL, number(-1), NULL]);
    table.long("readahead SYS_readahead", [FD, NULL, number(1)]);
    table.long("readahead SYS_readahead", [FD, NULL, number(0)]);
    table.long("SYS_cachestat", [FD, Argument::Bytes("range", vec![0; 16]), Argument::Room(40), NULL]);
    let allocate = "fallocate fallocate64 SYS_fallocate";
    for mode in [0, 1, 3, 8, 0x10, 0x4000_0000, -1] {
        table.int(allocate, [FD, number(mode), NULL, number(1)]);
    }
    for (offset, length) in [(0, 0), (-1, 1), (0, -1), (i64::MAX, i64::MAX)] {
        table.int(allocate, [FD, NULL, number(offset), number(length)]);
        table.int("posix_fallocate posix_fallocate64", [FD, number(offset), number(length)]);
    }
    table.int("posix_fallocate posix_fallocate64", [FD, NULL, number(1)]);
    for length in [0, 1, -1] {
        table.int("ftruncate ftruncate64 SYS_ftruncate", [FD, number(length)]);
    }
    for mode in [0o600, 0o777, -1] {
        table.int("fchmod SYS_fchmod", [FD, number(mode)]);
    }
    let empty = || Argument::Text("");
    let here = || constant!(AT_EMPTY_PATH);
    table.int("fchmodat", [FD, empty(), number(0o600), here()]);
    table.int("fchmodat SYS_fchmodat", [FD, empty(), number(0o600), NULL]);
    table.int("fchmodat SYS_fchmodat", [FD, Argument::Text("x"), number(0o600), NULL]);
    table.int("SYS_fchmodat2", [FD, empty(), number(0o600), here()]);
    for owner in [-1, 0] {
        table.int("fchown SYS_fchown", [FD, number(owner), number(owner)]);
        table.int("fchownat SYS_fchownat", [FD, empty(), number(owner), number(owner), here()]);
        table.int("fchownat SYS_fchownat", [FD, empty(), number(owner), number(owner), NULL]);
    }
    let times = || Argument::Bytes("times", vec![0; 32]);
    table.int("futimens", [FD, NULL]);
    table.int("futimens", [FD, times()]);
    table.int("futimens", [FD, NOWHERE]);
    table.int("futimes", [FD, NULL]);
    table.int("futimes", [FD, times()]);
    table.int("futimesat SYS_futimesat", [FD, NULL, NULL]);
    table.int("futimesat SYS_futimesat", [FD, empty(), NULL]);
    table.int("utimensat SYS_utimensat", [FD, empty(), NULL, here()]);
    table.int("utimensat SYS_utimensat", [FD, empty(), times(), here()]);
    table.int("utimensat SYS_utimensat", [FD, NULL, NULL, NULL]);
    table.int("SYS_utimensat", [FD, NULL, times(), NULL]);
    // Both UTIME_OMIT: nothing is to be done.
    let omitted = [0, libc::UTIME_OMIT, 0, libc::UTIME_OMIT].into_iter().flat_map(i64::to_ne_bytes).collect();
    table.int("futimens", [FD, Argument::Bytes("omitted", omitted)]);

    for command in [("F_ULOCK", 0), ("F_LOCK", 1), ("F_TLOCK", 2), ("F_TEST", 3), ("77", 77)] {
        table.int("lockf lockf64", [FD, Argument::Constant(command.0, command.1), NULL]);
    }
    for operation in [constant!(LOCK_SH), constant!(LOCK_EX), constant!(LOCK_UN), NULL, number(77)] {
        table.int("flock SYS_flock", [FD, operation]);
    }
    table.steps("flock of the descriptor, then through a duplicate and another instance", |state| {
        let (fd, duplicate, other) = (state.fd(), state.other(Other::Duplicate), state.other(Other::Instance));
        // One inode is behind all instances, so another program may hold a lock of it for a moment: this waits for that.
        // SAFETY: takes numbers only.
        unsafe { libc::flock(fd, libc::LOCK_EX) };
        let lock = |fd, operation| {
            // SAFETY: takes numbers only.
            crate::table::said(unsafe { libc::flock(fd, operation) })
        };
        let exclusive = libc::LOCK_EX | libc::LOCK_NB;
        [(fd, exclusive), (duplicate, exclusive), (other, exclusive), (duplicate, libc::LOCK_UN), (other, exclusive)]
            .map(|(fd, operation)| lock(fd, operation))
            .join(" ")
    });
    add_mapping(table);
}

fn add_mapping(table: &mut Table) {
    let map = "mmap mmap64 SYS_mmap";
    for protection in 0..8 {
        for sharing in [constant!(MAP_SHARED), constant!(MAP_PRIVATE), constant!(MAP_SHARED_VALIDATE)] {
            table.pointer(map, [NULL, number(4096), number(protection), sharing, FD, NULL]);
        }
    }
    for (length, flags, offset) in [(0, 1, 0), (4096, 0, 0), (4096, 1, 1), (4096, 1, -4096), (4096, 0x8000_0001, 0)] {
        table.pointer(map, [NULL, number(length), number(1), number(flags), FD, number(offset)]);
    }
    table.steps("mmap of anonymous memory, which does not look at the descriptor", |state| {
        let (fd, flags) = (state.fd(), libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: a new mapping where the kernel chooses overlaps nothing.
        let address = unsafe { libc::mmap(std::ptr::null_mut(), 4096, libc::PROT_READ, flags, fd, 0) };
        if address == libc::MAP_FAILED {
            return crate::table::said(-1);
        }
        // SAFETY: the mapping is this call's own.
        crate::table::said(unsafe { libc::munmap(address, 4096) })
    });
}
