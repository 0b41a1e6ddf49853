//! The name that tells an emulated descriptor from every other.
//!
//! The emulator binds its end of the socketpair to an abstract name, which `getpeername` shows on the program's end: after
//! `dup`, `fork`, `exec` and `SCM_RIGHTS`, and after the emulator has died.

/// How every name begins; the first byte makes it abstract.
pub const NAME_PREFIX: &[u8] = b"\0uinotify/1/";

/// The longest name: prefix, three numbers of at most 20 digits and two separators.
pub const NAME_BYTES_MAX: usize = 12 + 3 * 20 + 2;

/// What a name says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InstanceName {
    /// The emulator's pid.
    pub emulator_pid: u64,
    /// When the emulator started, in clock ticks since boot: pids are reused, and abstract names are one space a network
    /// namespace.
    pub start_ticks: u64,
    /// The group, among all that the process has had.
    pub group: u64,
}

impl InstanceName {
    /// Writes the name; returns the bytes used.
    pub fn write(&self, buffer: &mut [u8; NAME_BYTES_MAX]) -> usize {
        let mut end = NAME_PREFIX.len();
        buffer[..end].copy_from_slice(NAME_PREFIX);
        for (index, number) in [self.emulator_pid, self.start_ticks, self.group].into_iter().enumerate() {
            if index > 0 {
                buffer[end] = b'/';
                end += 1;
            }
            end += write_decimal(number, &mut buffer[end..]);
        }
        end
    }

    /// Reads `sun_path` as `getpeername` gave it. `None` if the socket is not ours.
    #[must_use]
    pub fn parse(sun_path: &[u8]) -> Option<Self> {
        let rest = sun_path.strip_prefix(NAME_PREFIX)?;
        let mut numbers = [None; 3];
        let mut parts = rest.split(|&byte| byte == b'/');
        for number in &mut numbers {
            *number = read_decimal(parts.next()?);
        }
        if parts.next().is_some() {
            return None;
        }
        let [emulator_pid, start_ticks, group] = numbers;
        Some(Self { emulator_pid: emulator_pid?, start_ticks: start_ticks?, group: group? })
    }
}

fn write_decimal(mut number: u64, buffer: &mut [u8]) -> usize {
    let mut digits = [0; 20];
    let mut count = 0;
    loop {
        digits[count] = b'0' + (number % 10) as u8;
        number /= 10;
        count += 1;
        if number == 0 {
            break;
        }
    }
    for (to, from) in buffer.iter_mut().zip(digits[..count].iter().rev()) {
        *to = *from;
    }
    count
}

fn read_decimal(bytes: &[u8]) -> Option<u64> {
    if bytes.is_empty() {
        return None;
    }
    bytes.iter().try_fold(0u64, |number, &byte| {
        let digit = byte.checked_sub(b'0').filter(|digit| *digit < 10)?;
        number.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_survives() {
        for group in [0, 7, u64::MAX] {
            let name = InstanceName { emulator_pid: u64::MAX, start_ticks: u64::MAX, group };
            let mut buffer = [0; NAME_BYTES_MAX];
            let length = name.write(&mut buffer);
            assert_eq!(InstanceName::parse(&buffer[..length]), Some(name));
        }
    }

    #[test]
    fn the_largest_name_has_room() {
        let largest = InstanceName { emulator_pid: u64::MAX, start_ticks: u64::MAX, group: u64::MAX };
        assert_eq!(largest.write(&mut [0; NAME_BYTES_MAX]), NAME_BYTES_MAX);
    }

    #[test]
    fn other_names_are_not_ours() {
        for other in [
            &b""[..],
            b"\0uinotify/1/",
            b"\0uinotify/1/1/2",
            b"\0uinotify/1/1/2/3/4",
            b"\0uinotify/2/1/2/3",
            b"uinotify/1/1/2/3",
            b"\0uinotify/1/1/2/x",
            b"\0uinotify/1/1/2/:",
            b"\0uinotify/1/1/2//",
            b"\0uinotify/1/1//3",
        ] {
            assert_eq!(InstanceName::parse(other), None, "{other:?}");
        }
    }
}
