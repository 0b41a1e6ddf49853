//! Bindings of Perl and Ruby, and Emacs.

use std::fs;

use libtest_mimic::Failed;

use crate::Case;
use crate::need::Need;
use crate::run::{Room, Running, Subject, distinct_changes, nested_changes, script};

pub(super) fn cases() -> [Case; 3] {
    [
        Case { name: "perl::linux_inotify2", needs: &[Need::LinuxInotify2], play: perl },
        Case { name: "ruby::rb_inotify", needs: &[Need::RbInotify], play: ruby },
        Case { name: "emacs::file_notify", needs: &[Need::Emacs], play: emacs },
    ]
}

fn start(subject: Subject, interpreter: &[&str], name: &str, folder: &str) -> Result<Running, Failed> {
    let room = Room::new(subject)?;
    let tree = room.tree();
    fs::create_dir_all(tree.join(folder))?;
    let running = room.start(&[interpreter, &[&script(name), tree.to_str().ok_or("a UTF-8 path")?]].concat())?;
    running.said("ready")?;
    Ok(running)
}

fn perl(subject: Subject) -> Result<String, Failed> {
    let running = start(subject, &["perl"], "linux_inotify2.pl", "")?;
    running.watches(1)?;
    distinct_changes(&running.tree())?;
    running.end()
}

/// It looks up inotify in libc's own handle.
fn ruby(subject: Subject) -> Result<String, Failed> {
    let running = start(subject, &["ruby"], "rb_inotify.rb", "a/deep")?;
    running.watches(3)?;
    nested_changes(&running)?;
    running.end()
}

fn emacs(subject: Subject) -> Result<String, Failed> {
    let running = start(subject, &["emacs", "-Q", "--batch", "-l"], "filenotify.el", "")?;
    running.watches(1)?;
    distinct_changes(&running.tree())?;
    running.end()
}
