//! This thread in the mount name space of a program: only there a tree is what the program sees.

use std::fs::{self, File};
use std::time::{Duration, Instant};

use libtest_mimic::Failed;
use nix::sched::{CloneFlags, setns, unshare};

const PATIENCE: Duration = Duration::from_secs(20);

/// Goes back at its end.
pub(super) struct Inside {
    outside: File,
}

impl Inside {
    /// Waits until a program that `uinotify run` has started sees its tree, and goes there. `command` is the process of the latter.
    pub(super) fn of_child(command: u32) -> Result<Self, Failed> {
        let outside = File::open("/proc/thread-self/ns/mnt")?;
        let start = Instant::now();
        let space = loop {
            if let Some(space) = space_with_tree(command) {
                break space;
            }
            if start.elapsed() > PATIENCE {
                return Err("the program sees no tree".into());
            }
            std::thread::sleep(Duration::from_millis(1));
        };
        // The folders of threads that share theirs stay where they are.
        unshare(CloneFlags::CLONE_FS)?;
        setns(space, CloneFlags::CLONE_NEWNS)?;
        Ok(Self { outside })
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        setns(&self.outside, CloneFlags::CLONE_NEWNS).expect("it was there before");
    }
}

/// The mount name space of a child that has one in which a tree is shown.
fn space_with_tree(command: u32) -> Option<File> {
    let children = fs::read_to_string(format!("/proc/{command}/task/{command}/children")).ok()?;
    children.split_whitespace().find_map(|child| {
        let mounts = fs::read_to_string(format!("/proc/{child}/mountinfo")).ok()?;
        mounts.contains(" - fuse.uinotify ").then(|| File::open(format!("/proc/{child}/ns/mnt")).ok())?
    })
}
