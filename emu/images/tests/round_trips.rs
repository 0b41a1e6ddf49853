//! Random instances, through both formats and both layouts of CRIU.

use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use uinotify_core::snapshot::{LimitsV1, Snapshot};
use uinotify_core::{AddMask, Config, Delivery, Engine, Limits, Mask, ObjectId, OwnerId, Wd};
use uinotify_images::checkpoint::{
    self, Checkpoint, Descriptor, Event, FileHandle, Instance, Profile, Queue, SignalOwner, Watch,
};
use uinotify_images::criu::{Directory, InotifyFile, Layout, instance_of, to_inotify, to_sockets, watches_of};
use uinotify_images::text::{ByteString, Device};
use uinotify_images::{Loss, losses};

fn bytes() -> impl Strategy<Value = ByteString> {
    vec(1_u8.., 0..40).prop_map(ByteString)
}

fn mask() -> impl Strategy<Value = u32> {
    (any::<u32>(), prop_oneof![Just(0xfff), Just(0x8400_0fff), Just(0x5_1fff), Just(u32::MAX)])
        .prop_map(|(bits, kept)| bits & kept)
}

fn device() -> impl Strategy<Value = Device> {
    (0..4096_u32, 0..1_u32 << 20).prop_map(|(major, minor)| Device { major, minor })
}

prop_compose! {
    fn watch()(
        mask in mask(), path in option::of(bytes()), device in device(), inode in any::<u64>(),
        generation in option::of(any::<u32>()), mount_id in option::of(any::<u32>()),
        handle in option::of((any::<u32>(), vec(any::<u8>(), 0..=128))),
    ) -> Watch {
        let handle = handle.map(|(kind, bytes)| FileHandle { kind, bytes });
        Watch { wd: 0, mask, path, device, inode, generation, handle, mount_id }
    }
}

fn wd() -> impl Strategy<Value = i32> {
    prop_oneof![1..20_i32, Just(i32::MAX), 0x34d_71d0..0x34d_71e0, 1..=i32::MAX]
}

fn watches() -> impl Strategy<Value = Vec<Watch>> {
    btree_map(wd(), watch(), 0..8)
        .prop_map(|watches| watches.into_iter().map(|(wd, watch)| Watch { wd, ..watch }).collect::<Vec<_>>())
        .prop_shuffle()
}

fn event() -> impl Strategy<Value = Event> {
    (any::<i32>(), mask(), any::<u32>(), bytes(), prop_oneof![Just(0), Just(0x1000)])
        .prop_map(|(wd, mask, cookie, name, hidden)| Event { wd, mask, cookie, name, hidden })
}

prop_compose! {
    fn instance()(
        id in any::<u32>(), owner in option::of(any::<u32>()), socket_inode in option::of(any::<u64>()),
        descriptors in vec((any::<u32>(), any::<u32>(), any::<bool>()), 0..3), flags in any::<u32>(),
        signal_owner in option::of(any::<[u32; 5]>()), cursor in 0..=1_u32 << 31,
        limits in option::of(any::<[u32; 3]>()), watches in watches(),
        events in vec(event(), 0..5), tail_is_latest in any::<bool>(),
    ) -> Instance {
        Instance {
            id: id.into(), owner, socket_inode, flags, cursor, watches,
            descriptors: descriptors.into_iter()
                .map(|(pid, fd, close_on_exec)| Descriptor { pid, fd, close_on_exec }).collect(),
            signal_owner: signal_owner
                .map(|[pid, pid_type, uid, euid, signal]| SignalOwner { pid, pid_type, uid, euid, signal }),
            limits: limits.map(|[instances_max, watches_max, queue_events_max]| {
                checkpoint::Limits { instances_max, watches_max, queue_events_max }
            }),
            queue: Queue { events, tail_is_latest },
        }
    }
}

