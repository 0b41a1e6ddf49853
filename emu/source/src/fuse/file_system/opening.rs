//! What the kernel may do without asking, in fast mode: how the data of an open file go, and for how long names and attributes hold.

use std::time::Duration;

use nix::errno::Errno;
use uinotify_core::{Mask, ObjectId};

use super::FileSystem;
use super::files::is_writable;
use crate::fuse::device::Device;
use crate::fuse::fast::HOLD;
use crate::fuse::lower::path_of;
use crate::fuse::open_files::OpenFile;
use crate::fuse::reply::{Hold, OPEN_DIRECT, OPEN_PASSTHROUGH};
use crate::fuse::request::{Handle, NodeId};
use crate::fuse::sink::Sink;
use crate::fuse::ways::Way;
use crate::status::Status;

impl FileSystem {
    /// Answers with an open file, and says which way its data go.
    pub(super) fn reply_opened(
        &mut self,
        device: &Device,
        handle: Handle,
        (flags, is_new): (i32, bool),
        sink: &dyn Sink,
    ) -> Result<(), Errno> {
        let (flags, backing) = self.way(device, handle, flags, is_new, sink)?;
        self.reply.opened(handle, flags, backing);
        Ok(())
    }

    fn way(
        &mut self,
        device: &Device,
        handle: Handle,
        flags: i32,
        is_new: bool,
        sink: &dyn Sink,
    ) -> Result<(u32, u32), Errno> {
        let Some(fast) = &mut self.fast else { return Ok((OPEN_DIRECT, 0)) };
        let file = self.files.get_mut(handle)?;
        let directory = file.name.and_then(|name| self.names.get(name)).map(|name| name.directory);
        let is_asked = [Some(file.node), directory]
            .iter()
            .flatten()
            .any(|node| sink.interest(ObjectId(node.0)).intersects(events(flags)));
        // Some may keep set-user-ID and set-group-ID bits of what they write; a backing clears them, whoever writes.
        let has_set_ids = file.is_writable && Status::of(&file.lower)?.mode & (libc::S_ISUID | libc::S_ISGID) != 0;
        let is_seen = is_asked || file.is_internal || has_set_ids;
        let node = self.nodes.get_mut(file.node).ok_or(Errno::ESTALE)?;
        let ways = &mut node.ways;
        // To let the kernel write it, and then check it for capabilities, takes longer than the few writes that most new files get.
        let is_worth_it = !is_new || flags & libc::O_ACCMODE != libc::O_WRONLY || file.appends;
        if !is_seen
            && is_worth_it
            && ways.is_free()
            && let Some(backing) = fast.open_backing(device, &file.lower, node.key.device, &mut self.identity)
        {
            ways.set_backing(backing);
        }
        let (way, reply) = match ways.backing() {
            Some(backing) => {
                (Way::Backed, (if is_seen { OPEN_PASSTHROUGH | OPEN_DIRECT } else { OPEN_PASSTHROUGH }, backing))
            }
            // Where the kernel can read and write the file itself, the page cache would only keep it from that.
            None if fast.passes(node.key.device) => (Way::Direct, (OPEN_DIRECT, 0)),
            // What is written past the page cache leaves it as it was, before Linux 6.6: there all go the way of the first.
            None if fast.holds_names() || ways.is_free() => {
                if is_seen {
                    (Way::Direct, (OPEN_DIRECT, 0))
                } else {
                    (Way::Cached, (0, 0))
                }
            }
            None if ways.is_cached() => (Way::Cached, (0, 0)),
            None => (Way::Direct, (OPEN_DIRECT, 0)),
        };
        ways.opened(way, file.is_writable);
        file.way = Some(way);
        Ok(reply)
    }

    /// An open file is no more.
    pub(super) fn way_closed(&mut self, file: &OpenFile) {
        if let (Some(way), Some(fast), Some(node)) = (file.way, &mut self.fast, self.nodes.get_mut(file.node))
            && let Some(backing) = node.ways.closed(way, file.is_writable)
        {
            fast.unneeded(backing);
        }
    }

    /// For how long the kernel may take attributes for true.
    pub(super) fn attributes_hold(&self, node: NodeId, status: &Status) -> Duration {
        let changes_unseen = || self.nodes.get(node).is_none_or(|node| node.ways.may_change_unseen());
        // Such bits go by a write that says nothing of it.
        if self.fast.is_none() || status.has_set_ids() || changes_unseen() { Duration::ZERO } else { HOLD }
    }

    /// For how long the kernel may take a name for one that leads to an object, and its attributes for true.
    ///
    /// No look-up is asked for meanwhile, so that nobody checks whether the caller may search the directory: all users have to. And a
    /// thread is known to come by the name that it looked up last: there may be only one, be it that of an open file.
    pub(super) fn entry_holds(&mut self, directory: NodeId, node: NodeId, status: &Status) -> Hold {
        let attributes = self.attributes_hold(node, status);
        let has_one_name = status.is_directory() || status.links <= 1;
        let holds = self.fast.as_ref().is_some_and(|fast| fast.holds_names())
            && has_one_name
            && self.nodes.get(node).is_some_and(|node| {
                node.names.len() <= 1 && node.open_names.iter().all(|open| node.names.contains(open))
            })
            && self.all_may_search(directory);
        Hold { entry: if holds { HOLD } else { Duration::ZERO }, attributes }
    }

    fn all_may_search(&mut self, directory: NodeId) -> bool {
        if let Some(known) = self.fast.as_ref().and_then(|fast| fast.all_may_search(directory)) {
            return known;
        }
        let all_may = self.object(directory).and_then(|folder| {
            let all_have_x = Status::of(&folder)?.mode & 0o111 == 0o111;
            Ok(all_have_x && !has_access_list(&path_of(&folder)?))
        });
        let all_may = all_may.unwrap_or(false);
        if let Some(fast) = &mut self.fast {
            fast.remember_search(directory, all_may);
        }
        all_may
    }

    /// The rights to an object have changed, perhaps: of a directory they decide what may be held.
    pub(super) fn rights_changed(&mut self, node: NodeId) {
        if let Some(fast) = &mut self.fast
            && self.nodes.get(node).is_some_and(|node| node.kind == libc::S_IFDIR)
        {
            fast.rights_changed(node);
        }
    }

    /// An object gets a name: if it is not the first, those that are held are no longer the only ones.
    pub(super) fn second_name(&mut self, node: NodeId) {
        if let Some(fast) = &mut self.fast
            && self.nodes.get(node).is_some_and(|node| !node.names.is_empty())
        {
            fast.expire_names();
        }
    }

    /// A name has gone to another directory, and takes the time for which it holds with it.
    pub(super) fn moved(&mut self) {
        if let Some(fast) = &mut self.fast {
            fast.expire_names();
        }
    }
}

/// What reading and writing a file with these flags would tell.
fn events(flags: i32) -> Mask {
    let mut events = Mask::empty();
    events.set(Mask::IN_ACCESS, flags & libc::O_ACCMODE != libc::O_WRONLY);
    events.set(Mask::IN_MODIFY, is_writable(flags));
    events
}

fn has_access_list(path: &std::ffi::CStr) -> bool {
    // SAFETY: both strings live through the call, which is given no room to write to.
    let length = unsafe { libc::getxattr(path.as_ptr(), c"system.posix_acl_access".as_ptr(), std::ptr::null_mut(), 0) };
    !matches!(Errno::result(length), Err(Errno::ENODATA | Errno::EOPNOTSUPP))
}
