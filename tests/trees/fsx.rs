//! Random reads, writes, truncations, holes and mappings of one file, by two descriptors, against what the file has to hold.
//!
//! After fsx of Apple and the Linux test project; written anew, as it has to be told which descriptor goes which way.

use std::fs::{File, OpenOptions};
use std::num::NonZeroUsize;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, copy_file_range, fallocate};
use nix::sys::mman::{MapFlags, MsFlags, ProtFlags, mmap, msync, munmap};

use crate::random::Random;

const LENGTH_MAX: u32 = 256 * 1024;

/// Of one read or write.
const PIECE_MAX: u32 = 40 * 1024;

struct Exercise {
    path: PathBuf,
    files: [File; 2],
    model: Vec<u8>,
    random: Random,
    /// What the file system or the kernel cannot do.
    refused: Vec<&'static str>,
}

/// Does so many operations, and says what is in the file at the end.
pub(super) fn exercise(folder: &Path, steps: u32, seed: u64) -> Result<String> {
    let path = folder.join("file");
    let open = || OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
    let files = [open()?, open()?];
    let mut exercise =
        Exercise { path: path.clone(), files, model: Vec::new(), random: Random::new(seed), refused: Vec::new() };
    for step in 0..steps {
        exercise.step().with_context(|| format!("step {step} of seed {seed}"))?;
    }
    exercise.compare(0, LENGTH_MAX as usize)?;
    let sum = exercise
        .model
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    Ok(format!("{} bytes, {sum:#x}, without {:?}\n", exercise.model.len(), exercise.refused))
}

impl Exercise {
    fn step(&mut self) -> Result<()> {
        let length = self.model.len() as u32;
        let at = self.random.below(LENGTH_MAX);
        let count = 1 + self.random.below(PIECE_MAX.min(LENGTH_MAX - at));
        let which = self.random.below(2) as usize;
        match self.random.below(16) {
            0..5 => self.compare_by(which, at as usize, count as usize),
            5..9 => self.write(which, at as usize, count as usize),
            9 => self.set_length(which, at),
            10 => self.map(which, count, false),
            11 => self.map(which, count, true),
            12 => {
                let flags = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
                self.zero(which, "hole", flags, at, count)
            }
            13 => self.zero(which, "zeroes", FallocateFlags::FALLOC_FL_ZERO_RANGE, at, count),
            14 if length > 0 => self.copy(which, count),
            _ => self.reopen(which),
        }
    }

    /// The whole file, by both descriptors.
    fn compare(&mut self, at: usize, count: usize) -> Result<()> {
        for which in 0..2 {
            ensure!(self.files[which].metadata()?.len() == self.model.len() as u64, "the length");
            self.compare_by(which, at, count)?;
        }
        Ok(())
    }

    fn compare_by(&self, which: usize, at: usize, count: usize) -> Result<()> {
        let mut bytes = vec![0; count];
        let length = self.files[which].read_at(&mut bytes, at as u64)?;
        let expected = self.model.get(at..self.model.len().min(at + count)).unwrap_or_default();
        ensure!(length == expected.len(), "read of {count} at {at} gives {length}, not {}", expected.len());
        same(&bytes[..length], expected, at)
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        let (first, step) = (self.random.next() as u8, self.random.next() as u8 | 1);
        (0..count).map(|index| first.wrapping_add(step.wrapping_mul((index ^ (index >> 8)) as u8))).collect()
    }

    fn write(&mut self, which: usize, at: usize, count: usize) -> Result<()> {
        let bytes = self.bytes(count);
        self.files[which].write_all_at(&bytes, at as u64)?;
        if self.model.len() < at + count {
            self.model.resize(at + count, 0);
        }
        self.model[at..at + count].copy_from_slice(&bytes);
        if self.random.once_in(8) {
            self.files[which].sync_data()?;
        }
        Ok(())
    }

    fn set_length(&mut self, which: usize, length: u32) -> Result<()> {
        if self.random.once_in(2) {
            self.files[which].set_len(length.into())?;
        } else {
            nix::unistd::truncate(&self.path, length.into())?;
        }
        self.model.resize(length as usize, 0);
        Ok(())
    }

