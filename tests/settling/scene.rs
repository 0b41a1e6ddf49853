//! An emulator that somebody molests, and an innocent program beside.

use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::call::{self, Way};
use crate::descriptors::watching;

/// Longer than any of this takes where nobody is disturbed.
const UNDISTURBED: Duration = Duration::from_secs(5);

/// How much the emulator's memory may grow: its allocator keeps some.
pub(crate) const GROWTH_BYTES: u64 = 8 << 20;

/// An emulator, and somebody who uses it and has done nothing wrong.
pub(crate) struct Scene {
    pub(crate) folder: PathBuf,
    pub(crate) innocent: OwnedFd,
    pub(crate) emulator: i32,
    descriptors: usize,
    pub(crate) memory: u64,
    files: u32,
}

impl Scene {
    pub(crate) fn new(folder: &Path) -> Result<Self> {
        let folder = folder.join("innocent");
        fs::create_dir(&folder)?;
        let innocent = watching(&folder)?;
        let emulator = call::emulator_of(innocent.as_raw_fd());
        let mut scene = Self { folder, innocent, emulator, descriptors: 0, memory: 0, files: 0 };
        scene.goes_on()?;
        // The last reply object may be about to be closed.
        let counts = (0..100).map(|_| descriptors(emulator)).collect::<Result<Vec<_>>>()?;
        scene.descriptors = counts.into_iter().min().context("a count")?;
        scene.memory = memory(emulator)?;
        Ok(scene)
    }

    /// What the innocent program sees is exactly what it does, and that without delay.
    pub(crate) fn goes_on(&mut self) -> Result<()> {
        const FILES: u32 = 5;
        let start = Instant::now();
        let names: Vec<_> = (self.files..self.files + FILES).map(|number| number.to_string()).collect();
        self.files += FILES;
        for name in &names {
            fs::write(self.folder.join(name), "")?;
        }
        let events = call::events(&call::read(Way::Libc, self.innocent.as_raw_fd(), 4096)?);
        let seen: Vec<_> = events.iter().map(call::Event::name).collect();
        ensure!(seen == names, "{seen:?} where {names:?} were made");
        let wd = call::add_watch(Way::Libc, self.innocent.as_raw_fd(), &self.folder, libc::IN_CREATE);
        ensure!(wd == Ok(1), "add_watch: {wd:?}");
        let taken = start.elapsed();
        ensure!(taken < UNDISTURBED, "an innocent program waits for {taken:?}");
        Ok(())
    }

    /// The same, and somebody new can come.
    pub(crate) fn is_open(&mut self) -> Result<()> {
        self.goes_on()?;
        let another = watching(&self.folder)?;
        fs::write(self.folder.join(format!("for another {}", self.files)), "")?;
        let events = call::events(&call::read(Way::Libc, another.as_raw_fd(), 4096)?);
        ensure!(events.len() == 1, "{events:?}");
        let events = call::events(&call::read(Way::Libc, self.innocent.as_raw_fd(), 4096)?);
        ensure!(events.len() == 1, "{events:?}");
        Ok(())
    }

    /// The emulator is what it was, once what was done to it is over.
    pub(crate) fn ends(mut self) -> Result<()> {
        self.is_open()?;
        let (emulator, before) = (self.emulator, self.descriptors);
        let is_over = crate::shared::yield_patiently(|| descriptors(emulator).is_ok_and(|now| now <= before));
        let now = descriptors(emulator)?;
        ensure!(is_over, "the emulator has {now} descriptors where it had {before}");
        let memory = memory(emulator)?;
        ensure!(memory < self.memory + GROWTH_BYTES, "the emulator has {memory} bytes, and had {}", self.memory);
        Ok(())
    }

    /// Has the emulator find all that is sent now at once, when it goes on.
    pub(crate) fn stop(&self) -> Result<()> {
        Ok(kill(Pid::from_raw(self.emulator), Signal::SIGSTOP)?)
    }

    pub(crate) fn go(&self) -> Result<()> {
        Ok(kill(Pid::from_raw(self.emulator), Signal::SIGCONT)?)
    }

    /// The descriptors of the emulator are as few as at first, but for `more`.
    pub(crate) fn falls_to(&self, more: usize) -> bool {
        let most = self.descriptors + more;
        crate::shared::yield_patiently(|| descriptors(self.emulator).is_ok_and(|now| now <= most))
    }
}

pub(crate) fn descriptors(process: i32) -> Result<usize> {
    Ok(fs::read_dir(format!("/proc/{process}/fd"))?.count())
}

/// Bytes that are resident.
pub(crate) fn memory(process: i32) -> Result<u64> {
    let text = fs::read_to_string(format!("/proc/{process}/statm"))?;
    Ok(text.split(' ').nth(1).context("the second field")?.parse::<u64>()? * 4096)
}
