//! Node.js and its packages.

use std::fs::{self, File};

use libtest_mimic::Failed;

use crate::Case;
use crate::need::Need;
use crate::run::{Room, Running, Subject, append, distinct_changes, script};

pub(super) fn cases() -> [Case; 3] {
    [
        Case { name: "node::watch_folder", needs: &[Need::Node], play: folder },
        Case { name: "node::watch_file", needs: &[Need::Node], play: file },
        Case { name: "chokidar::recursive", needs: &[Need::Chokidar], play: chokidar },
    ]
}

fn node(subject: Subject, name: &str) -> Result<Running, Failed> {
    let room = Room::new(subject)?;
    fs::write(room.tree().join("file"), "text")?;
    let path = room.tree().join(name);
    let running = room.start(&["node", &script("node.js"), path.to_str().ok_or("a UTF-8 path")?])?;
    running.said("ready")?;
    running.watches(1)?;
    Ok(running)
}

fn folder(subject: Subject) -> Result<String, Failed> {
    let running = node(subject, "")?;
    distinct_changes(&running.tree())?;
    running.end()
}

fn file(subject: Subject) -> Result<String, Failed> {
    let running = node(subject, "file")?;
    let file = running.path("file");
    append(&file, "more")?;
    running.said("change file")?;
    fs::rename(&file, running.path("other"))?;
    running.until("rename")
}

/// Each change is waited for, because the program walks again what has changed.
fn chokidar(subject: Subject) -> Result<String, Failed> {
    let room = Room::new(subject)?;
    let tree = room.tree();
    fs::create_dir_all(tree.join("a/deep"))?;
    fs::write(tree.join("a/deep/file"), "text")?;
    let running = room.start(&["node", &script("chokidar.js"), tree.to_str().ok_or("a UTF-8 path")?])?;
    running.said("ready")?;
    let path = |name: &str| running.path(name).display().to_string();
    // Three folders and a file.
    running.watches(4)?;
    append(&tree.join("a/deep/file"), "more")?;
    running.said(&format!("change {}", path("a/deep/file")))?;
    fs::create_dir(tree.join("new"))?;
    running.said(&format!("addDir {}", path("new")))?;
    running.watches(5)?;
    File::create(tree.join("new/made"))?;
    running.said(&format!("add {}", path("new/made")))?;
    running.watches(6)?;
    fs::rename(tree.join("new/made"), running.beside("outside"))?;
    running.said(&format!("unlink {}", path("new/made")))?;
    fs::rename(running.beside("outside"), tree.join("back"))?;
    running.said(&format!("add {}", path("back")))?;
    fs::remove_dir(tree.join("new"))?;
    running.said(&format!("unlinkDir {}", path("new")))?;
    running.end()
}