/// What CRIU's images have of an instance.
fn kept(instance: &Instance) -> Instance {
    let watches: Vec<Watch> = instance
        .watches
        .iter()
        .map(|watch| Watch {
            mask: watch.mask & 0x8400_0fff,
            generation: None,
            handle: watch.handle.clone().filter(|handle| !handle.bytes.is_empty()),
            ..watch.clone()
        })
        .collect();
    Instance {
        owner: None,
        socket_inode: None,
        descriptors: Vec::new(),
        flags: instance.flags & 0o4000,
        signal_owner: instance
            .signal_owner
            .filter(|owner| *owner != SignalOwner { pid: 0, pid_type: 0, uid: 0, euid: 0, signal: 0 }),
        cursor: watches.iter().map(|watch| watch.wd.unsigned_abs() + 1).max().unwrap_or(0),
        limits: None,
        watches,
        queue: Queue::default(),
        ..instance.clone()
    }
}

proptest! {
    /// SNAPSHOT-5
    #[test]
    fn json_keeps_everything(instances in vec(instance(), 0..4), cookie: u32, el7: bool) {
        let profile = if el7 { Profile::El7 } else { Profile::Native };
        let checkpoint = Checkpoint::new(profile, cookie, instances);
        let text = checkpoint.to_json();
        let read = Checkpoint::from_json(text.as_bytes()).unwrap();
        prop_assert_eq!(read.to_json(), text);
        prop_assert_eq!(read, checkpoint);
    }

    #[test]
    fn criu_keeps_what_it_has_room_for(instances in btree_map(any::<u32>(), instance(), 0..4), legacy: bool) {
        let findable = |watch: &Watch| watch.path.is_some() || watch.handle.is_some();
        let instances: Vec<Instance> = instances
            .into_iter()
            .map(|(id, mut instance)| {
                instance.id = id.into();
                instance.watches.retain(findable);
                instance
            })
            .collect();
        let files: Vec<InotifyFile> =
            instances.iter().map(|instance| watches_of(instance, instance.id as u32).unwrap()).collect();
        let folder = tempfile::tempdir().unwrap();
        let layout = if legacy { Layout::Legacy } else { Layout::Files };
        Directory::create(folder.path(), layout, &files).unwrap();
        let directory = Directory::read(folder.path()).unwrap();
        prop_assert_eq!(directory.layout, layout);
        let read: Vec<Instance> =
            directory.inotify.iter().map(|file| instance_of(file, Vec::new()).unwrap()).collect();
        let expected: Vec<Instance> = instances.iter().map(kept).collect();
        prop_assert_eq!(&read, &expected);
        // Replacing them by themselves changes no byte.
        let contents = || {
            let files = std::fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().path());
            files.map(|path| (path.clone(), std::fs::read(path).unwrap())).collect::<std::collections::BTreeMap<_, _>>()
        };
        let before = contents();
        directory.replace(&directory.inotify).unwrap();
        prop_assert_eq!(contents(), before);
    }

    #[test]
    fn sockets_become_what_they_were(instances in btree_map(any::<u32>(), instance(), 1..4)) {
        let files: Vec<InotifyFile> = instances
            .into_iter()
            .map(|(id, mut instance)| {
                instance.watches.retain(|watch| watch.path.is_some() || watch.handle.is_some());
                // What a checkpoint has no room for.
                instance.watches.iter_mut().for_each(|watch| {
                    watch.mask &= 0x8400_0fff;
                    watch.handle = watch.handle.take().filter(|handle| !handle.bytes.is_empty());
                });
                instance.watches.retain(|watch| watch.path.is_some() || watch.handle.is_some());
                watches_of(&instance, id).unwrap()
            })
            .collect();
        let folder = tempfile::tempdir().unwrap();
        Directory::create(folder.path(), Layout::Files, &files).unwrap();
        let image = || std::fs::read(folder.path().join("files.img")).unwrap();
        let before = image();
        let mut checkpoint = to_sockets(folder.path()).unwrap();
        // Of a socket, the images have these themselves.
        for instance in &mut checkpoint.instances {
            (instance.flags, instance.signal_owner) = (0, None);
        }
        let sockets = Directory::read(folder.path()).unwrap();
        prop_assert_eq!((sockets.inotify.len(), sockets.sockets.len()), (0, 2 * files.len()));
        let conversion = to_inotify(folder.path(), &checkpoint).unwrap();
        prop_assert_eq!((conversion.converted.len(), conversion.absent.len(), conversion.left.len()), (files.len(), 0, 0));
        prop_assert_eq!(image(), before);
    }

    /// What is no loss is kept: an instance without losses comes back as it was, but for what nobody can see.
    #[test]
    fn losses_are_all_there_is(instance in instance()) {
        let mut instance = instance;
        instance.watches.retain(|watch| watch.path.is_some() || watch.handle.is_some());
        for watch in &mut instance.watches {
            watch.mask &= 0x8400_0fff;
        }
        for loss in losses(&instance) {
            match loss {
                Loss::OneShot(wd) => edit(&mut instance, wd, |mask| *mask &= !0x8000_0000),
                Loss::ExcludeUnlink(wd) => edit(&mut instance, wd, |mask| *mask &= !0x0400_0000),
                Loss::NoEvent(wd) => edit(&mut instance, wd, |mask| *mask |= 1),
                Loss::Cursor { after, .. } => instance.cursor = after as u32,
                Loss::Order => instance.watches.sort_by_key(|watch| watch.wd),
                Loss::Queue { .. } => instance.queue.events.clear(),
                Loss::Flags(flags) => instance.flags &= !flags,
                other => panic!("{other:?}"),
            }
        }
        prop_assert_eq!(losses(&instance), []);
        let restored = kept(&instance);
        prop_assert_eq!(restored.flags, instance.flags);
        prop_assert!(restored.watches.is_sorted_by_key(|watch| watch.wd));
        for (before, after) in instance.watches.iter().zip(&restored.watches) {
            // A restore gives the twelve events alone.
            prop_assert_eq!((after.wd, after.mask & 0xfff), (before.wd, before.mask));
        }
    }

    /// SNAPSHOT-1, SNAPSHOT-5: whatever an engine holds comes back through the file.
    #[test]
    fn snapshots_survive(operations in vec((0..6_u8, 0..6_u64, any::<u32>(), bytes()), 0..40), queue_events_max in 1..6_u32) {
        let mut engine = Engine::new(Config { cookie_seed: 3, ..Config::default() });
        let limits = Limits { queue_events_max, ..Limits::default() };
        let group = engine.create_group(OwnerId(7), limits).unwrap();
        for (operation, object, number, name) in operations {
            let watch = engine.watch_of(group, ObjectId(object));
            match operation {
                0 | 1 => {
                    let bits = (number & 0x8400_0fff) | Mask::IN_OPEN.bits();
                    let _ = engine.add_watch(group, ObjectId(object), AddMask::new(bits).unwrap());
                }
                2 => drop(engine.set_cursor(group, u64::from(number & 0x7fff_ffff))),
                3 => drop(engine.remove_watch(group, watch.unwrap_or(Wd(1)))),
                _ => {
                    let (cookie, hidden) = (engine.next_cookie(), if number & 1 == 0 { 0 } else { 0x1000 });
                    let delivery =
                        Delivery { mask: 1 << (number % 12), cookie, name: &name.0, hidden, adjacent: number & 2 == 0 };
                    engine.deliver(group, watch.unwrap_or(Wd(1)), delivery);
                }
            }
        }
        let Snapshot::V1(snapshot) = engine.snapshot(group).unwrap() else { panic!("another version") };
        let object = |object: u64| Watch {
            wd: 0, mask: 0, path: None, device: Device { major: 0, minor: 0 }, inode: object,
            generation: None, handle: None, mount_id: None,
        };
        let surroundings = uinotify_images::Surroundings { id: 1, owner: Some(7), ..Default::default() };
        let instance = Instance::from_snapshot(surroundings, &snapshot, |watch| object(watch.object));
        let text = Checkpoint::new(Profile::Native, snapshot.cookie, vec![instance]).to_json();
        let read = Checkpoint::from_json(text.as_bytes()).unwrap();
        let unknown = LimitsV1 { instances_max: 0, watches_max: 0, queue_events_max: 0 };
        let again = read.instances[0].to_snapshot(read.cookie, unknown, |watch| watch.inode);
        prop_assert_eq!(&again, &snapshot);
        let mut fresh = Engine::new(Config::default());
        let restored = fresh.restore(OwnerId(7), Snapshot::V1(again)).unwrap();
        prop_assert_eq!(fresh.snapshot(restored).unwrap(), Snapshot::V1(snapshot));
    }
}

fn edit(instance: &mut Instance, wd: i32, change: impl Fn(&mut u32)) {
    instance.watches.iter_mut().filter(|watch| watch.wd == wd).for_each(|watch| change(&mut watch.mask));
}
