//! The text of fdinfo and of limits, from the emulator, in the place of the kernel's.

use uinotify_wire::{Reply, Request, RequestKind};

use crate::descriptor_path::DescriptorPath;
use crate::place::{Holder, Place};
use crate::proc_path;
use crate::raw::{self, Errno, O_CLOEXEC, O_DIRECTORY, O_NOFOLLOW, O_PATH, number, syscall};
use crate::request::{self, Failure};
use crate::{descriptor, log};

const F_GETFD: i32 = 1;
const F_SETFL: i32 = 4;
const FD_CLOEXEC: usize = 1;

/// Puts what the program is to see behind `fd`, which the kernel has just opened for it at `place`: so every refusal, and the
/// number, are the kernel's own.
///
/// # Errors
///
/// EIO if the emulator has died, EMFILE if there is no number for the text's own descriptor for a moment, ENOMEM if the emulator
/// could not make it.
pub fn put_behind(fd: i32, place: Place) -> Result<(), Errno> {
    let flags = raw::fcntl(fd, raw::F_GETFL, 0)?;
    let is_path_only = flags & O_PATH as usize != 0;
    let text = match place {
        // The link itself, which is a file of procfs. (The text of its target is given by readlinkat.)
        Place::Link(_) if flags & O_NOFOLLOW as usize != 0 => return Ok(()),
        Place::Link(holder) if is_path_only => Some(object(holder, flags)?),
        Place::Link(_) => return Ok(()),
        _ if is_path_only || descriptor::shown_flags(flags) != flags => return Ok(()),
        Place::Information(holder) => match shown_flags(fd) {
            Some(flags) => text(|| match holder {
                Holder::Own(instance) => {
                    request::ask_for_descriptor(&instance, &Request::new(RequestKind::Describe, 0, flags))
                }
                Holder::Other(inode) => request::ask_emulator(RequestKind::Describe, inode, flags),
            })?,
            // No fdinfo.
            None => return Ok(()),
        },
        Place::Limit(file) => text(|| request::ask_emulator(RequestKind::Limit, 0, file as u32))?,
    };
    let Some(text) = text else { return Ok(()) };
    let result = replace(fd, text, if is_path_only { None } else { Some(flags) });
    let _ = raw::close(text);
    result
}

/// The flags of the program's descriptor as Linux shows them in its fdinfo. Reads only what `fd` shows.
fn shown_flags(fd: i32) -> Option<u32> {
    let mut text = [0u8; 256];
    let arguments = [fd as usize, text.as_mut_ptr() as usize, text.len(), 0, 0, 0];
    // SAFETY: `text` is ours to be written, with its length beside it.
    let length = unsafe { syscall(number::PREAD64, arguments) }.ok()?;
    let flags = proc_path::flags(text.get(..length)?)?;
    Some(descriptor::shown_flags(flags as usize) as u32)
}

/// A descriptor of the text; `None` where the kernel's own is right.
fn text(ask: impl Fn() -> Result<(Reply, Option<i32>), Failure>) -> Result<Option<i32>, Errno> {
    request::with_spare_descriptors(|| match ask() {
        Ok((Reply { errno: 0, .. }, text)) => Ok(text),
        // What the emulator lacks is no limit of the program's.
        Ok(_) => Err(Errno::NOMEM),
        Err(Failure::Refused(errno)) => Err(errno),
        Err(Failure::Dead | Failure::Unreachable) => {
            log::death();
            Err(Errno::IO)
        }
    })
}

/// An `O_PATH` descriptor of the anonymous file.
fn object(holder: Holder, flags: usize) -> Result<i32, Errno> {
    let flags = flags & (O_PATH | O_DIRECTORY) as usize | O_CLOEXEC as usize;
    let open = |fd| {
        // SAFETY: the path is a string that lives through the call.
        unsafe { raw::open(DescriptorPath::new(fd).as_c_str().as_ptr().cast(), flags as i32) }
    };
    holder.with_stand_in(open).unwrap_or(Err(Errno::MFILE))
}

/// Gives the number `fd` to the file behind `text`, with close-on-exec and `flags` as they were.
fn replace(fd: i32, text: i32, flags: Option<usize>) -> Result<(), Errno> {
    if let Some(flags) = flags {
        raw::fcntl(text, F_SETFL, flags)?;
    }
    let is_closed_on_exec = raw::fcntl(fd, F_GETFD, 0)? & FD_CLOEXEC != 0;
    let flags = if is_closed_on_exec { O_CLOEXEC as usize } else { 0 };
    // SAFETY: takes numbers only.
    unsafe { syscall(number::DUP3, [text as usize, fd as usize, flags, 0, 0, 0]) }.map(|_| ())
}
