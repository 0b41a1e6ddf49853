//! The queue of one group: merging with the tail, and overflow.

use std::collections::VecDeque;

use crate::allocator::Wd;
use crate::arrival::{Arrivals, Fate, Held};
use crate::errno::Errno;
use crate::event::Event;
use crate::mask::Mask;

/// What became of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pushed {
    /// It is the new tail.
    Queued,
    /// The tail stands for it.
    Merged,
    /// It is lost, and the overflow event is the new tail.
    Overflowed,
    /// It is lost, and the queue is as before.
    Dropped,
    /// It comes later ([`Delay`](crate::arrival::Delay)).
    Held {
        /// Others that were held have come now.
        others_came: bool,
    },
}

impl Pushed {
    /// Whether the queue has a record more, so that readers are woken.
    #[must_use]
    pub fn is_new(self) -> bool {
        matches!(self, Self::Queued | Self::Overflowed | Self::Held { others_came: true })
    }
}

/// Events that wait to be read, as `fs/notify/notification.c` keeps them.
///
/// Without overflow it holds at most `events_max` events, with the overflow event at most one more.
#[derive(Debug, Clone)]
pub struct EventQueue {
    events: VecDeque<Event>,
    bytes: usize,
    events_max: u32,
    overflow_queued: bool,
    /// The event pushed last is the tail, or was merged into it (MERGE-8).
    tail_is_latest: bool,
    /// What tests have become of events, if anything.
    arrivals: Option<Box<Arrivals>>,
    /// Of those that were held, what has become of them.
    admitted: Vec<(Event, Pushed, usize)>,
}

impl EventQueue {
    /// An empty queue for `events_max` events.
    #[must_use]
    pub fn new(events_max: u32) -> Self {
        Self {
            events: VecDeque::new(),
            bytes: 0,
            events_max,
            overflow_queued: false,
            tail_is_latest: false,
            arrivals: None,
            admitted: Vec::new(),
        }
    }

    /// Rebuilds a queue: what its parts are is said at [`EventQueue::events`] and [`EventQueue::tail_is_latest`].
    ///
    /// # Errors
    ///
    /// [`PartsError`] if no queue can come to hold these events.
    pub fn from_parts(events_max: u32, events: Vec<Event>, tail_is_latest: bool) -> Result<Self, PartsError> {
        let overflows = events.iter().filter(|event| event.is_overflow()).count();
        if overflows > 1 {
            return Err(PartsError::OverflowTwice);
        }
        if let Some(event) = events.iter().find(|event| event.is_overflow() && **event != Event::overflow()) {
            return Err(PartsError::OverflowDiffers(event.wd));
        }
        // One more than the limit, and only as the newest (OVERFLOW-2).
        let over = events.get(events_max as usize..).unwrap_or_default();
        if !matches!(over, [] | [_]) || over.first().is_some_and(|event| !event.is_overflow()) {
            return Err(PartsError::TooLong { events: events.len(), events_max });
        }
        Ok(Self {
            bytes: events.iter().map(Event::size).sum(),
            events: events.into(),
            events_max,
            overflow_queued: overflows == 1,
            tail_is_latest,
            arrivals: None,
            admitted: Vec::new(),
        })
    }

    /// Queues, merges or loses an event.
    ///
    /// `adjacent`: it stood directly behind the one pushed before in one read of a kernel's queue. The kernel kept the
    /// two apart and had its reason, for one a hidden bit that it does not show: they are never merged with each
    /// other (MERGE-7).
    pub fn push(&mut self, event: Event, adjacent: bool) -> Pushed {
        if self.arrivals.is_some() { self.push_faultily(event, adjacent) } else { self.admit(event, adjacent) }
    }

