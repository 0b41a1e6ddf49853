//! What machine this is.

use std::fs;

use super::run::Loaded;

/// In words.
pub(super) struct Machine {
    pub(super) kernel: String,
    pub(super) system: String,
    /// Of the programs.
    pub(super) libc: String,
    pub(super) command: String,
}

impl Machine {
    /// `loaded` tells of a program of this system.
    pub(super) fn find(loaded: Option<&Loaded>) -> Self {
        let kernel = nix::sys::utsname::uname().map_or_else(
            |_| "unknown".to_owned(),
            |name| [name.sysname(), name.release(), name.machine()].map(|part| part.to_string_lossy()).join(" "),
        );
        let library = loaded.and_then(|loaded| loaded.libc.clone());
        let libc = match (glibc_version(), library) {
            (Some(version), Some(path)) => format!("{version} ({path})"),
            (Some(version), None) => version,
            (None, Some(path)) => path,
            (None, None) => "unknown libc".to_owned(),
        };
        let built = if cfg!(target_env = "musl") { "static" } else { "for glibc" };
        let command = format!("{} {}, {built}", env!("CARGO_PKG_VERSION"), std::env::consts::ARCH);
        Self { kernel, system: system(), libc, command }
    }
}

/// By getconf(1), which other libcs do not have, or without this word.
fn glibc_version() -> Option<String> {
    let output = std::process::Command::new("getconf").arg("GNU_LIBC_VERSION").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    text.trim().strip_prefix("glibc").map(|version| format!("glibc{version}"))
}

/// os-release(5), which systems before 2012 do not have.
fn system() -> String {
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let name = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    let old = || fs::read_to_string("/etc/redhat-release").ok().map(|name| name.trim().to_owned());
    name.map(|name| name.trim_matches('"').to_owned()).or_else(old).unwrap_or_else(|| "unknown system".to_owned())
}
