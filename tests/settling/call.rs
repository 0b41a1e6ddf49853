//! System calls on an inotify descriptor: by libc's functions, which the shim stands in front of, or past it.

use std::ffi::CString;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;

/// How a call is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// By libc's function.
    Libc,
    /// By `syscall(2)`, past the shim.
    Raw,
}

/// Bytes that a call has written, or its errno.
pub(crate) type Bytes = Result<Vec<u8>, Errno>;

fn length(result: i64) -> Result<usize, Errno> {
    // The negative results are errors.
    Errno::result(result).map(|length| length as usize)
}

/// `inotify_init1(2)`, close-on-exec. The places of a user are shared with whatever else runs, and a kernel instance that is
/// closed gives its own back only some milliseconds later: a lack of them is waited out, with an end.
pub(crate) fn init(way: Way, flags: i32) -> Result<OwnedFd, Errno> {
    let flags = flags | libc::IN_CLOEXEC;
    let mut made = Err(Errno::EMFILE);
    crate::shared::yield_until(200_000, || {
        made = length(match way {
            // SAFETY: takes flags only.
            Way::Libc => i64::from(unsafe { libc::inotify_init1(flags) }),
            // SAFETY: takes flags only.
            Way::Raw => unsafe { uinotify_harness::raw_syscall!(libc::SYS_inotify_init1, flags) },
        });
        made != Err(Errno::EMFILE)
    });
    let fd = made? as RawFd;
    // SAFETY: the call has just returned this descriptor, which nobody else has.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// `inotify_add_watch(2)`.
pub(crate) fn add_watch(way: Way, fd: RawFd, path: &Path, mask: u32) -> Result<i32, Errno> {
    let path = CString::new(path.as_os_str().as_bytes()).map_err(|_| Errno::EINVAL)?;
    let wd = match way {
        // SAFETY: the path is a string that lives through the call.
        Way::Libc => i64::from(unsafe { libc::inotify_add_watch(fd, path.as_ptr(), mask) }),
        // SAFETY: the path is a string that lives through the call.
        Way::Raw => unsafe { uinotify_harness::raw_syscall!(libc::SYS_inotify_add_watch, fd, path.as_ptr(), mask) },
    };
    length(wd).map(|wd| wd as i32)
}

/// `inotify_rm_watch(2)` by libc.
pub(crate) fn remove_watch(fd: RawFd, wd: i32) -> Result<(), Errno> {
    // SAFETY: takes numbers only.
    Errno::result(unsafe { libc::inotify_rm_watch(fd, wd) }).map(drop)
}

/// `INOTIFY_IOC_SETNEXTWD`.
pub(crate) fn set_cursor(way: Way, fd: RawFd, cursor: i32) -> Result<(), Errno> {
    const SETNEXTWD: libc::Ioctl = 0x4004_4900_u32 as libc::Ioctl;
    let argument = i64::from(cursor);
    length(match way {
        // SAFETY: the argument is a number.
        Way::Libc => i64::from(unsafe { libc::ioctl(fd, SETNEXTWD, argument) }),
        // SAFETY: the argument is a number.
        Way::Raw => unsafe { uinotify_harness::raw_syscall!(libc::SYS_ioctl, fd, SETNEXTWD, argument) },
    })
    .map(drop)
}

/// `read(2)` into a new buffer of `room` bytes.
pub(crate) fn read(way: Way, fd: RawFd, room: usize) -> Bytes {
    let mut buffer = vec![0; room];
    let filled = read_into(way, fd, &mut buffer)?;
    buffer.truncate(filled);
    Ok(buffer)
}

/// `read(2)`.
pub(crate) fn read_into(way: Way, fd: RawFd, buffer: &mut [u8]) -> Result<usize, Errno> {
    length(match way {
        // SAFETY: the buffer lives through the call, which writes at most its length.
        Way::Libc => unsafe { libc::read(fd, buffer.as_mut_ptr().cast(), buffer.len()) as i64 },
        // SAFETY: the buffer lives through the call, which writes at most its length.
        Way::Raw => unsafe { uinotify_harness::raw_syscall!(libc::SYS_read, fd, buffer.as_mut_ptr(), buffer.len()) },
    })
}

/// `readv(2)` into pieces of these lengths, given back as one.
pub(crate) fn read_pieces(way: Way, fd: RawFd, rooms: [usize; 3]) -> Bytes {
    let mut buffers = rooms.map(|room| vec![0_u8; room]);
    let pieces =
        buffers.each_mut().map(|buffer| libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() });
    let filled = length(match way {
        // SAFETY: the pieces and the buffers they name live through the call.
        Way::Libc => unsafe { libc::readv(fd, pieces.as_ptr(), pieces.len() as i32) as i64 },
        // SAFETY: the pieces and the buffers they name live through the call.
        Way::Raw => unsafe { uinotify_harness::raw_syscall!(libc::SYS_readv, fd, pieces.as_ptr(), pieces.len()) },
    })?;
    // A piece that is not filled ends the call, so that what was read stands together.
    let mut joined = buffers.concat();
    joined.truncate(filled);
    Ok(joined)
}

