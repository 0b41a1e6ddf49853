//! `inotify_add_watch` on each folder of a large tree.

use std::ffi::CString;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::time::Instant;

use crate::row::{Goal, Row};
use crate::side::{Native, Ours, Side, must};
use crate::statistics::{Pairs, alternate, nanoseconds};
use crate::worker::{Extent, large_folder, string, watches_max};

const FOLDERS: usize = 100_000;

const FOLDERS_A_GROUP: usize = 1000;

/// The folders of a tree of two levels, in the order in which they were made.
pub(crate) fn make_tree(root: &Path, count: usize) -> Vec<CString> {
    let path = |index: usize| {
        let group = root.join(format!("group{}", index / FOLDERS_A_GROUP));
        let folder = group.join(format!("folder{}", index % FOLDERS_A_GROUP));
        std::fs::create_dir_all(&folder).expect("a folder");
        string(&folder)
    };
    (0..count).map(path).collect()
}

/// A new instance that watches each folder, in nanoseconds a folder. The watches are removed again, off the clock: an instance that
/// is closed gives their places back a little later, and the machine may not have places for both sides.
fn watch_all<S: Side>(folders: &[CString], buffer: &mut [u8]) -> f64 {
    let instance = must("inotify_init1", S::init(libc::IN_NONBLOCK));
    let fd = instance.as_raw_fd();
    let start = Instant::now();
    for (index, folder) in folders.iter().enumerate() {
        let wd = must("inotify_add_watch", S::add(fd, folder, libc::IN_ALL_EVENTS));
        assert_eq!(wd as usize, index + 1, "{}", S::NAME);
    }
    let elapsed = nanoseconds(start.elapsed());
    for index in 0..folders.len() {
        must("inotify_rm_watch", S::remove(fd, index as i32 + 1));
        // An IN_IGNORED for each, of which the queue holds only so many.
        if index.is_multiple_of(FOLDERS_A_GROUP) {
            while S::read(fd, buffer).is_ok() {}
        }
    }
    elapsed / folders.len() as f64
}

pub(crate) fn measure(extent: Extent) -> Vec<Row> {
    // One side at a time has them all; the rest is for the others on the machine.
    let count = extent.of(FOLDERS).min(watches_max() / 10 * 9);
    let root = large_folder();
    let folders = make_tree(root.path(), count);
    let mut buffer = vec![0; 64 * 1024];
    let mut pairs = Pairs::default();
    for turn in 0..if extent.is_full() { 7 } else { 2 } {
        let mut theirs = buffer.clone();
        let (a, b) =
            alternate(turn, || watch_all::<Native>(&folders, &mut theirs), || watch_all::<Ours>(&folders, &mut buffer));
        pairs.push(a, b);
    }
    let note = format!("each the mean over {count} folders");
    vec![Row::of_pairs("add_watch, each folder of a large tree", Goal::RatioAtMost(8.0), &pairs, &note)]
}
