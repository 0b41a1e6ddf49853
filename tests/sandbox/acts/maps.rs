//! Files in memory, and run.

use std::ffi::c_void;
use std::fs;
use std::num::NonZeroUsize;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::ptr::NonNull;

use anyhow::{Context, Result};
use nix::sys::mman::{MapFlags, MsFlags, ProtFlags, mmap, msync, munmap};

use crate::act::{Transcript, in_child};

const LENGTH: usize = 3 * 4096;

struct Map(NonNull<c_void>);

impl Map {
    fn new(file: &fs::File, flags: MapFlags, protection: ProtFlags) -> nix::Result<Self> {
        let length = NonZeroUsize::new(LENGTH).ok_or(nix::errno::Errno::EINVAL)?;
        // SAFETY: the kernel chooses where, and nothing else knows of it.
        unsafe { mmap(None, length, protection, flags, file, 0) }.map(Self)
    }

    fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: the mapping has this length and lives as long as this; the file is not made shorter.
        unsafe { std::slice::from_raw_parts_mut(self.0.as_ptr().cast(), LENGTH) }
    }

    fn synchronize(&self) -> nix::Result<()> {
        // SAFETY: this is a whole mapping.
        unsafe { msync(self.0, LENGTH, MsFlags::MS_SYNC) }
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        // SAFETY: this is a whole mapping, and no slice of it is left.
        let _ = unsafe { munmap(self.0, LENGTH) };
    }
}

fn file() -> Result<fs::File> {
    let file = fs::OpenOptions::new().read(true).write(true).create(true).truncate(true).open("file")?;
    file.write_all_at(&vec![b'a'; LENGTH], 0)?;
    Ok(file)
}

pub(crate) fn private_map(transcript: &mut Transcript) -> Result<()> {
    let file = file()?;
    let both = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
    let Some(mut map) = transcript.call("map", Map::new(&file, MapFlags::MAP_PRIVATE, both).map(Shown)) else {
        return Ok(());
    };
    transcript.say("first", map.0.bytes().first());
    map.0.bytes()[0] = b'b';
    transcript.say("file", fs::read("file")?.first());
    file.write_all_at(b"c", 4096)?;
    transcript.say("changed elsewhere", map.0.bytes().get(4096));
    Ok(())
}

/// A map without its address.
struct Shown(Map);

impl std::fmt::Debug for Shown {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("map")
    }
}

pub(crate) fn shared_map(transcript: &mut Transcript) -> Result<()> {
    let file = file()?;
    let both = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
    let Some(mut map) = transcript.call("map", Map::new(&file, MapFlags::MAP_SHARED, both).map(Shown)) else {
        return Ok(());
    };
    map.0.bytes()[5000] = b'b';
    transcript.call("synchronize", map.0.synchronize());
    transcript.say("read", fs::read("file")?.get(5000));
    file.write_all_at(b"c", 5001)?;
    transcript.say("written", map.0.bytes().get(5001));
    map.0.bytes()[1] = b'd';
    drop(map);
    drop(file);
    transcript.say("after", fs::read("file")?.get(..3).map(<[u8]>::to_vec));
    let file = fs::File::open("file")?;
    let only = Map::new(&file, MapFlags::MAP_SHARED, ProtFlags::PROT_READ).map(Shown);
    transcript.call("only for reading", only);
    transcript.call("not for writing", Map::new(&file, MapFlags::MAP_SHARED, both).map(Shown));
    // An append-only descriptor must not move what a mapping has changed.
    let append = fs::OpenOptions::new().append(true).read(true).open("file")?;
    let mut map = Map::new(&append, MapFlags::MAP_SHARED, both)?;
    map.bytes()[7] = b'e';
    map.synchronize()?;
    drop(map);
    transcript.stat("file");
    transcript.say("appended", fs::read("file")?.get(7));
    Ok(())
}

pub(crate) fn shared_map_between_processes(transcript: &mut Transcript) -> Result<()> {
    let file = file()?;
    let mut map = Map::new(&file, MapFlags::MAP_SHARED, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE)?;
    in_child(transcript, |transcript| {
        let file = fs::OpenOptions::new().read(true).write(true).open("file")?;
        let mut map = Map::new(&file, MapFlags::MAP_SHARED, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE)?;
        transcript.say("child reads", map.bytes().first());
        map.bytes()[0] = b'z';
        Ok(())
    })?;
    transcript.say("parent reads", map.bytes().first());
    Ok(())
}

pub(crate) fn executed_file(transcript: &mut Transcript) -> Result<()> {
    fs::copy("/bin/true", "true")?;
    fs::write("script", b"#!/bin/sh\nexit 3\n")?;
    fs::set_permissions("script", fs::Permissions::from_mode(0o755))?;
    for name in ["./true", "./script"] {
        let status = std::process::Command::new(name).status().with_context(|| name.to_owned())?;
        transcript.say(name, status.code());
    }
    fs::set_permissions("script", fs::Permissions::from_mode(0o644))?;
    transcript.io("no program", std::process::Command::new("./script").status());
    let mut sleeper = std::process::Command::new("./true");
    fs::copy("/bin/cat", "true")?;
    let mut running = sleeper.stdin(std::process::Stdio::piped()).spawn()?;
    transcript.io("busy", fs::OpenOptions::new().write(true).open("true"));
    drop(running.stdin.take());
    running.wait()?;
    transcript.io("free", fs::OpenOptions::new().write(true).open("true"));
    Ok(())
}
