//! Who is told of a hook, what, and in which order.

use uinotify_core::{
    AddMask, Change, Config, Delivery, Engine, Entry, Errno, FsEvent, GroupId, Kind, Limits, Mask, Object, ObjectId,
    OwnerId, Profile, Subject, Wd,
};

const ALL: u32 = Mask::IN_ALL_EVENTS.bits();
const ONESHOT: u32 = Mask::IN_ONESHOT.bits();
const EXCL: u32 = Mask::IN_EXCL_UNLINK.bits();
/// The directory of [`FILE`] and [`OTHER`], and one beside it.
const DIRECTORY: Object = Object { id: ObjectId(1), kind: Kind::Directory };
const BESIDE: Object = Object { id: ObjectId(2), kind: Kind::Directory };
const FILE: Object = Object { id: ObjectId(1 << 40 | 3), kind: Kind::File };
const OTHER: Object = Object { id: ObjectId(u64::MAX), kind: Kind::File };

fn entry(directory: Object, name: &str) -> Entry<'_> {
    Entry { directory: directory.id, name: name.as_bytes() }
}

/// The object by the name `f` in [`DIRECTORY`].
fn named(object: Object) -> Subject<'static> {
    Subject { object, entry: Some(entry(DIRECTORY, "f")), unlinked: false }
}

