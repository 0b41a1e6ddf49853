//! Signals for input: O_ASYNC, F_SETOWN and F_SETSIG.

use std::fs;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};

use crate::instance;
use crate::table::said;

/// What came: signal, code, descriptor, band.
static CAME: [[AtomicI32; 4]; 64] = [const { [const { AtomicI32::new(0) }; 4] }; 64];
static COUNT: AtomicUsize = AtomicUsize::new(0);

extern "C" fn handle(signal: libc::c_int, information: *mut libc::siginfo_t, _: *mut libc::c_void) {
    let index = COUNT.fetch_add(1, Ordering::Relaxed);
    // struct siginfo of SIGIO: signal, errno and code, then the band, a long, and the descriptor.
    let words = information.cast::<i32>();
    let Some(slot) = CAME.get(index) else { return };
    for (word, at) in slot.iter().zip([None, Some(2), Some(6), Some(4)]) {
        let value = match at {
            None => signal,
            // SAFETY: the structure has 128 bytes.
            Some(at) => unsafe { words.wrapping_add(at).read() },
        };
        word.store(value, Ordering::Relaxed);
    }
}

/// What has come since the last time.
fn came(fd: i32) -> String {
    let count = COUNT.swap(0, Ordering::Relaxed);
    let mut shown: Vec<_> = CAME
        .iter()
        .take(count)
        .map(|slot| {
            let [signal, code, from, band] = slot.each_ref().map(|word| word.load(Ordering::Relaxed));
            let signal = if signal == libc::SIGIO { "SIGIO".into() } else { format!("{}", signal - libc::SIGRTMIN()) };
            format!("{signal}/{code}/{}/{band:x}", from == fd)
        })
        .collect();
    // Of a signal that is no real-time one at most one is pending: how many come is a matter of time.
    shown.dedup_by(|next, last| next == last && last.starts_with("SIGIO"));
    shown.join(" ")
}

/// One event after the other, with the signals that each brings.
fn events(folder: &Path, fd: i32, what: &str) {
    for name in ["one", "two", "three"] {
        fs::write(folder.join(name), "").expect("a file");
        let mut queued: libc::c_int = 0;
        // SAFETY: FIONREAD writes one int.
        unsafe { libc::ioctl(fd, libc::FIONREAD, &raw mut queued) };
        println!("{what}: {name} {queued}: {}", came(fd));
        if name == "two" {
            println!("{what}: read {}: {}", instance::queue(fd), came(fd));
        }
    }
    for name in ["one", "two", "three"] {
        fs::remove_file(folder.join(name)).expect("the file goes");
    }
    println!("{what}: rest {}: {}", instance::queue(fd), came(fd));
}

pub(crate) fn signals(folder: &Path) {
    const F_SETSIG: i32 = 10;
    const F_SETOWN_EX: i32 = 15;
    // SAFETY: the structure is integers and pointers, of which all zeroes is a value.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handle as *const () as libc::sighandler_t;
    action.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART;
    for signal in [libc::SIGIO, libc::SIGRTMIN(), libc::SIGRTMIN() + 1] {
        // SAFETY: the structure lives through the call; the handler is async-signal-safe.
        let result = unsafe { libc::sigaction(signal, &raw const action, std::ptr::null_mut()) };
        assert_eq!(result, 0, "sigaction");
    }
    let instance = instance::open(libc::IN_NONBLOCK | libc::IN_CLOEXEC);
    let fd = instance.as_raw_fd();
    instance::watch(fd, folder, libc::IN_CREATE | libc::IN_DELETE);
    let control = |command, argument: i64| {
        // SAFETY: the commands take numbers.
        said(unsafe { libc::fcntl(fd, command, argument) })
    };
    let pid = i64::from(std::process::id());
    events(folder, fd, "nothing asked");
    let asynchronous = i64::from(libc::O_ASYNC | libc::O_NONBLOCK);
    println!("O_ASYNC {}", control(libc::F_SETFL, asynchronous));
    events(folder, fd, "no owner");
    println!("F_SETOWN {}", control(libc::F_SETOWN, pid));
    events(folder, fd, "SIGIO");
    println!("F_SETSIG {}", control(F_SETSIG, i64::from(libc::SIGRTMIN())));
    events(folder, fd, "F_SETSIG");
    // SAFETY: takes nothing.
    let thread = [0, unsafe { libc::gettid() }];
    // SAFETY: the owner lives through the call.
    println!("F_SETOWN_EX {}", said(unsafe { libc::fcntl(fd, F_SETOWN_EX, thread.as_ptr()) }));
    println!("F_SETSIG {}", control(F_SETSIG, i64::from(libc::SIGRTMIN() + 1)));
    events(folder, fd, "F_SETOWN_EX");
    // A duplicate has the same owner, and the number that was asked for stays in the signal.
    let duplicate = nix::unistd::dup(&instance).expect("a descriptor");
    events(folder, fd, "with a duplicate");
    // SAFETY: takes numbers only.
    println!("F_GETFL {}", said(unsafe { libc::fcntl(duplicate.as_raw_fd(), libc::F_GETFL) }));
    println!("O_ASYNC off {}", control(libc::F_SETFL, i64::from(libc::O_NONBLOCK)));
    events(folder, fd, "off");
    let on: libc::c_int = 1;
    // SAFETY: FIOASYNC reads one int.
    println!("FIOASYNC {}", said(unsafe { libc::ioctl(fd, 0x5452, &raw const on) }));
    events(folder, fd, "FIOASYNC");
    println!("add and remove: {}", instance::watch(fd, folder.parent().expect("a folder above"), libc::IN_OPEN));
    println!("signals of that: {}", came(fd));
    // SAFETY: takes numbers only.
    let removed = unsafe { libc::inotify_rm_watch(fd, 2) };
    let queue = instance::queue(fd);
    println!("{removed} {queue}: {}", came(fd));
}
