//! One line to the log that `UINOTIFY_LOG` names.

use core::sync::atomic::{AtomicBool, Ordering};

use crate::{raw, settings};

const O_WRONLY_CREAT_APPEND: i32 = 1 | 0o100 | 0o2000;
const LINE_BYTES_MAX: usize = 384;

/// Tells, once in a process, that an emulator has died: a program may go on asking for ever.
pub fn death() {
    static IS_TOLD: AtomicBool = AtomicBool::new(false);
    if !IS_TOLD.swap(true, Ordering::Relaxed) {
        line(&[b"the emulator of an inotify descriptor has died"]);
    }
}

/// Writes `uinotify: PARTS` and a newline in one write; nowhere if there is no log.
pub fn line(parts: &[&[u8]]) {
    let target = settings::log();
    if target.is_empty() {
        return;
    }
    let mut text = [0; LINE_BYTES_MAX];
    let mut end = 0;
    for part in [&b"uinotify: "[..]].iter().chain(parts) {
        for &byte in *part {
            // The last byte is kept for the newline.
            if end < LINE_BYTES_MAX - 1
                && let Some(to) = text.get_mut(end)
            {
                *to = byte;
                end += 1;
            }
        }
    }
    if let Some(to) = text.get_mut(end) {
        *to = b'\n';
    }
    let text = text.get(..=end).unwrap_or(&[]);
    if target == c"stderr" {
        let _ = raw::write(2, text);
        return;
    }
    // SAFETY: `target` is zero-terminated and lives for ever.
    if let Ok(fd) = unsafe { raw::open(target.as_ptr().cast(), O_WRONLY_CREAT_APPEND | raw::O_CLOEXEC) } {
        let _ = raw::write(fd, text);
        let _ = raw::close(fd);
    }
}
