//! Faults that a test asks for: calls that fail, events that are lost or late. docs/testbed.md says what each stands for.
//!
//! All of it is decided here and in the core's [`arrival`](uinotify_core::arrival), without a clock or any other chance than a
//! seed's: the same rules and the same calls have the same end every time.

mod rule;

use std::collections::BTreeMap;

use nix::errno::Errno;
use uinotify_core::schedule::seed_of;
use uinotify_core::{ArrivalRule, Fate, Schedule};

pub use uinotify_core::Delay;

pub use rule::{Call, FaultRule, NotARule, QueueFault, Target, parse_delay, parse_plan};

/// The faults that an emulator starts with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FaultPlan {
    /// In the order in which they are asked.
    pub rules: Vec<FaultRule>,
    /// How long events are held back; its time is in microseconds.
    pub delay: Delay,
    /// Of all chances.
    pub seed: u64,
    /// A lost event may be lost without an overflow.
    pub may_lie: bool,
}

/// The number of a rule within an emulator.
pub(crate) type RuleNumber = u64;

/// The rules in force, and how far each has come in each instance.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    rules: BTreeMap<RuleNumber, FaultRule>,
    made: RuleNumber,
    /// Those about calls. Instance 0 stands for the emulator itself, of which an instance is asked.
    running: BTreeMap<(RuleNumber, u64), Schedule>,
    delay: Delay,
    seed: u64,
    may_lie: bool,
}

impl Faults {
    pub(crate) fn new(plan: FaultPlan) -> Self {
        let FaultPlan { rules, delay, seed, may_lie } = plan;
        let mut faults = Self { delay, seed, may_lie, ..Self::default() };
        for rule in rules {
            faults.add(rule);
        }
        faults
    }

    /// Puts a rule behind the others.
    pub(crate) fn add(&mut self, rule: FaultRule) -> RuleNumber {
        self.made += 1;
        self.rules.insert(self.made, rule);
        self.made
    }

    /// No rule and no delay is left.
    pub(crate) fn clear(&mut self) {
        self.rules.clear();
        self.running.clear();
        self.delay = Delay::None;
    }

    pub(crate) fn set_delay(&mut self, delay: Delay) {
        self.delay = delay;
    }

    /// Is a clock needed?
    pub(crate) fn is_timed(&self) -> bool {
        matches!(self.delay, Delay::Time(_))
    }

    /// An instance has ended.
    pub(crate) fn forget(&mut self, instance: u64) {
        self.running.retain(|(_, of), _| *of != instance);
    }

    /// A call is made: with which errno does it fail, if at all? Each rule for it counts; the first that means it decides.
    pub(crate) fn of_call(&mut self, call: Call, instance: u64, path: &[u8]) -> Option<Errno> {
        let Self { rules, running, seed, .. } = self;
        let mut found = None;
        for (number, rule) in rules.iter() {
            let Target::Call(of, errno) = rule.target else { continue };
            if of != call || !rule.is_of(path) {
                continue;
            }
            let schedule =
                running.entry((*number, instance)).or_insert_with(|| rule.schedule(*seed, *number, instance));
            if schedule.happens() {
                found = found.or(Some(errno));
            }
        }
        found
    }

    /// May a call fail, now or later?
    pub(crate) fn may_fail(&self, call: Call, instance: u64) -> bool {
        self.rules.iter().any(|(number, rule)| {
            matches!(rule.target, Target::Call(of, _) if of == call)
                && self.running.get(&(*number, instance)).is_none_or(|schedule| !schedule.is_over())
        })
    }

    /// What becomes of the events of a new instance.
    pub(crate) fn arrivals(&self, instance: u64) -> (Vec<ArrivalRule>, Delay) {
        let rules = self.rules.iter().filter_map(|(number, rule)| self.arrival(*number, rule, instance));
        (rules.collect(), self.delay)
    }

    /// The part of a rule for the events of an instance.
    pub(crate) fn arrival(&self, number: RuleNumber, rule: &FaultRule, instance: u64) -> Option<ArrivalRule> {
        let fate = match rule.target {
            Target::Call(..) => return None,
            Target::Queue(QueueFault::Drop) if self.may_lie => Fate::Vanish,
            Target::Queue(QueueFault::Overflow | QueueFault::Drop) => Fate::Overflow,
        };
        Some(ArrivalRule { schedule: rule.schedule(self.seed, number, instance), fate })
    }
}

