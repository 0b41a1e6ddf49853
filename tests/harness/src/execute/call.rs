//! From what libc returns to what a trace holds, and from a path of a list to a pointer.

use std::ffi::{CString, c_char};

use crate::operation::Path;
use crate::trace::{Outcome, Return};

/// The value, or errno if it is -1. Nothing may come between the call and this.
pub(super) fn ended(value: impl Into<i64>) -> Return {
    match value.into() {
        -1 => Return::Error(nix::errno::Errno::last_raw()),
        value => Return::Value(value),
    }
}

/// An outcome that is nothing but how the call ended.
pub(super) fn returned(value: impl Into<i64>) -> Outcome {
    Outcome::Returned(ended(value))
}

/// A path argument that lives as long as this.
pub(super) enum Argument {
    Text(CString),
    Unmapped,
}

impl Argument {
    pub(super) fn new(path: &Path, number_of_slot: impl Fn(u8) -> i32) -> Self {
        let text = match path {
            Path::Text(text) => text.clone(),
            Path::Link(slot) => format!("/proc/self/fd/{}", number_of_slot(*slot)),
            Path::Component(length) => "n".repeat(*length),
            Path::Dots(length) => "./".repeat(length.div_ceil(2))[..*length].to_owned(),
            Path::Unmapped => return Self::Unmapped,
        };
        let bytes: Vec<u8> = text.bytes().take_while(|&byte| byte != 0).collect();
        Self::Text(CString::new(bytes).unwrap_or_default())
    }

    /// NUL-terminated, or an address in the page at 0, which is never mapped.
    pub(super) fn pointer(&self) -> *const c_char {
        match self {
            Self::Text(text) => text.as_ptr(),
            Self::Unmapped => std::ptr::without_provenance(1),
        }
    }
}
