//! `uinotify restore`: instances of a checkpoint, and a program that goes on with them.

use std::collections::BTreeSet;
use std::ffi::{CString, OsStr, OsString};
use std::os::fd::{OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use anyhow::{Context, anyhow, bail};
use indicatif::{ProgressBar, ProgressStyle};
use nix::unistd::execvpe;
use uinotify_host::EmulatorAddress;

use crate::checkpoint::{self, Checkpoint, Instance, Progress, restore};
use crate::images::{EXIT_LOSSES, read_checkpoint};
use crate::inherited::Inherited;
use crate::interpose::Interpose;
use crate::notice::notice;
use crate::run::{self, Handed, Signalled, put_in_place};
use crate::settings::Settings;
use crate::{env, environment, fdinfo, nested};

/// What `uinotify restore` is told.
#[derive(Debug)]
pub struct Options {
    /// The checkpoint's file, or `-`.
    pub checkpoint: PathBuf,
    /// The only instance that is meant.
    pub group: Option<u64>,
    /// How instances are rebuilt.
    pub rebuild: checkpoint::Options,
    /// Compare them with the checkpoint.
    pub verify: bool,
    /// The server in which they are rebuilt; else an emulator of the program's own.
    pub socket: Option<PathBuf>,
    /// How the program's calls come to that one.
    pub interpose: Interpose,
    /// Its settings.
    pub settings: Settings,
    /// The program and its arguments; empty for none.
    pub command: Vec<OsString>,
}

/// Something is not as in the checkpoint, and was told.
#[derive(Debug)]
struct Differs;

impl std::fmt::Display for Differs {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("what was rebuilt differs from the checkpoint")
    }
}

impl std::error::Error for Differs {}

/// Rebuilds the instances and runs the program; the exit status.
///
/// # Errors
/// The checkpoint cannot be read, an instance cannot be rebuilt, or the program not be run.
pub fn run(options: &Options) -> anyhow::Result<u8> {
    if nested::is_emulated() {
        return Err(nested::execute_again(&Inherited::take()?).into());
    }
    let checkpoint = read_checkpoint(&options.checkpoint)?;
    let instances: Vec<&Instance> =
        checkpoint.instances.iter().filter(|instance| options.group.is_none_or(|id| instance.id == id)).collect();
    if instances.is_empty() {
        bail!("{} has no such instance", options.checkpoint.display());
    }
    let numbers = numbers(&instances)?;
    let mut prepare = |address: &EmulatorAddress<'_>| {
        let rebuilt = instances.iter().map(|instance| rebuild(address, &checkpoint, instance, options));
        let rebuilt = rebuilt.collect::<anyhow::Result<Vec<_>>>()?;
        hand_over(rebuilt, &instances, &numbers)
    };
    let result = match &options.socket {
        Some(socket) => {
            let address = fdinfo::address(socket.as_os_str().as_bytes());
            prepare(&address.borrowed()).and_then(|handed| execute(options, socket.as_os_str(), handed))
        }
        None => {
            let profile = options.settings.profile.or(Some(checkpoint.profile.into()));
            let under = run::Options {
                settings: Settings { profile, ..options.settings.clone() },
                strict: false,
                interpose: options.interpose,
                trees: Vec::new(),
                command: options.command.clone(),
            };
            match run::run_prepared(&under, Some(&mut prepare), None) {
                Err(run::RunError::Prepare(error)) => Err(error),
                Err(error) => {
                    notice(&error);
                    return Ok(error.exit_status());
                }
                Ok(status) => Ok(status),
            }
        }
    };
    match result {
        Err(error) if error.is::<Differs>() && options.command.is_empty() => Ok(EXIT_LOSSES),
        result => result,
    }
}

/// The descriptors that stand for each instance: those of its first process, or the next free one.
fn numbers(instances: &[&Instance]) -> anyhow::Result<Vec<Vec<RawFd>>> {
    let mut used = BTreeSet::new();
    let mut numbers = Vec::new();
    for instance in instances {
        let first = instance.descriptors.first().map(|descriptor| descriptor.pid);
        let of_first = instance.descriptors.iter().filter(|descriptor| Some(descriptor.pid) == first);
        let own = of_first.map(|descriptor| RawFd::try_from(descriptor.fd)).collect::<Result<Vec<_>, _>>()?;
        if let Some(twice) = own.iter().find(|number| !used.insert(**number)) {
            bail!(
                "two instances of the checkpoint are descriptor {twice}, of several processes: say which with --group"
            );
        }
        numbers.push(own);
    }
    for own in numbers.iter_mut().filter(|own| own.is_empty()) {
        const FIRST: RawFd = 3;
        let free = (FIRST..).find(|number| used.insert(*number));
        own.extend(free);
    }
    Ok(numbers)
}

