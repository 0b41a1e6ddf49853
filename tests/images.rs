//! `uinotify images`, and what a real CRIU makes of it.
//!
//! With `--watch` as its first argument this binary is not the test but the program that is dumped: see [`watcher`].

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

#[path = "images/command.rs"]
mod command;
#[path = "images/criu.rs"]
mod criu;
#[path = "images/room.rs"]
mod room;
#[path = "images/watcher.rs"]
mod watcher;

fn main() -> ExitCode {
    let mut arguments = std::env::args();
    if arguments.nth(1).as_deref() == Some("--watch") {
        return watcher::main(&arguments.collect::<Vec<_>>());
    }
    let arguments = Arguments::from_args();
    let mut trials = vec![
        Trial::test("show::watches_are_shown_in_hexadecimal", command::watches_are_shown_in_hexadecimal),
        Trial::test("show::an_emulated_instance_is_named", command::an_emulated_instance_is_named),
        Trial::test("lint::losses_have_an_exit_status", command::losses_have_an_exit_status),
        Trial::test("export::goes_to_import_and_back", command::export_goes_to_import_and_back),
        Trial::test("import::an_instance_without_a_place_is_refused", command::an_instance_without_a_place_is_refused),
        Trial::test("convert::sockets_become_instances", command::sockets_become_instances),
        Trial::test("convert::instances_become_sockets", command::instances_become_sockets),
        Trial::test("images::errors_say_which_file", command::errors_say_which_file),
    ];
    let found = criu::find();
    let (name, test) = ("criu::reads_what_was_read_and_rewritten", criu::reads_what_was_read_and_rewritten);
    trials.push(with_criu(&arguments, &found, name, test));
    let (name, test) = ("criu::restores_an_emulated_program", criu::restores_an_emulated_program);
    trials.push(with_criu(&arguments, &found, name, test));
    let (name, test) = ("criu::dumps_and_restores_with_a_command_each", criu::dumps_and_restores_with_a_command_each);
    trials.push(with_criu(&arguments, &found, name, test));
    let (name, test) = ("criu::ends_a_restore_by_the_loop", criu::ends_a_restore_by_the_loop);
    trials.push(with_criu(&arguments, &found, name, test));
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn with_criu(
    arguments: &Arguments,
    found: &Result<PathBuf, String>,
    name: &str,
    test: fn(&Path) -> room::Outcome,
) -> Trial {
    if let (Err(reason), false) = (found, arguments.list) {
        println!("ignored: {name}: {reason}");
    }
    let program = found.clone();
    Trial::test(name, move || test(&program?)).with_ignored_flag(found.is_err())
}
