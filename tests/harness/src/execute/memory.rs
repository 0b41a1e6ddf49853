//! Painted memory that ends at a page without access.

use std::ffi::c_void;

use anyhow::{Result, ensure};

/// What every byte holds before a call. No event is made of it: as a `len` it is beyond any name.
pub(super) const PAINT: u8 = 0xa5;

/// `usable` writable bytes, painted, directly in front of a page that faults.
pub(super) struct Painted {
    base: *mut c_void,
    mapped: usize,
    start: usize,
}

impl Painted {
    pub(super) fn new(usable: usize) -> Result<Self> {
        let page = page_size();
        let front = usable.div_ceil(page) * page;
        let mapped = front + page;
        // SAFETY: a new anonymous mapping at an address of the kernel's choice touches no memory of ours.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                mapped,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        ensure!(base != libc::MAP_FAILED, "no memory for a buffer");
        let painted = Self { base, mapped, start: front - usable };
        // SAFETY: `front` is inside the mapping of `mapped` bytes made above.
        let guard = unsafe { base.cast::<u8>().add(front) };
        // SAFETY: `guard` is page-aligned and one page of our own mapping lies there.
        let denied = unsafe { libc::mprotect(guard.cast(), page, libc::PROT_NONE) };
        ensure!(denied == 0, "no guard page");
        // SAFETY: `front` writable bytes lie at `base`, and nothing else refers to them.
        unsafe { std::ptr::write_bytes(base.cast::<u8>(), PAINT, front) };
        Ok(painted)
    }

    /// Of the first usable byte.
    pub(super) fn pointer(&self) -> *mut c_void {
        // SAFETY: `start` is inside the mapping.
        unsafe { self.base.cast::<u8>().add(self.start) }.cast()
    }

    /// The usable bytes, of which there are `length`.
    pub(super) fn bytes(&self, length: usize) -> &[u8] {
        debug_assert!(self.start + length + page_size() <= self.mapped);
        // SAFETY: `length` readable bytes lie there until the drop, and no call that writes is under way.
        unsafe { std::slice::from_raw_parts(self.pointer().cast(), length) }
    }
}

impl Drop for Painted {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours alone, and no slice of it outlives `self`.
        unsafe { libc::munmap(self.base, self.mapped) };
    }
}

/// Whether no byte was written since the painting.
pub(super) fn untouched(bytes: &[u8]) -> bool {
    bytes.iter().all(|&byte| byte == PAINT)
}

pub(super) fn page_size() -> usize {
    // SAFETY: sysconf takes no pointer.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(size).unwrap_or(4096)
}
