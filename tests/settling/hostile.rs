//! Whoever sends the emulator what it should not: an error for them, nothing for the others, and nothing is left behind.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, ensure};
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, setsockopt, socketpair, sockopt};
use uinotify_wire::{Reply, RequestKind};

use crate::scene::Scene;
use crate::wire::{self, frame};

/// Packets that are no requests, and what each gets.
fn malformed() -> Vec<(&'static str, Vec<u8>, Errno)> {
    let with = |offset: usize, byte: u8| {
        let mut bytes = frame(RequestKind::Settle, 0, 0, b"");
        bytes[offset] = byte;
        bytes
    };
    let half = frame(RequestKind::Settle, 0, 0, b"")[..12].to_vec();
    vec![
        ("junk", b"junk".to_vec(), Errno::EPROTO),
        ("nothing", Vec::new(), Errno::EPROTO),
        ("half a frame", half, Errno::EPROTO),
        ("a huge packet", vec![b'x'; 15_000], Errno::EPROTO),
        ("a huge frame", frame(RequestKind::AddWatch, 0, 1, &[b'x'; 15_000]), Errno::EPROTO),
        ("a frame of another version", with(4, 77), Errno::EPROTO),
        ("an unknown kind", with(5, 200), Errno::EOPNOTSUPP),
        ("a wrong length", with(20, 1), Errno::EPROTO),
        ("reserved bytes", with(6, 1), Errno::EPROTO),
    ]
}

/// Junk where a request belongs.
pub(crate) fn junk_on_a_connection(folder: &Path) -> Result<()> {
    let mut scene = Scene::new(folder)?;
    let null = fs::File::open("/dev/null")?;
    for (what, packet, expected) in malformed() {
        for count in [0, 1, wire::DESCRIPTORS_MAX] {
            let descriptors = vec![null.as_raw_fd(); count];
            let (instance, control) = wire::instance()?;
            for connection in [wire::connection()?, control] {
                let errno = wire::refusal(connection.as_raw_fd(), &packet, &descriptors);
                let errno = errno.with_context(|| format!("{what} with {count} descriptors"))?;
                ensure!(errno == expected, "{what} with {count} descriptors gets {errno:?}");
            }
            drop(instance);
        }
        scene.goes_on()?;
    }
    for kind in [RequestKind::Settle, RequestKind::Attach, RequestKind::AddWatch, RequestKind::Return] {
        let errno = wire::refusal(wire::connection()?.as_raw_fd(), &frame(kind, 0, 0, b""), &[null.as_raw_fd()])?;
        ensure!(errno == Errno::EINVAL, "{kind:?} without an instance gets {errno:?}");
    }
    for kind in [RequestKind::Init, RequestKind::Status, RequestKind::Control] {
        let (_instance, control) = wire::instance()?;
        let errno = wire::refusal(control.as_raw_fd(), &frame(kind, 0, 0, b""), &[null.as_raw_fd()])?;
        ensure!(errno == Errno::EINVAL, "{kind:?} of an instance gets {errno:?}");
    }
    let many = vec![null.as_raw_fd(); 3];
    let (instance, control) = wire::instance()?;
    let errno = wire::refusal(control.as_raw_fd(), &frame(RequestKind::Settle, 0, 0, b""), &many)?;
    ensure!(errno == Errno::EPROTO, "three descriptors get {errno:?}");
    drop((instance, control));
    scene.ends()
}

/// The same a thousand times, of which `-v` tells a few times.
pub(crate) fn much_junk(folder: &Path) -> Result<()> {
    const TIMES: usize = 1000;
    let mut scene = Scene::new(folder)?;
    for _ in 0..TIMES {
        let errno = wire::refusal(wire::connection()?.as_raw_fd(), b"junk", &[])?;
        ensure!(errno == Errno::EPROTO, "junk gets {errno:?}");
    }
    println!("junk of {}", std::process::id());
    scene.goes_on()?;
    scene.ends()
}

/// What `-v` said about [`much_junk`].
pub(crate) fn is_told_of_junk(said: &str) -> Result<()> {
    let process = said.lines().find_map(|line| line.strip_prefix("junk of ")).context("the program names itself")?;
    let expected = format!("uinotify: process {process} of user ");
    let lines: Vec<_> = said.lines().filter(|line| line.starts_with(&expected)).collect();
    ensure!((1..=20).contains(&lines.len()), "{} lines:\n{said}", lines.len());
    ensure!(lines.iter().all(|line| line.ends_with(" sent a packet that is no frame")), "{lines:?}");
    Ok(())
}

