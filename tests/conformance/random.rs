//! Random lists, and what is asked of their generator.

use std::sync::Arc;

use libtest_mimic::{Failed, Trial};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngSeed, TestCaseError, TestError, TestRunner};
use uinotify_harness::compare::compare;
use uinotify_harness::generate;
use uinotify_harness::measure::Measure;
use uinotify_harness::needs::Need;
use uinotify_harness::operation::List;
use uinotify_harness::trace::Trace;

use crate::{Subjects, Unmet, checkpoint, fanotify, fuse, model, polled};

/// Random lists of each trial unless `UINOTIFY_CASES` says otherwise.
const CASES: u32 = 40;
/// Lists that the generator is judged by.
const SAMPLE: usize = 100;
/// A failing list is made smaller for this long.
const SHRINK_MAX_MS: u32 = 60_000;

pub(crate) fn trials(subjects: &Arc<Subjects>, unmet: &mut Unmet, quiet: bool) -> Vec<Trial> {
    let cases = setting("UINOTIFY_CASES").map_or(CASES, |cases| cases as u32);
    let seed = setting("UINOTIFY_SEED").unwrap_or_else(fresh_seed);
    if !quiet {
        println!("random lists: UINOTIFY_CASES={cases} UINOTIFY_SEED={seed}");
    }
    let with = |run: fn(&Subjects, u32, u64) -> Result<(), Failed>| {
        let subjects = Arc::clone(subjects);
        move || run(&subjects, cases, seed)
    };
    let allocations: fn(&Subjects, u32, u64) -> Result<(), Failed> =
        |subjects, cases, seed| equal(&|list| subjects.run(list), generate::allocations, cases, seed);
    let lists: fn(&Subjects, u32, u64) -> Result<(), Failed> =
        |subjects, cases, seed| equal(&|list| subjects.run(list), generate::lists, cases, seed);
    let checkpointed: fn(&Subjects, u32, u64) -> Result<(), Failed> =
        |subjects, cases, seed| equal(&|list| subjects.run(list), checkpoint::lists, cases / 2, seed);
    let modelled: fn(&Subjects, u32, u64) -> Result<(), Failed> =
        |subjects, cases, seed| equal(&|list| model::run(subjects, list), generate::lists, cases, seed);
    let trees_modelled: fn(&Subjects, u32, u64) -> Result<(), Failed> =
        |subjects, cases, seed| equal(&|list| model::run(subjects, list), generate::trees, cases, seed);
    let sandboxed: fn(&Subjects, u32, u64) -> Result<(), Failed> = |subjects, cases, seed| {
        equal(&|list| subjects.run_in_sandbox(list), || generate::lists().prop_map(fuse::visible), cases, seed)
    };
    let checkpointed_in_sandbox: fn(&Subjects, u32, u64) -> Result<(), Failed> = |subjects, cases, seed| {
        equal(&|list| subjects.run_in_sandbox(list), || checkpoint::lists().prop_map(fuse::visible), cases / 2, seed)
    };
    let trees_sandboxed: fn(&Subjects, u32, u64) -> Result<(), Failed> = |subjects, cases, seed| {
        equal(&|list| subjects.run_in_sandbox(list), || generate::trees().prop_map(fuse::visible), cases, seed)
    };
    let marked: fn(&Subjects, u32, u64) -> Result<(), Failed> =
        |subjects, cases, seed| in_class(subjects, || generate::lists().prop_map(fanotify::in_class), cases / 2, seed);
    let trees_marked: fn(&Subjects, u32, u64) -> Result<(), Failed> =
        |subjects, cases, seed| in_class(subjects, || generate::trees().prop_map(fanotify::in_class), cases / 2, seed);
    let checkpointed_marked: fn(&Subjects, u32, u64) -> Result<(), Failed> = |subjects, cases, seed| {
        in_class(subjects, || checkpoint::lists().prop_map(fanotify::in_class), cases / 4, seed)
    };
    let allocations_marked: fn(&Subjects, u32, u64) -> Result<(), Failed> =
        |subjects, cases, seed| equal(&|list| subjects.run_marked(list), generate::allocations, cases / 2, seed);
    let settled_marked: fn(&Subjects, u32, u64) -> Result<(), Failed> = |subjects, cases, seed| {
        equal(&|list| subjects.run_marked(list), || generate::lists().prop_map(fanotify::settled), cases / 2, seed)
    };
    let strict: fn(&Subjects, u32, u64) -> Result<(), Failed> = |subjects, cases, seed| {
        equal(&|list| subjects.run_strictly(list), || generate::lists().prop_map(fanotify::apart), cases / 4, seed)
    };
    let trees_strict: fn(&Subjects, u32, u64) -> Result<(), Failed> = |subjects, cases, seed| {
        equal(&|list| subjects.run_strictly(list), || generate::trees().prop_map(fanotify::apart), cases / 4, seed)
    };
    let trees_settled_marked: fn(&Subjects, u32, u64) -> Result<(), Failed> = |subjects, cases, seed| {
        equal(
            &|list| subjects.run_marked(list),
            || generate::trees().prop_map(fanotify::settled_with_names),
            cases / 2,
            seed,
        )
    };
    let allocations_modelled: fn(&Subjects, u32, u64) -> Result<(), Failed> =
        |subjects, cases, seed| equal(&|list| model::run(subjects, list), generate::allocations, cases / 4, seed);
    let itself: fn(&Subjects, u32, u64) -> Result<(), Failed> =
        |subjects, cases, seed| equal(&|list| subjects.run_natively(list), generate::lists, cases / 4, seed);
    let trials = [
        ("random lists of operations on source poll", with(polled::random)),
        ("random lists of operations", with(lists)),
        ("random lists for the cursor", with(allocations)),
        ("random lists with checkpoints", with(checkpointed)),
        ("random lists of operations on the model", with(modelled)),
        ("random lists for the cursor on the model", with(allocations_modelled)),
        ("random lists about names on the model", with(trees_modelled)),
        ("harness: the kernel equals itself on random lists", with(itself)),
        ("random lists of operations make enough happen", with(much_happens)),
        ("random lists for the cursor make enough happen", with(cursors_move)),
        ("random lists about names make enough happen", with(names_change)),
    ];
    let sandboxed = [
        ("random lists of operations on source fuse", with(sandboxed)),
        ("random lists about names on source fuse", with(trees_sandboxed)),
        ("random lists with checkpoints on source fuse", with(checkpointed_in_sandbox)),
    ];
    let marked = [
        ("random lists of operations on source fanotify, in class", with(marked)),
        ("random lists about names on source fanotify, in class", with(trees_marked)),
        ("random lists with checkpoints on source fanotify, in class", with(checkpointed_marked)),
        ("random lists for the cursor on source fanotify", with(allocations_marked)),
        ("random lists of operations on source fanotify, settled", with(settled_marked)),
        ("random lists about names on source fanotify, settled", with(trees_settled_marked)),
    ];
    let strict = [
        ("random lists of operations on source fanotify, in strict order", with(strict)),
        ("random lists about names on source fanotify, in strict order", with(trees_strict)),
    ];
    let mut built = Vec::new();
    let all = trials.into_iter().map(|trial| (trial, Need::NextWatch));
    let all = all.chain(sandboxed.into_iter().map(|trial| (trial, Need::Fuse)));
    let all = all.chain(marked.into_iter().map(|trial| (trial, Need::Fanotify)));
    for ((name, run), need) in all.chain(strict.into_iter().map(|trial| (trial, Need::Permissions))) {
        let reason = unmet.reason(need);
        if let (Some(reason), false) = (&reason, quiet) {
            println!("ignored: {name}: {reason}");
        }
        built.push(Trial::test(name, run).with_ignored_flag(reason.is_some()));
    }
    built
}

