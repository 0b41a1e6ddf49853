//! Makes records of what happens, and tells the observers.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use uinotify_core::{Event, Mask, Pushed};
use uinotify_images::text::ByteString;

use super::Observer;
use super::record::{Record, What};

/// Whoever follows an emulator, and what is known for them.
pub(crate) struct Tracer {
    observers: Vec<Box<dyn Observer>>,
    began: Instant,
    /// Where what a watch of an instance watches was when it was added.
    paths: BTreeMap<(u64, i32), Vec<u8>>,
    /// Files that the observers write. What happens to these is not told, or a trace in a watched folder would never end.
    own: Vec<PathBuf>,
    /// Of each instance that has been told of such a file: for each event that waits, whether it is about one.
    waiting: BTreeMap<u64, VecDeque<bool>>,
}

impl fmt::Debug for Tracer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Tracer").field("observers", &self.observers.len()).finish_non_exhaustive()
    }
}

impl Default for Tracer {
    fn default() -> Self {
        Self {
            observers: Vec::new(),
            began: Instant::now(),
            paths: BTreeMap::new(),
            own: Vec::new(),
            waiting: BTreeMap::new(),
        }
    }
}

impl Tracer {
    /// Nobody follows.
    pub(crate) fn is_idle(&self) -> bool {
        self.observers.is_empty()
    }

    /// Somebody follows from now on, who writes to `own`.
    pub(crate) fn add(&mut self, observer: Box<dyn Observer>, own: Option<PathBuf>) {
        self.observers.push(observer);
        self.own.extend(own);
    }

    /// Tells of a call, and what else is not an event.
    pub(crate) fn tell(&mut self, instance: u64, what: What) {
        let time_us = u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX);
        let record = Record { time_us, instance, what };
        for observer in &mut self.observers {
            observer.observe(&record);
        }
    }

    /// A watch was added, or has another mask.
    pub(crate) fn watches(&mut self, instance: u64, wd: i32, path: &[u8]) {
        self.paths.insert((instance, wd), path.to_vec());
    }

    /// An instance is gone.
    pub(crate) fn closed(&mut self, instance: u64) {
        self.tell(instance, What::Close {});
        self.waiting.remove(&instance);
        let of_instance: Vec<_> =
            self.paths.range((instance, i32::MIN)..=(instance, i32::MAX)).map(|(key, _)| *key).collect();
        for key in of_instance {
            self.paths.remove(&key);
        }
    }

    /// Tells that events were read, if any of them was told.
    pub(crate) fn read(&mut self, instance: u64, events: usize, queue_events: usize) {
        if let Some(waiting) = self.waiting.get_mut(&instance) {
            let mut read = waiting.drain(..events.min(waiting.len()));
            if read.len() == events && read.all(|is_own| is_own) {
                return;
            }
        }
        self.tell(instance, What::Read { events, queue_events });
    }

    /// Tells of an event.
    pub(crate) fn event(&mut self, instance: u64, event: &Event, pushed: Pushed, queue_events: usize) {
        let wd = event.wd.0;
        let path = self.paths.get(&(instance, wd)).cloned();
        let is_own = path.as_ref().is_some_and(|path| self.is_own(path, &event.name));
        if pushed.is_new() && !self.own.is_empty() {
            self.waiting.entry(instance).or_default().push_back(is_own);
        }
        if is_own {
            return;
        }
        self.tell(
            instance,
            What::Event {
                wd,
                path: path.map(ByteString),
                mask: event.mask,
                cookie: event.cookie,
                name: ByteString(event.name.to_vec()),
                outcome: pushed.into(),
                queue_events,
            },
        );
        if event.mask & Mask::IN_IGNORED.bits() != 0 {
            self.paths.remove(&(instance, wd));
        }
    }

    fn is_own(&self, path: &[u8], name: &[u8]) -> bool {
        let path = Path::new(std::ffi::OsStr::from_bytes(path));
        let name = std::ffi::OsStr::from_bytes(name);
        self.own.iter().any(|own| {
            if name.is_empty() { own == path } else { own.parent() == Some(path) && own.file_name() == Some(name) }
        })
    }

    /// There is nothing more to tell for now.
    pub(crate) fn pause(&mut self) {
        self.observers.iter_mut().for_each(|observer| observer.pause());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use uinotify_core::Wd;

    use super::*;

    struct Lines(Arc<Mutex<Vec<String>>>);

    impl Observer for Lines {
        fn observe(&mut self, record: &Record) {
            let line = record.to_string();
            let (_, line) = line.split_once(' ').unwrap();
            self.0.lock().unwrap().push(line.to_owned());
        }
    }

    #[test]
    fn watches_are_known_by_where_they_were() {
        let lines = Arc::default();
        let mut tracer = Tracer::default();
        assert!(tracer.is_idle());
        tracer.add(Box::new(Lines(Arc::clone(&lines))), Some("/d/trace".into()));
        tracer.watches(1, 5, b"/d");
        tracer.watches(2, 5, b"/e");
        let event = |name: &[u8]| Event { wd: Wd(5), mask: 0x100, cookie: 0, name: name.into(), hidden: 0 };
        tracer.event(1, &event(b"n"), Pushed::Queued, 1);
        tracer.event(1, &event(b"trace"), Pushed::Queued, 2);
        tracer.event(2, &event(b"trace"), Pushed::Queued, 1);
        tracer.event(1, &Event::ignored(Wd(5)), Pushed::Queued, 3);
        tracer.event(1, &event(b"n"), Pushed::Queued, 4);
        tracer.read(1, 1, 3);
        tracer.read(1, 1, 2);
        tracer.read(2, 1, 0);
        tracer.closed(2);
        let expected = [
            "instance 1 wd 5 \"/d\": IN_CREATE \"n\", 1 queued",
            "instance 2 wd 5 \"/e\": IN_CREATE \"trace\", 1 queued",
            "instance 1 wd 5 \"/d\": IN_IGNORED, 3 queued",
            "instance 1 wd 5: IN_CREATE \"n\", 4 queued",
            "instance 1 read: 1 events, 3 left",
            "instance 2 read: 1 events, 0 left",
            "instance 2 closed",
        ];
        assert_eq!(*lines.lock().unwrap(), expected);
        assert!(tracer.paths.is_empty());
    }
}
