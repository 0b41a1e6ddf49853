//! A text as a descriptor that a program can read.

use std::fs::{File, Permissions};
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;

use crate::memory_file::memory_file;

/// A file that has no name, holds `text`, and is open for reading, at its beginning. `mode` is what `fstat` shows.
///
/// # Errors
///
/// As [`memory_file`].
pub(crate) fn open(text: &[u8], mode: u32) -> io::Result<OwnedFd> {
    let mut writer = memory_file(c"uinotify")?;
    writer.write_all(text)?;
    // Opened again through its link: a description of its own, which cannot be written to.
    let reader = File::open(format!("/proc/self/fd/{}", writer.as_fd().as_raw_fd()))?;
    writer.set_permissions(Permissions::from_mode(mode))?;
    Ok(reader.into())
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
}
