//! `uinotify serve` and `uinotify env`.

use std::fs::{self, File};
use std::io::Read;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use libtest_mimic::{Completion, Failed};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};

use crate::room::{Ended, Outcome, Room, Running, before_exec, copy_program, eventually, helper_command};

const UINOTIFY: &str = env!("CARGO_BIN_EXE_uinotify");
/// The user whom root's tests take for another one: nobody's number nearly everywhere.
const ANOTHER: u32 = 65534;

/// A server that programs can connect to.
struct Server<'a> {
    room: &'a Room,
    child: Child,
    socket: PathBuf,
}

impl<'a> Server<'a> {
    fn start(room: &'a Room, name: &str, options: &[&str]) -> Self {
        let socket = room.path(name);
        let place = socket.to_str().expect("UTF-8");
        let mut command = room.uinotify(&[&["serve", "--socket", place, "--ready-fd", "1"], options].concat());
        command.stderr(File::create(room.path("server")).expect("a file in a folder of our own"));
        let mut child = command.stdout(Stdio::piped()).spawn().expect("the command starts");
        let mut ready = String::new();
        child.stdout.take().expect("it is piped").read_to_string(&mut ready).expect("a pipe can be read");
        let server = Self { room, child, socket };
        assert_eq!(ready, "\n", "{}", server.log());
        server
    }

    fn log(&self) -> String {
        fs::read_to_string(self.room.path("server")).expect("the server's file")
    }

    fn end(mut self, signal: Signal) -> Option<i32> {
        kill(Pid::from_raw(self.child.id().cast_signed()), signal).expect("a child of ours");
        self.child.wait().expect("a child of ours").code()
    }

    /// A program in a shell that has evaluated what `env` prints.
    fn command(&self, program: &[&str]) -> Command {
        let script = r#"text=$("$1" env --socket "$2") && eval "$text" && shift 2 && exec "$@""#;
        let place = self.socket.to_str().expect("UTF-8");
        self.room.command("sh", &[&["-c", script, "sh", UINOTIFY, place], program].concat())
    }
}

impl Drop for Server<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn folder(room: &Room, name: &str) -> String {
    let path = room.path(name);
    fs::create_dir(&path).expect("a folder");
    path.to_str().expect("UTF-8").to_owned()
}

/// The program of [`crate::helper`] where every user can execute it.
fn helper_for_others(room: &Room) -> String {
    let path = room.path("helper");
    copy_program(&std::env::current_exe().expect("/proc is mounted"), &path).expect("a copy");
    path.to_str().expect("UTF-8").to_owned()
}

fn ps(room: &Room, socket: &Path) -> serde_json::Value {
    let ended = room.end(&mut room.uinotify(&["ps", "--json", "--socket", socket.to_str().expect("UTF-8")]));
    assert_eq!(ended.status, Some(0), "{}", ended.stderr);
    serde_json::from_str::<serde_json::Value>(&ended.stdout).expect("JSON")[0].clone()
}

pub(super) fn many_programs_share_a_server() -> Outcome {
    let room = Room::new();
    // A name that a shell would take apart, and below it one that it would not find.
    let server = Server::start(&room, "it's a \"$HOME\" socket", &["--next-wd", "70"]);
    assert!(server.log().contains(&format!("serving at {}\n", server.socket.display())), "{}", server.log());
    let folders = ["one", "two", "three"].map(|name| folder(&room, name));
    let mut programs = folders
        .each_ref()
        .map(|folder| Running::start(server.command(&helper_command(&["hold", folder])).stdin(Stdio::piped())));
    for program in &mut programs {
        assert_eq!(program.line(), "ready", "{}", room.stderr());
    }
    let status = ps(&room, &server.socket);
    assert_eq!(status["pid"], server.child.id());
    let watched: Vec<_> = status["groups"].as_array().ok_or("groups")?.iter().collect();
    assert_eq!(watched.len(), 3, "{status}");
    for folder in &folders {
        assert!(watched.iter().any(|group| group["watches"][0]["path"] == **folder), "{status}");
    }
    // A shell in which the server's variable is set shows it without being told where it is.
    let shown = room.end(&mut server.command(&[UINOTIFY, "ps"])).stdout;
    assert_eq!(shown.matches(&format!("emulator {} ", server.child.id())).count(), 3, "{shown}");

    for program in &mut programs {
        program.tell("go");
        assert_eq!(program.line(), format!("wd 70 mask {:#x} name made", libc::IN_CREATE));
        assert_eq!(program.child.wait()?.code(), Some(0));
    }
    eventually("the server sees the programs end", || ps(&room, &server.socket)["groups"] == serde_json::json!([]))?;
    let socket = server.socket.clone();
    assert_eq!(server.end(Signal::SIGTERM), Some(0));
    assert!(!socket.exists());
    Ok(())
}

