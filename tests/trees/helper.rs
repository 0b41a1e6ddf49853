//! The program under test: it does what it is told on standard input, line by line, and answers each line with one.

use std::ffi::CString;
use std::fs::{self, File};
use std::io::{self, BufRead, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Command, ExitCode};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use uinotify_harness::show;

pub(super) fn main(arguments: &[String]) -> ExitCode {
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["talk"] => talk(),
        ["leave"] => leave(),
        ["traffic", writer, folder, journal] => crate::death::traffic(writer, folder.as_ref(), journal.as_ref()),
        ["exercise", name, folder] => return ended(&crate::exercise::perform(name, folder.as_ref())),
        ["compare", outside, inside] => {
            return ended(&crate::tree::compare_views(outside.as_ref(), inside.as_ref()));
        }
        _ => panic!("no such helper: {arguments:?}"),
    }
    ExitCode::SUCCESS
}

fn ended(result: &anyhow::Result<()>) -> ExitCode {
    if let Err(error) = result {
        eprintln!("{error:#}");
    }
    ExitCode::from(u8::from(result.is_err()))
}

fn say(line: &str) {
    let mut output = io::stdout().lock();
    writeln!(output, "{line}").expect("the test reads it");
    output.flush().expect("the test reads it");
}

/// Leaves a process behind that does what [`talk`] does.
#[expect(clippy::zombie_processes, reason = "it is to outlive this process")]
fn leave() {
    let program = std::env::current_exe().expect("/proc is mounted");
    Command::new(program).args(["--helper", "talk"]).spawn().expect("it starts");
}

/// Words are parted by tabs.
fn talk() {
    let mut state = State::default();
    say("ready");
    for line in io::stdin().lock().lines() {
        let line = line.expect("a pipe can be read");
        let words: Vec<_> = line.split('\t').collect();
        say(&state.obey(&words).unwrap_or_else(|error| {
            error.raw_os_error().map_or_else(|| format!("{error}"), |errno| format!("{:?}", Errno::from_raw(errno)))
        }));
    }
}

#[derive(Default)]
struct State {
    instance: Option<OwnedFd>,
    held: Option<File>,
    listener: Option<UnixListener>,
}

impl State {
    fn obey(&mut self, words: &[&str]) -> io::Result<String> {
        let done = || Ok("done".to_owned());
        match *words {
            ["pid"] => Ok(std::process::id().to_string()),
            ["cwd"] => Ok(std::env::current_dir()?.display().to_string()),
            ["trees"] => shown_trees().map(|points| points.join(" ")),
            ["read", path] => fs::read_to_string(path),
            ["write", path, text] => fs::write(path, text).and_then(|()| done()),
            ["mkdir", path] => fs::create_dir(path).and_then(|()| done()),
            ["rename", from, to] => fs::rename(from, to).and_then(|()| done()),
            ["remove", path] => fs::remove_file(path).and_then(|()| done()),
            ["hold", path] => {
                self.held = Some(File::options().read(true).write(true).open(path)?);
                done()
            }
            ["read held"] => {
                let mut text = String::new();
                let mut held = self.held.as_ref().expect("a file is held");
                held.seek(SeekFrom::Start(0))?;
                held.read_to_string(&mut text)?;
                Ok(text)
            }
            ["drop held"] => {
                self.held = None;
                done()
            }
            ["listen", path] => {
                self.listener = Some(UnixListener::bind(path)?);
                done()
            }
            ["connect", path] => UnixStream::connect(path).and_then(|_| done()),
            ["watch", path] => self.watch(path),
            ["events"] => self.events(),
            ["wait"] => {
                let mut ready = [PollFd::new(std::os::fd::AsFd::as_fd(self.instance()?), PollFlags::POLLIN)];
                poll(&mut ready, PollTimeout::NONE)?;
                self.events()
            }
            _ => panic!("no such order: {words:?}"),
        }
    }

    fn instance(&mut self) -> io::Result<&OwnedFd> {
        if self.instance.is_none() {
            // SAFETY: it takes no pointer.
            let descriptor = Errno::result(unsafe { libc::inotify_init1(libc::IN_CLOEXEC | libc::IN_NONBLOCK) })?;
            // SAFETY: the descriptor was just made and nothing else owns it.
            self.instance = Some(unsafe { OwnedFd::from_raw_fd(descriptor) });
        }
        Ok(self.instance.as_ref().expect("it was just made"))
    }

    fn watch(&mut self, path: &str) -> io::Result<String> {
        let path = CString::new(path)?;
        let descriptor = self.instance()?.as_raw_fd();
        // SAFETY: the path ends with NUL and outlives the call.
        let wd = unsafe { libc::inotify_add_watch(descriptor, path.as_ptr(), libc::IN_ALL_EVENTS) };
        Ok(format!("wd {}", Errno::result(wd)?))
    }

    /// All that is queued; `-` if nothing is.
    fn events(&mut self) -> io::Result<String> {
        let descriptor = self.instance()?.as_raw_fd();
        let mut words = Vec::new();
        let mut buffer = [0_u8; 65536];
        loop {
            // SAFETY: the buffer outlives the call, which writes at most its length.
            let length = unsafe { libc::read(descriptor, buffer.as_mut_ptr().cast(), buffer.len()) };
            let mut bytes = match Errno::result(length) {
                Ok(length) => &buffer[..length.cast_unsigned()],
                Err(Errno::EAGAIN) => break,
                Err(errno) => return Err(errno.into()),
            };
            while let Some((header, rest)) = bytes.split_first_chunk::<16>() {
                let word = |at: usize| u32::from_ne_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
                let (name, behind) = rest.split_at(word(12) as usize);
                let name = String::from_utf8_lossy(name.split(|byte| *byte == 0).next().unwrap_or_default());
                words.push(format!("{}:{}({name})", word(0), show::mask(word(4))));
                bytes = behind;
            }
        }
        Ok(if words.is_empty() { "-".to_owned() } else { words.join(" ") })
    }
}

/// Where this process sees a tree of ours.
pub(super) fn shown_trees() -> io::Result<Vec<String>> {
    let table = fs::read_to_string("/proc/self/mountinfo")?;
    let ours = table.lines().filter(|line| line.contains(" - fuse.uinotify uinotify "));
    Ok(ours.filter_map(|line| line.split(' ').nth(4).map(str::to_owned)).collect())
}
