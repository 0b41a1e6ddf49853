//! The C functions. Each is: not ours, then the next one's; else the emulated one.
//!
//! `ioctl` and `fcntl` are variadic in C. On x86-64 and aarch64 Linux a variadic integer or pointer argument is passed as a named
//! one is, so a third named argument receives it.

use core::ffi::{c_char, c_int, c_uint, c_ulong, c_void};

use uinotify_wire::{DONT_FOLLOW, FIONREAD, IOC_GETNEXTWD, IOC_SETNEXTWD};

use crate::bitmap::{EPOLLS, INSTANCES};
use crate::caller_memory::is_array_readable;
use crate::caller_path::Look;
use crate::descriptor_path::DescriptorPath;
use crate::epoll::{self, Event};
use crate::errno::report;
use crate::identity::Instance;
use crate::next::{NEXT, address};
use crate::raw::{
    self, Errno, F_DUPFD, F_DUPFD_CLOEXEC, F_GETFL, IoVec, MessageHeader, Outcome, PollFd, TimeSpec, number, syscall,
};
use crate::read::Cancellation;
use crate::select::Sets;
use crate::{constructor, descriptor, identity, instance, message, place, poll, read as reading, settings};

#[used]
#[unsafe(link_section = ".init_array")]
static CONSTRUCTOR: extern "C" fn() = {
    extern "C" fn run() {
        constructor::initialise();
    }
    run
};

/// Calls the next function of this name, or, where there is none or it is not known yet, makes the system call.
macro_rules! next {
    ($name:ident: fn($($argument:ident: $type:ty),*) -> $result:ty, else $number:expr, [$($raw:expr),*]) => {
        match address(&NEXT.$name) {
            Some(function) => {
                // SAFETY: the address is that of the C function of this name, whose type this is.
                let function: unsafe extern "C" fn($($type),*) -> $result = unsafe { core::mem::transmute(function) };
                // SAFETY: the arguments are the caller's own, handed on as they came.
                unsafe { function($($argument),*) }
            }
            // SAFETY: as above; the kernel checks every address.
            None => report(unsafe { fallback($number, &[$($raw as usize),*]) }) as $result,
        }
    };
}

/// Calls the next function of this name, or gives `$else` where libc has none.
macro_rules! next_or {
    ($else:expr, $name:ident($($argument:expr => $type:ty),*) -> $result:ty) => {
        match $crate::next::found(&$crate::next::NEXT.$name) {
            Some(function) => {
                // SAFETY: the address is that of the C function of this name, whose type this is.
                let function: unsafe extern "C" fn($($type),*) -> $result = unsafe { core::mem::transmute(function) };
                // SAFETY: the arguments are the caller's own, handed on as they came, or a path of ours in the place of theirs.
                unsafe { function($($argument),*) }
            }
            None => $else,
        }
    };
}

use {next, next_or};

mod alias;
mod by_name;
mod by_number;
mod file;
mod foreign;
mod path;
mod transfer;

/// Ends a program that a checking function has found out, as libc does.
fn overflow(chk_fail: Option<usize>) -> ! {
    if let Some(function) = chk_fail {
        // SAFETY: the address is that of `__chk_fail`, whose type this is.
        let fail: extern "C" fn() -> ! = unsafe { core::mem::transmute(function) };
        fail();
    }
    raw::abort()
}

unsafe fn fallback(number: usize, arguments: &[usize]) -> Outcome {
    let mut all = [0; 6];
    for (to, &from) in all.iter_mut().zip(arguments) {
        *to = from;
    }
    // SAFETY: the caller's arguments are handed on as they came.
    unsafe { syscall(number, all) }
}

#[unsafe(no_mangle)]
extern "C" fn inotify_init() -> c_int {
    inotify_init1(0)
}

#[unsafe(no_mangle)]
extern "C" fn inotify_init1(flags: c_int) -> c_int {
    constructor::initialise_early();
    if settings::emulator().is_some() {
        return report(instance::open(flags)) as c_int;
    }
    next!(inotify_init1: fn(flags: c_int) -> c_int, else number::INOTIFY_INIT1, [flags])
}

