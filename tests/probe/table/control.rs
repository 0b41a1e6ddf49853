//! `fcntl` and `ioctl`.

use crate::argument::{Argument, FD, NOWHERE, NULL, constant, number};
use crate::row::Table;

fn lock(kind: i32) -> Argument {
    let mut bytes = vec![0; 32];
    bytes[..2].copy_from_slice(&(kind as i16).to_ne_bytes());
    Argument::Bytes(["F_RDLCK", "F_WRLCK", "F_UNLCK"].get(kind as usize).copied().unwrap_or("no lock"), bytes)
}

fn owner(kind: i32, id: i32) -> Argument {
    Argument::Bytes(format!("owner {kind} {id}").leak(), [kind.to_ne_bytes(), id.to_ne_bytes()].concat())
}

/// Commands that headers do not name yet.
const F_DUPFD_QUERY: i64 = 1027;
const F_CREATED_QUERY: i64 = 1028;

pub(crate) fn add(table: &mut Table) {
    let all = "fcntl fcntl64 __fcntl fcntl@GLIBC_2.2.5 SYS_fcntl";
    let some = "fcntl SYS_fcntl";
    table.descriptor(all, [FD, constant!(F_DUPFD), number(100)]);
    table.descriptor(all, [FD, constant!(F_DUPFD_CLOEXEC), number(100)]);
    table.descriptor(some, [FD, constant!(F_DUPFD), number(-1)]);
    table.descriptor(some, [FD, constant!(F_DUPFD), number(1 << 30)]);
    table.int(all, [FD, constant!(F_GETFD)]);
    for flags in [0, 1, 2, -1] {
        table.int(some, [FD, constant!(F_SETFD), number(flags)]);
    }
    table.int(all, [FD, constant!(F_GETFL)]);
    for flags in [
        NULL,
        constant!(O_NONBLOCK),
        constant!(O_APPEND),
        constant!(O_ASYNC),
        constant!(O_DIRECT),
        constant!(O_NOATIME),
        constant!(O_RDWR),
        constant!(O_WRONLY),
        constant!(O_CLOEXEC),
        constant!(O_SYNC),
        constant!(O_DSYNC),
        constant!(O_TRUNC),
        constant!(O_CREAT),
        constant!(O_EXCL),
        constant!(O_PATH),
        constant!(O_DIRECTORY),
        constant!(O_LARGEFILE),
        constant!(O_APPEND | O_NONBLOCK | O_NOATIME),
        number(-1),
    ] {
        table.int(
            if matches!(flags, Argument::Constant("O_NONBLOCK", _)) { all } else { some },
            [FD, constant!(F_SETFL), flags],
        );
    }
    table.int(some, [FD, constant!(F_GETOWN)]);
    for process in [0, 1, -1, i64::from(i32::MAX)] {
        table.int(some, [FD, constant!(F_SETOWN), number(process)]);
    }
    let named = |name, command| Argument::Constant(name, command);
    let (set_owner, get_owner) = (named("F_SETOWN_EX", 15), named("F_GETOWN_EX", 16));
    table.int(some, [FD, get_owner.clone(), Argument::Room(8)]);
    table.int(some, [FD, get_owner, NOWHERE]);
    for (kind, id) in [(0, 1), (1, 1), (2, 1), (3, 1), (0, 0)] {
        table.int(some, [FD, set_owner.clone(), owner(kind, id)]);
    }
    table.int(some, [FD, named("F_GETOWNER_UIDS", 17), Argument::Room(8)]);
    table.int(some, [FD, named("F_GETSIG", 11)]);
    for signal in [0, 10, 64, 65, -1] {
        table.int(some, [FD, named("F_SETSIG", 10), number(signal)]);
    }
    for (get, set) in [
        (constant!(F_GETLK), constant!(F_SETLK)),
        (constant!(F_OFD_GETLK), constant!(F_OFD_SETLK)),
        (constant!(F_GETLK), constant!(F_SETLKW)),
        (constant!(F_OFD_GETLK), constant!(F_OFD_SETLKW)),
    ] {
        for kind in [0, 1, 2, 77] {
            table.int(some, [FD, set.clone(), lock(kind)]);
        }
        table.int(some, [FD, set.clone(), NOWHERE]);
        if !matches!(set, Argument::Constant("F_SETLKW" | "F_OFD_SETLKW", _)) {
            for kind in [0, 1, 2] {
                table.int(some, [FD, get.clone(), lock(kind)]);
            }
        }
    }
    table.int(some, [FD, constant!(F_GETLEASE)]);
    for kind in [0, 1, 2, 77] {
        table.int(some, [FD, constant!(F_SETLEASE), number(kind)]);
    }
    for mask in [0, 1, 0x8000_003f] {
        table.int(some, [FD, constant!(F_NOTIFY), number(mask)]);
    }
    table.int(some, [FD, constant!(F_GETPIPE_SZ)]);
    table.int(some, [FD, constant!(F_SETPIPE_SZ), number(4096)]);
    table.int(some, [FD, constant!(F_GET_SEALS)]);
    table.int(some, [FD, constant!(F_ADD_SEALS), number(1)]);
    for command in [1035, 1037] {
        table.int(some, [FD, number(command), Argument::Room(8)]);
    }
    // A hint that is set would be that of the one inode behind all such descriptors of the machine.
    for (command, hint) in [(1036, 0), (1036, 77), (1038, 0)] {
        table.int(
            some,
            [FD, number(command), Argument::Bytes(format!("hint {hint}").leak(), i64::to_ne_bytes(hint).to_vec())],
        );
    }
    table.int(some, [FD, named("F_DUPFD_QUERY", F_DUPFD_QUERY), FD]);
    table.int(some, [FD, named("F_CREATED_QUERY", F_CREATED_QUERY), NULL]);
    table.int(some, [FD, named("F_CANCELLK", 1029), NULL]);
    for command in [1029, 1039, 1040, 18, 4711, -1] {
        table.int(some, [FD, number(command), NULL]);
    }
    add_ioctl(table);
}

