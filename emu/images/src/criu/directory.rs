//! A directory of images: what it has of inotify, and how that is replaced.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, ErrorKind};
use std::path::{Path, PathBuf};

use super::entry::{FileEntry, UnixSocket, encode_inotify};
use super::error::{DirectoryError, ImageError};
use super::fields::{Fields, Value};
use super::frame::{Entry, ImageReader, ImageWriter, Kind};
use super::inotify::InotifyFile;
use super::legacy::{read_legacy, write_legacy};
use super::message::{TYPE_INOTIFY, TYPE_UNIX_SOCKET, required};
use crate::checkpoint::{Descriptor, Instance};

pub(crate) const FILES: &str = "files.img";
const INOTIFY: &str = "inotify.img";
const INOTIFY_WATCHES: &str = "inotify-wd.img";

/// FD_CLOEXEC.
const CLOSE_ON_EXEC: u32 = 1;

/// Where the instances are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// In files.img, since CRIU 3.4.
    Files,
    /// In inotify.img and inotify-wd.img.
    Legacy,
}

/// What a directory of images has of inotify.
#[derive(Debug, Clone)]
pub struct Directory {
    /// Where it is.
    pub path: PathBuf,
    /// How it is laid out.
    pub layout: Layout,
    /// The instances, in the order of the image.
    pub inotify: Vec<InotifyFile>,
    /// Unix sockets of files.img: an emulated instance is one.
    pub sockets: Vec<UnixSocket>,
    /// The descriptors of instances and unix sockets, by table and number.
    pub descriptors: Vec<FileDescriptor>,
}

/// One descriptor in fdinfo-N.img.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileDescriptor {
    /// The open file, as in files.img.
    pub file: u32,
    /// Its number.
    pub fd: u32,
    /// FD_CLOEXEC.
    pub close_on_exec: bool,
    /// The table that it is in: N of the image.
    pub table: u32,
    /// The processes that use the table.
    pub pids: Vec<u32>,
}

impl Directory {
    /// Reads a directory.
    ///
    /// # Errors
    ///
    /// It has no images, or one of those that tell of inotify cannot be read.
    pub fn read(path: &Path) -> Result<Self, DirectoryError> {
        let (mut inotify, mut sockets) = (Vec::new(), Vec::new());
        let legacy = path.join(INOTIFY);
        let layout = match open(&path.join(FILES))? {
            Some(file) => {
                read_files(file, &mut inotify, &mut sockets).map_err(in_file(&path.join(FILES)))?;
                Layout::Files
            }
            None => {
                let file = open(&legacy)?.ok_or_else(|| DirectoryError::NoImages(path.to_owned()))?;
                let watches_path = path.join(INOTIFY_WATCHES);
                let watches = File::open(&watches_path).map_err(io_at(&watches_path))?;
                inotify = read_legacy(file, BufReader::new(watches))
                    .map_err(in_file(&legacy))?
                    .map_err(in_file(&watches_path))?;
                Layout::Legacy
            }
        };
        let mut descriptors = Vec::new();
        for (table, pids) in tables(path)? {
            read_descriptors(&path.join(format!("fdinfo-{table}.img")), table, &pids, &mut descriptors)?;
        }
        Ok(Self { path: path.to_owned(), layout, inotify, sockets, descriptors })
    }

    /// Writes instances into a directory without images. Nothing else is written: CRIU could not restore from it alone.
    ///
    /// # Errors
    ///
    /// There is such an image, or it cannot be written.
    pub fn create(path: &Path, layout: Layout, inotify: &[InotifyFile]) -> Result<(), DirectoryError> {
        for name in [FILES, INOTIFY, INOTIFY_WATCHES] {
            if path.join(name).exists() {
                return Err(DirectoryError::Exists(path.join(name)));
            }
        }
        match layout {
            Layout::Files => {
                let mut new = Replacement::start(&path.join(FILES))?;
                let written = ImageWriter::create(&mut new.output, Kind::Files).and_then(|mut writer| {
                    inotify.iter().try_for_each(|file| writer.write_entry(&encode_inotify(file, &[])))?;
                    writer.finish().map(|_| ())
                });
                written.map_err(in_file(&path.join(FILES)))?;
                new.commit()
            }
            Layout::Legacy => write_both(path, inotify),
        }
    }

