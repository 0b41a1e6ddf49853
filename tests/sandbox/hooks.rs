//! Each operation tells its hooks, in Linux's order.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use nix::fcntl::{AT_FDCWD, AtFlags, FallocateFlags, OFlag, fallocate, open};
use nix::sys::stat::{Mode, UtimensatFlags, utimensat};
use nix::sys::time::TimeSpec;
use nix::unistd::linkat;

use uinotify_core::Mask;

use crate::both::Scene;
use crate::server::Kind;

type Test = fn() -> Result<()>;

pub(crate) const TESTS: &[(&str, Test)] = &[
    ("hooks::of_each_operation", || of_each_operation(Kind::Exact)),
    ("hooks::of_each_operation_when_watched_in_fast_mode", || of_each_operation(Kind::Fast)),
    ("hooks::of_each_operation_when_watched_with_page_cache", || of_each_operation(Kind::Cached)),
    ("hooks::of_an_open_file_follow_its_name", of_an_open_file_follow_its_name),
    ("hooks::each_thread_comes_by_its_own_name", || each_thread_comes_by_its_own_name(Kind::Exact)),
    ("hooks::each_thread_comes_by_its_own_name_in_fast_mode", || each_thread_comes_by_its_own_name(Kind::Fast)),
    ("hooks::close_is_seen_behind_close", close_is_seen_behind_close),
    ("hooks::a_mapping_tells_nothing", a_mapping_tells_nothing),
];

fn done<T, E: Into<anyhow::Error>>(result: Result<T, E>) -> Result<()> {
    result.map(drop).map_err(Into::into)
}

fn create(path: &Path) -> Result<fs::File> {
    Ok(fs::OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path)?)
}

fn rename_with(from: &Path, to: &Path, flags: u32) -> Result<()> {
    let (from, to) = (crate::act::c(from), crate::act::c(to));
    // SAFETY: both names are strings, which live through the call.
    let result = unsafe {
        libc::syscall(libc::SYS_renameat2, libc::AT_FDCWD, from.as_ptr(), libc::AT_FDCWD, to.as_ptr(), flags)
    };
    nix::errno::Errno::result(result)?;
    Ok(())
}