#[expect(clippy::too_many_lines, reason = "a table")]
fn add_ioctl(table: &mut Table) {
    let all = "ioctl __ioctl SYS_ioctl";
    let some = "ioctl SYS_ioctl";
    let queued = constant!(FIONREAD);
    let both = "ioctl SYS_ioctl";
    table.int_always(all, [FD, queued.clone(), Argument::Room(4)]);
    table.int_always(both, [FD, queued.clone(), Argument::Shown("8 bytes", 8, crate::argument::hexadecimal)]);
    table.int(some, [FD, queued.clone(), NULL]);
    table.int(some, [FD, queued, NOWHERE]);
    table.int(some, [FD, number(0x1_0000_541b), Argument::Room(4)]);
    table.int(some, [FD, number(-0x1_0000_0000 | 0x541b), Argument::Room(4)]);
    table.steps("ioctl(fd, FIONREAD, an odd address)", |state| {
        let mut bytes = [0xa5_u8; 9];
        let address = bytes.as_mut_ptr().wrapping_add(1);
        // SAFETY: FIONREAD writes four bytes, which lie within the array.
        let result = unsafe { libc::ioctl(state.fd(), libc::FIONREAD, address) };
        format!("{} {bytes:x?}", crate::table::said(result))
    });
    // Commands with a number by reference.
    let one = || Argument::Bytes("&1", 1_i32.to_ne_bytes().to_vec());
    let zero = || Argument::Bytes("&0", 0_i32.to_ne_bytes().to_vec());
    for command in [constant!(FIONBIO), constant!(FIOASYNC)] {
        for value in [one(), zero(), NULL, NOWHERE] {
            table.int(some, [FD, command.clone(), value]);
        }
    }
    table.int(some, [FD, constant!(FIOCLEX), NULL]);
    table.int(some, [FD, constant!(FIONCLEX), NULL]);
    let commands: &[(&str, i64)] = &[
        ("FIBMAP", 1),
        ("FIGETBSZ", 2),
        ("FIOQSIZE", 0x5460),
        ("FIFREEZE", 0xc004_5877),
        ("FITHAW", 0xc004_5878),
        ("FITRIM", 0xc018_5879),
        ("FICLONE", 0x4004_9409),
        ("FICLONERANGE", 0x4020_940d),
        ("FIDEDUPERANGE", 0xc018_9436),
        ("FS_IOC_FIEMAP", 0xc020_660b),
        ("FS_IOC_GETFLAGS", 0x8008_6601),
        ("FS_IOC_SETFLAGS", 0x4008_6602),
        ("FS_IOC_GETVERSION", 0x8008_7601),
        ("FS_IOC_FSGETXATTR", 0x801c_581f),
        ("FS_IOC_FSSETXATTR", 0x401c_5820),
        ("FS_IOC_GETFSLABEL", 0x8100_9431),
        ("FS_IOC_GETFSUUID", 0x8011_1500),
        ("FS_IOC_GETFSSYSFSPATH", 0x8081_1501),
        ("FS_IOC_RESVSP", 0x4030_5828),
        ("FS_IOC_UNRESVSP", 0x4030_582a),
        ("FS_IOC_ZERO_RANGE", 0x4030_5839),
        ("FIOSETOWN", 0x8901),
        ("SIOCSPGRP", 0x8902),
        ("FIOGETOWN", 0x8903),
        ("SIOCGPGRP", 0x8904),
        ("SIOCATMARK", 0x8905),
        ("SIOCGSTAMP", 0x8906),
        ("SIOCGSTAMPNS", 0x8907),
        ("SIOCOUTQ", 0x5411),
        ("SIOCOUTQNSD", 0x894b),
        ("SIOCUNIXFILE", 0x89e0),
        ("SIOCGIFNAME", 0x8910),
        ("SIOCGIFCONF", 0x8912),
        ("SIOCGIFFLAGS", 0x8913),
        ("SIOCGIFINDEX", 0x8933),
        ("SIOCGSKNS", 0x894c),
        ("SIOCBRADDBR", 0x89a0),
        ("SIOCDEVPRIVATE", 0x89f0),
        ("SIOCPROTOPRIVATE", 0x89e1),
        ("TCGETS", 0x5401),
        ("TCSETS", 0x5402),
        ("TCGETA", 0x5405),
        ("TCSBRK", 0x5409),
        ("TCXONC", 0x540a),
        ("TCFLSH", 0x540b),
        ("TIOCEXCL", 0x540c),
        ("TIOCSCTTY", 0x540e),
        ("TIOCGPGRP", 0x540f),
        ("TIOCSPGRP", 0x5410),
        ("TIOCSTI", 0x5412),
        ("TIOCGWINSZ", 0x5413),
        ("TIOCSWINSZ", 0x5414),
        ("TIOCMGET", 0x5415),
        ("TIOCCONS", 0x541d),
        ("TIOCPKT", 0x5420),
        ("TIOCNOTTY", 0x5422),
        ("TIOCGSID", 0x5429),
        ("TCGETS2", 0x802c_542a),
        ("TIOCGPTN", 0x8004_5430),
        ("TIOCVHANGUP", 0x5437),
        ("BLKGETSIZE64", 0x8008_1272),
        ("BLKROSET", 0x125d),
        ("PPPIOCGCHAN", 0x8004_7437),
        ("RNDGETENTCNT", 0x8004_5200),
        ("EPIOCGPARAMS", 0x8008_8a02),
        ("TFD_IOC_SET_TICKS", 0x4008_5400),
        ("PIDFD_GET_INFO", 0xc040_ff0b),
        ("NS_GET_NSTYPE", 0xb703),
        ("FUSE_DEV_IOC_CLONE", 0x8004_e500),
        ("inotify 'I' 1", 0x4004_4901),
        ("inotify 'I' 0 read", 0x8004_4900),
        ("nothing", 0),
        ("all", 0xffff_ffff),
    ];
    for &(name, command) in commands {
        let arguments = [FD, Argument::Constant(name, command), Argument::Bytes("zeroes", vec![0; 512])];
        table.int(some, &arguments);
    }
    for name in [("FIOSETOWN", 0x8901), ("FIOGETOWN", 0x8903), ("FIGETBSZ", 2), ("FIOQSIZE", 0x5460)] {
        table.int("ioctl", [FD, Argument::Constant(name.0, name.1), NULL]);
    }
    let cursor = Argument::Constant("INOTIFY_IOC_SETNEXTWD", 0x4004_4900);
    for argument in [0, 1, 70, -1, i64::from(i32::MAX), 0x8000_0000, 0x1_0000_0001, i64::MIN] {
        table.int(some, [FD, cursor.clone(), number(argument)]);
    }
    table.int("ioctl SYS_ioctl", [FD, number(0x1_4004_4900), number(70)]);
    table.int("ioctl SYS_ioctl", [FD, number(-0x1_0000_0000 | 0x4004_4900), number(70)]);
    table.steps("ioctl(fd, INOTIFY_IOC_SETNEXTWD, 70), then inotify_add_watch", |state| {
        // SAFETY: the argument is a number.
        let result = unsafe { libc::ioctl(state.fd(), 0x4004_4900, 70_i64) };
        let wd = crate::instance::watch(state.fd(), state.folder(), libc::IN_DELETE_SELF);
        format!("{} {wd}", crate::table::said(result))
    });
}
