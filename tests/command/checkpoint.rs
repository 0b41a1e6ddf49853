//! `uinotify dump` and `uinotify restore`.

use std::fs;
use std::path::PathBuf;

use uinotify::checkpoint::{Checkpoint, Instance, SignalOwner};

use crate::room::{Outcome, Room, eventually, helper_command, holder};

/// A program that holds a watch with wd 0x34d71d6, with two events that it has not read; its checkpoint, taken while it runs.
fn dumped(room: &Room) -> Result<(PathBuf, Instance), libtest_mimic::Failed> {
    let watched = room.path("watched");
    fs::create_dir(&watched)?;
    let (mut running, pid) = holder(room, &watched)?;
    for name in ["unread1", "unread2"] {
        fs::write(watched.join(name), "")?;
    }
    let file = room.path("checkpoint.json");
    let ended = room.end(&mut room.uinotify(&["dump", "--pid", &pid, "-o", file.to_str().ok_or("a UTF-8 path")?]));
    assert_eq!((ended.status, &*ended.stdout, &*ended.stderr), (Some(0), "", ""));
    running.tell("go");
    assert!(running.line().starts_with("wd 55407062 mask 0x100 name unread1\0"));
    assert_eq!(running.child.wait()?.code(), Some(0));
    let text = fs::read(&file)?;
    let mut checkpoint = Checkpoint::from_json(&text)?;
    let instance = checkpoint.instances.pop().ok_or("an instance")?;
    assert_eq!(instance.descriptors.iter().map(|one| one.pid.to_string()).collect::<Vec<_>>(), [pid]);
    Ok((file, instance))
}

/// A program's instance is dumped while it goes on; another one finds it open under its number, with all that was unread.
pub(super) fn a_program_goes_on_with_an_instance_of_another() -> Outcome {
    let room = Room::new();
    let (file, instance) = dumped(&room)?;
    assert_eq!((instance.cursor, instance.flags), (0x34d_71d7, 0));
    let [watch] = &instance.watches[..] else { panic!("one watch: {instance:?}") };
    assert_eq!((watch.wd, watch.mask), (0x34d_71d6, libc::IN_CREATE));
    assert_eq!(watch.path.as_ref().map(ToString::to_string), room.path("watched").to_str().map(str::to_owned));
    let names: Vec<_> = instance.queue.events.iter().map(|event| event.name.to_string()).collect();
    assert_eq!(names, ["unread1", "unread2"]);

    let file = file.to_str().ok_or("a UTF-8 path")?;
    let fd = instance.descriptors[0].fd.to_string();
    let folder = room.path("watched");
    let take = helper_command(&["take", &fd, folder.to_str().ok_or("a UTF-8 path")?]);
    let expected = "wd 55407062 mask 0x100 name unread1\nwd 55407062 mask 0x100 name unread2\n\
        wd 55407062 mask 0x100 name made\nadded 55407063\n";
    for way in [&[][..], &["--via", "ioctl"]] {
        let _ = fs::remove_file(folder.join("made"));
        let restored =
            room.end(&mut room.uinotify(&[&["restore", file, "--verify"], way, &["--"], &take[..]].concat()));
        assert_eq!((restored.status, &*restored.stderr, &*restored.stdout), (Some(0), "", expected), "{way:?}");
    }
    Ok(())
}

/// Signals that a process had asked for itself come to the one that goes on; those of another are told.
pub(super) fn signals_come_to_the_program() -> Outcome {
    let room = Room::new();
    let (file, instance) = dumped(&room)?;
    let descriptor = instance.descriptors[0];
    let signal_owner = |pid| {
        let signal = libc::SIGUSR1.cast_unsigned();
        Some(SignalOwner { pid, pid_type: 1, uid: 0, euid: 0, signal })
    };
    let restore = |signal_owner| -> Result<_, libtest_mimic::Failed> {
        let mut checkpoint = Checkpoint::from_json(&fs::read(&file)?)?;
        for instance in &mut checkpoint.instances {
            (instance.signal_owner, instance.flags) = (signal_owner, libc::O_ASYNC.cast_unsigned());
        }
        let changed = room.path("changed.json");
        fs::write(&changed, checkpoint.to_json())?;
        let (folder, fd) = (room.path("watched"), descriptor.fd.to_string());
        let [changed, folder] = [&changed, &folder].map(|path| path.to_str().unwrap_or_default());
        let wait = helper_command(&["be-signalled", &fd, folder]);
        Ok(room.end(&mut room.uinotify(&[&["restore", changed, "--verify", "--"], &wait[..]].concat())))
    };
    let own = restore(signal_owner(descriptor.pid))?;
    let expected = format!("owner self signal {}\nsignal for {}\n", libc::SIGUSR1, descriptor.fd);
    assert_eq!((own.status, &*own.stderr, &*own.stdout), (Some(0), "", &*expected));
    let others = restore(signal_owner(1))?;
    assert_eq!((others.status, &*others.stdout), (Some(0), "owner 0 signal 0\nno signal\n"));
    assert!(others.stderr.contains("its signals went to process 1, and go to nobody now"), "{}", others.stderr);
    Ok(())
}

