//! A file in memory that has no name: memfd (Linux 3.17), else one whose name is taken away at once.

use std::ffi::CStr;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::FromRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::errno::Errno;

/// A file whose link in procfs has this name in it, open for reading and writing, close-on-exec.
///
/// # Errors
///
/// If there is no memory or descriptor for it, and before Linux 3.17 no room in /dev/shm and in the folder for temporary files.
pub(crate) fn memory_file(name: &CStr) -> io::Result<File> {
    // By its number: glibc has no function for it before 2.27.
    // SAFETY: the name is a string that lives through the call.
    let fd = unsafe { libc::syscall(libc::SYS_memfd_create, name.as_ptr(), libc::MFD_CLOEXEC) };
    match Errno::result(fd) {
        // SAFETY: the call has just returned this descriptor, which nobody else has.
        Ok(fd) => Ok(unsafe { File::from_raw_fd(fd as i32) }),
        Err(Errno::ENOSYS) => nameless(Path::new("/dev/shm"), name).or_else(|_| nameless(&std::env::temp_dir(), name)),
        Err(errno) => Err(errno.into()),
    }
}

/// A new file whose name is taken away at once.
fn nameless(folder: &Path, name: &CStr) -> io::Result<File> {
    let mut number = 0;
    loop {
        let path = folder.join(format!("{}-{}-{number}", name.to_string_lossy(), std::process::id()));
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
    use std::io::{Read, Seek, Write};
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn both_ways_give_a_file_without_a_name() {
        let folder = std::env::temp_dir();
        for file in [memory_file(c"test"), nameless(&folder, c"test")] {
            let mut file = file.expect("a file");
            assert_eq!(file.metadata().expect("its metadata").nlink(), 0);
            file.write_all(b"text").expect("it can be written");
            file.rewind().expect("it has a position");
            let mut text = String::new();
            file.read_to_string(&mut text).expect("it can be read");
            assert_eq!(text, "text");
        }
    }
}
