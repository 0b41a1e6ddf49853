//! The process under the shim that measures both sides.

use std::ffi::CString;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use tempfile::TempDir;

use crate::row::Row;
use crate::{add_watch, checkpoint, folders, full_queue, reading, restore, stream};

/// How much is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// As much as figures need.
    Full,
    /// So little that only what is broken shows.
    Quick,
}

impl Extent {
    /// The number of samples where a full run takes `full`.
    pub(crate) fn of(self, full: usize) -> usize {
        match self {
            Self::Full => full,
            Self::Quick => full.div_ceil(50),
        }
    }

    /// As it is told to a process that this program starts.
    pub(crate) fn word(self) -> &'static str {
        if self.is_full() { "full" } else { "quick" }
    }

    pub(crate) fn parse(word: &str) -> Self {
        if word == "full" { Self::Full } else { Self::Quick }
    }

    pub(crate) fn is_full(self) -> bool {
        self == Self::Full
    }
}

/// A path for the C functions.
pub(crate) fn string(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).expect("no zero in a path of ours")
}

/// A folder for many thousands of files: in memory, where they are made and removed in seconds.
pub(crate) fn large_folder() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a temporary folder")
}

/// How many watches this machine gives a user.
pub(crate) fn watches_max() -> usize {
    let limit = |path| std::fs::read_to_string(path).ok().and_then(|text| text.trim().parse().ok());
    // That of the user name space holds as well (Linux 4.9).
    let limits = ["/proc/sys/fs/inotify/max_user_watches", "/proc/sys/user/max_inotify_watches"].map(limit);
    limits.into_iter().flatten().min().expect("the kernel's inotify")
}

/// The worker's own `main`: one row a line goes out.
pub(crate) fn main(root: &Path, extent: Extent, only: Option<&str>) {
    let is_wanted = |name: &str| only.is_none_or(|only| name.contains(only));
    let mut output = std::io::stdout().lock();
    let mut tell = |rows: Vec<Row>| {
        for row in rows {
            let line = serde_json::to_string(&row).expect("a row of numbers and text");
            writeln!(output, "{line}").expect("somebody listens");
        }
    };
    if is_wanted("restore") {
        tell(restore::measure(&string(root), extent));
    }
    if is_wanted("checkpoint") {
        tell(checkpoint::measure(extent));
    }
    if is_wanted("add_watch") {
        tell(add_watch::measure(root, extent));
    }
    if is_wanted("folders") {
        tell(folders::measure(extent));
    }
    if is_wanted("queue") {
        tell(full_queue::measure(root, extent));
    }
    if is_wanted("rate") {
        tell(stream::measure_rate(root, extent));
    }
    if is_wanted("latency") {
        tell(stream::measure_latency(root, extent));
    }
    if is_wanted("wake_up") {
        tell(stream::measure_wake_up(root, extent));
    }
    if is_wanted("reading") {
        tell(reading::measure(root, extent));
    }
}
