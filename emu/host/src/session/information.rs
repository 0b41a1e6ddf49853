//! The text of fdinfo for an instance that watches what the kernel does not (proc_pid_fdinfo(5), semantics FD-15).

use std::fmt::Write;
use std::fs;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;

use nix::sys::eventfd::EventFd;
use uinotify_core::{Engine, ObjectId};

use super::Session;
use crate::trees::Shown;

/// What a program has chosen of a mask.
const CHOSEN_BITS: u32 = 0x8400_0fff;

impl Session {
    /// The watches of both kinds, newest first.
    pub(super) fn mixed_information(
        &self,
        engine: &Engine,
        shown: &dyn Fn(ObjectId) -> Option<Shown>,
        flags: u32,
    ) -> io::Result<(String, u32)> {
        let (of_kernel, mode) = match &self.kernel {
            Some(kernel) => self.kernel_information(kernel, engine, flags)?,
            None => without_watches(flags)?,
        };
        let mut text = String::with_capacity(of_kernel.len());
        for line in of_kernel.lines().filter(|line| !line.starts_with("inotify ")) {
            text.push_str(line);
            text.push('\n');
        }
        for watch in engine.watches(self.group).rev() {
            // Writing to a string does not fail.
            let _ = match shown(watch.object) {
                Some(shown) => writeln!(text, "{}", line(watch.wd.0, watch.mask, &shown)),
                None => {
                    let start = format!("inotify wd:{:x} ", watch.wd.0);
                    of_kernel
                        .lines()
                        .find(|line| line.starts_with(&start))
                        .map_or(Ok(()), |line| writeln!(text, "{line}"))
                }
            };
        }
        Ok((text, mode))
    }
}

/// As the kernel shows a watch.
fn line(wd: i32, mask: u32, shown: &Shown) -> String {
    let Shown { inode, device, handle: (kind, bytes) } = shown;
    // A file system without file handles.
    if bytes.is_empty() {
        let device = u64::from(libc::major(*device)) << 20 | u64::from(libc::minor(*device));
        return format!(
            "inotify wd:{wd:x} ino:{inode:x} sdev:{device:x} mask:{:x} ignored_mask:0 ",
            mask & CHOSEN_BITS
        );
    }
    let device = u64::from(libc::major(*device)) << 20 | u64::from(libc::minor(*device));
    let chosen = mask & CHOSEN_BITS;
    let mut line = format!("inotify wd:{wd:x} ino:{inode:x} sdev:{device:x} mask:{chosen:x} ignored_mask:0 ");
    // Of a file system without handles nothing follows.
    if !bytes.is_empty() {
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        // Writing to a string does not fail.
        let _ = write!(line, "fhandle-bytes:{:x} fhandle-type:{kind:x} f_handle:{hex}", bytes.len());
    }
    line
}

/// All anonymous files share one inode and one mount: what an eventfd shows of these an inotify descriptor shows.
fn without_watches(flags: u32) -> io::Result<(String, u32)> {
    let stand_in = EventFd::new()?;
    let path = format!("/proc/self/fdinfo/{}", std::os::fd::AsFd::as_fd(&stand_in).as_raw_fd());
    let mode = fs::metadata(&path)?.mode() & 0o777;
    let mut text = String::new();
    for line in fs::read_to_string(&path)?.lines() {
        let _ = if line.starts_with("flags:") {
            writeln!(text, "flags:\t0{flags:o}")
        } else if line.starts_with("eventfd-") {
            Ok(())
        } else {
            writeln!(text, "{line}")
        };
    }
    Ok((text, mode))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watch_is_shown_as_the_kernel_does() {
        let handle = (0x81, vec![1, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0]);
        let shown = Shown { inode: 0x15_ec6d, device: libc::makedev(0, 0x2e), handle };
        let expected = "inotify wd:34d71d6 ino:15ec6d sdev:2e mask:84000fff ignored_mask:0 \
            fhandle-bytes:c fhandle-type:81 f_handle:010000000500000000000000";
        assert_eq!(line(0x34d_71d6, 0x8400_0fff, &shown), expected);
    }

    #[test]
    fn an_instance_without_watches_has_the_lines_of_every_file() {
        let (text, mode) = without_watches(0o4000).expect("a text");
        assert!(text.starts_with("pos:\t0\nflags:\t04000\n"), "{text}");
        assert!(!text.contains("eventfd"), "{text}");
        assert_ne!(mode & 0o400, 0);
    }
}
