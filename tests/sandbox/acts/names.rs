//! Names of all kinds.

use std::ffi::OsString;
use std::fs;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use anyhow::Result;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, open, openat};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};

use crate::act::{Transcript, c};

pub(crate) fn odd_names(transcript: &mut Transcript) -> Result<()> {
    let names =
        [vec![b'x'; 255], vec![0xff, 0xfe, 1], b"a\nb".to_vec(), vec![b'y'; 256], "\u{1f980}".into(), b"...".to_vec()];
    for name in names {
        let path = PathBuf::from(OsString::from_vec(name));
        transcript.io("write", fs::write(&path, b"text"));
        transcript.stat(&path);
        let folder = path.with_extension("d");
        transcript.io("mkdir", fs::create_dir(&folder));
        transcript.io("rename", fs::rename(&path, folder.join("in")));
        transcript.stat(folder.join("in"));
    }
    Ok(())
}

pub(crate) fn kinds(transcript: &mut Transcript) -> Result<()> {
    let all = Mode::from_bits_truncate(0o666);
    for (name, kind, device) in [
        ("fifo", SFlag::S_IFIFO, 0),
        ("socket", SFlag::S_IFSOCK, 0),
        ("null", SFlag::S_IFCHR, makedev(1, 3)),
        ("large", SFlag::S_IFCHR, makedev(0x321, 0x54321)),
        ("block", SFlag::S_IFBLK, makedev(7, 200)),
        ("plain", SFlag::S_IFREG, 0),
    ] {
        transcript.call(name, mknod(name, kind, all, device));
        transcript.stat(name);
        transcript.call("again", mknod(name, kind, all, device));
    }
    // A device and a FIFO are the kernel's own, whatever file system their names are in.
    transcript.io("write to null", fs::write("null", b"text"));
    let mut text = Vec::new();
    transcript.io("read null", fs::File::open("null")?.read_to_end(&mut text));
    let read = open("fifo", OFlag::O_RDONLY | OFlag::O_NONBLOCK, Mode::empty())?;
    transcript.io("write to fifo", fs::write("fifo", b"through"));
    let mut buffer = [0; 16];
    transcript.call("read fifo", nix::unistd::read(&read, &mut buffer));
    let _listener = std::os::unix::net::UnixListener::bind("bound")?;
    transcript.stat("bound");
    let mut one = std::os::unix::net::UnixStream::connect("bound")?;
    transcript.io("write to socket", one.write_all(b"text"));
    Ok(())
}

pub(crate) fn hard_links(transcript: &mut Transcript) -> Result<()> {
    fs::create_dir("folder")?;
    fs::write("one", b"text")?;
    transcript.io("link", fs::hard_link("one", "folder/other"));
    transcript.io("link again", fs::hard_link("one", "folder/other"));
    transcript.io("link of a folder", fs::hard_link("folder", "second"));
    for path in ["one", "folder/other"] {
        transcript.stat(path);
    }
    let inode = |path: &str| crate::tree::status(path.as_ref()).map(|status| status.stx_ino);
    transcript.say("same", inode("one")? == inode("folder/other")?);
    fs::write("folder/other", b"longer text")?;
    transcript.say("seen", fs::read("one")?);
    transcript.io("rename onto itself", fs::rename("one", "folder/other"));
    transcript.stat("one");
    transcript.io("unlink", fs::remove_file("one"));
    transcript.stat("folder/other");
    std::os::unix::fs::symlink("nowhere", "link")?;
    transcript.io("link of a link", fs::hard_link("link", "link2"));
    transcript.stat("link2");
    Ok(())
}

pub(crate) fn renames(transcript: &mut Transcript) -> Result<()> {
    for folder in ["a", "a/sub", "b"] {
        fs::create_dir(folder)?;
    }
    for file in ["f", "a/f", "b/f"] {
        fs::write(file, file)?;
    }
    for (from, to) in [
        ("f", "g"),
        ("g", "a/f"),
        ("a/f", "b/f"),
        ("a", "a/sub/deeper"),
        ("b", "a/sub"),
        ("a/sub", "b"),
        ("a/sub/f", "nowhere/f"),
        ("missing", "x"),
        ("b/f", "a"),
        ("a", "b/f"),
        ("a", "c"),
        ("c/sub", "d"),
        ("d/.", "e"),
    ] {
        transcript.io(&format!("{from} -> {to}"), fs::rename(from, to));
    }
    for path in ["f", "g", "a", "b", "c", "d", "b/f", "a/sub/f", "d/f"] {
        transcript.stat(path);
    }
    Ok(())
}

