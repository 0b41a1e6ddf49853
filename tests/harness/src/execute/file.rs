//! Operations on the tree. None of them is made on an inotify descriptor on purpose.

use std::os::fd::RawFd;
use std::os::unix::fs::PermissionsExt;

use super::call::{Argument, returned};
use super::machine::Machine;
use super::memory::page_size;
use crate::operation::{Operation, Path, Time};
use crate::trace::{Outcome, Return};

/// The extended attribute of the vocabulary.
const ATTRIBUTE: &std::ffi::CStr = c"user.conform";

/// A mapping that outlives the call that made it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mapping {
    base: *mut libc::c_void,
    writable: bool,
}

impl Machine {
    /// Operations that name the file by a path. `None`: it is not one of them.
    pub(super) fn on_path(&mut self, operation: &Operation) -> Option<Outcome> {
        let outcome = match operation {
            Operation::Open { slot, path, flags, mode } => {
                self.vacate(*slot);
                let path = self.argument(path);
                // SAFETY: the pointer is a NUL-terminated path that `path` keeps, or faults in the kernel.
                let number = unsafe { libc::open(path.pointer(), *flags, *mode) };
                self.occupy(*slot, number, false)
            }
            Operation::Truncate { path, size } => {
                let path = self.argument(path);
                // SAFETY: as for open.
                returned(unsafe { libc::truncate(path.pointer(), *size) })
            }
            Operation::Chmod { path, mode } => {
                let path = self.argument(path);
                // SAFETY: as for open.
                returned(unsafe { libc::chmod(path.pointer(), *mode) })
            }
            Operation::Lchown { path, user, group } => {
                let path = self.argument(path);
                // SAFETY: as for open.
                returned(unsafe { libc::lchown(path.pointer(), *user, *group) })
            }
            Operation::Utimens { path, access, modification } => {
                let path = self.argument(path);
                let times = [timespec(*access), timespec(*modification)];
                // SAFETY: as for open; two timespecs lie at the other pointer for the length of the call.
                returned(unsafe { libc::utimensat(libc::AT_FDCWD, path.pointer(), times.as_ptr(), 0) })
            }
            Operation::Mkdir(path) => {
                let path = self.argument(path);
                // SAFETY: as for open.
                returned(unsafe { libc::mkdir(path.pointer(), 0o755) })
            }
            Operation::Rmdir(path) => {
                let path = self.argument(path);
                // SAFETY: as for open.
                returned(unsafe { libc::rmdir(path.pointer()) })
            }
            Operation::Mkfifo(path) => {
                let path = self.argument(path);
                // SAFETY: as for open.
                returned(unsafe { libc::mkfifo(path.pointer(), 0o644) })
            }
            Operation::Unlink(path) => {
                let path = self.argument(path);
                // SAFETY: as for open.
                returned(unsafe { libc::unlink(path.pointer()) })
            }
            Operation::Link { from, to } => {
                let follow = match from {
                    Path::Link(_) => libc::AT_SYMLINK_FOLLOW,
                    _ => 0,
                };
                let (from, to) = (self.argument(from), self.argument(to));
                let here = libc::AT_FDCWD;
                // SAFETY: as for open, twice.
                returned(unsafe { libc::linkat(here, from.pointer(), here, to.pointer(), follow) })
            }
            Operation::Symlink { target, path } => {
                let target = self.argument(&Path::Text(target.clone()));
                let path = self.argument(path);
                // SAFETY: as for open, twice.
                returned(unsafe { libc::symlink(target.pointer(), path.pointer()) })
            }
            Operation::Rename { from, to, flags } => {
                let (from, to) = (self.argument(from), self.argument(to));
                rename(&from, &to, *flags)
            }
            Operation::Setxattr(path) => {
                let path = self.argument(path);
                // SAFETY: as for open; the name is NUL-terminated and the value is five bytes long.
                returned(unsafe { libc::setxattr(path.pointer(), ATTRIBUTE.as_ptr(), b"value".as_ptr().cast(), 5, 0) })
            }
            Operation::Removexattr(path) => {
                let path = self.argument(path);
                // SAFETY: as for open; the name is NUL-terminated.
                returned(unsafe { libc::removexattr(path.pointer(), ATTRIBUTE.as_ptr()) })
            }
            Operation::Chdir(path) => {
                let path = self.argument(path);
                // SAFETY: as for open.
                returned(unsafe { libc::chdir(path.pointer()) })
            }
            Operation::Install(path) => install(path),
            _ => return None,
        };
        Some(outcome)
    }

