//! The emulators that a command of the control protocol is meant for, and what a client says of paths.

use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use nix::errno::Errno;
use serde_json::Value;
use uinotify_host::control::{Command, Control, Inode, refusal};
use uinotify_images::text::ByteString;

use crate::environment::SOCKET;
use crate::fdinfo::{Address, address};
use crate::ps;

/// An emulator that is there.
pub(crate) struct Emulator {
    pub(crate) socket: PathBuf,
    control: Control,
}

impl Emulator {
    /// Has it do something.
    ///
    /// # Errors
    /// What it has refused, or that it does not answer.
    pub(crate) fn ask(&mut self, command: &Command) -> anyhow::Result<Value> {
        self.control.ask(command).with_context(|| format!("the emulator at {}", self.socket.display()))
    }

    pub(crate) fn control(&mut self) -> &mut Control {
        &mut self.control
    }

    /// To wait for an answer.
    pub(crate) fn connection(&self) -> BorrowedFd<'_> {
        self.control.as_fd()
    }

    /// What has gone on in it, for people.
    pub(crate) fn story(&mut self) -> String {
        const LAST: usize = 20;
        self.control.log(LAST).map_or_else(|error| error.to_string(), |report| report.to_string())
    }
}

/// The emulator that is named: by a path, or else by `UINOTIFY_SOCKET`.
pub(crate) fn named(socket: Option<&Path>) -> Option<Address> {
    match socket {
        Some(socket) => Some(Address { socket: socket.to_owned(), token: Vec::new() }),
        None => {
            let value = std::env::var_os(SOCKET).filter(|value| !value.is_empty())?;
            Some(address(value.as_bytes()))
        }
    }
}

/// The addresses that are meant: of the emulator that is named, or else of all of this user.
pub(crate) fn addresses(socket: Option<&Path>) -> Vec<Address> {
    match named(socket) {
        Some(named) => vec![named],
        None => ps::sockets().into_iter().map(|socket| Address { socket, token: Vec::new() }).collect(),
    }
}

/// How long an emulator may take to answer that nobody has named.
const PATIENCE: Duration = Duration::from_secs(2);

/// Connects to one.
pub(crate) fn connect(address: &Address, is_named: bool) -> io::Result<Emulator> {
    let patience = (!is_named).then_some(PATIENCE);
    let control = Control::open_within(&address.borrowed(), patience)?;
    control.set_patience(None)?;
    Ok(Emulator { socket: address.socket.clone(), control })
}

/// The emulators that are meant.
///
/// # Errors
/// There is none, or one does not answer.
pub(crate) fn emulators(socket: Option<&Path>) -> anyhow::Result<Vec<Emulator>> {
    let is_named = named(socket).is_some();
    let mut emulators = Vec::new();
    for address in addresses(socket) {
        match connect(&address, is_named) {
            Ok(emulator) => emulators.push(emulator),
            // It has ended, and left its socket; it is too old to be controlled; it is stopped.
            Err(error) if !is_named && (is_gone(&error) || is_too_old(&error) || is_silent(&error)) => {}
            Err(error) => {
                return Err(error).with_context(|| format!("no emulator answers at {}", address.socket.display()));
            }
        }
    }
    if emulators.is_empty() {
        bail!("no emulator of this user is running; name the server's socket with --socket");
    }
    Ok(emulators)
}

/// The one emulator that is meant, by a command that names nothing in it.
///
/// # Errors
/// There is none, or there are several, or it does not answer.
pub(crate) fn emulator(socket: Option<&Path>) -> anyhow::Result<Emulator> {
    let mut emulators = emulators(socket)?;
    if emulators.len() > 1 {
        let sockets: Vec<_> = emulators.iter().map(|emulator| emulator.socket.display().to_string()).collect();
        bail!("several emulators of this user are running; name one with --socket: {}", sockets.join(", "));
    }
    Ok(emulators.remove(0))
}

/// Does an emulator know nothing of the control protocol, or of this command?
pub(crate) fn is_too_old(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::EOPNOTSUPP as i32)
        || refusal(error).is_some_and(|refusal| refusal.is(Errno::EOPNOTSUPP))
}

/// Does an emulator say nothing at all?
pub(crate) fn is_silent(error: &io::Error) -> bool {
    error.kind() == ErrorKind::WouldBlock
}

/// Is it another emulator that is meant, which has what is named?
pub(crate) fn is_of_another(error: &io::Error) -> bool {
    is_too_old(error) || refusal(error).is_some_and(|refusal| refusal.is(Errno::ENOENT))
}

/// Does nobody listen any more?
pub(crate) fn is_gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionRefused
            | ErrorKind::NotFound
            | ErrorKind::ConnectionReset
            | ErrorKind::BrokenPipe
            | ErrorKind::UnexpectedEof
    )
}

/// What is at a path: as an emulator has to be told of it.
pub(crate) struct Found {
    /// Absolute.
    pub(crate) path: ByteString,
    /// What is there, if anything is.
    pub(crate) object: Option<Inode>,
    /// The directory above it.
    pub(crate) directory: Option<Inode>,
    pub(crate) is_directory: bool,
}

/// Looks at a path, whose last part may be missing. With `follow` a symbolic link at its end leads on.
pub(crate) fn look(path: &Path, follow: bool) -> anyhow::Result<Found> {
    let absolute = std::path::absolute(path).with_context(|| format!("{} is no path", path.display()))?;
    // As the kernel comes to it; what is not there stays as it is written.
    let resolved = if follow { absolute.canonicalize().unwrap_or(absolute) } else { absolute };
    let metadata = resolved.symlink_metadata().ok();
    let above = resolved.parent().and_then(|directory| directory.metadata().ok());
    Ok(Found {
        is_directory: metadata.as_ref().is_some_and(std::fs::Metadata::is_dir),
        object: metadata.as_ref().map(inode),
        directory: above.as_ref().map(inode),
        path: ByteString::from(resolved.as_os_str().as_bytes()),
    })
}

fn inode(metadata: &std::fs::Metadata) -> Inode {
    Inode { device: metadata.dev(), inode: metadata.ino() }
}
