//! The two kinds of inotify descriptor side by side: every call that takes a descriptor, and every path that leads to one, must give
//! the same on both, but for the rows of docs/differences.md.
//!
//! With `--program` as its first argument this binary is not the test but the program that makes the calls: once as it is, and once
//! under `uinotify run`.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};
use libtest_mimic::{Arguments, Trial};

#[path = "probe/argument.rs"]
mod argument;
#[path = "probe/instance.rs"]
mod instance;
#[path = "probe/row.rs"]
mod row;
#[path = "probe/state.rs"]
mod state;
#[path = "probe/symbol.rs"]
mod symbol;
#[path = "probe/table.rs"]
mod table;

/// A call that takes longer hangs, and is ended.
const HANG_SECONDS: u32 = 20;

/// What the work gives, done in a process of its own, or how that process has ended.
fn in_child(work: impl FnOnce() -> String) -> std::result::Result<String, String> {
    use std::io::{Read, Write};
    let (mut output, mut input) = std::io::pipe().expect("a pipe");
    // SAFETY: this process has one thread.
    match unsafe { nix::unistd::fork() }.expect("a process") {
        nix::unistd::ForkResult::Child => {
            // SAFETY: takes numbers only; SIGALRM ends a process that does not handle it.
            unsafe { libc::alarm(HANG_SECONDS) };
            let written = input.write_all(work().as_bytes());
            // SAFETY: ends this process, without the parent's handlers at exit.
            unsafe { libc::_exit(i32::from(written.is_err())) }
        }
        nix::unistd::ForkResult::Parent { child } => {
            drop(input);
            let mut said = String::new();
            let read = output.read_to_string(&mut said);
            let status = nix::sys::wait::waitpid(child, None);
            match status {
                Ok(nix::sys::wait::WaitStatus::Exited(_, 0)) if read.is_ok() => Ok(said),
                Ok(nix::sys::wait::WaitStatus::Signaled(_, signal, _)) => Err(format!("ended by {signal}")),
                status => Err(format!("ended with {status:?}")),
            }
        }
    }
}

fn main() -> Result<ExitCode> {
    let arguments: Vec<_> = std::env::args().collect();
    if let [_, program, folder, rest @ ..] = &arguments[..]
        && program == "--program"
    {
        for signal in [libc::SIGIO, libc::SIGUSR1, libc::SIGPIPE, libc::SIGTTOU, libc::SIGURG, libc::SIGRTMAX()] {
            // SAFETY: no handler is installed.
            unsafe { libc::signal(signal, libc::SIG_IGN) };
        }
        // No terminal of the tester's.
        // SAFETY: takes nothing.
        unsafe { libc::setsid() };
        for row in table::rows() {
            if rest.is_empty() || rest.iter().any(|part| row.name().contains(part.as_str())) {
                println!(
                    "{}",
                    in_child(|| row.run(Path::new(folder))).unwrap_or_else(|end| format!("{}: {end}", row.name()))
                );
            }
        }
        return Ok(ExitCode::SUCCESS);
    }
    let trials: Vec<Trial> = Vec::new();
    let _ = None::<()>.context("");
    Ok(libtest_mimic::run(&Arguments::from_args(), trials).exit_code())
}
