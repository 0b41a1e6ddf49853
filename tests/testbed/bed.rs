//! What a test can have happen, and wait for.

use std::fs;
use std::time::Duration;

use uinotify::testbed::{Injected, Mask, Outcome as End, Sources, TestBed, read_events};

use crate::Outcome;
use crate::puppet::{Puppet, events};

const ALL: u32 = libc::IN_ALL_EVENTS;
const SOURCES: [Sources; 3] = [Sources::Script, Sources::Inotify, Sources::Fanotify];

/// What really happens, and what is injected, is the same to a watcher, whatever the source.
pub(super) fn what_is_injected_is_what_linux_would_tell() -> Outcome {
    let folder = tempfile::tempdir()?;
    let (watched, other) = (folder.path().join("watched"), folder.path().join("other"));
    for folder in [&watched, &other] {
        fs::create_dir(folder)?;
    }
    let file = watched.join("file");
    fs::write(&file, "")?;
    let expected = "1:100:made 1:20:file 2:20 1:2:file 2:2 1:8:file 2:8 1:10:file 2:10 1:1:file 2:1 1:4:file 2:4 \
         1:40000100:folder 1:40000200:folder 1:40:c:moved 3:80:c:moved 1:40:c:file 3:80:c:file 2:800 2:4 2:400 2:8000 \
         3:200:file";
    for source in SOURCES {
        let bed = TestBed::builder().source(source).build()?;
        let mut puppet = Puppet::start(&bed);
        let instance = puppet.init();
        for path in [&watched, &file, &other] {
            puppet.add(&instance, path, ALL);
        }
        bed.inject(watched.join("made"), Injected::Create)?;
        for event in [
            Injected::Open,
            Injected::Modify,
            Injected::CloseWrite,
            Injected::CloseNowrite,
            Injected::Access,
            Injected::Attrib,
        ] {
            bed.inject(&file, event)?;
        }
        bed.inject_directory(watched.join("folder"), Injected::Create)?;
        bed.inject_directory(watched.join("folder"), Injected::Delete)?;
        // Of one that is not there.
        bed.inject_move(watched.join("moved"), other.join("moved"))?;
        bed.inject_move(&file, other.join("file"))?;
        // It has not moved: its watch is known by the file, and the name is another.
        fs::rename(&file, other.join("file"))?;
        let real = if source == Sources::Script { "" } else { " 1:40:c:file 3:80:c:file 2:800" };
        bed.inject(other.join("file"), Injected::Delete)?;
        fs::rename(other.join("file"), &file)?;
        let (before, behind) = expected.split_once(" 2:4 2:400").ok_or("a deletion")?;
        let real_behind = match source {
            Sources::Script => "",
            // Its watch has ended.
            _ => " 3:40:c:file 1:80:c:file",
        };
        assert_eq!(puppet.read(&instance), format!("{before}{real} 2:4 2:400{behind}{real_behind}"), "{source:?}");
        assert_eq!(puppet.does(&format!("rm {instance} 2")), "EINVAL", "{source:?}");
        let cookies: Vec<_> = bed.log(100)?.last.iter().filter_map(cookie).collect();
        assert_eq!(cookies[0], cookies[1]);
        assert_ne!(cookies[1], cookies[2]);
    }
    Ok(())
}

fn cookie(record: &uinotify::testbed::Record) -> Option<u32> {
    match record.what {
        uinotify::testbed::What::Event { cookie, .. } if cookie != 0 => Some(cookie),
        _ => None,
    }
}

/// In the order in which they came.
pub(super) fn real_and_injected_events_mix() -> Outcome {
    let folder = tempfile::tempdir()?;
    for source in [Sources::Inotify, Sources::Fanotify] {
        let bed = TestBed::builder().source(source).build()?;
        let mut puppet = Puppet::start(&bed);
        let instance = puppet.init();
        puppet.add(&instance, folder.path(), libc::IN_CREATE | libc::IN_DELETE);
        let mut expected = Vec::new();
        for round in 0..20 {
            let (real, injected) = (format!("real{round}"), format!("injected{round}"));
            fs::write(folder.path().join(&real), "")?;
            bed.inject(folder.path().join(&injected), Injected::Create)?;
            fs::remove_file(folder.path().join(&real))?;
            expected.extend([format!("1:100:{real}"), format!("1:100:{injected}"), format!("1:200:{real}")]);
        }
        assert_eq!(puppet.read(&instance), expected.join(" "), "{source:?}");
    }
    Ok(())
}

