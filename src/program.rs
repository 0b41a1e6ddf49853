//! What kind of program a command is: can the dynamic linker load the shim into it?

use std::ffi::{CString, OsStr, OsString};
use std::fmt;
use std::fs::{File, Metadata};
use std::io::{Cursor, Read, Seek, SeekFrom};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use elf::ElfStream;
use elf::abi::{DT_SONAME, PT_INTERP};
use elf::endian::AnyEndian;
use elf::file::Class;
use nix::sys::prctl;
use nix::sys::statvfs::{FsFlags, statvfs};
use nix::unistd::{AccessFlags, access, getgid, getuid};

/// What glibc's `execvp` searches when `PATH` is not set.
const DEFAULT_PATH: &str = "/bin:/usr/bin";
/// How many interpreters Linux follows from script to script before it says ELOOP.
const SCRIPT_DEPTH_MAX: usize = 5;
/// How much of a script's first line Linux reads (127 bytes before 5.1).
const SCRIPT_LINE_BYTES_MAX: u64 = 255;

/// Why the shim cannot be loaded into a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// It names no program interpreter, so no dynamic linker runs.
    Static,
    /// It takes another user's or group's rights; the dynamic linker then ignores `LD_PRELOAD` (ld.so(8)).
    SetId,
    /// It takes capabilities from its file, with the same effect as [`Obstacle::SetId`] (capabilities(7)).
    FileCapabilities,
    /// Its ELF class, byte order or machine is not the shim's.
    OtherArchitecture,
}

impl fmt::Display for Obstacle {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Static => "is statically linked",
            Self::SetId => "is setuid or setgid",
            Self::FileCapabilities => "has file capabilities",
            Self::OtherArchitecture => "is of another architecture",
        })
    }
}

/// A program into which the shim cannot be loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreachable {
    /// The program that was asked for.
    pub program: PathBuf,
    /// The interpreter that the obstacle belongs to, when `program` is a script.
    pub interpreter: Option<PathBuf>,
    /// What stands in the way.
    pub obstacle: Obstacle,
}

impl fmt::Display for Unreachable {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.program.display())?;
        if let Some(interpreter) = &self.interpreter {
            write!(formatter, " runs under {}, which", interpreter.display())?;
        }
        write!(formatter, " {}: the shim cannot be loaded, and it gets the kernel's inotify", self.obstacle)
    }
}

/// The part of an ELF header that must be the shim's for the dynamic linker to load it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Architecture {
    class: Class,
    endianness: AnyEndian,
    machine: u16,
}

/// Finds the file that `execvp` would run for `name` with this `PATH`, or nothing when there is none.
#[must_use]
pub fn find(name: &OsStr, path: Option<&OsStr>) -> Option<PathBuf> {
    let runnable = |file: &Path| file.is_file() && access(file, AccessFlags::X_OK).is_ok();
    if name.as_bytes().contains(&b'/') {
        return Some(PathBuf::from(name)).filter(|file| runnable(file));
    }
    std::env::split_paths(path.unwrap_or(OsStr::new(DEFAULT_PATH)))
        .map(|folder| folder.join(name))
        .find(|file| runnable(file))
}

/// Says whether `shim`, the bytes of a shared library, can be loaded into `program`.
///
/// A script is followed to its interpreter. A file that cannot be read or is neither ELF nor a script is given the
/// benefit of the doubt: the kernel may still know what to do with it (binfmt_misc).
#[must_use]
pub fn obstacle(program: &Path, shim: &[u8]) -> Option<Unreachable> {
    let ours = architecture(&ElfStream::open_stream(Cursor::new(shim)).ok()?);
    let mut file = program.to_owned();
    for depth in 0..=SCRIPT_DEPTH_MAX {
        let mut contents = File::open(&file).ok()?;
        if let Some(interpreter) = interpreter_of_script(&mut contents) {
            file = interpreter;
            continue;
        }
        let obstacle = obstacle_of_executable(&file, contents, ours)?;
        let interpreter = (depth > 0).then_some(file);
        return Some(Unreachable { program: program.to_owned(), interpreter, obstacle });
    }
    None
}

fn obstacle_of_executable(path: &Path, contents: File, ours: Architecture) -> Option<Obstacle> {
    let metadata = contents.metadata().ok()?;
    let mut executable = ElfStream::<AnyEndian, _>::open_stream(contents).ok()?;
    if architecture(&executable) != ours {
        return Some(Obstacle::OtherArchitecture);
    }
    let dynamic = executable.segments().iter().any(|segment| segment.p_type == PT_INTERP);
    if !dynamic && !is_shared_library(&mut executable) {
        return Some(Obstacle::Static);
    }
    obstacle_of_rights(path, &metadata)
}

fn architecture<S: Read + Seek>(file: &ElfStream<AnyEndian, S>) -> Architecture {
    Architecture { class: file.ehdr.class, endianness: file.ehdr.endianness, machine: file.ehdr.e_machine }
}

