//! A program in C, by the compilers of two libcs.

use std::process::Command;

use libtest_mimic::Failed;

use crate::Case;
use crate::need::Need;
use crate::run::{Room, Subject, distinct_changes};

pub(super) fn cases() -> [Case; 2] {
    [
        Case { name: "c::machines_libc", needs: &[Need::Cc], play: |subject| walk("cc", subject) },
        Case { name: "c::musl", needs: &[Need::MuslGcc], play: |subject| walk("musl-gcc", subject) },
    ]
}

fn walk(compiler: &str, subject: Subject) -> Result<String, Failed> {
    let room = Room::new(subject)?;
    let (source, program) = (room.beside("walk.c"), room.beside("walk"));
    std::fs::write(&source, include_str!("walk.c"))?;
    let built = Command::new(compiler).args(["-Wall", "-Werror", "-o"]).arg(&program).arg(&source).output()?;
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let tree = room.tree();
    let running = room.start(&[program.to_str().ok_or("a UTF-8 path")?, tree.to_str().ok_or("a UTF-8 path")?])?;
    running.said("ready")?;
    running.watches(1)?;
    distinct_changes(&tree)?;
    running.end()
}
