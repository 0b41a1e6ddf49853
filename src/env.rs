//! `uinotify env`: what puts the programs of a shell under a server.

use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use anyhow::{Context, bail};
use nix::errno::Errno;
use nix::unistd::geteuid;

use crate::environment::{PRELOAD, SOCKET, preload};
use crate::shim_file;
use crate::socket::server_at;

/// Prints commands of a POSIX shell that export `LD_PRELOAD` and `UINOTIFY_SOCKET` for the server at `socket`, to standard output.
///
/// # Errors
/// No server answers there, it is another user's, no folder takes the shim, or standard output cannot be written.
pub fn env(socket: &Path) -> anyhow::Result<()> {
    let path = std::path::absolute(socket).with_context(|| format!("cannot use {}", socket.display()))?;
    check(&path)?;
    let shim = shim_file::install_for_user()?;
    let mut text = Vec::new();
    export(&mut text, PRELOAD, &preload(&shim, std::env::var_os(PRELOAD).as_deref()));
    export(&mut text, SOCKET, path.as_os_str());
    io::stdout().write_all(&text).context("cannot write to standard output")
}

/// The environment of this process with the changes that put a program under the emulator at an address, `PATH` or `PATH?token=HEX`.
pub(crate) fn for_address(address: &OsStr) -> anyhow::Result<Vec<(OsString, OsString)>> {
    let shim = shim_file::install_for_user()?;
    let library = preload(&shim, std::env::var_os(PRELOAD).as_deref());
    let kept = std::env::vars_os().filter(|(name, _)| name != PRELOAD && name != SOCKET);
    Ok(kept.chain([(PRELOAD.into(), library), (SOCKET.into(), address.to_owned())]).collect())
}

fn check(path: &Path) -> anyhow::Result<()> {
    let shown = path.display();
    match server_at(path) {
        Ok(server) if server.uid == geteuid().as_raw() || server.uid == 0 => Ok(()),
        Ok(server) => bail!("the server at {shown} is that of user {}: it serves no program of yours", server.uid),
        // Its queue is full: it is there.
        Err(Errno::EAGAIN) => Ok(()),
        Err(Errno::ENOENT | Errno::ENOTDIR) => {
            bail!("no server is at {shown}; start one: uinotify serve --socket {shown}")
        }
        Err(Errno::ECONNREFUSED) => {
            bail!("no server answers at {shown} any more; start one: uinotify serve --socket {shown}")
        }
        Err(Errno::EACCES) => bail!("you may not connect to {shown}: it is another user's server"),
        Err(Errno::EPROTOTYPE) => bail!("{shown} is the socket of another program"),
        Err(errno) => bail!("cannot connect to {shown}: {}", errno.desc()),
    }
}

fn export(text: &mut Vec<u8>, name: &str, value: &OsStr) {
    text.extend_from_slice(format!("export {name}=").as_bytes());
    text.extend_from_slice(quoted(value).as_bytes());
    text.push(b'\n');
}

/// A word that every POSIX shell reads as `value`: a quote inside single quotes ends them, stands escaped, and begins them again.
pub(crate) fn quoted(value: &OsStr) -> OsString {
    let mut word = b"'".to_vec();
    for &byte in value.as_bytes() {
        match byte {
            b'\'' => word.extend_from_slice(b"'\\''"),
            byte => word.push(byte),
        }
    }
    word.push(b'\'');
    std::os::unix::ffi::OsStringExt::from_vec(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_reads_what_was_meant() {
        let value = OsStr::from_bytes(b"a 'b' \"$c\" `d` \\ \n\xff*");
        let mut script = b"printf %s ".to_vec();
        script.extend_from_slice(quoted(value).as_bytes());
        let shell = std::process::Command::new("sh").arg("-c").arg(OsStr::from_bytes(&script)).output().unwrap();
        assert_eq!(shell.stdout, value.as_bytes());
    }
}
