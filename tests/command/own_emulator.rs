//! Programs that preload the library alone, and look at what it does to them.

use std::fs::{self, File};
use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::sync::Barrier;
use std::sync::atomic::{AtomicI32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use nix::sys::time::{TimeVal, TimeValLike};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, fork};

use super::{add_watch, init, say};
use crate::room::eventually;

/// The sockets in the runtime folder that the test has set.
fn sockets() -> usize {
    let folder = std::env::var_os("XDG_RUNTIME_DIR").expect("the test sets it");
    let entries = fs::read_dir(Path::new(&folder).join("uinotify")).into_iter().flatten();
    entries.filter(|entry| entry.as_ref().is_ok_and(|entry| entry.path().extension() == Some("sock".as_ref()))).count()
}

fn wait_for_the_emulators_end() {
    eventually("the emulator ends", || sockets() == 0).unwrap_or_else(|problem| panic!("{problem:?}"));
}

fn sigchld_is_pending() -> bool {
    let mut pending = SigSet::empty();
    // SAFETY: the set lives through the call, which writes it.
    let result = unsafe { libc::sigpending(std::ptr::from_mut(&mut pending).cast()) };
    assert_eq!(result, 0);
    pending.contains(Signal::SIGCHLD)
}

/// A child of this program's own, which ends with `status`.
fn child(status: i32) -> nix::unistd::Pid {
    // SAFETY: the child does nothing but end.
    match unsafe { fork() }.expect("a child") {
        // SAFETY: takes a number.
        ForkResult::Child => unsafe { libc::_exit(status) },
        ForkResult::Parent { child } => child,
    }
}

/// Looks for children and their signals while an emulator starts, lives and ends.
pub(super) fn wait_for_children() {
    SigSet::from(Signal::SIGCHLD).thread_block().expect("the mask can be set");
    for round in 0..3 {
        let instance = init().expect("an instance");
        assert_eq!(sockets(), 1);
        assert_eq!(waitpid(None, Some(WaitPidFlag::WNOHANG)), Err(Errno::ECHILD), "round {round}");
        assert!(!sigchld_is_pending(), "round {round}");
        // Nor is what started it left over as a zombie.
        assert_eq!(fs::read_to_string("/proc/thread-self/children").expect("Linux 3.5"), "", "round {round}");
        let own = child(round);
        assert_eq!(waitpid(None, None), Ok(WaitStatus::Exited(own, round)));
        SigSet::from(Signal::SIGCHLD).wait().expect("the own child's signal");
        drop(instance);
        wait_for_the_emulators_end();
        assert!(!sigchld_is_pending(), "round {round}");
        assert_eq!(waitpid(None, Some(WaitPidFlag::WNOHANG)), Err(Errno::ECHILD), "round {round}");
    }
    say("unseen");
}

/// Takes in orphans, and so the emulator, which ends with the instance.
pub(super) fn take_in_orphans() {
    prctl::set_child_subreaper(true).expect("Linux 3.4");
    let instance = init().expect("an instance");
    assert_eq!(waitpid(None, Some(WaitPidFlag::WNOHANG)), Ok(WaitStatus::StillAlive));
    drop(instance);
    match waitpid(None, None) {
        Ok(WaitStatus::Exited(_, 0)) => say("one orphan"),
        other => say(&format!("{other:?}")),
    }
}

/// Opens the first instances in many threads at once.
pub(super) fn threads() {
    const THREADS: usize = 12;
    let barrier = Barrier::new(THREADS);
    let open = || {
        barrier.wait();
        init()
    };
    let instances: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(open)).collect();
        threads.into_iter().map(|thread| thread.join().expect("it ends")).collect()
    });
    let opened = instances.iter().filter(|instance| instance.is_ok()).count();
    say(&format!("instances {opened} emulators {}", sockets()));
}

static OF_HANDLER: AtomicI32 = AtomicI32::new(-1);

extern "C" fn open_in_handler(_: libc::c_int) {
    // SAFETY: takes a number.
    OF_HANDLER.store(unsafe { libc::inotify_init1(libc::IN_CLOEXEC) }, Ordering::Relaxed);
}

