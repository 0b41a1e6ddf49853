//! Random operations on the allocator, the queue and the engine, beside models that are too simple to be wrong.

use std::collections::BTreeSet;

use proptest::collection::vec;
use proptest::prelude::*;
use uinotify_core::engine::{Config, Delivery, Engine, GroupId, Limits, ObjectId, Output, OwnerId};
use uinotify_core::{AddMask, Errno, Event, EventQueue, Mask, Pushed, Wd, WdAllocator};

const LAST: i32 = i32::MAX;

/// The kernel's algorithm on a plain set, number by number.
#[derive(Debug, Clone, Default)]
struct WdModel {
    used: BTreeSet<i32>,
    cursor: u32,
}

impl WdModel {
    fn lowest_free(&self, from: i32) -> Option<i32> {
        (from..=LAST).find(|id| !self.used.contains(id))
    }

    fn allocate(&mut self) -> Result<Wd, Errno> {
        let start = if (self.cursor as i32) < 1 { 1 } else { self.cursor as i32 };
        let id = self.lowest_free(start).or_else(|| self.lowest_free(1)).ok_or(Errno::NoSpc)?;
        self.used.insert(id);
        self.cursor = id as u32 + 1;
        Ok(Wd(id))
    }

    fn set_cursor(&mut self, argument: u64) -> Result<(), Errno> {
        if !(1..=0x7fff_ffff).contains(&argument) {
            return Err(Errno::Inval);
        }
        self.cursor = argument as u32;
        Ok(())
    }
}

/// Both ends of the range, and little in between.
fn cursor_argument() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => 0..12_u64,
        4 => 0x7fff_fff5..=0x8000_0002_u64,
        1 => 0xffff_fffe..0x1_0000_0004_u64,
        1 => any::<u64>(),
    ]
}

#[derive(Debug, Clone)]
enum WdOp {
    Allocate,
    SetCursor(u64),
    /// The n-th number in use, counted round.
    Release(usize),
    ReleaseAny(i32),
    Rebuild,
}

fn wd_op() -> impl Strategy<Value = WdOp> {
    prop_oneof![
        6 => Just(WdOp::Allocate),
        2 => cursor_argument().prop_map(WdOp::SetCursor),
        3 => any::<usize>().prop_map(WdOp::Release),
        1 => any::<i32>().prop_map(WdOp::ReleaseAny),
        1 => Just(WdOp::Rebuild),
    ]
}

fn wds_agree(ops: &[WdOp]) {
    let (mut wds, mut model) = (WdAllocator::new(), WdModel::default());
    for op in ops {
        match *op {
            WdOp::Allocate => assert_eq!(wds.allocate(), model.allocate()),
            WdOp::SetCursor(argument) => assert_eq!(wds.set_cursor(argument), model.set_cursor(argument)),
            WdOp::Release(n) => {
                if let Some(&id) = model.used.iter().nth(n % model.used.len().max(1)) {
                    wds.release(Wd(id));
                    model.used.remove(&id);
                }
            }
            WdOp::ReleaseAny(id) => {
                wds.release(Wd(id));
                model.used.remove(&id);
            }
            WdOp::Rebuild => wds = WdAllocator::from_parts(wds.cursor_raw(), wds.runs()).unwrap(),
        }
        assert_eq!(wds.cursor_raw(), model.cursor);
        assert!(wds.runs().flatten().eq(model.used.iter().copied()));
    }
}

/// The queue of semantics 3.5 and 3.6: each question is answered by looking at all events.
#[derive(Debug, Clone)]
struct QueueModel {
    events: Vec<Event>,
    events_max: usize,
    /// Whether the last record of a source is the tail.
    latest_is_tail: bool,
}

impl QueueModel {
    fn new(events_max: u32) -> Self {
        Self { events: Vec::new(), events_max: events_max as usize, latest_is_tail: false }
    }

