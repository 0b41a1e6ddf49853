//! Numbers of the command line: decimal, or hexadecimal after `0x`.

use std::ops::RangeInclusive;
use std::time::Duration;

/// Reads a watch descriptor: 1 to 0x7fffffff, the range that `INOTIFY_IOC_SETNEXTWD` takes.
///
/// # Errors
/// A sentence that names the range, when `text` is no number or is outside it.
pub fn watch_descriptor(text: &str) -> Result<i32, String> {
    parse(text)
        .and_then(|number| i32::try_from(number).ok())
        .filter(|wd| *wd >= 1)
        .ok_or_else(|| "a watch descriptor is a number from 1 to 0x7fffffff (2147483647)".to_owned())
}

/// Reads a limit: 0 to 0xffffffff.
///
/// # Errors
/// A sentence that names the range, when `text` is no number or is outside it.
pub fn limit(text: &str) -> Result<u32, String> {
    parse(text)
        .and_then(|number| u32::try_from(number).ok())
        .ok_or_else(|| "a limit is a number from 0 to 0xffffffff (4294967295)".to_owned())
}

/// Reads a number of steps: 0 to 2^64 - 1.
///
/// # Errors
/// A sentence that says what it has to be, when `text` is no such number.
pub fn count(text: &str) -> Result<u64, String> {
    parse(text).ok_or_else(|| "a number of steps is 0 or more".to_owned())
}

/// Reads the time from one look at what is polled to the next: 10 ms to a day.
///
/// # Errors
/// A sentence that says what it has to be, when `text` is no such duration.
pub fn interval(text: &str) -> Result<Duration, String> {
    const RANGE: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(24 * 3600);
    let interval = humantime::parse_duration(text).ok().filter(|interval| RANGE.contains(interval));
    interval.ok_or_else(|| "an interval is a duration from 10ms to 1day, such as 200ms, 1s or 2m".to_owned())
}

/// Shows a watch descriptor in decimal, as a program sees it, and above 0xffff in hexadecimal too, as
/// `/proc/PID/fdinfo` shows it.
#[must_use]
pub fn show_watch_descriptor(wd: i32) -> String {
    if wd > 0xffff { format!("{wd} ({wd:#x})") } else { wd.to_string() }
}

fn parse(text: &str) -> Option<u64> {
    let (digits, radix) = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => (digits, 16),
        None => (text, 10),
    };
    // `from_str_radix` takes a sign, also after the prefix.
    if digits.starts_with(['+', '-']) {
        return None;
    }
    u64::from_str_radix(digits, radix).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_have_units_and_bounds() {
        assert_eq!(interval("200ms"), Ok(Duration::from_millis(200)));
        assert_eq!(interval("1m 30s"), Ok(Duration::from_secs(90)));
        for refused in ["", "1", "0s", "9ms", "2days", "-1s", "x"] {
            assert!(interval(refused).is_err(), "{refused:?} was taken");
        }
    }

    #[test]
    fn watch_descriptors_are_one_to_int_max() {
        assert_eq!(watch_descriptor("1"), Ok(1));
        assert_eq!(watch_descriptor("0x34d71d6"), Ok(55_407_062));
        assert_eq!(watch_descriptor("0X7FFFFFFF"), Ok(i32::MAX));
        for refused in
            ["0", "-1", "+1", "0x", "0x-1", "0x+1", "", " 1", "2147483648", "0x80000000", "99999999999999999999", "1f"]
        {
            assert!(watch_descriptor(refused).is_err(), "{refused:?} was taken");
        }
    }

    #[test]
    fn limits_are_zero_to_the_largest_u32() {
        assert_eq!(limit("0"), Ok(0));
        assert_eq!(limit("0x10"), Ok(16));
        assert_eq!(limit("4294967295"), Ok(u32::MAX));
        for refused in ["4294967296", "-0", "x10", "1_000"] {
            assert!(limit(refused).is_err(), "{refused:?} was taken");
        }
    }

    #[test]
    fn large_watch_descriptors_show_both_bases() {
        assert_eq!(show_watch_descriptor(3), "3");
        assert_eq!(show_watch_descriptor(0xffff), "65535");
        assert_eq!(show_watch_descriptor(55_407_062), "55407062 (0x34d71d6)");
    }
}
