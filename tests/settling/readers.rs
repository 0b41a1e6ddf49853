//! Several readers of one descriptor, with buffers that are too small at times: each event comes to one of them.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Result, ensure};
use nix::errno::Errno;

use crate::call::{self, Way};
use crate::process;
use crate::random::Random;
use crate::shared::{Shareable, Shared};

const EVENTS: u32 = 10_000;
const READERS: u32 = 3;

#[repr(C)]
struct State {
    is_written: AtomicU32,
}

// SAFETY: it consists of atomics.
unsafe impl Shareable for State {}

/// Names of all lengths, each one once.
fn name(number: u32) -> String {
    let length = 4 + (number as usize * 37) % 240;
    format!("{number:0length$}")
}

/// Reads until all is written and nothing is left, and gives the numbers that came.
fn collect(fd: RawFd, is_written: &AtomicU32, seed: u64) -> Vec<u32> {
    let mut random = Random::new(seed);
    let mut numbers = Vec::new();
    loop {
        let was_written = is_written.load(Ordering::Acquire) != 0;
        let room = match random.below(4) {
            0 => 16 + random.below(64) as usize,
            1 => 272 + random.below(300) as usize,
            2 => 4096,
            _ => random.below(272) as usize,
        };
        match call::read(Way::Libc, fd, room) {
            Ok(bytes) => {
                assert!(!bytes.is_empty() && bytes.len() <= room, "read({room}) gave {} bytes", bytes.len());
                for event in call::events(&bytes) {
                    assert_eq!(event.mask, libc::IN_CREATE, "{event:?}");
                    numbers.push(event.name().parse().expect("a number"));
                }
            }
            Err(Errno::EINVAL) => {}
            Err(Errno::EAGAIN) if was_written => return numbers,
            Err(Errno::EAGAIN) => std::thread::yield_now(),
            Err(errno) => panic!("read({room}): {errno}"),
        }
    }
}

fn check(all: &[u32], what: &str) -> Result<()> {
    let unique: BTreeSet<_> = all.iter().copied().collect();
    let lost: Vec<_> = (0..EVENTS).filter(|number| !unique.contains(number)).take(10).collect();
    ensure!(lost.is_empty(), "{what}: {} events of {EVENTS}, lost: {lost:?}...", unique.len());
    ensure!(all.len() == unique.len(), "{what}: {} events came twice", all.len() - unique.len());
    Ok(())
}

fn write_all(folder: &Path) {
    for number in 0..EVENTS {
        let path = folder.join(name(number));
        File::create(&path).expect("a file");
        fs::remove_file(&path).expect("the file goes");
    }
}

pub(crate) fn threads(folder: &Path, seed: u64) -> Result<()> {
    let instance = call::init(Way::Libc, libc::IN_NONBLOCK)?;
    let fd = instance.as_raw_fd();
    call::add_watch(Way::Libc, fd, folder, libc::IN_CREATE)?;
    let is_written = AtomicU32::new(0);
    let all = std::thread::scope(|scope| {
        let readers: Vec<_> = (0..READERS)
            .map(|index| {
                scope.spawn({
                    let is_written = &is_written;
                    move || collect(fd, is_written, seed + u64::from(index))
                })
            })
            .collect();
        write_all(folder);
        is_written.store(1, Ordering::Release);
        readers.into_iter().flat_map(|reader| reader.join().expect("the reader ends well")).collect::<Vec<_>>()
    });
    check(&all, "threads")
}

pub(crate) fn processes(folder: &Path, seed: u64) -> Result<()> {
    let instance = call::init(Way::Libc, libc::IN_NONBLOCK)?;
    let fd = instance.as_raw_fd();
    call::add_watch(Way::Libc, fd, folder, libc::IN_CREATE)?;
    let state: Shared<State> = Shared::new();
    let (output, input) = nix::unistd::pipe()?;
    let mut output = File::from(output);
    let readers: Vec<_> = (0..READERS)
        .map(|index| {
            process::start(|| {
                let numbers = collect(fd, &state.is_written, seed + u64::from(index));
                let bytes: Vec<u8> = numbers.into_iter().flat_map(u32::to_ne_bytes).collect();
                let mut input = File::from(input.try_clone().expect("a descriptor"));
                // Numbers are not torn: a pipe takes PIPE_BUF bytes as one.
                for chunk in bytes.chunks(4096) {
                    input.write_all(chunk).expect("the pipe is read");
                }
            })
        })
        .collect();
    write_all(folder);
    state.is_written.store(1, Ordering::Release);
    drop(input);
    let mut bytes = Vec::new();
    output.read_to_end(&mut bytes)?;
    readers.into_iter().for_each(process::finish);
    let all: Vec<_> = bytes.chunks_exact(4).map(|bytes| u32::from_ne_bytes(bytes.try_into().expect("four"))).collect();
    check(&all, "processes")
}
