//! What came out: the times of all, and the goals.

use crate::row::{self, Goal, Place, Row};
use crate::statistics::Pairs;
use crate::subject::Kind;
use crate::work::Work;

/// The samples of one kind of work, one line a round, in the order of the subjects.
struct Sampled {
    work: &'static Work,
    rounds: Vec<Vec<f64>>,
}

/// All samples.
pub(crate) struct Table {
    subjects: Vec<Kind>,
    all: Vec<Sampled>,
}

const EXACT: Kind = Kind::Ours { is_fast: false, is_watched: false };
const EXACT_WATCHED: Kind = Kind::Ours { is_fast: false, is_watched: true };
const FAST: Kind = Kind::Ours { is_fast: true, is_watched: false };

impl Table {
    pub(crate) fn new(subjects: Vec<Kind>) -> Self {
        Self { subjects, all: Vec::new() }
    }

    pub(crate) fn push(&mut self, work: &'static Work, times: &[f64]) {
        match self.all.iter_mut().find(|sampled| std::ptr::eq(sampled.work, work)) {
            Some(sampled) => sampled.rounds.push(times.to_vec()),
            None => self.all.push(Sampled { work, rounds: vec![times.to_vec()] }),
        }
    }

    pub(crate) fn print(&self, place: Place) {
        println!("\n{}\n", if place == Place::OneCpu { "All on one CPU:" } else { "Where the scheduler places them:" });
        let names = |of: fn(&Sampled) -> &str| self.all.iter().map(of).collect::<Vec<_>>().join(" | ");
        println!("| us, median (ratio to the plain directory) | {} |", names(|sampled| sampled.work.name));
        println!("|---|{}", "---|".repeat(self.all.len()));
        for kind in &self.subjects {
            let cells = self.all.iter().map(|sampled| {
                let pairs = self.pairs(sampled, Kind::Plain, *kind);
                let [_, ratio, _] = pairs.ratio_quartiles();
                format!("{:.1} ({ratio:.1})", pairs.ours.median())
            });
            println!("| {} | {} |", kind.name(), cells.collect::<Vec<_>>().join(" | "));
        }
        println!("\n{}", row::HEAD.replace("native", "beside"));
        let rows: Vec<_> = self.all.iter().flat_map(|sampled| self.goals(sampled)).collect();
        for row in &rows {
            println!("{}", row.line());
        }
        let count = |is_met| rows.iter().filter(|row| row.is_met() == Some(is_met)).count();
        println!("\n{} goals met, {} missed.", count(true), count(false));
    }

    fn goals(&self, sampled: &Sampled) -> Vec<Row> {
        let mut rows = Vec::new();
        let mut add = |ours: Kind, beside: Option<Kind>, goal| {
            let Some(beside) = beside else { return };
            let pairs = self.pairs(sampled, beside, ours);
            rows.push(Row {
                what: format!("{}: {}", sampled.work.name, ours.name()),
                place: Place::default(),
                unit: sampled.work.unit.into(),
                goal,
                native: Some(pairs.native.median()),
                ours: pairs.ours.median(),
                ratio: Some(pairs.ratio_quartiles()),
                note: format!("{} rounds; beside {}", pairs.native.len(), beside.name()),
            });
        };
        add(EXACT, self.best(sampled, |kind| kind.peer().is_some_and(|peer| peer.is_uncached)), Goal::RatioAtMost(1.0));
        add(FAST, self.best(sampled, |kind| kind.peer().is_some_and(|peer| peer.is_plain)), Goal::RatioAtMost(1.0));
        add(EXACT_WATCHED, Some(EXACT), Goal::RatioAtMost(1.1));
        if let Some(rate) = sampled.work.rate_of_plain_min {
            add(FAST, Some(Kind::Plain), Goal::RatioAtMost((100.0 / rate).round() / 100.0));
        }
        rows
    }

    fn best(&self, sampled: &Sampled, is_one: impl Fn(Kind) -> bool) -> Option<Kind> {
        let median = |kind: &Kind| self.pairs(sampled, Kind::Plain, *kind).ours.median();
        let those = self.subjects.iter().copied().filter(|kind| is_one(*kind));
        those.min_by(|one, other| median(one).total_cmp(&median(other)))
    }

    fn pairs(&self, sampled: &Sampled, beside: Kind, ours: Kind) -> Pairs {
        let place = |kind| self.subjects.iter().position(|known| *known == kind).unwrap_or_default();
        let (beside, ours) = (place(beside), place(ours));
        let mut pairs = Pairs::default();
        for round in &sampled.rounds {
            pairs.push(round[beside], round[ours]);
        }
        pairs
    }
}
