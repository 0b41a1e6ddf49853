//! Lists at random. Names are few, so that operations meet each other's objects.

use proptest::prelude::*;
use proptest::sample::select;

use crate::operation::{Asking, Buffer, Descriptor, List, Operation, Path, Time, Watch};
use crate::shorthand::{
    PLENTY, chmod, close, count_bytes, duplicate, group, link, mkdir, open, poll, read, read_all, remove, rename_with,
    rmdir, set_next_wd, slot, symlink, touch, unlink, utimens, watch, write,
};

/// Slots of groups: the list begins with one in each.
const GROUPS: [u8; 2] = [0, 1];
/// Slots of files.
const FILES: [u8; 3] = [2, 3, 4];
const NAMES: [&str; 10] = ["a", "b", "c", "d", "e", "d/a", "d/b", "e/a", "l", "f"];
/// Those of them that every list begins with.
const FIRST: [&str; 5] = ["a", "b", "d", "d/a", "l"];
/// The largest watch descriptor.
const WD_MAX: u64 = i32::MAX as u64;
/// Objects of the allocator's lists.
const OBJECTS: [&str; 8] = ["0", "1", "2", "3", "4", "5", "6", "7"];

/// Lists of everything: a small tree, two groups, open files and watches, then 10 to 60 operations.
pub fn lists() -> impl Strategy<Value = List> {
    proptest::collection::vec(operation(), 10..60).prop_map(|drawn| {
        let mut operations = vec![group(0), group(1), mkdir("d"), mkdir("e")];
        operations.extend(["a", "b", "d/a"].into_iter().flat_map(touch));
        operations.push(symlink("a", "l"));
        operations.push(Operation::Mkfifo("f".into()));
        operations.extend([open(2, "a", libc::O_RDWR), write(2, 100)]);
        operations.extend([open(3, "d/a", libc::O_RDWR), write(3, 100)]);
        operations.push(open(4, "d", libc::O_RDONLY));
        operations.push(watch(0, ".", libc::IN_ALL_EVENTS));
        operations.push(watch(0, "d", libc::IN_ALL_EVENTS));
        operations.push(watch(0, "a", libc::IN_ALL_EVENTS));
        operations.push(watch(1, "d/a", libc::IN_ALL_EVENTS));
        operations.extend(drawn);
        operations.extend(GROUPS.map(count_bytes));
        operations.extend(GROUPS.map(read_all));
        operations.extend(GROUPS.map(read_all));
        List::new(operations)
    })
}

/// Lists about names and what holds them: hard links, unnamed files, files that are open under names that are gone.
pub fn trees() -> impl Strategy<Value = List> {
    proptest::collection::vec(on_tree(), 10..60).prop_map(|drawn| {
        // One further down: a path with `..` must not leave the list's own directory.
        let mut operations = vec![mkdir("w"), Operation::Chdir("w".into())];
        operations.extend([group(0), group(1), mkdir("d"), mkdir("e"), mkdir("d/b")]);
        operations.extend(["a", "b", "d/a"].into_iter().flat_map(touch));
        operations.extend([link("a", "e/a"), symlink("a", "l"), Operation::Mkfifo("f".into())]);
        operations.push(Operation::Install("x".into()));
        operations.push(open(2, "a", libc::O_RDWR));
        // No others later: one could have the number of one that is gone, which is its name.
        operations.extend([(3, "d"), (4, "e")].map(|(slot, path)| open(slot, path, libc::O_TMPFILE | libc::O_RDWR)));
        operations.extend([".", "d", "e", "a", "b", "d/b"].map(|path| watch(0, path, libc::IN_ALL_EVENTS)));
        operations.extend(["d", "d/a"].map(|path| watch(1, path, libc::IN_ALL_EVENTS | libc::IN_EXCL_UNLINK)));
        operations.extend(drawn);
        operations.extend(GROUPS.map(read_all));
        List::new(operations)
    })
}

