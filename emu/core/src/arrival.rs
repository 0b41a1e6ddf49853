//! What becomes of events on their way into a queue, where a test wants them to come late or not at all.
//!
//! Linux queues what it has matched at once, and loses it only with an overflow event behind. A test of a watcher wants such a
//! loss when it likes, and may want what no kernel does.

use std::collections::VecDeque;

use crate::event::Event;
use crate::schedule::Schedule;

/// What is to become of an event that arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is lost, and the overflow event is queued, as when it meets a full queue (OVERFLOW-2).
    Overflow,
    /// It is lost, and nothing says so. Linux never does this.
    Vanish,
}

/// Which events meet a fate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArrivalRule {
    /// Which of those that arrive in this queue, the overflow event apart.
    pub schedule: Schedule,
    /// What becomes of them.
    pub fate: Fate,
}

/// How long events are held back before they are queued, all in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Delay {
    /// Not at all.
    #[default]
    None,
    /// Until so many more have arrived behind.
    Events(u32),
    /// For so long, in the unit of the caller's clock.
    Time(u64),
    /// Until they are released.
    Release,
}

/// An event that is held back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) event: Event,
    pub(crate) adjacent: bool,
    due: u64,
}

/// The faults of one queue.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Arrivals {
    rules: Vec<ArrivalRule>,
    delay: Delay,
    held: VecDeque<Held>,
    now: u64,
}

impl Arrivals {
    /// Faults of which none has come yet.
    #[must_use]
    pub fn new(rules: Vec<ArrivalRule>, delay: Delay) -> Self {
        Self { rules, delay, ..Self::default() }
    }

    /// Adds a rule behind those that there are.
    pub fn push(&mut self, rule: ArrivalRule) {
        self.rules.push(rule);
    }

    /// Another delay, also for what is held already, but for its time.
    pub fn set_delay(&mut self, delay: Delay) {
        self.delay = delay;
    }

    /// No rules and no delay any more; what is held is to be released.
    pub fn clear(&mut self) {
        self.rules.clear();
        self.delay = Delay::None;
    }

