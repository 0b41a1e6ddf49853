//! Starting a process unseen, and what that takes.

use core::ffi::{CStr, c_char, c_void};
use core::sync::atomic::AtomicU32;

use super::{Errno, Outcome, PollFd, TimeSpec, number, syscall};

/// `CLONE_VM | CLONE_VFORK`, and no signal at the end: the child borrows this process's memory, the calling thread sleeps until the
/// child has executed a program or ended, and no `wait` that does not ask for such children sees it (waitpid(2), `__WCLONE`).
const VFORK_UNSEEN: usize = 0x100 | 0x4000;

/// Runs `function` in a child on a stack of its own and gives the child's pid when it has executed a program or ended.
///
/// # Safety
///
/// `stack_top` must be the 16-byte aligned end of memory that nobody else uses. `function` runs in this process's memory: it must
/// write to none but its stack and what `argument` leads to, and make raw system calls only.
#[cfg(target_arch = "x86_64")]
pub unsafe fn run_in_child(
    function: extern "C" fn(*const c_void) -> i32,
    argument: *const c_void,
    stack_top: *mut u8,
) -> Outcome {
    let result: isize;
    // SAFETY: the child enters with the new stack and no frame to return to, and never comes to the end of the block; for the parent
    // it is one system call.
    unsafe {
        core::arch::asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "mov rdi, r13",
            "call r12",
            "mov edi, eax",
            "mov eax, {exit}",
            "syscall",
            "ud2",
            "2:",
            exit = const number::EXIT,
            inlateout("rax") number::CLONE as isize => result,
            in("rdi") VFORK_UNSEEN, in("rsi") stack_top, in("rdx") 0, in("r10") 0, in("r8") 0,
            in("r12") function, in("r13") argument,
            lateout("rcx") _, lateout("r11") _,
        );
    }
    super::outcome(result)
}

/// Runs `function` in a child on a stack of its own and gives the child's pid when it has executed a program or ended.
///
/// # Safety
///
/// `stack_top` must be the 16-byte aligned end of memory that nobody else uses. `function` runs in this process's memory: it must
/// write to none but its stack and what `argument` leads to, and make raw system calls only.
#[cfg(target_arch = "aarch64")]
pub unsafe fn run_in_child(
    function: extern "C" fn(*const c_void) -> i32,
    argument: *const c_void,
    stack_top: *mut u8,
) -> Outcome {
    let result: isize;
    // SAFETY: the child enters with the new stack and no frame to return to, and never comes to the end of the block; for the parent
    // it is one system call.
    unsafe {
        core::arch::asm!(
            "svc 0",
            "cbnz x0, 2f",
            "mov x29, xzr",
            "mov x0, x20",
            "blr x21",
            "mov x8, {exit}",
            "svc 0",
            "brk 1",
            "2:",
            exit = const number::EXIT,
            in("x8") number::CLONE,
            inlateout("x0") VFORK_UNSEEN as isize => result,
            in("x1") stack_top, in("x2") 0, in("x3") 0, in("x4") 0,
            in("x20") argument, in("x21") function,
        );
    }
    super::outcome(result)
}

/// Reaps a child of [`run_in_child`] that has ended.
pub fn reap(pid: i32) -> Outcome {
    const WCLONE: usize = 0x8000_0000;
    // SAFETY: takes numbers, and null for what it would tell.
    unsafe { syscall(number::WAIT4, [pid as usize, 0, WCLONE, 0, 0, 0]) }
}

/// `execve`; returns only an errno.
///
/// # Safety
///
/// Both arrays must end with null and hold strings.
pub unsafe fn execute(path: &CStr, arguments: &[*const c_char], environment: &[*const c_char]) -> Errno {
    let [arguments, environment] = [arguments, environment].map(|array| array.as_ptr() as usize);
    // SAFETY: by this function's contract.
    match unsafe { syscall(number::EXECVE, [path.as_ptr() as usize, arguments, environment, 0, 0, 0]) } {
        Err(errno) => errno,
        Ok(_) => Errno::IO,
    }
}

/// `dup2`, also onto itself: the copy stays open across exec.
pub fn pass_on(fd: i32, number: i32) -> Outcome {
    const F_SETFD: i32 = 2;
    if fd == number {
        return super::fcntl(fd, F_SETFD, 0);
    }
    // SAFETY: takes numbers only.
    unsafe { syscall(number::DUP3, [fd as usize, number as usize, 0, 0, 0, 0]) }
}

/// The signal mask that was.
pub struct Mask(u64);

/// Blocks every signal for this thread.
pub fn block_signals() -> Mask {
    let mut before = 0;
    set_mask(u64::MAX, &mut before);
    Mask(before)
}

impl Drop for Mask {
    fn drop(&mut self) {
        set_mask(self.0, &mut 0);
    }
}

