//! Threads that are cancelled (pthreads(7)).

use std::ffi::c_void;
use std::fs;
use std::os::fd::{AsRawFd, RawFd};
use std::path::Path;
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicUsize, Ordering};

use crate::instance;
use crate::way::{is_asleep, yield_until};

unsafe extern "C-unwind" {
    fn pthread_create(
        thread: *mut libc::pthread_t,
        attributes: *const libc::pthread_attr_t,
        start: extern "C-unwind" fn(*mut c_void) -> *mut c_void,
        argument: *mut c_void,
    ) -> libc::c_int;
    fn read(fd: libc::c_int, buffer: *mut c_void, count: usize) -> isize;
    fn readv(fd: libc::c_int, pieces: *const libc::iovec, count: libc::c_int) -> isize;
    fn poll(entries: *mut libc::pollfd, count: libc::nfds_t, timeout: libc::c_int) -> libc::c_int;
    fn select(
        count: libc::c_int,
        readable: *mut libc::fd_set,
        writable: *mut libc::fd_set,
        exceptional: *mut libc::fd_set,
        timeout: *mut libc::timeval,
    ) -> libc::c_int;
    fn epoll_wait(
        epoll: libc::c_int,
        events: *mut libc::epoll_event,
        count: libc::c_int,
        timeout: libc::c_int,
    ) -> libc::c_int;
    fn pthread_testcancel();
}

/// What the thread waits in, and for which descriptors.
static CALL: AtomicUsize = AtomicUsize::new(0);
static FD: AtomicI32 = AtomicI32::new(-1);
static EPOLL: AtomicI32 = AtomicI32::new(-1);
/// The thread's number, and how far it has come.
static THREAD: AtomicI32 = AtomicI32::new(0);
static PROGRESS: AtomicU32 = AtomicU32::new(0);
/// How many threads have cleaned up behind themselves.
static CLEANED: AtomicU32 = AtomicU32::new(0);
static KEY: AtomicU32 = AtomicU32::new(0);
/// Memory that outlives the threads.
static BUFFER: [AtomicU32; 1024] = [const { AtomicU32::new(0) }; 1024];

extern "C" fn clean_up(_: *mut c_void) {
    CLEANED.fetch_add(1, Ordering::Relaxed);
}

fn start(routine: extern "C-unwind" fn(*mut c_void) -> *mut c_void) -> libc::pthread_t {
    THREAD.store(0, Ordering::Relaxed);
    let mut thread: libc::pthread_t = 0;
    // SAFETY: the thread's number lives through the call.
    let result = unsafe { pthread_create(&raw mut thread, std::ptr::null(), routine, std::ptr::null_mut()) };
    assert_eq!(result, 0, "pthread_create");
    assert!(yield_until(|| THREAD.load(Ordering::Acquire) != 0), "the thread runs");
    thread
}

/// Has it been cancelled?
fn join(thread: libc::pthread_t) -> bool {
    const CANCELED: usize = usize::MAX;
    let mut value = std::ptr::null_mut();
    // SAFETY: the thread has not been joined; the value lives through the call.
    let result = unsafe { libc::pthread_join(thread, &raw mut value) };
    assert_eq!(result, 0, "pthread_join");
    value as usize == CANCELED
}

fn begin() {
    // SAFETY: the key was made; the value is not null, so that the destructor runs.
    unsafe { libc::pthread_setspecific(KEY.load(Ordering::Relaxed), BUFFER.as_ptr().cast()) };
    // SAFETY: takes nothing.
    THREAD.store(unsafe { libc::gettid() }, Ordering::Release);
}

/// Nothing here needs dropping: cancellation unwinds through.
extern "C-unwind" fn wait(_: *mut c_void) -> *mut c_void {
    begin();
    let fd = FD.load(Ordering::Relaxed);
    let buffer = BUFFER.as_ptr() as *mut c_void;
    match CALLS[CALL.load(Ordering::Relaxed)] {
        // SAFETY: the buffer lives for ever and is nobody else's.
        "read" => unsafe { read(fd, buffer, 4096) },
        // SAFETY: the buffer lives for ever and is nobody else's.
        "small read" => unsafe { read(fd, buffer, 32) },
        "readv" => {
            let piece = libc::iovec { iov_base: buffer, iov_len: 4096 };
            // SAFETY: the buffer lives for ever and is nobody else's.
            unsafe { readv(fd, &raw const piece, 1) }
        }
        "poll" => {
            let mut entry = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
            // SAFETY: the entry lives through the call.
            unsafe { poll(&raw mut entry, 1, -1) as isize }
        }
        "select" => {
            // SAFETY: the structure is integers, of which all zeroes is a value.
            let mut set: libc::fd_set = unsafe { std::mem::zeroed() };
            // SAFETY: the descriptor is below FD_SETSIZE.
            unsafe { libc::FD_SET(fd, &raw mut set) };
            let null = std::ptr::null_mut();
            // SAFETY: the set lives through the call.
            unsafe { select(fd + 1, &raw mut set, null, null, std::ptr::null_mut()) as isize }
        }
        _ => {
            let mut event = libc::epoll_event { events: 0, u64: 0 };
            // SAFETY: the event lives through the call.
            unsafe { epoll_wait(EPOLL.load(Ordering::Relaxed), &raw mut event, 1, -1) as isize }
        }
    };
    std::ptr::null_mut()
}

