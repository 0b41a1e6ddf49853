//! What is in files.

use std::fs;
use std::io::{IoSlice, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};

use anyhow::Result;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, FallocateFlags, FcntlArg, OFlag, copy_file_range, fallocate, fcntl, open};
use nix::sys::stat::Mode;
use nix::unistd::{Whence, ftruncate, linkat, lseek, truncate};

use crate::act::{Transcript, c, in_child};

fn new(path: &str) -> Result<fs::File> {
    Ok(fs::OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path)?)
}

pub(crate) fn appends(transcript: &mut Transcript) -> Result<()> {
    let mut one = fs::OpenOptions::new().append(true).create(true).open("file")?;
    let mut other = fs::OpenOptions::new().append(true).open("file")?;
    for turn in 0..5 {
        one.write_all(format!("one {turn} ").as_bytes())?;
        other.write_all(format!("other {turn} ").as_bytes())?;
    }
    transcript.say("text", fs::read_to_string("file")?);
    transcript.io("write at", one.write_all_at(b"!", 0));
    transcript.say("text", fs::read_to_string("file")?);
    transcript.io("position", one.stream_position());
    Ok(())
}

pub(crate) fn two_processes_append(transcript: &mut Transcript) -> Result<()> {
    const LINES: usize = 200;
    fs::write("file", b"")?;
    let write = |who: &str| -> Result<()> {
        let mut file = fs::OpenOptions::new().append(true).open("file")?;
        for line in 0..LINES {
            file.write_all(format!("{who}{line}\n").as_bytes())?;
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let other = scope.spawn(|| write("thread "));
        write("main ")?;
        other.join().map_err(|_| anyhow::anyhow!("the thread panicked"))?
    })?;
    let text = fs::read_to_string("file")?;
    for who in ["thread ", "main "] {
        let lines: Vec<_> = text.lines().filter_map(|line| line.strip_prefix(who)).collect();
        transcript.say(who, lines.iter().enumerate().all(|(number, line)| number.to_string() == **line));
        transcript.say("lines", lines.len());
    }
    let mut done = Transcript::default();
    in_child(&mut done, |_| {
        fs::OpenOptions::new().append(true).open("file")?.write_all(b"child")?;
        Ok(())
    })?;
    transcript.say("child", fs::read_to_string("file")?.ends_with("child"));
    // In which order they came is another in each run.
    fs::remove_file("file")?;
    Ok(())
}

pub(crate) fn sparse(transcript: &mut Transcript) -> Result<()> {
    let file = new("file")?;
    file.write_all_at(b"end", 3 << 20)?;
    transcript.stat("file");
    let mut buffer = [1; 16];
    transcript.io("hole", file.read_at(&mut buffer, 1 << 20));
    transcript.say("bytes", buffer);
    transcript.io("edge", file.read_at(&mut buffer, (3 << 20) - 1));
    transcript.say("bytes", &buffer[..4]);
    transcript.say("sparse", crate::tree::status("file".as_ref())?.stx_blocks < 100);
    Ok(())
}

pub(crate) fn holes(transcript: &mut Transcript) -> Result<()> {
    let file = new("file")?;
    for start in [1 << 20, 5 << 20] {
        file.write_all_at(&[7; 65536], start)?;
    }
    ftruncate(&file, 8 << 20)?;
    file.sync_all()?;
    for offset in [0, 1 << 20, (1 << 20) + 70000, 5 << 20, 6 << 20, 8 << 20, 9 << 20, -1] {
        for whence in [Whence::SeekData, Whence::SeekHole] {
            transcript.call(&format!("{offset} {whence:?}"), lseek(&file, offset, whence));
        }
    }
    Ok(())
}

pub(crate) fn huge(transcript: &mut Transcript) -> Result<()> {
    let file = new("file")?;
    let far = 10_i64 << 40;
    transcript.call("truncate", ftruncate(&file, far));
    transcript.stat("file");
    transcript.io("write", file.write_at(b"far", far.cast_unsigned()));
    let mut buffer = [0; 8];
    transcript.io("read", file.read_at(&mut buffer, far.cast_unsigned()));
    transcript.say("bytes", buffer);
    transcript.call("end", lseek(&file, 0, Whence::SeekEnd));
    // Larger than one request.
    let block: Vec<u8> = (0..3_000_000_u32).map(|number| number.to_le_bytes()[0] ^ number.to_le_bytes()[1]).collect();
    transcript.io("block", file.write_all_at(&block, 12345));
    let mut back = vec![0; block.len()];
    transcript.io("back", file.read_exact_at(&mut back, 12345));
    transcript.say("same", back == block);
    drop(file);
    fs::remove_file("file")?;
    Ok(())
}

