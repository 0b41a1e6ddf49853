//! Packages of Python. All but watchdog and Qt look up inotify in libc's own handle, by `ctypes`.

use std::fs::{self, File};

use libtest_mimic::Failed;

use crate::Case;
use crate::need::{Need, python};
use crate::run::{Room, Running, Subject, append, distinct_changes, nested_changes, script};

pub(super) fn cases() -> [Case; 7] {
    [
        Case { name: "watchdog::folder", needs: &[WATCHDOG], play: watchdog_folder },
        Case { name: "watchdog::recursive", needs: &[WATCHDOG], play: watchdog_recursive },
        Case { name: "asyncinotify::folder", needs: &[ASYNCINOTIFY], play: asyncinotify_folder },
        Case { name: "asyncinotify::recursive", needs: &[ASYNCINOTIFY], play: asyncinotify_recursive },
        Case { name: "inotify_simple::folder", needs: &[INOTIFY_SIMPLE], play: inotify_simple },
        Case { name: "pyinotify::recursive", needs: &[PYINOTIFY], play: pyinotify_recursive },
        Case { name: "qt::file_and_folder", needs: &[QT], play: qt },
    ]
}

const WATCHDOG: Need = Need::Python { module: "watchdog.observers.inotify", package: "python3-watchdog" };
const ASYNCINOTIFY: Need = Need::Python { module: "asyncinotify", package: "asyncinotify of PyPI" };
const INOTIFY_SIMPLE: Need = Need::Python { module: "inotify_simple", package: "inotify_simple of PyPI" };
const PYINOTIFY: Need = Need::Python { module: "pyinotify", package: "python3-pyinotify" };
const QT: Need = Need::Python { module: "PySide2.QtCore", package: "python3-pyside2.qtcore" };

/// Starts a script on the watched folder, in which `folder` is there already.
fn start(subject: Subject, needed: Need, name: &str, more: &[&str], folder: &str) -> Result<Running, Failed> {
    let room = Room::new(subject)?;
    let tree = room.tree();
    fs::create_dir_all(tree.join(folder))?;
    let (script, tree) = (script(name), tree.to_str().ok_or("a UTF-8 path")?.to_owned());
    let program = [&[python(needed)?, script.as_str(), tree.as_str()], more].concat();
    let running = room.start(&program)?;
    running.said("ready")?;
    Ok(running)
}

fn watchdog_folder(subject: Subject) -> Result<String, Failed> {
    let running = start(subject, WATCHDOG, "watchdog_observer.py", &[], "")?;
    running.watches(1)?;
    distinct_changes(&running.tree())?;
    running.end()
}

fn watchdog_recursive(subject: Subject) -> Result<String, Failed> {
    let running = start(subject, WATCHDOG, "watchdog_observer.py", &["recursive"], "a/deep")?;
    let tree = running.tree();
    running.watches(3)?;
    distinct_changes(&tree.join("a/deep"))?;
    // The program walks a new folder and shows what it finds there as made: nothing is, until it is watched.
    fs::create_dir(tree.join("a/new"))?;
    running.watches(4)?;
    running.said(&format!("created True {}", running.path("a/new").display()))?;
    File::create(tree.join("a/new/file"))?;
    running.end()
}

fn asyncinotify_folder(subject: Subject) -> Result<String, Failed> {
    let running = start(subject, ASYNCINOTIFY, "asyncinotify_folder.py", &[], "")?;
    running.watches(1)?;
    distinct_changes(&running.tree())?;
    running.end()
}

fn asyncinotify_recursive(subject: Subject) -> Result<String, Failed> {
    let running = start(subject, ASYNCINOTIFY, "asyncinotify_recursive.py", &[], "a/deep")?;
    running.watches(3)?;
    nested_changes(&running)?;
    running.end()
}

fn inotify_simple(subject: Subject) -> Result<String, Failed> {
    let running = start(subject, INOTIFY_SIMPLE, "simple.py", &[], "")?;
    running.watches(1)?;
    distinct_changes(&running.tree())?;
    running.end()
}

fn pyinotify_recursive(subject: Subject) -> Result<String, Failed> {
    let running = start(subject, PYINOTIFY, "pyinotify_recursive.py", &[], "a/deep")?;
    running.watches(3)?;
    nested_changes(&running)?;
    running.end()
}

/// Each change is waited for, because the program tells only that something has changed. Those of the file come before those of
/// the folder here: the library tells what it has read at once in the order of a hash, which is another in each run.
fn qt(subject: Subject) -> Result<String, Failed> {
    let room = Room::new(subject)?;
    let (tree, file) = (room.tree(), room.tree().join("file"));
    fs::write(&file, "text")?;
    let running = room.start(&[python(QT)?, &script("qt.py"), tree.to_str().ok_or("a UTF-8 path")?])?;
    running.said("ready")?;
    running.watches(2)?;
    append(&file, "more")?;
    running.said_lines(2)?;
    fs::create_dir(tree.join("folder"))?;
    running.said_lines(3)?;
    fs::rename(tree.join("folder"), running.beside("outside"))?;
    running.said_lines(4)?;
    fs::rename(&file, running.beside("old"))?;
    running.said_lines(6)?;
    running.watches(1)?;
    fs::remove_dir(&tree)?;
    let text = running.until(&format!("folder {} []", tree.display()))?;
    let mut lines: Vec<_> = text.split_inclusive('\n').collect();
    lines.sort_by_key(|line| line.starts_with("folder"));
    Ok(lines.concat())
}
