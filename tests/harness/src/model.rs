//! The third subject: a tree in memory that turns each operation into the hooks that Linux calls for it, and an engine
//! that is told of them by [`Engine::observe`].
//!
//! It shows that the rules of the core are the kernel's before any file system is mounted: what a source would have to
//! see is made up here, all the rest is the same. What the model cannot express it refuses, and says why.

mod attribute;
mod descriptor;
mod entry;
mod execute;
mod group;
mod mount;
mod open;
mod path;
mod transfer;
mod tree;

use std::collections::BTreeMap;

use uinotify_core::{Config, Engine, FsEvent, GroupId, Object};

use crate::operation::{List, Operation};
use crate::trace::{End, Outcome, Return, Trace};
use tree::{Dentry, Form, Inode, Tree};

/// Why a call gave no value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    Errno(i32),
    Unmodelled(&'static str),
}

type Answer<T> = Result<T, Stop>;

fn errno<T>(errno: i32) -> Answer<T> {
    Err(Stop::Errno(errno))
}

/// The file system of the list's directory.
const OWN_VOLUME: u32 = 0;

/// An open file description.
#[derive(Debug, Clone)]
struct OpenFile {
    /// `None`: an inotify instance.
    dentry: Option<Dentry>,
    group: Option<GroupId>,
    flags: i32,
    position: u64,
    /// A directory was read to its end.
    listed: bool,
    /// Descriptors, mappings and what is on its way through a socket.
    holders: u32,
}

impl OpenFile {
    /// With one holder.
    fn new(dentry: Option<Dentry>, group: Option<GroupId>, flags: i32) -> Self {
        Self { dentry, group, flags, position: 0, listed: false, holders: 1 }
    }

    fn readable(&self) -> bool {
        !self.is_path() && self.flags & libc::O_ACCMODE != libc::O_WRONLY
    }

    fn writable(&self) -> bool {
        !self.is_path() && self.flags & libc::O_ACCMODE != libc::O_RDONLY
    }

    fn is_path(&self) -> bool {
        self.flags & libc::O_PATH != 0
    }

    fn has(&self, flag: i32) -> bool {
        self.flags & flag != 0
    }
}

type FileId = u64;

#[derive(Debug, Clone, Copy)]
struct Opened {
    number: i32,
    group: bool,
}

/// What a fork copies.
#[derive(Debug, Clone)]
struct Process {
    id: u64,
    descriptors: BTreeMap<i32, FileId>,
    descriptors_max: u64,
    slots: [Option<Opened>; 16],
    wds: Vec<i32>,
    /// The working directory.
    directory: Dentry,
    mappings: [Option<FileId>; 4],
    user: u32,
}

#[derive(Debug, Clone, Copy)]
struct Mount {
    on: Dentry,
    root: Dentry,
    volume: u32,
}

/// A machine on which one list runs.
#[derive(Debug)]
struct Model {
    tree: Tree,
    files: BTreeMap<FileId, OpenFile>,
    file_next: FileId,
    process: Process,
    process_next: u64,
    /// Above the directory of the list.
    outside: Dentry,
    mounts: Vec<Mount>,
    /// File systems that were unmounted while they were in use.
    detached: Vec<(u32, Dentry)>,
    volume_next: u32,
    /// The links of procfs that were watched themselves: of which process and which number.
    links: BTreeMap<(u64, i32), uinotify_core::ObjectId>,
    engine: Engine,
    limits: uinotify_core::Limits,
}

/// What a list shows on the model, or why the model cannot do it.
///
/// # Errors
///
/// What the first operation needs that is not modelled.
pub fn run(list: &List) -> Result<Trace, &'static str> {
    let mut model = Model::new(list);
    let mut outcomes = Vec::new();
    for operation in &list.operations {
        outcomes.push(model.perform(operation)?);
    }
    Ok(Trace { outcomes, end: End::Finished }.canonical())
}

/// Without what the file system of the machine decides: how many bytes the entries of a directory take, whether one made
/// since the last look is seen, and which error read(2) and sendfile(2) give there. The events are the same.
#[must_use]
pub fn without_directory_sizes(list: &List, mut trace: Trace) -> Trace {
    forget(&list.operations, &mut trace.outcomes);
    trace
}

