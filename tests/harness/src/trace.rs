//! What one list showed on one subject.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::operation::Operation;

/// How a system call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Return {
    /// Its value.
    Value(i64),
    /// -1 and this errno.
    Error(i32),
}

/// One `struct inotify_event`, member by member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Watch descriptor; -1 in an overflow event.
    pub wd: i32,
    /// IN_* bits.
    pub mask: u32,
    /// Zero, or after [`Trace::canonical`] the number of this cookie in order of first appearance, from 1.
    pub cookie: u32,
    /// Bytes of the name with its padding.
    pub len: u32,
    /// The bytes before the first NUL, escaped as in a byte string literal.
    pub name: String,
    /// Whether everything behind the name is zero, and at least one byte of it is there if `len` is not 0.
    pub padded: bool,
}

/// What one operation showed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// Nothing but how it ended.
    Returned(Return),
    /// A read of a group.
    Read {
        /// How it ended.
        returned: Return,
        /// The whole events in the bytes returned.
        events: Vec<Event>,
        /// Bytes behind the last whole event.
        rest: usize,
        /// Whether no byte behind those returned was changed (after an EFAULT: always true,
        /// for the kernel itself leaves what it had copied).
        intact: bool,
    },
    /// Asked for readiness.
    Ready {
        /// How many descriptors (for `select` how many bits) were ready.
        returned: Return,
        /// POLL* or EPOLL* bits.
        events: u32,
    },
    /// A call given the address of an `int`.
    Integer {
        /// How it ended.
        returned: Return,
        /// What the `int` holds after it.
        integer: i32,
    },
    /// Lines of text.
    Text(Vec<String>),
    /// Of the operations inside a repetition or a child, in order.
    Several(Vec<Self>),
    /// Of a [`crate::operation::Operation::While`].
    While {
        /// Whether the thread was asleep in its call when `meanwhile` began.
        waited: bool,
        /// What the thread's call gave.
        call: Box<Self>,
        /// What the operations gave.
        meanwhile: Vec<Self>,
    },
}

impl Outcome {
    /// A call that gave this value, and nothing else.
    pub fn value(value: i64) -> Self {
        Self::Returned(Return::Value(value))
    }

    /// A call that failed with this errno.
    pub fn error(errno: i32) -> Self {
        Self::Returned(Return::Error(errno))
    }
}

/// How the run of a list ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum End {
    /// All operations were done.
    Finished,
    /// The first operation without an outcome did not end within the time limit.
    Hang,
    /// The process died of this signal in the first operation without an outcome.
    Killed(i32),
    /// The process could not be prepared, or the subject itself failed.
    Broken(String),
}

/// What one list showed on one subject.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trace {
    /// One for each operation that ended.
    pub outcomes: Vec<Outcome>,
    /// How it ended.
    pub end: End,
}

impl Trace {
    /// Every event that was read, in the order of reading.
    pub fn events(&self) -> Vec<&Event> {
        let mut events = Vec::new();
        for outcome in &self.outcomes {
            collect(outcome, &mut events);
        }
        events
    }

    /// Replaces what no two runs can share: cookies come from a counter of the whole machine, and the
    /// name of an O_TMPFILE file is its inode number. Each becomes its rank of first appearance, so that
    /// equal ones stay equal.
    #[must_use]
    pub fn canonical(mut self) -> Self {
        let mut ranks = Ranks::default();
        for outcome in &mut self.outcomes {
            ranks.rename(outcome);
        }
        self
    }
}

fn collect<'a>(outcome: &'a Outcome, into: &mut Vec<&'a Event>) {
    match outcome {
        Outcome::Read { events, .. } => into.extend(events),
        Outcome::Several(outcomes) => outcomes.iter().for_each(|inner| collect(inner, into)),
        Outcome::While { call, meanwhile, .. } => {
            collect(call, into);
            meanwhile.iter().for_each(|inner| collect(inner, into));
        }
        Outcome::Returned(_) | Outcome::Ready { .. } | Outcome::Integer { .. } | Outcome::Text(_) => {}
    }
}

#[derive(Default)]
struct Ranks {
    cookies: HashMap<u32, u32>,
    inodes: HashMap<String, usize>,
}

impl Ranks {
    fn rename(&mut self, outcome: &mut Outcome) {
        match outcome {
            Outcome::Read { events, .. } => {
                for event in events {
                    if event.cookie != 0 {
                        let next = self.cookies.len() as u32 + 1;
                        event.cookie = *self.cookies.entry(event.cookie).or_insert(next);
                    }
                    let number = event.name.strip_prefix('#').unwrap_or_default();
                    if !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()) {
                        let next = self.inodes.len() + 1;
                        let rank = *self.inodes.entry(number.to_owned()).or_insert(next);
                        event.name = format!("#inode-{rank}");
                    }
                }
            }
            Outcome::Several(outcomes) => {
                outcomes.iter_mut().for_each(|inner| self.rename(inner));
            }
            Outcome::While { call, meanwhile, .. } => {
                self.rename(call);
                meanwhile.iter_mut().for_each(|inner| self.rename(inner));
            }
            Outcome::Returned(_) | Outcome::Ready { .. } | Outcome::Integer { .. } | Outcome::Text(_) => {}
        }
    }
}

/// Pairs the operations with what they gave, the inner ones of repetitions and children too.
pub fn walk<'a>(
    operations: &'a [Operation],
    outcomes: &'a [Outcome],
    visit: &mut dyn FnMut(&'a Operation, &'a Outcome),
) {
    if operations.is_empty() {
        return;
    }
    for (operation, outcome) in operations.iter().cycle().zip(outcomes) {
        visit(operation, outcome);
        match (operation, outcome) {
            (Operation::Repeat { operations, .. } | Operation::Child(operations), Outcome::Several(inner)) => {
                walk(operations, inner, visit);
            }
            (Operation::While { meanwhile: inside, .. }, Outcome::While { meanwhile, .. }) => {
                walk(inside, meanwhile, visit);
            }
            _ => {}
        }
    }
}
