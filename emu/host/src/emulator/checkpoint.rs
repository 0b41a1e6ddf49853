//! Checkpoints: all that there is of the instances, told to whoever dumps, and taken from whoever restores.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use uinotify_core::Snapshot;
use uinotify_images::checkpoint::{FileHandle, Watch};
use uinotify_images::text::{ByteString, Device};
use uinotify_images::{Checkpoint, Instance, Surroundings};
use uinotify_wire::{Reply, Request};

use super::Emulator;
use crate::closer::close_apart;
use crate::connection::Peer;
use crate::paths;
use crate::reply::error;
use crate::session::Session;

/// How often to look for a moment at which no instance has an event left in the kernel.
const LOOKS_MAX: usize = 8;

/// Length of all checkpoints that are being received.
const PIECES_BYTES_MAX: usize = 64 * 1024 * 1024;

impl Emulator {
    /// Tells all of the instance of this number, or of all for 0.
    pub(super) fn tell_checkpoint(&mut self, key: usize, peer: Peer, id: u64) {
        self.tell_of_instances(key, peer, |emulator, owner| emulator.checkpoint(id, owner));
    }

    /// The instances as they were at one moment: behind the last look nothing that had happened before it was left in the kernel.
    fn checkpoint(&mut self, id: u64, owner: Option<u32>) -> Result<Checkpoint, Errno> {
        let is_meant = |(number, session): (&u64, &Session)| {
            let is_meant = (id == 0 || *number == id) && owner.is_none_or(|owner| session.creator.uid == owner);
            is_meant.then_some(*number)
        };
        let ids: Vec<u64> = self.sessions.iter().filter_map(is_meant).collect();
        if id != 0 && ids.is_empty() {
            return Err(Errno::ENOENT);
        }
        // First what is watched: what ends from now on is known by its IN_IGNORED.
        let shown = ids.iter().map(|id| self.watches_shown(*id)).collect::<Result<Vec<_>, _>>()?;
        for _ in 0..LOOKS_MAX {
            self.settle_observed();
            let mut has_found = false;
            for id in &ids {
                let Some(session) = self.sessions.get_mut(id) else { continue };
                has_found |= session.holds_events();
                session.deliver_held(&mut self.tools);
            }
            if !has_found {
                break;
            }
        }
        // What a test holds back has happened.
        self.release_held();
        let mut cookie = 0;
        let mut instances = Vec::with_capacity(ids.len());
        for (id, shown) in ids.iter().zip(&shown) {
            let Some(session) = self.sessions.get_mut(id) else { continue };
            session.acknowledge(&mut self.tools.engine);
            let Ok(Snapshot::V1(snapshot)) = self.tools.engine.snapshot(session.group) else { continue };
            cookie = snapshot.cookie;
            let surroundings = Surroundings {
                id: *id,
                owner: Some(session.creator.uid),
                socket_inode: Some(session.program_inode),
                ..Surroundings::default()
            };
            instances.push(Instance::from_snapshot(surroundings, &snapshot, |watch| {
                let path = session.absolute_path(uinotify_core::ObjectId(watch.object)).map(ByteString::from);
                let known = shown.get(&watch.wd).cloned().unwrap_or_else(|| unknown(watch.wd));
                Watch { path, ..known }
            }));
        }
        for id in ids {
            self.update_interest(id);
        }
        Ok(Checkpoint::new(self.config.profile.into(), cookie, instances))
    }

    /// What fdinfo shows of the watches of a session.
    fn watches_shown(&self, id: u64) -> Result<BTreeMap<i32, Watch>, Errno> {
        let session = self.sessions.get(&id).ok_or(Errno::ENOENT)?;
        let (text, _) = session
            .information(&self.tools.engine, &|object| self.shown(object), 0)
            .map_err(|problem| problem.raw_os_error().map_or(Errno::ENOMEM, Errno::from_raw))?;
        Ok(text.lines().filter_map(watch_of_line).map(|watch| (watch.wd, watch)).collect())
    }

    /// A piece of a checkpoint of an instance of whoever sends it. With the last one the instance gets what is in it.
    pub(super) fn take_checkpoint(
        &mut self,
        key: usize,
        peer: Peer,
        request: &Request<'_>,
        mut descriptors: Vec<OwnedFd>,
    ) {
        let result = self.try_take_checkpoint(key, peer, request, &mut descriptors);
        descriptors.into_iter().for_each(close_apart);
        let failed = result.is_err();
        self.reply_on_connection(key, &result.map_or_else(error, Reply::value), Vec::new());
        if failed {
            self.dismiss(key);
        }
    }

