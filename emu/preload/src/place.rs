//! What of ours a path leads to: the link of an emulated descriptor, its fdinfo, a limit.

use core::ffi::CStr;

use uinotify_wire::{LimitFile, RequestKind};

use crate::bitmap::INSTANCES;
use crate::caller_path::{Bytes, Look};
use crate::descriptor_path::DescriptorPath;
use crate::identity::{self, Instance};
use crate::proc_path::{self, ProcPath, Process, View};
use crate::raw::{self, Errno};
use crate::settings::Emulator;
use crate::{request, settings, stand_in};

/// `AT_FDCWD`.
pub const WORKING_DIRECTORY: i32 = -100;

/// No path of procfs that concerns us is longer, but for empty parts and dots.
const PATH_BYTES_MAX: usize = 128;

/// `socket:[N]` is no longer.
const LINK_BYTES_MAX: usize = 32;

/// Whose an instance is.
#[derive(Clone, Copy)]
pub enum Holder {
    /// This process has the descriptor.
    Own(Instance),
    /// Another process has it: the inode of its socket.
    Other(u64),
}

/// Something that the kernel would show otherwise.
#[derive(Clone, Copy)]
pub enum Place {
    /// The link of an emulated descriptor.
    Link(Holder),
    /// Its fdinfo.
    Information(Holder),
    /// A limit.
    Limit(LimitFile),
}

impl Holder {
    /// Makes `call` with a descriptor that stands in for the instance's. `None` if no descriptor number is free.
    pub fn with_stand_in<T>(self, call: impl FnOnce(i32) -> T) -> Option<T> {
        match self {
            Self::Own(instance) => stand_in::with(&instance, call),
            Self::Other(_) => stand_in::with(&Instance { fd: -1, identity: 0, slot: None }, call),
        }
    }
}

/// Can any path lead to something of ours?
#[inline]
#[must_use]
pub fn is_concerned() -> bool {
    INSTANCES.was_used() || settings::emulator().is_some()
}

/// What `path` leads to, if it is the link of an emulated descriptor.
///
/// # Safety
///
/// As for [`of`].
pub unsafe fn link(look: Look, directory: i32, path: *const u8) -> Option<Holder> {
    // SAFETY: by this function's contract.
    match unsafe { of(look, directory, path) } {
        Some(Place::Link(holder)) => Some(holder),
        _ => None,
    }
}

/// What `path`, relative to `directory`, leads to.
///
/// # Safety
///
/// `path` must be a string that the kernel has read, or with [`Look::Before`] any address.
#[inline]
pub unsafe fn of(look: Look, directory: i32, path: *const u8) -> Option<Place> {
    if !is_concerned() {
        return None;
    }
    // SAFETY: by this function's contract.
    let mut bytes = unsafe { Bytes::new(look, path) };
    let is_candidate = match bytes.next() {
        Some(b'/') => match bytes.next() {
            Some(b'p') => bytes.next() == Some(b'r') && bytes.next() == Some(b'o'),
            // /dev/fd is a link to /proc/self/fd.
            Some(b'd') => bytes.by_ref().take(4).eq(*b"ev/f"),
            byte => matches!(byte, Some(b'/' | b'.')),
        },
        // SAFETY: by this function's contract.
        Some(_) => proc_path::may_be_below(unsafe { Bytes::new(look, path) }),
        None => false,
    };
    if !is_candidate {
        return None;
    }
    // SAFETY: by this function's contract.
    unsafe { resolve(look, directory, path) }
}

/// Whose link `fd` is, opened itself with `O_PATH | O_NOFOLLOW`.
pub fn opened_link(fd: i32) -> Option<Holder> {
    // SAFETY: the path is a string that lives for ever.
    match unsafe { resolve(Look::After, fd, c"".as_ptr().cast()) } {
        Some(Place::Link(holder)) if is_concerned() => Some(holder),
        _ => None,
    }
}

/// The text of a path.
struct Text {
    bytes: [u8; PATH_BYTES_MAX],
    length: usize,
}

impl Text {
    const fn new() -> Self {
        Self { bytes: [0; PATH_BYTES_MAX], length: 0 }
    }

    /// Adds a string of the caller's. `None` without room, or if it cannot be read to its end.
    fn add_string(&mut self, mut string: Bytes) -> Option<()> {
        self.add(string.by_ref())?;
        string.is_whole().then_some(())
    }

