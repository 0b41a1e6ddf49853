//! Programs that change their root or their user.

use std::ffi::CString;
use std::fs;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use nix::errno::Errno;
use nix::unistd::{Uid, geteuid};

use crate::instance;
use crate::process::in_child;
use crate::way::IGNORED;

fn add(fd: RawFd, path: &Path) -> String {
    let path = CString::new(path.as_os_str().as_bytes()).expect("a path");
    // SAFETY: the path lives through the call.
    let wd = unsafe { libc::inotify_add_watch(fd, path.as_ptr(), libc::IN_CREATE | libc::IN_DELETE) };
    if wd < 0 { format!("{:?}", Errno::last()) } else { wd.to_string() }
}

/// Instances from before and after, in a root without /proc and without the emulator's folder.
pub(crate) fn changed_root(folder: &Path) {
    let sub = folder.join("sub");
    fs::create_dir(&sub).expect("a folder");
    let said = in_child(|| {
        if !geteuid().is_root() {
            // SAFETY: takes flags only.
            unsafe { libc::unshare(libc::CLONE_NEWUSER) };
        }
        let instance = instance::open(libc::IN_NONBLOCK);
        let fd = instance.as_raw_fd();
        let mut said = vec![add(fd, &sub)];
        if nix::unistd::chroot(folder).is_err() {
            return format!("{IGNORED}chroot is not permitted");
        }
        said.push(format!("{:?}", std::env::set_current_dir("/").map_err(|error| error.kind())));
        said.push(format!("no procfs: {}", fs::metadata("/proc").is_err()));
        fs::write("/sub/file", "").expect("a file");
        said.push(instance::queue(fd));
        said.push(add(fd, Path::new("/sub")));
        said.push(add(fd, Path::new("/")));
        said.push(add(fd, Path::new("sub/../..")));
        said.push(add(fd, Path::new("/none")));
        said.push(add(fd, folder));
        fs::write("/file", "").expect("a file");
        said.push(instance::queue(fd));
        let new = instance::open(libc::IN_NONBLOCK);
        said.push(add(new.as_raw_fd(), Path::new("/sub")));
        fs::remove_file("/sub/file").expect("the file goes");
        said.push(instance::queue(new.as_raw_fd()));
        said.push(instance::queue(fd));
        let mut entry = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
        // SAFETY: the entry lives through the call.
        said.push(unsafe { libc::poll(&raw mut entry, 1, 0) }.to_string());
        said.push(in_child(|| add(fd, Path::new("/sub"))).unwrap_or_else(|end| end));
        let duplicate = nix::unistd::dup(&instance).expect("a descriptor");
        drop(instance);
        fs::write("/sub/file", "").expect("a file");
        said.push(instance::queue(duplicate.as_raw_fd()));
        said.join("\n")
    });
    println!("{}", said.unwrap_or_else(|end| end));
}

/// The rights are those of the user who asks; the instance goes on whoever that is.
pub(crate) fn other_user(folder: &Path) {
    if !geteuid().is_root() {
        println!("{IGNORED}only root can become another user");
        return;
    }
    let open_to = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("the folder is ours");
    };
    // The folder of the test and the one above it are its own.
    open_to(folder.parent().expect("a folder above"), 0o755);
    open_to(folder, 0o755);
    let (of_root, of_all, unreadable) = (folder.join("root"), folder.join("all"), folder.join("unreadable"));
    for (path, mode) in [(&of_root, 0o700), (&of_all, 0o777), (&unreadable, 0o711)] {
        fs::create_dir(path).expect("a folder");
        open_to(path, mode);
    }
    let nobody = Uid::from_raw(65534);
    let all = |fd: RawFd| [&of_root, &of_all, &unreadable, &of_root.join("none")].map(|path| add(fd, path)).join(" ");
    let said = in_child(|| {
        let instance = instance::open(libc::IN_NONBLOCK);
        let fd = instance.as_raw_fd();
        let mut said = vec![format!("root: {}", all(fd))];
        let other = instance::open(libc::IN_NONBLOCK);
        nix::unistd::seteuid(nobody).expect("root may");
        said.push(format!("seteuid: {}", all(fd)));
        said.push(format!("seteuid, another: {}", all(other.as_raw_fd())));
        let of_nobody = instance::open(libc::IN_NONBLOCK);
        said.push(format!("seteuid, a new one: {}", all(of_nobody.as_raw_fd())));
        fs::write(of_all.join("file"), "").expect("a file");
        said.extend([fd, other.as_raw_fd(), of_nobody.as_raw_fd()].map(instance::queue));
        nix::unistd::seteuid(Uid::from_raw(0)).expect("it was root");
        said.push(format!("root again: {}", all(of_nobody.as_raw_fd())));
        fs::write(of_root.join("file"), "").expect("a file");
        said.extend([fd, other.as_raw_fd(), of_nobody.as_raw_fd()].map(instance::queue));
        nix::unistd::setuid(nobody).expect("root may");
        said.push(format!("setuid: {}", all(fd)));
        let last = instance::open(libc::IN_NONBLOCK);
        said.push(format!("setuid, a new one: {}", all(last.as_raw_fd())));
        fs::remove_file(of_all.join("file")).expect("the file goes");
        said.extend([fd, last.as_raw_fd(), of_nobody.as_raw_fd()].map(instance::queue));
        // SAFETY: takes numbers only.
        said.push(format!("rm_watch {}", unsafe { libc::inotify_rm_watch(fd, 1) }));
        said.push(instance::queue(fd));
        said.join("\n")
    });
    println!("{}", said.unwrap_or_else(|end| end));
}
