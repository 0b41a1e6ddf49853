//! Where a hook goes: to the core, and what comes of it into the windows, all before whoever has caused it goes on.

use std::collections::BTreeMap;

use uinotify_core::{FsEvent, GroupId, Mask, ObjectId, Output, Profile};
use uinotify_source::fuse::Sink;

use crate::session::{Session, Tools};

impl Sink for Told<'_> {
    fn observe(&mut self, event: FsEvent<'_>) {
        Told::observe(self, event);
    }

    fn interest(&self, object: ObjectId) -> Mask {
        Told::interest(self, object)
    }

    fn profile(&self) -> Profile {
        self.tools.engine.profile()
    }
}

/// All that a hook may reach.
pub(crate) struct Told<'a> {
    pub(crate) tools: &'a mut Tools,
    pub(crate) sessions: &'a mut BTreeMap<u64, Session>,
    pub(crate) groups: &'a BTreeMap<GroupId, u64>,
    /// Sessions that were told something.
    pub(crate) touched: Vec<u64>,
}

impl Told<'_> {
    /// Tells the core of a hook, and sends what the watchers' windows have room for.
    pub(crate) fn observe(&mut self, event: FsEvent<'_>) {
        let Self { tools, sessions, groups, touched } = self;
        // Each with the length of its queue before.
        let mut watchers: Vec<(u64, usize)> = Vec::new();
        for object in event.objects() {
            for group in tools.engine.watchers(object) {
                if let Some(&id) = groups.get(&group)
                    && watchers.iter().all(|(known, _)| *known != id)
                {
                    watchers.push((id, 0));
                }
            }
        }
        // Renames count for the cookies, whoever watches.
        if watchers.is_empty() && !matches!(event, FsEvent::Rename { .. }) {
            return;
        }
        // What is open will be closed, and what is moved may be open.
        let has_sequel = matches!(event, FsEvent::Open { .. } | FsEvent::OpenTruncated { .. } | FsEvent::Rename { .. });
        for (id, length) in &mut watchers {
            if let Some(session) = sessions.get_mut(id) {
                *length = session.begin_to_tell(&mut tools.engine, has_sequel);
            }
        }
        tools.engine.observe(event);
        while let Some(output) = tools.engine.poll_output() {
            if let Output::Unwatched { group, object, .. } = output {
                if let Some(session) = groups.get(&group).and_then(|id| sessions.get_mut(id)) {
                    session.forget(object);
                }
                tools.unwatched.push(object);
            }
        }
        for (id, length) in watchers {
            if let Some(session) = sessions.get_mut(&id) {
                session.end_telling(tools, length);
                if touched.last() != Some(&id) {
                    touched.push(id);
                }
            }
        }
    }

    /// An event of an object comes later.
    pub(crate) fn expect(&mut self, object: ObjectId) {
        for group in self.tools.engine.watchers(object) {
            if let Some(session) = self.groups.get(&group).and_then(|id| self.sessions.get_mut(id)) {
                session.will_be_told(&self.tools.engine);
            }
        }
    }

    /// What all watches on an object together ask for.
    pub(crate) fn interest(&self, object: ObjectId) -> Mask {
        self.tools.engine.interest(object)
    }
}
