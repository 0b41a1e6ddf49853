//! A test as suites have them: what it does in a folder it has been told of when it asks, event by event, without waiting.
//!
//! ```console
//! $ mkdir tree
//! $ cargo run --release -- run --source fuse --tree tree -- cargo run --release --example sandbox -- tree
//! ```
//!
//! With `--limit queue=3` among the options of `run`, it sees what few tests ever see: an overflow.

use std::path::PathBuf;
use std::{env, fs, io};

use inotify::{EventMask, Inotify, WatchMask};

fn main() -> io::Result<()> {
    let folder = PathBuf::from(env::args_os().nth(1).unwrap_or_else(|| ".".into())).canonicalize()?;
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    let is_tree = |line: &str| line.contains(&format!(" {} ", folder.display())) && line.contains(" fuse.uinotify ");
    println!("{} is {}", folder.display(), if mounts.lines().any(is_tree) { "shown by uinotify" } else { "as it is" });

    let mut inotify = Inotify::init()?;
    inotify.watches().add(&folder, WatchMask::ALL_EVENTS)?;
    fs::write(folder.join("draft"), "text")?;
    fs::rename(folder.join("draft"), folder.join("final"))?;
    fs::remove_file(folder.join("final"))?;

    let mut told = Vec::new();
    for event in inotify.read_events(&mut [0; 4096])? {
        println!("{:?} {}", event.mask, event.name.unwrap_or_default().display());
        told.push(event.mask);
    }
    let expected = [
        EventMask::CREATE,
        EventMask::OPEN,
        EventMask::MODIFY,
        EventMask::CLOSE_WRITE,
        EventMask::MOVED_FROM,
        EventMask::MOVED_TO,
        EventMask::DELETE,
    ];
    let overflowed = told.last() == Some(&EventMask::Q_OVERFLOW);
    assert!(told == expected || overflowed, "{told:?}");
    Ok(())
}