    fn overflow(&mut self) -> Pushed {
        self.latest_is_tail = false;
        if self.events.iter().any(|event| event.wd == Wd(-1)) {
            return Pushed::Dropped;
        }
        self.events.push(Event { wd: Wd(-1), mask: 0x4000, cookie: 0, name: [].into(), hidden: 0 });
        Pushed::Overflowed
    }

    fn push(&mut self, event: Event, adjacent: bool) -> Pushed {
        if self.events.len() >= self.events_max {
            return self.overflow();
        }
        let apart = adjacent && self.latest_is_tail;
        self.latest_is_tail = true;
        if let Some(tail) = self.events.last()
            && !apart
            && tail.mask != 0x8000
            && (tail.wd, tail.mask, tail.hidden, &tail.name) == (event.wd, event.mask, event.hidden, &event.name)
        {
            return Pushed::Merged;
        }
        self.events.push(event);
        Pushed::Queued
    }

    fn push_ignored(&mut self, wd: Wd) -> Pushed {
        let before = self.clone();
        let pushed = self.push(Event { wd, mask: 0x8000, cookie: 0, name: [].into(), hidden: 0 }, false);
        if pushed == Pushed::Dropped {
            *self = before;
        }
        pushed
    }

    fn bytes(&self) -> usize {
        self.events.iter().map(record_bytes).sum()
    }

    fn take(&mut self, room_bytes: usize) -> Result<Vec<Event>, Errno> {
        if self.events.is_empty() {
            return Err(Errno::Again);
        }
        let mut taken = Vec::new();
        let mut bytes = 0;
        while let Some(event) = self.events.first() {
            bytes += record_bytes(event);
            if bytes > room_bytes {
                break;
            }
            taken.push(self.events.remove(0));
        }
        if taken.is_empty() { Err(Errno::Inval) } else { Ok(taken) }
    }
}

fn record_bytes(event: &Event) -> usize {
    match event.name.len() {
        0 => 16,
        1..=15 => 32,
        16..=31 => 48,
        other => panic!("no test uses a name of {other} bytes"),
    }
}

fn name() -> impl Strategy<Value = &'static str> {
    prop_oneof![3 => Just("f"), 1 => Just("g"), 1 => Just(""), 1 => Just("sixteen and more")]
}

#[derive(Debug, Clone)]
struct Record {
    mask: u32,
    cookie: u32,
    name: &'static str,
    hidden: u32,
    adjacent: bool,
}

fn record() -> impl Strategy<Value = Record> {
    let mask = prop_oneof![4 => Just(0x20_u32), 1 => Just(0x40_u32), 1 => Just(0x8000_u32)];
    let hidden = prop_oneof![3 => Just(0_u32), 1 => Just(0x1000_u32)];
    (mask, 0..2_u32, name(), hidden, any::<bool>()).prop_map(|(mask, cookie, name, hidden, adjacent)| {
        if mask == 0x8000 {
            Record { mask, cookie: 0, name: "", hidden: 0, adjacent }
        } else {
            Record { mask, cookie, name, hidden, adjacent }
        }
    })
}

#[derive(Debug, Clone)]
enum QueueOp {
    Push(i32, Record),
    PushIgnored(i32),
    Overflow,
    Skip,
    Pop(usize),
    Take(usize),
    Rebuild,
}

fn queue_op() -> impl Strategy<Value = QueueOp> {
    prop_oneof![
        8 => (1..3_i32, record()).prop_map(|(wd, record)| QueueOp::Push(wd, record)),
        1 => (1..3_i32).prop_map(QueueOp::PushIgnored),
        1 => Just(QueueOp::Overflow),
        1 => Just(QueueOp::Skip),
        1 => (0..3_usize).prop_map(QueueOp::Pop),
        1 => (0..150_usize).prop_map(QueueOp::Take),
        1 => Just(QueueOp::Rebuild),
    ]
}

