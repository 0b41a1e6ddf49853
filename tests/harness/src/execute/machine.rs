//! The slots of a list, and which function does which operation.

use std::os::fd::AsRawFd;

use anyhow::Result;

use super::call::{Argument, ended, returned};
use super::file::Mapping;
use super::waiting::Thread;
use super::{bare, mount, pass, process, read, readiness};
use crate::operation::{self, Descriptor, Oddity, Operation, Path, Watch};
use crate::trace::{Outcome, Return};

#[derive(Debug, Clone, Copy)]
struct Opened {
    number: i32,
    group: bool,
}

/// What a list has opened, watched and mapped so far.
#[derive(Default)]
pub(super) struct Machine {
    slots: [Option<Opened>; 16],
    wds: Vec<i32>,
    pub(super) mappings: [Option<Mapping>; 4],
    pub(super) waiting: Option<Thread>,
}

impl Machine {
    /// Does one operation. An error is a fault of the executor, never of the subject.
    pub(super) fn perform(&mut self, operation: &Operation) -> Result<Outcome> {
        if matches!(operation, Operation::Poll { .. } | Operation::EpollWait { .. } | Operation::Read { .. }) {
            // What a raw wait or read sees is not settled.
            self.slots.iter().flatten().filter(|opened| opened.group).for_each(|group| bare::settle(group.number));
        }
        if let Some(outcome) = self.on_path(operation) {
            return Ok(outcome);
        }
        if let Some(outcome) = self.on_file(operation) {
            return Ok(outcome);
        }
        if let Some(outcome) = self.on_group(operation) {
            return Ok(outcome);
        }
        match operation {
            Operation::Read { descriptor, buffer } => {
                read::read(self.number(*descriptor), buffer, self.is_group(*descriptor))
            }
            Operation::While { waiting, meanwhile } => self.during(waiting, meanwhile),
            Operation::Interrupt { restart } => Ok(self.interrupt(*restart)),
            Operation::Checkpoint(descriptor) => self.checkpoint(*descriptor),
            Operation::Barrier => super::barrier().map(|()| returned(0)),
            Operation::Execute(path) => self.execute(path),
            Operation::Child(operations) => self.child(operations),
            Operation::Become { user } => Ok(Self::become_user(*user)),
            Operation::DescriptorsMax(max) => Ok(process::descriptors_max(*max)),
            Operation::PrivateMounts => Ok(mount::private()),
            Operation::Mount(path) => Ok(mount::mount(&self.argument(path))),
            Operation::Unmount { path, flags } => Ok(mount::unmount(&self.argument(path), *flags)),
            Operation::Repeat { count, operations } => {
                let mut outcomes = Vec::new();
                for _ in 0..*count {
                    for inner in operations {
                        outcomes.push(self.perform(inner)?);
                    }
                }
                Ok(Outcome::Several(outcomes))
            }
            other => Ok(self.on_descriptor(other)),
        }
    }

    /// Puts a rebuilt group in the place of this one.
    fn checkpoint(&self, descriptor: Descriptor) -> Result<Outcome> {
        let number = self.number(descriptor);
        if let (true, Some(rebuild)) = (self.is_group(descriptor), super::REBUILD.get())
            && let Some(rebuilt) = rebuild(number)?
        {
            let identity = file(number)?;
            for other in self.slots.iter().flatten().filter(|other| other.group) {
                if file(other.number).is_ok_and(|other| other == identity) {
                    // SAFETY: takes numbers only.
                    let flags = unsafe { libc::fcntl(other.number, libc::F_GETFD) };
                    let close_on_exec = if flags & libc::FD_CLOEXEC == 0 { 0 } else { libc::O_CLOEXEC };
                    // SAFETY: takes numbers only; the slot owns what it replaces.
                    let result = unsafe { libc::dup3(rebuilt.as_raw_fd(), other.number, close_on_exec) };
                    anyhow::ensure!(result == other.number, "a rebuilt group cannot take its place");
                }
            }
        }
        Ok(returned(0))
    }