fn on_tree() -> impl Strategy<Value = Operation> {
    let file = || a_file().prop_map(Path::Link);
    let masks = select(vec![0, 0, 0, libc::IN_EXCL_UNLINK, libc::IN_ONESHOT, libc::IN_DONT_FOLLOW, libc::IN_MASK_ADD]);
    let events = prop_oneof![4 => Just(libc::IN_ALL_EVENTS), 1 => 1..=libc::IN_ALL_EVENTS];
    let watched = (a_group(), prop_oneof![3 => place(), 1 => file()], events, masks)
        .prop_map(|(group, path, events, flags)| watch(group, path, events | flags));
    let inside = select(vec!["d", "e", "d/b"]);
    let from_inside = (inside, on_entry(), opening(), on_entry()).prop_map(|(path, first, second, third)| {
        Operation::Child(vec![Operation::Chdir(path.into()), first, second, third])
    });
    let removed_inside = select(vec!["d", "e", "d/b"]).prop_map(|path| {
        Operation::Child(vec![
            Operation::Chdir(path.into()),
            rmdir(format!("../{}", path.rsplit('/').next().unwrap_or(path)).as_str()),
            mkdir("c"),
            watch(0, ".", libc::IN_ALL_EVENTS),
        ])
    });
    // In a slot of its own, opened and closed each time.
    let through_fifo = (1..3_usize, 1..3_usize).prop_map(|(written, taken)| {
        let opened = open(5, "f", libc::O_RDWR | libc::O_NONBLOCK);
        Operation::Repeat { count: 1, operations: vec![opened, write(5, written), read(5, taken), close(5)] }
    });
    let executed = any::<bool>().prop_map(|opened| {
        let before = opened.then(|| open(5, "x", libc::O_RDONLY));
        Operation::Repeat { count: 1, operations: before.into_iter().chain([Operation::Execute("x".into())]).collect() }
    });
    // As far as the one who runs this can.
    let unprivileged = (select(vec!["a", "b", "d/a"]), 0..2_i64, on_open_file()).prop_map(|(path, size, inner)| {
        let truncated = Operation::Truncate { path: path.into(), size };
        Operation::Child(vec![chmod(path, 0o6777), Operation::Become { user: 65534 }, inner, truncated])
    });
    let by_descriptor = prop_oneof![
        file().prop_map(|path| chmod(path, 0o600)),
        file().prop_map(|path| utimens(path, Time::Now, Time::Omit)),
        file().prop_map(|path| Operation::Truncate { path, size: 5 }),
        (a_file(), file()).prop_map(|(slot, path)| open(slot, path, libc::O_RDWR | libc::O_NONBLOCK)),
    ];
    prop_oneof![
        12 => on_entry(),
        6 => opening(),
        4 => (file(), name()).prop_map(|(from, to)| link(from, to)),
        5 => watched,
        6 => on_open_file(),
        3 => by_descriptor,
        2 => through_fifo,
        1 => executed,
        2 => unprivileged,
        2 => from_inside,
        1 => removed_inside,
        1 => a_file().prop_map(|from| Operation::Pass { descriptor: slot(from), slot: 6 }),
        4 => a_group().prop_map(read_all),
    ]
}

/// Lists of what moves a cursor: adding, updating, removing, setting.
pub fn allocations() -> impl Strategy<Value = List> {
    proptest::collection::vec(allocation(), 10..80).prop_map(|drawn| {
        let mut operations = vec![group(0)];
        operations.extend(OBJECTS.into_iter().flat_map(touch));
        operations.extend(drawn);
        operations.push(read_all(0));
        List::new(operations)
    })
}

fn allocation() -> impl Strategy<Value = Operation> {
    let added = (select(&OBJECTS[..]), mask()).prop_map(|(name, mask)| watch(0, name, mask));
    let removed =
        any::<usize>().prop_map(|nth| Operation::RemoveWatch { descriptor: slot(0), watch: Watch::Nth(nth % 64) });
    prop_oneof![
        8 => added,
        1 => Just(watch(0, "absent", libc::IN_ALL_EVENTS)),
        6 => removed,
        1 => (-1..6_i32).prop_map(|wd| remove(0, wd)),
        4 => cursor().prop_map(|wd| set_next_wd(0, wd)),
    ]
}

fn cursor() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => 1..10_u64,
        6 => (WD_MAX - 3)..=WD_MAX,
        1 => select(vec![0, WD_MAX + 1, 0xffff_ffff, 1 << 32, (1 << 32) + 1, u64::MAX, 1 << 63]),
        1 => 1..=WD_MAX,
    ]
}

fn mask() -> impl Strategy<Value = u32> {
    let behaviour = select(vec![
        libc::IN_ONESHOT,
        libc::IN_EXCL_UNLINK,
        libc::IN_MASK_ADD,
        libc::IN_MASK_CREATE,
        libc::IN_ONLYDIR,
        libc::IN_DONT_FOLLOW,
        libc::IN_ONESHOT | libc::IN_MASK_ADD,
        libc::IN_MASK_ADD | libc::IN_MASK_CREATE,
        libc::IN_ISDIR,
    ]);
    let events = prop_oneof![3 => Just(libc::IN_ALL_EVENTS), 2 => 0..=libc::IN_ALL_EVENTS];
    prop_oneof![
        8 => events.clone(),
        4 => (events, behaviour).prop_map(|(events, behaviour)| events | behaviour),
        1 => any::<u32>(),
    ]
}

