//! A recording that is shown again: where calls are compared with it, and its events queued.

use std::time::Duration;

use nix::errno::Errno;
use nix::sys::epoll::EpollTimeout;
use serde_json::{Value, json};
use uinotify_core::{Mask, Wd};
use uinotify_wire::{Reply, Request};

use super::{Emulator, say};
use crate::config::LimitOverrides;
use crate::control::ControlError;
use crate::replay::{Answer, Call, Matched, Next, Recording, Replay, Told};

/// The kernel tells of each read that leaves the socket nearly empty, of others now and then: how often to look.
const LOOK_FOR_READS: Duration = Duration::from_millis(5);

/// Departures that are told one by one. The rest is only counted.
const TOLD_MAX: usize = 20;

/// The replay of this emulator.
#[derive(Debug)]
pub(super) struct Replaying {
    plan: Replay,
    /// The call that is about to be answered.
    call: Option<Matched>,
    /// The `inotify_init1` that is about to be answered.
    init: Option<Matched>,
    /// How many departures have been told.
    told: usize,
    is_over: bool,
}

impl Replaying {
    pub(super) fn new(recording: &Recording) -> Self {
        Self { plan: Replay::new(recording), call: None, init: None, told: 0, is_over: false }
    }

    /// Says where the program has departed since the last time.
    fn tell(&mut self) {
        let departures = self.plan.departures();
        for (index, departure) in departures.iter().enumerate().skip(self.told) {
            if index < TOLD_MAX {
                say(&format!("departs from the recording: {departure}"));
            } else if index == TOLD_MAX {
                say("departs from the recording more often: the rest is counted");
            }
        }
        self.told = departures.len();
    }
}

impl Emulator {
    /// `inotify_init1` is called: the errno that it had when it was recorded.
    pub(super) fn replay_init(&mut self, flags: u64) -> Option<Errno> {
        let now = self.now();
        let replaying = self.replaying.as_mut()?;
        let matched = replaying.plan.initializes(i32::try_from(flags).unwrap_or(i32::MAX), now);
        replaying.tell();
        replaying.init = matched;
        let errno = replaying.init.as_ref()?.answer.errno()?;
        replaying.init = None;
        Some(errno)
    }

    /// The limits of an instance that is to be made: its queue has the length that the recorded one had.
    pub(super) fn replayed_limits(&self) -> LimitOverrides {
        let limits = self.config.limits;
        let init = self.replaying.as_ref().and_then(|replaying| replaying.init.as_ref());
        match init.map(|init| &init.answer) {
            Some(Answer::Done { queue_events_max: max @ 1.. }) => {
                LimitOverrides { queue_events_max: Some(*max), ..limits }
            }
            _ => limits,
        }
    }

    /// It was made.
    pub(super) fn replay_opened(&mut self, id: u64) {
        if let Some(replaying) = &mut self.replaying
            && let Some(init) = replaying.init.take()
        {
            replaying.plan.opened(&init, id);
            if let Some(session) = self.sessions.get_mut(&id) {
                session.set_replayed(&self.tools.engine, true);
            }
        }
    }

    /// An instance is asked something: the errno that it had when it was recorded.
    pub(super) fn replay_call(&mut self, id: u64, request: &Request<'_>) -> Option<Errno> {
        self.replaying.as_ref()?;
        // Whoever asks may have read before.
        self.feed_replay();
        let now = self.now();
        let replaying = self.replaying.as_mut()?;
        replaying.call = replaying.plan.called(id, &Call::of(request)?, now);
        replaying.tell();
        let answer = &replaying.call.as_ref()?.answer;
        if let (Answer::Wd(number) | Answer::NextWd(number), Some(session)) = (answer, self.sessions.get(&id)) {
            let (engine, group) = (&mut self.tools.engine, session.group);
            // Of a file that was cut, calls are missing that have taken numbers.
            if engine.object_of(group, Wd(*number)).is_err() || matches!(answer, Answer::NextWd(_)) {
                let _ = engine.set_cursor(group, u64::from(number.cast_unsigned()));
            }
        }
        answer.errno()
    }