fn setting(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    match text.parse() {
        Ok(number) => Some(number),
        Err(error) => panic!("{name}={text}: {error}"),
    }
}

fn fresh_seed() -> u64 {
    let now = std::time::UNIX_EPOCH.elapsed();
    now.map_or(0, |elapsed| elapsed.as_nanos() as u64)
}

fn runner(cases: u32, seed: u64) -> TestRunner {
    TestRunner::new(Config {
        cases,
        rng_seed: RngSeed::Fixed(seed),
        failure_persistence: None,
        max_shrink_time: SHRINK_MAX_MS,
        ..Config::default()
    })
}

/// The end of a group makes its process wait for milliseconds (synchronize_srcu): several at once.
const THREADS: u32 = 4;

/// Runs one list twice.
type Twice<'a> = &'a (dyn Fn(&List) -> (Trace, Trace) + Sync);

fn equal<S: Strategy<Value = List>>(twice: Twice<'_>, lists: fn() -> S, cases: u32, seed: u64) -> Result<(), Failed> {
    let check = |list: &List| {
        let (native, emulated) = twice(list);
        compare(list, &native, &emulated, &[]).map_err(|difference| difference.to_string())
    };
    each(&check, lists, cases, seed)
}

/// The kernel beside marks of fanotify, in their class.
fn in_class<S: Strategy<Value = List>>(
    subjects: &Subjects,
    lists: fn() -> S,
    cases: u32,
    seed: u64,
) -> Result<(), Failed> {
    let check = |list: &List| {
        let (native, marked) = subjects.run_marked(list);
        fanotify::same_in_class(list, &native, &marked)
    };
    each(&check, lists, cases, seed)
}

