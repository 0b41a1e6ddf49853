//! The test bed: faults, injected events, waiting, the libraries, and what real watchers make of it.
//!
//! With `--puppet` as its first argument this binary is not the test but a program under test: see [`puppet`].

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

#[path = "testbed/bed.rs"]
mod bed;
#[path = "testbed/command.rs"]
mod command;
#[path = "testbed/faults.rs"]
mod faults;
#[path = "testbed/libraries.rs"]
mod libraries;
#[path = "testbed/puppet.rs"]
mod puppet;
#[path = "testbed/replay.rs"]
mod replay;
#[path = "testbed/watchers.rs"]
mod watchers;

/// After this many seconds something hangs that will not end by itself, and the whole test is killed.
const HANG_SECONDS: u32 = 240;

type Outcome = Result<(), libtest_mimic::Failed>;

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some("--puppet") {
        return puppet::main();
    }
    // SAFETY: it takes no pointer; the default action of SIGALRM is to end the process.
    unsafe { libc::alarm(HANG_SECONDS) };
    let runtime = tempfile::tempdir().expect("a temporary folder");
    // Not beside the emulators of others. A test that runs itself once more stays in the folder that it was given.
    if std::env::var_os("UINOTIFY_TEST").is_none() {
        // SAFETY: there is no other thread yet.
        unsafe { std::env::set_var("XDG_RUNTIME_DIR", runtime.path()) };
    }
    let trials = vec![
        Trial::test("bed::what_is_injected_is_what_linux_would_tell", bed::what_is_injected_is_what_linux_would_tell),
        Trial::test("bed::real_and_injected_events_mix", bed::real_and_injected_events_mix),
        Trial::test("bed::watches_end_as_told", bed::watches_end_as_told),
        Trial::test("bed::raw_events_are_queued_as_they_are", bed::raw_events_are_queued_as_they_are),
        Trial::test("bed::a_watch_that_comes_ends_the_wait", bed::a_watch_that_comes_ends_the_wait),
        Trial::test("bed::a_failure_tells_its_story", bed::a_failure_tells_its_story),
        Trial::test("bed::cursors_are_set_and_read", bed::cursors_are_set_and_read),
        Trial::test("bed::a_bed_is_restored_in_another", bed::a_bed_is_restored_in_another),
        Trial::test("faults::calls_fail_when_told", faults::calls_fail_when_told),
        Trial::test("faults::enospc_burns_a_number_as_linux_does", faults::enospc_burns_a_number_as_linux_does),
        Trial::test("faults::reads_fail_when_told", faults::reads_fail_when_told),
        Trial::test("faults::events_are_lost_with_an_overflow", faults::events_are_lost_with_an_overflow),
        Trial::test("faults::events_are_late_when_told", faults::events_are_late_when_told),
        Trial::test("faults::a_seed_decides", faults::a_seed_decides),
        Trial::test("command::inject_has_something_happen", command::inject_has_something_happen),
        Trial::test("command::wait_ends_with_a_watch", command::wait_ends_with_a_watch),
        Trial::test("command::conform_tries_the_rules", command::conform_tries_the_rules),
        Trial::test("command::cursors_are_named_in_three_ways", command::cursors_are_named_in_three_ways),
        Trial::test(
            "command::faults_are_given_on_the_line_in_a_file_and_later",
            command::faults_are_given_on_the_line_in_a_file_and_later,
        ),
        Trial::test("watchers::notify_tells_of_the_limit_of_watches", watchers::notify_tells_of_the_limit_of_watches),
        Trial::test("watchers::notify_tells_of_a_fault", watchers::notify_tells_of_a_fault),
        Trial::test(
            "watchers::notify_asks_for_another_look_after_an_overflow",
            watchers::notify_asks_for_another_look_after_an_overflow,
        ),
        Trial::test(
            "watchers::inotify_rs_goes_on_behind_the_last_number",
            watchers::inotify_rs_goes_on_behind_the_last_number,
        ),
        Trial::test(
            "watchers::inotify_rs_takes_stale_events_for_a_new_watch",
            watchers::inotify_rs_takes_stale_events_for_a_new_watch,
        ),
        with_watchdog(
            "watchers::watchdog_goes_on_behind_the_last_number",
            watchers::watchdog_goes_on_behind_the_last_number,
        ),
        with_watchdog(
            "watchers::watchdog_dies_of_a_number_that_is_used_again",
            watchers::watchdog_dies_of_a_number_that_is_used_again,
        ),
        with_watchdog("watchers::watchdog_says_nothing_of_an_overflow", watchers::watchdog_says_nothing_of_an_overflow),
        Trial::test("replay::a_session_comes_again", replay::a_session_comes_again),
        Trial::test("replay::a_cut_recording_is_followed", replay::a_cut_recording_is_followed),
        Trial::test("replay::departures_are_told_with_their_lines", replay::departures_are_told_with_their_lines),
        Trial::test("replay::what_cannot_be_replayed_is_named", replay::what_cannot_be_replayed_is_named),
        Trial::test("replay::events_take_their_time_when_told", replay::events_take_their_time_when_told),
        needing(
            "replay::a_checkout_is_watched_again",
            replay::inotifywait_or_git_is_missing,
            replay::a_checkout_is_watched_again,
        ),
        Trial::ignorable_test("libraries::c_header", libraries::c_header),
        Trial::ignorable_test("libraries::c_example", libraries::c_example),
        Trial::ignorable_test("libraries::python_package", libraries::python_package),
        Trial::ignorable_test("libraries::python_example", libraries::python_example),
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

/// Ignored where this machine has no watchdog of the version whose behaviour is shown.
fn with_watchdog(name: &'static str, test: fn() -> Outcome) -> Trial {
    needing(name, watchers::watchdog_is_missing, test)
}

/// Ignored, with the reason, where this machine lacks something.
fn needing(name: &'static str, is_missing: fn() -> Option<String>, test: fn() -> Outcome) -> Trial {
    Trial::ignorable_test(name, move || match is_missing() {
        Some(reason) => {
            println!("ignored: {name}: {reason}");
            Ok(libtest_mimic::Completion::ignored_with(reason))
        }
        None => test().map(|()| libtest_mimic::Completion::Completed),
    })
}
