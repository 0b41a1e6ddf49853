//! Where the faults of a test come to bear.

use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::epoll::EpollTimeout;
use uinotify_core::{Arrivals, Delay};
use uinotify_wire::{FOR_READ, Request, RequestKind};

use super::Emulator;
use crate::fault::{Call, FaultRule};
use crate::place::Place;

/// Whole milliseconds, as epoll waits: rounded up, as before its time there is nothing to do.
const ROUNDING: Duration = Duration::from_millis(1);

impl Emulator {
    /// The errno with which something that an instance asks is to fail, if it is.
    pub(super) fn fault_of(&mut self, id: u64, request: &Request<'_>) -> Option<Errno> {
        let call = match request.kind {
            RequestKind::RemoveWatch => Call::RemoveWatch,
            RequestKind::SetCursor => Call::SetNextWd,
            RequestKind::Settle if request.word == FOR_READ => Call::Read,
            _ => return None,
        };
        let fault = self.faults.of_call(call, id, b"");
        if call == Call::Read {
            self.note_read_faults(id);
        }
        fault
    }

    /// A call that makes a watch is to fail. Linux has taken a number when it finds that there are too many watches (WD-7).
    pub(super) fn burn_like_linux(&mut self, id: u64, object: BorrowedFd<'_>, path: &[u8], refusal: Errno) {
        let Some(session) = self.sessions.get(&id) else { return };
        let group = session.group;
        let is_watched = match self.trees.find(object) {
            // Of an object in a tree nothing may be asked, as it would be asked of us.
            Some(object) => self.tools.engine.watch_of(group, object).is_some(),
            None => self.watched_in(id, &Place::of(object, path)).is_some(),
        };
        if refusal == Errno::ENOSPC && !is_watched {
            self.tools.engine.burn_wd(group);
        }
    }

    /// A new instance has the faults that are in force.
    pub(super) fn give_faults(&mut self, id: u64) {
        let (rules, delay) = self.faults.arrivals(id);
        if !rules.is_empty() || delay != Delay::None {
            self.change_arrivals(id, move |arrivals| *arrivals = Arrivals::new(rules, delay));
        }
        self.note_read_faults(id);
    }

    /// A rule from now on; its number.
    pub(super) fn add_fault(&mut self, rule: &FaultRule) -> u64 {
        let number = self.faults.add(rule.clone());
        for id in self.session_ids() {
            if let Some(arrival) = self.faults.arrival(number, rule, id) {
                self.change_arrivals(id, |arrivals: &mut Arrivals| arrivals.push(arrival));
            }
            self.note_read_faults(id);
        }
        number
    }

    /// No fault any more. What was held back is queued.
    pub(super) fn clear_faults(&mut self) {
        self.faults.clear();
        for id in self.session_ids() {
            self.change_arrivals(id, Arrivals::clear);
            self.note_read_faults(id);
        }
    }

    /// Another delay from now on.
    pub(super) fn set_delay(&mut self, delay: Delay) {
        self.faults.set_delay(delay);
        let now = self.now();
        for id in self.session_ids() {
            self.change_arrivals(id, |arrivals| {
                arrivals.set_now(now);
                arrivals.set_delay(delay);
            });
        }
    }

    /// Queues what is held back.
    pub(super) fn release_held(&mut self) {
        for id in self.session_ids() {
            self.tell_session(id, |engine, group| engine.release(group));
        }
    }

    /// A program may have to ask before each read, as only we can say that it is to fail.
    pub(super) fn note_read_faults(&mut self, id: u64) {
        let may_fail = self.faults.may_fail(Call::Read, id);
        if let Some(session) = self.sessions.get_mut(&id) {
            session.set_may_fail_reads(&self.tools.engine, may_fail);
        }
    }

    fn change_arrivals(&mut self, id: u64, change: impl FnOnce(&mut Arrivals)) {
        self.tell_session(id, |engine, group| engine.set_arrivals(group, change));
    }

    pub(super) fn session_ids(&self) -> Vec<u64> {
        self.sessions.keys().copied().collect()
    }

    /// For delays and replays, in microseconds.
    pub(super) fn now(&self) -> u64 {
        u64::try_from(Instant::now().duration_since(self.began).as_micros()).unwrap_or(u64::MAX)
    }

    /// Time goes on, for events that are held back for a time.
    pub(super) fn note_time(&mut self) {
        if !self.faults.is_timed() {
            return;
        }
        let now = self.now();
        for id in self.session_ids() {
            self.change_arrivals(id, |arrivals| arrivals.set_now(now));
        }
    }

    /// How long a wait may last that would last for `timeout`.
    pub(super) fn shorten_for_delays(&self, timeout: EpollTimeout) -> EpollTimeout {
        if !self.faults.is_timed() {
            return timeout;
        }
        let engine = &self.tools.engine;
        let due = engine.groups().filter_map(|group| engine.arrivals(group)?.next_due()).min();
        let Some(due) = due else { return timeout };
        let wait = Duration::from_micros(due.saturating_sub(self.now())) + ROUNDING;
        let wait = EpollTimeout::try_from(wait).unwrap_or(EpollTimeout::MAX);
        if timeout.is_none() { wait } else { timeout.min(wait) }
    }
}