/// What is done in a folder, and what it tells.
type Row = (&'static str, fn(&Path) -> Result<()>, &'static [&'static str]);

const ROWS: &[Row] = &[
    ("create", |at| done(create(&at.join("f"))), &["create f", "open f", "close f writable"]),
    ("open", |at| done(fs::File::open(at.join("f"))), &["open f", "close f"]),
    ("O_PATH", |at| done(open(&at.join("f"), OFlag::O_PATH, Mode::empty())), &[]),
    ("truncate by open", |at| done(create(&at.join("f"))), &["open f, change f: size", "close f writable"]),
    (
        "write, read",
        |at| {
            let file = create(&at.join("f"))?;
            file.write_at(b"text", 0)?;
            file.write_at(b"", 0)?;
            file.read_at(&mut [0; 4], 0)?;
            file.read_at(&mut [0; 4], 4)?;
            Ok(())
        },
        &["open f, change f: size", "modify f", "access f", "close f writable"],
    ),
    ("stat, readlink, access", |at| done(fs::metadata(at.join("f"))), &[]),
    ("chmod", |at| Ok(fs::set_permissions(at.join("f"), fs::Permissions::from_mode(0o600))?), &["change f: mode"]),
    ("chown", |at| Ok(std::os::unix::fs::chown(at.join("f"), Some(0), None)?), &["change f: owner"]),
    ("chown of nothing", |at| Ok(std::os::unix::fs::chown(at.join("f"), None, None)?), &[]),
    ("truncate", |at| Ok(nix::unistd::truncate(&at.join("f"), 3)?), &["change f: size"]),
    (
        "ftruncate",
        |at| Ok(nix::unistd::ftruncate(fs::OpenOptions::new().write(true).open(at.join("f"))?, 3)?),
        &["open f", "change f: size", "close f writable"],
    ),
    ("both times", |at| times(at, TimeSpec::new(1, 0), TimeSpec::new(1, 0)), &["change f: accessed modified"]),
    ("one time", |at| times(at, TimeSpec::new(1, 0), TimeSpec::UTIME_OMIT), &["change f: accessed"]),
    ("the other time", |at| times(at, TimeSpec::UTIME_OMIT, TimeSpec::UTIME_NOW), &["change f: modified"]),
    (
        "allocate",
        |at| {
            let file = fs::OpenOptions::new().write(true).open(at.join("f"))?;
            Ok(fallocate(file, FallocateFlags::empty(), 0, 100)?)
        },
        &["open f", "allocate f", "close f writable"],
    ),
    (
        "attribute",
        |at| {
            let path = crate::act::c(at.join("f"));
            // SAFETY: both strings live through the call, and one byte lies at the value.
            let set = unsafe { libc::setxattr(path.as_ptr(), c"trusted.x".as_ptr(), b"v".as_ptr().cast(), 1, 0) };
            nix::errno::Errno::result(set)?;
            // SAFETY: both strings live through the call.
            nix::errno::Errno::result(unsafe { libc::removexattr(path.as_ptr(), c"trusted.x".as_ptr()) })?;
            Ok(())
        },
        &["change f: attribute", "change f: attribute"],
    ),
    ("link", |at| Ok(fs::hard_link(at.join("f"), at.join("g"))?), &["link count", "create g"]),
    (
        "open by another name",
        |at| {
            let _files = (fs::File::open(at.join("g"))?, fs::File::open(at.join("f"))?);
            Ok(())
        },
        &["open g", "open f", "close g", "close f"],
    ),
    ("unlink of one of two", |at| Ok(fs::remove_file(at.join("g"))?), &["link count", "delete g"]),
    ("rename", |at| Ok(fs::rename(at.join("f"), at.join("g"))?), &["rename f to g"]),
    (
        "rename over another",
        |at| {
            fs::write(at.join("f"), b"")?;
            Ok(fs::rename(at.join("g"), at.join("f"))?)
        },
        &["create f", "open f", "close f writable", "rename g to f, replaced", "gone"],
    ),
    (
        "exchange",
        |at| {
            fs::write(at.join("g"), b"")?;
            rename_with(&at.join("f"), &at.join("g"), libc::RENAME_EXCHANGE)
        },
        &["create g", "open g", "close g writable", "rename f to g", "rename g to f"],
    ),
    ("unlink", |at| Ok(fs::remove_file(at.join("f"))?), &["link count", "gone", "delete f"]),
    (
        "unlink of an open file",
        |at| {
            let mut file = fs::OpenOptions::new().write(true).open(at.join("g"))?;
            fs::remove_file(at.join("g"))?;
            file.write_all(b"x")?;
            Ok(())
        },
        &["open g", "link count", "delete g", "modify g (unlinked)", "close g (unlinked) writable", "gone"],
    ),
    ("mkdir", |at| Ok(fs::create_dir(at.join("d"))?), &["create d/"]),
    (
        "list",
        |at| {
            ensure!(fs::read_dir(at.join("d"))?.count() == 0);
            Ok(())
        },
        &["open d", "access d", "access d", "close d"],
    ),
    ("rmdir", |at| Ok(fs::remove_dir(at.join("d"))?), &["gone", "delete d/"]),
    ("symlink", |at| Ok(std::os::unix::fs::symlink("x", at.join("l"))?), &["create l"]),
    ("unlink of a link", |at| Ok(fs::remove_file(at.join("l"))?), &["link count", "gone", "delete l"]),
    (
        "failures",
        |at| {
            let _ = fs::File::open(at.join("missing"));
            let _ = fs::remove_dir(at.join("missing"));
            let _ = fs::create_dir(at);
            Ok(())
        },
        &[],
    ),
    (
        "flags of an inode",
        |at| {
            let file = create(&at.join("f"))?;
            let mut flags: libc::c_long = 0;
            let fd = std::os::fd::AsRawFd::as_raw_fd(&file);
            // SAFETY: the argument is a long, which lives through the call.
            nix::errno::Errno::result(unsafe { libc::ioctl(fd, 0x8008_6601, &raw mut flags) })?;
            Ok(())
        },
        &["create f", "open f", "close f writable"],
    ),
    (
        "set-user-ID cleared by a write, as another user",
        |at| {
            let path = at.join("f");
            std::os::unix::fs::chown(&path, Some(1000), Some(1000))?;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o4777))?;
            as_user(|| {
                fs::OpenOptions::new().write(true).open(&path)?.write_at(b"x", 0)?;
                Ok(())
            })
        },
        &["change f: owner", "change f: mode", "open f", "change f: mode", "modify f", "close f writable"],
    ),
    (
        "set-user-ID cleared by truncation, as another user",
        |at| {
            let path = at.join("f");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o4777))?;
            as_user(|| Ok(nix::unistd::truncate(&path, 0)?))
        },
        &["change f: mode", "change f: mode size"],
    ),
];

