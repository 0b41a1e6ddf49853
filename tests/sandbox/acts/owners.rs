//! Who may do what.

use std::fs;
use std::os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt};

use anyhow::Result;
use nix::errno::Errno;
use nix::sys::stat::{Mode, SFlag, mknod, umask};
use nix::unistd::{AccessFlags, access};

use crate::act::{Transcript, become_user, c, in_child};

fn mode(path: &str, mode: u32) -> Result<()> {
    Ok(fs::set_permissions(path, fs::Permissions::from_mode(mode))?)
}

fn chown(path: &str, uid: u32, gid: u32) -> Result<()> {
    Ok(std::os::unix::fs::chown(path, Some(uid), Some(gid))?)
}

/// A folder for everybody.
fn open_folder(path: &str, bits: u32) -> Result<()> {
    fs::create_dir(path)?;
    mode(path, bits)
}

pub(crate) fn masks(transcript: &mut Transcript) -> Result<()> {
    for (number, mask) in [0, 0o022, 0o077, 0o777].into_iter().enumerate() {
        umask(Mode::from_bits_truncate(mask));
        let name = |kind: &str| format!("{kind}{number}");
        fs::OpenOptions::new().write(true).create_new(true).mode(0o7777).open(name("file"))?;
        fs::create_dir(name("folder"))?;
        mknod(name("fifo").as_str(), SFlag::S_IFIFO, Mode::from_bits_truncate(0o666), 0)?;
        std::os::unix::fs::symlink("x", name("link"))?;
        for kind in ["file", "folder", "fifo", "link"] {
            transcript.stat(name(kind));
        }
    }
    umask(Mode::empty());
    Ok(())
}

pub(crate) fn other_users(transcript: &mut Transcript) -> Result<()> {
    umask(Mode::empty());
    open_folder("all", 0o777)?;
    open_folder("closed", 0o700)?;
    open_folder("readable", 0o744)?;
    open_folder("searchable", 0o711)?;
    for folder in ["closed", "readable", "searchable"] {
        fs::write(format!("{folder}/file"), b"text")?;
    }
    for (name, bits) in [("r", 0o644), ("w", 0o622), ("none", 0o600), ("rw", 0o666)] {
        fs::write(name, b"text")?;
        mode(name, bits)?;
    }
    in_child(transcript, |transcript| {
        become_user(1000, 1000, &[])?;
        for path in ["r", "w", "none", "rw", "closed/file", "readable/file", "searchable/file"] {
            transcript.io(&format!("read {path}"), fs::read(path));
            transcript.io("write", fs::OpenOptions::new().write(true).open(path));
            transcript.io("cut", fs::OpenOptions::new().write(true).truncate(true).open(path));
            transcript.call("truncate", nix::unistd::truncate(path, 1));
            transcript.stat(path);
            transcript.io("chmod", fs::set_permissions(path, fs::Permissions::from_mode(0o777)));
            transcript.io("chown", std::os::unix::fs::chown(path, Some(1000), None));
            transcript.io("unlink", fs::remove_file(path));
            transcript.io("times", fs::File::open(path).and_then(|file| file.set_modified(std::time::UNIX_EPOCH)));
        }
        for folder in ["all", "closed", "readable", "searchable"] {
            transcript.io(&format!("list {folder}"), fs::read_dir(folder).map(|entries| entries.count()));
            transcript.io("make", fs::write(format!("{folder}/new"), b"own"));
            transcript.stat(format!("{folder}/new"));
            transcript.io("mkdir", fs::create_dir(format!("{folder}/sub")));
            transcript.stat(format!("{folder}/sub"));
            transcript.io("link", fs::hard_link("rw", format!("{folder}/linked")));
            transcript.io("go", std::env::set_current_dir(folder));
            let here = std::env::current_dir()?;
            if here.ends_with(folder) {
                std::env::set_current_dir("..")?;
            }
        }
        transcript.io("give away", std::os::unix::fs::chown("all/new", Some(1001), None));
        transcript.call("device", mknod("all/null", SFlag::S_IFCHR, Mode::S_IRWXU, libc::makedev(1, 3)));
        transcript.call("fifo", mknod("all/fifo", SFlag::S_IFIFO, Mode::S_IRWXU, 0));
        transcript.io("no access time", fs::OpenOptions::new().read(true).custom_flags(libc::O_NOATIME).open("r"));
        Ok(())
    })
}

