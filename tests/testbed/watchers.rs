//! What the watchers that people use make of it: Rust's `notify` and `inotify`, Python's watchdog.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use inotify::{EventMask, Inotify, WatchMask};
use notify::{Config, ErrorKind, Event, INotifyWatcher, RecursiveMode, Watcher};
use uinotify::testbed::{Builder, Injected, Mask, TestBed, this_test};

use crate::Outcome;

/// For what comes at once, or never.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a watcher of the crate `notify` tells.
type Told = Receiver<notify::Result<Event>>;

/// One of these on a folder.
fn notify_watcher(folder: &Path) -> Result<(INotifyWatcher, Told), Box<dyn std::error::Error>> {
    let (sender, receiver) = mpsc::channel();
    let mut watcher = INotifyWatcher::new(
        move |result| {
            // A test that has failed listens no more.
            let _ = sender.send(result);
        },
        Config::default(),
    )?;
    watcher.watch(folder, RecursiveMode::Recursive)?;
    Ok((watcher, receiver))
}

/// `notify`'s own test of this name, which is ignored there: "requires changing sysctl fs.inotify.max_user_watches while test is
/// running".
pub(super) fn notify_tells_of_the_limit_of_watches() -> Outcome {
    let builder = TestBed::builder().limit_watches(1);
    notify_meets_the_limit("watchers::notify_tells_of_the_limit_of_watches", builder)
}

/// The same by a fault, without a limit.
pub(super) fn notify_tells_of_a_fault() -> Outcome {
    let builder = TestBed::builder().fault("add_watch:ENOSPC:when=2");
    notify_meets_the_limit("watchers::notify_tells_of_a_fault", builder)
}

fn notify_meets_the_limit(name: &str, builder: Builder) -> Outcome {
    let Some(bed) = this_test(name, builder)? else { return Ok(()) };
    let folder = tempfile::tempdir()?;
    let (_watcher, events) = notify_watcher(folder.path())?;
    fs::create_dir(folder.path().join("child"))?;
    let error = loop {
        if let Err(error) = events.recv_timeout(PATIENCE)? {
            break error;
        }
    };
    assert!(matches!(error.kind, ErrorKind::MaxFilesWatch), "{error:?}");
    bed.expect_calls("add_watch", 2)?;
    assert_eq!(bed.calls()?.failed["add_watch"], 1);
    Ok(())
}

/// An overflow has to make it ask for another look.
pub(super) fn notify_asks_for_another_look_after_an_overflow() -> Outcome {
    let name = "watchers::notify_asks_for_another_look_after_an_overflow";
    let Some(bed) = this_test(name, TestBed::builder().limit_queue(4).delay("barrier"))? else { return Ok(()) };
    let folder = tempfile::tempdir()?;
    let (_watcher, events) = notify_watcher(folder.path())?;
    bed.wait_for_watch(folder.path())?;
    for number in 0..20 {
        fs::write(folder.path().join(number.to_string()), "")?;
    }
    // All at once, before it can read any.
    bed.barrier()?;
    let mut seen = Vec::new();
    let rescan = loop {
        let event = events.recv_timeout(PATIENCE)??;
        if event.need_rescan() {
            break event;
        }
        seen.push(event);
    };
    assert_eq!(seen.len(), 4, "as many as the queue holds: {seen:?}");
    assert!(rescan.paths.is_empty(), "{rescan:?}");
    Ok(())
}

/// The crate `inotify` at the last number, and what comes round behind it.
pub(super) fn inotify_rs_goes_on_behind_the_last_number() -> Outcome {
    let name = "watchers::inotify_rs_goes_on_behind_the_last_number";
    let Some(bed) = this_test(name, TestBed::builder().next_wd(i32::MAX))? else { return Ok(()) };
    let folder = tempfile::tempdir()?;
    let [first, second] = ["first", "second"].map(|name| folder.path().join(name));
    let mut inotify = Inotify::init()?;
    let mut watches = Vec::new();
    for folder in [&first, &second] {
        fs::create_dir(folder)?;
        watches.push(inotify.watches().add(folder, WatchMask::CREATE)?);
    }
    assert_eq!(watches.iter().map(|watch| watch.get_watch_descriptor_id()).collect::<Vec<_>>(), [i32::MAX, 1]);
    fs::write(second.join("file"), "")?;
    fs::write(first.join("file"), "")?;
    let mut buffer = [0; 1024];
    let events: Vec<_> = inotify.read_events_blocking(&mut buffer)?.collect();
    let watched: Vec<_> = events.iter().map(|event| &event.wd).collect();
    assert_eq!(watched, [&watches[1], &watches[0]]);
    bed.expect_calls("add_watch", 2)?;
    Ok(())
}

