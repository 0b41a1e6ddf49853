//! What has become of events, for whoever follows an engine: a trace.

use crate::engine::GroupId;
use crate::event::Event;
use crate::group::Group;
use crate::queue::Pushed;

/// One change of a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Happening {
    /// An event came.
    Came {
        /// To this group.
        group: GroupId,
        /// As it was told, whatever became of it.
        event: Event,
        /// What became of it.
        pushed: Pushed,
        /// Events that wait now, the overflow event included.
        queue_events: usize,
    },
    /// The oldest events were read.
    Read {
        /// Of this group.
        group: GroupId,
        /// How many.
        events: usize,
        /// Events that wait now.
        queue_events: usize,
    },
}

/// The changes since they were last taken, if anybody follows.
#[derive(Debug, Clone, Default)]
pub(crate) struct History {
    is_kept: bool,
    happenings: Vec<Happening>,
}

impl History {
    pub(crate) fn keep(&mut self) {
        self.is_kept = true;
    }

    pub(crate) fn take(&mut self) -> Vec<Happening> {
        std::mem::take(&mut self.happenings)
    }

    /// A copy of an event that is about to come, if it is to be noted.
    pub(crate) fn copy(&self, event: &Event) -> Option<Event> {
        self.is_kept.then(|| event.clone())
    }

    /// An event has come, and with it perhaps others that were held back until then.
    pub(crate) fn came(&mut self, group: GroupId, event: Option<Event>, pushed: Pushed, state: &mut Group) {
        let held = state.take_admitted();
        let Some(event) = event else { return };
        let (is_held, queue_events) = (matches!(pushed, Pushed::Held { .. }), state.queue.len());
        let own = Happening::Came { group, event, pushed, queue_events };
        if is_held {
            self.happenings.push(own);
            self.note(group, held);
        } else {
            self.note(group, held);
            self.happenings.push(own);
        }
    }

    /// Events that were held back have come.
    pub(crate) fn released(&mut self, group: GroupId, state: &mut Group) {
        let held = state.take_admitted();
        if self.is_kept {
            self.note(group, held);
        }
    }

    fn note(&mut self, group: GroupId, held: Vec<(Event, Pushed, usize)>) {
        let came = |(event, pushed, queue_events)| Happening::Came { group, event, pushed, queue_events };
        self.happenings.extend(held.into_iter().map(came));
    }

    pub(crate) fn read(&mut self, group: GroupId, events: usize, queue_events: usize) {
        if self.is_kept && events > 0 {
            self.happenings.push(Happening::Read { group, events, queue_events });
        }
    }
}
