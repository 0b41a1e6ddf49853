//! uinotify on Linux 3.10, vanilla and RHEL 7.9's, as far as this machine's kernel can be made to answer as those do: see
//! [`uinotify_harness::old_kernel`]. Programs run natively, on the machine's own kernel, and under uinotify on an old one, and say the same.
//!
//! With `--probe` as its first argument this binary is not the test, but says what the kernel answers: see [`probe`].

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};
use uinotify_harness::needs::Need;
use uinotify_harness::old_kernel::OldKernel;

#[path = "oldkernel/command.rs"]
mod command;
#[path = "oldkernel/probe.rs"]
mod probe;
#[path = "command/room.rs"]
#[allow(dead_code, reason = "the tests of the command use more of it")]
mod room;
#[path = "oldkernel/scene.rs"]
mod scene;

use scene::{Libc, Scene};

/// After this many seconds something hangs that will not end by itself, and the whole test is killed.
const HANG_SECONDS: u32 = 300;

/// A test, and whether it takes a file system of ours.
type Test = (&'static str, bool, fn(&Scene) -> room::Outcome);

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some(probe::ARGUMENT) {
        return probe::main();
    }
    // SAFETY: it takes no pointer; the default action of SIGALRM is to end the process.
    unsafe { libc::alarm(HANG_SECONDS) };
    let arguments = Arguments::from_args();
    let mut trials = Vec::new();
    let no_filter = OldKernel::Vanilla.missing();
    let no_fuse = Need::Fuse.probe().err().map(|error| format!("{error:#}"));
    for kernel in OldKernel::ALL {
        let mut add = |name: String, reason: Option<String>, test: Box<dyn FnOnce() -> room::Outcome + Send>| {
            if let (Some(reason), false) = (&reason, arguments.list) {
                println!("ignored: {name}: {reason}");
            }
            trials.push(Trial::test(name, test).with_ignored_flag(reason.is_some()));
        };
        let name = format!("{}::answers_as_it_did", kernel.name());
        add(name, no_filter.clone(), Box::new(move || probe::answers_as_it_did(kernel)));
        for libc in Libc::ALL {
            for (name, takes_fuse, test) in command::TESTS {
                let missing = no_filter.clone().or_else(|| libc.missing());
                let missing = missing.or_else(|| no_fuse.clone().filter(|_| *takes_fuse));
                let name = format!("{}::{}::{name}", kernel.name(), libc.name());
                add(name, missing, Box::new(move || test(&Scene::new(kernel, libc)?)));
            }
        }
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    scene::clean_up();
    conclusion.exit_code()
}