fn name() -> impl Strategy<Value = Path> {
    select(&NAMES[..]).prop_map(Path::from)
}

fn existing() -> impl Strategy<Value = Path> {
    prop_oneof![
        3 => select(&FIRST[..]).prop_map(Path::from),
        1 => name(),
    ]
}

fn place() -> impl Strategy<Value = Path> {
    prop_oneof![
        8 => existing(),
        2 => select(vec![".", "d/", "a/", "absent", "d/../a"]).prop_map(Path::from),
        1 => select(&FILES[..]).prop_map(Path::Link),
    ]
}

fn a_group() -> impl Strategy<Value = u8> {
    prop_oneof![6 => Just(0), 1 => Just(1)]
}

fn a_file() -> impl Strategy<Value = u8> {
    select(&FILES[..])
}

fn a_descriptor() -> impl Strategy<Value = Descriptor> {
    prop_oneof![
        8 => a_group().prop_map(Descriptor::Slot),
        1 => a_file().prop_map(Descriptor::Slot),
        1 => Just(Descriptor::Number(100)),
    ]
}

fn operation() -> impl Strategy<Value = Operation> {
    let once = prop_oneof![
        8 => on_group(),
        3 => asking(),
        10 => on_open_file(),
        10 => on_name(),
        7 => on_entry(),
        6 => opening(),
    ];
    let once = once.boxed();
    // Equal neighbours merge.
    let again = (2..4_u32, prop_oneof![on_open_file(), on_name()])
        .prop_map(|(count, inner)| Operation::Repeat { count, operations: vec![inner] });
    prop_oneof![10 => once, 2 => again]
}

fn on_group() -> impl Strategy<Value = Operation> {
    let added = (a_descriptor(), place(), mask()).prop_map(|(descriptor, path, mask)| Operation::AddWatch {
        descriptor,
        path,
        mask,
    });
    let removed = (a_descriptor(), wd()).prop_map(|(descriptor, watch)| Operation::RemoveWatch { descriptor, watch });
    let reading = (a_descriptor(), buffer()).prop_map(|(descriptor, buffer)| Operation::Read { descriptor, buffer });
    let elsewhere = (a_group(), buffer()).prop_map(|(group, buffer)| {
        Operation::Child(vec![Operation::Read { descriptor: slot(group), buffer }, close(group)])
    });
    let fresh = prop_oneof![
        Just(group(1)),
        Just(close(1)),
        Just(duplicate(0, 1)),
        Just(Operation::DuplicateOnto { descriptor: slot(0), onto: slot(1) }),
        Just(Operation::Init { slot: 6, flags: 1 }),
        Just(Operation::Init { slot: 6, flags: libc::IN_CLOEXEC }),
    ];
    prop_oneof![
        12 => added,
        5 => removed,
        3 => (a_group(), cursor()).prop_map(|(group, wd)| set_next_wd(group, wd)),
        6 => reading,
        1 => elsewhere,
        1 => fresh,
    ]
}

fn wd() -> impl Strategy<Value = Watch> {
    prop_oneof![
        4 => (0..16_usize).prop_map(Watch::Nth),
        1 => (-1..5_i32).prop_map(Watch::Number),
    ]
}

fn buffer() -> impl Strategy<Value = Buffer> {
    let size = select(vec![0_usize, 15, 16, 24, 31, 32, 40, 48, 64, 96, PLENTY]);
    prop_oneof![
        8 => size.clone().prop_map(Buffer::Plain),
        2 => proptest::collection::vec(size, 1..4).prop_map(Buffer::Vector),
        1 => (select(vec![0_usize, 16, 32, 40]), select(vec![16_usize, 64, 256]))
            .prop_map(|(mapped, size)| Buffer::Guarded { mapped, size }),
    ]
}

fn asking() -> impl Strategy<Value = Operation> {
    let asking = select(vec![Asking::Poll, Asking::Ppoll, Asking::Select, Asking::Pselect, Asking::Epoll]);
    prop_oneof![(asking, a_group()).prop_map(|(asking, group)| poll(asking, group)), a_group().prop_map(count_bytes),]
}

