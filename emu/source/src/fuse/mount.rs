//! The mount.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use fuser::{Config, Filesystem, InitFlags, KernelConfig, MountOption, Request, Session, SessionACL};
use nix::fcntl::{OFlag, open};
use nix::mount::{MntFlags, umount2};
use nix::sys::stat::Mode as Permissions;
use nix::sys::statfs::{OVERLAYFS_SUPER_MAGIC, fstatfs};
use nix::sys::statvfs::FsFlags;

use super::device::Device;
use super::file_handle::FileHandle;
use super::mode::Mode;
use super::request::NodeId;
use crate::mountinfo::mounted;
use crate::status::Status;

/// The longest write that is one request, and the longest read: what Linux allows without a setting (`fs.fuse.max_pages_limit`).
pub(super) const TRANSFER_BYTES_MAX: u32 = 1 << 20;

/// How to mount.
#[derive(Clone, Copy, Debug, Default)]
pub struct MountOptions {
    /// Nothing can be changed through the mount.
    pub read_only: bool,
    /// Set-user-ID and set-group-ID bits mean nothing.
    pub no_set_ids: bool,
    /// Devices cannot be opened.
    pub no_devices: bool,
    /// Nothing can be executed.
    pub no_execution: bool,
    /// As the [`FileSystem`](super::FileSystem) that will serve it.
    pub mode: Mode,
}

impl MountOptions {
    /// What may be done in a lower tree may be done in the tree: with the restrictions of the mount on which `root` is, and those of the mounts
    /// within it, as far as /proc/self/mountinfo tells.
    ///
    /// # Errors
    ///
    /// Those of `fstatvfs(3)`.
    pub fn of_lower(root: BorrowedFd<'_>, read_only: bool, mode: Mode) -> io::Result<Self> {
        let flags = nix::sys::statvfs::fstatvfs(root)?.flags();
        let mut options = Self {
            read_only: read_only || flags.contains(FsFlags::ST_RDONLY),
            no_set_ids: flags.contains(FsFlags::ST_NOSUID),
            no_devices: flags.contains(FsFlags::ST_NODEV),
            no_execution: flags.contains(FsFlags::ST_NOEXEC),
            mode,
        };
        let path = std::fs::read_link(format!("/proc/self/fd/{}", root.as_raw_fd()))?;
        for mount in mounted().unwrap_or_default() {
            if mount.point.starts_with(&path) && mount.point != path {
                options.no_set_ids |= mount.has("nosuid");
                options.no_devices |= mount.has("nodev");
                options.no_execution |= mount.has("noexec");
            }
        }
        Ok(options)
    }
}

/// A mounted file system, which goes when this is dropped.
///
/// The crate mounts, negotiates and unmounts. Its loop is not used: it blocks in its read, so that a request taken from the device and
/// not yet handled could not be told from none.
#[derive(Debug)]
pub struct Mount {
    session: Session<Negotiation>,
    point: PathBuf,
    number: MountNumber,
}

impl Mount {
    /// Mounts over the directory `point`, for all users of this mount name space. The returned device is where requests come from.
    ///
    /// A directory of the lower tree has to be opened before it is covered.
    ///
    /// # Errors
    ///
    /// If the caller may not mount, /dev/fuse cannot be opened, or the kernel's protocol is older than 7.6.
    pub fn new(point: &Path, options: MountOptions) -> io::Result<(Self, Device)> {
        let mut config = Config::default();
        config.acl = SessionACL::All;
        config.mount_options = vec![
            MountOption::FSName("uinotify".into()),
            // The kernel asks this mount about these, and the lower one no more.
            if options.no_devices { MountOption::NoDev } else { MountOption::Dev },
            if options.no_set_ids { MountOption::NoSuid } else { MountOption::Suid },
            if options.no_execution { MountOption::NoExec } else { MountOption::Exec },
            if options.read_only { MountOption::RO } else { MountOption::RW },
        ];
        let point = point.canonicalize()?;
        // The crate's own option for it goes to its helper only. The kernel takes it since 5.5; before, it stays out.
        let mut named = config.clone();
        named.mount_options.push(MountOption::CUSTOM("subtype=uinotify".into()));
        let negotiation = Negotiation { mode: options.mode, stack_depth: stack_depth(&point) };
        let session =
            Session::new(negotiation, &point, &named).or_else(|_| Session::new(negotiation, &point, &config))?;
        let device = Device::new(session.as_fd().try_clone_to_owned()?)?;
        let root = open(&point, OFlag::O_PATH | OFlag::O_CLOEXEC, Permissions::empty())?;
        let number = MountNumber(Status::device_of(&root).unwrap_or(0));
        Ok((Self { session, point, number }, device))
    }

