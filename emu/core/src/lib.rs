//! inotify's semantics, and nothing else: watch descriptors, masks, limits, merging, overflow and the end of watches.
//!
//! There is no I/O here, no clock, no thread and no path. An [`Engine`] holds groups (inotify instances); calls go in,
//! results come out, and what the caller has to act upon later is pulled with [`Engine::poll_output`]. The same calls
//! always give the same results.
//!
//! An *object* is an inode, which the caller identifies by a number of its own. A *source* is where file-system events
//! come from. The events of one whose kernel has matched them to watches enter by [`Engine::deliver`]; one that sees
//! what happens to the file system itself tells it to [`Engine::observe`], an [`FsEvent`] for each hook.
//!
//! Names such as WD-3 or MERGE-1 in this documentation are rules of `docs/semantics.md`.
//!
//! ```
//! use uinotify_core::{AddMask, Config, Delivery, Engine, Limits, ObjectId, OwnerId};
//!
//! let mut engine = Engine::new(Config::default());
//! let group = engine.create_group(OwnerId(1000), Limits::default())?;
//! let added = engine.add_watch(group, ObjectId(7), AddMask::new(0x100)?)?;
//! engine.deliver(group, added.wd, Delivery { mask: 0x100, name: b"new", ..Delivery::default() });
//!
//! let mut bytes = Vec::new();
//! engine.take(group, 4096, &mut bytes)?;
//! assert_eq!(bytes.len(), 32);
//! # Ok::<(), uinotify_core::Errno>(())
//! ```

#![forbid(unsafe_code)]

pub mod allocator;
pub mod arrival;
pub mod engine;
pub mod errno;
pub mod event;
mod group;
pub mod history;
pub mod hook;
mod index;
pub mod mask;
mod observe;
pub mod profile;
pub mod queue;
pub mod schedule;
pub mod snapshot;
pub mod watches;

pub use allocator::{Wd, WdAllocator};
pub use arrival::{ArrivalRule, Arrivals, Delay, Fate};
pub use engine::{Added, Config, Delivery, Engine, GroupId, Limits, ObjectId, Output, OwnerId};
pub use errno::Errno;
pub use event::Event;
pub use group::Totals;
pub use history::Happening;
pub use hook::{Change, Entry, FsEvent, Kind, Object, Subject};
pub use mask::{AddMask, Mask};
pub use profile::Profile;
pub use queue::{EventQueue, Pushed};
pub use schedule::{Choice, Schedule};
pub use snapshot::{RestoreError, Snapshot};
pub use watches::Watch;
