//! What the command says and does.

use std::fs;

use uinotify_images::Checkpoint;
use uinotify_images::checkpoint::Event;
use uinotify_images::text::ByteString;

use crate::room::{Outcome, Room};

pub(super) fn watches_are_shown_in_hexadecimal() -> Outcome {
    let room = Room::new();
    let images = room.dump("kernel");
    let shown = room.images(&[&"show", &images]);
    let expected = format!(
        "\
{}: files.img
instance 0x4  flags 00  watches 3
  fd 3 of process 13449
  wd 0x1  IN_ALL_EVENTS  inode 0x9f40f1 sdev 0xfe00000  /tmp/demo/watched/a
  wd 0x34d71d6  IN_CREATE|IN_DELETE  inode 0x9f4101 sdev 0xfe00000  /tmp/demo/watched/b
  wd 0x34d71d7  IN_MODIFY|IN_MOVED_FROM|IN_MOVED_TO|IN_EXCL_UNLINK  inode 0x9f4111 sdev 0xfe00000  /tmp/demo/watched/c
",
        images.display()
    );
    assert_eq!((shown.status, shown.stdout, &*shown.stderr), (Some(0), expected, ""));
    Ok(())
}

pub(super) fn an_emulated_instance_is_named() -> Outcome {
    let room = Room::new();
    let images = room.dump("emulated");
    let shown = room.images(&[&"show", &images]);
    let expected = "\
socket 0x7  inode 20891541  to a peer outside named @uinotify/1/13468/2323217/1: an emulated instance
  fd 3 of process 13471
";
    assert_eq!((shown.status, shown.stdout.split_once('\n').unwrap().1, &*shown.stderr), (Some(0), expected, ""));
    let linted = room.images(&[&"lint", &images]);
    let all = "socket 20891541: an emulated instance, not converted: all of it is lost\n";
    assert_eq!((linted.status, &*linted.stdout), (Some(3), all));
    Ok(())
}

/// The checkpoint that `export` makes of a dump, changed.
fn exported(
    room: &Room,
    dump: &str,
    edit: impl Fn(&mut Checkpoint),
) -> Result<std::path::PathBuf, libtest_mimic::Failed> {
    let images = room.dump(dump);
    let mut checkpoint = Checkpoint::from_json(room.images(&[&"export", &images]).stdout.as_bytes())?;
    edit(&mut checkpoint);
    let path = room.path("checkpoint.json");
    fs::write(&path, checkpoint.to_json())?;
    Ok(path)
}

pub(super) fn losses_have_an_exit_status() -> Outcome {
    let room = Room::new();
    let checkpoint = exported(&room, "kernel", |checkpoint| {
        let instance = &mut checkpoint.instances[0];
        instance.watches[0].mask |= libc::IN_ONESHOT;
        instance.watches[1].mask = 0;
        instance.watches.swap(0, 1);
        instance.cursor = 7;
        instance.flags = 0o24000;
        let event = |wd, mask| Event { wd, mask, cookie: 0, name: ByteString::default(), hidden: 0 };
        instance.queue.events = vec![event(1, libc::IN_OPEN), event(-1, libc::IN_Q_OVERFLOW)];
    })?;
    let linted = room.images(&[&"lint", &checkpoint]);
    let expected = "\
instance 0x4: wd 0x34d71d6: its mask has no event, which inotify_add_watch refuses: the restore fails
instance 0x4: wd 0x1: IN_ONESHOT is lost: the watch goes on after its first event
instance 0x4: wd 0x34d71d7: IN_EXCL_UNLINK is lost: events of unlinked children will come
instance 0x4: cursor: the next watch descriptor is sought from 0x34d71d8 instead of 0x7
instance 0x4: order: fdinfo shows the watches by descending wd, and no longer as they were made
instance 0x4: queue: 2 unread events are lost, with the IN_Q_OVERFLOW
instance 0x4: flags: inotify_init1 does not take 020000: the restore fails, or they are lost
";
    assert_eq!((linted.status, &*linted.stdout, &*linted.stderr), (Some(3), expected, ""));
    let linted = room.images(&[&"lint", &room.path("kernel")]);
    assert_eq!((linted.status, linted.stdout.lines().count()), (Some(3), 1));
    assert!(linted.stderr.contains("neither cursor nor queue"), "{}", linted.stderr);

    let mut faithful = Checkpoint::from_json(&fs::read(&checkpoint)?)?;
    faithful.instances.clear();
    fs::write(&checkpoint, faithful.to_json())?;
    let linted = room.images(&[&"lint", &checkpoint]);
    assert_eq!((linted.status, &*linted.stdout, &*linted.stderr), (Some(0), "", ""));
    Ok(())
}

