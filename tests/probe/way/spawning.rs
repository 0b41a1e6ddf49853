//! Children that share the memory, and new images.

use std::ffi::{CString, c_int, c_void};
use std::fs::{self, File};
use std::io::Read;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicI32, AtomicPtr, Ordering};

use nix::sys::wait::waitpid;
use nix::unistd::Pid;

use crate::instance;
use crate::table::said;

static PATH: AtomicPtr<libc::c_char> = AtomicPtr::new(std::ptr::null_mut());
/// What the child got, in the memory of both.
static FOUND: [AtomicI32; 8] = [const { AtomicI32::new(0) }; 8];

fn remember(folder: &Path) {
    let path = CString::new(folder.as_os_str().as_bytes()).expect("a path");
    PATH.store(path.into_raw(), Ordering::Relaxed);
}

/// The child of vfork: the parent's memory, descriptors of its own.
extern "C" fn child(fd: *mut c_void) -> c_int {
    let fd = fd as usize as RawFd;
    let path = PATH.load(Ordering::Relaxed);
    // SAFETY: the path lives for ever.
    FOUND[0].store(unsafe { libc::inotify_add_watch(fd, path, libc::IN_CREATE) }, Ordering::Relaxed);
    // SAFETY: takes flags only.
    let new = instance::when_there_is_a_place(|| unsafe { libc::inotify_init1(libc::IN_NONBLOCK) });
    FOUND[1].store(new, Ordering::Relaxed);
    // SAFETY: the path lives for ever.
    FOUND[2].store(unsafe { libc::inotify_add_watch(new, path, libc::IN_CREATE) }, Ordering::Relaxed);
    let mut byte = 0_u8;
    // SAFETY: the byte lives through the call.
    FOUND[3].store(unsafe { libc::read(new, (&raw mut byte).cast(), 1) } as i32, Ordering::Relaxed);
    // SAFETY: takes numbers only.
    FOUND[4].store(unsafe { libc::dup2(new, 60) }, Ordering::Relaxed);
    // SAFETY: takes numbers only.
    FOUND[5].store(unsafe { libc::dup2(0, fd) }, Ordering::Relaxed);
    // SAFETY: takes a number only.
    FOUND[6].store(unsafe { libc::close(61) }, Ordering::Relaxed);
    // SAFETY: the byte lives through the call; standard input is /dev/null.
    FOUND[7].store(unsafe { libc::read(fd, (&raw mut byte).cast(), 1) } as i32, Ordering::Relaxed);
    0
}

/// What the child opened and moved is not the parent's, whose numbers go on to mean what they meant.
pub(crate) fn vfork(folder: &Path) {
    remember(folder);
    let instance = instance::open(libc::IN_NONBLOCK | libc::IN_CLOEXEC);
    let fd = instance.as_raw_fd();
    instance::watch(fd, folder, libc::IN_DELETE);
    // SAFETY: takes numbers only; nothing has that number.
    let other = unsafe { libc::dup2(fd, 61) };
    println!("{other}");
    for round in 0..3 {
        let mut stack = vec![0_u64; 32 * 1024];
        let top = stack.as_mut_ptr_range().end.cast();
        let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
        // SAFETY: the stack is large enough and lives until the child has ended, which CLONE_VFORK waits for.
        let pid = unsafe { libc::clone(child, top, flags, fd as usize as *mut c_void) };
        let status = waitpid(Pid::from_raw(pid), None).map(|status| format!("{status:?}").contains(", 0)"));
        let found: Vec<_> = FOUND.iter().map(|found| found.load(Ordering::Relaxed)).collect();
        println!("{round} {status:?} {found:?}");
        fs::write(folder.join("file"), "").expect("a file");
        println!("{}", instance::queue(fd));
        fs::remove_file(folder.join("file")).expect("the file goes");
        // The numbers of the child's instances are free here, or another file's.
        let mut zero = File::open("/dev/zero").expect("a file");
        let mut bytes = [1_u8; 3];
        let read = zero.read(&mut bytes);
        println!("{} {read:?} {bytes:?}", zero.as_raw_fd() == FOUND[1].load(Ordering::Relaxed));
        // SAFETY: the buffer lives through the call.
        println!("{}", said(unsafe { libc::read(60, bytes.as_mut_ptr().cast(), 3) } as i32));
        println!("{}", instance::queue(61));
        instance::watch(fd, folder, libc::IN_CREATE | libc::IN_DELETE);
    }
}

/// `clone(2)` by number: the child returns from libc's `syscall` a second time.
pub(crate) fn clone_by_number(folder: &Path) {
    let instance = instance::open(libc::IN_NONBLOCK);
    let fd = instance.as_raw_fd();
    instance::watch(fd, folder, libc::IN_CREATE);
    for round in 0..2 {
        // As fork: a copy of everything.
        // SAFETY: this process has one thread.
        let pid = unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0_usize, 0_usize, 0_usize, 0_usize) };
        if pid == 0 {
            fs::write(folder.join(format!("child{round}")), "").expect("a file");
            let is_seen = instance::queue(fd).contains("child");
            // SAFETY: ends this process, without the parent's handlers at exit.
            unsafe { libc::_exit(if is_seen { 0 } else { 7 }) };
        }
        println!("{:?}", waitpid(Pid::from_raw(pid as i32), None).map(|status| format!("{status:?}").contains(", 0)")));
    }
    on_its_own_stack(folder, fd);
}