pub(super) fn signals_end_the_server() -> Outcome {
    let room = Room::new();
    let watched = folder(&room, "watched");
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        let server = Server::start(&room, "socket", &[]);
        let socket = server.socket.clone();
        assert!(fs::symlink_metadata(&socket)?.file_type().is_socket());
        assert_eq!(fs::metadata(&socket)?.permissions().mode() & 0o777, 0o600);
        let mut program = Running::start(server.command(&helper_command(&["hold", &watched])).stdin(Stdio::piped()));
        assert_eq!(program.line(), "ready", "{}", room.stderr());
        // An instance does not keep it.
        assert_eq!(server.end(signal), Some(0));
        assert!(!socket.exists());
        program.child.kill()?;
        program.child.wait()?;
    }
    Ok(())
}

pub(super) fn a_killed_server_is_followed_by_another() -> Outcome {
    let room = Room::new();
    let watched = folder(&room, "watched");
    let first = Server::start(&room, "socket", &[]);
    let socket = first.socket.clone();
    assert_eq!(first.end(Signal::SIGKILL), None);
    assert!(socket.exists(), "kill -9 leaves the path");
    let place = socket.to_str().ok_or("UTF-8")?;
    let told = room.end(&mut room.uinotify(&["env", "--socket", place]));
    assert_eq!((told.status, &*told.stdout), (Some(1), ""));
    assert!(told.stderr.contains(&format!("no server answers at {place} any more")), "{}", told.stderr);

    let second = Server::start(&room, "socket", &[]);
    let ended = room.end(&mut second.command(&helper_command(&["watch", &watched])));
    assert_eq!(ended.stdout, "wd 1 wd 2\n", "{}", ended.stderr);
    // A third one does not take its place.
    let refused = room.end(&mut room.uinotify(&["serve", "--socket", place]));
    assert_eq!(refused.status, Some(1));
    assert!(refused.stderr.contains(&format!("cannot serve at {place}: a server answers")), "{}", refused.stderr);
    assert!(refused.stderr.contains(&format!("process {}", second.child.id())), "{}", refused.stderr);
    assert_eq!(second.end(Signal::SIGTERM), Some(0));
    Ok(())
}