pub(crate) fn groups(transcript: &mut Transcript) -> Result<()> {
    fs::write("group", b"text")?;
    chown("group", 0, 2000)?;
    mode("group", 0o660)?;
    // Being in the group can take away as well.
    fs::write("others", b"text")?;
    chown("others", 0, 2000)?;
    mode("others", 0o606)?;
    fs::write("own", b"")?;
    chown("own", 1000, 1000)?;
    for groups in [&[][..], &[2000], &[3000, 2000, 4000], &[3000]] {
        in_child(transcript, |transcript| {
            become_user(1000, 1000, groups)?;
            transcript.say("groups", groups);
            for path in ["group", "others"] {
                transcript.io(path, fs::OpenOptions::new().read(true).write(true).open(path));
                transcript.call("access", access(path, AccessFlags::W_OK));
            }
            transcript.io("chgrp", std::os::unix::fs::chown("own", None, Some(2000)));
            transcript.io("set group id", fs::set_permissions("own", fs::Permissions::from_mode(0o2755)));
            transcript.stat("own");
            Ok(())
        })?;
        chown("own", 1000, 1000)?;
    }
    // One process, whose groups change while it runs.
    in_child(transcript, |transcript| {
        let set = |groups: &[u32]| {
            // SAFETY: the array lives through the call, with its length beside it; this process has one thread.
            Errno::result(unsafe { libc::setgroups(groups.len(), groups.as_ptr()) })
        };
        set(&[])?;
        // Only the ids for files: the right to change the groups stays.
        // SAFETY: takes a number.
        unsafe { libc::setfsgid(1000) };
        // SAFETY: takes a number.
        unsafe { libc::setfsuid(1000) };
        transcript.io("without", fs::read("group"));
        set(&[2000])?;
        transcript.io("with", fs::read("group"));
        set(&[])?;
        transcript.io("without", fs::read("group"));
        Ok(())
    })
}

pub(crate) fn set_ids_cleared(transcript: &mut Transcript) -> Result<()> {
    let prepare = |bits: u32| -> Result<()> {
        let _ = fs::remove_file("file");
        fs::write("file", b"text")?;
        chown("file", 1000, 1000)?;
        mode("file", bits)
    };
    for bits in [0o6777, 0o4666, 0o2766, 0o2676] {
        for uid in [0, 1000, 1001] {
            for what in ["write", "truncate", "ftruncate", "cut", "allocate", "chown", "copy", "nothing"] {
                prepare(bits)?;
                in_child(transcript, |transcript| {
                    if uid != 0 {
                        become_user(uid, uid, &[])?;
                    }
                    let file = fs::OpenOptions::new().read(true).write(true).open("file")?;
                    match what {
                        "write" => drop(file.write_at(b"new", 0)),
                        "truncate" => nix::unistd::truncate("file", 1)?,
                        "ftruncate" => nix::unistd::ftruncate(&file, 1)?,
                        "cut" => drop(fs::OpenOptions::new().write(true).truncate(true).open("file")),
                        "allocate" => drop(nix::fcntl::fallocate(&file, nix::fcntl::FallocateFlags::empty(), 0, 9)),
                        "chown" => drop(std::os::unix::fs::chown("file", None, Some(1000))),
                        "copy" => drop(nix::fcntl::copy_file_range(&file, Some(&mut 0), &file, Some(&mut 10), 2)),
                        _ => drop(file.write_at(b"", 0)),
                    }
                    transcript.say(what, uid);
                    transcript.stat("file");
                    Ok(())
                })?;
            }
        }
    }
    // A capability of a file goes with a write.
    prepare(0o755)?;
    let capability = [1, 0, 0, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0_u8];
    let (path, name) = (c("file"), c("security.capability"));
    // SAFETY: both strings live through the call, as does the value, with its length beside it.
    let result =
        unsafe { libc::setxattr(path.as_ptr(), name.as_ptr(), capability.as_ptr().cast(), capability.len(), 0) };
    transcript.call("capability", Errno::result(result));
    transcript.say("has", crate::tree::attributes("file".as_ref())?.len());
    fs::OpenOptions::new().write(true).open("file")?.write_at(b"x", 0)?;
    transcript.say("has", crate::tree::attributes("file".as_ref())?.len());
    Ok(())
}

