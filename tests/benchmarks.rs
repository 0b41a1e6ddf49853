//! Native inotify and the emulator's side by side: `cargo bench`.
//!
//! One process under the shim measures both, in turn and in small batches: ours by the C functions, which the shim has put itself
//! before, native by bare system calls. So every pair of figures has seen the same machine, and only the ratios count. Only what
//! the shim costs an ordinary read takes two processes, one of them without it.
//!
//! `--quick` takes few samples: it shows that everything works, not how fast. So does any run without `--bench`, such as
//! `cargo test --benches`. A word as argument picks the groups whose name contains it: `restore`, `checkpoint`, `add_watch`, `folders`, `queue`,
//! `rate`, `latency`, `wake_up`, `reading`, `memory`, `ordinary`, `intercepted`. `--source fanotify` takes the emulator's events from there, and measures
//! what only that source is asked for, in the group `marked`: with `UINOTIFY_FOLDERS` directories, a million. A goal that is missed is no failure of the run; a lost event is.

use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

#[path = "benchmarks/add_watch.rs"]
mod add_watch;
#[path = "benchmarks/checkpoint.rs"]
mod checkpoint;
#[path = "benchmarks/events.rs"]
mod events;
#[path = "benchmarks/folders.rs"]
mod folders;
#[path = "benchmarks/full_queue.rs"]
mod full_queue;
#[path = "benchmarks/intercepted.rs"]
mod intercepted;
#[path = "benchmarks/marked.rs"]
mod marked;
#[path = "benchmarks/memory.rs"]
mod memory;
#[path = "benchmarks/ordinary.rs"]
mod ordinary;
#[path = "benchmarks/reading.rs"]
mod reading;
#[path = "benchmarks/restore.rs"]
mod restore;
#[path = "benchmarks/row.rs"]
mod row;
#[path = "benchmarks/side.rs"]
mod side;
#[path = "benchmarks/statistics.rs"]
mod statistics;
#[path = "benchmarks/stream.rs"]
mod stream;
#[path = "benchmarks/worker.rs"]
mod worker;
#[path = "benchmarks/writer.rs"]
mod writer;

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use row::{Place, Row};
use worker::Extent;

/// First arguments of the processes that this program starts.
const WORKER: &str = "--worker";
const WRITER: &str = "--writer";
const ORDINARY: &str = "--ordinary";
const INTERCEPTED: &str = "--intercepted";
const MEMORY: &str = "--memory";
const MARKED: &str = "--marked";
const ROUNDS: &str = "--rounds";

/// Where the emulator's events come from.
const SOURCE: &str = "UINOTIFY_BENCHMARK_SOURCE";

/// After this many seconds something hangs that will not end by itself.
const HANG_SECONDS: u32 = 900;

fn main() -> ExitCode {
    // SAFETY: it takes no pointer; the default action of SIGALRM is to end the process.
    unsafe { libc::alarm(HANG_SECONDS) };
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let words: Vec<_> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        [WORKER, root, extent, ref only @ ..] => {
            worker::main(Path::new(root), Extent::parse(extent), only.first().copied());
        }
        [MEMORY, root, extent] => memory::main(Path::new(root), Extent::parse(extent)),
        [MARKED, extent] => marked::main(Extent::parse(extent)),
        [ROUNDS, folder, count] => marked::act(Path::new(folder), count.parse().expect("a number")),
        [WRITER, root] => writer::main(Path::new(root)),
        [INTERCEPTED, root] => intercepted::main(Path::new(root)),
        [ORDINARY, place] => ordinary::main(place == "shim"),
        _ => return coordinate(&words),
    }
    ExitCode::SUCCESS
}

