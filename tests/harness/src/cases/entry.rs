//! What each call on a directory's entries shows.

use crate::case::Case;
use crate::list;
use crate::operation::{Operation, Path};
use crate::shorthand::{
    close, group, link, mkdir, open, open_read, read_all, rename, rename_with, rmdir, slot, symlink, touch, unlink,
    watch, write,
};

use super::words::{ALL, both, drain};

/// Directories A (wd 1) and B (wd 2) with A/f (wd 3) and B/g (wd 4).
fn two_directories() -> Vec<Operation> {
    list![
        mkdir("A"),
        mkdir("B"),
        touch("A/f"),
        touch("B/g"),
        group(0),
        ["A", "B", "A/f", "B/g"].map(|path| watch(0, path, ALL)),
    ]
}

fn moving(name: &'static str, operations: Vec<Operation>) -> Case {
    Case::new(name, list![two_directories(), operations, drain()])
}

fn on_name(name: &'static str, operations: Vec<Operation>) -> Case {
    Case::new(name, list![touch("f"), both("f"), operations, drain()])
}

fn made_and_removed() -> Vec<Case> {
    vec![
        on_name("EVENT-11 link", list![link("f", "n")]).events("2:ATTRIB 1:CREATE(n)"),
        on_name(
            "EVENT-10 symlink, FIFO and directory",
            list![symlink("f", "l"), Operation::Mkfifo("p".into()), mkdir("s"), mkdir("s"), mkdir("s/t")],
        )
        .events("1:CREATE(l) 1:CREATE(p) 1:CREATE,ISDIR(s)"),
        on_name("EVENT-16 unlink of the last link, nobody holding it", list![unlink("f")])
            .events("2:ATTRIB 2:DELETE_SELF 2:IGNORED 1:DELETE(f)"),
        on_name(
            "unlink of the last link of an open file",
            list![open(1, "f", libc::O_RDWR), unlink("f"), write(1, 1), read_all(0), close(1)],
        )
        .events(
            "1:OPEN(f) 2:OPEN 2:ATTRIB 1:DELETE(f) 1:MODIFY(f) 2:MODIFY 1:CLOSE_WRITE(f) \
             2:CLOSE_WRITE 2:DELETE_SELF 2:IGNORED",
        ),
        on_name(
            "unlink of the last link, held by O_PATH",
            list![open(1, "f", libc::O_PATH), unlink("f"), read_all(0), close(1)],
        )
        .events("2:ATTRIB 1:DELETE(f) 2:DELETE_SELF 2:IGNORED"),
        on_name(
            "unlink of the last link, held by a mapping",
            list![
                open(1, "f", libc::O_RDWR),
                write(1, 1),
                Operation::Map { descriptor: slot(1), place: 0, writable: true },
                close(1),
                unlink("f"),
                read_all(0),
                Operation::Unmap { place: 0 },
            ],
        ),
        on_name("unlink while another link remains", list![link("f", "n"), unlink("f"), unlink("n")])
            .events("2:ATTRIB 1:CREATE(n) 2:ATTRIB 1:DELETE(f) 2:ATTRIB 2:DELETE_SELF 2:IGNORED 1:DELETE(n)"),
        Case::new(
            "unlink of a symbolic link with its own watch",
            list![
                symlink("absent", "l"),
                group(0),
                watch(0, ".", ALL),
                watch(0, "l", ALL | libc::IN_DONT_FOLLOW),
                unlink("l"),
                drain()
            ],
        )
        .events("2:ATTRIB 2:DELETE_SELF 2:IGNORED 1:DELETE(l)"),
        on_name(
            "EVENT-17 of a file opened by one name and unlinked by two, the other name's end is the deletion",
            list![
                link("f", "n"),
                open(1, "f", libc::O_RDWR),
                unlink("f"),
                unlink("n"),
                read_all(0),
                watch(0, Path::Link(1), ALL),
                write(1, 1),
                close(1),
            ],
        )
        .events(
            "2:ATTRIB 1:CREATE(n) 1:OPEN(f) 2:OPEN 2:ATTRIB 1:DELETE(f) 2:ATTRIB 2:DELETE_SELF 2:IGNORED 1:DELETE(n) \
             1:MODIFY(f) 3:MODIFY 1:CLOSE_WRITE(f) 3:CLOSE_WRITE 3:DELETE_SELF 3:IGNORED",
        ),
        Case::new("rmdir", list![mkdir("s"), both("s"), rmdir("s"), drain()])
            .events("2:DELETE_SELF 2:IGNORED 1:DELETE,ISDIR(s)"),
        Case::new(
            "rmdir of an open directory",
            list![mkdir("s"), both("s"), open_read(1, "s"), rmdir("s"), read_all(0), close(1), drain()],
        )
        .events(
            "1:OPEN,ISDIR(s) 2:OPEN,ISDIR 1:DELETE,ISDIR(s) 1:CLOSE_NOWRITE,ISDIR(s) \
             2:CLOSE_NOWRITE,ISDIR 2:DELETE_SELF 2:IGNORED",
        ),
        Case::new(
            "rmdir of a working directory",
            list![
                mkdir("s"),
                both("s"),
                Operation::Chdir("s".into()),
                rmdir("../s"),
                read_all(0),
                Operation::Chdir("/".into()),
                drain()
            ],
        )
        .events("1:DELETE,ISDIR(s) 2:DELETE_SELF 2:IGNORED"),
        on_name(
            "calls that fail show nothing",
            list![
                unlink("absent"),
                rmdir("f"),
                rmdir("absent"),
                mkdir("f"),
                link("absent", "n"),
                link("f", "f"),
                symlink("x", "f"),
                rename("absent", "n"),
                rename("f", "absent/n"),
                rename_with("f", "f", libc::RENAME_NOREPLACE),
                rename_with("f", "absent", libc::RENAME_EXCHANGE),
            ],
        )
        .events(""),
        on_name("a name made again is not the watched object", list![unlink("f"), touch("f"), open_read(1, "f")]),
    ]
}

