//! System calls past libc, and so past whatever stands in front of it.

use nix::errno::Errno;

/// One system call.
///
/// # Errors
///
/// The kernel's.
///
/// # Safety
///
/// Whatever the call reads or writes through its arguments must be valid for that.
#[cfg(target_arch = "x86_64")]
#[inline]
pub unsafe fn system_call(number: libc::c_long, arguments: [usize; 6]) -> Result<usize, Errno> {
    let result: isize;
    let [a, b, c, d, e, f] = arguments;
    // SAFETY: by this function's contract; the kernel keeps every register but the result, rcx and r11.
    unsafe {
        core::arch::asm!(
            "syscall",
            inlateout("rax") number as isize => result,
            in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d, in("r8") e, in("r9") f,
            lateout("rcx") _, lateout("r11") _,
            options(nostack),
        );
    }
    outcome(result)
}

/// One system call.
///
/// # Errors
///
/// The kernel's.
///
/// # Safety
///
/// Whatever the call reads or writes through its arguments must be valid for that.
#[cfg(target_arch = "aarch64")]
#[inline]
pub unsafe fn system_call(number: libc::c_long, arguments: [usize; 6]) -> Result<usize, Errno> {
    let result: isize;
    let [a, b, c, d, e, f] = arguments;
    // SAFETY: by this function's contract; the kernel keeps every register but the result.
    unsafe {
        core::arch::asm!(
            "svc 0",
            in("x8") number,
            inlateout("x0") a as isize => result,
            in("x1") b, in("x2") c, in("x3") d, in("x4") e, in("x5") f,
            options(nostack),
        );
    }
    outcome(result)
}

fn outcome(result: isize) -> Result<usize, Errno> {
    if result < 0 { Err(Errno::from_raw(-result as i32)) } else { Ok(result as usize) }
}

/// Up to six arguments of a system call, integers and pointers alike; the rest is zero.
#[macro_export]
macro_rules! arguments {
    ($($argument:expr),* $(,)?) => {{
        let given = [$($argument as usize),*];
        let mut all = [0_usize; 6];
        all[..given.len()].copy_from_slice(&given);
        all
    }};
}

/// `syscall(2)` without libc: -1 and `errno` for an error. Unsafe to use as that is.
#[macro_export]
macro_rules! raw_syscall {
    ($number:expr $(, $argument:expr)* $(,)?) => {
        match $crate::raw::system_call($number, $crate::arguments![$($argument),*]) {
            Ok(value) => value as libc::c_long,
            Err(errno) => {
                errno.set();
                -1
            }
        }
    };
}

/// The beginning of a small file, such as those under /proc/sys.
///
/// # Errors
///
/// The kernel's.
pub fn read_small_file(path: &std::ffi::CStr) -> Result<String, Errno> {
    let mut text = [0_u8; 4096];
    // SAFETY: the path is a string that lives through the call.
    let fd =
        unsafe { system_call(libc::SYS_openat, crate::arguments![libc::AT_FDCWD, path.as_ptr(), libc::O_CLOEXEC]) }?;
    // SAFETY: `text` is ours to be written, with its length beside it.
    let length = unsafe { system_call(libc::SYS_read, crate::arguments![fd, text.as_mut_ptr(), text.len()]) };
    // SAFETY: the descriptor was opened above.
    unsafe { system_call(libc::SYS_close, crate::arguments![fd]) }?;
    Ok(String::from_utf8_lossy(&text[..length?]).into_owned())
}
