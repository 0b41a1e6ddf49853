//! A line of the table.

use serde::{Deserialize, Serialize};

use crate::statistics::Pairs;

/// What is promised.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) enum Goal {
    /// None; the figure is for information.
    Shown,
    /// Ours over native.
    RatioAtMost(f64),
    /// Ours over native, for a rate.
    RatioAtLeast(f64),
    /// Native over ours.
    FasterTimes(f64),
    /// Ours, in the row's unit.
    OursAtMost(f64),
    /// Ours less native, in the row's unit.
    MoreAtMost(f64),
}

/// Where the processes run that call each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Place {
    /// Where the scheduler puts them. This is what the goals are about.
    #[default]
    Anywhere,
    /// All on one CPU: without what it takes to wake another one.
    OneCpu,
}

/// What was measured.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) what: String,
    /// Where the processes ran.
    #[serde(default)]
    pub(crate) place: Place,
    pub(crate) unit: String,
    pub(crate) goal: Goal,
    /// `None` where the kernel has nothing to compare with, or no such call.
    pub(crate) native: Option<f64>,
    pub(crate) ours: f64,
    /// First quartile, median and third quartile of the pairs' ratios; absent where the samples make no pairs.
    pub(crate) ratio: Option<[f64; 3]>,
    /// Sample size, spread and whatever else belongs to the figure.
    pub(crate) note: String,
}

impl Row {
    /// The medians of pairs of nanoseconds, in microseconds.
    pub(crate) fn of_pairs(what: &str, goal: Goal, pairs: &Pairs, note: &str) -> Self {
        let note = if note.is_empty() { String::new() } else { format!("; {note}") };
        Self {
            what: what.into(),
            place: Place::default(),
            unit: "us".into(),
            goal,
            native: Some(pairs.native.median() / 1e3),
            ours: pairs.ours.median() / 1e3,
            ratio: Some(pairs.ratio_quartiles()),
            note: format!("{} pairs{note}", pairs.native.len()),
        }
    }

    fn ratio_median(&self) -> Option<f64> {
        self.ratio.map(|[_, median, _]| median).or_else(|| self.native.map(|native| self.ours / native))
    }

    /// Has the goal been met? `None` if there is none, or nothing to compare with.
    pub(crate) fn is_met(&self) -> Option<bool> {
        match self.goal {
            Goal::Shown => None,
            Goal::RatioAtMost(most) => self.ratio_median().map(|ratio| ratio <= most),
            Goal::RatioAtLeast(least) => self.ratio_median().map(|ratio| ratio >= least),
            Goal::FasterTimes(least) => self.native.map(|native| native / self.ours >= least),
            Goal::OursAtMost(most) => Some(self.ours <= most),
            Goal::MoreAtMost(most) => self.native.map(|native| self.ours - native <= most),
        }
    }

    /// One line of Markdown.
    pub(crate) fn line(&self) -> String {
        let goal = match self.goal {
            Goal::Shown => "-".into(),
            Goal::RatioAtMost(most) => format!("<= {most}x"),
            Goal::RatioAtLeast(least) => format!(">= {least}x"),
            Goal::FasterTimes(least) => format!(">= {least:.0} times faster"),
            Goal::OursAtMost(most) => format!("<= {most} {}", self.unit),
            Goal::MoreAtMost(most) => format!("<= {most} {} more", self.unit),
        };
        let native = self.native.map_or("-".into(), |native| self.quantity(native));
        let ratio = match (self.goal, self.native, self.ratio) {
            (Goal::FasterTimes(_), Some(native), _) => format!("1/{:.0}", native / self.ours),
            (Goal::MoreAtMost(_), Some(native), _) => format!("{:+.1} {}", self.ours - native, self.unit),
            (_, _, Some([low, median, high])) => format!("{median:.2} ({low:.2} to {high:.2})"),
            (_, Some(native), None) => format!("{:.2}", self.ours / native),
            _ => "-".into(),
        };
        let verdict = self.is_met().map_or("-", |is_met| if is_met { "met" } else { "missed" });
        let ours = self.quantity(self.ours);
        let place = match self.place {
            Place::Anywhere => "",
            Place::OneCpu => ", all on one CPU",
        };
        format!("| {}{place} | {goal} | {native} | {ours} | {ratio} | {verdict} | {} |", self.what, self.note)
    }

    fn quantity(&self, value: f64) -> String {
        let digits = match value.abs() {
            100.0.. => 0,
            10.0.. => 1,
            _ => 2,
        };
        format!("{value:.digits$} {}", self.unit)
    }
}

/// The head of the table.
pub(crate) const HEAD: &str = "\
| what | goal | native | ours | ratio, median (quartiles) | goal is | samples |
|---|---|---|---|---|---|---|";