fn opening() -> impl Strategy<Value = Operation> {
    let flags = select(vec![
        libc::O_RDONLY,
        libc::O_WRONLY,
        libc::O_RDWR,
        libc::O_RDWR | libc::O_CREAT,
        libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL,
        libc::O_WRONLY | libc::O_CREAT | libc::O_TRUNC,
        libc::O_WRONLY | libc::O_TRUNC,
        libc::O_WRONLY | libc::O_APPEND,
        libc::O_RDONLY | libc::O_DIRECTORY,
        libc::O_PATH,
    ]);
    let opened = (a_file(), place(), flags).prop_map(|(slot, path, flags)| {
        // A FIFO without its other end would block.
        open(slot, path, flags | libc::O_NONBLOCK)
    });
    prop_oneof![
        6 => opened,
        3 => a_file().prop_map(close),
        1 => (a_file(), a_file()).prop_map(|(from, to)| duplicate(from, to)),
        1 => (a_file(), a_file()).prop_map(|(from, to)| Operation::DuplicateOnto {
            descriptor: slot(from),
            onto: slot(to),
        }),
        1 => a_file().prop_map(|file| Operation::Child(vec![close(file)])),
    ]
}

fn on_open_file() -> impl Strategy<Value = Operation> {
    let file = || a_file().prop_map(Descriptor::Slot);
    let size = || select(vec![0_i64, 1, 10, 5000]);
    prop_oneof![
        4 => (file(), size(), proptest::option::of(size())).prop_map(
            |(descriptor, size, offset)| Operation::Write {
                descriptor,
                size: size as usize,
                offset,
            }
        ),
        4 => (file(), size()).prop_map(|(descriptor, size)| Operation::Read {
            descriptor,
            buffer: Buffer::Plain(size as usize),
        }),
        3 => (file(), size()).prop_map(|(descriptor, size)| Operation::Read {
            descriptor,
            buffer: Buffer::Positioned(size as usize),
        }),
        2 => (file(), size()).prop_map(|(descriptor, size)| Operation::Ftruncate {
            descriptor,
            size,
        }),
        2 => file().prop_map(|descriptor| Operation::Fchmod {
            descriptor,
            mode: 0o600,
        }),
        1 => file().prop_map(|descriptor| Operation::Fchown {
            descriptor,
            user: u32::MAX,
            group: u32::MAX,
        }),
        2 => file().prop_map(|descriptor| Operation::Getdents {
            descriptor,
            size: 4096,
        }),
        1 => (file(), 0..2_i32).prop_map(|(descriptor, mode)| Operation::Fallocate {
            descriptor,
            mode,
            offset: 0,
            size: 100,
        }),
        1 => (file(), file()).prop_map(|(from, to)| Operation::CopyFileRange {
            from,
            to,
            size: 10,
        }),
        1 => (file(), file()).prop_map(|(from, to)| Operation::Sendfile { from, to, size: 10 }),
        1 => (file(), 0..2_u8, any::<bool>()).prop_map(|(descriptor, place, writable)| {
            Operation::Map {
                descriptor,
                place,
                writable,
            }
        }),
        1 => (0..2_u8).prop_map(|place| Operation::Unmap { place }),
    ]
}

fn on_name() -> impl Strategy<Value = Operation> {
    let time = || select(vec![Time::Now, Time::Seconds(1000), Time::Omit]);
    prop_oneof![
        4 => (place(), select(vec![0o644, 0o755])).prop_map(|(path, mode)| chmod(path, mode)),
        2 => (place(), 0..10_i64).prop_map(|(path, size)| Operation::Truncate { path, size }),
        4 => (place(), time(), time()).prop_map(|(path, access, modification)| utimens(
            path,
            access,
            modification
        )),
        1 => place().prop_map(Operation::Setxattr),
        1 => place().prop_map(Operation::Removexattr),
    ]
}

fn on_entry() -> impl Strategy<Value = Operation> {
    let flags = prop_oneof![
        4 => Just(0),
        1 => Just(libc::RENAME_NOREPLACE),
        2 => Just(libc::RENAME_EXCHANGE),
    ];
    prop_oneof![
        2 => name().prop_map(mkdir),
        1 => name().prop_map(rmdir),
        2 => (existing(), name()).prop_map(|(from, to)| link(from, to)),
        1 => (select(&NAMES[..]), name()).prop_map(|(target, path)| symlink(target, path)),
        1 => name().prop_map(Operation::Mkfifo),
        3 => existing().prop_map(unlink),
        8 => (existing(), name(), flags).prop_map(|(from, to, flags)| rename_with(from, to, flags)),
    ]
}
