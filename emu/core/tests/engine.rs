//! The rules that need a whole engine.

use uinotify_core::engine::{Config, Delivery, Engine, GroupId, Limits, ObjectId, Output, OwnerId};
use uinotify_core::snapshot::{EventV1, RestoreError, Snapshot, SnapshotV1, WatchV1};
use uinotify_core::{AddMask, Errno, Event, Happening, Mask, Pushed, Totals, Wd, allocator, queue};

const OWNER: OwnerId = OwnerId(1000);
const OPEN: u32 = Mask::IN_OPEN.bits();
const IGNORED: u32 = Mask::IN_IGNORED.bits();

fn limits() -> Limits {
    Limits { instances_max: 3, watches_max: 5, queue_events_max: 8 }
}

fn engine() -> (Engine, GroupId) {
    let mut engine = Engine::new(Config::default());
    let group = engine.create_group(OWNER, limits()).unwrap();
    (engine, group)
}

fn add(engine: &mut Engine, group: GroupId, object: u64, mask: Mask) -> Result<Wd, Errno> {
    engine.add_watch(group, ObjectId(object), AddMask::new(mask.bits()).unwrap()).map(|added| added.wd)
}

fn add_open(engine: &mut Engine, group: GroupId, object: u64) -> Result<Wd, Errno> {
    add(engine, group, object, Mask::IN_OPEN)
}

fn deliver(engine: &mut Engine, group: GroupId, wd: i32, mask: u32) -> Option<Pushed> {
    engine.deliver(group, Wd(wd), Delivery { mask, ..Delivery::default() })
}

/// wd and mask of all queued events.
fn queued(engine: &Engine, group: GroupId) -> Vec<(i32, u32)> {
    (0..engine.queue_len(group)).map(|index| engine.event(group, index).unwrap()).map(|e| (e.wd.0, e.mask)).collect()
}

fn outputs(engine: &mut Engine) -> Vec<Output> {
    std::iter::from_fn(|| engine.poll_output()).collect()
}

/// Newest first: wd and mask.
fn fdinfo(engine: &Engine, group: GroupId) -> Vec<(i32, u32)> {
    engine.watches(group).rev().map(|watch| (watch.wd.0, watch.mask)).collect()
}

/// LIMIT-1, LIMIT-2, LIMIT-6
#[test]
fn instances_are_limited_per_owner() {
    let (mut engine, first) = engine();
    for _ in 1..3 {
        engine.create_group(OWNER, limits()).unwrap();
    }
    assert_eq!(engine.create_group(OWNER, limits()), Err(Errno::MFile));
    assert!(engine.create_group(OwnerId(0), limits()).is_ok());
    assert!(engine.create_group(OWNER, Limits { instances_max: 4, ..limits() }).is_ok());
    engine.close_group(first);
    assert_eq!(engine.create_group(OWNER, limits()), Err(Errno::MFile));
    for group in engine.groups().collect::<Vec<_>>() {
        engine.close_group(group);
    }
    let again = engine.create_group(OWNER, limits()).unwrap();
    assert_ne!(again, first);
}

/// LIMIT-2, LIMIT-3, LIMIT-6
#[test]
fn watches_are_limited_per_owner_over_all_groups() {
    let (mut engine, first) = engine();
    let second = engine.create_group(OWNER, limits()).unwrap();
    let other = engine.create_group(OwnerId(0), limits()).unwrap();
    for object in 0..3 {
        add_open(&mut engine, first, object).unwrap();
    }
    for object in 0..2 {
        add_open(&mut engine, second, object).unwrap();
    }
    assert_eq!(add_open(&mut engine, first, 9), Err(Errno::NoSpc));
    assert_eq!(add_open(&mut engine, second, 9), Err(Errno::NoSpc));
    assert_eq!(add_open(&mut engine, other, 9), Ok(Wd(1)));
    assert_eq!(engine.close_group(first), [0, 1, 2].map(ObjectId));
    for object in 10..13 {
        add_open(&mut engine, second, object).unwrap();
    }
    assert_eq!(add_open(&mut engine, second, 13), Err(Errno::NoSpc));
}

