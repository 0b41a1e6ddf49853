//! Programs that no shim reaches: static ones, Go's, calls by number, io_uring. Each does the same natively and behind a filter of system
//! calls, and says the same.

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

#[path = "intercept/fuse.rs"]
mod fuse;
#[path = "intercept/life.rs"]
mod life;
#[path = "intercept/nesting.rs"]
mod nesting;
#[path = "intercept/ordinary.rs"]
mod ordinary;
#[path = "intercept/program.rs"]
mod program;
#[path = "intercept/room.rs"]
mod room;

use program::Program;
use room::Outcome;

/// After this many seconds something hangs that will not end by itself, and the whole test is killed.
const HANG_SECONDS: u32 = 300;

fn main() -> ExitCode {
    // SAFETY: it takes no pointer; the default action of SIGALRM is to end the process.
    unsafe { libc::alarm(HANG_SECONDS) };
    let arguments = Arguments::from_args();
    let mut trials = Vec::new();
    let mut add = |name: &str, needs: &[Option<String>], runner: fn() -> Outcome| {
        let reason = needs.iter().find_map(Option::clone).or_else(room::no_filter);
        if let (Some(reason), false) = (&reason, arguments.list) {
            println!("ignored: {name}: {reason}");
        }
        trials.push(Trial::test(name, runner).with_ignored_flag(reason.is_some()));
    };
    let not_root = room::not_root();
    for (program, name) in [
        (Program::MuslStatic, "musl_static"),
        (Program::ByNumber, "by_number"),
        #[cfg(target_arch = "x86_64")]
        (Program::Compat, "compat"),
    ] {
        let needs = [program.missing()];
        let acts = program::acts(program);
        for (act, runner) in acts {
            let needs = [&needs[..], &[not_root.clone().filter(|_| act == "places")]].concat();
            add(&format!("{name}::{act}"), &needs, runner);
        }
    }
    let musl = || Program::MuslStatic.missing();
    add("musl_static::few_calls_are_made_twice", &[musl()], program::few_calls_are_made_twice);
    add("musl_static::reads_into_little_room", &[musl()], program::reads_into_little_room);
    add("musl_static::a_short_read_is_cut_without", &[musl()], program::a_short_read_is_cut_without);
    add("io_uring::reads", &[Program::Ring.missing()], program::io_uring_reads);
    add("go::fsnotify", &[Program::GoWatch.missing()], program::go_watches);
    add("go::a_restored_cursor", &[Program::GoCursor.missing()], program::go_restores_a_cursor);
    add("go::fsnotifys_own_tests", &[Program::GoOwnTests.missing()], program::fsnotifys_own_tests);
    add("life::a_daemon_goes_on", &[musl()], life::a_daemon_goes_on);
    add("life::without_the_emulator_calls_fail", &[musl()], life::without_the_emulator_calls_fail);
    add("life::a_restored_instance", &[musl(), not_root.clone()], life::a_restored_instance);
    add("nesting::inner_runs_use_their_own_emulator", &[musl()], nesting::inner_runs_use_their_own_emulator);
    add("nesting::another_supervisor_is_told", &[musl()], nesting::another_supervisor_is_told);
    add("nesting::disabled_programs_have_the_kernels", &[musl()], nesting::disabled_programs_have_the_kernels);
    add("ordinary::a_static_program_is_told", &[musl(), not_root.clone()], ordinary::a_static_program_is_told);
    add("ordinary::a_stray_is_told", &[musl(), not_root.clone()], ordinary::a_stray_is_told);
    add(
        "ordinary::rights_are_given_up_and_said_so",
        &[musl(), not_root.clone()],
        ordinary::rights_are_given_up_and_said_so,
    );
    add("ordinary::a_setuid_program", &[musl(), not_root.clone()], ordinary::a_setuid_program);
    add(
        "fuse::a_path_that_waits_stalls_nobody_else",
        &[musl(), not_root.clone(), fuse::missing()],
        fuse::a_path_that_waits,
    );
    add("fuse::a_tree_that_is_shown", &[musl(), not_root, fuse::missing()], fuse::a_tree_that_is_shown);
    libtest_mimic::run(&arguments, trials).exit_code()
}
