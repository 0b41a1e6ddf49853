//! What has changed, in the order in which it is told.

use std::ffi::CStr;

use uinotify_core::{Change, Entry, FsEvent, Object, ObjectId, Subject};

use crate::fanotify::UNWATCHED;

/// A name in a watched directory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Place {
    pub(super) directory: ObjectId,
    pub(super) name: Box<CStr>,
}

impl Place {
    fn entry(&self) -> Entry<'_> {
        Entry { directory: self.directory, name: self.name.to_bytes() }
    }
}

/// In no watched directory.
const NOWHERE: Entry<'_> = Entry { directory: UNWATCHED, name: b"." };

/// One of Linux's hooks, as it would have been called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference(pub(super) Kind);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Modified(Object, Option<Place>),
    /// The time of modification was set.
    TimeSet(Object, Option<Place>),
    Attributes(Object, Option<Place>),
    Links(Object),
    Created(Place, bool),
    Deleted(Place, bool),
    Moved {
        moved: Object,
        from: Option<Place>,
        to: Option<Place>,
        replaced: Option<Object>,
    },
    Gone(Object),
    Unmounted(Object),
}

impl From<Kind> for Difference {
    fn from(kind: Kind) -> Self {
        Self(kind)
    }
}

impl Difference {
    /// The hook.
    #[must_use]
    pub fn hook(&self) -> FsEvent<'_> {
        match &self.0 {
            Kind::Modified(object, place) => FsEvent::Modify(subject_of(*object, place.as_ref())),
            Kind::TimeSet(object, place) => FsEvent::Change {
                subject: subject_of(*object, place.as_ref()),
                change: Change { modified: true, ..Change::default() },
            },
            Kind::Attributes(object, place) => FsEvent::Change {
                subject: subject_of(*object, place.as_ref()),
                change: Change { mode: true, ..Change::default() },
            },
            Kind::Links(object) => FsEvent::LinkCount(*object),
            Kind::Created(place, directory) => FsEvent::Create { entry: place.entry(), directory: *directory },
            Kind::Deleted(place, directory) => FsEvent::Delete { entry: place.entry(), directory: *directory },
            Kind::Moved { moved, from, to, replaced } => FsEvent::Rename {
                moved: *moved,
                from: from.as_ref().map_or(NOWHERE, Place::entry),
                to: to.as_ref().map_or(NOWHERE, Place::entry),
                replaced: *replaced,
            },
            Kind::Gone(object) => FsEvent::Gone(*object),
            Kind::Unmounted(object) => FsEvent::Unmount(*object),
        }
    }
}

fn subject_of(object: Object, place: Option<&Place>) -> Subject<'_> {
    Subject { object, entry: place.map(Place::entry), unlinked: false }
}