fn queues_agree(events_max: u32, ops: &[QueueOp]) {
    let (mut queue, mut model) = (EventQueue::new(events_max), QueueModel::new(events_max));
    for op in ops {
        match op {
            QueueOp::Push(wd, Record { mask, cookie, name, hidden, adjacent }) => {
                let event =
                    Event { wd: Wd(*wd), mask: *mask, cookie: *cookie, name: name.as_bytes().into(), hidden: *hidden };
                assert_eq!(queue.push(event.clone(), *adjacent), model.push(event, *adjacent));
            }
            QueueOp::PushIgnored(wd) => assert_eq!(queue.push_ignored(Wd(*wd)), model.push_ignored(Wd(*wd))),
            QueueOp::Overflow => assert_eq!(queue.overflow(), model.overflow()),
            QueueOp::Skip => {
                queue.skip();
                model.latest_is_tail = false;
            }
            QueueOp::Pop(count) => {
                let count = *count.min(&model.events.len());
                assert_eq!(queue.pop_front(count), count);
                model.events.drain(..count);
            }
            QueueOp::Take(room) => {
                let mut bytes = Vec::new();
                let taken = queue.take(*room, &mut bytes);
                let expected = model.take(*room);
                assert_eq!(taken, expected.as_ref().map(|_| bytes.len()).map_err(|&errno| errno));
                assert_eq!(bytes, records(expected.unwrap_or_default()));
            }
            QueueOp::Rebuild => {
                let events = queue.events().cloned().collect();
                queue = EventQueue::from_parts(events_max, events, queue.tail_is_latest()).unwrap();
            }
        }
        assert!(queue.events().eq(model.events.iter()), "{queue:?}\n{model:?}");
        assert_eq!((queue.len(), queue.bytes()), (model.events.len(), model.bytes()));
        assert_eq!(queue.is_full(), model.events.len() >= model.events_max);
        assert!(queue.len() <= model.events_max + 1);
    }
}

fn records(events: Vec<Event>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for event in events {
        event.encode_into(&mut bytes);
    }
    bytes
}

/// One instance, with its watches oldest first.
#[derive(Debug, Clone)]
struct GroupModel {
    owner: OwnerId,
    limits: Limits,
    wds: WdModel,
    watches: Vec<(Wd, u64, u32)>,
    queue: QueueModel,
}

/// `None` for a group that was closed.
type Model = Vec<Option<GroupModel>>;

#[derive(Debug, Clone)]
enum Op {
    Create { owner: u32, instances_max: u32, watches_max: u32, queue_events_max: u32 },
    Close,
    Add { object: u64, mask: u32 },
    Burn,
    Remove(usize),
    RemoveAny(i32),
    EndSilently(usize),
    Deliver(usize, Record),
    DeliverAny(i32, Record),
    Overflow,
    Acknowledge(usize),
    Take(usize),
    SetCursor(u64),
    Cookie,
}

fn op() -> impl Strategy<Value = Op> {
    let add_mask = prop_oneof![
        4 => Just(0xfff_u32),
        1 => Just(0x0400_0020_u32),
        1 => Just(0xa000_0100_u32),
        1 => Just(0x1000_0100_u32),
        1 => Just(0x3000_0100_u32),
    ];
    prop_oneof![
        1 => (0..2_u32, 1..4_u32, 0..6_u32, 0..6_u32).prop_map(
            |(owner, instances_max, watches_max, queue_events_max)| {
                Op::Create { owner, instances_max, watches_max, queue_events_max }
            }
        ),
        1 => Just(Op::Close),
        6 => (0..6_u64, add_mask).prop_map(|(object, mask)| Op::Add { object, mask }),
        1 => Just(Op::Burn),
        2 => any::<usize>().prop_map(Op::Remove),
        1 => (-1..4_i32).prop_map(Op::RemoveAny),
        1 => any::<usize>().prop_map(Op::EndSilently),
        10 => (any::<usize>(), record()).prop_map(|(n, record)| Op::Deliver(n, record)),
        1 => (-1..4_i32, record()).prop_map(|(wd, record)| Op::DeliverAny(wd, record)),
        1 => Just(Op::Overflow),
        2 => (0..4_usize).prop_map(Op::Acknowledge),
        2 => (0..150_usize).prop_map(Op::Take),
        2 => cursor_argument().prop_map(Op::SetCursor),
        1 => Just(Op::Cookie),
    ]
}

