//! Paths in the caller's memory.
//!
//! Where Linux says EFAULT for a bad address, reading it here would end the program.

use crate::caller_memory::{PAGE_BYTES, is_readable};

/// When a path is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// Before the call that takes it: nobody has read it yet.
    Before,
    /// After a call that has succeeded, or failed for what the path names: the kernel has read it.
    After,
}

/// A string in the caller's memory, byte by byte up to its end or to the end of what can be read.
pub struct Bytes {
    /// 0 behind the end.
    address: usize,
    look: Look,
    is_proved: bool,
    is_whole: bool,
}

impl Bytes {
    /// The string at `path`.
    ///
    /// # Safety
    ///
    /// With [`Look::After`] the kernel must have read the string; with [`Look::Before`] any address will do.
    #[must_use]
    pub unsafe fn new(look: Look, path: *const u8) -> Self {
        Self { address: path as usize, look, is_proved: false, is_whole: false }
    }

    /// Was the end of the string seen?
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.is_whole
    }

    /// Is it a string without bytes? A bad address holds none.
    #[must_use]
    pub fn is_empty(mut self) -> bool {
        self.next().is_none() && self.is_whole
    }
}

impl Iterator for Bytes {
    type Item = u8;

    fn next(&mut self) -> Option<u8> {
        if self.address == 0 {
            return None;
        }
        if self.look == Look::Before && (!self.is_proved || self.address.is_multiple_of(PAGE_BYTES)) {
            if !is_readable(self.address) {
                self.address = 0;
                return None;
            }
            self.is_proved = true;
        }
        // SAFETY: the byte was proved to be readable above, or by the kernel, as `new` demands.
        let byte = unsafe { (self.address as *const u8).read_volatile() };
        self.is_whole = byte == 0;
        self.address = if self.is_whole { 0 } else { self.address.wrapping_add(1) };
        (!self.is_whole).then_some(byte)
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::vec::Vec;

    fn before(path: *const u8) -> Vec<u8> {
        // SAFETY: any address will do.
        unsafe { Bytes::new(Look::Before, path) }.collect()
    }

    #[test]
    fn a_string_is_read_to_its_end() {
        assert_eq!(before(c"/proc/self/fd/5".as_ptr().cast()), b"/proc/self/fd/5");
        assert_eq!(before(c"".as_ptr().cast()), b"");
        let long = std::ffi::CString::new(std::vec![b'x'; 3 * PAGE_BYTES]).expect("no zero byte");
        assert_eq!(before(long.as_ptr().cast()).len(), 3 * PAGE_BYTES);
        // SAFETY: the string is readable.
        assert_eq!(unsafe { Bytes::new(Look::After, c"after".as_ptr().cast()) }.count(), 5);
    }

    #[test]
    fn bad_addresses_hold_nothing() {
        for address in [0usize, 1, 4095, usize::MAX, usize::MAX - 7, 1 << 47] {
            assert_eq!(before(address as *const u8), b"", "{address:#x}");
            // SAFETY: any address will do.
            let mut bytes = unsafe { Bytes::new(Look::Before, address as *const u8) };
            assert_eq!(bytes.next(), None);
            assert!(!bytes.is_whole());
        }
    }
}
