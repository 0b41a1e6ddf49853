//! Rebuilding an instance in an emulator.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use uinotify_core::RestoreError as StateError;
use uinotify_host::{Client, EmulatorAddress, client, query_checkpoint};
use uinotify_images::checkpoint::{Checkpoint, Instance, Watch};
use uinotify_images::difference::{Difference, differences};

use super::object::{Finding, Found, Lost, Missing, Search, Whereabouts, errno_of};

/// By which calls watches get their numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Via {
    /// The cursor is set before each watch, in the order in which the watches were made, whatever kernel programs are shown: nothing
    /// is lost.
    #[default]
    Exact,
    /// As CRIU does it where the kernel has the ioctl: the same in ascending order of the numbers.
    Ioctl,
    /// As CRIU does it where the kernel has none: adding and removing in ascending order, until the number comes round.
    Loop,
}

/// How an instance is rebuilt.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// By which calls.
    pub via: Via,
    /// What to do about objects that are not where they were.
    pub missing: Missing,
    /// How often [`Via::Loop`] may remove a watch, over all watches.
    pub steps_max: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { via: Via::default(), missing: Missing::default(), steps_max: u64::MAX }
    }
}

/// How far it has come.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Watches that are there.
    pub watches: usize,
    /// Watches that there will be.
    pub watches_max: usize,
    /// Watches that were removed again.
    pub steps: u64,
    /// How often that will have been done.
    pub steps_expected: u64,
    /// Since the first call.
    pub elapsed: Duration,
}

impl Progress {
    /// How long all of it takes, as it has gone so far; nothing before the first step.
    #[must_use]
    pub fn projected(&self) -> Option<Duration> {
        let (done, all) = if self.steps_expected > 0 {
            (self.steps as f64, self.steps_expected as f64)
        } else {
            (self.watches as f64, self.watches_max as f64)
        };
        Duration::try_from_secs_f64(self.elapsed.as_secs_f64() * all / done).ok()
    }
}

/// An instance that was rebuilt.
#[derive(Debug)]
pub struct Restored {
    /// Its descriptor, close-on-exec.
    pub descriptor: OwnedFd,
    /// Its number in the emulator.
    pub id: u64,
    /// Objects that were not where they were, and have been dealt with.
    pub findings: Vec<Finding>,
    /// How it went.
    pub progress: Progress,
}

/// Why there is no instance. Nothing is left of it.
#[derive(Debug)]
#[non_exhaustive]
pub enum RestoreError {
    /// No instance can be in such a state (SNAPSHOT-3).
    State(StateError),
    /// These objects are not where they were, and nothing was to be done about that.
    Missing(Vec<Finding>),
    /// The emulator gives none.
    Open(io::Error),
    /// A watch was refused.
    Watch {
        /// Its number.
        wd: i32,
        /// What was called.
        call: &'static str,
        /// Its answer.
        errno: Errno,
    },
    /// A watch came out with another number.
    Number {
        /// The one that it had.
        wanted: i32,
        /// The one that it got.
        got: i32,
    },
    /// The loop has taken as many steps as it may.
    Steps {
        /// The watch that it was to give its number.
        wd: i32,
        /// How far it had come.
        progress: Progress,
    },
    /// The emulator does not take queue, cursor and limits.
    Rest(io::Error),
}

impl fmt::Display for RestoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::State(error) => error.fmt(f),
            Self::Missing(findings) => {
                write!(
                    f,
                    "{} of the watched objects are not as they were; --missing says what to do then",
                    findings.len()
                )?;
                findings.iter().try_for_each(|finding| write!(f, "\n{finding}"))
            }
            Self::Open(error) => write!(f, "the emulator gives no instance: {error}"),
            Self::Watch { wd, call, errno } => write!(f, "wd {wd:#x}: {call}: {}", errno.desc()),
            Self::Number { wanted, got } => write!(f, "wd {wanted:#x}: the watch has the number {got:#x}"),
            Self::Steps { wd, progress } => {
                let Progress { steps, steps_expected, elapsed, .. } = progress;
                write!(f, "wd {wd:#x}: not reached in {steps} steps, {:.1} s", elapsed.as_secs_f64())?;
                match progress.projected() {
                    Some(all) => write!(f, "; all {steps_expected} would take some {:.0} s", all.as_secs_f64()),
                    None => Ok(()),
                }
            }
            Self::Rest(error) => write!(f, "the emulator does not take the queue: {error}"),
        }
    }
}

impl std::error::Error for RestoreError {}

