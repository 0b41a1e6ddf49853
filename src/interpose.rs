//! In which way a program's calls come to the emulator.

use std::fmt;

/// What stands between a program and the kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Way {
    /// The shim, and the filter where it changes nothing that the program may do.
    #[default]
    Auto,
    /// The shim alone.
    Preload,
    /// The filter alone.
    Seccomp,
    /// The shim and the filter.
    Both,
}

/// The value of `--interpose`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Interpose {
    /// What stands between.
    pub way: Way,
    /// The filter also takes reads into little room.
    pub stops_reads: bool,
}

impl Interpose {
    /// The shim alone.
    pub const PRELOAD: Self = Self { way: Way::Preload, stops_reads: false };

    /// Whether the shim is loaded.
    #[must_use]
    pub fn preloads(self) -> bool {
        self.way != Way::Seccomp
    }

    /// Whether there has to be a filter, whatever that takes.
    #[must_use]
    pub fn insists(self) -> bool {
        matches!(self.way, Way::Seccomp | Way::Both)
    }
}

/// Takes the value of `--interpose` apart: a way, and `,reads`.
///
/// # Errors
///
/// What may be said.
pub(crate) fn parse(text: &str) -> Result<Interpose, String> {
    let (name, stops_reads) = match text.split_once(',') {
        Some((name, "reads")) => (name, true),
        Some((_, other)) => return Err(format!("{other:?} goes with no way; `reads` does")),
        None => (text, false),
    };
    let way = match name {
        "auto" => Way::Auto,
        "preload" => Way::Preload,
        "seccomp" => Way::Seccomp,
        "both" => Way::Both,
        _ => return Err(format!("there is no way {name:?}; there are auto, preload, seccomp and both")),
    };
    let interpose = Interpose { way, stops_reads };
    if stops_reads && !interpose.insists() {
        return Err(format!("only a filter takes reads: seccomp,reads or both,reads, and not {text}"));
    }
    Ok(interpose)
}

impl fmt::Display for Interpose {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self.way {
            Way::Auto => "auto",
            Way::Preload => "preload",
            Way::Seccomp => "seccomp",
            Way::Both => "both",
        })?;
        formatter.write_str(if self.stops_reads { ",reads" } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_go_with_a_filter() {
        for text in ["auto", "preload", "seccomp", "both", "seccomp,reads", "both,reads"] {
            assert_eq!(parse(text).map(|interpose| interpose.to_string()), Ok(text.to_owned()));
        }
        for text in ["", "ptrace", "auto,reads", "preload,reads", "seccomp,", "seccomp,writes", "seccomp,reads,reads"] {
            assert!(parse(text).is_err(), "{text:?} was taken");
        }
    }
}