/// As systemd hands it over: it listens already, as descriptor 3 of a process that is told so.
pub(super) fn a_socket_is_taken_from_a_service_manager() -> Outcome {
    use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, listen, socket};
    let room = Room::new();
    let watched = folder(&room, "watched");
    let start = |kind, count: u32, options: &[&str]| -> Result<Child, Failed> {
        let listener = socket(AddressFamily::Unix, kind, SockFlag::SOCK_CLOEXEC, None)?;
        let path = room.path("handed");
        let _ = fs::remove_file(&path);
        bind(listener.as_raw_fd(), &UnixAddr::new(&path)?)?;
        listen(&listener, Backlog::new(8)?)?;
        // Not the number that it is to have, which dup2 would leave close-on-exec.
        let listener = nix::fcntl::fcntl(&listener, nix::fcntl::FcntlArg::F_DUPFD_CLOEXEC(10))?;
        let script = "exec env LISTEN_PID=$$ LISTEN_FDS=\"$1\" \"$2\" serve --ready-fd 1 $3";
        let count = count.to_string();
        let words = ["-c", script, "sh", &count, UINOTIFY, &options.join(" ")];
        let mut command = room.command("sh", &words);
        before_exec(&mut command, move || {
            // SAFETY: takes numbers only; the listener is open, and 3 is the child's own to close.
            nix::errno::Errno::result(unsafe { libc::dup2(listener, 3) })?;
            Ok(())
        });
        command.stderr(File::create(room.path("server"))?);
        let child = command.stdout(Stdio::piped()).spawn();
        nix::unistd::close(listener)?;
        Ok(child?)
    };
    let mut child = start(SockType::SeqPacket, 1, &[])?;
    let mut ready = String::new();
    child.stdout.take().ok_or("it is piped")?.read_to_string(&mut ready)?;
    let server = Server { room: &room, child, socket: room.path("handed") };
    assert_eq!(ready, "\n", "{}", server.log());
    let ended = room.end(&mut server.command(&helper_command(&["watch", &watched])));
    assert_eq!(ended.stdout, "wd 1 wd 2\n", "{}", ended.stderr);
    assert_eq!(server.end(Signal::SIGTERM), Some(0));
    assert!(room.path("handed").exists(), "the path is the service manager's");

    for (kind, count, options, reason) in [
        (SockType::Stream, 1, &[][..], "is no listening SOCK_SEQPACKET socket"),
        (SockType::SeqPacket, 2, &[], "2 sockets were handed over"),
        (SockType::SeqPacket, 1, &["--socket", "/x"], "leave --socket out"),
    ] {
        let status = start(kind, count, options)?.wait()?;
        let told = fs::read_to_string(room.path("server"))?;
        assert!(status.code() == Some(1) && told.contains(reason), "{status}: {told}");
    }
    Ok(())
}

pub(super) fn places_that_cannot_be_used_are_told() -> Outcome {
    let room = Room::new();
    let serve = |place: &Path| -> Ended {
        room.end(&mut room.uinotify(&["serve", "--socket", place.to_str().expect("UTF-8")]))
    };
    let is_told = |place: &Path, reason: &str| {
        let ended = serve(place);
        assert_eq!(ended.status, Some(1), "{}", ended.stderr);
        assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
        assert!(ended.stderr.contains(&format!("cannot serve at {}: {reason}", place.display())), "{}", ended.stderr);
    };
    is_told(&room.path(&"l".repeat(107)), "the path is too long");
    is_told(&room.path("a?token=b"), "programs could not be told this path");
    is_told(&room.path("missing/socket"), "its folder is not there");
    let file = room.path("file");
    fs::write(&file, "kept")?;
    is_told(&file, "there is a file that is no socket");
    assert_eq!(fs::read(&file)?, b"kept");
    is_told(room.folder.path(), "there is a file that is no socket");
    // A stream socket, alive.
    let _listener = UnixListener::bind(room.path("stream"))?;
    is_told(&room.path("stream"), "there is a socket of another user or program");

    let usage = room.end(&mut room.uinotify(&["serve"]));
    assert_eq!(usage.status, Some(2));
    let usage = room.end(&mut room.uinotify(&["serve", "--socket", "x", "--ready-fd", "99"]));
    assert_eq!((usage.status, usage.stderr.contains("--ready-fd")), (Some(2), true), "{}", usage.stderr);

    let place = room.path("nowhere");
    for command in ["env", "ps"] {
        let ended = room.end(&mut room.uinotify(&[command, "--socket", place.to_str().ok_or("UTF-8")?]));
        assert_eq!((ended.status, &*ended.stdout), (Some(1), ""));
        assert!(ended.stderr.contains(place.to_str().ok_or("UTF-8")?), "{}", ended.stderr);
    }
    Ok(())
}

