//! Whoever takes more of the emulator than is theirs: bounds for them, and all the rest for the others.

use std::ffi::CStr;
use std::fs;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use uinotify_wire::{Reply, Request, RequestKind};

use crate::process;
use crate::scarcity::{lowest_free, set_descriptor_limit};
use crate::scene::{GROWTH_BYTES, Scene, descriptors, memory};
use crate::wire::{self, frame};

fn is_readable(fd: &OwnedFd, milliseconds: u16) -> bool {
    poll(&mut [PollFd::new(fd.as_fd(), PollFlags::POLLIN)], milliseconds) == Ok(1)
}

/// Connections on which nobody says anything, by one process and by many.
pub(crate) fn silent_connections(folder: &Path) -> Result<()> {
    const PROCESSES: usize = 9;
    let mut scene = Scene::new(folder)?;
    let (told, tell) = std::io::pipe()?;
    let (wait, go) = std::io::pipe()?;
    let mut told = std::io::BufReader::new(told);
    let mut children = Vec::new();
    for number in 0..PROCESSES {
        let (mut tell, mut wait) = (tell.try_clone()?, wait.try_clone()?);
        let unused = go.try_clone()?;
        children.push(process::start(move || {
            drop(unused);
            let connections: Vec<_> = (0..200).map(|_| wire::connection().expect("a connection")).collect();
            let refused = connections.iter().filter(|connection| {
                // The emulator answers in the order in which it was asked.
                is_readable(connection, 0) && wire::reply(connection.as_raw_fd()).is_ok()
            });
            let last = connections.last().expect("a connection");
            assert!(is_readable(last, 10_000), "the last of 200 connections gets no answer");
            let reply = wire::reply(last.as_raw_fd()).expect("a reply").0;
            assert_eq!(reply, Reply::error(libc::EMFILE));
            let refused = refused.count() + 1;
            // The first may have been closed in favour of others, without a reply.
            assert!(number > 0 || refused == 200 - 64, "{refused} were refused");
            tell.write_all(b".").expect("the parent listens");
            // Until the parent has closed its end.
            let _ = wait.read(&mut [0]);
        }));
        told.read_exact(&mut [0])?;
        ensure!(scene.falls_to(520), "silent connections take {} descriptors", descriptors(scene.emulator)?);
        scene.is_open()?;
    }
    drop(go);
    for child in children {
        process::end(child);
    }
    scene.ends()
}

/// All threads of a program may ask at the same time.
pub(crate) fn many_threads(folder: &Path) -> Result<()> {
    const CONNECTIONS: usize = 100;
    let scene = Scene::new(folder)?;
    // Each has asked before the emulator sees the next: a stopped one sees them all at once.
    scene.stop()?;
    let connections: Vec<_> = (0..CONNECTIONS)
        .map(|_| {
            let connection = wire::connection()?;
            wire::send(connection.as_raw_fd(), &frame(RequestKind::Init, u64::MAX, 0, b""), &[])?;
            Ok(connection)
        })
        .collect::<Result<_>>()?;
    scene.go()?;
    for connection in connections {
        let (reply, _) = wire::reply(connection.as_raw_fd())?;
        // No token: but each is heard.
        ensure!(reply == Reply::error(libc::ENOMEM), "{reply:?}");
    }
    scene.ends()
}

/// Control connections without end.
pub(crate) fn many_controls(folder: &Path) -> Result<()> {
    let mut scene = Scene::new(folder)?;
    let (instance, control) = wire::instance()?;
    let mut kept = vec![control];
    let mut refused = 0;
    for number in 0..200 {
        let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
        wire::send(instance.as_raw_fd(), &frame(RequestKind::Attach, 0, 0, b""), &[theirs.as_raw_fd()])?;
        drop(theirs);
        let (reply, _) = wire::reply(ours.as_raw_fd())?;
        if reply.errno == libc::EMFILE.unsigned_abs() {
            refused += 1;
            ensure!(wire::receive(ours.as_raw_fd())?.0.is_empty(), "a refused connection ends");
        } else {
            ensure!(reply.errno == 0 && refused == 0, "{number}: {reply:?}");
            kept.push(ours);
        }
    }
    ensure!(kept.len() == 64 && refused == 200 - 63, "{} are kept, {refused} refused", kept.len());
    scene.goes_on()?;
    for connection in &kept {
        wire::send(connection.as_raw_fd(), &frame(RequestKind::Count, 0, 0, b""), &[])?;
        ensure!(wire::reply(connection.as_raw_fd())?.0 == Reply::default(), "a control connection");
    }
    drop((instance, kept));
    scene.ends()
}