/// Junk over an instance, for which the reply object is asked to tell.
pub(crate) fn junk_over_an_instance(folder: &Path) -> Result<()> {
    let mut scene = Scene::new(folder)?;
    let (instance, control) = wire::instance()?;
    let fd = instance.as_raw_fd();
    let null = fs::File::open("/dev/null")?;
    let count = frame(RequestKind::Count, 0, 0, b"");
    let lives = |what: &str| -> Result<()> {
        let reply = wire::ask(fd, &count, &[]).with_context(|| format!("after {what}"))?;
        ensure!(reply == Reply::default(), "after {what}: {reply:?}");
        Ok(())
    };
    for (what, packet, expected) in malformed() {
        for extra in [0, 1, wire::DESCRIPTORS_MAX - 1] {
            let reply = wire::ask(fd, &packet, &vec![null.as_raw_fd(); extra])?;
            ensure!(reply == Reply::error(expected as i32), "{what} and {extra} descriptors: {reply:?}");
        }
        lives(what)?;
    }
    let reply = wire::ask(fd, &count, &[null.as_raw_fd(); 2])?;
    ensure!(reply == Reply::error(libc::EPROTO), "three descriptors: {reply:?}");
    for kind in [RequestKind::Init, RequestKind::Status, RequestKind::Attach, RequestKind::Control] {
        let reply = wire::ask(fd, &frame(kind, 0, 0, b""), &[null.as_raw_fd()])?;
        ensure!(reply == Reply::error(libc::EINVAL), "{kind:?}: {reply:?}");
    }
    let path_only = fs::OpenOptions::new().read(true).custom_flags(libc::O_PATH).open(&scene.folder)?;
    let (reader, _writer) = std::io::pipe()?;
    let listening = TcpListener::bind("127.0.0.1:0")?;
    let strange = [
        ("a file", null.as_raw_fd()),
        ("an O_PATH descriptor", path_only.as_raw_fd()),
        ("a pipe's other end", reader.as_raw_fd()),
        ("a network socket", listening.as_raw_fd()),
        ("an instance", fd),
        ("the emulator's own connection", wire::connection()?.as_raw_fd()),
    ];
    // The last one is closed by now, and is left out below.
    for (what, object) in &strange[..5] {
        for kind in [RequestKind::Count, RequestKind::Attach] {
            wire::send(fd, &frame(kind, 0, 0, b""), &[*object])?;
            lives(what)?;
        }
    }
    for kind in [RequestKind::Count, RequestKind::Attach] {
        let connection = wire::connection()?;
        wire::send(fd, &frame(kind, 0, 0, b""), &[connection.as_raw_fd()])?;
        lives(strange[5].0)?;
    }
    scene.goes_on()?;
    drop((instance, control));
    scene.ends()
}

/// Descriptors that would keep an instance alive for ever, were they kept: its own end, and ends that hold it on its way.
pub(crate) fn loops(folder: &Path) -> Result<()> {
    const ROUNDS: usize = 10;
    let scene = Scene::new(folder)?;
    let (attach, count) = (frame(RequestKind::Attach, 0, 0, b""), frame(RequestKind::Count, 0, 0, b""));
    for _ in 0..ROUNDS {
        let (instance, control) = wire::instance()?;
        let fd = instance.as_raw_fd();
        wire::send(fd, &attach, &[fd])?;
        wire::send(fd, &count, &[fd, fd])?;
        wire::send(fd, b"", &[fd])?;
        wire::send(fd, &attach, &[control.as_raw_fd()])?;
        wire::send(control.as_raw_fd(), b"junk", &[fd, control.as_raw_fd()])?;
        // A control connection with its own other end and the instance on its way to the emulator.
        let flags = SockFlag::SOCK_CLOEXEC;
        let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)?;
        wire::send(ours.as_raw_fd(), b"", &[fd, ours.as_raw_fd()])?;
        wire::send(fd, &attach, &[theirs.as_raw_fd()])?;
    }
    scene.ends()
}