/// By an unmounted file system, and by nothing at all; what is behind is told nothing more.
pub(super) fn watches_end_as_told() -> Outcome {
    let folder = tempfile::tempdir()?;
    let (first, second) = (folder.path().join("first"), folder.path().join("second"));
    for folder in [&first, &second] {
        fs::create_dir(folder)?;
    }
    for source in SOURCES {
        let bed = TestBed::builder().source(source).build()?;
        let mut puppet = Puppet::start(&bed);
        let instance = puppet.init();
        for path in [&first, &second] {
            puppet.add(&instance, path, ALL);
        }
        bed.inject(&first, Injected::Unmount)?;
        bed.inject(&second, Injected::Ignored)?;
        for folder in [&first, &second] {
            fs::write(folder.join("file"), "")?;
            fs::remove_file(folder.join("file"))?;
        }
        // A watch of a later time has a number of its own.
        assert_eq!(puppet.add(&instance, &first, ALL), "3", "{source:?}");
        assert_eq!(puppet.read(&instance), "1:40002000 1:8000 2:8000", "{source:?}");
        assert_eq!(puppet.does(&format!("rm {instance} 3")), "0");
    }
    Ok(())
}

/// Also those that Linux never sends.
pub(super) fn raw_events_are_queued_as_they_are() -> Outcome {
    let bed = TestBed::builder().scripted().limit_queue(4).build()?;
    let mut puppet = Puppet::start(&bed);
    let instance = puppet.init();
    bed.queue(77, Mask::IN_CREATE | Mask::IN_ISDIR, 0, "stale")?;
    bed.queue(-1, Mask::IN_IGNORED, 0, "")?;
    bed.queue(i32::MAX, Mask::IN_MOVED_TO, 7, "x")?;
    assert_eq!(puppet.read(&instance), "77:40000100:stale -1:8000 2147483647:80:c:x");
    bed.overflow()?;
    bed.overflow()?;
    assert_eq!(puppet.read(&instance), "-1:4000");
    bed.queue(-1, Mask::IN_Q_OVERFLOW, 0, "")?;
    for name in ["a", "b", "c", "d", "e"] {
        bed.queue(1, Mask::IN_CREATE, 0, name)?;
    }
    assert_eq!(puppet.read(&instance), "-1:4000 1:100:a 1:100:b 1:100:c", "its limit holds");
    let refused = bed.queue(1, Mask::IN_Q_OVERFLOW, 0, "").expect_err("no such event can be");
    assert!(refused.to_string().contains("IN_Q_OVERFLOW"), "{refused}");
    Ok(())
}

pub(super) fn a_watch_that_comes_ends_the_wait() -> Outcome {
    let folder = tempfile::tempdir()?;
    for source in SOURCES {
        let bed = TestBed::builder().source(source).build()?;
        let mut puppet = Puppet::start(&bed);
        let pid = puppet.pid().cast_signed();
        let instance = puppet.init();
        std::thread::scope(|scope| -> Outcome {
            let waiting = scope.spawn(|| bed.wait_for_watch(folder.path()));
            assert_eq!(puppet.add(&instance, folder.path(), libc::IN_CREATE), "1");
            let found = waiting.join().expect("no panic")?;
            assert_eq!((found.instance, found.wd, found.mask, found.pid), (1, 1, libc::IN_CREATE, pid));
            Ok(())
        })?;
        // What is watched already is found at once; what it asks for counts.
        assert_eq!(bed.wait_for_watch(folder.path())?.wd, 1);
        std::thread::scope(|scope| -> Outcome {
            let waiting = scope.spawn(|| bed.wait_for_watch_of(folder.path(), Mask::IN_DELETE));
            assert_eq!(puppet.add(&instance, folder.path(), libc::IN_DELETE | libc::IN_MODIFY), "1");
            assert_eq!(waiting.join().expect("no panic")?.mask, libc::IN_DELETE | libc::IN_MODIFY);
            Ok(())
        })?;
    }
    Ok(())
}