fn changed(subject: Subject<'_>, change: Change) -> FsEvent<'_> {
    FsEvent::Change { subject, change }
}

struct Scene {
    engine: Engine,
    group: GroupId,
}

impl Scene {
    /// A group with a watch on each object, wd 1 on the first.
    fn watching(masks: &[(Object, u32)]) -> Self {
        Self::showing(Profile::Native, masks)
    }

    fn showing(profile: Profile, masks: &[(Object, u32)]) -> Self {
        let mut engine = Engine::new(Config { profile, ..Config::default() });
        let group = engine.create_group(OwnerId(0), Limits::default()).unwrap();
        let mut scene = Self { engine, group };
        for &(object, mask) in masks {
            scene.watch(group, object, mask);
        }
        scene
    }

    fn watch(&mut self, group: GroupId, object: Object, mask: u32) -> Wd {
        self.engine.add_watch(group, object.id, AddMask::new(mask).unwrap()).unwrap().wd
    }

    /// What the group is told of these: `wd:MASK(name)#cookie`, without the parts that are empty.
    fn told(&mut self, events: &[FsEvent<'_>]) -> String {
        for event in events {
            self.engine.observe(*event);
        }
        self.read(self.group)
    }

    fn read(&mut self, group: GroupId) -> String {
        let shown: Vec<_> = (0..self.engine.queue_len(group))
            .map(|index| {
                let event = self.engine.event(group, index).unwrap();
                let mask: Vec<_> =
                    Mask::from_bits_retain(event.mask).iter_names().map(|(name, _)| &name[3..]).collect();
                let mut shown = format!("{}:{}", event.wd, mask.join(","));
                if !event.name.is_empty() {
                    shown += &format!("({})", String::from_utf8_lossy(&event.name));
                }
                if event.cookie != 0 {
                    shown += &format!("#{}", event.cookie);
                }
                shown
            })
            .collect();
        self.engine.acknowledge(group, usize::MAX);
        shown.join(" ")
    }
}

/// EVENT-7
#[test]
fn directory_is_told_first_and_with_the_name() {
    let mut scene = Scene::watching(&[(FILE, ALL), (DIRECTORY, ALL)]);
    let file = named(FILE);
    assert_eq!(scene.told(&[FsEvent::Open { subject: file, exec: false }]), "2:OPEN(f) 1:OPEN");
    assert_eq!(scene.told(&[FsEvent::Access(file)]), "2:ACCESS(f) 1:ACCESS");
    assert_eq!(scene.told(&[FsEvent::Modify(file)]), "2:MODIFY(f) 1:MODIFY");
    assert_eq!(scene.told(&[FsEvent::Close { subject: file, writable: true }]), "2:CLOSE_WRITE(f) 1:CLOSE_WRITE");
    assert_eq!(scene.told(&[FsEvent::Close { subject: file, writable: false }]), "2:CLOSE_NOWRITE(f) 1:CLOSE_NOWRITE");
    let mode = Change { mode: true, ..Change::default() };
    assert_eq!(scene.told(&[changed(file, mode)]), "2:ATTRIB(f) 1:ATTRIB");
}

/// EVENT-6, EVENT-7
#[test]
fn directories_are_marked_but_not_on_move_self_and_delete_self() {
    let mut scene = Scene::watching(&[(DIRECTORY, ALL), (BESIDE, ALL)]);
    let inner = named(BESIDE);
    let renamed =
        FsEvent::Rename { moved: BESIDE, from: entry(DIRECTORY, "f"), to: entry(DIRECTORY, "g"), replaced: None };
    let attribute = Change { attribute: true, ..Change::default() };
    assert_eq!(scene.told(&[FsEvent::Open { subject: inner, exec: false }]), "1:OPEN,ISDIR(f) 2:OPEN,ISDIR");
    assert_eq!(scene.told(&[FsEvent::Access(inner)]), "1:ACCESS,ISDIR(f) 2:ACCESS,ISDIR");
    assert_eq!(scene.told(&[changed(inner, attribute)]), "1:ATTRIB,ISDIR(f) 2:ATTRIB,ISDIR");
    assert_eq!(scene.told(&[FsEvent::Create { entry: entry(DIRECTORY, "f"), directory: true }]), "1:CREATE,ISDIR(f)");
    assert_eq!(scene.told(&[renamed]), "1:MOVED_FROM,ISDIR(f)#1 1:MOVED_TO,ISDIR(g)#1 2:MOVE_SELF");
    assert_eq!(scene.told(&[FsEvent::LinkCount(BESIDE)]), "2:ATTRIB,ISDIR");
    assert_eq!(scene.told(&[FsEvent::Gone(BESIDE)]), "2:DELETE_SELF 2:IGNORED");
    assert_eq!(scene.told(&[FsEvent::Delete { entry: entry(DIRECTORY, "f"), directory: true }]), "1:DELETE,ISDIR(f)");
}

/// EVENT-8
#[test]
fn what_goes_through_a_special_file_is_its_own() {
    let fifo = Object { kind: Kind::Special, ..FILE };
    let mut scene = Scene::watching(&[(DIRECTORY, ALL), (fifo, ALL)]);
    let subject = named(fifo);
    assert_eq!(scene.told(&[FsEvent::Open { subject, exec: false }]), "1:OPEN(f) 2:OPEN");
    assert_eq!(scene.told(&[FsEvent::Access(subject), FsEvent::Modify(subject)]), "2:ACCESS 2:MODIFY");
    let accessed = Change { accessed: true, ..Change::default() };
    assert_eq!(scene.told(&[changed(subject, accessed)]), "1:ACCESS(f) 2:ACCESS");
    assert_eq!(scene.told(&[FsEvent::Close { subject, writable: false }]), "1:CLOSE_NOWRITE(f) 2:CLOSE_NOWRITE");
}

/// EVENT-9
#[test]
fn only_the_name_that_was_used_counts() {
    let mut scene = Scene::watching(&[(DIRECTORY, ALL), (BESIDE, ALL), (FILE, ALL)]);
    let link = Subject { entry: Some(entry(BESIDE, "l")), ..named(FILE) };
    let unlinked = Subject { unlinked: true, ..named(FILE) };
    let nameless = Subject { entry: None, ..named(FILE) };
    assert_eq!(scene.told(&[FsEvent::Modify(link)]), "2:MODIFY(l) 3:MODIFY");
    assert_eq!(scene.told(&[FsEvent::Modify(unlinked)]), "1:MODIFY(f) 3:MODIFY");
    assert_eq!(scene.told(&[FsEvent::Modify(nameless)]), "3:MODIFY");
}

/// EVENT-10, EVENT-11
#[test]
fn entries_are_the_directorys_and_the_rest_the_objects() {
    let mut scene = Scene::watching(&[(DIRECTORY, ALL), (FILE, ALL)]);
    let place = entry(DIRECTORY, "f");
    assert_eq!(scene.told(&[FsEvent::Create { entry: place, directory: false }]), "1:CREATE(f)");
    assert_eq!(scene.told(&[FsEvent::Delete { entry: place, directory: false }]), "1:DELETE(f)");
    assert_eq!(scene.told(&[FsEvent::LinkCount(FILE)]), "2:ATTRIB");
}

/// EVENT-12
#[test]
fn each_change_has_its_bits() {
    let mut scene = Scene::watching(&[(FILE, ALL)]);
    let none = Change::default();
    let cases = [
        (none, ""),
        (Change { owner: true, ..none }, "1:ATTRIB"),
        (Change { mode: true, ..none }, "1:ATTRIB"),
        (Change { attribute: true, ..none }, "1:ATTRIB"),
        (Change { size: true, ..none }, "1:MODIFY"),
        (Change { accessed: true, ..none }, "1:ACCESS"),
        (Change { modified: true, ..none }, "1:MODIFY"),
        (Change { accessed: true, modified: true, ..none }, "1:ATTRIB"),
        (Change { accessed: true, modified: true, size: true, ..none }, "1:MODIFY,ATTRIB"),
        (Change { mode: true, size: true, ..none }, "1:MODIFY,ATTRIB"),
        (Change { mode: true, accessed: true, ..none }, "1:ACCESS,ATTRIB"),
    ];
    for (change, shown) in cases {
        assert_eq!(scene.told(&[changed(named(FILE), change)]), shown, "{change:?}");
    }
}

/// EVENT-5, EVENT-14
#[test]
fn one_bit_that_is_asked_for_brings_all() {
    let mut scene = Scene::watching(&[(DIRECTORY, Mask::IN_OPEN.bits()), (FILE, Mask::IN_ATTRIB.bits())]);
    let both = Change { mode: true, size: true, ..Change::default() };
    assert_eq!(scene.told(&[changed(named(FILE), both), FsEvent::Modify(named(FILE))]), "2:MODIFY,ATTRIB");
    assert_eq!(scene.engine.interest(FILE.id), Mask::IN_ATTRIB);
    assert_eq!(scene.engine.interest(OTHER.id), Mask::empty());
    assert!(scene.engine.is_watched(FILE.id) && !scene.engine.is_watched(OTHER.id));
}

/// EVENT-13, COOKIE-1
#[test]
fn each_instance_has_its_copies() {
    let mut scene = Scene::watching(&[(DIRECTORY, ALL), (FILE, ALL)]);
    let closed = scene.engine.create_group(OwnerId(0), Limits::default()).unwrap();
    let second = scene.engine.create_group(OwnerId(1), Limits::default()).unwrap();
    scene.watch(closed, FILE, ALL);
    scene.watch(second, FILE, ALL);
    scene.watch(second, BESIDE, Mask::IN_MOVED_TO.bits());
    scene.engine.close_group(closed);
    // At the place of the one that was closed.
    let third = scene.engine.create_group(OwnerId(0), Limits::default()).unwrap();
    scene.watch(third, DIRECTORY, Mask::IN_MOVED_FROM.bits());
    let to = entry(BESIDE, "g");
    let renamed = FsEvent::Rename { moved: FILE, from: entry(DIRECTORY, "f"), to, replaced: None };
    assert_eq!(scene.told(&[renamed]), "1:MOVED_FROM(f)#1 2:MOVE_SELF");
    assert_eq!(scene.read(second), "2:MOVED_TO(g)#1 1:MOVE_SELF");
    assert_eq!(scene.read(third), "1:MOVED_FROM(f)#1");
}

/// EVENT-15, COOKIE-1, COOKIE-2
#[test]
fn rename_tells_both_directories_what_was_replaced_and_what_was_moved() {
    let mut scene = Scene::watching(&[(DIRECTORY, ALL), (BESIDE, ALL), (FILE, ALL), (OTHER, ALL)]);
    let (from, to) = (entry(DIRECTORY, "f"), entry(BESIDE, "g"));
    let over = FsEvent::Rename { moved: FILE, from, to, replaced: Some(OTHER) };
    assert_eq!(scene.told(&[over]), "1:MOVED_FROM(f)#1 2:MOVED_TO(g)#1 4:ATTRIB 3:MOVE_SELF");
    let there = FsEvent::Rename { moved: FILE, from, to, replaced: None };
    let back = FsEvent::Rename { moved: OTHER, from: to, to: from, replaced: None };
    assert_eq!(
        scene.told(&[there, back]),
        "1:MOVED_FROM(f)#2 2:MOVED_TO(g)#2 3:MOVE_SELF 2:MOVED_FROM(g)#3 1:MOVED_TO(f)#3 4:MOVE_SELF"
    );
}

/// EVENT-14, EVENT-16, IGNORED-2, IGNORED-3, LIMIT-5
#[test]
fn deletion_and_unmount_end_all_watches() {
    let mut scene = Scene::watching(&[(FILE, ALL), (DIRECTORY, Mask::IN_OPEN.bits()), (OTHER, Mask::IN_OPEN.bits())]);
    let second = scene.engine.create_group(OwnerId(0), Limits::default()).unwrap();
    scene.watch(second, FILE, ALL);
    assert_eq!(scene.told(&[FsEvent::Gone(FILE)]), "1:DELETE_SELF 1:IGNORED");
    assert_eq!(scene.read(second), "1:DELETE_SELF 1:IGNORED");
    assert_eq!(scene.told(&[FsEvent::Gone(OTHER)]), "3:IGNORED", "not asked for");
    assert_eq!(scene.told(&[FsEvent::Unmount(DIRECTORY)]), "2:UNMOUNT,ISDIR 2:IGNORED");
    assert_eq!(scene.engine.watches(scene.group).len(), 0);
    assert_eq!(scene.told(&[FsEvent::Gone(FILE), FsEvent::Modify(named(FILE))]), "");
    assert_eq!(scene.watch(second, FILE, ALL), Wd(2), "a new watch");
}

/// ONESHOT-1, ONESHOT-3, EVENT-16
#[test]
fn one_shot_ends_with_its_first_event() {
    let mut scene = Scene::watching(&[(DIRECTORY, ALL | ONESHOT), (FILE, ALL | ONESHOT)]);
    let modified = FsEvent::Modify(named(FILE));
    assert_eq!(scene.told(&[modified, modified]), "1:MODIFY(f) 1:IGNORED 2:MODIFY 2:IGNORED");
    let mut scene = Scene::watching(&[(FILE, ALL | ONESHOT), (OTHER, Mask::IN_OPEN.bits() | ONESHOT)]);
    assert_eq!(scene.told(&[FsEvent::Gone(FILE)]), "1:DELETE_SELF 1:IGNORED");
    assert_eq!(scene.told(&[FsEvent::Modify(named(OTHER))]), "", "not asked for");
    assert_eq!(scene.told(&[FsEvent::Unmount(OTHER)]), "2:UNMOUNT 2:IGNORED");

    let limits = Limits { queue_events_max: 1, ..Limits::default() };
    let group = scene.engine.create_group(OwnerId(0), limits).unwrap();
    scene.watch(group, OTHER, ALL);
    scene.watch(group, FILE, ALL | ONESHOT);
    scene.engine.observe(FsEvent::Modify(named(OTHER)));
    scene.engine.observe(modified);
    assert_eq!(scene.read(group), "1:MODIFY -1:Q_OVERFLOW");
    assert!(!scene.engine.is_watched(FILE.id));
}

/// EXCL-1, EXCL-2
#[test]
fn unlinked_names_are_left_out_for_who_wants_it() {
    let mut scene = Scene::watching(&[(DIRECTORY, ALL | EXCL), (FILE, ALL | EXCL)]);
    let second = scene.engine.create_group(OwnerId(0), Limits::default()).unwrap();
    scene.watch(second, FILE, ALL);
    let subject = Subject { unlinked: true, ..named(FILE) };
    let silent = [
        FsEvent::Open { subject, exec: false },
        FsEvent::Access(subject),
        FsEvent::Modify(subject),
        FsEvent::Close { subject, writable: true },
    ];
    assert_eq!(scene.told(&silent), "");
    assert_eq!(scene.read(second), "1:OPEN 1:ACCESS 1:MODIFY 1:CLOSE_WRITE");
    let size = Change { size: true, ..Change::default() };
    assert_eq!(scene.told(&[changed(subject, size), FsEvent::LinkCount(FILE)]), "1:MODIFY(f) 2:MODIFY 2:ATTRIB");
    assert_eq!(scene.told(&[FsEvent::Modify(named(FILE))]), "1:MODIFY(f) 2:MODIFY", "another name");
    assert_eq!(scene.told(&[FsEvent::Gone(FILE)]), "2:DELETE_SELF 2:IGNORED");
}

/// MERGE-1, MERGE-4
#[test]
fn exec_does_not_merge_with_open() {
    let mut scene = Scene::watching(&[(FILE, ALL)]);
    let subject = named(FILE);
    let opens = [false, false, true, true].map(|exec| FsEvent::Open { subject, exec });
    assert_eq!(scene.told(&opens), "1:OPEN 1:OPEN");
}

/// OVERFLOW-7
#[test]
fn what_a_source_has_lost_overflows_each_queue_once() {
    let mut scene = Scene::watching(&[(DIRECTORY, ALL), (FILE, ALL)]);
    let other = scene.engine.create_group(OwnerId(0), Limits::default()).unwrap();
    scene.watch(other, FILE, ALL);
    let unconcerned = scene.engine.create_group(OwnerId(0), Limits::default()).unwrap();
    scene.watch(unconcerned, BESIDE, ALL);
    let lost = [FsEvent::Overflow(DIRECTORY.id), FsEvent::Overflow(FILE.id), FsEvent::Access(named(FILE))];
    assert_eq!(scene.told(&lost), "-1:Q_OVERFLOW 1:ACCESS(f) 2:ACCESS");
    assert_eq!(scene.read(other), "-1:Q_OVERFLOW 1:ACCESS");
    assert_eq!(scene.read(unconcerned), "");
}

const BOTH: [Profile; 2] = [Profile::Native, Profile::El7];

/// PROFILE-1
#[test]
fn an_old_kernel_knows_no_mask_create() {
    let create = AddMask::new((Mask::IN_MASK_CREATE | Mask::IN_OPEN).bits()).unwrap();
    let results = BOTH.map(|profile| {
        let mut scene = Scene::showing(profile, &[]);
        scene.engine.add_watch(scene.group, FILE.id, create).map(|added| added.wd)
    });
    assert_eq!(results, [Ok(Wd(1)), Err(Errno::Inval)]);
}

/// PROFILE-2
#[test]
fn an_old_kernel_truncates_before_it_opens() {
    let change = Change { size: true, ..Change::default() };
    let shown = BOTH.map(|profile| {
        let mut scene = Scene::showing(profile, &[(DIRECTORY, ALL)]);
        scene.told(&[FsEvent::OpenTruncated { subject: named(FILE), change }])
    });
    assert_eq!(shown, ["1:OPEN(f) 1:MODIFY(f)", "1:MODIFY(f) 1:OPEN(f)"]);
}

/// PROFILE-3
#[test]
fn an_old_kernel_tells_nothing_of_fallocate_and_splice() {
    let subject = named(FILE);
    let shown = BOTH.map(|profile| {
        let mut scene = Scene::showing(profile, &[(DIRECTORY, ALL)]);
        let splice = |writes| FsEvent::Splice { subject, writes };
        scene.told(&[FsEvent::Allocate(subject), splice(false), splice(true)])
    });
    assert_eq!(shown, ["1:MODIFY(f) 1:ACCESS(f) 1:MODIFY(f)", ""]);
}

/// PROFILE-4
#[test]
fn an_old_kernel_tells_the_directory_of_special_files() {
    let fifo = Object { kind: Kind::Special, ..FILE };
    let shown = BOTH.map(|profile| {
        let mut scene = Scene::showing(profile, &[(DIRECTORY, ALL), (fifo, ALL)]);
        scene.told(&[FsEvent::Modify(named(fifo))])
    });
    assert_eq!(shown, ["2:MODIFY", "1:MODIFY(f) 2:MODIFY"]);
}

/// PROFILE-5
#[test]
fn an_old_kernel_does_not_mark_execs() {
    let shown = BOTH.map(|profile| {
        let mut scene = Scene::showing(profile, &[(FILE, ALL)]);
        scene.told(&[false, true].map(|exec| FsEvent::Open { subject: named(FILE), exec }))
    });
    assert_eq!(shown, ["1:OPEN 1:OPEN", "1:OPEN"]);
}

/// PROFILE-6
#[test]
fn an_old_kernel_says_less_of_directories() {
    let shown = BOTH.map(|profile| {
        let mut scene = Scene::showing(profile, &[(DIRECTORY, ALL)]);
        scene.told(&[FsEvent::LinkCount(DIRECTORY), FsEvent::Unmount(DIRECTORY)])
    });
    assert_eq!(shown, ["1:ATTRIB,ISDIR 1:UNMOUNT,ISDIR 1:IGNORED", "1:ATTRIB 1:UNMOUNT 1:IGNORED"]);
    // From a kernel that has matched it.
    let delivered = BOTH.map(|profile| {
        let mut scene = Scene::showing(profile, &[(DIRECTORY, ALL)]);
        for mask in [Mask::IN_UNMOUNT | Mask::IN_ISDIR, Mask::IN_ATTRIB | Mask::IN_ISDIR] {
            scene.engine.deliver(scene.group, Wd(1), Delivery { mask: mask.bits(), ..Delivery::default() });
        }
        scene.read(scene.group)
    });
    assert_eq!(delivered, ["1:UNMOUNT,ISDIR 1:ATTRIB,ISDIR", "1:UNMOUNT 1:ATTRIB,ISDIR"]);
}
