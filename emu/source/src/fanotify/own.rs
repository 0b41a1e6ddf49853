//! Whose doing an event is.

/// Tells the emulator's own accesses from those of others, which the kernel reports as it does any: listening to them would never end.
#[derive(Debug)]
pub(super) struct Own {
    process: i32,
    /// The only one that counts, where others of the process are a test's.
    thread: Option<i32>,
    /// Who was asked for last, and the answer.
    latest: Option<(i32, bool)>,
}

impl Own {
    /// Of the calling thread alone, or of its whole process.
    pub(super) fn new(thread_alone: bool) -> Self {
        let thread = thread_alone.then(|| nix::unistd::gettid().as_raw());
        Self { process: std::process::id().cast_signed(), thread, latest: None }
    }

    /// Whether a process, or one of its threads, is this one. 0, of which an ordinary user is told for all others, is not.
    pub(super) fn is(&mut self, pid: i32) -> bool {
        if let Some(thread) = self.thread {
            return pid == thread;
        }
        if pid <= 0 || pid == self.process {
            return pid == self.process;
        }
        if let Some((latest, answer)) = self.latest
            && latest == pid
        {
            return answer;
        }
        // SAFETY: takes numbers only; signal 0 asks whether there is such a thread in this process.
        let answer = unsafe { libc::syscall(libc::SYS_tgkill, self.process, pid, 0) } == 0;
        self.latest = Some((pid, answer));
        answer
    }

    /// Numbers of threads are used again: what is known holds for one turn.
    pub(super) fn end_turn(&mut self) {
        self.latest = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_of_this_process_are_its_own() {
        let mut own = Own::new(false);
        // SAFETY: takes nothing.
        let thread = std::thread::spawn(|| unsafe { libc::gettid() });
        let asked = std::thread::scope(|scope| {
            // SAFETY: takes nothing.
            scope.spawn(|| own.is(unsafe { libc::gettid() })).join()
        });
        assert!(asked.expect("a thread"));
        assert!(own.is(std::process::id().cast_signed()));
        assert!(!own.is(0) && !own.is(1) && !own.is(-1));
        drop(thread.join());
    }

    #[test]
    fn a_thread_may_be_all_that_is_own() {
        let mut own = Own::new(true);
        // SAFETY: takes nothing.
        let [this, other] = [unsafe { libc::gettid() }, std::process::id().cast_signed()];
        assert!(own.is(this));
        assert_eq!(own.is(other), this == other);
    }
}
