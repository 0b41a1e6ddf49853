//! A call that a thread of its own makes, and what happens to it meanwhile.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::call::returned;
use super::machine::Machine;
use super::{read, readiness};
use crate::operation::{Operation, Waiting};
use crate::trace::{Outcome, Return};

/// How long the thread must have slept without returning to be called waiting.
const SLEEP_MIN: Duration = Duration::from_millis(20);
/// Between two looks at the thread.
const LOOK: Duration = Duration::from_millis(1);

/// The thread in the call.
#[derive(Debug, Clone, Copy)]
pub(super) struct Thread {
    handle: libc::pthread_t,
    id: libc::pid_t,
}

impl Machine {
    /// See [`Operation::While`].
    pub(super) fn during(&mut self, waiting: &Waiting, meanwhile: &[Operation]) -> Result<Outcome> {
        let (announce, announced) = mpsc::channel();
        let call: Box<dyn FnOnce() -> Result<Outcome> + Send> = match waiting.clone() {
            Waiting::Read { descriptor, buffer } => {
                let (number, group) = (self.number(descriptor), self.is_group(descriptor));
                Box::new(move || read::read(number, &buffer, group))
            }
            Waiting::Poll { asking, descriptor, events, timeout_ms } => {
                let number = self.number(descriptor);
                Box::new(move || Ok(readiness::ask(asking, number, events, timeout_ms)))
            }
        };
        let thread = std::thread::spawn(move || {
            // SAFETY: takes no pointer.
            let handle = unsafe { libc::pthread_self() };
            let id = nix::unistd::gettid().as_raw();
            let told = announce.send(Thread { handle, id });
            // The sender lives until the call has returned: its end is how that is seen.
            let outcome = told.map_err(anyhow::Error::from).and_then(|()| call());
            drop(announce);
            outcome
        });
        let identity = announced.recv().context("the thread never began")?;
        let waited = sleeps(identity, &announced);
        self.waiting = Some(identity);
        let outcomes = meanwhile.iter().map(|operation| self.perform(operation)).collect::<Result<Vec<_>>>();
        self.waiting = None;
        let Ok(call) = thread.join() else {
            bail!("the thread panicked");
        };
        Ok(Outcome::While { waited, call: Box::new(call?), meanwhile: outcomes? })
    }

    /// See [`Operation::Interrupt`].
    pub(super) fn interrupt(&mut self, restart: bool) -> Outcome {
        let Some(thread) = self.waiting else {
            return Outcome::Returned(Return::Error(libc::ESRCH));
        };
        extern "C" fn ignore(_signal: libc::c_int) {}
        // SAFETY: a sigaction is a structure of integers, for which all zeros is a value.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_sigaction = ignore as extern "C" fn(libc::c_int) as libc::sighandler_t;
        action.sa_flags = if restart { libc::SA_RESTART } else { 0 };
        // SAFETY: the action lies at the pointer for the length of the call; its handler does nothing.
        let installed = unsafe { libc::sigaction(libc::SIGUSR1, &raw const action, std::ptr::null_mut()) };
        if installed != 0 {
            return returned(installed);
        }
        // SAFETY: the thread has not been joined: `waiting` is emptied before that.
        let sent = unsafe { libc::pthread_kill(thread.handle, libc::SIGUSR1) };
        Outcome::Returned(Return::Value(i64::from(sent)))
    }
}

/// Whether the thread goes to sleep in its call and stays so, rather than return.
fn sleeps(thread: Thread, announced: &mpsc::Receiver<Thread>) -> bool {
    let mut asleep_since: Option<Instant> = None;
    loop {
        // Disconnected: the call has returned.
        if let Err(mpsc::RecvTimeoutError::Disconnected) = announced.recv_timeout(LOOK) {
            return false;
        }
        if state(thread.id) != Some('S') {
            asleep_since = None;
        } else if asleep_since.get_or_insert_with(Instant::now).elapsed() >= SLEEP_MIN {
            return true;
        }
    }
}

/// The third field of the thread's `stat`, behind the parenthesised name.
fn state(id: libc::pid_t) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/self/task/{id}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}