    /// The number behind a descriptor; -1 for an empty slot.
    pub(super) fn number(&self, descriptor: Descriptor) -> i32 {
        match descriptor {
            Descriptor::Slot(slot) => self.opened(slot).map_or(-1, |opened| opened.number),
            Descriptor::Number(number) => number,
        }
    }

    /// Whether what is read there is events.
    pub(super) fn is_group(&self, descriptor: Descriptor) -> bool {
        matches!(descriptor, Descriptor::Slot(slot) if self.opened(slot).is_some_and(|opened| opened.group))
    }

    /// A path as the system calls take it.
    pub(super) fn argument(&self, path: &Path) -> Argument {
        Argument::new(path, |slot| self.number(Descriptor::Slot(slot)))
    }

    /// Closes what the slot holds.
    pub(super) fn vacate(&mut self, slot: u8) {
        if let Some(opened) = self.slots[usize::from(slot) % 16].take() {
            // SAFETY: takes no pointer; the slot owned the number.
            unsafe { libc::close(opened.number) };
        }
    }

    /// Puts a fresh descriptor into a vacated slot, unless the call that opens it failed (`number` is -1).
    pub(super) fn occupy(&mut self, slot: u8, number: i32, group: bool) -> Outcome {
        let outcome = returned(number);
        if number >= 0 {
            self.slots[usize::from(slot) % 16] = Some(Opened { number, group });
        }
        outcome
    }

    fn opened(&self, slot: u8) -> Option<Opened> {
        self.slots[usize::from(slot) % 16]
    }

    fn on_group(&mut self, operation: &Operation) -> Option<Outcome> {
        let outcome = match operation {
            Operation::Init { slot, flags } => {
                self.vacate(*slot);
                let number = bare::init(*flags);
                self.occupy(*slot, number, true)
            }
            Operation::AddWatch { descriptor, path, mask } => {
                let path = self.argument(path);
                let number = self.number(*descriptor);
                // SAFETY: the pointer is a NUL-terminated path that `path` keeps, or faults in the kernel.
                let wd = unsafe { bare::add(number, path.pointer(), *mask) };
                let outcome = returned(wd);
                if wd >= 0 {
                    self.wds.push(wd);
                }
                outcome
            }
            Operation::RemoveWatch { descriptor, watch } => {
                let wd = match watch {
                    Watch::Number(wd) => *wd,
                    Watch::Nth(_) if self.wds.is_empty() => 0,
                    Watch::Nth(nth) => self.wds[nth % self.wds.len()],
                };
                returned(bare::remove(self.number(*descriptor), wd))
            }
            Operation::Control { descriptor, command, argument } => {
                control(self.number(*descriptor), *command, *argument)
            }
            _ => return None,
        };
        Some(outcome)
    }

