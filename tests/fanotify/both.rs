//! The source with an engine, and the kernel's inotify, watching the same objects.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use uinotify_core::{AddMask, Config, Engine, FsEvent, GroupId, Limits, Mask, ObjectId, OwnerId, Wd};
use uinotify_harness::class::Seen;
use uinotify_source::fanotify::{MarkKind, Options, Source, UNWATCHED, is_numbered};
use uinotify_source::inotify::Records;

/// What both sides have seen.
#[derive(Clone, Debug, Default)]
pub(crate) struct Told {
    pub(crate) kernel: Vec<Seen>,
    pub(crate) source: Vec<Seen>,
}

pub(crate) struct Both {
    pub(crate) source: Source,
    pub(crate) engine: Engine,
    pub(crate) group: GroupId,
    kernel: OwnedFd,
    kernel_labels: BTreeMap<i32, String>,
    source_labels: BTreeMap<i32, String>,
    objects: BTreeMap<String, (ObjectId, Wd)>,
    /// Hooks that were told.
    pub(crate) hooks: usize,
}

impl Both {
    pub(crate) fn new(options: Options) -> Result<Self> {
        let mut engine = Engine::new(Config::default());
        let limits = Limits { queue_events_max: 10_000_000, ..Limits::default() };
        let group = engine.create_group(OwnerId(0), limits)?;
        // SAFETY: takes flags only.
        let fd = unsafe { libc::inotify_init1(libc::IN_NONBLOCK | libc::IN_CLOEXEC) };
        Errno::result(fd).context("a kernel instance")?;
        // SAFETY: the call has just returned this descriptor, which nobody else has.
        let kernel = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Self {
            source: Source::new(options).context("the source")?,
            engine,
            group,
            kernel,
            kernel_labels: BTreeMap::new(),
            source_labels: BTreeMap::new(),
            objects: BTreeMap::new(),
            hooks: 0,
        })
    }

    /// Watches what stands under a path on both sides. What looking at it makes is not shown.
    pub(crate) fn watch(&mut self, path: impl AsRef<Path>, label: &str, mask: u32) -> Result<MarkKind> {
        let path = path.as_ref();
        let object = open(path, OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::empty())?;
        let (engine, hooks) = (&mut self.engine, &mut self.hooks);
        let mut sink = |event: FsEvent<'_>| {
            *hooks += 1;
            engine.observe(event);
        };
        let asked = Mask::from_bits_retain(mask);
        let id = self.source.watch(object.as_fd(), asked, &mut sink).with_context(|| label.to_owned())?;
        ensure!(is_numbered(id) && id != UNWATCHED, "{id:?}");
        let wd = self.engine.add_watch(self.group, id, AddMask::new(mask)?)?.wd;
        let link = CString::new(format!("/proc/self/fd/{}", object.as_raw_fd()))?;
        // SAFETY: the string lives through the call.
        let kernel_wd = unsafe { libc::inotify_add_watch(self.kernel.as_raw_fd(), link.as_ptr(), mask) };
        Errno::result(kernel_wd).context("the kernel's watch")?;
        self.kernel_labels.insert(kernel_wd, label.to_owned());
        self.source_labels.insert(wd.0, label.to_owned());
        self.objects.insert(label.to_owned(), (id, wd));
        self.read_kernel()?;
        self.source.mark_of(id).context("no mark")
    }

    /// Ends a watch on both sides.
    pub(crate) fn unwatch(&mut self, label: &str) -> Result<()> {
        let (id, wd) = self.objects.remove(label).context("no such watch")?;
        let kernel = self.kernel_labels.iter().find(|(_, found)| *found == label).map(|(wd, _)| *wd);
        let kernel = kernel.context("no such watch")?;
        // SAFETY: takes numbers only.
        Errno::result(unsafe { libc::inotify_rm_watch(self.kernel.as_raw_fd(), kernel) })?;
        self.engine.remove_watch(self.group, wd)?;
        self.source.unwatch(id);
        Ok(())
    }

    /// All that has happened since the last time.
    pub(crate) fn take(&mut self) -> Result<Told> {
        self.drain()?;
        let kernel = self.read_kernel()?;
        let source = self.read_source()?;
        Ok(Told { kernel, source })
    }

    pub(crate) fn drain(&mut self) -> Result<()> {
        let (engine, hooks) = (&mut self.engine, &mut self.hooks);
        let mut sink = |event: FsEvent<'_>| {
            *hooks += 1;
            engine.observe(event);
        };
        self.source.drain(&mut sink)?;
        while self.engine.poll_output().is_some() {}
        Ok(())
    }

    fn read_source(&mut self) -> Result<Vec<Seen>> {
        let mut seen = Vec::new();
        while self.engine.queue_len(self.group) > 0 {
            let mut bytes = Vec::new();
            self.engine.take(self.group, 1 << 16, &mut bytes)?;
            seen.extend(events(&bytes, &self.source_labels));
        }
        Ok(seen)
    }

    pub(crate) fn read_kernel(&mut self) -> Result<Vec<Seen>> {
        let mut seen = Vec::new();
        let mut buffer = vec![0; 1 << 16];
        loop {
            match nix::unistd::read(&self.kernel, &mut buffer) {
                Err(Errno::EAGAIN) => return Ok(seen),
                result => seen.extend(events(&buffer[..result?], &self.kernel_labels)),
            }
        }
    }

    /// Nothing but the descriptor says that there is something to drain.
    pub(crate) fn wait(&self, timeout_ms: u16) -> Result<bool> {
        use nix::poll::{PollFd, PollFlags, poll};
        let mut one = [PollFd::new(self.source.as_fd(), PollFlags::POLLIN)];
        Ok(poll(&mut one, timeout_ms)? > 0)
    }
}

fn events(bytes: &[u8], labels: &BTreeMap<i32, String>) -> Vec<Seen> {
    let seen = Records::new(bytes).map(|record| Seen {
        watch: labels.get(&record.wd).cloned().unwrap_or_else(|| record.wd.to_string()),
        mask: record.mask,
        cookie: record.cookie,
        name: String::from_utf8_lossy(record.name).into_owned(),
    });
    seen.collect()
}

/// Cookies are numbered as they come.
fn canonical(mut seen: Vec<Seen>) -> Vec<Seen> {
    let mut cookies = BTreeMap::new();
    for event in seen.iter_mut().filter(|event| event.cookie != 0) {
        let next = cookies.len() as u32 + 1;
        event.cookie = *cookies.entry(event.cookie).or_insert(next);
    }
    seen
}

/// Equal, in order, but that repeats count once: several reads of a directory are one record.
pub(crate) fn ensure_equal(what: &str, told: &Told) -> Result<()> {
    ensure!(
        once(&told.kernel) == once(&told.source),
        "{what}\n  kernel:\n{}\n  source:\n{}",
        show(&told.kernel),
        show(&told.source)
    );
    Ok(())
}

fn once(events: &[Seen]) -> Vec<Seen> {
    let mut met = std::collections::BTreeSet::new();
    canonical(events.to_vec()).into_iter().filter(|event| met.insert(event.clone())).collect()
}

pub(crate) fn show(events: &[Seen]) -> String {
    let lines = events.iter().map(|event| {
        let mask = Mask::from_bits_retain(event.mask);
        format!("    {}: {mask:?} {} {}", event.watch, event.name, event.cookie)
    });
    lines.collect::<Vec<_>>().join("\n")
}
