//! Whoever sends the emulator what it should not: an error for them, nothing for the others, and nothing is left behind.

use std::ffi::CStr;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, setsockopt, socketpair, sockopt};
use nix::unistd::Pid;
use uinotify_wire::{Reply, Request, RequestKind};

use crate::call::{self, Way};
use crate::descriptors::watching;
use crate::process;
use crate::scarcity::{lowest_free, set_descriptor_limit};
use crate::wire::{self, frame};

/// Longer than any of this takes where nobody is disturbed.
const UNDISTURBED: Duration = Duration::from_secs(5);

/// How much the emulator's memory may grow: its allocator keeps some.
const GROWTH_BYTES: u64 = 8 << 20;

/// An emulator, and somebody who uses it and has done nothing wrong.
struct Scene {
    folder: PathBuf,
    innocent: OwnedFd,
    emulator: i32,
    descriptors: usize,
    memory: u64,
    files: u32,
}

impl Scene {
    fn new(folder: &Path) -> Result<Self> {
        let folder = folder.join("innocent");
        fs::create_dir(&folder)?;
        let innocent = watching(&folder)?;
        let emulator = call::emulator_of(innocent.as_raw_fd());
        let mut scene = Self { folder, innocent, emulator, descriptors: 0, memory: 0, files: 0 };
        scene.goes_on()?;
        // The last reply object may be about to be closed.
        let counts = (0..100).map(|_| descriptors(emulator)).collect::<Result<Vec<_>>>()?;
        scene.descriptors = counts.into_iter().min().context("a count")?;
        scene.memory = memory(emulator)?;
        Ok(scene)
    }

    /// What the innocent program sees is exactly what it does, and that without delay.
    fn goes_on(&mut self) -> Result<()> {
        const FILES: u32 = 5;
        let start = Instant::now();
        let names: Vec<_> = (self.files..self.files + FILES).map(|number| number.to_string()).collect();
        self.files += FILES;
        for name in &names {
            fs::write(self.folder.join(name), "")?;
        }
        let events = call::events(&call::read(Way::Libc, self.innocent.as_raw_fd(), 4096)?);
        let seen: Vec<_> = events.iter().map(call::Event::name).collect();
        ensure!(seen == names, "{seen:?} where {names:?} were made");
        let wd = call::add_watch(Way::Libc, self.innocent.as_raw_fd(), &self.folder, libc::IN_CREATE);
        ensure!(wd == Ok(1), "add_watch: {wd:?}");
        let taken = start.elapsed();
        ensure!(taken < UNDISTURBED, "an innocent program waits for {taken:?}");
        Ok(())
    }

    /// The same, and somebody new can come.
    fn is_open(&mut self) -> Result<()> {
        self.goes_on()?;
        let another = watching(&self.folder)?;
        fs::write(self.folder.join(format!("for another {}", self.files)), "")?;
        let events = call::events(&call::read(Way::Libc, another.as_raw_fd(), 4096)?);
        ensure!(events.len() == 1, "{events:?}");
        let events = call::events(&call::read(Way::Libc, self.innocent.as_raw_fd(), 4096)?);
        ensure!(events.len() == 1, "{events:?}");
        Ok(())
    }

    /// The emulator is what it was, once what was done to it is over.
    fn ends(mut self) -> Result<()> {
        self.is_open()?;
        let (emulator, before) = (self.emulator, self.descriptors);
        let is_over = crate::shared::yield_until(20_000, || descriptors(emulator).is_ok_and(|now| now <= before));
        let now = descriptors(emulator)?;
        ensure!(is_over, "the emulator has {now} descriptors where it had {before}");
        let memory = memory(emulator)?;
        ensure!(memory < self.memory + GROWTH_BYTES, "the emulator has {memory} bytes, and had {}", self.memory);
        Ok(())
    }

    /// Has the emulator find all that is sent now at once, when it goes on.
    fn stop(&self) -> Result<()> {
        Ok(kill(Pid::from_raw(self.emulator), Signal::SIGSTOP)?)
    }

    fn go(&self) -> Result<()> {
        Ok(kill(Pid::from_raw(self.emulator), Signal::SIGCONT)?)
    }

    /// The descriptors of the emulator are as few as at first, but for `more`.
    fn falls_to(&self, more: usize) -> bool {
        let most = self.descriptors + more;
        crate::shared::yield_until(20_000, || descriptors(self.emulator).is_ok_and(|now| now <= most))
    }
}

fn descriptors(process: i32) -> Result<usize> {
    Ok(fs::read_dir(format!("/proc/{process}/fd"))?.count())
}

/// Bytes that are resident.
fn memory(process: i32) -> Result<u64> {
    let text = fs::read_to_string(format!("/proc/{process}/statm"))?;
    Ok(text.split(' ').nth(1).context("the second field")?.parse::<u64>()? * 4096)
}

fn is_readable(fd: &OwnedFd, milliseconds: u16) -> bool {
    poll(&mut [PollFd::new(fd.as_fd(), PollFlags::POLLIN)], milliseconds) == Ok(1)
}

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
    for kind in [RequestKind::Init, RequestKind::Status] {
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
    for kind in [RequestKind::Init, RequestKind::Status, RequestKind::Attach] {
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
