//! Signals that reach the command in place of the program.

use std::fs::File;
use std::io::Write;
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;

use libtest_mimic::Failed;
use nix::sys::signal::{Signal, kill};

use crate::room::{Outcome, Room, Running, before_exec, helper_command};

pub(super) fn signals_are_forwarded() -> Outcome {
    let room = Room::new();
    let command = helper_command(&["signals", "7"]);
    let mut running = Running::start(&mut room.uinotify(&[&["run", "--"], &command[..]].concat()));
    assert_eq!(running.line(), "ready");
    for signal in ["TERM", "INT", "HUP", "QUIT", "USR1", "USR2", "WINCH"] {
        let signal: Signal = format!("SIG{signal}").parse()?;
        kill(running.pid(), signal)?;
        assert_eq!(running.line(), format!("{} from {}", signal as i32, running.pid()));
    }
    assert_eq!(running.child.wait()?.code(), Some(0));
    Ok(())
}

/// A new terminal: the side of the user, and the side of the program.
fn terminal() -> Result<(File, File), Failed> {
    let (mut user, mut program) = (-1, -1);
    let none = std::ptr::null_mut();
    // SAFETY: both numbers outlive the call, which writes them; the name and the settings are not asked for.
    let result = unsafe { libc::openpty(&raw mut user, &raw mut program, none, none.cast(), none.cast()) };
    nix::errno::Errno::result(result)?;
    for descriptor in [user, program] {
        // SAFETY: it takes no pointer, and the descriptor was just made. No other program is to hold a copy.
        unsafe { libc::fcntl(descriptor, libc::F_SETFD, libc::FD_CLOEXEC) };
    }
    // SAFETY: the descriptor was just made and nothing else owns it.
    let user = unsafe { OwnedFd::from_raw_fd(user) };
    // SAFETY: the descriptor was just made and nothing else owns it.
    let program = unsafe { OwnedFd::from_raw_fd(program) };
    Ok((user.into(), program.into()))
}

/// `uinotify run` of the helper that shows `count` signals, as the leader of the session of a new terminal.
fn in_terminal(room: &Room, count: &str) -> Result<(Running, File), Failed> {
    let (user, program) = terminal()?;
    let command = helper_command(&["signals", count]);
    let mut command = room.uinotify(&[&["run", "--"], &command[..]].concat());
    command.stdin(program);
    before_exec(&mut command, || {
        nix::unistd::setsid()?;
        // SAFETY: this request takes a number.
        nix::errno::Errno::result(unsafe { libc::ioctl(0, libc::TIOCSCTTY, 0) })?;
        Ok(())
    });
    let mut running = Running::start(&mut command);
    assert_eq!(running.line(), "ready");
    Ok((running, user))
}

pub(super) fn terminal_signals_arrive_once() -> Outcome {
    let room = Room::new();
    let (mut running, mut user) = in_terminal(&room, "2")?;
    user.write_all(b"\x03")?;
    assert_eq!(running.line(), "2 from the kernel");
    // The command reads its signals in the order of their numbers: were SIGINT forwarded, it would come first.
    kill(running.pid(), Signal::SIGUSR1)?;
    assert_eq!(running.line(), format!("10 from {}", running.pid()));
    assert_eq!(running.child.wait()?.code(), Some(0));
    Ok(())
}

pub(super) fn a_lost_line_reaches_the_program() -> Outcome {
    let room = Room::new();
    let (mut running, user) = in_terminal(&room, "1")?;
    drop(user);
    assert_eq!(running.line(), format!("1 from {}", running.pid()));
    assert_eq!(running.child.wait()?.code(), Some(0));
    Ok(())
}

pub(super) fn a_signal_to_the_own_group_is_not_sent_back() -> Outcome {
    let room = Room::new();
    let command = helper_command(&["signals", "2", "10"]);
    let mut running = Running::start(room.uinotify(&[&["run", "--"], &command[..]].concat()).process_group(0));
    let ready = running.line();
    let program = ready.strip_prefix("ready ").expect("it says its number").to_owned();
    assert_eq!(running.line(), format!("10 from {program}"));
    kill(running.pid(), Signal::SIGTERM)?;
    assert_eq!(running.line(), format!("15 from {}", running.pid()));
    assert_eq!(running.child.wait()?.code(), Some(0));
    Ok(())
}
