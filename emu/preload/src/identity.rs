//! Is this descriptor ours?

use uinotify_wire::{InstanceName, NAME_PREFIX};

use crate::bitmap::INSTANCES;
use crate::raw::{self, Errno, UnixAddress};
use crate::slot::{self, Slot};
use crate::{memory, raw::Outcome, settings};

/// A descriptor that was proved to be an emulated instance.
#[derive(Clone, Copy)]
pub struct Instance {
    /// The descriptor.
    pub fd: i32,
    /// What no other socket has; the same for every duplicate.
    pub identity: u64,
    /// What this process holds for the instance, if anything.
    pub slot: Option<&'static Slot>,
}

/// A number that belongs to this socket alone as long as it lives, or `None` if `fd` is no socket. Never 0.
pub fn socket_identity(fd: i32) -> Option<u64> {
    const FALLBACK: u64 = 1 << 63;
    const S_IFMT: u32 = 0o170_000;
    const S_IFSOCK: u32 = 0o140_000;
    match raw::socket_cookie(fd) {
        Ok(cookie) => Some(cookie),
        // The second by qemu's emulation of processes, which does not know the option.
        Err(Errno::NOPROTOOPT | Errno::INVAL) => {
            let (_, inode, mode) = raw::file_identity(fd).ok()?;
            (mode & S_IFMT == S_IFSOCK).then_some(inode | FALLBACK)
        }
        Err(_) => None,
    }
}

/// Does the name of the socket's other end say that it is ours?
pub fn is_ours_by_name(fd: i32) -> bool {
    let mut address = UnixAddress { family: 0, path: [0; 108] };
    raw::peer_name(fd, &mut address)
        .is_ok_and(|name| name.starts_with(NAME_PREFIX) && InstanceName::parse(name).is_some())
}

/// The instance behind `fd`, if it is ours. A set bit that proves wrong is cleared, if the memory is this process's own.
pub fn instance(fd: i32) -> Option<Instance> {
    let identity = socket_identity(fd);
    if let Some(identity) = identity
        && let Some(slot) = slot::find(identity)
    {
        return Some(Instance { fd, identity, slot: Some(slot) });
    }
    if let Some(identity) = identity
        && is_ours_by_name(fd)
    {
        let slot = memory::owner().and_then(|_| slot::create(identity));
        return Some(Instance { fd, identity, slot });
    }
    if memory::owner().is_some() {
        INSTANCES.clear(fd);
        // Another thread may have been given this number for an instance since the proof, and have set the bit before the clear.
        if is_ours_by_name(fd) {
            INSTANCES.set(fd);
        }
    }
    None
}

/// The instance behind `fd`, if its bit is set and right.
#[inline]
pub fn hinted(fd: i32) -> Option<Instance> {
    if INSTANCES.contains(fd) { instance(fd) } else { None }
}

/// The instance behind `fd` for a call that is meant for inotify: a descriptor without a bit, which may have come by ways that
/// nobody sees, is looked at once more.
pub fn sought(fd: i32) -> Option<Instance> {
    hinted(fd).or_else(|| {
        if settings::is_active() {
            mark_if_ours(fd);
        }
        hinted(fd)
    })
}

/// Marks `fd`, which has just come from somewhere, if it is ours.
pub fn mark_if_ours(fd: i32) {
    if is_ours_by_name(fd) {
        INSTANCES.set(fd);
    }
}

/// Before `fd` is closed or given to another file: if no other descriptor of this process leads to its instance, what the shim
/// holds for it goes too, so that nobody who counts descriptors finds one too many.
pub fn before_close(fd: i32) {
    if !INSTANCES.contains(fd) || memory::owner().is_none() {
        return;
    }
    let Some(identity) = socket_identity(fd) else { return };
    let Some(slot) = slot::find(identity) else { return };
    let is_held = INSTANCES.iter().any(|other| other != fd && socket_identity(other) == Some(identity));
    if !is_held {
        slot.release(identity);
    }
}

/// As [`before_close`] for all descriptors from `first` to `last`.
pub fn before_close_range(first: u32, last: u32) {
    if !INSTANCES.was_used() || memory::owner().is_none() {
        return;
    }
    let is_closed = |fd: i32| (first..=last).contains(&(fd as u32));
    for fd in INSTANCES.iter().filter(|fd| is_closed(*fd)) {
        let Some(identity) = socket_identity(fd) else { continue };
        let Some(slot) = slot::find(identity) else { continue };
        let is_held = INSTANCES.iter().any(|other| !is_closed(other) && socket_identity(other) == Some(identity));
        if !is_held {
            slot.release(identity);
        }
    }
}

/// Looks at every open descriptor after exec, and at none where they cannot be listed.
pub fn find_inherited() {
    let mut any_instance = false;
    let _ = for_each_descriptor(|fd| {
        if is_ours_by_name(fd) {
            INSTANCES.set(fd);
            any_instance = true;
        }
    });
    if any_instance {
        let _ = for_each_descriptor(crate::epoll::mark_if_epoll);
    }
}

fn for_each_descriptor(mut visit: impl FnMut(i32)) -> Outcome {
    const NAME_OFFSET: usize = 19;
    // SAFETY: the path is a string that lives for ever.
    let directory = unsafe { raw::open(c"/proc/self/fd".as_ptr().cast(), raw::O_DIRECTORY | raw::O_CLOEXEC) }?;
    let mut buffer = [0u8; 2048];
    let result = loop {
        let filled = match raw::read_directory(directory, &mut buffer) {
            Ok(0) => break Ok(0),
            Ok(filled) => filled,
            Err(errno) => break Err(errno),
        };
        let mut entries = buffer.get(..filled).unwrap_or(&[]);
        // struct linux_dirent64: inode and offset (16 bytes), length of the entry (2), kind (1), name.
        while let (Some(&low), Some(&high)) = (entries.get(16), entries.get(17)) {
            let length = usize::from(u16::from_ne_bytes([low, high]));
            if let Some(fd) = entries.get(NAME_OFFSET..length).and_then(number)
                && fd != directory
            {
                visit(fd);
            }
            match entries.get(length..) {
                Some(rest) if length > 0 => entries = rest,
                _ => break,
            }
        }
    };
    let _ = raw::close(directory);
    result
}

fn number(name: &[u8]) -> Option<i32> {
    let digits = name.split(|&byte| byte == 0).next()?;
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0i32, |number, &digit| {
        let digit = digit.checked_sub(b'0').filter(|digit| *digit < 10)?;
        number.checked_mul(10)?.checked_add(i32::from(digit))
    })
}