/// `ioctl(FIONREAD)`.
pub(crate) fn queued_bytes(way: Way, fd: RawFd) -> Result<usize, Errno> {
    let mut bytes: libc::c_int = -1;
    length(match way {
        // SAFETY: FIONREAD writes one int, which lives through the call.
        Way::Libc => i64::from(unsafe { libc::ioctl(fd, libc::FIONREAD, &raw mut bytes) }),
        // SAFETY: FIONREAD writes one int, which lives through the call.
        Way::Raw => unsafe { uinotify_harness::raw_syscall!(libc::SYS_ioctl, fd, libc::FIONREAD, &raw mut bytes) },
    })?;
    usize::try_from(bytes).map_err(|_| Errno::EOVERFLOW)
}

fn time_spec(timeout: Duration) -> libc::timespec {
    libc::timespec { tv_sec: timeout.as_secs() as i64, tv_nsec: i64::from(timeout.subsec_nanos()) }
}

/// Which call asks for readiness.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::enum_variant_names, reason = "the names are the calls'")]
pub(crate) enum Poll {
    Poll,
    PPoll,
    Select,
    PSelect,
}

/// Which of `fds` can be read. Past the shim there are only the newer system calls, which every architecture has.
pub(crate) fn readable(way: Way, call: Poll, fds: &[RawFd], timeout: Duration) -> Result<Vec<bool>, Errno> {
    match call {
        Poll::Poll | Poll::PPoll => by_poll(way, call, fds, timeout),
        Poll::Select | Poll::PSelect => by_select(way, call, fds, timeout),
    }
}

fn by_poll(way: Way, call: Poll, fds: &[RawFd], timeout: Duration) -> Result<Vec<bool>, Errno> {
    let mut entries: Vec<_> =
        fds.iter().map(|&fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0x5555 }).collect();
    let (start, count) = (entries.as_mut_ptr(), entries.len() as libc::nfds_t);
    let spec = time_spec(timeout);
    let found = length(match (way, call) {
        // SAFETY: the array lives through the call, which writes its `revents`.
        (Way::Libc, Poll::Poll) => i64::from(unsafe { libc::poll(start, count, timeout.as_millis() as i32) }),
        // SAFETY: the array and the timeout live through the call; there is no signal mask.
        (Way::Libc, _) => i64::from(unsafe { libc::ppoll(start, count, &raw const spec, std::ptr::null()) }),
        // SAFETY: the array and the timeout live through the call; there is no signal mask.
        (Way::Raw, _) => unsafe {
            uinotify_harness::raw_syscall!(libc::SYS_ppoll, start, count, &raw const spec, 0_usize, 8_usize)
        },
    })?;
    let ready: Vec<_> = entries.iter().map(|entry| entry.revents & libc::POLLIN != 0).collect();
    let counted = entries.iter().filter(|entry| entry.revents != 0).count();
    assert_eq!(found, counted, "poll returns the number of entries with revents");
    Ok(ready)
}