    /// Nothing to do, now or later.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.rules.is_empty() && self.delay == Delay::None && self.held.is_empty()
    }

    /// The caller's clock stands at `now`.
    pub fn set_now(&mut self, now: u64) {
        self.now = now;
    }

    /// When the first event that is held for a time is due.
    #[must_use]
    pub fn next_due(&self) -> Option<u64> {
        match self.delay {
            Delay::Time(_) => self.held.front().map(|held| held.due),
            _ => None,
        }
    }

    /// An event arrives. Each rule counts it; the first that means it decides.
    pub(crate) fn fate(&mut self) -> Option<Fate> {
        let mut fate = None;
        for rule in &mut self.rules {
            if rule.schedule.happens() {
                fate = fate.or(Some(rule.fate));
            }
        }
        self.rules.retain(|rule| !rule.schedule.is_over());
        fate
    }

    /// Must an event wait that arrives now?
    pub(crate) fn holds(&self) -> bool {
        self.delay != Delay::None || !self.held.is_empty()
    }

    pub(crate) fn hold(&mut self, event: Event, adjacent: bool) {
        let length = if let Delay::Time(length) = self.delay { length } else { 0 };
        self.held.push_back(Held { event, adjacent, due: self.now.saturating_add(length) });
    }

    /// The next event whose time has come.
    pub(crate) fn due(&mut self) -> Option<Held> {
        let is_due = match self.delay {
            Delay::None => true,
            Delay::Events(behind) => self.held.len() > behind as usize,
            Delay::Time(_) => self.held.front().is_some_and(|held| held.due <= self.now),
            Delay::Release => false,
        };
        if is_due { self.held.pop_front() } else { None }
    }

    /// The next event, whether its time has come or not.
    pub(crate) fn release(&mut self) -> Option<Held> {
        self.held.pop_front()
    }

    /// How many events are held.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::allocator::Wd;
    use crate::queue::{EventQueue, Pushed};
    use crate::schedule::Choice;

    fn queue(rules: &[(Choice, Fate)], delay: Delay) -> EventQueue {
        let mut queue = EventQueue::new(10);
        let rules = rules
            .iter()
            .map(|(choice, fate)| ArrivalRule { schedule: Schedule::new(*choice, 1), fate: *fate })
            .collect();
        queue.set_arrivals(|arrivals| *arrivals = Arrivals::new(rules, delay));
        queue
    }

    fn push(queue: &mut EventQueue, name: &str) -> Pushed {
        let event = Event { wd: Wd(1), mask: 0x20, cookie: 0, name: name.as_bytes().into(), hidden: 0 };
        queue.push(event, false)
    }

    fn shown(queue: &EventQueue) -> String {
        let name = |event: &Event| match event.mask {
            0x4000 => "overflow".to_owned(),
            _ => String::from_utf8_lossy(&event.name).into_owned(),
        };
        queue.events().map(name).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn an_overflow_stands_where_the_lost_one_would() {
        let mut queue = queue(&[(Choice::only(2), Fate::Overflow)], Delay::None);
        let pushed: Vec<_> = ["a", "b", "c"].map(|name| push(&mut queue, name)).into();
        assert_eq!(pushed, [Pushed::Queued, Pushed::Overflowed, Pushed::Queued]);
        assert_eq!(shown(&queue), "a overflow c");
        assert_eq!(queue.arrivals(), None, "nothing is left of a rule that is over");
    }

    /// OVERFLOW-4
    #[test]
    fn one_overflow_stands_for_several() {
        let mut queue = queue(&[(Choice { first: 2, ..Choice::ALL }, Fate::Overflow)], Delay::None);
        for name in ["a", "b", "c"] {
            push(&mut queue, name);
        }
        assert_eq!(shown(&queue), "a overflow");
        queue.pop_front(2);
        push(&mut queue, "d");
        assert_eq!(shown(&queue), "overflow");
    }

    #[test]
    fn what_vanishes_is_not_told() {
        let mut queue = queue(&[(Choice::only(2), Fate::Vanish)], Delay::None);
        for name in ["a", "b", "a"] {
            push(&mut queue, name);
        }
        assert_eq!(shown(&queue), "a", "the tail is compared with what comes behind the lost one");
    }

    #[test]
    fn the_first_rule_decides_and_each_counts() {
        let rules = [(Choice::only(1), Fate::Vanish), (Choice::only(2), Fate::Overflow)];
        let mut queue = queue(&rules, Delay::None);
        for name in ["a", "b", "c"] {
            push(&mut queue, name);
        }
        assert_eq!(shown(&queue), "overflow c");
    }

    #[test]
    fn a_delay_of_events_is_a_distance() {
        let mut queue = queue(&[], Delay::Events(2));
        let pushed: Vec<_> = ["a", "b", "c", "d"].map(|name| push(&mut queue, name)).into();
        assert_eq!(pushed, [false, false, true, true].map(|others_came| Pushed::Held { others_came }));
        assert_eq!(shown(&queue), "a b");
        assert!(queue.release());
        assert_eq!(shown(&queue), "a b c d");
    }

    #[test]
    fn a_delay_of_time_ends_with_it() {
        let mut queue = queue(&[], Delay::Time(10));
        let at = |queue: &mut EventQueue, now| queue.set_arrivals(|arrivals| arrivals.set_now(now));
        at(&mut queue, 100);
        push(&mut queue, "a");
        at(&mut queue, 105);
        push(&mut queue, "b");
        assert_eq!(queue.arrivals().and_then(Arrivals::next_due), Some(110));
        assert!(!at(&mut queue, 109));
        assert!(at(&mut queue, 110));
        assert_eq!(shown(&queue), "a");
        at(&mut queue, 200);
        assert_eq!(shown(&queue), "a b");
    }

    #[test]
    fn what_waits_for_release_keeps_its_order() {
        let mut queue = queue(&[(Choice::only(3), Fate::Overflow)], Delay::Release);
        push(&mut queue, "a");
        push(&mut queue, "a");
        assert_eq!(shown(&queue), "");
        push(&mut queue, "lost");
        assert_eq!(shown(&queue), "a overflow", "equal ones merge when they are queued");
        push(&mut queue, "b");
        assert_eq!(shown(&queue), "a overflow");
        assert!(queue.set_arrivals(Arrivals::clear));
        assert_eq!(shown(&queue), "a overflow b");
        assert_eq!(queue.arrivals(), None);
    }
}