/// A thread of this process is another user.
pub(crate) fn as_user<T: Send>(act: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    std::thread::scope(|scope| {
        let user = scope.spawn(|| {
            for call in [libc::SYS_setresgid, libc::SYS_setresuid] {
                // SAFETY: takes numbers. libc's own function would change all threads.
                nix::errno::Errno::result(unsafe { libc::syscall(call, 1000, 1000, 1000) })?;
            }
            act()
        });
        user.join().map_err(|_| anyhow::anyhow!("the user panicked"))?
    })
}

fn times(at: &Path, accessed: TimeSpec, modified: TimeSpec) -> Result<()> {
    Ok(utimensat(AT_FDCWD, &at.join("f"), &accessed, &modified, UtimensatFlags::FollowSymlink)?)
}

fn of_each_operation(kind: Kind) -> Result<()> {
    let scene = Scene::new()?;
    let mut server = scene.serve_as(kind)?;
    let seen = scene.path("seen");
    server.watch(open(&seen, OFlag::O_PATH, Mode::empty())?, Mask::IN_ALL_EVENTS)?;
    for (what, act, expected) in ROWS {
        // Without CAP_SYS_ADMIN there are no trusted attributes.
        if kind == Kind::Cached && *what == "attribute" {
            continue;
        }
        act(&seen).with_context(|| (*what).to_owned())?;
        let told = server.settle()?;
        ensure!(told == *expected, "{what}\n  expected {expected:?}\n  told     {told:?}");
    }
    // Reads of the kernel, one or more, and no hook of the mapping.
    fs::copy("/bin/true", seen.join("program"))?;
    fs::set_permissions(seen.join("program"), fs::Permissions::from_mode(0o755))?;
    server.settle()?;
    std::process::Command::new(seen.join("program")).status()?;
    let told = server.settle()?;
    ensure!(told.first().is_some_and(|first| first == "open program exec"), "exec: {told:?}");
    ensure!(told.last().is_some_and(|last| last == "close program"), "exec: {told:?}");
    // A file without a name.
    let Ok(file) = open(&seen, OFlag::O_TMPFILE | OFlag::O_RDWR, Mode::S_IRWXU) else { return Ok(()) };
    let file = fs::File::from(file);
    let number = std::os::unix::fs::MetadataExt::ino(&file.metadata()?);
    file.write_at(b"x", 0)?;
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file));
    linkat(AT_FDCWD, path.as_str(), AT_FDCWD, &seen.join("named"), AtFlags::AT_SYMLINK_FOLLOW)?;
    drop(file);
    let told = server.settle()?;
    let expected = [
        format!("open #{number} (unlinked)"),
        format!("modify #{number} (unlinked)"),
        "link count".into(),
        "create named".into(),
        format!("close #{number} (unlinked) writable"),
    ];
    ensure!(told == expected, "unnamed: {told:?}");
    Ok(())
}

