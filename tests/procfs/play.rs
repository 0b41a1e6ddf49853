//! The parts of the program, played natively and emulated.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use libtest_mimic::Failed;

/// A libc that programs are built for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Libc {
    Machine,
    Musl,
}

impl Libc {
    pub(crate) const ALL: [Self; 2] = [Self::Machine, Self::Musl];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Machine => "libc",
            Self::Musl => "musl",
        }
    }

    pub(crate) fn compiler(self) -> &'static str {
        match self {
            Self::Machine => "cc",
            Self::Musl => "musl-gcc",
        }
    }
}

/// A part of the program.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part {
    pub(crate) name: &'static str,
    /// Fewer lines are no proof of anything.
    lines_min: usize,
    is_for_musl: bool,
    /// Leaves files behind.
    is_untidy: bool,
}

impl Part {
    const fn new(name: &'static str, lines_min: usize) -> Self {
        Self { name, lines_min, is_for_musl: true, is_untidy: false }
    }

    pub(crate) fn is_for(&self, libc: Libc) -> bool {
        libc == Libc::Machine || self.is_for_musl
    }
}

pub(crate) const PARTS: &[Part] = &[
    Part::new("opening", 2000),
    Part::new("links", 1000),
    Part::new("state", 900),
    Part::new("changes", 80),
    Part::new("others", 90),
    Part::new("limits", 17),
    Part::new("parsed", 7),
    // musl itself reads some of the bad addresses.
    Part { is_for_musl: false, ..Part::new("bad", 130) },
    Part { is_untidy: true, ..Part::new("elsewhere", 2) },
];

/// A subject.
pub(crate) enum Subject<'a> {
    Native,
    /// With options of `run`.
    Emulated(&'a [&'a str]),
}

/// The command for a part. Its runtime folder is beside `folder`.
pub(crate) fn command(subject: &Subject<'_>, program: &Path, part: &str, folder: &Path) -> Command {
    let mut command = match subject {
        Subject::Native => Command::new(program),
        Subject::Emulated(options) => {
            let mut command = Command::new(env!("CARGO_BIN_EXE_uinotify"));
            command.arg("run").args(*options).arg("--").arg(program);
            command
        }
    };
    command.arg(part).arg(folder);
    for name in ["LD_PRELOAD", "UINOTIFY_SOCKET", "UINOTIFY_DISABLE", "UINOTIFY_LOG", "UINOTIFY_SETTLE"] {
        command.env_remove(name);
    }
    if let Some(beside) = folder.parent() {
        command.env("XDG_RUNTIME_DIR", beside);
    }
    command.stdin(Stdio::null());
    command
}

/// What a part prints.
fn said(
    subject: &Subject<'_>,
    program: &Path,
    part: &str,
    folder: &Path,
    environment: &[(&str, &str)],
) -> Result<String, Failed> {
    let output = command(subject, program, part, folder).envs(environment.iter().copied()).output()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() && said.ends_with("\nend\n") {
        return Ok(said);
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    Err(format!("{part} ended with {}\n{errors}{}", output.status, tail(&said)).into())
}

fn tail(text: &str) -> String {
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(10)..].join("\n")
}

/// Compares what a part prints natively and emulated.
pub(crate) fn play(part: &Part, program: &Path, environment: &[(&str, &str)]) -> Result<(), Failed> {
    let room = tempfile::tempdir()?;
    let folder = room.path().join("folder");
    fs::create_dir(&folder)?;
    // One folder for both, as its file handle is shown.
    let native = said(&Subject::Native, program, part.name, &folder, &[])?;
    if part.is_untidy {
        fs::remove_dir_all(&folder)?;
        fs::create_dir(&folder)?;
    }
    let emulated = said(&Subject::Emulated(&[]), program, part.name, &folder, environment)?;
    is_equal(&native, &emulated)?;
    let lines = native.lines().count();
    assert!(lines >= part.lines_min, "only {lines} lines");
    Ok(())
}

/// The first difference, with the lines in front of it.
pub(crate) fn is_equal(native: &str, emulated: &str) -> Result<(), Failed> {
    if native == emulated {
        return Ok(());
    }
    let same = native.lines().zip(emulated.lines()).take_while(|(native, emulated)| native == emulated).count();
    let around = |text: &str| text.lines().skip(same.saturating_sub(4)).take(8).collect::<Vec<_>>().join("\n");
    Err(format!("line {}\n--- native\n{}\n--- emulated\n{}", same + 1, around(native), around(emulated)).into())
}

/// What the text is as a file (DIFF-11), and names that the shim does not follow (DIFF-12).
pub(crate) fn the_text_is_of_its_moment(program: &Path) -> Result<(), Failed> {
    let room = tempfile::tempdir()?;
    let folder = room.path().join("folder");
    fs::create_dir(&folder)?;
    let native = said(&Subject::Native, program, "itself", &folder, &[])?;
    let emulated = said(&Subject::Emulated(&[]), program, "itself", &folder, &[])?;
    assert_eq!(
        native,
        "mode 100400, size 0\nO_NOFOLLOW shown\ninotify_add_watch 1\na second look: the new state\nlink: 1\nby way of ..: anon_in\nend\n"
    );
    assert_eq!(
        emulated,
        "mode 100400, size of the text\nO_NOFOLLOW not shown\ninotify_add_watch 1\na second look: the old state\nlink: 0\nby way of ..: socket:\nend\n"
    );
    Ok(())
}

/// LIMIT-8: limits that were set are shown in the place of the machine's; the rest is the machine's.
pub(crate) fn limits_are_those_in_force(program: &Path) -> Result<(), Failed> {
    let room = tempfile::tempdir()?;
    let folder = room.path().join("folder");
    fs::create_dir(&folder)?;
    let native = said(&Subject::Native, program, "limits", &folder, &[])?;
    let options = ["--limit", "watches=7,queue=0"];
    let emulated = said(&Subject::Emulated(&options), program, "limits", &folder, &[])?;
    let expected = native.lines().map(|line| match line.split_once(' ') {
        Some((_, rest)) if rest.starts_with("for ") => line.to_owned(),
        Some((name, _)) if name.ends_with("_watches") => format!("{name} 7"),
        Some((name @ "fs/inotify/max_queued_events", _)) => format!("{name} 0"),
        _ => line.to_owned(),
    });
    let expected: Vec<_> = expected.collect();
    assert_eq!(emulated.lines().collect::<Vec<_>>(), expected);
    assert_ne!(native, emulated);
    Ok(())
}

/// A full table, and one with a single place (DIFF-2).
pub(crate) fn the_last_number_is_needed_twice(program: &Path) -> Result<(), Failed> {
    let room = tempfile::tempdir()?;
    let folder = room.path().join("folder");
    fs::create_dir(&folder)?;
    let native = said(&Subject::Native, program, "full", &folder, &[])?;
    let emulated = said(&Subject::Emulated(&[]), program, "full", &folder, &[])?;
    is_equal(&native, &emulated)?;
    // Without the shim's own connection the request needs two numbers.
    let by_request = said(&Subject::Emulated(&[]), program, "full", &folder, &[("UINOTIFY_SETTLE", "request")])?;
    let refused = format!("show /proc/self/fdinfo/3: errno {}", libc::EMFILE);
    let count = |text: &str| text.lines().filter(|line| *line == refused).count();
    assert_eq!((count(&native), count(&by_request)), (1, 2), "{by_request}");
    Ok(())
}