/// A shared library that is run as a program without an interpreter is a dynamic linker (`ld.so PROGRAM`), and that one
/// does preload.
fn is_shared_library<S: Read + Seek>(file: &mut ElfStream<AnyEndian, S>) -> bool {
    matches!(file.dynamic(), Ok(Some(table)) if table.iter().any(|entry| entry.d_tag == DT_SONAME))
}

/// What makes Linux start a program in secure-execution mode (`bprm->secureexec`, security/commoncap.c).
fn obstacle_of_rights(path: &Path, metadata: &Metadata) -> Option<Obstacle> {
    let ignored = prctl::get_no_new_privs().unwrap_or(false)
        || statvfs(path).is_ok_and(|volume| volume.flags().contains(FsFlags::ST_NOSUID));
    if ignored {
        return None;
    }
    let mode = metadata.permissions().mode();
    let setuid = mode & libc::S_ISUID != 0 && metadata.uid() != getuid().as_raw();
    // Without the group's execute bit, setgid is a relic of mandatory locking.
    let setgid = mode & libc::S_ISGID != 0 && mode & libc::S_IXGRP != 0 && metadata.gid() != getgid().as_raw();
    if setuid || setgid {
        return Some(Obstacle::SetId);
    }
    (!getuid().is_root() && has_file_capabilities(path)).then_some(Obstacle::FileCapabilities)
}

fn has_file_capabilities(path: &Path) -> bool {
    let Ok(path) = CString::new(path.as_os_str().as_bytes()) else {
        return false;
    };
    // SAFETY: both strings end with NUL and outlive the call; a length of 0 asks for the size, and nothing is written.
    let size = unsafe { libc::getxattr(path.as_ptr(), c"security.capability".as_ptr(), std::ptr::null_mut(), 0) };
    size > 0
}

/// The interpreter that the first line of a script names, as `load_script` of the kernel reads it.
fn interpreter_of_script(file: &mut File) -> Option<PathBuf> {
    let mut line = Vec::new();
    file.by_ref().take(SCRIPT_LINE_BYTES_MAX).read_to_end(&mut line).ok()?;
    file.seek(SeekFrom::Start(0)).ok()?;
    let line = line.strip_prefix(b"#!")?;
    let line = line.split(|byte| *byte == b'\n').next()?;
    let name = line.split(|byte| matches!(byte, b' ' | b'\t' | 0)).find(|word| !word.is_empty())?;
    Some(PathBuf::from(OsString::from_vec(name.to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn script(folder: &Path, name: &str, line: &str) -> PathBuf {
        let path = folder.join(name);
        let mut file = File::create(&path).unwrap();
        file.write_all(line.as_bytes()).unwrap();
        path
    }

    #[test]
    fn the_interpreter_is_the_first_word() {
        let folder = tempfile::tempdir().unwrap();
        for (line, expected) in [
            ("#!/bin/sh\n", Some("/bin/sh")),
            ("#! \t/usr/bin/env python3\nrest", Some("/usr/bin/env")),
            ("#!/bin/sh", Some("/bin/sh")),
            ("#!\n/bin/sh", None),
            ("# /bin/sh", None),
            ("", None),
        ] {
            let mut file = File::open(script(folder.path(), "script", line)).unwrap();
            assert_eq!(interpreter_of_script(&mut file), expected.map(PathBuf::from), "{line:?}");
        }
    }

    #[test]
    fn a_script_that_runs_itself_ends() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("script");
        script(folder.path(), "script", &format!("#!{}\n", path.display()));
        let shim = std::fs::read("/proc/self/exe").unwrap();
        assert_eq!(obstacle(&path, &shim), None);
    }

    #[test]
    fn another_machine_is_told_through_a_script() {
        let folder = tempfile::tempdir().unwrap();
        let shim = std::fs::read("/proc/self/exe").unwrap();
        let mut foreign = shim.clone();
        // e_machine, at offset 18 in both classes: 0xf7 is EM_BPF, which is nobody's own.
        foreign[18..20].copy_from_slice(&[0xf7, 0]);
        let program = folder.path().join("foreign");
        std::fs::write(&program, foreign).unwrap();
        let path = script(folder.path(), "script", &format!("#!{}\n", program.display()));
        let expected = Unreachable {
            program: path.clone(),
            interpreter: Some(program.clone()),
            obstacle: Obstacle::OtherArchitecture,
        };
        assert_eq!(obstacle(&path, &shim), Some(expected));
        assert_eq!(obstacle(Path::new("/proc/self/exe"), &shim), None, "the test itself is dynamic");
    }

    #[test]
    fn names_are_sought_as_execvp_does() {
        let path = OsStr::new("/nonexistent:/bin");
        assert_eq!(find(OsStr::new("sh"), Some(path)), Some(PathBuf::from("/bin/sh")));
        assert_eq!(find(OsStr::new("sh"), None), Some(PathBuf::from("/bin/sh")));
        assert_eq!(find(OsStr::new("/bin/sh"), Some(OsStr::new(""))), Some(PathBuf::from("/bin/sh")));
        assert_eq!(find(OsStr::new("/bin"), Some(path)), None);
    }
}
