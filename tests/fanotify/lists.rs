//! Operations one by one, each drained before the next.

use anyhow::{Context, Result, ensure};
use uinotify_core::Mask;
use uinotify_harness::class::Seen;

use crate::actor::{Act, Actor};
use crate::both::{Both, ensure_equal};
use crate::class;
use crate::scene::Scene;

const ALL: u32 = libc::IN_ALL_EVENTS;

fn s(text: &str) -> String {
    text.to_owned()
}

/// A tree, watched in the usual places.
pub(crate) fn prepare(scene: &Scene, mask: u32) -> Result<(Actor, Both)> {
    let mut actor = Actor::start()?;
    let made = [
        Act::Mkdir(s("d")),
        Act::Mkdir(s("d/s")),
        Act::Mkdir(s("e")),
        Act::Touch(s("f"), libc::O_CREAT | libc::O_WRONLY),
        Act::Write(s("f")),
        Act::Touch(s("d/g"), libc::O_CREAT | libc::O_WRONLY),
        Act::Mkfifo(s("p")),
        Act::Symlink(s("f"), s("l")),
    ];
    let errnos = actor.act(&made)?;
    ensure!(errnos.iter().all(|errno| *errno == 0), "the tree cannot be made: {errnos:?}");
    let mut both = Both::new(scene.options)?;
    for label in [".", "d", "d/s", "f"] {
        let mark = both.watch(label, label, mask)?;
        scene.check_mark(mark)?;
    }
    Ok((actor, both))
}

/// Each, drained, is what the kernel tells, in order.
pub(crate) fn one_by_one(scene: &Scene) -> Result<()> {
    let (mut actor, mut both) = prepare(scene, ALL)?;
    // `true`: several calls, of which the order between names is not kept.
    let mut steps: Vec<(Act, bool)> = vec![
        (Act::Read(s("f")), false),
        (Act::Write(s("f")), false),
        (Act::Touch(s("f"), libc::O_WRONLY | libc::O_TRUNC), false),
        (Act::Touch(s("f"), libc::O_PATH), false),
        (Act::Touch(s("new"), libc::O_CREAT | libc::O_RDWR), false),
        (Act::Mode(s("new"), 0o600), false),
        (Act::Mode(s("f"), 0o640), false),
        (Act::Mode(s("d"), 0o700), false),
        (Act::Mode(s("d/s"), 0o700), false),
        (Act::Mode(s("e"), 0o700), false),
        (Act::Mode(s("."), 0o755), false),
        (Act::Times(s("f"), true, true), false),
        (Act::Times(s("f"), true, false), false),
        (Act::Times(s("f"), false, true), false),
        (Act::Times(s("e"), true, false), false),
        (Act::Times(s("e"), false, true), false),
        (Act::Times(s("l"), true, true), false),
        (Act::Truncate(s("f")), false),
        (Act::List(s("e")), false),
        (Act::List(s("d")), false),
        (Act::List(s(".")), false),
        (Act::Link(s("f"), s("h")), false),
        (Act::Read(s("h")), false),
        (Act::Link(s("f"), s("e/h")), false),
        (Act::Read(s("e/h")), false),
        (Act::Unlink(s("h")), false),
        (Act::Symlink(s("x"), s("d/l")), false),
        (Act::Unlink(s("d/l")), false),
        (Act::Mkdir(s("d/t")), false),
        (Act::Mode(s("d/t"), 0o700), false),
        (Act::List(s("d/t")), false),
        (Act::Rename(s("d/t"), s("d/u")), false),
        (Act::Mode(s("d/u"), 0o755), false),
        (Act::Rename(s("d/u"), s("v")), false),
        (Act::List(s("v")), false),
        (Act::Rename(s("v"), s("e/v")), false),
        (Act::List(s("e/v")), false),
        (Act::Rename(s("e/v"), s("d/v")), false),
        (Act::List(s("d/v")), false),
        (Act::Mkdir(s("d/w")), false),
        (Act::Rename(s("d/v"), s("d/w")), false),
        (Act::List(s("d/w")), false),
        (Act::Rmdir(s("d/w")), false),
        (Act::Rename(s("new"), s("new2")), false),
        (Act::Rename(s("new2"), s("d/new")), false),
        (Act::Rename(s("d/new"), s("e/new")), false),
        (Act::Rename(s("e/new"), s("new")), false),
        (Act::Rename(s("new"), s("d/g")), false),
        (Act::Rename(s("f"), s("d/f")), false),
        (Act::Write(s("d/f")), false),
        (Act::Rename(s("d/f"), s("f")), false),
        (Act::Open(0, s("f"), libc::O_RDWR), false),
        (Act::WriteOpen(0), false),
        (Act::ReadOpen(0), false),
        (Act::ModeOfOpen(0), false),
        (Act::Rename(s("f"), s("d/f")), false),
        (Act::WriteOpen(0), false),
        (Act::Rename(s("d"), s("m")), false),
        (Act::WriteOpen(0), false),
        (Act::Close(0), false),
        (Act::List(s("m")), false),
        (Act::Mode(s("m/s"), 0o755), false),
        (Act::Rename(s("m"), s("d")), false),
        (Act::Rename(s("d/f"), s("f")), false),
        (Act::Mode(s("p"), 0o600), false),
        (Act::Open(1, s("p"), libc::O_RDWR), false),
        (Act::WriteOpen(1), false),
        (Act::Close(1), false),
        (Act::Mkfifo(s("d/p")), false),
        (Act::Open(1, s("d/p"), libc::O_RDWR), false),
        (Act::WriteOpen(1), false),
        (Act::Close(1), false),
        (Act::Touch(s("d/b"), libc::O_CREAT), false),
        (Act::Allocate(s("d/b")), false),
        (Act::Exchange(s("f"), s("d/b")), false),
        (Act::Exchange(s("f"), s("e")), false),
        (Act::List(s("f")), false),
        (Act::Exchange(s("f"), s("e")), false),
        (Act::Exchange(s("f"), s("d/b")), false),
        (Act::Unnamed(s("d"), None), false),
        (Act::Unnamed(s("d"), Some(s("d/named"))), true),
        (Act::Open(2, s("d/s"), libc::O_RDONLY | libc::O_DIRECTORY), false),
        (Act::Rmdir(s("d/s")), false),
        (Act::Close(2), false),
        (Act::Mkdir(s("d/s")), false),
        (Act::List(s("d/s")), false),
        (Act::Open(2, s("f"), libc::O_RDWR), false),
        (Act::Unlink(s("f")), false),
        (Act::WriteOpen(2), false),
        (Act::Close(2), false),
    ];
    // Gone by its last link.
    steps.push((Act::Unlink(s("e/h")), false));
    for (step, in_class) in steps {
        let errno = actor.act(std::slice::from_ref(&step))?[0];
        let told = both.take()?;
        let what = format!("{step:?} ({errno})");
        let is_refusal = matches!(step, Act::Unnamed(..) | Act::Exchange(..) | Act::Allocate(_)) && errno != 0;
        ensure!(errno == 0 || is_refusal, "{what}");
        if in_class { class::ensure_same(&what, &told)? } else { ensure_equal(&what, &told)? }
    }
    let (watched, known, _) = both.source.volumes().size();
    // `.` and `d`, with what is in them: `d` and `e`, `d/s`. Nobody tells that those that were removed are gone if they are not marked.
    let removed = if scene.whole { 0 } else { 2 };
    ensure!((watched, known) == (2, 4 + removed), "{watched} objects are watched, {known} known");
    Ok(())
}