    fn push_faultily(&mut self, event: Event, adjacent: bool) -> Pushed {
        let Some(arrivals) = &mut self.arrivals else { return self.admit(event, adjacent) };
        let (fate, is_held) = (arrivals.fate(), arrivals.holds());
        self.arrivals.take_if(|arrivals| arrivals.is_idle());
        match fate {
            Some(Fate::Overflow) => {
                // Those that are held have arrived before.
                self.release();
                self.overflow()
            }
            Some(Fate::Vanish) => {
                self.skip();
                Pushed::Dropped
            }
            None if !is_held => self.admit(event, adjacent),
            None => {
                if let Some(arrivals) = &mut self.arrivals {
                    arrivals.hold(event, adjacent);
                }
                Pushed::Held { others_came: self.admit_due() }
            }
        }
    }

    /// Queues what is due of the events that are held. True if there is a record more.
    fn admit_due(&mut self) -> bool {
        let mut is_new = false;
        while let Some(held) = self.arrivals.as_mut().and_then(|arrivals| arrivals.due()) {
            is_new |= self.admit_held(held);
        }
        is_new
    }

    fn admit_held(&mut self, held: Held) -> bool {
        let event = held.event.clone();
        let pushed = self.admit(held.event, held.adjacent);
        self.admitted.push((event, pushed, self.len()));
        pushed.is_new()
    }

    /// What has become of events that were held, since this was last asked, with how many waited then.
    pub(crate) fn take_admitted(&mut self) -> Vec<(Event, Pushed, usize)> {
        std::mem::take(&mut self.admitted)
    }

    /// Queues all that is held, due or not. True if there is a record more.
    pub fn release(&mut self) -> bool {
        let mut is_new = false;
        while let Some(held) = self.arrivals.as_mut().and_then(|arrivals| arrivals.release()) {
            is_new |= self.admit_held(held);
        }
        is_new
    }

    /// Changes what becomes of events that arrive, and queues those of which that makes nothing more. True if there is a record more.
    pub fn set_arrivals(&mut self, change: impl FnOnce(&mut Arrivals)) -> bool {
        change(self.arrivals.get_or_insert_default());
        let is_new = self.admit_due();
        self.arrivals.take_if(|arrivals| arrivals.is_idle());
        is_new
    }

    /// What becomes of events that arrive; nothing special for none.
    #[must_use]
    pub fn arrivals(&self) -> Option<&Arrivals> {
        self.arrivals.as_deref()
    }

    fn admit(&mut self, event: Event, adjacent: bool) -> Pushed {
        // Before any merging (OVERFLOW-3).
        if self.is_full() {
            self.tail_is_latest = false;
            return self.overflow();
        }
        if !(adjacent && self.tail_is_latest) && self.events.back().is_some_and(|tail| merges(tail, &event)) {
            self.tail_is_latest = true;
            return Pushed::Merged;
        }
        self.append(event);
        self.tail_is_latest = true;
        Pushed::Queued
    }

    /// Queues or loses the IN_IGNORED of a watch that a call of the program ended. It comes between the records of a
    /// source, not from there: where it is lost, the source's next record still stands behind its last one.
    pub fn push_ignored(&mut self, wd: Wd) -> Pushed {
        let tail_is_latest = self.tail_is_latest;
        let pushed = self.push(Event::ignored(wd), false);
        if pushed == Pushed::Dropped {
            self.tail_is_latest = tail_is_latest;
        }
        pushed
    }

    /// Events were lost before they came here: queues the overflow event, unless one is queued (OVERFLOW-7).
    /// Gives [`Pushed::Overflowed`] or [`Pushed::Dropped`].
    pub fn overflow(&mut self) -> Pushed {
        self.tail_is_latest = false;
        if self.overflow_queued {
            return Pushed::Dropped;
        }
        self.overflow_queued = true;
        self.append(Event::overflow());
        Pushed::Overflowed
    }

    /// A source told of an event that does not belong here: the next one is not adjacent to the tail (MERGE-8).
    pub fn skip(&mut self) {
        self.tail_is_latest = false;
    }

