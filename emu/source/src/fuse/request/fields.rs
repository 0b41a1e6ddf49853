//! The fields of a message, taken one after the other.

use std::ffi::CStr;

use super::{Attributes, Handle, Place, TimeToSet};

/// What is left of a message.
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Fields<'a> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*array)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_ne_bytes)
    }

    pub(super) fn i32(&mut self) -> Option<i32> {
        self.array().map(i32::from_ne_bytes)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_ne_bytes)
    }

    pub(super) fn i64(&mut self) -> Option<i64> {
        self.array().map(i64::from_ne_bytes)
    }

    pub(super) fn handle(&mut self) -> Option<Handle> {
        self.u64().map(Handle)
    }

    /// The beginning of GETATTR and STATX: a flag, which says whether there is a handle.
    pub(super) fn handle_if_flag(&mut self) -> Option<Option<Handle>> {
        let (flags, _) = (self.u32()?, self.u32()?);
        let handle = self.handle()?;
        Some((flags & 1 != 0).then_some(handle))
    }

    pub(super) fn bytes(&mut self, length: u32) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(usize::try_from(length).ok()?)?;
        self.0 = rest;
        Some(bytes)
    }

    pub(super) fn name(&mut self) -> Option<&'a CStr> {
        let name = CStr::from_bytes_until_nul(self.0).ok()?;
        self.0 = self.0.get(name.count_bytes() + 1..)?;
        Some(name)
    }

    pub(super) fn place(&mut self) -> Option<Place> {
        let (handle, offset, size, flags) = (self.handle()?, self.i64()?, self.u32()?, self.u32()?);
        let (_lock_owner, file_flags, _) = (self.u64()?, self.i32()?, self.u32()?);
        Some(Place { handle, offset, size, flags, file_flags })
    }

    pub(super) fn attributes(&mut self) -> Option<Attributes> {
        let (valid, _) = (self.u32()?, self.u32()?);
        let has = |bit: u32| valid & (1 << bit) != 0;
        let (handle, size, _lock_owner) = (self.handle()?, self.u64()?, self.u64()?);
        let (atime, mtime, _ctime) = (self.i64()?, self.i64()?, self.u64()?);
        let (atime_nanoseconds, mtime_nanoseconds, _) = (self.u32()?, self.u32()?, self.u32()?);
        let (mode, _, uid, gid) = (self.u32()?, self.u32()?, self.u32()?, self.u32()?);
        let time = |seconds, nanoseconds, now| {
            if now { TimeToSet::Now } else { TimeToSet::At { seconds, nanoseconds } }
        };
        Some(Attributes {
            mode: has(0).then_some(mode),
            uid: has(1).then_some(uid),
            gid: has(2).then_some(gid),
            size: has(3).then_some(size),
            accessed: has(4).then_some(time(atime, atime_nanoseconds, has(7))),
            modified: has(5).then_some(time(mtime, mtime_nanoseconds, has(8))),
            handle: has(6).then_some(handle),
            clears_set_ids: has(11),
        })
    }
}
