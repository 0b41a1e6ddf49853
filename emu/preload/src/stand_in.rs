//! A descriptor that stands in for an instance where a program asks about the file and not about events.
//!
//! Behind every inotify descriptor is the one inode that all anonymous files share, so what the kernel says of one of them it says
//! of all: mode, owner, file system, which calls are refused and how.

use crate::identity::Instance;
use crate::raw;
use crate::request;

/// Makes `call` with a genuine descriptor of an anonymous file: the inotify descriptor behind the instance, where this process
/// holds it, else an eventfd of the moment, which differs in that it is open for writing. `None` if no descriptor number is free.
///
/// The call must not read, and must not keep the number.
pub fn with<T>(instance: &Instance, call: impl FnOnce(i32) -> T) -> Option<T> {
    request::attach(instance);
    if let Some(source) = instance.slot.and_then(crate::slot::Slot::proved_source) {
        return Some(call(source));
    }
    let event = request::with_spare_descriptors(raw::event_descriptor).ok()?;
    let result = call(event);
    let _ = raw::close(event);
    Some(result)
}
