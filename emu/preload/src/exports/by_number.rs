//! `syscall`: calls by number, as some programs make those of inotify.
//!
//! What is not about an instance is handed on by a jump, with registers and stack as they came: vfork and clone return twice.

use core::arch::naked_asm;
use core::ffi::{c_char, c_int, c_long, c_ulong, c_void};
use core::mem::offset_of;

use crate::bitmap::{EPOLLS, INSTANCES};
use crate::epoll::Event;
use crate::errno::report;
use crate::next::{Functions, NEXT};
use crate::raw::{self, Errno, IoVec, MessageHeader, number};
use crate::read::Cancellation;
use crate::{constructor, identity, instance, message, read, settings};

mod paths;
mod waits;

/// What a caller of `syscall` gave: the number and six arguments; and where the result goes.
#[repr(C)]
struct Frame {
    number: usize,
    arguments: [usize; 6],
    result: c_long,
}

const NUMBERS: usize = 512;

/// Not 0 for the numbers that [`intercept`] wants to see.
static CONCERNED: [u8; NUMBERS] = {
    let table = marked([0; NUMBERS], ABOUT_THE_FILE);
    let table = marked(table, OTHERS);
    let table = marked(table, paths::NUMBERS);
    marked(table, OLDER)
};

const fn marked(mut table: [u8; NUMBERS], mut numbers: &[usize]) -> [u8; NUMBERS] {
    while let [first, rest @ ..] = numbers {
        table[*first] = 1;
        numbers = rest;
    }
    table
}

#[cfg(target_arch = "x86_64")]
#[unsafe(no_mangle)]
#[unsafe(naked)]
unsafe extern "C" fn syscall(number: c_long) -> c_long {
    naked_asm!(
        "cmp rdi, {numbers}",
        "jae 2f",
        "lea rax, [rip + {concerned}]",
        "cmp byte ptr [rax + rdi], 0",
        "je 2f",
        // A frame, which keeps the stack aligned to 16 bytes.
        "sub rsp, 72",
        "mov [rsp], rdi",
        "mov [rsp + 8], rsi",
        "mov [rsp + 16], rdx",
        "mov [rsp + 24], rcx",
        "mov [rsp + 32], r8",
        "mov [rsp + 40], r9",
        "mov rax, [rsp + 80]",
        "mov [rsp + 48], rax",
        "mov rdi, rsp",
        "call {intercept}",
        "mov ecx, eax",
        "mov rax, [rsp + 56]",
        "test ecx, ecx",
        "mov rdi, [rsp]",
        "mov rsi, [rsp + 8]",
        "mov rdx, [rsp + 16]",
        "mov rcx, [rsp + 24]",
        "mov r8, [rsp + 32]",
        "mov r9, [rsp + 40]",
        "lea rsp, [rsp + 72]",
        "jz 2f",
        "ret",
        "2:",
        "lea rax, [rip + {next}]",
        "mov rax, [rax + {offset}]",
        "test rax, rax",
        "jz 3f",
        "jmp rax",
        // Before the constructor.
        "3:",
        "mov rax, rdi",
        "mov rdi, rsi",
        "mov rsi, rdx",
        "mov rdx, rcx",
        "mov r10, r8",
        "mov r8, r9",
        "mov r9, [rsp + 8]",
        "syscall",
        "cmp rax, -4095",
        "jae 4f",
        "ret",
        "4:",
        "mov rdi, rax",
        "jmp {fail}",
        numbers = const NUMBERS,
        concerned = sym CONCERNED,
        intercept = sym intercept,
        next = sym NEXT,
        offset = const offset_of!(Functions, syscall),
        fail = sym fail,
    )
}

