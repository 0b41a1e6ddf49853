//! `uinotify wait`: until somebody watches a path. Nothing is looked at again and again.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use uinotify_host::control::Command;

use crate::fdinfo::Address;
use crate::inject::parse_mask;
use crate::reach::{self, Emulator};
use crate::{number, runtime_folder};

/// Where the kernel has no inotify instance left, or a socket is there on which nobody listens yet, emulators are sought so often.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// What `uinotify wait` is told.
#[derive(Args, Debug)]
pub struct Arguments {
    /// The path that is to be watched, in whatever emulator
    #[arg(long, value_name = "PATH")]
    watch: PathBuf,

    /// Only a watch that asks for these: names of inotify(7) with | between them, or a number
    #[arg(long, value_name = "MASK", value_parser = mask, default_value = "0", hide_default_value = true)]
    mask: u32,

    /// Fail after so many seconds; 0 for never
    #[arg(long, value_name = "SECONDS", value_parser = number::count, default_value_t = 10)]
    timeout: u64,

    /// Ask only the emulator at this path
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
}

fn mask(text: &str) -> Result<u32, String> {
    parse_mask(text).ok_or_else(|| "a mask is a number, or names such as CREATE|DELETE".to_owned())
}

/// Returns when the path is watched. An emulator may come later than this command.
///
/// # Errors
/// It is not watched in time: with what was done instead.
pub fn wait(arguments: &Arguments) -> anyhow::Result<()> {
    let Arguments { watch, mask, timeout, socket } = arguments;
    let found = reach::look(watch, true)?;
    let command = Command::WaitForWatch { path: found.path, object: found.object, mask: *mask };
    let end = (*timeout > 0).then(|| Instant::now() + Duration::from_secs(*timeout));
    let newcomers = Newcomers::new(socket.as_deref());
    let mut asked = Asked::new();
    let mut silent = Vec::new();
    let is_named = reach::named(socket.as_deref()).is_some();
    loop {
        // First those who come while this looks are noted.
        newcomers.forget();
        let mut must_look_again = newcomers.0.is_none();
        for address in reach::addresses(socket.as_deref()) {
            if asked.contains_key(&address.socket) || silent.contains(&address.socket) {
                continue;
            }
            match ask(&address, is_named, &command) {
                Ok(begun) => _ = asked.insert(address.socket, begun),
                // A socket on which nobody listens may be about to.
                Err(error) if reach::is_gone(&error) => must_look_again |= error.kind() == ErrorKind::ConnectionRefused,
                Err(error) if !is_named && (reach::is_silent(&error) || reach::is_too_old(&error)) => {
                    silent.push(address.socket);
                }
                Err(error) => {
                    return Err(error).with_context(|| format!("the emulator at {}", address.socket.display()));
                }
            }
        }
        let answered = loop {
            let left = end.map(|end| end.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return Err(late(watch, *timeout, asked));
            }
            match wait_for_any(&newcomers, &asked, left, must_look_again)? {
                Woken::Newcomer => break None,
                Woken::Answer(socket) => break Some(socket),
                Woken::Nothing => {}
            }
        };
        let Some((mut emulator, id)) = answered.and_then(|socket| asked.remove(&socket)) else { continue };
        match emulator.control().finish(id) {
            Ok(_) => return Ok(()),
            // It has ended. Another one may come.
            Err(error) if reach::is_gone(&error) => {}
            Err(error) if !is_named && reach::is_too_old(&error) => silent.push(emulator.socket),
            Err(error) => return Err(error.into()),
        }
    }
}

/// The emulators that have been asked, by their sockets, and the numbers of their commands.
type Asked = BTreeMap<PathBuf, (Emulator, u64)>;

fn ask(address: &Address, is_named: bool, command: &Command) -> io::Result<(Emulator, u64)> {
    let mut emulator = reach::connect(address, is_named)?;
    let id = emulator.control().begin(command)?;
    Ok((emulator, id))
}

/// Why a wait has ended.
enum Woken {
    /// There may be another emulator.
    Newcomer,
    /// The emulator at this socket has answered, or ended.
    Answer(PathBuf),
    Nothing,
}

fn wait_for_any(
    newcomers: &Newcomers,
    asked: &Asked,
    left: Option<Duration>,
    must_look_again: bool,
) -> anyhow::Result<Woken> {
    let left = if must_look_again { Some(left.map_or(LOOK_AGAIN, |left| left.min(LOOK_AGAIN))) } else { left };
    // Rounded up: before the end there is nothing to say.
    let timeout = left.map_or(Ok(PollTimeout::NONE), |left| {
        PollTimeout::try_from(left + Duration::from_millis(1)).or(Ok::<_, ()>(PollTimeout::MAX))
    });
    let of_newcomers = newcomers.0.iter().map(|inotify| PollFd::new(inotify.as_fd(), PollFlags::POLLIN));
    let of_emulators = asked.values().map(|(emulator, _)| PollFd::new(emulator.connection(), PollFlags::POLLIN));
    let mut entries: Vec<_> = of_emulators.chain(of_newcomers).collect();
    match poll(&mut entries, timeout.unwrap_or(PollTimeout::MAX)) {
        Err(nix::errno::Errno::EINTR) => return Ok(Woken::Nothing),
        polled => polled.context("cannot wait")?,
    };
    let ready = entries.iter().position(|entry| entry.revents().is_some_and(|events| !events.is_empty()));
    Ok(match ready {
        None if must_look_again => Woken::Newcomer,
        None => Woken::Nothing,
        Some(index) => asked.keys().nth(index).map_or(Woken::Newcomer, |socket| Woken::Answer(socket.clone())),
    })
}

/// Tells of emulators that start while somebody waits, by the kernel's inotify; nothing where that is not to be had.
struct Newcomers(Option<Inotify>);

impl Newcomers {
    fn new(socket: Option<&Path>) -> Self {
        let folders = match reach::named(socket) {
            Some(named) => named.socket.parent().map(Path::to_owned).into_iter().collect(),
            None => runtime_folder::candidates(),
        };
        let watch = || {
            let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK).ok()?;
            let mut is_complete = true;
            for folder in &folders {
                // A socket can be connected to once its mode is set. A folder that is not there yet may be made.
                let flags = AddWatchFlags::IN_CREATE | AddWatchFlags::IN_ATTRIB | AddWatchFlags::IN_ONLYDIR;
                is_complete &= inotify.add_watch(folder, flags).is_ok();
            }
            is_complete.then_some(inotify)
        };
        Self(watch())
    }

    /// Whoever has come by now is about to be looked for.
    fn forget(&self) {
        if let Some(inotify) = &self.0 {
            while inotify.read_events().is_ok_and(|events| !events.is_empty()) {}
        }
    }
}

/// What went on instead.
fn late(watch: &Path, timeout: u64, asked: Asked) -> anyhow::Error {
    let mut text = format!("nobody has watched {} within {timeout} s", watch.display());
    if asked.is_empty() {
        text.push_str(": no emulator of this user has been running");
    }
    for (socket, (mut emulator, _)) in asked {
        text.push_str(&format!("\nthe emulator at {}: ", socket.display()));
        text.push_str(&emulator.story());
    }
    anyhow::anyhow!(text)
}