#[unsafe(no_mangle)]
unsafe extern "C" fn inotify_add_watch(fd: c_int, path: *const c_char, mask: u32) -> c_int {
    if let Some(instance) = identity::sought(fd) {
        // SAFETY: the path is the caller's.
        let add = |path: *const c_char| report(unsafe { instance::add_watch(&instance, path.cast(), mask) }) as c_int;
        // SAFETY: any address will do.
        if let Some(holder) = unsafe { place::link(Look::Before, place::WORKING_DIRECTORY, path.cast()) }
            && mask & DONT_FOLLOW == 0
            && let Some(result) = holder.with_stand_in(|fd| add(DescriptorPath::new(fd).as_c_str().as_ptr()))
        {
            return result;
        }
        return add(path);
    }
    next!(inotify_add_watch: fn(fd: c_int, path: *const c_char, mask: u32) -> c_int,
        else number::INOTIFY_ADD_WATCH, [fd, path, mask])
}

#[unsafe(no_mangle)]
extern "C" fn inotify_rm_watch(fd: c_int, wd: c_int) -> c_int {
    if let Some(instance) = identity::sought(fd) {
        return report(instance::remove_watch(&instance, wd)) as c_int;
    }
    next!(inotify_rm_watch: fn(fd: c_int, wd: c_int) -> c_int, else number::INOTIFY_RM_WATCH, [fd, wd])
}

