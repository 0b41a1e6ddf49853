//! `uinotify ps`: the emulators of this user, their groups and watches.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use uinotify_host::status::{EmulatorStatus, GroupStatus, MarksStatus};
use uinotify_host::{Mask, UNLIMITED, query_status};

use crate::environment::SOCKET;
use crate::notice::notice;
use crate::number::show_watch_descriptor;
use crate::runtime_folder;
use crate::socket::TOKEN_SEPARATOR;

/// Prints what the emulators of this user hold, as text or as JSON, to standard output: those in the user's runtime folders and
/// the one of `UINOTIFY_SOCKET`, or only that at `socket`.
///
/// # Errors
/// Standard output cannot be written, or an emulator that is there did not answer; the others are printed first. None is at `socket`.
pub fn ps(json: bool, socket: Option<&Path>) -> anyhow::Result<()> {
    let (emulators, silent) = all(socket)?;
    for (socket, error) in &silent {
        notice(format_args!("{}: the emulator does not answer: {error}", socket.display()));
    }
    print(&emulators, json)?;
    if !silent.is_empty() {
        bail!("{} of the emulators did not answer", silent.len());
    }
    Ok(())
}

/// Emulators that do not answer, and why.
type Silent = Vec<(PathBuf, io::Error)>;

/// What [`ps`] prints, and who is missing.
///
/// # Errors
/// None is at `socket`.
pub(crate) fn all(socket: Option<&Path>) -> anyhow::Result<(Vec<EmulatorStatus>, Silent)> {
    let mut emulators = Vec::new();
    let mut silent = Vec::new();
    if let Some(socket) = socket {
        emulators.push(ask(socket).with_context(|| format!("no server answers at {}", socket.display()))?);
        return Ok((emulators, silent));
    }
    let in_folders = sockets();
    if let Some(socket) = socket_of_environment().filter(|socket| !in_folders.contains(socket)) {
        // It may be another user's, who does not tell, or long gone.
        emulators.extend(ask(&socket));
    }
    for socket in in_folders {
        match ask(&socket) {
            Ok(status) => emulators.push(status),
            // Nobody listens: the emulator was killed. A socket that is gone ended between listing and asking.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                let _ = fs::remove_file(&socket);
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => silent.push((socket, error)),
        }
    }
    emulators.sort_by_key(|emulator| emulator.pid);
    Ok((emulators, silent))
}

fn print(emulators: &[EmulatorStatus], json: bool) -> anyhow::Result<()> {
    let text = if json {
        serde_json::to_string_pretty(emulators).context("cannot write the status as JSON")? + "\n"
    } else {
        emulators.iter().map(|emulator| show_emulator(emulator, creator_name)).collect()
    };
    match io::stdout().write_all(text.as_bytes()) {
        // The reader, such as `head`, has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
        result => result.context("cannot write to standard output")?,
    }
    Ok(())
}

fn socket_of_environment() -> Option<PathBuf> {
    let value = std::env::var_os(SOCKET).filter(|value| !value.is_empty())?;
    let separator = TOKEN_SEPARATOR.as_bytes();
    let end = value.as_bytes().windows(separator.len()).rposition(|part| part == separator);
    let path = end.map_or(value.as_bytes(), |end| &value.as_bytes()[..end]);
    Some(PathBuf::from(OsStr::from_bytes(path)))
}

/// An emulator that ends between connecting and answering resets the connection, or breaks it; the next one is refused.
fn ask(socket: &Path) -> io::Result<EmulatorStatus> {
    match query_status(socket) {
        Err(error) if matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe) => {
            query_status(socket)
        }
        answer => answer,
    }
}

/// The sockets of this user's emulators, also of some that have been killed.
pub(crate) fn sockets() -> Vec<PathBuf> {
    let folders = runtime_folder::candidates();
    let own = folders.iter().filter(|folder| runtime_folder::check(folder).is_ok());
    own.filter_map(|folder| fs::read_dir(folder).ok())
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "sock"))
        .collect()
}

pub(crate) fn creator_name(pid: i32) -> Option<String> {
    let name = fs::read(format!("/proc/{pid}/comm")).ok()?;
    Some(String::from_utf8_lossy(&name).trim_end_matches('\n').to_owned())
}

fn show_emulator(emulator: &EmulatorStatus, name: impl Fn(i32) -> Option<String>) -> String {
    let mut text = String::new();
    if emulator.groups.is_empty() {
        let command = printable(&emulator.command.join(" "));
        let _ = writeln!(text, "emulator {}  no group  command {command}", emulator.pid);
    }
    for group in &emulator.groups {
        let name = name(group.creator_pid).map_or_else(|| "gone".to_owned(), |name| printable(&name));
        show_group(&mut text, emulator.pid, group, &name);
    }
    for MarksStatus { device, kind, watched_objects } in &emulator.marks {
        let _ = writeln!(
            text,
            "emulator {}  fanotify on file system {}: {}; watched objects: {watched_objects}",
            emulator.pid,
            printable(device),
            printable(kind),
        );
    }
    text
}

