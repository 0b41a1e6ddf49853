//! `dlsym` and `dlvsym`: a program that asks libc's own handle for one of our functions gets ours.
//!
//! With `RTLD_NEXT` and `RTLD_DEFAULT` the answer turns on who asks, which libc tells by the return address: such a call is handed
//! on by a jump.

use core::arch::naked_asm;
use core::ffi::{CStr, c_char, c_void};
use core::mem::offset_of;

use crate::next::{self, Functions, NEXT};

/// Functions whose first argument is a handle: ours for a handle of the program's, else the next one's by a jump. Where that is not
/// known it is sought: other constructors may come before ours, and before glibc 2.34 a plugin may bring libdl later.
macro_rules! by_handle {
    ($($name:ident($($argument:ident: $type:ty),*) of handle $of_handle:ident, sought by $seek:ident;)*) => {
        $(
            #[cfg(target_arch = "x86_64")]
            #[unsafe(no_mangle)]
            #[unsafe(naked)]
            unsafe extern "C" fn $name($($argument: $type),*) -> *mut c_void {
                naked_asm!(
                    "lea rax, [rdi + 1]",
                    "cmp rax, 1",
                    "ja {of_handle}",
                    "lea rax, [rip + {next}]",
                    "mov rax, [rax + {offset}]",
                    "test rax, rax",
                    "jz 2f",
                    "jmp rax",
                    "2:",
                    // Three words, which align the stack to 16 bytes.
                    "push rdi",
                    "push rsi",
                    "push rdx",
                    "call {seek}",
                    "pop rdx",
                    "pop rsi",
                    "pop rdi",
                    "test rax, rax",
                    "jz 3f",
                    "jmp rax",
                    "3:",
                    "ret",
                    of_handle = sym $of_handle,
                    next = sym NEXT,
                    offset = const offset_of!(Functions, $name),
                    seek = sym $seek,
                )
            }

            #[cfg(target_arch = "aarch64")]
            #[unsafe(no_mangle)]
            #[unsafe(naked)]
            unsafe extern "C" fn $name($($argument: $type),*) -> *mut c_void {
                naked_asm!(
                    "add x9, x0, #1",
                    "cmp x9, #1",
                    "b.hi {of_handle}",
                    "adrp x9, {next}",
                    "add x9, x9, :lo12:{next}",
                    "mov x10, {offset}",
                    "ldr x16, [x9, x10]",
                    "cbz x16, 2f",
                    "br x16",
                    "2:",
                    "stp x0, x1, [sp, -32]!",
                    "stp x2, x30, [sp, 16]",
                    "bl {seek}",
                    "mov x16, x0",
                    "ldp x2, x30, [sp, 16]",
                    "ldp x0, x1, [sp], 32",
                    "cbz x16, 3f",
                    "br x16",
                    "3:",
                    "mov x0, xzr",
                    "ret",
                    of_handle = sym $of_handle,
                    next = sym NEXT,
                    offset = const offset_of!(Functions, $name),
                    seek = sym $seek,
                )
            }

            /// The address, or 0.
            extern "C" fn $seek() -> usize {
                next::sought(&NEXT.$name).unwrap_or(0)
            }
        )*
    };
}

by_handle! {
    dlsym(handle: *mut c_void, name: *const c_char) of handle dlsym_of_handle, sought by seek_dlsym;
    dlvsym(handle: *mut c_void, name: *const c_char, version: *const c_char) of handle dlvsym_of_handle, sought by seek_dlvsym;
}

unsafe extern "C" fn dlsym_of_handle(handle: *mut c_void, name: *const c_char) -> *mut c_void {
    let Some(function) = next::sought(&NEXT.dlsym) else { return core::ptr::null_mut() };
    type Find = unsafe extern "C" fn(*mut c_void, *const c_char) -> *mut c_void;
    // SAFETY: the address is that of libc's `dlsym`, whose type this is.
    let find: Find = unsafe { core::mem::transmute(function) };
    // SAFETY: the arguments are the caller's own, handed on as they came.
    let found = unsafe { find(handle, name) };
    // SAFETY: libc has just read the name.
    unsafe { ours(found, name) }
}

unsafe extern "C" fn dlvsym_of_handle(handle: *mut c_void, name: *const c_char, version: *const c_char) -> *mut c_void {
    let Some(function) = next::sought(&NEXT.dlvsym) else { return core::ptr::null_mut() };
    type Find = unsafe extern "C" fn(*mut c_void, *const c_char, *const c_char) -> *mut c_void;
    // SAFETY: the address is that of libc's `dlvsym`, whose type this is.
    let find: Find = unsafe { core::mem::transmute(function) };
    // SAFETY: the arguments are the caller's own, handed on as they came.
    let found = unsafe { find(handle, name, version) };
    // SAFETY: libc has just read the name.
    unsafe { ours(found, name) }
}

/// Our function of this name in the place of libc's.
///
/// # Safety
///
/// `name` must be a string if `found` is not null.
unsafe fn ours(found: *mut c_void, name: *const c_char) -> *mut c_void {
    if found.is_null() || !next::is_behind_ours(found as usize) {
        return found;
    }
    // SAFETY: by this function's contract.
    let name = unsafe { CStr::from_ptr(name) };
    next::own(name.to_bytes()).map_or(found, |own| own as *mut c_void)
}
