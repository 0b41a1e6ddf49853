//! What a test has happen, whatever the source: told to the core by the objects of each instance.

use nix::errno::Errno;
use serde_json::{Value, json};
use uinotify_core::{
    Change, Engine, Entry, Event, FsEvent, GroupId, Kind, Mask, Object, ObjectId, Output, Subject, Wd,
};
use uinotify_images::text::ByteString;
use uinotify_source::script::is_scripted;

use super::Emulator;
use crate::control::{ControlError, Injected, Injection};
use crate::place::{Inode, Place, split};
use crate::session::errno;
use crate::trees::is_observed;

/// The longest name.
const NAME_BYTES_MAX: usize = 255;

/// No object that is watched.
const NOBODY: ObjectId = ObjectId(u64::MAX);

type Outcome = Result<Value, ControlError>;

/// The objects of an injection, as one instance knows them.
#[derive(Clone, Copy)]
struct Known {
    object: ObjectId,
    directory: ObjectId,
    to_directory: ObjectId,
    replaced: Option<ObjectId>,
}

impl Known {
    fn is_any(&self) -> bool {
        [self.object, self.directory, self.to_directory].iter().any(|object| *object != NOBODY)
            || self.replaced.is_some()
    }
}

/// An injection, with its paths taken apart.
struct Happening<'a> {
    event: Injected,
    directory: bool,
    /// The name of the object, if it has one.
    name: &'a [u8],
    to_name: &'a [u8],
    object: Place,
    directory_above: Option<Place>,
    to_directory: Option<Place>,
    replaced: Option<Place>,
}

fn invalid(message: impl Into<String>) -> ControlError {
    ControlError::new(Errno::EINVAL, message)
}

fn place(path: &[u8], inode: Option<Inode>) -> Place {
    Place { path: path.to_vec(), inode }
}

impl<'a> Happening<'a> {
    fn new(injection: &'a Injection) -> Result<Self, ControlError> {
        let Injection { event, path: ByteString(path), to, .. } = injection;
        if !path.starts_with(b"/") {
            return Err(invalid("\"path\" has to be an absolute path"));
        }
        let above = split(path);
        let is_of_name = matches!(event, Injected::Create | Injected::Delete | Injected::Move);
        if above.is_none() && is_of_name {
            return Err(invalid(format!("{}: the root folder is nobody's entry", event.name())));
        }
        if let Some((_, name)) = above
            && name.len() > NAME_BYTES_MAX
        {
            return Err(invalid(format!("a name has at most {NAME_BYTES_MAX} bytes")));
        }
        let to = match (event, to) {
            (Injected::Move, Some(ByteString(to))) if to.starts_with(b"/") => split(to).map(|parts| (to, parts)),
            (Injected::Move, _) => None,
            (_, None) => None,
            (_, Some(_)) => return Err(invalid("\"to\" is for \"move\" alone")),
        };
        if *event == Injected::Move && to.is_none_or(|(_, (_, name))| name.len() > NAME_BYTES_MAX) {
            return Err(invalid("\"move\" needs the new path in \"to\": an absolute one"));
        }
        Ok(Self {
            event: *event,
            directory: injection.is_directory,
            name: above.map_or(&[], |(_, name)| name),
            to_name: to.map_or(&[], |(_, (_, name))| name),
            object: place(path, injection.object),
            directory_above: above.map(|(directory, _)| place(directory, injection.directory)),
            to_directory: to.map(|(_, (directory, _))| place(directory, injection.to_directory)),
            replaced: to.map(|(path, _)| place(path, injection.replaced)),
        })
    }

    fn object(&self, id: ObjectId) -> Object {
        Object { id, kind: if self.directory { Kind::Directory } else { Kind::File } }
    }

    /// The hooks of Linux, in its order, with the objects as an instance knows them.
    fn hooks(&self, known: Known) -> Vec<FsEvent<'_>> {
        let Known { directory, to_directory, replaced, .. } = known;
        let entry = self.directory_above.as_ref().map(|_| Entry { directory, name: self.name });
        let object = self.object(known.object);
        let subject = Subject { object, entry, unlinked: false };
        let is_directory = self.directory;
        match (self.event, entry) {
            (Injected::Access, _) => vec![FsEvent::Access(subject)],
            (Injected::Modify, _) => vec![FsEvent::Modify(subject)],
            (Injected::Attrib, _) => {
                vec![FsEvent::Change { subject, change: Change { mode: true, ..Change::default() } }]
            }
            (Injected::CloseWrite, _) => vec![FsEvent::Close { subject, writable: true }],
            (Injected::CloseNowrite, _) => vec![FsEvent::Close { subject, writable: false }],
            (Injected::Open, _) => vec![FsEvent::Open { subject, exec: false }],
            (Injected::Create, Some(entry)) => vec![FsEvent::Create { entry, directory: is_directory }],
            (Injected::Delete, Some(entry)) => {
                let links = (!is_directory).then_some(FsEvent::LinkCount(object));
                let gone = [FsEvent::Gone(object), FsEvent::Delete { entry, directory: is_directory }];
                links.into_iter().chain(gone).collect()
            }
            (Injected::Move, Some(from)) => {
                let to = Entry { directory: to_directory, name: self.to_name };
                let replaced = replaced.map(|id| Object { id, ..object });
                let moved = FsEvent::Rename { moved: object, from, to, replaced };
                [moved].into_iter().chain(replaced.map(FsEvent::Gone)).collect()
            }
            (Injected::DeleteSelf, _) => vec![FsEvent::Gone(object)],
            (Injected::Unmount, _) => vec![FsEvent::Unmount(object)],
            (Injected::Ignored, _) | (_, None) => Vec::new(),
        }
    }
}

