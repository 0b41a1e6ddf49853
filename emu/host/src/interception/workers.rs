//! Threads for what may take its time: a path on a file system of the program's own, another emulator.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::thread;

use crossbeam_channel::{Receiver, Sender, unbounded};
use nix::sys::eventfd::EventFd;

/// Threads of all programs together, and how many of them one program may have waiting.
const WORKERS_MAX: usize = 256;
const WORKERS_OF_PROCESS_MAX: usize = 16;

type Job<T> = Box<dyn FnOnce() -> Option<T> + Send>;

/// The threads, and what is to be done.
pub(crate) struct Workers<T> {
    jobs: Sender<(i32, Job<T>)>,
    to_do: Receiver<(i32, Job<T>)>,
    done: Receiver<(i32, Option<T>)>,
    report: Sender<(i32, Option<T>)>,
    wake: Arc<EventFd>,
    threads: usize,
    busy: usize,
    busy_of: HashMap<i32, usize>,
    waiting: VecDeque<(i32, Job<T>)>,
}

impl<T> fmt::Debug for Workers<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { threads, busy, .. } = self;
        write!(formatter, "Workers {{ threads: {threads}, busy: {busy} }}")
    }
}

impl<T: Send + 'static> Workers<T> {
    /// None yet. `wake` is written to when something is done.
    pub(crate) fn new(wake: EventFd) -> Self {
        let (jobs, to_do) = unbounded();
        let (report, done) = unbounded();
        let (busy_of, waiting) = (HashMap::new(), VecDeque::new());
        Self { jobs, to_do, done, report, wake: Arc::new(wake), threads: 0, busy: 0, busy_of, waiting }
    }

    /// Readable when something is done.
    pub(crate) fn wake(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }

    /// Has a thread do something for a process. Calls wait in their programs, so that there are never more jobs than threads there.
    pub(crate) fn submit(&mut self, process: i32, job: impl FnOnce() -> Option<T> + Send + 'static) {
        self.waiting.push_back((process, Box::new(job)));
        self.start_waiting();
    }

    /// What was done since this was last asked. A job that had nothing to report is done as well.
    pub(crate) fn take_done(&mut self) -> Vec<T> {
        let _ = self.wake.read();
        let mut results = Vec::new();
        while let Ok((process, result)) = self.done.try_recv() {
            self.busy -= 1;
            if let Some(count) = self.busy_of.get_mut(&process) {
                *count -= 1;
                if *count == 0 {
                    self.busy_of.remove(&process);
                }
            }
            results.extend(result);
        }
        self.start_waiting();
        results
    }

    fn start_waiting(&mut self) {
        let mut at = 0;
        while self.busy < WORKERS_MAX && at < self.waiting.len() {
            let has_room = |(process, _): &(i32, Job<T>)| {
                self.busy_of.get(process).is_none_or(|count| *count < WORKERS_OF_PROCESS_MAX)
            };
            if !self.waiting.get(at).is_some_and(has_room) {
                at += 1;
                continue;
            }
            let Some((process, job)) = self.waiting.remove(at) else { return };
            if self.busy == self.threads && !self.add_thread() {
                // No thread at all: then nothing else is to be had for this call.
                if self.threads == 0 {
                    let _ = self.report.send((process, job()));
                    let _ = self.wake.write(1);
                    self.busy += 1;
                    *self.busy_of.entry(process).or_default() += 1;
                } else {
                    self.waiting.insert(at, (process, job));
                }
                return;
            }
            self.busy += 1;
            *self.busy_of.entry(process).or_default() += 1;
            // The other end is here as well.
            let _ = self.jobs.send((process, job));
        }
    }

    fn add_thread(&mut self) -> bool {
        let (to_do, report, wake) = (self.to_do.clone(), self.report.clone(), Arc::clone(&self.wake));
        let work = move || {
            for (process, job) in to_do {
                let result = job();
                if report.send((process, result)).is_err() {
                    return;
                }
                let _ = wake.write(1);
            }
        };
        let has_started = thread::Builder::new().name("calls".into()).spawn(work).is_ok();
        self.threads += usize::from(has_started);
        has_started
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use nix::sys::eventfd::EfdFlags;

    #[test]
    fn one_process_that_keeps_threads_waiting_leaves_some_to_others() {
        let wake = EventFd::from_value_and_flags(0, EfdFlags::EFD_NONBLOCK).expect("a descriptor");
        let mut workers = Workers::new(wake);
        let (release, held) = unbounded::<()>();
        for _ in 0..WORKERS_MAX {
            let held = held.clone();
            workers.submit(1, move || {
                let _ = held.recv();
                Some(1)
            });
        }
        assert_eq!(workers.busy, WORKERS_OF_PROCESS_MAX);
        let finish = |workers: &mut Workers<i32>, count: usize| {
            let mut results = Vec::new();
            while results.len() < count {
                let mut entry = [PollFd::new(workers.wake(), PollFlags::POLLIN)];
                assert_eq!(poll(&mut entry, PollTimeout::from(10_000_u16)), Ok(1), "something is done");
                results.extend(workers.take_done());
            }
            results
        };
        workers.submit(2, || Some(2));
        assert_eq!(finish(&mut workers, 1), [2]);
        drop((release, held));
        assert_eq!(finish(&mut workers, WORKERS_MAX), [1; WORKERS_MAX]);
        assert_eq!((workers.busy, workers.threads <= WORKERS_OF_PROCESS_MAX + 1), (0, true));
        assert!(workers.busy_of.is_empty());
    }
}
