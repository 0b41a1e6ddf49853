//! Beginning and end of a mount.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::both::Scene;
use crate::server::{Kind, Server};

type Test = fn() -> Result<()>;

pub(crate) const TESTS: &[(&str, Test)] = &[
    ("life::unmounted_at_the_end", unmounted_at_the_end),
    ("life::busy_at_the_end", busy_at_the_end),
    ("life::killed_in_the_middle", killed_in_the_middle),
    ("life::changes_of_the_lower_tree_are_seen", changes_of_the_lower_tree_are_seen),
    ("life::a_slow_call_holds_up_nobody", a_slow_call_holds_up_nobody),
    ("life::nothing_leads_out", nothing_leads_out),
    ("life::a_number_used_again_is_another_object", a_number_used_again_is_another_object),
    ("life::an_object_is_known_by_its_descriptor", an_object_is_known_by_its_descriptor),
];

fn mounts() -> Result<String> {
    Ok(fs::read_to_string("/proc/self/mounts")?)
}

fn unmounted_at_the_end() -> Result<()> {
    let scene = Scene::new()?;
    let server = scene.serve()?;
    let place = scene.path("seen").display().to_string();
    let line = mounts()?.lines().find(|line| line.contains(&place)).unwrap_or_default().to_owned();
    ensure!(line.starts_with("uinotify ") && line.contains(" fuse.uinotify "), "mounted as {line:?}");
    drop(server);
    ensure!(!mounts()?.contains(&place), "still mounted");
    fs::write(scene.path("seen").join("below"), b"")?;
    Ok(())
}

fn busy_at_the_end() -> Result<()> {
    let scene = Scene::new()?;
    let server = scene.serve()?;
    let seen = scene.path("seen");
    fs::write(seen.join("file"), b"text")?;
    let file = fs::File::open(seen.join("file"))?;
    drop(server);
    ensure!(!mounts()?.contains(&seen.display().to_string()), "still mounted");
    let error = std::io::read_to_string(&file).err().and_then(|error| error.raw_os_error());
    ensure!(error == Some(libc::ENOTCONN) || error == Some(libc::ECONNABORTED), "{error:?}");
    Ok(())
}

/// What was answered is there, and nobody hangs.
fn killed_in_the_middle() -> Result<()> {
    let scene = Scene::new()?;
    let mut server = scene.serve()?;
    let seen = scene.path("seen");
    let traffic = std::thread::spawn({
        let seen = seen.clone();
        move || {
            for number in 0.. {
                if fs::write(seen.join(format!("{number}")), number.to_string()).is_err() {
                    return number;
                }
            }
            0
        }
    });
    let limit = Instant::now() + Duration::from_secs(20);
    while !scene.path("lower").join("200").exists() && Instant::now() < limit {
        std::thread::yield_now();
    }
    server.kill()?;
    let done: usize = traffic.join().map_err(|_| anyhow::anyhow!("the traffic panicked"))?;
    ensure!(done >= 200, "only {done} files were written");
    for number in 0..done {
        let text = fs::read_to_string(scene.path("lower").join(number.to_string()))?;
        ensure!(text == number.to_string(), "file {number} holds {text:?}");
    }
    ensure!(fs::read_dir(scene.path("lower"))?.count() <= done + 1, "there are files that nobody has written");
    drop(server);
    ensure!(!mounts()?.contains(&seen.display().to_string()), "still mounted");
    Ok(())
}

