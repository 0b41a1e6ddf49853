//! Programs under test: small users of inotify and signals that say on standard output what they see.

use std::ffi::CString;
use std::fs;
use std::io::{Write, stdin, stdout};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Command, ExitCode};

use nix::errno::Errno;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::unistd::Pid;

#[path = "intruder.rs"]
mod intruder;
#[path = "own_emulator.rs"]
mod own_emulator;

/// `_IOW('I', 0, __s32)` of include/uapi/linux/inotify.h.
const INOTIFY_IOC_SETNEXTWD: libc::c_ulong = 0x4004_4900;

pub(super) fn main(arguments: &[String]) -> ExitCode {
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["signals", count] => signals(count, None),
        ["signals", count, to_group] => signals(count, Some(to_group)),
        ["hold", folder] => hold(Path::new(folder)),
        ["hold-while", folder, ref command @ ..] => hold_while(Path::new(folder), command),
        ["be-signalled", fd, folder] => be_signalled(fd.parse().expect("a number"), Path::new(folder)),
        ["told", folder] => told(Path::new(folder)),
        ["take", fd, folder] => take(fd.parse().expect("a number"), Path::new(folder)),
        ["leave", folder] => leave(folder),
        ["watch", folder] => watch(Path::new(folder)),
        ["intrude-with-pair", socket, pair, ref paths @ ..] => {
            intruder::intrude(Path::new(socket), Some(pair.parse().expect("a number")), || {}, paths);
        }
        ["intrude-after", socket, ref paths @ ..] => {
            let give_up_root = || nix::unistd::setuid(65534.into()).expect("root becomes another user");
            intruder::intrude(Path::new(socket), None, give_up_root, paths);
        }
        ["squat", name] => squat(name),
        ["wait-for-children"] => own_emulator::wait_for_children(),
        ["take-in-orphans"] => own_emulator::take_in_orphans(),
        ["threads"] => own_emulator::threads(),
        ["in-a-handler"] => own_emulator::in_a_handler(),
        ["forks"] => own_emulator::forks(),
        ["fork-in-between", started, go] => own_emulator::fork_in_between(Path::new(started), Path::new(go)),
        ["without-standard-descriptors", result] => own_emulator::without_standard_descriptors(Path::new(result)),
        ["open-when-told"] => own_emulator::open_when_told(),
        ["limited", name, limit, ref command @ ..] => limited(name, limit, command),
        ["has-marks"] => has_marks(),
        ["watch-many", folder, count] => watch_many(Path::new(folder), count.parse().expect("a number")),
        ["setnextwd", wd] => setnextwd(wd.parse().expect("a number")),
        _ => panic!("no such helper: {arguments:?}"),
    }
    ExitCode::SUCCESS
}

fn say(line: &str) {
    let mut output = stdout().lock();
    writeln!(output, "{line}").expect("the test reads it");
    output.flush().expect("the test reads it");
}

/// Shows `count` signals and who has sent them; before that sends `to_group` to the whole process group.
fn signals(count: &str, to_group: Option<&str>) {
    let mut set = SigSet::all();
    set.remove(Signal::SIGALRM);
    set.thread_block().expect("the mask can be set");
    match to_group {
        None => say("ready"),
        Some(number) => {
            say(&format!("ready {}", std::process::id()));
            let number: i32 = number.parse().expect("a number");
            let signal = Signal::try_from(number).expect("a signal");
            kill(Pid::from_raw(0), signal).expect("the own group can be signalled");
        }
    }
    let mut left: u32 = count.parse().expect("a number");
    while left > 0 {
        // SAFETY: the structure is integers and pointers, of which all zeroes is a value.
        let mut information: libc::siginfo_t = unsafe { std::mem::zeroed() };
        // SAFETY: both outlive the call, which reads the set and writes the structure.
        let number = unsafe { libc::sigwaitinfo(set.as_ref(), &raw mut information) };
        // A terminal that comes back to life continues its programs.
        if number == libc::SIGCONT {
            continue;
        }
        if information.si_code > 0 {
            say(&format!("{number} from the kernel"));
        } else {
            // SAFETY: a signal that a process has sent carries the number of that process.
            say(&format!("{number} from {}", unsafe { information.si_pid() }));
        }
        left -= 1;
    }
}

fn init() -> Result<OwnedFd, Errno> {
    // SAFETY: it takes no pointer.
    let descriptor = Errno::result(unsafe { libc::inotify_init1(libc::IN_CLOEXEC) })?;
    // SAFETY: the descriptor was just made and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

fn add_watch(inotify: &OwnedFd, path: &Path) -> Result<i32, Errno> {
    let path = CString::new(path.as_os_str().as_bytes()).expect("a path without NUL");
    // SAFETY: the path ends with NUL and outlives the call.
    Errno::result(unsafe { libc::inotify_add_watch(inotify.as_raw_fd(), path.as_ptr(), libc::IN_CREATE) })
}

/// Listens at the abstract name, until its input ends, and answers nobody.
fn squat(name: &str) {
    use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, listen, socket};
    let listener = socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::empty(), None).expect("a socket");
    bind(listener.as_raw_fd(), &UnixAddr::new_abstract(name.as_bytes()).expect("short")).expect("a free name");
    listen(&listener, Backlog::new(4).expect("a small number")).expect("it is bound");
    say("ready");
    stdin().read_line(&mut String::new()).expect("a pipe can be read");
}

