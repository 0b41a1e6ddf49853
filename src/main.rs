//! The command `uinotify`.

use std::process::ExitCode;

fn main() -> ExitCode {
    uinotify::cli::main()
}
