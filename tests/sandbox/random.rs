//! Random operations, the same ones on both sides.

use std::ffi::CString;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;

use anyhow::Result;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, FallocateFlags, OFlag, copy_file_range, fallocate, open};
use nix::sys::stat::{Mode, fstat};
use nix::unistd::{Whence, ftruncate, linkat, lseek, truncate};

use crate::act::Transcript;
use crate::both;
use crate::server::Kind;

const STEPS: u64 = 4000;

/// The test.
pub(crate) fn operations(kind: Kind) -> Result<()> {
    let setting = |name: &str| std::env::var(name).ok().and_then(|value| value.parse().ok());
    let steps = setting("UINOTIFY_STEPS").unwrap_or(STEPS);
    let clock = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
    let seed = setting("UINOTIFY_SEED").unwrap_or(clock.as_secs());
    println!("random::operations, {}: seed {seed}", kind.name());
    both::compare(kind, "random", &[seed.to_string(), steps.to_string()])
}

/// xorshift: the same numbers on both sides.
struct Random(u64);

impl Random {
    fn next(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % below
    }

    fn index(&mut self, below: usize) -> usize {
        usize::try_from(self.next(below as u64)).unwrap_or(0)
    }

    fn path(&mut self) -> String {
        const FOLDERS: [&str; 6] = ["", "a/", "b/", "a/c/", "a/c/d/", "b/e/"];
        const NAMES: [&str; 7] = ["a", "b", "c", "d", "e", "f", "g"];
        format!("{}{}", FOLDERS[self.index(FOLDERS.len())], NAMES[self.index(NAMES.len())])
    }
}

/// The program.
pub(crate) fn act(transcript: &mut Transcript, arguments: &[String]) -> Result<()> {
    let [seed, steps] = arguments else { anyhow::bail!("a seed and a number of steps") };
    let mut random = Random(seed.parse::<u64>()?.wrapping_mul(2) + 1);
    let mut files: Vec<File> = Vec::new();
    for _ in 0..steps.parse()? {
        step(transcript, &mut random, &mut files);
    }
    Ok(())
}

fn step(transcript: &mut Transcript, random: &mut Random, files: &mut Vec<File>) {
    let path = random.path();
    match random.next(30) {
        0..=3 => {
            let flags = [
                OFlag::O_RDWR | OFlag::O_CREAT,
                OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL,
                OFlag::O_RDWR | OFlag::O_TRUNC,
                OFlag::O_RDONLY,
                OFlag::O_WRONLY | OFlag::O_APPEND | OFlag::O_CREAT,
                OFlag::O_RDWR,
            ][random.index(6)];
            let result = open(path.as_str(), flags, Mode::from_bits_truncate(0o666));
            transcript.say(&format!("open {path} {flags:?}"), result.as_ref().map(|_| ()));
            if let Ok(file) = result {
                if files.len() == 12 {
                    files.swap_remove(random.index(12));
                }
                files.push(file.into());
            }
        }
        4..=6 => drop(transcript.io(&format!("mkdir {path}"), fs::create_dir(&path))),
        7 => drop(transcript.io(&format!("rmdir {path}"), fs::remove_dir(&path))),
        8 | 9 => drop(transcript.io(&format!("unlink {path}"), fs::remove_file(&path))),
        10 | 11 => {
            let to = random.path();
            transcript.io(&format!("rename {path} {to}"), fs::rename(&path, &to));
        }
        12 => {
            let to = random.path();
            let flags = [libc::RENAME_EXCHANGE, libc::RENAME_NOREPLACE][random.index(2)];
            let names = [&path, &to].map(|name| CString::new(name.as_str()).unwrap_or_default());
            let [one, other] = names.each_ref().map(|name| name.as_ptr());
            // SAFETY: both names are strings, which live through the call.
            let result =
                unsafe { libc::syscall(libc::SYS_renameat2, libc::AT_FDCWD, one, libc::AT_FDCWD, other, flags) };
            transcript.call(&format!("rename {path} {to} {flags}"), Errno::result(result));
        }
        13 => {
            let to = random.path();
            let result = linkat(AT_FDCWD, path.as_str(), AT_FDCWD, to.as_str(), AtFlags::empty());
            transcript.call(&format!("link {path} {to}"), result);
        }
        14 => drop(transcript.io("symlink", std::os::unix::fs::symlink(random.path(), &path))),
        15 => transcript.stat(&path),
        16 => {
            let mode = [0o644, 0o755, 0o700][random.index(3)];
            let permissions = std::os::unix::fs::PermissionsExt::from_mode(mode);
            transcript.io(&format!("chmod {path}"), fs::set_permissions(&path, permissions));
        }
        17 => {
            let size = random.next(100_000).cast_signed();
            transcript.call(&format!("truncate {path} {size}"), truncate(path.as_str(), size));
        }
        18 => {
            let mut names: Vec<_> = fs::read_dir(&path)
                .map(|entries| entries.filter_map(|entry| Some(entry.ok()?.file_name())).collect())
                .unwrap_or_default();
            names.sort();
            transcript.say(&format!("list {path}"), names);
        }
        19 => transcript
            .say(&format!("read {path}"), fs::read(&path).map(|bytes| sum(&bytes)).map_err(|e| e.raw_os_error())),
        _ if files.is_empty() => {}
        20 => drop(files.swap_remove(random.index(files.len()))),
        number => {
            let (one, other) = (random.index(files.len()), random.index(files.len()));
            on_file(transcript, random, number, &files[one], &files[other]);
        }
    }
}

fn on_file(transcript: &mut Transcript, random: &mut Random, number: u64, file: &File, other: &File) {
    let offset = random.next(80_000);
    let length = random.next(20_000);
    let what = format!("{number} at {offset}, {length}");
    let size = usize::try_from(length).unwrap_or(0);
    match number {
        21..=23 => {
            let byte = offset.to_le_bytes()[0];
            transcript.io(&what, file.write_at(&vec![byte; size], offset));
        }
        24 | 25 => {
            let mut bytes = vec![0; size];
            let result = file.read_at(&mut bytes, offset);
            transcript.say(&what, result.map(|length| (length, sum(&bytes))).map_err(|error| error.raw_os_error()));
        }
        26 => drop(transcript.call(&what, ftruncate(file, offset.cast_signed()))),
        27 => {
            let mode = [
                FallocateFlags::empty(),
                FallocateFlags::FALLOC_FL_KEEP_SIZE,
                FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE,
                FallocateFlags::FALLOC_FL_ZERO_RANGE,
            ][random.index(4)];
            transcript.call(
                &format!("{what} {mode:?}"),
                fallocate(file, mode, offset.cast_signed(), length.cast_signed() + 1),
            );
        }
        28 => {
            let (mut from, mut to) = (offset.cast_signed(), random.next(80_000).cast_signed());
            transcript.call(&what, copy_file_range(file, Some(&mut from), other, Some(&mut to), size));
        }
        _ => {
            let status = fstat(file).map(|status| (status.st_size, status.st_nlink, status.st_mode));
            transcript.call(&what, status);
            // Where a folder ends is as the file system likes.
            if status.is_ok_and(|(_, _, mode)| mode & libc::S_IFMT != libc::S_IFDIR) {
                transcript.call("end", lseek(file, 0, Whence::SeekEnd));
            }
        }
    }
}

/// FNV-1a.
fn sum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}
