//! Short sequences in which several rules meet, each observed on Linux.

use uinotify_core::{AddMask, Config, Delivery, Engine, Errno, GroupId, Limits, ObjectId, OwnerId, Wd};

fn engine(limits: Limits) -> (Engine, GroupId) {
    let mut engine = Engine::new(Config::default());
    let group = engine.create_group(OwnerId(1000), limits).unwrap();
    (engine, group)
}

fn add(engine: &mut Engine, group: GroupId, object: u64) -> Result<Wd, Errno> {
    engine.add_watch(group, ObjectId(object), AddMask::new(0xfff).unwrap()).map(|added| added.wd)
}

fn named(mask: u32, name: &[u8]) -> Delivery<'_> {
    Delivery { mask, name, ..Delivery::default() }
}

/// Reads like a program: wd, mask and cookie of every record.
fn read(engine: &mut Engine, group: GroupId, room_bytes: usize) -> Vec<(i32, u32, u32)> {
    let mut bytes = Vec::new();
    if let Err(errno) = engine.take(group, room_bytes, &mut bytes) {
        assert_eq!(errno, Errno::Again);
    }
    let mut records = Vec::new();
    let mut rest = &bytes[..];
    while let Some((header, tail)) = rest.split_first_chunk::<16>() {
        let word = |index: usize| u32::from_ne_bytes(header[4 * index..4 * index + 4].try_into().unwrap());
        records.push((word(0) as i32, word(1), word(2)));
        rest = &tail[word(3) as usize..];
    }
    assert!(rest.is_empty());
    records
}

/// MERGE-1, MERGE-3
#[test]
fn two_renames_away_with_different_cookies_are_one_event() {
    let (mut engine, group) = engine(Limits::default());
    add(&mut engine, group, 1).unwrap();
    for cookie in [11, 12] {
        engine.deliver(group, Wd(1), Delivery { cookie, ..named(0x40, b"f") });
    }
    assert_eq!(read(&mut engine, group, 4096), [(1, 0x40, 11)]);
}

/// MERGE-4
#[test]
fn open_and_exec_are_two_events_and_two_execs_one() {
    let (mut engine, group) = engine(Limits::default());
    add(&mut engine, group, 1).unwrap();
    let open = named(0x20, b"sh");
    let exec = Delivery { hidden: 0x1000, ..open };
    for delivery in [open, open, exec, exec] {
        engine.deliver(group, Wd(1), delivery);
    }
    assert_eq!(read(&mut engine, group, 4096), [(1, 0x20, 0); 2]);
}

/// OVERFLOW-2, OVERFLOW-4, OVERFLOW-5, OVERFLOW-6
#[test]
fn default_queue_overflows_and_opens_after_two_reads() {
    let (mut engine, group) = engine(Limits::default());
    for object in 1..=2 {
        add(&mut engine, group, object).unwrap();
    }
    let push = |engine: &mut Engine, n: u32| engine.deliver(group, Wd(1), named(0x100, &n.to_ne_bytes()));
    for n in 0..16_384 + 10 {
        push(&mut engine, n);
    }
    assert_eq!(engine.queue_len(group), 16_385);
    assert_eq!(engine.queue_bytes(group), 16_384 * 32 + 16);
    engine.remove_watch(group, Wd(2)).unwrap();
    assert_eq!(engine.queue_len(group), 16_385);

    for room in [32, 32] {
        assert_eq!(read(&mut engine, group, room), [(1, 0x100, 0)]);
        push(&mut engine, 99_999);
    }
    assert_eq!(engine.queue_len(group), 16_384, "the first read opened nothing, the second one place");
    let records = read(&mut engine, group, usize::MAX);
    assert_eq!(records.len(), 16_384);
    assert_eq!(records[16_382..], [(-1, 0x4000, 0), (1, 0x100, 0)]);
    assert!(records.iter().all(|record| record.1 != 0x8000), "IN_IGNORED of wd 2 was lost");
    assert_eq!(engine.remove_watch(group, Wd(2)), Err(Errno::Inval));
}

/// WD-7
#[test]
fn refused_watches_burn_numbers() {
    for by_source in [false, true] {
        let (mut engine, group) = engine(Limits { watches_max: 3, ..Limits::default() });
        for n in 1..=3 {
            assert_eq!(add(&mut engine, group, n as u64), Ok(Wd(n)));
        }
        for object in [10, 11] {
            if by_source {
                engine.burn_wd(group);
            } else {
                assert_eq!(add(&mut engine, group, object), Err(Errno::NoSpc));
            }
        }
        engine.remove_watch(group, Wd(2)).unwrap();
        assert_eq!(add(&mut engine, group, 10), Ok(Wd(6)));
        engine.remove_watch(group, Wd(6)).unwrap();
        engine.set_cursor(group, 4).unwrap();
        assert_eq!(add(&mut engine, group, 10), Ok(Wd(4)), "burnt numbers are free");
    }
}

/// WD-5, WD-13, WD-11
#[test]
fn cursor_at_the_end_wraps() {
    let (mut engine, group) = engine(Limits::default());
    engine.set_cursor(group, 2_147_483_647).unwrap();
    assert_eq!(add(&mut engine, group, 1), Ok(Wd(2_147_483_647)));
    assert_eq!(add(&mut engine, group, 2), Ok(Wd(1)));
    engine.set_cursor(group, 2_147_483_647).unwrap();
    assert_eq!(add(&mut engine, group, 3), Ok(Wd(2)));
    engine.set_cursor(group, 1).unwrap();
    assert_eq!(add(&mut engine, group, 4), Ok(Wd(3)));
}

/// WD-12, WD-14, RM-3
#[test]
fn number_is_given_again_before_its_ignored_is_read() {
    let (mut engine, group) = engine(Limits::default());
    assert_eq!(add(&mut engine, group, 1), Ok(Wd(1)));
    engine.deliver(group, Wd(1), named(0x4, b""));
    engine.remove_watch(group, Wd(1)).unwrap();
    engine.set_cursor(group, 1).unwrap();
    assert_eq!(add(&mut engine, group, 1), Ok(Wd(1)));
    engine.deliver(group, Wd(1), named(0x4, b""));
    assert_eq!(read(&mut engine, group, 4096), [(1, 0x4, 0), (1, 0x8000, 0), (1, 0x4, 0)]);
}

/// MERGE-6
#[test]
fn event_equal_to_one_just_read_is_a_new_event() {
    let (mut engine, group) = engine(Limits::default());
    add(&mut engine, group, 1).unwrap();
    for _ in 0..3 {
        engine.deliver(group, Wd(1), named(0x2, b"f"));
        engine.deliver(group, Wd(1), named(0x2, b"f"));
        assert_eq!(read(&mut engine, group, 4096), [(1, 0x2, 0)]);
    }
    assert_eq!(read(&mut engine, group, 4096), []);
}
