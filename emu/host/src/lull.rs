//! Instances whose reader takes the events with the replies to its requests.
//!
//! Such a reader has no use for a full window: each event in it costs a call to send it and one to receive it. While it goes on, its
//! window holds one event, by which the socket is readable; a moment after its last request the window is filled again.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use nix::sys::epoll::EpollTimeout;

/// How long after its last request a reader is thought to go on.
const LENGTH: Duration = Duration::from_millis(2);

/// The sessions with such a reader, and until when.
#[derive(Debug, Default)]
pub(crate) struct Lulls(BTreeMap<u64, Instant>);

impl Lulls {
    /// The reader has asked once more.
    pub(crate) fn begin(&mut self, session: u64) {
        self.0.insert(session, Instant::now() + LENGTH);
    }

    /// No window is to be filled later for this session.
    pub(crate) fn forget(&mut self, session: u64) {
        self.0.remove(&session);
    }

    /// How long a wait may last that would last for `timeout`.
    pub(crate) fn shorten(&self, timeout: EpollTimeout) -> EpollTimeout {
        if self.0.is_empty() {
            return timeout;
        }
        let length = EpollTimeout::from(LENGTH.as_millis() as u16);
        if timeout.is_none() { length } else { timeout.min(length) }
    }

    /// Takes out a session whose reader has asked for nothing lately.
    pub(crate) fn end_one(&mut self) -> Option<u64> {
        if self.0.is_empty() {
            return None;
        }
        let now = Instant::now();
        let ended = self.0.iter().find(|(_, end)| **end <= now).map(|(session, _)| *session)?;
        self.forget(ended);
        Some(ended)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lull_ends_by_itself() {
        let mut lulls = Lulls::default();
        assert_eq!((lulls.end_one(), lulls.shorten(EpollTimeout::NONE)), (None, EpollTimeout::NONE));
        lulls.begin(7);
        lulls.begin(9);
        assert!(lulls.shorten(EpollTimeout::NONE).is_some());
        assert_eq!(lulls.shorten(EpollTimeout::ZERO), EpollTimeout::ZERO);
        lulls.0.insert(7, Instant::now());
        assert_eq!((lulls.end_one(), lulls.end_one()), (Some(7), None), "the other one's reader has just asked");
        lulls.forget(9);
        assert_eq!(lulls.shorten(EpollTimeout::NONE), EpollTimeout::NONE);
    }
}
