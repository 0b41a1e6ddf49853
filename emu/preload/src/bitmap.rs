//! Which descriptors may be ours: one bit a descriptor, a hint only.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

const WORDS: usize = 16384;

/// Bits for the descriptors below 2^20, the largest `RLIMIT_NOFILE` that Linux allows as it comes. A larger one is never ours.
pub struct Bitmap {
    words: [AtomicU64; WORDS],
    /// One more than the highest descriptor that was ever set: bounds a walk over all.
    end: AtomicU32,
}

/// Descriptors that may be emulated inotify instances.
pub static INSTANCES: Bitmap = Bitmap::new();

/// Epoll descriptors that may hold one of ours.
pub static EPOLLS: Bitmap = Bitmap::new();

impl Bitmap {
    const fn new() -> Self {
        Self { words: [const { AtomicU64::new(0) }; WORDS], end: AtomicU32::new(0) }
    }

    /// Is the bit set? A negative descriptor has none.
    #[inline]
    pub fn contains(&self, fd: i32) -> bool {
        let index = fd as u32 as usize;
        self.words.get(index / 64).is_some_and(|word| word.load(Ordering::Relaxed) >> (index % 64) & 1 != 0)
    }

    /// Sets the bit.
    pub fn set(&self, fd: i32) {
        let index = fd as u32 as usize;
        if let Some(word) = self.words.get(index / 64) {
            self.end.fetch_max(fd as u32 + 1, Ordering::Relaxed);
            word.fetch_or(1 << (index % 64), Ordering::Relaxed);
        }
    }

    /// Clears the bit.
    pub fn clear(&self, fd: i32) {
        let index = fd as u32 as usize;
        if let Some(word) = self.words.get(index / 64) {
            word.fetch_and(!(1 << (index % 64)), Ordering::Relaxed);
        }
    }

    /// Was any bit ever set?
    #[inline]
    pub fn was_used(&self) -> bool {
        self.end.load(Ordering::Relaxed) != 0
    }

    /// The bits of descriptors 64 x `index` and up.
    #[inline]
    pub fn word(&self, index: usize) -> u64 {
        self.words.get(index).map_or(0, |word| word.load(Ordering::Relaxed))
    }

    /// The descriptors whose bit is set.
    pub fn iter(&self) -> impl Iterator<Item = i32> + '_ {
        let words = (self.end.load(Ordering::Relaxed) as usize).div_ceil(64);
        (0..words).flat_map(|index| Ones(self.word(index)).map(move |bit| (index * 64) as i32 + bit))
    }
}

/// The numbers of the bits that are set in a word, lowest first.
pub struct Ones(pub u64);

impl Iterator for Ones {
    type Item = i32;

    fn next(&mut self) -> Option<i32> {
        if self.0 == 0 {
            return None;
        }
        let bit = self.0.trailing_zeros() as i32;
        self.0 &= self.0 - 1;
        Some(bit)
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::vec::Vec;

    #[test]
    fn bits_are_set_walked_and_cleared() {
        static BITMAP: Bitmap = Bitmap::new();
        assert!(!BITMAP.was_used());
        for fd in [0, 63, 64, 1000, (1 << 20) - 1] {
            assert!(!BITMAP.contains(fd));
            BITMAP.set(fd);
            assert!(BITMAP.contains(fd));
        }
        assert_eq!(BITMAP.iter().collect::<Vec<_>>(), [0, 63, 64, 1000, (1 << 20) - 1]);
        BITMAP.clear(64);
        assert!(!BITMAP.contains(64) && BITMAP.contains(63));
    }

    #[test]
    fn descriptors_without_a_bit_are_not_ours() {
        for fd in [-1, i32::MIN, 1 << 20, i32::MAX] {
            INSTANCES.set(fd);
            assert!(!INSTANCES.contains(fd));
        }
    }
}
