//! The text of fdinfo and of limits, from the emulator, in the place of the kernel's.

use uinotify_wire::{Reply, Request, RequestKind};

use crate::descriptor_path::DescriptorPath;
use crate::place::{Holder, Place};
use crate::proc_path;
use crate::raw::{self, Errno, O_CLOEXEC, O_DIRECTORY, O_NOFOLLOW, O_PATH, number, syscall};
use crate::request::{self, Failure};
use crate::{descriptor, log};

const F_GETFD: i32 = 1;
const F_SETFD: i32 = 2;
const F_SETFL: i32 = 4;
const FD_CLOEXEC: usize = 1;
const O_WRONLY: usize = 1;

/// What is to be behind a descriptor.
struct Shown {
    place: Place,
    /// As F_GETFL gives them.
    flags: usize,
    /// The flags of the program's descriptor, where its fdinfo is to be shown.
    described_flags: u32,
    is_closed_on_exec: bool,
}

/// Puts what the program is to see behind `fd`, which the kernel has just opened for it at `place`: so every refusal, and the
/// number, are the kernel's own.
///
/// # Errors
///
/// EIO if the emulator has died, EMFILE if there is no number for the text's own descriptor for a moment, ENOMEM if the emulator
/// could not make it.
pub fn put_behind(fd: i32, place: Place) -> Result<(), Errno> {
    let Some(shown) = Shown::at(fd, place)? else { return Ok(()) };
    let Some(new) = shown.fetch()? else { return Ok(()) };
    let flags = if shown.is_closed_on_exec { O_CLOEXEC as usize } else { 0 };
    // SAFETY: takes numbers only.
    let result = unsafe { syscall(number::DUP3, [new as usize, fd as usize, flags, 0, 0, 0]) };
    let _ = raw::close(new);
    result.map(|_| ())
}

/// As [`put_behind`] for a program without another number: `fd` is closed first. Gives the number, which is the same unless
/// another thread has taken it.
///
/// # Errors
///
/// As [`put_behind`]; `fd` is closed.
pub fn put_instead(fd: i32, place: Place) -> Result<i32, Errno> {
    let shown = Shown::at(fd, place);
    let _ = raw::close(fd);
    let shown = shown?.ok_or(Errno::MFILE)?;
    let fetched = match shown.fetch() {
        Err(Errno::MFILE) => request::with_spare_descriptors(|| shown.fetch()),
        fetched => fetched,
    };
    let new = fetched?.ok_or(Errno::MFILE)?;
    if !shown.is_closed_on_exec {
        raw::fcntl(new, F_SETFD, 0)?;
    }
    Ok(new)
}

impl Shown {
    /// What is to be behind `fd`, which was opened at `place`. `None` where the kernel's own is right.
    fn at(fd: i32, place: Place) -> Result<Option<Self>, Errno> {
        let flags = raw::fcntl(fd, raw::F_GETFL, 0)?;
        let is_path_only = flags & O_PATH as usize != 0;
        let is_right = match place {
            // The link itself is a file of procfs. (What it reads is readlinkat's.)
            Place::Link(_) => !is_path_only || flags & O_NOFOLLOW as usize != 0,
            // Only root may open it for writing, and cannot write.
            Place::Information(_) => is_path_only || flags & O_WRONLY != 0,
            // Writing is the kernel's business.
            Place::Limit(_) => is_path_only || descriptor::shown_flags(flags) != flags,
        };
        if is_right {
            return Ok(None);
        }
        let described_flags = match place {
            Place::Information(_) => match described_flags(fd) {
                Some(flags) => flags,
                // No fdinfo.
                None => return Ok(None),
            },
            _ => 0,
        };
        let is_closed_on_exec = raw::fcntl(fd, F_GETFD, 0)? & FD_CLOEXEC != 0;
        Ok(Some(Self { place, flags, described_flags, is_closed_on_exec }))
    }

    /// A new descriptor of it, close-on-exec, with the flags of the old one. `None` where the kernel's own is right.
    fn fetch(&self) -> Result<Option<i32>, Errno> {
        let answer = match self.place {
            Place::Link(holder) => return self.object(holder).map(Some),
            Place::Information(Holder::Own(instance)) => {
                let request = Request::new(RequestKind::Describe, 0, self.described_flags);
                request::ask_for_descriptor(&instance, &request)
            }
            Place::Information(Holder::Other(inode)) => {
                request::ask_emulator(RequestKind::Describe, inode, self.described_flags)
            }
            Place::Limit(file) => request::ask_emulator(RequestKind::Limit, 0, file as u32),
        };
        let text = match answer {
            Ok((Reply { errno: 0, .. }, text)) => text,
            // What the emulator lacks is no limit of the program's.
            Ok(_) => return Err(Errno::NOMEM),
            Err(Failure::Refused(errno)) => return Err(errno),
            Err(Failure::Dead | Failure::Unreachable) => {
                log::death();
                return Err(Errno::IO);
            }
        };
        if let Some(text) = text {
            raw::fcntl(text, F_SETFL, self.flags)?;
        }
        Ok(text)
    }

    /// An `O_PATH` descriptor of the anonymous file.
    fn object(&self, holder: Holder) -> Result<i32, Errno> {
        let flags = self.flags & (O_PATH | O_DIRECTORY) as usize | O_CLOEXEC as usize;
        let open = |fd| {
            // SAFETY: the path is a string that lives through the call.
            unsafe { raw::open(DescriptorPath::new(fd).as_c_str().as_ptr().cast(), flags as i32) }
        };
        holder.with_stand_in(open).unwrap_or(Err(Errno::MFILE))
    }
}

/// The flags of the program's descriptor as Linux shows them in its fdinfo. Reads only what `fd` shows.
fn described_flags(fd: i32) -> Option<u32> {
    let mut text = [0u8; 256];
    let arguments = [fd as usize, text.as_mut_ptr() as usize, text.len(), 0, 0, 0];
    // SAFETY: `text` is ours to be written, with its length beside it.
    let length = unsafe { syscall(number::PREAD64, arguments) }.ok()?;
    let flags = proc_path::flags(text.get(..length)?)?;
    Some(descriptor::shown_flags(flags as usize) as u32)
}
