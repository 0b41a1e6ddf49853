//! The crates `inotify` and `notify`, under the programs of [`clients`](crate::clients).

use std::fs::{self, File};

use libtest_mimic::Failed;

use crate::Case;
use crate::run::{Room, Running, Subject, distinct_changes};

pub(super) fn cases() -> [Case; 2] {
    [
        Case { name: "inotify_crate::blocking", needs: &[], play: inotify },
        Case { name: "notify_crate::recursive", needs: &[], play: notify },
    ]
}

fn client(subject: Subject, name: &str, prepare: impl FnOnce(&Room) -> std::io::Result<()>) -> Result<Running, Failed> {
    let room = Room::new(subject)?;
    prepare(&room)?;
    let program = std::env::current_exe()?;
    let (program, tree) = (program.to_str().ok_or("a UTF-8 path")?, room.tree());
    let running = room.start(&[program, "--client", name, tree.to_str().ok_or("a UTF-8 path")?])?;
    running.said("ready")?;
    Ok(running)
}

fn inotify(subject: Subject) -> Result<String, Failed> {
    let running = client(subject, "inotify", |_| Ok(()))?;
    running.watches(1)?;
    distinct_changes(&running.tree())?;
    running.end()
}

fn notify(subject: Subject) -> Result<String, Failed> {
    let running = client(subject, "notify", |room| fs::create_dir_all(room.tree().join("a/deep")))?;
    running.watches(3)?;
    let tree = running.tree();
    distinct_changes(&tree.join("a/deep"))?;
    fs::create_dir(tree.join("a/new"))?;
    running.watches(4)?;
    File::create(tree.join("a/new/file"))?;
    fs::remove_dir_all(tree.join("a/deep"))?;
    running.watches(3)?;
    running.end()
}
