//! Resolving a path step by step: where the kernel would resolve it for this process and not for the target. That is behind another
//! root with a path that begins in a folder, and wherever /proc/self is on the way.

use std::collections::VecDeque;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, readlinkat};
use nix::sys::stat::Mode;
use nix::sys::statfs::fstatfs;
use nix::unistd::faccessat;

use crate::resolve::{Lookup, PROCFS, flags, kind_of, openat2, place_of, root, working_folder};
use crate::target::Target;

/// As many symbolic links as Linux follows (`MAXSYMLINKS`).
const LINKS_MAX: usize = 40;

/// The inode of a procfs's root (`PROC_ROOT_INO`).
const PROCFS_ROOT: u64 = 1;

struct Walk<'a> {
    target: &'a Target,
    root: OwnedFd,
    at: OwnedFd,
    left: VecDeque<CString>,
    links: usize,
    /// What is found has to be a directory, as the path ends with a slash.
    ends_with_slash: bool,
}

/// What a step has led to.
enum Step {
    On,
    Found(OwnedFd),
}

/// The object that `lookup` means to the target.
pub(crate) fn walk(target: &Target, lookup: &Lookup<'_>) -> Result<OwnedFd, Errno> {
    let path = lookup.path.to_bytes();
    if path.is_empty() {
        return Err(Errno::ENOENT);
    }
    let root = root(target)?;
    let at = working_folder(target)?;
    let mut walk = Walk { target, root, at, left: VecDeque::new(), links: 0, ends_with_slash: false };
    walk.begin(path)?;
    walk.ends_with_slash = path.ends_with(b"/");
    loop {
        if let Step::Found(object) = walk.step(lookup)? {
            let must_be_directory = lookup.is_directory || walk.ends_with_slash;
            if must_be_directory && kind_of(object.as_fd())? != libc::S_IFDIR {
                return Err(Errno::ENOTDIR);
            }
            return Ok(object);
        }
    }
}

impl Walk<'_> {
    /// Puts the parts of a path in front of what is left.
    fn begin(&mut self, path: &[u8]) -> Result<(), Errno> {
        if path.starts_with(b"/") {
            self.at = copy(&self.root)?;
        }
        for part in path.split(|byte| *byte == b'/').rev().filter(|part| !part.is_empty()) {
            self.left.push_front(CString::new(part).map_err(|_| Errno::EINVAL)?);
        }
        Ok(())
    }

    fn step(&mut self, lookup: &Lookup<'_>) -> Result<Step, Errno> {
        let Some(part) = self.left.pop_front() else {
            return Ok(Step::Found(copy(&self.at)?));
        };
        match part.to_bytes() {
            b"." => {
                // Whoever may not search a directory finds not even itself in it.
                faccessat(&self.at, c".", nix::unistd::AccessFlags::F_OK, AtFlags::AT_EACCESS)?;
                return Ok(Step::On);
            }
            b".." => {
                if !self.is_at_root()? {
                    self.at = open_folder(self.at.as_fd(), c"..")?;
                }
                return Ok(Step::On);
            }
            _ => {}
        }
        let is_last = self.left.is_empty();
        let found = open_itself(self.at.as_fd(), &part, !is_last || self.ends_with_slash)?;
        let is_link = kind_of(found.as_fd())? == libc::S_IFLNK;
        let is_followed = !is_last || self.ends_with_slash || !lookup.is_link;
        if is_link && is_followed {
            return self.follow(&part, found.as_fd(), lookup);
        }
        if is_last {
            return Ok(Step::Found(found));
        }
        self.at = found;
        Ok(Step::On)
    }

    fn follow(&mut self, name: &CStr, link: BorrowedFd<'_>, lookup: &Lookup<'_>) -> Result<Step, Errno> {
        self.links += 1;
        if self.links > LINKS_MAX {
            return Err(Errno::ELOOP);
        }
        let text = if fstatfs(&self.at).is_ok_and(|status| status.filesystem_type() == PROCFS) {
            match self.own_text(name)? {
                Some(text) => text,
                None if self.is_magic(name) => {
                    let is_last = self.left.is_empty();
                    let mut flags = if is_last { flags(lookup) } else { OFlag::O_PATH | OFlag::O_CLOEXEC };
                    flags.remove(OFlag::O_NOFOLLOW);
                    let found = openat(&self.at, name, flags, Mode::empty())?;
                    if is_last {
                        return Ok(Step::Found(found));
                    }
                    self.at = found;
                    return Ok(Step::On);
                }
                None => text_of(link)?,
            }
        } else {
            text_of(link)?
        };
        if text.is_empty() {
            return Err(Errno::ENOENT);
        }
        if self.left.is_empty() && text.ends_with(b"/") {
            self.ends_with_slash = true;
        }
        self.begin(&text)?;
        Ok(Step::On)
    }

    /// What the links to whoever looks say to the target, in the root of a procfs.
    fn own_text(&self, name: &CStr) -> Result<Option<Vec<u8>>, Errno> {
        let is_thread = match name.to_bytes() {
            b"self" => false,
            b"thread-self" => true,
            _ => return Ok(None),
        };
        if place_of(self.at.as_fd(), c"", libc::AT_EMPTY_PATH)?.1 != PROCFS_ROOT {
            return Ok(None);
        }
        // A procfs shows the processes of one name space: ours, or that of the target.
        let ours =
            readlinkat(&self.at, c"self").is_ok_and(|text| text.to_str() == Some(&std::process::id().to_string()));
        let (process, thread) = if ours {
            (self.target.ids().ok_or(Errno::ENOENT)?.process, self.target.thread())
        } else {
            self.target.inner_numbers().ok_or(Errno::ENOENT)?
        };
        Ok(Some(if is_thread { format!("{process}/task/{thread}") } else { process.to_string() }.into_bytes()))
    }

    /// Does a link of procfs lead to its object, whatever its text says?
    fn is_magic(&self, name: &CStr) -> bool {
        let flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
        openat2(self.at.as_raw_fd(), name, flags, libc::RESOLVE_NO_MAGICLINKS).map(drop) == Err(Errno::ELOOP)
    }

    fn is_at_root(&self) -> Result<bool, Errno> {
        let place = |of: &OwnedFd| place_of(of.as_fd(), c"", libc::AT_EMPTY_PATH);
        Ok(place(&self.at)? == place(&self.root)?)
    }
}

