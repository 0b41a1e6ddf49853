//! `uinotify inject`: something happens, as far as programs under an emulator are told.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{bail, ensure};
use clap::Args;
use uinotify_host::Mask;
use uinotify_host::control::{Command, Injected, Injection};
use uinotify_images::text::ByteString;

use crate::number;
use crate::reach::{self, Found};

const EVENTS: &str = "\
access, modify, attrib, close_write, close_nowrite, open, create, delete, move:NEW_PATH, delete_self, unmount, ignored; with \
,isdir behind it for a directory that is not there";

/// What `uinotify inject` is told.
#[derive(Args, Debug)]
#[command(arg_required_else_help = true, long_about = LONG)]
pub struct Arguments {
    /// To what it happens: watches of it are told, and those of the folder that it is in
    #[arg(value_name = "PATH")]
    path: Option<PathBuf>,

    /// What happens, in this order
    #[arg(value_name = "EVENT")]
    events: Vec<Event>,

    /// Have the queue overflow: of all instances, or of --instance
    #[arg(long)]
    overflow: bool,

    /// End the watches of PATH
    #[arg(long)]
    ignored: bool,

    /// Unmount the file system of PATH: its watches are told, and end
    #[arg(long)]
    unmount: bool,

    /// Queue this event as it is, whatever is watched
    #[arg(long, value_name = "wd=N,mask=M[,cookie=N][,name=TEXT]")]
    raw: Vec<Raw>,

    /// The instance that --overflow and --raw are for, by its number
    #[arg(long, value_name = "N", value_parser = number::count)]
    instance: Option<u64>,

    /// Nobody need watch PATH
    #[arg(long)]
    unwatched: bool,

    /// Ask only the emulator at this path
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
}

const LONG: &str = "\
Have something happen to a path, as far as programs under an emulator are told

Nothing is done to the file system. Watches are told what Linux would tell them if it had happened, each by its mask: a create of \
DIR/NAME is IN_CREATE with that name for those who watch DIR. It works beside what really happens, and is all that there is with \
--source script. Events: access, modify, attrib, close_write, close_nowrite, open, create, delete, move:NEW_PATH, delete_self, \
unmount, ignored; with ,isdir behind it for a directory that is not there.";

/// One event of the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub(crate) what: Injected,
    pub(crate) to: Option<PathBuf>,
    pub(crate) is_directory: bool,
}

impl FromStr for Event {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("there is no event {text:?}; there are {EVENTS}");
        let (text_of, to) = match text.split_once(':') {
            Some((name, to)) => (name, Some(PathBuf::from(to))),
            None => (text, None),
        };
        let name = text_of.to_ascii_lowercase();
        let (name, is_directory) = name.strip_suffix(",isdir").map_or((&*name, false), |name| (name, true));
        let name = name.strip_prefix("in_").unwrap_or(name);
        let what = Injected::ALL.into_iter().find(|injected| injected.name() == name).ok_or_else(wrong)?;
        match (what == Injected::Move, &to) {
            (true, None) => Err("move needs the new path, as move:NEW_PATH".to_owned()),
            (false, Some(_)) => Err(wrong()),
            _ => Ok(Self { what, to, is_directory }),
        }
    }
}

/// An event as a reader sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Raw {
    wd: i32,
    mask: u32,
    cookie: u32,
    name: Vec<u8>,
}

impl FromStr for Raw {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // A name may hold commas: it stands last.
        let (fields, name) = match text.split_once(",name=") {
            Some((fields, name)) => (fields, name.as_bytes().to_vec()),
            None => (text, Vec::new()),
        };
        let (mut wd, mut mask, mut cookie) = (None, None, 0);
        for field in fields.split(',') {
            let wrong = || format!("{field:?} is none of wd=N, mask=M, cookie=N and name=TEXT");
            let (name, value) = field.split_once('=').ok_or_else(wrong)?;
            match name {
                "wd" => wd = Some(value.parse().ok().or(number::watch_descriptor(value).ok()).ok_or_else(wrong)?),
                "mask" => mask = Some(parse_mask(value).ok_or_else(wrong)?),
                "cookie" => cookie = number::limit(value).map_err(|_| wrong())?,
                _ => return Err(wrong()),
            }
        }
        match (wd, mask) {
            (Some(wd), Some(mask)) => Ok(Self { wd, mask, cookie, name }),
            _ => Err("an event needs wd=N and mask=M".to_owned()),
        }
    }
}

/// A number, or names of inotify(7) with `|` between them, without their `IN_` or with it.
pub(crate) fn parse_mask(text: &str) -> Option<u32> {
    if let Ok(mask) = number::limit(text) {
        return Some(mask);
    }
    text.split('|').try_fold(0, |mask, name| {
        let name = name.to_ascii_uppercase();
        let name = if name.starts_with("IN_") { name } else { format!("IN_{name}") };
        Some(mask | Mask::from_name(&name)?.bits())
    })
}

