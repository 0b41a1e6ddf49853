//! The programs that can still come and ask.
//!
//! A daemon may outlive the command that started it, and open its first instance long after.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use uinotify_wire::TOKEN_BYTES;

/// Is there a process that was started with this token in its environment? It is asked of procfs; a process whose environment
/// this user may not read, or that has overwritten it, does not count.
pub(crate) fn has_any(token: &[u8; TOKEN_BYTES]) -> bool {
    let digits = token.iter().fold(String::new(), |mut digits, byte| {
        // Writing to a string does not fail.
        let _ = write!(digits, "{byte:02x}");
        digits
    });
    let Ok(processes) = fs::read_dir("/proc") else { return false };
    processes.flatten().any(|process| {
        let is_process =
            process.file_name().to_str().is_some_and(|name| name.bytes().all(|byte| byte.is_ascii_digit()));
        is_process && has_token(&process.path().join("environ"), digits.as_bytes())
    })
}

fn has_token(environment: &Path, digits: &[u8]) -> bool {
    fs::read(environment).is_ok_and(|text| {
        text.split(|&byte| byte == 0)
            .any(|variable| variable.starts_with(b"UINOTIFY_SOCKET=") && variable.ends_with(digits))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn a_process_with_the_token_is_seen() {
        let token = *b"0123456789abcdef";
        assert!(!has_any(&token));
        let mut child = Command::new("cat")
            .env("UINOTIFY_SOCKET", "/nowhere?token=30313233343536373839616263646566")
            .stdin(Stdio::piped())
            .spawn()
            .expect("a process");
        // `spawn` returns once the new image runs.
        assert!(has_any(&token));
        drop(child.stdin.take());
        child.wait().expect("the end of the process");
        assert!(!has_any(&token));
    }
}
