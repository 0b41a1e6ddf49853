//! What the descriptor is: status, file system, terminal, attributes.

use crate::argument::{Argument, FD, NOWHERE, NULL, constant, hexadecimal, number};
use crate::row::Table;

/// `struct stat`.
pub(crate) fn status() -> Argument {
    Argument::Shown("status", size_of::<libc::stat>(), shown_status)
}

/// All but the time of the last access, which other programs change as they use inodes of the same kind.
fn shown_status(bytes: &[u8]) -> String {
    let at = std::mem::offset_of!(libc::stat, st_atime);
    without(bytes, at, 16)
}

/// A number whose value is another one each time, but never 0.
fn without(bytes: &[u8], at: usize, length: usize) -> String {
    let mut bytes = bytes.to_vec();
    let is_set = bytes[at..at + length].iter().any(|&byte| byte != 0);
    bytes[at..at + length].fill(0);
    format!("{}{}", hexadecimal(&bytes), if is_set { "" } else { " never accessed" })
}

/// `struct statx`, all of it.
pub(crate) fn extended() -> Argument {
    Argument::Shown("status", size_of::<libc::statx>(), |bytes| {
        without(bytes, std::mem::offset_of!(libc::statx, stx_atime), 12)
    })
}

/// `struct statfs`.
fn file_system() -> Argument {
    Argument::Room(size_of::<libc::statfs>())
}

pub(crate) fn add(table: &mut Table) {
    let fstat = "fstat fstat64 SYS_fstat";
    table.int(fstat, [FD, status()]);
    table.int(fstat, [FD, NOWHERE]);
    table.int(fstat, [FD, NULL]);
    let older = "__fxstat __fxstat64 __fxstat@GLIBC_2.2.5 __fxstat64@GLIBC_2.2.5";
    for version in [0, 1, 2, 3, 7] {
        table.int(older, [number(version), FD, status()]);
    }
    table.int(older, [number(1), FD, NOWHERE]);
    let at = "fstatat fstatat64 SYS_newfstatat";
    let empty = || Argument::Text("");
    for flags in [
        constant!(AT_EMPTY_PATH),
        NULL,
        constant!(AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW),
        constant!(AT_EMPTY_PATH | AT_NO_AUTOMOUNT),
        number(0x8000_1000),
    ] {
        table.int(at, [FD, empty(), status(), flags.clone()]);
        table.int(
            "__fxstatat __fxstatat64 __fxstatat@GLIBC_2.4 __fxstatat64@GLIBC_2.4",
            [number(1), FD, empty(), status(), flags],
        );
    }
    table.int(at, [FD, NULL, status(), constant!(AT_EMPTY_PATH)]);
    table.int(at, [FD, NOWHERE, status(), constant!(AT_EMPTY_PATH)]);
    table.int(at, [FD, empty(), NOWHERE, constant!(AT_EMPTY_PATH)]);
    table.int(at, [FD, Argument::Text("x"), status(), constant!(AT_EMPTY_PATH)]);
    table.int(at, [FD, Argument::Text("/"), Argument::Shown("status", 144, |_| "some status".into()), NULL]);
    let statx = "statx SYS_statx";
    for mask in [constant!(STATX_ALL), NULL, constant!(STATX_BASIC_STATS), number(0x1fff), number(0x8000_0000)] {
        table.int(statx, [FD, empty(), constant!(AT_EMPTY_PATH), mask, extended()]);
    }
    table.int(statx, [FD, NULL, constant!(AT_EMPTY_PATH), constant!(STATX_ALL), extended()]);
    table.int(statx, [FD, NOWHERE, constant!(AT_EMPTY_PATH), constant!(STATX_ALL), extended()]);
    table.int(statx, [FD, empty(), NULL, constant!(STATX_ALL), extended()]);
    table.int(statx, [FD, empty(), constant!(AT_EMPTY_PATH), constant!(STATX_ALL), NOWHERE]);
    for flags in [0x1000 | 0x2000, 0x1000 | 0x4000, 0x1000 | 0x6000, 0x1000 | 1] {
        table.int(statx, [FD, empty(), number(flags), constant!(STATX_ALL), extended()]);
    }
    table.int("fstatfs fstatfs64 SYS_fstatfs", [FD, file_system()]);
    table.int("fstatfs fstatfs64 SYS_fstatfs", [FD, NOWHERE]);
    table.int("fstatvfs fstatvfs64", [FD, Argument::Room(size_of::<libc::statvfs>())]);
    for name in 0..=21 {
        table.long("fpathconf", [FD, number(name)]);
    }
    table.long("fpathconf", [FD, number(-1)]);
    table.int("isfdtype", [FD, constant!(S_IFSOCK)]);
    table.int("isfdtype", [FD, constant!(S_IFREG)]);
    table.int("isfdtype", [FD, NULL]);
    add_terminal(table);
    add_attributes(table);
    table.int("raw:fstat", [FD, Argument::Shown("status", 144, |_| "some status".into())]);
    table.int("raw:fstatfs", [FD, file_system()]);
}