    /// Removes up to `count` of the oldest events, and says how many there were.
    pub fn pop_front(&mut self, count: usize) -> usize {
        let count = count.min(self.events.len());
        for event in self.events.drain(..count) {
            self.bytes -= event.size();
            self.overflow_queued &= !event.is_overflow();
        }
        count
    }

    /// What read(2) does with a buffer of `room_bytes`: removes as many whole events as fit, appends their records to
    /// `into`, and gives the number of bytes (READ-1, READ-10).
    ///
    /// # Errors
    ///
    /// [`Errno::Again`] if the queue is empty (READ-3); [`Errno::Inval`] if the first event does not fit, which is then
    /// kept (READ-2). Nothing was appended.
    pub fn take(&mut self, room_bytes: usize, into: &mut Vec<u8>) -> Result<usize, Errno> {
        let mut count = 0;
        let mut bytes = 0;
        for event in &self.events {
            if event.size() > room_bytes - bytes {
                break;
            }
            bytes += event.size();
            count += 1;
        }
        if count == 0 {
            return Err(if self.is_empty() { Errno::Again } else { Errno::Inval });
        }
        into.reserve(bytes);
        for event in self.events.range(..count) {
            event.encode_into(into);
        }
        self.pop_front(count);
        Ok(bytes)
    }

    /// Puts events that were read, and that the reader could not use, back in front, in their order. The limit was theirs
    /// already: none is lost.
    pub fn put_back(&mut self, events: Vec<Event>) {
        for event in events.into_iter().rev() {
            self.bytes += event.size();
            self.overflow_queued |= event.is_overflow();
            self.events.push_front(event);
        }
    }

    /// The number of queued events, the overflow event included (OVERFLOW-5).
    #[must_use]
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// Whether there is nothing to read.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// Whether the next event will be lost (OVERFLOW-2).
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.events.len() >= self.events_max as usize
    }

    /// What FIONREAD gives: the sizes of all records, the overflow event's included (IOCTL-1).
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The number of events, the overflow event apart, that fit.
    #[must_use]
    pub fn events_max(&self) -> u32 {
        self.events_max
    }

    /// Whether the event pushed last is the tail, or was merged into it, so that an adjacent one is kept apart from it.
    #[must_use]
    pub fn tail_is_latest(&self) -> bool {
        self.tail_is_latest
    }

    /// The event with `index` older ones in front of it.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<&Event> {
        self.events.get(index)
    }

    /// All events, oldest first.
    pub fn events(&self) -> impl DoubleEndedIterator<Item = &Event> + ExactSizeIterator {
        self.events.iter()
    }

    fn append(&mut self, event: Event) {
        self.bytes += event.size();
        self.events.push_back(event);
    }
}

/// `inotify_fsnotify.c` event_compare: the cookie is not compared (MERGE-1, MERGE-3 to MERGE-5).
fn merges(tail: &Event, new: &Event) -> bool {
    tail.mask & Mask::IN_IGNORED.bits() == 0
        && tail.mask_internal() == new.mask_internal()
        && tail.wd == new.wd
        && tail.name == new.name
}

/// Why [`EventQueue::from_parts`] refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PartsError {
    /// There are two overflow events.
    OverflowTwice,
    /// The overflow event has this wd, or a cookie, a name or other bits.
    OverflowDiffers(Wd),
    /// There are more events than the queue is made for.
    TooLong {
        /// How many there are.
        events: usize,
        /// How many there may be, the overflow event at the end apart.
        events_max: u32,
    },
}

impl std::fmt::Display for PartsError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::OverflowTwice => f.write_str("two overflow events"),
            Self::OverflowDiffers(wd) => write!(f, "an overflow event with wd {wd}, or with more than its bit"),
            Self::TooLong { events, events_max } => {
                write!(f, "{events} events in a queue for {events_max} and the overflow event at their end")
            }
        }
    }
}

impl std::error::Error for PartsError {}

#[cfg(test)]
mod tests {
    use super::*;