/// LIMIT-3
#[test]
fn room_for_a_watch_is_told_beforehand() {
    let (mut engine, first) = engine();
    let second = engine.create_group(OWNER, limits()).unwrap();
    let large = engine.create_group(OWNER, Limits { watches_max: 6, ..limits() }).unwrap();
    for object in 0..5 {
        assert!(engine.has_watch_room(first) && engine.has_watch_room(second));
        add_open(&mut engine, first, object).unwrap();
    }
    assert!(!engine.has_watch_room(first) && !engine.has_watch_room(second));
    assert!(engine.has_watch_room(large), "a limit of its own");
    add_open(&mut engine, large, 5).unwrap();
    assert!(!engine.has_watch_room(first) && !engine.has_watch_room(large), "beyond the limit of the first");
    engine.close_group(large);
    engine.close_group(first);
    assert!(engine.has_watch_room(second) && !engine.has_watch_room(first));
}

/// LIMIT-4, WD-8
#[test]
fn update_works_at_the_watch_limit() {
    let (mut engine, group) = engine();
    for object in 0..5 {
        add_open(&mut engine, group, object).unwrap();
    }
    assert_eq!(add(&mut engine, group, 2, Mask::IN_CREATE), Ok(Wd(3)));
    assert_eq!(engine.cursor(group), Ok(6));
}

/// LIMIT-5
#[test]
fn ended_watch_gives_its_place_back_before_it_is_read() {
    let (mut engine, group) = engine();
    for object in 0..5 {
        add_open(&mut engine, group, object).unwrap();
    }
    engine.remove_watch(group, Wd(1)).unwrap();
    deliver(&mut engine, group, 2, IGNORED);
    engine.end_watch_silently(group, Wd(3)).unwrap();
    for object in 10..13 {
        add_open(&mut engine, group, object).unwrap();
    }
    assert_eq!(add_open(&mut engine, group, 13), Err(Errno::NoSpc));
}

/// LIMIT-7
#[test]
fn limits_stay_as_they_were_at_creation() {
    let (mut engine, small) = engine();
    let large = engine.create_group(OWNER, Limits { queue_events_max: 9, ..limits() }).unwrap();
    for group in [small, large] {
        add_open(&mut engine, group, 1).unwrap();
        for bit in 0..9 {
            deliver(&mut engine, group, 1, 1 << bit);
        }
    }
    assert_eq!(queued(&engine, small).last(), Some(&(-1, 0x4000)));
    assert_eq!(queued(&engine, large).last(), Some(&(1, 0x100)));
    assert_eq!(engine.limits(small), Some(limits()));
    assert_eq!(engine.owner(large), Some(OWNER));
}

/// WATCH-1, WATCH-2, WATCH-3, ONESHOT-4
#[test]
fn adding_again_updates() {
    let (mut engine, group) = engine();
    let mut add = |mask: Mask| engine.add_watch(group, ObjectId(1), AddMask::new(mask.bits()).unwrap()).unwrap();
    let added = add(Mask::IN_OPEN | Mask::IN_ONESHOT | Mask::IN_MASK_ADD);
    assert_eq!((added.wd, added.new, added.mask_stored), (Wd(1), true, 0x8000_0020));
    let added = add(Mask::IN_CREATE | Mask::IN_EXCL_UNLINK | Mask::IN_MASK_ADD);
    assert_eq!((added.wd, added.new, added.mask_stored), (Wd(1), false, 0x8400_0120));
    let added = add(Mask::IN_DELETE | Mask::IN_ONLYDIR);
    assert_eq!((added.wd, added.new, added.mask_stored), (Wd(1), false, 0x200));
    let added = add(Mask::IN_ONESHOT | Mask::IN_MASK_ADD);
    assert_eq!(added.mask_stored, 0x8000_0200);
    assert_eq!(fdinfo(&engine, group), [(1, 0x8000_0200)]);
}

/// WATCH-4, WD-8, MASK-3
#[test]
fn refused_masks_change_nothing() {
    let (mut engine, group) = engine();
    add_open(&mut engine, group, 1).unwrap();
    let create = Mask::IN_MASK_CREATE | Mask::IN_DELETE;
    assert_eq!(add(&mut engine, group, 1, create), Err(Errno::Exist));
    for object in [1, 2] {
        assert_eq!(add(&mut engine, group, object, create | Mask::IN_MASK_ADD), Err(Errno::Inval));
    }
    assert_eq!(fdinfo(&engine, group), [(1, OPEN)]);
    assert_eq!(engine.cursor(group), Ok(2));
    assert_eq!(add(&mut engine, group, 2, create), Ok(Wd(2)));
}