fn forget(operations: &[Operation], outcomes: &mut [Outcome]) {
    if operations.is_empty() {
        return;
    }
    for (operation, outcome) in operations.iter().cycle().zip(outcomes) {
        match (operation, outcome) {
            (Operation::Getdents { .. }, Outcome::Returned(Return::Value(value))) => *value = 0,
            // ext4's position at the end is beyond what a read can start from.
            (Operation::Read { .. }, Outcome::Returned(Return::Error(errno @ libc::EINVAL))) => *errno = libc::EISDIR,
            (Operation::Sendfile { .. }, Outcome::Returned(Return::Error(errno @ libc::EINVAL))) => {
                *errno = libc::EBADF;
            }
            (Operation::Repeat { operations, .. } | Operation::Child(operations), Outcome::Several(inner)) => {
                forget(operations, inner);
            }
            _ => {}
        }
    }
}

impl Model {
    fn new(list: &List) -> Self {
        let user = nix::unistd::geteuid().as_raw();
        let mut tree = Tree::default();
        let outside = tree.root(Inode::new(Form::Directory, 0o755, 0, OWN_VOLUME));
        let directory = tree.make(outside, b"list", Inode::new(Form::Directory, 0o755, user, OWN_VOLUME));
        tree.hold(directory);
        let mut limits = uinotify_core::Limits::default();
        // The machine's own, which no list changes.
        if let Ok(text) = std::fs::read_to_string("/proc/sys/fs/inotify/max_queued_events")
            && let Ok(events) = text.trim().parse()
        {
            limits.queue_events_max = events;
        }
        if let Some(own) = list.limits {
            (limits.watches_max, limits.instances_max) = (own.watches_max, own.instances_max);
        }
        Self {
            tree,
            files: BTreeMap::new(),
            file_next: 0,
            process: Process {
                id: 0,
                // Standard input, output and error are nobody's here, but in use.
                descriptors: BTreeMap::new(),
                descriptors_max: 1024,
                slots: [None; 16],
                wds: Vec::new(),
                directory,
                mappings: [None; 4],
                user,
            },
            process_next: 1,
            outside,
            mounts: Vec::new(),
            detached: Vec::new(),
            volume_next: OWN_VOLUME + 1,
            links: BTreeMap::new(),
            engine: Engine::new(Config::default()),
            limits,
        }
    }

