//! Masks: the bits of inotify, which of them `inotify_add_watch` takes, and what a watch keeps of them.

use bitflags::bitflags;

use crate::errno::Errno;

bitflags! {
    /// inotify's bits, as in `<sys/inotify.h>`. Unknown bits are retained by [`Mask::from_bits_retain`].
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
    pub struct Mask: u32 {
        /// Read from, or executed.
        const IN_ACCESS = 0x1;
        /// Written to, or truncated.
        const IN_MODIFY = 0x2;
        /// Metadata changed.
        const IN_ATTRIB = 0x4;
        /// Closed, after it was open for writing.
        const IN_CLOSE_WRITE = 0x8;
        /// Closed, after it was not open for writing.
        const IN_CLOSE_NOWRITE = 0x10;
        /// Opened.
        const IN_OPEN = 0x20;
        /// Renamed away from this directory.
        const IN_MOVED_FROM = 0x40;
        /// Renamed into this directory.
        const IN_MOVED_TO = 0x80;
        /// Made in this directory.
        const IN_CREATE = 0x100;
        /// Removed from this directory.
        const IN_DELETE = 0x200;
        /// The watched object itself was deleted.
        const IN_DELETE_SELF = 0x400;
        /// The watched object itself was renamed.
        const IN_MOVE_SELF = 0x800;
        /// The twelve events above.
        const IN_ALL_EVENTS = 0xfff;
        /// The file system of the watched object was unmounted. Sent whatever the mask.
        const IN_UNMOUNT = 0x2000;
        /// Events were lost. Sent whatever the mask, with wd -1.
        const IN_Q_OVERFLOW = 0x4000;
        /// The watch ended. Sent whatever the mask.
        const IN_IGNORED = 0x8000;
        /// To watch a path only if it is a directory.
        const IN_ONLYDIR = 0x0100_0000;
        /// To watch a symbolic link itself.
        const IN_DONT_FOLLOW = 0x0200_0000;
        /// To leave out events of children that are unlinked.
        const IN_EXCL_UNLINK = 0x0400_0000;
        /// To make a new watch only (since Linux 4.18).
        const IN_MASK_CREATE = 0x1000_0000;
        /// To add to the mask of an existing watch.
        const IN_MASK_ADD = 0x2000_0000;
        /// The subject of the event is a directory.
        const IN_ISDIR = 0x4000_0000;
        /// To end the watch with its first event.
        const IN_ONESHOT = 0x8000_0000;
    }
}

/// Every bit that `inotify_add_watch` knows: the kernel's ALL_INOTIFY_BITS, 22 bits (MASK-1).
pub const ALL_INOTIFY_BITS: u32 = Mask::all().bits();

/// What a watch keeps of a mask: the twelve events and the two flags (MASK-4).
pub const STORED_BITS: u32 = Mask::IN_ALL_EVENTS.union(Mask::IN_EXCL_UNLINK).union(Mask::IN_ONESHOT).bits();

/// What a reader sees in the mask of an event: the kernel's INOTIFY_USER_MASK (EVENT-4).
pub const REPORTED_BITS: u32 = Mask::IN_ALL_EVENTS
    .union(Mask::IN_UNMOUNT)
    .union(Mask::IN_Q_OVERFLOW)
    .union(Mask::IN_IGNORED)
    .union(Mask::IN_ISDIR)
    .bits();

/// A mask given to `inotify_add_watch` that has passed the first of its checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AddMask(Mask);

impl AddMask {
    /// The check that Linux makes before it looks at the descriptor (MASK-1, MASK-2).
    ///
    /// # Errors
    ///
    /// [`Errno::Inval`] for a bit outside [`ALL_INOTIFY_BITS`], and for none of them.
    pub fn new(bits: u32) -> Result<Self, Errno> {
        match Mask::from_bits(bits) {
            Some(mask) if !mask.is_empty() => Ok(Self(mask)),
            _ => Err(Errno::Inval),
        }
    }

    /// The check that Linux makes after it found the descriptor open, and before it looks whose it is (MASK-3).
    /// [`Engine::add_watch`](crate::Engine::add_watch) makes it again.
    ///
    /// # Errors
    ///
    /// [`Errno::Inval`] for IN_MASK_ADD together with IN_MASK_CREATE.
    pub fn check_combination(self) -> Result<(), Errno> {
        if self.0.contains(Mask::IN_MASK_ADD | Mask::IN_MASK_CREATE) { Err(Errno::Inval) } else { Ok(()) }
    }

    /// The mask as it was given.
    #[must_use]
    pub const fn mask(self) -> Mask {
        self.0
    }