/// WATCH-5
#[test]
fn groups_know_nothing_of_each_other() {
    let (mut engine, first) = engine();
    let second = engine.create_group(OWNER, limits()).unwrap();
    engine.set_cursor(second, 7).unwrap();
    add_open(&mut engine, first, 1).unwrap();
    add(&mut engine, second, 1, Mask::IN_CREATE | Mask::IN_MASK_CREATE).unwrap();
    assert_eq!((fdinfo(&engine, first), fdinfo(&engine, second)), (vec![(1, OPEN)], vec![(7, 0x100)]));
    assert_eq!(engine.remove_watch(second, Wd(1)), Err(Errno::Inval));
    engine.remove_watch(second, Wd(7)).unwrap();
    assert_eq!(engine.watch_of(first, ObjectId(1)), Some(Wd(1)));
    assert_eq!((engine.queue_len(first), engine.queue_len(second)), (0, 1));
}

/// WATCH-6, FD-15
#[test]
fn order_of_creation_is_kept_through_updates() {
    let (mut engine, group) = engine();
    for (object, cursor) in [(1, 50), (2, 3), (3, 20)] {
        engine.set_cursor(group, cursor).unwrap();
        add_open(&mut engine, group, object).unwrap();
    }
    add(&mut engine, group, 1, Mask::IN_CREATE).unwrap();
    assert_eq!(fdinfo(&engine, group), [(20, OPEN), (3, OPEN), (50, 0x100)]);
    engine.remove_watch(group, Wd(50)).unwrap();
    add_open(&mut engine, group, 1).unwrap();
    assert_eq!(fdinfo(&engine, group), [(21, OPEN), (20, OPEN), (3, OPEN)]);
}

/// RM-2, IGNORED-3
#[test]
fn unknown_wds_are_refused() {
    let (mut engine, group) = engine();
    add_open(&mut engine, group, 1).unwrap();
    for wd in [0, -1, 2, i32::MAX, i32::MIN] {
        assert_eq!(engine.remove_watch(group, Wd(wd)), Err(Errno::Inval), "{wd}");
        assert_eq!(engine.end_watch_silently(group, Wd(wd)), Err(Errno::Inval), "{wd}");
        assert_eq!(engine.object_of(group, Wd(wd)), Err(Errno::Inval), "{wd}");
    }
    assert_eq!(engine.remove_watch(group, Wd(1)), Ok(ObjectId(1)));
    assert_eq!(engine.remove_watch(group, Wd(1)), Err(Errno::Inval));
    assert_eq!(queued(&engine, group), [(1, IGNORED)]);
}

/// RM-3, IGNORED-1, IGNORED-2
#[test]
fn removal_queues_ignored_behind_what_is_queued() {
    let (mut engine, group) = engine();
    add_open(&mut engine, group, 1).unwrap();
    deliver(&mut engine, group, 1, OPEN);
    assert_eq!(engine.remove_watch(group, Wd(1)), Ok(ObjectId(1)));
    assert_eq!(queued(&engine, group), [(1, OPEN), (1, IGNORED)]);
    let ignored = engine.event(group, 1).unwrap();
    assert_eq!((ignored.cookie, ignored.size()), (0, 16));
}

/// IGNORED-1, IGNORED-2, IGNORED-3, WD-8
#[test]
fn delivered_ignored_ends_the_watch() {
    let (mut engine, group) = engine();
    add_open(&mut engine, group, 1).unwrap();
    add_open(&mut engine, group, 2).unwrap();
    let odd = Delivery { mask: IGNORED | 0x4000_0000, cookie: 4, name: b"n", hidden: 1, adjacent: true };
    assert_eq!(engine.deliver(group, Wd(1), odd), Some(Pushed::Queued));
    assert_eq!(queued(&engine, group), [(1, IGNORED)]);
    assert_eq!(engine.queue_bytes(group), 16);
    assert_eq!(engine.watch_of(group, ObjectId(1)), None);
    assert_eq!(engine.remove_watch(group, Wd(1)), Err(Errno::Inval));
    assert_eq!(engine.cursor(group), Ok(3));
    assert_eq!(add_open(&mut engine, group, 1), Ok(Wd(3)));
    let unwatched = Output::Unwatched { group, object: ObjectId(1), wd: Wd(1) };
    assert_eq!(outputs(&mut engine), [unwatched, Output::Readable(group)]);
}

