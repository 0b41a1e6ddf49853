//! Fast mode: what it may lose, row by row as docs/sandbox.md has it, and what it may not.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl, open};
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use uinotify_core::Mask;

use crate::both::Scene;
use crate::hooks::as_user;
use crate::server::{Kind, Server};

type Test = fn() -> Result<()>;

pub(crate) const TESTS: &[(&str, Test)] = &[
    ("fast::what_nobody_asks_for_is_not_told", what_nobody_asks_for_is_not_told),
    ("fast::a_watch_for_something_else_slows_nothing", a_watch_for_something_else_slows_nothing),
    ("fast::a_watch_sees_what_is_opened_after_it", a_watch_sees_what_is_opened_after_it),
    ("fast::a_file_that_moves_under_a_watch_is_seen_when_it_is_opened_again", moved_under_a_watch),
    ("fast::a_set_user_id_bit_is_cleared_and_told", set_user_id),
    ("fast::a_mapping_that_is_written_shows_its_time_late", a_mapping_shows_its_time_late),
    ("fast::another_user_clears_a_set_user_id_bit_untold", another_user_clears),
    ("fast::a_call_comes_by_its_path_though_another_name_is_open", another_name_is_open),
    ("fast::nothing_stays_open", nothing_stays_open),
    ("fast::changes_of_the_lower_tree_are_seen_within_a_second", lower_changes),
    ("fast::all_ways_go_together", || all_ways_go_together(Kind::Fast)),
    ("fast::all_ways_go_together_by_page_cache", || all_ways_go_together(Kind::Cached)),
    ("fast::all_ways_go_together_when_stacked", ways_of_stacked),
    ("fast::open_files_outlive_the_server", open_files_outlive_the_server),
    ("fast::rights_that_are_taken_away_are_gone", rights_taken_away),
];

/// Whether the kernel reads and writes lower files itself: Linux 6.9.
fn passes(kind: Kind) -> Result<bool> {
    let release = nix::sys::utsname::uname()?.release().to_string_lossy().into_owned();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|number| number.parse::<u32>().unwrap_or(0));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    Ok(kind == Kind::Fast && version >= (6, 9))
}

fn object(path: &Path) -> Result<std::os::fd::OwnedFd> {
    Ok(open(path, OFlag::O_PATH, Mode::empty())?)
}

fn both_ways(path: &Path) -> Result<File> {
    Ok(OpenOptions::new().read(true).write(true).open(path)?)
}

/// Reads what is there, and writes it again.
fn read_and_write(file: &File) -> Result<()> {
    let mut bytes = [0; 4];
    ensure!(file.read_at(&mut bytes, 0)? == 4 && bytes == *b"text", "read {bytes:?}");
    ensure!(file.write_at(b"text", 0)? == 4);
    Ok(())
}

fn expect(server: &mut Server, expected: &[&str]) -> Result<()> {
    let told = server.settle()?;
    ensure!(told == expected, "expected {expected:?}\n  told     {told:?}");
    Ok(())
}

fn what_nobody_asks_for_is_not_told() -> Result<()> {
    for kind in [Kind::Fast, Kind::Cached] {
        let scene = Scene::new()?;
        let mut server = scene.serve_as(kind)?;
        let path = scene.path("seen").join("f");
        fs::write(&path, b"text")?;
        server.settle()?;
        for _ in 0..2 {
            read_and_write(&both_ways(&path)?)?;
            // Through the page cache each write is a request all the same.
            let modified = !passes(kind)?;
            let expected = ["open f", "modify f", "close f writable"];
            let expected: Vec<_> = expected.into_iter().filter(|line| modified || *line != "modify f").collect();
            expect(&mut server, &expected)?;
        }
        ensure!(fs::read(scene.path("lower").join("f"))? == b"text");
    }
    Ok(())
}