#[cfg(target_arch = "aarch64")]
#[unsafe(no_mangle)]
#[unsafe(naked)]
unsafe extern "C" fn syscall(number: c_long) -> c_long {
    naked_asm!(
        "cmp x0, {numbers}",
        "b.hs 2f",
        "adrp x9, {concerned}",
        "add x9, x9, :lo12:{concerned}",
        "ldrb w9, [x9, x0]",
        "cbz w9, 2f",
        // A frame of 64 bytes, and the return address.
        "sub sp, sp, 80",
        "stp x0, x1, [sp]",
        "stp x2, x3, [sp, 16]",
        "stp x4, x5, [sp, 32]",
        "stp x6, xzr, [sp, 48]",
        "stp x29, x30, [sp, 64]",
        "mov x0, sp",
        "bl {intercept}",
        "mov w9, w0",
        "ldp x0, x1, [sp]",
        "ldp x2, x3, [sp, 16]",
        "ldp x4, x5, [sp, 32]",
        "ldp x6, x10, [sp, 48]",
        "ldp x29, x30, [sp, 64]",
        "add sp, sp, 80",
        "cbz w9, 2f",
        "mov x0, x10",
        "ret",
        "2:",
        "adrp x9, {next}",
        "add x9, x9, :lo12:{next}",
        "mov x10, {offset}",
        "ldr x16, [x9, x10]",
        "cbz x16, 3f",
        // By this register, as a branch target of BTI demands.
        "br x16",
        // Before the constructor.
        "3:",
        "mov x8, x0",
        "mov x0, x1",
        "mov x1, x2",
        "mov x2, x3",
        "mov x3, x4",
        "mov x4, x5",
        "mov x5, x6",
        "svc 0",
        "cmn x0, 4095",
        "b.hs 4f",
        "ret",
        "4:",
        "b {fail}",
        numbers = const NUMBERS,
        concerned = sym CONCERNED,
        intercept = sym intercept,
        next = sym NEXT,
        offset = const offset_of!(Functions, syscall),
        fail = sym fail,
    )
}

extern "C" fn fail(result: c_long) -> c_long {
    report(Err(Errno(-result as i32))) as c_long
}

/// Calls about the file of their first argument.
const ABOUT_THE_FILE: &[usize] = &[
    number::FSTAT,
    number::FSTATFS,
    number::FCHMOD,
    number::FCHOWN,
    number::FGETXATTR,
    number::FSETXATTR,
    number::FLISTXATTR,
    number::FREMOVEXATTR,
    number::FSYNC,
    number::FDATASYNC,
    number::SYNCFS,
    number::SYNC_FILE_RANGE,
    number::FADVISE64,
    number::READAHEAD,
    number::FTRUNCATE,
    number::FALLOCATE,
    number::CONNECT,
    number::RECVFROM,
    number::RECVMSG,
    number::RECVMMSG,
    number::SENDTO,
    number::SENDMSG,
    number::SENDMMSG,
    number::GETSOCKOPT,
    number::SETSOCKOPT,
    number::GETSOCKNAME,
    number::GETPEERNAME,
    number::SHUTDOWN,
    number::LISTEN,
    number::BIND,
    number::ACCEPT,
    number::ACCEPT4,
    // With the descriptor as the directory, which it is not.
    number::FCHOWNAT,
    number::FCHMODAT2,
    number::NAME_TO_HANDLE_AT,
    number::CACHESTAT,
    number::SETXATTRAT,
    number::GETXATTRAT,
    number::LISTXATTRAT,
    number::REMOVEXATTRAT,
];

/// All others that [`call`] knows.
const OTHERS: &[usize] = &[
    number::INOTIFY_INIT1,
    number::INOTIFY_ADD_WATCH,
    number::INOTIFY_RM_WATCH,
    number::READ,
    number::READV,
    number::PREADV2,
    number::WRITE,
    number::WRITEV,
    number::PWRITEV2,
    number::LSEEK,
    number::IOCTL,
    number::FCNTL,
    number::CLOSE,
    number::CLOSE_RANGE,
    number::DUP,
    number::DUP3,
    number::MMAP,
    number::PPOLL,
    number::PSELECT6,
    number::EPOLL_CTL,
    number::EPOLL_PWAIT,
    number::EPOLL_PWAIT2,
    number::SPLICE,
    number::TEE,
    number::SENDFILE,
    number::COPY_FILE_RANGE,
];

/// The older ways of some calls, which newer machines do not have.
#[cfg(target_arch = "x86_64")]
const OLDER: &[usize] =
    &[number::FUTIMESAT, number::INOTIFY_INIT, number::DUP2, number::POLL, number::SELECT, number::EPOLL_WAIT];
