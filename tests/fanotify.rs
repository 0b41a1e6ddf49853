//! Source `fanotify` beside the kernel's inotify: both watch the same objects while another process does things to them.
//!
//! What is drained after each operation is the same, in order. What is drained later is the same set (docs/differences.md). Each test runs in a
//! process of its own, as root and as an ordinary user, on each kind of file system; all mounts are in a mount name space of this process and its
//! children, and end with them. As an ordinary user only what such a one can do is run, where temporary files are.
//!
//! | Variable | Meaning |
//! | --- | --- |
//! | `UINOTIFY_STEPS` | random operations of a test, 600 |
//! | `UINOTIFY_SEED` | their seed |
//! | `UINOTIFY_STORM` | operations of the storm, 16000 |

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result};
use libtest_mimic::{Arguments, Failed, Trial};

#[path = "fanotify/actor.rs"]
mod actor;
#[path = "fanotify/both.rs"]
mod both;
#[path = "fanotify/class.rs"]
mod class;
#[path = "fanotify/limits.rs"]
mod limits;
#[path = "fanotify/lists.rs"]
mod lists;
#[path = "fanotify/random.rs"]
mod random;
#[path = "fanotify/scene.rs"]
mod scene;
#[path = "sandbox/server.rs"]
#[allow(dead_code)]
mod server;
#[path = "fanotify/storm.rs"]
mod storm;
#[path = "fanotify/volumes.rs"]
mod volumes;

use volumes::{KINDS, Volumes};

fn main() -> Result<ExitCode> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    match &arguments[..] {
        [argument, rest @ ..] if argument == server::ARGUMENT => {
            server::serve(rest)?;
            return Ok(ExitCode::SUCCESS);
        }
        [argument, rest @ ..] if argument == scene::ARGUMENT => {
            return Ok(match scene::play(rest) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => {
                    eprintln!("{error:#}");
                    ExitCode::FAILURE
                }
            });
        }
        _ => {}
    }
    let mut arguments = Arguments::from_args();
    // Each has many processes by itself.
    arguments.test_threads = Some(1);
    // Before there is a second thread, so that all of them are in it.
    let space = if arguments.list { Ok(()) } else { volumes::enter_mount_space() };
    let volumes = match &space {
        Ok(()) if !arguments.list => Some(Arc::new(Volumes::new()?)),
        _ => None,
    };
    let mut trials = Vec::new();
    let mut add = |name: String, missing: Option<String>, test: Box<dyn Fn() -> Result<()> + Send>| {
        if let (Some(missing), false) = (&missing, arguments.list) {
            println!("ignored: {name}: {missing}");
        }
        let trial = Trial::test(name, move || test().map_err(|error| Failed::from(format!("{error:#}"))));
        trials.push(trial.with_ignored_flag(missing.is_some()));
    };
    let missing = |kind: &str| match (&space, &volumes) {
        (Err(error), _) => Some(format!("{error:#}")),
        (_, Some(volumes)) => volumes.missing(kind).map(ToOwned::to_owned),
        _ => None,
    };
    let on = |test: &'static str, kind: &'static str, as_root, whole| {
        let volumes = volumes.clone();
        move || {
            let volume = volumes.as_ref().context("no volumes")?.path(kind);
            scene::run(test, &volume, as_root, whole)
        }
    };
    for (kind, can_be_whole) in KINDS {
        for (test, _) in scene::TESTS {
            let ways = [("root", true, can_be_whole), ("root_inodes", true, false), ("user", false, false)];
            for (way, as_root, whole) in ways {
                if way == "root_inodes" && !can_be_whole {
                    continue;
                }
                let name = format!("{kind}::{way}::{test}");
                add(name, missing(kind), Box::new(on(test, kind, as_root, whole)));
            }
        }
    }
    for (name, test, as_root, whole) in [
        ("tmpfs::root::unmount", "unmount", true, true),
        ("tmpfs::root_inodes::unmount", "unmount", true, false),
        ("tmpfs::user::few_marks", "few_marks", false, false),
        ("tmpfs::user::truncation_that_clears_bits", "truncation_that_clears_bits", false, false),
    ] {
        add(name.to_owned(), missing("tmpfs"), Box::new(on(test, "tmpfs", as_root, whole)));
    }
    let is_root = nix::unistd::geteuid().is_root();
    for (test, _) in scene::TESTS.iter().filter(|_| !is_root) {
        let run = move || scene::run(test, tempfile::tempdir()?.path(), false, false);
        add(format!("temporary::user::{test}"), None, Box::new(run));
    }
    Ok(libtest_mimic::run(&arguments, trials).exit_code())
}