    const OPEN: u32 = 0x20;

    fn event(name: &str) -> Event {
        Event { wd: Wd(1), mask: OPEN, cookie: 0, name: name.as_bytes().into(), hidden: 0 }
    }

    fn push(queue: &mut EventQueue, name: &str) -> Pushed {
        queue.push(event(name), false)
    }

    fn queue_of(events_max: u32, names: &[&str]) -> EventQueue {
        let mut queue = EventQueue::new(events_max);
        for name in names {
            push(&mut queue, name);
        }
        queue
    }

    fn shown(queue: &EventQueue) -> String {
        let show = |event: &Event| match event.mask {
            OPEN => String::from_utf8(event.name.to_vec()).unwrap(),
            0x4000 => "overflow".into(),
            0x8000 => "ignored".into(),
            other => format!("{other:#x}"),
        };
        queue.events().map(show).collect::<Vec<_>>().join(" ")
    }

    /// READ-2: what was taken and could not be used is kept, at its place.
    #[test]
    fn events_can_be_put_back() {
        let mut queue = queue_of(2, &["a", "b", "c"]);
        let before = (shown(&queue), queue.bytes());
        let taken: Vec<_> = queue.events().take(2).cloned().collect();
        queue.pop_front(2);
        queue.put_back(taken);
        assert_eq!((shown(&queue), queue.bytes()), before);
        let all: Vec<_> = queue.events().cloned().collect();
        queue.pop_front(3);
        queue.put_back(all);
        assert_eq!(shown(&queue), "a b overflow");
        assert_eq!(queue.overflow(), Pushed::Dropped);
    }

    /// LIMIT-7
    #[test]
    fn a_queue_knows_its_limit() {
        assert_eq!([0, 1, 16_384].map(|events_max| EventQueue::new(events_max).events_max()), [0, 1, 16_384]);
    }

    /// MERGE-1
    #[test]
    fn equal_to_the_tail_is_merged() {
        let mut queue = queue_of(10, &["f"]);
        assert_eq!(push(&mut queue, "f"), Pushed::Merged);
        let differing =
            [Event { mask: 0x21, ..event("f") }, Event { wd: Wd(2), ..event("f") }, event("g"), event("ff"), event("")];
        for other in differing {
            let mut queue = queue.clone();
            assert_eq!(queue.push(other.clone(), false), Pushed::Queued, "{other:?}");
            assert_eq!(queue.push(other.clone(), false), Pushed::Merged, "{other:?}");
            assert_eq!(queue.len(), 2);
        }
    }

    /// MERGE-2
    #[test]
    fn only_the_tail_is_compared() {
        assert_eq!(shown(&queue_of(10, &["f", "g", "f", "f"])), "f g f");
    }

    /// MERGE-3
    #[test]
    fn cookie_is_not_compared_and_the_first_stays() {
        let mut queue = EventQueue::new(10);
        for cookie in [5, 6] {
            queue.push(Event { mask: 0x40, cookie, ..event("f") }, false);
        }
        assert_eq!(queue.events().map(|event| event.cookie).collect::<Vec<_>>(), [5]);
    }

    /// MERGE-4
    #[test]
    fn hidden_bits_are_compared() {
        let mut queue = EventQueue::new(10);
        let exec = Event { hidden: 0x1000, ..event("f") };
        assert_eq!(queue.push(event("f"), false), Pushed::Queued);
        assert_eq!(queue.push(exec.clone(), false), Pushed::Queued);
        assert_eq!(queue.push(exec, false), Pushed::Merged);
        assert_eq!(queue.push(event("f"), false), Pushed::Queued);
    }

    /// MERGE-5
    #[test]
    fn ignored_merges_with_nothing() {
        let mut queue = EventQueue::new(10);
        for _ in 0..2 {
            assert_eq!(queue.push(Event::ignored(Wd(1)), false), Pushed::Queued);
        }
        assert_eq!(queue.push_ignored(Wd(1)), Pushed::Queued);
        assert_eq!(queue.len(), 3);
    }

