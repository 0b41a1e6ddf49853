//! The command `uinotify`, by running it.
//!
//! With `--helper` as its first argument this binary is not the test but a program under test: see [`helper`].

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};
use nix::sys::signal::Signal;
use uinotify_harness::needs::Need;

#[path = "command/bare.rs"]
mod bare;
#[path = "command/barrier.rs"]
mod barrier;
#[path = "command/checkpoint.rs"]
mod checkpoint;
#[path = "command/doctor.rs"]
mod doctor;
#[path = "command/emulation.rs"]
mod emulation;
#[path = "command/fdinfo.rs"]
mod fdinfo;
#[path = "command/helper.rs"]
mod helper;
#[path = "command/inheritance.rs"]
mod inheritance;
#[path = "command/life.rs"]
mod life;
#[path = "command/marks.rs"]
mod marks;
#[path = "command/ps.rs"]
mod ps;
#[path = "command/reach.rs"]
mod reach;
#[path = "command/room.rs"]
mod room;
#[path = "command/serve.rs"]
mod serve;
#[path = "command/signals.rs"]
mod signals;
#[path = "command/strict.rs"]
mod strict;
#[path = "command/trace.rs"]
mod trace;

/// After this many seconds something hangs that will not end by itself, and the whole test is killed.
const HANG_SECONDS: u32 = 300;

