//! What this source promises: the set of events exact, their order and number best effort.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, ensure};
use uinotify_core::Mask;

use crate::both::{Seen, Told, show};

/// One bit of one event.
type Part = (String, u32, String);
/// An end of a rename: the watch, and the name.
type End = (String, String);
type Pair = (Option<End>, Option<End>);

/// The same events once repeats count once, the same ends of renames together, the same watches ended.
pub(crate) fn ensure_same(what: &str, told: &Told) -> Result<()> {
    let both = || format!("{what}\n  kernel:\n{}\n  source:\n{}", show(&told.kernel), show(&told.source));
    let (kernel, source) = (parts(&told.kernel), parts(&told.source));
    // What is told of a directory bears no name, and is merged across its renames: it comes under the name that the directory had or has,
    // and so does that a directory lost its link to one that was moved onto it.
    let directory = Mask::IN_ISDIR.bits();
    let has_moved = |(watch, bits, name): &&Part| {
        let moved = [Mask::IN_MOVED_FROM, Mask::IN_MOVED_TO].map(|end| end.bits() | directory);
        let of_itself = Mask::IN_OPEN | Mask::IN_ACCESS | Mask::IN_MODIFY | Mask::IN_ATTRIB | Mask::IN_CLOSE_NOWRITE;
        bits & directory != 0
            && bits & of_itself.bits() != 0
            && moved.into_iter().any(|bits| kernel.contains(&(watch.clone(), bits, name.clone())))
    };
    let lost: Vec<_> = kernel.difference(&source).filter(|part| !has_moved(part)).collect();
    let invented: Vec<_> = source.difference(&kernel).filter(|part| !has_moved(part)).collect();
    ensure!(lost.is_empty() && invented.is_empty(), "lost {lost:x?}, invented {invented:x?}: {}", both());
    let (kernel, source) = (renames(&told.kernel), renames(&told.source));
    let is_same =
        kernel.iter().all(|pair| is_among(pair, &source)) && source.iter().all(|pair| is_among(pair, &kernel));
    ensure!(is_same, "renames {kernel:?}, {source:?}: {}", both());
    let (kernel, source) = (ends(&told.kernel), ends(&told.source));
    ensure!(kernel == source, "ends {kernel:?}, {source:?}: {}", both());
    Ok(())
}

fn parts(events: &[Seen]) -> BTreeSet<Part> {
    let flag = Mask::IN_ISDIR.bits();
    let bits = |event: &Seen| {
        let (mask, directory) = (event.mask & !flag, event.mask & flag);
        let (watch, name) = (event.watch.clone(), event.name.clone());
        (0..32)
            .map(|bit| 1 << bit)
            .filter(move |bit| mask & bit != 0)
            .map(move |bit| (watch.clone(), bit | directory, name.clone()))
    };
    events.iter().flat_map(bits).collect()
}

/// A pair, or what was left of one when an end was merged with its neighbour, which has another cookie (MERGE-3).
fn is_among(pair: &Pair, pairs: &BTreeSet<Pair>) -> bool {
    let halves = [(pair.0.clone(), None), (None, pair.1.clone())];
    let is_half = pair.0.is_none() || pair.1.is_none();
    let of_whole = |other: &Pair| pair.0.is_some() && pair.0 == other.0 || pair.1.is_some() && pair.1 == other.1;
    pairs.contains(pair) || halves.iter().any(|half| pairs.contains(half)) || is_half && pairs.iter().any(of_whole)
}

fn renames(events: &[Seen]) -> BTreeSet<Pair> {
    let mut pairs: BTreeMap<u32, Pair> = BTreeMap::new();
    for event in events.iter().filter(|event| event.cookie != 0) {
        let pair = pairs.entry(event.cookie).or_default();
        let end = if event.mask & Mask::IN_MOVED_FROM.bits() != 0 { &mut pair.0 } else { &mut pair.1 };
        *end = Some((event.watch.clone(), event.name.clone()));
    }
    pairs.into_values().collect()
}

/// How often each watch ended. Behind its end there is nothing, until it is watched anew.
fn ends(events: &[Seen]) -> BTreeMap<String, usize> {
    let mut ends = BTreeMap::new();
    for event in events.iter().filter(|event| event.mask & Mask::IN_IGNORED.bits() != 0) {
        *ends.entry(event.watch.clone()).or_default() += 1;
    }
    ends
}