#[cfg(not(target_arch = "x86_64"))]
const OLDER: &[usize] = &[];

/// Makes the call if it is about an instance; 0 if it is not, and is to be handed on.
unsafe extern "C" fn intercept(frame: *mut Frame) -> c_int {
    // SAFETY: the assembler above gives a frame of its own.
    let frame = unsafe { &mut *frame };
    // SAFETY: the arguments are the caller's.
    match unsafe { call(frame.number, frame.arguments) } {
        Some(result) => {
            frame.result = result;
            1
        }
        None => 0,
    }
}

/// The system call itself, as `syscall` reports it.
///
/// # Safety
///
/// The arguments must be those of the system call.
unsafe fn raw_call(number: usize, arguments: [usize; 6]) -> c_long {
    // SAFETY: by this function's contract.
    report(unsafe { raw::syscall(number, arguments) }) as c_long
}

/// # Safety
///
/// The arguments must be those of the system call.
unsafe fn call(number: usize, arguments: [usize; 6]) -> Option<c_long> {
    let [a, b, c, d, _, f] = arguments;
    let fd = a as c_int;
    match number {
        number::INOTIFY_INIT1 => open_instance(a as c_int),
        // A descriptor without a bit is looked at once more.
        number::INOTIFY_ADD_WATCH => identity::sought(fd).map(|_| {
            // SAFETY: the path is the caller's.
            c_long::from(unsafe { super::inotify_add_watch(fd, b as *const c_char, c as u32) })
        }),
        number::INOTIFY_RM_WATCH => {
            identity::sought(fd).map(|instance| report(instance::remove_watch(&instance, b as c_int)) as c_long)
        }
        number::IOCTL => super::instance_of_ioctl(fd, b as u32).map(|_| {
            // SAFETY: the argument is the caller's.
            c_long::from(unsafe { super::ioctl(fd, b as c_ulong, c) })
        }),
        number::CLOSE => {
            identity::before_close(fd);
            None
        }
        number::CLOSE_RANGE => {
            const CLOSE_RANGE_CLOEXEC: usize = 4;
            if c & CLOSE_RANGE_CLOEXEC == 0 {
                identity::before_close_range(a as u32, b as u32);
            }
            None
        }
        number::DUP if is_known(fd) => Some(super::dup(fd).into()),
        number::DUP3 => onto(fd, b as c_int, |old, new| super::dup3(old, new, c as c_int)),
        // SAFETY: the argument is the caller's.
        number::FCNTL if is_known(fd) => Some(unsafe { super::fcntl(fd, b as c_int, c) }.into()),
        number::MMAP => {
            let [start, length, protection, flags, file, offset] = arguments;
            let is_ours = flags & raw::MAP_ANONYMOUS as usize == 0 && INSTANCES.contains(file as c_int);
            is_ours.then(|| {
                // SAFETY: the arguments are the caller's.
                let mapped = unsafe {
                    super::file::mmap(
                        start as *mut c_void,
                        length,
                        protection as c_int,
                        flags as c_int,
                        file as c_int,
                        offset as i64,
                    )
                };
                mapped as c_long
            })
        }
        // SAFETY: the arguments are the caller's.
        number::SPLICE | number::TEE | number::SENDFILE | number::COPY_FILE_RANGE => unsafe {
            super::transfer::between(number, arguments).map(|result| result as c_long)
        },
        number::EPOLL_CTL if is_known(c as c_int) => {
            // SAFETY: the event is the caller's.
            let result = unsafe { super::epoll_ctl(fd, b as c_int, c as c_int, d as *mut Event) };
            Some(result.into())
        }
        // SAFETY: the arguments are the caller's.
        number::PPOLL | number::PSELECT6 | number::EPOLL_PWAIT | number::EPOLL_PWAIT2 => unsafe {
            waits::wait(number, arguments)
        },
        // SAFETY: the arguments are the caller's.
        number::RECVMSG | number::RECVMMSG if !INSTANCES.contains(fd) => unsafe { receive(number, arguments) },
        _ if paths::NUMBERS.contains(&number) => {
            // SAFETY: the arguments are the caller's.
            unsafe { paths::call(number, arguments) }
        }
        _ if OLDER.contains(&number) => {
            // SAFETY: the arguments are the caller's.
            unsafe { older(number, arguments) }
        }
        _ if ABOUT_THE_FILE.contains(&number) => {
            // SAFETY: the arguments are the caller's.
            unsafe { super::file::asked_of_stand_in(number, &arguments) }.map(|result| result as c_long)
        }
        _ => {
            let instance = identity::hinted(fd)?;
            let outcome = match number {
                number::READ => read::read(&instance, b as *mut c_void, c, Cancellation::None),
                // SAFETY: the pieces are the caller's.
                number::READV => unsafe {
                    read::read_pieces(&instance, b as *const IoVec, c as c_int, Cancellation::None)
                },
                number::PREADV2 if d as i64 == -1 => {
                    // SAFETY: the pieces are the caller's.
                    unsafe {
                        read::read_pieces_with_flags(
                            &instance,
                            b as *const IoVec,
                            c as c_int,
                            f as c_int,
                            Cancellation::None,
                        )
                    }
                }
                number::WRITE | number::WRITEV => Err(Errno::BADF),
                number::PWRITEV2 if d as i64 == -1 => Err(Errno::BADF),
                number::LSEEK => super::foreign::seek_nowhere(c as c_int),
                _ => return None,
            };
            Some(report(outcome) as c_long)
        }
    }
}

