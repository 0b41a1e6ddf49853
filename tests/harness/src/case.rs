//! A list that was written for a rule.

use anyhow::{Result, ensure};

use crate::compare::Asserted;
use crate::needs::Need;
use crate::operation::{Limits, List, Operation};
use crate::show;
use crate::trace::Trace;

/// A list with its name, and with what the kernel must show for the list to test what it says.
#[derive(Debug, Clone)]
pub struct Case {
    /// Ids of docs/semantics.md, then a few words.
    pub name: &'static str,
    /// What the machine must give.
    pub needs: Vec<Need>,
    /// What is done.
    pub list: List,
    /// Differences that docs/differences.md admits.
    pub asserted: Vec<Asserted>,
    events: Option<&'static str>,
    results: Option<&'static str>,
}

impl Case {
    /// A case that any machine can run, under its own limits.
    pub fn new(name: &'static str, operations: Vec<Operation>) -> Self {
        Self { name, needs: Vec::new(), list: List::new(operations), asserted: Vec::new(), events: None, results: None }
    }

    /// Needs this of the machine.
    #[must_use]
    pub fn needs(mut self, need: Need) -> Self {
        self.needs.push(need);
        self
    }

    /// Runs under these limits.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.list.limits = Some(limits);
        self.needs(Need::Limits)
    }

    /// Differs as docs/differences.md says.
    #[must_use]
    pub fn differs(mut self, asserted: Asserted) -> Self {
        self.asserted.push(asserted);
        self
    }

    /// All events that the kernel shows, as [`show::events`] writes them.
    #[must_use]
    pub fn events(mut self, events: &'static str) -> Self {
        self.events = Some(events);
        self
    }

    /// How the last operations end on the kernel, a word each, as [`show::result`] writes them.
    #[must_use]
    pub fn results(mut self, results: &'static str) -> Self {
        self.results = Some(results);
        self
    }

    /// Whether it says what has to come.
    #[must_use]
    pub fn is_expected(&self) -> bool {
        self.events.is_some() || self.results.is_some()
    }

    /// Whether the kernel's trace is the one that the case was written for.
    ///
    /// # Errors
    ///
    /// What the kernel shows instead: the rule, or the list, is wrong for this kernel.
    pub fn check(&self, native: &Trace) -> Result<()> {
        let context = || format!("the kernel does not show the rule\n{}", show::trace(&self.list, native));
        if let Some(expected) = self.events {
            let shown = show::events(native);
            ensure!(shown == expected, "{}expected events: {expected}\n          shown: {shown}", context());
        }
        if let Some(expected) = self.results {
            let results: Vec<String> = native.outcomes.iter().map(show::result).collect();
            let words = results.join(" ");
            ensure!(
                words == expected || words.ends_with(&format!(" {expected}")),
                "{}expected results at the end: {expected}\n                       shown: {words}",
                context()
            );
        }
        Ok(())
    }
}
