//! The process that does things, so that they are not the emulator's own.

use std::ffi::CString;
use std::fs;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, FallocateFlags, OFlag, fallocate, open};
use nix::sys::stat::{Mode, UtimensatFlags, utimensat};
use nix::sys::time::TimeSpec;
use nix::unistd::{ForkResult, fork, pipe};
use serde::{Deserialize, Serialize};

pub(crate) const SLOTS: usize = 4;

/// One or a few system calls. Paths are relative to the folder of the scene.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Act {
    /// Opened and closed at once, with these flags.
    Touch(String, i32),
    Open(usize, String, i32),
    Close(usize),
    WriteOpen(usize),
    ReadOpen(usize),
    ModeOfOpen(usize),
    Write(String),
    Read(String),
    Mkdir(String),
    Rmdir(String),
    List(String),
    Unlink(String),
    Rename(String, String),
    Exchange(String, String),
    Link(String, String),
    Symlink(String, String),
    Mkfifo(String),
    Mode(String, u32),
    Times(String, bool, bool),
    Truncate(String),
    Allocate(String),
    Execute(String),
    /// A file without a name, which gets one, if one is said.
    Unnamed(String, Option<String>),
}

/// A process that does what it is told.
pub(crate) struct Actor {
    orders: fs::File,
    answers: fs::File,
    process: nix::unistd::Pid,
}

impl Actor {
    /// In the folder in which this process is. To be called while there is one thread.
    pub(crate) fn start() -> Result<Self> {
        let (orders_read, orders) = pipe()?;
        let (answers, answers_write) = pipe()?;
        // SAFETY: this process has one thread.
        match unsafe { fork() }? {
            ForkResult::Child => {
                drop((orders, answers));
                let result = serve(orders_read.into(), answers_write.into());
                // SAFETY: ends the process at once; nothing here is to be dropped.
                unsafe { libc::_exit(i32::from(result.is_err())) }
            }
            ForkResult::Parent { child } => Ok(Self { orders: orders.into(), answers: answers.into(), process: child }),
        }
    }

    /// Does these, one after the other, and gives their errnos.
    pub(crate) fn act(&mut self, acts: &[Act]) -> Result<Vec<i32>> {
        let bytes = serde_json::to_vec(acts)?;
        self.orders.write_all(&(bytes.len() as u32).to_ne_bytes())?;
        self.orders.write_all(&bytes)?;
        let mut answer = vec![0; 4 * acts.len()];
        self.answers.read_exact(&mut answer).context("the actor has ended")?;
        Ok(answer.chunks_exact(4).map(|bytes| i32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])).collect())
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        let _ = nix::sys::signal::kill(self.process, nix::sys::signal::Signal::SIGKILL);
        let _ = nix::sys::wait::waitpid(self.process, None);
    }
}

fn serve(mut orders: fs::File, mut answers: fs::File) -> Result<()> {
    let mut slots: [Option<fs::File>; SLOTS] = Default::default();
    loop {
        let mut length = [0; 4];
        orders.read_exact(&mut length)?;
        let mut bytes = vec![0; u32::from_ne_bytes(length) as usize];
        orders.read_exact(&mut bytes)?;
        let acts: Vec<Act> = serde_json::from_slice(&bytes)?;
        let mut answer = Vec::new();
        for act in &acts {
            let errno = match perform(act, &mut slots) {
                Ok(()) => 0,
                Err(error) => {
                    let of_call = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::raw_os_error);
                    of_call.or(error.downcast_ref::<Errno>().map(|errno| *errno as i32)).unwrap_or(-1)
                }
            };
            answer.extend(errno.to_ne_bytes());
        }
        answers.write_all(&answer)?;
    }
}

/// Does one, also for a process that is no actor.
pub(crate) fn perform(act: &Act, slots: &mut [Option<fs::File>; SLOTS]) -> Result<()> {
    let flags = |flags: i32| OFlag::from_bits_retain(flags | libc::O_NONBLOCK | libc::O_CLOEXEC);
    let mode = Mode::from_bits_retain(0o644);
    let opened = |path: &str, bits: i32| -> Result<fs::File> { Ok(open(path, flags(bits), mode)?.into()) };
    let c = |path: &str| CString::new(path).unwrap_or_default();
    match act {
        Act::Touch(path, bits) => drop(opened(path, *bits)?),
        Act::Open(slot, path, bits) => slots[*slot] = Some(opened(path, *bits)?),
        Act::Close(slot) => drop(slots[*slot].take()),
        Act::WriteOpen(slot) => drop(slots[*slot].as_ref().context("empty")?.write_all(b"xyz")?),
        Act::ReadOpen(slot) => drop(slots[*slot].as_ref().context("empty")?.read_at(&mut [0; 8], 0)?),
        Act::ModeOfOpen(slot) => {
            slots[*slot].as_ref().context("empty")?.set_permissions(fs::Permissions::from_mode(0o755))?;
        }
        Act::Write(path) => opened(path, libc::O_WRONLY)?.write_all(b"some text")?,
        Act::Read(path) => drop(opened(path, libc::O_RDONLY)?.read(&mut [0; 16])?),
        Act::Mkdir(path) => fs::create_dir(path)?,
        Act::Rmdir(path) => fs::remove_dir(path)?,
        Act::List(path) => drop(fs::read_dir(path)?.count()),
        Act::Unlink(path) => fs::remove_file(path)?,
        Act::Rename(from, to) => fs::rename(from, to)?,
        Act::Exchange(from, to) => {
            let (from, to) = (c(from), c(to));
            // SAFETY: both strings live through the call.
            let result = unsafe {
                libc::renameat2(libc::AT_FDCWD, from.as_ptr(), libc::AT_FDCWD, to.as_ptr(), libc::RENAME_EXCHANGE)
            };
            Errno::result(result)?;
        }
        Act::Link(from, to) => fs::hard_link(from, to)?,
        Act::Symlink(target, path) => std::os::unix::fs::symlink(target, path)?,
        Act::Mkfifo(path) => nix::unistd::mkfifo(path.as_str(), mode)?,
        Act::Mode(path, mode) => fs::set_permissions(path, fs::Permissions::from_mode(*mode))?,
        Act::Times(path, access, modification) => {
            let time = |set: bool| if set { TimeSpec::new(1000, 0) } else { TimeSpec::UTIME_OMIT };
            utimensat(AT_FDCWD, path.as_str(), &time(*access), &time(*modification), UtimensatFlags::NoFollowSymlink)?;
        }
        Act::Truncate(path) => nix::unistd::truncate(path.as_str(), 3)?,
        Act::Allocate(path) => fallocate(opened(path, libc::O_WRONLY)?, FallocateFlags::empty(), 0, 100)?,
        Act::Execute(path) => {
            // Waits until whoever executed it has ended.
            ensure!(Command::new(path).status()?.success());
        }
        Act::Unnamed(folder, name) => {
            let mut file = opened(folder, libc::O_TMPFILE | libc::O_RDWR)?;
            file.write_all(b"x")?;
            if let Some(name) = name {
                let (link, name) = (c(&format!("/proc/self/fd/{}", file.as_raw_fd())), c(name));
                let (at, follow) = (libc::AT_FDCWD, libc::AT_SYMLINK_FOLLOW);
                // SAFETY: both strings live through the call.
                Errno::result(unsafe { libc::linkat(at, link.as_ptr(), at, name.as_ptr(), follow) })?;
                file.write_all(b"x")?;
            }
        }
    }
    Ok(())
}