/// Who asks for MODIFY alone loses nothing, and neither do they who read.
fn a_watch_for_something_else_slows_nothing() -> Result<()> {
    let scene = Scene::new()?;
    let mut server = scene.serve_as(Kind::Fast)?;
    let path = scene.path("seen").join("f");
    fs::write(&path, b"text")?;
    server.watch(object(&scene.path("seen"))?, Mask::IN_MODIFY)?;
    server.settle()?;
    File::open(&path)?.read_at(&mut [0; 4], 0)?;
    expect(&mut server, if passes(Kind::Fast)? { &["open f", "close f"] } else { &["open f", "access f", "close f"] })?;
    read_and_write(&both_ways(&path)?)?;
    expect(&mut server, &["open f", "access f", "modify f", "close f writable"])
}

fn a_watch_sees_what_is_opened_after_it() -> Result<()> {
    for kind in [Kind::Fast, Kind::Cached] {
        let scene = Scene::new()?;
        let mut server = scene.serve_as(kind)?;
        let seen = scene.path("seen");
        fs::write(seen.join("f"), b"text")?;
        let before = both_ways(&seen.join("f"))?;
        read_and_write(&before)?;
        server.watch(object(&seen.join("f"))?, Mask::IN_ALL_EVENTS)?;
        server.settle()?;
        read_and_write(&before)?;
        expect(&mut server, if passes(kind)? { &[] } else { &["modify f"] })?;
        // Beside the one that is open.
        let after = both_ways(&seen.join("f"))?;
        read_and_write(&after)?;
        expect(&mut server, &["open f", "access f", "modify f"])?;
        before.write_at(b"tuxt", 0)?;
        let mut bytes = [0; 4];
        after.read_at(&mut bytes, 0)?;
        ensure!(bytes == *b"tuxt", "{bytes:?}");
    }
    Ok(())
}

fn moved_under_a_watch() -> Result<()> {
    let scene = Scene::new()?;
    let mut server = scene.serve_as(Kind::Fast)?;
    let seen = scene.path("seen");
    fs::create_dir(seen.join("watched"))?;
    server.watch(object(&seen.join("watched"))?, Mask::IN_MODIFY)?;
    fs::write(seen.join("f"), b"text")?;
    let file = both_ways(&seen.join("f"))?;
    fs::rename(seen.join("f"), seen.join("watched/g"))?;
    server.settle()?;
    file.write_at(b"text", 0)?;
    expect(&mut server, if passes(Kind::Fast)? { &[] } else { &["modify g"] })?;
    both_ways(&seen.join("watched/g"))?.write_at(b"text", 0)?;
    expect(&mut server, &["open g", "modify g", "close g writable"])
}

/// The kernel asks for it before it writes to the lower file itself.
fn set_user_id() -> Result<()> {
    for kind in [Kind::Fast, Kind::Cached] {
        let scene = Scene::new()?;
        let mut server = scene.serve_as(kind)?;
        let path = scene.path("seen").join("f");
        fs::write(&path, b"text")?;
        std::os::unix::fs::chown(&path, Some(1000), Some(1000))?;
        for is_late in [false, true] {
            let mode = |mode| fs::set_permissions(&path, fs::Permissions::from_mode(mode));
            mode(if is_late { 0o777 } else { 0o4777 })?;
            as_user(|| {
                let file = both_ways(&path)?;
                if is_late {
                    mode(0o4777)?;
                }
                server.settle()?;
                file.write_at(b"x", 0)?;
                let is_untold = is_late && passes(kind)?;
                expect(&mut server, if is_untold { &["change f: mode"] } else { &["change f: mode", "modify f"] })
            })
            .with_context(|| format!("{}, late: {is_late}", kind.name()))?;
            for side in ["lower", "seen"] {
                let mode = fs::metadata(scene.path(side).join("f"))?.mode();
                ensure!(mode & 0o7777 == 0o777, "{}, late: {is_late}: {side} {mode:o}", kind.name());
            }
            // Root may keep it, but not where it comes late.
            let file = both_ways(&path)?;
            mode(0o4777)?;
            let file = if is_late { file } else { both_ways(&path)? };
            file.write_at(b"x", 0)?;
            let is_kept = fs::metadata(scene.path("lower").join("f"))?.mode() & 0o4000 != 0;
            ensure!(is_kept != (is_late && passes(kind)?), "late: {is_late}: kept for root: {is_kept}");
        }
    }
    Ok(())
}

