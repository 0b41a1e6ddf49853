//! Staying awake between requests that follow each other quickly.
//!
//! Waking an idle processor takes several times as long as a request, so a program that adds a thousand watches would pay mostly for
//! that.

use std::time::{Duration, Instant};

/// Requests with less time between them come in a storm.
const STORM: Duration = Duration::from_micros(200);

/// How long to stay awake after one.
const LENGTH: Duration = Duration::from_micros(50);

/// A request that is there at the second look came while we had given up the processor: program and emulator share one, and
/// staying awake gains nothing.
const LOOKS_MIN: u32 = 2;

/// How many requests are then served without.
const SKIPPED: u32 = 256;

/// When to stay awake.
#[derive(Debug, Default)]
pub(crate) struct Vigil {
    last_request: Option<Instant>,
    ends: Option<Instant>,
    to_skip: u32,
}

impl Vigil {
    /// A request was answered.
    pub(crate) fn request_served(&mut self) {
        if self.to_skip > 0 {
            self.to_skip -= 1;
            return;
        }
        let now = Instant::now();
        let is_storm = self.last_request.is_some_and(|last| now.duration_since(last) < STORM);
        self.last_request = Some(now);
        self.ends = is_storm.then(|| now + LENGTH);
    }

    /// Is it still time?
    pub(crate) fn is_kept(&mut self) -> bool {
        let is_kept = self.ends.is_some_and(|ends| Instant::now() < ends);
        if !is_kept {
            self.ends = None;
        }
        is_kept
    }

    /// Something came after so many looks in vain.
    pub(crate) fn ended_by_request(&mut self, looks: u32) {
        if looks < LOOKS_MIN {
            self.to_skip = SKIPPED;
        }
        self.ends = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lone_request_is_no_storm() {
        let mut vigil = Vigil::default();
        assert!(!vigil.is_kept());
        vigil.request_served();
        assert!(!vigil.is_kept());
    }

    #[test]
    fn a_vigil_on_a_shared_processor_is_given_up() {
        let mut vigil = Vigil { last_request: Some(Instant::now()), ..Vigil::default() };
        vigil.request_served();
        vigil.ended_by_request(1);
        for _ in 0..SKIPPED {
            vigil.request_served();
            assert!(!vigil.is_kept());
        }
    }
}