fn of_an_open_file_follow_its_name() -> Result<()> {
    let scene = Scene::new()?;
    let mut server = scene.serve()?;
    let seen = scene.path("seen");
    for folder in ["a", "b"] {
        fs::create_dir(seen.join(folder))?;
    }
    let mut file = create(&seen.join("a/f"))?;
    fs::rename(seen.join("a/f"), seen.join("b/g"))?;
    file.write_all(b"x")?;
    fs::rename(seen.join("b"), seen.join("c"))?;
    fs::hard_link(seen.join("c/g"), seen.join("h"))?;
    file.write_all(b"x")?;
    fs::remove_file(seen.join("c/g"))?;
    file.write_all(b"x")?;
    drop(file);
    let told = server.settle()?;
    let expected = [
        "create a/",
        "create b/",
        "create f",
        "open f",
        "rename f to g",
        "modify g",
        "rename b to c",
        "link count",
        "create h",
        "modify g",
        "link count",
        "delete g",
        "modify g (unlinked)",
        "close g (unlinked) writable",
    ];
    ensure!(told == expected, "{told:#?}");
    Ok(())
}

/// An OPEN does not say by which of two names it came.
fn each_thread_comes_by_its_own_name(kind: Kind) -> Result<()> {
    let scene = Scene::new()?;
    let mut server = scene.serve_as(kind)?;
    let (one, other) = (scene.path("seen").join("one"), scene.path("seen").join("other"));
    fs::write(&one, b"")?;
    fs::hard_link(&one, &other)?;
    server.settle()?;
    // Looked up here, and opened here later, without another look-up.
    let held = open(&one, OFlag::O_PATH, Mode::empty())?;
    std::thread::scope(|scope| scope.spawn(|| fs::metadata(&other)).join())
        .map_err(|_| anyhow::anyhow!("the thread panicked"))??;
    drop(fs::File::open(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&held)))?);
    let told = server.settle()?;
    ensure!(told == ["open one", "close one"], "{told:?}");
    Ok(())
}

/// The kernel does not wait for RELEASE; whoever empties the device sees it all the same.
fn close_is_seen_behind_close() -> Result<()> {
    let scene = Scene::new()?;
    let mut server = scene.serve()?;
    let path = scene.path("seen").join("f");
    drop(create(&path)?);
    server.settle()?;
    for round in 0..2000 {
        drop(fs::File::open(&path)?);
        let told = server.settle()?;
        ensure!(told == ["open f", "close f"], "round {round}: {told:?}");
    }
    Ok(())
}

fn a_mapping_tells_nothing() -> Result<()> {
    let scene = Scene::new()?;
    let mut server = scene.serve()?;
    let path = scene.path("seen").join("f");
    fs::write(&path, vec![1; 20000])?;
    server.settle()?;
    // In a process of its own: a fault waits for the server, and so would whoever needs this one's memory.
    let said = crate::both::run("mapping", &scene.path("seen"), &[])?;
    let told = server.settle()?;
    ensure!(told == ["open f", "close f writable"], "{told:?}");
    let mut byte = [0];
    if said.is_empty() {
        fs::File::open(&path)?.read_exact_at(&mut byte, 10000)?;
        ensure!(byte == [7], "the mapping was not written");
    }
    let mut bytes = Vec::new();
    fs::File::open(scene.path("lower").join("f"))?.read_to_end(&mut bytes)?;
    ensure!(bytes.len() == 20000, "the file has another length");
    Ok(())
}

/// Writes to a mapping, in a process of its own.
pub(crate) fn write_to_mapping(transcript: &mut crate::act::Transcript) -> Result<()> {
    use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};
    let file = fs::OpenOptions::new().read(true).write(true).open("f")?;
    let length = std::num::NonZeroUsize::new(20000).context("a length")?;
    let both = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
    // SAFETY: the kernel chooses where, and nothing else knows of it.
    let Ok(map) = (unsafe { mmap(None, length, both, MapFlags::MAP_SHARED, &file, 0) }) else {
        transcript.say("map", "none");
        return Ok(());
    };
    // SAFETY: this lies in the mapping.
    let place = unsafe { map.cast::<u8>().add(10000) };
    // SAFETY: there is no other reference to it.
    unsafe { place.write_volatile(7) };
    // SAFETY: this is a whole mapping.
    unsafe { munmap(map, length.get()) }?;
    Ok(())
}