pub(crate) fn rename_flags(transcript: &mut Transcript) -> Result<()> {
    fs::create_dir("folder")?;
    fs::create_dir("folder/in")?;
    fs::write("one", b"1")?;
    fs::write("other", b"22")?;
    let mut rename = |from: &str, to: &str, flags: u32| {
        let (one, two) = (c(from), c(to));
        // SAFETY: both names are strings, which live through the call.
        let result = unsafe {
            libc::syscall(libc::SYS_renameat2, AT_FDCWD_NUMBER, one.as_ptr(), AT_FDCWD_NUMBER, two.as_ptr(), flags)
        };
        transcript.call(&format!("{from} -> {to} {flags}"), Errno::result(result));
        for path in ["one", "other", "folder", "folder/in", "third", "white"] {
            transcript.stat(path);
        }
    };
    rename("one", "other", libc::RENAME_NOREPLACE);
    rename("one", "third", libc::RENAME_NOREPLACE);
    rename("third", "other", libc::RENAME_EXCHANGE);
    rename("third", "folder", libc::RENAME_EXCHANGE);
    rename("third", "missing", libc::RENAME_EXCHANGE);
    rename("third", "folder/in", libc::RENAME_EXCHANGE);
    rename("other", "white", libc::RENAME_WHITEOUT);
    rename("white", "other", libc::RENAME_WHITEOUT | libc::RENAME_EXCHANGE);
    rename("white", "other", 1 << 7);
    transcript.say("third", fs::read("third").map_err(|error| error.raw_os_error()));
    Ok(())
}

const AT_FDCWD_NUMBER: i32 = libc::AT_FDCWD;

pub(crate) fn deep_tree(transcript: &mut Transcript) -> Result<()> {
    const DEPTH: usize = 600;
    let name = c("n".repeat(100));
    let mut folder = open(".", OFlag::O_PATH, Mode::empty())?;
    for _ in 0..DEPTH {
        nix::sys::stat::mkdirat(&folder, name.as_c_str(), Mode::S_IRWXU)?;
        folder = openat(&folder, name.as_c_str(), OFlag::O_PATH, Mode::empty())?;
    }
    let file = openat(&folder, c"file", OFlag::O_CREAT | OFlag::O_RDWR, Mode::S_IRWXU)?;
    transcript.call("write", nix::unistd::write(&file, b"deep"));
    transcript.call("name is too long", open("n/".repeat(2500).as_str(), OFlag::O_RDONLY, Mode::empty()).map(drop));
    // And back.
    let mut up = folder;
    for _ in 0..DEPTH {
        up = openat(&up, c"..", OFlag::O_PATH, Mode::empty())?;
    }
    let same = nix::sys::stat::fstat(&up)?.st_ino
        == nix::sys::stat::fstatat(AT_FDCWD, ".", nix::fcntl::AtFlags::empty())?.st_ino;
    transcript.say("back", same);
    fs::remove_dir_all("n".repeat(100))?;
    transcript.call("read", nix::sys::uio::pread(&file, &mut [0; 8], 0));
    Ok(())
}

pub(crate) fn removed_but_open(transcript: &mut Transcript) -> Result<()> {
    let mut file = fs::OpenOptions::new().read(true).write(true).create(true).truncate(true).open("file")?;
    let path = open("file", OFlag::O_PATH, Mode::empty())?;
    fs::remove_file("file")?;
    transcript.stat("file");
    transcript.io("write", file.write_all(b"text"));
    transcript.io("seek", file.seek(SeekFrom::Start(0)));
    let mut text = String::new();
    transcript.io("read", file.read_to_string(&mut text));
    transcript.say("text", text);
    let status = nix::sys::stat::fstat(&file)?;
    transcript.say("status", (status.st_nlink, status.st_size, status.st_mode));
    transcript.call("chmod", nix::sys::stat::fchmod(&file, Mode::S_IRWXU));
    transcript.call("truncate", nix::unistd::ftruncate(&file, 2));
    // Another file of the same name is another file.
    fs::write("file", b"new")?;
    transcript.say("old", nix::sys::stat::fstat(&file)?.st_size);
    drop(file);
    let status = nix::sys::stat::fstat(&path)?;
    transcript.say("behind O_PATH", (status.st_nlink, status.st_size));
    transcript.say("new", fs::read("file")?);
    // Replaced by a rename.
    fs::write("next", b"next")?;
    let file = fs::File::open("file")?;
    fs::rename("next", "file")?;
    transcript.say("replaced", std::io::read_to_string(&file)?);
    transcript.say("links", nix::sys::stat::fstat(&file)?.st_nlink);
    Ok(())
}

