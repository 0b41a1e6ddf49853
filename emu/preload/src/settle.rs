//! Settling: whatever is about to be answered must include every event whose system call has returned.

use uinotify_wire::{Reply, Request, RequestKind};

use crate::bitmap::INSTANCES;
use crate::identity::{self, Instance};
use crate::request::{self, Failure, Into};
use crate::slot::Quiet;

/// What can be told without a request; fetches the aids first if they are missing.
pub fn quiet(instance: &Instance) -> Quiet {
    let Some(slot) = instance.slot else { return Quiet::Unknown };
    if slot.wants_source() {
        request::attach(instance);
    }
    slot.quiet(instance.identity)
}

/// Brings every event that has happened into the queue, and so many into the socket as its window holds: by request.
pub fn request(instance: &Instance) -> Result<Reply, Failure> {
    request::ask(instance, &Request::new(RequestKind::Settle, 0, 0), None, Into::NOTHING)
}

/// Makes the socket show whether the queue is empty. True if a request was needed, so that it may show more than before.
pub fn settle(instance: &Instance) -> bool {
    if quiet(instance).is_settled() {
        return false;
    }
    // Should the emulator be dead, the socket shows it.
    let _ = request(instance);
    true
}

/// Settles every instance that this process knows. True if anything may show that did not before.
pub fn settle_all() -> bool {
    let mut changed = false;
    for fd in INSTANCES.iter() {
        if let Some(instance) = identity::instance(fd) {
            changed |= settle(&instance);
        }
    }
    changed
}
