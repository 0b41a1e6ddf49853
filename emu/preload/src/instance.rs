//! `inotify_init1`, `inotify_add_watch`, `inotify_rm_watch`.

use uinotify_wire::{ADD_WATCH_BITS, DONT_FOLLOW, MASK_ADD_AND_CREATE, ONLYDIR, Reply, Request, RequestKind};

use crate::bitmap::INSTANCES;
use crate::descriptor_path::DescriptorPath;
use crate::identity::{Instance, socket_identity};
use crate::raw::{self, Errno, Outcome};
use crate::request::{self, Failure, Into};
use crate::{log, memory, settings, slot};

const PATH_BYTES_MAX: usize = 4096;

/// `inotify_init1(2)` of the emulator. ENOMEM when it cannot be reached: a program never gets the kernel's inotify unasked.
pub fn open(flags: i32) -> Outcome {
    if flags & !(raw::O_NONBLOCK | raw::O_CLOEXEC) != 0 {
        return Err(Errno::INVAL);
    }
    let (fd, connection) = request::open_instance(flags)?;
    INSTANCES.set(fd);
    let slot = memory::owner().filter(|_| !settings::settles_by_request()).and_then(|pid| {
        let slot = slot::create(socket_identity(fd)?)?;
        slot.set_control(connection, pid);
        Some(slot)
    });
    if slot.is_none() {
        let _ = raw::close(connection);
    }
    Ok(fd as usize)
}

/// The value of an answer, or the errno that the program is to see; `dead` is the one for an emulator that has died.
fn result(answer: Result<Reply, Failure>, dead: Errno) -> Outcome {
    match answer {
        Ok(Reply { errno: 0, value, .. }) => Ok(value as usize),
        Ok(reply) => Err(Errno(reply.errno as i32)),
        Err(Failure::Dead) => {
            log::death();
            Err(dead)
        }
        Err(Failure::Unreachable) => Err(Errno::FAULT),
        // No descriptor left for the request itself, which Linux would not need.
        Err(Failure::Refused(Errno::MFILE | Errno::NFILE)) => Err(Errno::NOMEM),
        Err(Failure::Refused(errno)) => Err(errno),
    }
}

/// `inotify_add_watch(2)`, with the kernel's order of checks (semantics `ADD` rules). The path is resolved here, with the caller's
/// root, working directory and credentials, and travels as an `O_PATH` descriptor.
///
/// # Safety
///
/// `path` must be a string, or a bad address, which gives EFAULT.
pub unsafe fn add_watch(instance: &Instance, path: *const u8, mask: u32) -> Outcome {
    let has_unknown_bits = mask & !ADD_WATCH_BITS != 0;
    if has_unknown_bits || mask & ADD_WATCH_BITS == 0 || mask & MASK_ADD_AND_CREATE == MASK_ADD_AND_CREATE {
        return Err(Errno::INVAL);
    }
    let mut flags = raw::O_PATH | raw::O_CLOEXEC;
    if mask & ONLYDIR != 0 {
        flags |= raw::O_DIRECTORY;
    }
    if mask & DONT_FOLLOW != 0 {
        flags |= raw::O_NOFOLLOW;
    }
    // SAFETY: by this function's contract.
    let object = request::with_spare_descriptors(|| unsafe { raw::open(path, flags) });
    let object = match object {
        Ok(object) => object,
        Err(Errno::MFILE | Errno::NFILE) => return Err(Errno::NOMEM),
        Err(Errno::FAULT) => return Err(refused(instance, b"", mask, Errno::FAULT)),
        Err(errno) => {
            // SAFETY: the kernel has just read the string, up to its end or for PATH_MAX bytes.
            let path = unsafe { string(path) };
            return Err(refused(instance, path, mask, errno));
        }
    };
    // SAFETY: the kernel has just read the string, which is therefore zero-terminated within PATH_MAX.
    let payload = unsafe { string(path) };
    let outcome = match may_read(object) {
        Ok(_) => {
            let request = Request { kind: RequestKind::AddWatch, argument: 0, word: mask, payload };
            result(request::ask(instance, &request, Some(object), Into::NOTHING), Errno::NOMEM)
        }
        Err(errno) => Err(refused(instance, payload, mask, errno)),
    };
    let _ = raw::close(object);
    outcome
}

/// What the program is to see of a path that the kernel has refused: the emulator, which counts and traces the call, may have a reason
/// that comes first.
fn refused(instance: &Instance, path: &[u8], mask: u32, errno: Errno) -> Errno {
    let request = Request { kind: RequestKind::AddWatch, argument: errno.0 as u64, word: mask, payload: path };
    match request::ask(instance, &request, None, Into::NOTHING) {
        Ok(reply) if reply.errno != 0 => Errno(reply.errno as i32),
        _ => errno,
    }
}

/// # Safety
///
/// `path` must be readable up to its zero byte, or for `PATH_BYTES_MAX` bytes.
unsafe fn string<'a>(path: *const u8) -> &'a [u8] {
    let mut length = 0;
    // SAFETY: by this function's contract.
    while length < PATH_BYTES_MAX && unsafe { path.wrapping_add(length).read_volatile() } != 0 {
        length += 1;
    }
    // SAFETY: these bytes were read just now.
    unsafe { core::slice::from_raw_parts(path, length) }
}

/// Read permission for the caller's credentials, asked without opening, which would make events.
fn may_read(object: i32) -> Outcome {
    match raw::may_read(object) {
        // Before Linux 5.8. The old call looks at the real ids, and the emulator's kernel checks once more.
        Err(Errno::NOSYS) => match raw::may_read_path(DescriptorPath::new(object).as_c_str()) {
            Err(Errno::ACCES) => Err(Errno::ACCES),
            _ => Ok(0),
        },
        Err(Errno::ACCES) => Err(Errno::ACCES),
        _ => Ok(0),
    }
}

/// `inotify_rm_watch(2)`: EINVAL for a wd that this instance does not have.
pub fn remove_watch(instance: &Instance, wd: i32) -> Outcome {
    let request = Request::new(RequestKind::RemoveWatch, 0, wd as u32);
    result(request::ask(instance, &request, None, Into::NOTHING), Errno::IO)
}

/// `INOTIFY_IOC_SETNEXTWD`: the argument is the number itself, a full unsigned long.
pub fn set_cursor(instance: &Instance, argument: usize) -> Outcome {
    let request = Request::new(RequestKind::SetCursor, argument as u64, 0);
    result(request::ask(instance, &request, None, Into::NOTHING), Errno::IO)
}

/// A request whose value the kernel writes into the program's `int`.
fn into_word(instance: &Instance, kind: RequestKind, word: usize) -> Outcome {
    if word == 0 {
        return Err(Errno::FAULT);
    }
    let into = Into { value: word as *mut core::ffi::c_void, ..Into::NOTHING };
    result(request::ask(instance, &Request::new(kind, 0, 0), None, into), Errno::IO).map(|_| 0)
}

/// `UINOTIFY_IOC_GETNEXTWD`: the cursor into the program's `int`.
pub fn get_cursor(instance: &Instance, word: usize) -> Outcome {
    into_word(instance, RequestKind::GetCursor, word)
}

/// `FIONREAD` with part of the queue behind the window: the sum over all queued events into the program's `int`.
pub fn count(instance: &Instance, word: usize) -> Outcome {
    into_word(instance, RequestKind::Count, word)
}