/// An engine and the model of it; `ids` has the engine's number of each group of the model.
struct Pair {
    engine: Engine,
    ids: Vec<GroupId>,
    model: Model,
    cookie: u32,
}

impl Pair {
    fn new() -> Self {
        let mut pair = Self {
            engine: Engine::new(Config { cookie_seed: u32::MAX - 2, ..Config::default() }),
            ids: Vec::new(),
            model: Vec::new(),
            cookie: u32::MAX - 2,
        };
        pair.create(OwnerId(0), Limits { instances_max: 3, watches_max: 4, queue_events_max: 5 });
        pair
    }

    /// Instances and watches.
    fn usage(&self, owner: OwnerId) -> (usize, usize) {
        let groups = self.model.iter().flatten().filter(|group| group.owner == owner);
        groups.fold((0, 0), |(instances, watches), group| (instances + 1, watches + group.watches.len()))
    }

    fn create(&mut self, owner: OwnerId, limits: Limits) {
        let created = self.engine.create_group(owner, limits);
        if self.usage(owner).0 >= limits.instances_max as usize {
            assert_eq!(created, Err(Errno::MFile));
            return;
        }
        let id = created.unwrap();
        assert!(!self.ids.contains(&id));
        self.ids.push(id);
        let queue = QueueModel::new(limits.queue_events_max);
        self.model.push(Some(GroupModel { owner, limits, wds: WdModel::default(), watches: Vec::new(), queue }));
    }

    /// Ends a watch in the model.
    fn end(model: &mut GroupModel, wd: Wd) -> Result<ObjectId, Errno> {
        let index = model.watches.iter().position(|watch| watch.0 == wd).ok_or(Errno::Inval)?;
        model.wds.used.remove(&wd.0);
        Ok(ObjectId(model.watches.remove(index).1))
    }

