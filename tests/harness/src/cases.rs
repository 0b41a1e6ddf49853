//! Every list that was written by hand, for the rules of docs/semantics.md.

mod add;
mod allocator;
mod descriptor;
pub mod entry;
pub mod file;
pub mod ignored;
mod limit;
mod merge;
mod overflow;
mod path;
mod poll;
mod read;
mod record;
pub mod words;

use crate::case::Case;

/// All of them.
#[must_use]
pub fn all() -> Vec<Case> {
    [
        descriptor::cases(),
        limit::cases(),
        add::cases(),
        path::cases(),
        allocator::cases(),
        read::cases(),
        poll::cases(),
        record::cases(),
        file::cases(),
        entry::cases(),
        merge::cases(),
        overflow::cases(),
        ignored::cases(),
    ]
    .concat()
}
