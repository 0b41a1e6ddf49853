//! Calls that fail, and events that are lost or late.

use std::fs;

use uinotify::testbed::{Injected, Sources, TestBed};

use crate::Outcome;
use crate::puppet::Puppet;

const ALL: u32 = libc::IN_ALL_EVENTS;

/// Folders to watch.
fn folders<const COUNT: usize>() -> Result<(tempfile::TempDir, [std::path::PathBuf; COUNT]), libtest_mimic::Failed> {
    let folder = tempfile::tempdir()?;
    let names = std::array::from_fn(|index| folder.path().join(index.to_string()));
    for name in &names {
        fs::create_dir(name)?;
    }
    Ok((folder, names))
}

pub(super) fn calls_fail_when_told() -> Outcome {
    let (_folder, [first, second]) = folders()?;
    for source in [Sources::Script, Sources::Inotify, Sources::Fanotify] {
        let bed = TestBed::builder()
            .source(source)
            .fault("init:EMFILE:when=2")
            .fault("rm_watch:EIO:when=1")
            .fault("setnextwd:EPERM")
            .fault(&format!("add_watch:EACCES:path={}", second.display()))
            .build()?;
        let mut puppet = Puppet::start(&bed);
        let instance = puppet.init();
        assert_eq!(puppet.init(), "EMFILE", "not tried again by the library, which would find it gone");
        assert_eq!(puppet.add(&instance, &first, ALL), "1");
        assert_eq!(puppet.add(&instance, &second, ALL), "EACCES");
        assert_eq!(puppet.does(&format!("cursor {instance} 9")), "EPERM");
        assert_eq!(puppet.does(&format!("rm {instance} 1")), "EIO");
        assert_eq!(puppet.does(&format!("rm {instance} 1")), "0", "it was left alone");
        bed.fault("add_watch:ENOMEM:when=2")?;
        assert_eq!(puppet.add(&instance, &first, ALL), "2");
        assert_eq!(puppet.add(&instance, &first, ALL), "ENOMEM", "counted from now on");
        bed.clear_faults()?;
        assert_eq!(puppet.add(&instance, &second, ALL), "3");
        assert_eq!(bed.calls()?.failed["init"], 1);
        assert_eq!(bed.calls()?.failed["add_watch"], 2);
    }
    Ok(())
}

/// WD-7, LIMIT-3: a number is taken before the watches are counted. Beside an instance that really has too many.
pub(super) fn enospc_burns_a_number_as_linux_does() -> Outcome {
    let (_folder, [first, second, third]) = folders()?;
    let outcome = |bed: &TestBed| {
        let mut puppet = Puppet::start(bed);
        let instance = puppet.init();
        let mut results = vec![puppet.add(&instance, &first, ALL), puppet.add(&instance, &second, ALL)];
        results.push(puppet.does(&format!("rm {instance} 1")));
        results.push(puppet.add(&instance, &third, ALL));
        results
    };
    let limited = TestBed::builder().limit_watches(1).build()?;
    let faulty = TestBed::builder().fault("add_watch:ENOSPC:when=2").build()?;
    let expected = outcome(&limited);
    assert_eq!(expected, ["1", "ENOSPC", "0", "3"]);
    assert_eq!(outcome(&faulty), expected);
    // What is watched already needs no number.
    let bed = TestBed::builder().fault("add_watch:ENOSPC:when=2").build()?;
    let mut puppet = Puppet::start(&bed);
    let instance = puppet.init();
    puppet.add(&instance, &first, ALL);
    assert_eq!(puppet.add(&instance, &first, ALL), "ENOSPC");
    assert_eq!(puppet.add(&instance, &second, ALL), "2");
    Ok(())
}

/// Each call that reads is one, however it comes to its events; by request and without.
pub(super) fn reads_fail_when_told() -> Outcome {
    let (_folder, [folder]) = folders()?;
    for source in [Sources::Script, Sources::Inotify, Sources::Fanotify] {
        for settle in ["", "request"] {
            let bed = TestBed::builder().source(source).fault("read:EINTR:when=2").fault("read:EIO:when=4").build()?;
            let mut command = bed.command(std::env::current_exe()?);
            let mut puppet = Puppet::run(command.arg("--puppet").env("UINOTIFY_SETTLE", settle));
            let instance = puppet.init();
            puppet.add(&instance, &folder, libc::IN_CREATE);
            let create = |name: &str| bed.inject(folder.join(name), Injected::Create);
            create("a")?;
            let mut reads = vec![puppet.read(&instance)];
            create("b")?;
            reads.extend([
                puppet.read(&instance),
                puppet.read(&instance),
                puppet.read(&instance),
                puppet.read(&instance),
            ]);
            assert_eq!(reads, ["1:100:a", "EINTR", "1:100:b", "EIO", "EAGAIN"], "{source:?} {settle}");
            // One that waits.
            let waiting = puppet.does("init 0");
            puppet.add(&waiting, &folder, libc::IN_CREATE);
            create("c")?;
            assert_eq!(puppet.read(&waiting), "1:100:c", "{source:?} {settle}");
            assert_eq!(puppet.read(&waiting), "EINTR", "{source:?} {settle}");
            puppet.begin(&format!("read {waiting}"));
            create("d")?;
            assert_eq!(puppet.end(), "1:100:d", "{source:?} {settle}");
            // For an instance that is open, and has read without asking.
            bed.clear_faults()?;
            assert_eq!(puppet.read(&instance), "1:100:c 1:100:d");
            bed.fault("read:EFAULT:when=1")?;
            assert_eq!([puppet.read(&instance), puppet.read(&instance)], ["EFAULT", "EAGAIN"], "{source:?} {settle}");
        }
    }
    Ok(())
}

