//! Descriptors that are duplicated, inherited, sent and closed, as programs do.

use std::fs::{self, OpenOptions};
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg, sendmsg, socketpair,
};

use crate::call::{self, Poll, Way};
use crate::process;

/// An instance that watches `folder`, its wd being 1.
pub(crate) fn watching(folder: &Path) -> Result<OwnedFd> {
    let instance = call::init(Way::Libc, libc::IN_NONBLOCK)?;
    ensure!(call::add_watch(Way::Libc, instance.as_raw_fd(), folder, libc::IN_CREATE)? == 1, "the first wd");
    Ok(instance)
}

/// Makes a file, and must see it by every kind of call at once.
pub(crate) fn is_emulated(fd: RawFd, folder: &Path, name: &str) -> Result<()> {
    call::emulator_of(fd);
    fs::write(folder.join(name), "")?;
    let event = 16 + name.len().next_multiple_of(16);
    ensure!(call::queued_bytes(Way::Libc, fd)? == event, "FIONREAD after {name}");
    ensure!(call::readable(Way::Libc, Poll::Poll, &[fd], Duration::ZERO)? == [true], "poll after {name}");
    let events = call::events(&call::read(Way::Libc, fd, 4096)?);
    ensure!(events.len() == 1 && events[0].name() == name, "{events:?} after {name}");
    ensure!(call::read(Way::Libc, fd, 4096) == Err(Errno::EAGAIN), "nothing is left after {name}");
    // Past the shim a socket would give the rest away, and take what is written to it.
    // SAFETY: the byte lives through the call.
    let written = unsafe { libc::write(fd, c"x".as_ptr().cast(), 1) };
    ensure!(Errno::result(written) == Err(Errno::EBADF), "write(2) is refused");
    let wd = call::add_watch(Way::Libc, fd, folder, libc::IN_CREATE)?;
    ensure!(wd == 1, "add_watch of what is watched gives its wd");
    Ok(())
}

/// The number and the file of each descriptor of this process, but for the one that lists them.
pub(crate) fn open_descriptors() -> Result<Vec<String>> {
    let listing = PathBuf::from(format!("/proc/{}/fd", std::process::id()));
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc/self/fd")? {
        let entry = entry?;
        let target = fs::read_link(entry.path()).unwrap_or_default();
        if target == listing {
            continue;
        }
        found.push(format!("{} {}", entry.file_name().to_string_lossy(), target.display()));
    }
    found.sort();
    Ok(found)
}

/// Nothing of the shim's stays behind an instance that is closed.
pub(crate) fn counts(folder: &Path) -> Result<()> {
    let before = open_descriptors()?;
    for round in 0..3 {
        let instance = watching(folder)?;
        let fd = instance.as_raw_fd();
        is_emulated(fd, folder, &format!("count{round}"))?;
        let epoll = call::epoll(Way::Libc, &[(fd, libc::EPOLLIN)])?;
        ensure!(call::epoll_wait(Way::Libc, epoll.as_raw_fd(), 0)?.is_empty(), "nothing has happened");
        let duplicate = instance.try_clone()?;
        is_emulated(duplicate.as_raw_fd(), folder, &format!("duplicate{round}"))?;
        drop((instance, epoll));
        is_emulated(duplicate.as_raw_fd(), folder, &format!("remaining{round}"))?;
        close(duplicate);
        let after = open_descriptors()?;
        ensure!(before == after, "descriptors before and after: {before:?}, {after:?}");
    }
    Ok(())
}

/// By libc's `close`, which the drop of an `OwnedFd` calls too, but this checks it.
fn close(fd: OwnedFd) {
    use std::os::fd::IntoRawFd;
    // SAFETY: the descriptor was owned and is given up.
    let result = unsafe { libc::close(fd.into_raw_fd()) };
    assert_eq!(result, 0, "close: {}", Errno::last());
}

