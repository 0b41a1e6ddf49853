//! The ways that the data of open files take, and which of them Linux lets an object have at one time.
//!
//! An open that does not fit would fail in the program with EIO: while a file is passed through, all files of its object have to be
//! opened with the same backing, and while one is not, none may be (Linux 6.9, fs/fuse/iomode.c). A file that is opened past the
//! page cache counts too, as a shared mapping of it brings the page cache in.

/// The way of one open file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// Each call is a request.
    Direct,
    /// Through the page cache: a write is a request, a read only where the cache has nothing.
    Cached,
    /// With a backing: the kernel reads and writes the lower file itself, or could.
    Backed,
}

/// The open files of an object, by their ways.
#[derive(Debug, Default)]
pub(super) struct Ways {
    backing: Option<u32>,
    backed: u32,
    backed_writers: u32,
    direct: u32,
    cached: u32,
}

impl Ways {
    /// The kernel's number of the lower file that all opens have to name.
    pub(super) fn backing(&self) -> Option<u32> {
        self.backing
    }

    /// Whether the next file may be opened with a backing, or go through the page cache, as one likes.
    pub(super) fn is_free(&self) -> bool {
        self.backed == 0 && self.direct == 0 && self.cached == 0
    }

    pub(super) fn is_cached(&self) -> bool {
        self.cached > 0
    }

    /// Whether the lower file may change by a mapping, of which nobody is told.
    pub(super) fn may_change_unseen(&self) -> bool {
        self.backed_writers > 0
    }

    pub(super) fn set_backing(&mut self, backing: u32) {
        self.backing = Some(backing);
    }

    pub(super) fn opened(&mut self, way: Way, is_writable: bool) {
        match way {
            Way::Direct => self.direct += 1,
            Way::Cached => self.cached += 1,
            Way::Backed => {
                self.backed += 1;
                self.backed_writers += u32::from(is_writable);
            }
        }
    }

    /// One is closed; a backing that no other needs comes back. The kernel has let go of it before it sends RELEASE.
    pub(super) fn closed(&mut self, way: Way, is_writable: bool) -> Option<u32> {
        match way {
            Way::Direct => self.direct -= 1,
            Way::Cached => self.cached -= 1,
            Way::Backed => {
                self.backed -= 1;
                self.backed_writers -= u32::from(is_writable);
            }
        }
        if self.backed == 0 { self.backing.take() } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backing_lasts_as_long_as_files_need_it() {
        let mut ways = Ways::default();
        assert!(ways.is_free());
        ways.set_backing(7);
        ways.opened(Way::Backed, true);
        ways.opened(Way::Backed, false);
        assert!(!ways.is_free() && ways.may_change_unseen());
        assert_eq!(ways.closed(Way::Backed, true), None);
        assert_eq!((ways.backing(), ways.may_change_unseen()), (Some(7), false));
        assert_eq!(ways.closed(Way::Backed, false), Some(7));
        assert_eq!((ways.backing(), ways.is_free()), (None, true));
    }

    #[test]
    fn any_open_file_decides_for_the_others() {
        for way in [Way::Direct, Way::Cached] {
            let mut ways = Ways::default();
            ways.opened(way, false);
            assert_eq!((ways.is_free(), ways.is_cached()), (false, way == Way::Cached));
            assert_eq!(ways.closed(way, false), None);
            assert!(ways.is_free());
        }
    }
}