pub(crate) fn truncation(transcript: &mut Transcript) -> Result<()> {
    fs::write("file", b"0123456789")?;
    for size in [5, 20, 0, 7] {
        transcript.call("truncate", truncate("file", size));
        transcript.say("bytes", fs::read("file")?);
    }
    let read = fs::File::open("file")?;
    transcript.call("for reading", ftruncate(&read, 1));
    let write = fs::OpenOptions::new().write(true).open("file")?;
    transcript.call("for writing", ftruncate(&write, 3));
    transcript.call("negative", ftruncate(&write, -1));
    transcript.call("folder", truncate(".", 0));
    transcript.io("cut", fs::OpenOptions::new().write(true).truncate(true).open("file"));
    transcript.stat("file");
    Ok(())
}

pub(crate) fn allocation(transcript: &mut Transcript) -> Result<()> {
    let file = new("file")?;
    file.write_all_at(&[1; 16384], 0)?;
    for (flags, offset, length) in [
        (FallocateFlags::empty(), 0, 32768),
        (FallocateFlags::FALLOC_FL_KEEP_SIZE, 0, 65536),
        (FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE, 4096, 4096),
        (FallocateFlags::FALLOC_FL_ZERO_RANGE, 8192, 100),
        (FallocateFlags::FALLOC_FL_PUNCH_HOLE, 0, 1),
        (FallocateFlags::empty(), 0, 0),
    ] {
        transcript.call(&format!("{flags:?}"), fallocate(&file, flags, offset, length));
        transcript.stat("file");
    }
    transcript.say("bytes", fs::read("file")?.iter().filter(|byte| **byte == 1).count());
    let read = fs::File::open("file")?;
    transcript.call("for reading", fallocate(&read, FallocateFlags::empty(), 0, 1));
    Ok(())
}

pub(crate) fn copies(transcript: &mut Transcript) -> Result<()> {
    let (one, other) = (new("one")?, new("other")?);
    one.write_all_at(b"0123456789", 0)?;
    let mut from = 2;
    transcript.call("copy", copy_file_range(&one, Some(&mut from), &other, None, 5));
    transcript.say("other", fs::read("other")?);
    transcript.call("beyond", copy_file_range(&one, Some(&mut 20), &other, None, 5));
    transcript.call("the same", copy_file_range(&one, Some(&mut 0), &one, Some(&mut 1), 5));
    transcript.call("read only", copy_file_range(&one, Some(&mut 0), fs::File::open("other")?, None, 5));
    transcript.io("copied", fs::copy("one", "third"));
    transcript.stat("third");
    let sent = nix::sys::sendfile::sendfile(&other, &one, Some(&mut 0), 4);
    transcript.call("sendfile", sent);
    transcript.say("other", fs::read("other")?);
    Ok(())
}

pub(crate) fn unnamed_files(transcript: &mut Transcript) -> Result<()> {
    fs::create_dir("folder")?;
    let unnamed =
        |flags: OFlag| open("folder", OFlag::O_TMPFILE | OFlag::O_RDWR | flags, Mode::from_bits_truncate(0o640));
    let Some(file) = transcript.call("open", unnamed(OFlag::empty())) else { return Ok(()) };
    let file = fs::File::from(file);
    transcript.io("write", file.write_all_at(b"text", 0));
    let status = nix::sys::stat::fstat(&file)?;
    transcript.say("status", (status.st_nlink, status.st_size, status.st_mode));
    transcript.io("list", fs::read_dir("folder").map(|entries| entries.count()));
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file));
    let link = |to: &str| linkat(AT_FDCWD, path.as_str(), AT_FDCWD, to, AtFlags::AT_SYMLINK_FOLLOW);
    transcript.call("link", link("folder/named"));
    transcript.stat("folder/named");
    transcript.say("bytes", fs::read("folder/named").ok());
    transcript.call("link again", link("folder/second"));
    drop(file);
    transcript.stat("folder/named");
    fs::remove_file("folder/named")?;
    transcript.say("bytes", fs::read("folder/second").ok());
    let exclusive = unnamed(OFlag::O_EXCL)?;
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&exclusive));
    let linked = linkat(AT_FDCWD, path.as_str(), AT_FDCWD, "folder/third", AtFlags::AT_SYMLINK_FOLLOW);
    transcript.call("exclusive", linked);
    Ok(())
}