/// The instance that an `ioctl` is for.
fn instance_of_ioctl(fd: c_int, request: u32) -> Option<Instance> {
    if matches!(request, IOC_SETNEXTWD | IOC_GETNEXTWD) { identity::sought(fd) } else { identity::hinted(fd) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ioctl(fd: c_int, request: c_ulong, argument: usize) -> c_int {
    let call = |fd: c_int| next!(ioctl: fn(fd: c_int, request: c_ulong, argument: usize) -> c_int, else number::IOCTL, [fd, request, argument]);
    let Some(instance) = instance_of_ioctl(fd, request as u32) else {
        if request as u32 != FIONREAD {
            return call(fd);
        }
        // libc adds nothing to this call, and a filter of system calls need not judge it once more.
        // SAFETY: the argument is the caller's.
        return report(unsafe { crate::raw::ioctl_judged(fd, FIONREAD, argument) }) as c_int;
    };
    // SAFETY: the argument is the caller's.
    match unsafe { descriptor::ioctl(&instance, request as u32, argument) } {
        Some(outcome) => report(outcome) as c_int,
        None => file::with_stand_in(&instance, call, |refusal| refusal as c_int),
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn read(fd: c_int, buffer: *mut c_void, count: usize) -> isize {
    if INSTANCES.contains(fd)
        && let Some(instance) = identity::instance(fd)
    {
        return report(reading::read(&instance, buffer, count, Cancellation::Point));
    }
    next!(read: fn(fd: c_int, buffer: *mut c_void, count: usize) -> isize, else number::READ, [fd, buffer, count])
}

#[unsafe(no_mangle)]
unsafe extern "C" fn __read_chk(fd: c_int, buffer: *mut c_void, count: usize, room: usize) -> isize {
    // With count over room libc's own ends the program.
    if count <= room
        && let Some(instance) = identity::hinted(fd)
    {
        return report(reading::read(&instance, buffer, count, Cancellation::Point));
    }
    if count > room && address(&NEXT.__read_chk).is_none() {
        overflow(address(&NEXT.__chk_fail));
    }
    next!(__read_chk: fn(fd: c_int, buffer: *mut c_void, count: usize, room: usize) -> isize,
        else number::READ, [fd, buffer, count])
}

#[unsafe(no_mangle)]
unsafe extern "C" fn readv(fd: c_int, pieces: *const IoVec, count: c_int) -> isize {
    if let Some(instance) = identity::hinted(fd) {
        // SAFETY: the pieces are the caller's.
        return report(unsafe { reading::read_pieces(&instance, pieces, count, Cancellation::Point) });
    }
    next!(readv: fn(fd: c_int, pieces: *const IoVec, count: c_int) -> isize, else number::READV, [fd, pieces, count])
}

/// What is read at the current position; with an offset inotify and a socket refuse alike.
macro_rules! read_pieces {
    ($($name:ident)*) => {
        $(
            #[unsafe(no_mangle)]
            unsafe extern "C" fn $name(fd: c_int, pieces: *const IoVec, count: c_int, offset: i64, flags: c_int) -> isize {
                if offset == -1
                    && let Some(instance) = identity::hinted(fd)
                {
                    // SAFETY: the pieces are the caller's.
                    return report(unsafe { reading::read_pieces_with_flags(&instance, pieces, count, flags, Cancellation::Point) });
                }
                next!($name: fn(fd: c_int, pieces: *const IoVec, count: c_int, offset: i64, flags: c_int) -> isize,
                    else number::PREADV2, [fd, pieces, count, offset, 0, flags])
            }
        )*
    };
}

read_pieces! { preadv2 preadv64v2 }

#[unsafe(no_mangle)]
unsafe extern "C" fn write(fd: c_int, buffer: *const c_void, count: usize) -> isize {
    if INSTANCES.contains(fd) && identity::instance(fd).is_some() {
        return report(Err(Errno::BADF));
    }
    next!(write: fn(fd: c_int, buffer: *const c_void, count: usize) -> isize, else number::WRITE, [fd, buffer, count])
}

#[unsafe(no_mangle)]
extern "C" fn close(fd: c_int) -> c_int {
    identity::before_close(fd);
    next!(close: fn(fd: c_int) -> c_int, else number::CLOSE, [fd])
}

#[unsafe(no_mangle)]
unsafe extern "C" fn close_range(first: c_uint, last: c_uint, flags: c_int) -> c_int {
    const CLOSE_RANGE_CLOEXEC: c_int = 4;
    if flags & CLOSE_RANGE_CLOEXEC == 0 {
        identity::before_close_range(first, last);
    }
    next!(close_range: fn(first: c_uint, last: c_uint, flags: c_int) -> c_int, else number::CLOSE_RANGE, [first, last, flags])
}

#[unsafe(no_mangle)]
unsafe extern "C" fn closefrom(first: c_int) {
    let lowest = first.max(0) as c_uint;
    identity::before_close_range(lowest, c_uint::MAX);
    match address(&NEXT.closefrom) {
        Some(function) => {
            // SAFETY: the address is that of the C function of this name, whose type this is.
            let function: unsafe extern "C" fn(c_int) = unsafe { core::mem::transmute(function) };
            // SAFETY: the argument is the caller's own.
            unsafe { function(first) };
        }
        None => {
            // SAFETY: takes numbers only.
            let _ = unsafe { fallback(number::CLOSE_RANGE, &[lowest as usize, c_uint::MAX as usize, 0]) };
        }
    }
}

#[unsafe(no_mangle)]
extern "C" fn dup(old: c_int) -> c_int {
    let new = next!(dup: fn(old: c_int) -> c_int, else number::DUP, [old]);
    if new >= 0 {
        descriptor::duplicated(old, new);
    }
    new
}

#[unsafe(no_mangle)]
extern "C" fn dup2(old: c_int, new: c_int) -> c_int {
    if old != new {
        identity::before_close(new);
    }
    let result = match address(&NEXT.dup2) {
        Some(_) => next!(dup2: fn(old: c_int, new: c_int) -> c_int, else number::DUP3, [old, new, 0]),
        // dup3 refuses equal numbers, for which dup2 only asks whether the descriptor is open.
        None if old == new => report(raw::fcntl(old, F_GETFL, 0).map(|_| new as usize)) as c_int,
        // SAFETY: takes numbers only.
        None => report(unsafe { fallback(number::DUP3, &[old as usize, new as usize, 0]) }) as c_int,
    };
    if result >= 0 {
        descriptor::duplicated(old, new);
    }
    result
}

#[unsafe(no_mangle)]
extern "C" fn dup3(old: c_int, new: c_int, flags: c_int) -> c_int {
    if old != new {
        identity::before_close(new);
    }
    let result = next!(dup3: fn(old: c_int, new: c_int, flags: c_int) -> c_int, else number::DUP3, [old, new, flags]);
    if result >= 0 {
        descriptor::duplicated(old, new);
    }
    result
}

/// `fcntl`, as it would be for inotify.
fn control(fd: c_int, command: c_int, argument: usize, call: impl FnOnce(c_int) -> c_int) -> c_int {
    if INSTANCES.contains(fd) && file::is_asked_by_fcntl(command, argument) {
        // SAFETY: the argument is the caller's.
        let call = |fd: c_int| report(unsafe { fallback(number::FCNTL, &[fd as usize, command as usize, argument]) });
        return file::with_file(fd, call, |refusal| refusal) as c_int;
    }
    if let Err(errno) = file::may_set_flags(fd, command, argument) {
        return report(Err(errno)) as c_int;
    }
    let result = call(fd);
    if result < 0 {
        return result;
    }
    match command {
        F_DUPFD | F_DUPFD_CLOEXEC => descriptor::duplicated(fd, result),
        F_GETFL if identity::hinted(fd).is_some() => return descriptor::shown_flags(result as usize) as c_int,
        _ => {}
    }
    result
}

#[unsafe(no_mangle)]
unsafe extern "C" fn fcntl(fd: c_int, command: c_int, argument: usize) -> c_int {
    let call = |fd: c_int| next!(fcntl: fn(fd: c_int, command: c_int, argument: usize) -> c_int, else number::FCNTL, [fd, command, argument]);
    control(fd, command, argument, call)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn fcntl64(fd: c_int, command: c_int, argument: usize) -> c_int {
    let call = |fd: c_int| next!(fcntl64: fn(fd: c_int, command: c_int, argument: usize) -> c_int, else number::FCNTL, [fd, command, argument]);
    control(fd, command, argument, call)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn recvmsg(fd: c_int, header: *mut MessageHeader, flags: c_int) -> isize {
    let arguments = [fd as usize, header as usize, flags as usize];
    // SAFETY: the arguments are the caller's.
    if let Some(result) = unsafe { file::asked_of_stand_in(number::RECVMSG, &arguments) } {
        return result;
    }
    let result = next!(recvmsg: fn(fd: c_int, header: *mut MessageHeader, flags: c_int) -> isize,
        else number::RECVMSG, [fd, header, flags]);
    if result >= 0 && settings::is_active() {
        // SAFETY: the call has succeeded, so the header is valid and filled.
        unsafe { message::mark_received(header) };
    }
    result
}

/// `struct mmsghdr`.
#[repr(C)]
struct MessageWithLength {
    header: MessageHeader,
    length: u32,
}

#[unsafe(no_mangle)]
unsafe extern "C" fn recvmmsg(
    fd: c_int,
    messages: *mut MessageWithLength,
    count: u32,
    flags: c_int,
    timeout: *mut TimeSpec,
) -> c_int {
    let arguments = [fd as usize, messages as usize, count as usize, flags as usize, timeout as usize];
    // SAFETY: the arguments are the caller's.
    if let Some(result) = unsafe { file::asked_of_stand_in(number::RECVMMSG, &arguments) } {
        return result as c_int;
    }
    let result = next!(recvmmsg: fn(fd: c_int, messages: *mut MessageWithLength, count: u32, flags: c_int, timeout: *mut TimeSpec) -> c_int,
        else number::RECVMMSG, [fd, messages, count, flags, timeout]);
    if result > 0 && settings::is_active() {
        for index in 0..result as usize {
            // The header is the first field.
            let message = messages.wrapping_add(index).cast::<MessageHeader>();
            // SAFETY: the call has succeeded for this many messages.
            unsafe { message::mark_received(message) };
        }
    }
    result
}

/// A timeout in milliseconds as the kernel's other calls want it.
fn time_spec(milliseconds: c_int) -> TimeSpec {
    let milliseconds = i64::from(milliseconds);
    TimeSpec { seconds: milliseconds / 1000, nanoseconds: milliseconds % 1000 * 1_000_000 }
}

unsafe fn next_poll(entries: *mut PollFd, count: c_ulong, timeout: c_int) -> c_int {
    let spec = time_spec(timeout);
    let spec = if timeout < 0 { core::ptr::null() } else { &raw const spec };
    next!(poll: fn(entries: *mut PollFd, count: c_ulong, timeout: c_int) -> c_int,
        else number::PPOLL, [entries, count, spec, 0, 0])
}

#[unsafe(no_mangle)]
unsafe extern "C" fn poll(entries: *mut PollFd, count: c_ulong, timeout: c_int) -> c_int {
    // SAFETY: the arguments are the caller's.
    let wait = || unsafe { next_poll(entries, count, timeout) };
    // SAFETY: the array is the caller's.
    if unsafe { poll::concerns_us(entries, count as usize) } {
        // SAFETY: the array is the caller's.
        return unsafe { poll::poll(entries, count as usize, timeout == 0, wait) };
    }
    wait()
}

#[unsafe(no_mangle)]
unsafe extern "C" fn __poll_chk(entries: *mut PollFd, count: c_ulong, timeout: c_int, room: usize) -> c_int {
    // SAFETY: the arguments are the caller's.
    let wait = || unsafe { next_poll(entries, count, timeout) };
    let fits = room / size_of::<PollFd>() >= count as usize;
    // SAFETY: the array is the caller's, and was checked to have room for as many.
    if fits && unsafe { poll::concerns_us(entries, count as usize) } {
        // SAFETY: the array is the caller's.
        return unsafe { poll::poll(entries, count as usize, timeout == 0, wait) };
    }
    if address(&NEXT.__poll_chk).is_none() {
        return if fits { wait() } else { raw::abort() };
    }
    next!(__poll_chk: fn(entries: *mut PollFd, count: c_ulong, timeout: c_int, room: usize) -> c_int,
        else number::PPOLL, [])
}

/// Is this a timeout of zero?
unsafe fn is_zero<T: Copy + PartialEq + Default>(timeout: *const [T; 2]) -> bool {
    // SAFETY: the timeout can be read, as was asked.
    is_array_readable(timeout, 1) && unsafe { timeout.read() } == [T::default(); 2]
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ppoll(
    entries: *mut PollFd,
    count: c_ulong,
    timeout: *const TimeSpec,
    signals: *const c_void,
) -> c_int {
    let wait = || {
        next!(ppoll: fn(entries: *mut PollFd, count: c_ulong, timeout: *const TimeSpec, signals: *const c_void) -> c_int,
            else number::PPOLL, [entries, count, timeout, signals, 8])
    };
    // SAFETY: the array is the caller's.
    if unsafe { poll::concerns_us(entries, count as usize) } {
        // SAFETY: the timeout is the caller's.
        let is_immediate = unsafe { is_zero::<i64>(timeout.cast()) };
        // SAFETY: the array is the caller's.
        return unsafe { poll::poll(entries, count as usize, is_immediate, wait) };
    }
    wait()
}

#[unsafe(no_mangle)]
unsafe extern "C" fn __ppoll_chk(
    entries: *mut PollFd,
    count: c_ulong,
    timeout: *const TimeSpec,
    signals: *const c_void,
    room: usize,
) -> c_int {
    if room / size_of::<PollFd>() >= count as usize {
        // SAFETY: the arguments are the caller's.
        return unsafe { ppoll(entries, count, timeout, signals) };
    }
    if address(&NEXT.__ppoll_chk).is_none() {
        raw::abort();
    }
    next!(__ppoll_chk: fn(entries: *mut PollFd, count: c_ulong, timeout: *const TimeSpec, signals: *const c_void, room: usize) -> c_int,
        else number::PPOLL, [])
}

/// `select` and `pselect`, whose `wait` differs.
unsafe fn select_by(sets: Sets, timeout: *const [i64; 2], wait: impl FnOnce() -> c_int) -> c_int {
    // SAFETY: the sets are the caller's.
    if unsafe { sets.concern_us() } {
        // SAFETY: the timeout is the caller's.
        let is_immediate = unsafe { is_zero::<i64>(timeout) };
        // SAFETY: the sets are the caller's.
        return unsafe { sets.select(is_immediate, wait) };
    }
    wait()
}

#[unsafe(no_mangle)]
unsafe extern "C" fn select(
    count: c_int,
    readable: *mut u64,
    writable: *mut u64,
    exceptional: *mut u64,
    timeout: *mut [i64; 2],
) -> c_int {
    let wait = || {
        let spec = if timeout.is_null() {
            None
        } else {
            // SAFETY: the timeout is the caller's.
            let [seconds, microseconds] = unsafe { timeout.read() };
            Some(TimeSpec { seconds, nanoseconds: microseconds.saturating_mul(1000) })
        };
        let spec = spec.as_ref().map_or(core::ptr::null(), |spec| &raw const *spec);
        next!(select: fn(count: c_int, readable: *mut u64, writable: *mut u64, exceptional: *mut u64, timeout: *mut [i64; 2]) -> c_int,
            else number::PSELECT6, [count, readable, writable, exceptional, spec, 0])
    };
    // SAFETY: the sets and the timeout are the caller's.
    unsafe { select_by(Sets { count, readable, writable, exceptional }, timeout, wait) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn pselect(
    count: c_int,
    readable: *mut u64,
    writable: *mut u64,
    exceptional: *mut u64,
    timeout: *const [i64; 2],
    signals: *const c_void,
) -> c_int {
    let wait = || {
        // The kernel's own call takes the mask with its length, in a structure.
        let mask = [signals as usize, 8];
        next!(pselect: fn(count: c_int, readable: *mut u64, writable: *mut u64, exceptional: *mut u64, timeout: *const [i64; 2], signals: *const c_void) -> c_int,
            else number::PSELECT6, [count, readable, writable, exceptional, timeout, mask.as_ptr()])
    };
    // SAFETY: the sets and the timeout are the caller's.
    unsafe { select_by(Sets { count, readable, writable, exceptional }, timeout, wait) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn epoll_ctl(epoll: c_int, operation: c_int, fd: c_int, event: *mut Event) -> c_int {
    let control = |event: *mut Event| {
        next!(epoll_ctl: fn(epoll: c_int, operation: c_int, fd: c_int, event: *mut Event) -> c_int,
            else number::EPOLL_CTL, [epoll, operation, fd, event])
    };
    if INSTANCES.contains(fd) || EPOLLS.contains(fd) {
        // SAFETY: the event is the caller's.
        return unsafe { epoll::control(epoll, operation, fd, event, control) };
    }
    control(event)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn epoll_wait(epoll: c_int, events: *mut Event, events_max: c_int, timeout: c_int) -> c_int {
    let wait = |events: *mut Event, events_max: c_int, at_once: bool| {
        let timeout = if at_once { 0 } else { timeout };
        next!(epoll_wait: fn(epoll: c_int, events: *mut Event, events_max: c_int, timeout: c_int) -> c_int,
            else number::EPOLL_PWAIT, [epoll, events, events_max, timeout, 0, 8])
    };
    if EPOLLS.contains(epoll) && !events.is_null() {
        // SAFETY: the array is the caller's.
        return unsafe { epoll::wait(events, events_max, timeout == 0, wait) };
    }
    wait(events, events_max, false)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn epoll_pwait(
    epoll: c_int,
    events: *mut Event,
    events_max: c_int,
    timeout: c_int,
    signals: *const c_void,
) -> c_int {
    let wait = |events: *mut Event, events_max: c_int, at_once: bool| {
        let timeout = if at_once { 0 } else { timeout };
        // A second look lets no signal in.
        let signals = if at_once { core::ptr::null() } else { signals };
        next!(epoll_pwait: fn(epoll: c_int, events: *mut Event, events_max: c_int, timeout: c_int, signals: *const c_void) -> c_int,
            else number::EPOLL_PWAIT, [epoll, events, events_max, timeout, signals, 8])
    };
    if EPOLLS.contains(epoll) && !events.is_null() {
        // SAFETY: the array is the caller's.
        return unsafe { epoll::wait(events, events_max, timeout == 0, wait) };
    }
    wait(events, events_max, false)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn epoll_pwait2(
    epoll: c_int,
    events: *mut Event,
    events_max: c_int,
    timeout: *const TimeSpec,
    signals: *const c_void,
) -> c_int {
    let now = TimeSpec { seconds: 0, nanoseconds: 0 };
    let wait = |events: *mut Event, events_max: c_int, at_once: bool| {
        let timeout: *const TimeSpec = if at_once { &raw const now } else { timeout };
        let signals = if at_once { core::ptr::null() } else { signals };
        next!(epoll_pwait2: fn(epoll: c_int, events: *mut Event, events_max: c_int, timeout: *const TimeSpec, signals: *const c_void) -> c_int,
            else number::EPOLL_PWAIT2, [epoll, events, events_max, timeout, signals, 8])
    };
    if EPOLLS.contains(epoll) && !events.is_null() {
        // SAFETY: the timeout is the caller's.
        let is_immediate = unsafe { is_zero::<i64>(timeout.cast()) };
        // SAFETY: the array is the caller's.
        return unsafe { epoll::wait(events, events_max, is_immediate, wait) };
    }
    wait(events, events_max, false)
}
