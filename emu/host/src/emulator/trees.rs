//! The trees that are shown: taken on, served, settled, let go.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::epoll::EpollFlags;
use uinotify_core::{FsEvent, ObjectId};
use uinotify_source::fanotify::is_numbered;
use uinotify_source::fuse::{Device, MountNumber, Served};
use uinotify_source::poll::is_polled;
use uinotify_source::script::is_scripted;

use super::{Emulator, Token, say};
use crate::announcement;
use crate::told::Told;

/// Requests to file systems that are served before others get their turn.
const REQUESTS_MAX: usize = 64;

/// Trees that another process is going to mount.
#[derive(Debug)]
pub(super) struct AwaitedTrees {
    roots: Vec<Option<OwnedFd>>,
    announcements: OwnedFd,
}

impl Emulator {
    /// Has the emulator serve the trees below `roots` once they are [announced](crate::announce) over the other end of this socket. A
    /// root has to be opened where the mount does not cover it.
    ///
    /// # Errors
    ///
    /// If epoll fails.
    pub fn await_trees(&mut self, roots: Vec<OwnedFd>, announcements: OwnedFd) -> io::Result<()> {
        self.watch(announcements.as_fd(), Token::Announcements, EpollFlags::EPOLLIN)?;
        self.awaited = Some(AwaitedTrees { roots: roots.into_iter().map(Some).collect(), announcements });
        Ok(())
    }

    /// Serves a tree that is mounted. The thread that calls this has to be the one that serves.
    ///
    /// # Errors
    ///
    /// If the directory cannot be read, or the kernel has no descriptors or memory left.
    pub fn add_tree(&mut self, root: OwnedFd, number: MountNumber, device: Device) -> io::Result<()> {
        let index = self.trees.add(root, self.config.mode, device, number)?;
        if let Some(device) = self.trees.device(index) {
            self.watch(device, Token::Tree(index), EpollFlags::EPOLLIN)?;
        }
        Ok(())
    }

    pub(super) fn receive_announcement(&mut self) {
        let Some(awaited) = &mut self.awaited else { return };
        let Some(announcement) = announcement::receive(awaited.announcements.as_fd()) else {
            let _ = self.epoll.delete(&awaited.announcements);
            self.awaited = None;
            return;
        };
        let root = awaited.roots.get_mut(announcement.index).and_then(Option::take);
        let taken = root.ok_or(io::ErrorKind::NotFound.into()).and_then(|root| {
            let device = Device::new(announcement.device)?;
            self.add_tree(root, announcement.number, device)
        });
        if let Some(awaited) = &self.awaited {
            announcement::answer(awaited.announcements.as_fd(), &taken);
        }
    }

    /// Serves what programs ask of one tree.
    pub(super) fn serve_tree(&mut self, index: usize) {
        self.with_tree(index, |emulator, told| {
            for _ in 0..REQUESTS_MAX {
                match emulator.serve(index, told)? {
                    Served::One => {}
                    served => return Ok(served),
                }
            }
            Ok(Served::One)
        });
        // Whoever has been answered goes on, most likely with the next request.
        self.vigil.request_served();
    }

    /// Handles all that was asked of the trees by system calls that have returned, so that their events are queued.
    pub(super) fn settle_observed(&mut self) {
        self.drain_marked();
        self.drain_polled();
        if self.trees.is_empty() {
            return;
        }
        for index in self.trees.indices() {
            self.with_tree(index, |trees, told| trees.settle(index, told));
        }
        self.trees.rest();
    }

    /// For a moment the kernel has not said what an event waits for.
    pub(super) fn look_at_trees_again(&mut self) {
        for index in self.trees.indices() {
            self.with_tree(index, |trees, told| {
                trees.look_again(index, told);
                Ok(Served::Nothing)
            });
        }
        self.trees.rest();
    }

    fn with_tree(
        &mut self,
        index: usize,
        serve: impl FnOnce(&mut crate::trees::Trees, &mut Told<'_>) -> Result<Served, Errno>,
    ) {
        let mut told =
            Told { tools: &mut self.tools, sessions: &mut self.sessions, groups: &self.groups, touched: Vec::new() };
        let served = serve(&mut self.trees, &mut told);
        let touched = told.touched;
        match served {
            Ok(Served::Ended) => self.end_tree(index),
            Ok(_) => {}
            Err(errno) => {
                say(&format!("a file system that is shown can be served no longer: {}", errno.desc()));
                self.end_tree(index);
            }
        }
        self.let_go_unwatched();
        for id in touched {
            self.update_interest(id);
        }
    }

    /// What is watched no longer need not be known any more.
    pub(super) fn let_go_unwatched(&mut self) {
        for object in std::mem::take(&mut self.tools.unwatched) {
            if is_numbered(object) {
                self.unmark(object);
            } else if is_polled(object) {
                if !self.tools.engine.is_watched(object) {
                    self.polled.unwatch(object);
                }
            } else if is_scripted(object) {
                self.forget_scripted(object);
            } else {
                self.trees.let_go(object);
            }
        }
    }

    /// It is unmounted: its watches end.
    fn end_tree(&mut self, index: usize) {
        let engine = &self.tools.engine;
        let mut watched: Vec<ObjectId> = self
            .groups
            .keys()
            .flat_map(|group| engine.watches(*group).map(|watch| watch.object))
            .filter(|object| self.trees.object_of(index, *object).is_some())
            .collect();
        watched.sort_unstable();
        watched.dedup();
        let mut told =
            Told { tools: &mut self.tools, sessions: &mut self.sessions, groups: &self.groups, touched: Vec::new() };
        self.trees.end(index, &mut told);
        for object in watched {
            if let Some(object) = self.trees.object_of(index, object) {
                told.observe(FsEvent::Unmount(object));
            }
        }
        let touched = told.touched;
        if let Some(device) = self.trees.device(index) {
            let _ = self.epoll.delete(device);
        }
        self.trees.remove(index);
        // What was watched in others is still to be let go of.
        self.let_go_unwatched();
        for id in touched {
            self.update_interest(id);
        }
    }
}