/// What a mask is asked for with, so that it is stored: one without any event is asked for with IN_ISDIR, which is stored as nothing.
fn asked_for(mask: u32) -> u32 {
    if mask == 0 { libc::IN_ISDIR } else { mask }
}

/// Rebuilds one instance of a checkpoint in the emulator at an address. `told` hears now and then how far it has come.
///
/// # Errors
///
/// [`RestoreError`].
pub fn restore(
    emulator: &EmulatorAddress<'_>,
    checkpoint: &Checkpoint,
    instance: &Instance,
    options: Options,
    told: &mut dyn FnMut(Progress),
) -> Result<Restored, RestoreError> {
    instance.check().map_err(RestoreError::State)?;
    let mut search = Search::default();
    let (watches, findings) = choose(&mut search, instance, options.missing)?;
    let nonblocking = instance.flags & libc::O_NONBLOCK.cast_unsigned() != 0;
    let client = Client::open(emulator, nonblocking).map_err(RestoreError::Open)?;
    set_flags(client.as_fd(), instance.flags).map_err(|errno| RestoreError::Open(errno.into()))?;

    let mut ordered: Vec<&Watch> = watches.iter().collect();
    if options.via != Via::Exact {
        ordered.sort_by_key(|watch| watch.wd);
    }
    let steps_expected = match (options.via, ordered.last()) {
        (Via::Loop, Some(last)) => u64::from(last.wd.unsigned_abs()) - ordered.len() as u64,
        _ => 0,
    };
    let mut walk = Walk {
        client: &client,
        progress: Progress {
            watches: 0,
            watches_max: ordered.len(),
            steps: 0,
            steps_expected,
            elapsed: Duration::ZERO,
        },
        began: Instant::now(),
        steps_max: options.steps_max,
        told,
    };
    for watch in ordered {
        let found = accepted(search.find(watch), options.missing).map_err(|whereabouts| {
            let path = watch.path.clone();
            RestoreError::Missing(vec![Finding { wd: watch.wd, path, whereabouts }])
        })?;
        walk.add(watch, &found, options.via)?;
    }
    walk.tell();
    let progress = walk.progress;
    if options.via == Via::Loop {
        // Each step has left an IN_IGNORED.
        client.drain().map_err(RestoreError::Rest)?;
    }
    let instance = Instance { watches, ..instance.clone() };
    let rest = Checkpoint { instances: vec![instance], ..checkpoint.clone() };
    let id = client.restore(emulator, &rest).map_err(RestoreError::Rest)?;
    Ok(Restored { descriptor: client.into_descriptor(), id, findings, progress })
}

/// Gives an instance that another has rebuilt, such as CRIU, what that one could not: the whole masks, queue, cursor, limits, order.
/// Watches that it has not are left out. `descriptor` is the program's, if it is at hand; else `inode` tells the instance by its socket,
/// the masks stay as they are, and what has happened since comes before the queue.
///
/// # Errors
///
/// The emulator has no such instance, or refuses.
pub fn fill(
    emulator: &EmulatorAddress<'_>,
    checkpoint: &Checkpoint,
    instance: &Instance,
    descriptor: Option<OwnedFd>,
    inode: u64,
) -> io::Result<u64> {
    let one = Checkpoint { instances: vec![instance.clone()], ..checkpoint.clone() };
    let Some(descriptor) = descriptor else { return client::restore(emulator, &one, None, inode) };
    let client = Client::attach(descriptor)?;
    let mut search = Search::default();
    for watch in instance.watches.iter().filter(|watch| watch.mask & !libc::IN_ALL_EVENTS != 0) {
        // An update of the watch that is there; of another object nothing is known.
        if let Ok(found) = search.find(watch) {
            client.add_watch(found.object.as_fd(), &found.path, watch.mask)?;
        }
    }
    client.restore(emulator, &one)
}

impl Restored {
    /// In what the instance differs from the one of the checkpoint.
    ///
    /// # Errors
    ///
    /// The emulator does not tell.
    pub fn differences(&self, emulator: &EmulatorAddress<'_>, wanted: &Instance) -> io::Result<Vec<Difference>> {
        let now = query_checkpoint(emulator, self.id)?;
        let Some(now) = now.instances.into_iter().next() else { return Err(io::ErrorKind::NotFound.into()) };
        let flags = fcntl_flags(self.descriptor.as_fd())?;
        Ok(differences(wanted, &Instance { flags, ..now }))
    }
}