/// Opens an instance in a handler, on the thread that is just starting the emulator.
pub(super) fn in_a_handler() {
    let action = SigAction::new(SigHandler::Handler(open_in_handler), SaFlags::SA_RESTART, SigSet::empty());
    // SAFETY: the handler makes one call that is safe there.
    unsafe { sigaction(Signal::SIGALRM, &action) }.expect("a handler");
    // An emulator takes some milliseconds to start.
    let soon = TimeVal::microseconds(1000);
    let timer = libc::itimerval { it_interval: *TimeVal::zero().as_ref(), it_value: *soon.as_ref() };
    let start = Instant::now();
    // SAFETY: the timer lives through the call; null for what it would tell.
    let result = unsafe { libc::setitimer(libc::ITIMER_REAL, &raw const timer, std::ptr::null_mut()) };
    assert_eq!(result, 0);
    let instance = init();
    eventually("the handler has opened one", || OF_HANDLER.load(Ordering::Relaxed) >= 0)
        .unwrap_or_else(|problem| panic!("{problem:?}"));
    // A thread that waits for itself loses its patience after twelve seconds.
    say(&format!("{} {} {}", instance.is_ok(), sockets(), start.elapsed() < Duration::from_secs(10)));
}

fn watch(instance: &OwnedFd) -> bool {
    add_watch(instance, Path::new("/")).is_ok()
}

/// What the child opens and watches is told by its exit status.
fn in_child(action: impl FnOnce() -> bool) -> nix::unistd::Pid {
    // SAFETY: only system calls are made, through functions that the shim keeps so.
    match unsafe { fork() }.expect("a child") {
        // SAFETY: takes a number.
        ForkResult::Child => unsafe { libc::_exit(if action() { 0 } else { 1 }) },
        ForkResult::Parent { child } => child,
    }
}

fn has_succeeded(child: nix::unistd::Pid) -> bool {
    waitpid(child, None) == Ok(WaitStatus::Exited(child, 0))
}

/// Opens the first instances in parent and child, then more in both.
pub(super) fn forks() {
    let opens = || init().is_ok_and(|instance| watch(&instance));
    let first = in_child(opens);
    assert!(opens() && has_succeeded(first));
    let second = in_child(opens);
    assert!(opens() && has_succeeded(second));
    say("both");
}

/// Forks while a thread is starting an emulator, which `started` tells and the line into the FIFO `go` lets go on.
pub(super) fn fork_in_between(started: &Path, go: &Path) {
    let starter = thread::spawn(|| init().is_ok_and(|instance| watch(&instance)));
    eventually("an emulator is being started", || started.exists()).unwrap_or_else(|problem| panic!("{problem:?}"));
    let child = in_child(|| init().is_ok_and(|instance| watch(&instance)));
    let child = has_succeeded(child);
    assert!(!starter.is_finished());
    fs::write(go, "go\n").expect("the emulator's script reads it");
    say(&format!("child {child} parent {}", starter.join().expect("it ends")));
}

/// Opens an instance where no standard descriptor is open, and shows its number in the file `result`.
pub(super) fn without_standard_descriptors(result: &Path) {
    for number in 0..3 {
        // SAFETY: nothing in this program uses it any more.
        unsafe { libc::close(number) };
    }
    let shown = match init() {
        Ok(instance) => format!("{} {}", instance.as_raw_fd(), watch(&instance)),
        Err(errno) => errno.to_string(),
    };
    let mut file = File::create(result).expect("a file in the test's folder");
    file.write_all(shown.as_bytes()).expect("it can be written");
}

/// Opens an instance each time that a line comes, and keeps it.
pub(super) fn open_when_told() {
    let mut instances = Vec::new();
    for line in std::io::stdin().lines() {
        match line.expect("a pipe can be read").as_str() {
            "open" => match init() {
                Ok(instance) => {
                    let can_watch = watch(&instance);
                    instances.push(instance);
                    say(&format!("opened {can_watch}"));
                }
                Err(errno) => say(&format!("errno {}", errno as i32)),
            },
            "go away" => say(&format!("{:?}", std::env::set_current_dir("/"))),
            other => panic!("no such order: {other}"),
        }
    }
}