fn show_group(text: &mut String, emulator: i32, group: &GroupStatus, creator: &str) {
    let _ = writeln!(
        text,
        "emulator {emulator}  group {}  creator {} ({creator})  source {}",
        group.id,
        group.creator_pid,
        printable(&group.source),
    );
    let _ = writeln!(
        text,
        "  cursor {}  queue {} of {} events, {} bytes  watches {}{}",
        show_watch_descriptor(group.cursor),
        group.queue_events,
        group.limits.queue_events_max,
        group.queue_bytes,
        group.watches.len(),
        if group.limits.watches_max >= UNLIMITED { String::new() } else { format!(" of {}", group.limits.watches_max) },
    );
    for watch in &group.watches {
        let wd = show_watch_descriptor(watch.wd);
        let _ = writeln!(text, "  wd {wd}  {}  {}", show_mask(watch.mask), printable(&watch.path));
    }
}

/// A mask by the names of inotify(7) without their `IN_`; bits without a name in hexadecimal.
pub(crate) fn show_mask(mask: u32) -> String {
    let mut rest = Mask::from_bits_retain(mask);
    let mut names = Vec::new();
    if rest.contains(Mask::IN_ALL_EVENTS) {
        rest.remove(Mask::IN_ALL_EVENTS);
        names.push("ALL_EVENTS".to_owned());
    }
    names.extend(rest.iter_names().map(|(name, _)| name.trim_start_matches("IN_").to_owned()));
    let unknown = rest.bits() & !Mask::all().bits();
    if unknown != 0 || names.is_empty() {
        names.push(format!("{unknown:#x}"));
    }
    names.join("|")
}

/// Names come from other programs: a line break or an escape sequence in one must not reach the terminal.
pub(crate) fn printable(text: &str) -> String {
    let mut shown = String::new();
    for character in text.chars() {
        if character.is_control() {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use uinotify_host::status::{LimitsStatus, WatchStatus};

    #[test]
    fn each_group_is_a_block() {
        let group = |id, watches: &[(i32, &str)]| GroupStatus {
            id,
            creator_pid: 12,
            owner: 1000,
            source: "inotify".to_owned(),
            cursor: 3,
            queue_events: 2,
            queue_bytes: 48,
            events_queued: 0,
            events_merged: 0,
            events_lost: 0,
            limits: LimitsStatus { watches_max: 8, instances_max: 1, queue_events_max: 16 },
            watches: watches
                .iter()
                .map(|(wd, path)| WatchStatus {
                    wd: *wd,
                    mask: libc::IN_CREATE | libc::IN_EXCL_UNLINK,
                    path: (*path).to_owned(),
                    path_bytes_hex: None,
                })
                .collect(),
        };
        let command = vec!["sh".to_owned(), "-c".to_owned(), "a\nb".to_owned()];
        let mut emulator = EmulatorStatus { schema: 1, pid: 10, command, groups: Vec::new(), marks: Vec::new() };
        let name = |pid| (pid == 12).then(|| "watcher".to_owned());
        assert_eq!(show_emulator(&emulator, name), "emulator 10  no group  command sh -c a\\nb\n");

        emulator.groups = vec![group(1, &[(1, "/a"), (0x10000, "b c")]), group(4, &[])];
        emulator.groups[1].creator_pid = 13;
        let expected = "\
emulator 10  group 1  creator 12 (watcher)  source inotify
  cursor 3  queue 2 of 16 events, 48 bytes  watches 2 of 8
  wd 1  CREATE|EXCL_UNLINK  /a
  wd 65536 (0x10000)  CREATE|EXCL_UNLINK  b c
emulator 10  group 4  creator 13 (gone)  source inotify
  cursor 3  queue 2 of 16 events, 48 bytes  watches 0 of 8
";
        assert_eq!(show_emulator(&emulator, name), expected);

        emulator.groups.truncate(1);
        emulator.groups[0].limits.watches_max = UNLIMITED;
        emulator.groups[0].watches.clear();
        let kind = "one mark on the file system".to_owned();
        emulator.marks = vec![MarksStatus { device: "8:1".to_owned(), kind, watched_objects: 3 }];
        let expected = "\
emulator 10  group 1  creator 12 (watcher)  source inotify
  cursor 3  queue 2 of 16 events, 48 bytes  watches 0
emulator 10  fanotify on file system 8:1: one mark on the file system; watched objects: 3
";
        assert_eq!(show_emulator(&emulator, name), expected);
    }

    #[test]
    fn masks_are_symbolic() {
        assert_eq!(show_mask(0x0400_0300), "CREATE|DELETE|EXCL_UNLINK");
        assert_eq!(show_mask(0xfff), "ALL_EVENTS");
        assert_eq!(show_mask(0x8000_0fff), "ALL_EVENTS|ONESHOT");
        assert_eq!(show_mask(0x0001_0002), "MODIFY|0x10000");
        assert_eq!(show_mask(0), "0x0");
    }

    #[test]
    fn control_characters_are_escaped() {
        assert_eq!(printable("a\nb\u{1b}[0m é"), "a\\nb\\u{1b}[0m é");
    }
}
