//! A tree seen through the file system of source `fuse`, beside the plain directory and other passthrough file systems:
//! `cargo bench --bench sandbox`.
//!
//! All are mounted at once over folders of one file system in memory, and each round does the same to each of them, the first of a round being
//! another every time. So every pair of figures has seen the same machine, and only the ratios count. All is done twice: where the scheduler
//! places the processes, which is what the goals are about, and with all of them on one CPU. The peers are those of `bindfs`,
//! `passthrough` and `passthrough_ll` (examples of libfuse) that are found on PATH; the others are named as absent.
//!
//! `--quick` takes few samples: it shows that everything works, not how fast. So does any run without `--bench`. A word as argument
//! picks the work whose name contains it. A goal that is missed is no failure of the run. Takes root and /dev/fuse; without, nothing is
//! measured, and the reason is told.

use std::process::ExitCode;

use anyhow::{Context, Result, ensure};

#[allow(dead_code, reason = "the other benchmark uses more of it")]
#[path = "benchmarks/row.rs"]
mod row;
#[path = "sandbox_benchmarks/server.rs"]
mod server;
#[allow(dead_code, reason = "the other benchmark uses more of it")]
#[path = "benchmarks/statistics.rs"]
mod statistics;
#[path = "sandbox_benchmarks/subject.rs"]
mod subject;
#[path = "sandbox_benchmarks/table.rs"]
mod table;
#[path = "sandbox_benchmarks/work.rs"]
mod work;

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use row::Place;
use subject::Subject;
use table::Table;
use work::Work;

/// After this many seconds something hangs that will not end by itself.
const HANG_SECONDS: u32 = 900;

const ROUNDS: usize = 60;
const ROUNDS_QUICK: usize = 2;

fn main() -> Result<ExitCode> {
    // SAFETY: it takes no pointer; the default action of SIGALRM is to end the process.
    unsafe { libc::alarm(HANG_SECONDS) };
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let words: Vec<_> = arguments.iter().map(String::as_str).collect();
    if let [server::ARGUMENT, rest @ ..] = &words[..] {
        server::serve(rest)?;
        return Ok(ExitCode::SUCCESS);
    }
    if words.contains(&"--list") {
        return Ok(ExitCode::SUCCESS);
    }
    let is_full = words.contains(&"--bench") && !words.contains(&"--quick") && !words.contains(&"--test");
    let only = words.iter().copied().find(|word| !word.starts_with('-'));
    if let Err(missing) = enter_mount_space() {
        println!("nothing is measured: {missing:#}");
        return Ok(ExitCode::SUCCESS);
    }
    let rounds = if is_full { ROUNDS } else { ROUNDS_QUICK };
    let everywhere = sched_getaffinity(Pid::from_raw(0))?;
    for place in [Place::Anywhere, Place::OneCpu] {
        if place == Place::OneCpu {
            // The servers inherit it.
            let last = (0..CpuSet::count()).rev().find(|&cpu| everywhere.is_set(cpu) == Ok(true)).context("a CPU")?;
            let mut one = CpuSet::new();
            one.set(last)?;
            sched_setaffinity(Pid::from_raw(0), &one)?;
        }
        measure(rounds, place, only)?;
    }
    if !is_full {
        println!("A quick run: the figures say little.");
    }
    Ok(ExitCode::SUCCESS)
}

/// From here on no mount of this process is seen by others, and none is left behind.
fn enter_mount_space() -> Result<()> {
    use nix::mount::{MsFlags, mount};
    ensure!(nix::unistd::geteuid().is_root(), "not root");
    std::fs::OpenOptions::new().read(true).write(true).open("/dev/fuse").context("/dev/fuse")?;
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).context("no mount name space")?;
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
        .context("mounts are not private")
}

fn measure(rounds: usize, place: Place, only: Option<&str>) -> Result<()> {
    let folder = tempfile::tempdir()?;
    nix::mount::mount(
        Some("uinotify-benchmark"),
        folder.path(),
        Some("tmpfs"),
        nix::mount::MsFlags::empty(),
        Some("size=2g,mode=755"),
    )?;
    let subjects = Subject::all(folder.path())?;
    let works: Vec<_> = Work::ALL.iter().filter(|work| only.is_none_or(|only| work.name.contains(only))).collect();
    let mut table = Table::new(subjects.iter().map(|subject| subject.kind).collect());
    for subject in &subjects {
        work::prepare(&subject.place)?;
    }
    for round in 0..rounds {
        for work in &works {
            let mut times = vec![0.0; subjects.len()];
            for turn in 0..subjects.len() {
                // Neighbours in one round are so in few others.
                let number = (turn * (1 + round % 2 * 2) + round) % subjects.len();
                let place = &subjects[number].place;
                times[number] =
                    (work.time)(place).with_context(|| format!("{}: {}", subjects[number].kind.name(), work.name))?;
            }
            table.push(work, &times);
        }
    }
    table.print(place);
    drop(subjects);
    nix::mount::umount2(folder.path(), nix::mount::MntFlags::MNT_DETACH)?;
    Ok(())
}