/// Requests whose replies nobody reads.
pub(crate) fn unread_replies(folder: &Path) -> Result<()> {
    let mut scene = Scene::new(folder)?;
    let (instance, control) = wire::instance()?;
    let ended = (0..100_000).find_map(|_| {
        match wire::send(control.as_raw_fd(), &Request::new(RequestKind::Count, 0, 0).header(), &[]) {
            Ok(()) => None,
            Err(Errno::EAGAIN) => {
                // SAFETY: takes nothing.
                unsafe { libc::sched_yield() };
                None
            }
            Err(errno) => Some(errno),
        }
    });
    ensure!(matches!(ended, Some(Errno::EPIPE | Errno::ECONNRESET)), "{ended:?}");
    scene.goes_on()?;
    let reply = wire::ask(instance.as_raw_fd(), &frame(RequestKind::Count, 0, 0, b""), &[])?;
    ensure!(reply == Reply::default(), "the instance lives: {reply:?}");
    drop((instance, control));
    scene.ends()
}

/// Descriptions that nobody reads.
pub(crate) fn unread_descriptions(folder: &Path) -> Result<()> {
    const FILES: usize = 150;
    let mut scene = Scene::new(folder)?;
    let (instance, control) = wire::instance()?;
    for number in 0..FILES {
        let path = scene.folder.with_file_name(format!("file{number}"));
        fs::write(&path, "")?;
        let object = fs::OpenOptions::new().read(true).custom_flags(libc::O_PATH).open(&path)?;
        // What a path is called is told, and not looked at.
        let packet = frame(RequestKind::AddWatch, 0, libc::IN_OPEN, &[b'x'; 4000]);
        wire::send(control.as_raw_fd(), &packet, &[object.as_raw_fd()])?;
        ensure!(wire::reply(control.as_raw_fd())?.0.errno == 0, "a watch");
    }
    scene.memory = memory(scene.emulator)?;
    let mut unread = Vec::new();
    for _ in 0..60 {
        let connection = wire::connection()?;
        wire::send(connection.as_raw_fd(), &frame(RequestKind::Status, 0, 0, b""), &[])?;
        unread.push(connection);
    }
    let last = unread.last().context("a connection")?;
    ensure!(is_readable(last, 10_000), "the last is answered");
    let (reply, _) = wire::reply(last.as_raw_fd())?;
    ensure!(reply == Reply::error(libc::EAGAIN), "{reply:?}");
    let mut tellers = 0;
    for thread in fs::read_dir(format!("/proc/{}/task", scene.emulator))? {
        // One that has ended meanwhile tells nothing.
        let name = fs::read_to_string(thread?.path().join("comm")).unwrap_or_default();
        tellers += usize::from(name == "status\n");
    }
    ensure!((1..=8).contains(&tellers), "{tellers} threads tell");
    scene.goes_on()?;
    drop((unread, instance, control));
    scene.ends()
}

/// Events given back that never came.
pub(crate) fn made_up_events(folder: &Path) -> Result<()> {
    const REQUESTS: usize = 3000;
    let mut scene = Scene::new(folder)?;
    let (instance, control) = wire::instance()?;
    let record = [1_u32.to_ne_bytes(), libc::IN_CREATE.to_ne_bytes(), [0; 4], [0; 4]].concat();
    let many = frame(RequestKind::Return, 0, 0, &record.repeat(256));
    for number in 0..REQUESTS {
        wire::send(control.as_raw_fd(), &many, &[instance.as_raw_fd()])?;
        let (reply, _) = wire::reply(control.as_raw_fd())?;
        ensure!(reply == Reply::default(), "{number}: {reply:?}");
    }
    let now = memory(scene.emulator)?;
    ensure!(now < scene.memory + 4 * GROWTH_BYTES, "the emulator has {now} bytes, and had {}", scene.memory);
    scene.goes_on()?;
    // Another socket is no end of the instance's, and what is in it is left there.
    let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
    wire::send(ours.as_raw_fd(), b"mine", &[])?;
    wire::send(control.as_raw_fd(), &frame(RequestKind::Return, 0, 0, &record), &[theirs.as_raw_fd()])?;
    let (reply, _) = wire::reply(control.as_raw_fd())?;
    ensure!(reply == Reply::error(libc::EBADF), "{reply:?}");
    ensure!(wire::receive(theirs.as_raw_fd())?.0 == b"mine", "what was in it");
    drop((instance, control));
    // The memory of a queue that was full is the allocator's.
    scene.memory = memory(scene.emulator)?;
    scene.ends()
}