pub(crate) fn removed_folder(transcript: &mut Transcript) -> Result<()> {
    fs::create_dir("folder")?;
    fs::write("folder/file", b"")?;
    transcript.io("not empty", fs::remove_dir("folder"));
    transcript.io("not a folder", fs::remove_dir("folder/file"));
    transcript.io("a folder", fs::remove_file("folder"));
    fs::remove_file("folder/file")?;
    let open = open("folder", OFlag::O_RDONLY | OFlag::O_DIRECTORY, Mode::empty())?;
    let here = std::env::current_dir()?;
    std::env::set_current_dir("folder")?;
    fs::remove_dir(here.join("folder"))?;
    transcript.io("make", fs::write("file", b""));
    transcript.io("list", fs::read_dir(".").map(|entries| entries.count()));
    transcript.say("mode", nix::sys::stat::fstat(&open)?.st_mode);
    transcript.io("up", fs::metadata(".."));
    std::env::set_current_dir(here)?;
    transcript.stat("folder");
    fs::create_dir("folder")?;
    transcript.stat("folder");
    Ok(())
}

pub(crate) fn symbolic_links(transcript: &mut Transcript) -> Result<()> {
    fs::create_dir("folder")?;
    fs::write("folder/file", b"text")?;
    for (target, name) in
        [("folder/file", "short"), ("folder", "way"), ("loop", "loop"), ("", "empty"), ("/etc", "out"), ("../..", "up")]
    {
        transcript.io(name, std::os::unix::fs::symlink(target, name));
        transcript.io("target", fs::read_link(name));
        transcript.stat(name);
    }
    let long = "t".repeat(4095);
    transcript.io("long", std::os::unix::fs::symlink(&long, "long"));
    transcript.say("length", fs::read_link("long").map(|target| target.as_os_str().len()).ok());
    transcript.say("through", fs::read("way/file").ok());
    transcript.io("loop", fs::read("loop"));
    transcript.io("write through", fs::write("short", b"new"));
    transcript.say("file", fs::read("folder/file").ok());
    transcript.call("no follow", open("short", OFlag::O_RDONLY | OFlag::O_NOFOLLOW, Mode::empty()).map(drop));
    transcript.call("no folder", open("short", OFlag::O_RDONLY | OFlag::O_DIRECTORY, Mode::empty()).map(drop));
    Ok(())
}

pub(crate) fn errors(transcript: &mut Transcript) -> Result<()> {
    fs::write("file", b"text")?;
    fs::create_dir("folder")?;
    let with = |flags: OFlag, path: &str| open(path, flags, Mode::S_IRUSR | Mode::S_IWUSR).map(drop);
    for (what, flags) in [
        ("read", OFlag::O_RDONLY),
        ("write", OFlag::O_WRONLY),
        ("both", OFlag::O_RDWR),
        ("new", OFlag::O_CREAT | OFlag::O_WRONLY),
        ("only new", OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_WRONLY),
        ("cut", OFlag::O_TRUNC | OFlag::O_RDWR),
        ("cut for reading", OFlag::O_TRUNC),
        ("folder", OFlag::O_DIRECTORY),
        ("new folder", OFlag::O_DIRECTORY | OFlag::O_CREAT),
    ] {
        for path in ["file", "folder", "missing", "file/below", "missing/below", ""] {
            transcript.call(&format!("{what} {path:?}"), with(flags, path));
            if path == "missing" {
                let _ = fs::remove_file(path);
            }
        }
    }
    for path in ["file/x", "missing/x", "folder", "."] {
        transcript.io("mkdir", fs::create_dir(path));
        transcript.io("rmdir", fs::remove_dir(path));
        transcript.io("unlink", fs::remove_file(path));
        transcript.io("readlink", fs::read_link(path));
    }
    Ok(())
}
