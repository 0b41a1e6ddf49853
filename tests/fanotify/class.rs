//! What this source promises: the set of events exact, their order and number best effort.

use anyhow::{Context, Result};
use uinotify_harness::class;

use crate::both::{Told, show};

/// The same events once repeats count once, the same ends of renames together, the same watches ended.
pub(crate) fn ensure_same(what: &str, told: &Told) -> Result<()> {
    let both = || format!("{what}\n  kernel:\n{}\n  source:\n{}", show(&told.kernel), show(&told.source));
    class::ensure_same(&told.kernel, &told.source).with_context(both)
}
