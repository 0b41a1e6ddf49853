//! What is told to whoever follows the emulator.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStringExt;

use nix::errno::Errno;
use uinotify_core::{Happening, Wd};
use uinotify_images::text::ByteString;
use uinotify_wire::{Reply, Request, RequestKind};

use super::Emulator;
use crate::trace::{Counts, Log, Observer, Record, What, Writer};

/// As traces and the control protocol name an errno.
fn name_of(errno: u32) -> Option<String> {
    (errno != 0).then(|| format!("{:?}", Errno::from_raw(errno.cast_signed())))
}

/// A call of `inotify_add_watch` that is answered later.
#[derive(Debug)]
pub(super) struct AddWatchCall {
    pid: i32,
    written: Vec<u8>,
    mask: u32,
    /// Where the object is.
    object: Option<Vec<u8>>,
}

/// Where an object is. The kernel knows it by itself, whatever file system it is on.
fn path_of(object: BorrowedFd<'_>) -> Option<Vec<u8>> {
    let path = fs::read_link(format!("/proc/self/fd/{}", object.as_raw_fd())).ok()?;
    Some(path.into_os_string().into_vec())
}

impl Emulator {
    /// Has somebody follow what happens from now on.
    pub fn follow(&mut self, observer: Box<dyn Observer>) {
        self.tools.engine.keep_history();
        self.tracer.add(observer, None);
    }

    /// Keeps a log from now on, if none is kept.
    pub(super) fn keep_log(&mut self) {
        if self.log.is_none() {
            let log = Log::default();
            self.log = Some(log.clone());
            self.follow(Box::new(log));
        }
    }

    /// What the log has.
    pub(super) fn logged(&mut self, last: usize) -> (Counts, Vec<Record>) {
        self.trace_events();
        self.log.as_ref().map(|log| log.last(last)).unwrap_or_default()
    }

    /// Writes the traces that the configuration asks for.
    pub(super) fn begin_traces(&mut self) -> io::Result<()> {
        if self.config.log {
            self.keep_log();
        }
        for file in &self.config.traces {
            let writer = Writer::create(file, &self.config.command)?;
            self.tracer.add(Box::new(writer), file.watchable());
            self.tools.engine.keep_history();
        }
        Ok(())
    }

    /// Who asks just now.
    fn asking_pid(&self) -> i32 {
        self.inbox.sender().map_or(0, |sender| sender.pid)
    }

    /// Tells of an instance that was opened, or was refused.
    pub(super) fn trace_init(&mut self, pid: i32, flags: u64, result: Result<u64, Errno>) {
        if self.tracer.is_idle() {
            return;
        }
        self.trace_events();
        let (instance, errno) = match result {
            Ok(instance) => (instance, None),
            Err(errno) => (0, name_of(errno as u32)),
        };
        let flags = i32::try_from(flags).unwrap_or(i32::MAX);
        let limits = self.sessions.get(&instance).and_then(|session| self.tools.engine.limits(session.group));
        let queue_events_max = limits.map_or(0, |limits| limits.queue_events_max);
        self.tracer.tell(instance, What::Init { pid, flags, queue_events_max, errno });
    }

    /// Tells of a call and its answer.
    pub(super) fn trace_call(&mut self, id: u64, request: &Request<'_>, reply: &Reply) {
        if self.tracer.is_idle() {
            return;
        }
        // What came before it.
        self.trace_events();
        let (pid, errno) = (self.asking_pid(), name_of(reply.errno));
        let what = match request.kind {
            RequestKind::AddWatch => {
                let path = ByteString(request.payload.to_vec());
                let wd = errno.is_none().then_some(reply.value);
                What::AddWatch { pid, path, mask: request.word, wd, errno }
            }
            RequestKind::RemoveWatch => What::RemoveWatch { pid, wd: request.word.cast_signed(), errno },
            RequestKind::SetCursor => What::SetNextWd { pid, argument: request.argument, errno },
            RequestKind::GetCursor => What::GetNextWd { pid, next_wd: reply.value },
            RequestKind::Count => What::Count { pid, bytes: reply.value },
            RequestKind::Settle if errno.is_some() => What::FailedRead { pid, errno },
            _ => return,
        };
        self.tracer.tell(id, what);
    }

    /// Notes where a watched object is.
    pub(super) fn trace_watch(&mut self, id: u64, wd: Wd, object: BorrowedFd<'_>) {
        if self.tracer.is_idle() {
            return;
        }
        if let Some(path) = path_of(object) {
            self.tracer.watches(id, wd.0, &path);
        }
    }

    /// What is to be told of a call that is answered later, if anybody follows.
    pub(super) fn add_watch_call(&self, object: BorrowedFd<'_>, mask: u32, written: &[u8]) -> Option<AddWatchCall> {
        let call = || AddWatchCall { pid: self.asking_pid(), written: written.to_vec(), mask, object: path_of(object) };
        (!self.tracer.is_idle()).then(call)
    }

    /// Tells of it when it is answered.
    pub(super) fn trace_late_watch(&mut self, id: u64, call: AddWatchCall, result: Result<Wd, Errno>) {
        self.trace_events();
        let AddWatchCall { pid, written, mask, object } = call;
        if let (Ok(wd), Some(path)) = (result, object) {
            self.tracer.watches(id, wd.0, &path);
        }
        let errno = result.err().and_then(|errno| name_of(errno as u32));
        let wd = result.ok().map(|wd| wd.0);
        self.tracer.tell(id, What::AddWatch { pid, path: ByteString(written), mask, wd, errno });
    }

    /// Tells of all that has become of events since the last time.
    pub(super) fn trace_events(&mut self) {
        for happening in self.tools.engine.take_history() {
            let (Happening::Came { group, .. } | Happening::Read { group, .. }) = &happening;
            let Some(&id) = self.groups.get(group) else { continue };
            match happening {
                Happening::Came { event, pushed, queue_events, .. } => {
                    self.tracer.event(id, &event, pushed, queue_events);
                }
                Happening::Read { events, queue_events, .. } => {
                    self.tracer.read(id, events, queue_events);
                }
            }
        }
    }
}
