//! The programs that run in both directories, and what they write down.

use std::ffi::CString;
use std::fmt::{Debug, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use anyhow::{Context, Result};
use nix::errno::Errno;

#[path = "acts/content.rs"]
mod content;
#[path = "acts/lists.rs"]
mod lists;
#[path = "acts/maps.rs"]
mod maps;
#[path = "acts/names.rs"]
mod names;
#[path = "acts/owners.rs"]
mod owners;
#[path = "acts/settings.rs"]
mod settings;

/// The first argument of such a program.
pub(crate) const ARGUMENT: &str = "--act";

/// A program, which runs in an empty folder.
pub(crate) struct Act {
    pub(crate) name: &'static str,
    act: fn(&mut Transcript) -> Result<()>,
}

macro_rules! acts {
    ($($module:ident: $($name:ident),*;)*) => {
        &[$($(Act { name: concat!(stringify!($module), "::", stringify!($name)), act: $module::$name }),*),*]
    };
}

pub(crate) const ACTS: &[Act] = acts! {
    names: odd_names, kinds, hard_links, renames, rename_flags, deep_tree, removed_but_open, removed_folder, symbolic_links, errors;
    content: appends, two_processes_append, sparse, holes, huge, truncation, allocation, copies, unnamed_files, flags_changed_later,
        vectors, many_descriptors, positions;
    lists: listing, listing_while_changing, rewinding;
    maps: private_map, shared_map, shared_map_between_processes, executed_file;
    settings: modes, times, extended_attributes, access_lists, statistics, inode_flags, birth;
    owners: masks, other_users, groups, set_ids_cleared, sticky, capabilities, capabilities_of_others, root_elsewhere, access_checks, executed_without_reading, set_group_folders;
};

/// Runs the program of this name, in the folder that is named behind it.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let [name, folder, rest @ ..] = arguments else { anyhow::bail!("a name and a folder") };
    std::env::set_current_dir(folder)?;
    let mut transcript = Transcript::default();
    match name.as_str() {
        "random" => crate::random::act(&mut transcript, rest)?,
        "mapping" => crate::hooks::write_to_mapping(&mut transcript)?,
        name => (ACTS.iter().find(|act| act.name == name).context("no such program")?.act)(&mut transcript)?,
    }
    print!("{}", transcript.text);
    Ok(())
}

/// What was found.
#[derive(Default)]
pub(crate) struct Transcript {
    pub(crate) text: String,
}

impl Transcript {
    /// A line.
    pub(crate) fn say(&mut self, what: &str, found: impl Debug) {
        let _ = writeln!(self.text, "{what}: {found:?}");
    }

    /// What a call gave.
    pub(crate) fn call<T: Debug>(&mut self, what: &str, result: Result<T, Errno>) -> Option<T> {
        self.say(what, &result);
        result.ok()
    }

    /// What a call of the standard library gave.
    pub(crate) fn io<T: Debug>(&mut self, what: &str, result: std::io::Result<T>) -> Option<T> {
        let result = result.map_err(|error| error.raw_os_error().map_or(Errno::UnknownErrno, Errno::from_raw));
        self.say(what, result.as_ref().map(|_| ()));
        result.ok()
    }

    /// The metadata of an object, but for what is another in each run.
    pub(crate) fn stat(&mut self, path: impl AsRef<Path>) {
        let path = path.as_ref();
        let shown = match crate::tree::status(path) {
            Ok(status) => {
                let is_folder = u32::from(status.stx_mode) & libc::S_IFMT == libc::S_IFDIR;
                let size = if is_folder { 0 } else { status.stx_size };
                let device = (status.stx_rdev_major, status.stx_rdev_minor);
                format!(
                    "{:o} links {} of {}:{} size {size} device {device:?}",
                    status.stx_mode, status.stx_nlink, status.stx_uid, status.stx_gid
                )
            }
            Err(error) => format!("{:?}", error.downcast_ref::<Errno>()),
        };
        let _ = writeln!(self.text, "stat {}: {shown}", path.display());
    }
}

/// A path for a call.
pub(crate) fn c(path: impl AsRef<Path>) -> CString {
    CString::new(path.as_ref().as_os_str().as_bytes()).unwrap_or_default()
}

/// What a child process finds, which may be another user.
///
/// # Errors
///
/// If there is no child, or it fails.
pub(crate) fn in_child(transcript: &mut Transcript, act: impl FnOnce(&mut Transcript) -> Result<()>) -> Result<()> {
    use nix::sys::wait::{WaitStatus, waitpid};
    use nix::unistd::{ForkResult, fork, pipe};
    use std::io::{Read, Write};
    let (read, write) = pipe()?;
    // SAFETY: this process has one thread.
    match unsafe { fork() }? {
        ForkResult::Child => {
            drop(read);
            let mut own = Transcript::default();
            let result = act(&mut own);
            if let Err(error) = &result {
                own.say("failed", error);
            }
            let _ = std::fs::File::from(write).write_all(own.text.as_bytes());
            // SAFETY: ends the process at once; nothing here is to be dropped.
            unsafe { libc::_exit(i32::from(result.is_err())) }
        }
        ForkResult::Parent { child } => {
            drop(write);
            let mut text = String::new();
            std::fs::File::from(read).read_to_string(&mut text)?;
            transcript.text.push_str(&text);
            match waitpid(child, None)? {
                WaitStatus::Exited(_, 0) => Ok(()),
                other => anyhow::bail!("the child: {other:?}\n{}", transcript.text),
            }
        }
    }
}

/// This process is another user from here on.
///
/// # Errors
///
/// If it may not be.
pub(crate) fn become_user(uid: u32, gid: u32, groups: &[u32]) -> Result<()> {
    use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};
    let groups: Vec<_> = groups.iter().map(|group| Gid::from_raw(*group)).collect();
    setgroups(&groups)?;
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    setresgid(gid, gid, gid)?;
    setresuid(uid, uid, uid)?;
    Ok(())
}
