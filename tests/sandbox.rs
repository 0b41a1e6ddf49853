//! A tree seen through the file system of source `fuse` is the tree: the same bytes, metadata and errors.
//!
//! Most tests are programs of this binary, which are run twice, in a plain directory and in one that is seen through the mount, and must
//! find the same. All mounts are in a mount name space of this process and its children, and end with them.
//!
//! | Variable | Meaning |
//! | --- | --- |
//! | `UINOTIFY_STEPS` | steps of the random operations, 4000 |
//! | `UINOTIFY_SEED` | their seed |
//! | `UINOTIFY_FILES` | files of the test of many files, 8000 |

use std::process::ExitCode;

use anyhow::Result;
use libtest_mimic::{Arguments, Failed, Trial};

use server::Kind;

#[path = "sandbox/act.rs"]
mod act;
#[path = "sandbox/both.rs"]
mod both;
#[path = "sandbox/fast.rs"]
mod fast;
#[path = "sandbox/hooks.rs"]
mod hooks;
#[path = "sandbox/life.rs"]
mod life;
#[path = "sandbox/many.rs"]
mod many;
#[path = "sandbox/programs.rs"]
mod programs;
#[path = "sandbox/random.rs"]
mod random;
#[path = "sandbox/server.rs"]
mod server;
#[path = "sandbox/tree.rs"]
mod tree;
#[path = "sandbox/work.rs"]
mod work;

/// Whatever takes longer hangs, and ends.
const HANG_SECONDS: u32 = 600;

fn main() -> Result<ExitCode> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    match &arguments[..] {
        [argument, rest @ ..] if argument == server::ARGUMENT => {
            server::serve(rest)?;
            return Ok(ExitCode::SUCCESS);
        }
        [argument, rest @ ..] if argument == act::ARGUMENT => {
            // SAFETY: takes no pointer; SIGALRM ends a process that does not handle it.
            unsafe { libc::alarm(HANG_SECONDS) };
            act::run(rest)?;
            return Ok(ExitCode::SUCCESS);
        }
        _ => {}
    }
    let mut arguments = Arguments::from_args();
    // While another thread starts a process, that holds what this one has open until it executes its program: what is closed
    // meanwhile is so later, and its hooks come later.
    arguments.test_threads = Some(1);
    // Before there is a second thread, so that all of them are in it.
    let missing = both::enter_mount_space().err().map(|error| format!("{error:#}"));
    let mut trials = Vec::new();
    for kind in [Kind::Exact, Kind::Fast, Kind::Cached] {
        let name = |name: &str| if kind == Kind::Exact { name.to_owned() } else { format!("{}::{name}", kind.name()) };
        // These two do what takes CAP_SYS_ADMIN of the server as well.
        let is_run = |act: &&act::Act| {
            kind != Kind::Cached
                || !["settings::extended_attributes", "owners::capabilities", "owners::capabilities_of_others"]
                    .contains(&act.name)
        };
        let acts = act::ACTS.iter().filter(is_run);
        trials.extend(acts.map(|act| trial(&name(act.name), move || both::compare(kind, act.name, &[]))));
        trials.push(trial(&name("random::operations"), move || random::operations(kind)));
    }
    trials.push(trial("many::files_with_few_descriptors", many::files_with_few_descriptors));
    for (name, test) in hooks::TESTS.iter().chain(fast::TESTS).chain(life::TESTS).chain(programs::TESTS) {
        trials.push(trial(name, test));
    }
    let trials = trials.into_iter().map(|trial| {
        if let (Some(missing), false) = (&missing, arguments.list) {
            println!("ignored: {}: {missing}", trial.name());
        }
        trial.with_ignored_flag(missing.is_some())
    });
    let trials = trials.collect();
    Ok(libtest_mimic::run(&arguments, trials).exit_code())
}

fn trial(name: &str, test: impl Fn() -> Result<()> + Send + 'static) -> Trial {
    Trial::test(name, move || test().map_err(|error| Failed::from(format!("{error:#}"))))
}