/// With a stack whose first word is where the child goes on: whoever calls, and does not jump, in `syscall` sends it elsewhere.
#[cfg(target_arch = "x86_64")]
fn on_its_own_stack(folder: &Path, fd: RawFd) {
    extern "C" fn begin() -> ! {
        let code = child(CHILD_FD.load(Ordering::Relaxed) as usize as *mut c_void);
        // SAFETY: ends this process, without the parent's handlers at exit.
        unsafe { libc::_exit(code) }
    }
    static CHILD_FD: AtomicI32 = AtomicI32::new(-1);
    CHILD_FD.store(fd, Ordering::Relaxed);
    remember(folder);
    let mut stack = vec![0_u64; 32 * 1024];
    let length = stack.len();
    // A function begins with a stack that is 8 bytes off a multiple of 16: `ret` takes the word away.
    let top = (length - 64) & !1;
    stack[top] = begin as *const () as u64;
    let address = (&raw const stack[top]) as usize;
    assert_eq!(address % 16, 0, "the allocator aligns to 16");
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
    // SAFETY: the stack is large enough and lives until the child has ended, which CLONE_VFORK waits for.
    let pid = unsafe { libc::syscall(libc::SYS_clone, flags, address, 0_usize, 0_usize, 0_usize) };
    let status = waitpid(Pid::from_raw(pid as i32), None).map(|status| format!("{status:?}").contains(", 0)"));
    let found: Vec<_> = FOUND.iter().map(|found| found.load(Ordering::Relaxed)).collect();
    println!("{status:?} {found:?}");
    fs::write(folder.join("after"), "").expect("a file");
    println!("{}", instance::queue(fd));
}

#[cfg(not(target_arch = "x86_64"))]
fn on_its_own_stack(_: &Path, _: RawFd) {}

/// The new image of [`exec`]: standard input and 70 are instances.
pub(crate) fn image(folder: &Path) {
    for fd in [0, 70] {
        // FIONREAD would settle a descriptor that is known, and make one known that is not.
        let mut buffer = [0; 4096];
        println!("before: {:?}", instance::read(fd, &mut buffer).map(|length| instance::events(&buffer[..length])));
        println!("add_watch: {}", instance::watch(fd, folder, libc::IN_CREATE | libc::IN_DELETE));
        let name = format!("image{fd}");
        fs::write(folder.join(&name), "").expect("a file");
        let mut entry = libc::pollfd { fd, events: libc::POLLIN | libc::POLLOUT, revents: 0 };
        // SAFETY: the entry lives through the call.
        println!("poll: {} {}", unsafe { libc::poll(&raw mut entry, 1, 0) }, entry.revents);
        println!("queue: {}", instance::queue(fd));
        // SAFETY: the argument is a number.
        println!("ioctl: {}", said(unsafe { libc::ioctl(fd, 0x4004_4900, 70_i64) }));
        println!("add_watch: {}", instance::watch(fd, folder.parent().expect("one above"), libc::IN_DELETE_SELF));
        // SAFETY: takes numbers only.
        println!("rm_watch: {}", said(unsafe { libc::inotify_rm_watch(fd, 70) }));
        println!("queue: {}", instance::queue(fd));
        // SAFETY: takes numbers only.
        println!("write: {}", said(unsafe { libc::write(fd, c"x".as_ptr().cast(), 1) } as i32));
        fs::remove_file(folder.join(name)).expect("the file goes");
        println!("queue: {}", instance::queue(fd));
    }
}

/// By `posix_spawn` and by `fork`, which libc does by itself and past everything that stands in front of its functions.
pub(crate) fn exec(folder: &Path) {
    use std::os::unix::process::CommandExt;
    for by_fork in [false, true] {
        let instance = instance::open(libc::IN_NONBLOCK | libc::IN_CLOEXEC);
        let fd = instance.as_raw_fd();
        instance::watch(fd, folder, libc::IN_CREATE);
        // SAFETY: takes numbers only; nothing has that number. It has no close-on-exec.
        let kept = unsafe { libc::dup2(instance::open(libc::IN_NONBLOCK).as_raw_fd(), 70) };
        println!("{kept}");
        instance::watch(70, folder, libc::IN_CREATE);
        // Two events: who does not know the descriptor gets them one by one.
        for name in ["unread", "unread too"] {
            fs::write(folder.join(name), "").expect("a file");
        }
        let input = nix::unistd::dup(&instance).expect("a descriptor");
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command.args([crate::ARGUMENT, "image"]).arg(folder).stdin(input).stdout(Stdio::piped());
        if by_fork {
            // SAFETY: does nothing.
            unsafe { command.pre_exec(|| Ok(())) };
        }
        let output = command.output().expect("the new image runs");
        print!("{}", String::from_utf8_lossy(&output.stdout));
        println!("{:?} {}", output.status.code(), instance::queue(fd));
        for name in ["unread", "unread too"] {
            fs::remove_file(folder.join(name)).expect("the file goes");
        }
        // SAFETY: the number was made above.
        unsafe { libc::close(70) };
    }
}