    /// MERGE-6
    #[test]
    fn what_was_read_merges_with_nothing() {
        let mut queue = queue_of(10, &["f"]);
        queue.pop_front(1);
        assert_eq!(push(&mut queue, "f"), Pushed::Queued);
        let mut queue = queue_of(10, &["g", "f"]);
        queue.pop_front(1);
        assert_eq!(push(&mut queue, "f"), Pushed::Merged, "the tail is still unread");
    }

    /// MERGE-7
    #[test]
    fn neighbours_of_a_kernel_queue_stay_apart() {
        let mut queue = queue_of(10, &["f"]);
        assert_eq!(queue.push(event("f"), true), Pushed::Queued);
        assert_eq!(queue.push(event("f"), false), Pushed::Merged);
        assert_eq!(queue.push(event("f"), true), Pushed::Queued, "the one before was merged into the tail");
        assert_eq!(shown(&queue), "f f f");
    }

    /// MERGE-8
    #[test]
    fn adjacency_needs_the_one_before_as_the_tail() {
        let mut queue = queue_of(10, &["f"]);
        queue.skip();
        assert_eq!(queue.push(event("f"), true), Pushed::Merged);

        let mut queue = queue_of(2, &["a", "b", "lost"]);
        queue.pop_front(2);
        push(&mut queue, "f");
        assert_eq!(queue.push(event("g"), false), Pushed::Dropped);
        queue.pop_front(1);
        assert_eq!(queue.push(event("f"), true), Pushed::Merged, "adjacent to g, which was dropped");
    }

    /// MERGE-8: an IN_IGNORED of rm_watch that is lost does not stand between two records of a source.
    #[test]
    fn lost_ignored_keeps_neighbours_apart() {
        let mut queue = EventQueue::new(2);
        queue.overflow();
        push(&mut queue, "f");
        assert_eq!(queue.push_ignored(Wd(9)), Pushed::Dropped);
        queue.pop_front(1);
        assert_eq!(queue.push(event("f"), true), Pushed::Queued);
    }

    /// OVERFLOW-2, OVERFLOW-4, OVERFLOW-5
    #[test]
    fn overflow_event_comes_once_behind_a_full_queue() {
        let mut queue = queue_of(2, &["a", "b"]);
        assert!(queue.is_full());
        assert_eq!(push(&mut queue, "c"), Pushed::Overflowed);
        assert_eq!(push(&mut queue, "d"), Pushed::Dropped);
        assert_eq!((shown(&queue).as_str(), queue.len()), ("a b overflow", 3));

        queue.pop_front(1);
        assert_eq!(push(&mut queue, "d"), Pushed::Dropped, "length is still the maximum");
        queue.pop_front(1);
        assert_eq!(push(&mut queue, "e"), Pushed::Queued);
        assert_eq!(shown(&queue), "overflow e");
        assert_eq!(push(&mut queue, "f"), Pushed::Dropped, "one overflow event is queued");
        queue.pop_front(1);
        assert_eq!(push(&mut queue, "g"), Pushed::Queued);
        assert_eq!(push(&mut queue, "h"), Pushed::Overflowed);
        assert_eq!(shown(&queue), "e g overflow");
    }

    /// OVERFLOW-3
    #[test]
    fn full_queue_overflows_before_it_merges() {
        let mut queue = queue_of(2, &["a", "b"]);
        assert_eq!(push(&mut queue, "b"), Pushed::Overflowed);
    }

    /// OVERFLOW-6
    #[test]
    fn full_queue_loses_ignored() {
        let mut queue = queue_of(1, &["a"]);
        assert_eq!(queue.push_ignored(Wd(1)), Pushed::Overflowed);
        assert_eq!(queue.push_ignored(Wd(1)), Pushed::Dropped);
        assert_eq!(queue.push(Event::ignored(Wd(1)), false), Pushed::Dropped);
        assert_eq!(shown(&queue), "a overflow");
    }

