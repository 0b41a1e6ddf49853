//! Signals and cancellation while a thread reads.

use std::fs;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicUsize, Ordering};

use anyhow::{Result, ensure};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};

use crate::call::{self, Way};
use crate::descriptors::open_descriptors;
use crate::threads::{thread_id, waits_for};

fn watching(folder: &Path, flags: i32) -> Result<OwnedFd> {
    let instance = call::init(Way::Libc, flags)?;
    call::add_watch(Way::Libc, instance.as_raw_fd(), folder, libc::IN_CREATE)?;
    Ok(instance)
}

/// What the handler reads, how often it ran and what it got.
static HANDLER_FD: AtomicI32 = AtomicI32::new(-1);
static HANDLER_RUNS: AtomicU32 = AtomicU32::new(0);
static HANDLER_EVENTS: AtomicU32 = AtomicU32::new(0);
static HANDLER_ERRORS: AtomicU32 = AtomicU32::new(0);

extern "C" fn handler(_: libc::c_int) {
    let errno = Errno::last_raw();
    HANDLER_RUNS.fetch_add(1, Ordering::Relaxed);
    let fd = HANDLER_FD.load(Ordering::Relaxed);
    if fd >= 0 {
        let mut buffer = [0_u8; 4096];
        match call::read_into(Way::Libc, fd, &mut buffer) {
            Ok(length) => {
                let mut rest = &buffer[..length];
                while let Some((header, more)) = rest.split_at_checked(16) {
                    let name = u32::from_ne_bytes([header[12], header[13], header[14], header[15]]);
                    HANDLER_EVENTS.fetch_add(1, Ordering::Relaxed);
                    rest = more.get(name as usize..).unwrap_or_default();
                }
            }
            Err(Errno::EAGAIN) => {}
            Err(_) => {
                HANDLER_ERRORS.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
    Errno::set_raw(errno);
}

fn install(signal: libc::c_int, flags: libc::c_int) {
    // SAFETY: the structure is integers and pointers, of which all zeroes is a value.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handler as *const () as libc::sighandler_t;
    action.sa_flags = flags;
    // SAFETY: the structure lives through the call; the handler is async-signal-safe as far as the shim is.
    let result = unsafe { libc::sigaction(signal, &raw const action, std::ptr::null_mut()) };
    assert_eq!(result, 0, "sigaction");
}

fn send_signal(thread: i32) {
    // SAFETY: takes numbers only.
    let result = unsafe { uinotify_harness::raw_syscall!(libc::SYS_tgkill, std::process::id(), thread, libc::SIGUSR1) };
    assert_eq!(result, 0, "tgkill");
}

/// READ-4: EINTR, or restarted under SA_RESTART; the handler reads another instance meanwhile.
pub(crate) fn interrupted(folder: &Path) -> Result<()> {
    let inner = folder.join("inner");
    fs::create_dir(&inner)?;
    let waited = watching(folder, 0)?;
    let fd = waited.as_raw_fd();
    let handled = watching(&inner, libc::IN_NONBLOCK)?;
    HANDLER_FD.store(handled.as_raw_fd(), Ordering::Relaxed);
    let reader = thread_id();
    for (round, flags) in [0, libc::SA_RESTART, 0, libc::SA_RESTART].into_iter().enumerate() {
        install(libc::SIGUSR1, flags);
        // Small buffers are read in another way.
        let room = if round < 2 { 4096 } else { 32 };
        HANDLER_EVENTS.store(0, Ordering::Relaxed);
        let runs = HANDLER_RUNS.load(Ordering::Relaxed);
        let name = format!("made{round}");
        std::thread::scope(|scope| -> Result<()> {
            let helper = scope.spawn(|| {
                assert!(waits_for(reader, fd), "the reader waits");
                fs::write(inner.join(format!("inner{round}")), "").expect("a file");
                send_signal(reader);
                if flags == libc::SA_RESTART {
                    assert!(crate::shared::yield_until(1_000_000, || HANDLER_RUNS.load(Ordering::Relaxed) != runs));
                    assert!(waits_for(reader, fd), "the reader waits again");
                    fs::write(folder.join(&name), "").expect("a file");
                }
            });
            let bytes = call::read(Way::Libc, fd, room);
            helper.join().expect("the helper ends well");
            if flags == libc::SA_RESTART {
                let events = call::events(&bytes?);
                ensure!(events.len() == 1 && events[0].name() == name, "{events:?}");
            } else {
                ensure!(bytes == Err(Errno::EINTR), "without SA_RESTART: {}", call::show(&bytes));
            }
            Ok(())
        })?;
        ensure!(HANDLER_EVENTS.load(Ordering::Relaxed) == 1, "the handler reads what has happened");
        ensure!(HANDLER_ERRORS.load(Ordering::Relaxed) == 0, "the handler's reads succeed");
    }
    Ok(())
}

/// A checkpointer restores a program that waits with the kernel's inotify in the place of ours: the wait is restarted on that.
pub(crate) fn replaced(folder: &Path) -> Result<()> {
    install(libc::SIGUSR1, libc::SA_RESTART);
    let reader = thread_id();
    // Small buffers are read in another way.
    for (round, room) in [4096, 32].into_iter().enumerate() {
        let waited = watching(folder, 0)?;
        let fd = waited.as_raw_fd();
        let runs = HANDLER_RUNS.load(Ordering::Relaxed);
        let native = call::init(Way::Raw, 0)?;
        call::add_watch(Way::Raw, native.as_raw_fd(), folder, libc::IN_CREATE)?;
        let name = format!("restored{round}");
        std::thread::scope(|scope| -> Result<()> {
            let helper = scope.spawn(|| {
                assert!(waits_for(reader, fd), "the reader waits");
                // SAFETY: takes numbers only.
                let replaced = unsafe { uinotify_harness::raw_syscall!(libc::SYS_dup3, native.as_raw_fd(), fd, 0) };
                assert_eq!(replaced, i64::from(fd));
                send_signal(reader);
                assert!(crate::shared::yield_until(1_000_000, || HANDLER_RUNS.load(Ordering::Relaxed) != runs));
                assert!(waits_for(reader, fd), "the reader waits again");
                fs::write(folder.join(&name), "").expect("a file");
            });
            let bytes = call::read(Way::Libc, fd, room);
            helper.join().expect("the helper ends well");
            let events = call::events(&bytes?);
            ensure!(events.len() == 1 && events[0].name() == name, "{events:?}");
            Ok(())
        })?;
    }
    Ok(())
}

/// A storm of signals, whose handler reads the very instance that is being read: each event comes once, to one of the two.
pub(crate) fn storm(folder: &Path, events: u32) -> Result<()> {
    let instance = watching(folder, libc::IN_NONBLOCK)?;
    let fd = instance.as_raw_fd();
    install(libc::SIGUSR1, libc::SA_RESTART);
    HANDLER_FD.store(fd, Ordering::Relaxed);
    // Not by a timer: that would be the one which ends a test that hangs.
    let reader = nix::unistd::getpid();
    let sender = crate::process::start(|| {
        loop {
            crate::shared::spin(350);
            kill(reader, Signal::SIGUSR1).expect("the reader is alive");
        }
    });
    let mut own = 0;
    for number in 0..events {
        let before = own + HANDLER_EVENTS.load(Ordering::Relaxed);
        fs::write(folder.join(number.to_string()), "")?;
        if number % 3 == 0 {
            call::queued_bytes(Way::Libc, fd)?;
        }
        match call::read(Way::Libc, fd, if number % 2 == 0 { 64 } else { 4096 }) {
            Ok(bytes) => own += u32::try_from(call::events(&bytes).len())?,
            Err(Errno::EAGAIN) => {}
            Err(errno) => anyhow::bail!("read: {errno}"),
        }
        let now = own + HANDLER_EVENTS.load(Ordering::Relaxed);
        ensure!(now == before + 1, "{} events instead of one in round {number}", now - before);
    }
    crate::process::end(sender);
    let in_handler = HANDLER_EVENTS.load(Ordering::Relaxed);
    println!("{events} rounds, {} signals, {in_handler} events in the handler", HANDLER_RUNS.load(Ordering::Relaxed));
    ensure!(HANDLER_ERRORS.load(Ordering::Relaxed) == 0, "the handler's reads succeed");
    Ok(())
}

/// Linux leaves the sets of a `select(2)` that fails as they were.
pub(crate) fn selecting(folder: &Path) -> Result<()> {
    install(libc::SIGUSR1, 0);
    let instance = watching(folder, libc::IN_NONBLOCK)?;
    let fd = instance.as_raw_fd();
    let selecting = thread_id();
    for is_pselect in [false, true] {
        // SAFETY: the structure is an array of integers, of which all zeroes is a value.
        let mut asked: libc::fd_set = unsafe { std::mem::zeroed() };
        // SAFETY: the descriptor is below FD_SETSIZE: the test has few.
        unsafe { libc::FD_SET(fd, &raw mut asked) };
        let mut sets = [asked; 3];
        let [readable, writable, exceptional] = sets.each_mut().map(|set| &raw mut *set);
        let is_over = AtomicBool::new(false);
        let found = std::thread::scope(|scope| {
            // One that comes too early interrupts nothing, so there is more than one.
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    send_signal(selecting);
                    crate::shared::spin(100);
                }
            });
            let found = if is_pselect {
                let spec = libc::timespec { tv_sec: 1000, tv_nsec: 0 };
                // SAFETY: the sets and the timeout live through the call; there is no signal mask.
                unsafe { libc::pselect(fd + 1, readable, writable, exceptional, &raw const spec, std::ptr::null()) }
            } else {
                let mut value = libc::timeval { tv_sec: 1000, tv_usec: 0 };
                // SAFETY: the sets and the timeout live through the call.
                unsafe { libc::select(fd + 1, readable, writable, exceptional, &raw mut value) }
            };
            let found = Errno::result(found);
            is_over.store(true, Ordering::Relaxed);
            found
        });
        ensure!(found == Err(Errno::EINTR), "pselect {is_pselect}: {found:?}");
        for (set, kind) in sets.iter().zip(["readable", "writable", "exceptional"]) {
            for number in 0..=fd {
                // SAFETY: the number is below FD_SETSIZE.
                let is_set = unsafe { libc::FD_ISSET(number, set) };
                ensure!(is_set == (number == fd), "pselect {is_pselect}: {number} in the {kind} set: {is_set}");
            }
        }
    }
    Ok(())
}