pub(crate) fn duplicates(folder: &Path) -> Result<()> {
    let instance = watching(folder)?;
    let fd = instance.as_raw_fd();
    // SAFETY: takes numbers only.
    let dup = Errno::result(unsafe { libc::dup(fd) })?;
    // SAFETY: takes numbers only; nothing has the target.
    let dup2 = Errno::result(unsafe { libc::dup2(fd, 200) })?;
    // SAFETY: takes numbers only; nothing has the target.
    let dup3 = Errno::result(unsafe { libc::dup3(fd, 201, libc::O_CLOEXEC) })?;
    // SAFETY: takes numbers only.
    let fcntl = Errno::result(unsafe { libc::fcntl(fd, libc::F_DUPFD, 300) })?;
    // SAFETY: takes numbers only.
    let cloexec = Errno::result(unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 300) })?;
    ensure!((dup2, dup3, fcntl, cloexec) == (200, 201, 300, 301), "the numbers that were asked for");
    for (index, fd) in [fd, dup, dup2, dup3, fcntl, cloexec].into_iter().enumerate() {
        is_emulated(fd, folder, &format!("dup{index}"))?;
    }
    // An event is in one queue, whoever reads it.
    fs::write(folder.join("shared"), "")?;
    ensure!(call::queued_bytes(Way::Libc, dup)? == 32, "through one");
    ensure!(call::read(Way::Libc, dup2, 4096)?.len() == 32, "through the other");
    ensure!(call::queued_bytes(Way::Libc, dup3)? == 0, "and gone for all");

    // Another file takes the place of one, and an instance that of a file.
    let file = OpenOptions::new().read(true).open("/dev/zero")?;
    // SAFETY: takes numbers only; the target is a duplicate of ours.
    Errno::result(unsafe { libc::dup2(file.as_raw_fd(), dup) })?;
    ensure!(call::read(Way::Libc, dup, 3)? == [0; 3], "a file under the number of an instance");
    // SAFETY: takes numbers only; the target is a duplicate of ours.
    Errno::result(unsafe { libc::dup2(fd, dup) })?;
    is_emulated(dup, folder, "again")?;
    close(instance);
    let zero = OpenOptions::new().read(true).open("/dev/zero")?;
    ensure!(zero.as_raw_fd() == fd, "the lowest free number");
    ensure!(call::read(Way::Libc, fd, 3)? == [0; 3], "a file under the number of a closed instance");
    is_emulated(dup2, folder, "remaining")
}

/// The parent keeps what the child closes, and the other way round.
pub(crate) fn fork(folder: &Path) -> Result<()> {
    let instance = watching(folder)?;
    let fd = instance.as_raw_fd();
    is_emulated(fd, folder, "parent")?;
    process::run(|| {
        is_emulated(fd, folder, "child").expect("the child's is emulated");
        process::run(|| is_emulated(fd, folder, "grandchild").expect("the grandchild's is emulated"));
        let own = watching(folder).expect("an instance of the child's own");
        is_emulated(own.as_raw_fd(), folder, "own").expect("the child's own is emulated");
        // SAFETY: the descriptor is the copy of this process, which does not use it any more.
        assert_eq!(unsafe { libc::close(fd) }, 0);
    });
    let events = call::events(&call::read(Way::Libc, fd, 4096)?);
    ensure!(events.len() == 1 && events[0].name() == "own", "{events:?}");
    is_emulated(fd, folder, "after")
}

/// What runs in the parent's memory with descriptors of its own, as between `vfork` and `exec`.
extern "C" fn close_all(fd: *mut libc::c_void) -> libc::c_int {
    let fd = fd as usize as RawFd;
    // SAFETY: the descriptors are copies in a table of this child's own.
    unsafe { libc::dup2(0, fd) };
    let mut byte = 0_u8;
    // SAFETY: the byte lives through the call; standard input is /dev/null.
    unsafe { libc::read(fd, (&raw mut byte).cast(), 1) };
    let mut entry = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
    // SAFETY: the entry lives through the call.
    unsafe { libc::poll(&raw mut entry, 1, 0) };
    for other in 3..1024 {
        // SAFETY: as above.
        unsafe { libc::close(other) };
    }
    // SAFETY: as above.
    unsafe { libc::read(fd, (&raw mut byte).cast(), 1) };
    0
}

pub(crate) fn vfork(folder: &Path) -> Result<()> {
    let instance = watching(folder)?;
    let fd = instance.as_raw_fd();
    is_emulated(fd, folder, "before")?;
    let mut stack = vec![0_u64; 32 * 1024];
    let top = stack.as_mut_ptr_range().end.cast();
    for round in 0..3 {
        // SAFETY: the stack is large enough and lives until the child has ended, which CLONE_VFORK waits for.
        let child = Errno::result(unsafe {
            libc::clone(
                close_all,
                top,
                libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD,
                fd as usize as *mut libc::c_void,
            )
        })?;
        process::finish(nix::unistd::Pid::from_raw(child));
        is_emulated(fd, folder, &format!("after{round}"))?;
    }
    let status = Command::new("true").status()?;
    ensure!(status.success(), "true");
    is_emulated(fd, folder, "spawned")
}

/// The new image of [`exec`].
pub(crate) fn inherited(folder: &Path, fd: RawFd) -> Result<()> {
    ensure!(call::queued_bytes(Way::Libc, fd)? == 32, "FIONREAD of an inherited descriptor");
    let events = call::events(&call::read(Way::Libc, fd, 4096)?);
    ensure!(events.len() == 1 && events[0].name() == "unread", "{events:?}");
    is_emulated(fd, folder, "inherited")
}