impl Emulator {
    /// Lets something happen. Everything that has happened before stands in front of it.
    pub(super) fn inject(&mut self, injection: &Injection) -> Outcome {
        self.settle_all();
        let mut happening = Happening::new(injection)?;
        let mut known = Vec::new();
        for id in self.session_ids() {
            let of = |place: &Option<Place>| place.as_ref().and_then(|place| self.watched_in(id, place));
            let object = self.watched_in(id, &happening.object);
            let objects = Known {
                object: object.unwrap_or(NOBODY),
                directory: of(&happening.directory_above).unwrap_or(NOBODY),
                to_directory: of(&happening.to_directory).unwrap_or(NOBODY),
                replaced: of(&happening.replaced),
            };
            let is_told = match injection.event {
                Injected::Ignored | Injected::DeleteSelf | Injected::Unmount => object.is_some(),
                _ => objects.is_any(),
            };
            if is_told {
                happening.directory |= object.is_some_and(|object| self.is_known_directory(object));
                known.push((id, objects));
            }
        }
        if known.is_empty() && !injection.may_be_unwatched {
            let path = &injection.path;
            return Err(ControlError::new(
                Errno::ENOENT,
                format!("nobody watches {path} or the folder that it is in: {}", self.watches_in_words()),
            ));
        }
        if injection.event == Injected::Ignored {
            for (id, Known { object, .. }) in &known {
                self.tell_session(*id, |engine, group| {
                    if let Some(wd) = engine.watch_of(group, *object) {
                        let _ = engine.remove_watch(group, wd);
                    }
                });
            }
        } else {
            let sequences: Vec<_> = known.iter().map(|(id, objects)| (*id, happening.hooks(*objects))).collect();
            let steps = sequences.iter().map(|(_, hooks)| hooks.len()).max().unwrap_or(0);
            // Hook by hook, so that all instances have the same cookie.
            for step in 0..steps {
                let hooks: Vec<_> = sequences.iter().filter_map(|(id, hooks)| Some((*id, *hooks.get(step)?))).collect();
                self.tell_sessions(&hooks);
            }
        }
        Ok(json!({ "instances": known.len() }))
    }

