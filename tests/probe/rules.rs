//! The rules of docs/semantics.md that the probe checks, and by what.

use std::collections::BTreeSet;

use libtest_mimic::Failed;

use crate::expected::fits;

const SEMANTICS: &str = include_str!("../../docs/semantics.md");

/// A rule and a row of the table that shows it, `*` being any text.
const ROWS: &[(&str, &str)] = &[
    ("FD-19", "mmap(*MAP_SHARED*"),
    ("FD-20", "fdatasync(fd)"),
    ("FD-21", "fallocate(*"),
    ("FD-22", "futimens(*"),
    ("FD-22", "fgetxattr(*"),
    ("FD-23", "sendfile(*"),
    ("FD-24", "fcntl(fd, F_SETLK, F_WRLCK)"),
    ("FD-24", "lockf(fd, F_LOCK, 0)"),
    ("FD-25", "accept4(*"),
    ("FD-25", "connect(*"),
    ("FD-26", "fchdir(fd)"),
    ("FD-27", "fstatfs(*"),
    ("FD-29", "SYS_inotify_add_watch(*"),
    ("READ-11", "preadv2(*"),
    ("READ-12", "read(fd, buffer, -1)"),
];

/// A rule and the way of calling that shows it.
const WAYS: &[(&str, &str)] = &[("FD-28", "sigio"), ("FD-29", "by_the_handle_of_libc")];

/// Every rule that docs/semantics.md leaves to the probe is shown by something that there is.
pub(crate) fn are_shown() -> Result<(), Failed> {
    let left_to_us: BTreeSet<&str> = SEMANTICS
        .lines()
        .filter_map(|line| {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            let (id, tests) = (*cells.get(1)?, *cells.get(cells.len().checked_sub(2)?)?);
            tests.split(", ").any(|test| test == "probe").then_some(id)
        })
        .collect();
    let shown: BTreeSet<&str> = ROWS.iter().chain(WAYS).map(|(id, _)| *id).collect();
    if left_to_us != shown {
        return Err(format!("left to the probe: {left_to_us:?}; shown by it: {shown:?}").into());
    }
    let rows = crate::table::rows();
    for (id, pattern) in ROWS {
        if !rows.iter().any(|row| fits(pattern, row.name())) {
            return Err(format!("no row {pattern} for {id}").into());
        }
    }
    for (id, way) in WAYS {
        if !crate::way::PROGRAMS.iter().any(|(name, _)| name == way) {
            return Err(format!("no way {way} for {id}").into());
        }
    }
    Ok(())
}
