//! The end of a watch, IN_ONESHOT and IN_EXCL_UNLINK.

use crate::case::Case;
use crate::list;
use crate::needs::Need;
use crate::operation::{Buffer, Operation};
use crate::shorthand::{
    chmod, close, group, mkdir, open, open_read, read_all, remove, rename, rmdir, slot, touch, unlink, watch, write,
};

use super::words::{ALL, both, drain};

/// How watches end.
#[must_use]
pub fn cases() -> Vec<Case> {
    let once = ALL | libc::IN_ONESHOT;
    let linked = ALL | libc::IN_EXCL_UNLINK;
    let truncate = |size| Operation::Ftruncate { descriptor: slot(1), size };
    let fchmod = || Operation::Fchmod { descriptor: slot(1), mode: 0o600 };
    vec![
        Case::new(
            "IGNORED-1 IGNORED-2 rm_watch, deletion and one-shot each queue one",
            list![
                touch("f"),
                touch("g"),
                touch("h"),
                mkdir("d"),
                group(0),
                watch(0, "f", ALL),
                watch(0, "g", ALL),
                watch(0, "h", once),
                watch(0, "d", ALL),
                remove(0, 1),
                unlink("g"),
                chmod("h", 0o600),
                rmdir("d"),
                drain(),
            ],
        )
        .events("1:IGNORED 2:ATTRIB 2:DELETE_SELF 2:IGNORED 3:ATTRIB 3:IGNORED 4:DELETE_SELF 4:IGNORED"),
        Case::new(
            "EVENT-16 IGNORED-2 an unmount ends the watches of its file system",
            list![
                Operation::PrivateMounts,
                mkdir("m"),
                group(0),
                watch(0, "m", ALL),
                Operation::Mount("m".into()),
                watch(0, "m", ALL),
                touch("m/f"),
                watch(0, "m/f", ALL),
                Operation::Unmount { path: "m".into(), flags: 0 },
                touch("m/g"),
                chmod("m", 0o700),
                drain(),
            ],
        )
        .needs(Need::Mounts),
        Case::new(
            "IGNORED-2 a lazy unmount ends them when the file system is let go",
            list![
                Operation::PrivateMounts,
                mkdir("m"),
                group(0),
                Operation::Mount("m".into()),
                touch("m/f"),
                open(1, "m/f", libc::O_WRONLY),
                watch(0, "m", ALL),
                Operation::Unmount { path: "m".into(), flags: libc::MNT_DETACH },
                write(1, 1),
                read_all(0),
            ],
        )
        .needs(Need::Mounts)
        .events("1:MODIFY(f)"),
        Case::new(
            "IGNORED-3 from then on the wd is unknown, and adding makes a new one",
            list![
                touch("f"),
                group(0),
                watch(0, "f", ALL),
                remove(0, 1),
                remove(0, 1),
                watch(0, "f", ALL | libc::IN_MASK_CREATE),
                watch(0, "f", once | libc::IN_MASK_ADD),
                chmod("f", 0o600),
                remove(0, 2),
                watch(0, "f", ALL | libc::IN_MASK_CREATE),
                drain(),
            ],
        )
        .results("1 0 EINVAL 2 2 0 EINVAL 3 48 EAGAIN"),
        Case::new(
            "IGNORED-4 nothing of a watch is queued behind its IN_IGNORED",
            list![
                touch("f"),
                both("f"),
                open(1, "f", libc::O_RDWR),
                remove(0, 2),
                write(1, 1),
                chmod("f", 0o600),
                unlink("f"),
                close(1),
                drain(),
            ],
        )
        .events("1:OPEN(f) 2:OPEN 2:IGNORED 1:MODIFY(f) 1:ATTRIB(f) 1:DELETE(f) 1:CLOSE_WRITE(f)"),
        Case::new(
            "ONESHOT-1 IN_IGNORED follows the event directly, before the next watch's",
            list![
                touch("g"),
                group(0),
                watch(0, ".", once),
                watch(0, "g", once),
                chmod("g", 0o600),
                chmod("g", 0o644),
                drain(),
            ],
        )
        .events("1:ATTRIB(g) 1:IGNORED 2:ATTRIB 2:IGNORED"),
        Case::new(
            "ONESHOT-1 only an event that matches ends the watch",
            list![
                touch("f"),
                group(0),
                watch(0, "f", libc::IN_ATTRIB | libc::IN_ONESHOT),
                open_read(1, "f"),
                close(1),
                watch(0, "f", libc::IN_ATTRIB | libc::IN_ONESHOT),
                chmod("f", 0o600),
                watch(0, "f", libc::IN_ATTRIB),
                drain(),
            ],
        )
        .events("1:ATTRIB 1:IGNORED"),
        Case::new(
            "ONESHOT-1 a rename within a one-shot directory shows one half",
            list![touch("f"), group(0), watch(0, ".", once), watch(0, "f", once), rename("f", "g"), drain(),],
        )
        .events("1:MOVED_FROM(f)#1 1:IGNORED 2:MOVE_SELF 2:IGNORED"),
        Case::new(
            "ONESHOT-2 deletion of a one-shot object gives a single IN_IGNORED",
            list![
                touch("f"),
                mkdir("d"),
                group(0),
                watch(0, "f", libc::IN_DELETE_SELF | libc::IN_ONESHOT),
                watch(0, "d", once),
                unlink("f"),
                rmdir("d"),
                drain(),
            ],
        )
        .events("1:DELETE_SELF 1:IGNORED 2:DELETE_SELF 2:IGNORED"),
        Case::new(
            "ONESHOT-4 a plain update clears it, IN_MASK_ADD sets it",
            list![
                touch("f"),
                touch("g"),
                group(0),
                watch(0, "f", once),
                watch(0, "f", ALL),
                watch(0, "g", libc::IN_ATTRIB),
                watch(0, "g", libc::IN_OPEN | libc::IN_MASK_ADD | libc::IN_ONESHOT),
                chmod("f", 0o600),
                chmod("f", 0o644),
                chmod("g", 0o600),
                chmod("g", 0o644),
                drain(),
            ],
        )
        .events("1:ATTRIB 2:ATTRIB 2:IGNORED"),
        Case::new(
            "EXCL-1 EXCL-2 write of an unlinked file is silent, ftruncate and fchmod are not",
            list![
                touch("f"),
                group(0),
                watch(0, ".", linked),
                watch(0, "f", linked),
                open(1, "f", libc::O_RDWR),
                write(1, 1),
                unlink("f"),
                read_all(0),
                write(1, 1),
                Operation::Read { descriptor: slot(1), buffer: Buffer::Positioned(1) },
                read_all(0),
                truncate(0),
                read_all(0),
                fchmod(),
                close(1),
                drain(),
            ],
        )
        .events(
            "1:OPEN(f) 2:OPEN 1:MODIFY(f) 2:MODIFY 2:ATTRIB 1:DELETE(f) 1:MODIFY(f) 2:MODIFY \
             1:ATTRIB(f) 2:ATTRIB 2:DELETE_SELF 2:IGNORED",
        ),
        Case::new(
            "EXCL-1 without the flag an unlinked file goes on telling the directory",
            list![
                touch("f"),
                group(0),
                watch(0, ".", ALL),
                watch(0, "f", linked),
                open(1, "f", libc::O_RDWR),
                unlink("f"),
                write(1, 1),
                close(1),
                drain(),
            ],
        )
        .events("1:OPEN(f) 2:OPEN 2:ATTRIB 1:DELETE(f) 1:MODIFY(f) 1:CLOSE_WRITE(f) 2:DELETE_SELF 2:IGNORED"),
        Case::new(
            "EXCL-1 a file moved away is not unlinked",
            list![
                mkdir("d"),
                touch("f"),
                group(0),
                watch(0, ".", linked),
                watch(0, "d", linked),
                open(1, "f", libc::O_RDWR),
                rename("f", "d/g"),
                write(1, 1),
                close(1),
                drain(),
            ],
        )
        .events("1:OPEN(f) 1:MOVED_FROM(f)#1 2:MOVED_TO(g)#1 2:MODIFY(g) 2:CLOSE_WRITE(g)"),
    ]
}
