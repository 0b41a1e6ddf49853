//! A text as a descriptor that a program can read.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use nix::errno::Errno;
use nix::sys::memfd::{MFdFlags, memfd_create};

/// A file that has no name, holds `text`, and is open for reading, at its beginning. `mode` is what `fstat` shows.
///
/// # Errors
///
/// If there is no memory or descriptor for it, and before Linux 3.17 no room in the folder for temporary files.
pub(crate) fn open(text: &[u8], mode: u32) -> io::Result<OwnedFd> {
    let writer = match memfd_create(c"uinotify", MFdFlags::MFD_CLOEXEC) {
        Ok(memory) => File::from(memory),
        Err(Errno::ENOSYS) => unlinked(&std::env::temp_dir())?,
        Err(errno) => return Err(errno.into()),
    };
    fill(writer, text, mode)
}

fn fill(mut writer: File, text: &[u8], mode: u32) -> io::Result<OwnedFd> {
    writer.write_all(text)?;
    // Opened again through its link: a description of its own, which cannot be written to.
    let reader = File::open(format!("/proc/self/fd/{}", writer.as_fd().as_raw_fd()))?;
    writer.set_permissions(Permissions::from_mode(mode))?;
    Ok(reader.into())
}

/// A new file whose name is taken away at once.
fn unlinked(folder: &Path) -> io::Result<File> {
    let mut number = 0;
    loop {
        let path = folder.join(format!("uinotify-{}-{number}", std::process::id()));
        match OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && number < 1000 => number += 1,
            made => {
                let file = made?;
                std::fs::remove_file(&path)?;
                return Ok(file);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::unix::fs::MetadataExt;

    fn is_readable_only(descriptor: OwnedFd, text: &str) {
        let mut file = File::from(descriptor);
        let mut read = String::new();
        file.read_to_string(&mut read).expect("the text");
        assert_eq!(read, text);
        let metadata = file.metadata().expect("its state");
        assert_eq!((metadata.mode(), metadata.nlink()), (0o100_400, 0));
        assert_eq!(file.write(b"x").expect_err("no writing").raw_os_error(), Some(libc::EBADF));
    }

    #[test]
    fn a_text_can_be_read_and_not_written() {
        is_readable_only(open(b"text\n", 0o400).expect("a file"), "text\n");
        is_readable_only(open(b"", 0o400).expect("a file"), "");
    }

    #[test]
    fn an_unlinked_file_does_as_well() {
        let folder = std::env::temp_dir();
        let file = unlinked(&folder).expect("a file");
        is_readable_only(fill(file, b"text\n", 0o400).expect("a file"), "text\n");
        let left = folder.join(format!("uinotify-{}-0", std::process::id()));
        assert!(!left.exists(), "{} is left", left.display());
    }
}
