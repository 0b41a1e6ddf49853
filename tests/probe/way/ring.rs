//! Requests through an io_uring, which no function of libc's sees.

use std::fs;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use nix::errno::Errno;

use crate::instance;
use crate::way::IGNORED;

/// `struct io_uring_params`, with the offsets of both queues.
#[repr(C)]
#[derive(Default)]
struct Parameters {
    entries: [u32; 2],
    flags: u32,
    thread: [u32; 2],
    features: u32,
    queue: u32,
    reserved: [u32; 3],
    submission: [u32; 10],
    completion: [u32; 10],
}

const SYS_IO_URING_SETUP: libc::c_long = 425;
const SYS_IO_URING_ENTER: libc::c_long = 426;
const OPERATION_POLL: u8 = 6;
const OPERATION_READ: u8 = 22;
const ENTER_GETEVENTS: usize = 1;

struct Ring {
    fd: OwnedFd,
    queues: *mut u8,
    entries: *mut [u64; 8],
    parameters: Parameters,
}

impl Ring {
    fn new() -> Result<Self, Errno> {
        let mut parameters = Parameters::default();
        // SAFETY: the parameters live through the call.
        let fd = Errno::result(unsafe { libc::syscall(SYS_IO_URING_SETUP, 8, &raw mut parameters) })?;
        // SAFETY: the call has just returned this descriptor.
        let fd = unsafe { OwnedFd::from_raw_fd(fd as RawFd) };
        let map = |offset: i64| {
            // SAFETY: a new mapping where the kernel chooses overlaps nothing.
            let address = unsafe {
                libc::mmap(
                    std::ptr::null_mut(),
                    4096,
                    libc::PROT_READ | libc::PROT_WRITE,
                    libc::MAP_SHARED,
                    fd.as_raw_fd(),
                    offset,
                )
            };
            assert_ne!(address, libc::MAP_FAILED, "mmap");
            address
        };
        // IORING_FEAT_SINGLE_MMAP: both queues are in one mapping.
        assert_ne!(parameters.features & 1, 0, "a kernel since 5.4");
        let (queues, entries) = (map(0).cast(), map(0x1000_0000).cast());
        Ok(Self { queues, entries, fd, parameters })
    }

    fn word(&self, offset: u32) -> &AtomicU32 {
        let word = self.queues.wrapping_add(offset as usize).cast();
        // SAFETY: the kernel's offsets lie in the mapping, which lives as long as the process.
        unsafe { AtomicU32::from_ptr(word) }
    }

    /// Queues one request and tells the kernel; `wait` for how many to be complete.
    fn submit(&self, operation: u8, fd: RawFd, address: usize, length: u32, bits: u32, data: u64) {
        let [_, tail, mask, .., array] = {
            let s = &self.parameters.submission;
            [s[0], s[1], s[2], s[3], s[6]]
        };
        let at = self.word(tail).load(Ordering::Acquire);
        let index = at & self.word(mask).load(Ordering::Relaxed);
        let entry = [
            u64::from(operation) | (fd as u64) << 32,
            // The offset is the file's own.
            if operation == OPERATION_READ { u64::MAX } else { 0 },
            address as u64,
            u64::from(length) | u64::from(bits) << 32,
            data,
            0,
            0,
            0,
        ];
        // SAFETY: the index lies in the mapping of eight entries.
        unsafe { self.entries.wrapping_add(index as usize).write(entry) };
        self.word(array + 4 * index).store(index, Ordering::Relaxed);
        self.word(tail).store(at + 1, Ordering::Release);
        self.enter(1, 0);
    }

    fn enter(&self, submit: u32, wait: u32) {
        let flags = if wait > 0 { ENTER_GETEVENTS } else { 0 };
        // SAFETY: takes numbers only.
        let result =
            unsafe { libc::syscall(SYS_IO_URING_ENTER, self.fd.as_raw_fd(), submit, wait, flags, 0_usize, 0_usize) };
        assert!(result >= 0, "io_uring_enter: {}", Errno::last());
    }