    /// What a new watch keeps (MASK-4): the kernel's inotify_arg_to_mask and inotify_arg_to_flags.
    #[must_use]
    pub const fn stored(self) -> u32 {
        self.0.bits() & STORED_BITS
    }

    /// What an existing watch keeps after an update with this mask (WATCH-2, WATCH-3), where `stored` is what it kept
    /// so far.
    ///
    /// # Errors
    ///
    /// [`Errno::Exist`] with IN_MASK_CREATE (WATCH-4).
    pub fn update(self, stored: u32) -> Result<u32, Errno> {
        if self.0.contains(Mask::IN_MASK_CREATE) {
            Err(Errno::Exist)
        } else if self.0.contains(Mask::IN_MASK_ADD) {
            Ok(stored | self.stored())
        } else {
            Ok(self.stored())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// MASK-1
    #[test]
    fn exactly_22_bits_are_known() {
        assert_eq!(ALL_INOTIFY_BITS, 0xf700_efff);
        assert_eq!(ALL_INOTIFY_BITS.count_ones(), 22);
        for bit in 0..32 {
            let expected = if ALL_INOTIFY_BITS & 1 << bit == 0 { Err(Errno::Inval) } else { Ok(()) };
            assert_eq!(AddMask::new(1 << bit).map(|_| ()), expected, "bit {bit}");
            assert_eq!(AddMask::new(1 << bit | 0x2).map(|_| ()), expected, "bit {bit} beside a known one");
        }
        for bits in [0x1000, 0x1_0000, 0x0800_0000, 0xffff_ffff] {
            assert_eq!(AddMask::new(bits), Err(Errno::Inval), "{bits:#x}");
        }
    }

    /// MASK-2
    #[test]
    fn empty_mask_is_refused() {
        assert_eq!(AddMask::new(0), Err(Errno::Inval));
    }

    /// MASK-3
    #[test]
    fn add_with_create_is_a_later_check() {
        let both = AddMask::new((Mask::IN_MASK_ADD | Mask::IN_MASK_CREATE | Mask::IN_OPEN).bits()).unwrap();
        assert_eq!(both.check_combination(), Err(Errno::Inval));
        for one in [Mask::IN_MASK_ADD, Mask::IN_MASK_CREATE, Mask::IN_OPEN] {
            assert_eq!(AddMask::new(one.bits()).unwrap().check_combination(), Ok(()));
        }
    }

    /// MASK-2, MASK-4
    #[test]
    fn events_and_two_flags_are_stored() {
        let stored = |mask: Mask| AddMask::new(mask.bits()).unwrap().stored();
        let forgotten = [
            Mask::IN_ISDIR,
            Mask::IN_UNMOUNT,
            Mask::IN_IGNORED,
            Mask::IN_Q_OVERFLOW,
            Mask::IN_ONLYDIR,
            Mask::IN_DONT_FOLLOW,
            Mask::IN_MASK_ADD,
            Mask::IN_MASK_CREATE,
        ];
        for mask in forgotten {
            assert_eq!(stored(mask), 0, "{mask:?}");
        }
        assert_eq!(stored(Mask::IN_ONESHOT), 0x8000_0000);
        assert_eq!(stored(Mask::IN_EXCL_UNLINK), 0x0400_0000);
        assert_eq!(stored(Mask::IN_ALL_EVENTS), 0xfff);
        assert_eq!(stored(Mask::IN_ALL_EVENTS | Mask::IN_EXCL_UNLINK | Mask::IN_ONESHOT), 0x8400_0fff);
        assert_eq!(AddMask::new(ALL_INOTIFY_BITS).unwrap().stored(), 0x8400_0fff);
    }

    /// WATCH-2, WATCH-3, WATCH-4, ONESHOT-4
    #[test]
    fn update_replaces_or_adds_or_refuses() {
        let update = |mask: Mask, old: Mask| AddMask::new(mask.bits()).unwrap().update(old.bits());
        let old = Mask::IN_OPEN | Mask::IN_ONESHOT | Mask::IN_EXCL_UNLINK;
        assert_eq!(update(Mask::IN_CREATE, old), Ok(Mask::IN_CREATE.bits()));
        assert_eq!(update(Mask::IN_ISDIR, old), Ok(0));
        assert_eq!(update(Mask::IN_CREATE | Mask::IN_MASK_ADD, old), Ok((old | Mask::IN_CREATE).bits()));
        assert_eq!(
            update(Mask::IN_ONESHOT | Mask::IN_MASK_ADD, Mask::IN_OPEN),
            Ok((Mask::IN_OPEN | Mask::IN_ONESHOT).bits())
        );
        assert_eq!(update(Mask::IN_CREATE | Mask::IN_MASK_CREATE, old), Err(Errno::Exist));
    }
}
