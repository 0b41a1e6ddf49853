//! Which occurrences of something are meant: the third, every second from the tenth on, one in ten.

/// What a chance is given in: one in so many is certain.
pub const MILLION: u32 = 1_000_000;

/// A choice among occurrences, which are counted from 1. The same choice with the same seed is always the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    choice: Choice,
    seen: u64,
    random: u64,
}

/// The choice of a [`Schedule`], before anything has happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Choice {
    /// The first that is meant, 1 for the very first.
    pub first: u64,
    /// The last that may be meant.
    pub last: Option<u64>,
    /// From one that is meant to the next; 0 for the first alone.
    pub step: u64,
    /// In millionths: how likely is each of these meant? [`MILLION`] is always.
    pub chance: u32,
}

impl Choice {
    /// Every one.
    pub const ALL: Self = Self { first: 1, last: None, step: 1, chance: MILLION };

    /// The one with this number alone.
    #[must_use]
    pub const fn only(number: u64) -> Self {
        Self { first: number, step: 0, ..Self::ALL }
    }
}

impl Schedule {
    /// A choice of which nothing has happened yet.
    #[must_use]
    pub fn new(choice: Choice, seed: u64) -> Self {
        Self { choice, seen: 0, random: seed }
    }

    /// It happens once more. Is this one meant?
    pub fn happens(&mut self) -> bool {
        self.seen = self.seen.saturating_add(1);
        let Choice { first, last, step, chance } = self.choice;
        let Some(past) = self.seen.checked_sub(first) else { return false };
        let is_chosen = past == 0 || step > 0 && past % step == 0;
        if !is_chosen || last.is_some_and(|last| self.seen > last) {
            return false;
        }
        chance >= MILLION || self.draw() % u64::from(MILLION) < u64::from(chance)
    }

    /// Will none be meant any more?
    #[must_use]
    pub fn is_over(&self) -> bool {
        let Choice { first, last, step, .. } = self.choice;
        step == 0 && self.seen >= first || last.is_some_and(|last| self.seen >= last)
    }

    /// SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).
    fn draw(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.random)
    }
}

/// A seed for one of several, such as an instance of an emulator: each has its own numbers.
#[must_use]
pub fn seed_of(seed: u64, which: u64) -> u64 {
    mix(seed ^ mix(which))
}

fn mix(number: u64) -> u64 {
    let number = (number ^ number >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ number >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ number >> 31
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meant(choice: Choice, seed: u64) -> Vec<u64> {
        let mut schedule = Schedule::new(choice, seed);
        (1..=12).filter(|_| schedule.happens()).collect()
    }

    #[test]
    fn occurrences_are_counted_from_one() {
        assert_eq!(meant(Choice::ALL, 0), (1..=12).collect::<Vec<_>>());
        assert_eq!(meant(Choice::only(3), 0), [3]);
        assert_eq!(meant(Choice { first: 10, ..Choice::ALL }, 0), [10, 11, 12]);
        assert_eq!(meant(Choice { first: 2, step: 4, ..Choice::ALL }, 0), [2, 6, 10]);
        assert_eq!(meant(Choice { first: 2, step: 4, last: Some(9), ..Choice::ALL }, 0), [2, 6]);
    }

    #[test]
    fn what_is_over_is_known() {
        let over_at = |choice| {
            let mut schedule = Schedule::new(choice, 0);
            (1..=12).find(|_| {
                schedule.happens();
                schedule.is_over()
            })
        };
        assert_eq!(over_at(Choice::only(3)), Some(3));
        assert_eq!(over_at(Choice { last: Some(5), ..Choice::ALL }), Some(5));
        assert_eq!(over_at(Choice { first: 2, ..Choice::ALL }), None);
    }

    #[test]
    fn chance_is_the_seeds() {
        let half = Choice { chance: MILLION / 2, ..Choice::ALL };
        assert_eq!(meant(half, 7), meant(half, 7));
        let differing = (0..20).filter(|seed| meant(half, *seed) != meant(half, 7)).count();
        assert!(differing >= 18, "{differing} of 20 seeds differ");
        assert!(meant(Choice { chance: 0, ..Choice::ALL }, 7).is_empty());
        let mut schedule = Schedule::new(Choice { chance: MILLION / 10, ..Choice::ALL }, 1);
        let count = (0..10_000).filter(|_| schedule.happens()).count();
        assert!((900..1100).contains(&count), "{count} of 10000 for one in ten");
    }

    #[test]
    fn each_has_its_own_numbers() {
        let seeds: std::collections::BTreeSet<_> = (0..1000).map(|which| seed_of(1, which)).collect();
        assert_eq!(seeds.len(), 1000);
    }
}