/// The status flags that fdinfo of an inotify descriptor shows.
fn fcntl_flags(descriptor: BorrowedFd<'_>) -> Result<u32, Errno> {
    let flags = nix::fcntl::fcntl(descriptor, nix::fcntl::FcntlArg::F_GETFL)?;
    Ok((flags & !libc::O_ACCMODE).cast_unsigned())
}

fn set_flags(descriptor: BorrowedFd<'_>, flags: u32) -> Result<(), Errno> {
    // SAFETY: takes numbers only.
    let result = unsafe { libc::fcntl(descriptor.as_raw_fd(), libc::F_SETFL, flags.cast_signed()) };
    Errno::result(result).map(drop)
}

/// The watches that are to be made, and the objects that are not where they were: before anything is made.
fn choose(
    search: &mut Search,
    instance: &Instance,
    missing: Missing,
) -> Result<(Vec<Watch>, Vec<Finding>), RestoreError> {
    let (mut chosen, mut findings, mut refused) = (Vec::new(), Vec::new(), Vec::new());
    for watch in &instance.watches {
        let Err(lost) = search.find(watch) else {
            chosen.push(watch.clone());
            continue;
        };
        let finding = Finding { wd: watch.wd, path: watch.path.clone(), whereabouts: lost.whereabouts.clone() };
        if missing == Missing::Skip {
            findings.push(finding);
        } else if accepted(Err(lost), missing).is_ok() {
            findings.push(finding);
            chosen.push(watch.clone());
        } else {
            refused.push(finding);
        }
    }
    if refused.is_empty() { Ok((chosen, findings)) } else { Err(RestoreError::Missing(refused)) }
}

/// What is to be watched, if the policy allows it.
fn accepted(found: Result<Found, Box<Lost>>, missing: Missing) -> Result<Found, Whereabouts> {
    found.or_else(|lost| {
        let Lost { whereabouts, at_path, by_handle } = *lost;
        let there = match missing {
            Missing::Path => at_path,
            Missing::Handle => by_handle,
            Missing::Fail | Missing::Skip => None,
        };
        there.ok_or(whereabouts)
    })
}

/// How often to tell.
const TELL_STEPS: u64 = 1024;

struct Walk<'a> {
    client: &'a Client,
    progress: Progress,
    began: Instant,
    steps_max: u64,
    told: &'a mut dyn FnMut(Progress),
}

impl Walk<'_> {
    fn tell(&mut self) {
        self.progress.elapsed = self.began.elapsed();
        (self.told)(self.progress);
    }

    /// Makes a watch with its number.
    fn add(&mut self, watch: &Watch, Found { object, path }: &Found, via: Via) -> Result<(), RestoreError> {
        let Watch { wd, mask, .. } = *watch;
        let failed = |call| move |error: io::Error| RestoreError::Watch { wd, call, errno: errno_of(&error) };
        let mask = asked_for(mask);
        match via {
            Via::Exact => self.client.place_cursor(wd).map_err(failed("the cursor"))?,
            Via::Ioctl => self.client.set_cursor(wd).map_err(failed("INOTIFY_IOC_SETNEXTWD"))?,
            Via::Loop => {}
        }
        loop {
            let got = self.client.add_watch(object.as_fd(), path, mask).map_err(failed("inotify_add_watch"))?;
            if got == wd {
                break;
            }
            if via != Via::Loop || got > wd {
                return Err(RestoreError::Number { wanted: wd, got });
            }
            if self.progress.steps >= self.steps_max {
                self.tell();
                return Err(RestoreError::Steps { wd, progress: self.progress });
            }
            self.client.remove_watch(got).map_err(failed("inotify_rm_watch"))?;
            self.progress.steps += 1;
            if self.progress.steps.is_multiple_of(TELL_STEPS) {
                self.tell();
            }
        }
        self.progress.watches += 1;
        if (self.progress.watches as u64).is_multiple_of(TELL_STEPS) {
            self.tell();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_the_loop_is_projected() {
        let progress = Progress {
            watches: 1,
            watches_max: 3,
            steps: 1000,
            steps_expected: 55_000_000,
            elapsed: Duration::from_millis(10),
        };
        assert_eq!(progress.projected().map(|all| all.as_secs()), Some(550));
        assert_eq!(Progress { steps: 0, ..progress }.projected(), None);
        let text = RestoreError::Steps { wd: 0x34d_71d6, progress }.to_string();
        assert_eq!(text, "wd 0x34d71d6: not reached in 1000 steps, 0.0 s; all 55000000 would take some 550 s");
    }
}
