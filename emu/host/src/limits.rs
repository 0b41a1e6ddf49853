//! The machine's limits.

use std::fs::File;
use std::os::unix::fs::FileExt;

use uinotify_core::Limits;

use crate::config::{LimitOverrides, Sources};

/// As many as there are watch descriptors.
pub const UNLIMITED: u32 = i32::MAX.cast_unsigned();

/// The files that hold the limits, kept open: they are read for every new instance.
#[derive(Debug)]
pub struct MachineLimits {
    instances: [Option<File>; 2],
    watches: [Option<File>; 2],
    queue_events: Option<File>,
}

fn open(path: &str) -> Option<File> {
    File::open(path).ok()
}

fn number(file: &File) -> Option<u32> {
    let mut text = [0; 32];
    let length = file.read_at(&mut text, 0).ok()?;
    let value: u64 = std::str::from_utf8(&text[..length]).ok()?.trim().parse().ok()?;
    Some(u32::try_from(value).unwrap_or(u32::MAX))
}

/// Every limit that is there holds: those of the machine, and those of the user name space (Linux 4.9).
fn least(files: &[Option<File>]) -> Option<u32> {
    files.iter().flatten().filter_map(number).min()
}

impl MachineLimits {
    /// Opens what there is.
    #[must_use]
    pub fn open() -> Self {
        Self {
            instances: ["/proc/sys/fs/inotify/max_user_instances", "/proc/sys/user/max_inotify_instances"].map(open),
            watches: ["/proc/sys/fs/inotify/max_user_watches", "/proc/sys/user/max_inotify_watches"].map(open),
            queue_events: open("/proc/sys/fs/inotify/max_queued_events"),
        }
    }

    /// The limits in force now, with those that the user has set in their place. What the machine does not tell is as Linux has
    /// it from the start. So is a limit of 0, by which the kernel gives nobody an instance or a watch, unless they are the kernel's. Where
    /// marks of fanotify take the place of what the kernel's inotify refuses, its limits of instances and watches are none.
    #[must_use]
    pub fn with(&self, overrides: LimitOverrides, sources: Sources) -> Limits {
        let usual = Limits::default();
        let needs_kernel = sources == Sources::Inotify;
        if matches!(sources, Sources::Auto | Sources::Fanotify) {
            let machine =
                self.with(LimitOverrides { instances_max: Some(0), watches_max: Some(0), ..overrides }, Sources::Fuse);
            return Limits {
                instances_max: overrides.instances_max.unwrap_or(UNLIMITED),
                watches_max: overrides.watches_max.unwrap_or(UNLIMITED),
                ..machine
            };
        }
        let holds = |limit: &u32| needs_kernel || *limit > 0;
        let chosen = |own: Option<u32>, machine: &dyn Fn() -> Option<u32>, usual| {
            own.or_else(|| machine().filter(holds)).unwrap_or(usual)
        };
        Limits {
            instances_max: chosen(overrides.instances_max, &|| least(&self.instances), usual.instances_max),
            watches_max: chosen(overrides.watches_max, &|| least(&self.watches), usual.watches_max),
            queue_events_max: chosen(
                overrides.queue_events_max,
                &|| self.queue_events.as_ref().and_then(number),
                usual.queue_events_max,
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_tells_its_limits() {
        let limits = MachineLimits::open().with(LimitOverrides::default(), Sources::Inotify);
        let text = std::fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").expect("the limit");
        assert_eq!(limits.queue_events_max.to_string(), text.trim());
    }

    #[test]
    fn only_named_limits_are_replaced() {
        let machine = MachineLimits::open();
        let before = machine.with(LimitOverrides::default(), Sources::Inotify);
        let after =
            machine.with(LimitOverrides { watches_max: Some(0), ..LimitOverrides::default() }, Sources::Inotify);
        assert_eq!(after, Limits { watches_max: 0, ..before });
    }

    #[test]
    fn marks_have_the_limits_that_were_set_and_no_others() {
        let machine = MachineLimits::open();
        let kernels = machine.with(LimitOverrides::default(), Sources::Inotify);
        for sources in [Sources::Auto, Sources::Fanotify] {
            let set = LimitOverrides { watches_max: Some(8), ..LimitOverrides::default() };
            let expected = Limits { watches_max: 8, instances_max: UNLIMITED, ..kernels };
            assert_eq!(machine.with(set, sources), expected);
        }
    }
}