pub(super) fn env_keeps_what_is_preloaded() -> Outcome {
    let room = Room::new();
    let server = Server::start(&room, "socket", &[]);
    // The path as seen from another folder.
    let mut command = room.uinotify(&["env", "--socket", "socket"]);
    command.current_dir(room.folder.path()).env("LD_PRELOAD", "libm.so.6 libdl.so.2");
    let ended = room.end(&mut command);
    let lines: Vec<_> = ended.stdout.lines().collect();
    assert_eq!(lines.len(), 2, "{}", ended.stderr);
    assert!(
        lines[0].starts_with("export LD_PRELOAD='/") && lines[0].ends_with(".so:libm.so.6:libdl.so.2'"),
        "{}",
        lines[0]
    );
    assert_eq!(lines[1], format!("export UINOTIFY_SOCKET='{}'", server.socket.display()));
    Ok(())
}

fn root_only() -> Option<Completion> {
    (!geteuid().is_root()).then(|| Completion::ignored_with("only root can become another user"))
}

pub(super) fn another_user_is_refused() -> Result<Completion, Failed> {
    if let Some(ignored) = root_only() {
        return Ok(ignored);
    }
    let room = Room::new();
    let watched = folder(&room, "watched");
    let server = Server::start(&room, "socket", &[]);
    // The address is root's, the program is another's: by the path it comes to nothing, by the abstract name it is refused.
    let mut command =
        server.command(&["setpriv", "--reuid", "65534", "--clear-groups", "--", &helper_for_others(&room)]);
    let ended = room.end(command.args(["--helper", "watch", &watched]));
    assert_eq!(ended.stdout, format!("init errno {}\n", libc::ENOMEM), "{}", ended.stderr);
    let log = server.log();
    assert!(log.contains("refused an instance to process ") && log.contains(" of user 65534"), "{log}");

    let place = server.socket.to_str().ok_or("UTF-8")?;
    let mut command = Command::new(UINOTIFY);
    let output = command.args(["env", "--socket", place]).env("XDG_RUNTIME_DIR", "/nonexistent").uid(ANOTHER).output();
    // Where another user cannot execute the command there is nothing to see.
    if let Ok(output) = output {
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.contains("you may not connect to"), "{text}");
    }
    Ok(Completion::Completed)
}

pub(super) fn all_users_is_for_root() -> Outcome {
    let room = Room::new();
    let place = room.path("socket");
    let mut command = room.uinotify(&["serve", "--all-users", "--socket", place.to_str().ok_or("UTF-8")?]);
    if geteuid().is_root() {
        let copy = room.path("uinotify");
        copy_program(UINOTIFY.as_ref(), &copy)?;
        command = room.command(copy, &["serve", "--all-users", "--socket", place.to_str().ok_or("UTF-8")?]);
        command.uid(ANOTHER);
    }
    let ended = room.end(&mut command);
    assert_eq!(ended.status, Some(1));
    assert!(ended.stderr.contains("--all-users is for root"), "{}", ended.stderr);
    Ok(())
}

/// A program as another user, with these supplementary groups.
fn as_another(command: &mut Command, groups: &'static [u32]) {
    before_exec(command, move || {
        let groups: [nix::unistd::Gid; 2] = std::array::from_fn(|index| groups[index % groups.len()].into());
        nix::unistd::setgroups(&groups)?;
        nix::unistd::setgid(ANOTHER.into())?;
        nix::unistd::setuid(ANOTHER.into())?;
        Ok(())
    });
}

