//! Java's WatchService.

use std::fs::{self, File};

use libtest_mimic::Failed;

use crate::Case;
use crate::need::Need;
use crate::run::{Room, Subject, append, script};

pub(super) fn cases() -> [Case; 1] {
    [Case { name: "java::watch_service", needs: &[Need::Java], play: watch_service }]
}

/// Each change is waited for, because the program counts what it has not told yet as one.
fn watch_service(subject: Subject) -> Result<String, Failed> {
    let room = Room::new(subject)?;
    let (first, second) = (room.tree(), room.tree().join("second"));
    fs::create_dir(&second)?;
    let path = |name: &str| first.join(name).display().to_string();
    let folders = [first.to_str().ok_or("a UTF-8 path")?, second.to_str().ok_or("a UTF-8 path")?];
    // A machine that starts fast, for a short life.
    let options = ["java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xshare:auto"];
    let source = script("Watch.java");
    let running = room.start(&[&options[..], &[&source], &folders].concat())?;
    running.said("ready")?;
    running.watches(2)?;

    drop(File::create(first.join("one"))?);
    running.said(&format!("ENTRY_CREATE {}", path("one")))?;
    append(&first.join("one"), "text")?;
    running.said(&format!("ENTRY_MODIFY {}", path("one")))?;
    fs::rename(first.join("one"), second.join("two"))?;
    running.said(&format!("ENTRY_DELETE {}", path("one")))?;
    running.said(&format!("ENTRY_CREATE {}", path("second/two")))?;
    // Out of sight.
    fs::rename(second.join("two"), running.beside("outside"))?;
    running.said(&format!("ENTRY_DELETE {}", path("second/two")))?;
    fs::remove_dir(&second)?;
    running.said(&format!("ENTRY_DELETE {}", path("second")))?;
    running.said(&format!("no more {}", path("second")))?;
    running.watches(1)?;
    running.end()
}
