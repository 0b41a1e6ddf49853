//! `uinotify emulate`: the private emulator of a program that preloads the library by itself. The library starts it.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use nix::sys::socket::{MsgFlags, getsockopt, send, sockopt};
use nix::unistd::dup2_stderr;
use uinotify_host::{Admission, Emulator, Lifetime};

use crate::environment::address;
use crate::process;
use crate::settings::Settings;
use crate::socket::{Socket, random};

/// Serves until a moment after `ready` has been closed at its other end and no instance is left. Over `ready` goes the address, as in
/// `UINOTIFY_SOCKET`, once programs can connect, or `!` and the reason why they cannot.
///
/// It closes every other descriptor of this process: it is made for a process with one thread that ends when it returns.
///
/// # Errors
/// No folder takes the socket, or the system is broken or exhausted. The program has been told.
pub fn emulate(ready: &OwnedFd) -> anyhow::Result<()> {
    serve(ready).inspect_err(|error| {
        let text = format!("!{error:#}");
        let _ = send(ready.as_raw_fd(), text.as_bytes(), MsgFlags::MSG_NOSIGNAL);
    })
}

fn serve(ready: &OwnedFd) -> anyhow::Result<()> {
    process::let_go_of_descriptors(&[ready.as_raw_fd()]);
    // Whoever reads what the program writes must see its end with the program's.
    let null = OpenOptions::new().write(true).open("/dev/null");
    null.and_then(|null| dup2_stderr(&null).map_err(io::Error::from))?;
    process::stand_alone()?;

    let mut socket = Socket::bind()?;
    let token = random()?;
    let config = Settings::default().config(Admission::Token(token), Lifetime::Instances, program_at(ready));
    let emulator = Emulator::new(config)?;
    let listeners = socket.take_listeners();
    // A program that has gone meanwhile shows by the end of the connection.
    let _ = send(ready.as_raw_fd(), address(socket.path(), token).as_bytes(), MsgFlags::MSG_NOSIGNAL);
    Ok(emulator.serve(&listeners, ready.as_fd())?)
}

/// The command line of the program that has made the connection.
fn program_at(ready: &OwnedFd) -> Vec<String> {
    let pid = getsockopt(ready, sockopt::PeerCredentials).map_or(0, |credentials| credentials.pid());
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words = line.strip_suffix(b"\0").unwrap_or(&line).split(|&byte| byte == 0);
    words.map(|word| String::from_utf8_lossy(word).into_owned()).collect()
}