/// A pipe for the reply that is full, or becomes so at any moment.
pub(crate) fn full_pipe(folder: &Path) -> Result<()> {
    let mut scene = Scene::new(folder)?;
    let (instance, control) = wire::instance()?;
    let (mut reader, mut writer) = std::io::pipe()?;
    // SAFETY: takes numbers only.
    Errno::result(unsafe { libc::fcntl(writer.as_raw_fd(), libc::F_SETPIPE_SZ, 4096) })?;
    let object = writer.try_clone()?;
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| -> Result<()> {
        // Fills it as soon as there is room.
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) && writer.write_all(&[0; 64]).is_ok() {
                std::hint::spin_loop();
            }
        });
        for round in 0..300 {
            for _ in 0..20 {
                match wire::send(instance.as_raw_fd(), &frame(RequestKind::Count, 0, 0, b""), &[object.as_raw_fd()]) {
                    Ok(()) | Err(Errno::EAGAIN) => {}
                    Err(errno) => return Err(errno.into()),
                }
            }
            reader.read_exact(&mut [0; 4096 - 48])?;
            if round % 10 == 0 {
                scene.goes_on()?;
            }
        }
        is_over.store(true, Ordering::Relaxed);
        drop(reader);
        Ok(())
    })?;
    drop((instance, control, object));
    scene.ends()
}

/// A network socket whose close waits for as long as its owner has said: the data that is to be sent is never taken.
fn lingering() -> Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut stream = TcpStream::connect(listener.local_addr()?)?;
    let (other, _) = listener.accept()?;
    setsockopt(&stream, sockopt::Linger, &libc::linger { l_onoff: 1, l_linger: 1000 })?;
    stream.set_nonblocking(true)?;
    while stream.write(&[0; 65536]).is_ok() {}
    stream.set_nonblocking(false)?;
    Ok((stream, other))
}

/// Descriptors whose close takes its time, sent in every place.
pub(crate) fn blocking_closes(folder: &Path) -> Result<()> {
    let mut scene = Scene::new(folder)?;
    let null = fs::File::open("/dev/null")?;
    let mut others = Vec::new();
    let mut place = |place: &str, send: &dyn Fn(RawFd) -> Result<()>| -> Result<()> {
        // Stopped, so that its close is the last.
        scene.stop()?;
        let (stream, other) = lingering()?;
        others.push(other);
        let sent = send(stream.as_raw_fd());
        drop(stream);
        scene.go()?;
        sent?;
        scene.goes_on().with_context(|| format!("after one {place}"))
    };
    let (own, ended) = (wire::instance()?, std::cell::RefCell::new(Some(wire::instance()?)));
    let (instance, control) = (own.0.as_raw_fd(), own.1.as_raw_fd());
    let settle = frame(RequestKind::Settle, 0, 0, b"");
    let null = null.as_raw_fd();
    place("as the reply object", &|fd| Ok(wire::send(instance, &settle, &[fd])?))?;
    for (what, kind) in [("object", RequestKind::AddWatch), ("program's end", RequestKind::Return)] {
        place(&format!("as the {what}"), &|fd| Ok(wire::send(control, &frame(kind, 0, 2, b"x"), &[fd])?))?;
    }
    place("behind what a request carries", &|fd| Ok(wire::send(instance, &settle, &[null, null, null, fd])?))?;
    place("with junk", &|fd| Ok(wire::send(instance, b"junk", &[null, fd])?))?;
    place("with Attach", &|fd| Ok(wire::send(control, &frame(RequestKind::Attach, 0, 0, b""), &[fd])?))?;
    place("behind what is refused", &|fd| {
        let connection = wire::connection()?;
        wire::send(connection.as_raw_fd(), b"junk", &[])?;
        Ok(wire::send(connection.as_raw_fd(), b"junk", &[fd])?)
    })?;
    place("behind the last request", &|fd| {
        let (instance, _control) = ended.take().context("an instance")?;
        wire::send(instance.as_raw_fd(), b"", &[])?;
        Ok(wire::send(instance.as_raw_fd(), b"", &[fd])?)
    })?;
    drop(others);
    scene.goes_on()
}

/// An instance that somebody shuts down as a socket: it ends, and does not keep the emulator busy.
pub(crate) fn shut_down(folder: &Path) -> Result<()> {
    let mut scene = Scene::new(folder)?;
    for how in [libc::SHUT_RD, libc::SHUT_WR, libc::SHUT_RDWR] {
        let (instance, control) = wire::instance()?;
        let path = fs::OpenOptions::new().read(true).custom_flags(libc::O_PATH).open(&scene.folder)?;
        wire::send(control.as_raw_fd(), &frame(RequestKind::AddWatch, 0, libc::IN_CREATE, b"x"), &[path.as_raw_fd()])?;
        ensure!(wire::reply(control.as_raw_fd())?.0 == Reply::value(1), "a watch");
        // SAFETY: takes numbers only.
        Errno::result(unsafe { uinotify_harness::raw_syscall!(libc::SYS_shutdown, instance.as_raw_fd(), how) })?;
        scene.goes_on()?;
        ensure!(scene.falls_to(0), "after shutdown({how}) the emulator keeps the instance");
        drop(path);
    }
    scene.ends()
}
