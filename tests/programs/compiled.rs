//! Programs in C: by the compilers of two libcs, and with systemd's event loop.

use std::process::Command;

use libtest_mimic::Failed;

use crate::Case;
use crate::need::{Need, SYSTEMD_TEST};
use crate::run::{Room, Running, Subject, distinct_changes, script};

pub(super) fn cases() -> [Case; 4] {
    [
        Case { name: "c::machines_libc", needs: &[Need::Cc], play: |subject| walk("cc", subject) },
        Case { name: "c::musl", needs: &[Need::MuslGcc], play: |subject| walk("musl-gcc", subject) },
        Case { name: "systemd::sd_event", needs: &[Need::Cc, Need::Libsystemd], play: sd_event },
        Case { name: "systemd::own_test", needs: &[Need::SystemdTest], play: systemd_test },
    ]
}

/// Compiles a program, which finds its libc when it starts, and starts it on the watched folder.
fn compiled(compiler: &str, name: &str, libraries: &[&str], subject: Subject) -> Result<Running, Failed> {
    let room = Room::new(subject)?;
    let program = room.beside("program");
    let mut command = Command::new(compiler);
    command.args(["-Wall", "-Werror", "-o"]).arg(&program).arg(script(name)).args(libraries);
    let built = command.output()?;
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let tree = room.tree();
    let running = room.start(&[program.to_str().ok_or("a UTF-8 path")?, tree.to_str().ok_or("a UTF-8 path")?])?;
    running.said("ready")?;
    Ok(running)
}

fn walk(compiler: &str, subject: Subject) -> Result<String, Failed> {
    let running = compiled(compiler, "walk.c", &[], subject)?;
    running.watches(1)?;
    distinct_changes(&running.tree())?;
    running.end()
}

fn sd_event(subject: Subject) -> Result<String, Failed> {
    let running = compiled("cc", "sd_event.c", &["-lsystemd"], subject)?;
    running.watches(1)?;
    distinct_changes(&running.tree())?;
    running.end()
}

/// Among other things it watches a folder with three priorities, and lets a queue overflow.
fn systemd_test(subject: Subject) -> Result<String, Failed> {
    let running = Room::new(subject)?.start(&[SYSTEMD_TEST])?;
    running.any_watches()?;
    let text = running.whole()?;
    let told = ["inotify", "exit status"];
    let mut lines: Vec<_> = text.lines().filter(|line| told.iter().any(|told| line.contains(told))).collect();
    lines.sort_unstable();
    Ok(lines.join("\n") + "\n")
}
