//! Metadata set and read back.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use anyhow::Result;
use nix::errno::Errno;
use nix::sys::stat::{UtimensatFlags, utimensat};
use nix::sys::time::TimeSpec;

use crate::act::{Transcript, c};

pub(crate) fn modes(transcript: &mut Transcript) -> Result<()> {
    fs::write("file", b"")?;
    fs::create_dir("folder")?;
    std::os::unix::fs::symlink("file", "link")?;
    for mode in [0o644, 0o7777, 0, 0o4755, 0o1777] {
        for path in ["file", "folder", "link"] {
            transcript.io("chmod", fs::set_permissions(path, fs::Permissions::from_mode(mode)));
            transcript.stat(path);
        }
    }
    for (uid, gid) in [(Some(1000), None), (None, Some(1001)), (Some(0), Some(0)), (None, None)] {
        transcript.io("chown", std::os::unix::fs::chown("file", uid, gid));
        transcript.io("lchown", std::os::unix::fs::lchown("link", uid, gid));
        transcript.stat("file");
        transcript.stat("link");
    }
    Ok(())
}

pub(crate) fn times(transcript: &mut Transcript) -> Result<()> {
    fs::write("file", b"text")?;
    std::os::unix::fs::symlink("file", "link")?;
    let set = |path: &str, accessed: TimeSpec, modified: TimeSpec, flags| {
        utimensat(nix::fcntl::AT_FDCWD, path, &accessed, &modified, flags)
    };
    let times = |path: &str| {
        fs::symlink_metadata(path)
            .map(|status| (status.atime(), status.atime_nsec(), status.mtime(), status.mtime_nsec()))
            .ok()
    };
    for seconds in [0, -5, 1_000_000_000, 5_000_000_000] {
        let time = TimeSpec::new(seconds, 123_456_789);
        transcript.call("both", set("file", time, TimeSpec::new(seconds + 1, 0), UtimensatFlags::FollowSymlink));
        transcript.say("times", times("file"));
        transcript.call("link", set("link", time, time, UtimensatFlags::NoFollowSymlink));
        transcript.say("times", times("link"));
    }
    transcript.call("accessed", set("file", TimeSpec::new(7, 0), TimeSpec::UTIME_OMIT, UtimensatFlags::FollowSymlink));
    transcript.say("times", times("file"));
    transcript.call("neither", set("file", TimeSpec::UTIME_OMIT, TimeSpec::UTIME_OMIT, UtimensatFlags::FollowSymlink));
    transcript.say("times", times("file"));
    let before = fs::metadata("file")?.mtime();
    transcript.call("now", set("file", TimeSpec::UTIME_NOW, TimeSpec::UTIME_NOW, UtimensatFlags::FollowSymlink));
    transcript.say("later", fs::metadata("file")?.mtime() > before);
    utimensat(nix::fcntl::AT_FDCWD, "file", &TimeSpec::new(1, 0), &TimeSpec::new(1, 0), UtimensatFlags::FollowSymlink)?;
    fs::write("file", b"more")?;
    transcript.say("a write counts", fs::metadata("file")?.mtime() > 1);
    let changed = fs::metadata("file")?.ctime();
    transcript.say("changed", changed > 1_600_000_000);
    Ok(())
}

fn set(path: &str, name: &str, value: &[u8], flags: i32) -> Result<i32, Errno> {
    let (path, name) = (c(path), c(name));
    // SAFETY: both strings live through the call, as does the value, with its length beside it.
    Errno::result(unsafe { libc::lsetxattr(path.as_ptr(), name.as_ptr(), value.as_ptr().cast(), value.len(), flags) })
}

fn get(path: &str, name: &str, room: usize) -> Result<Vec<u8>, Errno> {
    let (path, name) = (c(path), c(name));
    let mut value = vec![0_u8; room];
    // SAFETY: both strings live through the call, as does the buffer, with its length beside it.
    let length = unsafe { libc::lgetxattr(path.as_ptr(), name.as_ptr(), value.as_mut_ptr().cast(), value.len()) };
    let length = Errno::result(length)?;
    value.truncate(usize::try_from(length).unwrap_or(0));
    value.push(u8::try_from(length).unwrap_or(255));
    Ok(value)
}

fn remove(path: &str, name: &str) -> Result<i32, Errno> {
    let (path, name) = (c(path), c(name));
    // SAFETY: both strings live through the call.
    Errno::result(unsafe { libc::lremovexattr(path.as_ptr(), name.as_ptr()) })
}

pub(crate) fn extended_attributes(transcript: &mut Transcript) -> Result<()> {
    fs::write("file", b"")?;
    fs::create_dir("folder")?;
    std::os::unix::fs::symlink("file", "link")?;
    for path in ["file", "folder", "link"] {
        for name in ["user.one", "trusted.two", "security.three", "nonsense", "user.", "system.four"] {
            transcript.call(&format!("set {path} {name}"), set(path, name, b"value", 0));
            transcript.call("create", set(path, name, b"value", libc::XATTR_CREATE));
            transcript.call("replace", set(path, name, b"other", libc::XATTR_REPLACE));
            for room in [0, 3, 100] {
                transcript.call("get", get(path, name, room));
            }
            transcript.say("all", crate::tree::attributes(path.as_ref()).ok());
            transcript.call("remove", remove(path, name));
            transcript.call("missing", remove(path, name));
            transcript.call("missing", get(path, name, 10));
        }
    }
    transcript.call("empty", set("file", "user.empty", b"", 0));
    transcript.call("long", set("file", "user.long", &[7; 3000], 0));
    transcript.call("too long", set("file", "user.longer", &[7; 70000], 0));
    transcript.call("long", get("file", "user.long", 4000).map(|value| value.len()));
    Ok(())
}