/// What goes through a special file is its own only. Whoever marks the file system has to ask what a file is, and cannot when it is gone.
pub(crate) fn special_files(scene: &Scene) -> Result<()> {
    let (mut actor, mut both) = prepare(scene, ALL)?;
    let acts = |path: &str| {
        let opened = Act::Open(0, s(path), libc::O_RDWR);
        vec![opened, Act::WriteOpen(0), Act::Rename(s(path), s("d/q")), Act::WriteOpen(0), Act::Close(0)]
    };
    let whole = [acts("p"), vec![Act::Mkfifo(s("p"))], acts("p")].concat();
    ensure!(actor.act(&whole)?.iter().all(|errno| *errno == 0));
    let told = both.take()?;
    let transfers = (Mask::IN_MODIFY | Mask::IN_ACCESS).bits();
    let transferred = |events: &[Seen]| events.iter().filter(|event| event.mask & transfers != 0).count();
    ensure!(transferred(&told.kernel) == 0, "{told:?}");
    // The first was replaced before anybody asked.
    let expected = if scene.whole { 1 } else { 0 };
    ensure!(transferred(&told.source).min(1) == expected, "{told:?}");
    // Whoever sets one time of it seems to read or write.
    ensure!(actor.act(&[Act::Times(s("d/q"), false, true)])? == [0]);
    let told = both.take()?;
    ensure!(told.kernel.len() == 1 && told.source.len() == usize::from(!scene.whole), "{told:?}");
    for act in acts("d/q") {
        ensure!(matches!(act, Act::Rename(..)) || actor.act(std::slice::from_ref(&act))? == [0], "{act:?}");
        ensure_equal(&format!("{act:?}"), &both.take()?)?;
    }
    Ok(())
}

