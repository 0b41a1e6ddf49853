//! The environment of programs.

use std::ffi::{CString, OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use crate::socket::TOKEN_SEPARATOR;

/// Tells the shim where the emulator is: the path of its socket, `?token=`, and 32 hexadecimal digits.
pub(crate) const SOCKET: &str = "UINOTIFY_SOCKET";
/// Makes the shim leave every call to the kernel.
pub(crate) const DISABLE: &str = "UINOTIFY_DISABLE";
/// Between two images of one `uinotify run`: what `UINOTIFY_DISABLE` was before the first image set it. `=VALUE`, or
/// empty when it was not there.
pub(crate) const DISABLE_BEFORE: &str = "UINOTIFY_DISABLE_BEFORE_RUN";
/// What the dynamic linker loads first.
pub(crate) const PRELOAD: &str = "LD_PRELOAD";

/// The environment of this process with the changes that put a program under the emulator at `socket`, and behind a shim, if there is to be
/// one.
pub(crate) fn for_program(shim: Option<&Path>, socket: &Path, token: [u8; 16]) -> Vec<(OsString, OsString)> {
    changed(std::env::vars_os(), shim, socket, token)
}

fn changed(
    environment: impl Iterator<Item = (OsString, OsString)>,
    shim: Option<&Path>,
    socket: &Path,
    token: [u8; 16],
) -> Vec<(OsString, OsString)> {
    let mut environment: Vec<_> = environment.collect();
    if let Some(position) = environment.iter().position(|(name, _)| name == DISABLE_BEFORE) {
        let (_, before) = environment.swap_remove(position);
        match before.as_bytes().strip_prefix(b"=") {
            Some(value) => set(&mut environment, DISABLE, OsString::from_vec(value.to_owned())),
            None => environment.retain(|(name, _)| name != DISABLE),
        }
    }
    let before = environment.iter().find(|(name, _)| name == PRELOAD).map(|(_, value)| value.clone());
    let preloaded = match shim {
        Some(shim) => preload(shim, before.as_deref()),
        None => others(before.as_deref()).join(OsStr::new(":")),
    };
    if preloaded.is_empty() {
        environment.retain(|(name, _)| name != PRELOAD);
    } else {
        set(&mut environment, PRELOAD, preloaded);
    }

    set(&mut environment, SOCKET, address(socket, token));
    environment
}

/// Where an emulator is, and what it wants to hear.
pub(crate) fn address(socket: &Path, token: [u8; 16]) -> OsString {
    let mut address = socket.as_os_str().to_owned();
    address.push(TOKEN_SEPARATOR);
    for byte in token {
        address.push(format!("{byte:02x}"));
    }
    address
}

fn set(environment: &mut Vec<(OsString, OsString)>, name: &str, value: OsString) {
    environment.retain(|(other, _)| other != name);
    environment.push((name.into(), value));
}

/// The shim in front of what is preloaded already. Another shim is replaced: the inner of two nested runs wins.
pub(crate) fn preload(shim: &Path, before: Option<&OsStr>) -> OsString {
    [&[shim.as_os_str()], &others(before)[..]].concat().join(OsStr::new(":"))
}

/// What is preloaded besides a shim.
fn others(before: Option<&OsStr>) -> Vec<&OsStr> {
    let before = before.map_or(&b""[..], OsStr::as_bytes);
    // ld.so(8): the items of the list are separated by spaces or colons.
    let items = before.split(|byte| matches!(byte, b' ' | b':')).map(OsStr::from_bytes);
    items.filter(|item| !item.is_empty() && !is_shim(Path::new(item))).collect()
}

/// Whether a file is a shim by its name: `libuinotify*.so`.
pub(crate) fn is_shim(path: &Path) -> bool {
    let name = path.file_name().map_or(&b""[..], OsStr::as_bytes);
    name.starts_with(b"libuinotify") && name.ends_with(b".so")
}

/// The environment as `execve` takes it.
pub(crate) fn to_strings(environment: impl IntoIterator<Item = (OsString, OsString)>) -> Vec<CString> {
    let line = |(mut name, value): (OsString, OsString)| {
        name.push("=");
        name.push(value);
        // What came out of one environment, a path or our own digits has no NUL inside.
        CString::new(name.into_vec()).ok()
    };
    environment.into_iter().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        let environment = pairs.iter().map(|(name, value)| (name.into(), value.into()));
        let mut changed: Vec<_> =
            changed(environment, Some(Path::new("/r/libuinotify-1.so")), Path::new("/r/1.sock"), [0xab; 16])
                .into_iter()
                .map(|(name, value)| (name.into_string().unwrap(), value.into_string().unwrap()))
                .collect();
        changed.sort();
        changed
    }

    fn value<'a>(environment: &'a [(String, String)], name: &str) -> Option<&'a str> {
        environment.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    #[test]
    fn what_is_preloaded_stays_behind_the_shim() {
        let preload = |before| value(&of(&[("LD_PRELOAD", before)]), "LD_PRELOAD").unwrap().to_owned();
        assert_eq!(preload(""), "/r/libuinotify-1.so");
        assert_eq!(preload("libm.so.6 /a/b.so::c.so"), "/r/libuinotify-1.so:libm.so.6:/a/b.so:c.so");
        assert_eq!(preload("/x/libuinotify-2.so:/r/libuinotify.so a.so"), "/r/libuinotify-1.so:a.so");
        assert_eq!(value(&of(&[]), "LD_PRELOAD"), Some("/r/libuinotify-1.so"));
    }

    #[test]
    fn without_a_shim_what_else_is_preloaded_stays() {
        let preload = |before: &str| {
            let environment = [("LD_PRELOAD".into(), before.into())];
            let changed = changed(environment.into_iter(), None, Path::new("/r/1.sock"), [0; 16]);
            changed.into_iter().find(|(name, _)| name == "LD_PRELOAD").map(|(_, value)| value.into_string().unwrap())
        };
        assert_eq!(preload("/x/libuinotify-2.so"), None);
        assert_eq!(preload("/x/libuinotify-2.so:a.so b.so"), Some("a.so:b.so".to_owned()));
    }

    #[test]
    fn the_socket_is_replaced_and_the_rest_is_kept() {
        let changed = of(&[("UINOTIFY_SOCKET", "/old"), ("UINOTIFY_LOG", "calls"), ("A", "b=c")]);
        assert_eq!(value(&changed, "UINOTIFY_SOCKET"), Some("/r/1.sock?token=abababababababababababababababab"));
        assert_eq!(value(&changed, "UINOTIFY_LOG"), Some("calls"));
        assert_eq!(value(&changed, "A"), Some("b=c"));
        assert_eq!(changed.len(), 4);
    }

    #[test]
    fn a_nested_run_gives_back_what_it_hid() {
        let disable = |pairs: &[_]| {
            let changed = of(pairs);
            assert_eq!(value(&changed, DISABLE_BEFORE), None);
            value(&changed, DISABLE).map(str::to_owned)
        };
        assert_eq!(disable(&[(DISABLE, "1")]), Some("1".to_owned()), "from the user");
        assert_eq!(disable(&[(DISABLE, "1"), (DISABLE_BEFORE, "")]), None);
        assert_eq!(disable(&[(DISABLE_BEFORE, "=0"), (DISABLE, "1")]), Some("0".to_owned()));
    }
}