    fn tell_sessions(&mut self, hooks: &[(u64, FsEvent<'_>)]) {
        let tools = &mut self.tools;
        let mut versions = Vec::with_capacity(hooks.len());
        let mut lengths = Vec::with_capacity(hooks.len());
        for (id, hook) in hooks {
            if let Some(session) = self.sessions.get_mut(id) {
                lengths.push((*id, session.begin_to_tell(&mut tools.engine, false)));
                versions.push((session.group, *hook));
            }
        }
        tools.engine.observe_in(versions);
        self.end_ended();
        for (id, length) in lengths {
            if let Some(session) = self.sessions.get_mut(&id) {
                session.end_telling(&mut self.tools, length);
            }
            self.update_interest(id);
        }
        self.let_go_unwatched();
    }

    /// Has something done to an instance that no source tells.
    pub(super) fn tell_session(&mut self, id: u64, act: impl FnOnce(&mut Engine, GroupId)) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let length = session.begin_to_tell(&mut self.tools.engine, false);
        act(&mut self.tools.engine, session.group);
        self.end_ended();
        if let Some(session) = self.sessions.get_mut(&id) {
            session.end_telling(&mut self.tools, length);
        }
        self.update_interest(id);
        self.let_go_unwatched();
    }

    /// Watches that have ended in the core alone end in the kernel too.
    fn end_ended(&mut self) {
        while let Some(output) = self.tools.engine.poll_output() {
            let Output::Unwatched { group, object, .. } = output else { continue };
            if let Some(session) = self.groups.get(&group).and_then(|id| self.sessions.get_mut(id)) {
                session.forget(object);
                if !is_observed(object) {
                    session.end_kernel_watch(object);
                }
            }
            self.tools.unwatched.push(object);
        }
    }

    /// What an instance watches, if it is at this place.
    pub(super) fn watched_in(&self, id: u64, place: &Place) -> Option<ObjectId> {
        let session = self.sessions.get(&id)?;
        let engine = &self.tools.engine;
        if let Some(Inode { device, inode }) = place.inode
            && let Some(object) = self.script.find(device, inode)
            && engine.watch_of(session.group, object.id).is_some()
        {
            return Some(object.id);
        }
        let of_kernel = session.kernel_inodes();
        let is_there = |object: ObjectId| {
            let inode = if is_observed(object) {
                self.shown(object).map(|shown| Inode { device: shown.device, inode: shown.inode })
            } else {
                of_kernel.get(&object).copied()
            };
            place.is(session.noted_path(object), inode)
        };
        engine.watches(session.group).map(|watch| watch.object).find(|object| is_there(*object))
    }

    /// Only the source without a file system has noted it.
    fn is_known_directory(&self, object: ObjectId) -> bool {
        is_scripted(object) && self.script.kind(object) == Some(Kind::Directory)
    }

    /// The instances that are meant: by a number, by the inode of a program's socket, or all.
    pub(super) fn meant(&self, instance: Option<u64>, socket: Option<u64>) -> Result<Vec<u64>, ControlError> {
        let is_meant = |(id, session): &(&u64, &crate::session::Session)| {
            instance.is_none_or(|instance| instance == **id)
                && socket.is_none_or(|socket| socket == session.program_inode)
        };
        let meant: Vec<u64> = self.sessions.iter().filter(is_meant).map(|(id, _)| *id).collect();
        if meant.is_empty() {
            let message = match (instance, socket) {
                (Some(instance), _) => format!("there is no instance {instance}"),
                (None, Some(socket)) => format!("no instance has a socket with the inode {socket}"),
                (None, None) => "no program has an inotify instance".to_owned(),
            };
            return Err(ControlError::new(Errno::ENOENT, message));
        }
        Ok(meant)
    }

    /// The one instance that is meant.
    pub(super) fn meant_one(&self, instance: Option<u64>, socket: Option<u64>) -> Result<u64, ControlError> {
        match self.meant(instance, socket)?[..] {
            [one] => Ok(one),
            ref several => {
                let creator = |id: &u64| self.sessions.get(id).map_or(0, |session| session.creator.pid);
                let list: Vec<_> = several.iter().map(|id| format!("{id} of process {}", creator(id))).collect();
                Err(invalid(format!("there are several instances, name one: {}", list.join(", "))))
            }
        }
    }

    pub(super) fn overflow(&mut self, instance: Option<u64>, socket: Option<u64>) -> Outcome {
        self.settle_all();
        let meant = self.meant(instance, socket)?;
        for id in &meant {
            self.tell_session(*id, |engine, group| {
                engine.release(group);
                engine.source_overflowed(group);
            });
        }
        Ok(json!({ "instances": meant.len() }))
    }

    pub(super) fn queue(&mut self, id: u64, wd: i32, (mask, cookie): (u32, u32), name: &[u8]) -> Outcome {
        self.settle_all();
        if name.len() > NAME_BYTES_MAX || name.contains(&b'/') {
            return Err(invalid(format!("a name has at most {NAME_BYTES_MAX} bytes, and no slash")));
        }
        let event = Event { wd: Wd(wd), mask, cookie, name: name.into(), hidden: 0 };
        if mask & Mask::IN_Q_OVERFLOW.bits() != 0 && event != Event::overflow() {
            return Err(invalid("an event with IN_Q_OVERFLOW has that bit, the wd -1, and nothing else"));
        }
        self.tell_session(id, |engine, group| {
            engine.queue_event(group, event, false);
        });
        Ok(json!({}))
    }

    pub(super) fn set_next_wd(&mut self, id: u64, wd: u64) -> Outcome {
        let group = self.sessions.get(&id).map(|session| session.group);
        let set = group.map(|group| self.tools.engine.set_cursor(group, wd));
        match set {
            Some(Err(refusal)) => {
                Err(ControlError::new(errno(refusal), "a watch descriptor is a number from 1 to 2147483647"))
            }
            _ => Ok(json!({})),
        }
    }

    pub(super) fn next_wd(&self, id: u64) -> Outcome {
        let cursor = self.sessions.get(&id).and_then(|session| self.tools.engine.cursor(session.group).ok());
        Ok(json!({ "next_wd": cursor }))
    }

    /// For people: what is watched.
    pub(super) fn watches_in_words(&self) -> String {
        const SHOWN_MAX: usize = 20;
        let engine = &self.tools.engine;
        let mut paths = self.sessions.values().flat_map(|session| {
            engine.watches(session.group).map(|watch| ByteString::from(session.path(watch.object)).to_string())
        });
        let shown: Vec<_> = paths.by_ref().take(SHOWN_MAX).collect();
        match (shown.is_empty(), paths.count()) {
            (true, _) => "there is no watch".to_owned(),
            (false, 0) => format!("watched are {}", shown.join(", ")),
            (false, more) => format!("watched are {}, and {more} more", shown.join(", ")),
        }
    }
}
