//! What is wrong with an image, and where.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// An image that cannot be read or written.
#[derive(Debug)]
pub struct ImageError {
    /// In bytes from the start of the file.
    pub offset: u64,
    /// What is wrong there.
    pub problem: Problem,
}

/// What is wrong with an image.
#[derive(Debug)]
#[non_exhaustive]
pub enum Problem {
    /// The file cannot be read or written.
    Io(io::Error),
    /// The file does not start as this kind of image does, but so.
    Magic {
        /// The kind's.
        expected: u32,
        /// What is there.
        found: u32,
    },
    /// The file ends inside this.
    Truncated(&'static str),
    /// An entry of so many bytes, of which there are fewer.
    EntryTruncated {
        /// What its length says.
        length: u32,
        /// What is there.
        bytes: u64,
    },
    /// An entry longer than [`ENTRY_BYTES_MAX`](super::ENTRY_BYTES_MAX).
    EntryTooLong(u64),
    /// No protobuf.
    Malformed(String),
    /// A field that must be there is not: of a message, its name.
    Missing(&'static str, &'static str),
    /// A field of a message has a value that cannot be.
    Value(&'static str, u64),
    /// A watch in inotify-wd.img of an instance that inotify.img does not have.
    Orphan(u32),
}

impl ImageError {
    pub(crate) fn new(offset: u64, problem: Problem) -> Self {
        Self { offset, problem }
    }
}

impl fmt::Display for ImageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "offset {:#x}: ", self.offset)?;
        match &self.problem {
            Problem::Io(error) => error.fmt(f),
            Problem::Magic { expected, found } => {
                write!(f, "not this kind of image: its magic is {found:#010x} and should be {expected:#010x}")
            }
            Problem::Truncated(part) => write!(f, "the file ends inside {part}"),
            Problem::EntryTruncated { length, bytes } => {
                write!(f, "an entry of {length} bytes, of which the file has {bytes}")
            }
            Problem::EntryTooLong(length) => {
                write!(f, "an entry of {length} bytes; at most {} are taken", super::ENTRY_BYTES_MAX)
            }
            Problem::Malformed(what) => write!(f, "malformed protobuf: {what}"),
            Problem::Missing(message, field) => write!(f, "{message} without {field}"),
            Problem::Value(field, value) => write!(f, "{field} cannot be {value:#x}"),
            Problem::Orphan(id) => write!(f, "a watch of instance {id:#x}, which inotify.img does not have"),
        }
    }
}

// What is inside is in the message.
impl std::error::Error for ImageError {}

/// A directory of images that cannot be read or changed.
#[derive(Debug)]
#[non_exhaustive]
pub enum DirectoryError {
    /// This file cannot be opened, replaced or listed.
    Io(PathBuf, io::Error),
    /// This image is at fault.
    Image(PathBuf, ImageError),
    /// There is neither files.img nor inotify.img.
    NoImages(PathBuf),
    /// There is an image already where one would be written.
    Exists(PathBuf),
}

impl fmt::Display for DirectoryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(path, error) => write!(f, "{}: {error}", path.display()),
            Self::Image(path, error) => write!(f, "{}: {error}", path.display()),
            Self::NoImages(path) => {
                write!(f, "{} has no images of CRIU: neither files.img nor inotify.img", path.display())
            }
            Self::Exists(path) => write!(f, "{} is there already, and is not overwritten", path.display()),
        }
    }
}

// What is inside is in the message.
impl std::error::Error for DirectoryError {}
