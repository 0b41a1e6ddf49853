//! The process that answers permission events.
//!
//! It is forked from one with threads, so it makes system calls and nothing else: no memory is taken, no lock, and no panic unwinds.

use std::mem::MaybeUninit;
use std::os::fd::RawFd;

use nix::unistd::Pid;

use super::HELD;
use crate::fanotify::records::Records;

/// How long somebody is held for whoever drains. Whoever does not within this time has stopped, or waits for something itself: then
/// nobody is held until it answers.
const PATIENCE_MS: i64 = 100;
/// Who can be held at the same time; others wait in the kernel's queue.
const HELD_MAX: usize = 64;
/// Events of one read.
const BATCH: usize = 16;
/// `struct fanotify_event_metadata`
const EVENT_BYTES: usize = 24;

/// Those that wait for an answer, by their events' descriptors.
struct Waiting {
    descriptors: [RawFd; HELD_MAX],
    count: usize,
}

impl Waiting {
    const fn new() -> Self {
        Self { descriptors: [-1; HELD_MAX], count: 0 }
    }

    fn has_room(&self) -> bool {
        self.count + BATCH <= HELD_MAX
    }

    fn push(&mut self, descriptor: RawFd) {
        if let Some(room) = self.descriptors.get_mut(self.count) {
            *room = descriptor;
            self.count += 1;
        }
    }

    fn answer_all(&mut self, group: RawFd) {
        for descriptor in self.descriptors.iter().take(self.count) {
            answer(group, *descriptor);
        }
        self.count = 0;
    }
}

/// What is known of whoever drains.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Drainer {
    /// It was asked nothing.
    Free,
    /// It was asked, and has until then.
    Asked { until_ms: i64 },
    /// It has not answered in time.
    Late,
}

/// Answers until whoever has forked this is gone.
pub(super) fn keep(group: RawFd, questions: RawFd, emulator: i32) -> ! {
    stand_alone(group, questions);
    // Held for the question that is on its way, and come since.
    let (mut held, mut come) = (Waiting::new(), Waiting::new());
    let mut drainer = Drainer::Free;
    loop {
        if drainer == Drainer::Free && come.count > 0 {
            std::mem::swap(&mut held, &mut come);
            drainer = if ask(questions) {
                Drainer::Asked { until_ms: now_ms() + PATIENCE_MS }
            } else {
                held.answer_all(group);
                Drainer::Free
            };
        }
        let timeout = match drainer {
            Drainer::Asked { until_ms } => (until_ms - now_ms()).max(0),
            _ => -1,
        };
        let [answered, arrived] = wait(questions, if come.has_room() { group } else { -1 }, timeout);
        if answered {
            match take_answer(questions) {
                Some(true) => {
                    held.answer_all(group);
                    drainer = Drainer::Free;
                }
                Some(false) => {}
                // The group goes with this process, and with it all that waits.
                None => end(),
            }
        }
        if matches!(drainer, Drainer::Asked { until_ms } if until_ms <= now_ms()) {
            drainer = Drainer::Late;
        }
        if arrived {
            take_events(group, emulator, &mut come);
        }
        if drainer == Drainer::Late {
            held.answer_all(group);
            come.answer_all(group);
        }
    }
}

/// Waits for the end of a keeper. One that was stopped would hold everybody, and is ended.
pub(super) fn wait_for_end(keeper: Pid) {
    loop {
        // SAFETY: all zeroes is a value of this structure of numbers.
        let mut information: libc::siginfo_t = unsafe { MaybeUninit::zeroed().assume_init() };
        let options = libc::WEXITED | libc::WSTOPPED;
        // SAFETY: the structure lives through the call, which fills it.
        let result =
            unsafe { libc::waitid(libc::P_PID, keeper.as_raw().cast_unsigned(), &raw mut information, options) };
        if result != 0 && nix::errno::Errno::last() == nix::errno::Errno::EINTR {
            continue;
        }
        if result != 0 || information.si_code != libc::CLD_STOPPED {
            return;
        }
        // SAFETY: takes numbers only; this child was not waited for.
        unsafe { libc::kill(keeper.as_raw(), libc::SIGKILL) };
    }
}

