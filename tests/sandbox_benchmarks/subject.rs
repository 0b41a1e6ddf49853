//! What is measured: the plain directory, ours, and others.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::server;

/// Which it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The directory itself.
    Plain,
    /// Ours.
    Ours { is_fast: bool, is_watched: bool },
    /// Another, by its place in [`PEERS`].
    Peer(usize),
}

/// How a peer is started, in the foreground: `{lower}` and `{point}` stand for the two folders.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    command: &'static [&'static str],
    /// Nothing is cached by the kernel, as in exact mode: names, attributes, and pages where the peer can do without.
    pub(crate) is_uncached: bool,
    /// As one gets it.
    pub(crate) is_plain: bool,
}

pub(crate) const PEERS: &[Peer] = &[
    Peer { name: "bindfs", command: &["bindfs", "-f", "{lower}", "{point}"], is_uncached: false, is_plain: true },
    Peer {
        name: "bindfs, uncached",
        command: &["bindfs", "-f", "-o", "attr_timeout=0,entry_timeout=0", "{lower}", "{point}"],
        is_uncached: true,
        is_plain: false,
    },
    // It sets these timeouts itself.
    Peer {
        name: "passthrough",
        command: &["passthrough", "-f", "-o", "modules=subdir,subdir={lower}", "{point}"],
        is_uncached: true,
        is_plain: true,
    },
    Peer {
        name: "passthrough_ll",
        command: &["passthrough_ll", "-f", "-o", "source={lower}", "{point}"],
        is_uncached: false,
        is_plain: true,
    },
    Peer {
        name: "passthrough_ll, uncached",
        command: &["passthrough_ll", "-f", "-o", "source={lower},cache=never,timeout=0", "{point}"],
        is_uncached: true,
        is_plain: false,
    },
    Peer {
        name: "passthrough_ll, uncached, one thread",
        command: &["passthrough_ll", "-f", "-s", "-o", "source={lower},cache=never,timeout=0", "{point}"],
        is_uncached: true,
        is_plain: false,
    },
];

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain directory",
            Self::Ours { is_fast: false, is_watched: false } => "exact",
            Self::Ours { is_fast: false, is_watched: true } => "exact, watched",
            Self::Ours { is_fast: true, is_watched: false } => "fast",
            Self::Ours { is_fast: true, is_watched: true } => "fast, watched",
            Self::Peer(number) => PEERS[number].name,
        }
    }

    /// The peer, if it is one.
    pub(crate) fn peer(self) -> Option<&'static Peer> {
        match self {
            Self::Peer(number) => PEERS.get(number),
            _ => None,
        }
    }
}

/// A mounted one.
#[derive(Debug)]
pub(crate) struct Subject {
    pub(crate) kind: Kind,
    /// Where it is seen.
    pub(crate) place: PathBuf,
    process: Option<Child>,
}

impl Subject {
    /// All that this machine has; the others are named.
    pub(crate) fn all(folder: &Path) -> Result<Vec<Self>> {
        let ours = |is_fast, is_watched| Kind::Ours { is_fast, is_watched };
        let mut kinds = vec![Kind::Plain, ours(false, false), ours(false, true), ours(true, false), ours(true, true)];
        for (number, peer) in PEERS.iter().enumerate() {
            if is_on_path(peer.command[0]) {
                kinds.push(Kind::Peer(number));
            } else {
                println!("absent: {}", peer.name);
            }
        }
        kinds.into_iter().map(|kind| Self::start(folder, kind).with_context(|| kind.name())).collect()
    }

    fn start(folder: &Path, kind: Kind) -> Result<Self> {
        let [lower, point] =
            ["lower", "seen"].map(|side| folder.join(format!("{side} by {}", kind.name().replace(',', ""))));
        fs::create_dir(&lower)?;
        let (mut command, is_ours) = match kind {
            Kind::Plain => return Ok(Self { kind, place: lower, process: None }),
            Kind::Ours { is_fast, is_watched } => {
                let mut command = Command::new(std::env::current_exe()?);
                command.arg(server::ARGUMENT);
                command.arg(if is_fast { "fast" } else { "exact" });
                command.arg(if is_watched { "watched" } else { "unwatched" });
                command.args([&lower, &point]);
                (command, true)
            }
            Kind::Peer(number) => {
                let [program, arguments @ ..] = PEERS[number].command else { bail!("a program") };
                let mut command = Command::new(program);
                command.args(arguments.iter().map(|argument| {
                    let argument = argument.replace("{lower}", &lower.to_string_lossy());
                    argument.replace("{point}", &point.to_string_lossy())
                }));
                (command, false)
            }
        };
        fs::create_dir(&point)?;
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        if is_ours {
            let mut line = String::new();
            BufReader::new(process.stdout.take().context("its output")?).read_line(&mut line)?;
            ensure!(line == "mounted\n", "it has not mounted");
        } else {
            let limit = Instant::now() + Duration::from_secs(20);
            // In this file a blank is an octal number.
            let text = point.to_string_lossy().replace(' ', "\\040");
            while !fs::read_to_string("/proc/self/mounts")?.contains(&text) {
                ensure!(process.try_wait()?.is_none(), "it has ended");
                ensure!(Instant::now() < limit, "it does not mount");
                std::thread::yield_now();
            }
        }
        Ok(Self { kind, place: point, process: Some(process) })
    }
}

impl Drop for Subject {
    fn drop(&mut self) {
        let Some(process) = &mut self.process else { return };
        drop(process.stdin.take());
        let _ = nix::mount::umount2(&self.place, nix::mount::MntFlags::MNT_DETACH);
        let _ = process.wait();
    }
}

fn is_on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}
