//! The layout before CRIU 3.4: inotify.img with the instances, inotify-wd.img with the watches of all.

use std::collections::BTreeMap;
use std::io::{Read, Write};

use super::error::{ImageError, Problem};
use super::frame::{ImageReader, ImageWriter, Kind};
use super::inotify::{InotifyFile, InotifyWatch};

/// Reads instances and their watches. An error of the second file is told apart.
///
/// # Errors
///
/// The first is of inotify.img, the second of inotify-wd.img.
pub fn read_legacy(files: impl Read, watches: impl Read) -> Result<Result<Vec<InotifyFile>, ImageError>, ImageError> {
    let mut instances = Vec::new();
    let mut places = BTreeMap::new();
    let mut reader = ImageReader::open(files, Kind::Inotify)?;
    while let Some(entry) = reader.next_entry()? {
        let file = InotifyFile::parse(&entry.bytes, entry.offset)?;
        places.insert(file.id, instances.len());
        instances.push(file);
    }
    Ok(read_watches(watches, &places, &mut instances).map(|()| instances))
}

fn read_watches(
    watches: impl Read,
    places: &BTreeMap<u32, usize>,
    instances: &mut [InotifyFile],
) -> Result<(), ImageError> {
    let mut reader = ImageReader::open(watches, Kind::InotifyWatches)?;
    while let Some(entry) = reader.next_entry()? {
        let watch = InotifyWatch::parse(&entry.bytes, entry.offset)?;
        let instance = places.get(&watch.id).and_then(|place| instances.get_mut(*place));
        let instance = instance.ok_or_else(|| ImageError::new(entry.offset, Problem::Orphan(watch.id)))?;
        instance.watches.push(watch);
    }
    Ok(())
}

/// Writes instances, with their ids at their watches.
///
/// # Errors
///
/// One of the two cannot be written.
pub fn write_legacy(instances: &[InotifyFile], files: impl Write, watches: impl Write) -> Result<(), ImageError> {
    let mut files = ImageWriter::create(files, Kind::Inotify)?;
    let mut watches_image = ImageWriter::create(watches, Kind::InotifyWatches)?;
    for instance in instances {
        files.write_entry(&InotifyFile { watches: Vec::new(), ..instance.clone() }.encode())?;
        for watch in &instance.watches {
            watches_image.write_entry(&InotifyWatch { id: instance.id, ..watch.clone() }.encode())?;
        }
    }
    files.finish()?;
    watches_image.finish()?;
    Ok(())
}