fn set_mask(mask: u64, before: &mut u64) {
    const SIG_SETMASK: usize = 2;
    let arguments = [SIG_SETMASK, &raw const mask as usize, &raw mut *before as usize, size_of::<u64>(), 0, 0];
    // SAFETY: both live through the call and have the size that is told.
    let _ = unsafe { syscall(number::RT_SIGPROCMASK, arguments) };
}

/// Memory of this process's own, or nothing.
pub fn map_memory(length: usize) -> Result<*mut u8, Errno> {
    const READ_WRITE: usize = 3;
    const PRIVATE_ANONYMOUS: usize = 0x22;
    // SAFETY: a new mapping where the kernel chooses overlaps nothing.
    unsafe { syscall(number::MMAP, [0, length, READ_WRITE, PRIVATE_ANONYMOUS, usize::MAX, 0]) }
        .map(|address| address as *mut u8)
}

/// Gives back what [`map_memory`] gave.
///
/// # Safety
///
/// Nothing may use it any more.
pub unsafe fn unmap_memory(address: *mut u8, length: usize) {
    // SAFETY: by this function's contract.
    let _ = unsafe { syscall(number::MUNMAP, [address as usize, length, 0, 0, 0, 0]) };
}

/// Sleeps until somebody wakes those who wait for `word`, or a signal comes, unless it no longer holds `value`. False after some
/// seconds.
pub fn sleep_while(word: &AtomicU32, value: u32, seconds: i64) -> bool {
    const TIMEDOUT: Errno = Errno(110);
    const FUTEX_WAIT_PRIVATE: usize = 128;
    let timeout = TimeSpec { seconds, nanoseconds: 0 };
    let arguments = [word.as_ptr() as usize, FUTEX_WAIT_PRIVATE, value as usize, &raw const timeout as usize, 0, 0];
    // SAFETY: the word and the timeout live through the call.
    let slept = unsafe { syscall(number::FUTEX, arguments) };
    slept != Err(TIMEDOUT)
}

/// Wakes whoever sleeps in [`sleep_while`].
pub fn wake_all(word: &AtomicU32) {
    const FUTEX_WAKE_PRIVATE: usize = 129;
    const ALL: usize = i32::MAX as usize;
    // SAFETY: the word lives through the call.
    let _ = unsafe { syscall(number::FUTEX, [word.as_ptr() as usize, FUTEX_WAKE_PRIVATE, ALL, 0, 0, 0]) };
}

/// Waits until `fd` can be read or has ended, for some seconds at most.
pub fn wait_readable(fd: i32, seconds: i64) -> bool {
    let mut entry = PollFd { fd, events: super::POLLIN, revents: 0 };
    let timeout = TimeSpec { seconds, nanoseconds: 0 };
    // SAFETY: both live through the call.
    let found = unsafe { syscall(number::PPOLL, [&raw mut entry as usize, 1, &raw const timeout as usize, 0, 0, 0]) };
    found == Ok(1)
}

/// `getcwd`: the path with the zero byte at its end.
pub fn working_folder(buffer: &mut [u8]) -> Result<&[u8], Errno> {
    // SAFETY: `buffer` is ours to be written, with its length beside it.
    let length = unsafe { syscall(number::GETCWD, [buffer.as_mut_ptr() as usize, buffer.len(), 0, 0, 0, 0]) }?;
    Ok(buffer.get(..length).unwrap_or(&[]))
}

/// Has the program rights of another user's by its file (setuid, setgid)?
pub fn has_rights_of_its_file() -> bool {
    let id = |number| {
        // SAFETY: takes nothing.
        unsafe { syscall(number, [0; 6]) }
    };
    id(number::GETUID) != id(number::GETEUID) || id(number::GETGID) != id(number::GETEGID)
}

/// The effective user.
pub fn effective_user() -> u32 {
    // SAFETY: takes nothing, and does not fail.
    let user = unsafe { syscall(number::GETEUID, [0; 6]) };
    user.unwrap_or(0) as u32
}

/// The user at the other end of a connection, who listened there (unix(7), SO_PEERCRED).
pub fn peer_user(fd: i32) -> Result<u32, Errno> {
    const SOL_SOCKET: usize = 1;
    const SO_PEERCRED: usize = 17;
    // struct ucred: pid, uid, gid.
    let mut credentials = [0u32; 3];
    let mut length: u32 = 12;
    let arguments =
        [fd as usize, SOL_SOCKET, SO_PEERCRED, credentials.as_mut_ptr() as usize, &raw mut length as usize, 0];
    // SAFETY: `credentials` and `length` live through the call, and `length` is the size of `credentials`.
    unsafe { syscall(number::GETSOCKOPT, arguments) }?;
    Ok(credentials[1])
}