    /// Puts these instances in the place of those with the same ids, and leaves everything else as it is.
    ///
    /// # Errors
    ///
    /// An image cannot be read again or written; then all are as before, but for a failure between the two files of the legacy layout.
    pub fn replace(&self, inotify: &[InotifyFile]) -> Result<(), DirectoryError> {
        let by_id: BTreeMap<u32, &InotifyFile> = inotify.iter().map(|file| (file.id, file)).collect();
        match self.layout {
            Layout::Files => {
                rewrite(&self.path.join(FILES), Kind::Files, |entry, write| match FileEntry::parse(&entry)? {
                    FileEntry::Inotify(old, unknown) if by_id.contains_key(&old.id) => {
                        by_id.get(&old.id).map_or(Ok(()), |new| write(&encode_inotify(new, &unknown)))
                    }
                    _ => write(&entry.bytes),
                })?
                .commit()
            }
            Layout::Legacy => {
                let all: Vec<InotifyFile> =
                    self.inotify.iter().map(|old| (*by_id.get(&old.id).unwrap_or(&old)).clone()).collect();
                write_both(&self.path, &all)
            }
        }
    }

    /// The descriptors of an open file.
    #[must_use]
    pub fn descriptors_of(&self, file: u32) -> Vec<Descriptor> {
        let of_file = self.descriptors.iter().filter(|descriptor| descriptor.file == file);
        let each = of_file.flat_map(|FileDescriptor { fd, close_on_exec, pids, .. }| {
            pids.iter().map(|pid| Descriptor { pid: *pid, fd: *fd, close_on_exec: *close_on_exec })
        });
        let mut descriptors: Vec<Descriptor> = each.collect();
        descriptors.sort();
        descriptors
    }

    /// The entry that stands for this instance: the one of a descriptor of its, or, if none of them is in the images, of its id.
    #[must_use]
    pub fn file_of(&self, instance: &Instance) -> Option<&InotifyFile> {
        let has = |known: &FileDescriptor| {
            instance.descriptors.iter().any(|one| one.fd == known.fd && known.pids.contains(&one.pid))
        };
        let file = |id: u64| self.inotify.iter().find(|file| u64::from(file.id) == id);
        match self.descriptors.iter().find(|known| has(known)) {
            Some(descriptor) => file(descriptor.file.into()),
            None => file(instance.id),
        }
    }
}

/// An image that is there, or nothing.
fn open(path: &Path) -> Result<Option<BufReader<File>>, DirectoryError> {
    match File::open(path) {
        Ok(file) => Ok(Some(BufReader::new(file))),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io_at(path)(error)),
    }
}

pub(crate) fn io_at(path: &Path) -> impl FnOnce(io::Error) -> DirectoryError + '_ {
    |error| DirectoryError::Io(path.to_owned(), error)
}

pub(crate) fn in_file(path: &Path) -> impl FnOnce(ImageError) -> DirectoryError + '_ {
    |error| DirectoryError::Image(path.to_owned(), error)
}

fn read_files(
    input: BufReader<File>,
    inotify: &mut Vec<InotifyFile>,
    sockets: &mut Vec<UnixSocket>,
) -> Result<(), ImageError> {
    let mut reader = ImageReader::open(input, Kind::Files)?;
    while let Some(entry) = reader.next_entry()? {
        match FileEntry::parse(&entry)? {
            FileEntry::Inotify(file, _) => inotify.push(file),
            FileEntry::UnixSocket(socket) => sockets.push(socket),
            FileEntry::Other => {}
        }
    }
    Ok(())
}

/// The numbers of the directory's tables of descriptors, each with the processes that use it.
fn tables(path: &Path) -> Result<BTreeMap<u32, Vec<u32>>, DirectoryError> {
    let mut tables: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    let mut pids = Vec::new();
    for listed in fs::read_dir(path).map_err(io_at(path))? {
        let name = listed.map_err(io_at(path))?.file_name();
        let number = |prefix| name.to_str()?.strip_prefix(prefix)?.strip_suffix(".img")?.parse().ok();
        if let Some(table) = number("fdinfo-") {
            tables.entry(table).or_default();
        } else if let Some(pid) = number("ids-") {
            pids.push(pid);
        }
    }
    pids.sort_unstable();
    for pid in pids {
        let ids = path.join(format!("ids-{pid}.img"));
        let table = read_table(&ids).map_err(in_file(&ids))?;
        if let Some(users) = table.and_then(|table| tables.get_mut(&table)) {
            users.push(pid);
        }
    }
    Ok(tables)
}