fn changes_of_the_lower_tree_are_seen() -> Result<()> {
    let scene = Scene::new()?;
    let (lower, seen) = (scene.path("lower"), scene.path("seen"));
    let _server = scene.serve()?;
    fs::write(lower.join("file"), b"one")?;
    ensure!(fs::read(seen.join("file"))? == b"one");
    fs::write(lower.join("file"), b"longer than before")?;
    ensure!(fs::read(seen.join("file"))? == b"longer than before");
    fs::remove_file(lower.join("file"))?;
    ensure!(!seen.join("file").exists());
    fs::create_dir(lower.join("file"))?;
    ensure!(seen.join("file").is_dir());
    fs::write(seen.join("file/in"), b"")?;
    fs::rename(lower.join("file"), lower.join("other"))?;
    ensure!(!seen.join("file").exists() && seen.join("other/in").exists());
    // Known by its folder, which is another now.
    fs::create_dir(lower.join("file"))?;
    fs::write(lower.join("file/in"), b"new")?;
    ensure!(fs::read(seen.join("file/in"))? == b"new");
    ensure!(fs::read(seen.join("other/in"))? == b"");
    Ok(())
}

/// The lower tree is one of our file systems too, whose server stands still.
fn a_slow_call_holds_up_nobody() -> Result<()> {
    let scene = Scene::new()?;
    let middle = scene.path("middle");
    fs::create_dir(&middle)?;
    let below = Server::start(Kind::Exact, &scene.path("lower"), &middle, None)?;
    let mut server = Server::start(Kind::Exact, &middle, &scene.path("seen"), None)?;
    let file = fs::File::create(scene.path("seen").join("file"))?;
    let other = fs::File::create(scene.path("seen").join("other"))?;
    server.settle()?;
    below.signal(nix::sys::signal::Signal::SIGSTOP)?;
    let goes_on = Continue(&below);
    std::thread::scope(|scope| -> Result<()> {
        let calls = [scope.spawn(|| file.sync_all()), scope.spawn(|| other.sync_data())];
        let limit = Instant::now() + Duration::from_secs(20);
        let caller = loop {
            let calls = server.threads_in(&[libc::SYS_fsync, libc::SYS_fdatasync])?;
            if let Some(caller) = calls.first() {
                break *caller;
            }
            ensure!(Instant::now() < limit, "nobody synchronizes");
            std::thread::yield_now();
        };
        // It would not answer.
        if caller != server.process() {
            server.known_objects()?;
        }
        drop(goes_on);
        for call in calls {
            call.join().map_err(|_| anyhow::anyhow!("a call panicked"))??;
        }
        ensure!(caller != server.process(), "the thread that serves waits for the disk");
        Ok(())
    })?;
    drop((file, other));
    ensure!(server.settle()? == ["close file writable", "close other writable"]);
    Ok(())
}

/// At its end the server that was stopped goes on.
struct Continue<'a>(&'a Server);

impl Drop for Continue<'_> {
    fn drop(&mut self) {
        let _ = self.0.signal(nix::sys::signal::Signal::SIGCONT);
    }
}

/// A folder that becomes a symbolic link between the look-up and its use is not followed.
fn nothing_leads_out() -> Result<()> {
    let scene = Scene::new()?;
    let (lower, seen) = (scene.path("lower"), scene.path("seen"));
    let outside = scene.path("outside");
    fs::create_dir(&outside)?;
    fs::write(outside.join("file"), b"secret")?;
    for name in ["one", "other"] {
        fs::create_dir(lower.join(name))?;
        fs::write(lower.join(name).join("file"), b"own")?;
    }
    let _server = scene.serve()?;
    let end = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let swapping = scope.spawn(|| -> Result<()> {
            while !end.load(std::sync::atomic::Ordering::Relaxed) {
                fs::rename(lower.join("one"), lower.join("away"))?;
                std::os::unix::fs::symlink(&outside, lower.join("one"))?;
                fs::remove_file(lower.join("one"))?;
                fs::rename(lower.join("away"), lower.join("one"))?;
            }
            Ok(())
        });
        let folder = nix::fcntl::open(&seen.join("other"), nix::fcntl::OFlag::O_PATH, nix::sys::stat::Mode::empty())?;
        let mut wrong = None;
        for _ in 0..3000 {
            // What the kernel itself follows is a symbolic link that it was shown; a descriptor is followed nowhere.
            let open = nix::fcntl::openat(
                &folder,
                "../one",
                nix::fcntl::OFlag::O_PATH | nix::fcntl::OFlag::O_NOFOLLOW | nix::fcntl::OFlag::O_DIRECTORY,
                nix::sys::stat::Mode::empty(),
            );
            if let Ok(open) = open
                && let Ok(file) =
                    nix::fcntl::openat(&open, "file", nix::fcntl::OFlag::O_RDONLY, nix::sys::stat::Mode::empty())
            {
                let text = std::io::read_to_string(fs::File::from(file))?;
                if text != "own" {
                    wrong = Some(text);
                }
            }
        }
        end.store(true, std::sync::atomic::Ordering::Relaxed);
        swapping.join().map_err(|_| anyhow::anyhow!("the swapping panicked"))??;
        ensure!(wrong.is_none(), "read {wrong:?}");
        Ok(())
    })
}

