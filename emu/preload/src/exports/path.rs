//! Functions that take a path: the link of an emulated descriptor leads to an anonymous file, and not to a socket; its fdinfo and
//! the limits are the emulator's.
//!
//! Where nothing comes of it the call is made first, and the path looked at only when it has succeeded, or failed as it does for a
//! socket: so the kernel has read the path already. Functions that are the same for both kinds of file, such as `rename`, `execve`
//! or `truncate`, are not here, nor are those that do not follow the link.

use core::ffi::{c_char, c_int, c_uint, c_void};

use crate::bitmap::INSTANCES;
use crate::caller_memory;
use crate::caller_path::{Bytes, Look};
use crate::descriptor_path::DescriptorPath;
use crate::errno::{self, report};
use crate::place::{self, Place, WORKING_DIRECTORY};
use crate::raw::{self, Errno};
use crate::{description, identity, request, stand_in};

pub(super) const SYMLINK_NOFOLLOW: c_int = 0x100;
const EMPTY_PATH: c_int = 0x1000;

/// Calls the next function of this name; ENOSYS where libc has none.
macro_rules! next {
    ($name:ident($($argument:expr => $type:ty),*) -> $result:ty) => {
        next_or!(report(Err(Errno::NOSYS)) as $result, $name($($argument => $type),*) -> $result)
    };
}

/// Functions that open: as the kernel does, and then what is ours is put behind the number.
macro_rules! opening {
    ($($name:ident($($argument:ident: $type:ty),*) at $directory:expr, $path:ident;)*) => {
        $(
            #[unsafe(no_mangle)]
            unsafe extern "C" fn $name($($argument: $type),*) -> c_int {
                let fd = next!($name($($argument => $type),*) -> c_int);
                // SAFETY: the path is the caller's, and was read if it was opened.
                unsafe { after_opening(fd, $directory, $path) }
            }
        )*
    };
}

opening! {
    open(path: *const c_char, flags: c_int, mode: c_uint) at WORKING_DIRECTORY, path;
    open64(path: *const c_char, flags: c_int, mode: c_uint) at WORKING_DIRECTORY, path;
    __open(path: *const c_char, flags: c_int, mode: c_uint) at WORKING_DIRECTORY, path;
    __open64(path: *const c_char, flags: c_int, mode: c_uint) at WORKING_DIRECTORY, path;
    __open_2(path: *const c_char, flags: c_int) at WORKING_DIRECTORY, path;
    __open64_2(path: *const c_char, flags: c_int) at WORKING_DIRECTORY, path;
    openat(directory: c_int, path: *const c_char, flags: c_int, mode: c_uint) at directory, path;
    openat64(directory: c_int, path: *const c_char, flags: c_int, mode: c_uint) at directory, path;
    __openat_2(directory: c_int, path: *const c_char, flags: c_int) at directory, path;
    __openat64_2(directory: c_int, path: *const c_char, flags: c_int) at directory, path;
    creat(path: *const c_char, mode: c_uint) at WORKING_DIRECTORY, path;
    creat64(path: *const c_char, mode: c_uint) at WORKING_DIRECTORY, path;
}

/// What was opened at `path`, or not for a reason that holds for a socket.
///
/// # Safety
///
/// The kernel must have read the path if `fd` is not negative or errno is ENXIO.
pub(super) unsafe fn after_opening(fd: c_int, directory: c_int, path: *const c_char) -> c_int {
    if !place::is_concerned() || (fd < 0 && errno::current() != Errno::NXIO) {
        return fd;
    }
    // SAFETY: by this function's contract.
    let Some(place) = (unsafe { place::of(Look::After, directory, path.cast()) }) else { return fd };
    match (place, fd) {
        (Place::Link(holder), ..0) => report(Err(place::errno_of_opening(holder))) as c_int,
        (_, ..0) => fd,
        _ => match description::put_behind(fd, place) {
            Err(Errno::MFILE) => report(description::put_instead(fd, place).map(|fd| fd as usize)) as c_int,
            Err(errno) => {
                let _ = raw::close(fd);
                report(Err(errno)) as c_int
            }
            Ok(()) => fd,
        },
    }
}

/// Functions that open a stream.
macro_rules! opening_stream {
    ($($name:ident($path:ident: *const c_char, $($argument:ident: $type:ty),*);)*) => {
        $(
            #[unsafe(no_mangle)]
            #[allow(non_snake_case, reason = "the name is libc's")]
            unsafe extern "C" fn $name($path: *const c_char, $($argument: $type),*) -> *mut c_void {
                let stream = next_or!(no_stream(Errno::NOSYS), $name($path => *const c_char, $($argument => $type),*) -> *mut c_void);
                // SAFETY: the path is the caller's, and was read if it was opened.
                unsafe { after_opening_stream(stream, $path) }
            }
        )*
    };
}

