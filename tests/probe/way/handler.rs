//! Calls from a signal handler in the middle of other calls.

use std::ffi::CString;
use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicI32, AtomicPtr, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use nix::errno::Errno;

use crate::instance;

/// Half of what a program here may take.
const LONGEST: Duration = Duration::from_secs(10);

static FD: AtomicI32 = AtomicI32::new(-1);
static PATH: AtomicPtr<libc::c_char> = AtomicPtr::new(null_mut());
static TIMER: AtomicPtr<libc::c_void> = AtomicPtr::new(null_mut());
static RUNS: AtomicU32 = AtomicU32::new(0);
static ERRORS: AtomicU32 = AtomicU32::new(0);
/// The first error.
static ERROR: AtomicI32 = AtomicI32::new(0);
static REMOVED: AtomicU32 = AtomicU32::new(0);
/// Events that the handler has read: IN_IGNORED and IN_CREATE.
static ENDED: AtomicU32 = AtomicU32::new(0);
static CREATED: AtomicU32 = AtomicU32::new(0);

fn fail(step: i32) {
    ERRORS.fetch_add(1, Ordering::Relaxed);
    let error = step * 1000 + Errno::last_raw();
    let _ = ERROR.compare_exchange(0, error, Ordering::Relaxed, Ordering::Relaxed);
}

/// Counts without allocating.
fn count(mut rest: &[u8]) {
    while let Some((header, more)) = rest.split_at_checked(16) {
        let word = |at: usize| u32::from_ne_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        match word(4) {
            libc::IN_IGNORED => ENDED.fetch_add(1, Ordering::Relaxed),
            libc::IN_CREATE => CREATED.fetch_add(1, Ordering::Relaxed),
            _ => 0,
        };
        rest = more.get(word(12) as usize..).unwrap_or_default();
    }
}

/// One read; nothing there is no error.
fn take(fd: i32, buffer: &mut [u8], step: i32) {
    match instance::read(fd, buffer) {
        Ok(length) => count(&buffer[..length]),
        Err(Errno::EAGAIN) => {}
        Err(_) => fail(step),
    }
}

/// Only what is async-signal-safe, if the shim is.
extern "C" fn handle(_: libc::c_int) {
    let errno = Errno::last_raw();
    let run = RUNS.fetch_add(1, Ordering::Relaxed);
    let fd = FD.load(Ordering::Relaxed);
    // SAFETY: the path lives for ever.
    let wd = unsafe { libc::inotify_add_watch(fd, PATH.load(Ordering::Relaxed), libc::IN_DELETE_SELF) };
    if wd < 0 {
        fail(1);
    }
    let mut queued: libc::c_int = 0;
    // SAFETY: FIONREAD writes one int.
    if unsafe { libc::ioctl(fd, libc::FIONREAD, &raw mut queued) } != 0 {
        fail(2);
    }
    let mut entry = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
    // SAFETY: the entry lives through the call.
    if unsafe { libc::poll(&raw mut entry, 1, 0) } < 0 {
        fail(3);
    }
    let mut buffer = [0_u8; 1024];
    take(fd, &mut buffer, 4);
    // SAFETY: takes numbers only.
    if unsafe { libc::inotify_rm_watch(fd, wd) } == 0 {
        REMOVED.fetch_add(1, Ordering::Relaxed);
    } else {
        fail(5);
    }
    if run.is_multiple_of(64) {
        // SAFETY: takes flags only.
        let other = unsafe { libc::inotify_init1(libc::IN_NONBLOCK) };
        // All places of the user may be taken for a moment.
        if other >= 0 {
            // SAFETY: the path lives for ever.
            if unsafe { libc::inotify_add_watch(other, PATH.load(Ordering::Relaxed), libc::IN_OPEN) } != 1 {
                fail(6);
            }
            // SAFETY: the descriptor was made above.
            unsafe { libc::close(other) };
        } else if Errno::last() != Errno::EMFILE {
            fail(7);
        }
    }
    // Anywhere in what the main program does next.
    let timer = TIMER.load(Ordering::Relaxed);
    if !timer.is_null() {
        set(timer, 20 + run % 400);
    }
    Errno::set_raw(errno);
}

