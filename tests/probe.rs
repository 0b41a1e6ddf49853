//! The two kinds of inotify descriptor side by side: every call that takes a descriptor, and every path that leads to one, must give
//! the same on both, but for the rows of docs/differences.md. So must every way of calling.
//!
//! With `--program` as its first argument this binary is not the test but the program that makes the calls: once as it is, and once
//! under `uinotify run`. `--program table FOLDER TEXT` makes only those with the text in their names.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;
use libtest_mimic::{Arguments, Trial};

use compare::Side;

#[path = "probe/argument.rs"]
mod argument;
#[path = "probe/compare.rs"]
mod compare;
#[path = "probe/expected.rs"]
mod expected;
#[path = "probe/instance.rs"]
mod instance;
#[path = "probe/process.rs"]
mod process;
#[path = "probe/row.rs"]
mod row;
#[path = "probe/rules.rs"]
mod rules;
#[path = "probe/state.rs"]
mod state;
#[path = "probe/symbol.rs"]
mod symbol;
#[path = "probe/table.rs"]
mod table;
#[path = "probe/way.rs"]
mod way;

/// The first argument of this binary when it is a program under test.
const ARGUMENT: &str = "--program";
/// A program that takes longer hangs, and ends.
const HANG_SECONDS: u32 = 60;
/// The program that makes the calls of the table.
const TABLE: &str = "table";

fn main() -> Result<ExitCode> {
    let arguments: Vec<_> = std::env::args().collect();
    if let [_, argument, name, folder, rest @ ..] = &arguments[..]
        && argument == ARGUMENT
    {
        run_program(name, Path::new(folder), rest)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut trials = vec![Trial::test("table::side_by_side", compare::side_by_side)];
    trials.push(Trial::test("table::every_rule_is_shown", rules::are_shown));
    trials.push(Trial::ignorable_test("way::next_of_a_library", way::library::next_of_a_library));
    for &(name, _) in way::PROGRAMS {
        trials.push(Trial::ignorable_test(format!("way::{name}"), move || way::compare(name, Side::Emulated)));
        let by_request = format!("way::{name}_by_request");
        trials.push(Trial::ignorable_test(by_request, move || way::compare(name, Side::ByRequest)));
    }
    Ok(libtest_mimic::run(&Arguments::from_args(), trials).exit_code())
}

fn run_program(name: &str, folder: &Path, rest: &[String]) -> Result<()> {
    if let Some((_, way)) = way::PROGRAMS.iter().chain(way::IMAGES).find(|(program, _)| *program == name) {
        // SAFETY: takes no pointer; SIGALRM ends a process that does not handle it.
        unsafe { libc::alarm(HANG_SECONDS) };
        way(folder);
        return Ok(());
    }
    process::ignore_signals();
    if name == TABLE {
        for row in table::rows() {
            if rest.is_empty() || rest.iter().any(|part| row.name().contains(part.as_str())) {
                let said = process::in_child(|| row.run(folder)).unwrap_or_else(|end| end);
                println!("{}\t{said}", row.name());
            }
        }
        return Ok(());
    }
    anyhow::bail!("no such program: {name}")
}