unsafe extern "C-unwind" {
    fn pthread_create(
        thread: *mut libc::pthread_t,
        attributes: *const libc::pthread_attr_t,
        start: extern "C-unwind" fn(*mut libc::c_void) -> *mut libc::c_void,
        argument: *mut libc::c_void,
    ) -> libc::c_int;
    fn read(fd: libc::c_int, buffer: *mut libc::c_void, count: usize) -> isize;
}

static CANCELLED_THREAD: AtomicI32 = AtomicI32::new(0);
static CANCELLED_ROOM: AtomicUsize = AtomicUsize::new(0);
static CANCELLED_BUFFER: [AtomicU32; 1024] = [const { AtomicU32::new(0) }; 1024];

/// Nothing here needs dropping: cancellation unwinds through.
extern "C-unwind" fn wait_for_event(fd: *mut libc::c_void) -> *mut libc::c_void {
    CANCELLED_THREAD.store(thread_id(), Ordering::Release);
    let buffer = CANCELLED_BUFFER.as_ptr() as *mut libc::c_void;
    let room = CANCELLED_ROOM.load(Ordering::Relaxed).min(size_of_val(&CANCELLED_BUFFER));
    // SAFETY: the buffer lives for ever and is nobody else's.
    unsafe { read(fd as usize as RawFd, buffer, room) };
    std::ptr::null_mut()
}

