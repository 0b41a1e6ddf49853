//! What this source promises: the set of events exact, their order and number best effort.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, ensure};
use uinotify_core::Mask;

use crate::both::{Seen, Told, show};

/// One bit of one event.
type Part = (String, u32, String);
/// An end of a rename: the watch, and the name.
type End = (String, String);

/// The same events once repeats count once, the same ends of renames together, the same watches ended, and an object's life in order.
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
    ensure!(kernel == source, "renames {kernel:?}, {source:?}: {}", both());
    let (kernel, source) = (ends(&told.kernel), ends(&told.source));
    ensure!(kernel == source, "ends {kernel:?}, {source:?}: {}", both());
    for (name, events) in lives(&told.kernel) {
        let Some(found) = lives(&told.source).remove(&name) else { continue };
        let is_one = |bit: Mask| events.iter().filter(|mask| **mask & bit.bits() != 0).count() == 1;
        let starts = |events: &[u32]| events.first().is_some_and(|mask| mask & Mask::IN_CREATE.bits() != 0);
        let stops = |events: &[u32]| events.last().is_some_and(|mask| mask & Mask::IN_DELETE.bits() != 0);
        let moves = (Mask::IN_MOVED_FROM | Mask::IN_MOVED_TO).bits();
        if events.iter().any(|mask| mask & moves != 0) {
            continue;
        }
        if is_one(Mask::IN_CREATE) && starts(&events) {
            ensure!(starts(&found), "{name:?} does not begin with its creation: {}", both());
        }
        if is_one(Mask::IN_DELETE) && stops(&events) {
            ensure!(stops(&found), "{name:?} does not end with its deletion: {}", both());
        }
    }
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

fn renames(events: &[Seen]) -> BTreeSet<(Option<End>, Option<End>)> {
    let mut pairs: BTreeMap<u32, (Option<End>, Option<End>)> = BTreeMap::new();
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

/// The masks of each name, and of each object itself.
fn lives(events: &[Seen]) -> BTreeMap<End, Vec<u32>> {
    let mut lives: BTreeMap<End, Vec<u32>> = BTreeMap::new();
    for event in events {
        lives.entry((event.watch.clone(), event.name.clone())).or_default().push(event.mask);
    }
    lives
}
