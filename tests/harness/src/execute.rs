//! The executor: the process that does the operations, the same on every subject.
//!
//! It reads one [`List`] a line from its standard input and writes one [`Trace`] a line to its
//! standard output. Each list is done in a fresh directory by a forked child, so that descriptors, the
//! working directory, identities and name spaces are fresh too.

mod bare;
mod call;
mod file;
mod limits;
mod machine;
mod memory;
mod mount;
mod pass;
mod process;
mod read;
mod readiness;
mod waiting;

use std::fs::File;
use std::io::{BufRead, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::operation::List;
use crate::trace::{End, Outcome, Trace};

pub(crate) use bare::BY_NUMBER;
pub use limits::can_limit;
pub(crate) use read::take_apart;

/// The argument that makes a test program the executor.
pub const ARGUMENT: &str = "--execute";

/// What rebuilds the group behind a descriptor: see [`Operation::Checkpoint`](crate::operation::Operation::Checkpoint). Nothing for one
/// that the kernel has, or of which something that it watches has no name any more.
pub type Rebuild = fn(RawFd) -> Result<Option<OwnedFd>>;

static REBUILD: OnceLock<Rebuild> = OnceLock::new();

/// Says how groups are rebuilt. Without it none is.
pub fn set_rebuild(rebuild: Rebuild) {
    let _ = REBUILD.set(rebuild);
}

/// What waits until all that was done is in the queues: see [`Operation::Barrier`](crate::operation::Operation::Barrier).
pub type Barrier = fn() -> Result<()>;

static BARRIER: OnceLock<Barrier> = OnceLock::new();

/// Says how to wait. Without it there is nothing to wait for.
pub fn set_barrier(barrier: Barrier) {
    let _ = BARRIER.set(barrier);
}

fn barrier() -> Result<()> {
    BARRIER.get().map_or(Ok(()), |barrier| barrier())
}

/// Longest time from one outcome of a list to the next, unless the argument behind [`ARGUMENT`] says
/// otherwise, in milliseconds.
pub const STEP_MAX: Duration = Duration::from_secs(10);

/// What the forked child says of its list, one a line.
#[derive(Serialize, Deserialize)]
enum Report {
    Outcome(Outcome),
    Broken(String),
}

/// Does the lists of the standard input until it ends.
///
/// # Errors
///
/// If the input holds something that is not a list, the output is gone, or the machine has no
/// directory, pipe or process for a list.
pub fn execute() -> Result<()> {
    let mut input = std::io::stdin().lock();
    let mut output = std::io::stdout().lock();
    let step_max = match std::env::args().nth(2) {
        Some(text) => Duration::from_millis(text.parse()?),
        None => STEP_MAX,
    };
    if std::env::args().nth(3).as_deref() == Some(BY_NUMBER) {
        bare::call_by_number();
    }
    let mut line = String::new();
    while input.read_line(&mut line)? != 0 {
        let list: List = serde_json::from_str(&line)?;
        let trace = run(&list, step_max)?;
        serde_json::to_writer(&mut output, &trace)?;
        output.write_all(b"\n")?;
        output.flush()?;
        line.clear();
    }
    Ok(())
}

fn run(list: &List, step_max: Duration) -> Result<Trace> {
    let directory = fresh_directory()?;
    let (reading, writing) = process::high_pipe()?;
    let pid = process::fork()?;
    if pid == 0 {
        drop(reading);
        // A panic must not unwind into the parent's loop, which this process has a copy of.
        let done = std::panic::catch_unwind(AssertUnwindSafe(|| act(list, directory.path(), writing)));
        process::leave(i32::from(!matches!(done, Ok(Ok(())))));
    }
    drop(writing);
    let mut follower =
        Follower { reading, pending: Vec::new(), trace: Trace { outcomes: Vec::new(), end: End::Finished } };
    let followed = follower.follow(step_max);
    // The whole group: a list may have forked.
    if !matches!(followed, Ok(true)) {
        // SAFETY: takes no pointer; the group is the child's own, which has not been waited for.
        unsafe { libc::kill(-pid, libc::SIGKILL) };
    }
    let status = process::reap(pid);
    let mut trace = follower.trace;
    if !followed? {
        trace.end = End::Hang;
    } else if trace.end == End::Finished && libc::WIFSIGNALED(status) {
        trace.end = End::Killed(libc::WTERMSIG(status));
    } else if trace.end == End::Finished && libc::WEXITSTATUS(status) != 0 {
        trace.end = End::Broken(format!("exit status {}", libc::WEXITSTATUS(status)));
    }
    Ok(trace)
}

/// Searchable for every user: a list may become one.
fn fresh_directory() -> Result<tempfile::TempDir> {
    use std::os::unix::fs::PermissionsExt;
    tempfile::Builder::new()
        .prefix("conform-")
        .permissions(std::fs::Permissions::from_mode(0o755))
        .tempdir()
        .context("no directory for a list")
}

/// The forked child's part.
fn act(list: &List, directory: &Path, mut report: File) -> Result<()> {
    let prepared = prepare(list, directory);
    let mut say = |what: &Report| -> Result<()> {
        let mut line = serde_json::to_vec(what)?;
        line.push(b'\n');
        Ok(report.write_all(&line)?)
    };
    if let Err(error) = prepared {
        return say(&Report::Broken(format!("{error:#}")));
    }
    let mut machine = machine::Machine::default();
    for operation in &list.operations {
        match machine.perform(operation) {
            Ok(outcome) => say(&Report::Outcome(outcome))?,
            Err(error) => return say(&Report::Broken(format!("{error:#}"))),
        }
    }
    Ok(())
}

fn prepare(list: &List, directory: &Path) -> Result<()> {
    // SAFETY: takes no pointer.
    unsafe { libc::setpgid(0, 0) };
    // SAFETY: takes no pointer.
    unsafe { libc::umask(0o022) };
    std::env::set_current_dir(directory)?;
    list.limits.map_or(Ok(()), limits::limit)
}

/// Gathers the reports of a child.
struct Follower {
    reading: File,
    pending: Vec<u8>,
    trace: Trace,
}

impl Follower {
    /// Until the child ends (true) or has said nothing for `step_max` (false).
    fn follow(&mut self, step_max: Duration) -> Result<bool> {
        let mut chunk = vec![0; 1 << 16];
        let mut heard = Instant::now();
        loop {
            let left = step_max.saturating_sub(heard.elapsed());
            let mut entry = libc::pollfd { fd: self.reading.as_raw_fd(), events: libc::POLLIN, revents: 0 };
            // SAFETY: one pollfd lies at the pointer for the length of the call.
            let ready = unsafe { libc::poll(&raw mut entry, 1, left.as_millis() as i32) };
            if ready == 0 {
                return Ok(false);
            }
            let count = match self.reading.read(&mut chunk) {
                Ok(0) => return Ok(true),
                Ok(count) => count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.into()),
            };
            heard = Instant::now();
            self.pending.extend_from_slice(&chunk[..count]);
            self.take_lines()?;
        }
    }

    fn take_lines(&mut self) -> Result<()> {
        let Some(last) = self.pending.iter().rposition(|&byte| byte == b'\n') else {
            return Ok(());
        };
        let rest = self.pending.split_off(last + 1);
        let lines = std::mem::replace(&mut self.pending, rest);
        for line in lines.split(|&byte| byte == b'\n') {
            if line.is_empty() {
                continue;
            }
            match serde_json::from_slice(line)? {
                Report::Outcome(outcome) => self.trace.outcomes.push(outcome),
                Report::Broken(why) => self.trace.end = End::Broken(why),
            }
        }
        Ok(())
    }
}