/// Checks a list.
pub(crate) type Check<'a> = &'a (dyn Fn(&List) -> Result<(), String> + Sync);

/// Checks so many random lists.
pub(crate) fn each<S: Strategy<Value = List>>(
    check: Check<'_>,
    lists: fn() -> S,
    cases: u32,
    seed: u64,
) -> Result<(), Failed> {
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                let cases = cases / THREADS + u32::from(thread < cases % THREADS);
                scope.spawn(move || {
                    each_on_thread(
                        check,
                        &lists(),
                        cases,
                        seed.wrapping_mul(THREADS.into()).wrapping_add(thread.into()),
                    )
                })
            })
            .collect();
        let outcomes: Vec<_> = threads.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        for outcome in outcomes {
            match outcome {
                Ok(Ok(())) => {}
                Ok(Err(reason)) => return Err(format!("UINOTIFY_CASES={cases} UINOTIFY_SEED={seed}\n{reason}").into()),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        Ok(())
    })
}

fn each_on_thread(check: Check<'_>, lists: &impl Strategy<Value = List>, cases: u32, seed: u64) -> Result<(), String> {
    let outcome = runner(cases, seed).run(lists, |list| check(&list).map_err(TestCaseError::fail));
    match outcome {
        Ok(()) => Ok(()),
        Err(TestError::Fail(reason, _)) => Err(reason.message().to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

fn sample(lists: impl Strategy<Value = List>, seed: u64) -> Result<Vec<List>, Failed> {
    let mut runner = runner(1, seed);
    (0..SAMPLE)
        .map(|_| match lists.new_tree(&mut runner) {
            Ok(tree) => Ok(tree.current()),
            Err(reason) => Err(Failed::from(reason.message())),
        })
        .collect()
}

fn much_happens(subjects: &Subjects, _cases: u32, seed: u64) -> Result<(), Failed> {
    let measure = Measure::of(&sample(generate::lists(), seed)?, |list| subjects.native.run(list));
    let enough = measure.events > 18 * SAMPLE
        && measure.merged > 2 * SAMPLE
        && measure.ignored > SAMPLE / 2
        && measure.moved > SAMPLE * 4 / 5
        && measure.masks > 15
        && measure.errors < measure.operations / 2;
    judge(&measure, enough)
}

fn cursors_move(subjects: &Subjects, _cases: u32, seed: u64) -> Result<(), Failed> {
    let measure = Measure::of(&sample(generate::allocations(), seed)?, |list| subjects.native.run(list));
    let enough = measure.wraps > SAMPLE / 4 && measure.ignored > SAMPLE && measure.errors < measure.operations / 2;
    judge(&measure, enough)
}

fn names_change(subjects: &Subjects, _cases: u32, seed: u64) -> Result<(), Failed> {
    let measure = Measure::of(&sample(generate::trees(), seed)?, |list| subjects.native.run(list));
    let enough = measure.events > 25 * SAMPLE
        && measure.ignored > SAMPLE / 2
        && measure.moved > 2 * SAMPLE
        && measure.masks > 15
        && measure.errors < measure.operations / 2;
    judge(&measure, enough)
}

fn judge(measure: &Measure, enough: bool) -> Result<(), Failed> {
    if enough { Ok(()) } else { Err(format!("too little happens: {measure:?}").into()) }
}
