//! A program that makes the calls of inotify that it is told to, one a line, and says what they have returned.

use std::ffi::CString;
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, ExitCode, Stdio};

use nix::errno::Errno;
use uinotify::testbed::TestBed;

const EVENTS_BYTES: usize = 64 * 1024;

pub(super) fn main() -> ExitCode {
    for line in io::stdin().lines() {
        let Ok(line) = line else { break };
        println!("{}", act(&line));
        let _ = io::stdout().flush();
    }
    ExitCode::SUCCESS
}

fn shown(result: libc::c_int) -> String {
    Errno::result(result).map_or_else(|errno| format!("{errno:?}"), |value| value.to_string())
}

fn act(line: &str) -> String {
    let words: Vec<_> = line.split(' ').collect();
    let number = |index: usize| words[index].parse::<i32>().expect("a number");
    match words[0] {
        // SAFETY: takes flags only.
        "init" => shown(unsafe { libc::inotify_init1(number(1)) }),
        "add" => {
            let path = CString::new(words[3..].join(" ")).expect("no NUL");
            let mask = words[2].parse().expect("a mask");
            // SAFETY: `path` is a string that lives through the call.
            shown(unsafe { libc::inotify_add_watch(number(1), path.as_ptr(), mask) })
        }
        // SAFETY: takes numbers only.
        "rm" => shown(unsafe { libc::inotify_rm_watch(number(1), number(2)) }),
        "cursor" => {
            let wd = number(2) as libc::c_ulong;
            // SAFETY: INOTIFY_IOC_SETNEXTWD takes a number.
            shown(unsafe { libc::ioctl(number(1), 0x4004_4900, wd) })
        }
        "read" => read(number(1)),
        other => format!("no command {other}"),
    }
}

fn read(instance: i32) -> String {
    let mut bytes = vec![0; EVENTS_BYTES];
    // SAFETY: the buffer lives through the call, with its length beside it.
    let length = unsafe { libc::read(instance, bytes.as_mut_ptr().cast(), bytes.len()) };
    match Errno::result(length) {
        Ok(length) => events(&bytes[..length as usize]).join(" "),
        Err(errno) => format!("{errno:?}"),
    }
}

/// Records of inotify(7): `wd:mask[:cookie][:name]`, with a cookie as `c`.
pub(super) fn events(mut bytes: &[u8]) -> Vec<String> {
    let mut events = Vec::new();
    while let Some((header, rest)) = bytes.split_at_checked(16) {
        let word = |at: usize| u32::from_ne_bytes(header[at..at + 4].try_into().expect("four bytes"));
        let (name, rest) = rest.split_at(word(12) as usize);
        let name = String::from_utf8_lossy(name).trim_end_matches('\0').to_owned();
        let mut shown = format!("{}:{:x}", word(0).cast_signed(), word(4));
        for part in [if word(8) == 0 { "" } else { "c" }, &name] {
            if !part.is_empty() {
                shown.push(':');
                shown.push_str(part);
            }
        }
        events.push(shown);
        bytes = rest;
    }
    events
}

/// One that is running.
pub(super) struct Puppet {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Puppet {
    pub(super) fn start(bed: &TestBed) -> Self {
        Self::run(bed.command(std::env::current_exe().expect("/proc is mounted")).arg("--puppet"))
    }

    pub(super) fn run(command: &mut Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it starts");
        let output = BufReader::new(child.stdout.take().expect("it is piped"));
        Self { child, output }
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(super) fn begin(&mut self, line: &str) {
        writeln!(self.child.stdin.as_ref().expect("it is piped"), "{line}").expect("the puppet reads");
    }

    pub(super) fn end(&mut self) -> String {
        let mut answer = String::new();
        self.output.read_line(&mut answer).expect("a pipe can be read");
        answer.trim_end().to_owned()
    }

    pub(super) fn does(&mut self, line: &str) -> String {
        self.begin(line);
        self.end()
    }

    /// `inotify_init1`, non-blocking. The descriptor.
    pub(super) fn init(&mut self) -> String {
        self.does(&format!("init {}", libc::IN_NONBLOCK))
    }

    pub(super) fn add(&mut self, instance: &str, path: &Path, mask: u32) -> String {
        self.does(&format!("add {instance} {mask} {}", path.display()))
    }

    /// Has it end; the exit status of what it runs under.
    pub(super) fn ends(mut self) -> Option<i32> {
        drop(self.child.stdin.take());
        self.child.wait().expect("it is our child").code()
    }

    pub(super) fn read(&mut self, instance: &str) -> String {
        self.does(&format!("read {instance}"))
    }
}

impl Drop for Puppet {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}