/// A request whose second descriptor finds no number in the emulator: the first tells.
pub(crate) fn no_number_left(folder: &Path) -> Result<()> {
    let scene = Scene::new(folder)?;
    let (instance, control) = wire::instance()?;
    let object = fs::OpenOptions::new().read(true).custom_flags(libc::O_PATH).open(&scene.folder)?;
    let packet = frame(RequestKind::AddWatch, 0, libc::IN_CREATE, b"x");
    ensure!(wire::ask(instance.as_raw_fd(), &packet, &[object.as_raw_fd()])? == Reply::value(1), "a watch");
    // The reply object of that one is closed before the next is received.
    let limit = set_descriptor_limit(scene.emulator, lowest_free(scene.emulator)? + 1)?;
    let reply = wire::ask(instance.as_raw_fd(), &packet, &[object.as_raw_fd()]);
    set_descriptor_limit(scene.emulator, limit)?;
    ensure!(reply.as_ref().is_ok_and(|reply| *reply == Reply::error(libc::ENOMEM)), "{reply:?}");
    drop((instance, control, object));
    scene.ends()
}

/// A flood of requests and of junk by others: the innocent program waits its turn, which comes.
pub(crate) fn floods(folder: &Path) -> Result<()> {
    const ROUNDS: usize = 200;
    let mut scene = Scene::new(folder)?;
    let latencies = |scene: &mut Scene| -> Result<[Duration; 2]> {
        let mut latencies = Vec::new();
        for _ in 0..ROUNDS {
            let start = Instant::now();
            scene.goes_on()?;
            latencies.push(start.elapsed());
        }
        latencies.sort_unstable();
        Ok([latencies[ROUNDS / 2], latencies[ROUNDS - 1]])
    };
    let quiet = latencies(&mut scene)?;
    let path = scene.folder.clone();
    let flood = |send: &'static (dyn Fn(&OwnedFd, &OwnedFd, &CStr) + Sync)| {
        let path = path.clone();
        process::start(move || {
            let (instance, control) = wire::instance().expect("an instance");
            let path = std::ffi::CString::new(path.to_str().expect("a path")).expect("a path");
            loop {
                send(&instance, &control, &path);
            }
        })
    };
    // Three send to one, which is faster than anybody can receive.
    let (instance, control) = wire::instance()?;
    let junk = || {
        process::start(|| {
            loop {
                let _ = wire::send(instance.as_raw_fd(), b"junk", &[]);
            }
        })
    };
    let children = [
        junk(),
        junk(),
        junk(),
        flood(&|instance, _, _| {
            let _ = wire::ask(instance.as_raw_fd(), &frame(RequestKind::Count, 0, 0, b""), &[]);
        }),
        flood(&|_, control, path| {
            // SAFETY: the path is a string that lives through the call.
            let fd = unsafe { libc::open(path.as_ptr(), libc::O_PATH | libc::O_CLOEXEC) };
            // SAFETY: the call has just returned this descriptor, which nobody else has.
            let object = unsafe { <OwnedFd as std::os::fd::FromRawFd>::from_raw_fd(fd) };
            let packet = frame(RequestKind::AddWatch, 0, libc::IN_CREATE, b"x");
            let _ = wire::send(control.as_raw_fd(), &packet, &[object.as_raw_fd()]);
            let _ = wire::reply(control.as_raw_fd());
        }),
        flood(&|_, _, _| {
            let _ = wire::refusal(wire::connection().expect("a connection").as_raw_fd(), b"junk", &[]);
        }),
    ];
    let flooded = latencies(&mut scene);
    for child in children {
        process::end(child);
    }
    drop((instance, control));
    println!("median and longest: quiet {quiet:?}, flooded {:?}, {ROUNDS} rounds, ", flooded?);
    scene.ends()
}