pub(crate) fn exec(folder: &Path) -> Result<()> {
    let instance = watching(folder)?;
    let fd = instance.as_raw_fd();
    is_emulated(fd, folder, "before")?;
    // SAFETY: takes numbers only.
    Errno::result(unsafe { libc::fcntl(fd, libc::F_SETFD, 0) })?;
    fs::write(folder.join("unread"), "")?;
    let number = fd.to_string();
    let status = Command::new(std::env::current_exe()?)
        .args([crate::under::ARGUMENT.as_ref(), "inherited".as_ref(), folder.as_os_str(), number.as_ref()])
        .status()?;
    ensure!(status.success(), "the new image has failed");
    is_emulated(fd, folder, "after")
}

fn receive(socket: RawFd) -> Result<OwnedFd> {
    let mut byte = [0];
    let mut pieces = [IoSliceMut::new(&mut byte)];
    let mut room = nix::cmsg_space!(RawFd);
    let message = recvmsg::<()>(socket, &mut pieces, Some(&mut room), MsgFlags::MSG_CMSG_CLOEXEC)?;
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(fds) = control {
            let fd = *fds.first().context("a descriptor")?;
            // SAFETY: the kernel has just installed this descriptor, which nobody else has.
            return Ok(unsafe { OwnedFd::from_raw_fd(fd) });
        }
    }
    anyhow::bail!("no descriptor came")
}

pub(crate) fn passed(folder: &Path) -> Result<()> {
    let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::Stream, None, SockFlag::SOCK_CLOEXEC)?;
    // Started before there is an instance: it knows of none.
    let child = process::start(|| {
        let fd = receive(theirs.as_raw_fd()).expect("a descriptor comes");
        let events = call::events(&call::read(Way::Libc, fd.as_raw_fd(), 4096).expect("an event"));
        assert_eq!(events[0].name(), "unread");
        is_emulated(fd.as_raw_fd(), folder, "passed").expect("what came is emulated");
    });
    let instance = watching(folder)?;
    fs::write(folder.join("unread"), "")?;
    let fds = [instance.as_raw_fd()];
    sendmsg::<()>(
        ours.as_raw_fd(),
        &[IoSlice::new(b"x")],
        &[ControlMessage::ScmRights(&fds)],
        MsgFlags::empty(),
        None,
    )?;
    process::finish(child);
    is_emulated(instance.as_raw_fd(), folder, "after")
}

/// A call that succeeds leaves errno alone.
pub(crate) fn errno(folder: &Path) -> Result<()> {
    const UNTOUCHED: i32 = 4711;
    let check = |what: &str, call: &mut dyn FnMut() -> Result<()>| -> Result<()> {
        Errno::set_raw(UNTOUCHED);
        call().with_context(|| what.to_owned())?;
        ensure!(Errno::last_raw() == UNTOUCHED, "{what} has set errno to {}", Errno::last_raw());
        Ok(())
    };
    let mut instance = None;
    check("inotify_init1", &mut || {
        instance = Some(call::init(Way::Libc, libc::IN_NONBLOCK)?);
        Ok(())
    })?;
    let instance = instance.context("an instance")?;
    let fd = instance.as_raw_fd();
    let mut wd = 0;
    check("inotify_add_watch", &mut || {
        wd = call::add_watch(Way::Libc, fd, folder, libc::IN_CREATE)?;
        Ok(())
    })?;
    let epoll = call::epoll(Way::Libc, &[(fd, libc::EPOLLIN)])?;
    for is_first in [true, false] {
        for call in [Poll::Poll, Poll::PPoll, Poll::Select, Poll::PSelect] {
            for timeout in [0, 1] {
                let what = format!("{call:?}, first {is_first}");
                check(&what, &mut || {
                    ensure!(
                        call::readable(Way::Libc, call, &[fd], Duration::from_millis(timeout))? == [!is_first],
                        "not as it is"
                    );
                    Ok(())
                })?;
            }
        }
        check("epoll_wait", &mut || {
            ensure!(call::epoll_wait(Way::Libc, epoll.as_raw_fd(), 1)?.is_empty() == is_first, "not as it is");
            Ok(())
        })?;
        check("FIONREAD", &mut || Ok(call::queued_bytes(Way::Libc, fd).map(drop)?))?;
        fs::write(folder.join("errno"), "")?;
    }
    let mut buffer = [0; 4096];
    check("read", &mut || Ok(call::read_into(Way::Libc, fd, &mut buffer).map(drop)?))?;
    check("inotify_rm_watch", &mut || Ok(call::remove_watch(fd, wd)?))?;
    check("readv", &mut || Ok(call::read_pieces(Way::Libc, fd, [64, 64, 64]).map(drop)?))?;
    let mut duplicate = None;
    check("dup", &mut || {
        duplicate = Some(instance.try_clone()?);
        Ok(())
    })?;
    check("close", &mut || {
        duplicate.take().into_iter().for_each(close);
        Ok(())
    })?;
    // One that fails says why.
    ensure!(call::remove_watch(fd, 77) == Err(Errno::EINVAL), "an unknown wd");
    Ok(())
}