    /// Does one operation.
    fn perform(&mut self, operation: &Operation) -> Result<Outcome, &'static str> {
        let outcome = match self.attempt(operation) {
            Ok(outcome) => outcome,
            Err(Stop::Errno(errno)) => Outcome::error(errno),
            Err(Stop::Unmodelled(what)) => return Err(what),
        };
        // Nobody here waits for outputs.
        while self.engine.poll_output().is_some() {}
        Ok(outcome)
    }

    fn several(&mut self, operations: &[Operation]) -> Answer<Vec<Outcome>> {
        operations.iter().map(|operation| self.perform(operation).map_err(Stop::Unmodelled)).collect()
    }

    fn attempt(&mut self, operation: &Operation) -> Answer<Outcome> {
        use Operation as O;
        let value = match operation {
            O::Init { slot, flags } => self.init(*slot, *flags)?,
            O::AddWatch { descriptor, path, mask } => self.add_watch(*descriptor, path, *mask)?,
            O::RemoveWatch { descriptor, watch } => self.remove_watch(*descriptor, *watch)?,
            O::Control { descriptor, command, argument } => return self.control(*descriptor, *command, *argument),
            O::Read { descriptor, buffer } => return self.read(*descriptor, buffer),
            O::Write { descriptor, size, offset } => self.write(*descriptor, *size as u64, *offset)?,
            O::Poll { asking, descriptor, events, timeout_ms } => {
                return self.poll(*asking, *descriptor, *events, *timeout_ms);
            }
            O::Close(descriptor) => self.close(*descriptor)?,
            O::Duplicate { descriptor, slot } => self.duplicate(*descriptor, *slot)?,
            O::DuplicateOnto { descriptor, onto } => self.duplicate_onto(*descriptor, *onto)?,
            O::Pass { descriptor, slot } => self.pass(*descriptor, *slot)?,
            O::Odd { descriptor, call } => self.odd(*descriptor, *call)?,
            O::Open { slot, path, flags, mode } => self.open(*slot, path, *flags, *mode)?,
            O::Truncate { path, size } => self.truncate(path, *size)?,
            O::Ftruncate { descriptor, size } => self.ftruncate(*descriptor, *size)?,
            O::Chmod { path, mode } => self.chmod(path, *mode)?,
            O::Fchmod { descriptor, mode } => self.fchmod(*descriptor, *mode)?,
            O::Lchown { path, user, group } => self.lchown(path, *user, *group)?,
            O::Fchown { descriptor, user, group } => self.fchown(*descriptor, *user, *group)?,
            O::Utimens { path, access, modification } => self.utimens(path, *access, *modification)?,
            O::Setxattr(path) => self.setxattr(path)?,
            O::Removexattr(path) => self.removexattr(path)?,
            O::Mkdir(path) => self.mkdir(path)?,
            O::Rmdir(path) => self.rmdir(path)?,
            O::Link { from, to } => self.link(from, to)?,
            O::Symlink { target, path } => self.symlink(target, path)?,
            O::Mkfifo(path) => self.mkfifo(path)?,
            O::Unlink(path) => self.unlink(path)?,
            O::Rename { from, to, flags } => self.rename(from, to, *flags)?,
            O::Getdents { descriptor, size } => self.getdents(*descriptor, *size)?,
            O::Fallocate { descriptor, mode, offset, size } => self.fallocate(*descriptor, *mode, *offset, *size)?,
            O::CopyFileRange { from, to, size } => self.copy_file_range(*from, *to, *size as u64)?,
            O::Sendfile { from, to, size } => self.sendfile(*from, *to, *size as u64)?,
            O::Map { descriptor, place, writable } => self.map(*descriptor, *place, *writable)?,
            O::Touch { place } => self.touch(*place)?,
            O::Unmap { place } => self.unmap(*place)?,
            O::Chdir(path) => self.chdir(path)?,
            O::Install(path) => self.install(path)?,
            O::Execute(path) => self.execute(path)?,
            O::Become { user } => self.become_user(*user)?,
            O::DescriptorsMax(max) => {
                self.process.descriptors_max = *max;
                0
            }
            O::PrivateMounts => self.private_mounts()?,
            O::Mount(path) => self.mount(path)?,
            O::Unmount { path, flags } => self.unmount(path, *flags)?,
            O::Child(operations) => return self.child(operations),
            O::Repeat { count, operations } => {
                let mut outcomes = Vec::new();
                for _ in 0..*count {
                    outcomes.extend(self.several(operations)?);
                }
                return Ok(Outcome::Several(outcomes));
            }
            O::Checkpoint(_) | O::Barrier => 0,
            O::While { .. } | O::Interrupt { .. } => return Err(Stop::Unmodelled("threads that wait")),
            O::EpollCreate { .. } | O::EpollControl { .. } | O::EpollWait { .. } => {
                return Err(Stop::Unmodelled("a set of epoll"));
            }
            O::Fcntl { .. } => return Err(Stop::Unmodelled("the flags of descriptors")),
        };
        Ok(Outcome::value(value))
    }

    /// Tells the engine of a hook that is about a name.
    fn hook(&mut self, dentry: Dentry, event: impl FnOnce(uinotify_core::Subject<'_>) -> FsEvent<'_>) {
        self.engine.observe(event(self.tree.subject(dentry)));
    }

    fn accessed(&mut self, dentry: Dentry) {
        self.engine.observe(FsEvent::Access(self.tree.subject(dentry)));
    }

    fn written(&mut self, dentry: Dentry) {
        self.engine.observe(FsEvent::Modify(self.tree.subject(dentry)));
    }

    fn gone(&mut self, objects: Vec<Object>) {
        for object in objects {
            self.engine.observe(FsEvent::Gone(object));
        }
    }

    fn release_name(&mut self, dentry: Dentry) {
        let gone = self.tree.release(dentry);
        self.gone(gone);
    }
}
