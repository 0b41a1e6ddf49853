//! The kernel's inotify beside the emulator's: the same lists of operations on both, and literally the
//! same results.
//!
//! `cargo test --test conformance -- FILTER` runs some. Settings by environment:
//!
//! | Variable | Meaning |
//! | --- | --- |
//! | `UINOTIFY_CASES` | random lists for each random trial, 40 |
//! | `UINOTIFY_SEED` | seed of the random lists, to see those of an earlier run again |
//! | `UINOTIFY_REPLAY` | a file with one list in JSON, as a failure prints it: run it and show its traces, the model's too |
//! | `UINOTIFY_ARGUMENTS` | further arguments of `uinotify run`, separated by spaces |
//! | `UINOTIFY_AGAINST=kernel` | the kernel takes the emulator's place: a check of the lists themselves |

mod by_number;
mod checkpoint;
mod el7;
mod fanotify;
mod fuse;
mod model;
mod polled;
mod random;
mod rules;

use std::collections::HashMap;
use std::os::unix::fs::PermissionsExt;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result};
use libtest_mimic::{Arguments, Failed, Trial};
use tempfile::TempDir;
use uinotify_harness::case::Case;
use uinotify_harness::cases::all as cases;
use uinotify_harness::compare::compare;
use uinotify_harness::execute;
use uinotify_harness::needs::Need;
use uinotify_harness::operation::List;
use uinotify_harness::show;
use uinotify_harness::subject::{Kind, Pool};
use uinotify_harness::trace::Trace;

/// Both subjects.
struct Subjects {
    native: Pool,
    emulated: Pool,
    /// The emulator whose events come from a file system of its own, and the directory that is seen through that.
    sandboxed: Pool,
    /// The same, which shows programs the kernel of RHEL 7.
    old: Pool,
    /// The emulator on the kernel's inotify, which shows the same.
    old_kernel: Pool,
    /// The emulator that only looks.
    polled: Pool,
    _sandbox: TempDir,
    /// The emulator whose events come from marks of fanotify.
    marked: Pool,
    /// The same in strict order.
    strict: Pool,
    /// An emulator behind a filter of system calls, and a program that makes its calls by number.
    intercepted: Pool,
}

impl Subjects {
    fn new() -> Result<Self> {
        let executor = std::env::current_exe()?;
        let native = Kind::native(executor.clone());
        let sandbox = tempfile::Builder::new()
            .prefix("uinotify-conformance-")
            .permissions(std::fs::Permissions::from_mode(0o1777))
            .tempdir()?;
        let sandboxed = fuse::kind(executor.clone(), sandbox.path(), &[]);
        let old = fuse::kind(executor.clone(), sandbox.path(), &["--profile", "el7"]);
        let arguments = ["--source", "inotify", "--profile", "el7"].map(Into::into);
        let old_kernel = Kind::emulated(executor.clone(), env!("CARGO_BIN_EXE_uinotify").into(), arguments.into());
        let marked = fanotify::kind(executor.clone());
        let polled = polled::kind(executor.clone());
        let strict = fanotify::strict_kind(executor.clone());
        let intercepted = by_number::kind(executor.clone());
        let emulated = match std::env::var("UINOTIFY_AGAINST").as_deref() {
            Ok("kernel") => native.clone(),
            _ => Kind::emulated(
                executor,
                env!("CARGO_BIN_EXE_uinotify").into(),
                std::env::var("UINOTIFY_ARGUMENTS").unwrap_or_default().split_whitespace().map(Into::into).collect(),
            ),
        };
        Ok(Self {
            native: Pool::new(native),
            emulated: Pool::new(emulated),
            old: Pool::new(old),
            old_kernel: Pool::new(old_kernel),
            sandboxed: Pool::new(sandboxed),
            polled: Pool::new(polled),
            _sandbox: sandbox,
            marked: Pool::new(marked),
            strict: Pool::new(strict),
            intercepted: Pool::new(intercepted),
        })
    }

    /// What the kernel and the emulator show.
    fn run(&self, list: &List) -> (Trace, Trace) {
        at_once(&self.native, &self.emulated, list)
    }

    /// What the kernel and the emulator in its sandbox show.
    fn run_in_sandbox(&self, list: &List) -> (Trace, Trace) {
        at_once(&self.native, &self.sandboxed, list)
    }

    /// What the kernel shows, and the emulator in its sandbox that shows the kernel of RHEL 7.
    fn run_beside_old(&self, list: &List) -> (Trace, Trace) {
        at_once(&self.native, &self.old, list)
    }

    /// The same on the source `inotify`.
    fn run_beside_old_kernel(&self, list: &List) -> (Trace, Trace) {
        at_once(&self.native, &self.old_kernel, list)
    }

    /// What the kernel and the emulator on marks of fanotify show.
    fn run_marked(&self, list: &List) -> (Trace, Trace) {
        at_once(&self.native, &self.marked, list)
    }

    /// What the kernel and the emulator that polls show.
    fn run_polled(&self, list: &List) -> (Trace, Trace) {
        at_once(&self.native, &self.polled, list)
    }

