//! `inotify_add_watch`, with hot caches.

use std::ffi::CString;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::Path;
use std::time::Instant;

use crate::row::{Goal, Row};
use crate::side::{Native, Ours, Side, must};
use crate::statistics::{Pairs, alternate, nanoseconds};
use crate::worker::{Extent, string};

const FOLDERS: usize = 100;

/// A side's instance, and folders that the other side does not watch.
fn prepare<S: Side>(root: &Path) -> (OwnedFd, Vec<CString>) {
    let folders = (0..FOLDERS).map(|index| {
        let folder = root.join(S::NAME).join(format!("folder{index}"));
        std::fs::create_dir_all(&folder).expect("a folder");
        string(&folder)
    });
    let folders = folders.collect();
    (must("inotify_init1", S::init(libc::IN_NONBLOCK)), folders)
}

/// A new watch on each folder, in nanoseconds a call. They are removed again, off the clock.
fn add_new<S: Side>(fd: RawFd, folders: &[CString], buffer: &mut [u8]) -> f64 {
    let mut wds = Vec::with_capacity(FOLDERS);
    let start = Instant::now();
    for folder in folders {
        wds.push(must("inotify_add_watch", S::add(fd, folder, libc::IN_ALL_EVENTS)));
    }
    let elapsed = nanoseconds(start.elapsed());
    assert!(wds.is_sorted() && wds.len() == FOLDERS);
    for wd in wds {
        must("inotify_rm_watch", S::remove(fd, wd));
    }
    while S::read(fd, buffer).is_ok() {}
    elapsed / FOLDERS as f64
}

/// One watch again and again, in nanoseconds a call.
fn update<S: Side>(fd: RawFd, folders: &[CString]) -> f64 {
    let wd = must("inotify_add_watch", S::add(fd, &folders[0], libc::IN_CREATE));
    let start = Instant::now();
    for index in 0..FOLDERS {
        let mask = if index.is_multiple_of(2) { libc::IN_DELETE } else { libc::IN_CREATE };
        assert_eq!(must("inotify_add_watch", S::add(fd, &folders[0], mask)), wd);
    }
    let elapsed = nanoseconds(start.elapsed());
    must("inotify_rm_watch", S::remove(fd, wd));
    elapsed / FOLDERS as f64
}

pub(crate) fn measure(root: &Path, extent: Extent) -> Vec<Row> {
    let (native, native_folders) = prepare::<Native>(root);
    let (ours, our_folders) = prepare::<Ours>(root);
    let (native, ours) = (native.as_raw_fd(), ours.as_raw_fd());
    let mut buffer = vec![0; 64 * 1024];
    let (mut new, mut updated) = (Pairs::default(), Pairs::default());
    for turn in 0..extent.of(300) {
        let mut theirs = buffer.clone();
        let (a, b) = alternate(
            turn,
            || add_new::<Native>(native, &native_folders, &mut theirs),
            || add_new::<Ours>(ours, &our_folders, &mut buffer),
        );
        new.push(a, b);
        let (a, b) =
            alternate(turn, || update::<Native>(native, &native_folders), || update::<Ours>(ours, &our_folders));
        updated.push(a, b);
    }
    let note = format!("of {FOLDERS} calls");
    vec![
        Row::of_pairs("add_watch, hot, a new watch", Goal::RatioAtMost(15.0), &new, &note),
        Row::of_pairs("add_watch, hot, the same watch again", Goal::RatioAtMost(15.0), &updated, &note),
    ]
}