    fn apply(&mut self, at: usize, op: &Op) {
        let at = at % self.ids.len();
        let id = self.ids[at];
        if let Op::Create { owner, instances_max, watches_max, queue_events_max } = *op {
            return self.create(OwnerId(owner), Limits { instances_max, watches_max, queue_events_max });
        }
        if let Op::Cookie = op {
            self.cookie = self.cookie.wrapping_add(1);
            return assert_eq!(self.engine.next_cookie(), self.cookie);
        }
        let owner_watches = self.model[at].as_ref().map_or(0, |group| self.usage(group.owner).1);
        let engine = &mut self.engine;
        let Some(model) = &mut self.model[at] else {
            assert_eq!(engine.cursor(id), Err(Errno::BadF));
            return;
        };
        let nth = |model: &GroupModel, n: usize| model.watches.get(n % model.watches.len().max(1)).map(|watch| watch.0);
        let mut ended = None;
        let mut woken = false;
        match op {
            Op::Close => {
                let objects: Vec<_> = model.watches.iter().map(|watch| ObjectId(watch.1)).collect();
                assert_eq!(engine.close_group(id), objects);
                self.model[at] = None;
            }
            Op::Add { object, mask } => {
                let added = engine.add_watch(id, ObjectId(*object), AddMask::new(*mask).unwrap());
                let added = added.map(|added| (added.wd, added.new, added.mask_stored));
                let kept = mask & 0x8400_0fff;
                let has = |bit: Mask| mask & bit.bits() != 0;
                let known = model.watches.iter_mut().find(|watch| watch.1 == *object);
                if has(Mask::IN_MASK_ADD) && has(Mask::IN_MASK_CREATE) {
                    assert_eq!(added, Err(Errno::Inval));
                } else if let Some((wd, _, stored)) = known {
                    if has(Mask::IN_MASK_CREATE) {
                        assert_eq!(added, Err(Errno::Exist));
                    } else {
                        *stored = if has(Mask::IN_MASK_ADD) { *stored | kept } else { kept };
                        assert_eq!(added, Ok((*wd, false, *stored)));
                    }
                } else {
                    let wd = model.wds.allocate().unwrap();
                    if owner_watches >= model.limits.watches_max as usize {
                        model.wds.used.remove(&wd.0);
                        assert_eq!(added, Err(Errno::NoSpc));
                    } else {
                        model.watches.push((wd, *object, kept));
                        assert_eq!(added, Ok((wd, true, kept)));
                    }
                }
            }
            Op::Burn => {
                engine.burn_wd(id);
                let wd = model.wds.allocate().unwrap();
                model.wds.used.remove(&wd.0);
            }
            Op::Remove(_) | Op::RemoveAny(_) => {
                let wd = match op {
                    Op::Remove(n) => nth(model, *n),
                    Op::RemoveAny(wd) => Some(Wd(*wd)),
                    _ => None,
                };
                let Some(wd) = wd else { return };
                let expected = Self::end(model, wd);
                assert_eq!(engine.remove_watch(id, wd), expected);
                if let Ok(object) = expected {
                    ended = Some((object, wd));
                    woken = model.queue.push_ignored(wd).is_new();
                }
            }
            Op::EndSilently(n) => {
                let Some(wd) = nth(model, *n) else { return };
                let object = Self::end(model, wd).unwrap();
                assert_eq!(engine.end_watch_silently(id, wd), Ok(object));
                ended = Some((object, wd));
            }
            Op::Deliver(_, record) | Op::DeliverAny(_, record) => {
                let wd = match op {
                    Op::Deliver(n, _) => nth(model, *n),
                    Op::DeliverAny(wd, _) => Some(Wd(*wd)),
                    _ => None,
                };
                let Some(wd) = wd else { return };
                let Record { mask, cookie, name, hidden, adjacent } = *record;
                let delivery = Delivery { mask, cookie, name: name.as_bytes(), hidden, adjacent };
                let delivered = engine.deliver(id, wd, delivery);
                if model.watches.iter().any(|watch| watch.0 == wd) {
                    if mask == 0x8000 {
                        ended = Some((Self::end(model, wd).unwrap(), wd));
                    }
                    let event = Event { wd, mask, cookie, name: name.as_bytes().into(), hidden };
                    let pushed = model.queue.push(event, adjacent);
                    assert_eq!(delivered, Some(pushed));
                    woken = pushed.is_new();
                } else {
                    assert_eq!(delivered, None);
                    model.queue.latest_is_tail = false;
                }
            }
            Op::Overflow => {
                let pushed = model.queue.overflow();
                assert_eq!(engine.source_overflowed(id), Some(pushed));
                woken = pushed.is_new();
            }
            Op::Acknowledge(count) => {
                let count = *count.min(&model.queue.events.len());
                assert_eq!(engine.acknowledge(id, count), count);
                model.queue.events.drain(..count);
            }
            Op::Take(room) => {
                let mut bytes = Vec::new();
                let taken = engine.take(id, *room, &mut bytes);
                let expected = model.queue.take(*room);
                assert_eq!(taken, expected.as_ref().map(|_| bytes.len()).map_err(|&errno| errno));
                assert_eq!(bytes, records(expected.unwrap_or_default()));
            }
            Op::SetCursor(argument) => assert_eq!(engine.set_cursor(id, *argument), model.wds.set_cursor(*argument)),
            Op::Create { .. } | Op::Cookie => unreachable!("done above"),
        }
        let ended = ended.map(|(object, wd)| Output::Unwatched { group: id, object, wd });
        let expected: Vec<Output> = ended.into_iter().chain(woken.then_some(Output::Readable(id))).collect();
        let outputs: Vec<Output> = std::iter::from_fn(|| self.engine.poll_output()).collect();
        assert_eq!(outputs, expected);
    }

