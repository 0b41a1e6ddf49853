//! The number that the next watch gets.

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use nix::errno::Errno;

use crate::call::{self, Way};

const ROUNDS: usize = 500;

/// The wds that one subject gives in a round.
struct Round {
    of_first: i32,
    of_next: i32,
}

fn of_kernel(first: &Path, next: &Path, fd: i32, unlink: impl FnOnce() -> Result<()>) -> Result<Round> {
    let of_first = call::add_watch(Way::Raw, fd, first, libc::IN_OPEN)?;
    unlink()?;
    match call::set_cursor(Way::Raw, fd, of_first) {
        // Without CONFIG_CHECKPOINT_RESTORE there is no such call, and the rule is known (WD-9).
        Err(Errno::ENOTTY) => return Ok(Round { of_first, of_next: of_first }),
        set => set?,
    }
    let of_next = call::add_watch(Way::Raw, fd, next, libc::IN_OPEN)?;
    Ok(Round { of_first, of_next })
}

/// A watch whose object has gone has given its number back when `unlink(2)` has returned.
pub(crate) fn unlinked(folder: &Path) -> Result<()> {
    let (first, next) = (folder.join("first"), folder.join("next"));
    File::create(&next)?;
    let emulated = call::init(Way::Libc, libc::IN_NONBLOCK)?;
    let kernel = call::init(Way::Raw, libc::IN_NONBLOCK)?;
    let (emulated, kernel) = (emulated.as_raw_fd(), kernel.as_raw_fd());
    for round in 0..ROUNDS {
        File::create(&first)?;
        let ours = call::add_watch(Way::Libc, emulated, &first, libc::IN_OPEN)?;
        // Set before or after the end of the first watch.
        let is_set_before = round % 2 == 1;
        let mut of_next = Err(Errno::EAGAIN);
        let its = of_kernel(&first, &next, kernel, || {
            if is_set_before {
                call::set_cursor(Way::Libc, emulated, ours)?;
            }
            fs::remove_file(&first)?;
            if !is_set_before {
                call::set_cursor(Way::Libc, emulated, ours)?;
            }
            of_next = call::add_watch(Way::Libc, emulated, &next, libc::IN_OPEN);
            Ok(())
        })?;
        let of_next = of_next?;
        let context = || format!("round {round}, set before {is_set_before}");
        ensure!(its.of_next == its.of_first, "the kernel gives {} after {}", its.of_next, its.of_first);
        ensure!(of_next - ours == its.of_next - its.of_first, "{of_next} after {ours} in {}", context());
        call::remove_watch(emulated, of_next).with_context(context)?;
        // SAFETY: takes numbers only.
        let _ = unsafe { uinotify_harness::raw_syscall!(libc::SYS_inotify_rm_watch, kernel, its.of_next) };
    }
    Ok(())
}