pub(crate) fn access_lists(transcript: &mut Transcript) -> Result<()> {
    fs::create_dir("folder")?;
    fs::write("file", b"")?;
    // Version 2: the owner, user 1000, the group, the mask, others.
    let entry = |tag: u16, permissions: u16, id: u32| {
        let mut bytes = Vec::new();
        bytes.extend(tag.to_le_bytes());
        bytes.extend(permissions.to_le_bytes());
        bytes.extend(id.to_le_bytes());
        bytes
    };
    let list: Vec<u8> = [
        2_u32.to_le_bytes().to_vec(),
        entry(1, 6, u32::MAX),
        entry(2, 4, 1000),
        entry(4, 0, u32::MAX),
        entry(0x10, 6, u32::MAX),
        entry(0x20, 0, u32::MAX),
    ]
    .concat();
    transcript.call("file", set("file", "system.posix_acl_access", &list, 0));
    transcript.stat("file");
    transcript.call("get", get("file", "system.posix_acl_access", 100));
    transcript.call("default", set("folder", "system.posix_acl_default", &list, 0));
    transcript.call("default of a file", set("file", "system.posix_acl_default", &list, 0));
    transcript.call("nonsense", set("file", "system.posix_acl_access", b"x", 0));
    // The default list counts, and not the umask.
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o077));
    fs::write("folder/new", b"")?;
    fs::create_dir("folder/sub")?;
    transcript.stat("folder/new");
    transcript.stat("folder/sub");
    transcript.say("inherited", crate::tree::attributes("folder/new".as_ref())?);
    transcript.say("inherited", crate::tree::attributes("folder/sub".as_ref())?);
    for uid in [1000, 1001] {
        crate::act::in_child(transcript, |transcript| {
            crate::act::become_user(uid, uid, &[])?;
            transcript.io("read", fs::read("file"));
            transcript.io("write", fs::OpenOptions::new().write(true).open("file"));
            Ok(())
        })?;
    }
    transcript.io("chmod", fs::set_permissions("file", fs::Permissions::from_mode(0o604)));
    transcript.call("get", get("file", "system.posix_acl_access", 100));
    transcript.call("remove", remove("file", "system.posix_acl_access"));
    transcript.stat("file");
    Ok(())
}

pub(crate) fn statistics(transcript: &mut Transcript) -> Result<()> {
    let status = nix::sys::statvfs::statvfs(".")?;
    transcript.say(
        "sizes",
        (status.block_size(), status.fragment_size(), status.blocks(), status.files(), status.name_max()),
    );
    Ok(())
}

pub(crate) fn inode_flags(transcript: &mut Transcript) -> Result<()> {
    const GET: libc::Ioctl = 0x8008_6601;
    const SET: libc::Ioctl = 0x4008_6602;
    fs::write("file", b"text")?;
    fs::create_dir("folder")?;
    for path in ["file", "folder"] {
        let object = fs::File::open(path)?;
        let fd = std::os::fd::AsRawFd::as_raw_fd(&object);
        let mut flags: libc::c_long = 0;
        // SAFETY: the argument is a long, which lives through the call.
        transcript.call("get", Errno::result(unsafe { libc::ioctl(fd, GET, &raw mut flags) }));
        transcript.say("flags", flags);
        flags |= 0x40; // no dump
        // SAFETY: as above.
        transcript.call("set", Errno::result(unsafe { libc::ioctl(fd, SET, &raw mut flags) }));
        flags = 0;
        // SAFETY: as above.
        transcript.call("get", Errno::result(unsafe { libc::ioctl(fd, GET, &raw mut flags) }));
        transcript.say("flags", flags);
        // SAFETY: this command takes no argument that is looked at.
        transcript.call("unknown", Errno::result(unsafe { libc::ioctl(fd, libc::TCGETS, &raw mut flags) }));
    }
    Ok(())
}

pub(crate) fn birth(transcript: &mut Transcript) -> Result<()> {
    fs::write("file", b"")?;
    let one = crate::tree::status("file".as_ref())?;
    fs::write("file", b"text")?;
    let other = crate::tree::status("file".as_ref())?;
    transcript.say("mask", one.stx_mask & 0xfff);
    transcript.say(
        "same",
        (one.stx_btime.tv_sec, one.stx_btime.tv_nsec) == (other.stx_btime.tv_sec, other.stx_btime.tv_nsec),
    );
    transcript.say("known", one.stx_btime.tv_sec > 1_600_000_000);
    transcript.say("number", one.stx_ino == other.stx_ino);
    Ok(())
}