    /// All that can be asked.
    fn compare(&self) {
        assert_eq!(self.engine.groups().len(), self.model.iter().flatten().count());
        for (&id, model) in self.ids.iter().zip(&self.model) {
            let Some(model) = model else { continue };
            let watches = self.engine.watches(id).map(|watch| (watch.wd, watch.object.0, watch.mask));
            assert!(watches.eq(model.watches.iter().copied()));
            assert!(self.engine.watches(id).rev().map(|watch| watch.wd).eq(model.watches.iter().rev().map(|w| w.0)));
            for object in 0..6 {
                let wd = model.watches.iter().find(|watch| watch.1 == object).map(|watch| watch.0);
                assert_eq!(self.engine.watch_of(id, ObjectId(object)), wd);
            }
            for &(wd, object, _) in &model.watches {
                assert_eq!(self.engine.object_of(id, wd), Ok(ObjectId(object)));
            }
            let shown = if (1..=LAST as u32).contains(&model.wds.cursor) { model.wds.cursor as i32 } else { 1 };
            assert_eq!(self.engine.cursor(id), Ok(shown));
            assert_eq!(self.engine.queue_len(id), model.queue.events.len());
            assert_eq!(self.engine.queue_bytes(id), model.queue.bytes());
            assert_eq!(self.engine.is_full(id), model.queue.events.len() >= model.queue.events_max);
            for index in 0..=model.queue.events.len() {
                assert_eq!(self.engine.event(id, index), model.queue.events.get(index));
            }
            assert_eq!(self.engine.limits(id), Some(model.limits));
            assert_eq!(self.engine.owner(id), Some(model.owner));
        }
    }

    /// Moves every group through a snapshot into a new engine. The model notices nothing.
    fn migrate(&mut self) {
        let mut fresh = Engine::new(Config { cookie_seed: self.cookie.wrapping_add(9), ..Config::default() });
        for (id, model) in self.ids.iter_mut().zip(&self.model) {
            let Some(model) = model else { continue };
            let snapshot = self.engine.snapshot(*id).unwrap();
            *id = fresh.restore(model.owner, snapshot).unwrap();
        }
        if fresh.groups().len() == 0 {
            // Nothing carried the counter.
            fresh = Engine::new(Config { cookie_seed: self.cookie, ..Config::default() });
        }
        let readable: Vec<Output> = std::iter::from_fn(|| fresh.poll_output()).collect();
        let groups = self.ids.iter().zip(&self.model);
        let expected = groups.filter(|(_, model)| model.as_ref().is_some_and(|m| !m.queue.events.is_empty()));
        assert!(readable.iter().copied().eq(expected.map(|(&id, _)| Output::Readable(id))));
        // A closed group's number must not come alive again in the new engine.
        for (id, model) in self.ids.iter_mut().zip(&self.model) {
            if model.is_none() {
                let gone = fresh.create_group(OwnerId(9), Limits::default()).unwrap();
                fresh.close_group(gone);
                *id = gone;
            }
        }
        self.engine = fresh;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// WD-2, WD-3, WD-5, WD-10
    #[test]
    fn allocator_is_the_kernels(ops in vec(wd_op(), 1..120)) {
        wds_agree(&ops);
    }

    /// MERGE-1, MERGE-2, MERGE-7, MERGE-8, OVERFLOW-2, OVERFLOW-3, OVERFLOW-4, OVERFLOW-5, READ-1
    #[test]
    fn queue_is_the_kernels(events_max in 0..6_u32, ops in vec(queue_op(), 1..120)) {
        queues_agree(events_max, &ops);
    }

    /// SNAPSHOT-1: `true` before an operation moves everything into a new engine.
    #[test]
    fn engine_is_the_kernels_whatever_is_restored_in_between(
        ops in vec((prop_oneof![4 => Just(false), 1 => Just(true)], 0..4_usize, op()), 1..80)
    ) {
        let mut pair = Pair::new();
        for (migrates, at, op) in &ops {
            if *migrates {
                pair.migrate();
                pair.compare();
            }
            pair.apply(*at, op);
            pair.compare();
        }
    }
}