    /// OVERFLOW-7
    #[test]
    fn loss_in_the_source_queues_one_overflow_event() {
        let mut queue = queue_of(2, &["a"]);
        assert_eq!(queue.overflow(), Pushed::Overflowed);
        assert_eq!(queue.overflow(), Pushed::Dropped);
        assert_eq!(push(&mut queue, "b"), Pushed::Dropped, "it counts in the length");
        assert_eq!(shown(&queue), "a overflow");

        let mut queue = queue_of(2, &["a", "b"]);
        assert_eq!(queue.overflow(), Pushed::Overflowed);
        assert_eq!(queue.len(), 3);
    }

    #[test]
    fn queue_for_nothing_holds_the_overflow_event() {
        let mut queue = queue_of(0, &["a", "b"]);
        assert_eq!(shown(&queue), "overflow");
        queue.pop_front(1);
        assert_eq!(push(&mut queue, "c"), Pushed::Overflowed);
    }

    /// IOCTL-1
    #[test]
    fn bytes_are_the_sum_of_all_records() {
        let mut queue = queue_of(3, &["", "f", "a name of 17 byt"]);
        assert_eq!(queue.bytes(), 16 + 32 + 48);
        push(&mut queue, "lost");
        assert_eq!(queue.bytes(), 16 + 32 + 48 + 16);
        assert_eq!(queue.pop_front(2), 2);
        assert_eq!(queue.bytes(), 48 + 16);
        assert_eq!(queue.pop_front(9), 2);
        assert_eq!(queue.bytes(), 0);
    }

    /// READ-1, READ-2, READ-3, READ-10
    #[test]
    fn take_gives_whole_events_in_order() {
        let full = queue_of(9, &["f", "", "g"]);
        let record = |index: usize| {
            let mut bytes = Vec::new();
            full.get(index).unwrap().encode_into(&mut bytes);
            bytes
        };
        for room in 0..100 {
            let mut queue = full.clone();
            let mut bytes = vec![7];
            let taken = queue.take(room, &mut bytes);
            let count = match room {
                0..32 => 0,
                32..48 => 1,
                48..80 => 2,
                _ => 3,
            };
            let expected: Vec<u8> = [vec![7]].into_iter().chain((0..count).map(record)).flatten().collect();
            assert_eq!(bytes, expected, "room {room}");
            assert_eq!(taken, if count == 0 { Err(Errno::Inval) } else { Ok(bytes.len() - 1) });
            assert_eq!(queue.len(), 3 - count);
        }
        let mut empty = EventQueue::new(9);
        for room in [0, 16, 4096] {
            assert_eq!(empty.take(room, &mut Vec::new()), Err(Errno::Again));
        }
    }

    /// SNAPSHOT-3
    #[test]
    fn impossible_parts_are_refused() {
        let from = |events_max, events: &[Event]| EventQueue::from_parts(events_max, events.to_vec(), true).err();
        let [a, over] = [event("a"), Event::overflow()];
        let too_long = |events| Some(PartsError::TooLong { events, events_max: 2 });
        assert_eq!(from(2, &[]), None);
        assert_eq!(from(2, &[over.clone(), a.clone()]), None);
        assert_eq!(from(2, &[a.clone(), a.clone(), over.clone()]), None);
        assert_eq!(from(2, &[a.clone(), over.clone(), a.clone()]), too_long(3));
        assert_eq!(from(2, &[a.clone(), a.clone(), a.clone()]), too_long(3));
        assert_eq!(from(2, &[a.clone(), a.clone(), over.clone(), a.clone()]), too_long(4));
        assert_eq!(from(9, &[over.clone(), over.clone()]), Some(PartsError::OverflowTwice));
        assert_eq!(from(9, &[Event { wd: Wd(1), ..over }]), Some(PartsError::OverflowDiffers(Wd(1))));
    }
}