    /// It is about to be answered.
    pub(super) fn replay_answer(&mut self, request: &Request<'_>, reply: &Reply) {
        let Some(replaying) = &mut self.replaying else { return };
        if let Some(matched) = replaying.call.take() {
            replaying.plan.answered(&matched, &Answer::of(request, reply));
            replaying.tell();
        }
        // What came at once when it was recorded is there when the program goes on.
        self.feed_replay();
    }

    /// An instance was closed.
    pub(super) fn replay_closed(&mut self, id: u64) {
        if let Some(replaying) = &mut self.replaying {
            replaying.plan.closed(id);
            replaying.tell();
        }
    }

    /// Queues what is due. What has to happen before there is more.
    pub(super) fn feed_replay(&mut self) -> Next {
        loop {
            let now = self.now();
            let Self { replaying, sessions, tools, .. } = self;
            let Some(replaying) = replaying else { return Next::End };
            let waiting = |id: u64| {
                let Some(session) = sessions.get_mut(&id) else { return 0 };
                session.acknowledge(&mut tools.engine);
                tools.engine.queue_len(session.group)
            };
            let next = replaying.plan.next(now, waiting);
            match next {
                Next::Tell(id, told) => {
                    self.follow_reads(id, false);
                    self.tell_session(id, |engine, group| match told {
                        Told::Overflow => _ = engine.source_overflowed(group),
                        Told::End(wd) => _ = engine.end_watch_silently(group, wd),
                        Told::Event(event) => {
                            if event.mask & Mask::IN_IGNORED.bits() != 0 {
                                let _ = engine.end_watch_silently(group, event.wd);
                            }
                            engine.queue_event(group, event, true);
                        }
                    });
                }
                Next::Read(id) => {
                    self.follow_reads(id, true);
                    return next;
                }
                _ => return next,
            }
        }
    }

    fn follow_reads(&mut self, id: u64, follows: bool) {
        if let Some(session) = self.sessions.get_mut(&id)
            && std::mem::replace(&mut session.is_followed, follows) != follows
        {
            self.update_interest(id);
        }
    }

    /// Queues what is due, and says how long a wait may last that would last for `timeout`.
    pub(super) fn replay_on(&mut self, timeout: EpollTimeout) -> EpollTimeout {
        if self.replaying.is_none() {
            return timeout;
        }
        let next = self.feed_replay();
        self.trace_events();
        // Nobody else looks for them before the wait is over.
        self.serve_readers();
        let wait = match next {
            Next::Read(_) => LOOK_FOR_READS,
            // Rounded up: before its time there is nothing to do.
            Next::Time(due) => Duration::from_micros(due.saturating_sub(self.now())) + Duration::from_millis(1),
            Next::Tell(..) | Next::Call => return timeout,
            Next::End => {
                self.note_end_of_recording();
                return timeout;
            }
        };
        let wait = EpollTimeout::try_from(wait).unwrap_or(EpollTimeout::MAX);
        if timeout.is_none() { wait } else { timeout.min(wait) }
    }

    fn note_end_of_recording(&mut self) {
        let Some(replaying) = &mut self.replaying else { return };
        if std::mem::replace(&mut replaying.is_over, true) {
            return;
        }
        let line = replaying.plan.last_line();
        for session in self.sessions.values_mut() {
            session.set_replayed(&self.tools.engine, false);
        }
        self.tell(&|| format!("the recording is over with line {line}: nothing more happens"));
    }

    /// The program has ended: how often it has departed.
    pub(super) fn end_replay(&mut self) -> Result<Value, ControlError> {
        if self.replaying.is_none() {
            return Err(ControlError::new(Errno::ENOENT, "nothing is replayed here"));
        }
        self.close_ended_sessions();
        let Some(replaying) = &mut self.replaying else { return Ok(json!({})) };
        replaying.plan.ended();
        replaying.tell();
        Ok(json!({ "departures": replaying.plan.departures().len() }))
    }
}