    /// Operations that name the file by a descriptor. `None`: it is not one of them.
    pub(super) fn on_file(&mut self, operation: &Operation) -> Option<Outcome> {
        let outcome = match operation {
            Operation::Ftruncate { descriptor, size } => {
                // SAFETY: takes no pointer.
                returned(unsafe { libc::ftruncate(self.number(*descriptor), *size) })
            }
            Operation::Fchmod { descriptor, mode } => {
                // SAFETY: takes no pointer.
                returned(unsafe { libc::fchmod(self.number(*descriptor), *mode) })
            }
            Operation::Fchown { descriptor, user, group } => {
                // SAFETY: takes no pointer.
                returned(unsafe { libc::fchown(self.number(*descriptor), *user, *group) })
            }
            Operation::Fallocate { descriptor, mode, offset, size } => {
                let number = self.number(*descriptor);
                // SAFETY: takes no pointer.
                returned(unsafe { libc::fallocate(number, *mode, *offset, *size) })
            }
            Operation::Getdents { descriptor, size } => {
                let mut entries = vec![0_u8; *size];
                let number = self.number(*descriptor);
                // SAFETY: `size` writable bytes lie at the pointer. There is no older libc function that
                // is exactly one getdents64.
                let count = unsafe { libc::syscall(libc::SYS_getdents64, number, entries.as_mut_ptr(), entries.len()) };
                returned(count)
            }
            Operation::CopyFileRange { from, to, size } => {
                let (from, to) = (self.number(*from), self.number(*to));
                let own = std::ptr::null_mut();
                // SAFETY: null offsets mean the descriptors' own.
                let count = unsafe { copy_file_range()(from, own, to, own, *size, 0) };
                returned(count as i64)
            }
            Operation::Sendfile { from, to, size } => {
                let (from, to) = (self.number(*from), self.number(*to));
                // SAFETY: a null offset means the descriptor's own.
                let count = unsafe { libc::sendfile(to, from, std::ptr::null_mut(), *size) };
                returned(count as i64)
            }
            Operation::Map { descriptor, place, writable } => self.map(self.number(*descriptor), *place, *writable),
            Operation::Touch { place } => self.touch(*place),
            Operation::Unmap { place } => {
                let mapping = self.mappings.get_mut(usize::from(*place));
                match mapping.and_then(Option::take) {
                    // SAFETY: the page was mapped by `map` and is forgotten by the take.
                    Some(held) => returned(unsafe { libc::munmap(held.base, page_size()) }),
                    None => Outcome::Returned(Return::Error(libc::EINVAL)),
                }
            }
            _ => return None,
        };
        Some(outcome)
    }

    fn map(&mut self, number: i32, place: u8, writable: bool) -> Outcome {
        let access = if writable { libc::PROT_READ | libc::PROT_WRITE } else { libc::PROT_READ };
        let null = std::ptr::null_mut();
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory of ours.
        let base = unsafe { libc::mmap(null, page_size(), access, libc::MAP_SHARED, number, 0) };
        if base == libc::MAP_FAILED {
            return Outcome::Returned(Return::Error(nix::errno::Errno::last_raw()));
        }
        match self.mappings.get_mut(usize::from(place)) {
            Some(kept @ None) => *kept = Some(Mapping { base, writable }),
            // SAFETY: the page was mapped just above and nothing refers to it.
            _ => drop(unsafe { libc::munmap(base, page_size()) }),
        }
        Outcome::Returned(Return::Value(0))
    }

    fn touch(&self, place: u8) -> Outcome {
        let Some(mapping) = self.mappings.get(usize::from(place)).copied().flatten() else {
            return Outcome::Returned(Return::Error(libc::EINVAL));
        };
        let byte = mapping.base.cast::<u8>();
        // SAFETY: the page is mapped readable; a file that does not reach there is a SIGBUS, which the
        // trace reports.
        let seen = unsafe { byte.read_volatile() };
        if mapping.writable {
            // SAFETY: the page is mapped writable.
            unsafe { byte.write_volatile(seen ^ 1) };
        }
        // SAFETY: one page is mapped there.
        returned(unsafe { libc::msync(mapping.base, page_size(), libc::MS_SYNC) })
    }
}

fn rename(from: &Argument, to: &Argument, flags: u32) -> Outcome {
    if flags == 0 {
        // SAFETY: both pointers are NUL-terminated paths that the arguments keep, or fault in the kernel.
        return returned(unsafe { libc::rename(from.pointer(), to.pointer()) });
    }
    let here = libc::AT_FDCWD;
    // SAFETY: as above. glibc has had a function for it only since 2.28.
    let value = unsafe { libc::syscall(libc::SYS_renameat2, here, from.pointer(), here, to.pointer(), flags) };
    returned(value)
}

fn timespec(time: Time) -> libc::timespec {
    let (tv_sec, tv_nsec) = match time {
        Time::Now => (0, libc::UTIME_NOW),
        Time::Omit => (0, libc::UTIME_OMIT),
        Time::Seconds(seconds) => (seconds, 0),
    };
    libc::timespec { tv_sec, tv_nsec }
}

fn install(path: &Path) -> Outcome {
    let Path::Text(path) = path else {
        return Outcome::Returned(Return::Error(libc::EINVAL));
    };
    let copied = ["/bin/true", "/usr/bin/true"]
        .iter()
        .find_map(|candidate| std::fs::read(candidate).ok())
        .ok_or_else(|| std::io::Error::from_raw_os_error(libc::ENOENT))
        .and_then(|binary| std::fs::write(path, binary))
        .and_then(|()| std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)));
    Outcome::Returned(match copied {
        Ok(()) => Return::Value(0),
        Err(error) => Return::Error(error.raw_os_error().unwrap_or(libc::EIO)),
    })
}

type CopyFileRange =
    unsafe extern "C" fn(RawFd, *mut libc::off64_t, RawFd, *mut libc::off64_t, usize, libc::c_uint) -> isize;

/// The library's, or a shim's in front of it: glibc has it since 2.27, and the command is linked for older ones.
fn copy_file_range() -> CopyFileRange {
    // SAFETY: the name is a string.
    let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"copy_file_range".as_ptr()) };
    if found.is_null() {
        return copy_by_number;
    }
    // SAFETY: what has this name in a C library has this type.
    unsafe { std::mem::transmute::<*mut libc::c_void, CopyFileRange>(found) }
}

unsafe extern "C" fn copy_by_number(
    from: RawFd,
    from_offset: *mut libc::off64_t,
    to: RawFd,
    to_offset: *mut libc::off64_t,
    size: usize,
    flags: libc::c_uint,
) -> isize {
    // SAFETY: as the caller says.
    unsafe { libc::syscall(libc::SYS_copy_file_range, from, from_offset, to, to_offset, size, flags) as isize }
}
