//! Who waits until something is watched. Nobody looks again and again: the call that makes the watch answers.

use std::os::fd::BorrowedFd;

use nix::errno::Errno;
use serde_json::{Value, json};
use uinotify_core::Wd;

use super::Emulator;
use crate::control::ControlError;
use crate::paths;
use crate::place::{Inode, Place};

/// How many commands of one connection may wait.
const WAITERS_MAX: usize = 1024;

/// A command that is answered when something is watched.
#[derive(Debug)]
pub(crate) struct Waiter {
    /// Of the command.
    id: u64,
    place: Place,
    /// What the watch has to ask for.
    mask: u32,
}

impl Emulator {
    /// Answers a command when `place` is watched: now, or when that is so.
    pub(super) fn wait_for_watch(&mut self, key: usize, id: u64, place: Place, mask: u32) {
        let waiter = Waiter { id, place, mask };
        if let Some(found) = self.found(&waiter) {
            return self.answer_control(key, Some(id), Ok(found));
        }
        let Some(control) = self.connections.get_mut(key).and_then(|connection| connection.control.as_mut()) else {
            return;
        };
        if control.waiters.len() >= WAITERS_MAX {
            let message = format!("{WAITERS_MAX} commands of this connection wait already");
            return self.answer_control(key, Some(id), Err(ControlError::new(Errno::EAGAIN, message)));
        }
        control.waiters.push(waiter);
        self.may_have_waiters = true;
    }

    /// The watch that a command waits for, if there is one already.
    fn found(&self, waiter: &Waiter) -> Option<Value> {
        self.sessions.keys().find_map(|id| {
            let object = self.watched_in(*id, &waiter.place)?;
            self.described(waiter, *id, self.tools.engine.watch_of(self.sessions.get(id)?.group, object)?)
        })
    }

    /// The answer, if a watch asks for what it has to.
    fn described(&self, waiter: &Waiter, id: u64, wd: Wd) -> Option<Value> {
        let session = self.sessions.get(&id)?;
        let watch = self.tools.engine.watches(session.group).rev().find(|watch| watch.wd == wd)?;
        (watch.mask & waiter.mask == waiter.mask)
            .then(|| json!({ "instance": id, "wd": wd.0, "mask": watch.mask, "pid": session.creator.pid }))
    }

    /// A watch was made or changed, of an object that a program has found at this path: who waits for it?
    pub(super) fn answer_waiters(&mut self, id: u64, wd: Wd, object: BorrowedFd<'_>, path: &[u8]) {
        if !self.may_have_waiters {
            return;
        }
        let watched = match self.trees.find(object) {
            // Of an object in a tree nothing may be asked, as it would be asked of us.
            Some(object) => Place {
                path: paths::absolute(path).unwrap_or(path).to_vec(),
                inode: self.shown(object).map(|shown| Inode { device: shown.device, inode: shown.inode }),
            },
            None => Place::of(object, path),
        };
        self.answer_waiters_for(id, wd, &watched);
    }

    /// The same for an object that is at a place.
    pub(super) fn answer_waiters_for(&mut self, id: u64, wd: Wd, watched: &Place) {
        let mut answers = Vec::new();
        let mut are_left = false;
        for (key, connection) in &self.connections {
            for waiter in connection.control.iter().flat_map(|control| &control.waiters) {
                let is_there = waiter.place.is(&watched.path, watched.inode);
                match is_there.then(|| self.described(waiter, id, wd)).flatten() {
                    Some(found) => answers.push((key, waiter.id, found)),
                    None => are_left = true,
                }
            }
        }
        self.may_have_waiters = are_left;
        for (key, id, found) in answers {
            if let Some(control) = self.connections.get_mut(key).and_then(|connection| connection.control.as_mut()) {
                control.waiters.retain(|waiter| waiter.id != id);
            }
            self.answer_control(key, Some(id), Ok(found));
        }
    }
}