pub(super) fn export_goes_to_import_and_back() -> Outcome {
    let room = Room::new();
    let checkpoint = exported(&room, "kernel", |_| ())?;
    let of_dump = |images: &std::path::Path| {
        let shown = room.images(&[&"show", &images]).stdout;
        shown.lines().skip(1).filter(|line| !line.starts_with("  fd")).map(str::to_owned).collect::<Vec<_>>()
    };
    for (format, name) in [("criu", "files.img"), ("criu-legacy", "inotify-wd.img")] {
        let new = room.path(format);
        let imported = room.images(&[&"import", &new, &checkpoint, &"--format", &format]);
        assert_eq!(imported.status, Some(0), "{}", imported.stderr);
        assert_eq!(imported.stderr.lines().count(), 1, "{}", imported.stderr);
        assert!(new.join(name).is_file());
        assert_eq!(of_dump(&new), of_dump(&room.path("kernel")));
        // Once more, in the place of itself.
        let before = fs::read(new.join(name))?;
        assert_eq!(room.images(&[&"import", &new, &checkpoint]).status, Some(0));
        assert_eq!(fs::read(new.join(name))?, before);
    }
    let before = fs::read(room.path("kernel/files.img"))?;
    assert_eq!(room.images(&[&"import", &room.path("kernel"), &checkpoint]).status, Some(0));
    assert_eq!(fs::read(room.path("kernel/files.img"))?, before);
    Ok(())
}

pub(super) fn an_instance_without_a_place_is_refused() -> Outcome {
    let room = Room::new();
    let checkpoint = exported(&room, "kernel", |checkpoint| {
        checkpoint.instances[0].descriptors.clear();
        checkpoint.instances[0].id = 99;
    })?;
    let images = room.path("kernel");
    let before = fs::read(images.join("files.img"))?;
    let imported = room.images(&[&"import", &images, &checkpoint]);
    let told =
        format!("uinotify: {} has no instance with a descriptor or the number of instance 0x63\n", images.display());
    assert_eq!((imported.status, imported.stderr), (Some(1), told));
    assert_eq!(fs::read(images.join("files.img"))?, before);
    Ok(())
}

pub(super) fn sockets_become_instances() -> Outcome {
    let room = Room::new();
    let images = room.dump("emulated");
    let checkpoint = exported(&room, "kernel", |checkpoint| checkpoint.instances[0].socket_inode = Some(20_891_541))?;
    let converted = room.images(&[&"convert", &images, &"--checkpoint", &checkpoint]);
    assert_eq!((converted.status, &*converted.stdout), (Some(0), "instance 0x4 converted, with 3 watches\n"));
    let watches = |images| {
        let shown = room.images(&[&"show", images]).stdout;
        shown.lines().filter(|line| line.starts_with("  wd")).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(watches(&images), watches(&room.path("kernel")));
    let again = room.images(&[&"convert", &images, &"--checkpoint", &checkpoint]);
    assert_eq!(again.status, Some(1));
    assert!(again.stderr.contains("the images have no unix socket with its inode 20891541"), "{}", again.stderr);
    Ok(())
}

pub(super) fn instances_become_sockets() -> Outcome {
    let room = Room::new();
    let images = room.dump("kernel");
    let before = fs::read(images.join("files.img"))?;
    let checkpoint = room.path("checkpoint.json");
    let converted = room.images(&[&"convert", &images, &"--to-sockets", &"-o", &checkpoint]);
    assert_eq!((converted.status, &*converted.stdout, &*converted.stderr), (Some(0), "", ""));
    assert!(room.images(&[&"show", &images]).stdout.contains("socket 0x4  inode 4294967295  to a peer outside"));
    let converted = room.images(&[&"convert", &images, &"--checkpoint", &checkpoint]);
    assert_eq!(converted.status, Some(0), "{}", converted.stderr);
    assert_eq!(fs::read(images.join("files.img"))?, before);
    Ok(())
}

pub(super) fn errors_say_which_file() -> Outcome {
    let room = Room::new();
    let images = room.dump("kernel");
    let file = images.join("files.img");
    let bytes = fs::read(&file)?;
    fs::write(&file, &bytes[..100])?;
    let shown = room.images(&[&"show", &images]);
    let told = format!("uinotify: {}: offset 0x64: the file ends inside", file.display());
    assert_eq!(shown.status, Some(1));
    let cut = format!("uinotify: {}: offset 0x", file.display());
    assert!(shown.stderr.starts_with(&told) || shown.stderr.starts_with(&cut), "{}", shown.stderr);
    assert_eq!(shown.stderr.lines().count(), 1);

    let checkpoint = room.path("later.json");
    fs::write(&checkpoint, "{\"format\": \"uinotify-checkpoint\", \"version\": 2}")?;
    let linted = room.images(&[&"lint", &checkpoint]);
    let told =
        format!("uinotify: {}: a checkpoint of version 2, and this uinotify reads version 1\n", checkpoint.display());
    assert_eq!((linted.status, linted.stderr), (Some(1), told));
    let empty = room.path("empty");
    fs::create_dir(&empty)?;
    let shown = room.images(&[&"show", &empty]);
    let told = format!("uinotify: {} has no images of CRIU: neither files.img nor inotify.img\n", empty.display());
    assert_eq!((shown.status, shown.stderr), (Some(1), told));
    assert_eq!(room.images(&[&"convert", &empty]).status, Some(2));
    Ok(())
}
