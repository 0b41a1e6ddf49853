//! Where the events of one path would come from.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use nix::sys::statfs::{FsType, fstatfs};
use uinotify_host::{mountinfo, trial};

use crate::mount;

/// What `--source auto` does about a path.
pub(super) struct Choice {
    pub(super) path: PathBuf,
    /// The source, or why none works.
    pub(super) source: Result<String, String>,
    /// What that source does not see there.
    pub(super) remark: Option<&'static str>,
}

/// File systems of which the kernel's inotify does not see all: their numbers, as statfs(2) shows them.
const BLIND: [(FsType, &str); 10] = [
    (FsType(0x6969), "NFS: what other machines do there is not seen"),
    (FsType(0xff53_4d42), "SMB: what other machines do there is not seen"),
    (FsType(0xfe53_4d42), "SMB: what other machines do there is not seen"),
    (FsType(0x517b), "SMB: what other machines do there is not seen"),
    (FsType(0x0102_1997), "9p: what the other side does there is not seen"),
    (FsType(0x00c3_6400), "Ceph: what other machines do there is not seen"),
    (FsType(0x6573_5546), "FUSE: what its server does by itself is not seen"),
    (FsType(0x794c_7630), "overlay: what is done in the lower folders themselves is not seen"),
    (FsType(0x9fa0), "procfs: what the kernel changes there is not seen"),
    (FsType(0x6265_6572), "sysfs: most of what the kernel changes there is not seen"),
];

impl Choice {
    /// It is watched for a moment, as `auto` would.
    pub(super) fn of(path: &Path) -> Self {
        let choice = |source, remark| Self { path: path.to_owned(), source, remark };
        let object = match open(path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()) {
            Ok(object) => object,
            Err(errno) => return choice(Err(errno.desc().to_owned()), None),
        };
        if is_in_tree(path) {
            return choice(Ok("fuse, for programs under the emulator that shows it".to_owned()), None);
        }
        let source = trial::inotify(object.as_fd()).map(|()| "inotify".to_owned()).map_err(super::meaning);
        let kind = fstatfs(&object).map(|status| status.filesystem_type());
        let remark = BLIND.iter().find(|(blind, _)| kind == Ok(*blind)).map(|(_, remark)| *remark);
        choice(source, remark)
    }
}

/// Whether the innermost mount over a path is a tree of ours.
fn is_in_tree(path: &Path) -> bool {
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let mounted = mountinfo::mounted().unwrap_or_default();
    let over = mounted.iter().filter(|mount| path.starts_with(&mount.point));
    // Of several at one place the last one is seen.
    over.max_by_key(|mount| mount.point.components().count()).is_some_and(mount::is_tree)
}
