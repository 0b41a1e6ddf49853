//! The instance that a call is made on, and what else the call needs.

use std::fs::{self, File, OpenOptions};
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;

use crate::argument::Other;

/// How the instance is before the call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Before {
    /// One watch, an event without a name and one with a name: 16 and 32 bytes. O_NONBLOCK.
    #[default]
    Queued,
    /// The same, without O_NONBLOCK.
    Blocking,
    /// One watch, nothing queued. O_NONBLOCK.
    Empty,
}

/// The instance and all that goes with it, until it is dropped.
pub(crate) struct State {
    folder: PathBuf,
    fd: RawFd,
    others: Vec<(Other, OwnedFd)>,
    /// The other ends of pipes.
    kept: Vec<OwnedFd>,
}

/// What the watched folder reports.
const MASK: u32 = libc::IN_CREATE | libc::IN_ATTRIB | libc::IN_DELETE_SELF;

impl State {
    pub(crate) fn new(folder: &Path, before: Before) -> Self {
        let flags = if before == Before::Blocking { 0 } else { libc::IN_NONBLOCK };
        let fd = crate::instance::open(flags | libc::IN_CLOEXEC).into_raw_fd();
        let watched = folder.join("watched");
        let _ = fs::remove_file(watched.join("name"));
        crate::instance::watch(fd, &watched, MASK);
        let state = Self { folder: folder.to_owned(), fd, others: Vec::new(), kept: Vec::new() };
        if before != Before::Empty {
            let permissions = fs::metadata(&watched).expect("the watched folder").permissions();
            fs::set_permissions(&watched, permissions).expect("the watched folder is ours");
            File::create(watched.join("name")).expect("a file");
        }
        state
    }

    pub(crate) fn fd(&self) -> RawFd {
        self.fd
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn other(&mut self, other: Other) -> RawFd {
        if let Some((_, fd)) = self.others.iter().find(|(known, _)| *known == other) {
            return fd.as_raw_fd();
        }
        let owned: OwnedFd = match other {
            Other::File => {
                let path = self.folder.join("file");
                fs::write(&path, "some bytes of a file").expect("a file");
                OpenOptions::new().read(true).write(true).open(path).expect("a file").into()
            }
            Other::PipeOutput => {
                let (output, input) = nix::unistd::pipe().expect("a pipe");
                nix::unistd::write(&input, b"in the pipe").expect("a pipe has room");
                self.kept.push(input);
                output
            }
            Other::PipeInput => {
                let (output, input) = nix::unistd::pipe().expect("a pipe");
                self.kept.push(output);
                input
            }
            Other::Epoll => {
                // SAFETY: takes flags only.
                let fd = unsafe { libc::epoll_create1(0) };
                assert!(fd >= 0, "epoll_create1");
                // SAFETY: the call has just returned this descriptor.
                unsafe { OwnedFd::from_raw_fd(fd) }
            }
            Other::Duplicate => {
                // SAFETY: takes a number only.
                let fd = unsafe { libc::dup(self.fd) };
                assert!(fd >= 0, "dup");
                // SAFETY: the call has just returned this descriptor.
                unsafe { OwnedFd::from_raw_fd(fd) }
            }
            Other::Instance => crate::instance::open(libc::IN_NONBLOCK),
        };
        let fd = owned.as_raw_fd();
        self.others.push((other, owned));
        fd
    }

    /// With the placeholders of a text filled in.
    pub(crate) fn filled(&self, text: &str) -> String {
        let pid = std::process::id().to_string();
        let folder = self.folder.to_str().expect("a temporary folder's name is text");
        text.replace("{fd}", &self.fd.to_string()).replace("{pid}", &pid).replace("{folder}", folder)
    }

    /// Waits until what has happened is in the queue.
    pub(crate) fn settle(&self) {
        let mut queued: libc::c_int = 0;
        // SAFETY: FIONREAD writes one int, which lives through the call.
        unsafe { libc::ioctl(self.fd, libc::FIONREAD, &raw mut queued) };
    }

    /// The instance after the call: flags, and all that is left in the queue.
    pub(crate) fn after(&self) -> String {
        // SAFETY: takes numbers only.
        let of_descriptor = unsafe { libc::fcntl(self.fd, libc::F_GETFD) };
        if of_descriptor < 0 {
            return Errno::last().to_string().split(':').next().unwrap_or_default().to_owned();
        }
        // SAFETY: takes numbers only.
        let of_file = unsafe { libc::fcntl(self.fd, libc::F_GETFL) };
        // SAFETY: takes numbers only.
        unsafe { libc::fcntl(self.fd, libc::F_SETFL, of_file | libc::O_NONBLOCK) };
        format!("{of_descriptor} {of_file:o} {}", crate::instance::queue(self.fd))
    }
}

impl Drop for State {
    fn drop(&mut self) {
        self.others.clear();
        // SAFETY: the descriptor is this value's own, unless the call has closed it: then no other has taken its place.
        unsafe { libc::close(self.fd) };
    }
}