pub(super) fn every_user_is_served() -> Result<Completion, Failed> {
    if let Some(ignored) = root_only() {
        return Ok(ignored);
    }
    let room = Room::new();
    let server = Server::start(&room, "socket", &["--all-users"]);
    assert_eq!(fs::metadata(&server.socket)?.permissions().mode() & 0o777, 0o666);
    let watched = folder(&room, "watched");
    fs::set_permissions(folder(&room, "open"), fs::Permissions::from_mode(0o755))?;
    let secret = folder(&room, "open/closed");
    std::os::unix::fs::chown(&watched, Some(ANOTHER), None)?;
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o700))?;
    let helper = helper_for_others(&room);
    let as_user = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "--", &helper, "--helper"];
    let mut program =
        Running::start(server.command(&[&as_user[..], &["hold", &watched]].concat()).stdin(Stdio::piped()));
    assert_eq!(program.line(), "ready", "{}", room.stderr());
    let group = &ps(&room, &server.socket)["groups"][0];
    assert_eq!((&group["owner"], &group["watches"][0]["path"]), (&ANOTHER.into(), &watched.clone().into()));
    // Of the source or the settle page it has nothing: kernel descriptors that are root's.
    let held = fs::read_dir(format!("/proc/{}/fd", program.child.id()))?;
    let held: Vec<_> = held.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok()).collect();
    let is_roots = |target: &&PathBuf| target.to_string_lossy().contains("inotify");
    assert_eq!(held.iter().filter(is_roots).count(), 0, "{held:?}");
    program.tell("go");
    assert_eq!(program.line(), format!("wd 1 mask {:#x} name made", libc::IN_CREATE));
    assert_eq!(program.child.wait()?.code(), Some(0));

    let ended = room.end(&mut server.command(&[&as_user[..], &["watch", &secret]].concat()));
    assert_eq!(ended.stdout, format!("errno {} wd 1\n", libc::EACCES), "{}", ended.stderr);
    Ok(Completion::Completed)
}

pub(super) fn limits_count_for_each_user() -> Result<Completion, Failed> {
    if let Some(ignored) = root_only() {
        return Ok(ignored);
    }
    let room = Room::new();
    let server = Server::start(&room, "socket", &["--all-users", "--limit", "instances=1,watches=1"]);
    let watched = folder(&room, "watched");
    let helper = helper_for_others(&room);
    let mut holders = ["0", "65533", "65534"].map(|user| {
        let program = ["setpriv", "--reuid", user, "--clear-groups", "--", &helper, "--helper", "hold", &watched];
        Running::start(server.command(&program).stdin(Stdio::piped()))
    });
    for holder in &mut holders {
        assert_eq!(holder.line(), "ready", "{}", room.stderr());
    }
    let program = ["setpriv", "--reuid", "65534", "--clear-groups", "--", &helper, "--helper", "watch", &watched];
    assert_eq!(room.end(&mut server.command(&program)).stdout, format!("init errno {}\n", libc::EMFILE));
    for holder in &mut holders {
        holder.child.kill()?;
        holder.child.wait()?;
    }
    Ok(Completion::Completed)
}