fn add_terminal(table: &mut Table) {
    table.int("isatty", [FD]);
    table.pointer("ttyname", [FD]);
    table.int("ttyname_r", [FD, Argument::Room(64), number(64)]);
    table.int("__ttyname_r_chk", [FD, Argument::Room(64), number(64), number(64)]);
    table.pointer("ptsname", [FD]);
    table.int("ptsname_r", [FD, Argument::Room(64), number(64)]);
    table.int("__ptsname_r_chk", [FD, Argument::Room(64), number(64), number(64)]);
    table.int("grantpt unlockpt tcdrain tcgetpgrp tcgetsid", [FD]);
    table.int("tcgetattr", [FD, Argument::Room(60)]);
    let settings = || Argument::Bytes("settings", vec![0; 60]);
    for action in 0..=3 {
        table.int("tcsetattr", [FD, number(action), settings()]);
    }
    table.int("tcflow tcflush tcsendbreak", [FD, NULL]);
    table.int("tcsetpgrp", [FD, number(1)]);
    table.int("gtty@GLIBC_2.2.5 stty@GLIBC_2.2.5 gtty stty", [FD, Argument::Room(64)]);
    table.int("sockatmark", [FD]);
    table.int("fdetach@GLIBC_2.2.5 isastream@GLIBC_2.2.5 isastream", [FD]);
}

fn add_attributes(table: &mut Table) {
    let name = || Argument::Text("user.name");
    let value = || Argument::Bytes("value", b"value".to_vec());
    let security = || Argument::Text("security.selinux");
    table.long("fgetxattr SYS_fgetxattr", [FD, name(), Argument::Room(64), number(64)]);
    table.long("fgetxattr SYS_fgetxattr", [FD, name(), NULL, number(0)]);
    table.long("fgetxattr SYS_fgetxattr", [FD, security(), Argument::Room(64), number(64)]);
    table.long("fgetxattr SYS_fgetxattr", [FD, Argument::Text("system.sockprotoname"), Argument::Room(64), number(64)]);
    table.long("fgetxattr SYS_fgetxattr", [FD, Argument::Text("trusted.x"), Argument::Room(64), number(64)]);
    table.long("fgetxattr SYS_fgetxattr", [FD, Argument::Text("none"), Argument::Room(64), number(64)]);
    table.long("fgetxattr SYS_fgetxattr", [FD, NOWHERE, Argument::Room(64), number(64)]);
    table.long("flistxattr SYS_flistxattr", [FD, Argument::Room(64), number(64)]);
    table.long("flistxattr SYS_flistxattr", [FD, NULL, number(0)]);
    table.int("fsetxattr SYS_fsetxattr", [FD, name(), value(), number(5), NULL]);
    table.int("fsetxattr SYS_fsetxattr", [FD, Argument::Text("trusted.x"), value(), number(5), NULL]);
    table.int("fsetxattr SYS_fsetxattr", [FD, Argument::Text("none"), value(), number(5), NULL]);
    table.int("fsetxattr SYS_fsetxattr", [FD, name(), value(), number(5), number(77)]);
    table.int("fremovexattr SYS_fremovexattr", [FD, name()]);
    table.int("fremovexattr SYS_fremovexattr", [FD, Argument::Text("none")]);
    let empty = || Argument::Text("");
    let path = constant!(AT_EMPTY_PATH);
    let arguments = || Argument::Structure("value", vec![value(), number(5)]);
    table.long("SYS_getxattrat", [FD, empty(), path.clone(), name(), arguments(), number(16)]);
    table.long("SYS_setxattrat", [FD, empty(), path.clone(), name(), arguments(), number(16)]);
    table.long("SYS_listxattrat", [FD, empty(), path.clone(), Argument::Room(64), number(64)]);
    table.long("SYS_removexattrat", [FD, empty(), path.clone(), name()]);
    table.long("SYS_file_getattr", [FD, empty(), Argument::Room(24), number(24), path.clone()]);
    table.long("SYS_file_setattr", [FD, empty(), Argument::Bytes("zeroes", vec![0; 24]), number(24), path]);
}