/// Each object that is not where it was is told, and what is done about it is the user's choice. Nothing is left.
pub(super) fn objects_that_are_gone_are_told() -> Outcome {
    let room = Room::new();
    let (file, _) = dumped(&room)?;
    let file = file.to_str().ok_or("a UTF-8 path")?;
    let watched = room.path("watched");
    let restore = |options: &[&str]| room.end(&mut room.uinotify(&[&["restore", file, "--verify"], options].concat()));
    let exact = restore(&[]);
    assert_eq!(exact.status, Some(0), "{}", exact.stderr);

    fs::remove_dir_all(&watched)?;
    let gone = format!("wd 0x34d71d6: {} is not there any more\n", watched.display());
    let refused = restore(&[]);
    assert_eq!(refused.status, Some(125));
    assert!(refused.stderr.ends_with(&gone), "{}", refused.stderr);
    let skipped = restore(&["--missing", "skip"]);
    assert_eq!(skipped.status, Some(3), "{}", skipped.stderr);
    assert!(
        skipped.stderr.contains(&gone) && skipped.stderr.contains("wd 0x34d71d6: is not there\n"),
        "{}",
        skipped.stderr
    );
    assert_eq!(restore(&["--missing", "path"]).status, Some(125));

    // The inode may be the same, and only its generation another.
    fs::create_dir_all(&watched)?;
    let other = restore(&["--missing", "path"]);
    assert_eq!(other.status, Some(3), "{}", other.stderr);
    assert!(other.stderr.contains("is another object now, with inode 0x"), "{}", other.stderr);
    eventually("the emulators end", || room.sockets().is_empty())
}

/// Without the ioctl numbers come round, step by step; the IN_IGNORED of each step is not the program's.
pub(super) fn numbers_come_round() -> Outcome {
    let room = Room::new();
    let (file, instance) = dumped(&room)?;
    let far = room.end(&mut room.uinotify(&[
        "restore",
        file.to_str().ok_or("a UTF-8 path")?,
        "--via",
        "loop",
        "--max-steps",
        "100",
    ]));
    assert_eq!(far.status, Some(125));
    assert!(far.stderr.contains("wd 0x34d71d6: not reached in 100 steps"), "{}", far.stderr);
    assert!(far.stderr.contains("all 55407061 would take some "), "{}", far.stderr);

    let mut near = Checkpoint::from_json(&fs::read(&file)?)?;
    for instance in &mut near.instances {
        instance.cursor = 301;
        instance.watches[0].wd = 300;
        instance.queue.events.iter_mut().for_each(|event| event.wd = 300);
    }
    assert_ne!(instance.cursor, 301);
    fs::write(&file, near.to_json())?;
    let near = room.end(&mut room.uinotify(&["restore", file.to_str().ok_or("a path")?, "--via", "loop", "--verify"]));
    assert_eq!(near.status, Some(0), "{}", near.stderr);
    assert!(near.stderr.contains("1 watches, 299 steps"), "{}", near.stderr);
    let file = file.to_str().ok_or("a path")?;
    let exact = room.end(&mut room.uinotify(&["restore", file, "--verify", "--setnextwd", "enotty"]));
    assert_eq!(exact.status, Some(0), "{}", exact.stderr);
    let without = room.end(&mut room.uinotify(&["restore", file, "--via", "ioctl", "--setnextwd", "enotty"]));
    assert_eq!(without.status, Some(125));
    assert!(without.stderr.contains("wd 0x12c: INOTIFY_IOC_SETNEXTWD: "), "{}", without.stderr);
    Ok(())
}

/// What cannot be dumped is named.
pub(super) fn what_is_not_there_is_not_dumped() -> Outcome {
    let room = Room::new();
    let own = std::process::id().to_string();
    for (arguments, problem) in [
        (["dump", "--pid", "2147483647"], "there is no process 2147483647 any more".to_owned()),
        (["dump", "--pid", &own], format!("process {own} has no emulated inotify descriptor")),
        (["dump", "--group", "4000000000"], "there is no instance 4000000000".to_owned()),
        (["restore", "/nonexistent", "--verify"], "cannot read /nonexistent".to_owned()),
    ] {
        let refused = room.end(&mut room.uinotify(&arguments));
        assert!(refused.stderr.starts_with(&format!("uinotify: {problem}")), "{}", refused.stderr);
        assert_ne!(refused.status, Some(0));
    }
    Ok(())
}