impl FaultRule {
    fn schedule(&self, seed: u64, number: RuleNumber, instance: u64) -> Schedule {
        Schedule::new(self.choice, seed_of(seed_of(seed, number), instance))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(rules: &[&str]) -> Faults {
        let rules = rules.iter().map(|rule| rule.parse().expect(rule)).collect();
        Faults::new(FaultPlan { rules, ..FaultPlan::default() })
    }

    #[test]
    fn each_instance_counts_for_itself() {
        let mut faults = faults(&["add_watch:ENOSPC:when=2"]);
        let mut add = |instance| faults.of_call(Call::AddWatch, instance, b"/x");
        assert_eq!(
            [add(1), add(2), add(1), add(2), add(1)],
            [None, None, Some(Errno::ENOSPC), Some(Errno::ENOSPC), None]
        );
    }

    #[test]
    fn only_what_is_named_is_counted() {
        let mut faults = faults(&["add_watch:EACCES:when=2:path=/b"]);
        for path in ["/a", "/b", "/a", "/bb"] {
            assert_eq!(faults.of_call(Call::AddWatch, 1, path.as_bytes()), None, "{path}");
        }
        assert_eq!(faults.of_call(Call::RemoveWatch, 1, b""), None);
        assert_eq!(faults.of_call(Call::AddWatch, 1, b"/b"), Some(Errno::EACCES));
    }

    #[test]
    fn the_first_rule_decides_and_each_counts() {
        let mut faults = faults(&["read:EINTR:when=2", "read:EIO:when=1..3"]);
        let read: Vec<_> = (0..4).map(|_| faults.of_call(Call::Read, 1, b"")).collect();
        assert_eq!(read, [Some(Errno::EIO), Some(Errno::EINTR), Some(Errno::EIO), None]);
    }

    #[test]
    fn a_rule_that_is_over_keeps_nobody_asking() {
        let mut faults = faults(&["read:EINTR:when=1"]);
        assert!(faults.may_fail(Call::Read, 1));
        assert!(!faults.may_fail(Call::AddWatch, 1));
        faults.of_call(Call::Read, 1, b"");
        assert!(!faults.may_fail(Call::Read, 1));
        assert!(faults.may_fail(Call::Read, 2));
        faults.forget(1);
        assert!(faults.may_fail(Call::Read, 1), "an instance of this number would be another");
        faults.clear();
        assert!(!faults.may_fail(Call::Read, 2));
    }

    #[test]
    fn a_loss_is_told_but_for_a_lie() {
        let fates = |may_lie| {
            let rules = ["queue:drop", "queue:overflow:after=10", "init:EMFILE"];
            let rules = rules.iter().map(|rule| rule.parse().expect(rule)).collect();
            let faults = Faults::new(FaultPlan { rules, may_lie, ..FaultPlan::default() });
            faults.arrivals(1).0.iter().map(|rule| rule.fate).collect::<Vec<_>>()
        };
        assert_eq!(fates(false), [Fate::Overflow, Fate::Overflow]);
        assert_eq!(fates(true), [Fate::Vanish, Fate::Overflow]);
    }

    /// A session of many calls and events, with every kind of fault left to chance: what a program would see of it.
    fn session(seed: u64) -> Vec<String> {
        use uinotify_core::{AddMask, Arrivals, Config, Engine, Entry, FsEvent, Limits, ObjectId, OwnerId, Wd};
        let rules =
            ["add_watch:ENOSPC:probability=0.2", "rm_watch:EINVAL:probability=20%", "read:EINTR:probability=0.1"];
        let rules = rules.iter().chain(&["queue:drop:probability=0.2", "queue:overflow:when=30+25:probability=0.5"]);
        let rules = rules.map(|rule| rule.parse().expect(rule)).collect();
        let mut faults = Faults::new(FaultPlan { rules, delay: Delay::Events(3), seed, may_lie: true });
        let mut engine = Engine::new(Config::default());
        let group =
            engine.create_group(OwnerId(0), Limits { queue_events_max: 16, ..Limits::default() }).expect("a group");
        let (arrivals, delay) = faults.arrivals(1);
        engine.set_arrivals(group, |all| *all = Arrivals::new(arrivals, delay));
        let mask = AddMask::new(0xfff).expect("a mask");
        let mut seen = Vec::new();
        for step in 0..400_u64 {
            let object = ObjectId(step * 7 % 5);
            let outcome = match step % 8 {
                0 => match faults.of_call(Call::AddWatch, 1, b"") {
                    Some(errno) => format!("{errno:?}"),
                    None => format!("{:?}", engine.add_watch(group, object, mask)),
                },
                6 => match faults.of_call(Call::Read, 1, b"") {
                    Some(errno) => format!("{errno:?}"),
                    None => {
                        let mut events = Vec::new();
                        format!("{:?} {events:?}", engine.take(group, 256, &mut events))
                    }
                },
                7 if step % 3 == 0 => match faults.of_call(Call::RemoveWatch, 1, b"") {
                    Some(errno) => format!("{errno:?}"),
                    None => format!("{:?}", engine.remove_watch(group, Wd(1 + (step % 9) as i32))),
                },
                _ => {
                    let name = step.to_string();
                    let entry = Entry { directory: object, name: name.as_bytes() };
                    engine.observe(FsEvent::Create { entry, directory: false });
                    String::new()
                }
            };
            while engine.poll_output().is_some() {}
            seen.push(format!("{outcome} {} {:?}", engine.queue_len(group), engine.cursor(group)));
        }
        seen
    }

    /// The promise of `--seed`: a thousand times the same.
    #[test]
    fn a_seed_gives_the_same_session_a_thousand_times() {
        let first = session(1);
        for _ in 1..1000 {
            assert_eq!(session(1), first);
        }
        let others = (2..20).filter(|seed| session(*seed) != first).count();
        assert_eq!(others, 18, "every seed has a session of its own");
    }

    #[test]
    fn the_seed_decides() {
        let failing = |seed, instance| {
            let rules = vec!["add_watch:ENOSPC:probability=0.5".parse().expect("a rule")];
            let mut faults = Faults::new(FaultPlan { rules, seed, ..FaultPlan::default() });
            (0..64).map(|_| faults.of_call(Call::AddWatch, instance, b"").is_some()).collect::<Vec<_>>()
        };
        assert_eq!(failing(1, 1), failing(1, 1));
        assert_ne!(failing(1, 1), failing(2, 1));
        assert_ne!(failing(1, 1), failing(1, 2));
    }
}