fn open_instance(flags: c_int) -> Option<c_long> {
    constructor::initialise_early();
    settings::emulator().is_some().then(|| super::inotify_init1(flags).into())
}

/// May this descriptor be an instance, or an epoll that holds one?
fn is_known(fd: c_int) -> bool {
    INSTANCES.contains(fd) || EPOLLS.contains(fd)
}

/// `dup2` and `dup3`.
fn onto(old: c_int, new: c_int, duplicate: impl FnOnce(c_int, c_int) -> c_int) -> Option<c_long> {
    if is_known(old) {
        return Some(duplicate(old, new).into());
    }
    if old != new {
        identity::before_close(new);
    }
    None
}

/// # Safety
///
/// The arguments must be those of the system call.
unsafe fn receive(number: usize, arguments: [usize; 6]) -> Option<c_long> {
    if !settings::is_active() {
        return None;
    }
    // SAFETY: by this function's contract.
    let result = unsafe { raw_call(number, arguments) };
    let messages = arguments[1];
    if number == number::RECVMMSG {
        for index in 0..result.max(0) as usize {
            let message = (messages as *const super::MessageWithLength).wrapping_add(index);
            // SAFETY: the call has succeeded for this many messages. The header is the first field.
            unsafe { message::mark_received(message.cast()) };
        }
    } else if result >= 0 {
        // SAFETY: the call has succeeded.
        unsafe { message::mark_received(messages as *const MessageHeader) };
    }
    Some(result)
}

/// # Safety
///
/// The arguments must be those of the system call.
#[cfg(target_arch = "x86_64")]
unsafe fn older(number: usize, arguments: [usize; 6]) -> Option<c_long> {
    let [a, b, ..] = arguments;
    match number {
        number::INOTIFY_INIT => open_instance(0),
        number::DUP2 => onto(a as c_int, b as c_int, |old, new| super::dup2(old, new)),
        number::FUTIMESAT => {
            let instance = identity::hinted(a as c_int)?;
            let [_, path, times, ..] = arguments;
            // SAFETY: the arguments are the caller's.
            let call = |fd: i32| unsafe { raw_call(number, [fd as usize, path, times, 0, 0, 0]) };
            Some(crate::stand_in::with(&instance, call).unwrap_or_else(|| report(Err(Errno::NOMEM)) as c_long))
        }
        // SAFETY: by this function's contract.
        _ => unsafe { waits::wait(number, arguments) },
    }
}

#[cfg(not(target_arch = "x86_64"))]
unsafe fn older(_number: usize, _arguments: [usize; 6]) -> Option<c_long> {
    None
}
