//! The plan of a replay: which call of a program is which of a recording, and which event is next.
//!
//! Nothing is done here. The emulator says what the program calls, and is told what the recording has as the answer; it asks
//! for the next event, and is told to wait while the program has not come so far.

mod build;
mod call;

use std::collections::BTreeMap;

use uinotify_core::{Event, Wd};

use crate::trace::Record;

pub(crate) use call::{Answer, Call};

/// What a program is to be shown again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recording {
    /// What has happened, each with its line in the file.
    pub records: Vec<(usize, Record)>,
    /// Events come as long after what was before them as they did, and not as soon as can be.
    pub is_in_real_time: bool,
}

/// What is told to a reader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// This event, kept apart from the one before. IN_IGNORED ends its watch.
    Event(Event),
    /// IN_Q_OVERFLOW.
    Overflow,
    /// The end of a watch, whose IN_IGNORED was lost.
    End(Wd),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Act {
    Call {
        call: Call,
        answer: Answer,
        is_done: bool,
    },
    Event {
        told: Told,
        /// How many events waited when it had come, itself included.
        queue_events: usize,
        /// The recording shows that it was read.
        was_read: bool,
    },
}

/// One line of the recording, if it is more than a remark.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Step {
    line: usize,
    time_us: u64,
    /// As the recording numbers it.
    instance: u64,
    act: Act,
}

impl Step {
    /// A call that nobody has made yet.
    fn awaited(&self) -> Option<&Call> {
        match &self.act {
            Act::Call { call, is_done: false, .. } => Some(call),
            _ => None,
        }
    }
}

/// What there is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Tell an instance of this.
    Tell(u64, Told),
    /// Nothing before an instance has read.
    Read(u64),
    /// Nothing before this time, in microseconds.
    Time(u64),
    /// Nothing before a call.
    Call,
    /// Nothing any more.
    End,
}

/// The step of a call that was made as recorded, and its recorded answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Matched {
    step: usize,
    pub(crate) answer: Answer,
}

/// A recording, and how far a program has come in it.
#[derive(Debug, Default)]
pub(crate) struct Replay {
    steps: Vec<Step>,
    is_in_real_time: bool,
    /// The first step that is not over.
    next: usize,
    /// Of each recorded instance its calls, `inotify_init1` apart, from the first that may not have been made.
    calls: BTreeMap<u64, std::collections::VecDeque<usize>>,
    /// By the number of the emulator's instance that of the recorded one.
    recorded: BTreeMap<u64, u64>,
    /// The other way round.
    present: BTreeMap<u64, u64>,
    /// A recorded time, and when that was here.
    anchor: Option<(u64, u64)>,
    departures: Vec<String>,
}

impl Replay {
    pub(crate) fn new(recording: &Recording) -> Self {
        let steps = build::steps(&recording.records);
        let mut calls: BTreeMap<u64, std::collections::VecDeque<usize>> = BTreeMap::new();
        for (index, step) in steps.iter().enumerate() {
            if step.awaited().is_some_and(|call| !matches!(call, Call::Init { .. })) {
                calls.entry(step.instance).or_default().push_back(index);
            }
        }
        Self { steps, calls, is_in_real_time: recording.is_in_real_time, ..Self::default() }
    }

    /// Where the program has departed from the recording, oldest first.
    pub(crate) fn departures(&self) -> &[String] {
        &self.departures
    }

    fn depart(&mut self, message: String) {
        self.departures.push(message);
    }

    /// A call as the recording has it, with its line.
    fn shown(&self, index: usize) -> String {
        match &self.steps[index] {
            Step { line, act: Act::Call { call, answer, .. }, .. } => format!("line {line} has {call}{answer}"),
            Step { line, .. } => format!("line {line} has an event"),
        }
    }

    /// A call of the recording is over.
    fn complete(&mut self, index: usize) {
        if let Act::Call { is_done, .. } = &mut self.steps[index].act {
            *is_done = true;
        }
    }

    fn matched(&mut self, index: usize, now_us: u64) -> Option<Matched> {
        self.complete(index);
        self.anchor = Some((self.steps[index].time_us, now_us));
        match &self.steps[index].act {
            Act::Call { answer, .. } => Some(Matched { step: index, answer: answer.clone() }),
            Act::Event { .. } => None,
        }
    }

    /// `inotify_init1` was called: the next one of the recording, whichever process made that.
    pub(crate) fn initializes(&mut self, flags: i32, now_us: u64) -> Option<Matched> {
        let called = Call::Init { flags: Some(flags) };
        let is_init = |step: &Step| matches!(step.awaited(), Some(Call::Init { .. }));
        let Some(index) = self.steps.iter().position(is_init) else {
            self.depart(format!("{called} was called, and the recording has no instance more"));
            return None;
        };
        if let Some(Call::Init { flags: Some(recorded) }) = self.steps[index].awaited()
            && *recorded != flags
        {
            self.depart(format!("{}, and the program calls {called}", self.shown(index)));
        }
        self.matched(index, now_us)
    }

    /// The instance of a recorded `inotify_init1` has this number here.
    pub(crate) fn opened(&mut self, matched: &Matched, id: u64) {
        let recorded = self.steps[matched.step].instance;
        self.recorded.insert(id, recorded);
        self.present.insert(recorded, id);
    }

