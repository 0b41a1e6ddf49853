//! Trees compared.

use std::collections::BTreeMap;
use std::ffi::{CString, OsString};
use std::fs;
use std::mem::MaybeUninit;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use nix::errno::Errno;

/// Everything that statx says of an object.
pub(crate) fn status(path: &Path) -> Result<libc::statx> {
    let text = CString::new(path.as_os_str().as_bytes())?;
    let mut buffer = MaybeUninit::<libc::statx>::zeroed();
    let mask = libc::STATX_BASIC_STATS | libc::STATX_BTIME;
    // SAFETY: `text` is a string and the buffer a statx; both live through the call.
    let result =
        unsafe { libc::statx(libc::AT_FDCWD, text.as_ptr(), libc::AT_SYMLINK_NOFOLLOW, mask, buffer.as_mut_ptr()) };
    Errno::result(result).with_context(|| path.display().to_string())?;
    // SAFETY: the kernel has filled it in, and any bytes make one.
    Ok(unsafe { buffer.assume_init() })
}

/// The extended attributes of an object, a symbolic link itself.
pub(crate) fn attributes(path: &Path) -> Result<BTreeMap<OsString, Vec<u8>>> {
    let text = CString::new(path.as_os_str().as_bytes())?;
    let mut names = vec![0_u8; 65536];
    // SAFETY: the string lives through the call, as does the buffer, with its length beside it.
    let length = unsafe { libc::llistxattr(text.as_ptr(), names.as_mut_ptr().cast(), names.len()) };
    names.truncate(usize::try_from(Errno::result(length)?)?);
    let mut attributes = BTreeMap::new();
    for name in names.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let mut value = vec![0_u8; 65536];
        let text_name = CString::new(name)?;
        // SAFETY: both strings live through the call, as does the buffer, with its length beside it.
        let length =
            unsafe { libc::lgetxattr(text.as_ptr(), text_name.as_ptr(), value.as_mut_ptr().cast(), value.len()) };
        value.truncate(usize::try_from(Errno::result(length)?)?);
        attributes.insert(OsString::from_vec(name.to_vec()), value);
    }
    Ok(attributes)
}

/// The paths below a folder, itself among them, in order.
fn paths(root: &Path) -> Result<Vec<PathBuf>> {
    let mut found = vec![PathBuf::new()];
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(root.join(&folder))? {
            let entry = entry?;
            let path = folder.join(entry.file_name());
            if entry.file_type()?.is_dir() {
                folders.push(path.clone());
            }
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn kind(status: &libc::statx) -> u32 {
    u32::from(status.stx_mode) & libc::S_IFMT
}

/// Two trees that were made in the same way: all is equal that does not depend on when and where it was made.
pub(crate) fn compare_content(one: &Path, other: &Path) -> Result<()> {
    compare(one, other, |status| {
        // The length of a directory, and blocks, are as the file system likes.
        let size = if kind(status) == libc::S_IFDIR { 0 } else { status.stx_size };
        let device = (status.stx_rdev_major, status.stx_rdev_minor);
        format!("{:?}", (status.stx_mode, status.stx_nlink, status.stx_uid, status.stx_gid, size, device))
    })
}

/// Two views of one tree: all is equal but the device.
pub(crate) fn compare_views(lower: &Path, seen: &Path) -> Result<()> {
    compare(lower, seen, |status| {
        let time = |time: libc::statx_timestamp| (time.tv_sec, time.tv_nsec);
        format!(
            "{:?}",
            (
                (status.stx_mode, status.stx_nlink, status.stx_uid, status.stx_gid, status.stx_size, status.stx_ino),
                (
                    status.stx_blocks,
                    status.stx_blksize,
                    status.stx_rdev_major,
                    status.stx_rdev_minor,
                    status.stx_mask & 0xfff
                ),
                (time(status.stx_mtime), time(status.stx_ctime), time(status.stx_btime)),
            )
        )
    })
}

fn compare(one: &Path, other: &Path, show: impl Fn(&libc::statx) -> String) -> Result<()> {
    let paths_of_one = paths(one)?;
    ensure!(paths_of_one == paths(other)?, "{paths_of_one:?}\n{:?}", paths(other)?);
    for path in paths_of_one {
        let place = || path.display().to_string();
        let join = |root: &Path| if path.as_os_str().is_empty() { root.to_owned() } else { root.join(&path) };
        let (one, other) = (join(one), join(other));
        let (status_of_one, status_of_other) = (status(&one)?, status(&other)?);
        ensure!(
            show(&status_of_one) == show(&status_of_other),
            "{}:\n  {}\n  {}",
            place(),
            show(&status_of_one),
            show(&status_of_other)
        );
        ensure!(attributes(&one)? == attributes(&other)?, "extended attributes of {}", place());
        match kind(&status_of_one) {
            libc::S_IFLNK => ensure!(fs::read_link(&one)? == fs::read_link(&other)?, "target of {}", place()),
            libc::S_IFREG => compare_bytes(&one, &other)?,
            _ => {}
        }
    }
    Ok(())
}

fn compare_bytes(one: &Path, other: &Path) -> Result<()> {
    use std::io::Read;
    // Sparse files are too long to be read as a whole.
    const ALL_MAX: u64 = 64 << 20;
    let (mut one, mut other) = (fs::File::open(one)?, fs::File::open(other)?);
    if one.metadata()?.len() > ALL_MAX {
        return Ok(());
    }
    let (mut bytes_of_one, mut bytes_of_other) = (Vec::new(), Vec::new());
    one.read_to_end(&mut bytes_of_one)?;
    other.read_to_end(&mut bytes_of_other)?;
    ensure!(bytes_of_one == bytes_of_other, "content differs");
    Ok(())
}
