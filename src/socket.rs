//! The sockets at which programs find an emulator.

use std::fmt;
use std::fs::{self, File, Permissions};
use std::io::{self, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, connect, getsockname, getsockopt, listen, setsockopt,
    socket, sockopt,
};
use nix::unistd::geteuid;

use crate::runtime_folder;

/// What connects at once and waits to be accepted: every process of the program that calls `inotify_init` first.
const BACKLOG: i32 = 128;
/// `sun_path` of unix(7), without the NUL that ends a path or begins an abstract name.
pub(crate) const PATH_BYTES_MAX: usize = 107;
/// In `UINOTIFY_SOCKET` it stands between the path and the token.
pub(crate) const TOKEN_SEPARATOR: &str = "?token=";

/// A listening socket with a path and one with the same name in the abstract name space, for programs in another mount
/// name space or root folder. The path is unlinked with the value.
#[derive(Debug)]
pub(crate) struct Socket {
    path: PathBuf,
    /// Device and inode of the path: another process may have put something else there since.
    identity: Option<(u64, u64)>,
    listeners: Vec<OwnedFd>,
}

/// No folder takes a socket; each with its reason.
#[derive(Debug)]
pub struct NoFolder(Vec<(PathBuf, io::Error)>);

impl fmt::Display for NoFolder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "no folder can hold the socket; set XDG_RUNTIME_DIR to a folder of your own")?;
        for (folder, error) in &self.0 {
            write!(formatter, "\n{}: {error}", folder.display())?;
        }
        Ok(())
    }
}

impl std::error::Error for NoFolder {}

/// Why a socket cannot be at the path that the user has chosen.
#[derive(Debug)]
pub(crate) enum NoSocket {
    TooLong,
    NotForPrograms,
    NoFolder,
    NotASocket,
    Served(Option<u32>),
    OfAnother,
    NameTaken,
    Nameless,
    System(io::Error),
}

impl fmt::Display for NoSocket {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => write!(formatter, "the path is too long: a socket's has at most {PATH_BYTES_MAX} bytes"),
            Self::NotForPrograms => {
                write!(formatter, "programs could not be told this path: leave {TOKEN_SEPARATOR:?} out of it")
            }
            Self::NoFolder => formatter.write_str("its folder is not there; make it first"),
            Self::NotASocket => {
                formatter.write_str("there is a file that is no socket; move it away, or choose another path")
            }
            Self::Served(None) => formatter.write_str("a server answers there already"),
            Self::Served(Some(pid)) => {
                write!(formatter, "a server answers there already (process {pid}); end it, or choose another path")
            }
            Self::OfAnother => formatter.write_str("there is a socket of another user or program; choose another path"),
            Self::NameTaken => formatter.write_str(
                "a process listens at this name in the abstract name space, though not at the path; \
                 end it, or choose another path",
            ),
            Self::Nameless => formatter.write_str("the socket that was handed over has no path"),
            Self::System(error) => error.fmt(formatter),
        }
    }
}

impl std::error::Error for NoSocket {}

impl From<Errno> for NoSocket {
    fn from(errno: Errno) -> Self {
        Self::System(errno.into())
    }
}

impl Socket {
    /// Binds in the first runtime folder that can be used.
    pub(crate) fn bind() -> Result<Self, NoFolder> {
        let mut refusals = Vec::new();
        for folder in runtime_folder::candidates() {
            match Self::bind_in(&folder) {
                Ok(socket) => return Ok(socket),
                Err(error) => refusals.push((folder, error)),
            }
        }
        Err(NoFolder(refusals))
    }