const CALLS: [&str; 6] = ["read", "small read", "readv", "poll", "select", "epoll_wait"];

fn make_key() {
    let mut key = 0;
    // SAFETY: the key lives through the call; the destructor only counts.
    let result = unsafe { libc::pthread_key_create(&raw mut key, Some(clean_up)) };
    assert_eq!(result, 0, "pthread_key_create");
    KEY.store(key, Ordering::Relaxed);
}

/// In the middle of a wait: what comes after it is for the next one who asks.
pub(crate) fn blocked(folder: &Path) {
    make_key();
    let instance = instance::open(libc::IN_CLOEXEC);
    let fd = instance.as_raw_fd();
    instance::watch(fd, folder, libc::IN_CREATE);
    FD.store(fd, Ordering::Relaxed);
    // SAFETY: takes flags only.
    let epoll = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
    let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: 7 };
    // SAFETY: the event lives through the call.
    let result = unsafe { libc::epoll_ctl(epoll, libc::EPOLL_CTL_ADD, fd, &raw mut event) };
    assert_eq!(result, 0, "epoll_ctl");
    EPOLL.store(epoll, Ordering::Relaxed);
    for (index, call) in CALLS.iter().enumerate() {
        CALL.store(index, Ordering::Relaxed);
        let thread = start(wait);
        assert!(is_asleep(THREAD.load(Ordering::Relaxed)), "the thread waits in {call}");
        // SAFETY: the thread has not been joined.
        let result = unsafe { libc::pthread_cancel(thread) };
        let is_cancelled = join(thread);
        fs::write(folder.join(format!("after{index}")), "").expect("a file");
        println!("{call}: {result} {is_cancelled} {} {}", CLEANED.load(Ordering::Relaxed), instance::queue(fd));
    }
}

static PATH: std::sync::OnceLock<std::ffi::CString> = std::sync::OnceLock::new();

/// Asks for its own end, which comes only in a call that is a cancellation point.
extern "C-unwind" fn ask(_: *mut c_void) -> *mut c_void {
    begin();
    let fd = FD.load(Ordering::Relaxed);
    let path = PATH.get().map_or(std::ptr::null(), |path| path.as_ptr());
    let done = |bits: u32| {
        PROGRESS.fetch_or(bits, Ordering::Relaxed);
    };
    // SAFETY: takes nothing.
    let this = unsafe { libc::pthread_self() };
    // SAFETY: the thread is this one.
    unsafe { libc::pthread_cancel(this) };
    // SAFETY: the path lives for ever.
    let wd = unsafe { libc::inotify_add_watch(fd, path, libc::IN_DELETE_SELF) };
    done(u32::from(wd > 0));
    let mut queued: libc::c_int = 0;
    // SAFETY: FIONREAD writes one int.
    done(u32::from(unsafe { libc::ioctl(fd, libc::FIONREAD, &raw mut queued) } == 0) << 1);
    done(u32::from(queued == 32) << 2);
    // SAFETY: takes numbers only.
    done(u32::from(unsafe { libc::inotify_rm_watch(fd, wd) } == 0) << 3);
    // SAFETY: takes flags only.
    let other = instance::when_there_is_a_place(|| unsafe { libc::inotify_init1(libc::IN_CLOEXEC) });
    done(u32::from(other >= 0) << 4);
    // SAFETY: takes numbers only.
    let duplicate = unsafe { libc::dup2(other, 700) };
    done(u32::from(duplicate == 700) << 5);
    if CALL.load(Ordering::Relaxed) == 0 {
        // There is something to read, but whoever is to end does not read it.
        // SAFETY: the buffer lives for ever and is nobody else's.
        unsafe { read(fd, BUFFER.as_ptr() as *mut c_void, 4096) };
    } else {
        // SAFETY: takes nothing.
        unsafe { pthread_testcancel() };
    }
    done(1 << 31);
    std::ptr::null_mut()
}

/// inotify_add_watch, inotify_rm_watch, inotify_init1, ioctl and dup2 are no cancellation points; read is one.
pub(crate) fn pending(folder: &Path) {
    make_key();
    PATH.get_or_init(|| {
        use std::os::unix::ffi::OsStrExt;
        let path = folder.parent().unwrap_or(folder);
        std::ffi::CString::new(path.as_os_str().as_bytes()).expect("a path")
    });
    for call in [0, 1] {
        CALL.store(call, Ordering::Relaxed);
        PROGRESS.store(0, Ordering::Relaxed);
        let instance = instance::open(libc::IN_CLOEXEC);
        let fd: RawFd = instance.as_raw_fd();
        FD.store(fd, Ordering::Relaxed);
        instance::watch(fd, folder, libc::IN_CREATE);
        fs::write(folder.join(format!("before{call}")), "").expect("a file");
        let is_cancelled = join(start(ask));
        println!(
            "{is_cancelled} {:x} {} {}",
            PROGRESS.load(Ordering::Relaxed),
            CLEANED.load(Ordering::Relaxed),
            instance::queue(fd)
        );
    }
}