    /// What is complete: data and result.
    fn complete(&self) -> Option<(u64, i32)> {
        let [head, tail, mask, _, _, entries, ..] = self.parameters.completion;
        let at = self.word(head).load(Ordering::Acquire);
        if at == self.word(tail).load(Ordering::Acquire) {
            return None;
        }
        let index = at & self.word(mask).load(Ordering::Relaxed);
        let low = self.word(entries + 16 * index).load(Ordering::Relaxed);
        let high = self.word(entries + 16 * index + 4).load(Ordering::Relaxed);
        let result = self.word(entries + 16 * index + 8).load(Ordering::Relaxed).cast_signed();
        self.word(head).store(at + 1, Ordering::Release);
        Some((u64::from(low) | u64::from(high) << 32, result))
    }

    fn wait(&self) -> (u64, i32) {
        loop {
            if let Some(found) = self.complete() {
                return found;
            }
            self.enter(0, 1);
        }
    }
}

/// Waits until all that has happened is in the descriptor: past the shim nothing does.
fn settle(fd: RawFd) {
    let mut queued: libc::c_int = 0;
    // SAFETY: FIONREAD writes one int.
    unsafe { libc::ioctl(fd, libc::FIONREAD, &raw mut queued) };
}

fn shown(result: i32, buffer: &[u8]) -> String {
    if result < 0 {
        return format!("{:?}", Errno::from_raw(-result));
    }
    format!("{result} {}", instance::events(&buffer[..result as usize]))
}

pub(crate) fn requests(folder: &Path) {
    let ring = match Ring::new() {
        Ok(ring) => ring,
        Err(errno) => {
            println!("{IGNORED}io_uring_setup: {errno}");
            return;
        }
    };
    for flags in [libc::IN_NONBLOCK, 0] {
        let instance = instance::open(flags);
        let fd = instance.as_raw_fd();
        instance::watch(fd, folder, libc::IN_CREATE);
        let create = |name: &str| {
            fs::write(folder.join(name), "").expect("a file");
            settle(fd);
        };
        let mut buffer = vec![0_u8; 4096];
        let mut read = |what: &str, room: usize| {
            ring.submit(OPERATION_READ, fd, buffer.as_mut_ptr() as usize, room as u32, 0, 1);
            let (_, result) = ring.wait();
            println!("{flags:o} {what}: {}", shown(result, &buffer));
        };
        create("one");
        read("one event", 4096);
        create("two");
        create("three");
        read("two events", 4096);
        println!("{flags:o} left: {}", if flags == 0 { String::new() } else { instance::queue(fd) });
        if flags == 0 {
            settle(fd);
            let mut queued: libc::c_int = 0;
            // SAFETY: FIONREAD writes one int.
            unsafe { libc::ioctl(fd, libc::FIONREAD, &raw mut queued) };
            if queued > 0 {
                read("what is left", 4096);
            } else {
                println!("{flags:o} nothing is left");
            }
        }
        create("four");
        read("a small buffer", 8);
        if flags == 0 {
            // SAFETY: takes numbers only.
            unsafe { libc::fcntl(fd, libc::F_SETFL, libc::O_NONBLOCK) };
        }
        println!("{flags:o} after a small buffer: {}", instance::queue(fd));
        // SAFETY: takes numbers only.
        unsafe { libc::fcntl(fd, libc::F_SETFL, flags) };

        // Requests that wait.
        let events = (libc::POLLIN | libc::POLLPRI) as u32;
        ring.submit(OPERATION_POLL, fd, 0, 0, events, 2);
        println!("{flags:o} poll: {:?}", ring.complete());
        create("five");
        println!("{flags:o} poll: {:?}", ring.wait());
        ring.submit(OPERATION_POLL, fd, 0, 0, events, 3);
        println!("{flags:o} poll of what is ready: {:?}", ring.wait());
        println!("{flags:o} then: {}", instance::queue(fd));
        // With O_NONBLOCK too the ring waits in the program's stead.
        ring.submit(OPERATION_READ, fd, buffer.as_mut_ptr() as usize, 4096, 0, 4);
        println!("{flags:o} a read that waits: {:?}", ring.complete());
        create("six");
        let (data, result) = ring.wait();
        println!("{flags:o} {data}: {}", shown(result, &buffer));
        let ready = |events: i16| {
            ring.submit(OPERATION_POLL, fd, 0, 0, events as u32, 5);
            ring.complete().map(|(_, result)| result)
        };
        println!("{flags:o} POLLOUT: {:?}", ready(libc::POLLOUT));
        for name in ["one", "two", "three", "four", "five", "six"] {
            fs::remove_file(folder.join(name)).expect("the file goes");
        }
    }
}
