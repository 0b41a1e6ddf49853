//! Which object a path leads to.

use crate::case::Case;
use crate::list;
use crate::needs::Need;
use crate::operation::{Operation, Path};
use crate::shorthand::{
    chmod, close, group, link, mkdir, open, open_read, read_all, rename, symlink, touch, unlink, watch,
};

use super::words::{ALL, as_nobody, drain};

pub(super) fn cases() -> Vec<Case> {
    let only = ALL | libc::IN_ONLYDIR;
    let itself = ALL | libc::IN_DONT_FOLLOW;
    vec![
        Case::new("ADD-4 a path outside the address space is EFAULT", list![group(0), watch(0, Path::Unmapped, ALL)])
            .results("EFAULT"),
        Case::new(
            "ADD-5 a component that does not exist, or the empty path, is ENOENT",
            list![
                group(0),
                symlink("absent", "dangling"),
                ["absent", "", "absent/f", "dangling"].map(|path| watch(0, path, ALL)),
            ],
        )
        .results("ENOENT ENOENT ENOENT ENOENT"),
        Case::new(
            "ADD-6 a component over 255 bytes or a path over 4095 is ENAMETOOLONG",
            list![
                group(0),
                watch(0, Path::Component(255), ALL),
                watch(0, Path::Component(256), ALL),
                watch(0, Path::Dots(4095), ALL),
                watch(0, Path::Dots(4096), ALL),
            ],
        )
        .results("ENOENT ENAMETOOLONG 1 ENAMETOOLONG"),
        Case::new(
            "ADD-7 too many symbolic links are ELOOP",
            list![
                group(0),
                symlink("loop", "loop"),
                watch(0, "loop", ALL),
                watch(0, "loop/", ALL),
                watch(0, "loop", itself),
            ],
        )
        .results("ELOOP ELOOP 1"),
        Case::new(
            "ADD-8 a component that is not a directory is ENOTDIR",
            list![
                touch("f"),
                symlink("f", "l"),
                group(0),
                ["f/", "f/x", "f/.", "l/", "f/.."].map(|path| watch(0, path, ALL)),
            ],
        )
        .results("ENOTDIR ENOTDIR ENOTDIR ENOTDIR ENOTDIR"),
        Case::new(
            "ADD-9 ADD-10 no search or read permission is EACCES",
            list![
                mkdir("d"),
                mkdir("s"),
                ["f", "w", "n", "d/f", "s/f"].into_iter().flat_map(touch).collect::<Vec<_>>(),
                chmod("w", 0o222),
                chmod("n", 0o000),
                chmod("d", 0o644),
                chmod("s", 0o711),
                open(1, "n", libc::O_PATH),
                as_nobody(list![
                    group(0),
                    ["f", "w", "n", "d/f", "d", "s/f", "s", "."].map(|path| watch(0, path, ALL)),
                    watch(0, Path::Link(1), ALL),
                ]),
                group(0),
                watch(0, "n", ALL),
            ],
        )
        .needs(Need::Root)
        .results("[0 4 1 EACCES EACCES EACCES 2 3 EACCES 4 EACCES] 4 1"),
        Case::new(
            "ADD-11 IN_ONLYDIR wants a directory",
            list![
                touch("f"),
                mkdir("d"),
                symlink("d", "ld"),
                symlink("f", "lf"),
                group(0),
                ["f", "lf", "ld", "d"].map(|path| watch(0, path, only)),
                touch("d/g"),
                read_all(0),
            ],
        )
        .events("1:CREATE(g) 1:OPEN(g) 1:CLOSE_WRITE(g)"),
        Case::new(
            "ADD-12 IN_DONT_FOLLOW watches the symbolic link itself",
            list![
                touch("f"),
                mkdir("d"),
                symlink("f", "l"),
                symlink("d", "ld"),
                symlink("absent", "dangling"),
                group(0),
                ["f", "l", "dangling"].map(|path| watch(0, path, itself)),
                watch(0, "ld", itself | only),
                watch(0, "ld/", itself | only),
                watch(0, "d", ALL),
                Operation::Lchown { path: "l".into(), user: u32::MAX, group: u32::MAX },
                chmod("l", 0o600),
                rename("dangling", "other"),
                touch("d/g"),
                unlink("l"),
                drain(),
            ],
        ),
        Case::new(
            "ADD-13 two names of one inode give one wd",
            list![
                touch("f"),
                mkdir("d"),
                link("f", "hard"),
                symlink("f", "soft"),
                symlink("d", "ld"),
                open_read(1, "f"),
                open(2, "f", libc::O_PATH),
                open_read(3, "d"),
                group(0),
                ["f", "hard", "soft", "./f", "d/../f"].map(|path| watch(0, path, ALL)),
                [Path::Link(1), Path::Link(2)].map(|path| watch(0, path, ALL)),
                ["d", "ld", "d/", "d/."].map(|path| watch(0, path, ALL)),
                watch(0, Path::Link(3), ALL),
            ],
        )
        .results("1 1 1 1 1 1 1 2 2 2 2 2"),
        Case::new(
            "ADD-14 /proc/self/fd/N is followed as the magic link that it is",
            list![
                touch("f"),
                touch("g"),
                open(1, "f", libc::O_PATH),
                open_read(2, "g"),
                unlink("f"),
                touch("f"),
                unlink("g"),
                group(0),
                watch(0, Path::Link(1), ALL),
                watch(0, Path::Link(2), ALL),
                watch(0, "f", ALL),
                chmod("f", 0o600),
                close(1),
                close(2),
                drain(),
            ],
        )
        .events("3:ATTRIB 1:DELETE_SELF 1:IGNORED 2:CLOSE_NOWRITE 2:DELETE_SELF 2:IGNORED"),
        Case::new(
            "ADD-14 with IN_DONT_FOLLOW the link of procfs itself is watched",
            list![
                touch("f"),
                open_read(1, "f"),
                group(0),
                watch(0, Path::Link(1), ALL),
                watch(0, Path::Link(1), itself),
                watch(0, "f", ALL),
            ],
        )
        .results("1 2 1"),
        Case::new(
            "ADD-15 a relative path starts at the caller's directory",
            list![
                mkdir("d"),
                touch("f"),
                touch("d/f"),
                group(0),
                watch(0, "f", ALL),
                Operation::Chdir("d".into()),
                watch(0, "f", ALL),
                watch(0, "../f", ALL),
                Operation::Child(list![Operation::Chdir("..".into()), watch(0, "f", ALL), watch(0, ".", ALL)]),
                watch(0, "f", ALL),
            ],
        )
        .results("1 0 2 1 [0 1 3] 2"),
        Case::new(
            "ADD-16 a watch follows its inode, not the name",
            list![
                mkdir("d"),
                touch("f"),
                group(0),
                watch(0, "f", libc::IN_ATTRIB),
                watch(0, "d", libc::IN_CREATE),
                rename("f", "n"),
                rename("d", "e"),
                touch("f"),
                mkdir("d"),
                chmod("f", 0o600),
                chmod("n", 0o600),
                touch("d/x"),
                touch("e/y"),
                watch(0, "f", ALL),
                watch(0, "n", libc::IN_ATTRIB),
                drain(),
            ],
        )
        .events("1:ATTRIB 2:CREATE(y)"),
    ]
}