pub(super) fn permission_is_asked_of_the_kernel() -> Result<Completion, Failed> {
    const GROUP: u32 = 65531;
    if let Some(ignored) = root_only() {
        return Ok(ignored);
    }
    let room = Room::new();
    let server = Server::start(&room, "socket", &["--all-users"]);
    let helper = helper_for_others(&room);
    let file = |name: &str, owner: u32, group: u32, mode: u32| {
        let path = room.path(name);
        fs::write(&path, "").expect("a file");
        std::os::unix::fs::chown(&path, Some(owner), Some(group)).expect("root gives files away");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("root sets modes");
        path.to_str().expect("UTF-8").to_owned()
    };
    let cases = [
        (file("of-root", 0, 0, 0o600), libc::EACCES),
        (file("for-all", 0, 0, 0o604), 0),
        (file("own", ANOTHER, 0, 0o400), 0),
        (file("own-and-closed", ANOTHER, 0, 0o044), libc::EACCES),
        (file("of-the-group", 0, GROUP, 0o640), 0),
        (file("not-for-the-group", 0, GROUP, 0o604), libc::EACCES),
        (file("of-roots-group", 0, 0, 0o640), libc::EACCES),
        (file("of-root-again", 0, 0, 0o600), libc::EACCES),
    ];
    // Made by root, which its credentials say, and in the hands of another.
    let pair = nix::sys::socket::socketpair(
        nix::sys::socket::AddressFamily::Unix,
        nix::sys::socket::SockType::SeqPacket,
        None,
        nix::sys::socket::SockFlag::SOCK_CLOEXEC,
    )?;
    let place = server.socket.to_str().ok_or("UTF-8")?;
    let mut command = room.command(&helper, &["--helper", "intrude-with-pair", place, "50"]);
    command.args(cases.iter().map(|(path, _)| path));
    before_exec(&mut command, move || {
        for (number, end) in [(50, &pair.0), (51, &pair.1)] {
            // SAFETY: both are numbers; the new one is this child's to use.
            nix::errno::Errno::result(unsafe { libc::dup2(end.as_raw_fd(), number) })?;
        }
        Ok(())
    });
    as_another(&mut command, &[GROUP]);
    let ended = room.end(&mut command);
    let mut expected: Vec<_> = cases.iter().map(|(_, errno)| format!("errno {errno} {errno}")).collect();
    expected.push("forged Err(EPERM)".to_owned());
    expected.extend([(); 2].map(|()| format!("attach errno {} descriptors 0", libc::EPERM)));
    assert_eq!(ended.stdout.lines().collect::<Vec<_>>(), expected, "{} {}", ended.stderr, server.log());

    // The server itself has kept its rights.
    let ended = room.end(&mut server.command(&helper_command(&["watch", &folder(&room, "watched")])));
    assert_eq!(ended.stdout, "wd 1 wd 2\n", "{}", ended.stderr);
    Ok(Completion::Completed)
}

/// What a connection was made with counts no longer when its maker has become another.
pub(super) fn a_program_that_gives_up_root_is_another_user() -> Result<Completion, Failed> {
    if let Some(ignored) = root_only() {
        return Ok(ignored);
    }
    let room = Room::new();
    let server = Server::start(&room, "socket", &[]);
    let secret = folder(&room, "closed");
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o700))?;
    let place = server.socket.to_str().ok_or("UTF-8")?;
    let ended = room.end(&mut room.command(helper_for_others(&room), &["--helper", "intrude-after", place, &secret]));
    let expected =
        format!("errno {0} {0}\nforged Err(EPERM)\nattach errno {1} descriptors 0\n", libc::EACCES, libc::EPERM);
    assert_eq!(ended.stdout, expected, "{}", ended.stderr);
    Ok(Completion::Completed)
}

/// Abstract names are anybody's: a program does not ask whoever has taken that of a server that is gone.
pub(super) fn the_name_of_a_dead_server_is_no_server() -> Result<Completion, Failed> {
    if let Some(ignored) = root_only() {
        return Ok(ignored);
    }
    let room = Room::new();
    let place = room.path("gone");
    let place = place.to_str().ok_or("UTF-8")?;
    let mut command = room.command(helper_for_others(&room), &["--helper", "squat", place]);
    let mut squatter = Running::start(command.uid(ANOTHER).stdin(Stdio::piped()));
    assert_eq!(squatter.line(), "ready");
    let library = room.end(&mut room.uinotify(&["library"])).stdout;
    let program = helper_command(&["watch", "/tmp"]);
    let mut command = room.command(program[0], &program[1..]);
    command.env("LD_PRELOAD", library.trim_end()).env("UINOTIFY_SOCKET", place).env("UINOTIFY_LOG", room.path("log"));
    assert_eq!(room.end(&mut command).stdout, format!("init errno {}\n", libc::ENOMEM));
    assert_eq!(
        fs::read_to_string(room.path("log"))?,
        format!("uinotify: inotify_init: no emulator answers at {place}\n")
    );
    drop(squatter.child.stdin.take());
    assert_eq!(squatter.child.wait()?.code(), Some(0));
    Ok(Completion::Completed)
}