    /// A call of an instance. `None`: the recording has no such call, and nothing to say of its answer.
    pub(crate) fn called(&mut self, id: u64, call: &Call, now_us: u64) -> Option<Matched> {
        // It has been told already that there is no such instance in the recording.
        let recorded = *self.recorded.get(&id)?;
        let Self { steps, calls, .. } = self;
        let calls = calls.entry(recorded).or_default();
        while calls.front().is_some_and(|index| steps[*index].awaited().is_none()) {
            calls.pop_front();
        }
        let Some(&expected) = calls.front() else {
            self.depart(format!("{call} was called, and the recording has no further call of this instance"));
            return None;
        };
        let awaited = |index: &&usize| steps[**index].awaited().is_some();
        let is_meant = |index: &&usize| steps[**index].awaited() == Some(call);
        // A folder may be listed in another order in another place: watches that are added in a row come in any order.
        let is_in_row = |index: &&usize| matches!(steps[**index].awaited(), Some(Call::AddWatch { .. }));
        let in_row = calls.iter().filter(awaited).take_while(is_in_row).find(is_meant);
        if steps[expected].awaited() == Some(call) {
            return self.matched(expected, now_us);
        }
        if let Some(&index) = in_row {
            return self.matched(index, now_us);
        }
        let Some(&later) = calls.iter().find(is_meant) else {
            self.depart(format!("{}, and the program calls {call}", self.shown(expected)));
            return None;
        };
        let skipped: Vec<usize> = calls.iter().filter(awaited).copied().take_while(|index| *index != later).collect();
        let others = match skipped.len() {
            1 => String::new(),
            count => format!(", and {} calls more,", count - 1),
        };
        self.depart(format!(
            "{}{others} and the program calls {call}: it goes on at line {}",
            self.shown(expected),
            self.steps[later].line
        ));
        skipped.into_iter().for_each(|index| self.complete(index));
        self.matched(later, now_us)
    }

    /// A call was answered.
    pub(crate) fn answered(&mut self, matched: &Matched, answer: &Answer) {
        if *answer != matched.answer {
            self.depart(format!("{}, and here it is{answer}", self.shown(matched.step)));
        }
    }

    /// An instance was closed.
    pub(crate) fn closed(&mut self, id: u64) {
        let Some(recorded) = self.recorded.remove(&id) else { return };
        if let Some(missing) = self.missing(|step| step.instance == recorded) {
            self.depart(format!("the program has closed instance {id}, and {missing}"));
        }
        self.present.remove(&recorded);
        for step in &mut self.steps {
            if let (true, Act::Call { is_done, call, .. }) = (step.instance == recorded, &mut step.act) {
                *is_done |= !matches!(call, Call::Init { .. });
            }
        }
    }

    /// The program has ended.
    pub(crate) fn ended(&mut self) {
        if let Some(missing) = self.missing(|_| true) {
            self.depart(format!("the program has ended, and {missing}"));
        }
        self.next = self.steps.len();
    }

    /// What the recording has that did not happen.
    fn missing(&self, is_meant: impl Fn(&Step) -> bool) -> Option<String> {
        let left = |(index, step): &(usize, &Step)| match &step.act {
            Act::Call { is_done, .. } => !is_done,
            Act::Event { was_read, .. } => {
                *index >= self.next && *was_read && self.present.contains_key(&step.instance)
            }
        };
        let mut left = self.steps.iter().enumerate().filter(|(_, step)| is_meant(step)).filter(left);
        let (first, _) = left.next()?;
        let shown = match &self.steps[first] {
            Step { line, act: Act::Event { .. }, .. } => format!("line {line} has an event that was read"),
            _ => self.shown(first),
        };
        Some(match left.count() {
            0 => shown,
            count => format!("{shown}; {count} calls and events more are missing"),
        })
    }

    /// What comes next, at a time in microseconds. `waiting` tells how many events wait in an instance.
    pub(crate) fn next(&mut self, now_us: u64, mut waiting: impl FnMut(u64) -> usize) -> Next {
        while let Some(step) = self.steps.get(self.next) {
            let (told, queue_events) = match &step.act {
                Act::Call { is_done: false, .. } => return Next::Call,
                Act::Call { .. } => {
                    self.next += 1;
                    continue;
                }
                Act::Event { told, queue_events, .. } => (told, *queue_events),
            };
            // Closed: nobody is left to be told.
            let Some(&id) = self.present.get(&step.instance) else {
                self.next += 1;
                continue;
            };
            let (recorded_us, then_us) = *self.anchor.get_or_insert((step.time_us, now_us));
            let due_us = then_us + step.time_us.saturating_sub(recorded_us);
            if self.is_in_real_time && now_us < due_us {
                return Next::Time(due_us);
            }
            if waiting(id) >= queue_events.max(1) {
                return Next::Read(id);
            }
            self.anchor = Some((step.time_us, if self.is_in_real_time { due_us } else { now_us }));
            let told = told.clone();
            self.next += 1;
            return Next::Tell(id, told);
        }
        Next::End
    }

    /// The last line that counts.
    pub(crate) fn last_line(&self) -> usize {
        self.steps.last().map_or(0, |step| step.line)
    }
}

#[cfg(test)]
mod tests;
