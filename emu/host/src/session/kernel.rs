//! The kernel instance behind a session: what is in no tree of ours is watched there.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use nix::errno::Errno;
use uinotify_core::{AddMask, Delivery, Engine, Mask, ObjectId, Wd};
use uinotify_source::inotify::{Instance, KernelWd, Record, Records, Shown};

use super::{Session, Tools, errno};
use crate::place::Inode;
use crate::trees::is_observed;

/// An object that is to be watched, open with `O_PATH`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sought<'a> {
    pub(crate) object: BorrowedFd<'a>,
    /// A directory of a file system that has no server, and so keeps nobody waiting.
    pub(crate) is_plain_folder: bool,
}

impl<'a> Sought<'a> {
    /// One of which nothing is known.
    pub(crate) fn new(object: BorrowedFd<'a>) -> Self {
        Self { object, is_plain_folder: false }
    }
}

fn object(wd: KernelWd) -> ObjectId {
    ObjectId(u64::from(wd.0.cast_unsigned()))
}

/// What the kernel calls an object that it watches.
pub(crate) fn kernel_wd(object: ObjectId) -> KernelWd {
    // An object's number was made from an i32.
    KernelWd((object.0 as u32).cast_signed())
}

impl Session {
    /// The kernel instance.
    pub(crate) fn kernel(&self) -> Option<BorrowedFd<'_>> {
        self.kernel.as_ref().map(AsFd::as_fd)
    }

    /// The kernel instance, for a program of the same user.
    pub(crate) fn share_kernel(&mut self) -> Option<BorrowedFd<'_>> {
        self.kernel.as_mut().map(Instance::set_shared)?;
        self.kernel()
    }

    /// From now on what is in no tree can be watched too.
    pub(crate) fn set_kernel(&mut self, kernel: Instance) {
        self.kernel = Some(kernel);
        self.is_kernel_late = true;
        if let Some(line) = &self.line {
            line.set_more(true, true);
        }
    }

    /// A cycle, if the kernel instance holds anything.
    pub(crate) fn deliver_held(&mut self, tools: &mut Tools) {
        if self.kernel.as_ref().is_some_and(|kernel| kernel.queued_bytes() > 0) {
            self.deliver(tools);
        }
    }

    /// Takes into the core everything that the kernel instance holds at this moment, and so everything whose system call has
    /// returned.
    pub(super) fn drain(&mut self, tools: &mut Tools) {
        let Some(kernel) = self.kernel.take() else { return };
        self.take_held(&kernel, tools);
        if std::mem::take(&mut self.has_lost_events) {
            self.find_ended_watches(&kernel, tools);
        }
        self.kernel = Some(kernel);
        self.forget_ended(tools);
    }

    /// Reads just the bytes that are queued at one moment. What a read finds queued then, the kernel has compared and kept
    /// apart; an event that comes while the read goes on has been compared with nothing, as its predecessor was just taken away.
    fn take_held(&mut self, kernel: &Instance, tools: &mut Tools) {
        let mut held = kernel.queued_bytes();
        let mut is_adjacent = false;
        let mut buffer = std::mem::take(&mut tools.buffer);
        while held > 0 {
            let room = held.min(buffer.len());
            let length = kernel.read(&mut buffer[..room]).unwrap_or(0);
            if length == 0 {
                break;
            }
            self.acknowledge(&mut tools.engine);
            let queued_before = tools.engine.queue_len(self.group);
            for record in Records::new(&buffer[..length]) {
                self.deliver_record(&mut tools.engine, record, is_adjacent);
                is_adjacent = true;
            }
            self.arrived += tools.engine.queue_len(self.group).saturating_sub(queued_before);
            held -= length;
        }
        tools.buffer = buffer;
    }

    fn deliver_record(&mut self, engine: &mut Engine, record: Record<'_>, adjacent: bool) {
        if engine.is_full(self.group) {
            self.acknowledge(engine);
        }
        if record.mask & Mask::IN_Q_OVERFLOW.bits() != 0 {
            engine.source_overflowed(self.group);
            self.has_lost_events = true;
            return;
        }
        // An unknown number is that of a watch that was refused: the core is told of no wd that it has, and drops the event.
        let wd = engine.watch_of(self.group, object(KernelWd(record.wd))).unwrap_or(Wd(0));
        let Record { mask, cookie, name, .. } = record;
        // What the kernel keeps from its readers, exec's mark on an OPEN, does not come this far (docs/differences.md).
        engine.deliver(self.group, wd, Delivery { mask, cookie, name, hidden: 0, adjacent });
    }

    /// The kernel's queue was full: an IN_IGNORED may be among what it dropped, as it would have been for the program.
    fn find_ended_watches(&mut self, kernel: &Instance, tools: &mut Tools) {
        let Ok(living) = kernel.information().map(|information| information.living()) else {
            // No descriptor left for it: the next time.
            self.has_lost_events = true;
            return;
        };
        // Those whose IN_IGNORED is still to come end by it.
        self.take_held(kernel, tools);
        let watches: Vec<_> = tools.engine.watches(self.group).map(|watch| (watch.wd, watch.object)).collect();
        for (wd, watched) in watches {
            if !is_observed(watched) && !living.contains(&kernel_wd(watched)) {
                // It is known, as the list shows.
                let _ = tools.engine.end_watch_silently(self.group, wd);
            }
        }
    }

    /// `AddWatch`, once the kernel watches the object, or has refused to.
    pub(crate) fn add_watch<'p>(
        &mut self,
        tools: &mut Tools,
        armed: Result<KernelWd, Errno>,
        mask: AddMask,
        noted: impl FnOnce() -> Cow<'p, [u8]>,
    ) -> Result<Wd, Errno> {
        let engine = &mut tools.engine;
        if armed == Err(Errno::ENOSPC) {
            // The kernel's own limit: what it did to its cursor has to be done to ours.
            engine.burn_wd(self.group);
        }
        let kernel = armed?;
        let added = match engine.add_watch(self.group, object(kernel), mask) {
            Ok(added) => added,
            Err(refusal) => {
                self.disarm(engine, kernel);
                return Err(errno(refusal));
            }
        };
        if added.new {
            self.paths.insert(object(kernel), &noted());
        }
        Ok(added.wd)
    }

    /// A watch that the kernel had before the core may have ended in between, when its IN_IGNORED was nobody's: then that comes now.
    pub(crate) fn end_if_gone(&mut self, tools: &mut Tools, wd: Wd) {
        let (Some(kernel), Ok(watched)) = (&self.kernel, tools.engine.object_of(self.group, wd)) else { return };
        // What still is to come ends it by itself.
        let is_gone = kernel.information().is_ok_and(|information| !information.living().contains(&kernel_wd(watched)));
        if is_gone && kernel.queued_bytes() == 0 {
            self.begin_cycle();
            let ignored = Delivery { mask: Mask::IN_IGNORED.bits(), cookie: 0, name: b"", hidden: 0, adjacent: false };
            tools.engine.deliver(self.group, wd, ignored);
            self.forget_ended(tools);
            self.fill_window(tools);
            self.end_cycle();
        }
    }

    /// The kernel instance, for another thread.
    pub(crate) fn kernel_for_thread(&mut self) -> Option<Instance> {
        self.kernel.as_mut()?.duplicate().ok()
    }

    /// Sets up the kernel's watch.
    pub(crate) fn arm(&self, engine: &Engine, sought: Sought<'_>, bits: u32) -> Result<KernelWd, Errno> {
        const NOTHING: u32 = libc::IN_MASK_ADD | libc::IN_ISDIR;
        let source = self.kernel.as_ref().ok_or(Errno::ENOSPC)?;
        let watched = sought.object;
        if bits & libc::IN_MASK_CREATE == 0 {
            if sought.is_plain_folder
                && let Some(result) = source.watch_folder(watched, bits)
            {
                return result;
            }
            return source.watch(watched, bits);
        }
        // Before 4.18 a kernel refuses the flag or, worse, ignores it: adding nothing finds out whether there is a watch.
        let kernel = source.watch(watched, NOTHING)?;
        if engine.watch_of(self.group, object(kernel)).is_some() {
            return Err(Errno::EEXIST);
        }
        source.watch(watched, bits & !libc::IN_MASK_CREATE)
    }

    /// What was set up for an object that another source tells of.
    pub(crate) fn disarm(&self, engine: &Engine, armed: KernelWd) {
        if engine.watch_of(self.group, object(armed)).is_none() {
            // Its IN_IGNORED finds no watch.
            let _ = self.kernel_unwatch(object(armed));
        }
    }

    /// What the kernel says that it watches.
    pub(crate) fn kernel_inodes(&self) -> BTreeMap<ObjectId, Inode> {
        let information = self.kernel.as_ref().and_then(|kernel| kernel.information().ok());
        let inodes = information.iter().flat_map(|information| information.inodes());
        inodes.map(|(wd, (device, inode))| (object(wd), Inode { device, inode })).collect()
    }

    /// The core has ended a watch of the kernel's. Its IN_IGNORED finds none.
    pub(crate) fn end_kernel_watch(&self, watched: ObjectId) {
        let _ = self.kernel_unwatch(watched);
    }

    pub(super) fn kernel_unwatch(&self, watched: ObjectId) -> Result<(), Errno> {
        self.kernel.as_ref().ok_or(Errno::EINVAL)?.unwatch(kernel_wd(watched))
    }

    /// The kernel's list is exact at this moment: it lacks also watches whose IN_IGNORED is still on its way.
    pub(super) fn kernel_information(
        &self,
        kernel: &Instance,
        engine: &Engine,
        flags: u32,
    ) -> io::Result<(String, u32)> {
        let watches: BTreeMap<_, _> = engine
            .watches(self.group)
            .filter(|watch| !is_observed(watch.object))
            .map(|watch| (kernel_wd(watch.object), Shown { wd: watch.wd.0, mask: watch.mask }))
            .collect();
        let information = kernel.information()?;
        Ok((information.shown(flags, |kernel| watches.get(&kernel).copied()), information.mode))
    }
}
