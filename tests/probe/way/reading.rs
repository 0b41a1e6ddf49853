//! A reader under whom the descriptor is closed.

use std::fs;
use std::os::fd::IntoRawFd;
use std::path::Path;
use std::sync::atomic::{AtomicI32, Ordering};

use crate::instance;
use crate::table::said;
use crate::way::{waits_for, yield_until};

/// The file is held by the call that waits: the reader stays, and gets the next events.
pub(crate) fn closed(folder: &Path) {
    for room in [4096, 272, 64] {
        for how in ["close", "dup2", "close_range"] {
            let fd = instance::open(libc::IN_CLOEXEC).into_raw_fd();
            instance::watch(fd, folder, libc::IN_CREATE);
            let thread = AtomicI32::new(0);
            let got = std::thread::scope(|scope| {
                let reader = scope.spawn(|| {
                    // SAFETY: takes nothing.
                    thread.store(unsafe { libc::gettid() }, Ordering::Release);
                    let mut buffer = vec![0; room];
                    instance::read(fd, &mut buffer).map(|length| instance::events(&buffer[..length]))
                });
                assert!(yield_until(|| thread.load(Ordering::Acquire) != 0), "the thread runs");
                assert!(waits_for(thread.load(Ordering::Relaxed), fd), "the reader waits");
                let result = match how {
                    // SAFETY: nobody uses the number any more but the reader who is blocked.
                    "close" => unsafe { libc::close(fd) },
                    "dup2" => {
                        let file = fs::File::open("/dev/null").expect("a file").into_raw_fd();
                        // SAFETY: as above.
                        let result = unsafe { libc::dup2(file, fd) };
                        // SAFETY: the file was opened above.
                        unsafe { libc::close(file) };
                        result.min(0)
                    }
                    // SAFETY: as above.
                    _ => unsafe { libc::syscall(libc::SYS_close_range, fd, fd, 0) as i32 },
                };
                println!("{how} under a read of {room}: {}", said(result));
                fs::write(folder.join("file"), "").expect("a file");
                reader.join().expect("the reader ends")
            });
            println!("{got:?}");
            fs::remove_file(folder.join("file")).expect("the file goes");
            if how == "dup2" {
                // SAFETY: the number is that of the file.
                unsafe { libc::close(fd) };
            }
        }
    }
}