/// A program that is executed: the hidden bit keeps its OPEN from merging.
pub(crate) fn execution(scene: &Scene) -> Result<()> {
    let mut actor = Actor::start()?;
    std::fs::copy("/bin/true", "program")?;
    std::fs::set_permissions("program", std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    let mut both = Both::new(scene.options)?;
    both.watch(".", ".", ALL)?;
    both.watch("program", "program", ALL)?;
    both.watch("program", "program", libc::IN_OPEN)?;
    let errnos = actor.act(&[Act::Execute(s("./program"))])?;
    ensure!(errnos == [0], "{errnos:?}");
    let told = both.take()?;
    ensure!(told.kernel.iter().any(|event| event.mask == libc::IN_OPEN), "nothing was told");
    class::ensure_same("execution", &told)?;
    // Unread, with an open before it.
    both.unwatch(".")?;
    both.take()?;
    ensure!(actor.act(&[Act::Touch(s("program"), libc::O_RDONLY)])? == [0]);
    both.drain()?;
    ensure!(actor.act(&[Act::Execute(s("./program"))])? == [0]);
    both.drain()?;
    ensure!(
        actor.act(&[Act::Touch(s("program"), libc::O_RDONLY), Act::Touch(s("program"), libc::O_RDONLY)])? == [0; 2]
    );
    let told = both.take()?;
    ensure!(told.kernel == told.source && told.kernel.len() == 3, "{told:?}");
    Ok(())
}

/// An end that was merged into what stood before it does not take the events behind that along.
pub(crate) fn removed_while_open(scene: &Scene) -> Result<()> {
    let (mut actor, mut both) = prepare(scene, ALL)?;
    ensure!(actor.act(&[Act::Open(0, s("f"), libc::O_RDWR)])? == [0]);
    both.take()?;
    let acts = [Act::Unlink(s("f")), Act::WriteOpen(0), Act::Close(0), Act::Touch(s("d/x"), libc::O_CREAT)];
    let named =
        |events: &[Seen]| events.iter().filter(|event| event.watch == "f").map(|event| event.mask).collect::<Vec<_>>();
    ensure!(actor.act(&acts)? == [0; 4]);
    let told = both.take()?;
    class::ensure_same("removed while open", &told)?;
    let ends = [Mask::IN_DELETE_SELF, Mask::IN_IGNORED].map(|mask| mask.bits());
    ensure!(named(&told.kernel).ends_with(&ends) && named(&told.source).ends_with(&ends), "{told:?}");
    // Nor does that of a directory which was merged with its opening, before what was removed from it.
    ensure!(actor.act(&[Act::List(s("d/s")), Act::Touch(s("d/s/a"), libc::O_CREAT)])? == [0; 2]);
    both.take()?;
    ensure!(actor.act(&[Act::List(s("d/s")), Act::Unlink(s("d/s/a")), Act::Rmdir(s("d/s"))])? == [0; 3]);
    class::ensure_same("a directory that is emptied and removed", &both.take()?)?;
    // What another one was moved onto ends behind what that one is told.
    both.watch("d/g", "g", ALL)?;
    both.watch("d/x", "x", ALL)?;
    ensure!(actor.act(&[Act::Rename(s("d/g"), s("d/x"))])? == [0]);
    ensure_equal("moved onto another", &both.take()?)
}

/// What a watch asks for is what it is told.
pub(crate) fn narrow_masks(scene: &Scene) -> Result<()> {
    let mut actor = Actor::start()?;
    ensure!(actor.act(&[Act::Mkdir(s("d")), Act::Touch(s("d/f"), libc::O_CREAT)])? == [0, 0]);
    let mut both = Both::new(scene.options)?;
    for bit in 0..12 {
        both.watch("d", "d", 1 << bit)?;
        both.watch("d/f", "f", 1 << (11 - bit))?;
        let acts = [
            Act::Write(s("d/f")),
            Act::Read(s("d/f")),
            Act::Mode(s("d/f"), 0o600),
            Act::Mode(s("d"), 0o700),
            Act::Touch(s("d/n"), libc::O_CREAT),
            Act::Mkdir(s("d/s")),
            Act::List(s("d/s")),
            Act::Rename(s("d/s"), s("d/t")),
            Act::Mode(s("d/t"), 0o700),
            Act::Rmdir(s("d/t")),
            Act::Rename(s("d/n"), s("d/m")),
            Act::Unlink(s("d/m")),
        ];
        for act in acts {
            ensure!(actor.act(std::slice::from_ref(&act))? == [0]);
            ensure_equal(&format!("mask {:#x}: {act:?}", 1 << bit), &both.take()?)?;
        }
    }
    Ok(())
}

/// IN_EXCL_UNLINK leaves out what comes by names that were removed.
pub(crate) fn excluded(scene: &Scene) -> Result<()> {
    let (mut actor, mut both) = prepare(scene, ALL | libc::IN_EXCL_UNLINK)?;
    let acts = [
        Act::Open(0, s("d/g"), libc::O_RDWR),
        Act::WriteOpen(0),
        Act::Unlink(s("d/g")),
        Act::WriteOpen(0),
        Act::Touch(s("d/g"), libc::O_CREAT),
        Act::WriteOpen(0),
        Act::Write(s("d/g")),
        Act::Open(1, s("d/g"), libc::O_RDWR),
        Act::Touch(s("x"), libc::O_CREAT),
        Act::Rename(s("x"), s("d/g")),
        Act::WriteOpen(1),
        Act::Write(s("d/g")),
        Act::Rename(s("d/g"), s("y")),
        Act::WriteOpen(1),
        Act::Write(s("y")),
        Act::Close(1),
        Act::Close(0),
        Act::Open(0, s("d/s"), libc::O_RDONLY),
        Act::Rmdir(s("d/s")),
        Act::Close(0),
        Act::Unnamed(s("d"), None),
        Act::Touch(s("d/#12"), libc::O_CREAT),
        Act::Write(s("d/#12")),
        Act::Open(0, s("f"), libc::O_RDWR),
        Act::Unlink(s("f")),
        Act::WriteOpen(0),
        Act::Close(0),
    ];
    for act in acts {
        let errno = actor.act(std::slice::from_ref(&act))?[0];
        ensure!(errno == 0 || matches!(act, Act::Unnamed(..)), "{act:?}: {errno}");
        ensure_equal(&format!("{act:?}"), &both.take()?)?;
    }
    Ok(())
}

/// A watch that is taken away, or goes, takes its marks along.
pub(crate) fn ends(scene: &Scene) -> Result<()> {
    let (mut actor, mut both) = prepare(scene, ALL)?;
    both.unwatch("d")?;
    both.unwatch("f")?;
    ensure_equal("unwatch", &both.take()?)?;
    ensure!(actor.act(&[Act::Write(s("f")), Act::List(s("d")), Act::Mode(s("d/s"), 0o755)])? == [0; 3]);
    class::ensure_same("what is left", &both.take()?)?;
    both.watch("d", "d", ALL)?;
    ensure!(actor.act(&[Act::Rmdir(s("d/s")), Act::Unlink(s("d/g")), Act::Rmdir(s("d"))])? == [0; 3]);
    class::ensure_same("a tree that goes", &both.take()?)?;
    both.unwatch(".")?;
    both.take()?;
    let volumes: Vec<_> = both.source.volumes().iter().collect();
    ensure!(both.source.volumes().size() == (0, 0, 0) && volumes.is_empty(), "{volumes:?}");
    let hooks = both.hooks;
    ensure!(actor.act(&[Act::Write(s("f"))])? == [0]);
    both.take()?;
    ensure!(both.hooks == hooks, "{} hooks without a watch", both.hooks - hooks);
    Ok(())
}

/// What this process does itself is no event.
pub(crate) fn own_accesses(scene: &Scene) -> Result<()> {
    let (mut actor, mut both) = prepare(scene, ALL)?;
    std::fs::write("f", b"by the emulator").context("f")?;
    let (done, wait) = std::sync::mpsc::channel();
    let (end, ended) = std::sync::mpsc::channel::<()>();
    let thread = std::thread::spawn(move || {
        let _ = done.send(std::fs::write("d/log", b"by another thread of it"));
        // One that has ended is not known for the emulator's own.
        let _ = ended.recv();
    });
    wait.recv()??;
    let told = both.take()?;
    drop(end);
    thread.join().map_err(|_| anyhow::anyhow!("the thread"))?;
    ensure!(!told.kernel.is_empty() && told.source.is_empty(), "{told:?}");
    ensure!(both.hooks == 0, "{} hooks", both.hooks);
    ensure!(actor.act(&[Act::Write(s("d/log"))])? == [0]);
    ensure_equal("another's", &both.take()?)
}

/// The descriptor says when there is something.
pub(crate) fn readiness(scene: &Scene) -> Result<()> {
    let (mut actor, mut both) = prepare(scene, ALL)?;
    ensure!(!both.wait(0)?, "readable without an event");
    for _ in 0..100 {
        ensure!(actor.act(&[Act::Mode(s("f"), 0o600)])? == [0]);
        ensure!(both.wait(0)?, "not readable after an event");
        ensure!(!both.take()?.source.is_empty(), "nothing was told");
        ensure!(!both.wait(0)?, "readable after it was drained");
    }
    Ok(())
}

/// Before Linux 5.17 there is no record of a rename, and none of what is behind a name: two ends are a pair if they are neighbours.
pub(crate) fn before_renames(scene: &Scene) -> Result<()> {
    let options = uinotify_source::fanotify::Options { targets: false, ..scene.options };
    let (mut actor, mut both) = prepare(&Scene::new(options, scene.whole), ALL)?;
    let acts = [
        Act::Touch(s("n"), libc::O_CREAT),
        Act::Write(s("n")),
        Act::Rename(s("n"), s("m")),
        Act::Rename(s("m"), s("d/m")),
        Act::Rename(s("d/m"), s("e/m")),
        Act::Rename(s("e/m"), s("m")),
        Act::Rename(s("m"), s("d/g")),
        Act::Unlink(s("d/g")),
        Act::Mkdir(s("x")),
        Act::Mode(s("x"), 0o700),
        Act::Rename(s("x"), s("d/y")),
        Act::Mode(s("d/y"), 0o755),
        Act::Rename(s("d/y"), s("d/z")),
        Act::List(s("d/z")),
        Act::Rename(s("d/z"), s("e/z")),
        Act::List(s("e/z")),
        Act::Rename(s("e/z"), s("z")),
        Act::List(s("z")),
        Act::Rmdir(s("z")),
        Act::List(s("d")),
        Act::Rename(s("f"), s("d/f")),
        Act::Write(s("d/f")),
        Act::Unlink(s("d/f")),
        Act::Rmdir(s("d/s")),
    ];
    for act in acts {
        let errnos = actor.act(std::slice::from_ref(&act))?;
        let what = format!("{act:?} {errnos:?}");
        ensure!(errnos == [0], "{what}");
        ensure_equal(&what, &both.take()?)?;
    }
    Ok(())
}

/// What is told of a directory bears no name: merged, it comes under the one that it had at first.
pub(crate) fn a_directory_renamed_meanwhile(scene: &Scene) -> Result<()> {
    let (mut actor, mut both) = prepare(scene, ALL)?;
    let acts = [Act::Mkdir(s("d/t")), Act::List(s("d/t")), Act::Rename(s("d/t"), s("d/u")), Act::List(s("d/u"))];
    ensure!(actor.act(&acts)? == [0; 4]);
    let told = both.take()?;
    let opened = |events: &[Seen]| {
        let is_open = |event: &&Seen| event.mask & Mask::IN_OPEN.bits() != 0;
        events.iter().filter(is_open).map(|event| event.name.clone()).collect::<Vec<_>>()
    };
    ensure!(opened(&told.kernel) == ["t", "u"] && opened(&told.source) == ["t"], "{told:?}");
    ensure!(actor.act(&[Act::List(s("d/u"))])? == [0]);
    ensure_equal("drained again", &both.take()?)?;
    // To and fro: the third is merged with the first, and so it seems to be where it was.
    let rename = |from: &str, to: &str| Act::Rename(s(from), s(to));
    ensure!(actor.act(&[rename("d/u", "d/t"), rename("d/t", "d/u"), rename("d/u", "d/t")])? == [0; 3]);
    both.take()?;
    ensure!(actor.act(&[Act::List(s("d/t"))])? == [0]);
    ensure_equal("moved to and fro", &both.take()?)
}

/// The one event that has two bits on Linux, for those who lose their set-user-ID bits by it, is two events.
pub(crate) fn truncation_that_clears_bits(scene: &Scene) -> Result<()> {
    let (mut actor, mut both) = prepare(scene, ALL)?;
    ensure!(actor.act(&[Act::Mode(s("f"), 0o4755)])? == [0]);
    both.take()?;
    ensure!(actor.act(&[Act::Truncate(s("f"))])? == [0]);
    let told = both.take()?;
    let masks = |events: &[Seen]| events.iter().map(|event| event.mask).collect::<Vec<_>>();
    ensure!(masks(&told.kernel) == [6, 6] && masks(&told.source) == [2, 2, 4, 4], "{told:?}");
    Ok(())
}
