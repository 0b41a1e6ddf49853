//! The comparison: literal, but for differences that were asserted beforehand.

use std::fmt;

use crate::operation::List;
use crate::show;
use crate::trace::{End, Outcome, Trace};

/// A difference that docs/differences.md admits, and that has to be there, exactly so.
#[derive(Debug, Clone)]
pub struct Asserted {
    /// The row of docs/differences.md, such as `DIFF-1`.
    pub id: &'static str,
    /// Index of the operation in its list.
    pub operation: usize,
    /// What the kernel shows there.
    pub native: Outcome,
    /// What the emulator shows there.
    pub emulated: Outcome,
}

/// Where two traces part.
#[derive(Debug)]
pub struct Difference {
    summary: String,
    native: String,
    emulated: String,
    list: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { summary, native, emulated, list } = self;
        write!(
            formatter,
            "{summary}\n--- native\n{native}\n--- emulated\n{emulated}\n--- list, for UINOTIFY_REPLAY\n{list}"
        )
    }
}

impl std::error::Error for Difference {}

/// Compares what one list showed on the kernel and on the emulator.
///
/// Nothing is sorted, dropped or forgiven. A trace that did not come to its end is a difference even
/// if the other one did not either.
///
/// # Errors
///
/// The first difference that is not asserted, or the first asserted one that is not there exactly so.
pub fn compare(list: &List, native: &Trace, emulated: &Trace, asserted: &[Asserted]) -> Result<(), Difference> {
    let at = |index: usize, why: &str| {
        let operation = list.operations.get(index);
        let name = operation.map_or("the end".to_owned(), |operation| format!("{operation:?}"));
        let side = |trace: &Trace| match trace.outcomes.get(index) {
            Some(outcome) => show::outcome(outcome),
            None => show::end(list, trace),
        };
        Difference {
            summary: format!("operation {index}, {name}: {why}"),
            native: side(native),
            emulated: side(emulated),
            list: serde_json::to_string(list).unwrap_or_else(|error| error.to_string()),
        }
    };
    for index in 0..list.operations.len() {
        let (ours, theirs) = (emulated.outcomes.get(index), native.outcomes.get(index));
        let expected = asserted.iter().find(|expected| expected.operation == index);
        match (theirs, ours, expected) {
            (Some(theirs), Some(ours), Some(expected)) => {
                if *theirs != expected.native || *ours != expected.emulated {
                    let why = format!(
                        "is not as {} says: native {}, emulated {}",
                        expected.id,
                        show::outcome(&expected.native),
                        show::outcome(&expected.emulated)
                    );
                    return Err(at(index, &why));
                }
            }
            (Some(theirs), Some(ours), None) if theirs == ours => {}
            _ => return Err(at(index, "differs")),
        }
    }
    let finished = native.end == End::Finished && emulated.end == End::Finished;
    if !finished || native.outcomes.len() != emulated.outcomes.len() {
        return Err(at(list.operations.len(), "did not finish"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shorthand::{group, read_all};

    fn trace(values: &[i64]) -> Trace {
        let outcome = |&value| Outcome::value(value);
        Trace { outcomes: values.iter().map(outcome).collect(), end: End::Finished }
    }

    fn two() -> List {
        List::new(vec![group(0), read_all(0)])
    }

    #[test]
    fn equal_traces_do_not_differ() {
        assert!(compare(&two(), &trace(&[1, 2]), &trace(&[1, 2]), &[]).is_ok());
    }

    #[test]
    fn the_first_difference_is_named() {
        let difference = compare(&two(), &trace(&[1, 2]), &trace(&[1, 3]), &[]);
        let text = difference.expect_err("they differ").to_string();
        assert!(text.starts_with("operation 1, Read"), "{text}");
    }

    #[test]
    fn an_unfinished_trace_differs_even_from_itself() {
        let mut hung = trace(&[1]);
        hung.end = End::Hang;
        let difference = compare(&two(), &hung, &hung, &[]);
        let text = difference.expect_err("it hung").to_string();
        assert!(text.contains("Hang in operation 1: Read"), "{text}");
    }

    #[test]
    fn an_asserted_difference_has_to_be_there_exactly_so() {
        let asserted =
            [Asserted { id: "DIFF-0", operation: 1, native: Outcome::value(2), emulated: Outcome::value(3) }];
        let (two, kernel) = (two(), trace(&[1, 2]));
        assert!(compare(&two, &kernel, &trace(&[1, 3]), &asserted).is_ok());
        assert!(compare(&two, &kernel, &trace(&[1, 4]), &asserted).is_err());
        assert!(compare(&two, &kernel, &kernel, &asserted).is_err());
    }
}