/// A timer that sends SIGUSR2 each time it is [`set`].
fn timer() -> libc::timer_t {
    // SAFETY: the structure is integers and pointers, of which all zeroes is a value.
    let mut event: libc::sigevent = unsafe { std::mem::zeroed() };
    event.sigev_notify = libc::SIGEV_SIGNAL;
    event.sigev_signo = libc::SIGUSR2;
    let mut timer: libc::timer_t = null_mut();
    // SAFETY: the event and the timer live through the call.
    let result = unsafe { libc::timer_create(libc::CLOCK_MONOTONIC, &raw mut event, &raw mut timer) };
    assert_eq!(result, 0, "timer_create");
    timer
}

/// Once, and not again while the handler runs: on a busy machine that takes longer than any step, and the main program would stand still.
fn set(timer: libc::timer_t, microseconds: u32) {
    let step = libc::timespec { tv_sec: 0, tv_nsec: i64::from(microseconds) * 1000 };
    let times = libc::itimerspec { it_interval: libc::timespec { tv_sec: 0, tv_nsec: 0 }, it_value: step };
    // SAFETY: the times live through the call.
    if unsafe { libc::timer_settime(timer, 0, &raw const times, null_mut()) } != 0 {
        fail(10);
    }
}

/// The main program adds, reads and removes, and so does the handler, over one descriptor.
pub(crate) fn storm(folder: &Path) {
    let (own, others) = (folder.join("own"), folder.join("others"));
    for path in [&own, &others] {
        fs::create_dir(path).expect("a folder");
    }
    let path = CString::new(others.as_os_str().as_bytes()).expect("a path");
    PATH.store(path.into_raw(), Ordering::Relaxed);
    let instance = instance::open(libc::IN_NONBLOCK);
    let fd = instance.as_raw_fd();
    FD.store(fd, Ordering::Relaxed);
    // SAFETY: the structure is integers and pointers, of which all zeroes is a value.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handle as *const () as libc::sighandler_t;
    action.sa_flags = libc::SA_RESTART;
    // SAFETY: the structure lives through the call.
    let result = unsafe { libc::sigaction(libc::SIGUSR2, &raw const action, null_mut()) };
    assert_eq!(result, 0, "sigaction");
    let timer = timer();
    TIMER.store(timer, Ordering::Relaxed);
    set(timer, 150);
    let begun = Instant::now();
    let mut made = 0;
    let mut buffer = [0_u8; 4096];
    // On a busy machine fewer serve as well.
    while RUNS.load(Ordering::Relaxed) < 3000 && begun.elapsed() < LONGEST {
        let wd = instance::watch(fd, &own, libc::IN_CREATE);
        fs::write(own.join(format!("file{made}")), "").expect("a file");
        made += 1;
        let room = if made % 2 == 0 { 48 } else { 4096 };
        take(fd, &mut buffer[..room], 8);
        // SAFETY: takes numbers only.
        if unsafe { libc::inotify_rm_watch(fd, wd) } == 0 {
            REMOVED.fetch_add(1, Ordering::Relaxed);
        } else {
            fail(9);
        }
    }
    TIMER.store(null_mut(), Ordering::Relaxed);
    // SAFETY: the timer was made above.
    unsafe { libc::timer_delete(timer) };
    while let Ok(length) = instance::read(fd, &mut buffer) {
        count(&buffer[..length]);
    }
    let value = |counter: &AtomicU32| counter.load(Ordering::Relaxed);
    println!("errors {} {}", value(&ERRORS), ERROR.load(Ordering::Relaxed));
    println!("the handler came often: {}", value(&RUNS) >= 100);
    println!("every end is told once: {}", value(&ENDED) == value(&REMOVED));
    println!("every file is told once: {}", value(&CREATED) == made);
    if value(&ENDED) != value(&REMOVED) || value(&CREATED) != made {
        println!("{} of {}, {} of {made}", value(&ENDED), value(&REMOVED), value(&CREATED));
    }
}