/// IGNORED-4
#[test]
fn nothing_of_an_ended_watch_is_queued() {
    let (mut engine, group) = engine();
    add_open(&mut engine, group, 1).unwrap();
    engine.remove_watch(group, Wd(1)).unwrap();
    for mask in [OPEN, IGNORED, 0] {
        assert_eq!(deliver(&mut engine, group, 1, mask), None);
    }
    assert_eq!(queued(&engine, group), [(1, IGNORED)]);
}

/// MERGE-8
#[test]
fn record_of_an_unknown_watch_breaks_adjacency() {
    let (mut engine, group) = engine();
    add_open(&mut engine, group, 1).unwrap();
    let adjacent = Delivery { mask: OPEN, adjacent: true, ..Delivery::default() };
    deliver(&mut engine, group, 1, OPEN);
    assert_eq!(engine.deliver(group, Wd(1), adjacent), Some(Pushed::Queued));
    assert_eq!(deliver(&mut engine, group, 9, OPEN), None);
    assert_eq!(engine.deliver(group, Wd(1), adjacent), Some(Pushed::Merged));
}

/// IGNORED-5, WD-8
#[test]
fn watch_can_end_without_a_word_to_the_reader() {
    let (mut engine, group) = engine();
    add_open(&mut engine, group, 1).unwrap();
    assert_eq!(engine.source_overflowed(group), Some(Pushed::Overflowed));
    assert_eq!(engine.end_watch_silently(group, Wd(1)), Ok(ObjectId(1)));
    assert_eq!(queued(&engine, group), [(-1, 0x4000)]);
    assert_eq!(engine.watch_of(group, ObjectId(1)), None);
    assert_eq!(add_open(&mut engine, group, 1), Ok(Wd(2)));
    let unwatched = Output::Unwatched { group, object: ObjectId(1), wd: Wd(1) };
    assert_eq!(outputs(&mut engine), [Output::Readable(group), unwatched]);
}

/// OVERFLOW-6, ONESHOT-3
#[test]
fn full_queue_loses_ignored_but_not_the_end() {
    let (mut engine, group) = engine();
    for object in 1..=2 {
        add_open(&mut engine, group, object).unwrap();
    }
    for bit in 0..8 {
        deliver(&mut engine, group, 1, 1 << bit);
    }
    assert!(engine.is_full(group));
    assert_eq!(deliver(&mut engine, group, 2, OPEN), Some(Pushed::Overflowed));
    assert_eq!(deliver(&mut engine, group, 2, IGNORED), Some(Pushed::Dropped));
    engine.remove_watch(group, Wd(1)).unwrap();
    assert_eq!(engine.watches(group).len(), 0);
    assert!(queued(&engine, group).iter().all(|&(_, mask)| mask != IGNORED));
}

/// OVERFLOW-7: whatever wd a source gives its overflow.
#[test]
fn delivered_overflow_is_the_overflow_event() {
    let (mut engine, group) = engine();
    add_open(&mut engine, group, 1).unwrap();
    assert_eq!(deliver(&mut engine, group, -1, 0x4000), Some(Pushed::Overflowed));
    assert_eq!(deliver(&mut engine, group, 1, 0x4000), Some(Pushed::Dropped));
    assert_eq!(queued(&engine, group), [(-1, 0x4000)]);
}

/// ONESHOT-2, ONESHOT-3
#[test]
fn one_shot_ends_with_the_kernels_ignored_only() {
    let (mut engine, group) = engine();
    let one_shot = Mask::IN_OPEN | Mask::IN_ONESHOT;
    add(&mut engine, group, 1, one_shot).unwrap();
    assert_eq!(deliver(&mut engine, group, 1, OPEN), Some(Pushed::Queued));
    assert_eq!(deliver(&mut engine, group, 1, OPEN), Some(Pushed::Merged));
    assert_eq!(engine.watches(group).len(), 1);
    assert_eq!(deliver(&mut engine, group, 1, IGNORED), Some(Pushed::Queued));
    assert_eq!(queued(&engine, group), [(1, OPEN), (1, IGNORED)]);
    assert_eq!(engine.watches(group).len(), 0);
}

/// EVENT-5
#[test]
fn whole_mask_is_delivered() {
    let (mut engine, group) = engine();
    add(&mut engine, group, 1, Mask::IN_ATTRIB).unwrap();
    deliver(&mut engine, group, 1, 0x6);
    assert_eq!(queued(&engine, group), [(1, 0x6)]);
}

