//! Why a packet is answered by nothing but an error.

use std::fmt;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use uinotify_wire::{Malformed, RequestKind};

/// What is wrong with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It is no request.
    Malformed(Malformed),
    /// It carries more descriptors than any request.
    TooManyDescriptors(usize),
    /// This process had no number left for a descriptor that came with it: the sender has done nothing wrong.
    NoNumberLeft,
    /// A request that is not to be made where it was.
    Misplaced(RequestKind),
    /// A request over an instance without a pipe or a connected socket for the reply.
    NoReplyObject,
}

impl Refusal {
    /// What the sender is told.
    pub(crate) fn errno(self) -> Errno {
        match self {
            Self::Malformed(Malformed::Kind(_)) => Errno::EOPNOTSUPP,
            Self::Malformed(_) | Self::TooManyDescriptors(_) => Errno::EPROTO,
            Self::NoNumberLeft => Errno::ENOMEM,
            Self::Misplaced(_) | Self::NoReplyObject => Errno::EINVAL,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(malformed) => malformed.fmt(formatter),
            Self::TooManyDescriptors(count) => write!(formatter, "a packet with {count} descriptors"),
            Self::NoNumberLeft => formatter.write_str("a request for which the emulator has no descriptor left"),
            Self::Misplaced(kind) => write!(formatter, "a request {kind:?} in the wrong place"),
            Self::NoReplyObject => formatter.write_str("a request without a pipe or socket for the reply"),
        }
    }
}

/// Whoever is refused again and again fills no log: so many lines in a period, and then their number.
const LINES_MAX: u32 = 10;
const PERIOD: Duration = Duration::from_secs(10);

/// How much has been said about what was refused.
#[derive(Debug, Default)]
pub(crate) struct Complaints {
    began: Option<Instant>,
    said: u32,
    unsaid: u32,
}

impl Complaints {
    /// May another line be said? Then how many were left out before it.
    pub(crate) fn admit(&mut self, now: Instant) -> Option<u32> {
        if self.began.is_none_or(|began| now.duration_since(began) >= PERIOD) {
            (self.began, self.said) = (Some(now), 0);
        }
        if self.said == LINES_MAX {
            self.unsaid = self.unsaid.saturating_add(1);
            return None;
        }
        self.said += 1;
        Some(std::mem::take(&mut self.unsaid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_counted_and_not_told() {
        let mut complaints = Complaints::default();
        let start = Instant::now();
        let said = (0..1000).filter(|_| complaints.admit(start).is_some()).count();
        assert_eq!(said, LINES_MAX as usize);
        assert_eq!(complaints.admit(start + PERIOD), Some(1000 - LINES_MAX));
        assert_eq!(complaints.admit(start + PERIOD), Some(0));
    }
}
