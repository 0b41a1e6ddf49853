//! A test of a watcher, without root and without a sleep: what does it do when its queue overflows, and when it may watch no more?
//!
//! The watcher is this program itself, with a folder as its argument.
//!
//! ```console
//! $ cargo run --release --example testbed
//! watched as 2147483647, the next one is 1
//! seen 3, and some are lost
//! refused: No space left on device
//! 1 of 2 calls of inotify_add_watch failed
//! ```

use std::path::Path;
use std::process::Command;

use inotify::{EventMask, Inotify, WatchMask};
use uinotify::testbed::{Injected, TestBed};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> Result<()> {
    match std::env::args_os().nth(1) {
        Some(folder) => watch(Path::new(&folder)),
        None => test(),
    }
}

/// The program under test: counts what is made in a folder, until it is told of an overflow.
fn watch(folder: &Path) -> Result<()> {
    let mut inotify = Inotify::init()?;
    if let Err(error) = inotify.watches().add(folder, WatchMask::CREATE) {
        println!("refused: {}", nix::errno::Errno::from_raw(error.raw_os_error().unwrap_or(0)).desc());
        return Ok(());
    }
    let mut seen = 0;
    let mut buffer = [0; 4096];
    loop {
        for event in inotify.read_events_blocking(&mut buffer)? {
            if event.mask.contains(EventMask::Q_OVERFLOW) {
                println!("seen {seen}, and some are lost");
                return Ok(());
            }
            seen += 1;
        }
    }
}

fn test() -> Result<()> {
    let folder = std::env::temp_dir().join(format!("watched-{}", std::process::id()));
    std::fs::create_dir(&folder)?;
    let bed = TestBed::builder().scripted().limit_queue(3).next_wd(i32::MAX).build()?;
    let watcher = |bed: &TestBed| -> Result<Command> {
        let mut command = bed.command(std::env::current_exe()?);
        command.arg(&folder);
        Ok(command)
    };
    let mut running = watcher(&bed)?.spawn()?;
    let watch = bed.wait_for_watch(&folder)?;
    println!("watched as {}, the next one is {}", watch.wd, bed.next_wd()?);
    // All at once, before it can read any: the queue holds three.
    bed.delay("barrier")?;
    for number in 0..5 {
        bed.inject(folder.join(number.to_string()), Injected::Create)?;
    }
    bed.barrier()?;
    running.wait()?;
    bed.fault("add_watch:ENOSPC")?;
    watcher(&bed)?.status()?;
    let counts = bed.calls()?;
    println!("{} of {} calls of inotify_add_watch failed", counts.failed["add_watch"], counts.calls["add_watch"]);
    bed.expect_calls("init", 2)?;
    std::fs::remove_dir(&folder)?;
    Ok(())
}