/// COOKIE-2
#[test]
fn cookies_count_up_and_wrap() {
    let mut engine = Engine::new(Config::default());
    assert_eq!([1, 2, 3], [(); 3].map(|()| engine.next_cookie()));
    let mut engine = Engine::new(Config { cookie_seed: u32::MAX - 1, ..Config::default() });
    assert_eq!([u32::MAX, 0, 1], [(); 3].map(|()| engine.next_cookie()));
}

/// IOCTL-1, READ-1, READ-2, READ-3
#[test]
fn reading_by_take_and_by_window_agree() {
    let (mut engine, group) = engine();
    add_open(&mut engine, group, 1).unwrap();
    assert_eq!(engine.take(group, 0, &mut Vec::new()), Err(Errno::Again));
    for name in ["a", "bb", ""] {
        engine.deliver(group, Wd(1), Delivery { mask: OPEN, name: name.as_bytes(), ..Delivery::default() });
    }
    assert_eq!(engine.queue_bytes(group), 32 + 32 + 16);
    let mut windowed = engine.clone();
    let mut records = Vec::new();
    for index in 0..2 {
        windowed.event(group, index).unwrap().encode_into(&mut records);
    }
    assert_eq!(windowed.acknowledge(group, 2), 2);

    let mut taken = Vec::new();
    assert_eq!(engine.take(group, 31, &mut taken), Err(Errno::Inval));
    assert_eq!(engine.take(group, 79, &mut taken), Ok(64));
    assert_eq!(taken, records);
    for mut engine in [engine, windowed] {
        assert_eq!((engine.queue_len(group), engine.queue_bytes(group)), (1, 16));
        assert_eq!(engine.acknowledge(group, 5), 1);
    }
}

/// READ-10: what a reader gives back is read first.
#[test]
fn events_given_back_stand_in_front() {
    let (mut engine, group) = engine();
    add_open(&mut engine, group, 1).unwrap();
    for bit in 0..3 {
        deliver(&mut engine, group, 1, 1 << bit);
    }
    let taken: Vec<_> = (0..2).map(|index| engine.event(group, index).unwrap().clone()).collect();
    assert_eq!(engine.acknowledge(group, 2), 2);
    engine.put_back(group, taken);
    assert_eq!(queued(&engine, group), [(1, 1), (1, 2), (1, 4)]);
}

/// IOCTL-8, WD-9, WD-10
#[test]
fn cursor_is_set_and_read() {
    let (mut engine, group) = engine();
    assert_eq!(engine.cursor(group), Ok(1));
    engine.set_cursor(group, 0x34d_71d6).unwrap();
    assert_eq!(engine.cursor(group), Ok(0x34d_71d6));
    assert_eq!(engine.set_cursor(group, 0x1_0000_0001), Err(Errno::Inval));
    assert_eq!(add_open(&mut engine, group, 1), Ok(Wd(0x34d_71d6)));
}

#[test]
fn readable_is_told_once_until_polled() {
    let (mut engine, group) = engine();
    let second = engine.create_group(OWNER, limits()).unwrap();
    add_open(&mut engine, group, 1).unwrap();
    add_open(&mut engine, second, 1).unwrap();
    assert_eq!(outputs(&mut engine), []);
    for mask in [OPEN, OPEN, 1, 2] {
        deliver(&mut engine, group, 1, mask);
        deliver(&mut engine, second, 1, mask);
    }
    assert_eq!(outputs(&mut engine), [group, second].map(Output::Readable));
    deliver(&mut engine, group, 1, 2);
    assert_eq!(outputs(&mut engine), [], "merged");
    deliver(&mut engine, group, 1, 4);
    engine.acknowledge(group, 9);
    deliver(&mut engine, second, 1, 4);
    engine.close_group(second);
    assert_eq!(outputs(&mut engine), [], "read, and closed");
    deliver(&mut engine, group, 1, 4);
    assert_eq!(outputs(&mut engine), [Output::Readable(group)]);
}