/// Who is not the owner could do so only by writing, and may have lost the right to by now: the lower file system does it, and says nothing.
fn another_user_clears() -> Result<()> {
    let scene = Scene::new()?;
    let mut server = scene.serve_as(Kind::Fast)?;
    let path = scene.path("seen").join("f");
    fs::write(&path, b"text")?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o777))?;
    let file = as_user(|| both_ways(&path))?;
    // Nobody else may write now.
    fs::set_permissions(&path, fs::Permissions::from_mode(0o4755))?;
    server.settle()?;
    as_user(|| Ok(file.write_at(b"x", 0)?))?;
    expect(&mut server, if passes(Kind::Fast)? { &[] } else { &["change f: mode", "modify f"] })?;
    let mode = fs::metadata(scene.path("lower").join("f"))?.mode();
    ensure!(mode & 0o7777 == 0o755, "{mode:o}");
    Ok(())
}

/// A path whose names are held is not looked up before the call.
fn another_name_is_open() -> Result<()> {
    let scene = Scene::new()?;
    let mut server = scene.serve_as(Kind::Fast)?;
    let seen = scene.path("seen");
    for name in ["f", "other"] {
        fs::write(seen.join(name), b"")?;
    }
    fs::hard_link(seen.join("f"), seen.join("g"))?;
    let _file = File::open(seen.join("g"))?;
    fs::remove_file(seen.join("g"))?;
    for name in ["f", "other"] {
        fs::metadata(seen.join(name))?;
    }
    server.settle()?;
    fs::set_permissions(seen.join("f"), fs::Permissions::from_mode(0o600))?;
    expect(&mut server, &["change f: mode"])
}

/// The kernel holds a lower file that it reads itself, also for another user, no longer than it is open.
fn nothing_stays_open() -> Result<()> {
    use nix::mount::{MntFlags, MsFlags, mount, umount2};
    let scene = Scene::new()?;
    let lower = scene.path("lower");
    mount(Some("none"), &lower, Some("tmpfs"), MsFlags::empty(), Some("size=8m,mode=777"))?;
    let result = (|| -> Result<()> {
        let mut server = scene.serve_as(Kind::Fast)?;
        let path = scene.path("seen").join("f");
        let free = || -> Result<_> { Ok(nix::sys::statvfs::statvfs(&lower)?.blocks_free()) };
        let before = free()?;
        for _ in 0..8 {
            let file = as_user(|| {
                fs::write(&path, vec![1; 1 << 20])?;
                let file = File::open(&path)?;
                fs::remove_file(&path)?;
                Ok(file)
            })?;
            server.settle()?;
            // The server closes it while it acts as that user.
            server.signal(Signal::SIGSTOP)?;
            std::thread::scope(|scope| -> Result<()> {
                let (sender, thread) = std::sync::mpsc::channel();
                let path = &path;
                let looks = scope.spawn(move || {
                    as_user(|| {
                        sender.send(nix::unistd::gettid())?;
                        Ok(path.exists())
                    })
                });
                let waits = format!("/proc/self/task/{}/wchan", thread.recv()?);
                let queued = within_a_second("a look-up", || Ok(fs::read_to_string(&waits)?.contains("request_wait")));
                drop(file);
                server.signal(Signal::SIGCONT)?;
                ensure!(!looks.join().map_err(|_| anyhow::anyhow!("the look-up panicked"))??);
                queued
            })?;
        }
        server.settle()?;
        // The kernel frees what was closed when it likes.
        within_a_second("free room", || Ok(free()? == before))
    })();
    umount2(&lower, MntFlags::MNT_DETACH)?;
    result
}