/// Tells it to the emulator at a socket, to that of `UINOTIFY_SOCKET`, or to all of this user.
///
/// # Errors
/// There is no emulator, nobody watches the path, or there is no such instance.
pub fn inject(arguments: &Arguments) -> anyhow::Result<()> {
    let commands = commands(arguments)?;
    let socket = arguments.socket.as_deref();
    // Who watches a path is known by it; an instance is one of one emulator.
    let by_path = commands.iter().all(|command| matches!(command, Command::Inject(_)));
    let mut emulators = if by_path { reach::emulators(socket)? } else { vec![reach::emulator(socket)?] };
    for command in &commands {
        let mut refused = None;
        let mut is_done = false;
        for emulator in &mut emulators {
            match emulator.control().ask(command) {
                Ok(_) => is_done = true,
                Err(error) if reach::is_of_another(&error) => refused = refused.or(Some(error)),
                Err(error) => return Err(error.into()),
            }
        }
        if let Some(refused) = refused.filter(|_| !is_done) {
            return Err(refused.into());
        }
    }
    Ok(())
}

fn commands(arguments: &Arguments) -> anyhow::Result<Vec<Command>> {
    let Arguments { path, events, overflow, ignored, unmount, raw, instance, unwatched, socket: _ } = arguments;
    let further = [(*ignored, Injected::Ignored), (*unmount, Injected::Unmount)];
    let further = further.into_iter().filter(|(is_asked, _)| *is_asked);
    let events = events.iter().cloned().chain(further.map(|(_, what)| Event { what, to: None, is_directory: false }));
    let events: Vec<_> = events.collect();
    let mut commands = Vec::new();
    match path {
        Some(path) => {
            ensure!(!events.is_empty(), "nothing is to happen to {}; events are {EVENTS}", path.display());
            for event in &events {
                commands.push(Command::Inject(injection(path, event, *unwatched)?));
            }
        }
        None if !events.is_empty() => bail!("name the path to which it happens"),
        None => {}
    }
    commands.extend(raw.iter().cloned().map(|Raw { wd, mask, cookie, name }| Command::Queue {
        instance: *instance,
        socket: None,
        wd,
        mask,
        cookie,
        name: ByteString(name),
    }));
    if *overflow {
        commands.push(Command::Overflow { instance: *instance, socket: None });
    }
    ensure!(!commands.is_empty(), "nothing is to happen; name a path and an event, or --overflow or --raw");
    Ok(commands)
}

/// What an emulator has to be told.
pub(crate) fn injection(path: &Path, event: &Event, may_be_unwatched: bool) -> anyhow::Result<Injection> {
    let Event { what, to, is_directory } = event;
    // What changes a name is about the link, all else about what it leads to.
    let follow = !matches!(what, Injected::Create | Injected::Delete | Injected::Move);
    let found = reach::look(path, follow)?;
    let to = to.as_deref().map(|to| reach::look(to, false)).transpose()?;
    Ok(Injection {
        event: *what,
        path: found.path,
        is_directory: *is_directory || found.is_directory,
        object: found.object,
        directory: found.directory,
        to_directory: to.as_ref().and_then(|to| to.directory),
        replaced: to.as_ref().and_then(|to| to.object),
        to: to.map(|Found { path, .. }| path),
        may_be_unwatched,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(what: Injected) -> Event {
        Event { what, to: None, is_directory: false }
    }

    #[test]
    fn events_have_inotifys_names() {
        for injected in Injected::ALL {
            if injected != Injected::Move {
                assert_eq!(injected.name().parse(), Ok(event(injected)));
            }
        }
        assert_eq!("IN_CREATE".parse(), Ok(event(Injected::Create)));
        assert_eq!("CREATE,ISDIR".parse(), Ok(Event { is_directory: true, ..event(Injected::Create) }));
        let moved = Event { to: Some("/b:c".into()), ..event(Injected::Move) };
        assert_eq!("move:/b:c".parse(), Ok(moved));
        for wrong in ["", "creat", "move", "open:x", "isdir"] {
            assert!(wrong.parse::<Event>().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn raw_events_are_four_fields() {
        let raw = |wd, mask, cookie, name: &str| Raw { wd, mask, cookie, name: name.into() };
        assert_eq!("wd=1,mask=0x100".parse(), Ok(raw(1, 0x100, 0, "")));
        assert_eq!("wd=-1,mask=Q_OVERFLOW".parse(), Ok(raw(-1, 0x4000, 0, "")));
        let all = "wd=0x7fffffff,mask=CREATE|isdir,cookie=7,name=a,b=c";
        assert_eq!(all.parse(), Ok(raw(i32::MAX, 0x4000_0100, 7, "a,b=c")));
        for wrong in
            ["", "wd=1", "mask=1", "wd=x,mask=1", "wd=1,mask=NOTHING", "wd=1,mask=1,x=1", "wd=1,mask=1,cookie=-1"]
        {
            assert!(wrong.parse::<Raw>().is_err(), "{wrong:?}");
        }
    }
}