/// LIMIT-2
#[test]
fn closed_group_is_unknown() {
    let (mut engine, group) = engine();
    add_open(&mut engine, group, 1).unwrap();
    deliver(&mut engine, group, 1, OPEN);
    assert_eq!(engine.close_group(group), [ObjectId(1)]);
    assert_eq!(engine.close_group(group), []);
    assert_eq!(add_open(&mut engine, group, 1), Err(Errno::BadF));
    assert_eq!(engine.remove_watch(group, Wd(1)), Err(Errno::BadF));
    assert_eq!(engine.end_watch_silently(group, Wd(1)), Err(Errno::BadF));
    assert_eq!(engine.take(group, 4096, &mut Vec::new()), Err(Errno::BadF));
    assert_eq!(engine.set_cursor(group, 1), Err(Errno::BadF));
    assert_eq!(engine.cursor(group), Err(Errno::BadF));
    assert_eq!(engine.object_of(group, Wd(1)), Err(Errno::BadF));
    assert_eq!(engine.snapshot(group).err(), Some(Errno::BadF));
    assert_eq!(deliver(&mut engine, group, 1, OPEN), None);
    assert_eq!(engine.source_overflowed(group), None);
    engine.burn_wd(group);
    assert_eq!((engine.queue_len(group), engine.queue_bytes(group), engine.acknowledge(group, 1)), (0, 0, 0));
    assert_eq!((engine.event(group, 0), engine.watch_of(group, ObjectId(1))), (None, None));
    assert_eq!((engine.is_full(group), engine.watches(group).count()), (false, 0));
    assert_eq!(outputs(&mut engine), []);
}

fn full_snapshot() -> SnapshotV1 {
    let (mut engine, group) = engine();
    for (object, mask) in [(7, Mask::IN_ALL_EVENTS | Mask::IN_ONESHOT), (5, Mask::IN_OPEN | Mask::IN_EXCL_UNLINK)] {
        engine.set_cursor(group, 100 - object).unwrap();
        add(&mut engine, group, object, mask).unwrap();
    }
    let exec = Delivery { mask: OPEN, cookie: 3, name: b"n\xff", hidden: 0x1000, adjacent: false };
    engine.deliver(group, Wd(93), exec);
    engine.source_overflowed(group);
    engine.deliver(group, Wd(95), Delivery { mask: 0x100, ..Delivery::default() });
    engine.set_cursor(group, 2_147_483_647).unwrap();
    add_open(&mut engine, group, 1).unwrap();
    engine.next_cookie();
    engine.next_cookie();
    let Snapshot::V1(snapshot) = engine.snapshot(group).unwrap() else { panic!("not the first version") };
    snapshot
}

/// SNAPSHOT-2
#[test]
fn snapshot_holds_everything() {
    let snapshot = full_snapshot();
    assert_eq!(snapshot.cursor, 0x8000_0000);
    let limits = snapshot.limits;
    assert_eq!((limits.instances_max, limits.watches_max, limits.queue_events_max), (3, 5, 8));
    assert_eq!(
        snapshot.watches,
        [
            WatchV1 { wd: 93, object: 7, mask: 0x8000_0fff },
            WatchV1 { wd: 95, object: 5, mask: 0x0400_0020 },
            WatchV1 { wd: i32::MAX, object: 1, mask: 0x20 },
        ]
    );
    let event = |wd, mask| EventV1 { wd, mask, cookie: 0, name: Vec::new(), hidden: 0 };
    assert_eq!(
        snapshot.events,
        [
            EventV1 { cookie: 3, name: b"n\xff".to_vec(), hidden: 0x1000, ..event(93, OPEN) },
            event(-1, 0x4000),
            event(95, 0x100)
        ]
    );
    assert!(snapshot.tail_is_latest);
    assert_eq!(snapshot.cookie, 2);

    let mut engine = Engine::new(Config { cookie_seed: 77, ..Config::default() });
    let group = engine.restore(OWNER, Snapshot::V1(snapshot.clone())).unwrap();
    assert_eq!(engine.snapshot(group), Ok(Snapshot::V1(snapshot)));
    assert_eq!(outputs(&mut engine), [Output::Readable(group)]);
    assert_eq!(engine.next_cookie(), 3);
    assert_eq!(engine.source_overflowed(group), Some(Pushed::Dropped), "one overflow event is queued");
}