/// `read` is a cancellation point (pthreads(7)).
pub(crate) fn cancelled(folder: &Path) -> Result<()> {
    const CANCELED: usize = usize::MAX;
    let instance = watching(folder, 0)?;
    let fd = instance.as_raw_fd();
    // Small buffers are read in another way.
    for (round, room) in [4096, 32, 4096].into_iter().enumerate() {
        CANCELLED_ROOM.store(room, Ordering::Relaxed);
        CANCELLED_THREAD.store(0, Ordering::Relaxed);
        let mut thread: libc::pthread_t = 0;
        // SAFETY: the thread's number lives through the call; the argument is a number.
        let result =
            unsafe { pthread_create(&raw mut thread, std::ptr::null(), wait_for_event, fd as usize as *mut _) };
        ensure!(result == 0, "pthread_create: {result}");
        let number = || CANCELLED_THREAD.load(Ordering::Acquire);
        ensure!(crate::shared::yield_until(1_000_000, || number() != 0), "the thread runs");
        ensure!(waits_for(number(), fd), "the thread waits");
        // SAFETY: the thread has not been joined.
        let result = unsafe { libc::pthread_cancel(thread) };
        ensure!(result == 0, "pthread_cancel: {result}");
        let mut value = std::ptr::null_mut();
        // SAFETY: the thread has not been joined; the value lives through the call.
        let result = unsafe { libc::pthread_join(thread, &raw mut value) };
        ensure!(result == 0 && value as usize == CANCELED, "the thread was cancelled: {result}, {value:?}");

        let name = format!("after{round}");
        fs::write(folder.join(&name), "")?;
        let events = call::events(&call::read(Way::Libc, fd, 4096)?);
        ensure!(events.len() == 1 && events[0].name() == name, "{events:?}");
    }
    Ok(())
}

/// What the thread has read.
static READ_BY_NUMBER: AtomicUsize = AtomicUsize::new(0);

