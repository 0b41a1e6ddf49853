//! The command's own messages.

use std::fmt::Display;
use std::io::Write;

/// Writes `message` to standard error, every line of it with the prefix `uinotify: `.
///
/// Standard error may be closed or broken, and it belongs to the program that is run: a message that cannot be written
/// is dropped.
pub fn notice(message: impl Display) {
    let mut text = String::new();
    for line in message.to_string().lines().filter(|line| !line.trim().is_empty()) {
        text.push_str("uinotify: ");
        text.push_str(line);
        text.push('\n');
    }
    // One write, so that lines of several processes do not mix.
    let _ = std::io::stderr().write_all(text.as_bytes());
}
