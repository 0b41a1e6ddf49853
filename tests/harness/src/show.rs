//! Events, outcomes and traces as people read them.

use std::fmt::Write;

use nix::errno::Errno;

use crate::operation::List;
use crate::trace::{End, Event, Outcome, Return, Trace};

/// Names of the bits of an event's mask, lowest first.
const BITS: [(u32, &str); 16] = [
    (libc::IN_ACCESS, "ACCESS"),
    (libc::IN_MODIFY, "MODIFY"),
    (libc::IN_ATTRIB, "ATTRIB"),
    (libc::IN_CLOSE_WRITE, "CLOSE_WRITE"),
    (libc::IN_CLOSE_NOWRITE, "CLOSE_NOWRITE"),
    (libc::IN_OPEN, "OPEN"),
    (libc::IN_MOVED_FROM, "MOVED_FROM"),
    (libc::IN_MOVED_TO, "MOVED_TO"),
    (libc::IN_CREATE, "CREATE"),
    (libc::IN_DELETE, "DELETE"),
    (libc::IN_DELETE_SELF, "DELETE_SELF"),
    (libc::IN_MOVE_SELF, "MOVE_SELF"),
    (libc::IN_UNMOUNT, "UNMOUNT"),
    (libc::IN_Q_OVERFLOW, "Q_OVERFLOW"),
    (libc::IN_IGNORED, "IGNORED"),
    (libc::IN_ISDIR, "ISDIR"),
];
/// Equal neighbours are shown once and counted; of the rest as many are shown.
const SHOWN_MAX: usize = 400;

/// The mask as names joined by commas; bits without a name in hexadecimal.
pub fn mask(bits: u32) -> String {
    let mut words: Vec<String> =
        BITS.iter().filter(|(bit, _)| bits & bit != 0).map(|(_, name)| (*name).to_owned()).collect();
    let unnamed = BITS.iter().fold(bits, |left, (bit, _)| left & !bit);
    if unnamed != 0 || words.is_empty() {
        words.push(format!("{unnamed:#x}"));
    }
    words.join(",")
}

/// `wd:MASK(name)#cookie`, without the parts that are empty.
pub fn event(event: &Event) -> String {
    let mut text = format!("{}:{}", event.wd, mask(event.mask));
    if event.len != 0 {
        let _ = write!(text, "({})", event.name);
    }
    if event.cookie != 0 {
        let _ = write!(text, "#{}", event.cookie);
    }
    text
}

/// All events of a trace, joined by spaces.
pub fn events(trace: &Trace) -> String {
    let words: Vec<String> = trace.events().into_iter().map(event).collect();
    words.join(" ")
}

/// The value, or the errno's name.
pub fn returned(returned: Return) -> String {
    match returned {
        Return::Value(value) => value.to_string(),
        Return::Error(errno) => format!("{:?}", Errno::from_raw(errno)),
    }
}

/// How an outcome's call ended, in one word for each call.
pub fn result(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Returned(ended) => returned(*ended),
        Outcome::Read { returned: ended, .. } => returned(*ended),
        Outcome::Ready { returned: ended, events } => match ended {
            Return::Value(count) => format!("{count}/{events:#x}"),
            Return::Error(_) => returned(*ended),
        },
        Outcome::Integer { returned: ended, integer } => format!("{}/{integer}", returned(*ended)),
        Outcome::Text(lines) => format!("{lines:?}"),
        Outcome::Several(outcomes) => {
            let words: Vec<String> = outcomes.iter().map(result).collect();
            format!("[{}]", words.join(" "))
        }
        Outcome::While { waited, call, meanwhile } => {
            let words: Vec<String> = meanwhile.iter().map(result).collect();
            let verb = if *waited { "waited" } else { "returned" };
            format!("{verb}({})[{}]", result(call), words.join(" "))
        }
    }
}

/// An outcome on one or more lines, with all that is compared.
pub fn outcome(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Read { events, rest, intact, .. } => {
            let mut text = result(outcome);
            if *rest != 0 {
                let _ = write!(text, " REST {rest} bytes");
            }
            if !intact {
                text.push_str(" BYTES BEHIND THE COUNT CHANGED");
            }
            let words = events.iter().map(|read| {
                let padding = if read.padded { "" } else { " BADLY PADDED" };
                format!("{} len {}{padding}", event(read), read.len)
            });
            shortened(words, &mut text);
            text
        }
        Outcome::Several(outcomes) => {
            let mut text = format!("{} inner", outcomes.len());
            shortened(outcomes.iter().map(self::outcome), &mut text);
            text
        }
        Outcome::While { call, meanwhile, .. } => {
            let mut text = result(outcome);
            shortened(std::iter::once(call.as_ref()).chain(meanwhile).map(self::outcome), &mut text);
            text
        }
        other => result(other),
    }
}

/// A whole trace beside its list.
pub fn trace(list: &List, trace: &Trace) -> String {
    let mut text = String::new();
    for (index, (operation, outcome)) in list.operations.iter().zip(&trace.outcomes).enumerate() {
        let _ = writeln!(text, "{index:3} {operation:?} = {}", self::outcome(outcome));
    }
    let _ = writeln!(text, "    {}", end(list, trace));
    text
}

/// How the trace ended, and in which operation if that was not the end of the list.
pub fn end(list: &List, trace: &Trace) -> String {
    match (&trace.end, list.operations.get(trace.outcomes.len())) {
        (End::Finished, _) => "finished".to_owned(),
        (end, Some(operation)) => {
            format!("{end:?} in operation {}: {operation:?}", trace.outcomes.len())
        }
        (end, None) => format!("{end:?} behind the last operation"),
    }
}

fn shortened(lines: impl Iterator<Item = String>, text: &mut String) {
    let mut shown: Vec<(String, usize)> = Vec::new();
    let mut hidden = 0;
    for line in lines {
        let full = shown.len() >= SHOWN_MAX;
        match shown.last_mut() {
            Some((last, count)) if *last == line => *count += 1,
            _ if !full => shown.push((line, 1)),
            _ => hidden += 1,
        }
    }
    for (line, count) in shown {
        let line = line.replace('\n', "\n    ");
        let _ = match count {
            1 => write!(text, "\n        {line}"),
            _ => write!(text, "\n        {line}  ({count} times)"),
        };
    }
    if hidden != 0 {
        let _ = write!(text, "\n        ... and {hidden} more");
    }
}
