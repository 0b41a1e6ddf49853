//! What is mounted in this mount name space (proc_pid_mountinfo(5)).

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// One mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mounted {
    /// Major and minor number of the device.
    pub device: (u32, u32),
    /// Where it is.
    pub point: PathBuf,
    /// Options of this mount, such as `nosuid`, joined by commas.
    pub options: String,
    /// The kind of the file system, such as `fuse.uinotify`.
    pub kind: String,
    /// What is mounted, as whoever mounted it named it.
    pub source: String,
}

impl Mounted {
    /// Whether the mount has an option.
    #[must_use]
    pub fn has(&self, option: &str) -> bool {
        self.options.split(',').any(|one| one == option)
    }

    /// `ID PARENT MAJOR:MINOR ROOT POINT OPTIONS [FIELD ...] - KIND SOURCE OPTIONS`
    fn parse(line: &[u8]) -> Option<Self> {
        let text = |word: Option<&[u8]>| Some(String::from_utf8_lossy(word?).into_owned());
        let mut words = line.split(|byte| *byte == b' ');
        let device = text(words.nth(2))?;
        let (major, minor) = device.split_once(':')?;
        let device = (major.parse().ok()?, minor.parse().ok()?);
        let point = OsString::from_vec(unescaped(words.nth(1)?)).into();
        let options = text(words.next())?;
        words.find(|word| *word == b"-")?;
        Some(Self { device, point, options, kind: text(words.next())?, source: text(words.next())? })
    }
}

/// All mounts, those on top of others behind them.
///
/// # Errors
///
/// If procfs cannot be read.
pub fn mounted() -> io::Result<Vec<Mounted>> {
    Ok(parse(&std::fs::read("/proc/self/mountinfo")?))
}

fn parse(table: &[u8]) -> Vec<Mounted> {
    table.split(|byte| *byte == b'\n').filter_map(Mounted::parse).collect()
}

/// Space, tab, line break and backslash stand as three octal digits.
fn unescaped(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((byte, behind)) = rest.split_first() {
        let octal =
            behind.first_chunk::<3>().and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        match (byte, octal) {
            (b'\\', Some(byte)) => {
                bytes.push(byte);
                rest = behind.get(3..).unwrap_or_default();
            }
            _ => {
                bytes.push(*byte);
                rest = behind;
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStrExt;
    use std::path::Path;

    #[test]
    fn lines_are_read_whatever_the_paths_are() {
        let table = b"22 1 254:0 / / rw,relatime - ext4 /dev/root rw\n\
            23 22 0:39 / /m\xff\\040x\\134 rw,nosuid shared:1 master:2 - fuse.uinotify uinotify rw,user_id=0\n\nodd\n";
        let [root, other] = &parse(table)[..] else { panic!("two mounts") };
        assert_eq!((root.device, root.point.as_path(), root.kind.as_str()), ((254, 0), Path::new("/"), "ext4"));
        assert_eq!(other.device, (0, 39));
        assert_eq!(other.point.as_os_str().as_bytes(), b"/m\xff x\\");
        assert_eq!((other.kind.as_str(), other.source.as_str()), ("fuse.uinotify", "uinotify"));
        assert!(other.has("nosuid") && !other.has("nodev") && !root.has("nosuid"));
    }

    #[test]
    fn this_machine_has_a_root() {
        let mounted = mounted().expect("the mounts");
        assert!(mounted.iter().any(|mount| mount.point == Path::new("/")));
    }
}
