//! More at once than a reader keeps up with.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, ensure};
use uinotify_core::Mask;
use uinotify_harness::class::Seen;
use uinotify_source::fanotify::MarkKind;

use crate::actor::{Act, Actor, SLOTS, perform};
use crate::both::Both;
use crate::lists::prepare;
use crate::scene::Scene;

const PROCESSES: usize = 8;
/// Files of each process.
const FILES: usize = 400;

fn operations() -> usize {
    std::env::var("UINOTIFY_STORM").ok().and_then(|value| value.parse().ok()).unwrap_or(PROCESSES * FILES * 5)
}

/// Processes make, write, move and remove files of their own in two watched folders, while they are told of. Each name's whole life is there.
pub(crate) fn of_many_processes(scene: &Scene) -> Result<()> {
    for folder in ["from", "to"] {
        std::fs::create_dir(folder)?;
    }
    let files = operations() / 5 / PROCESSES;
    let mut actors = Vec::new();
    for process in 0..PROCESSES {
        // SAFETY: this process has one thread.
        match unsafe { nix::unistd::fork() }? {
            nix::unistd::ForkResult::Child => {
                // Until all is watched.
                // SAFETY: takes no pointer.
                unsafe { libc::raise(libc::SIGSTOP) };
                let result = act(process, files);
                // SAFETY: ends the process at once; nothing here is to be dropped.
                unsafe { libc::_exit(i32::from(result.is_err())) }
            }
            nix::unistd::ForkResult::Parent { child } => actors.push(child),
        }
    }
    for child in &actors {
        nix::sys::wait::waitpid(*child, Some(nix::sys::wait::WaitPidFlag::WUNTRACED))?;
    }
    let mut both = Both::new(scene.options)?;
    let mask = libc::IN_ALL_EVENTS & !libc::IN_ACCESS;
    let unlimited = both.watch("from", "from", mask)? == MarkKind::FileSystem;
    both.watch("to", "to", mask)?;
    for child in &actors {
        nix::sys::signal::kill(*child, nix::sys::signal::Signal::SIGCONT)?;
    }
    let mut seen = Vec::new();
    let mut known_max = 0;
    while !actors.is_empty() {
        both.wait(20)?;
        seen.extend(both.take()?.source);
        known_max = known_max.max(both.source.volumes().size().1);
        let mut left = Vec::new();
        for child in actors {
            match nix::sys::wait::waitpid(child, Some(nix::sys::wait::WaitPidFlag::WNOHANG))? {
                nix::sys::wait::WaitStatus::StillAlive => left.push(child),
                status => ensure!(status == nix::sys::wait::WaitStatus::Exited(child, 0), "{status:?}"),
            }
        }
        actors = left;
    }
    seen.extend(both.take()?.source);
    let has_lost = seen.iter().any(|event| event.mask & Mask::IN_Q_OVERFLOW.bits() != 0);
    ensure!(!has_lost || !unlimited, "a queue without a limit has overflowed");
    ensure!(known_max <= 4, "{known_max} objects were known");
    if has_lost {
        println!("overflowed");
        return Ok(());
    }
    check(&seen, files)
}

fn act(process: usize, files: usize) -> Result<()> {
    let mut slots: [Option<std::fs::File>; SLOTS] = Default::default();
    for file in 0..files {
        let (from, to) = (format!("from/{process}-{file}"), format!("to/{process}-{file}"));
        perform(&Act::Touch(from.clone(), libc::O_CREAT | libc::O_WRONLY), &mut slots)?;
        perform(&Act::Write(from.clone()), &mut slots)?;
        perform(&Act::Rename(from, to.clone()), &mut slots)?;
        perform(&Act::Mode(to.clone(), 0o600), &mut slots)?;
        perform(&Act::Unlink(to), &mut slots)?;
    }
    Ok(())
}

