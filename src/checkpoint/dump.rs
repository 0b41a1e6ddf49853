//! Taking a checkpoint.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use uinotify_host::query_checkpoint;
use uinotify_images::Checkpoint;

use super::holders::{self, Held};
use super::object::{Search, Whereabouts};
use crate::fdinfo::{self, Address};

/// Which instances.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// Those that these processes have open.
    Processes(Vec<u32>),
    /// The one with this number, as `uinotify ps` shows it.
    Group(u64),
    /// All that the emulators have.
    All,
    /// Those whose program's ends are sockets with these inodes: what a program that is itself under an emulator knows of its own.
    Sockets(Vec<u64>),
}

/// All that there is of some instances, as they are at one moment; their programs go on meanwhile. Only the emulator at `socket`
/// is asked if that is given; else those of the processes' environments and of this user.
///
/// # Errors
///
/// There is no such process or instance, or this user may not look at it; an emulator that should know it does not answer; several
/// have an instance of that number, or show different kernels.
pub fn dump(selection: &Selection, socket: Option<&Path>) -> anyhow::Result<Checkpoint> {
    let mut held = Vec::new();
    if let Selection::Processes(pids) = selection {
        for pid in pids {
            held.extend(holders::sockets_of(*pid).map_err(|error| fdinfo::unseen(*pid, &error))?);
        }
    }
    let addresses = match (socket, selection) {
        (Some(socket), _) => vec![Address { socket: socket.to_owned(), token: Vec::new() }],
        (None, Selection::Processes(pids)) => {
            let mut addresses: Vec<Address> = Vec::new();
            for address in pids.iter().flat_map(|pid| fdinfo::addresses(&PathBuf::from(format!("/proc/{pid}")))) {
                if !addresses.contains(&address) {
                    addresses.push(address);
                }
            }
            addresses
        }
        (None, _) => fdinfo::addresses(Path::new("/proc/self")),
    };
    let id = if let Selection::Group(id) = selection { *id } else { 0 };
    let mut found = collect(&addresses, id, socket.is_some())?;
    match selection {
        Selection::Processes(pids) => {
            let inodes: BTreeSet<u64> = held.iter().map(|held| held.inode).collect();
            keep(&mut found, &inodes);
            if found.iter().all(|checkpoint| checkpoint.instances.is_empty()) {
                let pids: Vec<String> = pids.iter().map(u32::to_string).collect();
                bail!("process {} has no emulated inotify descriptor", pids.join(", "));
            }
        }
        Selection::All => held = holders::sockets_of_all(),
        Selection::Sockets(inodes) => keep(&mut found, &inodes.iter().copied().collect()),
        Selection::Group(id) => match &found[..] {
            [] => bail!("there is no instance {id}: `uinotify ps` shows those that there are"),
            [_] => held = holders::sockets_of_all(),
            several => bail!("{} emulators have an instance {id}: say which with --socket", several.len()),
        },
    }
    found.retain(|checkpoint| !checkpoint.instances.is_empty());
    let profile = found.first().map(|checkpoint| checkpoint.profile).unwrap_or_default();
    if found.iter().any(|checkpoint| checkpoint.profile != profile) {
        bail!(
            "their emulators show different kernels (--profile): dump the instances of each by itself, with --socket"
        );
    }
    let cookie = found.iter().map(|checkpoint| checkpoint.cookie).max().unwrap_or(0);
    let instances = found.into_iter().flat_map(|checkpoint| checkpoint.instances).collect();
    let mut checkpoint = Checkpoint::new(profile, cookie, instances);
    complete(&mut checkpoint, &held);
    Ok(checkpoint)
}

/// What the emulators at these addresses tell. One that has ended has none.
fn collect(addresses: &[Address], id: u64, must_answer: bool) -> anyhow::Result<Vec<Checkpoint>> {
    let mut found = Vec::new();
    let mut refusal = None;
    for address in addresses {
        match query_checkpoint(&address.borrowed(), id) {
            Ok(checkpoint) => found.push(checkpoint),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) && address.socket.exists() => {}
            Err(error)
                if !must_answer && matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {}
            Err(error) => refusal = Some((&address.socket, error)),
        }
    }
    match refusal {
        Some((socket, error)) if found.is_empty() => {
            Err(anyhow!(error)).with_context(|| format!("the emulator at {} gives no checkpoint", socket.display()))
        }
        _ => Ok(found),
    }
}

fn keep(found: &mut [Checkpoint], inodes: &BTreeSet<u64>) {
    for checkpoint in found {
        checkpoint.instances.retain(|instance| instance.socket_inode.is_some_and(|inode| inodes.contains(&inode)));
    }
}

/// Adds what the emulator does not know: who holds the instances, and where the objects are now.
fn complete(checkpoint: &mut Checkpoint, held: &[Held]) {
    let mut search = Search::default();
    for instance in &mut checkpoint.instances {
        holders::fill(instance, held);
        for watch in &mut instance.watches {
            let Err(lost) = search.find(watch) else { continue };
            match lost.whereabouts {
                // One that this user may not look at is where it was, as far as they know.
                Whereabouts::Unseen(_) => {}
                Whereabouts::Moved(path) => watch.path = Some(path),
                _ => watch.path = None,
            }
        }
    }
}
