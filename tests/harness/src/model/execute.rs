//! Programs.

use super::path::Follow;
use super::tree::Form;
use super::{Answer, Model, Stop};
use crate::operation::Path;
use uinotify_core::FsEvent;

/// What the executor gives for an exec that failed.
const FAILED: i64 = 127;
/// How often the kernel reads a program that names an interpreter: its header, its program headers, that name.
const READS: u32 = 3;

impl Model {
    /// As `std::fs::write` and `set_permissions` do it.
    pub(super) fn install(&mut self, path: &Path) -> Answer<i64> {
        let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_TRUNC | libc::O_CLOEXEC;
        let number = self.open_path(path, flags, 0o666)?;
        let descriptor = crate::operation::Descriptor::Number(number);
        let program = ["/bin/true", "/usr/bin/true"].iter().find_map(|path| std::fs::metadata(path).ok());
        let bytes = program.ok_or(Stop::Unmodelled("a machine without true"))?.len();
        self.write(descriptor, bytes, None)?;
        let dentry = self.lookup(path, Follow::Yes)?;
        self.tree.inode_mut(dentry).program = true;
        self.close(descriptor)?;
        self.chmod(path, 0o755)
    }

    /// fork, exec, exit.
    pub(super) fn execute(&mut self, path: &Path) -> Answer<i64> {
        let found = self.lookup(path, Follow::Yes).and_then(|dentry| {
            self.permitted(dentry, libc::X_OK)?;
            if self.tree.inode(dentry).form == Form::File { Ok(dentry) } else { Err(Stop::Errno(libc::EACCES)) }
        });
        let dentry = match found {
            Ok(dentry) => dentry,
            Err(Stop::Errno(_)) => return Ok(FAILED),
            Err(stop) => return Err(stop),
        };
        if !self.tree.inode(dentry).program {
            return Err(Stop::Unmodelled("what the kernel makes of a file that is no program"));
        }
        self.hook(dentry, |subject| FsEvent::Open { subject, exec: true });
        for _ in 0..READS {
            self.accessed(dentry);
        }
        self.hook(dentry, |subject| FsEvent::Close { subject, writable: false });
        Ok(0)
    }
}