fn main() -> ExitCode {
    let mut arguments = std::env::args();
    if arguments.nth(1).as_deref() == Some("--helper") {
        return helper::main(&arguments.collect::<Vec<_>>());
    }
    uinotify_harness::old_kernel::enter_if_asked();
    // SAFETY: it takes no pointer; the default action of SIGALRM is to end the process.
    unsafe { libc::alarm(HANG_SECONDS) };
    let trials = vec![
        Trial::test("run::exit_status_passes_through", inheritance::exit_status_passes_through),
        Trial::test("run::own_errors_are_125_126_127", inheritance::own_errors_are_125_126_127),
        Trial::test("run::usage_errors_say_what_is_wrong", inheritance::usage_errors_say_what_is_wrong),
        Trial::test("run::signal_state_is_inherited", inheritance::signal_state_is_inherited),
        Trial::test(
            "run::descriptors_are_inherited_and_no_others",
            inheritance::descriptors_are_inherited_and_no_others,
        ),
        Trial::test("run::bytes_pass_untouched", inheritance::bytes_pass_untouched),
        Trial::test("run::output_ends_with_the_program", inheritance::output_ends_with_the_program),
        Trial::test("run::signals_are_forwarded", signals::signals_are_forwarded),
        Trial::test("run::terminal_signals_arrive_once", signals::terminal_signals_arrive_once),
        Trial::test("run::a_lost_line_reaches_the_program", signals::a_lost_line_reaches_the_program),
        Trial::test(
            "run::a_signal_to_the_own_group_is_not_sent_back",
            signals::a_signal_to_the_own_group_is_not_sent_back,
        ),
        Trial::test("run::preloaded_libraries_are_kept", inheritance::preloaded_libraries_are_kept),
        Trial::test("run::settings_of_the_shim_pass_through", inheritance::settings_of_the_shim_pass_through),
        Trial::ignorable_test("run::a_static_program_is_told", reach::a_static_program_is_told),
        Trial::ignorable_test("run::a_setgid_program_is_told", reach::a_setgid_program_is_told),
        Trial::test("run::another_architecture_is_told", reach::another_architecture_is_told),
        Trial::test("run::nothing_is_left_behind", life::nothing_is_left_behind),
        Trial::test("run::a_daemon_keeps_its_instance", life::a_daemon_keeps_its_instance),
        Trial::test("run::the_program_outlives_the_command", life::the_program_outlives_the_command),
        Trial::test("run::the_death_of_the_emulator_is_told_once", life::the_death_of_the_emulator_is_told_once),
        Trial::test(
            "run::folders_that_cannot_be_used_are_passed_over",
            life::folders_that_cannot_be_used_are_passed_over,
        ),
        Trial::test("run::next_wd_is_the_first_number", emulation::next_wd_is_the_first_number),
        Trial::test("run::limits_are_the_programs", emulation::limits_are_the_programs),
        Trial::test("run::setnextwd_answers_as_told", emulation::setnextwd_answers_as_told),
        Trial::test("run::an_old_kernel_is_shown", emulation::an_old_kernel_is_shown),
        Trial::test("trace::calls_and_events_are_told", trace::calls_and_events_are_told),
        Trial::test("trace::a_summary_stands_behind_the_lines", trace::a_summary_stands_behind_the_lines),
        trace::report_is_drawn(),
        Trial::test("trace::a_trace_that_cannot_be_written_is_named", trace::a_trace_that_cannot_be_written_is_named),
        Trial::test("run::nested_runs_use_the_inner_emulator", emulation::nested_runs_use_the_inner_emulator),
        Trial::test("run::nested_runs_keep_the_settings", emulation::nested_runs_keep_the_settings),
        Trial::test("ps::groups_and_watches_are_shown", ps::groups_and_watches_are_shown),
        Trial::test("ps::stale_sockets_are_removed", ps::stale_sockets_are_removed),
        Trial::test("barrier::what_has_happened_is_in_the_queue", barrier::what_has_happened_is_in_the_queue),
        Trial::test("barrier::without_an_emulator_it_fails", barrier::without_an_emulator_it_fails),
        Trial::test("barrier::the_protocol_is_as_described", barrier::the_protocol_is_as_described),
        Trial::test("serve::many_programs_share_a_server", serve::many_programs_share_a_server),
        Trial::test("serve::signals_end_the_server", serve::signals_end_the_server),
        Trial::test("serve::a_killed_server_is_followed_by_another", serve::a_killed_server_is_followed_by_another),
        Trial::test("serve::a_socket_is_taken_from_a_service_manager", serve::a_socket_is_taken_from_a_service_manager),
        Trial::test("serve::places_that_cannot_be_used_are_told", serve::places_that_cannot_be_used_are_told),
        Trial::test("serve::env_keeps_what_is_preloaded", serve::env_keeps_what_is_preloaded),
        Trial::ignorable_test("serve::another_user_is_refused", serve::another_user_is_refused),
        Trial::ignorable_test("serve::every_user_is_served", serve::every_user_is_served),
        Trial::ignorable_test("serve::limits_count_for_each_user", serve::limits_count_for_each_user),
        Trial::ignorable_test("serve::permission_is_asked_of_the_kernel", serve::permission_is_asked_of_the_kernel),
        Trial::ignorable_test(
            "serve::a_program_that_gives_up_root_is_another_user",
            serve::a_program_that_gives_up_root_is_another_user,
        ),
        Trial::ignorable_test(
            "serve::the_name_of_a_dead_server_is_no_server",
            serve::the_name_of_a_dead_server_is_no_server,
        ),
        Trial::test("serve::all_users_is_for_root", serve::all_users_is_for_root),
        Trial::test(
            "checkpoint::a_program_goes_on_with_an_instance_of_another",
            checkpoint::a_program_goes_on_with_an_instance_of_another,
        ),
        Trial::test("checkpoint::signals_come_to_the_program", checkpoint::signals_come_to_the_program),
        Trial::test("checkpoint::objects_that_are_gone_are_told", checkpoint::objects_that_are_gone_are_told),
        Trial::test("checkpoint::numbers_come_round", checkpoint::numbers_come_round),
        Trial::test("checkpoint::what_is_not_there_is_not_dumped", checkpoint::what_is_not_there_is_not_dumped),
        Trial::test("fdinfo::the_text_is_what_the_process_sees", fdinfo::the_text_is_what_the_process_sees),
        Trial::test("fdinfo::wrong_arguments_are_named", fdinfo::wrong_arguments_are_named),
        Trial::test("bare::a_program_has_an_emulator_of_its_own", bare::a_program_has_an_emulator_of_its_own),
        Trial::test("bare::wait_does_not_see_the_emulator", bare::wait_does_not_see_the_emulator),
        Trial::test("bare::who_takes_in_orphans_gets_the_emulator", bare::who_takes_in_orphans_gets_the_emulator),
        Trial::test("bare::threads_share_an_emulator", bare::threads_share_an_emulator),
        Trial::test(
            "bare::a_handler_does_not_wait_for_its_own_thread",
            bare::a_handler_does_not_wait_for_its_own_thread,
        ),
        Trial::test("bare::parent_and_child_have_instances", bare::parent_and_child_have_instances),
        Trial::test(
            "bare::a_child_does_not_wait_for_a_thread_of_its_parent",
            bare::a_child_does_not_wait_for_a_thread_of_its_parent,
        ),
        Trial::test("bare::standard_descriptors_may_be_closed", bare::standard_descriptors_may_be_closed),
        Trial::test("bare::the_next_instance_finds_another_emulator", bare::the_next_instance_finds_another_emulator),
        Trial::test("bare::without_an_emulator_there_is_no_instance", bare::without_an_emulator_there_is_no_instance),
        Trial::test("bare::the_emulator_is_found_from_the_library", bare::the_emulator_is_found_from_the_library),
        Trial::test("bare::run_under_a_bare_library_is_the_inner_one", bare::run_under_a_bare_library_is_the_inner_one),
        Trial::test("doctor::what_works_is_said", doctor::what_works_is_said),
        Trial::test("doctor::what_fails_is_said", doctor::what_fails_is_said),
        trial_with_limits("doctor::a_kernel_without_instances_is_said", doctor::a_kernel_without_instances_is_said),
        Trial::ignorable_test("marks::a_watcher_goes_on_beyond_the_kernels_limit", || {
            marks::goes_on("max_inotify_watches", 10)
        }),
        Trial::ignorable_test("marks::a_watcher_goes_on_without_kernel_instances", || {
            marks::goes_on("max_inotify_instances", 0)
        }),
        Trial::ignorable_test("marks::limits_that_are_set_hold", marks::limits_that_are_set_hold),
        Trial::ignorable_test(
            "marks::at_the_limit_of_marks_there_is_no_watch",
            marks::at_the_limit_of_marks_there_is_no_watch,
        ),
        Trial::ignorable_test(
            "strict::nobody_hangs_when_the_emulator_stops",
            strict::nobody_hangs_when_the_emulator_stops,
        ),
        Trial::ignorable_test(
            "strict::nobody_hangs_when_the_emulator_dies",
            strict::nobody_hangs_when_the_emulator_dies,
        ),
        Trial::ignorable_test("strict::nobody_hangs_when_the_keeper_stops", || {
            strict::nobody_hangs_without_the_keeper(Signal::SIGSTOP)
        }),
        Trial::ignorable_test("strict::nobody_hangs_when_the_keeper_dies", || {
            strict::nobody_hangs_without_the_keeper(Signal::SIGKILL)
        }),
        Trial::ignorable_test(
            "strict::a_writer_of_a_fifo_waits_for_its_reader",
            strict::a_writer_of_a_fifo_waits_for_its_reader,
        ),
        Trial::ignorable_test("strict::it_is_for_root", strict::it_is_for_root),
        Trial::test("shim::stands_on_nothing", reach::shim_stands_on_nothing),
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

/// A test that takes a user name space with limits of its own.
fn trial_with_limits(name: &str, test: fn() -> room::Outcome) -> Trial {
    let reason = Need::Limits.probe().err();
    if let Some(reason) = &reason {
        println!("ignored: {name}: {reason:#}");
    }
    Trial::test(name, test).with_ignored_flag(reason.is_some())
}
