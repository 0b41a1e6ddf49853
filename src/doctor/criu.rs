//! Whether there is a CRIU, and whether it works.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::program;

/// What was found.
pub(super) struct Criu {
    /// It and its version.
    found: Option<(PathBuf, String)>,
    usable: Result<(), String>,
}

impl Criu {
    /// The one in PATH; `criu check` says whether it can do its work on this kernel.
    pub(super) fn find() -> Self {
        let Some(path) = program::find(OsStr::new("criu"), std::env::var_os("PATH").as_deref()) else {
            return Self { found: None, usable: Err("there is none in PATH".to_owned()) };
        };
        let run = |argument: &str| Command::new(&path).arg(argument).stdin(Stdio::null()).output();
        let version = run("--version").map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
        let version =
            version.ok().and_then(|text| Some(text.lines().next()?.trim_start_matches("Version: ").to_owned()));
        let usable = match run("check") {
            Ok(output) if output.status.success() => Ok(()),
            Ok(output) => {
                let text = String::from_utf8_lossy(&output.stderr);
                Err(text.lines().last().map_or_else(|| output.status.to_string(), |line| line.trim().to_owned()))
            }
            Err(error) => Err(error.to_string()),
        };
        Self { found: Some((path, version.unwrap_or_default())), usable }
    }

    pub(super) fn text(&self) -> String {
        match (&self.found, &self.usable) {
            (Some((path, version)), Ok(())) => format!("{} {version}, usable", path.display()),
            (Some((path, version)), Err(why)) => format!("{} {version}, not usable: {why}", path.display()),
            (None, Err(why)) => why.clone(),
            (None, Ok(())) => String::new(),
        }
    }

    pub(super) fn json(&self) -> Value {
        json!({
            "path": self.found.as_ref().map(|(path, _)| path.to_string_lossy()),
            "version": self.found.as_ref().map(|(_, version)| version),
            "works": self.usable.is_ok(),
            "why": self.usable.as_ref().err(),
        })
    }
}