opening_stream! {
    fopen(path: *const c_char, mode: *const c_char);
    fopen64(path: *const c_char, mode: *const c_char);
    _IO_fopen(path: *const c_char, mode: *const c_char);
    freopen(path: *const c_char, mode: *const c_char, stream: *mut c_void);
    freopen64(path: *const c_char, mode: *const c_char, stream: *mut c_void);
}

pub(super) fn no_stream(errno: Errno) -> *mut c_void {
    report(Err(errno));
    core::ptr::null_mut()
}

/// # Safety
///
/// The kernel must have read the path if there is a stream or errno is ENXIO.
unsafe fn after_opening_stream(stream: *mut c_void, path: *const c_char) -> *mut c_void {
    if !place::is_concerned() || path.is_null() {
        return stream;
    }
    if stream.is_null() {
        // SAFETY: by this function's contract.
        unsafe { after_opening(-1, WORKING_DIRECTORY, path) };
        return stream;
    }
    // SAFETY: by this function's contract.
    let Some(place) = (unsafe { place::of(Look::After, WORKING_DIRECTORY, path.cast()) }) else { return stream };
    let fd = next_or!(-1, fileno(stream => *mut c_void) -> c_int);
    match request::with_spare_descriptors(|| description::put_behind(fd, place)) {
        Ok(()) => stream,
        Err(errno) => {
            next_or!(-1, fclose(stream => *mut c_void) -> c_int);
            no_stream(errno)
        }
    }
}

/// What a link of ours reads, instead of what the kernel has written.
///
/// # Safety
///
/// The call must have succeeded if `length` is not negative.
pub(super) unsafe fn after_reading_link(
    length: isize,
    directory: c_int,
    path: *const c_char,
    buffer: *mut c_char,
    room: usize,
) -> isize {
    const OF_SOCKET: &[u8] = b"socket:[";
    const OF_INOTIFY: &[u8] = b"anon_inode:inotify";
    if length <= 0 || !place::is_concerned() {
        return length;
    }
    let written = OF_SOCKET.iter().take(length as usize).enumerate();
    // SAFETY: the kernel has just written `length` bytes there.
    if !written.into_iter().all(|(offset, byte)| unsafe { buffer.wrapping_add(offset).cast::<u8>().read() } == *byte) {
        return length;
    }
    // SAFETY: the call has succeeded, so that the kernel has read the path.
    let is_empty = unsafe { Bytes::new(Look::After, path.cast()) }.is_empty();
    let holder = if is_empty {
        place::opened_link(directory)
    } else {
        // SAFETY: as above.
        unsafe { place::link(Look::After, directory, path.cast()) }
    };
    if holder.is_none() {
        return length;
    }
    let shown = OF_INOTIFY.len().min(room);
    let (start, behind) = (buffer.cast::<u8>(), shown.saturating_sub(length as usize));
    // The text is longer than the one that the kernel has written.
    // SAFETY: the buffer is the caller's to have written for `room` bytes.
    if behind > 0 && !unsafe { caller_memory::is_writable(start.wrapping_add(length as usize), behind) } {
        return report(Err(Errno::FAULT));
    }
    for (offset, byte) in OF_INOTIFY.iter().take(shown).enumerate() {
        // SAFETY: the kernel has just written there.
        unsafe { start.wrapping_add(offset).write(*byte) };
    }
    shown as isize
}

