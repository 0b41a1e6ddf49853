//! The file system in a process of its own, as the emulator is.

use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use uinotify_core::{AddMask, Config, Engine, FsEvent, GroupId, Limits, Mask, ObjectId, OwnerId};
use uinotify_source::fuse::{FileSystem, Mode, Mount, MountOptions, Served, Sink};

/// The first argument of the process that serves: a mode, "watched" or "unwatched", a lower tree and a mount point follow.
pub(crate) const ARGUMENT: &str = "--serve";

/// Serves until the standard input ends.
pub(crate) fn serve(arguments: &[&str]) -> Result<()> {
    let [mode, watched, lower, point] = arguments else { bail!("a mode, whether it is watched, and two folders") };
    let mode = if *mode == "fast" { Mode::Fast } else { Mode::Exact };
    nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)?;
    let root = std::fs::File::open(lower)?;
    let mut file_system = FileSystem::new(root.into(), mode)?;
    let (mount, device) = Mount::new(Path::new(point), MountOptions { mode, ..MountOptions::default() })?;
    let mut watches = Watches::new(*watched == "watched")?;
    writeln!(std::io::stdout(), "mounted")?;
    let input = std::io::stdin();
    loop {
        let mut ends = None;
        loop {
            match file_system.serve(&device, &mut watches)? {
                Served::One => {
                    watches.read();
                    ends = None;
                }
                Served::Nothing if Instant::now() < *ends.get_or_insert_with(|| Instant::now() + AWAKE) => {
                    std::thread::yield_now();
                }
                Served::Nothing => break,
                Served::Ended => return Ok(()),
            }
        }
        file_system.rest();
        let mut both = [PollFd::new(device.as_fd(), PollFlags::POLLIN), PollFd::new(input.as_fd(), PollFlags::POLLIN)];
        poll(&mut both, PollTimeout::NONE)?;
        if both[1].any().context("poll")? {
            let mut rest = Vec::new();
            input.lock().read_to_end(&mut rest)?;
            break;
        }
    }
    drop(mount);
    Ok(())
}

/// For so long the device is looked at again before the server sleeps: waking an idle processor takes longer than a request.
const AWAKE: Duration = Duration::from_micros(20);

/// An engine, in which one group watches the root of the tree for all events, or nobody watches anything.
struct Watches {
    engine: Engine,
    group: Option<GroupId>,
    events: Vec<u8>,
}

impl Watches {
    fn new(is_watched: bool) -> Result<Self> {
        /// The root's number.
        const ROOT: ObjectId = ObjectId(1);
        let mut engine = Engine::new(Config::default());
        let group = if is_watched {
            let group = engine.create_group(OwnerId(0), Limits::default()).context("a group")?;
            let mask = AddMask::new(Mask::IN_ALL_EVENTS.bits()).context("a mask")?;
            engine.add_watch(group, ROOT, mask).context("a watch")?;
            Some(group)
        } else {
            None
        };
        Ok(Self { engine, group, events: Vec::new() })
    }

    /// As a program does that keeps up.
    fn read(&mut self) {
        let Some(group) = self.group else { return };
        while self.engine.poll_output().is_some() {}
        self.events.clear();
        // Mostly there is nothing.
        let _ = self.engine.take(group, 4096, &mut self.events);
    }
}

impl Sink for Watches {
    fn observe(&mut self, event: FsEvent<'_>) {
        self.engine.observe(event);
    }

    fn interest(&self, object: ObjectId) -> Mask {
        self.engine.interest(object)
    }
}