fn by_select(way: Way, call: Poll, fds: &[RawFd], timeout: Duration) -> Result<Vec<bool>, Errno> {
    // SAFETY: the structure is an array of integers, of which all zeroes is a value.
    let mut set: libc::fd_set = unsafe { std::mem::zeroed() };
    for &fd in fds {
        // SAFETY: the descriptor is below FD_SETSIZE: the test has few.
        unsafe { libc::FD_SET(fd, &raw mut set) };
    }
    let end = fds.iter().max().map_or(0, |fd| fd + 1);
    let null = std::ptr::null_mut();
    let spec = time_spec(timeout);
    let mut value = libc::timeval { tv_sec: spec.tv_sec, tv_usec: spec.tv_nsec / 1000 };
    let found = length(match (way, call) {
        // SAFETY: the set and the timeout live through the call; the other sets are null.
        (Way::Libc, Poll::Select) => i64::from(unsafe { libc::select(end, &raw mut set, null, null, &raw mut value) }),
        (Way::Libc, _) => {
            // SAFETY: the set and the timeout live through the call; the rest is null.
            let found = unsafe { libc::pselect(end, &raw mut set, null, null, &raw const spec, std::ptr::null()) };
            i64::from(found)
        }
        // SAFETY: the set and the timeout live through the call; the rest is null.
        (Way::Raw, _) => unsafe {
            uinotify_harness::raw_syscall!(libc::SYS_pselect6, end, &raw mut set, null, null, &raw const spec, 0_usize)
        },
    })?;
    // SAFETY: the descriptors are below FD_SETSIZE.
    let ready: Vec<_> = fds.iter().map(|&fd| unsafe { libc::FD_ISSET(fd, &raw const set) }).collect();
    assert_eq!(found, ready.iter().filter(|ready| **ready).count(), "select returns the number of bits");
    Ok(ready)
}

/// A new epoll descriptor with these in it; each one's data is its number.
pub(crate) fn epoll(way: Way, entries: &[(RawFd, i32)]) -> Result<OwnedFd, Errno> {
    // SAFETY: takes flags only.
    let fd = Errno::result(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
    // SAFETY: the call has just returned this descriptor, which nobody else has.
    let epoll = unsafe { OwnedFd::from_raw_fd(fd) };
    for &(fd, events) in entries {
        let mut event = libc::epoll_event { events: events as u32, u64: fd as u64 };
        let (number, add) = (epoll.as_raw_fd(), libc::EPOLL_CTL_ADD);
        length(match way {
            // SAFETY: the event lives through the call.
            Way::Libc => i64::from(unsafe { libc::epoll_ctl(number, add, fd, &raw mut event) }),
            // SAFETY: the event lives through the call.
            Way::Raw => unsafe { uinotify_harness::raw_syscall!(libc::SYS_epoll_ctl, number, add, fd, &raw mut event) },
        })?;
    }
    Ok(epoll)
}

/// The data of what `epoll_wait(2)` reports.
pub(crate) fn epoll_wait(way: Way, epoll: RawFd, milliseconds: i32) -> Result<Vec<RawFd>, Errno> {
    epoll_wait_for(way, epoll, 8, milliseconds)
}

/// The same for at most `events_max` descriptors, eight or fewer.
pub(crate) fn epoll_wait_for(
    way: Way,
    epoll: RawFd,
    events_max: usize,
    milliseconds: i32,
) -> Result<Vec<RawFd>, Errno> {
    let mut events = [libc::epoll_event { events: 0, u64: 0 }; 8];
    let events = &mut events[..events_max];
    let (start, room) = (events.as_mut_ptr(), events.len() as i32);
    let count = length(match way {
        // SAFETY: the array lives through the call, which writes at most `room` elements.
        Way::Libc => i64::from(unsafe { libc::epoll_wait(epoll, start, room, milliseconds) }),
        // SAFETY: the array lives through the call, which writes at most `room` elements; there is no signal mask.
        Way::Raw => unsafe {
            uinotify_harness::raw_syscall!(libc::SYS_epoll_pwait, epoll, start, room, milliseconds, 0_usize, 8_usize)
        },
    })?;
    // The data was made from a descriptor.
    let mut found: Vec<_> = events[..count].iter().map(|event| event.u64 as RawFd).collect();
    found.sort_unstable();
    let different = found.iter().zip(found.iter().skip(1)).all(|(one, next)| one != next);
    assert!(different, "a descriptor is reported once: {found:?}");
    Ok(found)
}

/// Sets or clears O_NONBLOCK.
pub(crate) fn set_nonblocking(fd: RawFd, nonblocking: bool) {
    let flags = if nonblocking { libc::O_NONBLOCK } else { 0 };
    // SAFETY: takes numbers only.
    let result = unsafe { libc::fcntl(fd, libc::F_SETFL, flags) };
    assert_eq!(result, 0, "F_SETFL: {}", Errno::last());
}

/// The pid of the emulator behind a descriptor, out of the name of the socket's other end.
///
/// # Panics
///
/// If the descriptor is not emulated.
pub(crate) fn emulator_of(fd: RawFd) -> i32 {
    // SAFETY: the structure is integers, of which all zeroes is a value.
    let mut address: libc::sockaddr_un = unsafe { std::mem::zeroed() };
    let mut length = size_of::<libc::sockaddr_un>() as libc::socklen_t;
    // The shim refuses a socket's calls.
    // SAFETY: the structure and its length live through the call.
    let result =
        unsafe { uinotify_harness::raw_syscall!(libc::SYS_getpeername, fd, &raw mut address, &raw mut length) };
    assert_eq!(result, 0, "descriptor {fd} is not emulated: {}", Errno::last());
    let name: Vec<u8> = address.sun_path.iter().skip(1).map(|&byte| byte as u8).take_while(|&byte| byte != 0).collect();
    let name = String::from_utf8_lossy(&name);
    let number = name.strip_prefix("uinotify/1/").and_then(|rest| rest.split('/').next());
    number.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("{name:?} is not an emulator's name"))
}

