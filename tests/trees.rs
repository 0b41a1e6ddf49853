//! `uinotify run --tree` and `uinotify mount`, by running them: who sees a tree, how long, what becomes of it when something is killed, and
//! whether programs do in it what they do elsewhere.
//!
//! With `--helper` as its first argument this binary is not the test but a program under test (see [`helper`]), and with `--as` it becomes
//! another one under other circumstances (see [`circumstances`]). All mounts are in mount name spaces of this process and its children.

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

#[path = "trees/circumstances.rs"]
mod circumstances;
#[path = "trees/death.rs"]
mod death;
#[path = "trees/exercise.rs"]
mod exercise;
#[path = "trees/fsx.rs"]
mod fsx;
#[path = "trees/helper.rs"]
mod helper;
#[path = "trees/mount.rs"]
mod mount;
#[path = "trees/need.rs"]
mod need;
#[path = "settling/random.rs"]
#[allow(dead_code, reason = "the tests of settling use more of it")]
mod random;
#[path = "command/room.rs"]
#[allow(dead_code, reason = "the tests of the command use more of it")]
mod room;
#[path = "trees/run.rs"]
mod run;
#[path = "trees/sources.rs"]
mod sources;
#[path = "trees/talk.rs"]
mod talk;
#[path = "sandbox/tree.rs"]
mod tree;
#[path = "sandbox/work.rs"]
mod work;

use need::Need;
use room::Outcome;

/// After this many seconds something hangs that will not end by itself, and the whole test is killed.
const HANG_SECONDS: u32 = 300;

fn main() -> ExitCode {
    let mut arguments = std::env::args();
    match arguments.nth(1).as_deref() {
        Some("--helper") => return helper::main(&arguments.collect::<Vec<_>>()),
        Some(circumstances::ARGUMENT) => return circumstances::main(&arguments.collect::<Vec<_>>()),
        _ => {}
    }
    uinotify_harness::old_kernel::enter_if_asked();
    // SAFETY: it takes no pointer; the default action of SIGALRM is to end the process.
    unsafe { libc::alarm(HANG_SECONDS) };
    // Before there is a second thread, so that all of them are in it.
    let mounts = circumstances::enter_mount_space();
    let arguments = Arguments::from_args();
    let mut trials = Vec::new();
    for (name, needs, test) in [run::TESTS, death::TESTS, sources::TESTS, mount::TESTS].concat() {
        let reason = needs.iter().find_map(|need| need.missing(&mounts));
        if let (Some(reason), false) = (&reason, arguments.list) {
            println!("ignored: {name}: {reason}");
        }
        trials.push(Trial::test(name, test).with_ignored_flag(reason.is_some()));
    }
    trials.extend(exercise::trials(arguments.list, |need| need.missing(&mounts)));
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// A test, and what it needs of the machine.
type Test = (&'static str, &'static [Need], fn() -> Outcome);
