//! Folders listed.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::DirEntryExt;

use anyhow::Result;
use nix::dir::Dir;
use nix::fcntl::OFlag;
use nix::sys::stat::{Mode, SFlag, mknod};

use crate::act::Transcript;

pub(crate) fn listing(transcript: &mut Transcript) -> Result<()> {
    fs::create_dir("folder")?;
    for number in 0..3000 {
        fs::write(format!("folder/{}", "n".repeat(number % 200) + &number.to_string()), b"")?;
    }
    fs::create_dir("folder/sub")?;
    std::os::unix::fs::symlink("x", "folder/link")?;
    mknod("folder/fifo", SFlag::S_IFIFO, Mode::S_IRWXU, 0)?;
    let mut names = BTreeSet::new();
    let mut numbers_hold = true;
    for entry in fs::read_dir("folder")? {
        let entry = entry?;
        numbers_hold &= entry.ino() == std::os::unix::fs::MetadataExt::ino(&entry.path().symlink_metadata()?);
        names.insert((entry.file_name(), format!("{:?}", entry.file_type()?)));
    }
    transcript.say("count", names.len());
    transcript.say("numbers", numbers_hold);
    transcript.say("names", names);
    let mut folder = Dir::open("folder", OFlag::O_RDONLY, Mode::empty())?;
    let dots =
        folder.iter().filter(|entry| entry.as_ref().is_ok_and(|entry| entry.file_name().to_bytes().starts_with(b".")));
    transcript.say("dots", dots.count());
    transcript.io("a file", fs::read_dir("folder/link"));
    Ok(())
}

pub(crate) fn listing_while_changing(transcript: &mut Transcript) -> Result<()> {
    fs::create_dir("folder")?;
    for number in 0..1000 {
        fs::write(format!("folder/file{number}"), b"")?;
    }
    // As rm -r does.
    let mut removed = 0;
    for entry in fs::read_dir("folder")? {
        fs::remove_file(entry?.path())?;
        removed += 1;
    }
    transcript.say("removed", removed);
    transcript.io("empty", fs::remove_dir("folder"));
    Ok(())
}

pub(crate) fn rewinding(transcript: &mut Transcript) -> Result<()> {
    fs::create_dir("folder")?;
    for number in 0..500 {
        fs::write(format!("folder/{number}"), b"")?;
    }
    let mut folder = Dir::open("folder", OFlag::O_RDONLY, Mode::empty())?;
    let mut list =
        || folder.iter().filter_map(|entry| Some(entry.ok()?.file_name().to_owned())).collect::<BTreeSet<_>>();
    let first = list();
    fs::write("folder/new", b"")?;
    // The iterator goes back to the beginning when it is dropped.
    let second = list();
    transcript.say("more", second.difference(&first).collect::<Vec<_>>());
    transcript.say("fewer", first.difference(&second).count());
    Ok(())
}
