//! `/proc/self/fd/N`.

use core::ffi::CStr;

const PREFIX: &[u8] = b"/proc/self/fd/";
const DIGITS_MAX: usize = 10;

/// The path of an open descriptor.
pub struct DescriptorPath([u8; PREFIX.len() + DIGITS_MAX + 1]);

impl DescriptorPath {
    /// The path of `fd`.
    #[must_use]
    pub fn new(fd: i32) -> Self {
        let mut bytes = [0; PREFIX.len() + DIGITS_MAX + 1];
        let mut digits = [0u8; DIGITS_MAX];
        let (mut number, mut count) = (fd.unsigned_abs(), 0);
        for digit in &mut digits {
            *digit = b'0' + (number % 10) as u8;
            number /= 10;
            count += 1;
            if number == 0 {
                break;
            }
        }
        let written = digits.iter().take(count).rev();
        for (to, &from) in bytes.iter_mut().zip(PREFIX.iter().chain(written)) {
            *to = from;
        }
        Self(bytes)
    }

    /// As the kernel wants it.
    #[must_use]
    pub fn as_c_str(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.0).unwrap_or(c"")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_ends_in_the_number() {
        for (fd, path) in
            [(0, c"/proc/self/fd/0"), (107, c"/proc/self/fd/107"), (i32::MAX, c"/proc/self/fd/2147483647")]
        {
            assert_eq!(DescriptorPath::new(fd).as_c_str(), path);
        }
    }
}