    /// What the kernel and the emulator on marks of fanotify, in strict order, show.
    fn run_strictly(&self, list: &List) -> (Trace, Trace) {
        at_once(&self.native, &self.strict, list)
    }

    /// What the kernel and the emulator show a program without libc.
    fn run_by_number(&self, list: &List) -> (Trace, Trace) {
        at_once(&self.native, &self.intercepted, list)
    }

    /// What the kernel shows twice.
    fn run_natively(&self, list: &List) -> (Trace, Trace) {
        at_once(&self.native, &self.native, list)
    }

    fn check(&self, case: &Case) -> Result<(), Failed> {
        let (native, emulated) = self.run(&case.list);
        case.check(&native).map_err(|error| error.to_string())?;
        Ok(compare(&case.list, &native, &emulated, &case.asserted)?)
    }
}

/// The end of a group makes its process wait for milliseconds (synchronize_srcu): not one after the other.
fn at_once(first: &Pool, second: &Pool, list: &List) -> (Trace, Trace) {
    std::thread::scope(|scope| {
        let first = scope.spawn(|| first.run(list));
        let second = second.run(list);
        match first.join() {
            Ok(first) => (first, second),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

fn main() -> Result<ExitCode> {
    if std::env::args().nth(1).as_deref() == Some(execute::ARGUMENT) {
        execute::set_rebuild(checkpoint::rebuild);
        execute::set_barrier(polled::barrier);
        execute::execute()?;
        return Ok(ExitCode::SUCCESS);
    }
    keep_inherited_descriptors()?;
    let subjects = Arc::new(Subjects::new()?);
    if let Ok(file) = std::env::var("UINOTIFY_REPLAY") {
        return replay(&subjects, &file);
    }
    let arguments = Arguments::from_args();
    let mut unmet = Unmet::default();
    let mut trials = Vec::new();
    for case in cases() {
        let reason = case.needs.iter().find_map(|need| unmet.reason(*need));
        if let (Some(reason), false) = (&reason, arguments.list) {
            println!("ignored: {}: {reason}", case.name);
        }
        let subjects = Arc::clone(&subjects);
        let trial = Trial::test(case.name, move || subjects.check(&case));
        trials.push(trial.with_ignored_flag(reason.is_some()));
    }
    trials.extend(random::trials(&subjects, &mut unmet, arguments.list));
    trials.extend(model::trials(&subjects, &mut unmet));
    trials.extend(fuse::trials(&subjects, &mut unmet, arguments.list));
    trials.extend(el7::trials(&subjects, &mut unmet, arguments.list));
    trials.extend(fanotify::trials(&subjects, &mut unmet, arguments.list));
    trials.extend(polled::trials(&subjects, &mut unmet, arguments.list));
    trials.extend(by_number::trials(&subjects, &mut unmet, arguments.list));
    trials.extend(rules::trials(&subjects, &mut unmet));
    let conclusion = libtest_mimic::run(&arguments, trials);
    // Not `exit`: the subjects end when they are dropped.
    drop(subjects);
    Ok(conclusion.exit_code())
}

/// What the machine does not give, each asked once.
#[derive(Default)]
struct Unmet(HashMap<Need, Option<String>>);

impl Unmet {
    fn reason(&mut self, need: Need) -> Option<String> {
        let probed = self.0.entry(need);
        probed
            .or_insert_with(|| {
                let error = need.probe().err()?;
                Some(format!("needs {need:?}: {error:#}"))
            })
            .clone()
    }
}

/// Descriptors that this program was started with are not for the subjects, which compare numbers.
fn keep_inherited_descriptors() -> Result<()> {
    for entry in std::fs::read_dir("/proc/self/fd")? {
        let number = entry?.file_name().to_string_lossy().parse::<i32>()?;
        if number > 2 {
            // SAFETY: takes no pointer; the descriptor of the directory stream itself may be gone.
            unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) };
        }
    }
    Ok(())
}

fn replay(subjects: &Subjects, file: &str) -> Result<ExitCode> {
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {file}"))?;
    let list: List = serde_json::from_str(&text).context("not a list")?;
    let (native, emulated) = subjects.run(&list);
    println!("--- native\n{}", show::trace(&list, &native));
    println!("--- emulated\n{}", show::trace(&list, &emulated));
    let (_, sandboxed) = subjects.run_in_sandbox(&list);
    println!("--- in a sandbox\n{}", show::trace(&list, &sandboxed));
    let (_, marked) = subjects.run_marked(&list);
    println!("--- by marks\n{}", show::trace(&list, &marked));
    let (_, polled) = subjects.run_polled(&list);
    println!("--- polled\n{}", show::trace(&list, &polled));
    let (_, strict) = subjects.run_strictly(&list);
    println!("--- in strict order\n{}", show::trace(&list, &strict));
    let (_, modelled) = model::run(subjects, &list);
    println!("--- modelled\n{}", show::trace(&list, &modelled));
    match compare(&list, &native, &emulated, &[]) {
        Ok(()) => {
            println!("--- equal");
            Ok(ExitCode::SUCCESS)
        }
        Err(difference) => {
            println!("--- first difference\n{difference}");
            Ok(ExitCode::FAILURE)
        }
    }
}