    /// The number of the instance that has the checkpoint, or 0 if more of that is to come.
    fn try_take_checkpoint(
        &mut self,
        key: usize,
        peer: Peer,
        request: &Request<'_>,
        descriptors: &mut Vec<OwnedFd>,
    ) -> Result<i32, Errno> {
        let may_ask = |session: &Session| peer.is_ourselves() || peer.uid == 0 || peer.uid == session.creator.uid;
        if !self.sessions.values().any(may_ask) {
            return Err(Errno::EPERM);
        }
        let held: usize = self.connections.iter().map(|(_, connection)| connection.pieces.len()).sum();
        if held + request.payload.len() > PIECES_BYTES_MAX {
            return Err(Errno::ENOMEM);
        }
        let connection = self.connections.get_mut(key).ok_or(Errno::EIO)?;
        connection.pieces.extend_from_slice(request.payload);
        if request.word == 0 {
            return Ok(0);
        }
        let checkpoint = Checkpoint::from_json(&std::mem::take(&mut connection.pieces)).map_err(|_| Errno::EINVAL)?;
        let [instance] = &checkpoint.instances[..] else { return Err(Errno::EINVAL) };
        let theirs = descriptors.pop();
        let is_meant = |session: &Session| match &theirs {
            Some(theirs) => session.is_theirs(theirs.as_fd()),
            None => session.program_inode == request.argument,
        };
        let session = self.sessions.iter_mut().find(|(_, session)| is_meant(session) && may_ask(session));
        let Some((&id, session)) = session else {
            descriptors.extend(theirs);
            return Err(Errno::ENOENT);
        };
        let before = session.group;
        let restored = session.become_restored(&mut self.tools, instance, checkpoint.cookie, theirs.as_ref());
        let after = session.group;
        self.groups.remove(&before);
        self.groups.insert(after, id);
        self.let_go_unwatched();
        self.update_interest(id);
        restored.map_err(|problem| {
            self.complain(&|| format!("instance {id} was not restored: {problem}"));
            Errno::EINVAL
        })?;
        // For the one who asks, to look at it; numbers do not come that far.
        Ok(i32::try_from(id).unwrap_or(i32::MAX))
    }
}

/// A watch that fdinfo does not show.
fn unknown(wd: i32) -> Watch {
    let device = Device { major: 0, minor: 0 };
    Watch { wd, mask: 0, path: None, device, inode: 0, generation: None, handle: None, mount_id: None }
}

/// A line of fdinfo (FD-15): `inotify wd:HEX ino:HEX sdev:HEX mask:HEX ignored_mask:0 fhandle-bytes:HEX fhandle-type:HEX
/// f_handle:HEX`.
fn watch_of_line(line: &str) -> Option<Watch> {
    let mut parts = BTreeMap::new();
    for part in line.strip_prefix("inotify ")?.split(' ') {
        if let Some((name, value)) = part.split_once(':') {
            parts.insert(name, value);
        }
    }
    let number = |name: &str| u64::from_str_radix(parts.get(name)?, 16).ok();
    let handle = || {
        let digits = parts.get("f_handle")?.as_bytes();
        let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
        let bytes: Option<Vec<u8>> = digits.chunks(2).map(byte).collect();
        Some(FileHandle { kind: number("fhandle-type")? as u32, bytes: bytes? })
    };
    let wd = number("wd")? as u32;
    let handle = handle();
    Some(Watch {
        device: Device::from_kernel(number("sdev")? as u32),
        inode: number("ino")?,
        generation: handle.as_ref().and_then(generation),
        handle,
        ..unknown(wd.cast_signed())
    })
}

/// FILEID_INO32_GEN, and the same with the parent's: the inode's number and its generation.
fn generation(handle: &FileHandle) -> Option<u32> {
    const WITH_GENERATION: [u32; 2] = [1, 2];
    if !WITH_GENERATION.contains(&handle.kind) {
        return None;
    }
    handle.bytes.get(4..8)?.try_into().ok().map(u32::from_ne_bytes)
}

impl Session {
    fn absolute_path(&self, object: uinotify_core::ObjectId) -> Option<&[u8]> {
        paths::absolute(self.noted_path(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_fdinfo_is_a_watch() {
        let line = "inotify wd:34d71d6 ino:15ec6d sdev:800001 mask:84000fff ignored_mask:0 \
            fhandle-bytes:8 fhandle-type:1 f_handle:6dec1500b2d3a1f7";
        let watch = watch_of_line(line).expect("a watch");
        assert_eq!((watch.wd, watch.inode, watch.device), (0x34d_71d6, 0x15_ec6d, Device { major: 8, minor: 1 }));
        if cfg!(target_endian = "little") {
            assert_eq!(watch.generation, Some(0xf7a1_d3b2));
        }
        assert_eq!(watch.handle.map(|handle| handle.bytes.len()), Some(8));
        let without = watch_of_line("inotify wd:1 ino:a sdev:2e mask:fff ignored_mask:0 ").expect("a watch");
        assert_eq!((without.handle, without.generation), (None, None));
        assert!(watch_of_line("pos:\t0").is_none());
    }
}