fn check(seen: &[Seen], files: usize) -> Result<()> {
    let parts: BTreeSet<_> = seen
        .iter()
        .flat_map(|event| {
            (0..12)
                .map(|bit| 1 << bit)
                .filter(|bit| event.mask & bit != 0)
                .map(move |bit| (event.watch.as_str(), bit, event.name.as_str()))
        })
        .collect();
    let expected = [
        ("from", Mask::IN_CREATE),
        ("from", Mask::IN_OPEN),
        ("from", Mask::IN_MODIFY),
        ("from", Mask::IN_CLOSE_WRITE),
        ("from", Mask::IN_MOVED_FROM),
        ("to", Mask::IN_MOVED_TO),
        ("to", Mask::IN_ATTRIB),
        ("to", Mask::IN_DELETE),
    ];
    for process in 0..PROCESSES {
        for file in 0..files {
            let name = format!("{process}-{file}");
            for (watch, bit) in expected {
                ensure!(parts.contains(&(watch, bit.bits(), name.as_str())), "{watch}/{name}: {bit:?} is lost");
            }
        }
    }
    ensure!(parts.len() == PROCESSES * files * expected.len(), "{} parts", parts.len());
    // A name's life is in order, and a cookie joins the two ends of one name.
    let mut lives: BTreeMap<(&str, &str), Vec<u32>> = BTreeMap::new();
    let mut pairs: BTreeMap<u32, Vec<(&str, &str)>> = BTreeMap::new();
    for event in seen {
        let name = (event.watch.as_str(), event.name.as_str());
        lives.entry(name).or_default().push(event.mask);
        if event.cookie != 0 {
            pairs.entry(event.cookie).or_default().push(name);
        }
    }
    for ((watch, name), masks) in lives {
        let (first, last) = match watch {
            "from" => (Mask::IN_CREATE, Mask::IN_MOVED_FROM),
            _ => (Mask::IN_MOVED_TO, Mask::IN_DELETE),
        };
        let is_in_order = masks.first() == Some(&first.bits()) && masks.last() == Some(&last.bits());
        ensure!(is_in_order, "{watch}/{name}: {masks:x?}");
    }
    ensure!(pairs.len() == PROCESSES * files, "{} pairs", pairs.len());
    for ends in pairs.values() {
        let is_pair = matches!(ends[..], [("from", from), ("to", to)] if from == to);
        ensure!(is_pair, "{ends:?}");
    }
    Ok(())
}

/// A queue with a limit says so once it was reached, and the watches go on.
pub(crate) fn overflow(scene: &Scene) -> Result<()> {
    let options = uinotify_source::fanotify::Options { privileges: false, whole_file_systems: false, ..scene.options };
    let scene = Scene::new(options, false);
    let (mut actor, mut both) = prepare(&scene, libc::IN_ALL_EVENTS)?;
    let limit: usize = std::fs::read_to_string("/proc/sys/fs/fanotify/max_queued_events")?.trim().parse()?;
    let names = limit / 64 + 400;
    let mut acts = Vec::new();
    for name in 0..names {
        acts.push(Act::Touch(format!("{name}"), libc::O_CREAT));
    }
    for round in 0..70 {
        acts.truncate(names);
        if round > 0 {
            acts = (0..names).map(|name| Act::Mode(format!("{name}"), 0o600 + round % 8)).collect();
            // Of another process's: it does not merge.
            actor = Actor::start()?;
        }
        let _ = actor.act(&acts)?;
    }
    // Nobody is told of it.
    ensure!(actor.act(&[Act::Rename("d/s".into(), "d/t".into())])? == [0]);
    let told = both.take()?;
    let overflows = told.source.iter().filter(|event| event.mask == Mask::IN_Q_OVERFLOW.bits()).count();
    ensure!(overflows == 1, "{overflows} overflow events of {}", told.source.len());
    // Where directories are was looked up again.
    for act in [Act::List("d/t".into()), Act::Mode("e".into(), 0o700), Act::Write("f".into())] {
        ensure!(actor.act(std::slice::from_ref(&act))? == [0], "{act:?}");
        crate::both::ensure_equal(&format!("{act:?}, after an overflow"), &both.take()?)?;
    }
    Ok(())
}
