//! The harness put to the test: the kernel equals itself, a change is seen, and no rule is left out.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use libtest_mimic::{Failed, Trial};
use uinotify_harness::cases::words::{blocking_group, both};
use uinotify_harness::compare::compare;
use uinotify_harness::operation::{List, Operation};
use uinotify_harness::shorthand::{chmod, open, read_all, rename, slot, touch};
use uinotify_harness::subject::{Kind, Pool};
use uinotify_harness::trace::{End, Event, Outcome, Trace};
use uinotify_harness::{list, show};

use crate::{Subjects, Unmet, cases};

pub(crate) const RULES: &str = include_str!("../../docs/semantics.md");

pub(crate) fn trials(subjects: &Arc<Subjects>, unmet: &mut Unmet) -> Vec<Trial> {
    let runnable: Vec<_> =
        cases().into_iter().filter(|case| case.needs.iter().all(|need| unmet.reason(*need).is_none())).collect();
    let with = |run: fn(&Subjects) -> Result<(), Failed>| {
        let subjects = Arc::clone(subjects);
        move || run(&subjects)
    };
    let itself = Arc::clone(subjects);
    vec![
        Trial::test("harness: the kernel equals itself", move || {
            for case in &runnable {
                let (first, second) = itself.run_natively(&case.list);
                compare(&case.list, &first, &second, &[])
                    .map_err(|difference| format!("{}: {difference}", case.name))?;
            }
            Ok(())
        }),
        Trial::test("harness: every change to a trace is a difference", with(changes_are_seen)),
        Trial::test("harness: a hang and a death are told with their operation", ends_are_told),
        Trial::test("harness: every rule has a list", rules_have_lists),
        Trial::test("harness: every asserted difference has a row in docs/differences.md", differences_have_rows),
        Trial::test("harness: every name is used once", names_are_used_once),
    ]
}

fn changes_are_seen(subjects: &Subjects) -> Result<(), Failed> {
    let list = List::new(list![touch("f"), both("f"), chmod("f", 0o600), read_all(0), rename("f", "g"), read_all(0),]);
    let trace = subjects.native.run(&list);
    compare(&list, &trace, &trace.clone(), &[])?;
    let changes = changes(&trace);
    // The events of two reads, six members of each, and four changes of the reads themselves.
    if changes.len() < 5 * 6 + 4 {
        return Err(format!("only {} changes\n{}", changes.len(), show::trace(&list, &trace)).into());
    }
    for (what, changed) in changes {
        for (native, emulated) in [(&trace, &changed), (&changed, &trace)] {
            if compare(&list, native, emulated, &[]).is_ok() {
                return Err(format!("not seen: {what}").into());
            }
        }
    }
    Ok(())
}

type Change = (&'static str, fn(&mut Event));

fn changes(trace: &Trace) -> Vec<(String, Trace)> {
    let members: [Change; 6] = [
        ("wd", |event| event.wd += 1),
        ("mask", |event| event.mask ^= libc::IN_ISDIR),
        ("cookie", |event| event.cookie += 7),
        ("len", |event| event.len += 16),
        ("name", |event| event.name.push('x')),
        ("padding", |event| event.padded = !event.padded),
    ];
    let mut changed = Vec::new();
    for (index, outcome) in trace.outcomes.iter().enumerate() {
        let mut put = |what: &str, outcome: Outcome| {
            let mut copy = trace.clone();
            copy.outcomes[index] = outcome;
            changed.push((format!("{what} of operation {index}"), copy));
        };
        let Outcome::Read { returned, events, rest, intact } = outcome else {
            put("value", Outcome::error(libc::EIO));
            continue;
        };
        let read = |events: Vec<Event>| Outcome::Read { returned: *returned, events, rest: *rest, intact: *intact };
        for event in 0..events.len() {
            for (what, change) in members {
                let mut copy = events.clone();
                change(&mut copy[event]);
                put(what, read(copy));
            }
            let mut copy = events.clone();
            copy.remove(event);
            put("a lost event", read(copy));
        }
        let mut turned = events.clone();
        turned.rotate_left(1);
        if turned != *events {
            put("order", read(turned));
        }
        put("intactness", Outcome::Read { returned: *returned, events: events.clone(), rest: *rest, intact: !intact });
    }
    let mut shorter = trace.clone();
    shorter.outcomes.pop();
    changed.push(("a lost outcome".to_owned(), shorter));
    changed
}

fn ends_are_told() -> Result<(), Failed> {
    let pool = Pool::new(Kind::native(std::env::current_exe()?).step_max(Duration::from_millis(300)));
    let blocks = List::new(list![touch("f"), blocking_group(0), read_all(0), read_all(0)]);
    let empty = Operation::Map { descriptor: slot(1), place: 0, writable: true };
    let faults = List::new(list![open(1, "f", libc::O_RDWR | libc::O_CREAT), empty, Operation::Touch { place: 0 }]);
    let inside = List::new(list![touch("f"), Operation::Child(blocks.operations.clone())]);
    let faults_inside = List::new(list![Operation::Child(faults.operations.clone())]);
    for (list, end, index) in [
        (&blocks, End::Hang, 3),
        (&faults, End::Killed(libc::SIGBUS), 2),
        (&inside, End::Hang, 2),
        (&faults_inside, End::Killed(libc::SIGBUS), 0),
    ] {
        let trace = pool.run(list);
        if trace.end != end || trace.outcomes.len() != index {
            return Err(format!("expected {end:?} in {index}\n{}", show::trace(list, &trace)).into());
        }
        if compare(list, &trace, &trace, &[]).is_ok() {
            return Err(format!("{end:?} is no difference").into());
        }
    }
    Ok(())
}

fn rules_have_lists() -> Result<(), Failed> {
    let named: BTreeSet<&str> = cases().iter().flat_map(|case| case.name.split(' ')).collect();
    let rows = RULES.lines().filter_map(|line| {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let (id, tests) = (*cells.get(1)?, *cells.get(cells.len().checked_sub(2)?)?);
        let differential = tests.split(", ").any(|test| test == "differential");
        differential.then_some(id)
    });
    let rules: BTreeSet<&str> = rows.collect();
    if rules.len() < 50 {
        return Err(format!("only {} rules found", rules.len()).into());
    }
    let missing: Vec<_> = rules.difference(&named).collect();
    if missing.is_empty() { Ok(()) } else { Err(format!("no list names {missing:?}").into()) }
}

fn differences_have_rows() -> Result<(), Failed> {
    let mut asserted: BTreeSet<&str> =
        cases().iter().flat_map(|case| &case.asserted).map(|asserted| asserted.id).collect();
    asserted.extend(crate::fuse::DIFFERENT.iter().map(|(_, id, _)| id));
    asserted.extend(crate::fanotify::ids());
    asserted.extend(crate::polled::DIFFERENT.iter().map(|(_, id, _)| id));
    if asserted.is_empty() {
        return Ok(());
    }
    let rows = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/differences.md"))?;
    match asserted.iter().find(|id| !rows.lines().any(|row| row.starts_with(&format!("| {id} |")))) {
        Some(id) => Err(format!("no row: {id}").into()),
        None => Ok(()),
    }
}

fn names_are_used_once() -> Result<(), Failed> {
    let mut seen = BTreeSet::new();
    match cases().iter().find(|case| !seen.insert(case.name)) {
        Some(case) => Err(format!("used twice: {}", case.name).into()),
        None => Ok(()),
    }
}