pub(crate) fn flags_changed_later(transcript: &mut Transcript) -> Result<()> {
    let mut file = new("file")?;
    file.write_all(b"0123456789")?;
    transcript.call("append", fcntl(&file, FcntlArg::F_SETFL(OFlag::O_APPEND)));
    file.seek(SeekFrom::Start(2))?;
    file.write_all(b"end")?;
    transcript.say("text", fs::read_to_string("file")?);
    transcript.call("no more", fcntl(&file, FcntlArg::F_SETFL(OFlag::empty())));
    file.seek(SeekFrom::Start(2))?;
    file.write_all(b"mid")?;
    transcript.say("text", fs::read_to_string("file")?);
    let synchronous = fs::OpenOptions::new().write(true).custom_flags(libc::O_SYNC).open("file")?;
    transcript.io("synchronous", synchronous.write_at(b"S", 0));
    let flags = fcntl(&synchronous, FcntlArg::F_GETFL)?;
    transcript.say("flags", flags);
    transcript.io("sync", synchronous.sync_data());
    transcript.io("folder", fs::File::open(".")?.sync_all());
    Ok(())
}

pub(crate) fn vectors(transcript: &mut Transcript) -> Result<()> {
    let mut file = new("file")?;
    transcript.io("write", file.write_vectored(&[IoSlice::new(b"one "), IoSlice::new(b""), IoSlice::new(b"two")]));
    transcript.io("none", file.write(b""));
    file.rewind()?;
    let (mut one, mut other) = ([0; 3], [0; 10]);
    let mut buffers = [std::io::IoSliceMut::new(&mut one), std::io::IoSliceMut::new(&mut other)];
    transcript.io("read", file.read_vectored(&mut buffers));
    transcript.say("bytes", (one, other));
    transcript.io("at the end", file.read(&mut other));
    // A bad buffer.
    // SAFETY: the kernel is given no address of ours, and says so.
    let result =
        unsafe { libc::read(std::os::fd::AsRawFd::as_raw_fd(&fs::File::open("file")?), std::ptr::null_mut(), 3) };
    transcript.call("nowhere", Errno::result(result));
    Ok(())
}

pub(crate) fn many_descriptors(transcript: &mut Transcript) -> Result<()> {
    let mut files = Vec::new();
    for number in 0..300 {
        let file = new(&format!("file{number}"))?;
        file.write_all_at(format!("{number}").as_bytes(), 0)?;
        files.push(file);
    }
    for number in 0..300 {
        fs::remove_file(format!("file{number}"))?;
    }
    let mut right = 0;
    for (number, file) in files.iter().enumerate() {
        let mut text = [0; 8];
        let length = file.read_at(&mut text, 0)?;
        right += usize::from(text[..length] == *number.to_string().as_bytes());
    }
    transcript.say("right", right);
    Ok(())
}

pub(crate) fn positions(transcript: &mut Transcript) -> Result<()> {
    let mut file = new("file")?;
    file.write_all(b"0123456789")?;
    for from in [SeekFrom::Start(3), SeekFrom::Current(2), SeekFrom::End(-1), SeekFrom::End(5), SeekFrom::Current(-100)]
    {
        transcript.io(&format!("{from:?}"), file.seek(from));
        let mut byte = [0];
        transcript.io("read", file.read(&mut byte));
        transcript.say("byte", byte);
    }
    let mut twin = file.try_clone()?;
    file.seek(SeekFrom::Start(4))?;
    let mut byte = [0];
    twin.read_exact(&mut byte)?;
    transcript.say("shared", byte);
    let path = c("file");
    // Locks are the kernel's own.
    let lock = libc::flock { l_type: libc::F_WRLCK as i16, l_whence: 0, l_start: 0, l_len: 5, l_pid: 0 };
    transcript.call("lock", fcntl(&file, FcntlArg::F_SETLK(&lock)));
    in_child(transcript, |transcript| {
        let file = fs::OpenOptions::new().write(true).open(path.to_str()?)?;
        transcript.call("locked", fcntl(&file, FcntlArg::F_SETLK(&lock)));
        let mut other = libc::flock { l_start: 5, ..lock };
        transcript.call("free", fcntl(&file, FcntlArg::F_SETLK(&other)));
        other.l_start = 0;
        other.l_len = 1;
        let _ = fcntl(&file, FcntlArg::F_GETLK(&mut other));
        transcript.say("whose", other.l_pid == nix::unistd::getppid().as_raw());
        Ok(())
    })
}