pub(crate) fn sticky(transcript: &mut Transcript) -> Result<()> {
    umask(Mode::empty());
    open_folder("sticky", 0o1777)?;
    fs::write("sticky/roots", b"")?;
    in_child(transcript, |transcript| {
        become_user(1000, 1000, &[])?;
        transcript.io("write", fs::write("sticky/own", b""));
        transcript.io("unlink", fs::remove_file("sticky/roots"));
        transcript.io("rename", fs::rename("sticky/roots", "sticky/x"));
        transcript.io("over", fs::rename("sticky/own", "sticky/roots"));
        Ok(())
    })?;
    in_child(transcript, |transcript| {
        become_user(1001, 1001, &[])?;
        transcript.io("unlink another's", fs::remove_file("sticky/own"));
        transcript.io("link another's", fs::hard_link("sticky/own", "sticky/mine"));
        Ok(())
    })
}

/// The header and the two halves of capset(2).
#[repr(C)]
struct Capabilities {
    version: u32,
    pid: i32,
    sets: [u32; 6],
}

fn keep_capabilities(effective: u32) -> Result<()> {
    let mut set = Capabilities { version: 0x2008_0522, pid: 0, sets: [effective, effective, 0, 0, 0, 0] };
    let header = (&raw mut set).cast::<u8>();
    // SAFETY: the sets lie behind the header in one structure.
    let sets = unsafe { header.add(8) };
    // SAFETY: a header and two halves, as this version has; they live through the call.
    Errno::result(unsafe { libc::syscall(libc::SYS_capset, header, sets) })?;
    Ok(())
}

/// What one process may, another with the same ids may not.
pub(crate) fn capabilities_of_others(transcript: &mut Transcript) -> Result<()> {
    // All but CAP_FSETID that has to do with it.
    const DAC_OVERRIDE_AND_FOWNER: u32 = 1 << 1 | 1 << 3;
    fs::write("file", b"text")?;
    mode("file", 0o4777)?;
    let file = fs::OpenOptions::new().write(true).open("file")?;
    transcript.io("write with all", file.write_at(b"x", 0));
    transcript.stat("file");
    in_child(transcript, |transcript| {
        keep_capabilities(DAC_OVERRIDE_AND_FOWNER)?;
        transcript.io("write without", file.write_at(b"x", 0));
        transcript.stat("file");
        Ok(())
    })
}

/// Root in a user name space of its own is nobody in particular.
pub(crate) fn root_elsewhere(transcript: &mut Transcript) -> Result<()> {
    fs::write("file", b"text")?;
    chown("file", 1000, 1000)?;
    mode("file", 0o600)?;
    transcript.io("read here", fs::read("file"));
    in_child(transcript, |transcript| {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWUSER)?;
        transcript.io("read elsewhere", fs::read("file"));
        fs::write("/proc/self/uid_map", "0 0 1")?;
        transcript.io("read as root there", fs::read("file"));
        transcript.io("write as root there", fs::OpenOptions::new().write(true).open("file"));
        Ok(())
    })
}