    /// Reads, or changes, a piece by a shared mapping.
    fn map(&mut self, which: usize, count: u32, writes: bool) -> Result<()> {
        let Some(length) = NonZeroUsize::new(self.model.len()) else { return Ok(()) };
        let at = self.random.below(self.model.len() as u32) as usize;
        let count = (count as usize).min(self.model.len() - at);
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a mapping of its own, at a place that the kernel chooses.
        let mapped = unsafe { mmap(None, length, protection, MapFlags::MAP_SHARED, &self.files[which], 0) };
        let Some(start) = self.unless_refused("mapping", mapped)? else { return Ok(()) };
        // SAFETY: the mapping is as long as the file, which nobody else makes shorter meanwhile.
        let bytes = unsafe { std::slice::from_raw_parts_mut(start.cast::<u8>().as_ptr(), length.get()) };
        let compared = same(&bytes[at..at + count], &self.model[at..at + count], at);
        if writes {
            let new = self.bytes(count);
            bytes[at..at + count].copy_from_slice(&new);
            self.model[at..at + count].copy_from_slice(&new);
            // SAFETY: it is mapped, over this length.
            unsafe { msync(start, length.get(), MsFlags::MS_SYNC) }?;
        }
        // SAFETY: it is mapped, over this length, and `bytes` is used no longer.
        unsafe { munmap(start, length.get()) }?;
        compared
    }

    fn zero(&mut self, which: usize, name: &'static str, flags: FallocateFlags, at: u32, count: u32) -> Result<()> {
        let done = fallocate(&self.files[which], flags, at.into(), count.into());
        if self.unless_refused(name, done)?.is_none() {
            return Ok(());
        }
        let (at, end) = (at as usize, (at + count) as usize);
        if flags.contains(FallocateFlags::FALLOC_FL_KEEP_SIZE) {
            let end = end.min(self.model.len());
            self.model.get_mut(at..end).unwrap_or_default().fill(0);
        } else {
            self.model.resize(end.max(self.model.len()), 0);
            self.model[at..end].fill(0);
        }
        Ok(())
    }

    /// From one descriptor to the other, to where it does not overlap.
    fn copy(&mut self, which: usize, count: u32) -> Result<()> {
        let from = self.random.below(self.model.len() as u32) as usize;
        let count = (count as usize).min(self.model.len() - from).min(LENGTH_MAX as usize / 2);
        let to = if from + 2 * count <= LENGTH_MAX as usize { from + count } else { from.saturating_sub(count) };
        if to + count > LENGTH_MAX as usize || (to < from + count && from < to + count) {
            return Ok(());
        }
        let (mut source, mut target) = (from as i64, to as i64);
        let (one, other) = (&self.files[which], &self.files[1 - which]);
        let copied = copy_file_range(one, Some(&mut source), other, Some(&mut target), count);
        let Some(copied) = self.unless_refused("copy_file_range", copied)? else { return Ok(()) };
        if self.model.len() < to + copied {
            self.model.resize(to + copied, 0);
        }
        self.model.copy_within(from..from + copied, to);
        Ok(())
    }

    fn reopen(&mut self, which: usize) -> Result<()> {
        self.files[which] = OpenOptions::new().read(true).write(true).open(&self.path)?;
        ensure!(self.files[which].metadata()?.len() == self.model.len() as u64, "the length");
        Ok(())
    }

    fn unless_refused<T>(&mut self, name: &'static str, done: Result<T, Errno>) -> Result<Option<T>> {
        match done {
            Ok(done) => Ok(Some(done)),
            Err(Errno::EOPNOTSUPP | Errno::ENODEV | Errno::EXDEV | Errno::ENOSYS) => {
                if !self.refused.contains(&name) {
                    self.refused.push(name);
                }
                Ok(None)
            }
            Err(errno) => bail!("{name}: {errno}"),
        }
    }
}

fn same(found: &[u8], expected: &[u8], at: usize) -> Result<()> {
    let differs = found.iter().zip(expected).position(|(found, expected)| found != expected);
    if let Some(place) = differs {
        bail!("byte {} is {:#x}, not {:#x}", at + place, found[place], expected[place]);
    }
    Ok(())
}
