//! How bytes, masks, flags and devices stand in JSON: so that a person can read them, and nothing is lost.

use std::fmt;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uinotify_core::Mask;

/// A path or a name: bytes without NUL, UTF-8 or not.
///
/// In JSON a string in which what is not UTF-8, control characters and `%` itself are `%` and two hexadecimal digits a byte, as
/// in URLs: `caf%E9`. Python's `urllib.parse.unquote_to_bytes` reads it.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct ByteString(pub Vec<u8>);

impl fmt::Debug for ByteString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

impl From<&[u8]> for ByteString {
    fn from(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }
}

impl fmt::Display for ByteString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            for character in chunk.valid().chars() {
                if character == '%' || character.is_control() {
                    let mut buffer = [0; 4];
                    write_escaped(f, character.encode_utf8(&mut buffer).as_bytes())?;
                } else {
                    write!(f, "{character}")?;
                }
            }
            write_escaped(f, chunk.invalid())?;
        }
        Ok(())
    }
}

fn write_escaped(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "%{byte:02X}"))
}

impl ByteString {
    /// Reads what [`Display`](fmt::Display) writes. Any byte but NUL may be escaped.
    ///
    /// # Errors
    ///
    /// A `%` without two hexadecimal digits, or a NUL byte.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let mut parts = text.as_bytes().split(|&byte| byte == b'%');
        let mut bytes = parts.next().unwrap_or_default().to_vec();
        for part in parts {
            let (digits, rest) =
                part.split_first_chunk().ok_or("a % is not in front of two hexadecimal digits (itself it is %25)")?;
            bytes.push(byte_of(*digits).ok_or("a % is not in front of two hexadecimal digits (itself it is %25)")?);
            bytes.extend_from_slice(rest);
        }
        if bytes.contains(&0) { Err("a path or a name has no NUL byte") } else { Ok(Self(bytes)) }
    }
}

fn byte_of(digits: [u8; 2]) -> Option<u8> {
    let [high, low] = digits.map(|digit| char::from(digit).to_digit(16));
    u8::try_from(high? * 16 + low?).ok()
}

impl Serialize for ByteString {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ByteString {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

/// A device, as /proc/self/mountinfo shows it: `254:0`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Device {
    /// Of the driver.
    pub major: u32,
    /// Of the device.
    pub minor: u32,
}

/// How many bits of the kernel's own `dev_t` are the minor number.
const KERNEL_MINOR_BITS: u32 = 20;

impl Device {
    /// The kernel's own `dev_t`, which fdinfo shows as `sdev`, and CRIU keeps: twelve bits and twenty.
    #[must_use]
    pub fn from_kernel(dev: u32) -> Self {
        Self { major: dev >> KERNEL_MINOR_BITS, minor: dev & ((1 << KERNEL_MINOR_BITS) - 1) }
    }

    /// The kernel's own `dev_t`. `None` for numbers that it has no room for.
    #[must_use]
    pub fn to_kernel(self) -> Option<u32> {
        let Self { major, minor } = self;
        (major >> (u32::BITS - KERNEL_MINOR_BITS) == 0 && minor >> KERNEL_MINOR_BITS == 0)
            .then_some(major << KERNEL_MINOR_BITS | minor)
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.major, self.minor)
    }
}

impl Serialize for Device {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Device {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let numbers = text.split_once(':').and_then(|(major, minor)| Some((number(major, 10)?, number(minor, 10)?)));
        let (major, minor) = numbers.ok_or_else(|| D::Error::custom("a device is MAJOR:MINOR, such as 254:0"))?;
        Ok(Self { major, minor })
    }
}

/// Without the sign that `from_str_radix` takes.
fn number(digits: &str, radix: u32) -> Option<u32> {
    if digits.starts_with('+') { None } else { u32::from_str_radix(digits, radix).ok() }
}

/// The names of a mask's bits, with `|` between them: `IN_CREATE|IN_DELETE`. Bits without a name are one hexadecimal number.
#[must_use]
pub fn show_mask(bits: u32) -> String {
    let mut rest = Mask::from_bits_retain(bits);
    let mut names = Vec::new();
    if rest.contains(Mask::IN_ALL_EVENTS) {
        rest.remove(Mask::IN_ALL_EVENTS);
        names.push("IN_ALL_EVENTS".to_owned());
    }
    names.extend(rest.iter_names().map(|(name, _)| name.to_owned()));
    let unnamed = rest.bits() & !Mask::all().bits();
    if unnamed != 0 || names.is_empty() {
        names.push(format!("{unnamed:#x}"));
    }
    names.join("|")
}

