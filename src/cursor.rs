//! `uinotify setnextwd` and `getnextwd`: the cursor of an instance that a program has open.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context, anyhow, bail};
use clap::Args;
use uinotify_host::control::Command;

use crate::reach::{self, Emulator};
use crate::{fdinfo, number};

/// What `uinotify setnextwd` is told.
#[derive(Args, Debug)]
pub struct SetArguments {
    /// The instance: that of process PID, if it has one only, or that of its descriptor FD; or #N, its number as `ps` shows it
    #[arg(value_name = "PID[:FD]|#N")]
    instance: Which,

    /// Number of the next watch descriptor, 1 to 0x7fffffff
    #[arg(value_name = "WD", value_parser = number::watch_descriptor, allow_negative_numbers = true)]
    wd: i32,

    /// Ask only the emulator at this path
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
}

/// What `uinotify getnextwd` is told.
#[derive(Args, Debug)]
pub struct GetArguments {
    /// The instance: that of process PID, if it has one only, or that of its descriptor FD; or #N, its number as `ps` shows it
    #[arg(value_name = "PID[:FD]|#N")]
    instance: Which,

    /// Ask only the emulator at this path
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
}

/// Which instance is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// One of a process.
    Process {
        /// The process.
        pid: u32,
        /// Its descriptor, if it is named.
        fd: Option<u32>,
    },
    /// The one with this number in its emulator.
    Number(u64),
}

impl FromStr for Which {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const WRONG: &str = "an instance is PID, PID:FD or #N";
        if let Some(number) = text.strip_prefix('#') {
            return number.parse().map(Self::Number).map_err(|_| WRONG);
        }
        let (pid, fd) = text.split_once(':').map_or((text, None), |(pid, fd)| (pid, Some(fd)));
        let fd = fd.map(str::parse).transpose().map_err(|_| WRONG)?;
        Ok(Self::Process { pid: pid.parse().map_err(|_| WRONG)?, fd })
    }
}

impl Which {
    /// Finds the one emulator that has it, and asks.
    fn ask(
        self,
        socket: Option<&Path>,
        command: impl Fn(Option<u64>, Option<u64>) -> Command,
    ) -> anyhow::Result<serde_json::Value> {
        let (commands, process) = match self {
            Self::Number(number) => (vec![command(Some(number), None)], None),
            Self::Process { pid, fd } => {
                let process = PathBuf::from(format!("/proc/{pid}"));
                let inodes = sockets(&process, pid, fd)?;
                (inodes.into_iter().map(|inode| command(None, Some(inode))).collect(), Some(process))
            }
        };
        let mut answers = Vec::new();
        for mut emulator in reached(socket, process.as_deref())? {
            for command in &commands {
                match emulator.control().ask(command) {
                    Ok(answer) => answers.push(answer),
                    // Of another emulator, or no instance at all.
                    Err(error) if reach::is_of_another(&error) => {}
                    Err(error) => return Err(error).with_context(|| emulator.socket.display().to_string()),
                }
            }
        }
        match (answers.len(), self) {
            (1, _) => Ok(answers.remove(0)),
            (0, Self::Number(number)) => bail!("there is no instance {number}"),
            (0, Self::Process { pid, fd: Some(fd) }) => {
                bail!("descriptor {fd} of process {pid} is no emulated inotify descriptor")
            }
            (0, Self::Process { pid, fd: None }) => bail!("process {pid} has no emulated inotify descriptor"),
            (several, Self::Number(number)) => {
                bail!("{several} emulators have an instance {number}; name one with --socket")
            }
            (several, Self::Process { pid, .. }) => {
                bail!("process {pid} has {several} instances; name one by its descriptor, as {pid}:FD")
            }
        }
    }
}

/// The emulators that may have an instance of a process: that of its environment too.
fn reached(socket: Option<&Path>, process: Option<&Path>) -> anyhow::Result<Vec<Emulator>> {
    match process {
        Some(process) if reach::named(socket).is_none() => {
            Ok(fdinfo::addresses(process).iter().filter_map(|address| reach::connect(address, false).ok()).collect())
        }
        _ => reach::emulators(socket),
    }
}

/// Inodes of the sockets behind a process's descriptors, or behind one.
fn sockets(process: &Path, pid: u32, fd: Option<u32>) -> anyhow::Result<Vec<u64>> {
    let fds = match fd {
        Some(fd) => vec![fd],
        None => fdinfo::descriptors(process, pid)?,
    };
    let links = fds.into_iter().map(|fd| (fd, fdinfo::link(process, fd)));
    let mut inodes = Vec::new();
    for (number, link) in links {
        match link {
            Ok(target) => inodes.extend(fdinfo::socket_inode(&target)),
            Err(error) if fd.is_some() => return Err(anyhow!("descriptor {number} of process {pid}: {error}")),
            // Closed meanwhile.
            Err(_) => {}
        }
    }
    // A process may have the same instance under several numbers.
    inodes.sort_unstable();
    inodes.dedup();
    Ok(inodes)
}

/// Sets the number from which the next watch descriptor is sought.
///
/// # Errors
/// There is no such instance, or there are several.
pub fn set(arguments: &SetArguments) -> anyhow::Result<()> {
    let wd = u64::from(arguments.wd.unsigned_abs());
    let command = |instance, socket| Command::SetNextWd { instance, socket, wd };
    arguments.instance.ask(arguments.socket.as_deref(), command).map(drop)
}

/// Prints it.
///
/// # Errors
/// There is no such instance, or there are several; standard output cannot be written.
pub fn get(arguments: &GetArguments) -> anyhow::Result<()> {
    let command = |instance, socket| Command::GetNextWd { instance, socket };
    let answer = arguments.instance.ask(arguments.socket.as_deref(), command)?;
    let wd = answer["next_wd"].as_i64().context("the emulator's answer cannot be understood")?;
    writeln!(std::io::stdout(), "{wd}").context("cannot write to standard output")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_is_named_in_three_ways() {
        assert_eq!("12".parse(), Ok(Which::Process { pid: 12, fd: None }));
        assert_eq!("12:3".parse(), Ok(Which::Process { pid: 12, fd: Some(3) }));
        assert_eq!("#3".parse(), Ok(Which::Number(3)));
        for wrong in ["", "x", "12:", ":3", "#", "#x", "-1", "12:3:4"] {
            assert!(wrong.parse::<Which>().is_err(), "{wrong:?}");
        }
    }
}