fn coordinate(words: &[&str]) -> ExitCode {
    if words.contains(&"--list") {
        return ExitCode::SUCCESS;
    }
    let is_full = words.contains(&"--bench") && !words.contains(&"--quick") && !words.contains(&"--test");
    let extent = if is_full { Extent::Full } else { Extent::Quick };
    let source = words.iter().position(|word| *word == "--source").and_then(|at| words.get(at + 1));
    if let Some(source) = source {
        // SAFETY: this process has one thread.
        unsafe { std::env::set_var(SOURCE, source) };
    }
    let only = words.iter().copied().find(|word| !word.starts_with('-') && Some(word) != source);
    let mut rows = Vec::new();
    for place in [Place::Anywhere, Place::OneCpu] {
        let Some(measured) = measure_in_worker(place, extent, only) else {
            return ExitCode::FAILURE;
        };
        rows.extend(measured);
    }
    if only.is_none_or(|only| "memory".contains(only)) {
        let root = tempfile::tempdir().expect("a temporary folder");
        let mut command = under_shim(root.path());
        command.arg(MEMORY).arg(root.path()).arg(extent.word());
        let Some(measured) = rows_of(command, Place::default()) else {
            return ExitCode::FAILURE;
        };
        rows.extend(measured);
    }
    if is_marked() && only.is_none_or(|only| "marked".contains(only)) {
        let root = tempfile::tempdir().expect("a temporary folder");
        let mut command = under_shim(root.path());
        command.arg(MARKED).arg(extent.word());
        let Some(measured) = rows_of(command, Place::default()) else {
            return ExitCode::FAILURE;
        };
        rows.extend(measured);
    }
    if only.is_none_or(|only| "ordinary".contains(only)) {
        let root = tempfile::tempdir().expect("a temporary folder");
        let ordinary = |mut command: Command, place| {
            command.args([ORDINARY, place]);
            command
        };
        rows.push(ordinary::measure(
            || ordinary(under_shim(root.path()), "shim"),
            || ordinary(plain(), "plain"),
            extent,
        ));
    }
    if only.is_none_or(|only| "intercepted".contains(only)) {
        let root = tempfile::tempdir().expect("a temporary folder");
        let with_root = |mut command: Command| {
            command.arg(INTERCEPTED).arg(root.path());
            command
        };
        rows.extend(intercepted::measure(|way| with_root(behind(way, root.path())), || with_root(plain()), extent));
    }
    println!("{}", row::HEAD);
    for row in &rows {
        println!("{}", row.line());
    }
    let count = |is_met| rows.iter().filter(|row| row.place == Place::Anywhere && row.is_met() == Some(is_met)).count();
    println!("\n{} goals met, {} missed where the scheduler places the processes.", count(true), count(false));
    if extent == Extent::Quick {
        println!("A quick run: the figures say little.");
    }
    ExitCode::SUCCESS
}

/// The rows of the worker, or nothing if it has failed.
fn measure_in_worker(place: Place, extent: Extent, only: Option<&str>) -> Option<Vec<Row>> {
    let everywhere = sched_getaffinity(Pid::from_raw(0)).expect("this process's CPUs");
    if place == Place::OneCpu {
        // The command, its emulator and the worker inherit it.
        let last = (0..CpuSet::count()).rev().find(|&cpu| everywhere.is_set(cpu) == Ok(true)).expect("a CPU");
        let mut one = CpuSet::new();
        one.set(last).and_then(|()| sched_setaffinity(Pid::from_raw(0), &one)).expect("a CPU of ours");
    }
    let root = tempfile::tempdir().expect("a temporary folder");
    let mut command = under_shim(root.path());
    command.arg(WORKER).arg(root.path()).arg(extent.word()).args(only);
    let rows = rows_of(command, place);
    sched_setaffinity(Pid::from_raw(0), &everywhere).expect("as it was");
    rows
}

/// What a command prints, or nothing if it fails.
fn rows_of(mut command: Command, place: Place) -> Option<Vec<Row>> {
    let output = command.stderr(Stdio::inherit()).output().expect("the command starts");
    if !output.status.success() {
        eprintln!("the worker failed: {}", output.status);
        return None;
    }
    let text = String::from_utf8(output.stdout).expect("rows are text");
    let row = |line| Row { place, ..serde_json::from_str(line).expect("a row") };
    Some(text.lines().map(row).collect())
}

/// Whether the emulator's events come from fanotify, which merges what is not adjacent.
fn is_marked() -> bool {
    std::env::var(SOURCE).is_ok_and(|source| source == "fanotify")
}

fn plain() -> Command {
    Command::new(std::env::current_exe().expect("the benchmark's own path"))
}

/// The emulator's socket is in a folder of its own: whoever looks at all emulators of this user has nothing to do with this one.
fn under_shim(root: &Path) -> Command {
    // The native side calls by number.
    behind("preload", root)
}

fn behind(way: &str, root: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_uinotify"));
    command.env("XDG_RUNTIME_DIR", root);
    command.args(["run", "--interpose", way]);
    if let Ok(source) = std::env::var(SOURCE) {
        command.args(["--source", &source]);
    }
    command.arg("--").arg(std::env::current_exe().expect("the benchmark's own path"));
    command
}