/// hannobraun/inotify-rs#73: what was queued for a watch that was removed is taken for that of the next watch with its number.
pub(super) fn inotify_rs_takes_stale_events_for_a_new_watch() -> Outcome {
    let name = "watchers::inotify_rs_takes_stale_events_for_a_new_watch";
    let Some(bed) = this_test(name, TestBed::builder())? else { return Ok(()) };
    let folder = tempfile::tempdir()?;
    let [old, new] = ["old", "new"].map(|name| folder.path().join(name));
    for folder in [&old, &new] {
        fs::create_dir(folder)?;
    }
    let mut inotify = Inotify::init()?;
    let removed = inotify.watches().add(&old, WatchMask::CREATE)?;
    fs::write(old.join("of the old one"), "")?;
    inotify.watches().remove(removed.clone())?;
    // The kernel comes to this after 2^31 - 1 watches.
    bed.set_next_wd(removed.get_watch_descriptor_id())?;
    let watch = inotify.watches().add(&new, WatchMask::CREATE)?;
    assert_eq!(watch, removed, "one cannot be told from the other");
    let mut buffer = [0; 1024];
    let events: Vec<_> = inotify.read_events_blocking(&mut buffer)?.collect();
    let shown: Vec<_> = events.iter().map(|event| (event.mask, event.name.unwrap_or_default())).collect();
    assert_eq!(shown, [(EventMask::CREATE, "of the old one".as_ref()), (EventMask::IGNORED, "".as_ref())]);
    assert!(events.iter().all(|event| event.wd == watch), "though the new one has seen nothing");
    Ok(())
}

/// A watcher of watchdog's, and what it says.
struct Watchdog {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Watchdog {
    const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/testbed/watchdog_recursive.py");

    fn start(bed: &TestBed, folder: &Path) -> Result<Self, Box<dyn std::error::Error>> {
        let python = watchdog_python()?;
        let mut child = bed.command(python).arg(Self::SCRIPT).arg(folder).stdout(Stdio::piped()).spawn()?;
        let output = BufReader::new(child.stdout.take().ok_or("it is piped")?);
        Ok(Self { child, output })
    }

    /// The next line, with paths below the folder.
    fn line(&mut self) -> Result<String, Box<dyn std::error::Error>> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        Ok(line.trim_end().to_owned())
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The version whose behaviour is shown.
const WATCHDOG_VERSION: &str = "2.2.1";

/// An interpreter that has it: the first in PATH is not always the one with the system's packages.
fn watchdog_python() -> Result<&'static str, String> {
    let version = |python: &str| {
        let program = "import watchdog.version as version; print(version.VERSION_STRING)";
        let output = Command::new(python).args(["-c", program]).stderr(Stdio::null()).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let found: Vec<_> = ["python3", "/usr/bin/python3"].into_iter().map(|python| (python, version(python))).collect();
    let right = found.iter().find(|(_, version)| version.as_deref() == Some(WATCHDOG_VERSION));
    right.map(|(python, _)| *python).ok_or_else(|| format!("needs watchdog {WATCHDOG_VERSION}"))
}

/// What this machine lacks.
pub(super) fn watchdog_is_missing() -> Option<String> {
    watchdog_python().err()
}

pub(super) fn watchdog_goes_on_behind_the_last_number() -> Outcome {
    let folder = tempfile::tempdir()?;
    let inner = folder.path().join("inner");
    fs::create_dir(&inner)?;
    let bed = TestBed::builder().next_wd(i32::MAX).build()?;
    let mut watchdog = Watchdog::start(&bed, folder.path())?;
    assert_eq!(bed.wait_for_watch(&inner)?.wd, 1);
    assert_eq!(watchdog.line()?, "ready");
    fs::write(inner.join("file"), "")?;
    assert_eq!(watchdog.line()?, "created inner/file");
    Ok(())
}

/// A number that is given again before IN_IGNORED of the watch that had it was handled, as systemd/systemd#23087 has it: watchdog takes
/// the end of the old watch for that of the new one, and its thread dies with the next event.
pub(super) fn watchdog_dies_of_a_number_that_is_used_again() -> Outcome {
    let folder = tempfile::tempdir()?;
    let [old, new] = ["old", "new"].map(|name| folder.path().join(name));
    fs::create_dir(&old)?;
    let bed = TestBed::builder().build()?;
    let mut watchdog = Watchdog::start(&bed, folder.path())?;
    let wd = bed.wait_for_watch(&old)?.wd;
    assert_eq!(watchdog.line()?, "ready");
    // Both before it reads either: by the time that it watches the new folder the number of the old one is free.
    bed.delay("barrier")?;
    fs::create_dir(&new)?;
    fs::remove_dir(&old)?;
    bed.set_next_wd(wd)?;
    bed.clear_faults()?;
    assert_eq!(bed.wait_for_watch(&new)?.wd, wd);
    fs::write(new.join("file"), "")?;
    let mut said = Vec::new();
    while said.last().is_none_or(|line: &String| !line.starts_with("died")) {
        let line = watchdog.line()?;
        if line.is_empty() {
            return Err(format!("it lives: {said:?}").into());
        }
        said.push(line);
    }
    assert_eq!(said.last().map(String::as_str), Some(&*format!("died of KeyError {wd}")), "{said:?}");
    Ok(())
}

/// gorakhargosh/watchdog passes over IN_Q_OVERFLOW: a program never learns that it has missed something.
pub(super) fn watchdog_says_nothing_of_an_overflow() -> Outcome {
    let folder = tempfile::tempdir()?;
    let bed = TestBed::builder().fault("queue:drop:when=1").build()?;
    let mut watchdog = Watchdog::start(&bed, folder.path())?;
    bed.wait_for_watch_of(folder.path(), Mask::IN_CREATE)?;
    assert_eq!(watchdog.line()?, "ready");
    bed.inject(folder.path().join("lost"), Injected::Create)?;
    bed.wait_until_read()?;
    bed.inject(folder.path().join("seen"), Injected::Create)?;
    assert_eq!(watchdog.line()?, "created seen");
    assert_eq!(bed.calls()?.events["overflowed"], 1);
    Ok(())
}
