//! Programs that people use: each does the same natively and emulated, whichever way it is started, and says the same.
//!
//! With `--client` as its first argument this binary is not the test but one of those programs: see [`clients`].

use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};

#[path = "programs/clients.rs"]
mod clients;
#[path = "programs/command_line.rs"]
mod command_line;
#[path = "programs/compiled.rs"]
mod compiled;
#[path = "programs/crates.rs"]
mod crates;
#[path = "programs/inside.rs"]
mod inside;
#[path = "programs/java.rs"]
mod java;
#[path = "programs/javascript.rs"]
mod javascript;
#[path = "programs/need.rs"]
mod need;
#[path = "programs/python.rs"]
mod python;
#[path = "programs/run.rs"]
mod run;
#[path = "programs/scripted.rs"]
mod scripted;

use need::Need;
use run::{Outcome, Subject};

/// A program, and what is done before its eyes.
struct Case {
    name: &'static str,
    needs: &'static [Need],
    /// Starts the program, works on its folder, and gives back what it said.
    play: fn(Subject) -> Result<String, Failed>,
}

fn main() -> ExitCode {
    let mut arguments = std::env::args();
    if arguments.nth(1).as_deref() == Some("--client") {
        return clients::main(&arguments.collect::<Vec<_>>());
    }
    uinotify_harness::old_kernel::enter_if_asked();
    let mut arguments = Arguments::from_args();
    // While another thread starts a process, that holds what this one has open until it executes its program: what is closed
    // or deleted meanwhile is so later, and its events come later.
    arguments.test_threads = Some(1);
    let mut trials = Vec::new();
    for case in cases() {
        let play = case.play;
        trials.push(trial(&arguments, case.name, case.needs, move || compare(play, &Subject::EMULATED)));
        let (name, needs) = (format!("marks::{}", case.name), [&[Need::Marks], case.needs].concat());
        trials.push(trial(&arguments, &name, &needs, move || compare_in_class(play)));
        if !NOT_IN_TREES.contains(&case.name) {
            let (name, needs) = (format!("tree::{}", case.name), [&[Need::Tree], case.needs].concat());
            trials.push(trial(&arguments, &name, &needs, move || compare(play, &[Subject::Tree])));
        }
    }
    let (name, needs) = ("inotifywait::next_wd_beside_ps", &[Need::Inotifywait]);
    trials.push(trial(&arguments, name, needs, command_line::next_wd_beside_ps));
    let (name, needs) = ("tree::tail::polls", &[Need::Tree, Need::Tail]);
    trials.push(trial(&arguments, name, needs, command_line::tail_polls_in_a_tree));
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// The first has a test of its own, and the second works in folders of its own.
const NOT_IN_TREES: [&str; 2] = ["tail::follow_by_name", "systemd::own_test"];

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    cases.extend(command_line::cases());
    cases.extend(crates::cases());
    cases.extend(python::cases());
    cases.extend(javascript::cases());
    cases.extend(java::cases());
    cases.extend(scripted::cases());
    cases.extend(compiled::cases());
    cases
}

fn trial(
    arguments: &Arguments,
    name: &str,
    needs: &[Need],
    runner: impl FnOnce() -> Outcome + Send + 'static,
) -> Trial {
    let reason = needs.iter().find_map(|need| need.probe().err());
    if let (Some(reason), false) = (&reason, arguments.list) {
        println!("ignored: {name}: {reason}");
    }
    Trial::test(name, runner).with_ignored_flag(reason.is_some())
}

/// On marks of fanotify: the same lines, once repeats count once. Their order is best effort.
fn compare_in_class(play: fn(Subject) -> Result<String, Failed>) -> Outcome {
    let (native, marked) = (play(Subject::Native)?, play(Subject::Marked)?);
    let lines = |said: &str| said.lines().map(str::to_owned).collect::<std::collections::BTreeSet<_>>();
    if lines(&native) == lines(&marked) {
        return Ok(());
    }
    Err(format!("--- native\n{native}--- on marks\n{marked}").into())
}

fn compare(play: fn(Subject) -> Result<String, Failed>, subjects: &[Subject]) -> Outcome {
    let native = play(Subject::Native)?;
    for &subject in subjects {
        let emulated = play(subject)?;
        if native != emulated {
            return Err(format!("--- native\n{native}--- {subject:?}\n{emulated}").into());
        }
    }
    Ok(())
}
