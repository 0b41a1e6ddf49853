//! A descriptor that stands in for an instance where a program asks about the file and not about events.
//!
//! Behind every inotify descriptor is the one inode that all anonymous files share, so what the kernel says of one of them it says
//! of all: mode, owner, file system, which calls are refused and how.

use crate::identity::Instance;
use crate::slot::Slot;
use crate::{raw, request};

/// Makes `call` with a genuine descriptor of an anonymous file: the inotify descriptor behind the instance, where the emulator
/// hands it over, else an eventfd of the moment, which differs in that it is open for writing. `None` if no descriptor number is
/// free.
///
/// The call must not read, and must not keep the number.
pub fn with<T>(instance: &Instance, call: impl FnOnce(i32) -> T) -> Option<T> {
    if let Some(source) = held_source(instance) {
        return Some(call(source));
    }
    let borrowed = request::borrow_source(instance);
    let fd = match borrowed {
        Some(source) => source,
        None => request::with_spare_descriptors(raw::event_descriptor).ok()?,
    };
    let result = call(fd);
    let _ = raw::close(fd);
    Some(result)
}

/// The inotify descriptor behind the instance, where this process holds it.
fn held_source(instance: &Instance) -> Option<i32> {
    request::attach(instance);
    instance.slot.and_then(Slot::proved_source)
}