fn copy(folder: &OwnedFd) -> Result<OwnedFd, Errno> {
    folder.try_clone().map_err(|error| error.raw_os_error().map_or(Errno::EMFILE, Errno::from_raw))
}

fn text_of(link: BorrowedFd<'_>) -> Result<Vec<u8>, Errno> {
    readlinkat(link, c"").map(OsStringExt::into_vec)
}

fn open_folder(at: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd, Errno> {
    openat(at, name, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
}

/// What stands under a name, a link itself. A directory that something is to be sought in is one, with what is mounted there.
fn open_itself(at: BorrowedFd<'_>, name: &CStr, is_searched: bool) -> Result<OwnedFd, Errno> {
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    if is_searched {
        match openat(at, name, flags | OFlag::O_DIRECTORY, Mode::empty()) {
            Err(Errno::ENOTDIR) => {}
            opened => return opened,
        }
    }
    openat(at, name, flags, Mode::empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resolve::{Cached, resolve, resolve_cached};
    use std::fs;
    use std::os::unix::fs::symlink;

    fn own() -> Target {
        Target::new(nix::unistd::gettid().as_raw()).expect("this thread")
    }

    fn inode(object: &OwnedFd) -> u64 {
        nix::sys::stat::fstat(object).expect("an object").st_ino
    }

    /// The kernel says the same of this thread's own paths.
    #[test]
    fn a_walk_leads_where_the_kernel_would_lead() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        fs::create_dir_all(path("a/b")).expect("folders");
        fs::write(path("a/file"), "").expect("a file");
        let link = |text: &str, name: &str| symlink(text, path(name)).expect("a link");
        link("a/b", "to_b");
        link("a/file", "to_file");
        link("a/file/", "to_file_slash");
        link("nowhere", "dangling");
        link("loop", "loop");
        link(path("a").to_str().expect("UTF-8"), "absolute");
        link("/proc/self/cwd", "cwd");
        link("/proc/self", "myself");
        link("a", "chain0");
        for number in 1..50 {
            link(&format!("chain{}", number - 1), &format!("chain{number}"));
        }
        let names = [
            "",
            ".",
            "a",
            "a/",
            "a/b/..",
            "a/b/../file",
            "a/file",
            "a/file/",
            "a/file/..",
            "a/nothing",
            "nothing/..",
            "to_b",
            "to_b/",
            "to_b/../file",
            "to_file",
            "to_file/",
            "to_file_slash",
            "dangling",
            "dangling/",
            "loop",
            "absolute",
            "absolute/file",
            "cwd",
            "cwd/.",
            "myself",
            "myself/cwd",
            "myself/nothing",
            "chain3",
            "chain39",
            "chain40",
            "a//b",
            "./a/./b/.",
            "../../../../../../../../../..",
            "a/b/../../to_b/..",
        ];
        let mut paths: Vec<_> = names.iter().map(|name| path(name).to_string_lossy().into_owned()).collect();
        paths.extend(
            [
                "/",
                "//",
                "/..",
                "/../proc",
                "/proc",
                "/proc/self",
                "/proc/self/",
                "/proc/thread-self",
                "/proc/self/cwd",
                "/proc/self/root/..",
                "/proc/self/exe",
                "/proc/self/fd",
                "/proc/self/fd/",
                "/proc/mounts",
                "/proc/net/dev",
                "/proc/self/nothing",
                "/dev/fd",
                "/proc/self/fd/0",
                "/proc/1",
                "/etc/mtab",
                ".",
                "..",
                "nothing",
                "src/lib.rs",
                "",
                "/proc/self/task/..",
            ]
            .map(str::to_owned),
        );
        let target = own();
        for path in paths {
            let text = CString::new(path.clone()).expect("a path");
            for (is_directory, is_link) in [(false, false), (true, false), (false, true), (true, true)] {
                let lookup = Lookup { path: &text, is_directory, is_link };
                let kernel = openat(nix::fcntl::AT_FDCWD, text.as_c_str(), flags(&lookup), Mode::empty());
                let kernel = kernel.as_ref().map(inode).map_err(|errno| *errno);
                let walked = walk(&target, &lookup).as_ref().map(inode).map_err(|errno| *errno);
                assert_eq!(walked, kernel, "{path:?}, directory {is_directory}, link {is_link}");
                let resolved = resolve(&target, &lookup);
                let resolved = resolved.as_ref().map(|(opened, _)| inode(&opened.object)).map_err(|errno| *errno);
                assert_eq!(resolved, kernel, "{path:?}, directory {is_directory}, link {is_link}");
                if let Cached::Opened { object, .. } = resolve_cached(&target, &lookup) {
                    assert_eq!(Ok(inode(&object)), kernel, "{path:?}");
                }
            }
        }
    }

    /// A process with another root, working folder and number: paths mean what they mean to it.
    #[test]
    fn another_process_has_its_own_paths() {
        if !nix::unistd::geteuid().is_root() {
            return;
        }
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        fs::create_dir_all(path("in/side")).expect("folders");
        fs::create_dir_all(path("in/proc")).expect("folders");
        fs::write(path("in/side/file"), "").expect("a file");
        symlink("/side", path("in/link")).expect("a link");
        symlink("/../../side/file", path("in/side/up")).expect("a link");
        // Without a shell in that root, the program is a copy of this process that waits for its input to end.
        let (ready, readied) = nix::unistd::pipe().expect("a pipe");
        let (go, went) = nix::unistd::pipe().expect("a pipe");
        let root = CString::new(path("in").to_str().expect("UTF-8")).expect("a path");
        // SAFETY: the child makes system calls only.
        let child = match unsafe { nix::unistd::fork() }.expect("a process") {
            nix::unistd::ForkResult::Child => {
                let entered = nix::unistd::chroot(root.as_c_str()).is_ok() && nix::unistd::chdir(c"/side").is_ok();
                let _ = nix::unistd::write(&readied, &[u8::from(entered)]);
                drop(went);
                let _ = nix::unistd::read(&go, &mut [0]);
                // SAFETY: takes a number.
                unsafe { libc::_exit(0) }
            }
            nix::unistd::ForkResult::Parent { child } => child,
        };
        let mut entered = [0];
        nix::unistd::read(&ready, &mut entered).expect("a byte");
        assert_eq!(entered, [1]);
        let target = Target::new(child.as_raw()).expect("the process");
        let expected = |name: &str| {
            fs::metadata(path(name)).map(|status| std::os::unix::fs::MetadataExt::ino(&status)).expect("it is there")
        };
        for (name, outside) in [
            ("/side/file", "in/side/file"),
            ("file", "in/side/file"),
            ("../link/file", "in/side/file"),
            ("../../../side", "in/side"),
            ("/link", "in/side"),
            ("up", "in/side/file"),
            ("/side/up", "in/side/file"),
            (".", "in/side"),
            ("/", "in"),
        ] {
            let text = CString::new(name).expect("a path");
            let lookup = Lookup { path: &text, is_directory: false, is_link: false };
            let found = resolve(&target, &lookup).map(|(opened, _)| inode(&opened.object));
            assert_eq!(found, Ok(expected(outside)), "{name}");
            assert_eq!(walk(&target, &lookup).as_ref().map(inode), Ok(expected(outside)), "{name}, walked");
        }
        let text = CString::new(path("in").to_str().expect("UTF-8")).expect("a path");
        let lookup = Lookup { path: &text, is_directory: false, is_link: false };
        assert_eq!(resolve(&target, &lookup).map(drop), Err(Errno::ENOENT), "a path of this process's");
        drop(went);
        nix::sys::wait::waitpid(child, None).expect("its end");
    }
}