/// SNAPSHOT-2
#[cfg(feature = "serde")]
#[test]
fn snapshot_survives_json() {
    let snapshot = Snapshot::V1(full_snapshot());
    let text = serde_json::to_string(&snapshot).unwrap();
    assert!(text.starts_with(r#"{"V1":{"cursor":2147483648,"#), "{text}");
    assert_eq!(serde_json::from_str::<Snapshot>(&text).unwrap(), snapshot);
    assert!(serde_json::from_str::<Snapshot>(&text.replace("cursor", "cursed")).is_err());
}

/// SNAPSHOT-3
#[test]
fn impossible_snapshots_are_refused_and_change_nothing() {
    let refused = |edit: &dyn Fn(&mut SnapshotV1)| {
        let mut snapshot = full_snapshot();
        edit(&mut snapshot);
        let mut engine = Engine::new(Config::default());
        let error = engine.restore(OWNER, Snapshot::V1(snapshot)).unwrap_err();
        assert_eq!(engine.groups().len(), 0);
        assert_eq!(engine.next_cookie(), 1);
        assert!(error.to_string().starts_with("snapshot not restored: "), "{error}");
        error
    };
    let wds = RestoreError::Wds;
    assert_eq!(refused(&|s| s.watches[1].wd = 93), wds(allocator::PartsError::Duplicate(Wd(93))));
    assert_eq!(refused(&|s| s.watches[1].wd = 0), wds(allocator::PartsError::OutOfRange(Wd(0))));
    assert_eq!(refused(&|s| s.watches[1].wd = -1), wds(allocator::PartsError::OutOfRange(Wd(-1))));
    assert_eq!(refused(&|s| s.cursor = 0x8000_0001), wds(allocator::PartsError::Cursor(0x8000_0001)));
    assert_eq!(refused(&|s| s.watches[1].object = 7), RestoreError::ObjectTwice(ObjectId(7), Wd(95)));
    assert_eq!(refused(&|s| s.watches[0].mask |= 0x4000_0000), RestoreError::Mask(Wd(93), 0xc000_0fff));
    let too_many = RestoreError::TooManyWatches { watches: 3, watches_max: 2 };
    assert_eq!(refused(&|s| s.limits.watches_max = 2), too_many);
    let too_long = RestoreError::Queue(queue::PartsError::TooLong { events: 3, events_max: 2 });
    assert_eq!(refused(&|s| s.limits.queue_events_max = 2), too_long);
    let twice = RestoreError::Queue(queue::PartsError::OverflowTwice);
    assert_eq!(refused(&|s| s.events.push(s.events[1].clone())), twice);
    let differs = RestoreError::Queue(queue::PartsError::OverflowDiffers(Wd(-1)));
    assert_eq!(refused(&|s| s.events[1].cookie = 1), differs);
}

#[test]
fn refusals_say_what_is_behind_them() {
    use std::error::Error;
    let used = allocator::PartsError::Cursor(7);
    let overflows = queue::PartsError::OverflowTwice;
    let causes = [
        (RestoreError::Wds(used), Some(used.to_string())),
        (RestoreError::Queue(overflows), Some(overflows.to_string())),
        (RestoreError::Refused(Errno::MFile), Some(Errno::MFile.to_string())),
        (RestoreError::Mask(Wd(1), 1 << 30), None),
    ];
    for (error, cause) in causes {
        assert_eq!(error.source().map(ToString::to_string), cause, "{error}");
    }
}

/// SNAPSHOT-4
#[test]
fn restored_group_counts_for_its_owner() {
    let snapshot = Snapshot::V1(full_snapshot());
    let mut engine = Engine::new(Config::default());
    let groups: Vec<GroupId> = (0..3).map(|_| engine.restore(OWNER, snapshot.clone()).unwrap()).collect();
    assert_eq!(engine.restore(OWNER, snapshot.clone()), Err(RestoreError::Refused(Errno::MFile)));
    assert!(engine.restore(OwnerId(0), snapshot).is_ok());
    assert_eq!(add_open(&mut engine, groups[0], 99), Err(Errno::NoSpc), "nine watches");
    engine.close_group(groups[1]);
    engine.close_group(groups[2]);
    assert_eq!(add_open(&mut engine, groups[0], 99), Ok(Wd(2)), "three watches; the refusal took wd 1");
}

/// SNAPSHOT-1: the counter only goes on.
#[test]
fn cookies_of_a_busy_engine_are_not_given_again() {
    let restored = |used: u32, in_snapshot: u32| {
        let mut engine = Engine::new(Config { cookie_seed: used.wrapping_sub(1), ..Config::default() });
        engine.next_cookie();
        let snapshot = SnapshotV1 { cookie: in_snapshot, ..full_snapshot() };
        engine.restore(OWNER, Snapshot::V1(snapshot)).unwrap();
        engine.next_cookie()
    };
    assert_eq!(restored(10, 20), 21);
    assert_eq!(restored(20, 10), 21);
    assert_eq!(restored(u32::MAX, 4), 5);
    assert_eq!(restored(4, u32::MAX), 5);
}

/// What became of each event, and what was read.
#[test]
fn history_is_kept_on_demand() {
    let mut engine = Engine::new(Config::default());
    let group = engine.create_group(OwnerId(0), Limits { queue_events_max: 2, ..Limits::default() }).unwrap();
    let wd = engine.add_watch(group, ObjectId(1), AddMask::new(0xfff).unwrap()).unwrap().wd;
    let open = Delivery { mask: 0x20, ..Delivery::default() };
    engine.deliver(group, wd, open);
    assert_eq!(engine.take_history(), [], "nobody follows");
    engine.keep_history();
    engine.deliver(group, wd, open);
    engine.deliver(group, wd, Delivery { mask: 0x1, ..Delivery::default() });
    engine.deliver(group, wd, open);
    engine.remove_watch(group, wd).unwrap();
    assert_eq!(engine.acknowledge(group, 2), 2);
    engine.take(group, 4096, &mut Vec::new()).unwrap();
    let shown: Vec<_> = engine
        .take_history()
        .into_iter()
        .map(|happening| match happening {
            Happening::Came { event, pushed, queue_events, .. } => {
                format!("{}:{:x} {pushed:?} {queue_events}", event.wd, event.mask)
            }
            Happening::Read { events, queue_events, .. } => format!("read {events} {queue_events}"),
        })
        .collect();
    let expected = ["1:20 Merged 1", "1:1 Queued 2", "1:20 Overflowed 3", "1:8000 Dropped 3", "read 2 1", "read 1 0"];
    assert_eq!(shown, expected);
    assert_eq!(engine.take_history(), []);
    assert_eq!(engine.totals(group), Totals { queued: 3, merged: 1, lost: 2 });
}

/// What a test queues merges as any other event does, unless it is to stand apart (MERGE-7).
#[test]
fn queued_events_stand_apart_when_told() {
    let (mut engine, group) = engine();
    let event = || Event { wd: Wd(7), mask: OPEN, cookie: 0, name: b"n"[..].into(), hidden: 0 };
    let pushed: Vec<_> = [false, false, true].map(|apart| engine.queue_event(group, event(), apart)).into();
    assert_eq!(pushed, [Pushed::Queued, Pushed::Merged, Pushed::Queued].map(Some));
    assert_eq!(engine.queue_event(group, Event::overflow(), true), Some(Pushed::Overflowed));
    assert_eq!(queued(&engine, group), [(7, OPEN), (7, OPEN), (-1, Mask::IN_Q_OVERFLOW.bits())]);
}

/// What is held back is counted and noted once it has come.
#[test]
fn what_was_held_is_counted_when_it_comes() {
    let mut engine = Engine::new(Config::default());
    let group = engine.create_group(OwnerId(0), Limits::default()).unwrap();
    let wd = engine.add_watch(group, ObjectId(1), AddMask::new(0xfff).unwrap()).unwrap().wd;
    engine.keep_history();
    engine.set_arrivals(group, |arrivals| arrivals.set_delay(uinotify_core::Delay::Events(1)));
    let deliver = |engine: &mut Engine, mask| engine.deliver(group, wd, Delivery { mask, ..Delivery::default() });
    for mask in [0x20, 0x20, 0x1] {
        deliver(&mut engine, mask);
    }
    assert_eq!(engine.poll_output(), Some(Output::Readable(group)));
    engine.release(group);
    let became: Vec<_> = engine
        .take_history()
        .into_iter()
        .filter_map(|happening| match happening {
            Happening::Came { event, pushed, .. } => Some((event.mask, pushed)),
            Happening::Read { .. } => None,
        })
        .collect();
    let held = |others_came| Pushed::Held { others_came };
    let expected = [
        (0x20, held(false)),
        (0x20, held(true)),
        (0x20, Pushed::Queued),
        (0x1, held(false)),
        (0x20, Pushed::Merged),
        (0x1, Pushed::Queued),
    ];
    assert_eq!(became, expected);
    let totals = engine.totals(group);
    assert_eq!((totals.queued, totals.merged, totals.lost), (2, 1, 0));
}