    fn on_descriptor(&mut self, operation: &Operation) -> Outcome {
        match operation {
            Operation::Write { descriptor, size, offset } => {
                let bytes = vec![b'w'; *size];
                let number = self.number(*descriptor);
                let count = match offset {
                    // SAFETY: `size` readable bytes lie at the pointer.
                    None => unsafe { libc::write(number, bytes.as_ptr().cast(), *size) },
                    Some(offset) => {
                        // SAFETY: `size` readable bytes lie at the pointer.
                        unsafe { libc::pwrite(number, bytes.as_ptr().cast(), *size, *offset) }
                    }
                };
                returned(count as i64)
            }
            Operation::Poll { asking, descriptor, events, timeout_ms } => {
                readiness::ask(*asking, self.number(*descriptor), *events, *timeout_ms)
            }
            Operation::EpollCreate { slot } => {
                self.vacate(*slot);
                // SAFETY: takes no pointer.
                let number = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
                self.occupy(*slot, number, false)
            }
            Operation::EpollControl { epoll, operation, descriptor, events } => {
                readiness::epoll_control(self.number(*epoll), *operation, self.number(*descriptor), *events)
            }
            Operation::EpollWait { epoll, timeout_ms } => readiness::epoll_wait(self.number(*epoll), *timeout_ms),
            Operation::Fcntl { descriptor, command, argument } => {
                let number = self.number(*descriptor);
                // SAFETY: the commands of the vocabulary take an integer.
                returned(unsafe { libc::fcntl(number, *command, *argument) })
            }
            Operation::Close(descriptor) => {
                let number = self.number(*descriptor);
                // SAFETY: takes no pointer; the list owns what it closes.
                let outcome = returned(unsafe { libc::close(number) });
                if let Descriptor::Slot(slot) = descriptor {
                    self.slots[usize::from(*slot) % 16] = None;
                }
                outcome
            }
            Operation::Duplicate { descriptor, slot } => {
                let (number, group) = (self.number(*descriptor), self.is_group(*descriptor));
                // SAFETY: takes no pointer.
                let copy = unsafe { libc::dup(number) };
                let outcome = returned(copy);
                self.vacate(*slot);
                self.occupy(*slot, copy, group);
                outcome
            }
            Operation::Pass { descriptor, slot } => {
                let (number, group) = (self.number(*descriptor), self.is_group(*descriptor));
                self.vacate(*slot);
                match pass::through_socket(number) {
                    Ok(received) => self.occupy(*slot, received, group),
                    Err(errno) => Outcome::Returned(Return::Error(errno as i32)),
                }
            }
            Operation::DuplicateOnto { descriptor, onto } => {
                let group = self.is_group(*descriptor);
                // SAFETY: takes no pointer; the list owns the number that is replaced.
                let copy = unsafe { libc::dup2(self.number(*descriptor), self.number(*onto)) };
                let outcome = returned(copy);
                if let Descriptor::Slot(slot) = onto {
                    self.occupy(*slot, copy, group);
                }
                outcome
            }
            Operation::Odd { descriptor, call } => odd(self.number(*descriptor), *call),
            // All others were taken before.
            _ => Outcome::Returned(Return::Error(libc::ENOSYS)),
        }
    }
}

fn control(number: i32, command: u64, argument: operation::Argument) -> Outcome {
    match argument {
        operation::Argument::Value(value) => {
            // SAFETY: the commands of the vocabulary take an integer, or a null pointer as value 0.
            returned(unsafe { bare::control(number, command, value as usize) })
        }
        operation::Argument::Integer(mut integer) => {
            // SAFETY: the commands of the vocabulary read or write one int at the pointer.
            let value = unsafe { bare::control(number, command, &raw mut integer as usize) };
            let returned = ended(value);
            Outcome::Integer { returned, integer }
        }
    }
}

