//! Two processes write the same file at once, and one of them asks: the kernel merges its event into the other's, of which
//! nobody has been woken yet.

use std::fs::{self, OpenOptions};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::call::{self, Poll, Way};
use crate::process;
use crate::random::Random;
use crate::shared::{self, Shareable, Shared};

/// Epoll descriptors on the source, each of which has to be woken after the event is queued.
const WIDENING: usize = 300;

#[repr(C)]
struct Meeting {
    started: AtomicU32,
    finished: AtomicU32,
}

// SAFETY: it consists of atomics.
unsafe impl Shareable for Meeting {}

/// The kernel instance that the shim keeps, if it does.
fn source(emulated: RawFd) -> Option<RawFd> {
    let entries = fs::read_dir("/proc/self/fd").ok()?;
    entries.flatten().find_map(|entry| {
        let number = entry.file_name().to_str()?.parse().ok()?;
        let is_inotify = fs::read_link(entry.path()).is_ok_and(|link| link.as_os_str() == "anon_inode:inotify");
        (is_inotify && number != emulated).then_some(number)
    })
}

/// Half of the rounds are run with a wider window between queueing and waking, where there is a way to widen it.
pub(crate) fn rounds(folder: &Path, rounds: u64, seed: u64) -> Result<()> {
    let start = std::time::Instant::now();
    let path = folder.join("both");
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(&path)?;
    let instance = call::init(Way::Libc, libc::IN_NONBLOCK)?;
    let fd = instance.as_raw_fd();
    println!("emulator {}", call::emulator_of(fd));
    call::add_watch(Way::Libc, fd, &path, libc::IN_MODIFY)?;
    let epoll = call::epoll(Way::Libc, &[(fd, libc::EPOLLIN)])?;
    // What the shim fetches it fetches for the first question.
    ensure!(call::read(Way::Libc, fd, 4096) == Err(nix::errno::Errno::EAGAIN), "nothing has happened yet");

    let meeting: Shared<Meeting> = Shared::new();
    let peer = process::start(|| {
        let mut number = 0;
        loop {
            number += 1;
            while !shared::yield_until(1000, || meeting.started.load(Ordering::Acquire) == number) {}
            file.write_at(b"x", 0).expect("the file can be written");
            meeting.finished.store(number, Ordering::Release);
        }
    });
    let mut random = Random::new(seed);
    let (mut misses, mut blind) = (0, 0);
    let mut widened: Vec<OwnedFd> = Vec::new();
    let mut source_fd = None;
    for number in 1..=rounds {
        if number == rounds / 2
            && let Some(source) = source(fd)
        {
            source_fd = Some(source);
            for _ in 0..WIDENING {
                widened.push(call::epoll(Way::Raw, &[(source, libc::EPOLLIN)])?);
            }
        }
        let number = u32::try_from(number)?;
        let pause = random.below(3);
        let question = random.below(5);
        meeting.started.store(number, Ordering::Release);
        shared::spin(pause);
        file.write_at(b"x", 0)?;
        // The one that was added first is woken last. It is asked a little before the source itself.
        if let (Some(source), [first, ..]) = (source_fd, &widened[..])
            && call::epoll_wait(Way::Raw, first.as_raw_fd(), 0)?.is_empty()
        {
            blind += u32::from(call::queued_bytes(Way::Raw, source)? > 0);
        }
        let is_seen = match question {
            0 => call::queued_bytes(Way::Libc, fd)? >= 16,
            1 => {
                let poll = *random.choose(&[Poll::Poll, Poll::PPoll, Poll::Select, Poll::PSelect]);
                call::readable(Way::Libc, poll, &[fd], Duration::ZERO)?[0]
            }
            2 => call::epoll_wait(Way::Libc, epoll.as_raw_fd(), 0)? == [fd],
            _ => {
                let bytes = call::read(Way::Libc, fd, 4096);
                let found = bytes.as_deref().map_or(0, |bytes| call::events(bytes).len());
                ensure!(found <= 2, "two writes make at most two events: {}", call::show(&bytes));
                found > 0
            }
        };
        misses += u32::from(!is_seen);
        while !shared::yield_until(1000, || meeting.finished.load(Ordering::Acquire) == number) {}
        while let Ok(bytes) = call::read(Way::Libc, fd, 4096) {
            let events = call::events(&bytes);
            let are_ours = events.iter().all(|event| event.mask == libc::IN_MODIFY);
            ensure!(are_ours && events.len() <= 2, "{}", call::show(&Ok(bytes)));
        }
    }
    process::end(peer);
    println!(
        "{rounds} rounds, {misses} misses, {:.1} s, UINOTIFY_SEED={seed}; widened by {} epoll descriptors, of which the last \
         did not see a queued event {blind} times",
        start.elapsed().as_secs_f64(),
        widened.len()
    );
    ensure!(misses == 0, "{misses} misses");
    Ok(())
}