    /// Adds bytes, and keeps the last place for the end. `None` without room.
    fn add(&mut self, bytes: impl Iterator<Item = u8>) -> Option<()> {
        for byte in bytes {
            if self.length + 1 >= PATH_BYTES_MAX {
                return None;
            }
            *self.bytes.get_mut(self.length)? = byte;
            self.length += 1;
        }
        Some(())
    }

    fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or(&[])
    }

    fn as_c_str(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.bytes).unwrap_or(c"")
    }
}

#[cold]
unsafe fn resolve(look: Look, directory: i32, path: *const u8) -> Option<Place> {
    // SAFETY: by the caller's contract.
    let bytes = || unsafe { Bytes::new(look, path) };
    let mut text = Text::new();
    if bytes().next() != Some(b'/') {
        let mut folder = [0; PATH_BYTES_MAX];
        let folder = match directory {
            WORKING_DIRECTORY => raw::read_link(c"/proc/self/cwd", &mut folder),
            directory => raw::read_link(DescriptorPath::new(directory).as_c_str(), &mut folder),
        };
        let folder = folder.ok().filter(|folder| *folder == b"/proc" || folder.starts_with(b"/proc/"))?;
        text.add(folder.iter().copied())?;
        // Nothing names the object of the descriptor itself.
        if !bytes().is_empty() {
            text.add([b'/'].into_iter())?;
        }
    }
    text.add_string(bytes())?;
    match proc_path::parse(text.as_bytes())? {
        ProcPath::Limit(file) => match settings::emulator()? {
            // Its limits are the machine's.
            Emulator::Private => None,
            Emulator::At(_) | Emulator::Unknown => Some(Place::Limit(file)),
        },
        ProcPath::Descriptor { process, view, fd } => {
            let holder = match process {
                Process::Numbered(digits) if !is_own(digits) => other_holder(text.as_c_str(), view, digits, fd),
                _ => own_holder(text.as_c_str(), view, fd),
            }?;
            Some(match view {
                View::Link => Place::Link(holder),
                View::Information => Place::Information(holder),
            })
        }
    }
}

/// The instance behind our own descriptor `fd`. A link is looked at as well: in another root its name may be that of any file.
fn own_holder(path: &CStr, view: View, fd: i32) -> Option<Holder> {
    let instance = identity::hinted(fd)?;
    if view == View::Link {
        let mut target = [0; LINK_BYTES_MAX];
        proc_path::socket_inode(raw::read_link(path, &mut target).ok()?)?;
    }
    Some(Holder::Own(instance))
}

/// Is this the number of the calling process, in the numbering of the procfs that is mounted?
fn is_own(digits: &[u8]) -> bool {
    let mut own = [0; 16];
    raw::read_link(c"/proc/self", &mut own) == Ok(digits)
}

/// The instance behind another process's descriptor, if our emulator has made it.
fn other_holder(path: &CStr, view: View, process: &[u8], fd: i32) -> Option<Holder> {
    settings::emulator()?;
    let mut target = [0; LINK_BYTES_MAX];
    let target = if view == View::Link {
        raw::read_link(path, &mut target)
    } else {
        // /proc/self/fd/N, with the other process in the place of `self`.
        let link = DescriptorPath::new(fd);
        let below = link.as_c_str().to_bytes().strip_prefix(b"/proc/self")?;
        let mut text = Text::new();
        text.add(b"/proc/".iter().chain(process).chain(below).copied())?;
        raw::read_link(text.as_c_str(), &mut target)
    };
    let inode = proc_path::socket_inode(target.ok()?)?;
    let found = request::ask_emulator(RequestKind::Find, inode, 0);
    found.is_ok_and(|(reply, _)| reply.errno == 0).then_some(Holder::Other(inode))
}

/// The errno of opening an emulated descriptor's link for reading or writing, which nobody can.
pub fn errno_of_opening(holder: Holder) -> Errno {
    let open = |fd| {
        // SAFETY: the path is a string that lives through the call.
        unsafe { raw::open(DescriptorPath::new(fd).as_c_str().as_ptr().cast(), raw::O_CLOEXEC) }
    };
    match holder.with_stand_in(open) {
        Some(Err(errno)) => errno,
        Some(Ok(fd)) => {
            let _ = raw::close(fd);
            Errno::NXIO
        }
        None => Errno::NXIO,
    }
}