/// A session of its own without anything else of the process that it comes from.
fn stand_alone(group: RawFd, questions: RawFd) {
    let (low, high) = if group < questions { (group, questions) } else { (questions, group) };
    let ranges = [(0, low - 1), (low + 1, high - 1), (high + 1, RawFd::MAX)];
    for (first, last) in ranges {
        if first <= last {
            // SAFETY: takes numbers only; nothing in this process uses those descriptors.
            unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
        }
    }
    let mut all = MaybeUninit::uninit();
    // SAFETY: the set lives through the call, which fills it.
    unsafe { libc::sigfillset(all.as_mut_ptr()) };
    // SAFETY: the set was filled, and lives through the call.
    unsafe { libc::sigprocmask(libc::SIG_SETMASK, all.as_ptr(), std::ptr::null_mut()) };
    // SAFETY: takes nothing.
    unsafe { libc::setsid() };
    // SAFETY: the name is a string that lives through the call.
    unsafe { libc::prctl(libc::PR_SET_NAME, c"uinotify-gate".as_ptr(), 0, 0, 0) };
    // A working folder would keep its file system busy.
    // SAFETY: the path is a string that lives through the call.
    unsafe { libc::chdir(c"/".as_ptr()) };
}

fn end() -> ! {
    // SAFETY: ends the process at once; nothing here is to be dropped.
    unsafe { libc::_exit(0) }
}

fn now_ms() -> i64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the structure lives through the call, which fills it.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    time.tv_sec * 1000 + time.tv_nsec / 1_000_000
}

/// Which of both is ready.
fn wait(questions: RawFd, group: RawFd, timeout_ms: i64) -> [bool; 2] {
    let entry = |fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
    let mut entries = [entry(questions), entry(group)];
    // SAFETY: two entries lie there through the call.
    unsafe { libc::poll(entries.as_mut_ptr(), 2, i32::try_from(timeout_ms).unwrap_or(i32::MAX)) };
    entries.map(|entry| entry.revents != 0)
}

fn ask(questions: RawFd) -> bool {
    // SAFETY: one byte lies there through the call.
    let sent =
        unsafe { libc::send(questions, super::QUESTION.as_ptr().cast(), 1, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) };
    sent == 1
}

/// Whether there was an answer. `None`: nobody is there to answer any more.
fn take_answer(questions: RawFd) -> Option<bool> {
    let mut byte = [0_u8];
    // SAFETY: there is room for one byte through the call.
    let length = unsafe { libc::recv(questions, byte.as_mut_ptr().cast(), 1, libc::MSG_DONTWAIT) };
    match length {
        1 => Some(true),
        0 => None,
        _ => matches!(nix::errno::Errno::last(), nix::errno::Errno::EAGAIN | nix::errno::Errno::EINTR).then_some(false),
    }
}

/// Takes who came. Whoever drains must not be held for itself, and nobody at a special file: others may wait at its other end.
fn take_events(group: RawFd, emulator: i32, come: &mut Waiting) {
    let mut buffer = [0_u8; BATCH * EVENT_BYTES];
    // SAFETY: the buffer lives through the call, with its length beside it.
    let length = unsafe { libc::read(group, buffer.as_mut_ptr().cast(), buffer.len()) };
    let bytes = usize::try_from(length).ok().and_then(|length| buffer.get(..length)).unwrap_or_default();
    for record in Records::new(bytes) {
        if record.fd < 0 || record.mask & HELD == 0 {
            continue;
        }
        if record.pid == emulator {
            answer(group, record.fd);
        } else if is_special(record.fd) {
            ignore(group, record.fd);
            answer(group, record.fd);
        } else {
            come.push(record.fd);
        }
    }
}

fn is_special(descriptor: RawFd) -> bool {
    let mut status = MaybeUninit::<libc::stat>::uninit();
    // SAFETY: the structure lives through the call, which fills it.
    if unsafe { libc::fstat(descriptor, status.as_mut_ptr()) } != 0 {
        return false;
    }
    // SAFETY: the call has filled it.
    let mode = unsafe { status.assume_init() }.st_mode & libc::S_IFMT;
    mode != libc::S_IFREG && mode != libc::S_IFDIR
}

fn ignore(group: RawFd, descriptor: RawFd) {
    let flags = libc::FAN_MARK_ADD | libc::FAN_MARK_IGNORED_MASK | libc::FAN_MARK_IGNORED_SURV_MODIFY;
    // SAFETY: without a path the descriptor itself is marked.
    unsafe { libc::fanotify_mark(group, flags, HELD, descriptor, std::ptr::null()) };
}

/// Lets one go on. What the kernel has opened is closed before that: whoever waits has it open still, and is to be the last.
fn answer(group: RawFd, descriptor: RawFd) {
    // SAFETY: the kernel has made this descriptor for this process, which is done with it.
    unsafe { libc::close(descriptor) };
    let response = libc::fanotify_response { fd: descriptor, response: libc::FAN_ALLOW };
    // SAFETY: the structure lives through the call, with its length beside it.
    unsafe { libc::write(group, (&raw const response).cast(), size_of::<libc::fanotify_response>()) };
}