fn rebuild(
    address: &EmulatorAddress<'_>,
    checkpoint: &Checkpoint,
    instance: &Instance,
    options: &Options,
) -> anyhow::Result<OwnedFd> {
    let id = instance.id;
    let bar = Bar::new();
    let restored = restore(address, checkpoint, instance, options.rebuild, &mut |progress| bar.show(progress));
    bar.clear();
    let restored = restored.map_err(|error| anyhow!("instance {id}: {error}"))?;
    for finding in &restored.findings {
        notice(format_args!("instance {id}: {finding}"));
    }
    let Progress { watches, steps, elapsed, .. } = restored.progress;
    if options.settings.verbose || options.command.is_empty() {
        let steps = if steps == 0 { String::new() } else { format!(", {steps} steps") };
        let milliseconds = elapsed.as_secs_f64() * 1000.0;
        notice(format_args!("instance {id}: {watches} watches{steps}, {milliseconds:.1} ms"));
    }
    if options.verify {
        let differences =
            restored.differences(address, instance).with_context(|| format!("instance {id} cannot be looked at"))?;
        for difference in &differences {
            notice(format_args!("instance {id}: {difference}"));
        }
        if !differences.is_empty() {
            return Err(Differs.into());
        }
    }
    Ok(restored.descriptor)
}

/// One descriptor for each number.
fn hand_over(rebuilt: Vec<OwnedFd>, instances: &[&Instance], numbers: &[Vec<RawFd>]) -> anyhow::Result<Vec<Handed>> {
    let mut handed = Vec::new();
    for ((descriptor, instance), numbers) in rebuilt.into_iter().zip(instances).zip(numbers) {
        let mut signals = signals(instance);
        for number in numbers {
            // One of several descriptors is the one that signals tell.
            handed.push(Handed { descriptor: descriptor.try_clone()?, number: *number, signals: signals.take() });
        }
    }
    Ok(handed)
}

/// The program gets the signals that one of its former processes had asked for itself.
fn signals(instance: &Instance) -> Option<Signalled> {
    let owner = instance.signal_owner?;
    let is_own = instance.descriptors.iter().any(|descriptor| descriptor.pid == owner.pid);
    if owner.pid != 0 && !is_own {
        notice(format_args!(
            "instance {}: its signals went to process {}, and go to nobody now",
            instance.id, owner.pid
        ));
        return None;
    }
    let kind = (owner.pid != 0).then_some(owner.pid_type.cast_signed());
    Some(Signalled { kind, signal: owner.signal.cast_signed() })
}

/// Becomes the program, under the server.
fn execute(options: &Options, address: &OsStr, handed: Vec<Handed>) -> anyhow::Result<u8> {
    if options.command.is_empty() {
        return Ok(0);
    }
    let inherited = Inherited::take()?;
    let environment = environment::to_strings(env::for_address(address)?);
    let arguments: Vec<_> =
        options.command.iter().filter_map(|part| CString::new(part.clone().into_vec()).ok()).collect();
    let mut spare = std::fs::File::open("/dev/null")?.into();
    let name = arguments.first().map_or(c"", CString::as_c_str);
    let placed = inherited.restore().and_then(|()| put_in_place(&handed, &mut spare));
    // At their numbers there may be others now.
    std::mem::forget(handed);
    let errno = match placed.and_then(|()| execvpe(name, &arguments, &environment)) {
        Ok(never) => match never {},
        Err(errno) => errno,
    };
    Err(anyhow!("cannot run {}: {}", options.command[0].display(), errno.desc()))
}

/// How far it has come, on a terminal; nothing anywhere else.
struct Bar(ProgressBar);

impl Bar {
    fn new() -> Self {
        // Numbers and text alone: the template is right.
        let style = ProgressStyle::with_template("{bar:32} {pos} of {len} {msg}")
            .unwrap_or_else(|_| ProgressStyle::default_bar());
        Self(ProgressBar::new(0).with_style(style))
    }

    fn show(&self, progress: Progress) {
        let Progress { watches, watches_max, steps, steps_expected, elapsed } = progress;
        let left = progress
            .projected()
            .map_or_else(String::new, |all| format!(", some {:.0} s to go", all.saturating_sub(elapsed).as_secs_f64()));
        let (position, length, what) = if steps_expected > 0 {
            (steps, steps_expected, "steps")
        } else {
            (watches as u64, watches_max as u64, "watches")
        };
        self.0.set_length(length);
        self.0.set_position(position);
        self.0.set_message(format!("{what}{left}"));
    }

    fn clear(&self) {
        self.0.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uinotify_images::checkpoint::{Descriptor, Queue};

    fn instance(descriptors: &[(u32, u32)]) -> Instance {
        Instance {
            id: 1,
            owner: None,
            socket_inode: None,
            descriptors: descriptors.iter().map(|&(pid, fd)| Descriptor { pid, fd, close_on_exec: false }).collect(),
            flags: 0,
            signal_owner: None,
            cursor: 0,
            limits: None,
            watches: Vec::new(),
            queue: Queue::default(),
        }
    }

    #[test]
    fn instances_keep_the_numbers_of_their_first_process() {
        let one = instance(&[(7, 5), (7, 9), (8, 4)]);
        let (none, other) = (instance(&[]), instance(&[(7, 3)]));
        assert_eq!(numbers(&[&one, &none, &other]).unwrap(), [vec![5, 9], vec![4], vec![3]]);
        assert!(numbers(&[&one, &instance(&[(8, 5)])]).is_err());
    }
}
