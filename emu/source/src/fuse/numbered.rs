//! Maps by numbers that nobody outside can choose: several are asked in each request, and the library's own hash guards against
//! keys that are made to collide.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// A map by a number of ours.
pub(super) type Numbered<K, V> = HashMap<K, V, BuildHasherDefault<NumberHasher>>;

/// Scatters one number.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct NumberHasher(u64);

impl Hasher for NumberHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write_u64(&mut self, number: u64) {
        // The golden ratio's bits. The high half is the better one, and a map uses the ends of both.
        let scattered = (self.0 ^ number).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        self.0 = scattered ^ scattered >> 32;
    }

    fn write_u32(&mut self, number: u32) {
        self.write_u64(u64::from(number));
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_do_not_collide() {
        let hash = |number| {
            let mut hasher = NumberHasher::default();
            hasher.write_u64(number);
            hasher.finish()
        };
        // By the bits that choose the place in a table of this size.
        let places: std::collections::BTreeSet<_> = (0..1024).map(|number| hash(number) % 1024).collect();
        assert!(places.len() > 500, "{} places", places.len());
    }
}