/// Reads what [`show_mask`] writes, in any order.
///
/// # Errors
///
/// The part that is neither a name nor a hexadecimal number.
pub fn parse_mask(text: &str) -> Result<u32, String> {
    text.split('|').try_fold(0, |bits, part| {
        let named = Mask::from_name(part).map(|mask| mask.bits());
        let known = named.or_else(|| number(part.strip_prefix("0x")?, 16));
        known
            .map(|more| bits | more)
            .ok_or_else(|| format!("{part:?} is no bit of inotify, such as IN_CREATE, nor a number such as 0x1000"))
    })
}

/// A mask, for `serde(with)`.
pub mod mask {
    use super::*;

    /// Writes what [`show_mask`] gives.
    ///
    /// # Errors
    ///
    /// The serializer's.
    pub fn serialize<S: Serializer>(mask: &u32, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&show_mask(*mask))
    }

    /// Reads what [`parse_mask`] does.
    ///
    /// # Errors
    ///
    /// What [`parse_mask`] says.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
        parse_mask(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

/// Status flags in octal with a zero in front, as fdinfo has them, for `serde(with)`.
pub(crate) mod octal {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(flags: &u32, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("0{flags:o}"))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.strip_prefix('0')
            .and_then(|digits| number(digits, 8))
            .ok_or_else(|| D::Error::custom("flags are octal as in fdinfo, such as 04000"))
    }
}

/// Bytes as hexadecimal digits, two a byte, as fdinfo has a file handle, for `serde(with)`.
pub(crate) mod hexadecimal {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        serializer.serialize_str(&digits)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(deserializer)?;
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        let bytes: Option<Vec<u8>> = pairs.iter().map(|pair| byte_of(*pair)).collect();
        bytes.filter(|_| rest.is_empty()).ok_or_else(|| D::Error::custom("bytes are hexadecimal digits, two a byte"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_readable() {
        for (bytes, text) in [
            (&b"/tmp/a b"[..], "/tmp/a b"),
            ("/tmp/\u{e9}\u{1f980}".as_bytes(), "/tmp/\u{e9}\u{1f980}"),
            (b"caf\xe9", "caf%E9"),
            (b"100%", "100%25"),
            (b"a\nb\x1b[0m\x7f", "a%0Ab%1B[0m%7F"),
            ("\u{85}".as_bytes(), "%C2%85"),
            (b"\xf0\x9f", "%F0%9F"),
            (b"", ""),
        ] {
            assert_eq!(ByteString::from(bytes).to_string(), text);
            assert_eq!(ByteString::parse(text), Ok(ByteString::from(bytes)));
        }
        assert_eq!(ByteString::parse("%2fx%c3%A9"), Ok(ByteString::from("/x\u{e9}".as_bytes())));
        for refused in ["%", "%4", "a%zz", "%+1", "%%41", "%\u{e9}", "%00", "a\0"] {
            assert!(ByteString::parse(refused).is_err(), "{refused:?}");
        }
    }

    #[test]
    fn masks_are_names() {
        for (bits, text) in [
            (0x300, "IN_CREATE|IN_DELETE"),
            (0x8400_0fff, "IN_ALL_EVENTS|IN_EXCL_UNLINK|IN_ONESHOT"),
            (0x1020, "IN_OPEN|0x1000"),
            (0, "0x0"),
        ] {
            assert_eq!(show_mask(bits), text);
            assert_eq!(parse_mask(text), Ok(bits));
        }
        assert_eq!(parse_mask("IN_DELETE|0x1|IN_CREATE"), Ok(0x301));
        for refused in ["", "IN_CREATE|", "in_create", "256", "0x", "0x+1", "0x100000000", "IN_CREATE IN_DELETE"] {
            assert!(parse_mask(refused).is_err(), "{refused:?}");
        }
    }

    #[test]
    fn devices_have_the_kernels_encoding() {
        let device = Device { major: 254, minor: 0 };
        assert_eq!(device.to_kernel(), Some(0xfe0_0000));
        for dev in [0, 0xfe0_0000, 0x12_3456, u32::MAX] {
            assert_eq!(Device::from_kernel(dev).to_kernel(), Some(dev));
        }
        for (major, minor) in [(4096, 0), (0, 1 << 20)] {
            assert_eq!(Device { major, minor }.to_kernel(), None);
        }
        assert_eq!(serde_json::from_str::<Device>("\"254:0\"").unwrap(), device);
        for refused in ["254", "254:", ":0", "254:+1", "254:0:1", "4294967296:0"] {
            assert!(serde_json::from_str::<Device>(&format!("{refused:?}")).is_err(), "{refused}");
        }
    }
}