pub(super) fn events_are_lost_with_an_overflow() -> Outcome {
    let (_folder, [folder]) = folders()?;
    let read = |builder: uinotify::testbed::Builder| -> Result<String, libtest_mimic::Failed> {
        let bed = builder.build()?;
        let mut puppet = Puppet::start(&bed);
        let instance = puppet.init();
        puppet.add(&instance, &folder, libc::IN_CREATE);
        for name in ["a", "b", "c", "d", "e", "f"] {
            fs::write(folder.join(name), "")?;
        }
        let events = puppet.read(&instance);
        for name in ["a", "b", "c", "d", "e", "f"] {
            fs::remove_file(folder.join(name))?;
        }
        Ok(events)
    };
    let after = |rule: &str| TestBed::builder().fault(rule);
    assert_eq!(
        read(after("queue:overflow:after=3"))?,
        "1:100:a 1:100:b 1:100:c -1:4000 1:100:e 1:100:f",
        "the fourth is lost"
    );
    assert_eq!(read(after("queue:overflow:when=4+"))?, "1:100:a 1:100:b 1:100:c -1:4000");
    assert_eq!(read(after("queue:overflow:when=4+"))?, read(TestBed::builder().limit_queue(3))?, "as a short queue");
    let dropping = || after("queue:drop:when=2+2");
    assert_eq!(read(dropping())?, "1:100:a -1:4000 1:100:c 1:100:e");
    assert_eq!(read(dropping().lie())?, "1:100:a 1:100:c 1:100:e");
    Ok(())
}

pub(super) fn events_are_late_when_told() -> Outcome {
    let (_folder, [folder]) = folders()?;
    let setting = |delay: &str| -> Result<(TestBed, Puppet, String), libtest_mimic::Failed> {
        let bed = TestBed::builder().scripted().delay(delay).build()?;
        let mut puppet = Puppet::start(&bed);
        let instance = puppet.init();
        puppet.add(&instance, &folder, libc::IN_CREATE);
        Ok((bed, puppet, instance))
    };
    let create = |bed: &TestBed, name: &str| bed.inject(folder.join(name), Injected::Create);

    let (bed, mut puppet, instance) = setting("events=1")?;
    create(&bed, "a")?;
    assert_eq!(puppet.read(&instance), "EAGAIN");
    create(&bed, "b")?;
    assert_eq!(puppet.read(&instance), "1:100:a");
    bed.barrier()?;
    assert_eq!(puppet.read(&instance), "1:100:b");

    let (bed, mut puppet, instance) = setting("barrier")?;
    create(&bed, "a")?;
    create(&bed, "b")?;
    assert_eq!(puppet.read(&instance), "EAGAIN");
    bed.barrier()?;
    create(&bed, "c")?;
    assert_eq!(puppet.read(&instance), "1:100:a 1:100:b");
    bed.delay("none")?;
    assert_eq!(puppet.read(&instance), "1:100:c");
    bed.delay("barrier")?;
    create(&bed, "d")?;
    bed.clear_faults()?;
    assert_eq!(puppet.read(&instance), "1:100:d");

    // Of a reader that waits nobody knows when it is to be woken but the emulator.
    let (bed, mut puppet, _) = setting("time=30ms")?;
    let waiting = puppet.does("init 0");
    puppet.add(&waiting, &folder, libc::IN_CREATE);
    let start = std::time::Instant::now();
    create(&bed, "a")?;
    assert_eq!(puppet.read(&waiting), "1:100:a");
    let elapsed = start.elapsed();
    assert!(elapsed >= std::time::Duration::from_millis(30), "after {elapsed:?}");
    Ok(())
}

/// The same seed, the same losses; through a program and its sockets as in the core.
pub(super) fn a_seed_decides() -> Outcome {
    let (_folder, [folder]) = folders()?;
    let run = |seed: u64| -> Result<Vec<String>, libtest_mimic::Failed> {
        let bed = TestBed::builder()
            .scripted()
            .fault("queue:drop:probability=0.3")
            .fault("rm_watch:EINVAL:probability=0.5")
            .fault("read:EINTR:probability=0.2")
            .seed(seed)
            .build()?;
        let mut puppet = Puppet::start(&bed);
        let instance = puppet.init();
        let mut results = Vec::new();
        for round in 0..8 {
            results.push(puppet.add(&instance, &folder, ALL));
            for name in ["a", "b", "c"] {
                bed.inject(folder.join(format!("{name}{round}")), Injected::Create)?;
            }
            results.push(puppet.read(&instance));
            results.push(puppet.does(&format!("rm {instance} {}", round + 1)));
        }
        Ok(results)
    };
    let rounds: usize = if std::env::var_os("UINOTIFY_LONG").is_some() { 1000 } else { 10 };
    let first = run(7)?;
    for _ in 1..rounds {
        assert_eq!(run(7)?, first);
    }
    assert_ne!(run(8)?, first);
    Ok(())
}
