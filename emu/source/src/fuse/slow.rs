//! Calls that wait for a disk and tell nothing: another thread makes and answers them, so that they hold up nobody else.

use std::fs::File;
use std::sync::Arc;
use std::thread;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use nix::errno::Errno;

use super::device::Device;

/// So many wait at most; another one is done by whoever brings it.
const JOBS_MAX: usize = 64;

/// Which call.
#[derive(Clone, Copy, Debug)]
pub(super) enum SlowCall {
    /// `fsync(2)`
    File,
    /// `fdatasync(2)`
    Data,
    /// `syncfs(2)`
    FileSystem,
}

impl SlowCall {
    pub(super) fn make(self, file: &File) -> Result<(), Errno> {
        match self {
            Self::File => nix::unistd::fsync(file),
            Self::Data => nix::unistd::fdatasync(file),
            Self::FileSystem => nix::unistd::syncfs(file),
        }
    }
}

/// A request that is answered once its call is made.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) device: Device,
    pub(super) unique: u64,
    /// Stays open, though it may be closed meanwhile.
    pub(super) file: Arc<File>,
    pub(super) call: SlowCall,
}

/// The thread, which comes with the first job and goes with this.
#[derive(Debug, Default)]
pub(super) struct Slow {
    jobs: Option<Sender<Job>>,
}

impl Slow {
    /// Whether the next job brings the thread.
    pub(super) fn is_idle(&self) -> bool {
        self.jobs.is_none()
    }

    /// Takes a job, or gives it back if there is no thread or too much to do.
    pub(super) fn take(&mut self, job: Job) -> Result<(), Job> {
        if self.jobs.is_none() {
            let (sender, jobs) = bounded(JOBS_MAX);
            if thread::Builder::new().name("slow calls".into()).spawn(move || work(&jobs)).is_err() {
                return Err(job);
            }
            self.jobs = Some(sender);
        }
        let Some(jobs) = &self.jobs else { return Err(job) };
        jobs.try_send(job).map_err(TrySendError::into_inner)
    }
}

fn work(jobs: &Receiver<Job>) {
    while let Ok(Job { device, unique, file, call }) = jobs.recv() {
        let done = call.make(&file);
        // It may have been closed in the meantime.
        drop(file);
        // The file system may be gone.
        let _ = device.send(unique, done.map(|()| &[][..]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_much_comes_back() {
        let (sender, jobs) = bounded(1);
        let mut slow = Slow { jobs: Some(sender) };
        let file = Arc::new(File::open("/").expect("the root"));
        let job = |unique| Job {
            device: Device::new(std::fs::File::open("/dev/null").expect("a file").into()).expect("a device"),
            unique,
            file: Arc::clone(&file),
            call: SlowCall::File,
        };
        assert!(slow.take(job(1)).is_ok());
        assert_eq!(slow.take(job(2)).map_err(|job| job.unique), Err(2));
        drop(jobs);
        assert_eq!(slow.take(job(3)).map_err(|job| job.unique), Err(3));
    }
}
