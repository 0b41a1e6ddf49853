//! What the kernel tells of an instance in /proc/PID/fdinfo/N (proc_pid_fdinfo(5), semantics FD-15).

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;

use super::KernelWd;

/// The bits of a mask that a program chooses, and that every kernel since 2.6.36 shows alike: events, IN_EXCL_UNLINK and
/// IN_ONESHOT.
const CHOSEN_BITS: u32 = 0x8400_0fff;

/// The text of one fdinfo.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Information {
    text: String,
    /// Permission bits of the file: 0400, and 0444 since Linux 5.14.
    pub mode: u32,
}

/// What a program has in the place of a kernel's watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shown {
    /// Its number.
    pub wd: i32,
    /// What it asks for.
    pub mask: u32,
}

/// The line of a watch: `inotify wd:HEX ino:HEX sdev:HEX mask:HEX ...`.
fn split_watch(line: &str) -> Option<(KernelWd, &str)> {
    let (wd, rest) = line.strip_prefix("inotify wd:")?.split_once(' ')?;
    i32::from_str_radix(wd, 16).ok().map(|wd| (KernelWd(wd), rest))
}

impl Information {
    /// Reads the file.
    pub(super) fn read(mut file: File) -> io::Result<Self> {
        let mode = file.metadata()?.mode() & 0o777;
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        Ok(Self { text, mode })
    }

    /// The wds that are alive.
    #[must_use]
    pub fn living(&self) -> BTreeSet<KernelWd> {
        self.text.lines().filter_map(|line| split_watch(line).map(|(wd, _)| wd)).collect()
    }

    /// What each wd watches: number of the inode, and its file system as `stat(2)` has it, but where a file system (btrfs,
    /// overlayfs) tells `stat` of another.
    pub fn inodes(&self) -> impl Iterator<Item = (KernelWd, (u64, u64))> {
        self.text.lines().filter_map(|line| {
            let (wd, rest) = split_watch(line)?;
            let field = |name| rest.split(' ').find_map(|part| u64::from_str_radix(part.strip_prefix(name)?, 16).ok());
            let (inode, device) = (field("ino:")?, field("sdev:")?);
            // The kernel's own form: twenty bits of minor number.
            Some((wd, (libc::makedev((device >> 20) as u32, (device & 0xf_ffff) as u32), inode)))
        })
    }

    /// The device of a watch's object.
    #[must_use]
    pub fn device(&self, of: KernelWd) -> Option<u64> {
        self.inodes().find(|(wd, _)| *wd == of).map(|(_, (device, _))| device)
    }

    /// The text for the descriptor of a program that has `flags`, in which the kernel's watches are shown as the program knows
    /// them; those that it does not know are left out. The rest is as this kernel prints it.
    #[must_use]
    pub fn shown(&self, flags: u32, mut watch: impl FnMut(KernelWd) -> Option<Shown>) -> String {
        let mut text = String::with_capacity(self.text.len());
        for line in self.text.lines() {
            // Writing to a string does not fail.
            let _ = if line.starts_with("pos:") {
                // An inotify descriptor has no position.
                writeln!(text, "pos:\t0")
            } else if line.starts_with("flags:") {
                writeln!(text, "flags:\t0{flags:o}")
            } else if let Some((kernel, rest)) = split_watch(line) {
                match watch(kernel) {
                    Some(Shown { wd, mask }) => writeln!(text, "inotify wd:{wd:x} {}", with_mask(rest, mask)),
                    None => Ok(()),
                }
            } else {
                writeln!(text, "{line}")
            };
        }
        text
    }
}

/// The rest of a line, with `mask` in it. What the kernel prints of its own bits stays.
fn with_mask(rest: &str, mask: u32) -> String {
    let parts = rest.split(' ').map(|part| match part.strip_prefix("mask:").map(|hex| u32::from_str_radix(hex, 16)) {
        Some(Ok(printed)) => {
            // Before 4.18 a kernel shows all its bits, from then to 5.18 the events alone.
            let chosen = if printed & !0xfff == 0 { mask & 0xfff } else { mask & CHOSEN_BITS };
            format!("mask:{:x}", printed & !CHOSEN_BITS | chosen)
        }
        _ => part.to_owned(),
    });
    parts.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "pos:\t7\nflags:\t02004000\nmnt_id:\t17\nino:\t1029\n\
        inotify wd:34d71d6 ino:11 sdev:700000 mask:84000fff ignored_mask:0 fhandle-bytes:8 fhandle-type:1 f_handle:11\n\
        inotify wd:2 ino:b sdev:700000 mask:fff ignored_mask:0 \n\
        inotify wd:1 ino:a sdev:700000 mask:fff ignored_mask:0 \n";

    fn information() -> Information {
        Information { text: TEXT.to_owned(), mode: 0o400 }
    }

    #[test]
    fn living_watches_are_hexadecimal() {
        let living = information().living();
        assert_eq!(living, BTreeSet::from([KernelWd(0x34d_71d6), KernelWd(2), KernelWd(1)]));
    }

    #[test]
    fn inodes_are_those_of_stat() {
        let inodes: Vec<_> = information().inodes().collect();
        let device = libc::makedev(7, 0);
        assert_eq!(
            inodes,
            [(KernelWd(0x34d_71d6), (device, 0x11)), (KernelWd(2), (device, 0xb)), (KernelWd(1), (device, 0xa))]
        );
    }

    #[test]
    fn a_device_is_in_the_kernels_own_form() {
        assert_eq!(information().device(KernelWd(2)), Some(libc::makedev(7, 0)));
        assert_eq!(information().device(KernelWd(16)), None);
    }

    #[test]
    fn watches_are_shown_as_the_program_knows_them() {
        let watch = |KernelWd(wd)| match wd {
            0x34d_71d6 => Some(Shown { wd: 16, mask: 0x8400_0fff }),
            1 => Some(Shown { wd: 10, mask: 0xfff }),
            _ => None,
        };
        assert_eq!(
            information().shown(0o4000, watch),
            "pos:\t0\nflags:\t04000\nmnt_id:\t17\nino:\t1029\n\
            inotify wd:10 ino:11 sdev:700000 mask:84000fff ignored_mask:0 fhandle-bytes:8 fhandle-type:1 f_handle:11\n\
            inotify wd:a ino:a sdev:700000 mask:fff ignored_mask:0 \n"
        );
    }

    #[test]
    fn the_programs_mask_is_printed_as_the_kernel_prints_it() {
        let line = |printed, mask| with_mask(&format!("ino:1 sdev:2 mask:{printed} ignored_mask:0 "), mask);
        let with = |printed: &str| format!("ino:1 sdev:2 mask:{printed} ignored_mask:0 ");
        assert_eq!(line("fff", 0xfff), with("fff"));
        assert_eq!(line("fff", 0x300), with("300"), "the core's mask is the right one");
        assert_eq!(line("800afff", 0xfff), with("800afff"), "an old kernel's own bits");
        assert_eq!(line("84000fff", 0x8400_0fff), with("84000fff"));
        assert_eq!(line("fff", 0x8400_0fff), with("fff"), "a kernel that shows events alone");
        assert_eq!(line("0", 0), with("0"));
        assert_eq!(line("junk", 0xfff), with("junk"));
    }
}