/// What was expected, what came, and how it came to that.
pub(super) fn a_failure_tells_its_story() -> Outcome {
    let folder = tempfile::tempdir()?;
    let other = folder.path().join("other");
    let mut bed = TestBed::builder().scripted().build()?;
    bed.set_patience(Duration::from_millis(50));
    let mut puppet = Puppet::start(&bed);
    let instance = puppet.init();
    puppet.add(&instance, folder.path(), ALL);
    bed.inject(folder.path().join("new"), Injected::Create)?;
    let path = folder.path().display();
    let add = format!("inotify_add_watch(instance 1, \"{path}\", IN_ALL_EVENTS) = 1");
    let event = format!("instance 1 wd 1 \"{path}\": IN_CREATE \"new\", 1 queued");
    let failures = [
        (bed.wait_for_watch(&other).map(drop), format!("nobody has watched {}", other.display())),
        (bed.inject(other.join("file"), Injected::Create), format!("nobody watches {}/file", other.display())),
        (bed.expect_calls("add_watch", 2), "expected 2 calls of add_watch, and 1 came".to_owned()),
        (bed.expect_events(End::Merged, 1), "expected 1 events merged, and 0 came".to_owned()),
        (bed.wait_until_read(), "for all events to be read".to_owned()),
    ];
    for (result, what) in failures {
        let failure = result.expect_err(&what).to_string();
        for part in [&what, &add, &event, &format!("watched are {path}")] {
            assert!(failure.contains(part), "{part:?} in: {failure}");
        }
    }
    assert_eq!(puppet.read(&instance), "1:100:new");
    bed.wait_until_read()?;
    bed.expect_calls("add_watch", 1)?;
    bed.expect_events(End::Queued, 1)?;
    drop(puppet);
    bed.wait_until_closed()?;
    Ok(())
}

pub(super) fn cursors_are_set_and_read() -> Outcome {
    let folder = tempfile::tempdir()?;
    let bed = TestBed::builder().scripted().next_wd(i32::MAX).build()?;
    let nobody = bed.next_wd().expect_err("there is no instance");
    assert!(nobody.to_string().contains("no program has an inotify instance"), "{nobody}");
    let mut puppet = Puppet::start(&bed);
    let instance = puppet.init();
    assert_eq!(bed.next_wd()?, i32::MAX);
    let names = ["a", "b", "c"].map(|name| folder.path().join(name));
    for name in &names {
        fs::create_dir(name)?;
    }
    assert_eq!(puppet.add(&instance, &names[0], ALL), "2147483647");
    assert_eq!(puppet.add(&instance, &names[1], ALL), "1", "behind the last one");
    bed.set_next_wd(0x0034_d71d6)?;
    assert_eq!(puppet.add(&instance, &names[2], ALL), 0x034_d71d6.to_string());
    assert!(bed.set_next_wd(0).is_err());
    let second = puppet.init();
    let several = bed.next_wd().expect_err("there are two").to_string();
    assert!(several.contains("1 of process") && several.contains("2 of process"), "{several}");
    assert_ne!(instance, second);
    Ok(())
}

pub(super) fn a_bed_is_restored_in_another() -> Outcome {
    let folder = tempfile::tempdir()?;
    let bed = TestBed::builder().scripted().next_wd(40).delay("barrier").build()?;
    let mut puppet = Puppet::start(&bed);
    let instance = puppet.init();
    puppet.add(&instance, folder.path(), ALL);
    bed.inject(folder.path().join("new"), Injected::Create)?;
    let checkpoint = bed.snapshot()?;
    let other = TestBed::builder().scripted().build()?;
    let restored = other.restore(&checkpoint)?;
    assert_eq!(restored.len(), 1);
    assert_eq!(events(&read_events(&restored[0].descriptor)?), ["40:100:new"]);
    other.inject(folder.path().join("new"), Injected::Delete)?;
    assert_eq!(events(&read_events(&restored[0].descriptor)?), ["40:200:new"]);
    assert_eq!(other.next_wd()?, 41);
    Ok(())
}
