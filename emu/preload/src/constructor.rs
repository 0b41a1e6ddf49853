//! What happens when the library is loaded.

use core::ffi::{CStr, c_char};
use core::sync::atomic::{AtomicBool, Ordering};

use crate::{identity, memory, next, settings};

unsafe extern "C" {
    static environ: *const *const c_char;
}

struct Environment(*const *const c_char);

impl Iterator for Environment {
    type Item = &'static [u8];

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_null() {
            return None;
        }
        // SAFETY: the array ends with a null pointer, which ends the walk.
        let entry = unsafe { self.0.read() };
        if entry.is_null() {
            return None;
        }
        self.0 = self.0.wrapping_add(1);
        // SAFETY: libc's environment is an array of strings; at the constructor nobody has changed it yet.
        Some(unsafe { CStr::from_ptr(entry) }.to_bytes())
    }
}

/// Finds the next functions, reads the settings and looks for instances that came through exec; once.
pub fn initialise() {
    static IS_DONE: AtomicBool = AtomicBool::new(false);
    if IS_DONE.load(Ordering::Relaxed) || IS_DONE.swap(true, Ordering::Relaxed) {
        return;
    }
    next::initialise();
    settings::initialise(Environment(environment()), next::own_path().map(CStr::to_bytes));
    memory::initialise();
    if settings::is_active() {
        identity::find_inherited();
    }
}

/// For `inotify_init`: the constructors of other libraries may run before ours and open instances; a few run even before libc's own,
/// without an environment, and what they open is the kernel's.
pub fn initialise_early() {
    if !environment().is_null() {
        initialise();
    }
}

fn environment() -> *const *const c_char {
    // SAFETY: libc's variable, which no other thread changes while constructors run.
    unsafe { environ }
}