    /// By which its objects are known.
    #[must_use]
    pub fn number(&self) -> MountNumber {
        self.number
    }

    /// Leaves it mounted: it goes with its mount name space, or by umount(2). For a process that is about to execute a program, as the
    /// crate's own descriptor of the device stays open until then.
    pub fn leave(self) {
        std::mem::forget(self);
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Busy: whoever still uses it keeps it, and nobody else finds it.
        if self.session.unmount().is_err()
            && let Ok(point) = CString::new(self.point.as_os_str().as_bytes())
        {
            let _ = umount2(point.as_c_str(), MntFlags::MNT_DETACH);
        }
    }
}

/// The device number of a mounted file system, by which its objects are told from others. 0 if nobody says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MountNumber(pub u64);

impl MountNumber {
    /// Which object of this file system is behind a descriptor that a program has sent; `None` if none is.
    ///
    /// The kernel knows it by itself. Whoever serves may ask nothing else of such a descriptor: it would have to answer.
    #[must_use]
    pub fn node_of(self, object: BorrowedFd<'_>) -> Option<NodeId> {
        // Before the device, which old kernels do not tell as readily.
        let node = FileHandle::of(object).ok()?.0.fuse_node()?;
        (self.0 != 0 && Status::device_of(object) == Ok(self.0)).then_some(node)
    }
}

/// What is asked of the kernel at the beginning.
#[derive(Clone, Copy, Debug)]
struct Negotiation {
    mode: Mode,
    /// How high this file system stands on others, if the kernel is to read and write their files itself.
    stack_depth: u32,
}

/// Over an overlay the highest that there is: then no other overlay can have this one below it.
fn stack_depth(point: &Path) -> u32 {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let status = open(point, flags, Permissions::empty()).and_then(fstatfs);
    if status.is_ok_and(|status| status.filesystem_type() == OVERLAYFS_SUPER_MAGIC) { 2 } else { 1 }
}

impl Filesystem for Negotiation {
    fn init(&mut self, _request: &Request, config: &mut KernelConfig) -> io::Result<()> {
        // What each kernel has of these. Not here: the writeback cache, which would hide and invent events; the kernel's checks of
        // permissions and FUSE_POSIX_ACL, which brings them; locks, which the kernel keeps itself, as all programs come by one mount;
        // READDIRPLUS, as entries that hold for no time are asked for again.
        for wanted in [
            InitFlags::FUSE_ATOMIC_O_TRUNC,
            // The lower file system applies the umask, or the directory's default ACL instead.
            InitFlags::FUSE_DONT_MASK,
            InitFlags::FUSE_HANDLE_KILLPRIV,
            InitFlags::FUSE_HANDLE_KILLPRIV_V2,
            InitFlags::FUSE_HAS_IOCTL_DIR,
            InitFlags::FUSE_PARALLEL_DIROPS,
            InitFlags::FUSE_DIRECT_IO_ALLOW_MMAP,
        ] {
            let _ = config.add_capabilities(wanted);
        }
        if self.mode == Mode::Fast {
            let _ = config.add_capabilities(InitFlags::FUSE_AUTO_INVAL_DATA);
            if config.add_capabilities(InitFlags::FUSE_PASSTHROUGH).is_ok() {
                let _ = config.set_max_stack_depth(self.stack_depth);
            }
        }
        let _ = config.set_max_write(TRANSFER_BYTES_MAX);
        // A RELEASE beyond the limit would wait where no poll of the device sees it.
        let _ = config.set_max_background(u16::MAX);
        Ok(())
    }
}
