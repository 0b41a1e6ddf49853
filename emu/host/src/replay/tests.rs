use super::*;

/// A recording of lines `instance | what`, each a thousand microseconds behind the one before.
fn replay(lines: &[&str]) -> Replay {
    let record = |(index, line): (usize, &&str)| {
        let (instance, what) = line.split_once(' ').expect("an instance");
        let text = format!("{{\"time_us\":{},\"instance\":{instance},{what}}}", index * 1000);
        (index + 1, serde_json::from_str(&text).expect(&text))
    };
    Replay::new(&Recording { records: lines.iter().enumerate().map(record).collect(), is_in_real_time: false })
}

fn add(path: &str) -> Call {
    Call::AddWatch { path: path.as_bytes().into(), mask: 0x100 }
}

const INIT: &str = r#"1 "what":"init","pid":7,"flags":0,"queue_events_max":9"#;
const ADD_A: &str = r#"1 "what":"add_watch","pid":7,"path":"a","mask":"IN_CREATE","wd":1"#;
const ADD_B: &str = r#"1 "what":"add_watch","pid":7,"path":"b","mask":"IN_CREATE","wd":2"#;
const REMOVE_A: &str = r#"1 "what":"remove_watch","pid":7,"wd":1"#;
const IGNORED_A: &str =
    r#"1 "what":"event","wd":1,"mask":"IN_IGNORED","cookie":0,"name":"","outcome":"queued","queue_events":1"#;
const READ: &str = r#"1 "what":"read","events":1,"queue_events":0"#;

fn event(wd: i32, name: &str, outcome: &str, queue_events: usize) -> String {
    format!(
        r#"1 "what":"event","wd":{wd},"mask":"IN_CREATE","cookie":0,"name":"{name}","outcome":"{outcome}","queue_events":{queue_events}"#
    )
}

fn told(next: Next) -> String {
    match next {
        Next::Tell(id, Told::Event(event)) => {
            format!("{id}: {} {:x} {}", event.wd.0, event.mask, String::from_utf8_lossy(&event.name))
        }
        Next::Tell(id, Told::Overflow) => format!("{id}: overflow"),
        Next::Tell(id, Told::End(wd)) => format!("{id}: end of {}", wd.0),
        other => format!("{other:?}"),
    }
}

fn begin(replay: &mut Replay) {
    let init = replay.initializes(0, 0).expect("it is recorded");
    replay.opened(&init, 5);
}

#[test]
fn events_wait_for_calls_and_for_reads() {
    let events = [event(1, "x", "queued", 1), event(1, "x", "merged", 1), event(1, "y", "queued", 1)];
    let overflow = event(1, "z", "overflowed", 2);
    let mut replay = replay(&[INIT, ADD_A, &events[0], &events[1], READ, &events[2], &overflow]);
    assert_eq!(replay.next(0, |_| 0), Next::Call);
    begin(&mut replay);
    assert_eq!(replay.next(0, |_| 0), Next::Call);
    assert_eq!(replay.called(5, &add("a"), 0).expect("it is recorded").answer, Answer::Wd(1));
    assert_eq!(told(replay.next(0, |_| 0)), "5: 1 100 x");
    assert_eq!(replay.next(0, |_| 1), Next::Read(5));
    assert_eq!(told(replay.next(0, |_| 0)), "5: 1 100 y");
    assert_eq!(told(replay.next(0, |_| 1)), "5: overflow");
    assert_eq!(replay.next(0, |_| 9), Next::End);
    replay.ended();
    assert_eq!(replay.departures(), [""; 0]);
}

/// A call is told when it returns, and what it has caused before.
#[test]
fn a_call_stands_before_what_it_causes() {
    let early = event(1, "x", "queued", 1);
    let behind = event(2, "y", "queued", 2);
    let mut replay = replay(&[INIT, ADD_B, &early, ADD_A, IGNORED_A, &behind, REMOVE_A]);
    begin(&mut replay);
    replay.called(5, &add("b"), 0);
    assert_eq!(replay.next(0, |_| 0), Next::Call, "nothing of a watch that is not there");
    replay.called(5, &add("a"), 0);
    assert_eq!(told(replay.next(0, |_| 0)), "5: 1 100 x");
    assert_eq!(replay.next(0, |_| 0), Next::Call);
    assert!(replay.called(5, &Call::RemoveWatch { wd: 1 }, 0).is_some());
    assert_eq!(told(replay.next(0, |_| 0)), "5: 2 100 y", "the IN_IGNORED is the core's");
    assert_eq!(replay.next(0, |_| 0), Next::End);
}