/// Watches `folder` and, when told, makes a file there and shows the event.
fn hold(folder: &Path) {
    let inotify = init().expect("an instance");
    add_watch(&inotify, folder).expect("a watch");
    say("ready");
    stdin().read_line(&mut String::new()).expect("the test writes a line");
    fs::write(folder.join("made"), "").expect("the folder is writable");

    let mut buffer = [0_u8; 4096];
    // SAFETY: the buffer outlives the call, which writes at most its length.
    let length = unsafe { libc::read(inotify.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len()) };
    let length = usize::try_from(length).expect("an event");
    let number = |offset: usize| -> [u8; 4] { buffer[offset..offset + 4].try_into().expect("four bytes") };
    let name = String::from_utf8_lossy(&buffer[16..length]);
    let (wd, mask) = (i32::from_ne_bytes(number(0)), u32::from_ne_bytes(number(4)));
    say(&format!("wd {wd} mask {mask:#x} name {}", name.trim_end_matches('\0')));
}

/// Watches `folder` while a command runs, whose parent this process is.
fn hold_while(folder: &Path, command: &[&str]) {
    let inotify = init().expect("an instance");
    add_watch(&inotify, folder).expect("a watch");
    let status = Command::new(command[0]).args(&command[1..]).status().expect("it starts");
    assert!(status.success(), "{status}");
}

/// Who gets the signals of a descriptor, and whether one comes for an event, by SIGUSR1.
fn be_signalled(fd: i32, folder: &Path) {
    const F_GETSIG: i32 = 11;
    let mut set = SigSet::empty();
    set.add(Signal::SIGUSR1);
    set.thread_block().expect("the mask can be set");
    // SAFETY: takes numbers only.
    let owner = unsafe { libc::fcntl(fd, libc::F_GETOWN) };
    // SAFETY: as above.
    let signal = unsafe { libc::fcntl(fd, F_GETSIG) };
    let is_self = owner == i32::try_from(std::process::id()).expect("a process");
    say(&format!("owner {} signal {signal}", if is_self { "self".to_owned() } else { owner.to_string() }));
    fs::write(folder.join("signalled"), "").expect("the folder is writable");
    fs::remove_file(folder.join("signalled")).expect("it was made");
    let patience = libc::timespec { tv_sec: if is_self { 10 } else { 0 }, tv_nsec: 100_000_000 };
    // SAFETY: the structure is integers and pointers, of which all zeroes is a value.
    let mut information: libc::siginfo_t = unsafe { std::mem::zeroed() };
    // SAFETY: all three outlive the call, which reads the set and the time, and writes the structure.
    let number = unsafe { libc::sigtimedwait(set.as_ref(), &raw mut information, &raw const patience) };
    if number != libc::SIGUSR1 {
        return say("no signal");
    }
    #[repr(C)]
    struct OfPoll {
        header: [i32; 4],
        band: libc::c_long,
        fd: i32,
    }
    // SAFETY: a signal of F_SETSIG has these members (sigaction(2), SIGIO).
    let details = unsafe { (&raw const information).cast::<OfPoll>().read() };
    say(&format!("signal for {}", details.fd));
}

/// One call of each kind that can be told of, and two events.
fn told(folder: &Path) {
    let inotify = init().expect("an instance");
    let mask = libc::IN_CREATE | libc::IN_DELETE;
    let add = |path: &Path| {
        let path = CString::new(path.as_os_str().as_bytes()).expect("a path without NUL");
        // SAFETY: the path ends with NUL and outlives the call.
        Errno::result(unsafe { libc::inotify_add_watch(inotify.as_raw_fd(), path.as_ptr(), mask) })
    };
    let remove = |wd| {
        // SAFETY: takes numbers only.
        Errno::result(unsafe { libc::inotify_rm_watch(inotify.as_raw_fd(), wd) })
    };
    let wd = add(folder).expect("a watch");
    assert_eq!(add(&folder.join("none")), Err(Errno::ENOENT));
    fs::write(folder.join("made"), "").expect("the folder is writable");
    fs::remove_file(folder.join("made")).expect("it was made");
    assert_eq!(remove(7), Err(Errno::EINVAL));
    // SAFETY: this request takes its number by value.
    let set = Errno::result(unsafe { libc::ioctl(inotify.as_raw_fd(), INOTIFY_IOC_SETNEXTWD as _, 0) });
    assert_eq!(set, Err(Errno::EINVAL));
    assert_eq!(remove(wd), Ok(0));
}

