//! Libraries of several languages, each under a short program.

use std::fs::{self, File, OpenOptions};
use std::io::Write;

use libtest_mimic::Failed;

use crate::Case;
use crate::need::{Need, interpreter};
use crate::run::{Room, Running, Subject, distinct_changes};

pub(super) fn cases() -> [Case; 6] {
    [
        Case { name: "node::watch_folder", needs: &[Need::Node], play: node_folder },
        Case { name: "node::watch_file", needs: &[Need::Node], play: node_file },
        Case { name: "watchdog::folder", needs: &[Need::Watchdog], play: watchdog_folder },
        Case { name: "watchdog::recursive", needs: &[Need::Watchdog], play: watchdog_recursive },
        Case { name: "inotify_crate::blocking", needs: &[], play: inotify_crate },
        Case { name: "notify_crate::recursive", needs: &[], play: notify_crate },
    ]
}

const NODE: &str = "
const fs = require('fs');
fs.watch(process.argv[1], (event, name) => console.log(event, name));
console.log('ready');
";

fn node(subject: Subject, name: &str) -> Result<Running, Failed> {
    let room = Room::new(subject)?;
    fs::write(room.tree().join("file"), "text")?;
    let path = room.tree().join(name);
    let running = room.start(&["node", "-e", NODE, path.to_str().ok_or("a UTF-8 path")?])?;
    running.said("ready")?;
    running.watches(1)?;
    Ok(running)
}

fn node_folder(subject: Subject) -> Result<String, Failed> {
    let running = node(subject, "")?;
    distinct_changes(&running.tree())?;
    running.end()
}

fn node_file(subject: Subject) -> Result<String, Failed> {
    let running = node(subject, "file")?;
    let file = running.path("file");
    OpenOptions::new().append(true).open(&file)?.write_all(b"more")?;
    running.said("change file")?;
    fs::rename(&file, running.path("other"))?;
    running.until("rename")
}

const WATCHDOG: &str = "
import sys
from watchdog.events import FileSystemEventHandler
from watchdog.observers.inotify import InotifyObserver

class Handler(FileSystemEventHandler):
    def on_any_event(self, event):
        print(event.event_type, event.is_directory, event.src_path, getattr(event, 'dest_path', ''), flush=True)

observer = InotifyObserver()
observer.schedule(Handler(), sys.argv[1], recursive=len(sys.argv) > 2)
observer.start()
print('ready', flush=True)
observer.join()
";

fn watchdog_folder(subject: Subject) -> Result<String, Failed> {
    let room = Room::new(subject)?;
    let tree = room.tree();
    let running = room.start(&[interpreter()?, "-c", WATCHDOG, tree.to_str().ok_or("a UTF-8 path")?])?;
    running.said("ready")?;
    running.watches(1)?;
    distinct_changes(&tree)?;
    running.end()
}

fn watchdog_recursive(subject: Subject) -> Result<String, Failed> {
    let room = Room::new(subject)?;
    let tree = room.tree();
    fs::create_dir_all(tree.join("a/deep"))?;
    let path = tree.to_str().ok_or("a UTF-8 path")?;
    let running = room.start(&[interpreter()?, "-c", WATCHDOG, path, "recursive"])?;
    running.said("ready")?;
    running.watches(3)?;
    distinct_changes(&tree.join("a/deep"))?;
    // The program walks a new folder and shows what it finds there as made: nothing is, until it is watched.
    fs::create_dir(tree.join("a/new"))?;
    running.watches(4)?;
    running.said(&format!("created True {}", running.path("a/new").display()))?;
    File::create(tree.join("a/new/file"))?;
    running.end()
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

fn inotify_crate(subject: Subject) -> Result<String, Failed> {
    let running = client(subject, "inotify", |_| Ok(()))?;
    running.watches(1)?;
    distinct_changes(&running.tree())?;
    running.end()
}

fn notify_crate(subject: Subject) -> Result<String, Failed> {
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
