//! Which file systems notify nobody: what other machines do there the kernel learns when it asks.

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::statfs::{FsType, fstatfs};

use crate::fanotify::Mounts;
use crate::mountinfo;
use crate::status::Status;

/// As mountinfo names them. virtiofs has the magic number of every file system of FUSE, and nothing but this name of its own.
const KINDS: [&str; 7] = ["nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "virtiofs"];

/// As statfs(2) numbers them (linux/magic.h, and fs/smb/client/cifs_fs_sb.h): nfs, 9p, and smb in its three versions.
const MAGICS: [(u32, &str); 5] =
    [(0x6969, "nfs"), (0x0102_1997, "9p"), (0x517b, "smb"), (0xff53_4d42, "cifs"), (0xfe53_4d42, "smb2")];

/// What is known of the mounted file systems. A server is asked nothing for it, where the kernel has a table of mounts to tell from.
#[derive(Debug, Default)]
pub struct FileSystems {
    known: HashMap<u64, Option<&'static str>>,
    mounts: Option<Mounts>,
}

impl FileSystems {
    /// The kind of the file system of an object, if that is one that notifies nobody of what is done elsewhere.
    pub fn silent(&mut self, object: BorrowedFd<'_>) -> Option<&'static str> {
        let Ok(device) = Status::device_of(object) else { return by_magic(object) };
        let mounts = self.mounts.take().or_else(|| Mounts::new().ok());
        // A number is used again.
        if mounts.as_ref().is_none_or(Mounts::has_changed) {
            self.known.clear();
        }
        self.mounts = mounts;
        *self.known.entry(device).or_insert_with(|| by_name(device).unwrap_or_else(|| by_magic(object)))
    }
}

/// `None`: it is not in the table, as in another mount name space.
fn by_name(device: u64) -> Option<Option<&'static str>> {
    let mounts = mountinfo::mounted().ok()?;
    let device = (libc::major(device), libc::minor(device));
    let mount = mounts.iter().find(|mount| mount.device == device)?;
    Some(KINDS.into_iter().find(|kind| *kind == mount.kind))
}

fn by_magic(object: impl AsFd) -> Option<&'static str> {
    let FsType(magic) = fstatfs(object).ok()?.filesystem_type();
    // The field is signed on some machines and longer than the number on all.
    let magic = magic as u32;
    MAGICS.into_iter().find(|(number, _)| *number == magic).map(|(_, kind)| kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_file_systems_notify() {
        let mut systems = FileSystems::default();
        for path in ["/", "/proc", "/dev"] {
            let opened = std::fs::File::open(path).expect("a directory");
            for _ in 0..2 {
                assert_eq!(systems.silent(opened.as_fd()), None, "{path}");
            }
        }
    }
}