/// Until a condition holds that has to hold within a second, or little more on a busy machine.
fn within_a_second(what: &str, mut holds: impl FnMut() -> Result<bool>) -> Result<()> {
    let limit = Instant::now() + Duration::from_secs(20);
    while !holds()? {
        ensure!(Instant::now() < limit, "{what} is not seen");
        std::thread::yield_now();
    }
    Ok(())
}

fn a_mapping_shows_its_time_late() -> Result<()> {
    let scene = Scene::new()?;
    let _server = scene.serve_as(Kind::Fast)?;
    let (lower, seen) = (scene.path("lower"), scene.path("seen"));
    fs::write(seen.join("f"), vec![1; 20000])?;
    fs::metadata(seen.join("f"))?;
    crate::both::run("mapping", &seen, &[])?;
    let mut byte = [0];
    File::open(seen.join("f"))?.read_exact_at(&mut byte, 10000)?;
    ensure!(byte == [7], "read {byte:?}");
    within_a_second("the time of the change", || {
        let times = |at: &Path| -> Result<_> {
            let status = fs::metadata(at.join("f"))?;
            Ok((status.mtime(), status.mtime_nsec()))
        };
        Ok(times(&lower)? == times(&seen)?)
    })
}

fn lower_changes() -> Result<()> {
    for kind in [Kind::Fast, Kind::Cached] {
        let scene = Scene::new()?;
        let (lower, seen) = (scene.path("lower"), scene.path("seen"));
        let _server = scene.serve_as(kind)?;
        fs::write(seen.join("f"), b"text")?;
        let file = File::open(seen.join("f"))?;
        file.read_at(&mut [0; 4], 0)?;
        let metadata = fs::metadata(seen.join("f"))?;
        ensure!(metadata.len() == 4);
        fs::write(lower.join("f"), b"longer")?;
        within_a_second("another length", || Ok(fs::metadata(seen.join("f"))?.len() == 6))?;
        let mut bytes = [0; 6];
        file.read_exact_at(&mut bytes, 0)?;
        ensure!(bytes == *b"longer", "{bytes:?}");
        fs::rename(lower.join("f"), lower.join("g"))?;
        within_a_second("a name that goes", || Ok(!seen.join("f").exists()))?;
        ensure!(fs::read(seen.join("g"))? == b"longer");
        fs::write(lower.join("f"), b"new")?;
        // That a name leads nowhere is never held.
        ensure!(fs::read(seen.join("f"))? == b"new");
        fs::write(lower.join("h"), b"other")?;
        fs::rename(lower.join("h"), lower.join("f"))?;
        within_a_second("another file", || Ok(fs::read(seen.join("f"))? == b"other"))?;
    }
    Ok(())
}

/// How a file is opened.
type Open = fn(&Path) -> Result<File>;

const OPENS: [(&str, Open); 6] = [
    ("read", |path| Ok(File::open(path)?)),
    ("read and write", both_ways),
    ("write", |path| Ok(OpenOptions::new().write(true).open(path)?)),
    ("append", |path| Ok(OpenOptions::new().append(true).open(path)?)),
    ("O_DIRECT", |path| Ok(OpenOptions::new().read(true).custom_flags(libc::O_DIRECT).open(path)?)),
    ("O_SYNC", |path| Ok(OpenOptions::new().read(true).write(true).custom_flags(libc::O_SYNC).open(path)?)),
];

/// What the kernel reads and writes itself needs nobody else.
fn open_files_outlive_the_server() -> Result<()> {
    for kind in [Kind::Exact, Kind::Fast, Kind::Cached] {
        let scene = Scene::new()?;
        let server = scene.serve_as(kind)?;
        fs::write(scene.path("seen").join("f"), b"text")?;
        let file = both_ways(&scene.path("seen").join("f"))?;
        drop(server);
        let result = read_and_write(&file);
        ensure!(result.is_ok() == passes(kind)?, "{}: {result:?}", kind.name());
    }
    Ok(())
}

