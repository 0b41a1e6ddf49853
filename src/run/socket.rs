//! The socket at which programs find the emulator.

use std::fs::{self, File, Permissions};
use std::io::{self, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, listen, socket};
use nix::unistd::geteuid;

use super::RunError;
use crate::runtime_folder;

/// What connects at once and waits to be accepted: every process of the program that calls `inotify_init` first.
const BACKLOG: i32 = 128;
/// `sun_path` of unix(7), without the NUL that ends a path or begins an abstract name.
const PATH_BYTES_MAX: usize = 107;

/// A listening socket with a path and one with the same name in the abstract name space, for programs in another mount
/// name space or root folder. The path is unlinked with the value.
#[derive(Debug)]
pub(super) struct Socket {
    path: PathBuf,
    listeners: Vec<OwnedFd>,
}

impl Socket {
    /// Binds in the first runtime folder that can be used.
    pub(super) fn bind() -> Result<Self, RunError> {
        let mut refusals = Vec::new();
        for folder in runtime_folder::candidates() {
            match Self::bind_in(&folder) {
                Ok(socket) => return Ok(socket),
                Err(error) => refusals.push((folder, error)),
            }
        }
        Err(RunError::NoSocket(refusals))
    }

    fn bind_in(folder: &Path) -> io::Result<Self> {
        runtime_folder::prepare(folder)?;
        let number = u64::from_ne_bytes(random()?);
        let path = folder.join(format!("{}.{number:016x}.sock", std::process::id()));
        if path.as_os_str().len() > PATH_BYTES_MAX {
            let message = format!("its path is too long for a socket in it (at most {PATH_BYTES_MAX} bytes)");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        let by_path = listener(&UnixAddr::new(&path)?)?;
        // From here on the value unlinks the path.
        let mut socket = Self { path, listeners: vec![by_path] };
        // The folder decides who reaches it. Root's lets everybody through: the token decides then.
        let mode = if geteuid().is_root() { 0o666 } else { 0o600 };
        fs::set_permissions(&socket.path, Permissions::from_mode(mode))?;
        let abstract_name = UnixAddr::new_abstract(socket.path.as_os_str().as_bytes())?;
        socket.listeners.push(listener(&abstract_name)?);
        Ok(socket)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn folder(&self) -> &Path {
        // It was made by `join`.
        self.path.parent().unwrap_or(Path::new("/"))
    }

    pub(super) fn take_listeners(&mut self) -> Vec<OwnedFd> {
        std::mem::take(&mut self.listeners)
    }

    /// Gives the path up to another process, which unlinks it; the listeners of this process are closed.
    pub(super) fn leave_path(mut self) -> PathBuf {
        std::mem::take(&mut self.path)
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if !self.path.as_os_str().is_empty() {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn listener(address: &UnixAddr) -> io::Result<OwnedFd> {
    let descriptor = socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None)?;
    bind(descriptor.as_raw_fd(), address)?;
    listen(&descriptor, Backlog::new(BACKLOG)?)?;
    Ok(descriptor)
}

/// Random bytes, for names and tokens. From the device: `getrandom` came with Linux 3.17.
pub(super) fn random<const BYTES: usize>() -> io::Result<[u8; BYTES]> {
    let mut bytes = [0; BYTES];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}
