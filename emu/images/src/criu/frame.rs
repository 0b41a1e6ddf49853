//! An image as a file: a magic number, then entries with their length in front.

use std::io::{self, ErrorKind, Read, Write};

use super::error::{ImageError, Problem};

/// The longest entry that is read. An instance of 100,000 watches has some 15 MB.
pub const ENTRY_BYTES_MAX: u32 = 64 << 20;

/// In front of the magic of each kind, in CRIU's second version of the layout: IMG_COMMON_MAGIC.
const COMMON_MAGIC: u32 = 0x5456_4319;

/// What an image holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// files.img: all open files of all processes.
    Files,
    /// fdinfo-N.img: the descriptors of one table.
    Descriptors,
    /// ids-PID.img: which tables a process uses.
    Ids,
    /// inotify.img of the legacy layout.
    Inotify,
    /// inotify-wd.img of the legacy layout.
    InotifyWatches,
}

impl Kind {
    /// CRIU's criu/include/magic.h.
    const fn magic(self) -> u32 {
        match self {
            Self::Files => 0x5630_3138,
            Self::Descriptors => 0x5621_3732,
            Self::Ids => 0x5443_2030,
            Self::Inotify => 0x4842_4431,
            Self::InotifyWatches => 0x5456_2009,
        }
    }
}

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Of its first byte in the file, behind its length.
    pub offset: u64,
    /// The message.
    pub bytes: Vec<u8>,
}

/// Reads an image, one entry at a time.
#[derive(Debug)]
pub struct ImageReader<R> {
    input: R,
    offset: u64,
    kind: Kind,
    /// The magic of the common head stood in front.
    common: bool,
}

impl<R: Read> ImageReader<R> {
    /// Reads the head of an image.
    ///
    /// # Errors
    ///
    /// It is no image of this kind, or cannot be read.
    pub fn open(input: R, kind: Kind) -> Result<Self, ImageError> {
        let mut reader = Self { input, offset: 0, kind, common: false };
        let mut found = reader.word("the magic number")?.unwrap_or_default();
        if found == COMMON_MAGIC {
            reader.common = true;
            found = reader.word("the magic number")?.unwrap_or_default();
        }
        if found == kind.magic() {
            Ok(reader)
        } else {
            let offset = reader.offset.saturating_sub(4);
            Err(ImageError::new(offset, Problem::Magic { expected: kind.magic(), found }))
        }
    }

    /// The next entry, or nothing at the end of the file.
    ///
    /// # Errors
    ///
    /// The file ends inside the entry, its length is above [`ENTRY_BYTES_MAX`], or it cannot be read.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, ImageError> {
        let start = self.offset;
        let Some(length) = self.word("the length of an entry")? else { return Ok(None) };
        if length > ENTRY_BYTES_MAX {
            return Err(ImageError::new(start, Problem::EntryTooLong(length.into())));
        }
        // Grows with what is there, whatever the length says.
        let mut bytes = Vec::new();
        let read = self.input.by_ref().take(length.into()).read_to_end(&mut bytes);
        let count = read.map_err(|error| ImageError::new(self.offset, Problem::Io(error)))? as u64;
        if count < u64::from(length) {
            return Err(ImageError::new(start, Problem::EntryTruncated { length, bytes: count }));
        }
        let offset = self.offset;
        self.offset += count;
        Ok(Some(Entry { offset, bytes }))
    }

    /// What writes an image with the same head.
    ///
    /// # Errors
    ///
    /// `output` cannot be written.
    pub fn writer<W: Write>(&self, output: W) -> Result<ImageWriter<W>, ImageError> {
        ImageWriter::with_head(output, self.kind, self.common)
    }

    /// `None` at the end of the file.
    fn word(&mut self, part: &'static str) -> Result<Option<u32>, ImageError> {
        let mut word = [0; 4];
        let mut filled = 0;
        while let Some(rest) = word.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.input.read(rest) {
                Ok(0) if filled == 0 => return Ok(None),
                Ok(0) => return Err(ImageError::new(self.offset, Problem::Truncated(part))),
                Ok(count) => filled += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(ImageError::new(self.offset, Problem::Io(error))),
            }
        }
        self.offset += 4;
        Ok(Some(u32::from_le_bytes(word)))
    }
}

/// Writes an image, one entry at a time.
#[derive(Debug)]
pub struct ImageWriter<W> {
    output: W,
    offset: u64,
}

impl<W: Write> ImageWriter<W> {
    /// Writes the head of an image, as CRIU does today.
    ///
    /// # Errors
    ///
    /// `output` cannot be written.
    pub fn create(output: W, kind: Kind) -> Result<Self, ImageError> {
        Self::with_head(output, kind, true)
    }

    fn with_head(output: W, kind: Kind, common: bool) -> Result<Self, ImageError> {
        let mut writer = Self { output, offset: 0 };
        if common {
            writer.write(&COMMON_MAGIC.to_le_bytes())?;
        }
        writer.write(&kind.magic().to_le_bytes())?;
        Ok(writer)
    }

    /// Writes an entry.
    ///
    /// # Errors
    ///
    /// It is longer than [`ENTRY_BYTES_MAX`], which nobody would read, or `output` cannot be written.
    pub fn write_entry(&mut self, message: &[u8]) -> Result<(), ImageError> {
        let length = u32::try_from(message.len()).ok().filter(|length| *length <= ENTRY_BYTES_MAX);
        let length = length.ok_or_else(|| ImageError::new(self.offset, Problem::EntryTooLong(message.len() as u64)))?;
        self.write(&length.to_le_bytes())?;
        self.write(message)
    }

    /// Writes what is still in a buffer, and gives the output back.
    ///
    /// # Errors
    ///
    /// `output` cannot be written.
    pub fn finish(mut self) -> Result<W, ImageError> {
        self.output.flush().map_err(|error| self.failed(error))?;
        Ok(self.output)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), ImageError> {
        self.output.write_all(bytes).map_err(|error| self.failed(error))?;
        self.offset += bytes.len() as u64;
        Ok(())
    }

    fn failed(&self, error: io::Error) -> ImageError {
        ImageError::new(self.offset, Problem::Io(error))
    }
}