/// Linux refuses some ways beside others; no program may notice.
fn all_ways_go_together(kind: Kind) -> Result<()> {
    let scene = Scene::new()?;
    let mut server = scene.serve_as(kind)?;
    all_ways(&mut server, &scene.path("seen").join("f"))
}

/// Another file system of ours below this one may not be passed through: the kernel bounds how high they stand.
fn ways_of_stacked() -> Result<()> {
    let scene = Scene::new()?;
    let middle = scene.path("middle");
    fs::create_dir(&middle)?;
    let _below = Server::start(Kind::Fast, &scene.path("lower"), &middle, None)?;
    let mut server = Server::start(Kind::Fast, &middle, &scene.path("seen"), None)?;
    let path = scene.path("seen").join("f");
    all_ways(&mut server, &path)?;
    // Through the page cache: writes are told, reads are not.
    fs::write(&path, b"text")?;
    server.watch(object(&path)?, Mask::empty())?;
    server.settle()?;
    read_and_write(&both_ways(&path)?)?;
    expect(&mut server, &["open f", "modify f", "close f writable"])
}

fn all_ways(server: &mut Server, path: &Path) -> Result<()> {
    for first in OPENS {
        for second in OPENS {
            for watched in [[false, false], [false, true], [true, false], [true, true]] {
                together(server, path, first.1, second.1, watched)
                    .with_context(|| format!("{} then {}, watched: {watched:?}", first.0, second.0))?;
            }
        }
    }
    Ok(())
}

fn together(server: &mut Server, path: &Path, first: Open, second: Open, watched: [bool; 2]) -> Result<()> {
    let _ = fs::remove_file(path);
    let content = vec![b'a'; 8192];
    fs::write(path, &content)?;
    let mut watch = |is_watched| -> Result<()> {
        let asked = if is_watched { Mask::IN_ALL_EVENTS } else { Mask::empty() };
        server.watch(object(path)?, asked)
    };
    watch(watched[0])?;
    let first = first(path).context("the first open")?;
    let map = Map::new(&first)?;
    watch(watched[1])?;
    let second = second(path).context("the second open")?;
    let other_map = Map::new(&second)?;
    let mut flags: libc::c_long = 0;
    let fd = std::os::fd::AsRawFd::as_raw_fd(&second);
    // For this the kernel opens the file itself.
    // SAFETY: the argument is a long, which lives through the call.
    Errno::result(unsafe { libc::ioctl(fd, 0x8008_6601, &raw mut flags) })?;
    for file in [&first, &second] {
        let flags = fcntl(file, FcntlArg::F_GETFL)?;
        let access = flags & libc::O_ACCMODE;
        // Its buffers would have to be aligned.
        if access != libc::O_WRONLY && flags & libc::O_DIRECT == 0 {
            let mut bytes = vec![0; 8192];
            file.read_exact_at(&mut bytes, 0)?;
            ensure!(bytes == content, "other bytes");
        }
        if access != libc::O_RDONLY {
            file.write_all_at(&content, 0)?;
        }
    }
    for map in [&map, &other_map].into_iter().flatten() {
        ensure!(map.first() == b'a', "another byte in a mapping");
    }
    // A third, beside the second and the mapping of the first; and a fourth behind all.
    drop(first);
    fs::read(path).context("the third open")?;
    drop((second, map, other_map));
    ensure!(fs::read(path)?.starts_with(&content));
    Ok(())
}

/// A shared mapping of a file that can be read, which stays when the file is closed.
struct Map(std::ptr::NonNull<libc::c_void>);

const MAP_BYTES: std::num::NonZeroUsize = std::num::NonZeroUsize::new(8192).unwrap();

