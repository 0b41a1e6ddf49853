//! What ends, and what there is not enough of.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use uinotify_core::Mask;
use uinotify_source::fanotify::Options;

use crate::actor::{Act, Actor};
use crate::both::{Both, Told, ensure_equal};
use crate::class;
use crate::scene::Scene;

const ALL: u32 = libc::IN_ALL_EVENTS;
/// Longest time until a file system that nobody uses is gone.
const TEARDOWN_MAX: Duration = Duration::from_secs(10);

/// Watches end with their file system, at once, or when the last has let it go.
pub(crate) fn unmount(scene: &Scene) -> Result<()> {
    for is_lazy in [false, true] {
        let mut actor = Actor::start()?;
        for folder in ["m", "other"] {
            std::fs::create_dir_all(folder)?;
        }
        mount(Some("tmpfs"), "m", Some("tmpfs"), MsFlags::empty(), None::<&str>)?;
        ensure!(actor.act(&[Act::Mkdir("m/d".into()), Act::Touch("m/d/f".into(), libc::O_CREAT)])? == [0, 0]);
        let mut both = Both::new(scene.options)?;
        both.watch("other", "other", ALL)?;
        for label in ["m", "m/d", "m/d/f"] {
            both.watch(label, label, libc::IN_CREATE)?;
        }
        // Another file system's mount or unmount is none of this one's.
        mount(Some("tmpfs"), "other", Some("tmpfs"), MsFlags::empty(), None::<&str>)?;
        umount2("other", MntFlags::empty())?;
        ensure!(both.take()?.source.is_empty(), "the wrong file system went");
        ensure!(!is_lazy || actor.act(&[Act::Open(0, "m/d/f".into(), libc::O_RDONLY)])? == [0]);
        umount2("m", if is_lazy { MntFlags::MNT_DETACH } else { MntFlags::empty() })?;
        let mut told = Told::default();
        if is_lazy {
            told = both.take()?;
            ensure!(told.kernel.is_empty() && told.source.is_empty(), "before it is gone: {told:?}");
            ensure!(both.source.wait_max().is_some(), "it is to be looked at again");
            ensure!(actor.act(&[Act::Close(0)])? == [0]);
        } else {
            ensure!(both.wait(0)?, "not readable after the unmount");
        }
        let start = Instant::now();
        // The kernel takes an unused one down behind the call's back.
        while told.kernel.len() < 6 || told.source.len() < 6 {
            ensure!(start.elapsed() < TEARDOWN_MAX, "not unmounted: {told:?}");
            let wait = both.source.wait_max().unwrap_or(Duration::from_millis(5));
            both.wait(u16::try_from(wait.as_millis())?)?;
            let more = both.take()?;
            told.kernel.extend(more.kernel);
            told.source.extend(more.source);
        }
        class::ensure_same(if is_lazy { "lazy unmount" } else { "unmount" }, &told)?;
        for events in [&told.kernel, &told.source] {
            for pair in events.chunks(2) {
                let is_pair = pair.len() == 2 && pair[0].watch == pair[1].watch;
                let ends = pair.last().is_some_and(|event| event.mask == Mask::IN_IGNORED.bits());
                ensure!(is_pair && ends, "{events:?}");
            }
        }
        ensure!(both.source.volumes().size().0 == 1, "{:?}", both.source.volumes());
        ensure!(both.source.wait_max().is_none(), "nothing is left to look at");
        // And it can be watched anew.
        mount(Some("tmpfs"), "m", Some("tmpfs"), MsFlags::empty(), None::<&str>)?;
        both.watch("m", "again", ALL)?;
        ensure!(actor.act(&[Act::Mkdir("m/x".into())])? == [0]);
        ensure_equal("mounted again", &both.take()?)?;
        drop(both);
        umount2("m", MntFlags::empty())?;
    }
    Ok(())
}

/// In a user name space of its own with few marks and groups: what there is no room for is ENOSPC, and what is removed makes room.
pub(crate) fn few_marks(_: &Scene) -> Result<()> {
    let names = ["a", "b", "c", "d"];
    std::fs::create_dir("b")?;
    for name in ["a", "c", "d"] {
        std::fs::write(name, b"")?;
    }
    let uid = nix::unistd::geteuid().as_raw();
    unshare(CloneFlags::CLONE_NEWUSER).context("no user name space")?;
    // Whoever has changed its user could not write its own maps.
    nix::sys::prctl::set_dumpable(true)?;
    std::fs::write("/proc/self/setgroups", b"deny")?;
    std::fs::write("/proc/self/uid_map", format!("0 {uid} 1"))?;
    std::fs::write("/proc/sys/user/max_fanotify_marks", b"3")?;
    let mut both = Both::new(Options::default())?;
    for name in &names[..3] {
        both.watch(name, name, ALL)?;
    }
    let Err(error) = both.watch("d", "d", ALL) else { bail!("a fourth mark") };
    ensure!(error.chain().any(|cause| cause.downcast_ref::<Errno>() == Some(&Errno::ENOSPC)), "{error:#}");
    // An old one can be changed.
    both.watch("a", "a", libc::IN_MODIFY)?;
    both.unwatch("b")?;
    both.watch("d", "d", ALL)?;
    drop(both);
    std::fs::write("/proc/sys/user/max_fanotify_groups", b"1")?;
    let mut both = Both::new(Options::default())?;
    both.watch("a", "a", ALL)?;
    let Err(error) = both.watch("/proc/self", "elsewhere", ALL) else { bail!("a second group") };
    ensure!(error.chain().any(|cause| cause.downcast_ref::<Errno>() == Some(&Errno::ENOSPC)), "{error:#}");
    Ok(())
}
