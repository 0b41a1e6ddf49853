//! What is done in each place.

use std::fs::{self, File, OpenOptions};
use std::hint::black_box;
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Instant;

use anyhow::{Result, ensure};

/// A kind of work.
pub(crate) struct Work {
    pub(crate) name: &'static str,
    pub(crate) unit: &'static str,
    /// The time of one, in the unit.
    pub(crate) time: fn(&Path) -> Result<f64>,
    /// The rate that the fast mode is to reach at least, of the plain directory's.
    pub(crate) rate_of_plain_min: Option<f64>,
}

/// So many files are there to be looked at.
const FILES: usize = 50;
const FILE_BYTES: usize = 1024;

/// So many are made, written and removed.
const NEW_FILES: usize = 20;

const SMALL_WRITES: u64 = 200;
const SMALL_WRITE_BYTES: usize = 100;

const LARGE_MIB: usize = 16;
const TRANSFER_BYTES: usize = 128 << 10;

impl Work {
    pub(crate) const ALL: &[Self] = &[
        Self { name: "create, write, close, unlink", unit: "us", time: create, rate_of_plain_min: None },
        Self { name: "stat, twice", unit: "us", time: stat, rate_of_plain_min: None },
        Self { name: "open, read, close", unit: "us", time: open, rate_of_plain_min: None },
        Self { name: "small write", unit: "us", time: write_small, rate_of_plain_min: None },
        Self { name: "sequential read, a MiB", unit: "us", time: read_large, rate_of_plain_min: Some(0.7) },
        Self { name: "sequential write, a MiB", unit: "us", time: write_large, rate_of_plain_min: Some(0.4) },
    ];
}

/// Makes the files that the work is done with.
pub(crate) fn prepare(place: &Path) -> Result<()> {
    for number in 0..FILES {
        fs::write(place.join(number.to_string()), [1; FILE_BYTES])?;
    }
    fs::write(place.join("small"), [1; SMALL_WRITE_BYTES])?;
    fs::write(place.join("large"), vec![1; LARGE_MIB << 20])?;
    Ok(())
}

fn microseconds(start: Instant, count: usize) -> f64 {
    start.elapsed().as_secs_f64() * 1e6 / count as f64
}

fn create(place: &Path) -> Result<f64> {
    let paths: Vec<_> = (0..NEW_FILES).map(|number| place.join(format!("new{number}"))).collect();
    let start = Instant::now();
    for path in &paths {
        let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
        file.write_all(&[1; FILE_BYTES])?;
        drop(file);
        fs::remove_file(path)?;
    }
    Ok(microseconds(start, NEW_FILES))
}

fn stat(place: &Path) -> Result<f64> {
    let paths: Vec<_> = (0..FILES).map(|number| place.join(number.to_string())).collect();
    let start = Instant::now();
    for path in paths.iter().chain(&paths) {
        // stat(2), as most programs have it: the library's own asks for the time of birth.
        ensure!(nix::sys::stat::stat(black_box(path))?.st_size == FILE_BYTES.cast_signed() as i64);
    }
    Ok(microseconds(start, 2 * FILES))
}

fn open(place: &Path) -> Result<f64> {
    let paths: Vec<_> = (0..FILES).map(|number| place.join(number.to_string())).collect();
    let mut bytes = [0; FILE_BYTES];
    let start = Instant::now();
    for path in &paths {
        ensure!(File::open(path)?.read(&mut bytes)? == FILE_BYTES);
    }
    Ok(microseconds(start, FILES))
}

fn write_small(place: &Path) -> Result<f64> {
    let file = OpenOptions::new().write(true).open(place.join("small"))?;
    let start = Instant::now();
    for number in 0..SMALL_WRITES {
        file.write_at(&[1; SMALL_WRITE_BYTES], number * SMALL_WRITE_BYTES as u64)?;
    }
    Ok(microseconds(start, SMALL_WRITES as usize))
}

fn read_large(place: &Path) -> Result<f64> {
    let mut bytes = vec![0; TRANSFER_BYTES];
    let start = Instant::now();
    let mut file = File::open(place.join("large"))?;
    let mut all = 0;
    loop {
        match file.read(&mut bytes)? {
            0 => break,
            length => all += length,
        }
    }
    drop(file);
    let time = microseconds(start, LARGE_MIB);
    ensure!(all == LARGE_MIB << 20, "{all} bytes");
    Ok(time)
}

fn write_large(place: &Path) -> Result<f64> {
    let bytes = vec![2; TRANSFER_BYTES];
    let path = place.join("written");
    let _ = fs::remove_file(&path);
    let start = Instant::now();
    let mut file = File::create(&path)?;
    for _ in 0..(LARGE_MIB << 20) / TRANSFER_BYTES {
        file.write_all(&bytes)?;
    }
    drop(file);
    let time = microseconds(start, LARGE_MIB);
    fs::remove_file(&path)?;
    Ok(time)
}
