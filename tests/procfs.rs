//! What procfs shows of an inotify descriptor, by every function of libc that takes a path: the same natively and emulated.
//!
//! A program in C, built for each libc that there is, prints what it is told, once on the kernel's inotify and once under
//! `uinotify run`. (FD-14 to FD-18, LIMIT-8)

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use libtest_mimic::{Arguments, Completion, Failed, Trial};

#[path = "procfs/lockstep.rs"]
mod lockstep;
#[path = "procfs/play.rs"]
mod play;
#[path = "procfs/python.rs"]
mod python;

use play::{Libc, play};

fn main() -> ExitCode {
    uinotify_harness::old_kernel::enter_if_asked();
    let arguments: Vec<_> = std::env::args().collect();
    if let [_, argument, program, folder] = &arguments[..]
        && argument == lockstep::ARGUMENT
    {
        return match lockstep::with_mounts(Path::new(program), Path::new(folder)) {
            Ok(()) => ExitCode::SUCCESS,
            Err(failed) => {
                eprintln!("{}", failed.message().unwrap_or("failed"));
                ExitCode::FAILURE
            }
        };
    }
    let room = tempfile::tempdir().expect("a temporary folder");
    let programs = Libc::ALL.map(|libc| (libc, build(libc, room.path())));
    let mut trials = Vec::new();
    for (libc, program) in &programs {
        for part in play::PARTS.iter().filter(|part| part.is_for(*libc)) {
            let (program, libc) = (program.clone(), *libc);
            let by_request = program.clone();
            trials.push(with_program(format!("{}::{}", libc.name(), part.name), program, |program| {
                play(part, program, &[])
            }));
            trials.push(with_program(format!("{}::{}_by_request", libc.name(), part.name), by_request, |program| {
                play(part, program, &[("UINOTIFY_SETTLE", "request")])
            }));
        }
    }
    let program = &programs[0].1;
    let mut add = |name: &str, test: fn(&Path) -> Result<(), Failed>| {
        trials.push(with_program(name.to_owned(), program.clone(), test));
    };
    add("texts::are_the_kernels", lockstep::texts_are_the_kernels);
    add("texts::are_of_their_moment", play::the_text_is_of_its_moment);
    add("limits::are_those_in_force", play::limits_are_those_in_force);
    add("scarcity::the_last_number_is_needed_twice", play::the_last_number_is_needed_twice);
    add("death::is_an_error", lockstep::death_is_an_error);
    trials.push(Trial::ignorable_test("python::reads_the_text", python::reads_the_text));
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn with_program(
    name: String,
    program: Option<PathBuf>,
    test: impl FnOnce(&Path) -> Result<(), Failed> + Send + 'static,
) -> Trial {
    Trial::ignorable_test(name, move || match &program {
        Some(program) => test(program).map(|()| Completion::Completed),
        None => Ok(Completion::ignored_with("needs a C compiler for this libc")),
    })
}

/// The program for a libc; `None` if there is no compiler.
fn build(libc: Libc, folder: &Path) -> Option<PathBuf> {
    Command::new(libc.compiler()).arg("--version").output().ok()?;
    let (source, program) = (folder.join("calls.c"), folder.join(libc.name()));
    std::fs::write(&source, include_str!("procfs/calls.c")).expect("a file in a folder of our own");
    // Some of its arguments are bad on purpose.
    let built = Command::new(libc.compiler()).args(["-w", "-o"]).arg(&program).arg(&source).arg("-ldl").output();
    let built = built.expect("the compiler starts");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    Some(program)
}
