//! What holds of the readers whatever they are given: for the fuzz targets, and for the test that runs the corpus.

use uinotify_images::Checkpoint;
use uinotify_images::criu::{
    FileEntry, ImageError, ImageReader, InotifyFile, Kind, instance_of, read_legacy, watches_of, write_legacy,
};
use uinotify_images::losses;

/// A checkpoint that is read is written as one that is read as the same.
pub(crate) fn checkpoint(bytes: &[u8]) {
    let Ok(checkpoint) = Checkpoint::from_json(bytes) else { return };
    let text = checkpoint.to_json();
    assert_eq!(Checkpoint::from_json(text.as_bytes()).expect("what was written"), checkpoint);
    for instance in &checkpoint.instances {
        let _ = losses(instance);
        if let Ok(file) = watches_of(instance, 1) {
            translated(&file);
        }
    }
}

/// The head of files.img is made here. Every entry before the first bad one is copied byte for byte; an instance that is read is
/// written as one that is read as the same.
pub(crate) fn files(bytes: &[u8]) {
    let head: Vec<u8> = [0x5456_4319_u32, 0x5630_3138].iter().flat_map(|word| word.to_le_bytes()).collect();
    let image = [&head, bytes].concat();
    let mut reader = ImageReader::open(&image[..], Kind::Files).expect("the head is right");
    let mut writer = reader.writer(Vec::new()).expect("memory");
    let ended = loop {
        match reader.next_entry() {
            Ok(Some(entry)) => {
                writer.write_entry(&entry.bytes).expect("memory");
                match FileEntry::parse(&entry) {
                    Ok(FileEntry::Inotify(file, _)) => {
                        assert_eq!(InotifyFile::parse(&file.encode(), 0).expect("what was written"), file);
                        translated(&file);
                    }
                    Ok(_) => {}
                    Err(error) => inside(&error, image.len()),
                }
            }
            Ok(None) => break None,
            Err(error) => break Some(error),
        }
    };
    let copy = writer.finish().expect("memory");
    assert!(image.starts_with(&copy));
    match ended {
        None => assert_eq!(copy, image),
        Some(error) => inside(&error, image.len()),
    }
}

/// The first two bytes say where inotify.img ends and inotify-wd.img begins. What is read is written as what is read as the same.
pub(crate) fn legacy(bytes: &[u8]) {
    let Some((split, images)) = bytes.split_first_chunk::<2>() else { return };
    let (files, watches) = images.split_at(images.len().min(u16::from_le_bytes(*split).into()));
    match read_legacy(files, watches) {
        Ok(Ok(instances)) => {
            // Two of one number: the watches of both are the last one's.
            let (mut files, mut watches) = (Vec::new(), Vec::new());
            write_legacy(&instances, &mut files, &mut watches).expect("memory");
            let again = read_legacy(&files[..], &watches[..]).expect("what was written").expect("what was written");
            let shape = |instances: &[InotifyFile]| {
                let mut wds: Vec<_> =
                    instances.iter().flat_map(|one| one.watches.iter().map(|w| (one.id, w.wd))).collect();
                wds.sort_unstable();
                wds
            };
            assert_eq!(shape(&again), shape(&instances));
            instances.iter().for_each(translated);
        }
        Ok(Err(error)) => inside(&error, watches.len()),
        Err(error) => inside(&error, files.len()),
    }
}

/// An instance that has a counterpart in a checkpoint comes back from it.
fn translated(file: &InotifyFile) {
    let Ok(instance) = instance_of(file, Vec::new()) else { return };
    let _ = losses(&instance);
    if let Ok(again) = watches_of(&instance, file.id) {
        let back = instance_of(&again, Vec::new()).expect("what was written");
        assert_eq!(back.watches, instance.watches);
    }
}

fn inside(error: &ImageError, length: usize) {
    assert!(error.offset <= length as u64, "{error}");
    assert!(error.to_string().starts_with("offset 0x"), "{error}");
}