/// `files_id` of task_kobj_ids_entry.
fn read_table(ids: &Path) -> Result<Option<u32>, ImageError> {
    let file = File::open(ids).map_err(|error| ImageError::new(0, super::error::Problem::Io(error)))?;
    let Some(entry) = ImageReader::open(BufReader::new(file), Kind::Ids)?.next_entry()? else { return Ok(None) };
    number_in(&entry, 2)
}

fn number_in(entry: &Entry, number: u32) -> Result<Option<u32>, ImageError> {
    let mut found = None;
    for field in Fields::new(&entry.bytes, entry.offset) {
        let field = field?;
        if let Value::Number(value) = field.value
            && field.number == number
        {
            found = Some(value as u32);
        }
    }
    Ok(found)
}

fn read_descriptors(
    path: &Path,
    table: u32,
    pids: &[u32],
    into: &mut Vec<FileDescriptor>,
) -> Result<(), DirectoryError> {
    let Some(file) = open(path)? else { return Ok(()) };
    let read = || {
        let mut reader = ImageReader::open(file, Kind::Descriptors)?;
        while let Some(entry) = reader.next_entry()? {
            let field = |number, name| {
                number_in(&entry, number).and_then(|found| required(found, entry.offset, "fdinfo_entry", name))
            };
            let (file, flags) = (field(1, "id")?, field(2, "flags")?);
            let (kind, fd) = (field(3, "type")?, field(4, "fd")?);
            if [TYPE_INOTIFY, TYPE_UNIX_SOCKET].contains(&kind) {
                let close_on_exec = flags & CLOSE_ON_EXEC != 0;
                into.push(FileDescriptor { file, fd, close_on_exec, table, pids: pids.to_vec() });
            }
        }
        Ok(())
    };
    read().map_err(in_file(path))
}

fn write_both(path: &Path, inotify: &[InotifyFile]) -> Result<(), DirectoryError> {
    let mut files = Replacement::start(&path.join(INOTIFY))?;
    let mut watches = Replacement::start(&path.join(INOTIFY_WATCHES))?;
    write_legacy(inotify, &mut files.output, &mut watches.output).map_err(in_file(&path.join(INOTIFY)))?;
    files.commit()?;
    watches.commit()
}

/// Copies an image entry by entry: `edit` gets each, and writes what comes in its place. Nothing is changed before the commit.
pub(crate) fn rewrite(
    path: &Path,
    kind: Kind,
    mut edit: impl FnMut(Entry, &mut dyn FnMut(&[u8]) -> Result<(), ImageError>) -> Result<(), ImageError>,
) -> Result<Replacement, DirectoryError> {
    let file = File::open(path).map_err(io_at(path))?;
    let permissions = file.metadata().map_err(io_at(path))?.permissions();
    let mut new = Replacement::start(path)?;
    fs::set_permissions(&new.temporary, permissions).map_err(io_at(&new.temporary))?;
    let copy = || {
        let mut reader = ImageReader::open(BufReader::new(file), kind)?;
        let mut writer = reader.writer(&mut new.output)?;
        while let Some(entry) = reader.next_entry()? {
            edit(entry, &mut |message| writer.write_entry(message))?;
        }
        writer.finish().map(|_| ())
    };
    copy().map_err(in_file(path))?;
    Ok(new)
}

/// A new file beside the one that it will replace.
#[derive(Debug)]
pub(crate) struct Replacement {
    temporary: PathBuf,
    path: PathBuf,
    output: BufWriter<File>,
    committed: bool,
}

impl Replacement {
    fn start(path: &Path) -> Result<Self, DirectoryError> {
        let mut name = path.as_os_str().to_owned();
        name.push(".new");
        let temporary = PathBuf::from(name);
        // One that is left of a killed process is in nobody's way.
        let output = BufWriter::new(File::create(&temporary).map_err(io_at(&temporary))?);
        Ok(Self { temporary, path: path.to_owned(), output, committed: false })
    }

    pub(crate) fn commit(mut self) -> Result<(), DirectoryError> {
        fs::rename(&self.temporary, &self.path).map_err(io_at(&self.path))?;
        self.committed = true;
        Ok(())
    }
}

impl Drop for Replacement {
    fn drop(&mut self) {
        if !self.committed {
            let _ = fs::remove_file(&self.temporary);
        }
    }
}