fn moved() -> Vec<Case> {
    let exchange = libc::RENAME_EXCHANGE;
    vec![
        on_name("rename in one directory", list![rename("f", "n")])
            .events("1:MOVED_FROM(f)#1 1:MOVED_TO(n)#1 2:MOVE_SELF"),
        moving("rename across directories", list![rename("A/f", "B/n")])
            .events("1:MOVED_FROM(f)#1 2:MOVED_TO(n)#1 3:MOVE_SELF"),
        moving("EVENT-15 rename over an existing file", list![rename("A/f", "B/g")])
            .events("1:MOVED_FROM(f)#1 2:MOVED_TO(g)#1 4:ATTRIB 3:MOVE_SELF 4:DELETE_SELF 4:IGNORED"),
        moving("rename over an open file", list![open_read(1, "B/g"), rename("A/f", "B/g"), read_all(0), close(1)]),
        moving("rename over a file with another link", list![link("B/g", "h"), rename("A/f", "B/g")])
            .events("4:ATTRIB 1:MOVED_FROM(f)#1 2:MOVED_TO(g)#1 4:ATTRIB 3:MOVE_SELF"),
        moving(
            "rename to itself or onto a link of itself shows nothing",
            list![rename("A/f", "A/f"), link("A/f", "B/f"), read_all(0), rename("A/f", "B/f")],
        )
        .events("3:ATTRIB 2:CREATE(f)"),
        moving(
            "rename with RENAME_NOREPLACE",
            list![rename_with("A/f", "B/g", libc::RENAME_NOREPLACE), rename_with("A/f", "B/n", libc::RENAME_NOREPLACE)],
        )
        .events("1:MOVED_FROM(f)#1 2:MOVED_TO(n)#1 3:MOVE_SELF"),
        moving("EVENT-15 rename with RENAME_EXCHANGE of two files", list![rename_with("A/f", "B/g", exchange)]).events(
            "1:MOVED_FROM(f)#1 2:MOVED_TO(g)#1 3:MOVE_SELF 2:MOVED_FROM(g)#2 1:MOVED_TO(f)#2 \
             4:MOVE_SELF",
        ),
        moving(
            "rename with RENAME_EXCHANGE of a file and a directory",
            list![mkdir("B/s"), watch(0, "B/s", ALL), rename_with("A/f", "B/s", exchange)],
        )
        .events(
            "2:CREATE,ISDIR(s) 1:MOVED_FROM(f)#1 2:MOVED_TO(s)#1 3:MOVE_SELF \
             2:MOVED_FROM,ISDIR(s)#2 1:MOVED_TO,ISDIR(f)#2 5:MOVE_SELF",
        ),
        moving(
            "EVENT-6 rename of a directory",
            list![
                mkdir("A/s"),
                touch("A/s/x"),
                watch(0, "A/s", ALL),
                watch(0, "A/s/x", ALL),
                read_all(0),
                rename("A/s", "B/t"),
                touch("B/t/y"),
            ],
        )
        .events(
            "1:CREATE,ISDIR(s) 1:MOVED_FROM,ISDIR(s)#1 2:MOVED_TO,ISDIR(t)#1 5:MOVE_SELF \
             5:CREATE(y) 5:OPEN(y) 5:CLOSE_WRITE(y)",
        ),
        moving(
            "rename of a directory over an empty one",
            list![
                mkdir("A/s"),
                mkdir("B/t"),
                watch(0, "A/s", ALL),
                watch(0, "B/t", ALL),
                read_all(0),
                rename("A/s", "B/t"),
            ],
        )
        .events(
            "1:CREATE,ISDIR(s) 2:CREATE,ISDIR(t) 1:MOVED_FROM,ISDIR(s)#1 2:MOVED_TO,ISDIR(t)#1 \
             6:ATTRIB,ISDIR 5:MOVE_SELF 6:DELETE_SELF 6:IGNORED",
        ),
        moving("rename of the watched directory", list![rename("A", "C")]).events("1:MOVE_SELF"),
        moving(
            "EVENT-9 an open file reports its new directory and name",
            list![open(1, "A/f", libc::O_RDWR), rename("A/f", "B/n"), write(1, 1), close(1)],
        )
        .events(
            "1:OPEN(f) 3:OPEN 1:MOVED_FROM(f)#1 2:MOVED_TO(n)#1 3:MOVE_SELF 2:MODIFY(n) 3:MODIFY \
             2:CLOSE_WRITE(n) 3:CLOSE_WRITE",
        ),
        moving(
            "EVENT-14 a watch of one half sees that half",
            list![
                watch(0, "B", libc::IN_DELETE),
                rename("A/f", "B/n"),
                rename("B/n", "A/f"),
                watch(0, Path::from("A"), libc::IN_MOVED_FROM),
                rename("A/f", "A/n"),
            ],
        )
        .events("1:MOVED_FROM(f)#1 3:MOVE_SELF 1:MOVED_TO(f)#2 3:MOVE_SELF 1:MOVED_FROM(f)#3 3:MOVE_SELF"),
    ]
}

/// What happens to entries of directories.
#[must_use]
pub fn cases() -> Vec<Case> {
    let mut cases = made_and_removed();
    cases.extend(moved());
    cases
}
