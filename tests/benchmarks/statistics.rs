//! What many samples say.

use std::time::{Duration, Instant};

/// Samples of one quantity.
#[derive(Clone, Debug, Default)]
pub(crate) struct Samples(Vec<f64>);

impl Samples {
    pub(crate) fn push(&mut self, sample: f64) {
        self.0.push(sample);
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The sample below which `part` of them lie, from 0 (the least) to 1 (the greatest).
    pub(crate) fn at(&self, part: f64) -> f64 {
        assert!(!self.0.is_empty(), "a benchmark has taken no samples");
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        sorted[((sorted.len() - 1) as f64 * part).round() as usize]
    }

    pub(crate) fn median(&self) -> f64 {
        self.at(0.5)
    }
}

/// Samples of both sides, taken in turn: each pair has seen the same machine.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pairs {
    pub(crate) native: Samples,
    pub(crate) ours: Samples,
    ratios: Samples,
}

impl Pairs {
    pub(crate) fn push(&mut self, native: f64, ours: f64) {
        self.native.push(native);
        self.ours.push(ours);
        self.ratios.push(ours / native);
    }

    /// First quartile, median and third quartile of ours over native.
    pub(crate) fn ratio_quartiles(&self) -> [f64; 3] {
        [0.25, 0.5, 0.75].map(|part| self.ratios.at(part))
    }
}

/// What reading the clock twice takes by itself, in nanoseconds.
pub(crate) fn clock_nanoseconds() -> f64 {
    let mut samples = Samples::default();
    for _ in 0..1000 {
        samples.push(nanoseconds(Instant::now().elapsed()));
    }
    samples.median()
}

pub(crate) fn nanoseconds(duration: Duration) -> f64 {
    duration.as_nanos() as f64
}

/// Runs both in turn, each first in every other turn, and gives what each returned: native, ours.
pub(crate) fn alternate<T>(turn: usize, native: impl FnOnce() -> T, ours: impl FnOnce() -> T) -> (T, T) {
    if turn.is_multiple_of(2) {
        let native = native();
        (native, ours())
    } else {
        let ours = ours();
        (native(), ours)
    }
}