fn odd(number: i32, call: Oddity) -> Outcome {
    match call {
        Oddity::Seek { offset, whence } => {
            // SAFETY: takes no pointer.
            returned(unsafe { libc::lseek(number, offset, whence) })
        }
        Oddity::Status => {
            // SAFETY: a stat is a structure of integers, for which all zeros is a value.
            let mut status: libc::stat = unsafe { std::mem::zeroed() };
            // SAFETY: room for a stat lies at the pointer.
            let ended = ended(unsafe { libc::fstat(number, &raw mut status) });
            Outcome::Returned(match ended {
                Return::Value(_) => Return::Value(i64::from(status.st_mode)),
                error @ Return::Error(_) => error,
            })
        }
        Oddity::Link => {
            let link = std::fs::read_link(format!("/proc/self/fd/{number}"));
            let same = link.is_ok_and(|link| link.as_os_str() == "anon_inode:inotify");
            Outcome::Returned(Return::Value(i64::from(same)))
        }
        // SAFETY: takes no pointer.
        Oddity::Synchronise => returned(unsafe { libc::fsync(number) }),
        // SAFETY: takes no pointer.
        Oddity::Lock => returned(unsafe { libc::flock(number, libc::LOCK_SH) }),
        Oddity::Map => {
            let null = std::ptr::null_mut();
            // SAFETY: a new mapping at an address of the kernel's choice touches no memory of ours.
            let base = unsafe { libc::mmap(null, 4096, libc::PROT_READ, libc::MAP_SHARED, number, 0) };
            Outcome::Returned(if base == libc::MAP_FAILED {
                Return::Error(nix::errno::Errno::last_raw())
            } else {
                Return::Value(0)
            })
        }
        Oddity::SocketType => {
            let mut kind = 0;
            let mut length = size_of::<i32>() as libc::socklen_t;
            // SAFETY: room for an int, and its length, lie at the pointers.
            returned(unsafe {
                libc::getsockopt(number, libc::SOL_SOCKET, libc::SO_TYPE, (&raw mut kind).cast(), &raw mut length)
            })
        }
        Oddity::Receive => {
            let mut bytes = [0_u8; 64];
            // SAFETY: 64 writable bytes lie at the pointer.
            let count = unsafe { libc::recv(number, bytes.as_mut_ptr().cast(), bytes.len(), libc::MSG_DONTWAIT) };
            returned(count as i64)
        }
        Oddity::Reopen => {
            let path = Argument::new(&Path::Text(format!("/proc/self/fd/{number}")), |_| -1);
            // SAFETY: the pointer is a NUL-terminated path that `path` keeps.
            let copy = unsafe { libc::open(path.pointer(), libc::O_RDONLY | libc::O_NONBLOCK) };
            returned(copy)
        }
        Oddity::Splice => splice(number),
        Oddity::Information => information(number),
    }
}

fn splice(number: i32) -> Outcome {
    let mut pipe = [-1; 2];
    // SAFETY: room for two numbers lies at the pointer.
    let made = unsafe { libc::pipe2(pipe.as_mut_ptr(), libc::O_CLOEXEC) };
    if made != 0 {
        return returned(made);
    }
    let null = std::ptr::null_mut();
    // SAFETY: null offsets mean the descriptors' own.
    let count = unsafe { libc::splice(number, null, pipe[1], null, 64, libc::SPLICE_F_NONBLOCK) };
    let outcome = returned(count as i64);
    for end in pipe {
        // SAFETY: the numbers were opened above and are nobody else's.
        unsafe { libc::close(end) };
    }
    outcome
}

fn information(number: i32) -> Outcome {
    let path = format!("/proc/self/fdinfo/{number}");
    let Ok(text) = std::fs::read_to_string(path) else {
        return Outcome::Returned(Return::Error(nix::errno::Errno::last_raw()));
    };
    let lines = text.lines().filter(|line| line.starts_with("inotify "));
    let named = ["ino:", "sdev:", "fhandle-bytes:", "fhandle-type:", "f_handle:"];
    let shown = lines.map(|line| {
        let words = line.split(' ');
        let words = words.filter(|word| !named.iter().any(|name| word.starts_with(name)));
        words.collect::<Vec<_>>().join(" ")
    });
    Outcome::Text(shown.collect())
}

/// Tells the open file, past whatever stands in front of the kernel: of an instance, its socket.
pub(super) fn file(number: i32) -> Result<(u64, u64)> {
    let mut status = std::mem::MaybeUninit::<libc::stat>::zeroed();
    let arguments = [number as usize, status.as_mut_ptr() as usize, 0, 0, 0, 0];
    // SAFETY: the kernel writes one structure, which lives through the call.
    unsafe { crate::raw::system_call(libc::SYS_fstat, arguments) }?;
    // SAFETY: all zeroes was a value, and the kernel has filled it.
    let status = unsafe { status.assume_init() };
    Ok((status.st_dev, status.st_ino))
}