fn an_object_is_known_by_its_descriptor() -> Result<()> {
    let scene = Scene::new()?;
    let mut server = scene.serve()?;
    let seen = scene.path("seen");
    fs::write(seen.join("file"), b"")?;
    fs::hard_link(seen.join("file"), seen.join("other"))?;
    let object = |path: &std::path::Path| {
        nix::fcntl::open(path, nix::fcntl::OFlag::O_PATH | nix::fcntl::OFlag::O_NOFOLLOW, nix::sys::stat::Mode::empty())
    };
    let root = server.node_of(object(&seen)?)?;
    ensure!(root == Some(1), "the root is {root:?}");
    let file = server.node_of(object(&seen.join("file"))?)?;
    ensure!(file.is_some_and(|node| node > 1), "the file is {file:?}");
    ensure!(server.node_of(object(&seen.join("other"))?)? == file, "a hard link is another object");
    let held = object(&seen.join("file"))?;
    fs::remove_file(seen.join("file"))?;
    fs::remove_file(seen.join("other"))?;
    fs::write(seen.join("file"), b"")?;
    ensure!(server.node_of(&held)? == file, "a removed file has another number");
    ensure!(server.node_of(object(&seen.join("file"))?)? != file, "a new file has the number of the old");
    for outside in [scene.path("lower"), scene.path("plain")] {
        let node = server.node_of(object(&outside)?)?;
        ensure!(node.is_none(), "{} is {node:?}", outside.display());
    }
    Ok(())
}

/// The lower file system gives the number of a removed inode to a new one, while the kernel still knows the old one.
fn a_number_used_again_is_another_object() -> Result<()> {
    use std::os::unix::fs::MetadataExt;
    let scene = Scene::new()?;
    let (lower, seen) = (scene.path("lower"), scene.path("seen"));
    let mut server = Server::start(Kind::Exact, &lower, &seen, Some(80))?;
    fs::write(seen.join("old"), b"old")?;
    let number = fs::metadata(lower.join("old"))?.ino();
    let flags = nix::fcntl::OFlag::O_PATH;
    let held = nix::fcntl::open(&seen.join("old"), flags, nix::sys::stat::Mode::empty())?;
    let old = server.node_of(&held)?;
    // The server keeps no descriptor of it any longer.
    for other in 0..200 {
        fs::write(seen.join(other.to_string()), b"")?;
        fs::metadata(seen.join(other.to_string()))?;
    }
    fs::remove_file(lower.join("old"))?;
    for next in 0..2000 {
        let name = format!("new{next}");
        fs::write(lower.join(&name), b"new")?;
        if fs::metadata(lower.join(&name))?.ino() != number {
            continue;
        }
        let found = nix::fcntl::open(&seen.join(&name), flags, nix::sys::stat::Mode::empty())?;
        ensure!(server.node_of(&found)? != old, "the new file is taken for the old one");
        let error = nix::sys::stat::fstat(&held).err();
        ensure!(error == Some(nix::errno::Errno::ESTALE), "the old file: {error:?}");
        ensure!(fs::read(seen.join(&name))? == b"new");
        return Ok(());
    }
    println!("life::a_number_used_again_is_another_object: this file system uses no number again");
    Ok(())
}
