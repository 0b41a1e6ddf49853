//! The caller's memory, where Linux says EFAULT for a bad address and reading it here would end the program.

use crate::raw::{Errno, number, syscall};

/// Pages are as large or larger, and end with one of these.
pub const PAGE_BYTES: usize = 4096;

/// Can the word that holds this byte be read? Asked by a change of the signal mask in a way that there is not, for which the kernel first copies the
/// new mask.
#[must_use]
pub fn is_readable(address: usize) -> bool {
    const NO_WAY: usize = 99;
    // A word does not cross the end of a page.
    let word = address & !7;
    // A null pointer stands for no mask.
    // SAFETY: the kernel copies the word, or answers EFAULT, and then refuses the way.
    word != 0 && unsafe { syscall(number::RT_SIGPROCMASK, [NO_WAY, word, 0, 8, 0, 0]) } != Err(Errno::FAULT)
}

/// Can these bytes be written? The kernel writes one into each page of them, as the first of the signals that are pending.
///
/// # Safety
///
/// The bytes are the caller's to have written.
pub unsafe fn is_writable(start: *mut u8, length: usize) -> bool {
    let Some(last) = length.checked_sub(1) else { return true };
    let start = start as usize;
    let Some(end) = start.checked_add(last) else { return false };
    let first_page = start - start % PAGE_BYTES;
    (first_page..=end).step_by(PAGE_BYTES).all(|page| {
        // SAFETY: the kernel writes one of the bytes, by this function's contract, or answers EFAULT.
        unsafe { syscall(number::RT_SIGPENDING, [page.max(start), 1, 0, 0, 0, 0]) }.is_ok()
    })
}

/// Can an array be read, as far as its pages tell?
#[must_use]
pub fn is_array_readable<T>(start: *const T, count: usize) -> bool {
    let Some(last) = count.checked_mul(size_of::<T>()).and_then(|bytes| bytes.checked_sub(1)) else {
        return count == 0;
    };
    let start = start as usize;
    let Some(end) = start.checked_add(last) else { return false };
    let first_page = start - start % PAGE_BYTES;
    (first_page..=end).step_by(PAGE_BYTES).all(|page| is_readable(page.max(start)))
}

/// May a program have memory here at all? The kernel asks that of a whole buffer first, and fills only the beginning of a large one.
#[must_use]
pub fn is_in_address_space(start: usize, length: usize) -> bool {
    /// A buffer below the usual end of a program's addresses may reach it; larger address spaces are for those who ask for them.
    const USUAL_BITS: u32 = if cfg!(target_arch = "x86_64") { 47 } else { 48 };
    const LARGEST_BITS: u32 = if cfg!(target_arch = "x86_64") { 56 } else { 52 };
    let bits = if start >> USUAL_BITS == 0 { USUAL_BITS } else { LARGEST_BITS };
    start
        .checked_add(length)
        .is_some_and(|end| end <= (1 << bits) - if cfg!(target_arch = "x86_64") { PAGE_BYTES } else { 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_addresses_are_neither_read_nor_written() {
        for address in [0usize, 1, 4095, usize::MAX, usize::MAX - 7, 1 << 47] {
            assert!(!is_readable(address), "{address:#x}");
            // SAFETY: nothing is mapped there.
            assert!(!unsafe { is_writable(address as *mut u8, 1) }, "{address:#x}");
        }
    }

    #[test]
    fn an_array_is_looked_at_to_its_end() {
        let array = [0u64; 2000];
        assert!(is_array_readable(array.as_ptr(), array.len()));
        assert!(is_array_readable(core::ptr::null::<u64>(), 0));
        for count in [1 << 50, usize::MAX, usize::MAX / 8] {
            assert!(!is_array_readable(array.as_ptr(), count), "{count}");
        }
    }

    #[test]
    fn a_buffer_ends_where_programs_do() {
        let byte = 0u8;
        let start = &raw const byte as usize;
        assert!(is_in_address_space(start, 1 << 20));
        for length in [1 << 60, usize::MAX, isize::MAX as usize] {
            assert!(!is_in_address_space(start, length), "{length:#x}");
        }
    }
}
