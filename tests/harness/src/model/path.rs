//! From a path to a name: path_resolution(7).

use super::tree::{Dentry, Form};
use super::{Answer, Model, Stop, errno};
use crate::operation::Path;

/// Most symbolic links in one path.
const LINKS_MAX: u32 = 40;
const NAME_MAX: usize = 255;
const PATH_MAX: usize = 4095;

/// The last component of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Last {
    Name(Vec<u8>),
    Dot,
    DotDot,
    /// There is none: the path is `/`, or a link of procfs.
    None,
}

/// What a path leads to.
#[derive(Debug, Clone)]
pub(super) struct Found {
    /// The directory of the last component.
    pub(super) directory: Dentry,
    pub(super) last: Last,
    /// The path ends with a slash.
    pub(super) slash: bool,
    /// What is there.
    pub(super) dentry: Option<Dentry>,
}

/// What is asked for by a path argument.
pub(super) enum Named {
    /// To be looked up.
    Text(Vec<u8>),
    /// `/proc/self/fd/N`.
    Descriptor(i32),
}

/// Whether a symbolic link that the path ends in is followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Follow {
    Yes,
    No,
    /// Not looked at: the caller wants the name.
    Parent,
}

impl Model {
    /// `getname`.
    pub(super) fn named(&self, path: &Path) -> Answer<Named> {
        let text = match path {
            Path::Text(text) => text.bytes().take_while(|&byte| byte != 0).collect(),
            Path::Link(slot) => return Ok(Named::Descriptor(self.number(crate::operation::Descriptor::Slot(*slot)))),
            Path::Component(length) => vec![b'n'; *length],
            Path::Dots(length) => b"./".repeat(length.div_ceil(2))[..*length].to_vec(),
            Path::Unmapped => return errno(libc::EFAULT),
        };
        match text.len() {
            0 => errno(libc::ENOENT),
            length if length > PATH_MAX => errno(libc::ENAMETOOLONG),
            _ => Ok(Named::Text(text)),
        }
    }

    /// What is there, or ENOENT.
    pub(super) fn lookup(&self, path: &Path, follow: Follow) -> Answer<Dentry> {
        match self.named(path)? {
            Named::Text(text) => self.walk(&text, follow)?.dentry.ok_or(Stop::Errno(libc::ENOENT)),
            Named::Descriptor(number) if follow == Follow::Yes => self.descriptor_dentry(number),
            Named::Descriptor(_) => Err(Stop::Unmodelled("a link of procfs itself")),
        }
    }

    /// The directory and the last component, of which nothing is asked.
    pub(super) fn parent_of(&self, path: &Path) -> Answer<Found> {
        match self.named(path)? {
            Named::Text(text) => self.walk(&text, Follow::Parent),
            Named::Descriptor(_) => Err(Stop::Unmodelled("a change of procfs")),
        }
    }

    /// Where the magic link leads.
    pub(super) fn descriptor_dentry(&self, number: i32) -> Answer<Dentry> {
        let Some(file) = self.process.descriptors.get(&number) else { return errno(libc::ENOENT) };
        self.files[file].dentry.ok_or(Stop::Unmodelled("the path of an inotify descriptor"))
    }

    pub(super) fn walk(&self, text: &[u8], follow: Follow) -> Answer<Found> {
        self.walk_from(self.process.directory, text, follow, &mut 0)
    }

    /// From a directory on. `links` counts symbolic links.
    pub(super) fn walk_from(&self, from: Dentry, text: &[u8], follow: Follow, links: &mut u32) -> Answer<Found> {
        let absolute = text.starts_with(b"/");
        let mut directory = if absolute { self.outside } else { from };
        let slash = text.ends_with(b"/");
        let components: Vec<&[u8]> = text.split(|&byte| byte == b'/').filter(|part| !part.is_empty()).collect();
        let Some((last, front)) = components.split_last() else {
            return Ok(Found { directory, last: Last::None, slash, dentry: Some(directory) });
        };
        if absolute {
            return Err(Stop::Unmodelled("an absolute path"));
        }
        for component in front {
            let found = self.step(directory, component, links, true)?;
            directory = found.ok_or(Stop::Errno(libc::ENOENT))?;
            if !self.tree.inode(directory).is_directory() {
                return errno(libc::ENOTDIR);
            }
        }
        self.searchable(directory)?;
        let kind = match *last {
            b"." => Last::Dot,
            b".." => Last::DotDot,
            name => Last::Name(name.to_vec()),
        };
        let mut found = Found { directory, last: kind, slash, dentry: None };
        if follow == Follow::Parent {
            return Ok(found);
        }
        found.dentry = self.step(directory, last, links, follow == Follow::Yes || slash)?;
        if let Some(dentry) = found.dentry
            && slash
            && !self.tree.inode(dentry).is_directory()
        {
            return errno(libc::ENOTDIR);
        }
        Ok(found)
    }

    /// One component.
    fn step(&self, directory: Dentry, component: &[u8], links: &mut u32, follow: bool) -> Answer<Option<Dentry>> {
        self.searchable(directory)?;
        let found = match component {
            b"." => return Ok(Some(directory)),
            b".." => return self.above(directory).map(Some),
            name => self.entry_named(directory, name)?,
        };
        match found {
            Some(dentry) if follow => self.followed(directory, dentry, links),
            other => Ok(other),
        }
    }

    /// What a symbolic link leads to; anything else itself.
    pub(super) fn followed(&self, directory: Dentry, dentry: Dentry, links: &mut u32) -> Answer<Option<Dentry>> {
        let Form::Symlink(target) = &self.tree.inode(dentry).form else { return Ok(Some(dentry)) };
        self.count_link(links)?;
        Ok(self.walk_from(directory, target.as_bytes(), Follow::Yes, links)?.dentry)
    }

    pub(super) fn count_link(&self, links: &mut u32) -> Answer<()> {
        *links += 1;
        if *links > LINKS_MAX { errno(libc::ELOOP) } else { Ok(()) }
    }

    /// The entry of a directory, and what is mounted on it.
    pub(super) fn entry_named(&self, directory: Dentry, name: &[u8]) -> Answer<Option<Dentry>> {
        if name.len() > NAME_MAX {
            return errno(libc::ENAMETOOLONG);
        }
        Ok(self.tree.child(directory, name).map(|dentry| self.mounted_on(dentry)))
    }

    fn above(&self, directory: Dentry) -> Answer<Dentry> {
        let covered = self.mounts.iter().find(|mount| mount.root == directory).map_or(directory, |mount| mount.on);
        self.tree.parent(covered).ok_or(Stop::Unmodelled("what is above the directory of the list"))
    }

    fn searchable(&self, directory: Dentry) -> Answer<()> {
        if self.tree.inode(directory).is_directory() {
            self.permitted(directory, libc::X_OK)
        } else {
            errno(libc::ENOTDIR)
        }
    }

    /// `inode_permission`.
    pub(super) fn permitted(&self, dentry: Dentry, access: i32) -> Answer<()> {
        let inode = self.tree.inode(dentry);
        let access = access as u32;
        let allowed = match self.process.user {
            0 if access & libc::X_OK as u32 != 0 && !inode.is_directory() => inode.mode & 0o111 != 0,
            0 => true,
            user if user == inode.user => inode.mode >> 6 & access == access,
            user if user == inode.group => inode.mode >> 3 & access == access,
            _ => inode.mode & access == access,
        };
        if allowed { Ok(()) } else { errno(libc::EACCES) }
    }
}