/// The records in what a read has given, to be read by people.
pub(crate) fn show(bytes: &Bytes) -> String {
    let bytes = match bytes {
        Ok(bytes) => bytes,
        Err(errno) => return format!("{errno:?}"),
    };
    let shown = Events(bytes).take(12).map(|event| {
        let name: String = event.name().chars().take(8).collect();
        format!("{}:{:#x}:{}:{name}", event.wd, event.mask, event.cookie)
    });
    let shown = shown.collect::<Vec<_>>().join(", ");
    format!("{} events, {} bytes: {shown}", Events(bytes).count(), bytes.len())
}

/// One `struct inotify_event`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) wd: i32,
    pub(crate) mask: u32,
    pub(crate) cookie: u32,
    padded: Vec<u8>,
}

impl Event {
    /// Without the padding.
    pub(crate) fn name(&self) -> String {
        String::from_utf8_lossy(self.padded.split(|&byte| byte == 0).next().unwrap_or_default()).into_owned()
    }
}

/// The events in what a read has given.
///
/// # Panics
///
/// If they are not whole.
pub(crate) fn events(bytes: &[u8]) -> Vec<Event> {
    Events(bytes).collect()
}

/// The same bytes with 1 for each cookie: the numbers are the kernel's own, or ours.
pub(crate) fn with_equal_cookies(mut bytes: Vec<u8>) -> Vec<u8> {
    let mut at = 0;
    while let Some(header) = bytes.get_mut(at..at + 16) {
        if header[8..12] != [0; 4] {
            header[8..12].copy_from_slice(&1_u32.to_ne_bytes());
        }
        let length = u32::from_ne_bytes([header[12], header[13], header[14], header[15]]);
        at += 16 + length as usize;
    }
    bytes
}

struct Events<'a>(&'a [u8]);

impl Iterator for Events<'_> {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        if self.0.is_empty() {
            return None;
        }
        let word = |index: usize| {
            let bytes = self.0.get(4 * index..4 * index + 4).expect("a whole header");
            u32::from_ne_bytes(bytes.try_into().expect("four bytes"))
        };
        let end = 16 + word(3) as usize;
        let event = Event {
            wd: word(0).cast_signed(),
            mask: word(1),
            cookie: word(2),
            padded: self.0.get(16..end).expect("a whole name").to_vec(),
        };
        self.0 = &self.0[end..];
        Some(event)
    }
}