pub(crate) fn capabilities(transcript: &mut Transcript) -> Result<()> {
    umask(Mode::empty());
    fs::write("secret", b"text")?;
    chown("secret", 1000, 1000)?;
    mode("secret", 0o600)?;
    let try_all = |transcript: &mut Transcript| {
        transcript.io("read", fs::read("secret"));
        transcript.io("write", fs::OpenOptions::new().write(true).open("secret"));
        transcript.io("chmod", fs::set_permissions("secret", fs::Permissions::from_mode(0o600)));
        transcript.io("chown", std::os::unix::fs::chown("secret", Some(1000), Some(1000)));
        transcript.say("trusted", crate::tree::attributes("secret".as_ref()).map(|all| all.len()).ok());
    };
    let (path, name) = (c("secret"), c("trusted.x"));
    // SAFETY: both strings live through the call, and one byte lies at the value.
    Errno::result(unsafe { libc::setxattr(path.as_ptr(), name.as_ptr(), b"v".as_ptr().cast(), 1, 0) })?;
    // Root without any, with some; another user with one.
    for kept in [0_u32, 1 << 1, 1 << 2, 1 << 3, 1 << 21] {
        in_child(transcript, |transcript| {
            keep_capabilities(kept)?;
            transcript.say("root with", kept);
            try_all(transcript);
            Ok(())
        })?;
        in_child(transcript, |transcript| {
            nix::sys::prctl::set_keepcaps(true)?;
            become_user(1001, 1001, &[])?;
            keep_capabilities(kept)?;
            transcript.say("user with", kept);
            try_all(transcript);
            Ok(())
        })?;
    }
    Ok(())
}

pub(crate) fn access_checks(transcript: &mut Transcript) -> Result<()> {
    for bits in [0o777, 0o755, 0o700, 0o644, 0o111, 0] {
        let name = format!("file{bits:o}");
        fs::write(&name, b"")?;
        mode(&name, bits)?;
        let folder = format!("folder{bits:o}");
        open_folder(&folder, bits)?;
        for uid in [0, 1000] {
            in_child(transcript, |transcript| {
                become_user(uid, uid, &[])?;
                for path in [&name, &folder] {
                    for wanted in [AccessFlags::F_OK, AccessFlags::R_OK, AccessFlags::W_OK, AccessFlags::X_OK] {
                        transcript.call(&format!("{uid} {path} {wanted:?}"), access(path.as_str(), wanted));
                    }
                }
                Ok(())
            })?;
        }
        // A program with root's ids and a user's real ones asks for the user.
        in_child(transcript, |transcript| {
            let (user, root) = (nix::unistd::Uid::from_raw(1000), nix::unistd::Uid::from_raw(0));
            nix::unistd::setresuid(user, root, root)?;
            transcript.call("real", access(name.as_str(), AccessFlags::W_OK));
            transcript.io("effective", fs::OpenOptions::new().write(true).open(&name));
            Ok(())
        })?;
    }
    Ok(())
}

pub(crate) fn executed_without_reading(transcript: &mut Transcript) -> Result<()> {
    fs::copy("/bin/true", "program")?;
    for bits in [0o711, 0o700, 0o755, 0o744] {
        mode("program", bits)?;
        in_child(transcript, |transcript| {
            become_user(1000, 1000, &[])?;
            let status = std::process::Command::new("./program").status();
            transcript.io(&format!("{bits:o}"), status);
            transcript.io("read", fs::read("program"));
            Ok(())
        })?;
    }
    Ok(())
}

pub(crate) fn set_group_folders(transcript: &mut Transcript) -> Result<()> {
    umask(Mode::empty());
    open_folder("folder", 0o2777)?;
    chown("folder", 0, 2000)?;
    mode("folder", 0o2777)?;
    for (uid, groups) in [(0, &[][..]), (1000, &[]), (1000, &[2000])] {
        in_child(transcript, |transcript| {
            become_user(uid, uid, groups)?;
            let name = |kind: &str| format!("folder/{kind}{uid}{}", groups.len());
            fs::write(name("file"), b"")?;
            fs::create_dir(name("sub"))?;
            fs::OpenOptions::new().write(true).create_new(true).mode(0o2775).open(name("set"))?;
            for kind in ["file", "sub", "set"] {
                transcript.stat(name(kind));
            }
            Ok(())
        })?;
    }
    Ok(())
}
