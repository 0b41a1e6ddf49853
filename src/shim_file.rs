//! The shim: the shared library that is preloaded into programs. The command carries it and writes it out when needed.

use std::ffi::c_void;
use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::num::NonZeroUsize;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::ptr::NonNull;

use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};
use nix::unistd::geteuid;

use crate::runtime_folder;

/// The shared library, as the build script made it.
pub const SHIM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/libuinotify.so"));

/// No folder takes the shim in a way that a dynamic linker could load it from there.
#[derive(Debug)]
pub struct NoPlace(Vec<(PathBuf, io::Error)>);

impl fmt::Display for NoPlace {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "no folder can hold the shim; set XDG_CACHE_HOME to one that programs may be loaded from")?;
        for (folder, error) in &self.0 {
            write!(formatter, "\n{}: {error}", folder.display())?;
        }
        Ok(())
    }
}

impl std::error::Error for NoPlace {}

/// Writes the shim into the first folder from which it can be loaded, or finds it there, and returns its path.
///
/// The folders are `runtime_folder`, the user's cache folder and `/tmp/uinotify-UID`. For root those come first that other
/// users can reach, because a program that gives up root's rights still preloads the shim into its children.
///
/// # Errors
/// [`NoPlace`], with the reason for each folder.
pub fn install(runtime_folder: &Path) -> Result<PathBuf, NoPlace> {
    let mut folders = candidates(runtime_folder);
    if geteuid().is_root() {
        folders.sort_by_key(|folder| !others_reach(folder));
    }
    let mut refusals = Vec::new();
    for folder in folders {
        match install_into(&folder) {
            Ok(path) => return Ok(path),
            Err(error) => refusals.push((folder, error)),
        }
    }
    Err(NoPlace(refusals))
}

/// [`install`] for a caller that needs no folder for a socket.
///
/// # Errors
/// [`NoPlace`], with the reason for each folder.
pub fn install_for_user() -> Result<PathBuf, NoPlace> {
    let folders = runtime_folder::candidates();
    // The last of them, at least, is always there.
    let usable = folders.iter().find(|folder| runtime_folder::prepare(folder).is_ok()).or(folders.last());
    install(usable.map_or(Path::new("/tmp"), PathBuf::as_path))
}

fn candidates(runtime_folder: &Path) -> Vec<PathBuf> {
    let mut folders = vec![runtime_folder.to_owned()];
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|folder| folder.is_absolute());
    if let Some(cache) = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache"))) {
        folders.push(cache.join("uinotify"));
    }
    if geteuid().is_root() {
        folders.push(PathBuf::from("/run/uinotify"));
    }
    folders.push(PathBuf::from(format!("/tmp/uinotify-{}", geteuid())));
    folders
}

/// Whether users other than the owner can pass through all folders above `folder`.
fn others_reach(folder: &Path) -> bool {
    folder
        .ancestors()
        .skip(1)
        .all(|above| fs::metadata(above).map_or(true, |metadata| metadata.permissions().mode() & 0o001 != 0))
}

fn install_into(folder: &Path) -> io::Result<PathBuf> {
    let path = folder.join(format!("libuinotify-{:016x}.so", content_hash(SHIM)));
    // ld.so(8): a list of LD_PRELOAD is separated by spaces and colons, and there is no way to escape them.
    if path.as_os_str().as_bytes().iter().any(|byte| matches!(byte, b' ' | b':')) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "LD_PRELOAD takes no path with a space or a colon"));
    }
    if let Some(above) = folder.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(above)?;
    }
    runtime_folder::prepare(folder)?;
    if !is_intact(&path) {
        write_out(folder, &path)?;
    }
    try_to_load(&path)?;
    link_emulator(&path);
    Ok(path)
}