extern "C-unwind" fn wait_by_number(fd: *mut libc::c_void) -> *mut libc::c_void {
    CANCELLED_THREAD.store(thread_id(), Ordering::Release);
    let mut buffer = [0u8; 4096];
    // SAFETY: the buffer lives through the call, with its length beside it.
    let length = unsafe { libc::syscall(libc::SYS_read, fd as usize, buffer.as_mut_ptr(), buffer.len()) };
    READ_BY_NUMBER.store(usize::try_from(length).unwrap_or(0), Ordering::Relaxed);
    std::ptr::null_mut()
}

/// `syscall` is no cancellation point.
pub(crate) fn not_cancelled(folder: &Path) -> Result<()> {
    let instance = watching(folder, 0)?;
    let fd = instance.as_raw_fd();
    let mut thread: libc::pthread_t = 0;
    // SAFETY: the thread's number lives through the call; the argument is a number.
    let result = unsafe { pthread_create(&raw mut thread, std::ptr::null(), wait_by_number, fd as usize as *mut _) };
    ensure!(result == 0, "pthread_create: {result}");
    let number = || CANCELLED_THREAD.load(Ordering::Acquire);
    ensure!(crate::shared::yield_until(1_000_000, || number() != 0), "the thread runs");
    ensure!(waits_for(number(), fd), "the thread waits");
    // SAFETY: the thread has not been joined.
    let result = unsafe { libc::pthread_cancel(thread) };
    ensure!(result == 0, "pthread_cancel: {result}");
    fs::write(folder.join("name"), "")?;
    let mut value = std::ptr::null_mut();
    // SAFETY: the thread has not been joined; the value lives through the call.
    let result = unsafe { libc::pthread_join(thread, &raw mut value) };
    ensure!(result == 0 && value.is_null(), "the thread ended by itself: {result}, {value:?}");
    ensure!(READ_BY_NUMBER.load(Ordering::Relaxed) == 32, "{READ_BY_NUMBER:?}");
    Ok(())
}

unsafe extern "C-unwind" {
    fn fsync(fd: libc::c_int) -> libc::c_int;
    fn splice(
        from: libc::c_int,
        from_offset: *mut libc::off64_t,
        to: libc::c_int,
        to_offset: *mut libc::off64_t,
        length: usize,
        flags: libc::c_uint,
    ) -> isize;
}

unsafe extern "C" {
    fn pthread_setcancelstate(state: libc::c_int, before: *mut libc::c_int) -> libc::c_int;
}

/// Cancels the calling thread, which goes on to its next point of cancellation.
fn cancel_at_next_point() {
    const ENABLE: libc::c_int = 0;
    const DISABLE: libc::c_int = 1;
    let set = |state| {
        // SAFETY: takes a number, and null for what it would tell.
        unsafe { pthread_setcancelstate(state, std::ptr::null_mut()) }
    };
    set(DISABLE);
    // SAFETY: takes nothing.
    let this = unsafe { libc::pthread_self() };
    // SAFETY: this thread has not been joined.
    unsafe { libc::pthread_cancel(this) };
    set(ENABLE);
}

/// Nothing here needs dropping, nor in the next one.
extern "C-unwind" fn ask_of_file(fd: *mut libc::c_void) -> *mut libc::c_void {
    let fd = fd as usize as RawFd;
    cancel_at_next_point();
    // SAFETY: takes a number.
    unsafe { fsync(fd) };
    std::ptr::null_mut()
}

extern "C-unwind" fn move_from_file(fd: *mut libc::c_void) -> *mut libc::c_void {
    let fd = fd as usize as RawFd;
    cancel_at_next_point();
    // SAFETY: takes numbers, and null for offsets.
    unsafe { splice(fd, std::ptr::null_mut(), fd, std::ptr::null_mut(), 1, 0) };
    std::ptr::null_mut()
}

/// A thread that is cancelled in a call about the file leaves no descriptor behind.
pub(crate) fn cancelled_in_a_call(folder: &Path) -> Result<()> {
    let instance = watching(folder, 0)?;
    // The library may fetch the source's descriptor now, and keep it.
    let _ = nix::unistd::fsync(&instance);
    let before = open_descriptors()?;
    for start in [ask_of_file, move_from_file] {
        let mut thread: libc::pthread_t = 0;
        let fd = instance.as_raw_fd() as usize as *mut _;
        // SAFETY: the thread's number lives through the call; the argument is a number.
        let result = unsafe { pthread_create(&raw mut thread, std::ptr::null(), start, fd) };
        ensure!(result == 0, "pthread_create: {result}");
        // SAFETY: the thread has not been joined.
        let result = unsafe { libc::pthread_join(thread, std::ptr::null_mut()) };
        ensure!(result == 0, "pthread_join: {result}");
    }
    ensure!(open_descriptors()? == before, "{before:?} -> {:?}", open_descriptors()?);
    Ok(())
}