#[test]
fn a_watch_that_ends_by_itself_is_told_to_have_ended() {
    let mut replay = replay(&[INIT, ADD_A, IGNORED_A, ADD_B, REMOVE_A]);
    begin(&mut replay);
    replay.called(5, &add("a"), 0);
    assert_eq!(told(replay.next(0, |_| 0)), "5: 1 8000 ");
}

#[test]
fn a_watch_ends_though_nobody_is_told() {
    let lost = IGNORED_A.replace("queued\",", "overflowed\",");
    let mut replay = replay(&[INIT, ADD_A, &lost]);
    begin(&mut replay);
    replay.called(5, &add("a"), 0);
    assert_eq!(told(replay.next(0, |_| 7)), "5: end of 1");
    assert_eq!(told(replay.next(0, |_| 0)), "5: overflow");
}

#[test]
fn watches_in_a_row_come_in_any_order_and_no_others() {
    let mut replay = replay(&[INIT, ADD_A, ADD_B, REMOVE_A, ADD_A]);
    begin(&mut replay);
    for (path, wd) in [("b", 2), ("a", 1)] {
        assert_eq!(replay.called(5, &add(path), 0).map(|matched| matched.answer), Some(Answer::Wd(wd)));
    }
    assert_eq!(replay.departures(), [""; 0]);
    assert!(replay.called(5, &add("a"), 0).is_some(), "it goes on there");
    let told = r#"line 4 has inotify_rm_watch(1) and the program calls inotify_add_watch("a", IN_CREATE): it goes on at line 5"#;
    assert_eq!(replay.departures(), [told]);
}

#[test]
fn what_is_missing_is_told() {
    let events = [event(1, "x", "queued", 1), event(1, "y", "queued", 1)];
    let mut replay = replay(&[INIT, ADD_A, &events[0], READ, &events[1], READ, ADD_B, &events[1]]);
    begin(&mut replay);
    replay.called(5, &add("a"), 0);
    replay.next(0, |_| 0);
    replay.closed(5);
    let told =
        "the program has closed instance 5, and line 5 has an event that was read; 1 calls and events more are missing";
    assert_eq!(replay.departures(), [told]);
    replay.ended();
    assert_eq!(replay.departures().len(), 1, "it is told once");
}

#[test]
fn instances_are_those_of_the_order_in_which_they_were_opened() {
    let other = INIT.replacen('1', "2", 1).replace("\"flags\":0", "\"flags\":2048");
    let refused = r#"0 "what":"init","pid":7,"flags":0,"errno":"EMFILE""#;
    let mut replay = replay(&[INIT, &other, refused]);
    begin(&mut replay);
    let second = replay.initializes(0, 0).expect("it is recorded");
    assert_eq!(second.answer, Answer::Done { queue_events_max: 9 });
    assert_eq!(replay.departures(), ["line 2 has inotify_init1(IN_NONBLOCK), and the program calls inotify_init1(0)"]);
    let third = replay.initializes(0, 0).and_then(|matched| matched.answer.errno());
    assert_eq!(third, Some(nix::errno::Errno::EMFILE));
    assert_eq!(replay.initializes(0, 0), None);
    assert_eq!(replay.called(8, &add("a"), 0), None);
    assert_eq!(replay.departures().len(), 2, "of an instance too many it is told once");
}

#[test]
fn real_time_counts_from_the_last_call_or_event() {
    let events = [event(1, "x", "queued", 1), event(1, "y", "queued", 2)];
    let mut replay = replay(&[INIT, ADD_A, &events[0], &events[1]]);
    replay.is_in_real_time = true;
    begin(&mut replay);
    replay.called(5, &add("a"), 70_000);
    assert_eq!(replay.next(70_500, |_| 0), Next::Time(71_000));
    assert_eq!(told(replay.next(71_700, |_| 0)), "5: 1 100 x");
    assert_eq!(replay.next(71_700, |_| 1), Next::Time(72_000), "being late does not add up");
}