#[unsafe(no_mangle)]
unsafe extern "C" fn readlink(path: *const c_char, buffer: *mut c_char, room: usize) -> isize {
    let length = next!(readlink(path => *const c_char, buffer => *mut c_char, room => usize) -> isize);
    // SAFETY: the arguments are the caller's, of a call that was made.
    unsafe { after_reading_link(length, WORKING_DIRECTORY, path, buffer, room) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn __readlink_chk(path: *const c_char, buffer: *mut c_char, room: usize, size: usize) -> isize {
    let length =
        next!(__readlink_chk(path => *const c_char, buffer => *mut c_char, room => usize, size => usize) -> isize);
    // SAFETY: as above.
    unsafe { after_reading_link(length, WORKING_DIRECTORY, path, buffer, room) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn readlinkat(directory: c_int, path: *const c_char, buffer: *mut c_char, room: usize) -> isize {
    let length =
        next!(readlinkat(directory => c_int, path => *const c_char, buffer => *mut c_char, room => usize) -> isize);
    // SAFETY: as above.
    unsafe { after_reading_link(length, directory, path, buffer, room) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn __readlinkat_chk(
    directory: c_int,
    path: *const c_char,
    buffer: *mut c_char,
    room: usize,
    size: usize,
) -> isize {
    let length = next!(__readlinkat_chk(directory => c_int, path => *const c_char, buffer => *mut c_char, room => usize,
        size => usize) -> isize);
    // SAFETY: as above.
    unsafe { after_reading_link(length, directory, path, buffer, room) }
}

/// How a call names a file.
#[derive(Clone, Copy)]
pub(super) struct Named {
    pub(super) look: Look,
    pub(super) directory: c_int,
    pub(super) path: *const c_char,
    pub(super) flags: c_int,
}

impl Named {
    pub(super) fn by_path(look: Look, path: *const c_char) -> Self {
        Self { look, directory: WORKING_DIRECTORY, path, flags: 0 }
    }

    /// Makes a call on the file, or on what stands in for it if it is one of ours.
    ///
    /// # Safety
    ///
    /// The path is the caller's own; a call that does not fail reads it.
    pub(super) unsafe fn call(self, call: impl Fn(c_int, *const c_char) -> isize) -> isize {
        let Self { look, directory, path, .. } = self;
        if let Some(instance) = self.descriptor_itself() {
            return stand_in::with(&instance, |fd| call(fd, path)).unwrap_or_else(|| call(directory, path));
        }
        match look {
            Look::After => {
                let result = call(directory, path);
                if result < 0 { result } else { self.call_on_stand_in(&call).unwrap_or(result) }
            }
            Look::Before => self.call_on_stand_in(&call).unwrap_or_else(|| call(directory, path)),
        }
    }

    /// The instance that is named by its descriptor alone.
    fn descriptor_itself(self) -> Option<identity::Instance> {
        if !INSTANCES.contains(self.directory) || (self.flags & EMPTY_PATH == 0 && !self.path.is_null()) {
            return None;
        }
        // SAFETY: any address will do.
        let is_empty = self.path.is_null() || unsafe { Bytes::new(Look::Before, self.path.cast()) }.is_empty();
        if is_empty { identity::instance(self.directory) } else { None }
    }

    fn call_on_stand_in(self, call: &impl Fn(c_int, *const c_char) -> isize) -> Option<isize> {
        if self.flags & SYMLINK_NOFOLLOW != 0 {
            return None;
        }
        // SAFETY: the call has succeeded, and so has read the path, or any address will do.
        let holder = unsafe { place::link(self.look, self.directory, self.path.cast()) }?;
        holder.with_stand_in(|fd| call(WORKING_DIRECTORY, DescriptorPath::new(fd).as_c_str().as_ptr()))
    }
}

/// Functions whose first argument is a path that they follow.
macro_rules! following {
    ($look:expr; $($name:ident($($argument:ident: $type:ty),*) -> $result:ty;)*) => {
        $(
            #[unsafe(no_mangle)]
            unsafe extern "C" fn $name(path: *const c_char $(, $argument: $type)*) -> $result {
                let call = |_, path| next!($name(path => *const c_char $(, $argument => $type)*) -> $result) as isize;
                // SAFETY: the path is the caller's.
                unsafe { Named::by_path($look, path).call(call) as $result }
            }
        )*
    };
}

following! { Look::After;
    stat(status: *mut c_void) -> c_int;
    stat64(status: *mut c_void) -> c_int;
    access(mode: c_int) -> c_int;
    eaccess(mode: c_int) -> c_int;
    euidaccess(mode: c_int) -> c_int;
    statfs(status: *mut c_void) -> c_int;
    statfs64(status: *mut c_void) -> c_int;
    __statfs(status: *mut c_void) -> c_int;
    statvfs(status: *mut c_void) -> c_int;
    statvfs64(status: *mut c_void) -> c_int;
}

// These would change the socket's file, or fail otherwise on it.
following! { Look::Before;
    chmod(mode: c_uint) -> c_int;
    chown(user: c_uint, group: c_uint) -> c_int;
    utime(times: *const c_void) -> c_int;
    utimes(times: *const c_void) -> c_int;
    getxattr(name: *const c_char, value: *mut c_void, size: usize) -> isize;
    listxattr(list: *mut c_char, size: usize) -> isize;
    setxattr(name: *const c_char, value: *const c_void, size: usize, flags: c_int) -> c_int;
    removexattr(name: *const c_char) -> c_int;
}

/// Functions that take a descriptor in front of the path.
macro_rules! following_below {
    ($look:expr; $($name:ident($directory:ident, $path:ident $(, $argument:ident: $type:ty)*) with $flags:expr;)*) => {
        $(
            #[unsafe(no_mangle)]
            unsafe extern "C" fn $name($directory: c_int, $path: *const c_char $(, $argument: $type)*) -> c_int {
                let call = |directory, path| {
                    next!($name(directory => c_int, path => *const c_char $(, $argument => $type)*) -> c_int) as isize
                };
                let named = Named { look: $look, directory: $directory, path: $path, flags: $flags };
                // SAFETY: the path is the caller's.
                unsafe { named.call(call) as c_int }
            }
        )*
    };
}

following_below! { Look::Before;
    fchmodat(directory, path, mode: c_uint, flags: c_int) with flags;
    fchownat(directory, path, user: c_uint, group: c_uint, flags: c_int) with flags;
    utimensat(directory, path, times: *const c_void, flags: c_int) with flags;
    futimesat(directory, path, times: *const c_void) with 0;
}

#[unsafe(no_mangle)]
unsafe extern "C" fn faccessat(directory: c_int, path: *const c_char, mode: c_int, flags: c_int) -> c_int {
    const WRITABLE: c_int = 2;
    let call = |directory, path| {
        next!(faccessat(directory => c_int, path => *const c_char, mode => c_int, flags => c_int) -> c_int) as isize
    };
    // SAFETY: the path is the caller's.
    let result = unsafe { Named { look: Look::After, directory, path, flags }.call(call) } as c_int;
    // The permissions of a link are those with which its descriptor was opened.
    let asks_for_link = flags & SYMLINK_NOFOLLOW != 0 && mode & WRITABLE != 0;
    // SAFETY: the call has succeeded, and so has read the path.
    if result != 0 || !asks_for_link || unsafe { place::link(Look::After, directory, path.cast()) }.is_none() {
        return result;
    }
    // SAFETY: the path is a string that lives for ever.
    let Ok(readable) = (unsafe { raw::open(c"/proc/self/stat".as_ptr().cast(), raw::O_CLOEXEC) }) else {
        return result;
    };
    let result = call(WORKING_DIRECTORY, DescriptorPath::new(readable).as_c_str().as_ptr());
    let _ = raw::close(readable);
    result as c_int
}

/// Where the mode is in `struct stat`, and how wide.
#[cfg(target_arch = "x86_64")]
const MODE_IN_STAT: usize = 24;
#[cfg(target_arch = "aarch64")]
const MODE_IN_STAT: usize = 16;
const MODE_IN_STATX: usize = 28;

/// Shows a link of ours as that of a descriptor that is open for reading only.
///
/// # Safety
///
/// The call must have filled `status` with the state of what `path` names, itself, if `result` is 0. The type and mode are in the
/// 16 bits at `offset`, also where the field is wider.
unsafe fn after_link_state(
    result: c_int,
    directory: c_int,
    path: *const c_char,
    status: *mut c_void,
    offset: usize,
) -> c_int {
    const TYPE: u16 = 0o170_000;
    const LINK: u16 = 0o120_000;
    const OWNER_MAY_WRITE: u16 = 0o200;
    if result != 0 || !place::is_concerned() || path.is_null() {
        return result;
    }
    let mode = status.cast::<u8>().wrapping_add(offset).cast::<u16>();
    // SAFETY: the kernel has just written it.
    let shown = unsafe { mode.read_unaligned() };
    // SAFETY: the call has succeeded, so that the kernel has read the path.
    if shown & TYPE == LINK && unsafe { place::link(Look::After, directory, path.cast()) }.is_some() {
        // SAFETY: as above.
        unsafe { mode.write_unaligned(shown & !OWNER_MAY_WRITE) };
    }
    result
}

#[unsafe(no_mangle)]
unsafe extern "C" fn lstat(path: *const c_char, status: *mut c_void) -> c_int {
    let result = next!(lstat(path => *const c_char, status => *mut c_void) -> c_int);
    // SAFETY: the arguments are the caller's, of a call that was made.
    unsafe { after_link_state(result, WORKING_DIRECTORY, path, status, MODE_IN_STAT) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn lstat64(path: *const c_char, status: *mut c_void) -> c_int {
    let result = next!(lstat64(path => *const c_char, status => *mut c_void) -> c_int);
    // SAFETY: as above.
    unsafe { after_link_state(result, WORKING_DIRECTORY, path, status, MODE_IN_STAT) }
}

/// Until glibc 2.33 programs called these, with the version of the structure; 64-bit machines have only one layout.
macro_rules! versioned {
    ($($of_file:ident, $of_link:ident, $below:ident;)*) => {
        $(
            #[unsafe(no_mangle)]
            unsafe extern "C" fn $of_file(version: c_int, path: *const c_char, status: *mut c_void) -> c_int {
                let call = |_, path| {
                    next!($of_file(version => c_int, path => *const c_char, status => *mut c_void) -> c_int) as isize
                };
                // SAFETY: the path is the caller's.
                unsafe { Named::by_path(Look::After, path).call(call) as c_int }
            }

            #[unsafe(no_mangle)]
            unsafe extern "C" fn $of_link(version: c_int, path: *const c_char, status: *mut c_void) -> c_int {
                let result = next!($of_link(version => c_int, path => *const c_char, status => *mut c_void) -> c_int);
                // SAFETY: the arguments are the caller's, of a call that was made.
                unsafe { after_link_state(result, WORKING_DIRECTORY, path, status, MODE_IN_STAT) }
            }

            #[unsafe(no_mangle)]
            unsafe extern "C" fn $below(
                version: c_int,
                directory: c_int,
                path: *const c_char,
                status: *mut c_void,
                flags: c_int,
            ) -> c_int {
                let call = |directory, path| {
                    next!($below(version => c_int, directory => c_int, path => *const c_char, status => *mut c_void,
                        flags => c_int) -> c_int) as isize
                };
                // SAFETY: the arguments are the caller's.
                unsafe { state_below(Named { look: Look::After, directory, path, flags }, status, MODE_IN_STAT, call) }
            }
        )*
    };
}

versioned! {
    __xstat, __lxstat, __fxstatat;
    __xstat64, __lxstat64, __fxstatat64;
}

/// # Safety
///
/// The arguments are those of the caller, and `call` makes the caller's call.
unsafe fn state_below(
    named: Named,
    status: *mut c_void,
    offset: usize,
    call: impl Fn(c_int, *const c_char) -> isize,
) -> c_int {
    // SAFETY: by this function's contract.
    let result = unsafe { named.call(call) } as c_int;
    if named.flags & SYMLINK_NOFOLLOW == 0 {
        return result;
    }
    // SAFETY: the call was made, and did not follow the link.
    unsafe { after_link_state(result, named.directory, named.path, status, offset) }
}

/// Both names of `fstatat`, which before glibc 2.33 are system calls only.
macro_rules! state_at {
    ($($name:ident)*) => {
        $(
            #[unsafe(no_mangle)]
            pub(super) unsafe extern "C" fn $name(directory: c_int, path: *const c_char, status: *mut c_void, flags: c_int) -> c_int {
                let call = |directory: c_int, path: *const c_char| {
                    let arguments = [directory as usize, path as usize, status as usize, flags as usize, 0, 0];
                    // SAFETY: the arguments are the caller's.
                    let system_call = || report(unsafe { raw::syscall(raw::number::NEWFSTATAT, arguments) }) as c_int;
                    next_or!(system_call(), $name(directory => c_int, path => *const c_char, status => *mut c_void, flags => c_int) -> c_int)
                        as isize
                };
                // SAFETY: the arguments are the caller's.
                unsafe { state_below(Named { look: Look::After, directory, path, flags }, status, MODE_IN_STAT, call) }
            }
        )*
    };
}

state_at! { fstatat fstatat64 }

#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn statx(
    directory: c_int,
    path: *const c_char,
    flags: c_int,
    mask: c_uint,
    status: *mut c_void,
) -> c_int {
    let call = |directory: c_int, path: *const c_char| {
        // Before glibc 2.28 and musl 1.2.4 there is only the system call.
        let arguments = [directory as usize, path as usize, flags as usize, mask as usize, status as usize, 0];
        // SAFETY: the arguments are the caller's.
        let system_call = || report(unsafe { raw::syscall(raw::number::STATX, arguments) }) as c_int;
        next_or!(system_call(), statx(directory => c_int, path => *const c_char, flags => c_int, mask => c_uint,
            status => *mut c_void) -> c_int) as isize
    };
    // SAFETY: the arguments are the caller's.
    unsafe { state_below(Named { look: Look::After, directory, path, flags }, status, MODE_IN_STATX, call) }
}