impl Map {
    fn new(file: &File) -> Result<Option<Self>> {
        use nix::sys::mman::{MapFlags, ProtFlags, mmap};
        let access = fcntl(file, FcntlArg::F_GETFL)? & libc::O_ACCMODE;
        if access == libc::O_WRONLY {
            return Ok(None);
        }
        // SAFETY: the kernel chooses where, and nothing else knows of it.
        let map = unsafe { mmap(None, MAP_BYTES, ProtFlags::PROT_READ, MapFlags::MAP_SHARED, file, 0) };
        match map {
            Ok(map) => Ok(Some(Self(map))),
            // Before Linux 6.6.
            Err(Errno::ENODEV) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn first(&self) -> u8 {
        // SAFETY: the byte is in the mapping, and the file is longer.
        unsafe { self.0.cast::<u8>().read_volatile() }
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        // SAFETY: this is a whole mapping, and no reference to it is left.
        let _ = unsafe { nix::sys::mman::munmap(self.0, MAP_BYTES.get()) };
    }
}

/// Names hold for a second, but the right to use them does not.
fn rights_taken_away() -> Result<()> {
    let scene = Scene::new()?;
    let _server = scene.serve_as(Kind::Fast)?;
    let seen = scene.path("seen");
    let make = |name: &str| -> Result<()> {
        fs::create_dir(seen.join(name))?;
        fs::write(seen.join(name).join("f"), b"text")?;
        Ok(())
    };
    // Both look it up, and may.
    let may = |path: &Path| -> Result<bool> {
        fs::metadata(path)?;
        as_user(|| match fs::metadata(path) {
            Ok(_) => Ok(true),
            Err(error) if error.raw_os_error() == Some(libc::EACCES) => Ok(false),
            Err(error) => Err(error.into()),
        })
    };
    for name in ["mode", "owner", "list", "moved", "never"] {
        make(name)?;
    }
    for name in ["mode", "owner", "list", "moved"] {
        ensure!(may(&seen.join(name).join("f"))?, "{name}: not before");
    }
    let mode = |name: &str, mode| fs::set_permissions(seen.join(name), fs::Permissions::from_mode(mode));
    mode("mode", 0o700)?;
    ensure!(!may(&seen.join("mode/f"))?, "another mode");
    mode("mode", 0o755)?;
    ensure!(may(&seen.join("mode/f"))?, "the mode of before");
    mode("never", 0o700)?;
    ensure!(!may(&seen.join("never/f"))? && !may(&seen.join("never/f"))?, "never");
    fs::rename(seen.join("moved"), seen.join("never/moved"))?;
    ensure!(!may(&seen.join("never/moved/f"))?, "moved");
    // An access list that denies this one user, with a mode that all may search.
    let list: Vec<u8> =
        [(1_u16, 7_u16, u32::MAX), (2, 0, 1000), (4, 5, u32::MAX), (16, 7, u32::MAX), (32, 5, u32::MAX)]
            .iter()
            .flat_map(|(tag, rights, id)| [&tag.to_le_bytes()[..], &rights.to_le_bytes(), &id.to_le_bytes()].concat())
            .collect();
    let list = [&2_u32.to_le_bytes()[..], &list].concat();
    let path = crate::act::c(seen.join("list"));
    let name = c"system.posix_acl_access";
    // SAFETY: both strings live through the call, as does the value, with its length beside it.
    let set = unsafe { libc::setxattr(path.as_ptr(), name.as_ptr(), list.as_ptr().cast(), list.len(), 0) };
    if Errno::result(set).is_ok() {
        ensure!(!may(&seen.join("list/f"))? && !may(&seen.join("list/f"))?, "an access list");
    }
    std::os::unix::fs::chown(seen.join("owner"), Some(1000), None)?;
    mode("owner", 0o077)?;
    ensure!(!may(&seen.join("owner/f"))?, "another owner");
    Ok(())
}