    fn bind_in(folder: &Path) -> io::Result<Self> {
        runtime_folder::prepare(folder)?;
        let number = u64::from_ne_bytes(random()?);
        let path = folder.join(format!("{}.{number:016x}.sock", std::process::id()));
        if path.as_os_str().len() > PATH_BYTES_MAX {
            let message = format!("its path is too long for a socket in it (at most {PATH_BYTES_MAX} bytes)");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        let abstract_name = bound(&UnixAddr::new_abstract(path.as_os_str().as_bytes())?)?;
        // The folder decides who reaches it. Root's lets everybody through: the token decides then.
        let mode = if geteuid().is_root() { 0o666 } else { 0o600 };
        Ok(Self::listen(path, mode, abstract_name)?)
    }

    /// Binds at `path`, which is absolute. A socket that a server has left there is replaced.
    pub(crate) fn bind_at(path: PathBuf, mode: u32) -> Result<Self, NoSocket> {
        if path.as_os_str().len() > PATH_BYTES_MAX {
            return Err(NoSocket::TooLong);
        }
        if path.as_os_str().as_bytes().windows(TOKEN_SEPARATOR.len()).any(|part| part == TOKEN_SEPARATOR.as_bytes()) {
            return Err(NoSocket::NotForPrograms);
        }
        // The abstract name first: of two servers that start at once it lets one through.
        let abstract_name = match bound(&UnixAddr::new_abstract(path.as_os_str().as_bytes())?) {
            Err(Errno::EADDRINUSE) => return Err(taken(&path)),
            bound => bound?,
        };
        make_way(&path)?;
        Self::listen(path, mode, abstract_name).map_err(|errno| match errno {
            Errno::ENOENT => NoSocket::NoFolder,
            errno => errno.into(),
        })
    }

    /// The socket of a service manager, who has made its path and will unlink it.
    pub(crate) fn handed_over(listener: OwnedFd) -> Result<Self, NoSocket> {
        let address: UnixAddr = getsockname(listener.as_raw_fd())?;
        let path = address.path().ok_or(NoSocket::Nameless)?.to_owned();
        let abstract_name = match bound(&UnixAddr::new_abstract(path.as_os_str().as_bytes())?) {
            Err(Errno::EADDRINUSE) => return Err(NoSocket::NameTaken),
            bound => bound?,
        };
        setsockopt(&listener, sockopt::PassCred, &true)?;
        listen(&abstract_name, Backlog::new(BACKLOG)?)?;
        Ok(Self { path, identity: None, listeners: vec![listener, abstract_name] })
    }

    fn listen(path: PathBuf, mode: u32, abstract_name: OwnedFd) -> Result<Self, Errno> {
        let by_path = bound(&UnixAddr::new(&path)?)?;
        // From here on the value unlinks the path.
        let identity = identity(&path);
        let socket = Self { path, identity, listeners: vec![by_path, abstract_name] };
        fs::set_permissions(&socket.path, Permissions::from_mode(mode))
            .map_err(|error| error.raw_os_error().map_or(Errno::EIO, Errno::from_raw))?;
        for listener in &socket.listeners {
            listen(listener, Backlog::new(BACKLOG)?)?;
        }
        Ok(socket)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn folder(&self) -> &Path {
        // It was made by `join`.
        self.path.parent().unwrap_or(Path::new("/"))
    }

    pub(crate) fn take_listeners(&mut self) -> Vec<OwnedFd> {
        std::mem::take(&mut self.listeners)
    }

    /// Gives the path up to another process, which unlinks it; the listeners of this process are closed.
    pub(crate) fn leave_path(mut self) -> PathBuf {
        std::mem::take(&mut self.path)
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if !self.path.as_os_str().is_empty() && self.identity.is_some() && identity(&self.path) == self.identity {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    fs::symlink_metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

fn bound(address: &UnixAddr) -> Result<OwnedFd, Errno> {
    let descriptor = unconnected(SockFlag::empty())?;
    bind(descriptor.as_raw_fd(), address)?;
    // Since Linux 6.16 a connection inherits it from here; before, it is early enough when the connection is accepted.
    setsockopt(&descriptor, sockopt::PassCred, &true)?;
    Ok(descriptor)
}

fn unconnected(flags: SockFlag) -> Result<OwnedFd, Errno> {
    socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC | flags, None)
}

/// Who listens at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Server {
    pub(crate) pid: u32,
    pub(crate) uid: u32,
}

/// Connects to `path`, to see who listens there. EAGAIN if many do the same at once.
pub(crate) fn server_at(path: &Path) -> Result<Server, Errno> {
    let connection = unconnected(SockFlag::SOCK_NONBLOCK)?;
    connect(connection.as_raw_fd(), &UnixAddr::new(path)?)?;
    let credentials = getsockopt(&connection, sockopt::PeerCredentials)?;
    Ok(Server { pid: credentials.pid().cast_unsigned(), uid: credentials.uid() })
}

/// The abstract name is in use: by whom?
fn taken(path: &Path) -> NoSocket {
    match server_at(path) {
        Ok(server) => NoSocket::Served(Some(server.pid)),
        Err(_) => NoSocket::NameTaken,
    }
}

/// Unlinks a socket on which nobody listens any more, and nothing else.
fn make_way(path: &Path) -> Result<(), NoSocket> {
    let metadata = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        metadata => metadata.map_err(NoSocket::System)?,
    };
    if !metadata.file_type().is_socket() {
        return Err(NoSocket::NotASocket);
    }
    match server_at(path) {
        Err(Errno::ECONNREFUSED) => fs::remove_file(path).map_err(|error| match error.kind() {
            io::ErrorKind::PermissionDenied => NoSocket::OfAnother,
            _ => NoSocket::System(error),
        }),
        // Another kind of socket, or one that this user may not connect to.
        Err(Errno::EPROTOTYPE | Errno::EACCES) => Err(NoSocket::OfAnother),
        // Its queue is full: somebody is there.
        Err(Errno::EAGAIN) => Err(NoSocket::Served(None)),
        Err(errno) => Err(errno.into()),
        Ok(server) => Err(NoSocket::Served(Some(server.pid))),
    }
}

/// Random bytes, for names and tokens. From the device: `getrandom` came with Linux 3.17.
pub(crate) fn random<const BYTES: usize>() -> io::Result<[u8; BYTES]> {
    let mut bytes = [0; BYTES];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}
