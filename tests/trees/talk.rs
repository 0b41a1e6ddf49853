//! A program that is running, and does what it is told.

use std::path::Path;
use std::process::{Command, Stdio};

use nix::unistd::Pid;

use crate::room::{Room, Running, helper_command};

/// A helper that was started, and is killed when its test ends.
pub(super) struct Talk {
    pub(super) running: Running,
}

impl Talk {
    /// Starts it under `uinotify run -v OPTIONS`.
    pub(super) fn run(room: &Room, options: &[&str]) -> Self {
        let command = [&["run", "-v"], options, &["--"], &helper_command(&["talk"])].concat();
        Self::start(&mut room.uinotify(&command))
    }

    /// Starts a command that becomes one.
    pub(super) fn start(command: &mut Command) -> Self {
        let mut talk = Self { running: Running::start(command.stdin(Stdio::piped())) };
        let said = talk.running.line();
        assert_eq!(said, "ready", "the program has not started");
        talk
    }

    /// Gives an order, and its answer.
    pub(super) fn tell(&mut self, words: &[&str]) -> String {
        self.running.tell(&words.join("\t"));
        self.running.line()
    }

    pub(super) fn done(&mut self, words: &[&str]) {
        assert_eq!(self.tell(words), "done", "{words:?}");
    }

    /// Of what was started, which may be the command.
    pub(super) fn pid(&self) -> Pid {
        self.running.pid()
    }

    /// Lets it come to its end by itself; its exit status.
    pub(super) fn end(mut self) -> Option<i32> {
        drop(self.running.child.stdin.take());
        self.running.child.wait().expect("a child of ours").code()
    }
}

impl Drop for Talk {
    fn drop(&mut self) {
        drop(self.running.child.stdin.take());
        let _ = self.running.child.kill();
        let _ = self.running.child.wait();
    }
}

/// A path as an argument.
pub(super) fn text(path: &Path) -> &str {
    path.to_str().expect("paths of tests are UTF-8")
}
