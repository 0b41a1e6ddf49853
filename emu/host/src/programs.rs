//! The programs that can still come and ask.
//!
//! A daemon may outlive the command that started it, and open its first instance long after.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use uinotify_wire::TOKEN_BYTES;

/// What procfs tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Presence {
    /// There is none.
    None,
    /// A process shows no environment at all, as one does in the middle of exec.
    Perhaps,
    /// There is one.
    Some,
}

/// Is there a process that was started with this token in its environment? A process whose environment this user may not read, or
/// that has overwritten it, does not count.
pub(crate) fn presence(token: &[u8; TOKEN_BYTES]) -> Presence {
    let digits = token.iter().fold(String::new(), |mut digits, byte| {
        // Writing to a string does not fail.
        let _ = write!(digits, "{byte:02x}");
        digits
    });
    let Ok(processes) = fs::read_dir("/proc") else { return Presence::None };
    let mut most = Presence::None;
    for process in processes.flatten() {
        if process.file_name().to_str().is_some_and(|name| name.bytes().all(|byte| byte.is_ascii_digit())) {
            most = most.max(presence_in(&process.path(), digits.as_bytes()));
            if most == Presence::Some {
                break;
            }
        }
    }
    most
}

fn presence_in(process: &Path, digits: &[u8]) -> Presence {
    let Ok(environment) = fs::read(process.join("environ")) else { return Presence::None };
    let is_ours = |variable: &[u8]| variable.starts_with(b"UINOTIFY_SOCKET=") && variable.ends_with(digits);
    if environment.split(|&byte| byte == 0).any(is_ours) {
        Presence::Some
    } else if environment.is_empty() && fs::read_link(process.join("exe")).is_ok() {
        // Neither a thread of the kernel nor a process that has ended.
        Presence::Perhaps
    } else {
        Presence::None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn a_process_with_the_token_is_seen() {
        let token = *b"0123456789abcdef";
        assert_ne!(presence(&token), Presence::Some);
        let mut child = Command::new("cat")
            .env("UINOTIFY_SOCKET", "/nowhere?token=30313233343536373839616263646566")
            .stdin(Stdio::piped())
            .spawn()
            .expect("a process");
        // `spawn` returns in the middle of exec. Without its input the program does not end.
        while presence(&token) != Presence::Some {
            assert_eq!(child.try_wait().expect("the state of the process"), None);
            std::thread::yield_now();
        }
        drop(child.stdin.take());
        child.wait().expect("the end of the process");
        assert_ne!(presence(&token), Presence::Some);
    }
}