/// Leaves a link to this command beside the library, by which a program that preloads it alone finds an emulator. Where that
/// fails, such a program is told; the others need none.
fn link_emulator(library: &Path) {
    let link = library.with_extension("emulator");
    // A file that is no longer there has "(deleted)" behind its path.
    let Some(command) = std::env::current_exe().ok().filter(|command| command.exists()) else { return };
    if fs::read_link(&link).is_ok_and(|target| target == command) {
        return;
    }
    let temporary = library.with_extension(format!("{}.new", std::process::id()));
    let _ = fs::remove_file(&temporary);
    if symlink(&command, &temporary).and_then(|()| fs::rename(&temporary, &link)).is_err() {
        let _ = fs::remove_file(&temporary);
    }
}

/// Whether `path` holds the shim's bytes and nobody else can change them.
fn is_intact(path: &Path) -> bool {
    let Ok(mut file) = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path)
    else {
        return false;
    };
    let Ok(metadata) = file.metadata() else {
        return false;
    };
    let mine = metadata.is_file()
        && metadata.uid() == geteuid().as_raw()
        && metadata.permissions().mode() & 0o7777 == 0o755
        && metadata.len() == SHIM.len() as u64;
    let mut contents = Vec::new();
    mine && file.read_to_end(&mut contents).is_ok() && contents == SHIM
}

fn write_out(folder: &Path, path: &Path) -> io::Result<()> {
    // A second `run` may be doing the same: each writes a file of its own, and the last rename wins with equal bytes.
    let temporary = folder.join(format!(".libuinotify-{}.new", std::process::id()));
    let _ = fs::remove_file(&temporary);
    let written = File::create_new(&temporary).and_then(|mut file| {
        file.write_all(SHIM)?;
        file.set_permissions(Permissions::from_mode(0o755))
    });
    let renamed = written.and_then(|()| fs::rename(&temporary, path));
    if renamed.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    renamed
}

/// Maps the file as a dynamic linker does: a file system that is mounted `noexec` refuses with EPERM.
fn try_to_load(path: &Path) -> io::Result<()> {
    let file = File::open(path)?;
    let length = NonZeroUsize::new(SHIM.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
    let protection = ProtFlags::PROT_READ | ProtFlags::PROT_EXEC;
    // SAFETY: the kernel chooses a free address, so no memory of this process is replaced.
    let address: NonNull<c_void> = unsafe { mmap(None, length, protection, MapFlags::MAP_PRIVATE, &file, 0) }?;
    // SAFETY: the mapping was just made with this address and length, and nothing points into it.
    unsafe { munmap(address, length.get()) }?;
    Ok(())
}

/// FNV-1a, 64 bits: it tells builds apart. That a file holds the right bytes is checked byte by byte.
fn content_hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_fnv_1a() {
        assert_eq!(content_hash(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(content_hash(b"a"), 0xaf63_dc4c_8601_ec8c);
    }

    #[test]
    fn a_damaged_file_is_written_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = install_into(&folder.path().join("a/b")).unwrap();
        assert_eq!(fs::read(&path).unwrap(), SHIM);
        let first = fs::metadata(&path).unwrap().ino();
        assert_eq!(install_into(&folder.path().join("a/b")).unwrap(), path);
        assert_eq!(fs::metadata(&path).unwrap().ino(), first, "an intact file is left alone");

        let mut bytes = SHIM.to_vec();
        bytes[20] ^= 1;
        fs::write(&path, bytes).unwrap();
        install_into(&folder.path().join("a/b")).unwrap();
        assert_eq!(fs::read(&path).unwrap(), SHIM);

        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", &path).unwrap();
        install_into(&folder.path().join("a/b")).unwrap();
        assert!(fs::symlink_metadata(&path).unwrap().is_file());
        assert_eq!(fs::read_dir(folder.path().join("a/b")).unwrap().count(), 2, "no temporary file is left");
        assert_eq!(fs::read_link(path.with_extension("emulator")).unwrap(), std::env::current_exe().unwrap());
    }

    #[test]
    fn separators_of_ld_preload_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["with space", "with:colon"] {
            let error = install_into(&folder.path().join(name)).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        }
    }
}