/// Reads from an instance that is open already: what is unread, and what is made then. Watches `/`.
fn take(fd: i32, folder: &Path) {
    let read = || {
        let mut buffer = [0_u8; 4096];
        // SAFETY: the buffer outlives the call, which writes at most its length.
        let length = unsafe { libc::read(fd, buffer.as_mut_ptr().cast(), buffer.len()) };
        let mut rest = &buffer[..usize::try_from(length).expect("events")];
        while let Some((header, behind)) = rest.split_first_chunk::<16>() {
            let word = |at: usize| u32::from_ne_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
            let (name, behind) = behind.split_at(word(12) as usize);
            let name = String::from_utf8_lossy(name);
            say(&format!("wd {} mask {:#x} name {}", word(0), word(4), name.trim_end_matches('\0')));
            rest = behind;
        }
    };
    read();
    fs::write(folder.join("made"), "").expect("the folder is writable");
    read();
    // SAFETY: the path is a string that lives through the call.
    let added = unsafe { libc::inotify_add_watch(fd, c"/".as_ptr(), libc::IN_CREATE) };
    say(&format!("added {added}"));
}

/// Leaves a process behind that does what [`hold`] does.
#[expect(clippy::zombie_processes, reason = "it is to outlive this process")]
fn leave(folder: &str) {
    let program = std::env::current_exe().expect("/proc is mounted");
    Command::new(program).args(["--helper", "hold", folder]).spawn().expect("it starts");
}

/// Watches `folder` and its parent, and shows what came of it.
fn watch(folder: &Path) {
    let inotify = match init() {
        Ok(inotify) => inotify,
        Err(errno) => return say(&format!("init errno {}", errno as i32)),
    };
    let parent = folder.parent().expect("a folder in a folder");
    let results = [folder, parent].map(|path| show(add_watch(&inotify, path)));
    say(&results.join(" "));
}

fn show(result: Result<i32, Errno>) -> String {
    result.map_or_else(|errno| format!("errno {}", errno as i32), |wd| format!("wd {wd}"))
}

/// Sets the cursor, then shows the number that a watch gets.
fn setnextwd(wd: i32) {
    let inotify = init().expect("an instance");
    // SAFETY: this request takes its number by value.
    let result = Errno::result(unsafe { libc::ioctl(inotify.as_raw_fd(), INOTIFY_IOC_SETNEXTWD as _, wd) });
    say(&show(result.and_then(|_| add_watch(&inotify, Path::new("/")))));
}

/// Becomes a command in a user name space of its own, in which a limit of /proc/sys/user is another.
fn limited(name: &str, limit: &str, command: &[&str]) {
    let (user, group) = (nix::unistd::geteuid(), nix::unistd::getegid());
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWUSER).expect("a user name space");
    let write = |path: &str, text: &str| fs::write(path, text).expect("our own name space");
    write("/proc/self/setgroups", "deny");
    write("/proc/self/uid_map", &format!("{user} {user} 1"));
    write("/proc/self/gid_map", &format!("{group} {group} 1"));
    write(&format!("/proc/sys/user/{name}"), limit);
    let error = std::os::unix::process::CommandExt::exec(Command::new(command[0]).args(&command[1..]));
    panic!("{}: {error}", command[0]);
}

/// Whether an ordinary user may have marks of fanotify (5.13).
fn has_marks() {
    // SAFETY: takes flags only.
    let group = unsafe { libc::fanotify_init(libc::FAN_REPORT_DFID_NAME | libc::FAN_REPORT_FID, 0) };
    Errno::result(group).expect("a group of fanotify");
}

/// Makes folders and watches each; then, when told, makes a file in each, and shows what it has seen.
fn watch_many(folder: &Path, count: usize) {
    let inotify = init().expect("an instance");
    let folders: Vec<_> = (0..count).map(|number| folder.join(format!("{}/{number}", number / 1000))).collect();
    for (number, folder) in folders.iter().enumerate() {
        fs::create_dir_all(folder).expect("a folder");
        match add_watch(&inotify, folder) {
            Ok(wd) => assert_eq!(wd as usize, number + 1),
            Err(errno) => {
                say(&format!("{number} watched, errno {}", errno as i32));
                return;
            }
        }
    }
    // The same object has the same watch, whatever tells of it.
    for number in [0, count / 2, count - 1] {
        assert_eq!(add_watch(&inotify, &folders[number]), Ok(number as i32 + 1));
    }
    say("ready");
    stdin().read_line(&mut String::new()).expect("the test writes a line");
    let mut buffer = vec![0_u8; 1 << 16];
    for (number, folder) in folders.iter().enumerate() {
        fs::write(folder.join("made"), "").expect("the folder is writable");
        // SAFETY: the buffer outlives the call, which writes at most its length.
        let length = unsafe { libc::read(inotify.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len()) };
        let wd = buffer.first_chunk().map(|bytes| i32::from_ne_bytes(*bytes));
        assert!(length == 32 && wd == Some(number as i32 + 1), "folder {number}: {length} bytes, {wd:?}");
    }
    say(&format!("{count} events"));
}
